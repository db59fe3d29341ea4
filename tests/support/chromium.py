"""A Chromium that opens pages in a given width and scheme, over its debugging port."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZES = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
FRAMED = (
    "<!DOCTYPE html><html><head><meta charset='utf-8'><meta name='viewport' "
    "content='width=device-width'><style>:root{{color-scheme:light dark}}"
    "body{{font:14px system-ui,sans-serif;margin:12px}}</style></head>"
    "<body>{}</body></html>"
)
"""Like a notebook's cell, around HTML that is no page of its own."""
FAULTS = """(() => {
  const root = document.documentElement, wide = root.scrollWidth - root.clientWidth;
  const faults = wide > 0 ? [`the page is ${wide} px too wide`] : [];
  for (const one of document.querySelectorAll("body *")) {
    const style = getComputedStyle(one);
    if (one.closest("svg") || style.display === "inline") continue;
    if (style.overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1)
      faults.push(`cut: ${one.tagName} ${one.textContent.slice(0, 60)}`);
  }
  for (const svg of document.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const own = text.getBoundingClientRect();
      if (own.left < box.left - 1 || own.right > box.right + 1)
        faults.push(`cut: label ${text.textContent}`);
    }
  }
  return faults;
})()"""
"""What is wrong with a page's layout: too wide, or a text that is cut."""


def find() -> str:
    """Return the browser's path; without one the test is skipped, outside CI."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        assert not os.environ.get("CI"), "CI lacks Chromium"
        pytest.skip("needs Chromium")
    return found


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def call(self, method: str, **parameters):
        """Do one thing, and return what comes of it."""
        number = next(self._numbers)
        await self._socket.send_json(
            {"id": number, "method": method, "params": parameters}
        )
        while True:
            answer = await self._socket.receive_json(timeout=60)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def open(self, path: Path, width: int, scheme: str) -> None:
        """Load a page to the end, without network."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.enable")
        await self.call("Page.navigate", url=path.as_uri())
        while await self.run("document.readyState") != "complete":
            await asyncio.sleep(0.02)

    async def run(self, script: str):
        """Return what a script gives in the page."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def picture(self) -> bytes:
        """Return the whole page as PNG."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


def look(pages: dict[str, str], scripts: dict[str, str], folder: Path) -> list[dict]:
    """Open each page at both widths in both schemes.

    Returns
    -------
    list of dict
        Of each look: ``page``, ``width``, ``scheme``, ``faults`` of the layout, the
        value of each script, and a ``picture``.
    """
    return asyncio.run(_look(pages, scripts, folder))


async def _look(pages, scripts, folder):
    seen = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [find(), "--headless=new", "--no-sandbox", "--hide-scrollbars"]
        words += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [*words, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                address = await _address(Path(profile, "DevToolsActivePort"), session)
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    for name, text in pages.items():
                        path = folder / f"{name}.html"
                        path.write_text(text, encoding="utf-8")
                        for width, scheme in SIZES:
                            one = Browser(socket)
                            await one.open(path, width, scheme)
                            seen.append(
                                {
                                    "page": name,
                                    "width": width,
                                    "scheme": scheme,
                                    "faults": await one.run(FAULTS),
                                    **{k: await one.run(v) for k, v in scripts.items()},
                                    "picture": await one.picture(),
                                }
                            )
        finally:
            process.terminate()
            process.wait()
    return seen


async def _address(file: Path, session: aiohttp.ClientSession) -> str:
    """Wait until the browser says where its page listens."""
    end = time.monotonic() + 60
    while not file.exists() or len(file.read_text().split("\n")) < 2:
        assert time.monotonic() < end, "Chromium does not start"
        await asyncio.sleep(0.05)
    port = file.read_text().split("\n")[0]
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = await answer.json(content_type=None)
    return next(p for p in pages if p["type"] == "page")["webSocketDebuggerUrl"]

"""Notebooks and pages of the built docs, as a real Chromium shows them."""

import asyncio
import os
import struct
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import chromium
import pytest

BUILT = os.environ.get("PANDAS_LLM_SITE")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not BUILT, reason="NOT TESTED: PANDAS_LLM_SITE is not set"),
]
SITE = Path(BUILT or ".").resolve()
CUT = """(() => {
  const root = document.documentElement, wide = root.scrollWidth - root.clientWidth;
  const faults = wide > 0 ? [`the page is ${wide} px too wide`] : [];
  const article = document.querySelector("article");
  for (const one of article.querySelectorAll("pre, table, svg, img, p, li, h1, h2")) {
    if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
      faults.push(`cut: ${one.tagName} ${one.textContent.slice(0, 60)}`);
  }
  for (const one of article.querySelectorAll("img"))
    if (one.naturalWidth === 0) faults.push(`not loaded: ${one.src}`);
  return faults;
})()"""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SHOWN = "document.querySelector('article').getBoundingClientRect().height"


@asynccontextmanager
async def opened():
    """Start a Chromium and give the one page that it has."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [chromium.find(), "--headless=new", "--no-sandbox", "--hide-scrollbars"]
        words += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*words, "about:blank"], **quiet)
        try:
            async with aiohttp.ClientSession() as session:
                port = Path(profile, "DevToolsActivePort")
                address = await chromium._address(port, session)
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    yield chromium.Browser(socket)
        finally:
            process.terminate()
            process.wait()


async def look(paths, width, scheme, script):
    """Return what a script gives in each page, and how large its picture is."""
    seen = {}
    async with opened() as browser:
        for path in paths:
            await browser.open(path, width, scheme)
            found = await browser.run(script)
            size = struct.unpack(">II", (await browser.picture())[16:24])
            seen[path.name] = (found, size, await browser.run(SHOWN))
    return seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_notebooks_read_well_at_1280(scheme):
    pages = sorted((SITE / "notebooks").glob("*.html"))
    seen = asyncio.run(look(pages, 1280, scheme, CUT))
    assert len(seen) >= 9
    for name, (faults, (width, height), article) in seen.items():
        assert faults == [], name
        assert width == 1280
        assert height > 900
        assert article > 900, name


def test_pages_fit_a_desk_and_a_telephone():
    pages = [page for page in SITE.rglob("*.html") if "_static" not in page.parts]
    pages = [page for page in pages if page.parent != SITE]  # search and its like
    assert len(pages) > 40
    for width in (1280, 400):
        seen = asyncio.run(look(pages, width, "light", WIDE))
        assert {name: wide for name, (wide, _, _) in seen.items() if wide > 0} == {}

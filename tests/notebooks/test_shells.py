"""A real IPython in a terminal, and a real export by marimo."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pandas_llm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(pandas_llm.__file__).parents[1]
SETUP = """
import gc, threading, aiohttp, asyncio, json
import pandas as pd, pandas_llm
options = {{"model": "sim", "base_url": {url!r}, "progress": False, "cache": False}}
template = "One fact: ${{text}}"
docs = pd.DataFrame({{"text": [f"Fact number {{i}}." for i in range({rows})]}})
"""
TROUBLE = ("ResourceWarning", "Unclosed", "never awaited", "was destroyed")


class Shell:
    """IPython as a process: cells go in, what they print comes out."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-W", "default::ResourceWarning", "-m", "IPython"),
                *("--simple-prompt", "--colors=NoColor", "--no-banner"),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while text := self.process.stdout.read(1):
            self.said += text

    def send(self, code: str) -> None:
        for line in code.strip().splitlines():
            self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, holds) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)

    def close(self) -> str:
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self._reader.join()
        self.process.stdout.close()
        return self.said


@pytest.fixture
def ipython(tmp_path):
    pytest.importorskip("IPython")
    shell = Shell(tmp_path)
    yield shell
    shell.process.kill()
    shell.process.wait()


def test_ipython_answers_calls_and_awaited_calls(ipython, simulator):
    server = simulator()
    ipython.send(SETUP.format(url=server.base_url, rows=20))
    for call in (
        "docs.llm.generate(template, ['fact'], **options)",
        "await docs.llm.agenerate(template, ['fact'], **options)",
        "docs.llm.generate(template, ['fact'], loop='nested', **options)",
    ):
        ipython.send(f"out = {call}; print('rows', 'are', len(out))")
    ipython.send("print('left', threading.active_count())")
    said = ipython.close()
    assert said.count("rows are 20") == 3, said
    assert "Warning" not in said
    assert server.stats()["requests"] == 60


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("way", ["generate", "await"])
def test_ctrl_c_in_ipython_stops_the_requests_and_leaves_the_partial_result(
    way, ipython, simulator
):
    server = simulator(latency=0.5)
    ipython.send(SETUP.format(url=server.base_url, rows=20_000))
    more = "concurrency=200, **options"
    call = f"docs.llm.generate(template, ['fact'], {more})"
    if way == "await":
        call = f"await docs.llm.agenerate(template, ['fact'], {more})"
    ipython.send(call)
    # 200 at once: so many answers mean that 200 rows have arrived
    ipython.until(lambda: server.stats()["answered"] >= 400)
    ipython.process.send_signal(signal.SIGINT)
    ipython.until(lambda: "rows were done; they are in .partial" in ipython.said)
    sent = server.stats()["requests"]
    ipython.send(LEFT)
    ipython.until(lambda: '{"rows"' in ipython.said)
    time.sleep(1)  # for requests that should not come
    assert server.stats()["requests"] == sent < 20_000
    assert server.stats()["in_flight"] == 0
    said = ipython.close()
    text = said[said.index('{"rows"') :]
    found = json.loads(text[: text.index("}") + 1])
    assert found["rows"] == 20_000
    assert found["done"] >= 100
    assert found["open"] == 0
    assert not [word for word in TROUBLE if word in said], said


LEFT = """
import sys
held = sys.last_value
partial = getattr(held, "partial", None)
partial = held.__context__.partial if partial is None else partial
is_open = lambda it: type(it) is aiohttp.ClientSession and not it.closed
count = sum(map(is_open, gc.get_objects()))
done = int(partial["fact"].notna().sum())
print(json.dumps({"rows": len(partial), "done": done, "open": count}))
"""

MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
    import warnings
    warnings.simplefilter("error")
    {setup}
    return docs, options, template


@app.cell
def _(docs, options, template):
    out = docs.llm.generate(template, ["fact"], **{{**options, "progress": None}})
    ("called", len(out))
    return (out,)


@app.cell
async def _(docs, options, template):
    awaited = await docs.llm.agenerate(template, ["fact"], **options)
    ("awaited", len(awaited))
    return (awaited,)


@app.cell
def _(out):
    out.llm.usage
    return


if __name__ == "__main__":
    app.run()
"""


def test_marimo_exports_a_notebook_with_what_its_calls_gave(simulator, tmp_path):
    pytest.importorskip("marimo", reason="pip install marimo to run this")
    server = simulator(latency=0.2)
    setup = SETUP.format(url=server.base_url, rows=20).strip().replace("\n", "\n    ")
    notebook, page = tmp_path / "notebook.py", tmp_path / "page.html"
    notebook.write_text(MARIMO.format(setup=setup), encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "marimo", "export", "html", notebook),
            *("-o", page, "--no-include-code"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text(encoding="utf-8")
    assert re.search(r"called\W+20\b", text)
    assert re.search(r"awaited\W+20\b", text)
    assert "requests sent" in text
    assert server.stats()["requests"] == 40
    assert not [word for word in TROUBLE if word in done.stderr], done.stderr

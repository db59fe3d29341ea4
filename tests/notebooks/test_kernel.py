"""A real ipykernel, talked to as a notebook does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

import pandas_llm

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel", minversion="7")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(pandas_llm.__file__).parents[1]
SETUP = """
import asyncio, json, sys, threading
import pandas as pd
import pandas_llm

def facts(rows):
    return pd.DataFrame({{"text": [f"Fact number {{i}}." for i in range(rows)]}})

options = {{
    "model": "sim", "base_url": {url!r}, "progress": False, "cache": False
}}
template = "One fact.\\ntext: ${{text}}"
docs, many = facts(20), {{**options, "concurrency": 500}}
"""
CALL = "docs.llm.generate(template, ['fact'], **options)"


@dataclass
class Cell:
    """What one executed cell gave."""

    status: str = ""
    error: str = ""
    text: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    ended: float = 0.0


class Notebook:
    """A kernel and its client."""

    def __init__(self, url: str) -> None:
        self.manager, self.client = manager.start_new_kernel(
            env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert self.run(SETUP.format(url=url)).status == "ok"

    def queue(self, code: str) -> str:
        """Send a cell, as Run All does, and do not wait for it."""
        name: str = self.client.execute(code)
        return name

    def collect(self, *names: str) -> list[Cell]:
        """Wait for cells; what came belongs to the cell that it says it does."""
        cells = {name: Cell() for name in names}
        until = time.monotonic() + 60
        while any(not cell.ended for cell in cells.values()):
            assert time.monotonic() < until, f"lost cells: {cells}"
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            cell = cells.get(message["parent_header"].get("msg_id"))
            if cell is not None:
                _take(cell, message["msg_type"], message["content"])
        return [cells[name] for name in names]

    def run(self, code: str) -> Cell:
        return self.collect(self.queue(code))[0]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _take(cell: Cell, kind: str, content: dict[str, Any]) -> None:
    if kind == "stream":
        cell.text += content["text"]
    elif kind == "execute_result":
        cell.text += content["data"]["text/plain"]
    elif kind in ("display_data", "update_display_data"):
        cell.shown.append(content["data"])
    elif kind == "error":
        cell.status, cell.error = "error", content["ename"]
    elif kind == "status" and content["execution_state"] == "idle":
        cell.status = cell.status or "ok"
        cell.ended = time.monotonic()


@pytest.fixture(scope="module")
def server():
    from pandas_llm.simulator import Simulator

    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def notebook(server):
    started = Notebook(server.base_url)
    yield started
    started.close()


@pytest.fixture(scope="module")
def patched_notebook(server):
    """A kernel for the calls that patch asyncio for good."""
    started = Notebook(server.base_url)
    yield started
    started.close()


@pytest.fixture(autouse=True)
def fresh(server):
    server.configure(latency=0.0)
    server.reset()


@pytest.mark.parametrize("how", ["", ", loop='nested'"], ids=["thread", "nested"])
def test_run_all_keeps_the_order_of_the_cells_queued_behind_a_running_one(
    how, request, server
):
    notebook = request.getfixturevalue("patched_notebook" if how else "notebook")
    server.configure(latency=0.1)
    call = CALL.replace("**options", f"**options{how}")
    codes = [f"order.append({number}); {call}; print('done')" for number in range(4)]
    names = [notebook.queue(code) for code in ("order = []", *codes, "order")]
    cells = notebook.collect(*names)
    assert [cell.status for cell in cells] == ["ok"] * 6
    assert [cell.ended for cell in cells] == sorted(cell.ended for cell in cells)
    assert [cell.text.splitlines()[-1] for cell in cells[1:5]] == ["done"] * 4
    assert cells[-1].text == "[0, 1, 2, 3]"


def test_no_advice_not_to_block_is_given_in_a_notebook(notebook):
    assert notebook.run(f"{CALL};").text == ""


def test_the_bar_is_drawn_in_the_cell_that_called(notebook, server):
    server.configure(latency=0.3)
    call = CALL.replace(
        "**options", "**{**options, 'progress': None, 'concurrency': 4}"
    )
    names = [notebook.queue(f"{call};") for _ in range(2)]
    names += [notebook.queue("1 + 1"), notebook.queue(f"{CALL};")]
    first, second, *others = notebook.collect(*names)
    for cell in (first, second):
        assert all("<progress" in data["text/html"] for data in cell.shown)
        assert "20/20" in cell.shown[-1]["text/plain"]
    assert [cell.shown for cell in others] == [[], []]


@pytest.mark.parametrize(
    "call",
    [
        "big.llm.generate(template, ['fact'], **many)",
        "await big.llm.agenerate(template, ['fact'], **many)",
        "big.llm.generate(template, ['fact'], **many, loop='nested')",
    ],
    ids=["generate", "agenerate", "nested"],
)
def test_an_interrupt_with_500_in_flight_stops_them_and_the_next_cell_answers(
    call, request, server
):
    patched = "nested" in call
    notebook = request.getfixturevalue("patched_notebook" if patched else "notebook")
    notebook.run("big, sys.last_value = facts(20_000), None")
    server.configure(latency=1.0)
    name = notebook.queue(call)
    until = time.monotonic() + 30
    while server.stats()["in_flight"] < 500 or server.stats()["answered"] < 500:
        assert time.monotonic() < until
        time.sleep(0.02)
    pressed = time.monotonic()
    notebook.manager.interrupt_kernel()
    (cell,) = notebook.collect(name)
    assert cell.ended - pressed < 10  # two are promised; a busy machine takes more
    assert cell.error in ("KeyboardInterrupt", "CancelledError")
    sent, answered = server.stats()["requests"], server.stats()["answered"]
    server.configure(latency=0.0)
    left = notebook.run(LEFT)
    assert left.status == "ok", left
    done = json.loads(left.text.strip("'"))
    assert done["rows"] == 20_000
    assert 100 <= done["done"] <= answered
    assert done["threads"] == []
    assert done["tasks"] == []
    time.sleep(1)  # for requests that should not come
    assert server.stats()["requests"] == sent
    assert server.stats()["in_flight"] == 0
    assert notebook.run(f"len({CALL})").text == "20"


LEFT = """
import gc, aiohttp
gc.collect()
partial = sys.last_value.partial
json.dumps({
    "rows": len(partial),
    "done": int(partial["fact"].notna().sum()),
    "threads": [t.name for t in threading.enumerate() if t.name == "pandas_llm"],
    "tasks": [str(t) for t in asyncio.all_tasks() if "pandas_llm" in repr(t)]
    + [str(s) for s in gc.get_objects()
       if type(s) is aiohttp.ClientSession and not s.closed],
})
"""

SAME = (
    "docs.llm.generate('Question and answer pairs from: ${text}', "
    "keys=['question', 'answer'], **options).to_json(orient='table')"
)


def test_the_same_frame_in_a_script_in_asyncio_run_and_in_a_cell(notebook, server):
    script = SETUP.format(url=server.base_url) + (
        f"print({SAME})\nasync def main():\n    print({SAME})\nasyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    in_script, in_run = done.stdout.splitlines()
    in_cell = notebook.run(f"print({SAME})").text.strip()
    awaited = SAME.replace("generate", "agenerate").replace(".to_json", ").to_json")
    in_await = notebook.run(f"print((await {awaited})").text.strip()
    assert json.loads(in_script)["data"][0]["answer"]
    assert in_script == in_run == in_cell == in_await


def test_an_estimate_takes_a_session_in_a_cell_as_the_verb_does(
    patched_notebook, server
):
    code = """
    import aiohttp
    async with aiohttp.ClientSession() as given:
        told = docs.llm.estimate(
            template, ["fact"], pilot=2, session=given, **options)
        out = docs.llm.generate(template, ["fact"], session=given, **options)
    told.pilot, len(out)
    """
    assert patched_notebook.run(code).text == "(2, 20)"
    assert server.stats()["requests"] == 22


def test_a_cell_may_gather_several_calls(notebook, server):
    code = """
    outs = await asyncio.gather(*[
        docs.llm.agenerate(template, ["fact"], **options) for _ in range(5)])
    [len(out) for out in outs]
    """
    assert notebook.run(code).text == "[20, 20, 20, 20, 20]"
    assert server.stats()["requests"] == 100

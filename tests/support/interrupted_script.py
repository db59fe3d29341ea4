"""Scripts that are stopped by Ctrl-C: ``python interrupted_script.py HOW URL REPORT``.

What the exception held is written to REPORT; the exception goes on to the end, so
that the process ends as any interrupted script does.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import multiprocessing
import signal
import sys
from pathlib import Path

import pandas as pd

import pandas_llm
from pandas_llm._run import blocking

HOW, URL, REPORT = sys.argv[1:]
DOCS = pd.DataFrame({"text": [f"Fact number {i}." for i in range(20_000)]})
OPTIONS = {"model": "sim", "base_url": URL, "progress": False, "concurrency": 100}
if HOW == "own_simulator":
    OPTIONS = {"model": "sim", "progress": True}
elif HOW == "bare_batch":
    DOCS = DOCS[:3]
    OPTIONS |= {"batch": True, "cache": f"{REPORT}.sqlite"}
    OPTIONS["progress"] = lambda now: now.waiting and Path(REPORT).write_text("waiting")


def generate(**more) -> pd.DataFrame:
    """Call, and write down what was in hand when it was stopped."""
    try:
        return DOCS.llm.generate(
            "One fact.\ntext: ${text}", ["fact"], **OPTIONS, **more
        )
    except BaseException as error:
        report(error)
        raise


def report(error: BaseException) -> None:
    done = error.partial.loc[error.partial["fact"].notna(), "text"].index
    facts = error.partial["fact"].iloc[done]
    right = [f"Fact number {i}." in fact for i, fact in zip(done, facts, strict=True)]
    found = {
        "kind": type(error).__name__,
        "rows": len(error.partial),
        "done": len(done),
        "right": all(right),
        "note": "".join(getattr(error, "__notes__", ())),
        "threads": len(sys._current_frames()),
        "processes_start": multiprocessing.get_start_method(allow_none=True),
    }
    Path(REPORT).write_text(json.dumps(found), encoding="utf-8")


def ranks() -> None:
    """Compare rows in rounds, and write down what was used when it was stopped."""
    asked = "Is it more?\n${left.text} ${right.text}"
    try:
        DOCS[:2_000].llm.nlargest(5, asked, **OPTIONS)
    except BaseException as error:
        used = pandas_llm.last_usage()
        found = {"requests": used.requests, "rows": used.rows}
        found["columns"] = list(error.partial.columns)
        Path(REPORT).write_text(json.dumps(found), encoding="utf-8")
        raise


async def calls(**more) -> None:
    generate(**more)


async def awaits() -> None:
    try:
        await DOCS.llm.agenerate("One fact.\ntext: ${text}", ["fact"], **OPTIONS)
    except BaseException as error:
        report(error)
        raise


def bare(coroutine) -> None:
    """Run a loop as asyncio.run does not: Ctrl-C raises wherever it hits."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()


def patched() -> None:
    nest = importlib.import_module("nest_asyncio2")
    nest.apply()
    asyncio.run(calls())


async def stubborn() -> None:
    """Take more than one request to stop."""
    Path(REPORT).write_text("started", encoding="utf-8")
    try:
        await asyncio.sleep(60)
    finally:
        Path(REPORT).write_text("stopping", encoding="utf-8")
        await asyncio.sleep(60)


async def waits_for_stubborn(loop: str) -> None:
    blocking.run(stubborn, loop=loop)


WAYS = {
    "script": generate,
    "rounds": ranks,
    "own_simulator": generate,
    "asyncio": lambda: asyncio.run(calls()),
    "uvloop": lambda: importlib.import_module("uvloop").run(calls()),
    "bare_loop": lambda: bare(calls()),
    "nested": lambda: asyncio.run(calls(loop="nested")),
    "nested_bare_loop": lambda: bare(calls(loop="nested")),
    "patched": patched,
    "await": lambda: asyncio.run(awaits()),
    "bare_batch": lambda: bare(awaits()),
    "bare_await": lambda: bare(awaits()),
    "stubborn_script": lambda: blocking.run(stubborn),
    "stubborn_asyncio": lambda: asyncio.run(waits_for_stubborn("auto")),
    "stubborn_nested": lambda: asyncio.run(waits_for_stubborn("nested")),
    "stubborn_bare_nested": lambda: bare(waits_for_stubborn("nested")),
}

if __name__ == "__main__":
    # a shell's background job ignores SIGINT, and so would what it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        WAYS[HOW]()
    except KeyboardInterrupt as interrupt:
        held = interrupt if hasattr(interrupt, "partial") else interrupt.__context__
        if "stubborn" not in HOW and HOW != "rounds":
            assert len(held.partial) == len(DOCS)
        raise

"""The bar: when it appears, how often it is drawn, and what it shows."""

from __future__ import annotations

import io
import os
import sys
import threading
import time

import pandas as pd
import pytest

from pandas_llm import progress
from pandas_llm.types import Totals

TEMPLATE = "Give one fact.\ntext: ${text}"


def facts(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"Fact number {i}." for i in range(rows)]})


class Screen(io.StringIO):
    """A stream that counts what is written at once."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal
        self.times: list[float] = []

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        if "%" in text:
            self.times.append(time.monotonic())
        return super().write(text)


@pytest.fixture
def screen(monkeypatch):
    """Put a stream in the place of stderr."""

    def put(*, terminal: bool) -> Screen:
        stream = Screen(terminal=terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return put


@pytest.fixture
def slow(simulator):
    """Rows that take 1.2 s in all."""
    server = simulator(latency=0.1)
    return server, {
        "model": "sim",
        "base_url": server.base_url,
        "concurrency": 1,
        "max_retries": 3,
    }


def test_a_short_run_shows_no_bar(screen, simulator, on):
    stream = screen(terminal=True)
    facts(5).llm.generate(TEMPLATE, ["fact"], **on(simulator(), progress=True))
    assert stream.getvalue() == ""


def test_the_bar_appears_after_half_a_second_and_is_drawn_ten_times_a_second(
    screen, slow
):
    stream = screen(terminal=True)
    started = time.monotonic()
    facts(15).llm.generate(TEMPLATE, ["fact"], **slow[1])
    seconds = time.monotonic() - started
    first, *_ = stream.times
    assert first - started >= 0.5
    assert 3 <= len(stream.times) <= 10 * (seconds - 0.5) + 3
    assert "15/15" in stream.getvalue()


def test_no_bar_where_nobody_looks(screen, slow):
    stream = screen(terminal=False)
    facts(8).llm.generate(TEMPLATE, ["fact"], **slow[1])
    assert stream.getvalue() == ""


def test_a_bar_that_was_asked_for_is_drawn_anywhere(screen, slow):
    stream = screen(terminal=False)
    facts(8).llm.generate(TEMPLATE, ["fact"], progress=True, **slow[1])
    assert "8/8" in stream.getvalue()


def test_no_bar_that_was_not_wanted(screen, slow):
    stream = screen(terminal=True)
    facts(8).llm.generate(TEMPLATE, ["fact"], progress=False, **slow[1])
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_a_process_without_stderr_runs_as_well(stderr, monkeypatch, slow):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream if stderr else None)
    out = facts(8).llm.generate(TEMPLATE, ["fact"], **slow[1])
    assert out["fact"].notna().all()


def test_a_terminal_that_goes_away_does_not_end_the_run(screen, slow):
    stream = screen(terminal=True)
    stream.write = _broken
    out = facts(8).llm.generate(TEMPLATE, ["fact"], **slow[1])
    assert out["fact"].notna().all()


def _broken(text: str) -> int:
    raise BrokenPipeError


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals of POSIX")
def test_a_terminal_shows_rows_failures_retries_and_tokens(monkeypatch, slow):
    server, options = slow
    server.configure(fault_plan={2: "500"}, fail_if={"number 3.": "content_filter"})
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    shown = bytearray()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()
        facts(10).llm.generate(TEMPLATE, ["fact"], **options)
        terminal.flush()
        monkeypatch.undo()
    reader.join()
    os.close(ours)
    last = shown.decode().replace("\r", "\n").strip().splitlines()[-1]
    for part in ("100%", "10/10", "1 failed", "1 retried", "tokens", "row"):
        assert part in last


def _read(file: int, shown: bytearray) -> None:
    try:
        while data := os.read(file, 4096):
            shown.extend(data)
    except OSError:  # the other side is closed
        return


def test_the_bar_is_drawn_by_the_callers_thread_and_leaves_none(screen, slow):
    stream = screen(terminal=True)
    writers = set()
    write = stream.write

    def note(text: str) -> int:
        writers.add(threading.get_ident())
        return write(text)

    stream.write = note
    before = set(threading.enumerate())
    facts(8).llm.generate(TEMPLATE, ["fact"], loop="thread", **slow[1])
    assert writers == {threading.get_ident()}
    assert set(threading.enumerate()) == before


def test_a_tick_costs_next_to_nothing_between_two_drawings(screen):
    screen(terminal=True)
    bar = progress.Bar(Totals(rows=1000), shown=True, waiting=lambda: "")
    bar._started -= 10
    for _ in range(1000):
        bar.tick()
    bar.close()
    assert len(sys.stderr.times) <= 10


def test_the_bar_says_why_all_wait(screen):
    stream = screen(terminal=True)
    totals = Totals(rows=10)
    bar = progress.Bar(totals, shown=True, waiting=lambda: "waiting 12 s: rate limit")
    bar._started -= 10
    bar.tick()
    bar.close()
    assert "waiting 12 s: rate limit" in stream.getvalue()

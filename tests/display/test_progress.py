"""The bar: when it appears, how often it is drawn, and what it shows."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from weakref import WeakSet

import pandas as pd
import pytest
from clock import Clock
from tqdm import tqdm

import pandas_llm
from pandas_llm._display import Bar, Progress, Status
from pandas_llm._display.usage import Totals

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


@pytest.fixture
def line_of(monkeypatch):
    """Return the line that a terminal of some width shows of a run after a while."""
    termios = pytest.importorskip("termios", reason="pseudo-terminals of POSIX")

    def drawn_in(width, totals, seconds, status=Status):
        clock = Clock()
        ours, theirs = os.openpty()
        termios.tcsetwinsize(ours, (24, width))
        with (
            os.fdopen(theirs, "w", encoding="utf-8") as terminal,
            monkeypatch.context() as patch,
        ):
            patch.setattr(sys, "stderr", terminal)
            # bars that other tests left would move it down
            patch.setattr(tqdm, "_instances", WeakSet())
            bar = Bar(totals, shown=True, status=status, clock=clock)
            clock.now = seconds
            bar.tick()
            terminal.flush()
            line = os.read(ours, 4096).decode().strip("\r\n")
            bar.close()
        os.close(ours)
        return line

    return drawn_in


@pytest.mark.parametrize(
    "why", ["waiting 119 s: rate limit", "1000 rows wait (rate_limit, server)"]
)
def test_eighty_columns_hold_why_rows_wait(why, line_of):
    totals = Totals(rows=1_000_000, done=450_000, failed=12, input_tokens=9_000_000)
    status = Status(resting=f"{why}, 43 in flight")
    line = line_of(80, totals, 45_000.0, lambda: status)
    assert "450000/1000000 [12:30:00<" in line
    assert why in line
    assert len(line) <= 80


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


class ToLog:
    def write(self, text: str) -> None: ...


@pytest.mark.parametrize("stderr", [None, "closed", ToLog()])
def test_a_process_without_stderr_runs_as_well(stderr, monkeypatch, slow):
    if stderr == "closed":
        stderr = io.StringIO()
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    for progress in (None, True):
        options = {**slow[1], "progress": progress}
        out = facts(8).llm.generate(TEMPLATE, ["fact"], **options)
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
    for part in ("100%", "10/10", "1 failed", "1 retry", "tokens", "row"):
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
    clock = Clock()
    bar = Bar(Totals(rows=1000), shown=True, clock=clock)
    clock.now += 10
    for _ in range(1000):
        bar.tick()
    bar.close()
    assert len(sys.stderr.times) <= 10


def test_the_bar_says_why_all_wait(screen):
    stream = screen(terminal=True)
    totals = Totals(rows=10)
    clock, waits = Clock(), Status("waiting 12 s: rate limit", 12.0)
    bar = Bar(totals, shown=True, status=lambda: waits, clock=clock)
    clock.now += 10
    bar.tick()
    bar.close()
    assert "waiting 12 s: rate limit" in stream.getvalue()


# -- pace, cost, and a function in the bar's place ------------------------------


def drawn(totals: Totals, status: Status, seconds: float = 10.0):
    """Return what is shown after some seconds of a run."""
    shown, clock = [], Clock()
    bar = Bar(totals, shown=shown.append, status=lambda: status, clock=clock)
    clock.now += seconds
    bar.tick()
    return shown[0]


def test_the_time_left_follows_the_accounts_limit_where_that_is_slower():
    totals = Totals(rows=1000, done=100, requests=100)
    assert drawn(totals, Status()).left == pytest.approx(90, rel=0.01)
    slow = Status(plan=2.0)
    assert drawn(totals, slow).left == pytest.approx(450, rel=0.01)
    quick = Status(plan=1000.0)
    assert drawn(totals, quick).left == pytest.approx(90, rel=0.01)


def test_the_limit_counts_requests_not_rows():
    half_cached = Totals(rows=1000, done=100, cached=50, requests=50)
    left = drawn(half_cached, Status(plan=1.0)).left
    assert left == pytest.approx(450, rel=0.01)


def test_a_pause_adds_to_the_time_left_and_does_not_spoil_the_rate():
    totals, status = Totals(rows=1000), Status()
    shown, clock = [], Clock()
    bar = Bar(totals, shown=shown.append, status=lambda: status, clock=clock)
    clock.now += 10
    totals.done = totals.requests = 100
    bar.tick()
    status = Status("waiting 30 s: rate limit", 30.0, plan=10.0)
    clock.now += 60
    bar.tick()
    assert shown[1].rate == pytest.approx(10, rel=0.01)
    assert shown[1].left == pytest.approx(90 + 30, rel=0.01)
    assert shown[1].waiting == "waiting 30 s: rate limit"


def test_nothing_known_is_no_time_left():
    assert drawn(Totals(rows=10), Status()).left is None


def test_the_bar_shows_pace_time_left_tokens_and_cost(screen):
    stream = screen(terminal=True)
    totals = Totals(rows=1000, done=100, requests=110, retries=10, cached=20)
    totals.input_tokens, totals.output_tokens = 12_345, 678
    totals.known_cost, totals.unpriced = 0.1234, 1
    clock = Clock()
    bar = Bar(totals, shown=True, status=lambda: Status(plan=2.0), clock=clock)
    clock.now += 10
    bar.tick()
    bar.close()
    first = next(text for text in stream.getvalue().split("\r") if text.strip())
    for part in (
        "10%",
        "100/1000",
        "[00:10<08:15",
        "10 rows/s",
        "10 retries",
        "20 cached",
        "≥$0.123",
        "tokens 12.3k in 678 out",
    ):
        assert part in first, first


def test_a_function_is_called_at_most_ten_times_a_second_and_at_the_end(slow):
    seen, times, threads = [], [], set()

    def note(one: Progress) -> None:
        seen.append(one)
        times.append(time.monotonic())
        threads.add(threading.get_ident())

    started = time.monotonic()
    facts(12).llm.generate(TEMPLATE, ["fact"], progress=note, **slow[1])
    seconds = time.monotonic() - started
    assert 3 <= len(seen) <= 10 * seconds + 2
    assert [one.finished for one in seen] == [False] * (len(seen) - 1) + [True]
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert (seen[-1].done, seen[-1].rows, seen[-1].left) == (12, 12, 0.0)
    assert seen[-1].output_tokens > 0
    assert threads == {threading.get_ident()}
    with pytest.raises(AttributeError):
        seen[-1].done = 0


def test_a_function_is_told_of_the_end_of_a_run_that_fails(simulator, on):
    seen = []
    with pytest.raises(pandas_llm.ProviderError):
        facts(3).llm.generate(
            TEMPLATE, ["fact"], **on(simulator(api_key="right"), progress=seen.append)
        )
    assert seen[-1].finished
    assert seen[-1].failed == 1


def test_a_function_that_fails_at_the_end_does_not_take_the_result_along(simulator, on):
    def note(one: Progress) -> None:
        if one.finished:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        facts(3).llm.generate(TEMPLATE, ["fact"], **on(simulator(), progress=note))
    assert caught.value.partial["fact"].notna().all()


# -- the account's pace, 80 columns, saved notebooks ----------------------------


def test_a_run_that_the_account_paces_says_so(simulator, on):
    seen = []
    server = on(simulator(), requests_per_minute=120, progress=seen.append)
    facts(6).llm.generate(TEMPLATE, ["fact"], **server)
    waits = {one.waiting for one in seen}
    assert "paced by the account: 120 a minute" in waits
    assert not any(wait.startswith("waiting") for wait in waits)
    assert seen[-1].waiting == ""


def test_the_accounts_pace_stays_in_the_bar_between_two_requests():
    clock, paced, shown = Clock(), [True], []
    bar = Bar(
        Totals(rows=9),
        shown=shown.append,
        status=lambda: Status(plan=0.5, paced=paced[0]),
        clock=clock,
    )
    for seconds, new in ((1, True), (2, False), (6, False)):
        clock.now += seconds
        paced[0] = new
        bar.tick()
    why = "paced by the account: 30 a minute"
    assert [one.waiting for one in shown] == [why, why, ""]


@pytest.mark.parametrize(("requests", "told"), [(9, True), (3, False), (40, False)])
def test_a_slow_server_is_not_taken_for_the_accounts_pace(requests, told):
    totals = Totals(rows=100, done=requests, requests=requests)
    shown = drawn(totals, Status(plan=1.0), seconds=10.0)
    assert (shown.waiting == "paced by the account: 60 a minute") == told


@pytest.mark.parametrize("width", [80, 60, 200])
def test_a_line_drops_whole_parts_by_importance(width, line_of):
    totals = Totals(rows=10_000, done=4_500, failed=12, retries=7, cached=900)
    totals.input_tokens, totals.output_tokens, totals.known_cost = 9_000, 90, 1.25
    line = line_of(width, totals, 100.0)
    assert len(line) <= width
    assert line.endswith("]")  # nothing is cut
    parts = ("12 failed", "$1.25", "7 retries", "900 cached", "tokens 9k in 90 out")
    there = [part in line for part in parts]
    assert there == sorted(there, reverse=True)  # the most important stay
    assert there[0]
    assert all(there) == (width == 200)


def test_a_saved_notebook_keeps_the_last_state_of_the_bar(simulator, on, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    options = on(simulator(latency=0.1), concurrency=1)
    options["cache"] = False
    del options["progress"]
    code = (
        "import pandas as pd, pandas_llm\n"
        "texts = pd.Series([f'Number {i}' for i in range(10)])\n"
        f"out = texts.llm.complete('On ${{value}}', **{options!r})"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client.NotebookClient(book, timeout=100, kernel_name="python3").execute()
    outputs = book.cells[0].outputs
    (bar,) = [one for one in outputs if one.output_type == "display_data"]
    assert "10/10" in bar.data["text/plain"]
    assert '<progress value="1.0000"' in bar.data["text/html"]
    assert "widget" not in str(bar.data)

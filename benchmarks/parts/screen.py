"""What a row pays for what is seen of a run: the bar and the log."""

from __future__ import annotations

import io
import subprocess
import sys
import time

from pandas_llm._display import Bar, Status, Totals
from pandas_llm._report.timeline import RunLog
from pandas_llm.types import Outcome, Tokens

ROWS = 200_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def log_a_row() -> float:
    """Return seconds a row of the log's two calls, at latencies that vary."""
    log, tokens = RunLog(), Tokens(100, 50)
    outcomes = [
        Outcome([], None, 1, 0.1 + at % 977 / 1000, None, tokens) for at in range(1000)
    ]
    started = time.perf_counter()
    for at in range(ROWS):
        outcome = outcomes[at % 1000]
        log.answered(outcome.seconds)
        log.row(at, outcome)
    return (time.perf_counter() - started) / ROWS


def tick() -> tuple[float, float]:
    """Return seconds of a drawing, and of a tick that samples and draws nothing."""
    stderr, sys.stderr = sys.stderr, Terminal()
    try:
        totals, log = Totals(rows=ROWS, done=5, requests=5), RunLog()
        bar = Bar(totals, shown=True, status=lambda: Status(plan=100.0))
        bar._started -= 10  # noqa: SLF001 - it appears after half a second
        bar.tick()
        started = time.perf_counter()
        for at in range(200):
            totals.done += 10
            log.sample(10 + at / 20, totals)
            bar._drawn = 0.0  # noqa: SLF001 - as if a tenth of a second had passed
            bar.tick()
        drawing = (time.perf_counter() - started) / 200
        started = time.perf_counter()
        for at in range(2000):
            log.sample(20 + at / 2000, totals)
            bar.tick()
        return drawing, (time.perf_counter() - started) / 2000
    finally:
        sys.stderr = stderr


def measure() -> None:
    drawing, idle = tick()
    second = 10 * drawing + 10 * idle
    print(f"- the log: {log_a_row() * 1e6:.2f} µs a row")
    print(f"- a drawing: {drawing * 1e6:.0f} µs; a tick without: {idle * 1e6:.0f} µs")
    print(f"- so a second of bar: {second * 1e3:.1f} ms, which is")
    print(f"  {second / 4000 * 1e6:.2f} µs a row at 4,000 rows a second\n")


def main(bench) -> None:
    print("### The bar and the log\n", flush=True)
    subprocess.run([bench.python, __file__], check=True)


if __name__ == "__main__":
    measure()

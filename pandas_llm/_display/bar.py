"""The progress bar, by tqdm in a terminal, as HTML in a notebook; or the caller's."""

from __future__ import annotations

import html
import math
import sys
import time
import warnings
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any

from pandas_llm._display.progress import Headroom, Progress, Status
from pandas_llm._display.tables import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._display.usage import Totals

_QUIET_SECONDS = 0.5
_REDRAW_SECONDS = 0.1
_PACED_SECONDS = 5.0
"""How long the pace counts as the account's after a request had to wait for it."""
_NEAR = 0.7
"""The share of the granted pace from which on it is what holds a run back."""
_LATELY = 100
"""Drawings, ten seconds of them, over which the speed is taken."""
_LEAST_BAR = 5


class _Speed:
    """How fast rows were done lately, and so how long the others will take."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)], _LATELY)
        self._active = 0.0
        self._last = 0.0

    def note(self, seconds: float, totals: Totals, status: Status) -> None:
        """Add a point; while all wait, the time does not count."""
        if not status.waiting:
            self._active += seconds - self._last
        self._last = seconds
        self._points.append((self._active, totals.done, totals.requests))

    def _lately(self) -> tuple[float, int, int]:
        """Return the seconds between the first and the last point, rows, requests."""
        (start, *before), (end, *after) = self._points[0], self._points[-1]
        return end - start, after[0] - before[0], after[1] - before[1]

    @property
    def rate(self) -> float:
        """Rows a second."""
        seconds, rows, _ = self._lately()
        return rows / seconds if seconds else 0.0

    @property
    def requests(self) -> float:
        """Requests a second, once there were a second to count them in."""
        seconds, _, requests = self._lately()
        return requests / seconds if seconds > 1 else 0.0

    def left(self, rows: int, status: Status) -> float | None:
        """Return the seconds that more rows take, by the rate or the limit."""
        if rows <= 0:
            return 0.0
        _, done, requests = self._lately()
        # a burst at the start hides the limit, and the limit a slow server
        known = [rows / self.rate] if self.rate else []
        if status.plan:
            known.append(rows * (requests / done if done else 1.0) / status.plan)
        return max(known) + status.seconds if known else None


class Bar:
    """Shows a run to whoever calls `tick`: a tqdm bar, or the caller's function.

    It appears after half a second, and is drawn at most ten times a second. With
    `shown` None it appears in a terminal or a notebook only.
    """

    def __init__(
        self,
        totals: Totals,
        *,
        shown: bool | Callable[[Progress], None] | None,
        status: Callable[[], Status] = Status,
        headroom: Headroom | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._totals = totals
        self._headroom = headroom
        self._call = shown if callable(shown) else None
        self._shown = callable(shown) or _somebody_looks(asked=shown)
        self._status = status
        self._clock = clock
        self._started = clock()
        self._drawn = 0.0
        self._speed = _Speed()
        self._paced = -math.inf
        self._bar: Any = None

    def tick(self) -> None:
        """Draw, if it is time to."""
        now = self._clock()
        if self._shown and now - self._drawn >= _REDRAW_SECONDS:
            self._show(self._progress(now))
            self._drawn = self._clock()

    def close(self) -> None:
        """Show the last state."""
        if self._shown:
            self._show(self._progress(self._clock(), finished=True))

    def _progress(self, now: float, *, finished: bool = False) -> Progress:
        totals, status = self._totals, Status() if finished else self._status()
        seconds = now - self._started
        self._speed.note(seconds, totals, status)
        progress = Progress(
            **totals.counts(Progress),
            seconds=seconds,
            rate=totals.done / seconds if finished else self._speed.rate,
            left=self._speed.left(totals.rows - totals.done, status),
            waiting=status.waiting or status.resting or self._pacing(now, status),
            finished=finished,
        )
        if self._headroom is not None:
            object.__setattr__(progress, "_headroom", self._headroom)
        return progress

    def _pacing(self, now: float, status: Status) -> str:
        """Return that the account sets the pace, if it does or has a moment ago."""
        if not status.plan:
            return ""
        if status.paced or _NEAR < self._speed.requests / status.plan < 1 / _NEAR:
            self._paced = now
        if now - self._paced >= _PACED_SECONDS:
            return ""
        rate = 60 * status.plan
        shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"  # noqa: PLR2004
        return f"paced by the account: {shown} a minute"

    def _show(self, progress: Progress) -> None:
        if self._call is not None:
            self._call(progress)
            return
        if self._bar is None:
            if progress.finished or progress.seconds < _QUIET_SECONDS:
                return
            self._bar = _NotebookBar() if _in_ipython() else _TerminalBar(progress)
        try:
            self._bar.draw(progress)
        except (OSError, ValueError):  # the terminal is gone
            self._shown = False
            self._bar.give_up()


@cache
def _bars() -> Any:
    from tqdm.auto import tqdm
    from tqdm.std import TqdmDefaultWriteLock  # type: ignore[attr-defined]

    class Bars(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # without tqdm's own thread: here somebody ticks
        if not hasattr(tqdm, "_lock"):
            # the lock of threads alone: with that of processes, the caller could
            # choose no more how multiprocessing starts them
            _lock = TqdmDefaultWriteLock.th_lock

    return Bars


class _TerminalBar:
    """A line that tqdm draws."""

    def __init__(self, progress: Progress) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # the least delay leaves the first drawing to us, like every other
            self._bar = _bars()(total=progress.rows, dynamic_ncols=True, delay=1e-9)
        # or it would take itself for one that was never drawn, when it is closed
        self._bar.start_t -= progress.seconds

    def draw(self, progress: Progress) -> None:
        bar = self._bar
        bar.n = progress.done
        width = bar.dynamic_ncols(bar.fp)[0] if bar.dynamic_ncols else None
        line = _line(progress, width and width - len("100%|| ") - _LEAST_BAR)
        line = line.replace("{", "{{").replace("}", "}}")
        bar.bar_format = f"{{percentage:3.0f}}%|{{bar}}| {line}"
        bar.refresh()
        if progress.finished:
            bar.close()

    def give_up(self) -> None:
        self._bar.disable = True  # or its finalizer would write once more


class _NotebookBar:
    """A bar of plain HTML, whose last state stays in a notebook that is saved."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, progress: Progress) -> None:
        import IPython

        show: Any = IPython.display.display  # which has no types

        share = progress.done / progress.rows if progress.rows else 1.0
        line = f"{share:.0%} {_line(progress, None)}"
        shown = {
            "text/plain": line,
            "text/html": f'<progress value="{share:.4f}" style="vertical-align:middle">'
            f"</progress> {html.escape(line)}",
        }
        if self._handle is None:
            self._handle = show(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def give_up(self) -> None:
        """Leave it as it is."""


def _line(progress: Progress, room: int | None) -> str:
    """Return counts, times and the rest, as much as there is room for."""
    left = "?" if progress.left is None else _clock(progress.left)
    # why rows wait takes the place of the pace, so that 80 columns hold it
    pace = "" if progress.waiting else f", {short(progress.rate)} rows/s"
    counts = f"{progress.done}/{progress.rows}"
    line = first = f"{counts} [{_clock(progress.seconds)}<{left}{pace}"
    into, out = progress.input_tokens, progress.output_tokens
    least = "≥" if progress.unpriced else ""
    retries = "retry" if progress.retries == 1 else "retries"
    by_importance = [
        progress.waiting,
        f"{progress.failed} failed" if progress.failed else "",
        f"{least}${progress.known_cost:.3g}" if progress.known_cost else "",
        f"{progress.retries} {retries}" if progress.retries else "",
        f"{progress.cached} cached" if progress.cached else "",
        f"tokens {short(into)} in {short(out)} out" if into or out else "",
    ]
    for part in filter(None, by_importance):
        longer = f"{line}, {part}"
        if room is None or len(longer) < room or line is first:
            line = longer
    return f"{line}]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _somebody_looks(*, asked: bool | None) -> bool:
    stderr = sys.stderr
    if asked is False or stderr is None or getattr(stderr, "closed", False):
        return False
    # a stream that passes on to a log often has `write` alone: bool() is False
    return asked or in_notebook() or getattr(stderr, "isatty", bool)()


def _in_ipython() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    if _in_ipython():
        return True
    marimo = sys.modules.get("marimo")
    return bool(marimo is not None and marimo.running_in_notebook())

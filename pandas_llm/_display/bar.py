"""The progress bar, by tqdm in a terminal, as HTML in a notebook; or the caller's."""

from __future__ import annotations

import html
import math
import sys
import time
import warnings
from collections import deque
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from pandas_llm._display.progress import Progress, Status
from pandas_llm._display.tables import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_llm._display.progress import Headroom
    from pandas_llm._display.usage import Totals

_QUIET_SECONDS = 0.5
_REDRAW_SECONDS = 0.1
_PACED_SECONDS = 5.0
"""So long the pace is the account's still: between two requests nobody waits."""
_NEAR = 0.7
"""The share of the granted pace from which on it is what holds a run back."""
_LATELY = 100
"""Drawings, ten seconds of them, over which the speed is taken."""
_LEAST_BAR = 5
_FORMAT = (
    "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}{pace}{postfix}]"
)


class _Speed:
    """How fast rows are done of late, and so how long the others will take."""

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

    @property
    def rate(self) -> float:
        """Rows a second."""
        (start, before, _), (end, after, _) = self._points[0], self._points[-1]
        return (after - before) / (end - start) if end > start else 0.0

    @property
    def requests(self) -> float:
        """Requests a second, once there were a second to count them in."""
        (start, _, before), (end, _, after) = self._points[0], self._points[-1]
        return (after - before) / (end - start) if end - start > 1 else 0.0

    def left(self, rows: int, status: Status) -> float | None:
        """Return the seconds that so many more rows take, by the rate or the limit."""
        if rows <= 0:
            return 0.0
        by_rate = rows / self.rate if self.rate > 0 else None
        by_plan = rows * self._requests_a_row() / status.plan if status.plan else None
        # a burst at the start hides the limit, and the limit a slow server
        known = [seconds for seconds in (by_rate, by_plan) if seconds is not None]
        return max(known) + status.seconds if known else None

    def _requests_a_row(self) -> float:
        first, last = self._points[0], self._points[-1]
        done = last[1] - first[1]
        return (last[2] - first[2]) / done if done else 1.0


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
    ) -> None:
        self._totals = totals
        self._headroom = headroom
        self._call = shown if callable(shown) else None
        self._shown = _wanted() if shown is None else bool(shown)
        self._status = status
        self._started = time.monotonic()
        self._drawn = 0.0
        self._speed = _Speed()
        self._paced = -math.inf
        self._bar: Any = None

    def tick(self) -> None:
        """Draw, if it is time to."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < _REDRAW_SECONDS:
            return
        progress = self._progress(now)
        if self._call is not None:
            self._call(progress)
        elif self._bar is not None or progress.seconds >= _QUIET_SECONDS:
            self._draw(progress)
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Show the last state."""
        if self._call is not None:
            self._call(self._progress(time.monotonic(), finished=True))
        elif self._bar is not None and self._shown:
            self._draw(self._progress(time.monotonic(), finished=True))

    def _progress(self, now: float, *, finished: bool = False) -> Progress:
        totals, status = self._totals, Status() if finished else self._status()
        seconds = now - self._started
        self._speed.note(seconds, totals, status)
        why = status.waiting or status.resting or self._pacing(now, status)
        progress = Progress(
            **totals.counts(Progress),
            seconds=seconds,
            rate=totals.done / seconds if finished else self._speed.rate,
            left=self._speed.left(totals.rows - totals.done, status),
            waiting="" if finished else why,
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
        return f"paced by the account: {60 * status.plan:,.3g} a minute"

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = _NotebookBar() if _in_ipython() else _TerminalBar(progress)
        with self._tolerant():
            self._bar.draw(progress)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Go on without a bar when the terminal is gone."""
        try:
            yield
        except (OSError, ValueError):
            self._shown = False
            self._bar.give_up()


@cache
def _bars() -> Any:
    from tqdm.auto import tqdm

    class Bars(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # without tqdm's own thread: here somebody ticks
        facts: dict[str, str] = {"left": "?", "pace": ""}  # noqa: RUF012 - replaced, never changed

        @property
        def format_dict(self) -> Any:
            return {**super().format_dict, **self.facts}

    return Bars


class _TerminalBar:
    """A line that tqdm draws."""

    def __init__(self, progress: Progress) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._bar = _bars()(
                total=progress.rows,
                bar_format=_FORMAT,
                dynamic_ncols=True,
                # the least delay leaves the first drawing to us, like every other
                delay=1e-9,
            )
        # the rows done before it appeared took that long
        self._bar.start_t -= progress.seconds

    def draw(self, progress: Progress) -> None:
        bar = self._bar
        bar.n = progress.done
        facts = bar.facts = _facts(progress)
        counts = f"{progress.done}/{progress.rows} [{_clock(progress.seconds)}<"
        taken = len(f"100%|| {counts}{facts['left']}{facts['pace']}]") + _LEAST_BAR
        width = bar.dynamic_ncols(bar.fp)[0] if bar.dynamic_ncols else None
        room = width - taken if width else None
        bar.set_postfix_str(_postfix(progress, room), refresh=False)
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
        facts = _facts(progress)
        counts = f"{progress.done:,}/{progress.rows:,}"
        time = f"{_clock(progress.seconds)}<{facts['left']}{facts['pace']}"
        line = f"{counts} [{time}]"
        postfix = _postfix(progress, None)
        line = f"{share:.0%} {line}{', ' * bool(postfix)}{postfix}"
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


def _facts(progress: Progress) -> dict[str, str]:
    """Return what the bar's format names beside tqdm's own."""
    left = "?" if progress.left is None else _clock(progress.left)
    # why rows wait takes the place of the pace, so that 80 columns hold it
    pace = "" if progress.waiting else f", {short(progress.rate)} rows/s"
    return {"left": left, "pace": pace}


def _postfix(progress: Progress, room: int | None) -> str:
    """Return what there is to say, by importance, as far as the room goes."""
    into, out = progress.input_tokens, progress.output_tokens
    least = "≥" if progress.unpriced else ""
    retries = "retry" if progress.retries == 1 else "retries"
    parts = [
        progress.waiting,
        f"{progress.failed} failed" if progress.failed else "",
        f"{least}${progress.known_cost:.3g}" if progress.known_cost else "",
        f"{progress.retries} {retries}" if progress.retries else "",
        f"{progress.cached} cached" if progress.cached else "",
        f"tokens {short(into)} in {short(out)} out" if into or out else "",
    ]
    shown: list[str] = []
    for part in filter(None, parts):
        if room is None or len(part) + 2 <= room or not shown:
            shown.append(part)
            room = None if room is None else room - len(part) - 2
    return ", ".join(shown)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _wanted() -> bool:
    """Whether somebody is likely to look at a bar."""
    stderr = sys.stderr
    if stderr is None or getattr(stderr, "closed", False):
        return False
    return in_notebook() or stderr.isatty()


def _in_ipython() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if _in_ipython():
        return True
    marimo = sys.modules.get("marimo")
    return bool(marimo is not None and marimo.running_in_notebook())

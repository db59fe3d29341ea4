"""The progress bar."""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_llm.types import Totals

_QUIET_SECONDS = 0.5
_REDRAW_SECONDS = 0.1


class Bar:
    """A tqdm bar that is drawn by whoever calls `tick`.

    It appears after half a second, so that short runs show none, and is redrawn at
    most ten times a second.

    Parameters
    ----------
    totals : Totals
        What to show.
    shown : bool or None
        None shows it in a terminal or a notebook only.
    waiting : callable
        Gives why all wait at the moment, or an empty text.
    """

    def __init__(
        self, totals: Totals, *, shown: bool | None, waiting: Callable[[], str]
    ) -> None:
        self._totals = totals
        self._shown = _wanted() if shown is None else shown
        self._waiting = waiting
        self._started = time.monotonic()
        self._drawn = 0.0
        self._bar: Any = None

    def tick(self) -> None:
        """Draw, if it is time to."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < _REDRAW_SECONDS:
            return
        if self._bar is None and now - self._started < _QUIET_SECONDS:
            return
        if self._bar is None:
            self._bar = _tqdm(self._totals.rows, now - self._started)
        with self._tolerant():
            self._draw()
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Draw the last state."""
        if self._bar is not None and self._shown:
            with self._tolerant():
                self._draw()
                self._bar.close()

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Go on without a bar when the terminal is gone."""
        try:
            yield
        except (OSError, ValueError):
            self._shown = False
            self._bar.disable = True  # or its finalizer would write once more

    def _draw(self) -> None:
        self._bar.n = self._totals.done
        self._bar.set_postfix_str(
            _postfix(self._totals, self._waiting()), refresh=False
        )
        self._bar.refresh()


@cache
def _bars() -> Any:
    from tqdm.auto import tqdm

    # without tqdm's own thread, which would stay: here somebody ticks
    return type("Bars", (tqdm,), {"monitor_interval": 0})


def _tqdm(total: int, elapsed: float) -> Any:
    with warnings.catch_warnings():
        # a notebook without ipywidgets: the text bar is fine
        warnings.simplefilter("ignore")
        # the least delay leaves the first drawing to us, like every other
        bar = _bars()(total=total, unit="row", dynamic_ncols=True, delay=1e-9)
    bar.start_t -= elapsed  # the rows done before it appeared took that long
    return bar


def _postfix(totals: Totals, waiting: str) -> str:
    tokens = totals.input_tokens + totals.output_tokens
    parts = [
        f"{totals.cached} cached" if totals.cached else "",
        f"{totals.failed} failed" if totals.failed else "",
        f"{totals.retries} retried" if totals.retries else "",
        f"{_short(tokens)} tokens" if tokens else "",
        waiting,
    ]
    return ", ".join(part for part in parts if part)


def _short(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def _wanted() -> bool:
    """Whether somebody is likely to look at a bar."""
    stderr = sys.stderr
    if stderr is None or getattr(stderr, "closed", False):
        return False
    return in_notebook() or stderr.isatty()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is not None:
        shell = ipython.get_ipython()
        if shell is not None and hasattr(shell, "kernel"):
            return True
    marimo = sys.modules.get("marimo")
    return bool(marimo is not None and marimo.running_in_notebook())

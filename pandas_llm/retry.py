"""When to try again: backoff for a row, budget and circuit for the run."""

from __future__ import annotations

import random as _random
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_BASE = 0.5
_CAP = 60.0
_GLANCE = 0.5
"""Seconds between looks at an open circuit."""


def backoff(
    attempt: int,
    retry_after: float | None = None,
    random: Callable[[], float] = _random.random,
) -> float:
    """Give the seconds to wait after a failed attempt.

    Exponential with full jitter: uniform in ``[0, min(60, 0.5 * 2**attempt)]``.
    What the server asks for is a floor, and the jitter on it only positive (at
    most 20 %): rows that were told the same second must not come back together.

    Parameters
    ----------
    attempt : int
        How many attempts failed before this one, from 0.
    retry_after : float, optional
        Seconds the server asked for.

    Examples
    --------
    >>> backoff(3, random=lambda: 1.0)
    4.0
    >>> backoff(0, retry_after=10, random=lambda: 0.5)
    11.0
    """
    drawn = random()
    wait = min(_CAP, _BASE * 2.0 ** min(attempt, 16)) * drawn
    if retry_after is None:
        return wait
    return max(wait, retry_after * (1 + 0.2 * drawn))


class Row(Protocol):
    """What the circuit knows of a row that failed."""

    attempts: int
    """Requests sent for it."""
    failures: int
    """Attempts that count against the row's `max_retries`."""


class Circuit:
    """Holds a run back while its server is down, at no row's expense.

    It opens after a streak of failures over several rows, or when the run has
    spent its retries: a fifth of its successes and a floor. While it is open one
    request goes out at growing intervals; the first answer closes it again. The
    attempts of the streak are given back, so an outage costs minutes and no row.

    A row that fails while others are answered has a trouble of its own: it is no
    sign of an outage, and pays with its own attempts. Without this the last rows
    of a run, if none of them can be answered, would look like an outage. For the
    same reason it is a row not asked before, if there is one, that goes out while
    it is open.

    Parameters
    ----------
    patience : float
        Seconds of an outage after which `exhausted` is true.
    clock : callable
        Seconds, monotonic.

    Examples
    --------
    >>> circuit = Circuit(clock=lambda: 0.0)
    >>> circuit.delay()
    0.0
    """

    STREAK = 10
    ROWS = 5
    """A streak over fewer rows says something of the rows, not of the server."""
    FLOOR = 100.0
    SHARE = 0.2
    REFILL = 10.0
    FIRST, LAST = 1.0, 30.0

    def __init__(
        self, patience: float = 900.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.patience = patience
        self._retries = self.FLOOR
        self._streak: list[Row] = []
        self._opened: float | None = None
        self._interval = self.FIRST
        self._next = 0.0
        self._suspects: dict[int, Row] = {}
        """Rows of the streak that opened it."""
        self._blamed: dict[int, Row] = {}
        """Those that were suspects when another row was answered."""
        self._asking: Row | None = None
        """The row that asks again itself, since there is no new one."""
        self.last = False
        """Whether no new rows will come."""

    @property
    def is_open(self) -> bool:
        """Whether the run is held back."""
        return self._opened is not None

    @property
    def exhausted(self) -> bool:
        """Whether the outage has lasted longer than the patience."""
        return self._opened is not None and self._clock() - self._opened > self.patience

    def succeeded(self) -> None:
        """Count an answer, of whatever kind: the server is there."""
        self._retries += self.SHARE
        if self._streak:
            self._streak.clear()
        if self._opened is not None:
            self._opened = self._asking = None
            self._blamed |= self._suspects
            self._suspects = {}
            self._retries = max(self._retries, self.REFILL)

    def failed(self, row: Row) -> None:
        """Count a failure that is worth a retry."""
        if self._own(row) or row is self._asking:
            row.failures += 1
            return
        if self.is_open:
            return
        row.failures += 1
        self._streak.append(row)
        self._retries -= 1.0
        several = len({id(row) for row in self._streak}) >= self.ROWS
        if self._retries < 0 or (several and len(self._streak) >= self.STREAK):
            self._open()

    def _own(self, row: Row) -> bool:
        """Tell whether others were answered since the row's first failure."""
        if id(row) in self._blamed:
            return True
        return row.failures > 0 and all(row is not other for other in self._streak)

    def spares(self, row: Row) -> bool:
        """Open for a row that has used up its tries, if that says nothing of it.

        It does not when nobody was answered since its first failure, another row
        fails too, and there are new rows to find out with.
        """
        if self.is_open or self.last or self._own(row):
            return False
        if len({id(row) for row in self._streak}) == 1:
            return False
        self._open()
        return True

    def _open(self) -> None:
        self._suspects = {id(row): row for row in self._streak}
        for row in self._streak:
            row.failures -= 1
        self._streak.clear()
        self._opened = self._clock()
        self._interval = self.FIRST
        self._next = self._opened + self._interval

    @property
    def due(self) -> bool:
        """Whether a new row may find out if the server is back."""
        return self.is_open and self._clock() >= self._next

    def delay(self, row: Row | None = None) -> float:
        """Give the seconds until this caller may ask again; 0.0 when it may send."""
        if self._opened is None:
            return 0.0
        new = row is None or row.attempts == 0
        wait = self._next - self._clock()
        if not new and not self.last:
            wait += 2 * _GLANCE  # a new one goes first
        if wait > 0:
            return min(wait, _GLANCE)  # an answer may close it meanwhile
        self._asking = None if new else row
        self._interval = min(2 * self._interval, self.LAST)
        self._next = self._clock() + self._interval
        return 0.0

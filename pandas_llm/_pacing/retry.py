"""When to try again: backoff for a row, budget and circuit for the run."""

from __future__ import annotations

import math
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
    """Return the seconds to wait after a failed attempt; attempts count from 0.

    Exponential with full jitter: uniform in ``[0, min(60, 0.5 * 2**attempt)]``. What
    the server asks for is a floor, and the jitter on it only positive (at most 20 %):
    rows that heard the same second must not come back together.
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
    failed: float
    """When the first of them failed."""


class Circuit:
    """Holds a run back while its server is down, at no row's expense.

    It opens after a streak of failures over several rows, or when the run has spent its
    retries: a fifth of its successes and a floor. While it is open one request goes out
    at growing intervals; the first that is answered closes it. The attempts of the
    streak are given back.

    A row has a trouble of its own, and pays with its attempts, when a request was
    answered that left after the row had failed. An answer to an earlier request proves
    nothing: slow answers still come when a server refuses all that is new. It counts
    only when no new rows are left, since nothing better can come.

    A connection that could not be made is never a row's own fault: a server that stops
    listening may go on answering over the connections that it has. Such failures open
    the circuit by themselves.
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
        """Rows of the failures since the last answer to a request that left later."""
        self._began = -math.inf
        """When the first of these failures was noticed."""
        self._earlier = 0
        """Answers since then to requests that had left before."""
        self._opened = math.inf
        self.is_open = False
        """Whether the run is held back."""
        self._interval = self.FIRST
        self._next = 0.0
        self._suspects: dict[int, Row] = {}
        """Rows of the streak that opened it."""
        self._blamed: dict[int, Row] = {}
        """Those that turned out to have a trouble of their own."""
        self._asking: Row | None = None
        """The row that asks again itself, since there is no new one."""
        self.up = -math.inf
        """When the latest request left that was answered."""
        self._heard = -math.inf
        """When the latest answer came."""
        self._last = False
        self._unmade = 0
        """Connections that could not be made, since the last answer."""
        self._away = False
        """Whether that is what opened it."""
        self._others: tuple[tuple[Row, float], ...] = ()
        """The two rows that failed last, and when."""

    @property
    def last(self) -> bool:
        """Whether no new rows will come."""
        return self._last

    @last.setter
    def last(self, last: bool) -> None:
        changed, self._last = last != self._last, last
        if last and changed and self.is_open:
            self._review()

    @property
    def exhausted(self) -> bool:
        """Whether the outage has lasted longer than the patience."""
        return self._clock() - self._opened > self.patience

    def succeeded(self, sent: float, now: float) -> None:
        """Count an answer of any kind to a request that left at `sent`."""
        self._retries += self.SHARE
        self._heard = now
        self.up = max(self.up, sent)
        self._unmade = 0
        if self._streak:
            if sent > self._began:
                self._streak.clear()
            else:
                self._earlier += 1
        if self.is_open:
            self._review()

    def failed(self, row: Row) -> None:
        """Count a failure that is worth a retry."""
        if self._own(row) or row is self._asking:
            row.failures += 1
            return
        if self.is_open:
            return
        if row.failures == 0:
            row.failed = self._clock()
        row.failures += 1
        if not self._streak:
            self._began, self._earlier = self._clock(), 0
        self._streak.append(row)
        before = tuple(pair for pair in self._others if pair[0] is not row)
        self._others = (*before[-1:], (row, self._clock()))
        self._retries -= 1.0
        several = len({id(row) for row in self._streak}) >= self.ROWS
        # one failure in ten beside 256 requests is not an outage: others are answered
        long = len(self._streak) >= max(self.STREAK, self._earlier + 1)
        if self._retries < 0 or (several and long):
            self._open()

    def unmade(self) -> None:
        """Count a connection that could not be made, at no row's expense."""
        if self.is_open:
            return
        self._unmade += 1
        if self._unmade >= self.STREAK:
            self._away = True
            self._open()

    @property
    def _there(self) -> float:
        """When the server was last known to answer."""
        return self._heard if self._last else self.up

    def _own(self, row: Row) -> bool:
        """Return whether others were answered after the row had failed."""
        if id(row) in self._blamed:
            return True
        return row.failures > 0 and self._there > row.failed

    def spares(self, row: Row) -> bool:
        """Open for a row that has used up its tries, if other rows fail too.

        It opens only when nobody was answered since the row's first failure, and when
        there are new rows to find out with.
        """
        if self.is_open or self._last or self._own(row):
            return False
        if all(other is row or at <= self.up for other, at in self._others):
            return False
        self._open()
        return True

    def _open(self) -> None:
        self._suspects = {id(row): row for row in self._streak}
        for row in self._streak:
            row.failures -= 1
        self._streak.clear()
        self._opened = self._clock()
        self.is_open = True
        self._interval = self.FIRST
        self._next = self._opened + self._interval

    def _review(self) -> None:
        """Close when too few of the rows that opened it still speak for an outage."""
        there = self._there
        for key, row in list(self._suspects.items()):
            if there > row.failed:
                self._blamed[key] = self._suspects.pop(key)
        few = len(self._suspects) < self.ROWS and not self._away
        if few or there > self._opened:
            self._opened, self._asking = math.inf, None
            self.is_open = self._away = False
            self._retries = max(self._retries, self.REFILL)

    @property
    def due(self) -> bool:
        """Whether a new row may find out if the server is back."""
        return self.is_open and self._clock() >= self._next

    def delay(self, row: Row | None = None) -> float:
        """Return the seconds until this caller may ask again; 0.0 when it may send."""
        if not self.is_open:
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

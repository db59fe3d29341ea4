"""What refusals tell by the order in which their requests were sent."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pandas_llm._pacing.buckets import Ticket

_LINE: Final = 48  # refusals that an alarm looks at
_STRAY: Final = 0.10  # share of refusals that strays explain while none is known
MOST_STRAYS: Final = 0.35  # a greater share is never taken for strays
_FULL: Final = 0.50  # share of refusals beyond a limit
_ALARM: Final = 9.0  # log-likelihood of a limit at which all stop: six in a row
_SIZES: Final = 12  # refusals whose sizes tell something
_LARGER: Final = 0.1  # by the logarithm; a smaller difference is none
_KEPT: Final = 1024  # requests that are remembered


class Wave:
    """The requests since the last alarm, in the order in which they were sent."""

    def __init__(self) -> None:
        self.count = 0
        """Requests sent so far, of earlier waves too."""
        self.recent: deque[Ticket] = deque(maxlen=_KEPT)
        """The last of them, in that order."""
        self.begin(0.0)

    def begin(self, anchor: float, first: int | None = None) -> None:
        """Start again after a request: what was sent before counts for nothing."""
        self.first = self.count if first is None else first
        self.anchor = anchor
        """When the server was last known to have nothing left."""
        self._line: list[tuple[int, Ticket]] = []

    def refused(self, ticket: Ticket, strays: float, *, alarmed: bool) -> Ticket | None:
        """Return the first of a row of refusals that strays cannot explain."""
        insort(self._line, (ticket.number, ticket))
        del self._line[:-_LINE]
        stray = min(MOST_STRAYS, max(_STRAY, 1.3 * strays))
        up = math.log(_FULL / stray)
        down = math.log((1 - _FULL) / (1 - stray))
        score = _ALARM / 2 if alarmed else 0.0
        before, start = self.first, self._line[0][1]
        for number, one in self._line:
            score = max(0.0, score + down * (number - before - 1))
            if not score:
                start = one
            score += up
            before = number
        return start if score >= _ALARM else None

    def accepted(self, seconds: float, until: Ticket, mean: float) -> float:
        """Count what was not refused in the seconds until a request was sent.

        With the tokens of a mean request, it is of such requests.
        """
        since = until.sent - seconds
        taken = [
            t
            for t in self.recent
            if t.number < until.number and t.sent >= since and not t.refused
        ]
        return sum(t.tokens for t in taken) / mean if mean else len(taken)

    def heavier(self) -> float:
        """Return a request's mean tokens where those refused are larger, else 0.0.

        Each is compared with one that was accepted shortly before, since guesses of
        tokens change as a run learns. That is by their logarithms, four standard errors
        apart: as they are looked at again and again, three are chance in some runs.
        """
        accepted: list[float] = []
        larger_by = []
        for ticket in self.recent:
            size = math.log(max(1.0, ticket.tokens))
            if not ticket.refused:
                accepted.append(size)
            elif accepted:
                larger_by.append(size - accepted.pop())
        if len(larger_by) < _SIZES:
            return 0.0
        error = math.sqrt(pvariance(larger_by) / len(larger_by))
        if fmean(larger_by) <= max(4 * error, _LARGER):
            return 0.0
        return fmean(ticket.tokens for ticket in self.recent)

    def crowds(self) -> tuple[list[int], list[int]]:
        """Return how many were in flight when refused and answered requests left."""
        refused: list[int] = []
        answered: list[int] = []
        there: list[Ticket] = []
        for ticket in self.recent:
            if ticket.number > self.first:
                there = [t for t in there if t.done > ticket.sent]
                if ticket.refused:
                    refused.append(len(there))
                    continue
                if ticket.done < math.inf:
                    answered.append(len(there))
                there.append(ticket)
        return sorted(refused), sorted(answered)


@dataclass(slots=True)
class PaceTest:
    """A count of refusals among the next `need` requests after the `first`.

    It is clean with at most `most` refusals. A slow one asks whether refusals go away
    at a lower pace.
    """

    first: int
    need: int
    begun: float
    most: float
    slow: bool
    ended: float = math.inf
    """When its last request left."""
    bad: int = 0

    def sent(self, number: int, now: float) -> None:
        """Record which request has left."""
        if number == self.first + self.need:
            self.ended = now

    def refused(self, number: int) -> None:
        """Record which request was refused."""
        self.bad += 0 < number - self.first <= self.need

    @property
    def clean(self) -> bool:
        """Whether no more requests were refused than strays explain."""
        return self.bad <= self.most

    @property
    def share(self) -> float:
        """The refusals among its requests."""
        return self.bad / self.need

    @property
    def tight(self) -> float:
        """The greatest share of refusals that its count still allows for."""
        return (self.bad + 2 + 2 * math.sqrt(self.bad)) / self.need

    @property
    def speed(self) -> float:
        """Requests a second."""
        return self.need / max(self.ended - self.begun, 1e-3)

"""Token buckets: explicit, or mirrored from headers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Quota

REQUESTS: Final = 0
TOKENS: Final = 1
INPUT: Final = 2
OUTPUT: Final = 3
_RESERVE: Final = 0.1
"""Share of the server's bucket to leave unused: requests may be miscounted."""
_SOON: Final = 0.006
"""Seconds by which the network may bring one request nearer to another."""
_SPACED: Final = 0.95
"""Of a rate, what is used at least to keep these seconds."""
LATE: Final = 0.02
"""Seconds that a timer may be late at no cost."""
_BUDGET: Final = 3600.0
"""A longer period is a budget to use up, not a pace to keep."""

Amounts = tuple[float, float, float, float]
"""So many of each unit: requests, tokens, those of the input, those of the output."""
_UNKNOWN: Final[Mapping[int, float]] = {}


class Ticket:
    """One request's place in the queue; all tokens are input without `parts`."""

    __slots__ = (
        *("amounts", "due", "levels", "mark", "place", "sent", "tokens"),
        *("crowd", "done", "number", "refused"),
    )

    def __init__(
        self,
        tokens: float,
        place: Amounts,
        now: float,
        parts: tuple[float, float] | None = None,
    ) -> None:
        self.tokens = tokens
        self.amounts: Amounts = (1.0, tokens, *(parts or (tokens, 0.0)))
        self.place = place
        """What was booked before this one, of each unit."""
        self.mark = place
        """What had been sent when it left, itself included."""
        self.levels: Mapping[int, float] = _UNKNOWN
        """What the server was thought to have left then, of what it tells."""
        self.due = self.sent = now
        self.number = -1
        """Which it was in the order of sending, from 1; below zero before it left."""
        self.crowd = 0
        """Requests in flight when it left."""
        self.done = math.inf
        """When it was decided."""
        self.refused = False


class Bucket:
    """A token bucket as one line: all that may have been sent by a time.

    A request leaves when `credit` reaches its place in the queue, so moving the
    line moves all that wait and keeps their order.
    """

    def __init__(
        self, unit: int, rate: float, size: float, now: float, sent: float
    ) -> None:
        self.unit = unit
        self.rate = self.slope = rate
        """Units a second; a mirror's slope is less, by what others take."""
        self.size = size
        self.reserve = 0.0
        self.credit = sent + size
        self.at = now

    def advance(self, now: float, sent: float) -> None:
        """Fill up to now; what is over the size is lost."""
        if now > self.at:
            credit = self.credit + self.slope * (now - self.at)
            self.credit = min(credit, sent + self.size)
            self.at = now

    def resize(self, rate: float, size: float, now: float, sent: float) -> None:
        """Fill at another rate from now on; what has come in stays."""
        self.advance(now, sent)
        self.rate = self.slope = rate
        self.size = size
        self.credit = min(self.credit, sent + size)

    def wait(self, ticket: Ticket) -> float:
        """Return the seconds until its turn; a large one waits for a full bucket."""
        need = min(ticket.amounts[self.unit], self.size)
        return (ticket.place[self.unit] + need - self.credit) / self.slope

    def correct(self, ticket: Ticket, used: float) -> None:
        """Undo what was booked too much."""
        self.credit += ticket.amounts[self.unit] - used


def spaced(rate: float) -> float:
    """Return the rate at which a server that grants no burst takes all."""
    return rate * max(_SPACED, 1.0 - _SOON * rate)


class Mirror(Bucket):
    """The server's own bucket, as the headers of its answers show it.

    What an answer says is left is compared with what was expected when its request
    came. A fixed window, full again at its end, is a bucket with ``remaining - rate *
    reset`` left.
    """

    def __init__(
        self, unit: int, quota: Quota, ticket: Ticket, now: float, sent: float
    ) -> None:
        limit = quota.limit or 1.0
        self._quota = (quota.limit, quota.period)
        self.share = 1.0
        """Of the requests, those that the server counts here."""
        rate = limit / quota.period
        amount = ticket.amounts[unit]
        size = rate / 4
        self._windowed = _is_window(quota)
        if self._windowed:
            size = max(rate, 5.0 * amount)
        elif quota.remaining is not None:
            missing = amount if quota.reset is None else quota.reset * rate
            size = quota.remaining + missing
        super().__init__(unit, rate, max(1.0, min(limit, size)), now, sent)
        self.budget = quota.period > _BUDGET
        if not self.budget:
            self.reserve = min(_RESERVE * self.size, self.size - 1.0)
            self.size -= self.reserve
        self.shift = 0.0
        """All that the line was moved by, to compute the level at any time."""
        self._drift = self._kept = 0.0
        self._newest = ticket.mark[unit]
        self._told = ticket.sent
        left = self._left(quota)
        if left is not None:
            since = rate * (now - ticket.sent) - (sent - self._newest)
            self.credit = sent + min(left + since, self.size)

    def fits(self, quota: Quota) -> bool:
        """Return whether the quota is still of this rate and kind."""
        if quota.limit is None or quota.limit < 1:
            return True
        if (quota.limit, quota.period) != self._quota:
            return False
        return self._windowed or not _is_window(quota)

    def scale(self, share: float, now: float, sent: float) -> None:
        """Grant as much as a server does that counts only a share of the requests.

        Its burst stays: chance does not divide so few evenly.
        """
        self.advance(now, sent)
        by, self.share = self.share / share, share
        self.rate *= by
        self.slope *= by
        self._drift *= by

    def correct(self, ticket: Ticket, used: float) -> None:
        """Undo what was booked too much, unless an answer has shown it already."""
        if ticket.mark[self.unit] > self._newest:
            self._move(ticket.amounts[self.unit] - used)

    def keep(self, headroom: float) -> None:
        """Keep a part back for others, by the server's own count of what is left."""
        if headroom == self._kept:
            return
        self._kept = headroom
        if not self.budget:
            total = self.size + self.reserve
            self._hold_back(min(max(_RESERVE, headroom) * total, total - 1.0))
            return
        limit = self._quota[0] or 0.0
        more = headroom * limit - self.reserve
        self.reserve += more
        self.size = max(1.0, limit - self.reserve)
        self._move(-more)

    def measure(
        self, ticket: Ticket, quota: Quota, now: float, sent: float, *, refused: bool
    ) -> None:
        """Record what an answer, or a refusal, says is left."""
        mark, amount = ticket.mark[self.unit], ticket.amounts[self.unit]
        thought, left = ticket.levels.get(self.unit), self._left(quota)
        if mark <= self._newest or left is None or thought is None:
            return  # a request sent later has told more
        if self.size < 3 * amount:
            return  # too small to tell anything
        if self._windowed and now - ticket.sent > (quota.reset or 0.0):
            return  # of a window that may be over
        elapsed = ticket.sent - self._told
        self._newest, self._told = mark, ticket.sent
        level = self.credit - sent
        near = 0.9 * self.size
        if left >= near and level >= near and abs(self._drift) < 0.01 * self.rate:
            return  # far from any limit: be quick
        self.size = max(self.size, left)
        error = left - thought - self.shift
        if not (self._windowed or refused):
            age = max(1.0, now - ticket.sent)
            full = left + 2 * amount >= near
            self._learn_drift(error / (4.0 * age), elapsed / age if full else 0.0)
        self._move(0.6 * error)
        least = max(_RESERVE, self._kept)
        if self.reserve > least * (self.size + self.reserve):
            self._hold_back(0.995 * self.reserve)

    def refused(self, ticket: Ticket, sent: float) -> bool:
        """Return whether this bucket explains a refusal; if so, keep more back."""
        amount = ticket.amounts[self.unit]
        small = self.size < 3 * amount
        if small and self.unit == REQUESTS:  # it may have come a moment too soon
            rate = (self._quota[0] or 1.0) / self._quota[1] / self.share
            self.rate = self.slope = spaced(rate)
        if small or self.credit - sent >= amount:
            return False
        self._hold_back(self.reserve + amount)
        return True

    def _left(self, quota: Quota) -> float | None:
        if quota.remaining is None:
            return None
        later = (quota.reset or 0.0) * self.rate * self.share if self._windowed else 0.0
        return quota.remaining - later - self.reserve

    def _learn_drift(self, by: float, idle: float) -> None:
        """Learn what others take and what our counts miss; forget it when idle."""
        drift = (self._drift + by) * max(0.0, 1.0 - idle)
        self._drift = max(-0.9 * self.rate, min(drift, 0.5 * self.rate))
        self.slope = self.rate + self._drift

    def _move(self, by: float) -> None:
        self.credit += by
        self.shift += by

    def _hold_back(self, reserve: float) -> None:
        if not self.budget:
            most = max(0.5, self._kept) * (self.size + self.reserve)
            more = min(reserve, most) - self.reserve
            self.reserve += more
            self.size -= more
            self._move(-more)


def _is_window(quota: Quota) -> bool:
    """Distinguish a window, filled at its end, from a bucket that always fills."""
    if quota.reset is None or quota.remaining is None or quota.limit is None:
        return False
    if quota.reset > quota.period:
        return False  # it is of something else: OpenAI's example says 6m0s for a minute
    full = quota.remaining + quota.reset * quota.limit / quota.period
    return quota.period <= _BUDGET and full > 1.1 * quota.limit + 1

"""The limits of an account that somebody has stated: the caller, or headers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pandas_llm._pacing.buckets import LATE, REQUESTS, Bucket, Mirror, spaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._pacing.buckets import Amounts, Ticket
    from pandas_llm.types import Quota, Quotas

_PerMinute: TypeAlias = tuple[float | None, float | None]
_STRICTEST: Final = 1 / 8
"""The part of a burst below which no smaller one helps."""
_NOTHING: Final = 1e-9
"""Units a second that stand for a part of zero."""
_MEMORY: Final = 0.98
"""The weight that older answers keep with each new one: the last 50 count most."""
_FORGOTTEN: Final = 1e-4
"""The weight of an answer that counts no more: after 450 others."""
_ALIKE: Final = 1.25
"""Two limits that are nearer to each other are one that changes a little."""
_RARE: Final = 0.05
"""A limit told so much less often than the most frequent makes nobody wait."""
_SURPRISE: Final = 10.0
"""How unlikely it must be that a limit holds when nobody tells it; a logarithm."""
_FAR: Final = 10.0
"""Periods after which a reset is believed, and no mistake for the period's end."""


class Headroom:
    """The part of the known limits that a run leaves to others; it may be changed.

    >>> headroom = Headroom(0.2, lambda part: None)
    >>> headroom.heard.append(lambda: print(headroom.part))
    >>> headroom.part = 0.5
    0.5
    """

    def __init__(self, part: float, check: Callable[[Any], object]) -> None:
        self._part = part
        self._check = check
        self.heard: list[Callable[[], None]] = []
        """What hears of a change: the limiters that the run uses."""

    @property
    def part(self) -> float:
        """The part; `check` raises for what cannot be one."""
        return self._part

    @part.setter
    def part(self, part: float) -> None:
        self._check(part)
        if part != self._part:
            self._part = part
            for hear in tuple(self.heard):
                hear()


class Limits:
    """Explicit limits and those that headers state, of each of the four units."""

    def __init__(self) -> None:
        self.bounds: list[tuple[_PerMinute, Headroom | None]] = []
        """Of each open run: requests and tokens a minute, and what it leaves."""
        self.headroom = 0.0
        """The part of all limits that is left to others."""
        self.part: float | None = None
        """This process's part of the limits; None where it has all."""
        self.buckets: tuple[Bucket, ...] = ()
        """What holds requests back at the moment."""
        self.spent = -math.inf
        """Until when headers say that nothing is left of a limit without a number."""
        self._explicit: dict[int, Bucket] = {}
        self._mirrors: dict[int, Mirror] = {}
        self._upstreams = tuple(Upstreams() for _ in range(4))
        self._burst = 1.0
        """The part of the usual burst that the server grants, by its refusals."""
        self._explained = 0
        """Requests sent when a mirror last explained a refusal."""

    def share(self, part: float | None, now: float, sent: Amounts) -> None:
        """Keep to a part of the limits from now on."""
        changed, self.part = (part is None) != (self.part is None), part
        if changed:
            self._explicit.clear()
        self.rebind(now, sent)

    def rebind(self, now: float, sent: Amounts) -> None:
        """Follow bounds that have changed; of several the least holds."""
        parts = [room.part for _, room in self.bounds if room is not None]
        self.headroom = headroom = max(parts, default=0.0)
        for unit in range(4):
            limits = [stated[unit] for stated, _ in self.bounds if unit < len(stated)]
            rates = [limit / 60 for limit in limits if limit is not None and limit > 0]
            mirror, part, most = self._mirrors.get(unit), self.part, 0.0
            if mirror is not None:
                mirror.keep(headroom)
                if not mirror.budget and (part is not None or headroom > 0):
                    if part is None and not any(rate < mirror.rate for rate in rates):
                        most = (mirror.size + mirror.reserve) * (1.0 - headroom)
                    rates.append(mirror.rate)
            rate = min(rates, default=0.0) * (1.0 - headroom)
            if unit == REQUESTS and self._burst < _STRICTEST:
                rate = spaced(rate)
            self._set(unit, rate, most, now, sent[unit])
        # of a part, what is left there is for others too
        mirrors = [m for m in self._mirrors.values() if self.part is None or m.budget]
        self.buckets = (*self._explicit.values(), *mirrors)

    def _set(
        self, unit: int, rate: float, most: float, now: float, sent: float
    ) -> None:
        """Set an explicit limit; `most` is a burst that the server is known for."""
        bucket, part = self._explicit.get(unit), self.part
        if not rate:
            self._explicit.pop(unit, None)
            return
        if part is not None:
            rate = max(_NOTHING, rate * part)
        size = max(rate / 5, most)
        if unit == REQUESTS:
            # bursts so small that any server of this rate grants them, though those of
            # several processes meet there
            size = max(1.0, rate / 8, most)
            size = min(size, max(1.0 + rate * LATE, self._burst * size))
        if bucket is None:
            bucket = self._explicit[unit] = Bucket(unit, rate, size, now, sent)
            if part is not None:
                bucket.credit = sent  # several that begin full are a burst
        elif bucket.rate != rate or bucket.size != size:
            bucket.resize(rate, size, now, sent)

    @property
    def told(self) -> bool:
        """Whether the caller or headers have stated a limit."""
        return bool(self._explicit or self._mirrors)

    def advance(self, now: float, sent: Amounts) -> None:
        """Fill all buckets up to now."""
        for bucket in self.buckets:
            bucket.advance(now, sent[bucket.unit])

    def told_wait(self, first: Ticket) -> float:
        """Return the seconds until a request's turn by what headers say."""
        budgets = (mirror for mirror in self._mirrors.values() if mirror.budget)
        return max((mirror.wait(first) for mirror in budgets), default=0)

    def levels(self, sent: Amounts) -> dict[int, float]:
        """Return what the server is thought to have left, by the mirrors."""
        mirrors = self._mirrors.items()
        return {unit: m.credit - m.shift - sent[unit] for unit, m in mirrors}

    def rates(self, mean: Amounts, sent: Amounts) -> list[float]:
        """Return the requests a second that each bucket grants in the long run."""
        rates = []
        for bucket in self.buckets:
            unit = max(1.0, mean[bucket.unit])
            spare = bucket.credit - sent[bucket.unit]
            if isinstance(bucket, Mirror) and bucket.budget and spare >= unit:
                continue
            rates.append(bucket.rate / unit)
        return rates

    def correct(self, ticket: Ticket, used: Amounts, quotas: Quotas | None) -> None:
        """Undo what was booked too much, where the headers do not say it."""
        for bucket in self.buckets:
            unit = bucket.unit
            stated = quotas is not None and quotas[unit] is not None
            if unit != REQUESTS and not (stated and isinstance(bucket, Mirror)):
                bucket.correct(ticket, used[unit])

    def refused(
        self, ticket: Ticket, quotas: Quotas | None, now: float, sent: Amounts
    ) -> None:
        """Record a refusal, which may show that a mirror keeps too little back."""
        self.advance(now, sent)
        for mirror in self._mirrors.values():
            mirror.correct(ticket, 0.0)
        if quotas is not None:
            self.learn(ticket, quotas, now, sent, refused=True)
        if ticket.number > self._explained:  # once a wave
            for mirror in self._mirrors.values():
                if mirror.refused(ticket, sent[mirror.unit]):
                    self._explained = int(sent[REQUESTS])
            if self._explicit and self._burst > _STRICTEST / 2:
                self._burst /= 2
                self._explained = int(sent[REQUESTS])
                self.rebind(now, sent)

    def learn(
        self,
        ticket: Ticket,
        quotas: Quotas,
        now: float,
        sent: Amounts,
        *,
        refused: bool = False,
    ) -> None:
        """Record what the headers of an answer say."""
        for unit, quota in enumerate(quotas):
            if quota is None or quota.period <= 0:
                continue
            if quota.remaining is not None and quota.remaining < 1 and quota.reset:
                far = quota.reset > _FAR * quota.period
                if far or quota.limit is None:
                    self.spent = max(self.spent, now + min(quota.reset, 1e9))
            mirror = self._mirrors.get(unit)
            if mirror is None and (quota.limit is None or quota.limit < 1):
                continue
            binds = self._upstreams[unit].hear(quota)
            if mirror is not None and mirror.fits(quota):
                mirror.measure(ticket, quota, now, sent[unit], refused=refused)
            elif binds:
                mirror = Mirror(unit, quota, ticket, now, sent[unit])
                self._mirrors[unit] = mirror
                self.rebind(now, sent)
            share = self._upstreams[unit].share
            if mirror is not None and binds and mirror.share != share:
                mirror.scale(share, now, sent[unit])
                self.rebind(now, sent)


class Upstreams:
    """The limits of one unit that answers tell: several, where a gateway has several.

    Each holds for the requests that its upstream gets, by how many of the latest
    answers told it.
    """

    def __init__(self) -> None:
        self.share = 1.0
        """Of the requests, those for which the limit holds that binds first."""
        self._counts: dict[tuple[float, float], float] = {}
        """How many of the latest answers told each, with its period."""
        self._missed: dict[tuple[float, float], float] = {}
        """By how much it surprises that none tells it, of each that still holds."""

    def hear(self, quota: Quota) -> bool:
        """Record which limit an answer tells; return whether that one binds first."""
        if quota.limit is None or quota.limit < 1:
            return False
        counts, missed = self._counts, self._missed
        told = quota.limit, quota.period
        if len(counts) == 1 and told in counts:  # nearly always
            counts[told] = counts[told] * _MEMORY + 1.0
            return True
        total = sum(counts.values())
        for limit, period in counts:
            if period == told[1] and 1 / _ALIKE < limit / told[0] < _ALIKE:
                told = limit, period
        for one in missed:
            missed[one] -= math.log(max(1e-9, 1.0 - counts[one] / total))
        missed[told] = 0.0
        counts = {one: n * _MEMORY for one, n in counts.items() if n > _FORGOTTEN}
        counts[told] = counts.get(told, 0.0) + 1.0
        self._counts = counts
        self._missed = missed = {
            one: by for one, by in missed.items() if by < _SURPRISE and one in counts
        }
        rare = _RARE * max(counts[one] for one in missed)
        binding = (one for one in missed if counts[one] >= rare)
        least = min(binding, key=lambda one: one[0] / one[1] / counts[one])
        self.share = counts[least] / sum(counts[one] for one in missed)
        return told == least


def added(one: Amounts, other: Amounts, of: float = 1.0, to: float = 1.0) -> Amounts:
    """Return a weighted sum of amounts, unit by unit."""
    (a, b, c, d), (e, f, g, h) = one, other
    return of * a + to * e, of * b + to * f, of * c + to * g, of * d + to * h

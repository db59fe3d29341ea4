"""The account's rate limits: one `RateLimiter` for all runs on an account."""

from __future__ import annotations

import math
import random as _random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pandas_llm._pacing.buckets import (
    INPUT,
    REQUESTS,
    TOKENS,
    Bucket,
    Mirror,
    Ticket,
    explicit,
)
from pandas_llm._pacing.concurrency import Concurrency
from pandas_llm._pacing.guess import HOLD, Guess
from pandas_llm._pacing.tokens import Calibration, estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from pandas_llm._pacing.buckets import Amounts
    from pandas_llm.types import Quotas

__all__ = [
    "Calibration",
    "Concurrency",
    "RateLimiter",
    "Ticket",
    "estimate_tokens",
    "shared_limiter",
]

_JITTER: Final = 0.2
_INSTANT: Final = 1e-6
"""Seconds that are no wait: what rounding leaves of one."""
_GLANCE: Final = 0.1
"""A longer wait is looked at again half-way: answers may bring good news."""
_HEARING: Final = 0.01  # seconds
_LOST: Final = 30.0
"""Seconds after its turn until a ticket that nobody asks for is given up."""
_FAR: Final = 10.0
"""Periods after which a reset is believed, and no mistake for the period's end."""
_LEASED: Final = 0.25
"""The longest wait with a part of the limits: the part may have grown."""
_ROW: Final = (0.5, 4.0)
"""Seconds that a refused row sleeps at most: at first, and later."""


class RateLimiter:
    """Paces requests and tokens on an account; pure, for any thread and event loop.

    Limits come from `bound`, from the headers of answers and from refusals. Call
    `reserve`, sleep as long as `delay` says, send, then `settle` or `reject`.

    >>> limiter = RateLimiter(clock=lambda: 0.0)
    >>> with limiter.bound(60, None):
    ...     tickets = [limiter.reserve(100) for _ in range(2)]
    ...     [limiter.delay(ticket) for ticket in tickets]
    [0.0, 0.5]
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._random = random
        self._last = -math.inf
        self._heard = -math.inf
        self._skew = 0.0
        # the queue
        self._queue: dict[Ticket, None] = {}
        self._gaps = False
        self._booked = self._sent = self._mean = (0.0, 0.0, 0.0, 0.0)
        # the limits
        self._bounds: list[tuple[float | None, float | None]] = []
        self._part: float | None = None
        self._explicit: list[Bucket | None] = [None] * 4
        self._mirrors: list[Mirror | None] = [None] * 4
        self._buckets: tuple[Bucket, ...] = ()
        self._spent = -math.inf
        """Until when the headers say that nothing is left, of a limit not known."""
        self._guess = Guess()
        self._explained = 0
        """Requests sent when a mirror last explained a refusal."""

    @contextmanager
    def bound(
        self, requests_per_minute: float | None, tokens_per_minute: float | None
    ) -> Iterator[None]:
        """Hold a run's explicit limits while it lives; of several the least hold."""
        limits = (requests_per_minute, tokens_per_minute)
        with self._lock:
            self._bounds.append(limits)
            self._rebound()
        try:
            yield
        finally:
            with self._lock:
                self._bounds.remove(limits)
                self._rebound()

    def reserve(
        self, tokens: float, parts: tuple[float, float] | None = None
    ) -> Ticket:
        """Join the queue, or leave at once; `parts` are input and output tokens."""
        with self._lock:
            now = self._now()
            ticket = Ticket(tokens, self._booked, now, parts)
            self._enqueue(ticket)
            if len(self._queue) == 1:
                if self._buckets or now < self._spent or not self._guess.idle:
                    self._pass(ticket, now)
                else:  # nearly always
                    self._queue.clear()
                    self._leave(ticket, now)
            return ticket

    def delay(self, ticket: Ticket) -> float:
        """Return the seconds to sleep before asking again; at 0.0 it has left."""
        if ticket.number >= 0:
            return 0.0
        with self._lock:
            now = self._now()
            if ticket not in self._queue:
                self._enqueue(ticket)
            return self._pass(ticket, now)

    def listens(self) -> bool:
        """Return whether to read headers, 14 µs each: 100 a second are enough."""
        now = self._clock()
        if 0 <= now - self._heard < _HEARING:
            return False
        self._heard = now
        return True

    def settle(
        self,
        ticket: Ticket,
        used: float | None,
        quotas: Quotas | None,
        parts: tuple[float, float] | None = None,
    ) -> None:
        """Record an answer that is no refusal: tokens used, what its headers tell."""
        with self._lock:
            now = self._advance() if self._buckets else self._now()
            self._guess.answered(ticket, now)
            if used is not None:
                amounts = (1.0, used, *(parts or (used, 0.0)))
                self._mean = _sum(self._mean, amounts, 0.98, 0.02)
                for bucket in self._buckets:
                    unit = bucket.unit
                    told = quotas is not None and quotas[unit] is not None
                    if unit != REQUESTS and not (told and bucket in self._mirrors):
                        bucket.correct(ticket, amounts[unit])
            if quotas is not None:
                self._learn(ticket, quotas, now)

    def reject(
        self,
        ticket: Ticket,
        retry_after: float | None,
        quotas: Quotas | None,
        tries: int = 1,
    ) -> float:
        """Record a row's refusal number `tries`; return the seconds to sleep."""
        asked = None if retry_after is None else min(max(0.0, retry_after), 1e9)
        with self._lock:
            now = self._advance()
            for mirror in self._mirrors:
                if mirror is not None:
                    mirror.correct(ticket, 0.0)
            if quotas is not None:
                self._learn(ticket, quotas, now, refused=True)
            if ticket.number > self._explained:
                self._explain(ticket)
            self._guess.refused(ticket, now, asked)
        drawn = self._random()
        if asked is not None:
            return asked * (1.0 + _JITTER * drawn)
        first, most = _ROW
        return min(most, first * 2.0 ** min(tries - 1, 16)) * drawn

    def release(self, ticket: Ticket) -> None:
        """Release the place of a request that was never sent or has no end."""
        if ticket.done < math.inf:
            return
        with self._lock:
            if ticket.number > 0:
                self._guess.decided(ticket, self._now())
            elif ticket in self._queue:
                del self._queue[ticket]
                self._gaps = True

    def share(self, part: float | None) -> None:
        """Keep to a part of the limits: other processes have the rest; None: none."""
        with self._lock:
            changed, self._part = (part is None) != (self._part is None), part
            if changed:
                self._explicit = [None] * 4
            self._rebound()

    @property
    def wanting(self) -> bool:
        """Whether requests wait for a limit."""
        return bool(self._queue)

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no answer yet, of all runs."""
        return self._guess.flight

    def waiting(self) -> float:
        """Return the seconds until any request may leave; 0.0 when one may."""
        with self._lock:
            now = self._now()
            return max(0.0, self._spent - now, self._guess.shut(now))

    @property
    def cap(self) -> float:
        """How many may be in flight now; infinity when nothing speaks for a number."""
        if self._guess.cap.least == math.inf:
            return math.inf
        with self._lock:
            return self._guess.cap.at(self._now())

    def plan(self) -> float | None:
        """Return the requests a second granted in the long run; None without limits."""
        with self._lock:
            return self._plan()

    def tokens_per_minute(self) -> float:
        """Return the least limit on tokens that is known; infinity without one."""
        of = (TOKENS, INPUT)
        rates = [bucket.rate for bucket in self._buckets if bucket.unit in of]
        return 60 * min(rates, default=math.inf)

    # -- the queue ---------------------------------------------------------------

    def _now(self) -> float:
        now = self._clock() + self._skew
        if now < self._last:
            self._skew += self._last - now
            now = self._last
        self._last = now
        return now

    def _enqueue(self, ticket: Ticket) -> None:
        if self._gaps:
            self._close_gaps()
        ticket.place = self._booked
        self._booked = _sum(self._booked, ticket.amounts)
        self._queue[ticket] = None

    def _close_gaps(self) -> None:
        place = self._sent
        for ticket in self._queue:
            ticket.place = place
            place = _sum(place, ticket.amounts)
        self._booked = place
        self._gaps = False

    def _wait(self, ticket: Ticket, now: float) -> float:
        first = next(iter(self._queue))
        if first.due + _LOST < now and first is not ticket:
            del self._queue[first]  # its run died; it would block all behind it
            self._gaps = True
        if self._gaps:
            self._close_gaps()
        pace = max(self._spent - now, self._guess.wait(ticket, now, ticket is first))
        for bucket in self._buckets:
            bucket.advance(now, self._sent[bucket.unit])
            pace = max(pace, bucket.wait(ticket))
        if self._part is not None:
            pace = min(pace, _LEASED)
        return pace if pace < _GLANCE else max(_GLANCE, pace / 2)

    def _pass(self, ticket: Ticket, now: float) -> float:
        """Let a request leave, or give the seconds until its turn."""
        wait = self._wait(ticket, now)
        ticket.due = now + wait
        if wait > _INSTANT:
            return wait
        self._gaps = self._gaps or ticket is not next(iter(self._queue))
        del self._queue[ticket]
        self._leave(ticket, now)
        return 0.0

    def _leave(self, ticket: Ticket, now: float) -> None:
        if not self._sent[REQUESTS]:
            self._mean = ticket.amounts
        self._sent = ticket.mark = _sum(self._sent, ticket.amounts)
        ticket.sent = now
        self._guess.sent(ticket, now)
        if self._buckets:
            ticket.levels = tuple(_level(m, self._sent) for m in self._mirrors)

    # -- the limits --------------------------------------------------------------

    def _advance(self) -> float:
        now = self._now()
        for bucket in self._buckets:
            bucket.advance(now, self._sent[bucket.unit])
        return now

    def _collect(self) -> None:
        mirrors = self._mirrors
        if self._part is not None:  # what is left there is for others too
            mirrors = [m if m is not None and m.budget else None for m in mirrors]
        buckets = (*self._explicit, *mirrors)
        self._buckets = tuple(bucket for bucket in buckets if bucket is not None)

    def _rebound(self) -> None:
        now = self._now()
        for unit in range(4):
            limits = [b[unit] for b in self._bounds if unit < len(b)]
            rates = [limit / 60 for limit in limits if limit is not None and limit > 0]
            mirror, part = self._mirrors[unit], self._part
            if part is not None and mirror is not None and not mirror.budget:
                rates.append(mirror.rate)
            bucket, sent = self._explicit[unit], self._sent[unit]
            rate = min(rates, default=0.0)
            self._explicit[unit] = explicit(bucket, unit, rate, part, now, sent)
        self._collect()

    def _learn(
        self, ticket: Ticket, quotas: Quotas, now: float, *, refused: bool = False
    ) -> None:
        for unit, quota in enumerate(quotas):
            if quota is None or quota.period <= 0:
                continue
            if quota.remaining is not None and quota.remaining < 1 and quota.reset:
                far = quota.reset > _FAR * quota.period
                if far or quota.limit is None:
                    self._spent = max(self._spent, now + min(quota.reset, 1e9))
            mirror, sent = self._mirrors[unit], self._sent[unit]
            if mirror is None and (quota.limit is None or quota.limit < 1):
                continue
            if mirror is None or not mirror.fits(quota):
                self._mirrors[unit] = Mirror(unit, quota, ticket, now, sent)
                self._rebound() if self._part is not None else self._collect()
            else:
                mirror.measure(ticket, quota, now, sent, refused=refused)

    def _plan(self) -> float | None:
        rates = []
        for bucket in self._buckets:
            unit = max(1.0, self._mean[bucket.unit])
            spare = bucket.credit - self._sent[bucket.unit]
            if isinstance(bucket, Mirror) and bucket.budget and spare >= unit:
                continue
            rates.append(bucket.slope / unit)
        if self._guess.state == HOLD and self._guess.pace is not None:
            rates.append(self._guess.pace.rate)
        return min(rates, default=None)

    def _explain(self, ticket: Ticket) -> None:
        """Have a mirror that explains a refusal keep more back; once a wave."""
        for mirror in self._mirrors:
            if mirror is not None and mirror.refused(ticket, self._sent[mirror.unit]):
                self._explained = int(self._sent[REQUESTS])


def _sum(one: Amounts, other: Amounts, of: float = 1.0, to: float = 1.0) -> Amounts:
    """Add amounts up, unit by unit."""
    (a, b, c, d), (e, f, g, h) = one, other
    return of * a + to * e, of * b + to * f, of * c + to * g, of * d + to * h


def _level(mirror: Mirror | None, sent: Amounts) -> float | None:
    return None if mirror is None else mirror.credit - mirror.shift - sent[mirror.unit]


_limiters: dict[Hashable, RateLimiter] = {}
_limiters_lock = threading.Lock()


def shared_limiter(key: Hashable) -> RateLimiter:
    """Return the process's one limiter of an account; made at first use."""
    with _limiters_lock:
        if key not in _limiters:
            _limiters[key] = RateLimiter()
        return _limiters[key]

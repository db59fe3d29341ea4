"""The account's rate limits: one `RateLimiter` for all runs on an account."""

from __future__ import annotations

import math
import random as _random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pandas_llm._pacing.buckets import INPUT, REQUESTS, TOKENS, Ticket
from pandas_llm._pacing.guess import Guess
from pandas_llm._pacing.limits import Limits, added

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from pandas_llm._pacing.limits import Headroom
    from pandas_llm.types import Quotas

_JITTER: Final = 0.2
_INSTANT: Final = 1e-6
"""A wait so short that only rounding can have left it."""
_GLANCE: Final = 0.1
"""A longer wait is looked at again half-way: answers may bring good news."""
_LONGEST: Final = 0.5
"""The longest time without a look: answers may give back most of what was booked."""
_HEARING: Final = 0.01  # seconds
_LOST: Final = 30.0
"""Seconds after its turn until a ticket that nobody asks for is given up."""
_LEASED: Final = 0.25
"""The longest wait with a part of the limits: the part may grow."""
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
        self._queue: dict[Ticket, None] = {}
        self._gaps = False
        self._booked = self._sent = self._mean = (0.0, 0.0, 0.0, 0.0)
        self._limits = Limits()
        self._guess = Guess()

    @contextmanager
    def bound(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        headroom: Headroom | None = None,
    ) -> Iterator[None]:
        """Hold a run's explicit limits while it lives; of several the least hold."""
        bound = ((requests_per_minute, tokens_per_minute), headroom)
        heard = [] if headroom is None else headroom.heard
        with self._lock:
            self._limits.bounds.append(bound)
            self._limits.rebind(self._now(), self._sent)
        heard.append(self._rebind)
        try:
            yield
        finally:
            heard.remove(self._rebind)
            with self._lock:
                self._limits.bounds.remove(bound)
                # of a part, what comes in between two runs is not lost
                if self._limits.bounds or self._limits.part is None:
                    self._limits.rebind(self._now(), self._sent)

    def _rebind(self) -> None:
        with self._lock:
            self._limits.rebind(self._now(), self._sent)

    def reserve(
        self, tokens: float, parts: tuple[float, float] | None = None
    ) -> Ticket:
        """Join the queue, or leave at once; `parts` are input and output tokens."""
        with self._lock:
            now = self._now()
            ticket = Ticket(tokens, self._booked, now, parts)
            limits = self._limits
            limited = limits.buckets or now < limits.spent or not self._guess.idle
            if not (limited or self._queue):  # nearly always
                self._leave(ticket, now)
                self._booked, self._gaps = self._sent, False
                return ticket
            self._enqueue(ticket)
            if len(self._queue) == 1:
                self._pass(ticket, now)
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
        """Record an answer that was not refused: its tokens and its headers."""
        limits = self._limits
        with self._lock:
            now = self._now()
            if limits.buckets:
                limits.advance(now, self._sent)
            self._guess.answered(ticket, now)
            if used is not None:
                amounts = (1.0, used, *(parts or (used, 0.0)))
                self._mean = added(self._mean, amounts, 0.98, 0.02)
                if limits.buckets:
                    limits.correct(ticket, amounts, quotas)
            if quotas is not None:
                limits.learn(ticket, quotas, now, self._sent)

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
            now = self._now()
            self._limits.refused(ticket, quotas, now, self._sent)
            self._guess.refused(ticket, now, asked)
        drawn = self._random()
        if asked is not None:
            return asked * (1.0 + _JITTER * drawn)
        first, most = _ROW
        return min(most, first * 2.0 ** min(tries - 1, 16)) * drawn

    def release(self, ticket: Ticket) -> None:
        """Release the place of a request that was never sent or was cancelled."""
        if ticket.done < math.inf:
            return
        with self._lock:
            if ticket.number > 0:
                self._guess.decided(ticket, self._now())
            elif ticket in self._queue:
                del self._queue[ticket]
                self._gaps = True

    def share(self, part: float | None) -> None:
        """Keep to a part of the limits beside other processes; None for all."""
        with self._lock:
            self._limits.share(part, self._now(), self._sent)

    @property
    def told(self) -> bool:
        """Whether a limit is known, by the caller or by headers."""
        return self._limits.told

    @property
    def wanting(self) -> bool:
        """Whether requests wait for a limit."""
        return bool(self._queue)

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no answer yet, of all runs."""
        return self._guess.flight

    def waiting(self) -> float:
        """Return the seconds that the server makes all wait; 0.0 when one may leave."""
        with self._lock:
            now = self._now()
            first = next(iter(self._queue), None)
            told = 0.0 if first is None else self._limits.told_wait(first)
            return max(0.0, self._limits.spent - now, self._guess.shut(now), told)

    @property
    def cap(self) -> float:
        """How many may be in flight now; infinity without a known cap."""
        if self._guess.cap.least == math.inf:
            return math.inf
        with self._lock:
            return self._guess.cap.at(self._now())

    def plan(self) -> float | None:
        """Return the requests a second granted in the long run; None without limits."""
        with self._lock:
            rates = self._limits.rates(self._mean, self._sent)
            if (guessed := self._guess.plan) < math.inf:
                rates.append(guessed)
            return min(rates, default=None)

    def tokens_per_minute(self) -> float:
        """Return the least limit on tokens that is known; infinity without one."""
        buckets = self._limits.buckets
        rates = [bucket.rate for bucket in buckets if bucket.unit in {TOKENS, INPUT}]
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
        self._booked = added(self._booked, ticket.amounts)
        self._queue[ticket] = None

    def _close_gaps(self) -> None:
        place = self._sent
        for ticket in self._queue:
            ticket.place = place
            place = added(place, ticket.amounts)
        self._booked = place
        self._gaps = False

    def _wait(self, ticket: Ticket, now: float) -> float:
        first = next(iter(self._queue))
        if first.due + _LOST < now and first is not ticket:
            del self._queue[first]  # its run died; it would block all behind it
            self._gaps = True
        if self._gaps:
            self._close_gaps()
        pace = max(
            self._limits.spent - now, self._guess.wait(ticket, now, ticket is first)
        )
        for bucket in self._limits.buckets:
            bucket.advance(now, self._sent[bucket.unit])
            pace = max(pace, bucket.wait(ticket))
        if self._limits.part is not None or self._limits.headroom:
            pace = min(pace, _LEASED)
        return pace if pace < _GLANCE else max(_GLANCE, min(pace / 2, _LONGEST))

    def _pass(self, ticket: Ticket, now: float) -> float:
        """Let a request leave, or return the seconds until its turn."""
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
        self._sent = ticket.mark = added(self._sent, ticket.amounts)
        ticket.sent = now
        self._guess.sent(ticket, now)
        if self._limits.buckets:
            ticket.levels = self._limits.levels(self._sent)


_limiters: dict[Hashable, RateLimiter] = {}
_limiters_lock = threading.Lock()


def shared_limiter(key: Hashable) -> RateLimiter:
    """Return the process's one limiter of an account; made at first use."""
    with _limiters_lock:
        if key not in _limiters:
            _limiters[key] = RateLimiter()
        return _limiters[key]

"""The account's rate limits: one `RateLimiter` for all runs on an account."""

from __future__ import annotations

import math
import random as _random
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pandas_llm._pacing.buckets import (
    REQUESTS,
    TOKENS,
    Bucket,
    Guess,
    Mirror,
    Ticket,
    explicit,
)
from pandas_llm._pacing.concurrency import Calibration, Concurrency, estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

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
_IDLE: Final = 3.0
"""Seconds without a request that say nothing of the server's rate."""
_HEARING: Final = 0.01  # seconds
_LOST: Final = 30.0
"""Seconds after its turn until a ticket that nobody asks for is given up."""
_LEASED: Final = 0.25
"""The longest wait with a part of the limits: the part may have grown."""
_STRAY = 50
"""A refusal after so many accepted requests may be a stray one."""


class RateLimiter:
    """Paces requests and tokens on an account; pure, for any thread and event loop.

    Limits come from `bound`, from the headers of answers and from refusals. Call
    `reserve`, sleep as long as `delay` says, send, then `settle` or `reject`.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic; a jump backward does no harm.
    random : callable
        Uniform between 0 and 1, for the jitter.

    Examples
    --------
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
        self._booked = (0.0, 0.0)
        self._sent = (0.0, 0.0)
        self._times: deque[float] = deque(maxlen=256)
        self._mean_tokens = 0.0
        # the limits
        self._bounds: list[tuple[float | None, float | None]] = []
        self._part: float | None = None
        self._explicit: list[Bucket | None] = [None, None]
        self._mirrors: list[Mirror | None] = [None, None]
        self._guess: Guess | None = None
        self._ramp: Bucket | None = None
        self._ramp_end = 0.0
        self._buckets: tuple[Bucket, ...] = ()
        # the gate
        self._gate = -math.inf
        self._wave = 0
        self._wave_sent = 0.0
        self._streak = 0
        self._refused = 0

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

    def reserve(self, tokens: float) -> Ticket:
        """Take the next place in the queue for a request of so many tokens.

        Where nothing holds it back it leaves at once.
        """
        with self._lock:
            now = self._now()
            ticket = Ticket(tokens, self._booked, now)
            self._enqueue(ticket)
            if len(self._queue) == 1:
                self._pass(ticket, now)
            return ticket

    def delay(self, ticket: Ticket) -> float:
        """Give the seconds to sleep before asking again; at 0.0 it has left."""
        if ticket.wave >= 0:
            return 0.0
        with self._lock:
            now = self._now()
            if ticket not in self._queue:
                self._enqueue(ticket)
            return self._pass(ticket, now)

    def listens(self) -> bool:
        """Tell whether to read the headers of an answer now; counts as done then.

        A hundred a second tell all; reading those of each costs 14 µs.
        """
        now = self._clock()
        if 0 <= now - self._heard < _HEARING:
            return False
        self._heard = now
        return True

    def settle(self, ticket: Ticket, used: float | None, quotas: Quotas | None) -> None:
        """Take in an answer that is no refusal.

        Parameters
        ----------
        ticket : Ticket
            Its request's.
        used : float or None
            Tokens it used, None when not known.
        quotas : Quotas or None
            What its headers tell.
        """
        if quotas is None and not self._buckets:
            return
        with self._lock:
            now = self._advance()
            if used is not None:
                self._mean_tokens += 0.02 * (used - self._mean_tokens)
                told = quotas is not None and quotas.tokens is not None
                for bucket in self._buckets:
                    if bucket.unit == TOKENS and not (told and bucket in self._mirrors):
                        bucket.correct(ticket, used)
            if quotas is not None:
                self._learn(ticket, quotas, now)

    def reject(
        self, ticket: Ticket, retry_after: float | None, quotas: Quotas | None
    ) -> float:
        """Take in a refusal (429): nobody leaves before the time this returns.

        Of a wave, sent before the gate closed, only the first refusal closes it;
        the others merely keep it closed as long as they ask.

        Parameters
        ----------
        ticket : Ticket
            The refused request's.
        retry_after : float or None
            Seconds the server asks for: a floor, never undercut.
        quotas : Quotas or None
            What the headers tell.

        Returns
        -------
        float
            Seconds until the gate opens again.
        """
        with self._lock:
            now = self._advance()
            for bucket in (*self._mirrors, self._guess):
                if bucket is not None:
                    bucket.correct(ticket, 0.0)
            if quotas is not None:
                self._learn(ticket, quotas, now, refused=True)
            asked = min(max(0.0, retry_after or 0.0), 1e9)
            if ticket.wave == self._wave:
                self._close(ticket, now)
                if retry_after is None:
                    pace = self._plan() or 1.0
                    asked = min(60.0, max(0.1, 2.0**self._streak / pace))
            elif self._guess is None and self._plan() is None:
                self._suppose(now)  # a second refusal of one wave is no stray
            self._refused += 1
            if now + asked > self._gate:
                self._open_after(now, asked, known=retry_after is not None)
            return max(0.0, self._gate - now)

    def release(self, ticket: Ticket) -> None:
        """Give back the place of a request that was never sent; else do nothing."""
        with self._lock:
            if ticket in self._queue:
                del self._queue[ticket]
                self._gaps = True

    def share(self, part: float | None) -> None:
        """Keep to a part of the limits: other processes have the rest; None: none."""
        with self._lock:
            changed, self._part = (part is None) != (self._part is None), part
            if changed:
                self._explicit = [None, None]
            self._rebound()

    @property
    def wanting(self) -> bool:
        """Whether requests wait for a limit."""
        return bool(self._queue)

    def waiting(self) -> float:
        """Give the seconds until the gate opens; 0.0 when it is open."""
        with self._lock:
            return max(0.0, self._gate - self._now())

    def plan(self) -> float | None:
        """Give the requests a second granted in the long run; None without limits."""
        if not self._buckets:
            return None
        with self._lock:
            return self._plan()

    def tokens_per_minute(self) -> float:
        """Give the least limit on tokens that is known; infinity without one."""
        rates = [bucket.rate for bucket in self._buckets if bucket.unit == TOKENS]
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
        requests, tokens = ticket.place = self._booked
        self._booked = (requests + 1.0, tokens + ticket.tokens)
        self._queue[ticket] = None

    def _close_gaps(self) -> None:
        place = self._sent
        for ticket in self._queue:
            ticket.place = place
            place = (place[0] + 1.0, place[1] + ticket.tokens)
        self._booked = place
        self._gaps = False

    def _wait(self, ticket: Ticket, now: float) -> float:
        first = next(iter(self._queue))
        if first.due + _LOST < now and first is not ticket:
            del self._queue[first]  # its run died; it would block all behind it
            self._gaps = True
        if self._gaps:
            self._close_gaps()
        if self._ramp is not None and now > self._ramp_end:
            self._ramp = None
            self._collect()
        pace = 0.0
        for bucket in self._buckets:
            bucket.advance(now, self._sent[bucket.unit])
            pace = max(pace, bucket.wait(ticket))
        if self._part is not None:
            pace = min(pace, _LEASED)
        return max(self._gate - now, pace if pace < _GLANCE else max(_GLANCE, pace / 2))

    def _pass(self, ticket: Ticket, now: float) -> float:
        """Let a request leave, or give the seconds until its turn."""
        if self._buckets or now < self._gate:
            wait = self._wait(ticket, now)
            ticket.due = now + wait
            if wait > _INSTANT:
                return wait
        del self._queue[ticket]
        self._leave(ticket, now)
        return 0.0

    def _leave(self, ticket: Ticket, now: float) -> None:
        requests, tokens = self._sent
        self._sent = ticket.mark = (requests + 1.0, tokens + ticket.tokens)
        ticket.sent = now
        ticket.wave = self._wave
        if self._buckets:
            first, second = self._mirrors
            ticket.levels = (_level(first, self._sent), _level(second, self._sent))
        if not requests:
            self._mean_tokens = ticket.tokens
        if self._guess is not None and now - self._times[-1] > _IDLE:
            self._guess.skip(now - self._times[-1])
        self._times.append(now)

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
        buckets = (*self._explicit, *mirrors, self._guess, self._ramp)
        self._buckets = tuple(bucket for bucket in buckets if bucket is not None)

    def _rebound(self) -> None:
        now = self._now()
        for unit in (REQUESTS, TOKENS):
            limits = [b[unit] for b in self._bounds]
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
            if bucket is self._ramp:
                continue
            unit = 1.0 if bucket.unit == REQUESTS else max(1.0, self._mean_tokens)
            spare = bucket.credit - self._sent[bucket.unit]
            if isinstance(bucket, Mirror) and bucket.budget and spare >= unit:
                continue
            rates.append(bucket.slope / unit)
        return min(rates, default=None)

    # -- the gate ----------------------------------------------------------------

    def _close(self, ticket: Ticket, now: float) -> None:
        """Begin a wave of refusals: find the limit that explains it, or guess one."""
        fresh = ticket.mark[REQUESTS] - self._wave_sent
        self._wave += 1
        self._wave_sent = sent = self._sent[REQUESTS]
        self._streak = self._streak + 1 if fresh <= 1 else 1
        mirrors = [mirror for mirror in self._mirrors if mirror is not None]
        explained = [m.refused(ticket, self._sent[m.unit]) for m in mirrors]
        if any(explained) and fresh > 50:  # noqa: PLR2004 - not again and again
            return
        plan = self._plan()
        if self._guess is None and plan is not None:
            self._guess = Guess(plan, now, sent, sure=True)
            self._collect()
        elif self._guess is None and fresh <= _STRAY:
            self._suppose(now)
        if self._guess is not None:
            accepted = ticket.mark[REQUESTS] - 1 - self._refused
            self._guess.refused(ticket, accepted, fresh)
            self._guess.restart(0.0, ticket.sent, ticket.mark[REQUESTS], now, sent)

    def _suppose(self, now: float) -> None:
        """Guess a limit, where a refusal does not come alone and nothing tells one."""
        sent = self._sent[REQUESTS]
        if sent >= 8:  # noqa: PLR2004 - fewer tell nothing
            self._guess = Guess(self._recent(now), now, sent, sure=False)
            self._collect()

    def _recent(self, now: float) -> float:
        """Give the requests a second that were sent of late."""
        return len(self._times) / max(1.0, now - self._times[0]) if self._times else 1.0

    def _open_after(self, now: float, asked: float, *, known: bool) -> None:
        """Let them out again one by one, at twice the pace until made up for."""
        wait = asked * (1.0 + _JITTER * self._random())
        self._gate = now + wait
        pace = 2.0 * (self._plan() or self._recent(now))
        self._ramp = Bucket(REQUESTS, pace, 1.0, self._gate, self._sent[REQUESTS])
        self._ramp_end = self._gate + max(wait, 1.0)
        self._collect()
        if self._guess is not None:
            self._guess.pause = max(0.1, wait if known else min(wait, 1.0))


def _level(mirror: Mirror | None, sent: tuple[float, float]) -> float | None:
    return None if mirror is None else mirror.credit - mirror.shift - sent[mirror.unit]


_limiters: dict[Hashable, RateLimiter] = {}
_limiters_lock = threading.Lock()


def shared_limiter(key: Hashable) -> RateLimiter:
    """Give the process's one limiter of an account; made at first use."""
    with _limiters_lock:
        if key not in _limiters:
            _limiters[key] = RateLimiter()
        return _limiters[key]

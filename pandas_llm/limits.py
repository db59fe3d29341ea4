"""The account's rate limits: one `RateLimiter` for all runs on an account."""

from __future__ import annotations

import math
import random as _random
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pandas_llm.concurrency import Calibration, Concurrency, estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from pandas_llm.types import Quota, Quotas

__all__ = [
    "Calibration",
    "Concurrency",
    "RateLimiter",
    "Ticket",
    "estimate_tokens",
    "shared_limiter",
]

REQUESTS: Final = 0
TOKENS: Final = 1
KEEP: Final = 0.1
"""Share of the server's bucket left alone, for what is under way or miscounted."""
JITTER: Final = 0.2
BUDGET: Final = 3600.0
"""A longer period is a budget to use up, not a pace to keep."""
INSTANT: Final = 1e-6
GLANCE: Final = 0.1


class Ticket:
    """One request's place in the queue."""

    __slots__ = ("amounts", "mark", "place", "sent", "tokens", "wave")

    def __init__(self, tokens: float, place: tuple[float, float]) -> None:
        self.tokens = tokens
        self.amounts = (1.0, tokens)
        self.place = place
        self.mark = place
        self.sent = -1.0
        self.wave = -1


class _Bucket:
    """A token bucket as one line: all that may have been sent by a time.

    A request leaves when `credit` reaches its place in the queue, so moving the
    line moves all that wait, and keeps their order.
    """

    __slots__ = ("at", "credit", "drift", "kept", "mark", "rate", "seen", "size", "unit")

    def __init__(self, unit: int, rate: float, size: float, now: float, sent: float) -> None:
        self.unit = unit
        self.rate = rate
        self.size = size
        self.kept = 0.0
        self.credit = sent + size
        self.at = now
        self.drift = 0.0
        self.mark = -1.0
        self.seen: tuple[float, float, float] | None = None

    @property
    def slope(self) -> float:
        return self.rate + self.drift

    def advance(self, now: float, sent: float) -> None:
        if now < self.at:
            return
        self.credit = min(self.credit + self.slope * (now - self.at), sent + self.size)
        self.at = now

    def wait(self, place: float, amount: float) -> float:
        return (place + min(amount, self.size) - self.credit) / self.slope

    def correct(self, ticket: Ticket, used: float) -> None:
        """Take back what was booked too much, unless `remaining` told it already."""
        if ticket.mark[self.unit] > self.mark:
            self.credit += ticket.amounts[self.unit] - used

    def measure(self, ticket: Ticket, remaining: float, now: float, sent: float) -> None:
        """Set the line by what an answer says is left.

        A server counts when the request comes or when the answer goes. What was
        sent since is missing in the one case and what was refilled in the other:
        the lower of both is right in either, and the same at a steady pace.
        """
        mark, amount = ticket.mark[self.unit], ticket.amounts[self.unit]
        if mark <= self.mark or self.size < 3 * amount:
            return  # a request sent later has told more; too coarse to tell
        self._learn_drift(ticket, remaining, mark)
        more = 0.005 * (self.kept - KEEP * (self.kept + self.size))
        if more > 0:
            self.kept -= more
            self.size += more
        self.restart(ticket, remaining, now, sent)

    def restart(self, ticket: Ticket, remaining: float, now: float, sent: float) -> None:
        """Draw the line anew from what was left when a request had come."""
        self.mark = mark = ticket.mark[self.unit]
        since = self.slope * (now - ticket.sent) - (sent - mark)
        level = remaining - self.kept + min(0.0, since)
        self.credit = sent + min(level, self.size)
        self.at = now

    def back_off(self, amount: float) -> None:
        """Keep more back: the server was emptier than thought."""
        more = min(self.kept + amount, 0.5 * (self.size + self.kept)) - self.kept
        self.kept += more
        self.size -= more
        self.credit -= more

    def _learn_drift(self, ticket: Ticket, remaining: float, mark: float) -> None:
        """Learn what others take, and what our counts miss, in units a second."""
        amount = ticket.amounts[self.unit]
        if self.seen is None or remaining + 2 * amount >= 0.9 * (self.size + self.kept):
            self.seen = (ticket.sent, remaining, mark)  # full: what came is not known
            self.drift *= 0.9
            return
        then, left, before = self.seen
        elapsed = ticket.sent - then
        if elapsed < max(1.0, 8 * amount / self.rate):
            return
        self.seen = (ticket.sent, remaining, mark)
        drift = (remaining - left + mark - before) / elapsed - self.rate
        weight = elapsed / (elapsed + 4.0)
        self.drift += weight * (max(-self.rate, min(drift, self.rate)) - self.drift)
        self.drift = max(-0.9 * self.rate, min(self.drift, 0.5 * self.rate))


class _Guess(_Bucket):
    """A rate learned from refusals alone.

    A refusal says that the server's bucket was empty. What it took between two of
    them is what it had to give: their ratio is the rate, exactly. In between the
    rate creeps up, ever faster, to find out whether there is more.
    """

    __slots__ = ("anchor", "base", "since", "sure")

    def __init__(self, rate: float, now: float, sent: float) -> None:
        super().__init__(REQUESTS, rate, max(1.0, rate / 2 - 1), now, sent)
        self.base = rate
        self.since = sent
        self.kept = 1.0
        self.sure = False
        self.anchor: tuple[float, float] | None = None

    def advance(self, now: float, sent: float) -> None:
        step = (sent - self.since) / 100
        self.rate = self.base * (0.985 + 0.03 * step + (step / 3.5) ** 3)
        super().advance(now, sent)

    def skip(self, idle: float) -> None:
        """Leave out a time in which nobody asked."""
        if self.anchor is not None:
            self.anchor = (self.anchor[0] + idle, self.anchor[1])

    def refused(self, ticket: Ticket, accepted: float) -> None:
        """Learn from the first refusal of a wave."""
        if self.anchor is None:
            self.anchor = (ticket.sent, accepted)
        else:
            then, before = self.anchor
            count, elapsed = accepted - before, ticket.sent - then
            least = max(0.0, count - 1) / max(elapsed, 1e-3)
            less = min(0.95 * self.rate, math.sqrt(least * self.rate))
            floor = 0.9 if self.sure and count < 20 else 0.5
            self.base = min(max(least, less, floor * self.rate), self.rate)
            if count >= 40:
                self.sure = True
                self.anchor = (ticket.sent, accepted)
        new = ticket.mark[REQUESTS] - self.since
        if new < 2 * self.size:
            self.size = max(1.0, self.size * 0.6)
        self.since = ticket.mark[REQUESTS]


class RateLimiter:
    """Paces requests and tokens on an account; pure, for any thread and event loop.

    Limits come from `bound`, from the headers of answers and from refusals. Ask
    `reserve`, sleep while `delay` says so, send, then `settle` or `reject`.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic; a jump backward does no harm.
    random : callable
        Uniform between 0 and 1, for the jitter.

    Examples
    --------
    >>> now = 0.0
    >>> limiter = RateLimiter(clock=lambda: now)
    >>> with limiter.bound(60, None):
    ...     tickets = [limiter.reserve(100) for _ in range(3)]
    ...     [limiter.delay(ticket) for ticket in tickets]
    [0.0, 1.0, 1.0]
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
        self._skew = 0.0
        self._gate = -math.inf
        self._wave = 0
        self._streak = 0
        self._opened = 0.0
        self._queue: dict[Ticket, None] = {}
        self._gaps = False
        self._booked = (0.0, 0.0)
        self._sent = (0.0, 0.0)
        self._mean_tokens = 0.0
        self._bounds: list[tuple[float | None, float | None]] = []
        self._explicit: list[_Bucket | None] = [None, None]
        self._learned: list[_Bucket | None] = [None, None]
        self._guess: _Guess | None = None
        self._ramp: _Bucket | None = None
        self._ramp_end = 0.0
        self._refused = 0
        self._times: deque[float] = deque(maxlen=256)
        self._buckets: tuple[_Bucket, ...] = ()

    @contextmanager
    def bound(
        self, requests_per_minute: float | None, tokens_per_minute: float | None
    ) -> Iterator[None]:
        """Hold explicit limits for a run; of several live runs the least hold."""
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
        """Take the next place in the queue for a request of so many tokens."""
        with self._lock:
            if self._gaps:
                self._close_gaps()
            requests, total = place = self._booked
            ticket = Ticket(tokens, place)
            self._booked = (requests + 1.0, total + tokens)
            self._queue[ticket] = None
            return ticket

    def delay(self, ticket: Ticket) -> float:
        """Give the seconds to sleep before asking again; 0.0 when it may leave now."""
        with self._lock:
            if ticket.wave >= 0:
                return 0.0
            now = self._now()
            wait = self._wait(ticket, now)
            if wait > INSTANT:
                return wait
            self._leave(ticket, now)
            return 0.0

    def settle(
        self, ticket: Ticket, used: float | None, quotas: Quotas | None
    ) -> None:
        """Take in an answer: the tokens it used, what its headers tell."""
        with self._lock:
            if quotas is None and not self._buckets:
                return
            now = self._now()
            self._advance(now)
            if used is not None:
                for bucket in self._buckets:
                    if bucket.unit == TOKENS:
                        bucket.correct(ticket, used)
            if quotas is not None:
                self._learn(ticket, quotas, now)

    def reject(
        self, ticket: Ticket, retry_after: float | None, quotas: Quotas | None
    ) -> float:
        """Take in a refusal (429): nobody leaves before the time this returns.

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
            now = self._now()
            self._advance(now)
            for bucket in self._buckets:
                bucket.correct(ticket, 0.0)
            if quotas is not None:
                self._learn(ticket, quotas, now)
            floor = retry_after
            if ticket.wave == self._wave:  # the first of its wave
                self._wave += 1
                alone = ticket.mark[REQUESTS] - self._opened <= 1
                self._opened = self._sent[REQUESTS]
                self._streak = self._streak + 1 if alone else 1
                self._slow_down(ticket, now)
                if floor is None:
                    floor = min(60.0, max(0.1, 2.0**self._streak / (self._plan() or 1.0)))
            self._refused += 1
            wait = max(0.0, floor or 0.0) * (1.0 + JITTER * self._random())
            if now + wait > self._gate:
                self._gate = now + wait
                self._reopen(now, wait)
            return self._gate - now

    def release(self, ticket: Ticket) -> None:
        """Give back the place of a request that was never sent."""
        with self._lock:
            if ticket.wave >= 0:
                for bucket in self._buckets:
                    bucket.correct(ticket, 0.0)
            elif ticket in self._queue:
                del self._queue[ticket]
                self._gaps = True

    def waiting(self) -> float:
        """Give the seconds until the gate opens; 0.0 when it is open."""
        with self._lock:
            return max(0.0, self._gate - self._now())

    def plan(self) -> float | None:
        """Give the requests a second granted in the long run; None without limits."""
        with self._lock:
            return self._plan()

    def _plan(self) -> float | None:
        rates = [
            b.slope if b.unit == REQUESTS else b.slope / max(self._mean_tokens, 1.0)
            for b in self._buckets
            if b is not self._ramp
        ]
        return min(rates, default=None)

    def _slow_down(self, ticket: Ticket, now: float) -> None:
        """Blame a refusal on a limit that is known, or guess one."""
        explained = False
        for bucket in self._learned:
            if bucket is None or bucket.size < 3 * ticket.amounts[bucket.unit]:
                continue
            level = bucket.credit - self._sent[bucket.unit]
            if level < ticket.amounts[bucket.unit]:
                bucket.back_off(ticket.amounts[bucket.unit])
                explained = True
        if explained:
            return
        sent = self._sent[REQUESTS]
        if self._guess is None:
            self._guess = _Guess(self._plan() or self._recent(now), now, sent)
            self._collect()
        self._guess.refused(ticket, ticket.mark[REQUESTS] - 1 - self._refused)
        self._guess.restart(ticket, 0.0, now, sent)

    def _recent(self, now: float) -> float:
        times = self._times
        return len(times) / max(now - times[0], 1.0)

    def _reopen(self, now: float, wait: float) -> None:
        """Let them out one by one, not all at once."""
        pace = 2.0 * (self._plan() or 1.0)
        sent = self._sent[REQUESTS]
        self._ramp = _Bucket(REQUESTS, pace, 1.0, self._gate, sent)
        self._ramp_end = self._gate + max(wait, 1.0)
        self._collect()

    def _now(self) -> float:
        now = self._clock() + self._skew
        if now < self._last:
            self._skew += self._last - now
            now = self._last
        self._last = now
        return now

    def _advance(self, now: float) -> None:
        for bucket in self._buckets:
            bucket.advance(now, self._sent[bucket.unit])

    def _wait(self, ticket: Ticket, now: float) -> float:
        if self._gaps:
            self._close_gaps()
        if self._ramp is not None and now > self._ramp_end:
            self._ramp = None
            self._collect()
        pace = 0.0
        for bucket in self._buckets:
            unit = bucket.unit
            bucket.advance(now, self._sent[unit])
            pace = max(pace, bucket.wait(ticket.place[unit], ticket.amounts[unit]))
        # An answer may bring good news meanwhile: look again half-way.
        return max(self._gate - now, pace if pace < GLANCE else max(GLANCE, pace / 2))

    def _leave(self, ticket: Ticket, now: float) -> None:
        requests, tokens = self._sent
        self._sent = ticket.mark = (requests + 1.0, tokens + ticket.tokens)
        ticket.sent = now
        ticket.wave = self._wave
        if self._guess is not None and now - self._times[-1] > 3.0:
            self._guess.skip(now - self._times[-1])
        self._times.append(now)
        self._mean_tokens += (ticket.tokens - self._mean_tokens) * (0.02 if requests else 1.0)
        del self._queue[ticket]

    def _close_gaps(self) -> None:
        place = self._sent
        for ticket in self._queue:
            ticket.place = place
            place = (place[0] + 1.0, place[1] + ticket.tokens)
        self._booked = place
        self._gaps = False

    def _rebound(self) -> None:
        now = self._now()
        for unit in (REQUESTS, TOKENS):
            rates = [b[unit] for b in self._bounds]
            rate = min((r / 60.0 for r in rates if r is not None and r > 0), default=None)
            bucket = self._explicit[unit]
            if rate is None:
                self._explicit[unit] = None
            elif bucket is None or bucket.rate != rate:
                self._explicit[unit] = _Bucket(unit, rate, _burst(unit, rate), now, self._sent[unit])
        self._collect()

    def _collect(self) -> None:
        buckets = (*self._explicit, *self._learned, self._guess, self._ramp)
        self._buckets = tuple(b for b in buckets if b is not None)

    def _learn(self, ticket: Ticket, quotas: Quotas, now: float) -> None:
        for unit, quota in enumerate(quotas):
            if quota is None:
                continue
            bucket = self._mirror(unit, quota, ticket, now)
            if bucket is not None and quota.remaining is not None:
                bucket.measure(ticket, quota.remaining, now, self._sent[unit])

    def _mirror(self, unit: int, quota: Quota, ticket: Ticket, now: float) -> _Bucket | None:
        bucket = self._learned[unit]
        if quota.limit is None or quota.limit <= 0:
            return bucket
        rate = quota.limit / quota.period
        if bucket is None or bucket.rate != rate:
            size = _size(quota, rate, ticket.amounts[unit])
            bucket = _Bucket(unit, rate, size, now, self._sent[unit])
            if quota.period <= BUDGET:
                bucket.kept = min(KEEP * size, max(0.0, size - 1.0))
                bucket.size = size - bucket.kept
            self._learned[unit] = bucket
            self._collect()
        return bucket


def _burst(unit: int, rate: float) -> float:
    """Give a size that any server grants: a quarter of a second, or one request."""
    return max(1.0, rate / 4) if unit == REQUESTS else rate / 2


def _size(quota: Quota, rate: float, amount: float) -> float:
    """Give the size of the server's bucket: what is left and what is still to come."""
    limit = quota.limit or 0.0
    if quota.remaining is None:
        return min(limit, rate / 4)
    missing = amount if quota.reset is None else quota.reset * rate
    return max(1.0, min(limit, quota.remaining + missing))


_limiters: dict[Hashable, RateLimiter] = {}
_limiters_lock = threading.Lock()


def shared_limiter(key: Hashable) -> RateLimiter:
    """Give the process's one limiter of an account; made at first use."""
    with _limiters_lock:
        if key not in _limiters:
            _limiters[key] = RateLimiter()
        return _limiters[key]

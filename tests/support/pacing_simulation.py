"""A clock, servers by chance and an engine around the real limiter; nobody sleeps.

The engine here does as the package's: rows take a slot, ask the limiter for their
turn, and give the slot back when they are refused and sleep by themselves; rows
that wake go before new ones. Clock, server and rows are simulated; `RateLimiter` and
`Concurrency` are the package's own.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from clock import EventClock

from pandas_llm._pacing import Concurrency, RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORK = 0.001  # seconds from one end to the other
LATE = 0.001  # seconds that a timer is late at most
MOST = 500  # connections of a client
OK, REFUSED = 200, 429
START = 6000.0  # a monotonic clock does not start at zero


class Rule(Protocol):
    """Why a server refuses."""

    def refuses(self, now: float) -> bool: ...
    def take(self, now: float) -> None: ...
    def free(self) -> None: ...


class Strays:
    """Refuses a share of what comes, for no reason."""

    def __init__(self, share: float, chance: random.Random) -> None:
        self.share, self.chance = share, chance

    def refuses(self, now: float) -> bool:
        return self.chance.random() < self.share

    def take(self, now: float) -> None: ...
    def free(self) -> None: ...


class Sliding(Strays):
    """So many in any `period`."""

    def __init__(self, limit: float, period: float = 1.0) -> None:
        self.limit, self.period = limit, period
        self.times: deque[float] = deque()

    def refuses(self, now: float) -> bool:
        while self.times and self.times[0] <= now - self.period:
            self.times.popleft()
        return len(self.times) >= self.limit

    def take(self, now: float) -> None:
        self.times.append(now)


class Bucket(Strays):
    """So many a second, and a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self.level, self.at = burst, START

    def refuses(self, now: float) -> bool:
        self.level = min(self.burst, self.level + self.rate * (now - self.at))
        self.at = now
        return self.level < 1 - 1e-9

    def take(self, now: float) -> None:
        self.level -= 1


class Changing(Bucket):
    """Another rate, and burst, from a moment on."""

    def __init__(self, first: float, later: float, when: float) -> None:
        super().__init__(first, first)
        self.later, self.when = later, when

    def refuses(self, now: float) -> bool:
        if now > START + self.when:
            self.rate = self.burst = self.later
        return super().refuses(now)


class Fixed(Strays):
    """So many in each `period` by the clock; the refused may count too."""

    def __init__(self, limit: int, period: float, *, counts: bool = False) -> None:
        self.limit, self.period, self.counts = limit, period, counts
        self.window, self.used = -1, 0

    def refuses(self, now: float) -> bool:
        if now // self.period != self.window:
            self.window, self.used = int(now // self.period), 0
        refused = self.used >= self.limit
        self.used += refused and self.counts
        return refused

    def take(self, now: float) -> None:
        self.used += 1


class Slots(Strays):
    """So many at a time, else refused."""

    def __init__(self, slots: int) -> None:
        self.slots, self.used = slots, 0

    def refuses(self, now: float) -> bool:
        return self.used >= self.slots

    def take(self, now: float) -> None:
        self.used += 1

    def free(self) -> None:
        self.used -= 1


def scattered(low: float, high: float) -> Callable[[random.Random], float]:
    """Latencies that scatter by their logarithm."""
    return lambda chance: low * (high / low) ** chance.random()


class Server:
    """Answers after a latency; refuses sooner, by any of its rules."""

    def __init__(
        self,
        clock: EventClock,
        chance: random.Random,
        *rules: Rule,
        latency: float | Callable[[random.Random], float] = 0.1,
        refusal: float = 0.003,
        retry_after: float | None = None,
        queue: int | None = None,
    ) -> None:
        self.clock, self.chance, self.rules = clock, chance, rules
        self.latency, self.refusal, self.retry_after = latency, refusal, retry_after
        self.queue = queue
        self.backlog: deque[Callable[[int], None]] = deque()
        self.busy = self.peak = self.accepted = self.refused = 0

    def receive(self, reply: Callable[[int], None]) -> None:
        now = self.clock.now
        for rule in self.rules:
            if rule.refuses(now):
                self.refused += 1
                self.clock.after(self.refusal, reply, REFUSED)
                return
        for rule in self.rules:
            rule.take(now)
        self.accepted += 1
        self.backlog.append(reply)
        self.work()
        self.peak = max(self.peak, self.busy + len(self.backlog))

    def work(self) -> None:
        while self.backlog and (self.queue is None or self.busy < self.queue):
            self.busy += 1
            seconds = self.latency
            if callable(seconds):
                seconds = seconds(self.chance)
            self.clock.after(seconds, self.finish, self.backlog.popleft())

    def finish(self, reply: Callable[[int], None]) -> None:
        self.busy -= 1
        for rule in self.rules:
            rule.free()
        self.work()
        reply(OK)


class Run:
    """The engine: slots, rows that sleep by themselves, rows that wake first."""

    def __init__(
        self,
        server: Server,
        rows: int,
        limiter: RateLimiter,
        concurrency: int | None = 50,
    ) -> None:
        self.server, self.rows, self.limiter = server, rows, limiter
        self.clock, self.chance = server.clock, server.chance
        self.concurrency = Concurrency(concurrency, maximum=MOST, clock=self.clock)
        self.woken: deque[list[int]] = deque()
        self.begun = self.done = self.used = self.sent = self.refused = 0
        self.worst = 0
        self.stopped = False
        """Whether all had to wait at any time."""
        self.finished = math.inf
        self.settled = False

    @property
    def share(self) -> float:
        """Refusals of all that was sent."""
        return self.refused / max(1, self.sent)

    def pump(self) -> None:
        most = min(int(self.concurrency.size), self.limiter.cap) if self.settled else 1
        while self.used < most:
            if self.woken:
                row = self.woken.popleft()
            elif self.begun < self.rows:
                self.begun += 1
                row = [0]
            else:
                return
            self.used += 1
            self.turn(self.limiter.reserve(100.0), row)

    def turn(self, ticket: Any, row: list[int]) -> None:
        delay = self.limiter.delay(ticket)
        if delay > 0:
            late = LATE * self.chance.random()
            self.clock.after(delay + late, self.turn, ticket, row)
            return
        self.sent += 1
        sent = self.clock.now

        def reply(status: int) -> None:
            self.clock.after(NETWORK, self.answer, ticket, row, sent, status)

        self.clock.after(NETWORK, self.server.receive, reply)

    def answer(self, ticket: Any, row: list[int], sent: float, status: int) -> None:
        self.used -= 1
        if status != OK:
            self.refused += 1
            row[0] += 1
            self.worst = max(self.worst, row[0])
            after = self.server.retry_after
            pause = self.limiter.reject(ticket, after, None, row[0])
            self.clock.after(pause, self.wake, row)
            self.stopped = self.stopped or self.limiter.waiting() > 0
        else:
            self.limiter.settle(ticket, 100.0, None)
            self.concurrency.answered(self.clock.now - sent, self.limiter.plan())
            self.settled = True
            self.done += 1
            if self.done == self.rows:
                self.finished = self.clock.now - START
        self.pump()

    def wake(self, row: list[int]) -> None:
        self.woken.append(row)
        self.pump()


class Loop:
    """A plain loop: workers, exponential backoff with full jitter."""

    def __init__(self, server: Server, rows: int, workers: int = 50) -> None:
        self.server, self.rows = server, rows
        self.clock, self.chance = server.clock, server.chance
        self.begun = self.done = 0
        self.finished = math.inf
        for _ in range(workers):
            self.next()

    def next(self) -> None:
        if self.begun < self.rows:
            self.begun += 1
            self.ask(0)

    def ask(self, tries: int) -> None:
        def reply(status: int) -> None:
            self.clock.after(NETWORK, self.answer, tries, status)

        self.clock.after(NETWORK, self.server.receive, reply)

    def answer(self, tries: int, status: int) -> None:
        if status != OK:
            wait = self.chance.uniform(0, min(60.0, 0.5 * 2.0**tries))
            self.clock.after(
                max(wait, self.server.retry_after or 0.0), self.ask, tries + 1
            )
            return
        self.done += 1
        if self.done == self.rows:
            self.finished = self.clock.now - START
        self.next()


def simulate(
    make: Callable[[EventClock, random.Random], Server],
    rows: int,
    concurrency: int | None = 50,
    seed: int = 1,
) -> Run:
    """Run so many rows against a server to their end."""
    clock, chance = EventClock(START), random.Random(seed)
    server = make(clock, chance)
    limiter = RateLimiter(clock=clock, random=chance.random)
    run = Run(server, rows, limiter, concurrency)
    run.pump()
    clock.run(lambda: run.done == rows)
    return run


def plain(
    make: Callable[[EventClock, random.Random], Server],
    rows: int,
    workers: int = 50,
    seed: int = 1,
) -> float:
    """Return the seconds that a plain loop takes."""
    clock, chance = EventClock(START), random.Random(seed)
    loop = Loop(make(clock, chance), rows, workers)
    clock.run(lambda: loop.done == rows)
    return loop.finished

"""How many requests to have in flight."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADROOM: Final = 2.0  # in flight over rate * latency, for slow spells
_QUICK: Final = 1.9  # times the reference that an answer takes which did not queue
_QUEUED: Final = 1 / 3  # share of a latency spent queueing, from which it counts
_WORTH: Final = 0.3  # growth by f is worth it when answers come f**_WORTH as fast
_STEPS: Final = (1.5, 2.0)  # growth tried when they queue: first, after a success
_REST: Final = (4, 64)  # windows until growth is tried again: at first, and at most
_DOUBLING: Final = 0.1  # seconds in which the target doubles at most
_OVER: Final = (2.0, 30.0)  # seconds until one over a cap is tried: first, at most
_WINDOW: Final = (8, 32)  # answers that tell something; that tell that they queue


class Concurrency:
    """The target of a resizable semaphore.

    With a `limit` the target is that number. Without one it starts small and grows by
    one an answer while the quickest answers are as quick as the first; when even those
    wait, the server queues, and growth must show that it is worth it. It stays below
    twice rate * latency when the rate is known.
    """

    def __init__(
        self,
        limit: int | None,
        *,
        maximum: int,
        start: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.auto = limit is None
        """Whether there is no limit, so that the target adapts."""
        self._maximum = max(1, maximum if limit is None else min(limit, maximum))
        first = self._maximum if limit is not None else min(start, self._maximum)
        self._first = self.size = float(max(1, first))
        """Requests that may be in flight now, when rounded down."""
        self._clock = clock
        self._latency = 0.0
        self._reference = 0.0
        self._queues = self._quick = False
        self._best = (0.0, 0.0)
        """The best target so far, and its answers a second."""
        self._step = _STEPS[0]
        self._rest = self._left = 0
        self._open_window()

    def keep_below(self, most: int) -> None:
        """Let at most this many be in flight."""
        self._maximum = max(1, min(self._maximum, most))
        self.size = min(self.size, float(self._maximum))

    def answered(self, latency: float, rate: float | None) -> None:
        """Count a clean answer; `rate` is what the limiter grants a second."""
        latency = max(latency, 1e-3)
        self._latency += (latency - self._latency) * (0.05 if self._latency else 1.0)
        if not self.auto:
            return
        self._measure(latency)
        quick = self._mine != 1 and latency <= _QUICK * (
            self._reference or self._quickest
        )
        if not self._queues and (quick or self._quick):
            doublings = min(10.0, max(0.0, self._clock() - self._since) / _DOUBLING)
            most = self._opened * 2.0**doublings
            self.size = min(self.size + 1.0, max(self.size, most))
        ceiling = float(self._maximum)
        if rate is not None:
            ceiling = min(ceiling, max(4.0, _HEADROOM * rate * self._latency + 2))
        self.size = max(1.0, min(self.size, ceiling))

    def _open_window(self) -> None:
        """Begin a window; earlier requests belong to another size."""
        self._opened = self.size
        self._since = self._clock()
        self._fresh: float | None = None
        self._count = self._mine = 0
        self._seconds, self._quickest = 0.0, math.inf

    def _measure(self, latency: float) -> None:
        now = self._clock()
        if now - latency >= self._since - 1e-9:
            if self._fresh is None:
                self._fresh = now
            self._mine += 1
            self._seconds += latency
            self._quickest = min(self._quickest, latency)
        self._count += self._fresh is not None
        least, most = _WINDOW
        if self._mine < max(
            least, min(self._opened, math.inf if self._queues else most)
        ):
            return
        speed = (self._count - 1) / max(now - (self._fresh or 0.0), 1e-3)
        mean = self._seconds / self._mine
        queued = (self._quickest - self._reference) / mean
        if not self._reference:
            self._reference = self._quickest
        elif self._queues:
            self._judge(speed)
        elif queued <= _QUEUED:
            self._quick = True
        else:
            self._queues = True
            size = min(self._opened, max(self._first, self._opened * (1 - queued)))
            self._best, self._left, self._rest = (size, speed), 0, _REST[0]
            self._try()
        self._open_window()

    def _judge(self, speed: float) -> None:
        """Keep a growth that pays; else go back and rest longer each time."""
        size, best = self._best
        if self._opened <= size:
            self._best = (size, (best + speed) / 2)
            self._left -= 1
        elif speed >= best * (self._opened / size) ** _WORTH:
            self._best, self._step = (self._opened, speed), _STEPS[1]
            self._left, self._rest = 0, _REST[0]
        else:
            self.size, self._step = size, _STEPS[0]
            self._left, self._rest = self._rest, min(2 * self._rest, _REST[1])
        if self._left <= 0:
            self._try()

    def _try(self) -> None:
        self.size = min(self._step * self._best[0], float(self._maximum))


class Cap:
    """How many a server takes at once, by its refusals; more are tried at times."""

    def __init__(self, least: float = math.inf, now: float = 0.0) -> None:
        self.least = least
        """What the server certainly takes."""
        self._rest, self._step = _OVER[0], 1
        self._next = now + self._rest

    def at(self, now: float) -> float:
        """Return how many may be in flight now."""
        return self.least + (self._step if now >= self._next else 0)

    def raised(self, crowd: int, now: float) -> None:
        """Record an answer to a request that left with `crowd` in flight."""
        if self.least < math.inf:
            self.least = crowd + 1.0
            self._next, self._rest, self._step = now, _OVER[0], 2 * self._step

    def confirmed(self, now: float) -> None:
        """Record that one over it was refused."""
        self._rest = min(2 * self._rest, _OVER[1])
        self._next, self._step = now + self._rest, 1

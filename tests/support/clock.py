"""Clocks for what takes one: time moves as a test says, or from event to event."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that a test moves; calling it tells the time."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class EventClock(Clock):
    """A clock that moves to what is due next, and does it."""

    def __init__(self, now: float = 0.0) -> None:
        super().__init__(now)
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + seconds, self.count, action, args))

    def run(self, done: Callable[[], bool], most: float = 1e6) -> None:
        while not done():
            self.now, _, action, args = heapq.heappop(self.events)
            assert self.now < most, "the run starves"
            action(*args)

"""Who may be at the server now: slots that a row leaves while it waits for itself."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Slots:
    """A semaphore that can be resized while it is held, and left for a while.

    `spare` is called when a task has left its slot: another task may use it.
    """

    def __init__(self, limit: int, spare: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self.used = 0
        self.holders: set[asyncio.Task[object] | None] = set()
        """Tasks that hold a slot whenever they have a row."""
        self.resting: Counter[str] = Counter()
        """Rows that wait for themselves, by what for."""
        self._spare = spare
        self._woken: deque[asyncio.Future[None]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self, *, woken: bool = False) -> None:
        """Acquire a slot, in turn; rows that wake go before new ones."""
        if self.used < self.limit and not self._waiting and not self._woken:
            self.used += 1
            return
        future = asyncio.get_running_loop().create_future()
        (self._woken if woken else self._waiting).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()  # the slot was handed over at the same moment
            raise

    async def rest(self, until: Awaitable[None], why: str) -> None:
        """Wait for something; a slot that this task holds is somebody else's then."""
        holds = asyncio.current_task() in self.holders
        self.resting[why] += 1
        if holds:
            self.release()
            self._spare()
        try:
            await until
            if holds:
                await self.acquire(woken=True)
        except BaseException:
            self.used += holds  # whoever took it for this task gives it back
            raise
        finally:
            self.resting[why] -= 1

    @property
    def wanted(self) -> bool:
        """Whether one who holds a slot has to give it back between two rows."""
        return bool(self._woken or self._waiting) or self.used > self.limit

    async def pass_on(self) -> None:
        """Let those who wait for a slot go first, then take one again."""
        self.release()
        try:
            await self.acquire()
        except BaseException:
            self.used += 1  # the holder gives it back
            raise

    def release(self) -> None:
        """Return a slot."""
        self.used -= 1
        self._wake()

    def resize(self, limit: int) -> None:
        """Allow more or fewer; those who hold a slot keep it."""
        self.limit = limit
        self._wake()

    def _wake(self) -> None:
        while self.used < self.limit and (self._woken or self._waiting):
            future = (self._woken or self._waiting).popleft()
            if not future.done():
                self.used += 1
                future.set_result(None)

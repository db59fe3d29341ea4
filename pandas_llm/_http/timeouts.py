"""One bound of time for many exchanges, held by a single timer."""

from __future__ import annotations

import asyncio
from typing import Any


class Timeouts:
    """Ends exchanges that take too long.

    All have the same time, so the first to begin is the first to be late: one timer
    for it, where one for each exchange costs a tenth of the CPU of a row.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[asyncio.Task[Any], tuple[float, int]] = {}
        """When each task began its exchange, and how often it was cancelled before."""
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        """Note that the current task begins an exchange."""
        loop = asyncio.get_running_loop()
        task, now = asyncio.current_task(), loop.time()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        self._begun[task] = (now, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_at(now + self._seconds, self._check, loop)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Note that it has ended; raise `TimeoutError` if it was too late."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        _, before = self._begun.pop(task)
        if self._late and task in self._late:
            self._late.remove(task)
            if task.uncancel() <= before and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is late, and look again when the next may be."""
        self._timer = None
        now = loop.time()
        for task, (began, _) in self._begun.items():
            if began + self._seconds > now:
                self._timer = loop.call_at(began + self._seconds, self._check, loop)
                return
            if task not in self._late:
                self._late.add(task)
                task.cancel()

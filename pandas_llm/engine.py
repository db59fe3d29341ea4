"""Many requests to outcomes: a pool of workers over one iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from pandas_llm.errors import (
    ContextLengthError,
    DeadlineError,
    EncodingError,
    FirstRowsError,
    InterruptedRowError,
    LLMError,
    NotSentError,
    PromptFilteredError,
    ProviderError,
)
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_llm.client import Client, Run
    from pandas_llm.store import Store
    from pandas_llm.types import Request

_PROBES = 3
"""Rows that are tried one by one before all fan out; one failure of all is fatal."""
_ROWS_OWN = (ContextLengthError, PromptFilteredError)


class Slots:
    """A semaphore that can be resized while it is held.

    Examples
    --------
    >>> slots = Slots(1)
    >>> asyncio.run(slots.acquire())
    >>> slots.resize(2)
    >>> slots.free
    1
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """How many may be taken at once; below zero after a cut."""
        return self.limit - self.used

    async def acquire(self) -> None:
        """Take a slot, in turn."""
        if self.free > 0 and not self._waiting:
            self.used += 1
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()  # the slot was handed over at the same moment
            raise

    def release(self) -> None:
        """Give a slot back."""
        self.used -= 1
        self._wake()

    def resize(self, limit: int) -> None:
        """Allow more or fewer; those who hold a slot keep it."""
        self.limit = limit
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.free > 0:
            future = self._waiting.popleft()
            if not future.done():
                self.used += 1
                future.set_result(None)


class Engine:
    """Runs the requests of one run through a client.

    Parameters
    ----------
    client : Client
        What turns a request into an outcome.
    run : Run
        Totals.
    store : Store
        Takes the outcomes.
    dedupe : bool
        Whether equal requests share one call.
    """

    def __init__(
        self, client: Client, run: Run, store: Store, *, dedupe: bool = True
    ) -> None:
        self._client = client
        self._run = run
        self._store = store
        self._dedupe = dedupe
        self._slots = Slots(client.pace.concurrency.target)
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._stop: Exception | None = None
        self._seen: dict[bytes, int] = {}
        self._requests: Iterator[tuple[int, Request]] = iter(())

    async def execute(
        self, requests: Iterator[tuple[int, Request]], deadline: float | None = None
    ) -> None:
        """Take every request, until all are done, time is up or one is fatal.

        Raises
        ------
        LLMError
            The fatal one, when those in flight have finished.
        """
        self._requests = requests
        # until the end, a row that is not done was interrupted
        self._store.unfinished = InterruptedRowError("the run was interrupted")
        try:
            async with asyncio.timeout(deadline) as timer:
                await self._probe()
                await self._pool()
        except TimeoutError:
            if not timer.expired():
                raise
            self._store.unfinished = DeadlineError(
                f"not done within deadline={deadline:g} s"
            )
        else:
            self._store.unfinished = None
        finally:
            await self._cancel()
        if self._stop is not None:
            self._store.unfinished = NotSentError(f"not sent: {self._stop}")
            raise self._stop

    async def _probe(self) -> None:
        """Send rows one by one until the endpoint has answered one of them.

        A wrong key or model costs one call this way, not one a row.
        """
        failed: list[tuple[str, str | None, str | None]] = []
        for _ in range(_PROBES):
            if self._client.terms.settled or (item := self._next()) is None:
                return
            outcome = await self._one(*item)
            if outcome is None:
                return
            error = outcome.error
            if isinstance(error, ProviderError) and not isinstance(error, _ROWS_OWN):
                failed.append((error.kind, error.code, error.param))
                if failed == [failed[0]] * _PROBES:
                    msg = f"the first {_PROBES} rows all failed the same way: {error}"
                    self._stop = FirstRowsError(msg, status=error.status)

    async def _pool(self) -> None:
        self._idle = asyncio.get_running_loop().create_future()
        self._grow()
        if self._workers:
            await self._idle

    def _grow(self) -> None:
        """Follow the concurrency's target; workers over it wait for a slot."""
        target = self._client.pace.concurrency.target
        if target != self._slots.limit:
            self._slots.resize(target)
        while len(self._workers) < target:
            worker = asyncio.get_running_loop().create_task(self._worker())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _left(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not self._workers and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _worker(self) -> None:
        concurrency = self._client.pace.concurrency
        slots = self._slots
        while True:
            await slots.acquire()
            try:
                item = self._next()
                if item is None:
                    return
                await self._one(*item)
            finally:
                slots.release()
            if concurrency.target != slots.limit:
                self._grow()

    def _next(self) -> tuple[int, Request] | None:
        """Take the next request that no other row has made."""
        if self._stop is not None:
            return None
        try:
            for position, request in self._requests:
                try:
                    key = self._client.fingerprint.of(request)
                except UnicodeEncodeError as error:
                    self._failed(position, error)
                    continue
                if self._dedupe:
                    leader = self._seen.setdefault(key, position)
                    if leader != position:
                        self._store.share(position, leader)
                        self._run.totals.done += 1
                        continue
                return position, request
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            self._stop = error
        return None

    def _failed(self, position: int, error: UnicodeEncodeError) -> None:
        character = error.object[error.start]
        msg = (
            f"the prompt holds {character!a}, which is no character and cannot be sent"
        )
        self._store.add(position, Outcome([], EncodingError(msg), attempts=0))
        self._run.totals.done += 1
        self._run.totals.failed += 1

    async def _one(self, position: int, request: Request) -> Outcome | None:
        """Bring one row to its end."""
        try:
            outcome = await self._client.complete(request, self._run)
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            # one error stops the run: no new rows, those in flight finish
            if isinstance(error, LLMError):
                self._store.add(position, Outcome([], error))
                self._run.totals.failed += 1
            self._stop = self._stop or error
            return None
        self._store.add(position, outcome)
        self._run.totals.done += 1
        self._run.totals.failed += outcome.error is not None
        return outcome

    async def _cancel(self) -> None:
        """Leave no task behind."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

"""Many requests to outcomes: a pool of workers over one iterator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pandas_llm.errors import (
    ContextLengthError,
    DeadlineError,
    FellBackError,
    FirstRowsError,
    InterruptedRowError,
    LLMError,
    NotSentError,
    OutageError,
    PromptFilteredError,
    ProviderError,
    ShortenedError,
    UnreachableError,
)
from pandas_llm.feed import Item
from pandas_llm.slots import Slots
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pandas_llm.client import Client
    from pandas_llm.feed import Feed
    from pandas_llm.run import Run
    from pandas_llm.store import Store
    from pandas_llm.types import Request

    Shorter = Callable[[int, Request, ContextLengthError], Request | None]
    Tried = tuple[Client, bytes, Outcome]

_PROBES = 3
"""Rows that are tried one by one before all fan out; one failure of all is fatal."""
_SLICE = 0.2
_PATIENCE = 10.0
"""Seconds to wait for a server that is down, where there is another to ask."""
_ROWS_OWN = (ContextLengthError, PromptFilteredError)


class Engine:
    """Runs the requests of one run through its clients.

    Parameters
    ----------
    clients : sequence of Client
        The one to ask, then those to fall back to.
    run : Run
        Totals.
    store : Store
        Takes the outcomes.
    shorter : callable, optional
        Makes a request that was too long again, shorter; or gives None.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        run: Run,
        store: Store,
        shorter: Shorter | None = None,
    ) -> None:
        self._clients = clients
        self._client = clients[0]
        self._run = run
        self._store = store
        self._shorter = shorter
        self._choosy = len(clients) > 1 or shorter is not None
        """Whether a row may be asked in more than one way."""
        for client in clients[:-1]:
            client.circuit.patience = _PATIENCE
        self._slots = Slots(self._client.pace.target, self._grow)
        for client in clients:
            client.pace.slots = self._slots
        self._workers: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._stop: Exception | None = None

    async def execute(self, feed: Feed, deadline: float | None = None) -> None:
        """Take every request, until all are done, time is up or one is fatal.

        Raises
        ------
        LLMError
            The fatal one, when those in flight have finished.
        """
        self._feed = feed
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
            if self._client.terms.settled or (item := await self._next()) is None:
                return
            outcome = await self._one(item)
            if outcome is None:
                return
            error = outcome.error
            if isinstance(error, ProviderError) and not isinstance(error, _ROWS_OWN):
                failed.append((error.kind, error.code, error.param))
                if failed == [failed[0]] * _PROBES:
                    msg = (
                        f"the first {_PROBES} rows all failed the same way, so no "
                        f"other was sent: {error}"
                    )
                    self._stop = FirstRowsError(msg, status=error.status)

    async def _pool(self) -> None:
        loop = asyncio.get_running_loop()
        self._idle = loop.create_future()
        self._grow()
        scouts = loop.create_task(self._scouts())
        try:
            if self._workers:
                await self._idle
        finally:
            scouts.cancel()

    async def _scouts(self) -> None:
        """While the server is down, let rows find out that were not asked before.

        Those that fill the slots may all be rows that no server can answer.
        """
        circuit = self._client.circuit
        while True:
            await asyncio.sleep(_SLICE)
            if circuit.due:
                if (item := await self._next()) is None:
                    return
                self._start(self._one(item))

    def _grow(self) -> None:
        """Follow the concurrency's target; workers over it wait for a slot."""
        target, slots = self._client.pace.target, self._slots
        if target != slots.limit:
            slots.resize(target)
        while len(self._workers) - slots.resting.total() < target:
            self._start(self._worker())

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        worker = asyncio.get_running_loop().create_task(work)
        self._workers.add(worker)
        worker.add_done_callback(self._left)

    def _left(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        self._slots.holders.discard(worker)
        if not self._workers and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _worker(self) -> None:
        pace, slots = self._client.pace, self._slots
        slots.holders.add(asyncio.current_task())
        while True:
            if not slots.take():
                await slots.acquire()
            try:
                if (item := await self._next()) is None:
                    return
                await self._one(item)
            finally:
                slots.release()
            if pace.target != slots.limit:
                self._grow()

    async def _next(self) -> Item | None:
        if self._stop is not None:
            return None
        if (item := self._feed.ready()) is not None:
            return item
        try:
            item = await self._feed.next()
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            self._stop = error
            return None
        self._client.circuit.last = item is None
        return item

    async def _one(self, item: Item) -> Outcome | None:
        """Bring one row to its end."""
        try:
            if self._choosy:
                outcome = await self._answer(item)
            else:
                outcome = await self._client.complete(item.request, self._run, item.key)
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            # one error stops the run: no new rows, those in flight finish
            if isinstance(error, LLMError):
                self._store.add(item.position, Outcome([], error))
                self._run.totals.failed += 1
            self._stop = self._stop or error
            return None
        if outcome.failed:
            self._run.totals.failed += 1
        elif not self._choosy:
            self._store.by[item.position] = 1
        self._store.add(item.position, outcome)
        self._run.log.row(item.position, outcome)
        self._run.totals.done += 1
        self._run.totals.cached += outcome.cached
        return outcome

    async def _answer(self, item: Item) -> Outcome:
        """Ask one client after the other until one has an answer."""
        position, request, key = item
        tried: list[Tried] = []
        for index, client in enumerate(self._clients):
            if index:
                request = request._replace(spec=client.spec)
                key = client.fingerprint.of(request)
            outcome = await self._fitted(client, Item(position, request, key), tried)
            if not outcome.failed:
                break
        else:
            return outcome
        self._store.by[position] = index + 1
        for asked, why_key, why in tried:
            if why.error is not None and not why.cached:
                asked.give_up(why_key, why.error)
        if index and outcome.error is None:
            by = client.endpoint.model
            msg = f"answered by {by}, because: {tried[0][2].error}"
            outcome = outcome._replace(error=FellBackError(msg))
        return outcome

    async def _fitted(self, client: Client, item: Item, tried: list[Tried]) -> Outcome:
        """Ask, and again with less text while it is too long."""
        cut = False
        while (outcome := await self._asked(client, item, new=not cut)).failed:
            tried.append((client, item.key, outcome))
            if not isinstance(outcome.error, ContextLengthError):
                return outcome
            shorter = self._shorter and self._shorter(*item[:2], outcome.error)
            if not shorter:
                return outcome
            cut = True
            item = Item(item.position, shorter, client.fingerprint.of(shorter))
        if cut and outcome.error is None:
            msg = "its text was cut to fit into the model's context"
            outcome = outcome._replace(error=ShortenedError(msg))
        return outcome

    async def _asked(self, client: Client, item: Item, *, new: bool) -> Outcome:
        """Ask one client, unless it is known where else the answer is."""
        another = client is not self._clients[-1]
        if another or self._shorter:
            known = client.given_up(item.key)
            if known and (another or isinstance(known, ContextLengthError)):
                return Outcome([], known, 0, cached=True)
        # the feed has looked for the first key already
        key = item.key if new and client is self._client else None
        try:
            return await client.complete(item.request, self._run, key)
        except (UnreachableError, OutageError) as error:
            if not another:
                raise
            return Outcome([], error)

    async def _cancel(self) -> None:
        """Leave no task behind."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

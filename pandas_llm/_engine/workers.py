"""Many requests to outcomes: a pool of workers over one iterator."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_llm._engine.events import OF_THE_TEXT, alike, collect
from pandas_llm._engine.fallback import Fallback
from pandas_llm._engine.feed import Bundles
from pandas_llm._engine.slots import Slots
from pandas_llm.errors import (
    BadRequestError,
    CostLimitError,
    DeadlineError,
    FirstRowsError,
    InterruptedRowError,
    LLMError,
    NotSentError,
    ProviderError,
    RateLimitError,
    RepeatedError,
)
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from pandas_llm._engine.client import Client
    from pandas_llm._engine.events import Events, Streak
    from pandas_llm._engine.fallback import Shorter
    from pandas_llm._engine.feed import Bundle, BundleSource, Feed, Item
    from pandas_llm._engine.outcomes import Outcomes

T = TypeVar("T")
_FIRST = 3
"""Rows that are tried one by one before all fan out."""
_SAMPLE = 10
"""Rows that must fail the same way before that ends the run."""
_SLICE = 0.2


class Engine:
    """Runs the requests of one run through its clients."""

    def __init__(
        self,
        clients: Sequence[Client],
        events: Events,
        outcomes: Outcomes,
        shorter: Shorter | None = None,
    ) -> None:
        self._client = clients[0]
        self._streak = clients[-1].history.streak
        self._events = events
        self._outcomes = outcomes
        self._fallback = Fallback(clients, events, outcomes, shorter)
        self._slots = Slots(self._client.pace.target, self._grow)
        for client in clients:
            client.pace.slots = self._slots
        self._workers: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._stop: Exception | None = None
        self._looks: set[int] = set()
        """Rows on their way that were taken from other places."""
        self._arrival = asyncio.Event()
        """Is set for a moment at each outcome."""
        self._rested = asyncio.Event()
        """Is set when a row of the probe begins to wait for itself."""
        self._refused: set[asyncio.Task[Any] | None] = set()
        """Those that ask for such a row and were refused."""
        self._put_off: dict[int, Outcome] = {}
        """What came so far of rows that are asked once more at the end."""
        self._feed: Feed
        self._source: BundleSource
        self._bundles: Bundles | None = None

    async def execute(self, feed: Feed, deadline: float | None = None) -> None:
        """Send every request, until all are done, time is up or one error is fatal."""
        self._feed = feed
        if self._client.bundling.inputs > 1:
            self._bundles = Bundles(feed, self._client)
        self._source = self._bundles or feed
        # until the end, a row that is not done was interrupted
        self._outcomes.unfinished = InterruptedRowError("the run was interrupted")
        try:
            async with asyncio.timeout(deadline) as timer:
                await self._probe()
                await self._pool()
                if self._put_off and self._stop is None:
                    await self._pool()  # some were put off by the last to end
        except TimeoutError:
            if not timer.expired():
                raise
            self._outcomes.unfinished = DeadlineError(
                f"not done within deadline={deadline:g} s"
            )
        else:
            self._outcomes.unfinished = None
        finally:
            await self._cancel()
            for position, outcome in self._put_off.items():
                self._outcomes.add(position, outcome)  # its last word, if not the last
                self._events.totals.failed += 1
        if self._stop is not None:
            self._outcomes.unfinished = NotSentError(f"not sent: {self._stop}")
            raise self._stop

    async def _probe(self) -> None:
        """Send rows one by one until the endpoint has answered one of them.

        A wrong key or model costs one call this way, not one a row. The head of a frame
        is no sample: when the first rows fail the same way, rows from all over it are
        asked once each before that ends the run. A refused row sleeps meanwhile: it may
        be larger than the account's limit.
        """
        client, history = self._client, self._client.history
        tries: set[asyncio.Task[Outcome | None]] = set()
        failed: list[ProviderError] = []
        for number in range(_SAMPLE):
            ended = number - len(tries)
            if client.proven:
                break
            if ended >= _FIRST and (len(failed) < ended or not alike(failed)):
                break
            history.sampling = ended >= _FIRST
            if number == _FIRST:
                self._feed.look_ahead(_SAMPLE - _FIRST)
            if (bundle := await self._next()) is None:
                break
            tries.add(self._start(self._try(bundle)))
            await self._ended_or_asleep(tries)
            if not collect(tries, failed):
                return
        while tries and not client.proven:
            await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            if not collect(tries, failed):
                return
        history.sampling = False
        own = failed and isinstance(failed[0], OF_THE_TEXT)
        enough = _SAMPLE if own else _FIRST
        if len(failed) >= enough and alike(failed) and not client.proven:
            msg = (
                f"the first {len(failed)} rows all failed the same way, so no other "
                f"was sent: {failed[-1]}"
            )
            self._stop = self._stop or FirstRowsError(msg, status=failed[-1].status)

    async def _try(self, bundle: Bundle) -> Outcome | None:
        """Ask for a row of the probe, with a slot that it leaves while it sleeps."""
        await self._slots.acquire()
        self._slots.holders.add(asyncio.current_task())
        try:
            return await self._work(bundle)
        finally:
            self._slots.release()

    async def _ended_or_asleep(self, tries: set[asyncio.Task[Outcome | None]]) -> None:
        """Wait until a try has ended, or all were refused: ever longer, by seconds."""
        clock = asyncio.get_running_loop().time
        end = clock() + len(tries) - 1
        while not any(one.done() for one in tries):
            left = end - clock() if tries <= self._refused else None
            if left is not None and left <= 0:
                return
            self._rested.clear()
            rested = asyncio.ensure_future(self._rested.wait())
            try:
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait({*tries, rested}, timeout=left, return_when=first)
            finally:
                rested.cancel()

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
        """While the server is down, let new rows ask: rows in slots may be hopeless."""
        circuit = self._client.circuit
        while True:
            await asyncio.sleep(_SLICE)
            if circuit.due:
                if (bundle := await self._next()) is None:
                    return
                self._start(self._work(bundle)).add_done_callback(
                    partial(self._arrived, bundle)
                )

    def _arrived(self, bundle: Bundle, _: object = None) -> None:
        """Let those go on that wait until fewer rows of other places are asked."""
        self._looks.discard(bundle[0].position)
        self._arrival.set()
        self._arrival.clear()

    def _grow(self) -> None:
        """Follow the concurrency's target; workers over it wait for a slot."""
        target, slots = self._client.pace.target, self._slots
        if self._idle is None:  # before the pool: a row of the probe waits for itself
            if slots.resting[RateLimitError.kind]:
                self._refused.add(asyncio.current_task())
            self._rested.set()
            return
        if target != slots.limit:
            slots.resize(target)
        while len(self._workers) - slots.resting.total() < target:
            self._start(self._worker())

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        worker = asyncio.get_running_loop().create_task(work)
        self._workers.add(worker)
        worker.add_done_callback(self._left)
        return worker

    def _left(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        self._slots.holders.discard(worker)
        if not self._workers and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _worker(self) -> None:
        pace, slots, streak = self._client.pace, self._slots, self._streak
        slots.holders.add(asyncio.current_task())
        await slots.acquire()
        try:
            while True:
                bundle = None
                if self._stop is None and not streak.looking:
                    bundle = self._source.ready()
                if bundle is None and (bundle := await self._next()) is None:
                    return
                await self._work(bundle)
                if self._looks:
                    self._arrived(bundle)
                if pace.target != slots.limit:
                    self._grow()
                if slots.wanted:
                    await slots.pass_on()
        finally:
            slots.release()

    async def _next(self) -> Bundle | None:
        if self._stop is not None:
            return None
        streak = self._streak
        if streak.looking:
            await self._elsewhere(streak)
        if self._stop is not None:
            return None
        try:
            bundle = self._source.ready() or await self._source.next()
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            self._stop = error
            return None
        self._client.circuit.last = bundle is None
        if bundle is not None and streak.looking:
            self._looks.add(bundle[0].position)
        return bundle

    async def _elsewhere(self, streak: Streak) -> None:
        """Let rows from other places be next, a few at a time: some failed alike."""
        while streak.looking and len(self._looks) >= streak.AT_ONCE:
            if self._stop is not None:
                return
            await self._arrival.wait()
        if streak.looking and not streak.spread:
            streak.spread = True
            self._feed.look_ahead(_SAMPLE)

    async def _work(self, bundle: Bundle) -> Outcome | None:
        """Bring a bundle to its end; return the outcome of a single row."""
        if len(bundle) > 1:
            await self._halved(bundle)
            return None
        (item,) = bundle
        try:
            outcome = await self._fallback.of(item)
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            # one error stops the run: no new rows, those in flight finish
            self._end(bundle if isinstance(error, LLMError) else (), error)
            return None
        if outcome.error is not None and outcome.error.later and not item.attempts:
            self._put(off=item, outcome=outcome)
            return outcome
        self._done(item, outcome)
        return outcome

    async def _halved(self, bundle: Bundle) -> bool:
        """Ask for a bundle, then in halves; return whether it was answered as one.

        One bad text, or a limit that nobody knew of, costs its neighbours nothing.
        """
        if self._stopped():
            return False
        if len(bundle) == 1:
            outcome = await self._work(bundle)
            return outcome is not None and not outcome.failed
        bundles, error = self._bundles, None
        if bundles is None or len(bundle) <= bundles.inputs:
            error = await self._whole(bundle)
            if error is None:
                return True
            first = bundle[0].position
            if self._stopped() or first in self._put_off or self._outcomes.done[first]:
                return False
        middle = (len(bundle) + 1) // 2
        halves = [await self._halved(i) for i in (bundle[:middle], bundle[middle:])]
        if all(halves) and isinstance(error, BadRequestError) and bundles is not None:
            bundles.lower(middle)  # it was not one of the texts
        return False

    async def _whole(self, bundle: Bundle) -> Exception | None:
        """Ask for a bundle as it is; return why it was not answered."""
        try:
            outcomes = await self._fallback.of_all(bundle)
        except LLMError as error:
            if error.fatal and not isinstance(error, CostLimitError):
                self._end(bundle, error)
            elif error.own:  # of the bundle as a whole: no half would do better
                outcome = Outcome([], error)
                for item in bundle:
                    if error.later and not item.attempts:
                        self._put(off=item, outcome=outcome)
                    else:
                        self._done(item, outcome)
            return error
        except Exception as error:  # noqa: BLE001 - execute() raises it
            self._end((), error)
            return error
        for item, outcome in zip(bundle, outcomes, strict=True):
            self._done(item, outcome)
        return None

    def _done(self, item: Item, outcome: Outcome) -> None:
        """Record what came of a row in the end."""
        position = item.position
        if item.attempts:
            self._put_off.pop(position, None)
        self._outcomes.add(position, outcome)
        if self._events.finished(position, outcome):
            self._outcomes.by[position] = self._outcomes.by[position] or 1

    def _stopped(self) -> bool:
        return self._stop is not None

    def _put(self, *, off: Item, outcome: Outcome) -> None:
        """Ask a row once more when all others have had their turn."""
        self._feed.later(off, max(1, outcome.attempts))
        self._put_off[off.position] = outcome

    def _end(self, bundle: Bundle, error: Exception) -> None:
        """Stop the run; those rows failed with it."""
        own = error.__cause__ if isinstance(error, RepeatedError) else error
        for item in bundle:
            if isinstance(own, LLMError):
                self._outcomes.add(item.position, Outcome([], own))
        self._events.totals.failed += len(bundle)
        self._stop = self._stop or error

    async def _cancel(self) -> None:
        """Leave no task behind."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

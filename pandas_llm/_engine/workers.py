"""Many requests to outcomes: a pool of workers over one iterator."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_llm._engine.fallback import Fallback
from pandas_llm._engine.feed import Bundles
from pandas_llm._engine.probe import SAMPLE, Probe
from pandas_llm._pacing import Slots
from pandas_llm.errors import (
    BadRequestError,
    CostLimitError,
    DeadlineError,
    LLMError,
    NotSentError,
    RepeatedError,
)
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from pandas_llm._client import Client, Streak
    from pandas_llm._engine.fallback import Shorter
    from pandas_llm._engine.feed import Feed
    from pandas_llm._engine.items import Bundle, Item

T = TypeVar("T")
_SLICE = 0.2


class Engine:
    """Runs the requests of one run through its clients."""

    def __init__(
        self, clients: Sequence[Client], feed: Feed, shorter: Shorter | None = None
    ) -> None:
        self._client = clients[0]
        self._streak = clients[-1].history.streak
        self._feed, self._events, self._outcomes = feed, feed.events, feed.outcomes
        self._fallback = Fallback(clients, feed, shorter)
        self._slots = Slots(self._client.pace.target, self._grow)
        for client in clients:
            client.pace.share(self._slots)
        self._workers: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._stop: Exception | None = None
        self._looks: set[int] = set()
        """Rows on their way that were taken from other places."""
        self._arrival = asyncio.Event()
        """Is set for a moment at each outcome."""
        self._probe = Probe(self._client, self._slots, self)
        self._postponed: dict[int, Outcome] = {}
        """The outcomes so far of rows that are asked again at the end."""
        self._bundles = Bundles(feed, self._client)
        self._source = self._bundles if self._client.bundling.inputs > 1 else feed

    async def execute(self, deadline: float | None = None) -> None:
        """Send every request, until all are done, time is up or one error is fatal."""
        self._feed.when_opened(self._grow)
        try:
            async with asyncio.timeout(deadline) as timer:
                await self._probe.send(self._feed)
                await self._pool()
                if self._postponed and self._stop is None:
                    await self._pool()  # some were put off by the last to end
        except TimeoutError:
            if not timer.expired():
                raise
            self._outcomes.unfinished = DeadlineError(
                f"not done within deadline={deadline:g} s"
            )
        finally:
            await self._cancel()
            for position, outcome in self._postponed.items():
                self._outcomes.add(position, outcome)  # its last word, if not the last
                self._events.totals.failed += 1
        if self._stop is not None:
            self._outcomes.unfinished = NotSentError(f"not sent: {self._stop}")
            raise self._stop

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
        """Let new rows ask while the server is down: those in slots may be hopeless."""
        circuit = self._client.circuit
        while True:
            await asyncio.sleep(_SLICE)
            if not circuit.due:
                continue
            if (bundle := await self.next()) is not None:
                scout = self.start(self.work(bundle))
                scout.add_done_callback(partial(self._arrived, bundle))
            elif not self._feed.waits:
                return

    def _arrived(self, bundle: Bundle, _: object = None) -> None:
        """Let those go on that wait until fewer rows of other places are asked."""
        self._looks.discard(bundle[0].position)
        self._arrival.set()
        self._arrival.clear()

    def _grow(self) -> None:
        """Follow the concurrency's target; workers over it wait for a slot."""
        target, slots = self._client.pace.target, self._slots
        if self._idle is None:  # before the pool
            self._probe.sleeps()
            return
        if target != slots.limit:
            slots.resize(target)
        while len(self._workers) - slots.resting.total() < target:
            self.start(self._worker())

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that ends with the run at the latest."""
        worker = asyncio.get_running_loop().create_task(work)
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)
        return worker

    def _worker_ended(self, worker: asyncio.Task[Any]) -> None:
        self._workers.discard(worker)
        self._slots.holders.discard(worker)
        if not self._workers and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _worker(self) -> None:
        pace, slots = self._client.pace, self._slots
        slots.holders.add(asyncio.current_task())
        await slots.acquire()
        try:
            while (bundle := await self.next()) is not None:
                await self.work(bundle)
                if self._looks:
                    self._arrived(bundle)
                if pace.target != slots.limit:
                    self._grow()
                if slots.wanted:
                    await slots.pass_on()
        finally:
            slots.release()

    async def next(self) -> Bundle | None:
        """Return the rows to ask about next; None at the end."""
        streak = self._streak
        if streak.looking and self._stop is None:
            await self._elsewhere(streak)
        if self._stop is not None:
            return None
        try:
            bundle = self._source.ready()
            if bundle is None:
                bundle = await self._source.next()
                self._client.circuit.last = bundle is None and not self._feed.waits
        except Exception as error:  # noqa: BLE001 - execute() raises it at the end
            self._stop = error
            return None
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
            self._feed.look_ahead(SAMPLE)

    async def work(self, bundle: Bundle) -> Outcome | None:
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
        finally:
            if item.request.shared:
                self._feed.ended(item.position)
        self._done(item, outcome)
        return outcome

    async def _halved(self, bundle: Bundle) -> bool:
        """Ask for a bundle, then in halves; return whether it was answered as one.

        One bad text, or a limit that nobody knew of, costs its neighbours nothing.
        """
        if self._stopped():
            return False
        if len(bundle) == 1:
            outcome = await self.work(bundle)
            return outcome is not None and not outcome.failed
        error = None
        if len(bundle) <= self._bundles.inputs:
            error = await self._whole(bundle)
            if error is None:
                return True
            first = bundle[0].position
            ended = first in self._postponed or self._outcomes.done[first]
            if ended or self._stopped():
                return False
        middle = (len(bundle) + 1) // 2
        halves = [await self._halved(i) for i in (bundle[:middle], bundle[middle:])]
        if all(halves) and isinstance(error, BadRequestError):
            self._bundles.lower(middle)  # it was not one of the texts
        return False

    async def _whole(self, bundle: Bundle) -> Exception | None:
        """Ask for a bundle as it is; return why it was not answered."""
        try:
            outcomes = await self._fallback.of_all(bundle)
        except LLMError as error:
            if error.fatal and not isinstance(error, CostLimitError):
                self._end(bundle, error)
            elif error.own:  # of the bundle as a whole: no half would do better
                for item in bundle:
                    self._done(item, Outcome([], error))
            return error
        except Exception as error:  # noqa: BLE001 - execute() raises it
            self._end((), error)
            return error
        for item, outcome in zip(bundle, outcomes, strict=True):
            self._done(item, outcome)
        return None

    def _done(self, item: Item, outcome: Outcome) -> None:
        """Record what came of a row, or ask once more when all had their turn."""
        position, error = item.position, outcome.error
        if error is not None and error.later and not item.attempts:
            self._feed.later(item, max(1, outcome.attempts))
            self._events.retried(error)
            self._postponed[position] = outcome
            return
        if item.attempts:
            self._postponed.pop(position, None)
        self._outcomes.add(position, outcome)
        self._events.finished(position, outcome)

    def _stopped(self) -> bool:
        return self._stop is not None

    def _end(self, bundle: Bundle, error: Exception) -> None:
        """Stop the run; those rows failed with it, once where money ends it."""
        if self._stop is not None and isinstance(error, CostLimitError):
            return  # they were not sent, as all that were to come
        own = error.__cause__ if isinstance(error, RepeatedError) else error
        for item in bundle:
            if isinstance(own, LLMError):
                self._outcomes.add(item.position, Outcome([], own))
        self._events.totals.failed += len(bundle)
        self.end(error)

    def end(self, error: Exception) -> None:
        """Stop the run: no new rows, those in flight finish."""
        self._stop = self._stop or error

    async def _cancel(self) -> None:
        """Leave no task behind, and let those that end start no other."""
        self._feed.when_opened(lambda: None)
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

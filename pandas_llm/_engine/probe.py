"""The first rows of a run, one by one until the endpoint has answered one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pandas_llm._client import OF_THE_TEXT, likeness
from pandas_llm.errors import FirstRowsError, ProviderError, RateLimitError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pandas_llm._client import Client
    from pandas_llm._engine.feed import Feed
    from pandas_llm._engine.items import Bundle
    from pandas_llm._pacing import Slots
    from pandas_llm.types import Outcome

T = TypeVar("T")
_FIRST = 3
"""Rows that are tried one by one before all fan out."""
SAMPLE = 10
"""Rows that must fail the same way before that ends the run."""


class Run(Protocol):
    """The run whose first rows are asked."""

    async def next(self) -> Bundle | None:
        """Return the rows to ask about next; None at the end."""

    async def work(self, bundle: Bundle) -> Outcome | None:
        """Bring rows to their end; return the outcome of a single row."""

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that ends with the run at the latest."""

    def end(self, error: Exception) -> None:
        """Stop the run."""


class Probe:
    """Sends rows one by one until the endpoint has answered one of them.

    A wrong key or model costs one call this way, not one a row. The head of a frame is
    no sample: when the first rows fail the same way, rows from all over it are asked
    once each before that ends the run. A refused row sleeps meanwhile: it may be larger
    than the account's limit.
    """

    def __init__(self, client: Client, slots: Slots, run: Run) -> None:
        self._client = client
        self._slots = slots
        self._run = run
        self._tries: set[asyncio.Task[Outcome | None]] = set()
        self._failed: list[ProviderError] = []
        self._asleep = asyncio.Event()
        """Is set when a row begins to wait for itself."""
        self._refused: set[asyncio.Task[object] | None] = set()
        """Tries that sleep after a refusal."""

    async def send(self, feed: Feed) -> None:
        """Send the first rows, and end the run when all of them fail alike."""
        client, history, tries = self._client, self._client.history, self._tries
        for number in range(SAMPLE):
            ended = number - len(tries)
            alike = len(self._failed) == ended and self._alike()
            if client.proven or (ended >= _FIRST and not alike):
                break
            history.sampling = ended >= _FIRST
            if number == _FIRST:
                feed.look_ahead(SAMPLE - _FIRST)
            if (bundle := await self._run.next()) is None:
                break
            tries.add(self._run.start(self._try(bundle)))
            await self._ended_or_asleep()
            if not self._collect():
                return
        while tries and not client.proven:
            await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            if not self._collect():
                return
        history.sampling = False
        failed = self._failed
        own = failed and isinstance(failed[0], OF_THE_TEXT)
        enough = SAMPLE if own else _FIRST
        if len(failed) >= enough and self._alike() and not client.proven:
            msg = (
                f"the first {len(failed)} rows all failed the same way, so no other "
                f"was sent: {failed[-1]}"
            )
            self._run.end(FirstRowsError(msg, status=failed[-1].status))

    def sleeps(self) -> None:
        """Note that the current try waits for itself."""
        if self._slots.resting[RateLimitError.kind]:
            self._refused.add(asyncio.current_task())
        self._asleep.set()

    async def _try(self, bundle: Bundle) -> Outcome | None:
        """Ask for a row, with a slot that it leaves while it sleeps."""
        await self._slots.acquire()
        self._slots.holders.add(asyncio.current_task())
        try:
            return await self._run.work(bundle)
        finally:
            self._slots.release()

    async def _ended_or_asleep(self) -> None:
        """Wait until a try ends; if all were refused, for seconds that add up."""
        clock = asyncio.get_running_loop().time
        end = clock() + len(self._tries) - 1
        while not any(one.done() for one in self._tries):
            left = end - clock() if self._tries <= self._refused else None
            if left is not None and left <= 0:
                return
            self._asleep.clear()
            asleep = asyncio.ensure_future(self._asleep.wait())
            try:
                first = asyncio.FIRST_COMPLETED
                tasks = {*self._tries, asleep}
                await asyncio.wait(tasks, timeout=left, return_when=first)
            finally:
                asleep.cancel()

    def _alike(self) -> bool:
        """Return whether all rows so far failed the same way."""
        return len({likeness(error) for error in self._failed}) == 1

    def _collect(self) -> bool:
        """Remove the tries that have ended; return False when one has no outcome."""
        for one in [one for one in self._tries if one.done()]:
            self._tries.remove(one)
            if (outcome := one.result()) is None:
                return False
            if isinstance(outcome.error, ProviderError) and outcome.failed:
                self._failed.append(outcome.error)
        return True

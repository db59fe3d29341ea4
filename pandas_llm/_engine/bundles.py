"""Bundles: the stage between feed and workers where one request holds many texts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pandas_llm._engine.feed import Feed, Item
from pandas_llm._engine.workers import Engine
from pandas_llm._pacing import estimate_tokens
from pandas_llm.errors import BadRequestError, CostLimitError, EmptyTextError, LLMError
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.providers import Bundling

_ANSWER = 12 * 2**20
"""Bytes of an answer to aim at; the transport takes 16 MB."""
_UNKNOWN = 2 << 14
"""Bytes of a vector that none was seen of: 1,500 numbers in JSON."""
_MARGIN = 0.8
"""Of the tokens a request may hold: they are guessed."""
_TURN = 1 / 4
"""Of a minute's tokens that a bundle may take, so that the pace stays even."""


class Bundles(Feed):
    """A feed that gives a list of items at a time.

    Until the endpoint has answered in this process, a list holds one: a wrong key
    costs one small call, and its answer tells how large the others will be.

    Parameters
    ----------
    requests, client, run, store, dedupe
        As for a `Feed`.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        most: Bundling = self._client.provider.most  # type: ignore[attr-defined]
        self._inputs = most.inputs
        self._tokens = _MARGIN * most.tokens
        self._held: Item | None = None
        self._lock = asyncio.Lock()

    @property
    def inputs(self) -> int:
        """How many texts a bundle may hold now."""
        terms = self._client.terms
        if not terms.settled:
            return 1
        wire = terms.capabilities.wire or _UNKNOWN
        return max(1, min(self._inputs, _ANSWER // wire))

    def lower(self, inputs: int) -> None:
        """Make smaller bundles, since the server takes no larger ones."""
        self._inputs = max(1, min(self._inputs, inputs))

    def ready(self) -> Any:
        """Give nothing: a bundle is put together when a worker asks for it."""
        return None

    async def next(self) -> Any:
        """Give the next bundle; None when there is none left."""
        bundle: list[Item] = []
        weight = 0.0
        pace = self._client.pace
        async with self._lock:  # or the workers would share the rows out in crumbs
            most = min(self._tokens, _TURN * pace.limiter.tokens_per_minute())
            inputs = self.inputs
            while len(bundle) < inputs and (item := await self._take(bundle)):
                rough = estimate_tokens(item.request.prompt)
                each = pace.calibration.estimate(rough, 0, 1)
                if bundle and weight + each > most:
                    self._held = item
                    break
                bundle.append(item)
                weight += each
        return bundle or None

    async def _take(self, bundle: list[Item]) -> Item | None:
        """Give the next item that has a text."""
        item, self._held = self._held, None
        while item is None:
            try:
                item = super().ready() or await super().next()
            except Exception:
                if not bundle:
                    raise
                return None  # it is raised again when these rows are on their way
            if item is None:
                return None
            if not item.request.prompt:
                self._refuse(item)
                item = None
        return item

    def _refuse(self, item: Item) -> None:
        error = EmptyTextError("an empty text has no embedding: not sent")
        self._store.add(item.position, Outcome([], error, attempts=0))
        self._run.totals.done += 1
        self._run.totals.failed += 1


class BundleEngine(Engine):
    """Workers that ask for a bundle at a time.

    One that fails is asked again in halves, down to single texts: one bad text, or
    a limit that nobody knew of, costs its neighbours nothing.
    """

    _feed: Bundles

    async def _one(self, item: Any) -> Outcome | None:
        """Bring a bundle to its end; give the outcome of a single text."""
        items: Sequence[Item] = item
        if len(items) > 1:
            await self._several(items)
            return None
        outcome = await super()._one(items[0])
        if outcome is not None and not outcome.failed:
            self._measure()
        return outcome

    async def _several(self, items: Sequence[Item]) -> bool:
        """Tell whether the bundle was answered as one."""
        if self._stop is not None:
            return False
        if len(items) == 1:
            outcome = await self._one(items)
            return outcome is not None and not outcome.failed
        error: LLMError | None = None
        if len(items) <= self._feed.inputs:
            try:
                await self._ask(items)
            except LLMError as failure:
                error = failure
                fatal = error.fatal and not isinstance(error, CostLimitError)
            except Exception as failure:  # noqa: BLE001 - execute() raises it
                self._fail((), failure)
                return False
            else:
                return True
            if fatal:
                self._fail(items, error)
                return False
        middle = (len(items) + 1) // 2
        halves = [await self._several(i) for i in (items[:middle], items[middle:])]
        if all(halves) and isinstance(error, BadRequestError):
            self._feed.lower(middle)  # it was not one of the texts
        return False

    async def _ask(self, items: Sequence[Item]) -> None:
        outcomes = await self._client.complete_bundle(
            [item.request for item in items], self._run, [item.key for item in items]
        )
        for item, outcome in zip(items, outcomes, strict=True):
            self._store.by[item.position] = not outcome.failed
            self._store.add(item.position, outcome)
            self._run.log.row(item.position, outcome)
            self._run.totals.failed += outcome.failed
        self._run.totals.done += len(items)
        self._measure()

    def _fail(self, items: Sequence[Item], error: Any) -> None:
        """Stop the run, as the engine does for one row."""
        for item in items:
            self._store.add(item.position, Outcome([], error))
        self._run.totals.failed += len(items)
        self._stop = self._stop or error

    def _measure(self) -> None:
        client = self._client
        client.terms.measured(client.provider.wire)  # type: ignore[attr-defined]

"""One row's answer: from the model, or those to fall back to, or with less text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm._client import Tally
from pandas_llm.errors import (
    ContextLengthError,
    FellBackError,
    OutageError,
    RateLimitedTooLong,
    ShortenedError,
    UnreachableError,
)
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pandas_llm._client import Client
    from pandas_llm._engine.feed import Feed
    from pandas_llm._engine.items import Bundle, Item
    from pandas_llm.types import Request

    Shorter = Callable[[int, Request, ContextLengthError], Request | None]
    """Shortens a request that was too long; returns None where that does not help."""
    Tried = tuple[Client, bytes, Outcome]

_UNTIL_NEXT = 10.0
"""Seconds to wait for a server that is down, where there is another to ask."""


class Fallback:
    """Asks for the rows of a run, in all the ways that the run allows."""

    def __init__(
        self, clients: Sequence[Client], feed: Feed, shorter: Shorter | None = None
    ) -> None:
        self._clients = clients
        self._client = clients[0]
        self._events = feed.events
        self._shorter = shorter
        self._choosy = len(clients) > 1 or shorter is not None
        """Whether a row may be asked in more than one way."""
        for client in clients[:-1]:
            client.circuit.patience = min(_UNTIL_NEXT, client.circuit.patience)
            client.history.relieved = True

    def of(self, item: Item) -> Awaitable[Outcome]:
        """Return what came of one row; raise only what ends the run."""
        if self._choosy:
            return self._first(item)
        return self._client.complete(item.request, self._tally(item), item.key)

    async def of_all(self, bundle: Bundle) -> list[Outcome]:
        """Return the outcomes of rows that share a request; raise without an answer."""
        return await self._client.complete_bundle(
            [item.request for item in bundle],
            [item.key for item in bundle],
            self._tally(max(bundle, key=lambda item: item.attempts)),
        )

    async def _first(self, item: Item) -> Outcome:
        """Ask one client after the other until one has an answer."""
        tried: list[Tried] = []
        for index, client in enumerate(self._clients):
            if index:
                request = item.request._replace(spec=client.spec)
                key = client.fingerprint.of(request)
                item = item._replace(request=request, key=key)
            outcome = await self._fitted(client, item, tried)
            if not outcome.failed:
                break
        else:
            return outcome
        outcome = outcome._replace(by=index + 1)
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
            key = client.fingerprint.of(shorter)
            item = item._replace(request=shorter, key=key)
        if cut and outcome.error is None:
            msg = "its text was cut to fit into the model's context"
            outcome = outcome._replace(error=ShortenedError(msg))
        return outcome

    async def _asked(self, client: Client, item: Item, *, new: bool) -> Outcome:
        """Ask one client, unless an earlier run had the answer elsewhere."""
        another = client is not self._clients[-1]
        if another or self._shorter:
            known = client.given_up(item.key)
            if known and (another or isinstance(known, ContextLengthError)):
                return Outcome([], known, 0, cached=True)
        # the feed has looked for the first key already
        key = item.key if new and client is self._client else None
        try:
            return await client.complete(item.request, self._tally(item), key)
        except (UnreachableError, OutageError, RateLimitedTooLong) as error:
            if not another:
                raise
            return Outcome([], error)

    def _tally(self, item: Item) -> Tally:
        """Begin to count what a row costs."""
        return Tally(
            self._events,
            attempts=item.attempts,
            again=item.attempts > 0,
            elsewhere=item.elsewhere,
            heard=item.heard,
        )

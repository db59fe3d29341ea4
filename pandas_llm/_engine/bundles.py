"""Bundles: the stage between feed and workers where one request holds many texts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pandas_llm._pacing import estimate_tokens
from pandas_llm.errors import EmptyTextError

if TYPE_CHECKING:
    from pandas_llm._engine.client import Client
    from pandas_llm._engine.feed import Bundle, Feed, Item

_ANSWER = 12 * 2**20
"""Bytes of an answer to aim at; the transport takes 16 MB."""
_UNKNOWN = 2 << 14
"""Bytes of a vector that none was seen of: 1,500 numbers in JSON."""
_MARGIN = 0.8
"""Of the tokens a request may hold: they are guessed."""
_TURN = 1 / 4
"""Of a minute's tokens that a bundle may take, so that the pace stays even."""


class Bundles:
    """Puts the requests of a feed together, as many as one call may hold.

    Until the endpoint has answered in this process, a bundle holds one: a wrong key
    costs one small call, and its answer tells how large the others will be.

    Parameters
    ----------
    feed : Feed
        Gives the requests one by one.
    client : Client
        Its limits and pace count.
    """

    def __init__(self, feed: Feed, client: Client) -> None:
        self._feed = feed
        self._client = client
        self._inputs = client.bundling.inputs
        self._tokens = _MARGIN * client.bundling.tokens
        self._held: Item | None = None
        self._lock = asyncio.Lock()

    @property
    def inputs(self) -> int:
        """How many texts a bundle may hold now."""
        if not self._client.proven:
            return 1
        wire = self._client.terms.capabilities.wire or _UNKNOWN
        return max(1, min(self._inputs, _ANSWER // wire))

    def lower(self, inputs: int) -> None:
        """Make smaller bundles, since the server takes no larger ones."""
        self._inputs = max(1, min(self._inputs, inputs))

    def ready(self) -> None:
        """Return nothing: a bundle is put together when a worker asks for it."""
        return

    async def next(self) -> Bundle | None:
        """Return the next bundle; None when there is none left."""
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
        return tuple(bundle) or None

    async def _take(self, bundle: list[Item]) -> Item | None:
        """Return the next item that has a text."""
        item, self._held = self._held, None
        while item is None:
            try:
                one = self._feed.ready() or await self._feed.next()
            except Exception:
                if not bundle:
                    raise
                return None  # it is raised again when these rows are on their way
            if one is None:
                return None
            (item,) = one
            if not item.request.prompt:
                error = EmptyTextError("an empty text has no embedding: not sent")
                self._feed.fail(item.position, error)
                item = None
        return item

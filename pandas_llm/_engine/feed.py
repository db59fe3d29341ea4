"""Which requests must be sent: neither equal to another row's nor answered before."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from pandas_llm._engine.items import Item
from pandas_llm._engine.warming import Warming
from pandas_llm._pacing import estimate_tokens
from pandas_llm.errors import EmptyTextError, EncodingError, RowError
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_llm._client import Client, Events
    from pandas_llm._engine.items import Bundle
    from pandas_llm._engine.outcomes import Outcomes
    from pandas_llm._rows import Order
    from pandas_llm.options import Settings
    from pandas_llm.types import Request

    Row = tuple[int, Request | RowError | None]
    """A position and its request; None for NA, an error where it cannot be sent."""

_BATCH = 256
"""Rows looked up in the cache at once: 1.3 µs a row, one by one 4 µs."""
_SLOW_BATCH = 16
"""Rows with images or files, which take milliseconds each."""

_ANSWER = 12 * 2**20
"""Bytes of an answer to aim at; the transport takes 16 MB."""
_UNKNOWN = 2 << 14
"""Bytes of a vector before the first is seen: 1,500 numbers in JSON."""
_MARGIN = 0.8
"""The share of the allowed tokens to fill: they are guessed."""
_TURN = 1 / 4
"""The share of a minute's tokens for one bundle: it keeps the pace even."""


class Feed:
    """The requests to send, a batch ahead of the workers, in bundles of one.

    Rows that need no request are finished here: those with NA, those that equal another
    row, those whose reply is in the cache, those that cannot be sent. Without `dedupe`
    the k-th of equal requests has k in its key, so that a rerun finds the same answers.
    With attachments, making a request reads files, and another thread does it.
    `requests` makes those of given positions, or of all, which `order` holds. With
    `alike` rows wait for the first that begins as they do.
    """

    def __init__(  # noqa: PLR0913 - what a run has
        self,
        requests: Callable[[Sequence[int] | None], Iterator[Row]],
        client: Client,
        events: Events,
        outcomes: Outcomes,
        settings: Settings,
        *,
        order: Order,
        alike: bool = False,
    ) -> None:
        self._make = requests
        self._rows = requests(None)
        self._client = client
        self.events = events
        self.outcomes = outcomes
        self._seen: dict[Any, int] | None = {} if settings.dedupe else None
        self._times: Counter[bytes] = Counter()
        self._queue: deque[Bundle] = deque()
        self._broken: Exception | None = None
        self._order = order
        self._reached = 0
        self._alike = alike
        self._warming = Warming()
        self._opened: Callable[[], None] = lambda: None
        self._ahead: set[int] = set()
        """Rows that had their turn before those ahead of them."""
        self._late: deque[Bundle] = deque()
        self._aside = asyncio.Lock() if settings.attaches else None

    def ready(self) -> Bundle | None:
        """Return a request that is ready to be sent, if there is one."""
        queue, warming = self._queue, self._warming
        if not self._alike:
            return queue.popleft() if queue else None
        row = warming.freed()
        while row is None and queue:
            (item,) = bundle = queue.popleft()
            if item.elsewhere or not item.request.shared:
                return bundle
            row = warming.come(item)
        return None if row is None else self._led(row)

    async def next(self) -> Bundle | None:
        """Return the next request; raise what a prompt raised after the rows before.

        None at the end, and while all that are left wait for others (`waits`).
        """
        while (bundle := self.ready()) is None:
            if self._full() or not await self._refill():
                break
            await asyncio.sleep(0)  # a million cached rows must not block the loop
        if bundle is None and (row := self._warming.help()) is not None:
            bundle = self._led(row)
        if bundle is None and self._late and not self.waits:
            return self._late.popleft()
        return bundle

    @property
    def waits(self) -> bool:
        """Whether rows wait until the first that begins as they do is answered."""
        return self._warming.waiting > 0

    def when_opened(self, call: Callable[[], None]) -> None:
        """Call this from now on when rows that waited may go."""
        self._opened = call

    def _full(self) -> bool:
        """Return whether as many rows wait as may be held."""
        return self._warming.waiting >= max(_BATCH, 2 * self._client.pace.target)

    def _led(self, item: Item) -> Bundle:
        """Let others hear of a row that they wait for."""
        if self._warming.leads(item.position):
            item = item._replace(heard=partial(self._heard, item.position))
        return (item,)

    def _heard(self, position: int, answered: bool) -> None:  # noqa: FBT001 - a callback
        self._warming.heard(position, answered=answered)
        self._opened()

    def ended(self, position: int) -> None:
        """Note that a row is done for whose first request others may wait."""
        if self._warming.ended(position):
            self._opened()

    def later(self, item: Item, attempts: int) -> None:
        """Put a row off until all others have had their turn."""
        self._late.append((item._replace(attempts=attempts),))

    def look_ahead(self, count: int) -> None:
        """Let some rows from all over the rest of the frame be next."""
        self._queue.extendleft((row,) for row in self._warming.back())
        others, rows = self._queue, len(self._order)
        if self._reached >= rows:
            step = max(1, len(others) // count)
            chosen = deque(list(islice(others, step - 1, None, step))[-count:])
            first = {item.position for (item,) in chosen}
            others = deque(b for b in others if b[0].position not in first)
        else:
            step = max(1, (rows - self._reached) // count)
            spread = self._order[self._reached + step - 1 :: step][-count:]
            places = [int(at) for at in spread if at not in self._ahead]
            taken: list[Row] = []
            with suppress(Exception):  # it is raised when it is that row's turn
                taken.extend(self._make(places))
            self._ahead.update(position for position, _ in taken)
            self._queue = chosen = deque()
            self._put(taken, ahead=True)
        moved = ((item._replace(elsewhere=True),) for (item,) in chosen)
        self._queue = deque([*moved, *others])

    async def _refill(self) -> bool:
        """Read some rows; return whether there were any."""
        if self._aside is None:
            return self._put(self._taken(_BATCH))
        async with self._aside:  # in another thread, one batch at a time
            if self._queue:
                return True
            return self._put(await asyncio.to_thread(self._taken, _SLOW_BATCH))

    def _taken(self, most: int) -> list[Row]:
        taken: list[Row] = []
        if self._broken is not None:
            raise self._broken
        try:
            # one by one, so that those before an error are kept
            taken.extend(islice(self._rows, most))
        except Exception as error:  # noqa: BLE001 - raised at the next call
            self._broken = error
        self._reached += len(taken)
        return taken

    def _put(self, taken: list[Row], *, ahead: bool = False) -> bool:
        batch: list[Item] = []
        for position, request in taken:
            if position in self._ahead and not ahead:
                continue  # it had its turn
            if request is None:
                self._finish(position, Outcome([], attempts=0, by=0))
            elif isinstance(request, RowError):
                self._fail(position, request)
            elif not request.prompt and self._client.embeds:
                error = EmptyTextError("an empty text has no embedding: not sent")
                self._fail(position, error)
            elif (item := self._identified(position, request)) is not None:
                batch.append(item)
        self._sort(batch)
        return bool(taken) or self._broken is not None

    def _sort(self, batch: list[Item]) -> None:
        """Finish the rows whose reply is known, queue the others."""
        known = self._client.known([(item.key, item.request) for item in batch])
        for item, outcome in zip(batch, known, strict=True):
            if outcome is None:
                self._queue.append((item,))
            else:
                self._finish(item.position, outcome)

    def _identified(self, position: int, request: Request) -> Item | None:
        try:
            key = self._client.fingerprint.of(request)
        except UnicodeEncodeError as error:
            self._fail(position, _unsendable(error))
            return None
        if self._seen is None:
            times = self._times[key]
            self._times[key] += 1
            if times:
                request = request._replace(sample=times * request.spec.n)
                key = self._client.fingerprint.of(request)
            return Item(position, request, key)
        # prompts may be equal whose cells end elsewhere, and so do their quotes
        ends = tuple(map(len, request.cells[1:]))
        leader = self._seen.setdefault((key, ends) if ends else key, position)
        if leader == position:
            return Item(position, request, key)
        self.outcomes.share(position, leader)
        self.events.totals.done += 1
        return None

    def _fail(self, position: int, error: RowError) -> None:
        """Finish a row that cannot be sent."""
        self._finish(position, Outcome([], error, attempts=0))

    def _finish(self, position: int, outcome: Outcome) -> None:
        """Finish a row without a request."""
        self.outcomes.add(position, outcome)
        self.events.finished(position, outcome)


def _unsendable(error: UnicodeEncodeError) -> EncodingError:
    character = error.object[error.start]
    msg = f"the prompt holds {character!a}, which is not a character: it cannot be sent"
    return EncodingError(msg)


class Bundles:
    """Puts the requests of a feed together, as many as one call may hold.

    The first call holds one request: a wrong key costs little, and the answer shows how
    large the next calls may be.
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
        wire = self._client.negotiation.capabilities.wire or _UNKNOWN
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
                each = pace.calibration.amounts(rough, 0, 1)[0]
                if bundle and weight + each > most:
                    self._held = item
                    break
                bundle.append(item)
                weight += each
        return tuple(bundle) or None

    async def _take(self, bundle: list[Item]) -> Item | None:
        """Return the next item."""
        item, self._held = self._held, None
        if item is not None:
            return item
        try:
            one = self._feed.ready() or await self._feed.next()
        except Exception:
            if not bundle:
                raise
            return None  # it is raised again when these rows are on their way
        return None if one is None else one[0]

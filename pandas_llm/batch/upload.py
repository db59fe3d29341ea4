"""Takes requests to a batch endpoint and brings the answers home to the cache."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pandas_llm._engine import (
    Ask,
    Events,
    Feed,
    Transport,
    images,
    offline_client,
    open_client,
    resolve_endpoint,
)
from pandas_llm._run import shared_spec
from pandas_llm.batch.state import Part, State
from pandas_llm.cache import open_cache
from pandas_llm.errors import (
    ConfigurationError,
    ConnectionBrokenError,
    ConnectionFailedError,
    CostLimitError,
    ImageError,
    MalformedReplyError,
    MaybeCreatedError,
    OutputError,
    ProviderError,
    UnreachableError,
)
from pandas_llm.providers import DISCOUNT, batches_of, excerpt, read_reply, succeeded
from pandas_llm.redaction import shown, visible
from pandas_llm.types import Request, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from pandas_llm._engine import Client, Item
    from pandas_llm._run import Task, TaskRun
    from pandas_llm.cache import Cache
    from pandas_llm.providers import Batches, Result, Snapshot
    from pandas_llm.types import HTTPRequest, HTTPResponse, Reply

_PROBES = 3
_UNCLEAR = (303, 408, 409, 499)
"""Of the statuses that refuse, those of which something may have been created."""


@dataclass(slots=True)
class Upload:
    """What requests are sent to the provider with, and answers fetched."""

    client: Client
    batches: Batches
    events: Events
    cache: Cache
    task: Task

    @classmethod
    @asynccontextmanager
    async def opened(cls, task: Task, path: Path) -> AsyncIterator[Upload]:
        """Open connections and cache."""
        settings = task.settings
        async with AsyncExitStack() as stack:
            cache = open_cache(path)
            stack.callback(cache.close)
            output, verb = task.output, task.verb
            spec = shared_spec(settings, output.schema, verb, output.constrained)
            ask = Ask(spec, output, replace(settings, max_cost=None), cache)
            client = await open_client(stack, resolve_endpoint(settings), ask)
            sample = Request(client.spec, "")
            request = client.provider.build(sample, client.terms.capabilities, 1)
            batches = batches_of(client.provider, request)
            yield cls(client, batches, Events(), cache, task)

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send by POST."""
        return await self._exchange(lambda: self.client.transport.send(request))

    async def ready(self, lines: Sequence[bytes]) -> HTTPRequest:
        """Send the requests ahead, where they are; return what begins their batch."""
        upload = self.batches.upload(lines)
        uploaded = (await self.send(upload)).body if upload else None
        try:
            return self.batches.create(lines, uploaded)
        except (LookupError, TypeError, ValueError) as error:
            msg = f"the answer to the upload of a batch cannot be read: {error!r}"
            raise MalformedReplyError(msg) from error

    async def create(self, request: HTTPRequest, requests: int) -> Snapshot:
        """Begin a batch of so many requests; the request for it never leaves twice.

        Raises
        ------
        MaybeCreatedError
            When it was sent and the answer does not say what became of it.
        """
        settings = self.task.settings

        async def once() -> HTTPResponse:
            # a kept connection may be stale: nobody could tell whether it was read
            try:
                async with Transport(settings) as new:
                    response = await new.send(request, once=True)
            except ProviderError as error:
                if _unsent(error):
                    raise
                raise self._unclear(request, requests, error) from error
            if succeeded(response):
                return response
            answer = self.client.provider.error(response)
            if _refused(response):
                raise answer
            raise self._unclear(request, requests, answer)

        made = await self._exchange(once)
        try:
            return self.batches.read(made.body)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            why = MalformedReplyError(f"it cannot be read ({excerpt(made)})")
            raise self._unclear(request, requests, why) from error

    def _unclear(
        self, request: HTTPRequest, requests: int, error: ProviderError
    ) -> MaybeCreatedError:
        place, why = shown(request.url), str(error).rstrip(".")
        return MaybeCreatedError(
            "the answer to the request for a batch is not clear, so it was not sent "
            f"again: {why}. A batch of {requests:,} requests may exist and be paid "
            f"for: look into the list of batches of {self.client.endpoint.provider} "
            f"({place}), and end it there if you do not want it, before you call again",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        )

    async def get(self, url: str, most: int = 1 << 24) -> HTTPResponse:
        """Ask by GET."""
        sample = Request(self.client.spec, "")
        built = self.client.provider.build(sample, self.client.terms.capabilities, 1)
        return await self._exchange(
            lambda: self.client.transport.get(built._replace(url=url, body=b""), most)
        )

    async def _exchange(
        self, call: Callable[[], Awaitable[HTTPResponse]]
    ) -> HTTPResponse:
        return await self.client.exchange(call, self.events)

    def kept(self, items: Sequence[Item]) -> set[bytes]:
        """Tell which requests need not be sent."""
        return set(self.client.known([item.key for item in items]))

    async def probe(self, todo: list[Item], state: State) -> list[Item]:
        """Send rows the ordinary way until the endpoint's terms are settled.

        A batch with a parameter that the model refuses would fail as a whole, hours
        later.
        """
        events = Events(state.counters)
        for _ in range(_PROBES):
            if not todo or self.client.proven:
                break
            item, *todo = todo
            outcome = await self.client.complete(item.request, events)
            if outcome.failed:
                state.reasons[item.key.hex()] = str(outcome.error)
        return todo

    async def built(self, request: Request, n: int) -> tuple[bytes, int]:
        """Write a body, and tell how much of it images are above their tokens."""
        if request.images:
            name = self.client.endpoint.provider
            request = await images.load(request, self.client.provider.images, name)
        capabilities = self.client.terms.capabilities
        body = self.client.provider.build(request, capabilities, n).body
        return body, images.surplus(request)

    def keep(self, result: Result, state: State) -> None:
        """Put one answer into the cache, or note why there is none."""
        name = result.custom_id
        if result.response is None:
            state.reasons[name] = result.reason
            return
        try:
            reply = self._read(result.response, state)
            for choice in reply.choices:
                self.task.output.read(choice)
        except (ProviderError, OutputError) as error:
            state.reasons[name] = f"{error.kind}: {error}"
            return
        state.reasons.pop(name, None)
        self.cache.put(bytes.fromhex(name), reply)

    def _read(self, response: HTTPResponse, state: State) -> Reply:
        """Read an answer; what it has used is counted even if it is no reply."""
        try:
            reply = read_reply(self.client.provider, response)
        except ProviderError:
            if (used := self.client.provider.spent(response)) != Used():
                self._book(used.tokens, state)
            raise
        state.counters.requests += 1
        self._book(reply.tokens, state)
        return reply

    def _book(self, tokens: Tokens | None, state: State) -> None:
        cost = math.nan if tokens is None else self.client.prices.of(tokens)
        state.counters.add(tokens or Tokens())
        state.counters.pay(cost * DISCOUNT)


def _unsent(error: ProviderError) -> bool:
    """Tell whether a request cannot have reached the server."""
    broken = isinstance(error, ConnectionBrokenError)
    return isinstance(error, (ConnectionFailedError, UnreachableError)) and not broken


def _refused(response: HTTPResponse) -> bool:
    """Tell whether an answer says for certain that nothing was created."""
    status = response.status
    return 300 <= status < 500 and status not in _UNCLEAR  # noqa: PLR2004


async def send_all(
    upload: Upload, todo: Sequence[Item], state: State, save: Callable[[], None]
) -> None:
    """Send the requests, in as many batches as the provider's limits make of them."""
    capabilities = upload.client.terms.capabilities
    n = upload.client.spec.n
    if n > 1 and not capabilities.n:
        msg = "this model gives one choice a request: n must be 1 with batch=True"
        raise ConfigurationError(msg)
    await _check_cost(upload, todo, n)
    lines: list[bytes] = []
    size = 0

    async def close() -> None:
        nonlocal lines, size
        part = await upload.create(await upload.ready(lines), len(lines))
        state.parts.append(Part(part.id, len(lines), word=visible(part.word)))
        state.requests += len(lines)
        save()
        lines, size = [], 0

    for item in todo:
        name = item.key.hex()
        try:
            body = (await upload.built(item.request, n))[0]
        except ImageError as error:
            state.reasons[name] = f"{error.kind}: {error}"
            continue
        line = upload.batches.line(name, body)
        full = len(lines) == upload.batches.most_requests
        if lines and (full or size + len(line) > upload.batches.most_bytes):
            await close()
        lines.append(line)
        size += len(line)
    if lines:
        await close()
    save()


async def _check_cost(upload: Upload, todo: Sequence[Item], n: int) -> None:
    """Hold `max_cost` before anything is sent: a batch cannot be stopped in time."""
    settings, spec = upload.task.settings, upload.client.spec
    if settings.max_cost is None:
        return
    prices = upload.client.prices
    if spec.max_tokens is None or not prices.known:
        msg = "max_cost with batch=True needs max_tokens, and a price (see prices=)"
        raise ConfigurationError(msg)
    # a token is a byte at least
    output, most = spec.max_tokens * spec.n, 0.0
    for item in todo:
        with suppress(ImageError):  # it is not sent, and told of when it would be
            body, surplus = await upload.built(item.request, n)
            most += prices.of(Tokens(len(body) - surplus, output)) * DISCOUNT
    if most > settings.max_cost:
        msg = f"the batch may cost ${most:.4g}, over max_cost={settings.max_cost:g}"
        raise CostLimitError(msg)


async def all_items(job: TaskRun, client: Client) -> list[Item]:
    """Give all requests of a run, each once, whether their reply is kept or not."""
    ask = Ask(client.spec, job.task.output, job.settings, None)
    blank = offline_client(client.endpoint, ask)
    requests = job.prompts.requests(client.spec)
    feed = Feed(requests, blank, job.events, job.store, job.settings)
    found: list[Item] = []
    while (bundle := await feed.next()) is not None:
        found += bundle
    return found

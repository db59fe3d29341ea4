"""Sends requests to a batch endpoint and takes the answers to the cache."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import orjson

from pandas_llm._client import (
    Events,
    Setup,
    Tally,
    offline_client,
    open_client,
    resolve_endpoint,
)
from pandas_llm._http import Transport
from pandas_llm._inputs import attachments
from pandas_llm._pacing import backoff, unsent
from pandas_llm._replies import Choices, word_requests
from pandas_llm._run import shared_spec
from pandas_llm.cache import begun_key, open_cache
from pandas_llm.errors import (
    ConfigurationError,
    LLMError,
    MalformedReplyError,
    MaybeCreatedError,
    ModelNotFoundError,
    OutputError,
    ProviderError,
)
from pandas_llm.providers import ODD, batches_of, excerpt, read_reply, succeeded
from pandas_llm.redaction import shown
from pandas_llm.types import Reply, Request, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pandas_llm._client import Client
    from pandas_llm._engine import Item
    from pandas_llm._pacing import CostBudget
    from pandas_llm._run import Task, TaskRun
    from pandas_llm.batch.state import Journal
    from pandas_llm.cache import Cache
    from pandas_llm.providers import Batches, Page, Result, Snapshot
    from pandas_llm.types import HTTPRequest, HTTPResponse

T = TypeVar("T")
_PROBES = 3
_NO_LIST = (400, 405, 422, 501)
"""Statuses of a server that has batches, but no list of them."""
_LOOKS = 3
"""Looks until an odd answer is believed."""
_FILE_PAUSE, _LONGEST_FILE = 1.0, 900.0
"""Seconds between looks at a file that was sent, until it can be used."""
_LARGEST_RESULTS = 1 << 30
"""The largest file of results that is read."""
_LONGEST_VECTOR = 4096
"""The length of a vector where none was asked for."""
_NUMBER, _AROUND = 24, 1024
"""Bytes of a number in digits, and of what surrounds a vector."""
_UNCLEAR = (303, 408, 409, 499)
"""Statuses of refusals that may have created something all the same."""


class QueueFullError(LLMError):
    """The account's batches hold as much as they may."""

    kind = "rate_limit"


@dataclass(slots=True)
class Upload:
    """The connection by which requests are sent and answers fetched."""

    client: Client
    batches: Batches
    sample: HTTPRequest
    """A request whose headers others take."""
    events: Events
    cache: Cache
    task: Task
    journal: Journal

    @classmethod
    @asynccontextmanager
    async def opened(cls, task: Task, journal: Journal) -> AsyncIterator[Upload]:
        """Open connections and cache."""
        settings = task.settings
        async with AsyncExitStack() as stack:
            cache = open_cache(journal.path)
            stack.callback(cache.close)
            setup = Setup(
                shared_spec(task), task.output, replace(settings, max_cost=None), cache
            )
            endpoint = resolve_endpoint(settings)._replace(embeds=task.embeds)
            client = await open_client(stack, endpoint, setup)
            sample = Request(client.spec, "")
            request = client.provider.build(sample, client.negotiation.capabilities, 1)
            batches = batches_of(client.provider, request)
            yield cls(client, batches, request, Events(), cache, task, journal)

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send by POST."""
        return await self.client.exchange(
            lambda: self.client.transport.send(request), self.events
        )

    async def get(self, url: str) -> HTTPResponse:
        """Ask by GET, for a file of results too."""
        request, most = self.sample._replace(url=url, body=b""), _LARGEST_RESULTS
        return await self.client.exchange(
            lambda: self.client.transport.get(request, most), self.events
        )

    async def uploaded(self, lines: Sequence[bytes]) -> str:
        """Upload the requests, where they go ahead; return the name of their file."""
        upload = self.batches.upload(lines)
        if upload is None:
            return ""
        answer = file = await self.send(upload)
        unready, until = self.batches.unready, time.monotonic() + _LONGEST_FILE
        try:
            # before it can be used, the provider refuses the batch
            while (place := unready(file.body)) and time.monotonic() < until:
                await asyncio.sleep(_FILE_PAUSE)
                file = await self.get(place)
            return self.batches.uploaded(answer.body)
        except ODD as error:
            msg = f"the answer to the upload of a batch cannot be read: {error!r}"
            raise MalformedReplyError(msg) from error

    async def create(self, request: HTTPRequest, requests: int) -> Snapshot:
        """Begin a batch; the request for it never leaves twice."""
        answer = await self.client.exchange(
            lambda: self._create(request, requests), self.events
        )
        try:
            return self.batches.read(answer.body)
        except ODD as error:
            why = MalformedReplyError(f"it cannot be read ({excerpt(answer)})")
            raise self.unclear(requests, why) from error

    async def _create(self, request: HTTPRequest, requests: int) -> HTTPResponse:
        # a kept connection may be stale: nobody would know whether it was read
        try:
            async with Transport(self.task.settings) as new:
                response = await new.send(request)
        except ProviderError as error:
            if unsent(error):
                raise
            raise self.unclear(requests, error) from error
        if succeeded(response):
            return response
        answer = self.client.provider.error(response)
        if not _refused(response):
            raise self.unclear(requests, answer)
        full = self.batches.queue_full
        if full is not None and answer.code == full and not answer.fatal:
            raise QueueFullError(str(answer))  # a day's quota is another
        raise answer

    def unclear(self, requests: int, error: ProviderError) -> MaybeCreatedError:
        """Return the error of a batch that may exist or not."""
        place, why = shown(self.batches.newest().partition("?")[0]), str(error)
        return MaybeCreatedError(
            "the answer to the request for a batch is not clear, so it was not sent "
            f"again: {why.rstrip('.')}. A batch of {requests:,} requests may exist and "
            "be paid for. The same call looks for it before it sends anything; else "
            f"look into the list of batches of {self.client.endpoint.provider} "
            f"({place}), and end it there if you do not want it",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        )

    async def check(self) -> None:
        """Check that there is a batch endpoint, before anything is paid."""
        place = self.batches.newest()
        try:
            await self._look(place, lambda answer: orjson.loads(answer.body))
        except ProviderError as error:
            if error.status in _NO_LIST:
                return
            if not isinstance(error, (ModelNotFoundError, MalformedReplyError)):
                raise
            place = shown(place.partition("?")[0])
            msg = f"there is no batch endpoint at {place}: leave out batch=True"
            raise ConfigurationError(f"{msg} ({error})") from error

    @property
    def most_requests(self) -> int:
        """The most requests of one batch whose results can still be read."""
        most = self.batches.most_requests
        if (length := self.task.embeds) is None:
            return most
        vector = (length or _LONGEST_VECTOR) * _NUMBER + _AROUND
        return max(1, min(most, _LARGEST_RESULTS // vector))

    async def results(self, url: str) -> list[Result]:
        """Ask for a file of results, and return all that can be read."""
        looks = count(1)

        def read(answer: HTTPResponse) -> list[Result]:
            results = list(self.batches.results(answer.body))
            read = [result for result in results if result.custom_id]
            if not read or (len(read) < len(results) and next(looks) < _LOOKS):
                raise ValueError  # else the file is as it is: those were paid for
            return read

        return await self._look(url, read)

    async def page(self, after: str | None) -> tuple[Page, float]:
        """Fetch a part of the list of batches, and the vendor's time."""

        def read(answer: HTTPResponse) -> tuple[Page, float]:
            now = moment(answer.headers.get("Date"))
            return self.batches.listed(answer.body, after), now

        return await self._look(self.batches.newest(after), read)

    async def state_of(self, batch: str) -> Snapshot:
        """Ask what a batch is doing."""
        url = self.batches.poll(batch)
        return await self._look(url, lambda answer: self.batches.read(answer.body))

    async def _look(self, url: str, read: Callable[[HTTPResponse], T]) -> T:
        """Ask by GET and read the answer; one odd answer is not believed."""
        looks = 0
        while True:
            looks += 1
            try:
                answer = await self.get(url)
                try:
                    return read(answer)
                except ODD as error:
                    msg = f"{shown(url)} cannot be read: {excerpt(answer)}"
                    raise MalformedReplyError(msg, status=answer.status) from error
            except (ModelNotFoundError, MalformedReplyError):
                if looks == _LOOKS:
                    raise
            await asyncio.sleep(backoff(looks))

    def kept(self, items: Sequence[Item]) -> set[bytes]:
        """Return which requests need not be sent."""
        known = self.client.known([(item.key, item.request) for item in items])
        return {item.key for item, one in zip(items, known, strict=True) if one}

    async def probe(self, todo: list[Item], budget: CostBudget) -> list[Item]:
        """Send a few rows the ordinary way: a refused option fails all of a batch."""
        state = self.journal.state
        events = Events(state.counters, budget)
        for _ in range(_PROBES):
            if not todo or self.client.proven or self.batches.apart:
                break
            item, *todo = todo
            outcome = await self.client.complete(item.request, Tally(events))
            if outcome.failed:
                state.reasons[item.key.hex()] = str(outcome.error)
        return todo

    async def built(self, request: Request, n: int) -> tuple[bytes, int]:
        """Write a body; return it and the bytes of files above their tokens."""
        if self._by_words and self.client.negotiation.capabilities.logprobs:
            (request,) = word_requests(request)  # several are refused
        provider = self.client.provider
        if request.attachments:
            request = await self.client.attached.load(request)
        capabilities = self.client.negotiation.capabilities
        body = provider.build(request, capabilities, n).body
        return body, attachments.surplus(request)

    @property
    def _by_words(self) -> bool:
        return self.client.spec.odds in ("words", "codes")

    def without_odds(self, items: list[Item]) -> list[Item]:
        """Return the requests with the keys they have without probabilities."""
        if not self._by_words or self.client.negotiation.capabilities.logprobs:
            return items
        key = self.client.fingerprint.plain
        plain = [item._replace(key=key(item.request)) for item in items]
        known = self.kept(plain)
        return [item for item in plain if item.key not in known]

    def keep(self, result: Result) -> None:
        """Put one answer into the cache, or note why there is none."""
        name, n = result.custom_id, self.client.spec.n
        reasons = self.journal.state.reasons
        if result.response is None:
            reasons[name] = result.reason
            return
        choices, key = Choices(n), bytes.fromhex(name)
        missed = OutputError(f"fewer choices than the {n} asked for")
        try:
            reply = self._read(result.response)
            for choice in reply.choices[:n]:
                try:
                    choices.add(choice, *self.task.output.read(choice))
                except OutputError as error:
                    missed = choices.miss(choice, error) or missed
            choices.close()
        except (ProviderError, OutputError, ConfigurationError) as error:
            reasons[name] = f"{error.kind}: {error}"
            return
        if choices.left > 0:  # the others are asked for by a call without batch=True
            self.cache.put(begun_key(key), Reply(tuple(choices.counted)))
            reasons[name] = f"{missed.kind}: {missed}"
            return
        reasons.pop(name, None)
        self.cache.put(key, reply._replace(choices=tuple(choices.kept)))

    def _read(self, response: HTTPResponse) -> Reply:
        """Read an answer; count what it has used even if it is not a reply."""
        try:
            asked = Request(self.client.spec, "")
            response = response._replace(asked=asked)
            reply = read_reply(self.client.provider, response)
        except ProviderError:
            used = self.client.provider.spent(response)
            if used != Used() or succeeded(response):
                self._pay(used)
            raise
        finally:
            self.journal.state.counters.requests += 1
        self._pay(reply)
        return reply

    def _pay(self, told: Used | Reply) -> None:
        prices, counted = self.client.prices, told.tokens or Tokens()
        cost = prices.billed(told, batch=True)
        saved = prices.saved(counted, batch=True)
        self.journal.state.counters.pay(cost, counted, saved)


def _refused(response: HTTPResponse) -> bool:
    """Return whether an answer says for certain that nothing was created."""
    status = response.status
    return 300 <= status < 500 and status not in _UNCLEAR  # noqa: PLR2004


def moment(date: str | None) -> float:
    """Return the seconds that a Date header says, or those of this machine's clock."""
    with suppress(TypeError, ValueError):
        seconds = email.utils.parsedate_to_datetime(date or "").timestamp()
        if math.isfinite(seconds):
            return seconds
    return time.time()


async def all_items(job: TaskRun, client: Client) -> list[Item]:
    """Return all requests of a run, each once, whether their reply is kept or not."""
    setup = Setup(client.spec, job.task.output, job.settings, None)
    blank = offline_client(client.endpoint, setup)
    job.prompts.arrange(client.spec, client.least_prefix)
    feed = job.feed(blank)
    items: list[Item] = []
    while (bundle := await feed.next()) is not None:
        items += bundle
    if job.task.embeds is not None:  # an empty text has no vector
        return [item for item in items if item.request.prompt]
    return items

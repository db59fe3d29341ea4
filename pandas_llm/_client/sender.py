"""One request becomes one reply: pace, money, retries, what the endpoint refuses."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING

from pandas_llm._client.attached import Attached
from pandas_llm._client.endpoint import CurrentKey, Negotiation
from pandas_llm._client.pace import Pace
from pandas_llm._client.verdict import (
    Ended,
    History,
    Standing,
    Then,
    decide,
    facts,
    raise_for_row,
)
from pandas_llm._http import redacted
from pandas_llm._inputs import attachments
from pandas_llm._pacing import Ticket, estimate_tokens, refused, unsent
from pandas_llm.errors import (
    CostLimitError,
    LLMError,
    ModelNotFoundError,
    ProviderError,
)
from pandas_llm.providers import (
    allowance,
    models_of,
    models_url,
    nearest,
    read_reply,
    standard,
    succeeded,
)
from pandas_llm.redaction import shown
from pandas_llm.types import (
    Capabilities,
    HTTPRequest,
    HTTPResponse,
    Reply,
    Request,
    Used,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandas_llm._client.events import Events, Tally
    from pandas_llm._client.parts import Parts
    from pandas_llm._report import Calls

_log = logging.getLogger("pandas_llm")
_SLICE = 0.05
_LIST = 1 << 22
_VERSION = re.compile(r"/v\d|/openai/")
"""How an API's address goes on after the host's."""
_OLLAMAS = re.compile(r"/api/(chat|generate)/?$")
"""Ollama's own paths, in place of the address that speaks as OpenAI does."""
_HOUR = b'"1h"'
"""What is in a body that the provider may keep for an hour."""


class Sender:
    """Sends requests to one endpoint until each has a reply or has failed."""

    def __init__(self, parts: Parts) -> None:
        self.negotiation = Negotiation(parts)
        self._provider = parts.provider
        self.attached = Attached(parts.provider, parts.endpoint.provider)
        self._transport = parts.transport
        self._settings = parts.setup.settings
        self._endpoint = parts.reached
        self._key = CurrentKey(parts.reached, parts.provider)
        self.history = History(parts, self.negotiation, self._key)
        self.pace = Pace(parts, self.history)
        self.circuit = self.pace.circuit

    async def send(self, request: Request, n: int, tally: Tally) -> Reply:
        """Send a request for `n` choices until there is a reply, or raise."""
        spec = request.spec
        weight = estimate_tokens(request.text)
        if request.attachments:
            weight += attachments.weight(request, self._provider)
        tally.weight = weight
        calibration = self.pace.calibration
        tally.standard = tally.standard or spec.tier is None
        tally.broken = False
        while True:
            tally.at_once = False
            tally.amounts = calibration.amounts(weight, spec.max_tokens, n)
            capabilities = asked = self.negotiation.capabilities
            if spec.tier and tally.standard:
                asked = standard(capabilities)
            many = n if capabilities.n else 1
            if self.circuit.is_open:
                await self._outage(tally)
            provider = self._key.provider
            try:
                if request.attachments:
                    reply = await self._with_files(request, asked, many, tally)
                else:
                    http = provider.build(request, asked, many)
                    reply = await self._exchange(http, request, tally)
            except LLMError as error:
                changed = self.negotiation.adapted(capabilities, error, request)
                changed = changed or self._key.renewed(provider, error)
                changed = changed or tally.at_once
                await self._again(error, tally, request, changed=changed)
            else:
                self.negotiation.answered(request, asked, len(reply.choices))
                return reply

    async def _with_files(
        self, request: Request, asked: Capabilities, n: int, tally: Tally
    ) -> Reply:
        """Send once with images and files, which a row that sleeps does not hold."""
        async with self.attached.held(request) as whole:
            http = self._key.provider.build(whole, asked, n)
            return await self._exchange(http, request, tally)

    async def _exchange(
        self, http: HTTPRequest, request: Request, tally: Tally
    ) -> Reply:
        """Send once, when it is this request's turn and there is money for it."""
        pace, response = self.pace, None
        if tally.events.budget.limit is not None:
            tally.held = await self._hold(tally, http, request)
        tally.bill = 0.0
        expected, into, out = tally.amounts
        try:
            tally.ticket = ticket = pace.limiter.reserve(expected, (into, out))
            if ticket.number < 0:
                await self._turn(ticket, tally)
            pace.sent(tally)
            response = await self._transport.send(http)
            # what an error quotes of the request says nothing
            response = redacted(response, self._key.secrets, request)
            reply = read_reply(self._provider, response)
            if not self._key.noted:
                self._key.accept()
            quotas = None
            if pace.limiter.listens():
                quotas = self._provider.quotas(response.headers)
            pace.answered(tally, reply, quotas)
        except LLMError as error:
            self._failed(error, response, tally)
            raise
        finally:
            if tally.ticket is not None:
                pace.ended(tally)
        return reply

    def _failed(
        self, error: LLMError, response: HTTPResponse | None, tally: Tally
    ) -> None:
        """Book what a failed exchange has used, and report it if it has left."""
        if response is None:
            if unsent(error):
                tally.bill = 0.0
        elif (used := self._provider.spent(response)) != Used() or succeeded(response):
            # it is paid for all the same, if it is not told for how much
            self.pace.book(used, tally)
        elif refused(response):
            tally.bill = 0.0
        if tally.ticket is not None and tally.ticket.number > 0:  # it has left
            quotas = response and self._provider.quotas(response.headers)
            self.pace.failed(tally, error, quotas, heard=response is not None)

    async def plain(
        self, call: Callable[[], Awaitable[HTTPResponse]], events: Events
    ) -> HTTPResponse:
        """Make an exchange that belongs to no row, again while it fails in passing."""
        failures = 0
        while True:
            try:
                response = redacted(await call(), self._key.secrets)
                if not succeeded(response):
                    raise self._provider.error(response)
            except ProviderError as error:
                failures += 1
                now = Standing(failures, self._settings.max_retries, gated=False)
                verdict = decide(error, now)
                if verdict.then is not Then.AFTER:
                    raise
                events.retried(error)
                await asyncio.sleep(verdict.seconds)
            else:
                return response

    async def _turn(self, ticket: Ticket, tally: Tally) -> None:
        """Wait until the limiter lets a request leave."""
        limiter = self.pace.limiter
        while (delay := limiter.delay(ticket)) > 0:
            if (wait := limiter.waiting()) > self._settings.max_wait:
                self.history.end(None, wait, Ended.WAIT)
            if not tally.overtaken:  # else it is the row's own when it is refused
                self.history.check_patience()
            await asyncio.sleep(delay)

    async def _hold(self, tally: Tally, http: HTTPRequest, request: Request) -> float:
        """Set aside what a request may cost; wait for others if it does not fit."""
        allowed, n = allowance(request.spec)
        output = self.pace.calibration.worst(allowed, n)
        size = len(http.body) - attachments.surplus(request)
        hour, sound = _HOUR in http.body, attachments.has_sound(request)
        most, tier = self.pace.prices.most, request.spec.tier
        cost = most(size, output, tier, hour=hour, sound=sound)
        budget = tally.events.budget
        while not budget.reserve(cost):
            if budget.holders == 0:
                raise CostLimitError(
                    f"the next row may cost ${cost:.4g}, and ${budget.spent:.4g} of "
                    f"max_cost={budget.limit:g} are spent: raise it to go on"
                )
            await asyncio.sleep(_SLICE)
        return cost

    async def _outage(self, tally: Tally) -> None:
        """Wait until the circuit lets this row ask whether the server is back."""
        while (delay := self.circuit.delay(tally)) > 0:
            if self.circuit.exhausted:
                self.history.end(None, self.circuit.patience, Ended.OUTAGE)
            await asyncio.sleep(delay)

    async def _again(
        self, error: LLMError, tally: Tally, request: Request, *, changed: bool
    ) -> None:
        """Wait until the row may be asked again; raise when it may not."""
        at, history = time.time_ns(), self.history
        now = history.standing(error, tally, self.circuit, changed=changed)
        then, seconds, why = decide(error, now)
        if then is Then.RUN:
            if isinstance(error, ModelNotFoundError):
                error = await self._with_models(error, request)
            history.end(error, seconds, why)
        if then in (Then.ROW, Then.LATER):
            raise_for_row(error, later=then is Then.LATER)
        if then is Then.AFTER:
            _log.debug("waiting %.2f s after %s", seconds, error)
            # its frames have the body that was sent
            error.__traceback__ = error.__context__ = error.__cause__ = None
            await self.pace.slots.rest(asyncio.sleep(seconds), error.kind)
        tally.events.retried(error)
        if tally.call is not None:
            tally.call.retried(error, at)

    async def _with_models(
        self, error: ModelNotFoundError, request: Request
    ) -> LLMError:
        """Add to an error what models the address lists, or that it lacks a version."""
        bare = request._replace(attachments=())
        http = self._key.provider.build(bare, self.negotiation.capabilities, 1)
        listed, url = None, models_url(http.url)
        if url is None or error.status is None or 300 <= error.status < 400:  # noqa: PLR2004
            return error
        response = await self._transport.glance(url, http.headers, _LIST)
        if response is not None and succeeded(response):
            listed = models_of(redacted(response, self._key.secrets))
        place = self._endpoint.base_url.partition("?")[0]
        if listed:
            words = f"The server lists {nearest(self._endpoint.model, listed)}."
        elif listed is None and not _VERSION.search(place):
            place = _OLLAMAS.sub("", shown(place))
            words = f"Did you mean base_url='{place}/v1'?"
        else:
            return error
        return type(error)(f"{error} {words}", **facts(error))


class TracedSender(Sender):
    """A sender whose requests have spans."""

    def __init__(self, parts: Parts, calls: Calls) -> None:
        super().__init__(parts)
        self._calls = calls

    async def send(self, request: Request, n: int, tally: Tally) -> Reply:
        """Send a request; its span has all tries and ends with the reply."""
        call = tally.call = self._calls.of(request, n)
        try:
            reply = await super().send(request, n, tally)
        except BaseException as error:
            call.failed(error)
            raise
        call.answered(reply)
        return reply

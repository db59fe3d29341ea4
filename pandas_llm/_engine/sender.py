"""One request becomes one reply: pace, money, retries, what the endpoint refuses."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from pandas_llm._engine.endpoint import Access, Terms, redacted
from pandas_llm._engine.events import NO_TOKENS
from pandas_llm._engine.verdict import (
    Ended,
    History,
    Standing,
    Then,
    decide,
    nobody_there,
    raise_for_row,
)
from pandas_llm._pacing import (
    Circuit,
    estimate_tokens,
    refused,
    unsent,
)
from pandas_llm.errors import (
    CostLimitError,
    LLMError,
    NoRoomError,
    OverloadedError,
    ProviderError,
    RateLimitError,
)
from pandas_llm.providers import allowance, read_reply, standard, succeeded
from pandas_llm.types import Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandas_llm._engine.events import Events, Tally
    from pandas_llm._engine.slots import Pace
    from pandas_llm._engine.transport import Transport
    from pandas_llm._pacing import Prices, Ticket
    from pandas_llm._replies import Output
    from pandas_llm.cache import Cache
    from pandas_llm.options import Settings
    from pandas_llm.providers import Provider
    from pandas_llm.types import (
        Endpoint,
        HTTPRequest,
        HTTPResponse,
        Reply,
        Request,
        Spec,
    )

_log = logging.getLogger("pandas_llm")
_SLICE = 0.05
_HOUR = b'"1h"'
"""What is in a body that the provider may keep for an hour."""


@dataclass(slots=True)
class Parts:
    """What a client is put together from."""

    endpoint: Endpoint
    spec: Spec
    provider: Provider
    transport: Transport
    output: Output
    pace: Pace
    prices: Prices
    cache: Cache | None
    reached: Endpoint
    """Where requests go in fact: the simulator's has a port."""


class Sender:
    """Sends requests to one endpoint until each has a reply or has failed.

    Parameters
    ----------
    parts : Parts
        The endpoint, and what it is reached by.
    settings : Settings
        Retries and patience.
    """

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self.terms = Terms(
            parts.endpoint, parts.provider, structured=parts.spec.schema is not None
        )
        self.circuit = Circuit(settings.patience)
        self._parts = parts
        self._pace = parts.pace
        self._provider = parts.provider
        self._transport = parts.transport
        self._settings = settings
        self.history = History(parts.endpoint, settings)
        self._access = Access(parts.reached, parts.provider)

    @property
    def proven(self) -> bool:
        """Whether this process has had an answer from this endpoint with this key."""
        return self.terms.settled and self._access.accepted

    async def send(
        self, request: Request, n: int, events: Events, tally: Tally
    ) -> Reply:
        """Send a request for `n` choices until there is a reply.

        Raises
        ------
        LLMError
            When it is no use to go on with this row, or with any.
        """
        spec = request.spec
        weight = tally.weight = estimate_tokens(request.prompt) + tally.images
        calibration = self._pace.calibration
        tally.standard = tally.standard or spec.tier is None
        while True:
            tally.expected = calibration.estimate(weight, spec.max_tokens, n)
            tally.parts = calibration.parts(weight, spec.max_tokens, n)
            capabilities = asked = self.terms.capabilities
            if spec.tier and tally.standard:
                asked = standard(capabilities)
            many = n if capabilities.n else 1
            provider = self._access.provider
            http = provider.build(request, asked, many)
            if self.circuit.is_open:
                await self._outage(tally)
            try:
                reply = await self._exchange(http, request, events, tally)
            except LLMError as error:
                changed = self.terms.adapted(capabilities, error, request)
                changed = changed or self._access.renewed(provider, error)
                changed = changed or _left(error, tally)
                await self._again(error, tally, events, changed=changed)
            else:
                self.terms.answered(spec, asked, many)
                return reply

    async def _exchange(
        self, http: HTTPRequest, request: Request, events: Events, tally: Tally
    ) -> Reply:
        """Send once, when it is this request's turn and there is money for it."""
        limiter, budget = self._pace.limiter, events.budget
        held = None
        if budget.limit is not None:
            held = await self._hold(events, tally, http, request.spec)
        ticket = None
        response = None
        tally.bill = 0.0
        try:
            ticket = limiter.reserve(tally.expected, tally.parts)
            if ticket.number < 0:
                await self._turn(ticket)
            tally.attempts += 1
            events.totals.requests += 1
            tally.sent = time.monotonic()
            tally.bill = math.nan  # whatever becomes of it, from here on it may cost
            # with `max_cost` not a second copy of it: that would be paid for too
            response = await self._transport.send(http, once=held is not None)
            response = redacted(response, self._access.secrets)
            reply = self._reply(response, request, events, tally)
            self._answered(ticket, response, reply, tally)
            events.log.answered(time.monotonic() - tally.sent)
        except LLMError as error:
            if response is None and unsent(error):
                tally.bill = 0.0
            if ticket is not None and ticket.number > 0:  # it has left
                self._failed(ticket, response, error, tally)
            raise
        finally:
            if ticket is not None:
                limiter.release(ticket)  # if cancelled, it has no other end
            if held is not None:
                budget.settle(held, tally.bill)
        return reply

    def _reply(
        self, response: HTTPResponse, request: Request, events: Events, tally: Tally
    ) -> Reply:
        """Read an answer, and book what it has used even if it is no reply."""
        reply: Reply | None
        try:
            reply = read_reply(self._provider, response)
        except LLMError:
            reply = None
        if reply is None:
            if (used := self._provider.spent(response)) != Used():
                self._book(used, events, tally)
            elif refused(response):
                tally.bill = 0.0
            # what it quotes of the row says nothing
            reply = read_reply(self._provider, response._replace(asked=request))
        self._book(Used(reply.tokens, reply.cost, reply.tier), events, tally)
        events.totals.simulated = events.totals.simulated or reply.simulated
        return reply

    async def plain(
        self, call: Callable[[], Awaitable[HTTPResponse]], events: Events
    ) -> HTTPResponse:
        """Make an exchange that is no row's, again while it fails in passing.

        Raises
        ------
        ProviderError
            When there is no success, or none to hope for.
        """
        for failures in count(1):
            try:
                response = redacted(await call(), self._access.secrets)
                if not succeeded(response):
                    raise self._provider.error(response)
            except ProviderError as error:
                now = Standing(failures, self._settings.max_retries, gated=False)
                verdict = decide(error, now)
                if verdict.then is not Then.AFTER:
                    raise
                events.retried(error)
                await asyncio.sleep(verdict.seconds)
            else:
                return response
        raise AssertionError  # count() has no end

    async def _turn(self, ticket: Ticket) -> None:
        """Wait until the limiter lets a request leave."""
        limiter = self._pace.limiter
        while (delay := limiter.delay(ticket)) > 0:
            self._check_wait(limiter.waiting())
            self.history.check_patience()
            await asyncio.sleep(delay)

    def _book(self, used: Used, events: Events, tally: Tally) -> None:
        """Count what an answer has used, and what it is billed."""
        tokens, cost, tier = used
        if cost is None:
            cost = math.nan if tokens is None else self._parts.prices.of(tokens, tier)
        counted = tokens or NO_TOKENS
        tally.tokens = _added(tally.tokens, counted)
        events.used(counted, cost)
        # some servers send zeros in place of what they do not count
        tally.bill = cost if cost or any(counted) else math.nan

    async def _hold(
        self, events: Events, tally: Tally, http: HTTPRequest, spec: Spec
    ) -> float:
        """Set aside what a request may cost; wait for others if it does not fit."""
        allowed, n = allowance(spec)
        _, output = self._pace.calibration.worst(tally.weight, allowed, n)
        size, hour = len(http.body) - tally.surplus, _HOUR in http.body
        cost = self._parts.prices.most(size, output, spec.tier, hour=hour)
        while not events.budget.reserve(cost):
            if events.budget.holders == 0:
                limit, spent = events.budget.limit, events.budget.spent
                msg = (
                    f"the next row may cost ${cost:.4g}, and ${spent:.4g} of max_cost="
                    f"{limit:g} are spent: raise it to go on"
                )
                raise CostLimitError(msg)
            await asyncio.sleep(_SLICE)
        return cost

    async def _outage(self, tally: Tally) -> None:
        """Wait until the circuit lets this row ask whether the server is back."""
        while (delay := self.circuit.delay(tally)) > 0:
            if self.circuit.exhausted:
                self.history.end(None, self.circuit.patience, Ended.OUTAGE)
            await asyncio.sleep(delay)

    # -- what an exchange teaches -----------------------------------------------

    def _answered(
        self,
        ticket: Ticket,
        response: HTTPResponse,
        reply: Reply,
        tally: Tally,
    ) -> None:
        pace, sent = self._pace, tally.sent
        used = parts = None
        if reply.tokens is not None:
            into, out, *_ = reply.tokens
            used, parts = into + out, (float(into), float(out))
            pace.calibration.learn(tally.weight, into, out)
        quotas = None
        if pace.limiter.listens():
            quotas = self._provider.quotas(response.headers)
        pace.limiter.settle(ticket, used, quotas, parts)
        self.history.answered()
        self._access.accept()
        now = time.monotonic()
        pace.concurrency.answered(now - sent, pace.limiter.plan())
        self.circuit.succeeded(sent, now)

    def _failed(
        self,
        ticket: Ticket,
        response: HTTPResponse | None,
        error: LLMError,
        tally: Tally,
    ) -> None:
        """Tell the pace of a failure."""
        self.history.failed(error)
        quotas = self._provider.quotas(response.headers) if response else None
        if isinstance(error, NoRoomError) and not tally.standard:
            self._pace.limiter.settle(ticket, None, quotas)
            return  # it is asked again at once, in another tier
        if error.retryable and not isinstance(error, RateLimitError):
            if self.history.sampling:
                tally.failures += 1  # one row after the other is no outage
            elif self.terms.settled and nobody_there(error):
                self.circuit.unmade()
            else:
                self.circuit.failed(tally)
        elif self.circuit.is_open and response is not None:
            self.circuit.succeeded(tally.sent, time.monotonic())
        if not isinstance(error, (RateLimitError, OverloadedError)):
            self._pace.limiter.settle(ticket, None, quotas)
            return
        tally.refusals += 1
        tally.overtaken += self.circuit.up > tally.refused > 0.0
        tally.refused = tally.sent
        asked = error.retry_after
        if asked is not None and not isinstance(error, RateLimitError):
            asked = min(asked, self._settings.max_wait)  # then it is asked again
        limiter, refusals = self._pace.limiter, tally.refusals
        tally.wait = limiter.reject(ticket, asked, quotas, refusals)

    def _check_wait(self, wait: float) -> None:
        """Stop the run rather than sleep through a wait that is too long."""
        if wait > self._settings.max_wait:
            self.history.end(None, wait, Ended.WAIT)

    async def _again(
        self, error: LLMError, tally: Tally, events: Events, *, changed: bool
    ) -> None:
        """Wait until the row may be asked again; raise when it may not."""
        history = self.history
        history.settled, history.proven = self.terms.settled, self.proven
        history.kept = events.totals.cached > 0
        now = history.standing(error, tally, self.circuit, changed=changed)
        then, seconds, why = decide(error, now)
        if then is Then.RUN:
            history.end(error, seconds, why)
        if then in (Then.ROW, Then.LATER):
            raise_for_row(error, later=then is Then.LATER)
        if then is Then.AFTER:
            _log.debug("waiting %.2f s after %s", seconds, error)
            slots = self._pace.slots
            await (slots.rest(seconds, error.kind) if slots else asyncio.sleep(seconds))
        events.retried(error)


def _left(error: LLMError, tally: Tally) -> bool:
    """Leave a service tier that has no room, for this row; tell if it was in one."""
    if tally.standard or not isinstance(error, NoRoomError):
        return False
    tally.standard = True
    return True


def _added(one: Tokens, other: Tokens) -> Tokens:
    if one is NO_TOKENS:  # nearly always: a row is answered at once
        return other
    return Tokens(*(a + b for a, b in zip(one, other, strict=True)))

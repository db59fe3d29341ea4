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
from pandas_llm._pacing import Circuit, backoff, estimate_tokens
from pandas_llm.errors import (
    ConnectionBrokenError,
    ConnectionFailedError,
    CostLimitError,
    LLMError,
    OutageError,
    OverloadedError,
    ProviderError,
    RateLimitedTooLong,
    RateLimitError,
    UnreachableError,
)
from pandas_llm.providers import read_reply, succeeded
from pandas_llm.redaction import shown
from pandas_llm.types import Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandas_llm._engine.events import Events
    from pandas_llm._engine.transport import Transport
    from pandas_llm._pacing import Calibration, Concurrency, Prices, RateLimiter, Ticket
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
_NEVER_REACHED = 5.0
"""Seconds of tries before an endpoint that was never reached is given up."""
_ONLY_REFUSALS = 900.0
"""Seconds of nothing but 429, whatever they ask to wait, until a run ends."""
_SLICE = 0.05
NO_TOKENS = Tokens()


@dataclass(slots=True)
class Tally:
    """What one row has cost so far."""

    attempts: int = 0
    failures: int = 0
    tokens: Tokens = NO_TOKENS
    failed: float = 0.0
    """When the first of them was noticed."""
    sent: float = 0.0
    """When its last request left."""
    weight: float = 0.0
    """Tokens of its prompt by their characters, and of its images."""
    images: float = 0.0
    """Tokens of its images, by a guess."""
    surplus: int = 0
    """Bytes of its images in a body above the tokens that they may cost."""
    expected: float = 0.0
    """Tokens that the provider will count for its next request."""


@dataclass(slots=True)
class Pace:
    """What bounds how fast requests leave."""

    limiter: RateLimiter
    concurrency: Concurrency
    calibration: Calibration


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
        self.circuit = Circuit()
        self._parts = parts
        self._pace = parts.pace
        self._provider = parts.provider
        self._transport = parts.transport
        self._settings = settings
        self._unreached: float | None = None
        """Since when there has been no connection, before there ever was one."""
        self._refused: float | None = None
        """Since when every answer has been a 429."""
        self._access = Access(parts.reached, parts.provider)

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
        while True:
            tally.expected = calibration.estimate(weight, spec.max_tokens, n)
            capabilities = self.terms.capabilities
            many = n if capabilities.n else 1
            provider = self._access.provider
            http = provider.build(request, capabilities, many)
            if self.circuit.is_open:
                await self._outage(tally)
            try:
                return await self._exchange(http, spec, events, tally)
            except LLMError as error:
                adapted = self.terms.adapted(capabilities, error, request)
                if not (adapted or self._access.renewed(provider, error)):
                    await self._before_retry(error, tally)
                events.retried(error)

    async def _exchange(
        self, http: HTTPRequest, spec: Spec, events: Events, tally: Tally
    ) -> Reply:
        """Send once, when it is this request's turn and there is money for it."""
        limiter, budget = self._pace.limiter, events.budget
        held = None
        if budget.limit is not None:
            held = await self._hold(events, tally, http, spec)
        ticket = None
        response = None
        cost = 0.0
        try:
            ticket = limiter.reserve(tally.expected)
            if ticket.wave < 0:
                await self._turn(ticket)
            tally.attempts += 1
            events.totals.requests += 1
            tally.sent = time.monotonic()
            response = redacted(await self._transport.send(http), self._access.secrets)
            try:
                reply = read_reply(self._provider, response)
            except LLMError:
                if (used := self._provider.spent(response)) != Used():
                    cost = self._book(used, events, tally)
                raise
            cost = self._book(Used(reply.tokens, reply.cost), events, tally)
            events.totals.simulated = events.totals.simulated or reply.simulated
            self._answered(ticket, response, reply, tally)
            events.log.answered(time.monotonic() - tally.sent)
        except LLMError as error:
            if ticket is not None and ticket.wave >= 0:  # it has left
                self._failed(ticket, response, error, tally)
            raise
        finally:
            if held is not None:
                budget.settle(held, cost)
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
        for attempt in count():
            try:
                response = redacted(await call(), self._access.secrets)
                if not succeeded(response):
                    raise self._provider.error(response)
            except ProviderError as error:
                if not error.retryable or attempt >= self._settings.max_retries:
                    raise
                events.retried(error)
                await asyncio.sleep(backoff(attempt, error.retry_after))
            else:
                return response
        raise AssertionError  # count() has no end

    async def _turn(self, ticket: Ticket) -> None:
        """Wait until the limiter lets a request leave."""
        limiter = self._pace.limiter
        try:
            while (delay := limiter.delay(ticket)) > 0:
                self._check_wait(limiter.waiting())
                await asyncio.sleep(delay)
        except BaseException:
            limiter.release(ticket)
            raise

    def _book(self, used: Used, events: Events, tally: Tally) -> float:
        """Count what an answer has used; return its cost."""
        tokens, cost = used
        if cost is None:
            cost = math.nan if tokens is None else self._parts.prices.of(tokens)
        tokens = tokens or NO_TOKENS
        tally.tokens = _sum(tally.tokens, tokens)
        events.used(tokens, cost)
        return cost

    async def _hold(
        self, events: Events, tally: Tally, http: HTTPRequest, spec: Spec
    ) -> float:
        """Set aside what a request may cost; wait for others if it does not fit."""
        calibration = self._pace.calibration
        _, output = calibration.worst(tally.weight, spec.max_tokens, spec.n)
        # a token is a byte at least: with max_tokens nothing can cost more than this
        cost = self._parts.prices.of(Tokens(len(http.body) - tally.surplus, output))
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
                place = shown(self._parts.endpoint.base_url)
                patience = f"{self.circuit.patience:.0f} s"
                raise OutageError(f"{place} has answered nothing for {patience}")
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
        used = None
        if reply.tokens is not None:
            into, out, *_ = reply.tokens
            used = into + out
            pace.calibration.learn(tally.weight, into, out)
        quotas = None
        if pace.limiter.listens():
            quotas = self._provider.quotas(response.headers)
        pace.limiter.settle(ticket, used, quotas)
        self._refused = None
        self._access.served = True
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
        """Tell the pace of a failure; a wait that is too long ends the run."""
        quotas = self._provider.quotas(response.headers) if response else None
        if isinstance(error, (RateLimitError, OverloadedError)):
            self._pace.concurrency.overloaded()
        if error.retryable and not isinstance(error, RateLimitError):
            self.circuit.failed(tally)
        elif self.circuit.is_open and response is not None:
            self.circuit.succeeded(tally.sent, time.monotonic())
        if not isinstance(error, RateLimitError):
            self._pace.limiter.settle(ticket, None, quotas)
            return
        self._check_wait(
            self._pace.limiter.reject(ticket, error.retry_after, quotas), error
        )
        now = time.monotonic()
        self._refused = self._refused or now
        if now - self._refused > _ONLY_REFUSALS:
            msg = f"nothing but refusals for {_ONLY_REFUSALS / 60:.0f} minutes: {error}"
            raise RateLimitedTooLong(msg, status=error.status, code=error.code)

    def _check_wait(self, wait: float, error: RateLimitError | None = None) -> None:
        """Stop the run rather than sleep through a wait that is too long."""
        if wait <= self._settings.max_wait:
            return
        why = f" ({error})" if error else ""
        msg = (
            f"the endpoint asks to wait {wait:.0f} s, longer than max_wait="
            f"{self._settings.max_wait:g}: run again later, or raise max_wait.{why}"
        )
        status, code = (error.status, error.code) if error else (None, None)
        raise RateLimitedTooLong(
            msg, status=status, code=code, retry_after=wait
        ) from error

    async def _before_retry(self, error: LLMError, tally: Tally) -> None:
        """Wait as long as the error asks for; raise it when tries are used up."""
        if not error.retryable or not isinstance(error, ProviderError):
            raise error
        if isinstance(error, RateLimitError):
            return  # the limiter's gate makes it wait; it uses no attempt
        nobody = isinstance(error, ConnectionFailedError) and not isinstance(
            error, ConnectionBrokenError
        )
        if nobody and not self.terms.settled:
            self._unreached = self._unreached or time.monotonic()
            if time.monotonic() - self._unreached > _NEVER_REACHED:
                msg = f"{error}. Is the server running, and is base_url right?"
                raise UnreachableError(msg) from error.__cause__
        elif tally.failures > self._settings.max_retries and not (
            self.terms.settled and self.circuit.spares(tally)
        ):
            raise error
        elif self.circuit.is_open:
            return  # nobody asks before it lets them
        tries = tally.failures - 1 if self.terms.settled else 0
        wait = backoff(max(0, tries), error.retry_after)
        _log.debug("waiting %.2f s after %s", wait, error)
        await asyncio.sleep(wait)


def _sum(one: Tokens, other: Tokens) -> Tokens:
    if one is NO_TOKENS:  # nearly always: a row is answered at once
        return other
    return Tokens(*(a + b for a, b in zip(one, other, strict=True)))

"""One request becomes one reply: pace, money, retries, what the endpoint refuses."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_llm.access import Access
from pandas_llm.errors import (
    ConnectionBrokenError,
    ConnectionFailedError,
    CostLimitError,
    LLMError,
    MalformedReplyError,
    OutageError,
    OverloadedError,
    ProviderError,
    RateLimitedTooLong,
    RateLimitError,
    UnreachableError,
)
from pandas_llm.limits import estimate_tokens
from pandas_llm.redaction import redacted, shown
from pandas_llm.retry import Circuit, backoff
from pandas_llm.terms import Terms
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from pandas_llm.cache import Cache
    from pandas_llm.limits import Ticket
    from pandas_llm.output import Output
    from pandas_llm.prices import Prices
    from pandas_llm.providers import Provider
    from pandas_llm.run import Run
    from pandas_llm.slots import Pace
    from pandas_llm.transport import Transport
    from pandas_llm.types import (
        Endpoint,
        HTTPRequest,
        HTTPResponse,
        Reply,
        Request,
        Settings,
        Spec,
    )

_log = logging.getLogger("pandas_llm")
_PATIENCE = 5.0  # seconds of tries before an endpoint never reached is given up
_REFUSED = 900.0  # seconds of nothing but 429 until a run ends
_SLICE = 0.05
_OK = 200
NO_TOKENS = Tokens()


@dataclass(slots=True)
class Tally:
    """What one row has cost so far."""

    attempts: int = 0
    failures: int = 0
    refusals: int = 0  # by the account's limit or the server's load
    pause: float = 0.0  # seconds to sleep after the latest
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

    async def send(self, request: Request, n: int, run: Run, tally: Tally) -> Reply:
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
                return await self._exchange(http, spec, run, tally)
            except LLMError as error:
                adapted = self.terms.adapted(capabilities, error, request)
                if not (adapted or self._access.renewed(provider, error)):
                    await self._before_retry(error, tally)
                run.totals.retries += 1
                run.log.retried[error.kind] += 1

    async def _exchange(
        self, http: HTTPRequest, spec: Spec, run: Run, tally: Tally
    ) -> Reply:
        """Send once, when it is this request's turn and there is money for it."""
        limiter, budget = self._pace.limiter, run.budget
        held = None
        if budget.limit is not None:
            held = await self._hold(run, tally, http, spec)
        ticket = None
        response, cost = None, 0.0
        try:
            ticket = limiter.reserve(tally.expected)
            if ticket.number < 0:
                await self._turn(ticket)
            tally.attempts += 1
            run.totals.requests += 1
            tally.sent = time.monotonic()
            response = redacted(await self._transport.send(http), self._access.secrets)
            reply = self._read(response)
            self._answered(ticket, response, reply, tally)
            run.log.answered(time.monotonic() - tally.sent)
            cost = self._book(reply, run, tally)
        except LLMError as error:
            if ticket is not None and ticket.number > 0:  # it has left
                self._failed(ticket, response, error, tally)
            raise
        finally:
            if ticket is not None:
                limiter.release(ticket)  # if cancelled, it has no other end
            if held is not None:
                budget.settle(held, cost)
        return reply

    async def _turn(self, ticket: Ticket) -> None:
        """Wait until the limiter lets a request leave."""
        limiter = self._pace.limiter
        while (delay := limiter.delay(ticket)) > 0:
            self._check_wait(limiter.waiting())
            await asyncio.sleep(delay)

    def _read(self, response: HTTPResponse) -> Reply:
        if response.status != _OK:
            raise self._provider.error(response)
        try:
            return self._provider.parse(response)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            msg = f"the reply is no chat completion: {error}"
            raise MalformedReplyError(msg, status=response.status) from error

    def _book(self, reply: Reply, run: Run, tally: Tally) -> float:
        """Count what a reply has used; give its cost."""
        used = reply.tokens or NO_TOKENS
        tally.tokens = _sum(tally.tokens, used)
        if reply.cost is not None:
            cost = reply.cost
        else:
            cost = math.nan if reply.tokens is None else self._parts.prices.of(used)
        run.totals.pay(cost)
        run.totals.add(used)
        run.totals.simulated = run.totals.simulated or reply.simulated
        return cost

    async def _hold(
        self, run: Run, tally: Tally, http: HTTPRequest, spec: Spec
    ) -> float:
        """Set aside what a request may cost; wait for others if it does not fit."""
        calibration = self._pace.calibration
        _, output = calibration.worst(tally.weight, spec.max_tokens, spec.n)
        # a token is a byte at least: with max_tokens nothing can cost more than this
        cost = self._parts.prices.of(Tokens(len(http.body) - tally.surplus, output))
        while not run.budget.reserve(cost):
            if run.budget.holders == 0:
                msg = (
                    f"the next row may cost ${cost:.4g}, and ${run.budget.spent:.4g} "
                    f"of max_cost={run.budget.limit:g} are spent: raise it to go on"
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
        if error.retryable and not isinstance(error, RateLimitError):
            self.circuit.failed(tally)
        elif self.circuit.is_open and response is not None:
            self.circuit.succeeded(tally.sent, time.monotonic())
        if not isinstance(error, (RateLimitError, OverloadedError)):
            self._pace.limiter.settle(ticket, None, quotas)
            return
        tally.refusals += 1
        asked, limiter = error.retry_after, self._pace.limiter
        if asked is not None and not isinstance(error, RateLimitError):
            asked = min(asked, self._settings.max_wait)  # then it is asked again
        tally.pause = limiter.reject(ticket, asked, quotas, tally.refusals)
        if not isinstance(error, RateLimitError):
            return
        self._check_wait(asked or 0.0, error)
        now = time.monotonic()
        self._refused = self._refused or now
        if now - self._refused > _REFUSED:
            msg = f"nothing but refusals for {_REFUSED / 60:.0f} minutes: {error}"
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
        if isinstance(error, RateLimitError):  # it uses no attempt
            return await self._sleep(tally.pause, error)
        nobody = isinstance(error, ConnectionFailedError) and not isinstance(
            error, ConnectionBrokenError
        )
        if nobody and not self.terms.settled:
            self._unreached = self._unreached or time.monotonic()
            if time.monotonic() - self._unreached > _PATIENCE:
                msg = f"{error}. Is the server running, and is base_url right?"
                raise UnreachableError(msg) from error.__cause__
        elif tally.failures > self._settings.max_retries and not (
            self.terms.settled and self.circuit.spares(tally)
        ):
            raise error
        elif self.circuit.is_open:
            return None  # nobody asks before it lets them
        tries = tally.failures - 1 if self.terms.settled else 0
        return await self._sleep(backoff(max(0, tries), error.retry_after), error)

    async def _sleep(self, wait: float, error: LLMError) -> None:
        """Sleep for one row alone, no longer than `max_wait`."""
        wait, slots = min(wait, self._settings.max_wait), self._pace.slots
        _log.debug("waiting %.2f s after %s", wait, error)
        await (slots.rest(wait, error.kind) if slots else asyncio.sleep(wait))


def _sum(one: Tokens, other: Tokens) -> Tokens:
    if one is NO_TOKENS:  # nearly always: a row is answered at once
        return other
    return Tokens(*(a + b for a, b in zip(one, other, strict=True)))

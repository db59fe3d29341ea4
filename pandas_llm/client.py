"""One endpoint and model: a request becomes an understood reply."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pandas_llm.errors import (
    ConnectionFailedError,
    ContentFilterError,
    LLMError,
    OutageError,
    OutputError,
    OverloadedError,
    ProviderError,
    RateLimitedTooLong,
    RateLimitError,
    RefusalError,
    TruncatedError,
    UnreachableError,
)
from pandas_llm.fingerprint import Fingerprint
from pandas_llm.limits import estimate_tokens
from pandas_llm.parsing import without_thinking
from pandas_llm.retry import Circuit, backoff
from pandas_llm.terms import Terms
from pandas_llm.types import Outcome, Tokens, Totals

if TYPE_CHECKING:
    from pandas_llm.limits import Calibration, Concurrency, RateLimiter, Ticket
    from pandas_llm.output import Output, Record
    from pandas_llm.providers import Provider
    from pandas_llm.transport import Transport
    from pandas_llm.types import (
        Endpoint,
        HTTPResponse,
        Reply,
        Request,
        Settings,
    )

_log = logging.getLogger("pandas_llm")
_PATIENCE = 5.0
"""Seconds of tries before an endpoint that was never reached is given up."""

_NONE = Tokens()


@dataclass(slots=True)
class Run:
    """What all rows of a run share; made by the plan, passed down."""

    totals: Totals = field(default_factory=Totals)
    started: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Tally:
    """What one row has cost so far."""

    attempts: int = 0
    failures: int = 0
    tokens: Tokens = _NONE


@dataclass(slots=True)
class Pace:
    """What bounds how fast requests leave."""

    limiter: RateLimiter
    concurrency: Concurrency
    calibration: Calibration


class Client:
    """Asks one endpoint until the reply is understood or the row has failed.

    Parameters
    ----------
    endpoint, provider, transport, output, pace
        Where, in which dialect, over what, for which records, how fast.
    settings : Settings
        Retries and patience.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a client, each its own thing
        self,
        endpoint: Endpoint,
        provider: Provider,
        transport: Transport,
        output: Output,
        pace: Pace,
        settings: Settings,
    ) -> None:
        self.endpoint = endpoint
        self.pace = pace
        self._provider = provider
        self._transport = transport
        self._output = output
        self._settings = settings
        self.terms = Terms(endpoint, provider)
        self.fingerprint = Fingerprint(endpoint)
        self.circuit = Circuit()

    async def complete(self, request: Request, run: Run) -> Outcome:
        """Ask until the reply is understood.

        Raises
        ------
        LLMError
            Only one that is fatal; any other is the row's and in the outcome.
        """
        started = time.perf_counter()
        tally = _Tally()
        records: list[Record] = []
        reply: Reply | None = None
        error: LLMError | None
        try:
            reply, choices, error = await self._choices(request, run, tally)
            records = self._output.combine(choices)
        except LLMError as failure:
            if failure.fatal:
                raise
            error = failure
        seconds = time.perf_counter() - started
        return Outcome(records, error, tally.attempts, seconds, reply, tally.tokens)

    async def _choices(
        self, request: Request, run: Run, tally: _Tally
    ) -> tuple[Reply, list[list[Record]], TruncatedError | None]:
        """Collect as many choices as were asked for.

        A choice that was declined, filtered or cut off counts as answered: asked
        again unchanged it would end the same. One that is not understood is asked
        again with the reason; one that the server did not give is asked for.
        """
        asked, left = request, request.spec.n
        again = self._settings.output_retries
        understood: list[list[Record]] = []
        mark: TruncatedError | None = None
        problem: OutputError | None = None
        while left > 0:
            reply = await self._ask(asked, left, run, tally)
            unclear: OutputError | None = None
            for choice in reply.choices[:left]:
                try:
                    records, cut = self._output.read(choice)
                    understood.append(records)
                    mark = mark or cut
                    left -= 1
                except (RefusalError, ContentFilterError, TruncatedError) as withheld:
                    problem = withheld
                    left -= 1
                except OutputError as error:
                    unclear = error
            self.terms.settle(clear=unclear is None)
            if unclear is not None:
                problem = unclear
                if again == 0:
                    break
                again -= 1
                run.totals.retries += 1
                asked = _again(request, unclear)
            elif left > 0:
                asked = request._replace(sample=request.spec.n - left)
                self.terms.fewer()
        if problem is not None and not understood:
            raise problem
        return reply, understood, mark

    async def _ask(self, request: Request, n: int, run: Run, tally: _Tally) -> Reply:
        """Send one request until there is a reply."""
        pace = self.pace
        weight = estimate_tokens(request.prompt)
        tokens = pace.calibration.estimate(weight, request.spec.max_tokens, n)
        while True:
            capabilities = self.terms.capabilities
            n = n if capabilities.n else 1
            http = self._provider.build(request, capabilities, n)
            if self.circuit.is_open:
                await self._outage()
            ticket = pace.limiter.reserve(tokens)
            response = None
            try:
                while (delay := pace.limiter.delay(ticket)) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(delay)
                tally.attempts += 1
                run.totals.requests += 1
                sent = time.perf_counter()
                response = await self._transport.send(http)
                if response.status != 200:  # noqa: PLR2004
                    raise self._provider.error(response)
                reply = self._provider.parse(response)
            except LLMError as error:
                self._failed(ticket, response, error, tally)
                if not self.terms.adapted(capabilities, error, request):
                    await self._before_retry(error, tally, run)
                run.totals.retries += 1
                continue
            except BaseException:
                pace.limiter.release(ticket)
                raise
            used = reply.tokens or Tokens()
            tally.tokens = _sum(tally.tokens, used)
            run.totals.add(used)
            run.totals.simulated = run.totals.simulated or reply.simulated
            self._answered(ticket, response, reply, weight, time.perf_counter() - sent)
            return reply

    async def _outage(self) -> None:
        """Wait until the circuit lets this row ask whether the server is back."""
        while (delay := self.circuit.delay()) > 0:
            if self.circuit.exhausted:
                msg = f"{self.endpoint.base_url} has answered nothing for 15 minutes"
                raise OutageError(msg)
            await asyncio.sleep(delay)

    # -- what an exchange teaches -----------------------------------------------

    def _answered(
        self,
        ticket: Ticket,
        response: HTTPResponse,
        reply: Reply,
        weight: float,
        seconds: float,
    ) -> None:
        pace = self.pace
        used = None
        if reply.tokens is not None:
            used = reply.tokens.input + reply.tokens.output
            pace.calibration.learn(weight, reply.tokens.input, reply.tokens.output)
        pace.limiter.settle(ticket, used, self._provider.quotas(response.headers))
        pace.concurrency.answered(seconds, pace.limiter.plan())
        self.circuit.succeeded()

    def _failed(
        self,
        ticket: Ticket,
        response: HTTPResponse | None,
        error: LLMError,
        tally: _Tally,
    ) -> None:
        """Tell the pace of a failure; a wait that is too long ends the run."""
        quotas = self._provider.quotas(response.headers) if response else None
        if isinstance(error, (RateLimitError, OverloadedError)):
            self.pace.concurrency.overloaded()
        if error.retryable and not isinstance(error, RateLimitError):
            self.circuit.failed(tally)
        elif self.circuit.is_open and response is not None:
            self.circuit.succeeded()
        if not isinstance(error, RateLimitError):
            self.pace.limiter.settle(ticket, None, quotas)
            return
        wait = self.pace.limiter.reject(ticket, error.retry_after, quotas)
        if wait > self._settings.max_wait:
            msg = (
                f"the endpoint asks to wait {wait:.0f} s, longer than max_wait="
                f"{self._settings.max_wait:g}: run again later, or raise max_wait. "
                f"({error})"
            )
            raise RateLimitedTooLong(
                msg, status=error.status, code=error.code, retry_after=wait
            ) from error

    async def _before_retry(self, error: LLMError, tally: _Tally, run: Run) -> None:
        """Wait as long as the error asks for; raise it when tries are used up."""
        if not error.retryable or not isinstance(error, ProviderError):
            raise error
        if isinstance(error, RateLimitError):
            return  # the limiter's gate makes it wait; it uses no attempt
        if isinstance(error, ConnectionFailedError) and not self.terms.settled:
            if time.monotonic() - run.started > _PATIENCE:
                msg = f"{error}. Is the server running, and is base_url right?"
                raise UnreachableError(msg) from error
        elif self.circuit.is_open:
            return  # nobody asks before it lets them
        elif tally.failures > self._settings.max_retries:
            raise error
        wait = backoff(max(0, tally.failures - 1), error.retry_after)
        _log.debug("waiting %.2f s after %s", wait, error)
        await asyncio.sleep(wait)


def _again(request: Request, error: OutputError) -> Request:
    """Ask again, with the answer that was not understood and the reason."""
    reason = (
        f"That answer cannot be used: {error}. Answer again, with JSON in the form "
        "asked for and nothing else."
    )
    answer = without_thinking(error.text)
    turns = (("assistant", answer or ""), ("user", reason))
    return request._replace(followup=turns if answer else turns[1:])


def _sum(one: Tokens, other: Tokens) -> Tokens:
    if one is _NONE:  # nearly always: a row is answered at once
        return other
    return Tokens(*(a + b for a, b in zip(one, other, strict=True)))

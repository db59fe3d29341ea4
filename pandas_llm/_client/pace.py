"""How fast requests leave for one endpoint, and what learns from their ends."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pandas_llm._client.events import NO_TOKENS, Tally
from pandas_llm._client.verdict import History, nobody_there
from pandas_llm._http import open_connections
from pandas_llm._pacing import Calibration, Circuit, Concurrency, Prices, Slots
from pandas_llm.errors import (
    ConnectionBrokenError,
    LLMError,
    NoRoomError,
    OverloadedError,
    RateLimitError,
)
from pandas_llm.types import Quotas, Reply, Tokens, Used

if TYPE_CHECKING:
    from pandas_llm._client.parts import Parts


class Pace:
    """What bounds how fast requests leave.

    The sender reports by one call that a request has left, was answered, was refused or
    has failed; limiter, concurrency, circuit, history, budget, totals and log hear it
    here.
    """

    def __init__(self, parts: Parts, history: History) -> None:
        settings, provider = parts.setup.settings, parts.provider
        bound = None if settings.concurrency == "auto" else settings.concurrency
        self.limiter = parts.limiter
        self.concurrency = Concurrency(bound, maximum=open_connections())
        self.circuit = Circuit(settings.patience)
        self.history = history
        self.prices = Prices(parts.endpoint, settings.prices)
        self.calibration = Calibration()
        self.calibration.output_counts = getattr(provider, "output_counts", 1.0)
        self.reads_count = getattr(provider, "reads_count", True)
        """Whether tokens that were read from a prompt cache count."""
        self._follow()
        self.slots = Slots(self.target)
        """Which a row leaves while it waits for itself."""

    def _follow(self) -> None:
        """Set how many may be in flight, by the run and by the server."""
        self.target = int(min(self.concurrency.size, self.limiter.cap))

    def share(self, slots: Slots) -> None:
        """Use the slots of a run, whose other endpoints use them too."""
        self.slots = slots

    def keep_below(self, most: int) -> None:
        """Let at most this many requests be in flight."""
        self.concurrency.keep_below(most)
        self._follow()

    def sent(self, tally: Tally) -> None:
        """Note that a request leaves now."""
        tally.attempts += 1
        tally.events.totals.requests += 1
        tally.sent = time.monotonic()
        # whatever becomes of it, from here on it may cost
        tally.bill = self.prices.unsaid
        if tally.call is not None:
            tally.call.left()

    def answered(self, tally: Tally, reply: Reply, quotas: Quotas | None) -> None:
        """Learn from an answer that is a reply."""
        self.book(reply, tally)
        used = parts = None
        limiter, sent = self.limiter, tally.sent
        if reply.tokens is not None:
            into, out, cached, *_ = reply.tokens
            if not self.reads_count:
                into -= cached
            used = into + out * self.calibration.output_counts
            parts = float(into), float(out)
            self.calibration.learn(tally.weight, into, out, len(reply.choices) or 1)
        assert tally.ticket is not None  # noqa: S101 - it has left
        limiter.settle(tally.ticket, used, quotas, parts)
        self.history.answered()
        now = time.monotonic()
        concurrency = self.concurrency
        if concurrency.auto:
            concurrency.answered(now - sent, limiter.plan())
        self.target = int(min(concurrency.size, limiter.cap))
        self.circuit.succeeded(sent, now)
        tally.events.totals.simulated = tally.events.totals.simulated or reply.simulated
        tally.events.log.answered(now - sent)
        if tally.heard is not None:
            _tell(tally, answered=True)
        if tally.held is None and not math.isnan(tally.bill):
            tally.ticket = None  # nothing else is held, or to be told

    def book(self, told: Used | Reply, tally: Tally) -> None:
        """Count what an answer has used, and what it is billed as far as is known."""
        prices, counted = self.prices, told.tokens or NO_TOKENS
        tally.bill = cost = prices.billed(told)
        before = tally.tokens  # nearly always none: a row is answered at once
        tally.tokens = counted if before is NO_TOKENS else _added(before, counted)
        saved = 0.0
        if counted.cached_input or counted.written:
            saved = prices.saved(counted, told.tier)
        tally.events.totals.pay(0.0 if math.isnan(cost) else cost, counted, saved)

    def failed(
        self, tally: Tally, error: LLMError, quotas: Quotas | None, *, heard: bool
    ) -> None:
        """Learn from a request that was refused or has failed."""
        _tell(tally, answered=False)
        limiter, circuit, ticket = self.limiter, self.circuit, tally.ticket
        assert ticket is not None  # noqa: S101 - it has left
        self.history.failed(error)
        if self._at_once(error, tally):
            limiter.settle(ticket, None, quotas)
            return
        if error.retryable and not isinstance(error, RateLimitError):
            if self.history.sampling:
                tally.failures += 1  # one row after the other is not an outage
            elif self.history.settled and nobody_there(error):
                circuit.unmade()
            else:
                circuit.failed(tally)
        elif circuit.is_open and heard:
            circuit.succeeded(tally.sent, time.monotonic())
        if isinstance(error, (RateLimitError, OverloadedError)):
            self._refused(tally, error, quotas)
        else:
            limiter.settle(ticket, None, quotas)
        self._follow()

    def _at_once(self, error: LLMError, tally: Tally) -> bool:
        """Return whether a row asks again at once and for nothing, once for a reason.

        In another tier; or over another connection, since a kept one may have gone
        stale and aiohttp does not send a POST again by itself (aio-libs/aiohttp#6138).
        """
        if isinstance(error, NoRoomError):
            tally.at_once, tally.standard = not tally.standard, True
        elif isinstance(error, ConnectionBrokenError) and not self.circuit.is_open:
            tally.at_once, tally.broken = not tally.broken, True
        return tally.at_once

    def _refused(
        self,
        tally: Tally,
        error: RateLimitError | OverloadedError,
        quotas: Quotas | None,
    ) -> None:
        """Learn from a refusal, after which the row sleeps by itself."""
        assert tally.ticket is not None  # noqa: S101 - it has left
        tally.refusals += 1
        tally.overtaken += self.circuit.up > tally.refused > 0.0
        tally.refused = tally.sent
        asked = error.retry_after
        if asked is not None and not isinstance(error, RateLimitError):
            asked = min(asked, self.history.max_wait)  # then it is asked again
        tally.wait = self.limiter.reject(tally.ticket, asked, quotas, tally.refusals)

    def ended(self, tally: Tally) -> None:
        """Release what a request held: its place in the queue, and its money.

        One that has left and told no price may have cost anything, answered or not.
        """
        tally.events.totals.unpriced += math.isnan(tally.bill)
        if (ticket := tally.ticket) is not None:
            if ticket.done == math.inf:  # it was cancelled
                self.limiter.release(ticket)
            tally.ticket = None
        if tally.held is not None:
            tally.events.budget.settle(tally.held, tally.bill)
            tally.held = None


def _tell(tally: Tally, *, answered: bool) -> None:
    """Tell those who wait for a row that its first request has ended."""
    heard, tally.heard = tally.heard, None
    if heard is not None:
        heard(answered)


def _added(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(*(a + b for a, b in zip(one, other, strict=True)))

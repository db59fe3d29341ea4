"""What follows from a failure: the one place that decides to ask again or to end.

`decide` is pure: all that counts is in the error and in `Standing`.
"""

from __future__ import annotations

import random as _random
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pandas_llm._client.events import UNAUTHORIZED, Streak, Tally
from pandas_llm._pacing import Circuit, backoff
from pandas_llm.errors import (
    ConnectionBrokenError,
    ConnectionFailedError,
    LLMError,
    ModelNotFoundError,
    NotFoundError,
    OutageError,
    OverloadedError,
    PaymentRequiredError,
    ProviderError,
    RateLimitedTooLong,
    RateLimitError,
    RepeatedError,
    UnreachableError,
)
from pandas_llm.redaction import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._client.endpoint import CurrentKey, Negotiation
    from pandas_llm._client.parts import Parts

_NEVER_REACHED = 5.0
"""Seconds of tries before an endpoint that was never reached is given up."""
_OVERTAKEN = 30
"""Refusals of one row, each with answers to later requests before it."""


class Then(Enum):
    """What to do next."""

    NOW = auto()
    """Ask again at once: the request is another one now."""
    AFTER = auto()
    """Ask again after some seconds."""
    GATE = auto()
    """Wait until the circuit lets this row ask."""
    LATER = auto()
    """Ask once more when the others have had their turn."""
    ROW = auto()
    """Abandon the row; the run goes on."""
    RUN = auto()
    """Stop the run."""


class Ended(Enum):
    """Why a run stops; none of them is the fault of one row."""

    FATAL = auto()
    """The error says so of all rows."""
    WAIT = auto()
    """The wait that the endpoint asks for is longer than `max_wait`."""
    REFUSALS = auto()
    """Nothing but 429 for too long."""
    OUTAGE = auto()
    """Nothing but failures for too long, after there were answers."""
    UNREACHABLE = auto()
    """No connection at all to begin with."""
    ALIKE = auto()
    """Row after row failed the same way."""


class Verdict(NamedTuple):
    """What follows from a failure."""

    then: Then
    seconds: float = 0.0
    why: Ended = Ended.FATAL


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known when a failure is judged; the defaults are those of any row."""

    failures: int = 1
    """The row's tries that count against `retries`."""
    retries: int = 5
    changed: bool = False
    """Whether the next request will be another: an option less, another key."""
    proven: bool = True
    """Whether this process has had an answer from this endpoint and model."""
    answered: bool = True
    """Whether another row was answered, so that the error may be this row's own."""
    again: bool = False
    """Whether the row has had its turn before and was put off."""
    alike: bool = False
    """Whether too many rows failed in this way for it to be one row's own."""
    gated: bool = True
    """Whether a limiter says how long a row waits after a 429, which costs no try."""
    wait: float = 0.0
    """Seconds that it says."""
    max_wait: float = 120.0
    """The longest wait that an answer may ask for."""
    refused: float = 0.0
    """Seconds in which nothing was answered, but refused."""
    patience: float = 900.0
    """The most of those."""
    overtaken: int = 0
    """How often the row was refused after requests that left later were answered."""
    unreached: float = 0.0
    """Seconds without any connection, before there ever was one."""
    outage: bool = False
    """Whether the circuit is open: one row at a time asks if the server is back."""
    spared: bool = False
    """Whether the circuit counts the row's tries as an outage's."""


def decide(  # noqa: PLR0911 - the table, a line each
    error: LLMError, now: Standing, random: Callable[[], float] = _random.random
) -> Verdict:
    """Decide what follows from a failure.

    >>> from pandas_llm.errors import AuthenticationError, ServerError
    >>> decide(AuthenticationError("no"), Standing(answered=False)).then.name
    'RUN'
    >>> decide(AuthenticationError("no"), Standing()).then.name
    'LATER'
    >>> decide(ServerError("oops"), Standing(failures=6)).then.name
    'ROW'
    """
    if now.changed:
        return Verdict(Then.NOW)
    if not error.retryable or not isinstance(error, ProviderError):
        return _final(error, now)
    if isinstance(error, RateLimitError) and now.gated:
        return _refused(error, now)
    if not now.proven and nobody_there(error):
        if now.unreached > _NEVER_REACHED:
            return Verdict(Then.RUN, now.unreached, Ended.UNREACHABLE)
    elif now.failures > now.retries and not now.spared:
        return Verdict(Then.ROW)
    elif now.outage:
        return Verdict(Then.GATE)
    tries = now.failures - 1 if now.proven else 0
    wait = backoff(max(0, tries), error.retry_after, random)
    return Verdict(Then.AFTER, min(wait, now.max_wait))


def _refused(error: RateLimitError, now: Standing) -> Verdict:
    """Decide on a 429, which costs no try."""
    if (asked := error.retry_after or 0.0) > now.max_wait:
        return Verdict(Then.RUN, asked, Ended.WAIT)
    impatient = now.refused > now.patience
    if now.overtaken >= _OVERTAKEN or (impatient and now.overtaken):
        return Verdict(Then.ROW)  # larger than the limit: others were answered since
    if impatient:
        return Verdict(Then.RUN, now.refused, Ended.REFUSALS)
    wait = min(now.wait, now.max_wait)
    if not asked:  # nobody asked for it, so the last try is when patience ends
        wait = min(wait, now.patience - now.refused)
    return Verdict(Then.AFTER, wait)


def _final(error: LLMError, now: Standing) -> Verdict:
    """Decide on what no waiting mends."""
    if now.alike:
        return Verdict(Then.RUN, why=Ended.ALIKE)
    if not error.own:
        return Verdict(Then.RUN if type(error).fatal else Then.ROW)
    if not now.answered:
        return Verdict(Then.RUN)
    once = now.again or isinstance(error, PaymentRequiredError)
    return Verdict(Then.ROW if once else Then.LATER)


def nobody_there(error: LLMError) -> bool:
    """Return whether no connection could be made at all."""
    broken = isinstance(error, ConnectionBrokenError)
    return isinstance(error, ConnectionFailedError) and not broken


class History:
    """What a run has seen of one endpoint, as far as it counts for a verdict."""

    def __init__(self, parts: Parts, negotiation: Negotiation, key: CurrentKey) -> None:
        self._place = shown(parts.endpoint.base_url)
        self._negotiation, self._key = negotiation, key
        self._settings = parts.setup.settings
        self.max_wait = self._settings.max_wait
        self.streak = Streak()
        self.sampling = False
        """Whether rows are asked once each, to find one that can be answered."""
        self.relieved = False
        """Whether another model answers what this one does not, so it ends no run."""
        self._answered = False
        self._unreached: float | None = None
        """Since when there has been no connection, before there ever was one."""
        self._refused: float | None = None
        """Since when there has been no answer, but refusals."""
        self._limited = False
        """Whether the last of them was a 429."""
        self._failures = 0
        """Requests that have failed since the last answer."""
        self._words = ""
        """What the last of them was told."""

    @property
    def settled(self) -> bool:
        """Whether this process has had an answer from this endpoint and model."""
        return self._negotiation.settled

    @property
    def proven(self) -> bool:
        """Whether it has had one with this key."""
        return self.settled and self._key.accepted

    def answered(self) -> None:
        """Note an answer."""
        if self._answered and not self._failures:
            return  # nearly always
        self._answered = True
        self._refused = None
        self._failures = 0
        self.streak.answered()

    def failed(self, error: LLMError) -> None:
        """Note a request that failed."""
        self._failures += 1
        self._words = str(error)
        if isinstance(error, (RateLimitError, OverloadedError)):
            self._refused = self._refused or time.monotonic()
            self._limited = isinstance(error, RateLimitError)

    def check_patience(self) -> None:
        """End the run when there were nothing but refusals for too long."""
        if (since := self._refused) is None:
            return
        if (seconds := time.monotonic() - since) > self._settings.patience:
            why = Ended.REFUSALS if self._limited else Ended.OUTAGE
            self.end(None, seconds, why)

    def standing(
        self, error: LLMError, tally: Tally, circuit: Circuit, *, changed: bool
    ) -> Standing:
        """Put together what is known when a row's failure is judged."""
        now = time.monotonic()
        alike = spared = False
        retries = 0 if self.sampling else self._settings.max_retries
        if nobody_there(error) and not self.settled:
            self._unreached = self._unreached or now
        if changed or not isinstance(error, ProviderError):
            pass
        elif error.retryable:
            over = tally.failures > retries and self.settled
            spared = over and circuit.spares(tally)
        elif self.proven and not self.relieved:
            alike = self.streak.failed(
                error, again=tally.again, elsewhere=tally.elsewhere
            )
        # rows of the cache were answered, by any key
        recalled = tally.events.totals.cached > 0
        recalled = recalled and getattr(error, "status", None) != UNAUTHORIZED
        return Standing(
            tally.failures,
            retries,
            changed=changed,
            proven=self.settled,
            answered=self._answered or self.proven or recalled,
            again=tally.again,
            alike=alike,
            wait=tally.wait,
            max_wait=self._settings.max_wait,
            refused=now - (self._refused or now),
            patience=self._settings.patience,
            overtaken=tally.overtaken,
            unreached=now - (self._unreached or now),
            outage=circuit.is_open,
            spared=spared,
        )

    def end(self, error: LLMError | None, seconds: float, why: Ended) -> NoReturn:
        """Raise what the run ends with."""
        ends = self._ending(error, seconds, why)
        ends.fatal = True
        if ends is error:
            raise ends
        if why is Ended.UNREACHABLE and error is not None:
            raise ends from error.__cause__
        raise ends from error

    def _ending(self, error: LLMError | None, seconds: float, why: Ended) -> LLMError:
        known = facts(error)
        if why is Ended.WAIT:
            most = self._settings.max_wait
            msg = (
                f"the endpoint asks to wait {seconds:.0f} s, longer than max_wait="
                f"{most:g}: run again later, or raise max_wait."
            )
            msg += f" ({error})" if error else ""
            return RateLimitedTooLong(msg, **known, retry_after=seconds)
        if why is Ended.REFUSALS:
            most = self._settings.patience
            msg = f"nothing but refusals for {seconds:.0f} s (patience={most:g})"
            return RateLimitedTooLong(msg + self._last_words(), **known)
        if why is Ended.OUTAGE:
            msg = f"{self._place} has answered nothing for {seconds:.3g} s"
            return OutageError(msg + self._last_words())
        if why is Ended.UNREACHABLE:
            return UnreachableError(str(error))
        if why is Ended.ALIKE and isinstance(error, ProviderError):
            kind = type(error) if type(error).fatal else RepeatedError
            msg = f"{self.streak.rows} rows failed the same way one after the other"
            return kind(f"{msg}, and none was answered in between: {error}", **known)
        assert error is not None  # noqa: S101 - it is what the run ends for
        return error

    def _last_words(self) -> str:
        """Describe how many requests failed since the last answer, and why."""
        if not self._failures:
            return ""
        return f": {self._failures:,} requests failed, the last with {self._words}"


def facts(error: LLMError | None) -> dict[str, Any]:
    """Return what an error has besides its words, for another in its place."""
    names = ("status", "code", "param", "request_id")
    return {name: getattr(error, name, None) for name in names}


def raise_for_row(error: LLMError, *, later: bool) -> NoReturn:
    """Raise an error as a row's own, for which 404 has a name of its own."""
    own = error
    if isinstance(error, ModelNotFoundError):
        own = NotFoundError(str(error), **facts(error))
    own.fatal, own.later = False, later
    if own is error:
        raise own
    raise own from error

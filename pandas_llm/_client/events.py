"""What happens in a run, counted: by all its rows, by one, by those that fail alike."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pandas_llm._display import Totals
from pandas_llm._pacing import CostBudget, Ticket
from pandas_llm._report import Call, RunLog
from pandas_llm.errors import (
    ContextLengthError,
    LLMError,
    PromptFilteredError,
    ProviderError,
)
from pandas_llm.types import Outcome, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable


NO_TOKENS = Tokens()
UNAUTHORIZED = 401
OF_THE_TEXT = (ContextLengthError, PromptFilteredError)
"""Verdicts on what a row says: any number of rows may have them side by side."""


@dataclass(slots=True)
class Tally:
    """What one row has cost so far."""

    events: Events
    """What happens in its run."""
    attempts: int = 0
    again: bool = False
    """Whether it was put off before."""
    elsewhere: bool = False
    """Whether it was taken from another place, since its neighbours failed alike."""
    heard: Callable[[bool], None] | None = None
    """Hears once whether a request was answered, where other rows wait for that."""
    call: Call | None = None
    """The span of its request, where runs are traced."""
    weight: float = 0.0
    """Tokens of its prompt by their characters, and of what is attached by a guess."""
    tokens: Tokens = NO_TOKENS
    failures: int = 0
    failed: float = 0.0
    """When the first failure was noticed."""
    refusals: int = 0
    """Failures by the account's limit or the server's load."""
    refused: float = 0.0
    """When the last refused request had left."""
    overtaken: int = 0
    """Refusals although requests that left later were answered before."""
    wait: float = 0.0
    """Seconds that the row sleeps by itself after the last refusal."""
    standard: bool = False
    """Whether it uses the standard tier, since another has no room."""
    broken: bool = False
    """Whether its connection broke, and it was asked again for nothing."""

    # of its next, its present or its last request
    amounts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Tokens that the provider will count for it; of input, of output."""
    ticket: Ticket | None = None
    """Its place in the limiter's queue, while it waits or is under way."""
    held: float | None = None
    """Dollars that are set aside for it."""
    sent: float = 0.0
    """When it left."""
    bill: float = 0.0
    """Dollars that it cost; NaN where it may be the most that it can be."""
    at_once: bool = False
    """Whether its failure is one to ask again after, at once and for nothing."""


@dataclass(slots=True)
class Events:
    """Counters, money and log of one run; made by the job, passed down."""

    totals: Totals = field(default_factory=Totals)
    budget: CostBudget = field(default_factory=lambda: CostBudget(None))
    started: float = field(default_factory=time.monotonic)
    log: RunLog = field(default_factory=RunLog)

    def retried(self, error: LLMError) -> None:
        """Count an attempt that failed and is made again."""
        self.totals.retries += 1
        self.log.retried[error.kind] += 1

    def finished(self, position: int, outcome: Outcome) -> None:
        """Count a row that is done."""
        totals = self.totals
        totals.done += 1
        totals.failed += outcome.failed
        totals.cached += outcome.cached
        self.log.row(position, outcome)


class Streak:
    """Rows that failed alike in the order of their arrival, with no answer in between.

    Neighbours in a frame may be alike, so from the third on rows from all over the
    frame are asked, a few at a time. The run ends only when some of these fail too, and
    rows that had not failed before are among them.
    """

    LOOK = 3
    """Failures from which on rows of other places are asked."""
    ROWS, KEYS = 10, 5
    """Failures that end the run; fewer when all refuse the key in the same words."""
    FRESH = 3
    """The least number of them that had not failed before."""
    ELSEWHERE = 2
    """The least number of them from other places."""
    AT_ONCE = 5
    """Rows of other places that are on their way at once."""

    def __init__(self) -> None:
        self._likeness: tuple[str | None, ...] = ()
        self.rows = 0
        self.looking = False
        """Whether rows of other places are to be asked."""
        self.spread = False
        """Whether rows of other places were put next."""
        self._fresh = 0
        self._elsewhere = 0

    def failed(
        self, error: ProviderError, *, again: bool = False, elsewhere: bool = False
    ) -> bool:
        """Count a row that is given up or put off; return whether that ends the run."""
        if isinstance(error, OF_THE_TEXT):
            return False
        if (current := likeness(error)) != self._likeness:
            self.answered()
            self._likeness = current
        self.rows += 1
        self.looking = self.rows >= self.LOOK
        self._fresh += not again
        self._elsewhere += elsewhere
        most = self.KEYS if error.status == UNAUTHORIZED else self.ROWS
        return (
            self.rows >= most
            and self._fresh >= self.FRESH
            and self._elsewhere >= self.ELSEWHERE
        )

    def answered(self) -> None:
        """Begin from the start."""
        self._likeness, self.spread, self.looking = (), False, False
        self.rows = self._fresh = self._elsewhere = 0


def likeness(error: ProviderError) -> tuple[str | None, ...]:
    """Return what two failures share when they count as alike."""
    words = error.said if error.status == UNAUTHORIZED else None
    return (type(error).kind, error.code, error.param, words)

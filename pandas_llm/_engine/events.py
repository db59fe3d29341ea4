"""What happens in a run, counted: by all its rows, and by one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pandas_llm._display import Totals
from pandas_llm._pacing import CostBudget
from pandas_llm._report import RunLog
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.types import Outcome

NO_TOKENS = Tokens()


@dataclass(slots=True)
class Tally:
    """What one row has cost so far."""

    attempts: int = 0
    again: bool = False
    """Whether it was put off before."""
    elsewhere: bool = False
    """Whether it was taken from another place, since its neighbours failed alike."""
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
    refusals: int = 0
    """Those of its failures that were the account's limit or the server's load."""
    wait: float = 0.0
    """Seconds that the row is to sleep by itself after the last of them."""
    standard: bool = False
    """Whether it is asked for in the standard tier, for want of room in another."""
    bill: float = 0.0
    """Dollars of its last request; NaN where it may be the most that it can be."""
    expected: float = 0.0
    """Tokens that the provider will count for its next request."""


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

    def used(self, tokens: Tokens, cost: float) -> None:
        """Count what an answer has used; NaN is a price that nobody knows."""
        self.totals.pay(cost)
        self.totals.add(tokens)

    def finished(self, position: int, outcome: Outcome) -> bool:
        """Count a row that was asked about; tell whether it has an answer."""
        totals = self.totals
        totals.done += 1
        totals.failed += (failed := outcome.failed)
        totals.cached += outcome.cached
        self.log.row(position, outcome)
        return not failed

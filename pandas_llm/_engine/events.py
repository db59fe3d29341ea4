"""What happens in a run, counted: everything that a run shares hears of it here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pandas_llm._display import Totals
from pandas_llm._pacing import CostBudget
from pandas_llm._report import RunLog

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.types import Outcome, Tokens


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

    def finished(self, position: int, outcome: Outcome) -> None:
        """Count a row that was asked about, whatever came of it."""
        totals = self.totals
        totals.done += 1
        totals.failed += outcome.failed
        totals.cached += outcome.cached
        self.log.row(position, outcome)

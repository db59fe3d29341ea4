"""What all rows of a run share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pandas_llm._display import Totals
from pandas_llm._pacing import CostBudget
from pandas_llm._report import RunLog


@dataclass(slots=True)
class Run:
    """Counters, budget and log; made by the job, passed down."""

    totals: Totals = field(default_factory=Totals)
    budget: CostBudget = field(default_factory=lambda: CostBudget(None))
    started: float = field(default_factory=time.monotonic)
    log: RunLog = field(default_factory=RunLog)

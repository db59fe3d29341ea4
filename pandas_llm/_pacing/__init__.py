"""How fast requests leave, how patient they are, and what they cost.

NOTES.md beside this file has the idea and what was measured.
"""

from __future__ import annotations

from pandas_llm._pacing.buckets import Ticket
from pandas_llm._pacing.concurrency import Concurrency
from pandas_llm._pacing.limiter import RateLimiter, shared_limiter
from pandas_llm._pacing.limits import Headroom
from pandas_llm._pacing.prices import CostBudget, Prices, refused, unsent
from pandas_llm._pacing.retry import Circuit, backoff
from pandas_llm._pacing.shares import RENEWAL, TERM, WHOLE, AccountParts, Budget, budget
from pandas_llm._pacing.slots import Slots
from pandas_llm._pacing.tokens import Calibration, estimate_tokens

__all__ = [
    "RENEWAL",
    "TERM",
    "WHOLE",
    "AccountParts",
    "Budget",
    "Calibration",
    "Circuit",
    "Concurrency",
    "CostBudget",
    "Headroom",
    "Prices",
    "RateLimiter",
    "Slots",
    "Ticket",
    "backoff",
    "budget",
    "estimate_tokens",
    "refused",
    "shared_limiter",
    "unsent",
]

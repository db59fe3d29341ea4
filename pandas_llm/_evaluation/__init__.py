"""How far to trust a column that a model wrote: against what people know."""

from __future__ import annotations

from pandas_llm._evaluation.agreement import Agreement, evaluate
from pandas_llm._evaluation.comparing import Comparison, compare
from pandas_llm._evaluation.shares import Shares, share, to_review

__all__ = [
    "Agreement",
    "Comparison",
    "Shares",
    "compare",
    "evaluate",
    "share",
    "to_review",
]

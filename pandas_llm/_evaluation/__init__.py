"""How far to trust a column that a model wrote: against what people know."""

from __future__ import annotations

from pandas_llm._evaluation.agreement import Agreement, evaluate
from pandas_llm._evaluation.reviewing import to_review
from pandas_llm._evaluation.shares import Shares, share

__all__ = ["Agreement", "Shares", "evaluate", "share", "to_review"]

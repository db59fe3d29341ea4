"""How far to trust a column that a model wrote: against what people know."""

from __future__ import annotations

from pandas_llm._evaluation.agreement import Agreement, evaluate

__all__ = ["Agreement", "evaluate"]

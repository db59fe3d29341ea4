"""Which rows are asked, by whom, and what became of them: feed, workers, outcomes.

`workers` asks for the rows of `feed`, through `fallback`; `outcomes` keeps their ends.
"""

from __future__ import annotations

from pandas_llm._engine.feed import Feed
from pandas_llm._engine.items import Item
from pandas_llm._engine.outcomes import Arrivals, Details, Outcomes
from pandas_llm._engine.workers import Engine

__all__ = ["Arrivals", "Details", "Engine", "Feed", "Item", "Outcomes"]

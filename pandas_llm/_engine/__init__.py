"""A row's way to the server and back: feed, workers, client, sender, transport.

What follows from an error (ask again, wait, give up the row, stop the run) is decided
in `verdict`; what became of each row is kept in `outcomes`.
"""

from __future__ import annotations

from pandas_llm._engine.feed import Feed
from pandas_llm._engine.outcomes import Arrivals, Details, Outcomes
from pandas_llm._engine.warming import Item
from pandas_llm._engine.workers import Engine

__all__ = ["Arrivals", "Details", "Engine", "Feed", "Item", "Outcomes"]

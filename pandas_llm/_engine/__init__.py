"""A row's way to the server and back: feed, workers, client, sender, transport.

What follows from an error (ask again, wait, give up the row, stop the run) is decided
in `verdict`; what became of each row is kept in `outcomes`.
"""

from __future__ import annotations

from pandas_llm._engine.address import (
    SIMULATED,
    resolve_endpoint,
    resolve_endpoints,
    transferable,
    without_secrets,
)
from pandas_llm._engine.client import Client
from pandas_llm._engine.events import Events
from pandas_llm._engine.feed import Feed, Item
from pandas_llm._engine.open import (
    Setup,
    keep_to_slots,
    offline_client,
    open_client,
)
from pandas_llm._engine.outcomes import Arrivals, Details, Outcomes
from pandas_llm._engine.transport import Transport
from pandas_llm._engine.workers import Engine

__all__ = [
    "SIMULATED",
    "Arrivals",
    "Client",
    "Details",
    "Engine",
    "Events",
    "Feed",
    "Item",
    "Outcomes",
    "Setup",
    "Transport",
    "keep_to_slots",
    "offline_client",
    "open_client",
    "resolve_endpoint",
    "resolve_endpoints",
    "transferable",
    "without_secrets",
]

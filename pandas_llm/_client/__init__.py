"""One request's likeness to the server and back: client and sender.

What follows from an error (ask again, wait, give up the row, stop the run) is decided
in `verdict`.
"""

from __future__ import annotations

from pandas_llm._client.address import (
    SIMULATED,
    resolve_endpoint,
    resolve_endpoints,
    transferable,
    without_secrets,
)
from pandas_llm._client.client import Client
from pandas_llm._client.events import OF_THE_TEXT, Events, Streak, Tally, likeness
from pandas_llm._client.open import keep_to_slots, offline_client, open_client
from pandas_llm._client.parts import Setup

__all__ = [
    "OF_THE_TEXT",
    "SIMULATED",
    "Client",
    "Events",
    "Setup",
    "Streak",
    "Tally",
    "keep_to_slots",
    "likeness",
    "offline_client",
    "open_client",
    "resolve_endpoint",
    "resolve_endpoints",
    "transferable",
    "without_secrets",
]

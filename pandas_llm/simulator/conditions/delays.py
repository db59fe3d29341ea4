"""How long the server takes over a request."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from pandas_llm.simulator.answers import unit_hash

if TYPE_CHECKING:
    from pandas_llm.simulator.conditions.settings import Settings

_NORMAL = NormalDist()


def delay_of(settings: Settings, number: int) -> float:
    """Return the seconds that a request takes."""
    if not settings.latency or not settings.jitter:
        return settings.latency
    normal = _NORMAL.inv_cdf(unit_hash("latency", str(settings.seed), str(number)))
    spread = settings.jitter
    return settings.latency * math.exp(spread * normal - spread**2 / 2)

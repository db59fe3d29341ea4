"""How the server behaves: its knobs, limits, delays and what goes wrong on purpose."""

from pandas_llm.simulator.conditions.delays import delay_of
from pandas_llm.simulator.conditions.faults import (
    WHOLE,
    fault_of,
    injected,
    over_limit,
    spoil,
)
from pandas_llm.simulator.conditions.limits import (
    Level,
    Limits,
    go_duration,
    retry_headers,
)
from pandas_llm.simulator.conditions.problems import (
    JSON,
    Answer,
    Problem,
    RefusedError,
    refuse,
)
from pandas_llm.simulator.conditions.settings import FAULTS, Knobs, Settings
from pandas_llm.simulator.conditions.signatures import signature_problem

__all__ = [
    "FAULTS",
    "JSON",
    "WHOLE",
    "Answer",
    "Knobs",
    "Level",
    "Limits",
    "Problem",
    "RefusedError",
    "Settings",
    "delay_of",
    "fault_of",
    "go_duration",
    "injected",
    "over_limit",
    "refuse",
    "retry_headers",
    "signature_problem",
    "spoil",
]

"""A local server that speaks as OpenAI, Anthropic, Google, Bedrock and Ollama do.

For tests, demos and trying things out. It has chat completions, Responses, Messages,
generateContent, Converse, embeddings and the list of models.

Nothing it says is real: every text begins with ``[simulated]``. All else is: HTTP over
a socket, rate limits with their headers, faults on request.

>>> from pandas_llm.simulator import Simulator
>>> with Simulator(requests_per_minute=600) as sim:
...     sim.base_url.startswith("http://127.0.0.1:")
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import answer, count_tokens
from pandas_llm.simulator.conditions import FAULTS, Knobs, Settings
from pandas_llm.simulator.server import Simulator, run_forever

if TYPE_CHECKING:
    from pandas_llm.simulator.server import Server, prompt_key, serve

__all__ = [
    "FAULTS",
    "Knobs",
    "Server",
    "Settings",
    "Simulator",
    "answer",
    "count_tokens",
    "prompt_key",
    "run_forever",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Import aiohttp and orjson at first use, not with the package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pandas_llm.simulator import server

    return getattr(server, name)

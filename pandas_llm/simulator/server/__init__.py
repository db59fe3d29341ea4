"""The simulator as a server: HTTP over a socket, in the loop at hand or a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.server.background import Simulator, run_forever

if TYPE_CHECKING:
    from pandas_llm.simulator.server.app import Server, serve
    from pandas_llm.simulator.server.stats import prompt_key

__all__ = ["Server", "Simulator", "prompt_key", "run_forever", "serve"]


def __getattr__(name: str) -> Any:
    """Import aiohttp and orjson at first use, not with the package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pandas_llm.simulator.server import app

    return getattr(app, name)

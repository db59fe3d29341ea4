"""What a client is put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pandas_llm._http import Transport
    from pandas_llm._pacing import Headroom, RateLimiter
    from pandas_llm._replies import Output
    from pandas_llm._report import Calls, Trace
    from pandas_llm.cache import Cache
    from pandas_llm.options import Settings
    from pandas_llm.providers import Provider
    from pandas_llm.types import Endpoint, Spec


class Setup(NamedTuple):
    """What all clients of a run share."""

    spec: Spec
    """Each client sets its own model in it."""
    output: Output
    settings: Settings
    cache: Cache | None
    headroom: Headroom | None = None
    trace: Trace | None = None


class Parts(NamedTuple):
    """What one client has besides."""

    endpoint: Endpoint
    reached: Endpoint
    """Where requests go in fact: the simulator's has a port."""
    provider: Provider
    transport: Transport
    limiter: RateLimiter
    setup: Setup
    calls: Calls | None
    """The spans of its requests, where runs are traced."""

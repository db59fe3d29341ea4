"""Open a client: the endpoint, the simulator or a model list behind it, its pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from pandas_llm import options
from pandas_llm.client import Client, Pace
from pandas_llm.errors import ConfigurationError
from pandas_llm.limits import Calibration, Concurrency, shared_limiter
from pandas_llm.providers import connect
from pandas_llm.transport import Transport, open_connections

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from pandas_llm.output import Output
    from pandas_llm.types import Endpoint, Settings


async def open_client(
    stack: AsyncExitStack, endpoint: Endpoint, output: Output, settings: Settings
) -> Client:
    """Open what a run needs to ask one endpoint; the stack closes it.

    Parameters
    ----------
    stack : AsyncExitStack
        Of the run.
    endpoint : Endpoint
        Its model may be empty: a server that lists exactly one is used with it.
    output, settings
        Of the run.
    """
    transport = await stack.enter_async_context(
        Transport(settings.request_timeout, settings.session)
    )
    reached = endpoint
    if endpoint.base_url == options.SIMULATED:
        reached = endpoint._replace(base_url=await _simulator(stack))
    elif not endpoint.model:
        model = await _only_model(endpoint, transport)
        endpoint = reached = endpoint._replace(model=model)
    pace = _pace(stack, reached, settings)
    return Client(endpoint, connect(reached), transport, output, pace, settings)


async def _simulator(stack: AsyncExitStack) -> str:
    from pandas_llm import simulator  # for model="sim" only

    server = await stack.enter_async_context(simulator.serve(simulator.Settings()))
    return server.base_url


def _pace(stack: AsyncExitStack, endpoint: Endpoint, settings: Settings) -> Pace:
    limiter = shared_limiter(options.account(endpoint))
    stack.enter_context(
        limiter.bound(settings.requests_per_minute, settings.tokens_per_minute)
    )
    bound = None if settings.concurrency == "auto" else settings.concurrency
    concurrency = Concurrency(bound, maximum=open_connections())
    return Pace(limiter, concurrency, Calibration())


async def _only_model(endpoint: Endpoint, transport: Transport) -> str:
    """Ask an endpoint for its models; only one leaves no choice."""
    key = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    response = await transport.get(f"{endpoint.base_url}/models", key)
    try:
        listed = [str(m["id"]) for m in orjson.loads(response.body)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        listed = []
    if len(listed) == 1:
        return listed[0]
    names = ", ".join(map(repr, listed[:10])) or "none that could be read"
    msg = f"no model is set: pass model='…'. {endpoint.base_url} lists: {names}"
    raise ConfigurationError(msg)

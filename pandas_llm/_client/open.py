"""Open a client: the endpoint, the simulator or a model list behind it, its pace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm._client.address import SIMULATED, account
from pandas_llm._client.client import Client
from pandas_llm._client.parts import Parts, Setup
from pandas_llm._http import Signed, Transport
from pandas_llm._local import Llama, ask_tiny, served
from pandas_llm._pacing import RateLimiter, budget, shared_limiter
from pandas_llm._report import Calls
from pandas_llm.errors import ConfigurationError, ProviderError
from pandas_llm.providers import connect, models_of, nearest, slots_of, spoken
from pandas_llm.redaction import Secret, shown
from pandas_llm.types import Capabilities, Endpoint, HTTPRequest, HTTPResponse, Request

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from pandas_llm._replies import Output
    from pandas_llm.options import Settings

_LOCAL_ROWS = {"gguf": 4, "tiny": 1}
"""Rows at a time for a model's file, where `concurrency` is "auto"."""


async def open_client(
    stack: AsyncExitStack, endpoint: Endpoint, setup: Setup
) -> Client:
    """Open what a run needs to ask one endpoint, whose model may be left empty."""
    settings = setup.settings
    if endpoint.path is not None and not settings.replay:
        return await _open_file(stack, endpoint, endpoint.path, setup)
    region = None if settings.replay else endpoint.region
    unopened = Signed(settings, region) if region else Transport(settings)
    transport = await stack.enter_async_context(unopened)
    reached = endpoint
    if endpoint.base_url == SIMULATED and not settings.replay:
        reached = endpoint._replace(base_url=await _simulator(stack))
    elif not endpoint.model:
        model = await _only_model(endpoint, transport)
        endpoint = reached = endpoint._replace(model=model)
    return _client(endpoint, reached, transport, setup, stack)


def offline_client(endpoint: Endpoint, setup: Setup) -> Client:
    """Make a client that knows prices, keys and cached replies, and sends nothing."""
    if not endpoint.model:
        raise ConfigurationError("no model is set: pass model='…'")
    setup = setup._replace(settings=replace(setup.settings, concurrency=1))
    transport = Transport(setup.settings)
    return _client(endpoint, endpoint, transport, setup)


def _client(
    endpoint: Endpoint,
    reached: Endpoint,
    transport: Transport,
    setup: Setup,
    stack: AsyncExitStack | None = None,
) -> Client:
    settings, provider = setup.settings, connect(reached)
    for option in ("images", "files"):
        if getattr(settings, option) and getattr(provider, option, None) is None:
            msg = f"{option}= is set, and the provider {endpoint.provider!r} takes none"
            raise ConfigurationError(msg)
    if getattr(provider, "decides", False):
        _check_questions(endpoint.provider, provider, setup.output, settings)
    setup = setup._replace(spec=replace(setup.spec, model=endpoint.model))
    calls = Calls(setup.trace, endpoint, reached.base_url) if setup.trace else None
    limiter = RateLimiter()
    if stack is not None:
        limiter = _limiter(stack, account(reached, transport.account), setup)
    parts = Parts(endpoint, reached, provider, transport, limiter, setup, calls)
    client = Client(parts)
    if settings.max_cost is not None and not client.prices.known:
        raise ConfigurationError(
            f"max_cost is set, and there is no price for {endpoint.model!r}: pass "
            f"prices={{{endpoint.model!r}: (input, output)}} in dollars per million "
            "tokens, or install the extra: pip install 'pandas-llm-accessor[cost]'"
        )
    return client


def _check_questions(
    name: str, provider: Any, output: Output, settings: Settings
) -> None:
    """Refuse what an endpoint for closed questions cannot answer."""
    msg, questions = "", output.questions
    if output.open or not questions:
        which = ", ".join(map(repr, output.open)) or "this verb"
        msg = (
            f"the provider {name!r} answers closed questions only, and {which} is "
            "open: ask classify, or extract with keys that are bool, Literal, Enum or "
            "lists of labels"
        )
    elif settings.n > 1:
        msg = f"the provider {name!r} answers once, with probabilities: leave n= out"
    elif len(questions) > provider.most_questions:
        msg = (
            f"the provider {name!r} takes {provider.most_questions} keys a row, not "
            f"{len(questions)}: ask in several calls"
        )
    else:
        most = max(questions, key=lambda question: len(question.labels))
        if len(most.labels) > provider.most_labels:
            msg = (
                f"the provider {name!r} takes {provider.most_labels} labels, and "
                f"{most.name!r} has {len(most.labels)}: ask for groups of them first"
            )
    if msg:
        raise ConfigurationError(msg)


async def _open_file(
    stack: AsyncExitStack, endpoint: Endpoint, path: Path, setup: Setup
) -> Client:
    """Open a client of a model's file: llama.cpp starts, or it is asked in a thread."""
    settings = setup.settings
    rows = settings.concurrency
    if rows == "auto":
        rows = _LOCAL_ROWS[endpoint.provider]
    reached, transport = endpoint, Transport(settings)
    if endpoint.provider == "gguf":
        running = served(path, max(rows, settings.n))
        base_url, server = await stack.enter_async_context(running)
        reached = endpoint._replace(base_url=base_url, api_key=server.key)
        rows = min(rows, server.slots)
        transport = await stack.enter_async_context(Loopback(settings, server))
    else:
        transport = InProcess(settings, path)
    setup = setup._replace(settings=replace(settings, concurrency=rows))
    return _client(endpoint, reached, transport, setup, stack)


async def keep_to_slots(client: Client) -> None:
    """Send llama.cpp as many rows at once as it has slots: each has its own cache."""
    if not client.pace.concurrency.auto or spoken(client.endpoint) != "llamacpp":
        return
    request = client.provider.build(Request(client.spec, ""), Capabilities(), 1)
    place, version, _ = request.url.partition("/v1/")
    if not version:
        return
    properties = await client.transport.glance(f"{place}/props", request.headers)
    if properties is not None and (slots := slots_of(properties)):
        client.pace.keep_below(slots)


class Loopback(Transport):
    """Asks a server that the run has started: once that has ended, nobody waits."""

    def __init__(self, settings: Settings, server: Llama) -> None:
        super().__init__(settings)
        self._server = server

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send a request; raise ConfigurationError if the server has ended."""
        try:
            return await super().send(request)
        except ProviderError:
            self._server.check()
            raise


class InProcess(Transport):
    """Asks the tiny model in a thread, so that the bar and other rows go on."""

    def __init__(self, settings: Settings, path: Path) -> None:
        super().__init__(settings)
        self._path = path

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        """Answer a request as a server would."""
        return await asyncio.to_thread(ask_tiny, self._path, request.body)


async def _simulator(stack: AsyncExitStack) -> str:
    from pandas_llm import simulator  # for model="sim" only

    server = await stack.enter_async_context(simulator.serve(simulator.Settings()))
    return server.base_url


def _limiter(
    stack: AsyncExitStack, place: tuple[str, ...], setup: Setup
) -> RateLimiter:
    limiter, settings = shared_limiter(place), setup.settings
    per_minute = settings.requests_per_minute, settings.tokens_per_minute
    stack.enter_context(limiter.bound(*per_minute, setup.headroom))
    if (part := budget.get()) is not None:
        stack.enter_context(part(place, limiter))
    return limiter


async def _only_model(endpoint: Endpoint, transport: Transport) -> str:
    """Ask an endpoint for its models; only one leaves no choice."""
    key = Secret(f"Bearer {endpoint.api_key}" if endpoint.api_key else "")
    url = f"{endpoint.base_url}/models"
    response = await transport.get(
        HTTPRequest(url, {"Authorization": key} if key else {}, b"")
    )
    listed = models_of(response) or []
    if len(listed) == 1:
        return listed[0]
    names = nearest("", listed) if listed else "no model that could be read"
    msg = f"no model is set: pass model='…'. {shown(endpoint.base_url)} lists: {names}"
    raise ConfigurationError(msg)

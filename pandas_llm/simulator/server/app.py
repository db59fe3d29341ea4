"""The simulated endpoint: real HTTP on the loopback interface."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Unpack

import orjson
from aiohttp import web

from pandas_llm.simulator.conditions import (
    WHOLE,
    Answer,
    Knobs,
    Limits,
    Problem,
    RefusedError,
    Settings,
    delay_of,
    fault_of,
    injected,
    over_limit,
    refuse,
    signature_problem,
)
from pandas_llm.simulator.dialects import (
    DIALECTS,
    Dialect,
    Incoming,
    Vendor,
    Work,
    list_models,
    read_json,
    vendor_of,
)
from pandas_llm.simulator.server.anthropic_batches import AnthropicBatches
from pandas_llm.simulator.server.batches import Batches, answered
from pandas_llm.simulator.server.breakage import never, reset_connection, truncate
from pandas_llm.simulator.server.google_batches import GoogleBatches
from pandas_llm.simulator.server.kept import KeptPrompts
from pandas_llm.simulator.server.openai_batches import OpenAIBatches
from pandas_llm.simulator.server.stats import Seen, Stats, prompt_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_LARGEST_BODY = 128 * 2**20
_KEYED = re.compile(
    r"/(files|batches|batch/jobs)([/:]|$)|/models$|:(batchGenerate|asyncBatchEmbed)Content$"
)
"""Addresses of what counts as no request and is asked with a key all the same."""
_BACKLOG = 4096  # a client may open all its connections at once
_LIMIT_KNOBS = {"requests_per_minute", "tokens_per_minute", "burst"}


class Server:
    """One simulated endpoint; made by `serve`.

    Attributes
    ----------
    origin
        What other clients take: scheme, host and port.
    settings
        The knobs as they are now.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.origin = ""
        self.settings = settings
        self._clock = clock
        self._stats = Stats()
        self._in_flight = 0
        self._limits = Limits(settings, clock)
        self._slots = _slots(settings)
        self._kept = KeptPrompts()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self.origin}/v1"

    def stats(self) -> dict[str, Any]:
        """Return the counters since the start or the last reset."""
        return self._stats.as_dict(self._in_flight)

    def requests(self) -> list[dict[str, Any]]:
        """Return the last 1000 requests, keys masked."""
        return [seen.as_dict() for seen in self._stats.recent]

    def reset(self) -> None:
        """Set the counters, the number of the next request among them, to zero."""
        self._stats = Stats(max_in_flight=self._in_flight)

    def configure(self, **knobs: Unpack[Knobs]) -> None:
        """Change knobs; buckets start full again when a limit is among them."""
        self.settings = replace(self.settings, **knobs)
        if _LIMIT_KNOBS & knobs.keys():
            self._limits = Limits(self.settings, self._clock)
        if "slots" in knobs:
            self._slots = _slots(self.settings)

    def count_connection(self) -> None:
        """Count one connection that was opened."""
        self._stats.connections += 1

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._worded])
        for dialect in DIALECTS:
            for path in dialect.paths:
                app.router.add_post(path, partial(self._handle, dialect))
        for path in ("/v1/models", "/v1beta/models", "/openai/v1/models"):
            app.router.add_get(path, self._models)
        batches = Batches(lambda: self.origin, lambda: self.settings)
        google = GoogleBatches(batches)
        for vendor in (
            google,
            OpenAIBatches(batches, google),
            AnthropicBatches(batches),
        ):
            vendor.register(app.router)
        app.on_shutdown.append(batches.stop)
        app.router.add_get("/stats", self._show_stats)
        app.router.add_post("/stats/reset", self._reset)
        app.router.add_get("/requests", self._show_requests)
        app.router.add_route("*", "/{path:.*}", _unknown_url)
        return app

    async def _handle(
        self, dialect: Dialect, request: web.Request
    ) -> web.StreamResponse:
        body = await request.read()
        seen = self._stats.arrive(request.path, request.headers, body)
        stats, vendor = self._stats, dialect.vendor
        request_id = f"req_sim_{seen.number:08}"
        self._in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, self._in_flight)
        try:
            answer = await self._answer(dialect, request, seen)
        except RefusedError as refused:
            answer = vendor.refuse(refused.problem, request_id)
        finally:
            self._in_flight -= 1
        stats.leave(seen, answer.status)
        headers = {vendor.request_id: request_id, **answer.headers}
        if self.settings.headers:
            headers |= vendor.limit_headers(self._limits.levels())
        return _response(answer, headers)

    async def _answer(
        self, dialect: Dialect, request: web.Request, seen: Seen
    ) -> Answer:
        stats, settings = self._stats, self.settings
        least = settings.prompt_cache
        self._check_key(dialect.vendor, request, seen.body)
        model = request.match_info.get("model")
        incoming = Incoming(read_json(seen.body), request.headers, model)
        work = self._kept.found(dialect.read(incoming, settings), least)
        stats.per_prompt[prompt_key(work.prompt)] += 1
        self._check_limits(work)
        fault = seen.fault = fault_of(settings, seen.number, work.prompt)
        if fault is not None:
            stats.faults[fault] += 1
            if problem := injected(fault, settings, work.model):
                raise RefusedError(problem)
        async with self._slots:
            if delay := delay_of(settings, seen.number):
                await asyncio.sleep(delay)
            return await self._work(dialect, request, work, seen)

    async def _work(
        self, dialect: Dialect, request: web.Request, work: Work, seen: Seen
    ) -> Answer:
        fault = seen.fault
        if fault == "hang":
            await never()
        if fault == "reset":
            await reset_connection(request)
        if fault in WHOLE:
            return WHOLE[fault]
        if fault == "error_200":
            broken = dialect.broken or dialect.vendor.broken
            return Answer(HTTPStatus.OK, orjson.dumps(broken))
        reply, usage = dialect.write(work, self.settings, seen.number, fault)
        if fault == "no_usage":
            del reply[dialect.usage]
        body = orjson.dumps(reply)
        if fault == "broken_json":
            return Answer(HTTPStatus.OK, body[: len(body) // 2])
        if fault == "truncated":
            self._stats.leave(seen, HTTPStatus.OK)
            await truncate(request, body)
        self._kept.keep(work, self.settings.prompt_cache)
        self._stats.bill(usage)
        return Answer(HTTPStatus.OK, body)

    def _check_key(
        self, vendor: Vendor, request: web.Request, body: bytes = b""
    ) -> None:
        key = self.settings.api_key
        sent = vendor.key_of(request.headers)
        if key is None or sent == key:
            return
        if vendor.signs and sent is None:
            path = request.raw_path
            wrong = signature_problem(key, path, request.headers, body)
            if wrong is None:
                return
            raise RefusedError(Problem(403, wrong, code="invalid_signature"))
        text = "Incorrect API key provided. You can find your API key in your account."
        raise RefusedError(Problem(401, text, code="invalid_api_key"))

    def _check_limits(self, work: Work) -> None:
        verdict = self._limits.admit(work.reserved)
        if not verdict.wait:
            return
        self._stats.rejected_429 += 1
        told = self.settings.retry_after
        raise RefusedError(over_limit(verdict, work.model, told=told))

    @web.middleware
    async def _worded(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Ask for the key of lists, files and batches too; word what is refused."""
        vendor = vendor_of(request.path, request.headers)
        try:
            if _KEYED.search(request.path):
                self._check_key(vendor, request)
            return await handler(request)
        except RefusedError as refused:
            return _response(vendor.refuse(refused.problem, "req_sim_0"), {})

    async def _models(self, request: web.Request) -> web.Response:
        vendor = vendor_of(request.path, request.headers)
        return answered(list_models(vendor, self.settings))

    async def _show_stats(self, _: web.Request) -> web.Response:
        return answered(self.stats())

    async def _show_requests(self, _: web.Request) -> web.Response:
        return answered(self.requests())

    async def _reset(self, _: web.Request) -> web.Response:
        self.reset()
        return answered(self.stats())


@asynccontextmanager
async def serve(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Server]:
    """Run a simulated endpoint in the running event loop.

    Parameters
    ----------
    settings
        How it behaves.
    host, port
        Where it listens; port 0 takes a free one.
    clock
        The time that the rate limits go by.

    Yields
    ------
    Server
        Its ``base_url``, or its ``origin``, is what a client needs.
    """
    server = Server(settings or Settings(), clock)
    # A client that goes away ends its request; an exit does not wait for the slow ones.
    runner = web.AppRunner(
        server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.05
    )
    await runner.setup()
    try:
        listener = await _listen(server, runner, host, port)
        try:
            yield server
        finally:
            listener.close()
    finally:
        await runner.cleanup()


async def _listen(
    server: Server, runner: web.AppRunner, host: str, port: int
) -> asyncio.Server:
    protocols = runner.server
    if protocols is None:
        raise RuntimeError  # setup() has made it

    def connect() -> asyncio.BaseProtocol:
        server.count_connection()
        return protocols()

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(connect, host, port, backlog=_BACKLOG)
    port = listener.sockets[0].getsockname()[1]
    server.origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return listener


def _slots(settings: Settings) -> asyncio.Semaphore | nullcontext[None]:
    return asyncio.Semaphore(settings.slots) if settings.slots else nullcontext()


def _response(answer: Answer, headers: dict[str, str]) -> web.Response:
    headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _unknown_url(request: web.Request) -> web.Response:
    refuse(f"Invalid URL ({request.method} {request.path})", "not_found", status=404)

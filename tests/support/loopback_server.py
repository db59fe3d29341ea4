"""A small endpoint of our own, for what the simulator does not do."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Self

import orjson
import pytest
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable


class Server:
    """Answers each request with what a function makes of its body, over real HTTP.

    Parameters
    ----------
    answer : callable
        Takes the body of a request; returns a dict, or a web.Response. It may be async.
    tls : SSLContext, optional
        To speak TLS with.
    """

    def __init__(self, answer: Callable, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.paths: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    @property
    def base_url(self) -> str:
        return f"http{'s' * (self._tls is not None)}://127.0.0.1:{self.port}/v1"

    async def _main(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await runner.setup()
        self._runner, self.port = runner, 0
        await self.listen()
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    async def listen(self) -> None:
        """Take new connections, at the same port as before."""
        self._site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self._tls
        )
        await self._site.start()
        self.port = self._site._server.sockets[0].getsockname()[1]

    async def turn_deaf(self) -> None:
        """Refuse new connections; those that there are go on."""
        await self._site.stop()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.headers.append(dict(request.headers))
        self.paths.append(request.path)
        self.bodies.append(orjson.loads(body) if body else {})
        answer = self._answer(self.bodies[-1])
        if asyncio.iscoroutine(answer):
            answer = await answer
        return web.json_response(answer) if isinstance(answer, dict) else answer


def completion(text: str | None, *, refusal: str | None = None, **usage) -> dict:
    """Return a reply as OpenAI writes it."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"choices": [choice], "usage": usage or None}


def failure(status: int, message: str, code: str | None = None) -> web.Response:
    """Return an error as OpenAI writes it."""
    error = {"message": message, "type": None, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


def certificates(folder, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate; return a context that trusts it and one that shows it."""
    key, crt = folder / "key.pem", folder / "crt.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", crt, "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("needs openssl")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(crt, key)
    return ssl.create_default_context(cafile=crt), server

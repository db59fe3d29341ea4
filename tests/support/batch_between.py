"""A server between a run and the simulator that loses what passes."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import httpx2 as httpx
import pandas as pd
from aiohttp import web
from loopback_server import Server

VENDORS = ["openai/sim", "anthropic/sim", "google/sim", "azure/sim", "mistral/sim"]
ROWS = 6
FRAME = pd.DataFrame({"text": [f"In {1700 + at} it rained." for at in range(ROWS)]})
PATHS = {"google": "/v1beta", "azure": "/openai/v1"}
"""Where a vendor's own clients look; the others at ``/v1``."""
LISTS = {
    "anthropic": ("messages/batches?limit=100", "data"),
    "google": ("batches?pageSize=100", "operations"),
    "mistral": ("batch/jobs", "data"),
}
_HOP = {"host", "content-length", "transfer-encoding", "connection"}


class Between(Server):
    """Stands before a simulator and loses what passes, one way or the other.

    `before` and `after` take the request and how often its like has come, and give
    an answer in place of the true one, or None; `after` is asked when the simulator
    has done its work.
    """

    def __init__(self, behind: Any, before: Any = None, after: Any = None) -> None:
        super().__init__(lambda _: {})
        self._behind = behind.base_url.removesuffix("/v1")
        self._before, self._after = before, after
        self.seen: dict[str, int] = {}

    def heal(self) -> None:
        """Let all pass from now on."""
        self._before = self._after = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        what = kind(request)
        self.seen[what] = self.seen.get(what, 0) + 1
        if odd := await said(self._before, what, request, self.seen[what]):
            return odd
        sent = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = self._behind + request.path_qs
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body, headers=sent) as answer,
        ):
            got, status = await answer.read(), answer.status
        if odd := await said(self._after, what, request, self.seen[what]):
            return odd
        return web.Response(body=got, status=status, content_type="application/json")


def kind(request: web.Request) -> str:
    """Name what is asked for."""
    path, post = request.path, request.method == "POST"
    if path.endswith(("/batches", "/jobs", "batchGenerateContent", "EmbedContent")):
        return "create" if post else "list"
    if "/files" in path:
        return "upload" if post else "results"
    if "/batches/" in path or "/jobs/" in path:
        return "results" if path.endswith("/results") else "poll"
    return "row"


async def said(answer: Any, what: str, request: web.Request, at: int) -> Any:
    odd = answer and answer(what, request, at)
    return await odd if asyncio.iscoroutine(odd) else odd


def cut(request: web.Request) -> web.Response:
    request.transport.abort()
    return web.Response()


async def late(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


LOST = {
    "cut": cut,
    "late": late,
    "502": lambda _: web.json_response({"error": {"message": "No."}}, status=502),
    "html": lambda _: web.Response(text="<html>Hello</html>", content_type="text/html"),
    "nothing": lambda _: web.Response(),
}


def first(step: str, answer: Any) -> Any:
    return lambda what, r, at: answer(r) if (what, at) == (step, 1) else None


def always(step: str, answer: Any) -> Any:
    return lambda what, r, _: answer(r) if what == step else None


def at(server: Any, kept: Any, model: str = "openai/sim", **more: Any) -> dict:
    more = {"model": model, "base_url": place(server, model), "api_key": "k", **more}
    return {"cache": kept, "progress": False, **more}


def place(server: Any, model: str) -> str:
    """Return where a vendor is spoken to."""
    path = PATHS.get(model.partition("/")[0], "/v1")
    return server.base_url.removesuffix("/v1") + path


def created(server: Any, model: str = "openai/sim") -> list[dict]:
    """Return the batches that there are at the vendor's."""
    vendor = model.partition("/")[0]
    path, name = LISTS.get(vendor, ("batches?limit=100", "data"))
    return httpx.get(f"{place(server, model)}/{path}").json().get(name, [])


def paid(server: Any) -> list[int]:
    return sorted(server.stats()["per_prompt"].values())

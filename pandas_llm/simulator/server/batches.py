"""Batch endpoints as OpenAI's and Anthropic's; each request goes through the server.

A batch's requests are sent to this same server one after the other, so that what can
go wrong with a request can go wrong with it here.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp import web

from pandas_llm.simulator.answers import count_message_tokens
from pandas_llm.simulator.conditions import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm.simulator.conditions import Settings

_FULL = {"code": "token_limit_exceeded", "param": None, "line": None}
_FULL_WORDS = (
    "Enqueued token limit reached for sim in organization org-sim.{limit} Please try "
    "again once some in_progress batches have been completed."
)
_SENT_ON = ("authorization", "x-api-key", "anthropic-version")


@dataclass(slots=True)
class _Batch:
    id: str
    lines: list[dict[str, Any]]
    """custom_id, url, body."""
    status: str = "in_progress"
    results: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """custom_id → status and body of the answer."""
    task: asyncio.Task[None] | None = None
    created: float = field(default_factory=time.time)
    file: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def runs(self) -> bool:
        return self.status in {"in_progress", "cancelling"}

    def count(self, *, good: bool) -> int:
        return sum((status == 200) == good for status, _ in self.results.values())  # noqa: PLR2004

    @property
    def missing(self) -> list[str]:
        return [
            x["custom_id"] for x in self.lines if x["custom_id"] not in self.results
        ]


class Batches:
    """The files and batches of one server.

    Parameters
    ----------
    origin
        Gives the server's own address.
    settings
        Gives the knobs as they are now.
    """

    def __init__(
        self, origin: Callable[[], str], settings: Callable[[], Settings]
    ) -> None:
        self._origin = origin
        self._settings = settings
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    def register(self, app: web.Application) -> None:
        """Add the routes, before one that takes every address."""
        router = app.router
        router.add_post("/v1/files", self._upload)
        router.add_get("/v1/files/{name}/content", self._content)
        router.add_post("/v1/batches", self._create)
        router.add_get("/v1/batches", self._list)
        router.add_get("/v1/batches/{id}", self._show)
        router.add_post("/v1/batches/{id}/cancel", self._cancel)
        router.add_post("/v1/messages/batches", self._create_inline)
        router.add_get("/v1/messages/batches", self._list_inline)
        router.add_get("/v1/messages/batches/{id}", self._show_inline)
        router.add_post("/v1/messages/batches/{id}/cancel", self._cancel_inline)
        router.add_get("/v1/messages/batches/{id}/results", self._results_inline)
        app.on_shutdown.append(self._stop)

    async def _stop(self, _: web.Application) -> None:
        for batch in self._batches.values():
            if batch.task is not None:
                batch.task.cancel()

    # -- the work ----------------------------------------------------------------

    def _begin(self, lines: list[dict[str, Any]], headers: Mapping[str, str]) -> _Batch:
        batch = _Batch(f"batch_sim_{len(self._batches):04}", lines)
        self._batches[batch.id] = batch
        sent = {k: v for k, v in headers.items() if k.lower() in _SENT_ON}
        sent["x-simulated-batch"] = batch.id
        batch.task = asyncio.get_running_loop().create_task(self._work(batch, sent))
        return batch

    async def _work(self, batch: _Batch, headers: Mapping[str, str]) -> None:
        settings = self._settings()
        started = time.monotonic()
        expiry = settings.batch_expiry
        pause = settings.batch_latency / max(1, len(batch.lines))
        async with aiohttp.ClientSession(self._origin(), headers=headers) as session:
            for number, line in enumerate(batch.lines, 1):
                # one may take more than a pause: those after it wait less
                wait = started + number * pause - time.monotonic()
                await asyncio.sleep(max(0.0, wait))
                if expiry is not None and time.monotonic() - started >= expiry:
                    batch.status = "expired"
                    return
                if batch.status == "cancelling":
                    batch.status = "cancelled"
                    return
                try:
                    async with session.post(line["url"], json=line["body"]) as answer:
                        body = orjson.loads(await answer.read() or b"null")
                        batch.results[line["custom_id"]] = (answer.status, body)
                except (aiohttp.ClientError, orjson.JSONDecodeError) as failure:
                    said = {"error": {"message": str(failure), "type": "server_error"}}
                    batch.results[line["custom_id"]] = (500, said)
        batch.status = "completed"

    # -- OpenAI's ----------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        uploaded = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(uploaded, web.FileField):
            return _refuse("'purpose' must be 'batch', with a 'file'", "purpose")
        name = f"file-sim-{len(self._files):04}"
        self._files[name] = uploaded.file.read()
        return _json({"id": name, "object": "file", "purpose": "batch"})

    async def _content(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._files:
            return _unknown(name)
        return web.Response(body=self._files[name])

    async def _create(self, request: web.Request) -> web.Response:
        fields = orjson.loads(await request.read())
        content = self._files.get(fields.get("input_file_id"))
        if content is None or fields.get("completion_window") != "24h":
            return _refuse("no such input file, or no completion_window '24h'")
        lines = [orjson.loads(line) for line in content.splitlines() if line]
        ids = {line["custom_id"] for line in lines}
        if len(ids) < len(lines) or not all(
            x["url"] == fields["endpoint"] for x in lines
        ):
            return _refuse("a custom_id is there twice, or a url is not the endpoint")
        if self._is_full(lines):
            batch = _Batch(f"batch_sim_{len(self._batches):04}", lines, "failed")
            self._batches[batch.id] = batch
        else:
            batch = self._begin(lines, request.headers)
        batch.file, batch.metadata = fields["input_file_id"], fields.get("metadata")
        return self._told(batch)

    def _is_full(self, lines: list[dict[str, Any]]) -> bool:
        """Tell whether the account's queue has no room for so many requests."""
        settings = self._settings()
        queued = [line for b in self._batches.values() if b.runs for line in b.lines]
        most, tokens = settings.batch_queue, settings.batch_tokens
        many = most is not None and len(queued) + len(lines) > most
        return many or (tokens is not None and _tokens([*queued, *lines]) > tokens)

    async def _list(self, request: web.Request) -> web.Response:
        page, more = self._page(request, "after")
        data = [self._shown(batch) for batch in page]
        return _json({"object": "list", "data": data, "has_more": more})

    def _page(self, request: web.Request, after: str) -> tuple[list[_Batch], bool]:
        """Return the newest batches, those after one, and whether there are more."""
        batches = [*self._batches.values()][::-1]
        names = [batch.id for batch in batches]
        last = request.query.get(after)
        if last in names:
            batches = batches[names.index(last) + 1 :]
        most = int(request.query.get("limit", "20"))
        return batches[:most], len(batches) > most

    async def _show(self, request: web.Request) -> web.Response:
        return self._told(self._batches.get(request.match_info["id"]))

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is not None and batch.status == "in_progress":
            batch.status = "cancelling"
        return self._told(batch)

    def _told(self, batch: _Batch | None) -> web.Response:
        return _unknown("batch") if batch is None else _json(self._shown(batch))

    def _shown(self, batch: _Batch) -> dict[str, Any]:
        full = batch.status == "failed"
        ended = batch.status in {"completed", "expired", "cancelled"}
        output = self._kept(batch, good=True) if ended else None
        failed = self._kept(batch, good=False) if ended else None
        counts = {
            "total": len(batch.lines),
            "completed": batch.count(good=True),
            "failed": batch.count(good=False),
        }
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.lines[0]["url"] if batch.lines else "",
            "completion_window": "24h",
            "created_at": int(batch.created),
            "input_file_id": batch.file,
            "metadata": batch.metadata,
            "status": batch.status,
            "request_counts": counts,
            "output_file_id": output,
            "error_file_id": failed,
            "errors": {"object": "list", "data": [self._full()]} if full else None,
        }

    def _full(self) -> dict[str, Any]:
        """Return OpenAI's words for a queue that is full."""
        most = self._settings().batch_tokens
        limit = "" if most is None else f" Limit: {most:,} enqueued tokens."
        return {**_FULL, "message": _FULL_WORDS.format(limit=limit)}

    def _kept(self, batch: _Batch, *, good: bool) -> str | None:
        name = f"{batch.id}-{'output' if good else 'errors'}"
        lines = [
            {
                "id": f"batch_req_{key}",
                "custom_id": key,
                "response": {"status_code": status, "request_id": key, "body": body},
                "error": None,
            }
            for key, (status, body) in batch.results.items()
            if (status == 200) == good  # noqa: PLR2004
        ]
        if not good:
            code = f"batch_{batch.status}"
            text = "This request could not be executed before the batch ended."
            why = {"code": code, "message": f"{text} ({batch.status})"}
            lines += [
                {"custom_id": key, "response": None, "error": why}
                for key in batch.missing
            ]
        if not lines:
            return None
        lines.reverse()  # the order of results means nothing
        self._files[name] = b"\n".join(map(orjson.dumps, lines))
        return name

    # -- Anthropic's -------------------------------------------------------------

    async def _create_inline(self, request: web.Request) -> web.Response:
        given = orjson.loads(await request.read())["requests"]
        lines = [
            {"custom_id": x["custom_id"], "url": "/v1/messages", "body": x["params"]}
            for x in given
        ]
        return self._told_inline(self._begin(lines, request.headers))

    async def _show_inline(self, request: web.Request) -> web.Response:
        return self._told_inline(self._batches.get(request.match_info["id"]))

    async def _cancel_inline(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is not None and batch.status == "in_progress":
            batch.status = "cancelling"
        return self._told_inline(batch)

    async def _list_inline(self, request: web.Request) -> web.Response:
        page, more = self._page(request, "after_id")
        data = [self._shown_inline(batch) for batch in page]
        ends: list[str | None] = [batch.id for batch in page] or [None]
        found = {"data": data, "has_more": more}
        return _json({**found, "first_id": ends[0], "last_id": ends[-1]})

    def _told_inline(self, batch: _Batch | None) -> web.Response:
        return _unknown("batch") if batch is None else _json(self._shown_inline(batch))

    def _shown_inline(self, batch: _Batch) -> dict[str, Any]:
        running = batch.status in {"in_progress", "cancelling"}
        left = len(batch.missing)
        counts = {
            "processing": len(batch.lines) if running else 0,
            "succeeded": 0 if running else batch.count(good=True),
            "errored": 0 if running else batch.count(good=False),
            "canceled": left if batch.status == "cancelled" else 0,
            "expired": left if batch.status == "expired" else 0,
        }
        words = {"in_progress": "in_progress", "cancelling": "canceling"}
        status = words.get(batch.status, "ended")
        url = f"{self._origin()}/v1/messages/batches/{batch.id}/results"
        created = datetime.fromtimestamp(batch.created, UTC)
        return {
            "id": batch.id,
            "type": "message_batch",
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "processing_status": status,
            "request_counts": counts,
            "results_url": None if running else url,
        }

    async def _results_inline(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            return _unknown("batch")
        lines: list[dict[str, Any]] = []
        for key, (status, body) in batch.results.items():
            result = {"type": "errored", "error": body}
            if status == 200:  # noqa: PLR2004
                result = {"type": "succeeded", "message": body}
            lines.append({"custom_id": key, "result": result})
        ended = "canceled" if batch.status == "cancelled" else "expired"
        lines += [{"custom_id": k, "result": {"type": ended}} for k in batch.missing]
        lines.reverse()
        return web.Response(body=b"\n".join(map(orjson.dumps, lines)))


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), headers={"Content-Type": JSON})


def _refuse(text: str, param: str | None = None) -> web.Response:
    return _error(400, text, param)


def _tokens(lines: list[dict[str, Any]]) -> int:
    """Count the tokens of the prompts of some requests."""
    return sum(count_message_tokens(x["body"].get("messages") or ()) for x in lines)


def _unknown(what: str) -> web.Response:
    return _error(404, f"No such object: {what}")


def _error(status: int, text: str, param: str | None = None) -> web.Response:
    said = {"message": text, "type": "invalid_request_error", "param": param}
    body = orjson.dumps({"error": {**said, "code": None}})
    return web.Response(status=status, body=body, headers={"Content-Type": JSON})

"""Batches as Anthropic has them: their requests within the call that begins them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from pandas_llm.simulator.server.batches import answered

if TYPE_CHECKING:
    from pandas_llm.simulator.server.batches import Batch, Batches

_PATH = "/v1/messages/batches"


class AnthropicBatches:
    """The routes of one server."""

    def __init__(self, work: Batches) -> None:
        self._all = work

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_post(_PATH, self._create)
        router.add_get(_PATH, self._list)
        router.add_get(f"{_PATH}/{{id}}", self._show)
        router.add_post(f"{_PATH}/{{id}}/cancel", self._cancel)
        router.add_get(f"{_PATH}/{{id}}/results", self._results)

    async def _create(self, request: web.Request) -> web.Response:
        requests = orjson.loads(await request.read())["requests"]
        lines = [
            {"custom_id": x["custom_id"], "url": "/v1/messages", "body": x["params"]}
            for x in requests
        ]
        return answered(self._shown(self._all.begin(lines, request.headers)))

    async def _show(self, request: web.Request) -> web.Response:
        return answered(self._shown(self._all.find(request)))

    async def _cancel(self, request: web.Request) -> web.Response:
        self._all.find(request).end()
        return await self._show(request)

    async def _list(self, request: web.Request) -> web.Response:
        page, more = self._all.page(request, "after_id")
        data = [self._shown(batch) for batch in page]
        ends: list[str | None] = [batch.id for batch in page] or [None]
        listing = {"data": data, "has_more": more}
        return answered({**listing, "first_id": ends[0], "last_id": ends[-1]})

    def _shown(self, batch: Batch) -> dict[str, Any]:
        left = len(batch.missing)
        counts = {
            "processing": len(batch.lines) if batch.runs else 0,
            "succeeded": 0 if batch.runs else batch.count(good=True),
            "errored": 0 if batch.runs else batch.count(good=False),
            "canceled": left if batch.status == "cancelled" else 0,
            "expired": left if batch.status == "expired" else 0,
        }
        words = {"in_progress": "in_progress", "cancelling": "canceling"}
        status = words.get(batch.status, "ended")
        url = f"{self._all.origin()}{_PATH}/{batch.id}/results"
        created = datetime.fromtimestamp(batch.created, UTC)
        return {
            "id": batch.id,
            "type": "message_batch",
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "processing_status": status,
            "request_counts": counts,
            "results_url": None if batch.runs else url,
        }

    async def _results(self, request: web.Request) -> web.Response:
        batch = self._all.find(request)
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

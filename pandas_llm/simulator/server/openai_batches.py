"""Files and batches as OpenAI has them; Azure's, and Mistral's jobs over such files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.server.batches import answered
from pandas_llm.simulator.server.google_batches import GOOGLES

if TYPE_CHECKING:
    from pandas_llm.simulator.server.batches import Batch, Batches
    from pandas_llm.simulator.server.google_batches import GoogleBatches

_FULL = {"code": "token_limit_exceeded", "param": None, "line": None}
_FULL_WORDS = (
    "Enqueued token limit reached for sim in organization org-sim.{limit} Please try "
    "again once some in_progress batches have been completed."
)
_FULL_AT_AZURE = (
    "The number of enqueued tokens has surpassed the configured limit of {limit} for "
    "the deployment 'sim'. Please either increase the limit or try again once the "
    "current jobs have finished."
)
_THOUSAND = 1000
_ENDED = ("completed", "expired", "cancelled")
_STATUS = {
    "in_progress": "RUNNING",
    "cancelling": "CANCELLATION_REQUESTED",
    "completed": "SUCCESS",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelled": "CANCELLED",
    "failed": "FAILED",
}
"""Mistral's words."""
_ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")
_JOB_FIELDS = {
    *("input_files", "endpoint", "model", "agent_id", "metadata", "timeout_hours")
}


class OpenAIBatches:
    """The routes of one server; two of its addresses are Google's as well."""

    def __init__(self, work: Batches, google: GoogleBatches) -> None:
        self._all = work
        self._google = google

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes; Azure has the same below a folder."""
        for place in ("/v1", "/openai/v1"):
            router.add_post(f"{place}/files", self._upload)
            router.add_get(f"{place}/files/{{name:[^:/]+}}", self._file)
            router.add_get(f"{place}/files/{{name}}/content", self._content)
            router.add_post(f"{place}/batches", self._create)
            router.add_get(f"{place}/batches", self._list)
            router.add_get(f"{place}/batches/{{id}}", self._show)
            router.add_post(f"{place}/batches/{{id}}/cancel", self._cancel)
        router.add_post("/v1/batch/jobs", self._create_job)
        router.add_get("/v1/batch/jobs", self._list_jobs)
        router.add_get("/v1/batch/jobs/{id}", self._show_job)
        router.add_post("/v1/batch/jobs/{id}/cancel", self._cancel_job)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        uploaded = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(uploaded, web.FileField):
            refuse("'purpose' must be 'batch', with a 'file'", param="purpose")
        name = f"file-sim-{len(self._all.files):04}"
        self._all.files[name] = uploaded.file.read()
        return self._about(name)

    def _about(self, name: str) -> web.Response:
        content = self._all.content(name)
        about = {"bytes": len(content), "filename": "batch.jsonl", "created_at": 0}
        theirs = {"sample_type": "batch_request", "source": "upload"}  # Mistral's
        kind = {"object": "file", "purpose": "batch", "status": "processed"}
        return answered({"id": name, **kind, **about, **theirs})

    async def _file(self, request: web.Request) -> web.Response:
        return self._about(request.match_info["name"])

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self._all.content(request.match_info["name"]))

    def _lines(self, file: Any) -> list[dict[str, Any]] | None:
        """Return what an uploaded file asks; None if there is none, or a name twice."""
        content = self._all.files.get(file)
        if content is None:
            return None
        lines = [orjson.loads(line) for line in content.splitlines() if line]
        return lines if len({x["custom_id"] for x in lines}) == len(lines) else None

    async def _create(self, request: web.Request) -> web.Response:
        fields = orjson.loads(await request.read())
        lines = self._lines(fields.get("input_file_id"))
        if lines is None or fields.get("completion_window") != "24h":
            refuse("no such input file, or no completion_window '24h'")
        if not all(x["url"] == fields["endpoint"] for x in lines):
            refuse("a url is not the endpoint")
        batch = self._all.begin(
            lines,
            request.headers,
            fields["input_file_id"],
            full=self._all.is_full(lines),
            metadata=fields.get("metadata"),
            place=request.path,
        )
        return answered(self._shown(batch))

    async def _list(self, request: web.Request) -> web.Response:
        if GOOGLES in request.headers:
            return await self._google.list(request)
        page, more = self._all.page(request, "after")
        data = [self._shown(batch) for batch in page]
        return answered({"object": "list", "data": data, "has_more": more})

    async def _show(self, request: web.Request) -> web.Response:
        if GOOGLES in request.headers:
            return await self._google.show(request)
        return answered(self._shown(self._all.find(request)))

    async def _cancel(self, request: web.Request) -> web.Response:
        self._all.find(request).end()
        return await self._show(request)

    def _shown(self, batch: Batch) -> dict[str, Any]:
        full = batch.status == "failed"
        output, failed = self._results(batch, explained=True)
        counts = {
            "total": len(batch.lines),
            "completed": batch.count(good=True),
            "failed": batch.count(good=False),
        }
        errors = {"object": "list", "data": [self._full(batch)]}
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.lines[0]["url"] if batch.lines else "",
            "completion_window": "24h",
            "created_at": int(batch.created),
            "input_file_id": batch.file,
            "metadata": batch.about.get("metadata"),
            "status": batch.status,
            "request_counts": counts,
            "output_file_id": output,
            "error_file_id": failed,
            "errors": errors if full else None,
        }

    def _full(self, batch: Batch) -> dict[str, Any]:
        """Return the vendor's words for a queue that is full."""
        most = self._all.settings().batch_tokens
        if str(batch.about.get("place")).startswith("/openai"):
            short = most and most % _THOUSAND == 0
            limit = f"{most // _THOUSAND}K" if most and short else str(most)
            return {**_FULL, "message": _FULL_AT_AZURE.format(limit=limit)}
        limit = "" if most is None else f" Limit: {most:,} enqueued tokens."
        return {**_FULL, "message": _FULL_WORDS.format(limit=limit)}

    def _results(self, batch: Batch, *, explained: bool) -> list[str | None]:
        """Keep the answers and the refusals of a batch that has ended as files."""
        if batch.status not in _ENDED:
            return [None, None]
        files: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for key, (status, body) in batch.results.items():
            response = {"status_code": status, "request_id": key, "body": body}
            line = {"id": f"batch_req_{key}", "custom_id": key, "response": response}
            files[status == 200].append({**line, "error": None})  # noqa: PLR2004
        text = "This request could not be executed before the batch ended."
        message = f"{text} ({batch.status})"
        why = {"code": f"batch_{batch.status}", "message": message}
        for key in batch.missing if explained else ():
            files[False].append({"custom_id": key, "response": None, "error": why})
        names = {True: f"{batch.id}-output", False: f"{batch.id}-errors"}
        return [self._all.keep(names[good], lines) for good, lines in files.items()]

    # -- Mistral's jobs ------------------------------------------------------------

    async def _create_job(self, request: web.Request) -> web.Response:
        fields = orjson.loads(await request.read())
        (file,) = fields.get("input_files") or (None,)
        lines, url = self._lines(file), fields.get("endpoint")
        if lines is None or url not in _ENDPOINTS or not fields.get("model"):
            refuse("no such input file, endpoint or model", status=422)
        odd = {name for line in lines for name in line} - {"custom_id", "body"}
        if odd := odd | fields.keys() - _JOB_FIELDS:
            refuse(f"Extra inputs are not permitted: {sorted(odd)}", status=422)
        asked = [
            {**x, "url": url, "body": {"model": fields["model"], **x["body"]}}
            for x in lines
        ]
        metadata = fields.get("metadata")
        batch = self._all.begin(asked, request.headers, file, metadata=metadata)
        return answered(self._job(batch))

    async def _list_jobs(self, request: web.Request) -> web.Response:
        batches, query = self._all.newest(), request.query
        if query.get("order_by", "-created") == "created":
            batches.reverse()
        page, size = int(query.get("page", "0")), int(query.get("page_size", "100"))
        data = [self._job(b) for b in batches[page * size : (page + 1) * size]]
        return answered({"object": "list", "data": data, "total": len(batches)})

    async def _show_job(self, request: web.Request) -> web.Response:
        return answered(self._job(self._all.find(request)))

    async def _cancel_job(self, request: web.Request) -> web.Response:
        self._all.find(request).end()
        return await self._show_job(request)

    def _job(self, batch: Batch) -> dict[str, Any]:
        output, failed = self._results(batch, explained=False)
        good, bad = batch.count(good=True), batch.count(good=False)
        return {
            "id": batch.id,
            "object": "batch",
            "input_files": [batch.file] if batch.file else [],
            "endpoint": batch.lines[0]["url"] if batch.lines else "",
            "model": "sim",
            "metadata": batch.about.get("metadata"),
            "errors": [],
            "status": _STATUS[batch.status],
            "created_at": int(batch.created),
            "total_requests": len(batch.lines),
            "completed_requests": good + bad,
            "succeeded_requests": good,
            "failed_requests": bad,
            "output_file": output,
            "error_file": failed,
        }

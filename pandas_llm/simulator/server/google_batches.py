"""Batches as Google has them: operations, over files or with all that is in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import BodyPartReader, web

from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.dialects import named
from pandas_llm.simulator.server.batches import answered

if TYPE_CHECKING:
    from pandas_llm.simulator.server.batches import Batch, Batches

GOOGLES = "x-goog-api-key"
"""The header by which a request is Google's."""
_VERSION = "{version:v1|v1beta}"
_METHODS = {
    "batchGenerateContent": ("generateContent", "GenerateContent"),
    "asyncBatchEmbedContent": ("embedContent", "EmbedContent"),
}
"""What each asks of a model, and what its types begin with."""
_STATES = {
    "in_progress": "RUNNING",
    "cancelling": "RUNNING",
    "completed": "SUCCEEDED",
    "cancelled": "CANCELLED",
    "expired": "EXPIRED",
}
_BATCH = frozenset({"displayName", "inputConfig", "priority", "model"})
_CODES = {400: 3, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14, 504: 4}
"""gRPC's codes of HTTP's."""
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."


class GoogleBatches:
    """The routes of one server."""

    def __init__(self, work: Batches) -> None:
        self._all = work
        self._parts: dict[str, bytearray] = {}
        """Files on their way, by the name of their upload."""

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        base = f"/{_VERSION}"
        for method in _METHODS:
            path = f"{base}/models/{{model}}:{{method:{method}}}"
            router.add_post(path, self._create)
        router.add_get("/v1beta/batches", self.list)
        router.add_get("/v1beta/batches/{id}", self.show)
        router.add_post(f"{base}/batches/{{id}}:cancel", self._cancel)
        router.add_post(f"/upload{base}/files", self._upload)
        router.add_get(f"{base}/files/{{name}}:download", self._download)

    # -- files ---------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        """Take a file in one request of two parts, or in as many as a client likes."""
        if request.query.get("uploadType") == "multipart":
            return await self._related(request)
        command = request.headers.get("x-goog-upload-command", "")
        if command == "start":
            name = f"upload-{len(self._parts)}"
            self._parts[name] = bytearray()
            url = f"{self._all.origin()}{request.path}?upload_id={name}"
            sent = {"x-goog-upload-status": "active", "x-goog-upload-url": url}
            return answered({}, **sent)
        part = self._parts.get(request.query.get("upload_id", ""))
        if part is None:
            refuse("Upload has already been terminated.")
        part += await request.read()
        if "finalize" not in command:
            return answered({}, **{"x-goog-upload-status": "active"})
        file = {"file": self._kept(bytes(part), {})}
        return answered(file, **{"x-goog-upload-status": "final"})

    async def _related(self, request: web.Request) -> web.Response:
        """Read two parts: what the file is, and the file."""
        parts = []
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader):
                parts.append(await part.read())  # noqa: PERF401 - for mypy
        if len(parts) != 2:  # noqa: PLR2004
            refuse("Malformed multipart body.")
        fields = named(orjson.loads(parts[0]), frozenset({"file"}), "")
        return answered({"file": self._kept(bytes(parts[1]), fields)})

    def _kept(self, content: bytes, fields: dict[str, Any]) -> dict[str, Any]:
        name = f"files/sim-{len(self._all.files):04}"
        self._all.files[name] = content
        about = {"mimeType": "application/jsonl", **fields.get("file", {})}
        size = {"sizeBytes": str(len(content))}
        return {"name": name, **about, **size, "state": "ACTIVE", "source": "UPLOADED"}

    async def _download(self, request: web.Request) -> web.Response:
        if request.query.get("alt") != "media":
            refuse("Requested entity was not found.", status=404)
        content = self._all.content(f"files/{request.match_info['name']}")
        return web.Response(body=content)

    # -- batches -------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        fields = orjson.loads(await request.read())
        batch = named(fields, {"batch"}).get("batch")
        batch = named(batch, _BATCH, " at 'batch'")
        if not batch.get("displayName"):
            refuse("* BatchGenerateContentRequest.batch.display_name: is required")
        source = batch.get("inputConfig")
        source = named(source, {"fileName", "requests"}, " at 'input_config'")
        if len(source) != 1:
            refuse("* batch.input_config: exactly one source is needed")
        requests = self._asked(source)
        model, method = request.match_info["model"], request.match_info["method"]
        verb, kind = _METHODS[method]
        url = f"/v1beta/models/{model}:{verb}"
        lines = [{"custom_id": k, "url": url, "body": body} for k, body in requests]
        if self._all.is_full(lines):
            refuse("The queue is full.", "rate_limit_exceeded", status=429)
        about = {"displayName": batch["displayName"], "model": f"models/{model}"}
        file = source.get("fileName")
        created = self._all.begin(lines, request.headers, file, kind=kind, told=about)
        return answered(self._shown(created))

    def _asked(self, source: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the requests of a batch, each with its key."""
        if file := source.get("fileName"):
            lines = map(orjson.loads, self._all.content(file).splitlines())
            known = {"key", "request"}
            each = [named(line, known, " at the line") for line in lines]
            return [(one["key"], one["request"]) for one in each]
        outer = named(source["requests"], {"requests"}, " at 'requests'")
        known = {"request", "metadata"}
        each = [named(one, known, " at 'requests'") for one in outer["requests"]]
        return [
            (one.get("metadata", {}).get("key", str(number)), one["request"])
            for number, one in enumerate(each)
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Return a part of the list of all batches."""
        size = int(request.query.get("pageSize", "20"))
        start = int(request.query.get("pageToken", "0"))
        batches = self._all.newest()
        page = [self._shown(batch) for batch in batches[start : start + size]]
        content: dict[str, Any] = {"operations": page} if page else {}
        if start + size < len(batches):
            content["nextPageToken"] = str(start + size)
        return answered(content)

    async def show(self, request: web.Request) -> web.Response:
        """Return how a batch is."""
        return answered(self._shown(self._all.find(request)))

    async def _cancel(self, request: web.Request) -> web.Response:
        self._all.find(request).end()
        return answered({})

    def _shown(self, batch: Batch) -> dict[str, Any]:
        name, kind = f"batches/{batch.id}", batch.about.get("kind", "GenerateContent")
        good, bad = batch.count(good=True), batch.count(good=False)
        counts = {"request": len(batch.lines), "successfulRequest": good}
        counts |= {"failedRequest": bad, "pendingRequest": len(batch.missing)}
        moment = datetime.fromtimestamp(batch.created, UTC).isoformat()
        about: dict[str, Any] = {
            "@type": f"{_TYPE}{kind}Batch",
            **batch.about.get("told", {}),
            "name": name,
            "createTime": moment.replace("+00:00", "Z"),
            "batchStats": {f"{k}Count": str(n) for k, n in counts.items() if n},
            "state": f"BATCH_STATE_{_STATES[batch.status]}",
        }
        if batch.file:
            about["inputConfig"] = {"fileName": batch.file}
        if batch.runs:
            return {"name": name, "metadata": about}
        output = self._output(batch)
        if not output:
            error = {"code": 1, "message": f"The batch has {batch.status}."}
            return {"name": name, "metadata": about, "done": True, "error": error}
        response = {"@type": f"{_TYPE}{kind}BatchOutput", **output}
        about["output"] = output
        return {"name": name, "metadata": about, "done": True, "response": response}

    def _output(self, batch: Batch) -> dict[str, Any]:
        """Return the answers of a batch that has ended; none where it has expired."""
        if batch.status == "expired" or not batch.results:
            return {}
        each = [(key, _result(*one)) for key, one in batch.results.items()]
        if batch.file:
            lines = [{"key": key, **result} for key, result in each]
            name = f"files/{batch.id}-output".replace("_", "-")
            return {"responsesFile": self._all.keep(name, lines)}
        inline = [{"metadata": {"key": key}, **result} for key, result in each]
        return {"inlinedResponses": {"inlinedResponses": inline}}


def _result(status: int, body: Any) -> dict[str, Any]:
    if status != 200:  # noqa: PLR2004
        message = (body.get("error") or {}).get("message", "")
        return {"error": {"code": _CODES.get(status, 2), "message": message}}
    if "embedding" in body:
        tokens = (body.get("usageMetadata") or {}).get("promptTokenCount")
        return {"response": {"embedding": body["embedding"], "tokenCount": tokens}}
    return {"response": body}

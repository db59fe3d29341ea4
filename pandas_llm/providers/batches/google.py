"""Gemini's batches: requests inline or in a file, of completions or of embeddings.

A batch is an operation, whose answer holds the results of an inline one. Field names:
the google-genai package 3.6 and its reference (2026-11).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from pandas_llm.providers import batches
from pandas_llm.providers.answers.bodies import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.types import HTTPRequest, HTTPResponse

_ADDRESS = re.compile(r"(.*)/(v\d\w*)/((?:models|tunedModels)/[^/]+):(\w+)")
_METHODS = {
    "generateContent": "batchGenerateContent",
    "batchEmbedContents": "asyncBatchEmbedContent",
}
_ENDED = ("succeeded", "failed", "cancelled", "expired", "partially_succeeded")
_STATUS = (500, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503)
"""The HTTP status of each code of gRPC's, as Google's reference pairs them."""
_FULL = 429
_BEHIND_KEY = b'","request":'


class GoogleBatches(batches.Batches):
    """Batches of one model."""

    inline = 19_000_000
    """20 MB a request, and keys are longer there than in a file."""
    queue_full = "RESOURCE_EXHAUSTED"
    size: ClassVar[Mapping[str, Any]] = {"pageSize": 50}
    """A page may hold the results of its batches."""
    cursor = "pageToken"

    def based(self, address: str) -> str:
        known = _ADDRESS.fullmatch(address)
        if known is None or known[4] not in _METHODS:
            raise batches.no_batches(address)
        self._root, self._version, model, method = known.groups()
        self._method = f"{model}:{_METHODS[method]}"
        self._embeds = method == "batchEmbedContents"
        if self._embeds:
            self.inline = min(self.inline, 1 << 20)  # vectors are far longer than texts
        return f"{self._root}/{self._version}"

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Write one request as a file has it; of embeddings without the list."""
        if self._embeds:
            body = body.removeprefix(b'{"requests":[').removesuffix(b"]}")
        return f'{{"key":"{custom_id}'.encode() + _BEHIND_KEY + body + b"}\n"

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest:
        """Write what the file is and the file, in one request."""
        file = {"displayName": "batch.jsonl", "mimeType": "application/jsonl"}
        about = "Content-Type: application/json", [orjson.dumps({"file": file})]
        url = self.at("files", uploadType="multipart")
        url = url.replace(self.base, f"{self._root}/upload/{self._version}", 1)
        content = "Content-Type: application/jsonl", lines
        return self.in_parts(url, "related", about, content)

    def uploaded(self, body: bytes) -> str:
        return str(parsed(body)["file"]["name"])

    def unready(self, body: bytes) -> str | None:
        """Return the file's address while it is looked through."""
        data = parsed(body)
        file = data.get("file", data)
        return self.at(file["name"]) if file.get("state") == "PROCESSING" else None

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        source = b'{"fileName":' + orjson.dumps(file)
        if not file:
            each = b",".join(map(_inline, lines))
            source = b'{"requests":{"requests":[' + each + b"]}"
        head = b'{"batch":{"displayName":' + orjson.dumps(name) + b',"inputConfig":'
        return self.posted(self._method, head + source + b"}}}")

    def listed(self, body: bytes, after: str | None = None) -> batches.Page:
        """Read a page, which is empty where there is no batch."""
        data = parsed(body)
        jobs = tuple(map(self.entry, data.get("operations") or ()))
        return batches.Page(jobs, data.get("nextPageToken") or None)

    def entry(self, data: Any) -> batches.Listed:
        """Read a batch, without its moment: the order of the list is not known."""
        about = data["metadata"]
        file = (about.get("inputConfig") or {}).get("fileName")
        name = about.get("displayName") or ""
        return batches.Listed(self.snapshot(data), name, file, None)

    def poll(self, batch: str) -> str:
        return self.at(batch)

    def cancel(self, batch: str) -> HTTPRequest:
        return self.posted(f"{batch}:cancel", b"{}")

    def snapshot(self, data: Any) -> batches.Snapshot:
        """Read an operation; its numbers are texts."""
        name, about, error = data["name"], data["metadata"], data.get("error") or {}
        word = about["state"].partition("STATE_")[2].lower()
        stats = about.get("batchStats") or {}
        total, done, failed = (
            int(stats.get(f"{what}equestCount") or 0)
            for what in ("r", "successfulR", "failedR")
        )
        output = _output(data)
        place = self.poll(name) if output.get("inlinedResponses") else ""
        if file := output.get("responsesFile"):
            place = self.at(f"{file}:download", alt="media")
        return batches.Snapshot(
            name,
            "ended" if data.get("done") or word in _ENDED else "running",
            word,
            *(total, done, failed),
            (place,) * bool(place),
            error.get("message"),
            word == "failed" and _status(error) == _FULL,
        )

    def items(self, body: bytes) -> Sequence[Any]:
        """Return the lines of a file, or the results within an operation."""
        try:
            whole = orjson.loads(body)
        except orjson.JSONDecodeError:
            whole = {}
        inline = _output(whole).get("inlinedResponses") if "name" in whole else None
        return inline["inlinedResponses"] if inline else super().items(body)

    def result(self, data: Any) -> batches.Result:
        key = data.get("key") or (data.get("metadata") or {}).get("key") or ""
        return batches.Result(key, _response(data))


def _inline(line: bytes) -> bytes:
    """Write a line of a file as one of the requests within a batch."""
    key, _, request = line.partition(_BEHIND_KEY)
    return b'{"metadata":' + key + b'"},"request":' + request.rstrip()


def _output(operation: Any) -> Any:
    return operation.get("response") or operation["metadata"].get("output") or {}


def _status(error: Any) -> int:
    code = error.get("code") or 0
    return _STATUS[code] if 0 <= code < len(_STATUS) else max(400, code)


def _response(one: Any) -> HTTPResponse:
    """Return an answer as an ordinary request would have had it."""
    if error := one.get("error") or one.get("status"):
        status = _status(error)
        return batches.answered(status, {"error": {**error, "code": status}})
    reply = one.get("response") or one
    if "embedding" in reply:
        used = {"promptTokenCount": reply.get("tokenCount")}
        reply = {"usageMetadata": used, **reply, "embeddings": [reply["embedding"]]}
    return batches.answered(200, reply)

"""OpenAI's batches, over files; and those of Azure and Mistral, which are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from pandas_llm.providers import batches
from pandas_llm.providers.answers.bodies import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.types import HTTPRequest

_ENDPOINTS = ("chat/completions", "responses", "embeddings")
"""What a batch may ask for, of what this package asks."""


class OpenAIBatches(batches.Batches):
    """JSON Lines in a file of their own; results in one file, errors in another."""

    queue_full: str | None = "token_limit_exceeded"
    ended: ClassVar[Sequence[str]] = ("completed", "failed", "expired", "cancelled")

    def based(self, address: str) -> str:
        for path in _ENDPOINTS:
            if address.endswith(f"/{path}"):
                self.endpoint = f"/v1/{path}"
                return address.removesuffix(f"/{path}")
        raise batches.no_batches(address)

    def line(self, custom_id: str, body: bytes) -> bytes:
        start = f'{{"custom_id":"{custom_id}","method":"POST","url":"{self.endpoint}"'
        return start.encode() + b',"body":' + body + b"}\n"

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest:
        """Write a form with the file."""
        field = 'Content-Disposition: form-data; name="'
        file = f'{field}file"; filename="batch.jsonl"\r\nContent-Type: application/'
        parts = (f'{field}purpose"', [b"batch"]), (f"{file}jsonl", lines)
        return self.in_parts(self.at("files"), "form-data", *parts)

    def unready(self, body: bytes) -> str | None:
        """Return the file's address while Azure is busy with it."""
        file = parsed(body)
        busy = file.get("status") in ("pending", "running")
        return self.at(f"files/{file['id']}") if busy else None

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        fields = {
            "input_file_id": file,
            "endpoint": self.endpoint,
            "completion_window": "24h",
            "metadata": {batches.LABEL: name},
        }
        return self.posted(self.path, orjson.dumps(fields))

    def snapshot(self, data: Any) -> batches.Snapshot:
        """Read a batch; Azure begins its words with a capital."""
        counts, word = data.get("request_counts") or {}, data["status"].lower()
        errors = (data.get("errors") or {}).get("data") or ()
        codes = [error["code"] for error in errors if error.get("code")]
        messages = filter(None, (error.get("message") for error in errors))
        there = ("output_file_id", "error_file_id") if word in self.ended else ()
        names = filter(None, map(data.get, there))
        return batches.Snapshot(
            data["id"],
            "ended" if word in self.ended else "running",
            word,
            counts.get("total") or 0,
            counts.get("completed") or 0,
            counts.get("failed") or 0,
            tuple(self.at(f"files/{name}/content") for name in names),
            "; ".join(messages) or None,
            word == "failed" and self.queue_full in codes,
        )

    def result(self, data: Any) -> batches.Result:
        """Read a line; that of a failed request has a response, an error or both."""
        response, error = data.get("response"), data.get("error")
        if not response:
            if isinstance(error, dict):
                error = error.get("message") or error.get("code")
            return batches.Result(data["custom_id"], None, str(error))
        headers = {"x-request-id": response.get("request_id") or ""}
        status, said = response["status_code"], response.get("body")
        answer = batches.answered(status, said, headers)
        return batches.Result(data["custom_id"], answer)


class AzureBatches(OpenAIBatches):
    """OpenAI's of the newer addresses, for deployments that answer nothing else."""

    apart = True

    def based(self, address: str) -> str:
        account, older, _ = address.partition("/openai/deployments/")
        if older:
            raise batches.no_batches(address, f"pass base_url='{account}/openai/v1'")
        return super().based(address)


class MistralBatches(OpenAIBatches):
    """OpenAI's files, and jobs of other names that say the model themselves."""

    queue_full = None
    path = "batch/jobs"
    size: ClassVar[Mapping[str, Any]] = {"page_size": 100, "order_by": "-created"}
    cursor = "page"
    ended = ("success", "failed", "timeout_exceeded", "cancelled")

    def __init__(self, request: HTTPRequest) -> None:
        super().__init__(request)
        self._model = parsed(request.body)["model"]

    def line(self, custom_id: str, body: bytes) -> bytes:
        return f'{{"custom_id":"{custom_id}","body":'.encode() + body + b"}\n"

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        fields = {
            "input_files": [file],
            "endpoint": self.endpoint,
            "model": self._model,
            "metadata": {batches.LABEL: name},
            "timeout_hours": 24,
        }
        return self.posted(self.path, orjson.dumps(fields))

    def listed(self, body: bytes, after: str | None = None) -> batches.Page:
        """Read a page; they are counted from 0."""
        data, page = parsed(body), int(after or 0) + 1
        more = page * self.size["page_size"] < data["total"]
        jobs = tuple(map(self.entry, data.get("data") or ()))
        return batches.Page(jobs, str(page) if more else None)

    def entry(self, data: Any) -> batches.Listed:
        file = next(iter(data["input_files"]), None)
        return super().entry({**data, "input_file_id": file})

    def snapshot(self, data: Any) -> batches.Snapshot:
        """Read a batch, under the names of OpenAI's."""
        counts = {"total": "total", "completed": "succeeded", "failed": "failed"}
        return super().snapshot(
            {
                **data,
                "request_counts": {k: data[f"{v}_requests"] for k, v in counts.items()},
                "output_file_id": data.get("output_file"),
                "error_file_id": data.get("error_file"),
                "errors": {"data": data.get("errors")},
            }
        )

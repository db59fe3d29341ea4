"""OpenAI's batches, over files; and those of Azure and Mistral, which are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from pandas_llm.providers.batches import (
    BOUNDARY,
    Batches,
    Listed,
    Page,
    Result,
    Snapshot,
    moment,
    no_batches,
    read_lines,
)
from pandas_llm.providers.bodies import parsed
from pandas_llm.types import HTTPRequest, HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LABEL = "pandas_llm"
"""The field of a batch's metadata that holds its name."""
_ENDPOINTS = ("chat/completions", "responses", "embeddings")
"""What a batch may ask for, of what this package asks."""


class OpenAIBatches(Batches):
    """JSON Lines in a file of their own; results in one file, errors in another."""

    queue_full: str | None = "token_limit_exceeded"
    ended: ClassVar[Sequence[str]] = ("completed", "failed", "expired", "cancelled")

    def based(self, address: str) -> str:
        for path in _ENDPOINTS:
            if address.endswith(f"/{path}"):
                self.endpoint = f"/v1/{path}"
                return address.removesuffix(f"/{path}")
        raise no_batches(address)

    def line(self, custom_id: str, body: bytes) -> bytes:
        start = f'{{"custom_id":"{custom_id}","method":"POST","url":"{self.endpoint}"'
        return start.encode() + b',"body":' + body + b"}\n"

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest:
        """Write a form with the file."""
        field = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
        head = (
            f'{field}"purpose"\r\n\r\nbatch\r\n'
            f'{field}"file"; filename="batch.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + b"".join(lines) + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return HTTPRequest(
            self.at("files"), {**self.headers, "Content-Type": kind}, body
        )

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
            "metadata": {_LABEL: name},
        }
        return self.posted(self.path, fields)

    def entry(self, data: Any) -> Listed:
        """Read a batch, with the metadata and the file that it was made with."""
        name = (data.get("metadata") or {}).get(_LABEL)
        created = moment(data.get("created_at"))
        return Listed(self.snapshot(data), name, data.get("input_file_id"), created)

    def snapshot(self, data: Any) -> Snapshot:
        """Read a batch; Azure begins its words with a capital."""
        counts, word = data.get("request_counts") or {}, data["status"].lower()
        errors = (data.get("errors") or {}).get("data") or ()
        return Snapshot(
            data["id"],
            "ended" if word in self.ended else "running",
            word,
            counts.get("total") or 0,
            counts.get("completed") or 0,
            counts.get("failed") or 0,
            self.files(word, data.get("output_file_id"), data.get("error_file_id")),
            _joined(errors),
            word == "failed" and any(e.get("code") == self.queue_full for e in errors),
        )

    def files(self, word: str, *names: str | None) -> tuple[str, ...]:
        """Return where the results of a batch are, once it has ended."""
        there = names if word in self.ended else ()
        return tuple(self.at(f"files/{name}/content") for name in there if name)

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a line each; a failed one has a response, an error or both."""
        for data in read_lines(body):
            response, error = data.get("response"), data.get("error")
            if not response:
                if isinstance(error, dict):
                    error = error.get("message") or error.get("code")
                yield Result(data["custom_id"], None, str(error))
                continue
            headers = {"x-request-id": response.get("request_id") or ""}
            status, answer = response["status_code"], orjson.dumps(response.get("body"))
            yield Result(data["custom_id"], HTTPResponse(status, headers, answer))


class AzureBatches(OpenAIBatches):
    """OpenAI's of the newer addresses, for deployments that answer nothing else."""

    apart = True

    def based(self, address: str) -> str:
        account, older, _ = address.partition("/openai/deployments/")
        if older:
            raise no_batches(address, f"pass base_url='{account}/openai/v1'")
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
            "metadata": {_LABEL: name},
            "timeout_hours": 24,
        }
        return self.posted(self.path, fields)

    def listed(self, body: bytes, after: str | None = None) -> Page:
        """Read a page; they are counted from 0."""
        data, page = parsed(body), int(after or 0) + 1
        more = page * self.size["page_size"] < data["total"]
        jobs = tuple(map(self.entry, data.get("data") or ()))
        return Page(jobs, str(page) if more else None)

    def entry(self, data: Any) -> Listed:
        file = next(iter(data["input_files"]), None)
        return super().entry({**data, "input_file_id": file})

    def snapshot(self, data: Any) -> Snapshot:
        word = data["status"].lower()
        return Snapshot(
            data["id"],
            "ended" if word in self.ended else "running",
            word,
            data["total_requests"],
            data["succeeded_requests"],
            data["failed_requests"],
            self.files(word, data.get("output_file"), data.get("error_file")),
            _joined(data.get("errors") or ()),
        )


def _joined(errors: Sequence[Mapping[str, Any]]) -> str | None:
    return "; ".join(filter(None, (error.get("message") for error in errors))) or None

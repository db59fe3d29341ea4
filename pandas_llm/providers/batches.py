"""The batch endpoints: half the price, an answer within a day.

A dialect here is sans-I/O, as providers are. It is made from one ordinary request,
whose address and headers are those of its vendor. Limits and field names: the
vendors' references (2026-10).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import orjson

from pandas_llm.errors import ConfigurationError
from pandas_llm.providers.bodies import parsed
from pandas_llm.types import HTTPRequest, HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

QUEUE_FULL = "token_limit_exceeded"
"""OpenAI's code when an account has as much in its batches as it may."""
_BOUNDARY = "pandas-llm-7f3c9b1e5d2a4860"
_LABEL = "pandas_llm"
"""The field of a batch's metadata that holds its name."""
_ENDPOINTS = ("chat/completions", "responses", "embeddings")
"""What a batch may ask for, of what this package asks."""

Phase = Literal["running", "ended"]


class Snapshot(NamedTuple):
    """What a vendor says of one batch."""

    id: str
    state: Phase
    word: str
    """The vendor's own word for it."""
    total: int
    done: int
    failed: int
    files: tuple[str, ...] = ()
    """Where its results are, once it has ended."""
    reason: str | None = None
    """Why it failed as a whole."""
    full: bool = False
    """Whether that is for want of room in the account's queue."""


class Listed(NamedTuple):
    """One batch in a vendor's list, with all that it can be known by."""

    batch: Snapshot
    name: str | None
    """The name that went along; None for a batch without one."""
    file: str | None
    """The file that its requests are in."""
    created: float | None
    """Seconds of the vendor's clock."""


class Page(NamedTuple):
    """A part of a vendor's list, the newest batch first."""

    batches: tuple[Listed, ...]
    more: bool
    """Whether there are older ones."""


class Result(NamedTuple):
    """What became of one request."""

    custom_id: str
    response: HTTPResponse | None
    reason: str = ""
    """Why there is no response."""


class Batches(Protocol):
    """One vendor's batch endpoint."""

    most_requests: int
    """The most requests of one batch."""
    most_bytes: int
    """The most bytes of one batch."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Use the address and headers of an ordinary request."""

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Write one request of a batch."""

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest | None:
        """Send the requests ahead; None where they are part of the batch."""

    def uploaded(self, body: bytes) -> str:
        """Read which file the requests are in; empty where they are in none."""

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        """Begin a batch; its name goes along where the vendor keeps one."""

    def newest(self, after: str | None = None) -> str:
        """Return the address of the list of batches, or of those older than one."""

    def listed(self, body: bytes) -> Page:
        """Read what `newest` is answered with."""

    def poll(self, batch: str) -> str:
        """Return the address that tells how a batch is."""

    def cancel(self, batch: str) -> HTTPRequest:
        """End a batch early; what it has done stays."""

    def read(self, body: bytes) -> Snapshot:
        """Read what `create`, `poll` and `cancel` are answered with."""

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a file of results, in whatever order they are in."""


class OpenAIBatches:
    """JSON Lines in a file of their own; results in one file, errors in another."""

    most_requests = 50_000
    most_bytes = 200 << 20

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        for path in _ENDPOINTS:
            if url.partition("?")[0].endswith(f"/{path}"):
                self._base = url[: url.index(f"/{path}")]
                self._endpoint = f"/v1/{path}"
                break
        else:
            raise _no_batches(url)
        self._headers = headers

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Wrap a body that is JSON already."""
        start = f'{{"custom_id":"{custom_id}","method":"POST","url":"{self._endpoint}"'
        return start.encode() + b',"body":' + body + b"}\n"

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest:
        """Write a form with the file."""
        field = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
        head = (
            f'{field}"purpose"\r\n\r\nbatch\r\n'
            f'{field}"file"; filename="batch.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + b"".join(lines) + f"\r\n--{_BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        headers = {**self._headers, "Content-Type": kind}
        return HTTPRequest(f"{self._base}/files", headers, body)

    def uploaded(self, body: bytes) -> str:
        """Read the name of the file."""
        return str(orjson.loads(body)["id"])

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        """Name the file."""
        body = {
            "input_file_id": file,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {_LABEL: name},
        }
        return HTTPRequest(f"{self._base}/batches", self._headers, orjson.dumps(body))

    def newest(self, after: str | None = None) -> str:
        """Return the address of the list, or of what comes after a batch in it."""
        return f"{self._base}/batches?limit=100" + (f"&after={after}" if after else "")

    def listed(self, body: bytes) -> Page:
        """Read a page; a batch has the metadata and the file that it was made with."""
        data = orjson.loads(body)
        jobs = [
            Listed(
                self.read(orjson.dumps(one)),
                (one.get("metadata") or {}).get(_LABEL),
                one.get("input_file_id"),
                one.get("created_at"),
            )
            for one in data["data"]
        ]
        return Page(tuple(jobs), bool(data.get("has_more")))

    def poll(self, batch: str) -> str:
        """Return the batch's address."""
        return f"{self._base}/batches/{batch}"

    def cancel(self, batch: str) -> HTTPRequest:
        """End it; OpenAI takes up to ten minutes."""
        return HTTPRequest(f"{self.poll(batch)}/cancel", self._headers, b"")

    def read(self, body: bytes) -> Snapshot:
        """Read a batch object."""
        data = orjson.loads(body)
        counts = data.get("request_counts") or {}
        ended = data["status"] in ("completed", "failed", "expired", "cancelled")
        files = (data.get("output_file_id"), data.get("error_file_id"))
        errors = (data.get("errors") or {}).get("data") or ()
        why = [error.get("message") for error in errors]
        return Snapshot(
            data["id"],
            "ended" if ended else "running",
            data["status"],
            counts.get("total") or 0,
            counts.get("completed") or 0,
            counts.get("failed") or 0,
            tuple(f"{self._base}/files/{name}/content" for name in files if name)
            if ended
            else (),
            "; ".join(filter(None, why)) or None,
            data["status"] == "failed"
            and any(error.get("code") == QUEUE_FULL for error in errors),
        )

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a line each; a failed one has a response, an error or both."""
        for data in _lines(body):
            response, error = data.get("response"), data.get("error")
            if response is None:
                reason = (error or {}).get("message") or (error or {}).get("code")
                yield Result(data["custom_id"], None, str(reason))
                continue
            headers = {"x-request-id": response.get("request_id") or ""}
            status, answer = response["status_code"], orjson.dumps(response.get("body"))
            yield Result(data["custom_id"], HTTPResponse(status, headers, answer))


class AnthropicBatches:
    """Requests within the call that begins the batch; results at an address."""

    most_requests = 100_000
    most_bytes = 256 << 20

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = f"{url}/batches"
        self._headers = headers

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Wrap a body that is JSON already."""
        return f'{{"custom_id":"{custom_id}","params":'.encode() + body + b"},"

    def upload(self, lines: Sequence[bytes]) -> None:
        """Send nothing ahead."""
        return

    def uploaded(self, body: bytes) -> str:
        """Return nothing: there is no file."""
        return ""

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        """Send all requests; no field would keep a name."""
        body = b'{"requests":[' + b"".join(lines)[:-1] + b"]}"
        return HTTPRequest(self._url, self._headers, body)

    def newest(self, after: str | None = None) -> str:
        """Return the address of the list, or of what comes after a batch in it."""
        return f"{self._url}?limit=100" + (f"&after_id={after}" if after else "")

    def listed(self, body: bytes) -> Page:
        """Read a page; a batch has only the moment when it was created."""
        data = orjson.loads(body)
        jobs = [
            Listed(
                self.read(orjson.dumps(one)), None, None, _moment(one.get("created_at"))
            )
            for one in data["data"]
        ]
        return Page(tuple(jobs), bool(data.get("has_more")))

    def poll(self, batch: str) -> str:
        """Return the batch's address."""
        return f"{self._url}/{batch}"

    def cancel(self, batch: str) -> HTTPRequest:
        """End it."""
        return HTTPRequest(f"{self.poll(batch)}/cancel", self._headers, b"")

    def read(self, body: bytes) -> Snapshot:
        """Read a batch object; it counts what is done only at its end."""
        data = orjson.loads(body)
        counts = data["request_counts"]
        failed = sum(counts[name] for name in ("errored", "canceled", "expired"))
        ended = data["processing_status"] == "ended"
        return Snapshot(
            data["id"],
            "ended" if ended else "running",
            data["processing_status"],
            counts["processing"] + counts["succeeded"] + failed,
            counts["succeeded"],
            failed,
            (f"{self.poll(data['id'])}/results",) if ended else (),
        )

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a line each."""
        for data in _lines(body):
            result = data["result"]
            if result["type"] == "succeeded":
                message = orjson.dumps(result["message"])
                yield Result(data["custom_id"], HTTPResponse(200, {}, message))
                continue
            error = (result.get("error") or {}).get("error") or {}
            reason = error.get("message") or result["type"]
            yield Result(data["custom_id"], None, str(reason))


def batches_of(provider: object, request: HTTPRequest) -> Batches:
    """Return the batch endpoint beside the one that a provider's request goes to."""
    dialect: type[Batches] | None = getattr(provider, "batches", None)
    if dialect is None:
        raise _no_batches(request.url)
    return dialect(request.url, request.headers)


def _no_batches(url: str) -> ConfigurationError:
    place = url.partition("?")[0]
    return ConfigurationError(
        f"batches are not known to work at {place}: leave out batch=True"
    )


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _lines(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        if line.strip():
            yield parsed(line)

"""The batch endpoints: half the price, an answer within a day.

A dialect here is sans-I/O, as providers are. It is made from one ordinary request,
whose address and headers are those of its vendor. Limits and field names: the
vendors' references and their clients' sources (2026-11). Google's are in
`google_batches`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlencode

import orjson

from pandas_llm.errors import ConfigurationError
from pandas_llm.providers.bodies import parsed
from pandas_llm.types import HTTPRequest, HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LABEL = "pandas_llm"
"""The field of a batch's metadata that holds its name."""
BOUNDARY = "pandas-llm-7f3c9b1e5d2a4860"
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
    """Seconds of the vendor's clock; None where the list is in no known order."""


class Page(NamedTuple):
    """A part of a vendor's list."""

    batches: tuple[Listed, ...]
    after: str | None
    """What `newest` takes for the part behind it; None at the end."""


class Result(NamedTuple):
    """What became of one request."""

    custom_id: str
    response: HTTPResponse | None
    reason: str = ""
    """Why there is no response."""


class Batches:
    """One vendor's batch endpoint: how its batches are made, found, asked and ended.

    A subclass writes `line`, `create`, `entry`, `snapshot` and `results`; the rest is
    what most vendors share.
    """

    most_requests = 50_000
    """The most requests of one batch."""
    most_bytes = 200 << 20
    """The most bytes of one batch."""
    inline = 0
    """The most bytes of requests that go in what creates the batch, without a file."""
    queue_full: str | None = None
    """The code of a refusal for want of room in the account's queue."""
    apart = False
    """Whether its models answer in batches alone, so that none can be tried before."""
    path = "batches"
    """Where its batches are, behind `base`."""
    size: ClassVar[Mapping[str, Any]] = {"limit": 100}
    """What asks for a long page of the list."""
    cursor = "after"
    """What asks for the page behind another."""

    def __init__(self, request: HTTPRequest) -> None:
        """Use the address and headers of an ordinary request."""
        address, _, self._query = request.url.partition("?")
        self.base = self.based(address)
        self.headers = request.headers

    def based(self, address: str) -> str:
        """Return what the addresses of batches begin with; refuse one without any."""
        return address

    def at(self, path: str, **query: Any) -> str:
        """Return an address behind `base`, with the parameters of the ordinary one."""
        asked = "&".join(filter(None, (urlencode(query), self._query)))
        return f"{self.base}/{path}" + (f"?{asked}" if asked else "")

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Write one request of a batch around a body that is JSON already."""
        raise NotImplementedError

    def upload(self, lines: Sequence[bytes]) -> HTTPRequest | None:
        """Send the requests ahead; None where they are always part of the batch."""
        return None

    def uploaded(self, body: bytes) -> str:
        """Read which file the requests are in."""
        return str(parsed(body)["id"])

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        """Begin a batch; its name goes along where the vendor keeps one."""
        raise NotImplementedError

    def newest(self, after: str | None = None) -> str:
        """Return the address of the list of batches, or of a later part of it."""
        more = {self.cursor: after} if after else {}
        return self.at(self.path, **self.size, **more)

    def listed(self, body: bytes, after: str | None = None) -> Page:
        """Read what `newest` is answered with."""
        data = parsed(body)
        found = tuple(map(self.entry, data["data"]))
        more = found and data.get("has_more")
        return Page(found, found[-1].batch.id if more else None)

    def entry(self, data: Any) -> Listed:
        """Read one batch of the list."""
        raise NotImplementedError

    def poll(self, batch: str) -> str:
        """Return the address that tells how a batch is."""
        return self.at(f"{self.path}/{batch}")

    def cancel(self, batch: str) -> HTTPRequest:
        """End a batch early; what it has done stays."""
        return HTTPRequest(self.at(f"{self.path}/{batch}/cancel"), self.headers, b"")

    def read(self, body: bytes) -> Snapshot:
        """Read what `create` and `poll` are answered with."""
        return self.snapshot(parsed(body))

    def snapshot(self, data: Any) -> Snapshot:
        """Read one batch."""
        raise NotImplementedError

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a file of results, in whatever order they are in."""
        raise NotImplementedError

    def posted(self, path: str, fields: Mapping[str, Any]) -> HTTPRequest:
        """Return a request with some fields."""
        return HTTPRequest(self.at(path), self.headers, orjson.dumps(fields))


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

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        fields = {
            "input_file_id": file,
            "endpoint": self.endpoint,
            "completion_window": "24h",
            "metadata": {LABEL: name},
        }
        return self.posted(self.path, fields)

    def entry(self, data: Any) -> Listed:
        """Read a batch, with the metadata and the file that it was made with."""
        name = (data.get("metadata") or {}).get(LABEL)
        created = _moment(data.get("created_at"))
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
            said, error = data.get("response"), data.get("error")
            if not said:
                if isinstance(error, dict):
                    error = error.get("message") or error.get("code")
                yield Result(data["custom_id"], None, str(error))
                continue
            headers = {"x-request-id": said.get("request_id") or ""}
            status, answer = said["status_code"], orjson.dumps(said.get("body"))
            yield Result(data["custom_id"], HTTPResponse(status, headers, answer))


class AzureBatches(OpenAIBatches):
    """OpenAI's of the newer addresses, for deployments that answer nothing else."""

    apart = True

    def based(self, address: str) -> str:
        if "/openai/deployments/" in address:
            why = "pass the newer address, base_url='https://RESOURCE….com/openai/v1'"
            raise no_batches(address, why)
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
            "metadata": {LABEL: name},
            "timeout_hours": 24,
        }
        return self.posted(self.path, fields)

    def listed(self, body: bytes, after: str | None = None) -> Page:
        """Read a page; they are counted from 0."""
        data, page = parsed(body), int(after or 0) + 1
        more = page * self.size["page_size"] < data["total"]
        found = tuple(map(self.entry, data.get("data") or ()))
        return Page(found, str(page) if more else None)

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


class AnthropicBatches(Batches):
    """Requests within the call that begins the batch; results at an address."""

    most_requests = 100_000
    most_bytes = inline = 256 << 20
    cursor = "after_id"

    def line(self, custom_id: str, body: bytes) -> bytes:
        return f'{{"custom_id":"{custom_id}","params":'.encode() + body + b"},"

    def create(self, lines: Sequence[bytes], file: str, name: str) -> HTTPRequest:
        """Send all requests; no field would keep a name."""
        body = b'{"requests":[' + b"".join(lines)[:-1] + b"]}"
        return HTTPRequest(self.at(self.path), self.headers, body)

    def entry(self, data: Any) -> Listed:
        """Read a batch, which has only the moment when it was created."""
        return Listed(self.snapshot(data), None, None, _moment(data.get("created_at")))

    def snapshot(self, data: Any) -> Snapshot:
        """Read a batch; it counts what is done only at its end."""
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
            (self.at(f"{self.path}/{data['id']}/results"),) if ended else (),
        )

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a line each."""
        for data in read_lines(body):
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
        raise no_batches(request.url)
    return dialect(request)


def no_batches(url: str, instead: str = "leave out batch=True") -> ConfigurationError:
    """Return the error of an address that has no batches, as far as is known."""
    place = url.partition("?")[0]
    return ConfigurationError(f"batches are not known to work at {place}: {instead}")


def read_lines(body: bytes) -> Iterator[dict[str, Any]]:
    """Parse JSON Lines."""
    for line in body.splitlines():
        if line.strip():
            yield parsed(line)


def _moment(told: str | float | None) -> float | None:
    """Read when a batch was created; Azure has both forms."""
    return datetime.fromisoformat(told).timestamp() if isinstance(told, str) else told


def _joined(errors: Sequence[Mapping[str, Any]]) -> str | None:
    return "; ".join(filter(None, (error.get("message") for error in errors))) or None

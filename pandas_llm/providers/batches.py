"""The batch endpoints: half the price, an answer within a day.

A dialect here is sans-I/O, as providers are. It is made from one ordinary request,
whose address and headers are those of its vendor. Limits and field names: the
vendors' references and their clients' sources (2026-11). OpenAI's are here, with
those that are alike; others stand beside their vendor's dialect.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlencode

import orjson

from pandas_llm.errors import ConfigurationError
from pandas_llm.providers.answers.bodies import ODD, parsed
from pandas_llm.types import HTTPRequest, HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LABEL = "pandas_llm"
"""The field of a batch's metadata that holds its name."""
_BOUNDARY = "pandas-llm-7f3c9b1e5d2a4860"
_ENDPOINTS = ("chat/completions", "responses", "embeddings")
"""What a batch may ask for, of what this package asks."""


class Snapshot(NamedTuple):
    """What a vendor says of one batch."""

    id: str
    ended: bool
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

    A subclass writes `line`, `create`, `snapshot` and `result`; the rest is what most
    vendors share.
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

    def unready(self, body: bytes) -> str | None:
        """Return where to ask whether a file can be used; None once it can."""
        return None

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
        jobs = tuple(map(self.entry, data["data"]))
        more = jobs and data.get("has_more")
        return Page(jobs, jobs[-1].batch.id if more else None)

    def entry(self, data: Any) -> Listed:
        """Read one batch of the list, with what it was made with as far as it says."""
        created = data.get("created_at")
        if isinstance(created, str):  # Anthropic; Azure has both forms
            created = datetime.fromisoformat(created).timestamp()
        name = (data.get("metadata") or {}).get(LABEL)
        return Listed(self.snapshot(data), name, data.get("input_file_id"), created)

    def poll(self, batch: str) -> str:
        """Return the address that tells how a batch is."""
        return self.at(f"{self.path}/{batch}")

    def cancel(self, batch: str) -> HTTPRequest:
        """End a batch early; what it has done stays."""
        return self.posted(f"{self.path}/{batch}/cancel", b"")

    def read(self, body: bytes) -> Snapshot:
        """Read what `create` and `poll` are answered with."""
        return self.snapshot(parsed(body))

    def snapshot(self, data: Any) -> Snapshot:
        """Read one batch."""
        raise NotImplementedError

    def results(self, body: bytes) -> Iterator[Result]:
        """Read a file of results, in whatever order they are in.

        One that cannot be read has no `custom_id`: the others were paid for as well.
        """
        for item in self.items(body):
            try:
                result = self.result(parsed(item) if isinstance(item, bytes) else item)
                name: Any = result.custom_id
                yield result if isinstance(name, str) else Result("", None)
            except ODD:
                yield Result("", None)

    def items(self, body: bytes) -> Sequence[Any]:
        """Return the results that a body holds: JSON Lines, if nothing else is said."""
        return [line for line in body.splitlines() if line.strip()]

    def result(self, data: Any) -> Result:
        """Read what became of one request."""
        raise NotImplementedError

    def posted(self, path: str, body: bytes) -> HTTPRequest:
        """Return a request to a place behind `base`."""
        return HTTPRequest(self.at(path), self.headers, body)

    def in_parts(
        self, url: str, kind: str, *parts: tuple[str, Sequence[bytes]]
    ) -> HTTPRequest:
        """Return a request with several parts; each has headers and pieces of bytes."""
        between = f"--{_BOUNDARY}"
        pieces: list[bytes] = []
        for head, content in parts:
            pieces += [f"{between}\r\n{head}\r\n\r\n".encode(), *content, b"\r\n"]
        body = b"".join([*pieces, f"{between}--\r\n".encode()])
        type_ = f"multipart/{kind}; boundary={_BOUNDARY}"
        return HTTPRequest(url, {**self.headers, "Content-Type": type_}, body)


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


def answered(
    status: int, data: Any, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return an answer as an ordinary request would have had it."""
    return HTTPResponse(status, headers or {}, orjson.dumps(data))


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
        fields = {"endpoint": self.endpoint, "metadata": {LABEL: name}}
        return self.posted(self.path, orjson.dumps({**self.job(file), **fields}))

    def job(self, file: str) -> dict[str, Any]:
        """Return what a job is made of, and for how long it may run."""
        return {"input_file_id": file, "completion_window": "24h"}

    def snapshot(self, data: Any) -> Snapshot:
        """Read a batch; Azure begins its words with a capital."""
        counts, word = data.get("request_counts") or {}, data["status"].lower()
        errors = (data.get("errors") or {}).get("data") or ()
        codes = [error["code"] for error in errors if error.get("code")]
        messages = filter(None, (error.get("message") for error in errors))
        there = ("output_file_id", "error_file_id") if word in self.ended else ()
        names = filter(None, map(data.get, there))
        return Snapshot(
            data["id"],
            word in self.ended,
            word,
            counts.get("total") or 0,
            counts.get("completed") or 0,
            counts.get("failed") or 0,
            tuple(self.at(f"files/{name}/content") for name in names),
            "; ".join(messages) or None,
            word == "failed" and self.queue_full in codes,
        )

    def result(self, data: Any) -> Result:
        """Read a line; that of a failed request has a response, an error or both."""
        response, error = data.get("response"), data.get("error")
        if not response:
            if isinstance(error, dict):
                error = error.get("message") or error.get("code")
            return Result(data["custom_id"], None, str(error))
        headers = {"x-request-id": response.get("request_id") or ""}
        status, said = response["status_code"], response.get("body")
        answer = answered(status, said, headers)
        return Result(data["custom_id"], answer)


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

    def job(self, file: str) -> dict[str, Any]:
        return {"input_files": [file], "model": self._model, "timeout_hours": 24}

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

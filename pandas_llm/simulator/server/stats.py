"""What the simulator has seen so far."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KEPT_REQUESTS = 1000
_KEPT_BYTES = 64 * 2**20
_SECRET_HEADERS = frozenset(
    {
        *("authorization", "api-key", "x-api-key", "x-goog-api-key"),
        "x-amz-security-token",
    }
)


@dataclass(slots=True)
class Seen:
    """One request as it came in."""

    number: int
    path: str
    headers: Iterable[tuple[str, str]]
    body: bytes
    fault: str | None = None
    status: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, keys masked; ``status`` is None while it is open."""
        return {
            "number": self.number,
            "path": self.path,
            "headers": dict(map(_masked, self.headers)),
            "body": _parsed(self.body),
            "fault": self.fault,
            "status": self.status,
        }


@dataclass(slots=True)
class Stats:
    """Counters of one server, from the start or the last reset."""

    requests: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    max_in_flight: int = 0
    per_prompt: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    rejected_429: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    recent: deque[Seen] = field(default_factory=deque)
    recent_bytes: int = 0

    def arrive(self, path: str, headers: Mapping[str, str], body: bytes) -> Seen:
        """Count a request and give it its number."""
        seen = Seen(self.requests, path, headers.items(), body)
        self.requests += 1
        self.recent.append(seen)
        self.recent_bytes += len(body)
        while len(self.recent) > _KEPT_REQUESTS or (
            self.recent_bytes > _KEPT_BYTES and len(self.recent) > 1
        ):
            self.recent_bytes -= len(self.recent.popleft().body)
        return seen

    def leave(self, seen: Seen, status: int) -> None:
        """Note how a request was answered."""
        seen.status = int(status)
        self.by_status[str(seen.status)] += 1

    def bill(self, usage: Mapping[str, Any]) -> None:
        """Count a reply that was made, with its tokens."""
        self.answered += 1
        self.tokens_in += usage["prompt_tokens"]
        self.tokens_out += usage["completion_tokens"]

    def as_dict(self, in_flight: int) -> dict[str, Any]:
        """Return the counters as plain data."""
        return {
            "requests": self.requests,
            "by_status": dict(self.by_status),
            "in_flight": in_flight,
            "max_in_flight": self.max_in_flight,
            "prompts": len(self.per_prompt),
            "per_prompt": dict(self.per_prompt),
            "answered": self.answered,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "rejected_429": self.rejected_429,
            "faults": dict(self.faults),
            "connections": self.connections,
        }


def prompt_key(text: str) -> str:
    """Return the name of a prompt in ``per_prompt``: its SHA-1."""
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _masked(header: tuple[str, str]) -> tuple[str, str]:
    name, value = str(header[0]), header[1]  # orjson refuses multidict's own str
    if name.lower() not in _SECRET_HEADERS:
        return name, value
    return name, "Bearer ***" if value.lower().startswith("bearer ") else "***"


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")

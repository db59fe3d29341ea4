"""Anthropic's batches: their requests go in the call that begins them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.providers.batches import Batches, Result, Snapshot, answered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.types import HTTPRequest

_STATUS = {
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "permission_error": 403,
    "not_found_error": 404,
}
"""The status of an error that Anthropic's results tell by its type; 400 of others."""


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
        return self.posted(self.path, body)

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

    def result(self, data: Any) -> Result:
        result, custom_id = data["result"], data["custom_id"]
        error = (result.get("error") or {}).get("error")
        if result["type"] == "succeeded":
            return Result(custom_id, answered(200, result["message"]))
        if error:
            status = _STATUS.get(error.get("type"), 400)
            return Result(custom_id, answered(status, result["error"]))
        return Result(custom_id, None, str(result["type"]))

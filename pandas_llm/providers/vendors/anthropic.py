"""Anthropic's Messages.

Field names: the anthropic package 2.11; limits and errors: its documents (2026-09).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from pandas_llm._inputs import text_of
from pandas_llm.providers import failures
from pandas_llm.providers.answers import bodies, streams
from pandas_llm.providers.answers.headers import limit_names, quota
from pandas_llm.providers.batches import Batches, Result, Snapshot, answered
from pandas_llm.providers.dialect import Dialect
from pandas_llm.providers.failures.negotiation import merged
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Capabilities, Choice, FileLimits, ImageLimits, Quotas, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.providers.dialect import Body, Schema
    from pandas_llm.types import (
        Attachment,
        Endpoint,
        HTTPRequest,
        HTTPResponse,
        Reply,
        Spec,
        Tokens,
    )

_VERSION = "2023-06-01"
"""Sends sampling options where the model does; the next one refuses them all."""
_NO_SAMPLING = "2026-10-21"
_MAX_TOKENS = 8192
"""It must be said. Every model in use can write so much; few answers are longer."""
_TOLD = ("id", "type", "role", "model", "usage", "stop_reason")
"""Fields that tell nothing about an answer, or what other columns tell."""
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "output_tokens_details.thinking_tokens",
    "cache_creation_input_tokens",
    "cache_creation.ephemeral_1h_input_tokens",
)
_REQUESTS, _INPUT, _OUTPUT, _SCARCER = (
    limit_names(f"anthropic-ratelimit-{unit}-{{}}")
    for unit in ("requests", "input-tokens", "output-tokens", "tokens")
)
"""The last is of what is scarcer now, input or output."""
KEEPS = (  # platform.claude.com/docs/en/build-with-claude/prompt-caching
    *((f"claude-{name}-5", 512) for name in ("opus", "fable", "mythos")),
    *((f"claude-{name}-4-5", 4096) for name in ("haiku", "opus")),
    *(("claude-opus-4-6", 4096), ("claude-3-haiku", 2048)),
    *(("claude-3-5-haiku", 2048), ("claude-", 1024)),
)
_STATUS = {
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "permission_error": 403,
    "not_found_error": 404,
}
"""The status of an error that Anthropic's results tell by its type; 400 of others."""
MARK = {"cache_control": {"type": "ephemeral"}}


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
            ended,
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


class Anthropic(Dialect):
    """Messages at one endpoint."""

    capabilities = Capabilities(n=False)
    images = ImageLimits(5 * 2**20 // 4 * 3, 30 * 2**20 // 4 * 3)
    """5 MB of base64 an image ("image exceeds 5 MB maximum"), 32 MB a request."""
    files = FileLimits(
        30 * 2**20 // 4 * 3,
        30 * 2**20 // 4 * 3,
        ("application/pdf", "text/plain"),
        fetches=True,
        page=3500,
    )
    """32 MB a request, no audio; of a page 1,500 to 3,000 tokens are its text and some
    1,300 its picture (its page on PDF support)."""
    path = "/messages"
    modes = ("json_schema", "prompt")
    batches = AnthropicBatches
    key_header = "x-api-key"
    joined = staticmethod(streams.message)
    restricts = False  # as its package has it; all others get a 400
    names: ClassVar[Mapping[str, str]] = {"stop": "stop_sequences"}
    lacking: tuple[str, ...] = ("seed",)
    tiers: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("auto", "priority"), "auto"),
        **dict.fromkeys(("default", "standard_only"), "standard_only"),
    }
    fixed: ClassVar[Mapping[str, str]] = {"anthropic-version": _VERSION}
    mark: Mapping[str, Any] = MARK
    reads_count = False  # since Claude 3.7 (its page on rate limits)

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        headers = {name.lower(): value for name, value in endpoint.headers}
        if headers.get("anthropic-version", _VERSION) >= _NO_SAMPLING:
            self.lacking = ("seed", "temperature", "top_p")

    def address(self, endpoint: Endpoint, path: str) -> str:
        """Return an address; the vendor's own variable holds it without a version."""
        versioned = urlsplit(endpoint.base_url).path.endswith("/v1")
        return f"{endpoint.base_url}{'' if versioned else '/v1'}{path}"

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": spec.max_tokens or _MAX_TOKENS,
        }
        sent = self.sent(spec, capabilities)
        output: dict[str, Any] = {}
        if "reasoning_effort" in sent:
            output["effort"] = sent.pop("reasoning_effort")
        if schema and capabilities.schema == "json_schema":
            output["format"] = {"type": "json_schema", "schema": schema}
        if output:
            body["output_config"] = output
        return merged(body | sent, spec.extra)

    def instructions(self, system: str) -> Body:
        return {"system": system}

    def picture(self, image: Attachment) -> dict[str, Any]:
        return {"type": "image", "source": _source(image)}

    def file(self, file: Attachment) -> dict[str, Any]:
        return {"type": "document", "source": _source(file)}

    def usage(self, data: Any) -> Used:
        usage = data["usage"]
        return Used(_tokens(usage), tier=bodies.word(usage, "service_tier"))

    def parse(self, response: HTTPResponse) -> Reply:
        """Read a message: its text, without the thinking and the use of tools."""
        data = self.answer(response)
        content = data.get("content")
        if content is None and data.get("stop_reason"):
            content = []
        if not isinstance(content, list):
            raise failures.lacks("content", response)
        text = "".join(
            block.get("text") or "" for block in content if block.get("type") == "text"
        )
        reason, refusal = data.get("stop_reason"), None
        if reason == "refusal":
            details = data.get("stop_details") or {}
            refusal = details.get("explanation") or details.get("category") or text
        else:
            reason = bodies.finished(text, reason, response)
        raw = bodies.beside(response, _TOLD, data, content=content)
        choice = Choice(text, reason, refusal, raw=raw)
        return self.reply((choice,), response, data)

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Read ``anthropic-ratelimit-*``; resets are times, not durations."""
        requests, into, out, scarcer = (
            quota(headers, names) for names in (_REQUESTS, _INPUT, _OUTPUT, _SCARCER)
        )
        if out:
            return Quotas(requests, None, into, out)
        tokens = scarcer or into
        return Quotas(requests, tokens) if requests or tokens else None


def _source(attached: Attachment) -> dict[str, str]:
    """Return an image or a file: by its address, as base64, or a text as it is."""
    if not attached.media_type:
        return {"type": "url", "url": attached.url}
    is_text = attached.media_type == "text/plain"
    kind, data = ("text", text_of(attached)) if is_text else ("base64", attached.data)
    return {"type": kind, "media_type": attached.media_type, "data": data}


def _tokens(usage: Any) -> Tokens:
    """Add up the input: `input_tokens` is without what was kept, unlike OpenAI's."""
    counted = bodies.tokens(usage, _COUNTS)
    # the sum may lack where its parts are told
    written = max(counted.written, counted.written_hour)
    whole = counted.input + counted.cached_input + written
    return counted._replace(input=whole, written=written)


PRESETS: Mapping[str, Preset] = {
    "anthropic": Preset(
        Anthropic,
        "https://api.anthropic.com/v1",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_KEY",
        token="ANTHROPIC_AUTH_TOKEN",  # noqa: S106 - the name of a variable
        keeps=(*KEEPS, ("", 1024)),
    )
}

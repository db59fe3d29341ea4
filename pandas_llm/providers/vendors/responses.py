"""OpenAI's Responses: the only way to some of its models.

One question, one answer; nothing is kept there (``store: false``). Field names: the
openai package 3.52. There is no ``n``, ``seed`` or ``stop``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.providers import failures
from pandas_llm.providers.answers import bodies, streams
from pandas_llm.providers.failures.negotiation import merged
from pandas_llm.providers.vendors import openai
from pandas_llm.types import Capabilities, Choice, FileLimits, Reply, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.providers.dialect import Body, Schema
    from pandas_llm.providers.registry import Preset
    from pandas_llm.types import Attachment, HTTPResponse, Image, Spec

_STATUS = {"rate_limit_exceeded": 429, "server_error": 500}
"""What an error inside a 200 would have been; any other is the request's fault."""
_REFUSED = 400
_CALLS = ("function_call", "custom_tool_call")


class Responses(openai.OpenAI):
    """Responses at one endpoint."""

    capabilities = Capabilities(n=False)
    path = "/responses"
    joined = staticmethod(streams.response)
    conversation = "input"
    lacking = ("seed", "stop")
    files = FileLimits(
        50_000_000, 50_000_000, ("application/pdf", "text/plain"), fetches=True
    )
    """As its guide to file inputs has it; there is no part for audio."""

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        # by default answers are kept for 30 days
        store = {} if "store" in capabilities.refused else {"store": False}
        body: Body = {"model": self.model, **store, **self._kept(capabilities)}
        if format_ := openai.format_of(schema, capabilities):
            body["text"] = {"format": format_}
        if spec.max_tokens is not None:
            body["max_output_tokens"] = spec.max_tokens
        sent = self.sent(spec, capabilities)
        if "reasoning_effort" in sent:
            body["reasoning"] = {"effort": sent.pop("reasoning_effort")}
        return merged(body | sent, spec.extra)

    def instructions(self, system: str) -> Body:
        return {"instructions": system}

    def turn(self, role: str, content: Any) -> Body:
        """Write a turn; llama.cpp takes no assistant's without its type."""
        return {"type": "message", "role": role, "content": content}

    def mark_before(self, fields: Body, turns: int) -> None:
        if "instructions" in fields:  # a field that takes no mark
            fields["input"].insert(0, self.turn("system", fields.pop("instructions")))
        super().mark_before({"messages": fields["input"]}, turns)

    def picture(self, image: Image) -> dict[str, Any]:
        """Return an image as a URL; its type says that `detail` must be given."""
        return {"type": "input_image", "image_url": image.url, "detail": "auto"}

    def file(self, file: Attachment) -> dict[str, Any]:
        """Return a file by its address, or as a data URL."""
        if not file.media_type:
            return {"type": "input_file", "file_url": file.url}
        whole = {"filename": file.filename, "file_data": file.url}
        return {"type": "input_file", **whole}

    def words(self, text: str) -> dict[str, Any]:
        return {"type": "input_text", "text": text}

    def usage(self, data: Any) -> Used:
        usage, tier = data["usage"], bodies.word(data, "service_tier")
        tokens = bodies.tokens(usage, bodies.INPUT_OUTPUT)
        return Used(tokens, bodies.cost(usage), tier)

    def parse(self, response: HTTPResponse) -> Reply:
        """Read a response; a failed one is an error inside a 200."""
        data = self.load(response)
        if failures.holds_error(data):
            answer = response._replace(status=_status(data))
            raise failures.classify(answer, data, self._url)
        if not isinstance(data, dict) or not isinstance(data.get("output"), list):
            raise failures.lacks("output", response)
        said = [item for item in data["output"] if item.get("type") == "message"]
        parts = [part for item in said for part in item.get("content") or ()]
        texts = [p.get("text") for p in parts if p.get("type") == "output_text"]
        text = "".join(filter(None, texts))
        refusals = [p.get("refusal") for p in parts if p.get("type") == "refusal"]
        refusal = "".join(words or "refused" for words in refusals) or None
        details = data.get("incomplete_details") or {}
        reason = details.get("reason") or data.get("status")
        called = any(item.get("type") in _CALLS for item in data["output"])
        if called and not text.strip():
            reason = "tool_calls"
        ended = bodies.finished(text, reason, response) if refusal is None else "stop"
        raw = bodies.beside(response, (), {"output": _beside_texts(data["output"])})
        choice = Choice(text, ended, refusal, raw=raw)
        return self.reply((choice,), response, data)


def _beside_texts(output: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the items of an output that hold more than text."""
    found: list[Mapping[str, Any]] = []
    for item in output:
        if item.get("type") != "message":
            found.append(item)
        elif parts := bodies.beside_texts(item.get("content")):
            found.append({**item, "content": parts})
    return found


def _status(data: Any) -> int:
    """Return the status that an error inside a 200 would have had."""
    error = data.get("error") if isinstance(data, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return bodies.amount(code) or _STATUS.get(str(code), _REFUSED)


PRESETS: Mapping[str, Preset] = {
    "openai-responses": openai.PRESETS["openai"]._replace(dialect=Responses)
}

"""Amazon Bedrock: ``Converse``, one form for many vendors' models; Titan's vectors.

Field names: botocore's model of the service (1.44); errors as its documents and people
have recorded them (2026-11).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import orjson

from pandas_llm.errors import AuthenticationError, BadRequestError
from pandas_llm.providers import failures
from pandas_llm.providers.answers import bodies
from pandas_llm.providers.dialect import Bundling, Dialect
from pandas_llm.providers.failures import negotiation
from pandas_llm.providers.registry import Preset
from pandas_llm.providers.vendors.anthropic import KEEPS
from pandas_llm.types import (
    Capabilities,
    Choice,
    FileLimits,
    ImageLimits,
    Reply,
    Tokens,
    Used,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.errors import ProviderError
    from pandas_llm.providers.dialect import Body, Schema, Texts
    from pandas_llm.types import Attachment, Endpoint, HTTPResponse, Image, Spec

FIELDS = frozenset(
    {
        *("messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig"),
        *("projectIdentifier", "additionalModelRequestFields", "promptVariables"),
        *("additionalModelResponseFieldPaths", "requestMetadata", "outputConfig"),
        *("performanceConfig", "serviceTier"),
    }
)
"""Fields of Converse; whatever else a caller sends is a field of the model's own."""
_OF_THE_MODEL = "additionalModelRequestFields"
_TOOL = "records"
"""The tool whose input is the answer, for models that take no schema otherwise."""
_TOLD = ("output", "usage", "metrics", "stopReason", "serviceTier")
"""Fields that tell nothing about an answer, or what other columns tell."""
_COUNTS = (
    *("inputTokens", "outputTokens", "cacheReadInputTokens"),
    *("", "cacheWriteInputTokens"),
)
_LEAD = "The model returned the following errors: "
_ACCESS = (
    "Ways out: another key (AWS_BEARER_TOKEN_BEDROCK, api_key=); `aws sso login` or a "
    "new AWS_SESSION_TOKEN where credentials have expired; the right "
    "bedrock:InvokeModel and access to this model; a clock that is right."
)
_KEPT = re.compile(r"anthropic\.claude-(?:3-7-|3-5-haiku|[a-z]+-\d)")
"""Models that keep what is marked; most others answer 403 to a mark."""
_DEAR = re.compile(r"anthropic\.claude-(?:3-7-|[a-z]+-\d)")
"""Models whose output counts five times (its page on how tokens are counted)."""
_UNMARKED = "did not allow prompt caching"


class Bedrock(Dialect):
    """Converse of one model."""

    capabilities = Capabilities(n=False, repeats=False)
    images = ImageLimits(15 * 2**18, 20 * 15 * 2**18, fetches=False)
    """3.75 MB an image, 20 a message."""
    files = FileLimits(
        9 * 2**19, 5 * 9 * 2**19, ("application/pdf", "text/plain"), page=3500
    )
    """4.5 MB a document, 5 a message; some models read a page's picture too."""
    modes = ("json_schema", "tool", "prompt")
    path = "/converse"
    vectors_path = "/invoke"
    reads_count = False  # its page on how tokens are counted
    restricts = False  # its page on structured output
    ending = b'""}]}]}'
    seeded = _OF_THE_MODEL
    embeds = Bundling(1)
    """Titan's, by InvokeModel; other models for vectors have forms of their own."""
    names: ClassVar[Mapping[str, str]] = {"top_p": "topP", "stop": "stopSequences"}
    tiers: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("flex", "priority")},
        **dict.fromkeys(("auto", "default", "standard_only"), "default"),
    }

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        if _DEAR.search(endpoint.model):
            self.output_counts = 5.0
        if _KEPT.search(endpoint.model):
            self.mark = {"cachePoint": {"type": "default"}}

    def address(self, endpoint: Endpoint, path: str) -> str:
        """Return an address: a model's name or ARN is one part of its path."""
        return f"{endpoint.base_url}/model/{quote(endpoint.model, safe='')}{path}"

    def embeddings(
        self, texts: Texts, spec: Spec, capabilities: Capabilities, dimensions: int
    ) -> Body:
        (text,) = texts
        length = {"dimensions": dimensions} if dimensions else {}
        return {"inputText": text, **length, **spec.extra}

    def vectors(self, data: Any) -> list[Any]:
        return [data["embedding"]]

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        sent, mode = self.sent(spec, capabilities), capabilities.schema
        others = {k: v for k, v in spec.extra.items() if k not in FIELDS}
        own = {k: v for k, v in spec.extra.items() if k in FIELDS}
        if "seed" in sent:
            others = {"seed": sent.pop("seed"), **others}
        output: Body = {}
        if "reasoning_effort" in sent:
            output["effort"] = sent.pop("reasoning_effort")
        if schema and mode == "json_schema":
            text = orjson.dumps(schema).decode()  # it is a text in there
            structure = {"jsonSchema": {"name": "records", "schema": text}}
            output["textFormat"] = {"type": "json_schema", "structure": structure}
        tier = sent.pop(negotiation.TIER, None)
        if spec.max_tokens is not None:
            sent["maxTokens"] = spec.max_tokens
        body = {
            "serviceTier": {"type": tier} if tier else None,
            "inferenceConfig": sent,
            "outputConfig": output,
            "toolConfig": _tool(schema) if schema and mode == "tool" else None,
            _OF_THE_MODEL: others,
        }
        return negotiation.merged({k: v for k, v in body.items() if v}, own)

    def instructions(self, system: str) -> Body:
        return {"system": self.parts(system)}

    def turn(self, role: str, content: Any) -> Body:
        return {"role": role, "content": self.parts(content)}

    def picture(self, image: Image) -> dict[str, Any]:
        kind = image.media_type.removeprefix("image/")
        return {"image": {"format": kind, "source": {"bytes": image.data}}}

    def file(self, file: Attachment) -> dict[str, Any]:
        """Return a document; it must have a name, which tells nothing here."""
        kind = "txt" if file.media_type == "text/plain" else "pdf"
        name, source = f"file {file.digest.hex()[:12]}", {"bytes": file.data}
        return {"document": {"format": kind, "name": name, "source": source}}

    def words(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def marked(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        return [part, dict(self.mark)]

    def usage(self, data: Any) -> Used:
        """Read the tokens; Titan's vectors have another name for them."""
        if "inputTextTokenCount" in data:
            return Used(bodies.tokens(data, ("inputTextTokenCount", "")))
        tier = bodies.word(data.get("serviceTier"), "type")
        return Used(_tokens(data["usage"]), tier=tier)

    def parse(self, response: HTTPResponse) -> Reply:
        """Read a message: its text, or what the tool for the answer was called with."""
        data = self.answer(response)
        message = (data.get("output") or {}).get("message") or {}
        content, reason = message.get("content"), data.get("stopReason")
        if content is None and reason:
            content = []
        if not isinstance(content, list):
            raise failures.lacks("message", response)
        text = "".join(block.get("text") or "" for block in content)
        calls = [block["toolUse"] for block in content if "toolUse" in block]
        if asked := [_written(call) for call in calls if call.get("name") == _TOOL]:
            text = "\n".join(asked)
            reason = "end_turn" if reason == "tool_use" else reason
        others = [p for p in content if p.get("toolUse", {}).get("name") != _TOOL]
        raw = bodies.beside(response, _TOLD, data, content=others)
        choice = Choice(text, bodies.finished(text, reason, response), raw=raw)
        router = (data.get("trace") or {}).get("promptRouter") or {}
        reply = self.reply((choice,), response, data)
        return reply._replace(model=router.get("invokedModelId"))

    def error(self, response: HTTPResponse) -> ProviderError:
        """Return the error that ``x-amzn-errortype`` names."""
        data = self.load_or_none(response)
        if isinstance(data, dict) and "error" not in data:  # else it is a gateway's
            kind = response.headers.get("x-amzn-errortype") or data.get("__type") or ""
            code = str(kind).partition(":")[0].rpartition("#")[2]
            message = data.get("message") or data.get("Message")
            if isinstance(message, str):
                if _UNMARKED in message:
                    return BadRequestError(message, status=400, param="cachePoint")
                # what follows quotes the request, its token too; what leads stands
                # before a vendor's own words
                message = message.partition("\n\nThe Canonical String")[0]
                message = message.removeprefix(_LEAD)
            data = {"code": code or data.get("code"), "message": message}
        error = failures.classify(response, data, self._url)
        if isinstance(error, AuthenticationError):
            error.args = (f"{error} {_ACCESS}",)
        return error


def _tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool with a schema, and that it must be called."""
    # Nova knows three fields at the top: this is not among them
    known = {k: v for k, v in schema.items() if k != "additionalProperties"}
    description = "Takes the answer."
    spec = {"name": _TOOL, "description": description, "inputSchema": {"json": known}}
    return {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": _TOOL}}}


def _written(call: Mapping[str, Any]) -> str:
    """Return what a tool was called with as JSON."""
    given = call.get("input")
    return given if isinstance(given, str) else orjson.dumps(given).decode()


def _tokens(usage: Any) -> Tokens:
    """Add up the input: `inputTokens` is without what was read or kept."""
    counted = bodies.tokens(usage, _COUNTS)
    hours = [
        bodies.amount(one.get("inputTokens")) or 0
        for one in bodies.objects(usage.get("cacheDetails"))
        if one.get("ttl") == "1h"
    ]
    return counted._replace(
        input=counted.input + counted.cached_input + counted.written,
        written_hour=min(sum(hours), counted.written),
    )


PRESETS: Mapping[str, Preset] = {
    "bedrock": Preset(
        Bedrock,
        "https://bedrock-runtime.{region}.amazonaws.com",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        "AWS_BEARER_TOKEN_BEDROCK",
        signed=True,
        keeps=KEEPS,
    )
}

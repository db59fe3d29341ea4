"""Google's embedContent and batchEmbedContents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import count_tokens
from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.dialects.embeddings import (
    Embedding,
    make_vectors,
    read_dimensions,
    used,
)
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Written
from pandas_llm.simulator.dialects.gemini import named, read_content
from pandas_llm.simulator.dialects.gemini_errors import GOOGLE
from pandas_llm.simulator.dialects.replies import check_fields, check_length, read_model

if TYPE_CHECKING:
    from pandas_llm.simulator.conditions import Settings

_MOST_INPUTS = 100
_CONFIG_FIELDS = frozenset(
    {"taskType", "title", "outputDimensionality", "autoTruncate", "mimeType"}
)
_FIELDS = _CONFIG_FIELDS | {"content", "model", "embedContentConfig"}
_PATH = "/{version:v1|v1beta}/models/{model}"


def _read_one(incoming: Incoming, settings: Settings) -> Embedding:
    model = read_model(incoming.model, settings)
    text, dimensions = _text(incoming.fields, settings, "")
    return Embedding(model, [text], count_tokens(text), dimensions)


def _read_batch(incoming: Incoming, settings: Settings) -> Embedding:
    model = read_model(incoming.model, settings)
    fields = named(incoming.fields, {"requests"})
    requests = fields.get("requests")
    if not isinstance(requests, list) or not requests:
        refuse("* BatchEmbedContentsRequest.requests: at least one is needed")
    if len(requests) > _MOST_INPUTS:
        refuse(
            "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one "
            "batch"
        )
    read = []
    for i, request in enumerate(requests):
        where = f" at 'requests[{i}]'"
        read.append(_text(request, settings, where))
        if request.get("model") != f"models/{model}":
            text = f"* BatchEmbedContentsRequest.requests[{i}].model: unexpected model"
            refuse(f"{text} name format")
    texts, lengths = zip(*read, strict=True)
    tokens = sum(map(count_tokens, texts))
    return Embedding(model, texts, tokens, max(lengths))


def _text(request: Any, settings: Settings, where: str) -> tuple[str, int]:
    """Return what is to be embedded, and the length of its vector."""
    fields = named(request, _FIELDS, where)
    check_fields(fields, settings)
    config = fields.get("embedContentConfig") or {}
    config = named(config, _CONFIG_FIELDS, f"{where or ' at'} 'embed_content_config'")
    parts = read_content(fields.get("content"), "content")
    text = "\n".join(part["text"] for part in parts)
    check_length(count_tokens(text), settings, "content")
    return text, read_dimensions({**fields, **config}, "outputDimensionality")


def _write_one(asked: Embedding, _: Settings, __: int, fault: str | None) -> Written:
    vectors = make_vectors(asked, fault)
    reply = {} if not vectors else {"embedding": _value(vectors[0])}
    return {**reply, **_usage(asked)}, used(asked)


def _write_batch(asked: Embedding, _: Settings, __: int, fault: str | None) -> Written:
    reply = {"embeddings": [_value(vector) for vector in make_vectors(asked, fault)]}
    return {**reply, **_usage(asked)}, used(asked)


def _usage(asked: Embedding) -> dict[str, Any]:
    return {"usageMetadata": {"promptTokenCount": asked.prompt_tokens}}


def _value(vector: list[float] | None) -> dict[str, Any]:
    return {} if vector is None else {"values": vector}


EMBED_CONTENT = Dialect(
    GOOGLE, (f"{_PATH}:embedContent",), _read_one, _write_one, "usageMetadata"
)
BATCH_EMBED_CONTENTS = Dialect(
    GOOGLE, (f"{_PATH}:batchEmbedContents",), _read_batch, _write_batch, "usageMetadata"
)

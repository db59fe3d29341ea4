"""Embeddings as OpenAI, Ollama and Amazon's Titan speak of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.simulator.answers import count_tokens, embed, packed
from pandas_llm.simulator.conditions import Answer, Problem, refuse
from pandas_llm.simulator.dialects.converse import BEDROCK
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Vendor, Written
from pandas_llm.simulator.dialects.openai import OPENAI
from pandas_llm.simulator.dialects.replies import (
    check_fields,
    check_length,
    read_model,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.simulator.conditions import Settings

DIMENSIONS = 256
"""The length of a vector unless told."""

_MOST_DIMENSIONS = 4096
_TITAN_FIELDS = {"inputText", "dimensions", "normalize", "embeddingTypes"}
_MOST_INPUTS = 2048
_MOST_TOKENS = 300_000
_MOST_TOKENS_EACH = 8192


@dataclass(frozen=True, slots=True)
class Embedding:
    """A request for vectors that was found in order."""

    model: str
    texts: Sequence[str]
    prompt_tokens: int
    dimensions: int = DIMENSIONS
    packed: bool = False

    @property
    def prompt(self) -> str:
        """All its texts."""
        return "\n".join(self.texts)

    @property
    def reserved(self) -> int:
        """The tokens of its texts."""
        return self.prompt_tokens


def make_vectors(asked: Embedding, fault: str | None) -> list[Any]:
    """Return a vector for each text; a fault of the reply spoils them.

    ``no_choices`` drops all, ``cut_off`` the last, ``no_message`` leaves None for the
    first, ``bad_output`` a null in it, and ``wrong_schema`` halves their length.
    """
    vectors: list[Any] = [
        embed(text, asked.dimensions, asked.model) for text in asked.texts
    ]
    match fault:
        case "no_choices":
            return []
        case "cut_off":
            return vectors[:-1]
        case "no_message":
            return [None, *vectors[1:]]
        case "bad_output":
            return [[None, *vectors[0][1:]], *vectors[1:]]
        case "wrong_schema":
            return [vector[: len(vector) // 2] for vector in vectors]
    return vectors


def read_dimensions(fields: dict[str, Any], name: str) -> int:
    """Return the length of vector that is asked for."""
    return whole_number(fields, name, most=_MOST_DIMENSIONS) or DIMENSIONS


def used(asked: Embedding) -> dict[str, int]:
    """Return the tokens of a request for the counters."""
    return {"prompt_tokens": asked.prompt_tokens, "completion_tokens": 0}


def _read(incoming: Incoming, settings: Settings) -> Embedding:
    fields = incoming.fields
    model = read_model(incoming.model or fields.get("model"), settings)
    check_fields(fields, settings)
    form = fields.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        text = f"Invalid value: '{form}'. Supported values are: 'float' and 'base64'."
        refuse(text, "invalid_value", "encoding_format")
    texts, tokens = _inputs(fields)
    for count in tokens:
        check_length(count, settings, "input")
        if count > _MOST_TOKENS_EACH:
            text = f"This model's maximum context length is {_MOST_TOKENS_EACH} tokens."
            refuse(text, "context_length_exceeded", "input")
    if sum(tokens) > _MOST_TOKENS:
        text = f"Requested {sum(tokens)} tokens, max {_MOST_TOKENS} tokens per request"
        refuse(text, "max_tokens_per_request")
    mistral = "output_dimension" in fields
    name = "output_dimension" if mistral else "dimensions"
    dimensions = read_dimensions(fields, name)
    return Embedding(model, texts, sum(tokens), dimensions, form == "base64")


def _inputs(fields: dict[str, Any]) -> tuple[list[str], list[int]]:
    """Return the texts and their tokens; lists of tokens count as words."""
    listed = fields.get("input")
    if listed is None:
        text = "Missing required parameter: 'input'."
        refuse(text, "missing_required_parameter", "input")
    several = isinstance(listed, list) and not all(map(_is_token, listed))
    inputs = listed if several else [listed]
    if len(inputs) > _MOST_INPUTS:
        text = (
            f"Invalid 'input': array too long. Expected an array with maximum length "
            f"{_MOST_INPUTS}, but got an array with length {len(inputs)} instead."
        )
        refuse(text, "array_above_max_length", "input")
    if any(map(_is_tokens, inputs)):
        _check_all(inputs, _is_tokens)
        return [" ".join(map(str, tokens)) for tokens in inputs], list(map(len, inputs))
    _check_all(inputs, _is_text)
    return inputs, list(map(count_tokens, inputs))


def _check_all(inputs: list[Any], good: Any) -> None:
    for position, value in enumerate(inputs):
        if not good(value):
            where = f"input[{position}]"
            text = f"Invalid '{where}': input cannot be an empty string."
            if value != "":
                text = f"Invalid type for '{where}': expected a string."
            refuse(text, "invalid_type", where)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_token, value))


def _write(asked: Embedding, _: Settings, __: int, fault: str | None) -> Written:
    data = []
    for index, vector in enumerate(make_vectors(asked, fault)):
        item = {"object": "embedding", "index": index}
        if vector is not None:
            whole = None not in vector
            item["embedding"] = packed(vector) if asked.packed and whole else vector
        data.append(item)
    tokens = asked.prompt_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    reply = {
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": usage,
        "system_fingerprint": "fp_simulator",
    }
    return reply, used(asked)


def _read_ollama(incoming: Incoming, settings: Settings) -> Embedding:
    fields = incoming.fields
    model = read_model(fields.get("model"), settings)
    check_fields(fields, settings)
    listed = fields.get("input")
    texts = [listed] if isinstance(listed, str) else listed
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        refuse("invalid input type", "invalid_type", "input")
    tokens = list(map(count_tokens, texts))
    if fields.get("truncate") is False:  # else what is too long is cut silently
        for count in tokens:
            check_length(count, settings, "input")
    return Embedding(model, texts, sum(tokens), read_dimensions(fields, "dimensions"))


def _write_ollama(asked: Embedding, _: Settings, __: int, fault: str | None) -> Written:
    vectors = make_vectors(asked, fault)
    reply = {
        "model": asked.model,
        "embeddings": [vector for vector in vectors if vector is not None],
        "total_duration": 1_000_000,  # nanoseconds; fixed, so that replies repeat
        "load_duration": 100_000,
        "prompt_eval_count": asked.prompt_tokens,
    }
    return reply, used(asked)


def _read_titan(incoming: Incoming, settings: Settings) -> Embedding:
    fields = incoming.fields
    model = read_model(incoming.model, settings)
    check_fields(fields, settings)
    for name in sorted(fields.keys() - _TITAN_FIELDS):
        refuse(f"Malformed input request: extraneous key [{name}] is not permitted.")
    text = fields.get("inputText")
    if not isinstance(text, str) or not text:
        refuse("Malformed input request: required key [inputText] not found.")
    tokens = check_length(count_tokens(text), settings)
    return Embedding(model, [text], tokens, read_dimensions(fields, "dimensions"))


def _write_titan(asked: Embedding, _: Settings, __: int, fault: str | None) -> Written:
    reply: dict[str, Any] = {"inputTextTokenCount": asked.prompt_tokens}
    for vector in make_vectors(asked, fault):
        reply |= {"embedding": vector, "embeddingsByType": {"float": vector}}
    return reply, used(asked)


def _ollama_error(problem: Problem, _: str) -> Answer:
    text = problem.worded(
        {
            "model_not_found": 'model "{model}" not found, try pulling it first',
            "context_length_exceeded": "the input length exceeds the context length",
        }
    )
    return Answer(problem.status, orjson.dumps({"error": text}))


OPENAI_EMBEDDINGS = Dialect(
    vendor=OPENAI,
    paths=(
        "/v1/embeddings",
        "/openai/v1/embeddings",
        "/openai/deployments/{model}/embeddings",
    ),
    read=_read,
    write=_write,
)
OLLAMA_EMBED = Dialect(
    vendor=Vendor(
        refuse=_ollama_error,
        broken={"error": "an error was encountered while running the model"},
    ),
    paths=("/api/embed",),
    read=_read_ollama,
    write=_write_ollama,
    usage="prompt_eval_count",
)
TITAN_EMBED = Dialect(
    vendor=BEDROCK,
    paths=("/model/{model}/invoke",),
    read=_read_titan,
    write=_write_titan,
    usage="inputTextTokenCount",
)

"""What is the same for all dialects: a request understood, its reply, shared checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.simulator.answers import (
    SchemaError,
    allowed_words,
    answer,
    as_tokens,
    count_message_tokens,
    count_tokens,
    cut_to_tokens,
    last_user_text,
    shares,
)
from pandas_llm.simulator.conditions import refuse, spoil

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pandas_llm.simulator.conditions import Settings

_CREATED = 1_700_000_000  # fixed, so that equal requests get equal replies
SIMULATED_MODEL = "sim"


@dataclass(frozen=True, slots=True)
class Chat:
    """A request for text that was found in order, in the form of chat completions."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    n: int = 1
    max_tokens: int | None = None
    schema: Mapping[str, Any] | None = None
    seed: int | None = None
    prompt_tokens: int = 0
    reserved: int = 0
    top_logprobs: int = 0
    """How many tokens to tell at each place."""
    marked: bool = False
    """Whether the prompt is kept up to marks alone."""
    cached: int = 0
    """Tokens of the prompt that were kept."""
    reads_count: bool = True
    """Whether they are taken from the limit."""
    written: int = 0
    """Tokens of it that are kept from now on, where that is billed."""

    @property
    def prompt(self) -> str:
        """The last message of the user."""
        return last_user_text(self.messages)


_MARKS = ("cache_control", "prompt_cache_breakpoint", "cachePoint")


def beginnings(chat: Chat) -> tuple[str, list[int]]:
    """Return all of a prompt as one text, and where parts with a mark end in it."""
    text, marks = "", []
    for message in chat.messages:
        text += f"<{message.get('role')}>"
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"text": content}]:
            text += str(part.get("text") or "")
            if any(part.get(mark) for mark in _MARKS):
                marks.append(len(text))
    return text, marks


@dataclass(frozen=True, slots=True)
class Said:
    """One choice of a reply, as far as all vendors have words for it."""

    text: str
    finish: str
    """``stop``, ``length``, ``content_filter`` or ``refusal``."""


def said(choice: Mapping[str, Any]) -> Said | None:
    """Read a choice of `make_reply`; None where its message was taken away."""
    message = choice.get("message")
    if message is None:
        return None
    if refusal := message.get("refusal"):
        return Said(refusal, "refusal")
    return Said(message["content"], choice["finish_reason"])


def read_json(body: bytes) -> dict[str, Any]:
    """Return the body of a request, or refuse what is no JSON object."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        message = (
            "We could not parse the JSON body of your request. (HINT: This likely "
            "means you aren't using your HTTP library correctly.)"
        )
        refuse(message, "invalid_json")
    return fields


def read_model(model: object, settings: Settings) -> str:
    """Return the model of a request, or refuse one that is not served."""
    if not isinstance(model, str) or not model:
        refuse("you must provide a model parameter", "missing_model", "model")
    if model not in settings.models and model != SIMULATED_MODEL:
        text = f"The model `{model}` does not exist or you do not have access to it."
        refuse(text, "model_not_found", status=404, model=model)
    return model


def check_fields(names: Iterable[str], settings: Settings) -> None:
    """Refuse the fields that the settings say to refuse."""
    for name in settings.reject_params:
        if name in names:
            text = f"Unsupported parameter: '{name}' is not supported with this model."
            refuse(text, "unsupported_parameter", name, name=name)


def check_mode(mode: str, param: str, settings: Settings) -> None:
    """Refuse a kind of structured output that the settings do not name."""
    if mode not in settings.schema_modes:
        text = (
            f"Invalid parameter: '{param}' of type '{mode}' is not supported with this "
            "model."
        )
        refuse(text, "unsupported_value", param)


def check_length(tokens: int, settings: Settings, param: str = "messages") -> int:
    """Return the tokens of a prompt, or refuse one that is too long."""
    most = settings.context_length
    if most is not None and tokens > most:
        text = (
            f"This model's maximum context length is {most} tokens. However, your "
            f"{param} resulted in {tokens} tokens. Please reduce the length of the "
            f"{param}."
        )
        refuse(text, "context_length_exceeded", param, most=most, tokens=tokens)
    return tokens


def prompt_tokens(
    messages: Sequence[Mapping[str, Any]], settings: Settings, param: str = "messages"
) -> int:
    """Return the tokens of messages, or refuse too many."""
    return check_length(count_message_tokens(messages), settings, param)


def whole_number(
    fields: Mapping[str, Any], name: str, least: int = 1, most: int | None = None
) -> int | None:
    """Return a field that counts something, None where it is not set."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        text = f"Invalid type for '{name}': expected an integer."
        refuse(text, "invalid_type", name, name=name)
    if value < least:
        text = f"Invalid '{name}': integer below minimum value. Expected >= {least}."
        refuse(text, "integer_below_min_value", name, name=name)
    if most is not None and value > most:
        text = (
            f"Invalid '{name}': integer above maximum value. Expected <= {most}, got "
            f"{value}."
        )
        refuse(text, "integer_above_max_value", name, name=name)
    return int(value)


def make_reply(
    chat: Chat, settings: Settings, number: int, fault: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the reply to a request, spoilt by the fault, and what it used."""
    choices = [_choice(chat, settings, index) for index in range(chat.n)]
    reply: dict[str, Any] = {
        "id": f"chatcmpl-sim-{number:08}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": chat.model,
        "choices": choices,
        "usage": {},
        "system_fingerprint": "fp_simulator",
    }
    if fault is not None:
        spoil(fault, reply)
    usage = reply["usage"] = _usage(chat, choices)
    return reply, usage


def _choice(chat: Chat, settings: Settings, index: int) -> dict[str, Any]:
    seed = f"{settings.seed}/{chat.seed}"
    if chat.schema is None and (words := allowed_words(chat.messages)):
        return _chosen(chat, words, f"{seed}/{chat.model}/{index}", index)
    try:
        text = answer(chat.messages, chat.schema, seed, index, chat.model)
    except SchemaError as problem:
        message = f"Invalid schema for response_format: {problem}"
        refuse(message, "invalid_json_schema", "response_format", problem=str(problem))
    cut = chat.max_tokens is not None and count_tokens(text) > chat.max_tokens
    if cut and chat.max_tokens is not None:
        text = cut_to_tokens(text, chat.max_tokens)
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": "length" if cut else "stop",
    }


def _chosen(chat: Chat, words: Sequence[str], seed: str, index: int) -> dict[str, Any]:
    """Choose one of the allowed answers, and tell how likely each was."""
    chances = shares(words, f"{seed}/{chat.prompt}")
    text = words[max(range(len(words)), key=chances.__getitem__)]
    odds = dict(zip(words, chances, strict=True))
    tokens = as_tokens(text, odds, chat.top_logprobs) if chat.top_logprobs else None
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None if tokens is None else {"content": tokens, "refusal": None},
        "finish_reason": "stop",
    }


def _usage(chat: Chat, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    messages = (choice.get("message", {}) for choice in choices)
    texts = (m.get("content") or m.get("refusal") or "" for m in messages)
    completion = sum(map(count_tokens, texts))
    return {
        "prompt_tokens": chat.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": chat.prompt_tokens + completion,
        "prompt_tokens_details": {
            "cached_tokens": chat.cached,
            **({"cache_write_tokens": chat.written} if chat.written else {}),
        },
        "completion_tokens_details": {"reasoning_tokens": 0},
    }

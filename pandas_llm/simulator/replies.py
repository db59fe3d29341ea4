"""Chat requests read and answered as OpenAI would, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from pandas_llm.simulator.answers import (
    answer,
    count_message_tokens,
    count_tokens,
    cut_to_tokens,
)
from pandas_llm.simulator.faults import Answer, error, spoil
from pandas_llm.simulator.prompt import last_user_text, message_text
from pandas_llm.simulator.schema import SchemaError
from pandas_llm.simulator.strict import strict_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.simulator.settings import Settings

_CREATED = 1_700_000_000  # fixed, so that equal requests get equal replies
_MOST_CHOICES = 128
_LENGTH_NAMES = ("max_completion_tokens", "max_tokens")
SIMULATED_MODEL = "sim"


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat completion request that was found in order."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    n: int = 1
    max_tokens: int | None = None
    schema: Mapping[str, Any] | None = None
    seed: int | None = None
    prompt_tokens: int = 0

    @property
    def prompt(self) -> str:
        """The last message of the user."""
        return last_user_text(self.messages)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the body of a request, or refuse what is no JSON object."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        fields = None
    if isinstance(fields, dict):
        return fields
    message = (
        "We could not parse the JSON body of your request. (HINT: This likely means "
        "you aren't using your HTTP library correctly.)"
    )
    raise RefusedError(error(400, message))


def read_chat(fields: Mapping[str, Any], settings: Settings) -> Chat:
    """Return the request in these fields, or refuse it as OpenAI does."""
    model = _model(fields, settings)
    for name in settings.reject_params:
        if name in fields:
            text = f"Unsupported parameter: '{name}' is not supported with this model."
            _refuse(text, "unsupported_parameter", name)
    if fields.get("stream"):
        text = "Unsupported value: 'stream' does not support true with this model."
        _refuse(text, "unsupported_value", "stream")
    messages = _messages(fields)
    schema = _response_format(fields, messages, settings)
    lengths = (_whole_number(fields, name) for name in _LENGTH_NAMES)
    return Chat(
        model=model,
        messages=messages,
        n=min(_choices(fields), settings.max_n or _MOST_CHOICES),
        max_tokens=min((n for n in lengths if n is not None), default=None),
        schema=schema,
        seed=fields.get("seed"),
        prompt_tokens=_prompt_tokens(messages, settings),
    )


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
    usage = _usage(chat, choices)
    if "usage" in reply:
        reply["usage"] = usage
    return reply, usage


def _choice(chat: Chat, settings: Settings, index: int) -> dict[str, Any]:
    seed = f"{settings.seed}/{chat.seed}"
    try:
        text = answer(chat.messages, chat.schema, seed, index, chat.model)
    except SchemaError as problem:
        message = f"Invalid schema for response_format: {problem}"
        _refuse(message, "invalid_json_schema", "response_format")
    cut = chat.max_tokens is not None and count_tokens(text) > chat.max_tokens
    if cut and chat.max_tokens is not None:
        text = cut_to_tokens(text, chat.max_tokens)
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": "length" if cut else "stop",
    }


def _usage(chat: Chat, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    messages = (choice.get("message", {}) for choice in choices)
    texts = (m.get("content") or m.get("refusal") or "" for m in messages)
    completion = sum(map(count_tokens, texts))
    return {
        "prompt_tokens": chat.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": chat.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _model(fields: Mapping[str, Any], settings: Settings) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        _refuse("you must provide a model parameter", None, "model")
    if model not in settings.models and model != SIMULATED_MODEL:
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(error(404, text, code="model_not_found"))
    return model


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = fields.get("messages")
    if messages is None:
        text = "Missing required parameter: 'messages'."
        _refuse(text, "missing_required_parameter", "messages")
    if not isinstance(messages, list) or not messages:
        _refuse("Invalid 'messages': empty array.", "empty_array", "messages")
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            where = f"messages[{position}]"
            _refuse(f"Invalid '{where}': expected a role.", "invalid_type", where)
    return messages


def _choices(fields: Mapping[str, Any]) -> int:
    n = _whole_number(fields, "n")
    if n is not None and n > _MOST_CHOICES:
        text = f"Invalid 'n': integer above maximum value. Expected <= 128, got {n}."
        _refuse(text, "integer_above_max_value", "n")
    return n or 1


def _whole_number(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        text = f"Invalid type for '{name}': expected an integer."
        _refuse(text, "invalid_type", name)
    elif value < 1:
        text = f"Invalid '{name}': integer below minimum value. Expected >= 1."
        _refuse(text, "integer_below_min_value", name)
    return int(value)


def _response_format(
    fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], settings: Settings
) -> Mapping[str, Any] | None:
    wanted = fields.get("response_format") or {}
    if not isinstance(wanted, dict):
        text = "Invalid type for 'response_format': expected an object."
        _refuse(text, "invalid_type", "response_format")
    mode = wanted.get("type", "text")
    if mode == "text":
        return None
    if mode not in settings.schema_modes:
        text = (
            f"Invalid parameter: 'response_format' of type '{mode}' is not supported "
            "with this model."
        )
        _refuse(text, "unsupported_value", "response_format")
    if mode == "json_object":
        if not any("json" in message_text(m).lower() for m in messages):
            text = (
                "'messages' must contain the word 'json' in some form, to use "
                "'response_format' of type 'json_object'."
            )
            _refuse(text, None, "messages")
        return wanted.get("schema") or {}
    return _schema(wanted)


def _schema(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    holder = wanted.get("json_schema") or wanted  # llama.cpp puts it one level higher
    schema = holder.get("schema") if isinstance(holder, dict) else None
    if not isinstance(schema, dict):
        text = "Missing required parameter: 'response_format.json_schema.schema'."
        _refuse(text, "missing_required_parameter", "response_format.json_schema")
    if holder.get("strict") and (problem := strict_problem(schema)):
        text = f"Invalid schema for response_format '{holder.get('name')}': {problem}"
        _refuse(text, "invalid_json_schema", "response_format")
    return schema


def _prompt_tokens(messages: Sequence[Mapping[str, Any]], settings: Settings) -> int:
    tokens, most = count_message_tokens(messages), settings.context_length
    if most is not None and tokens > most:
        text = (
            f"This model's maximum context length is {most} tokens. However, your "
            f"messages resulted in {tokens} tokens. Please reduce the length of the "
            "messages."
        )
        _refuse(text, "context_length_exceeded", "messages")
    return tokens


def _refuse(message: str, code: str | None, param: str) -> NoReturn:
    raise RefusedError(error(400, message, code=code, param=param))

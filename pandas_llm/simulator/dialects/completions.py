"""OpenAI's chat completions: what every compatible server speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import (
    AUDIO,
    DOCUMENTS,
    IMAGES,
    ImageError,
    look_at_url,
    message_text,
)
from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming
from pandas_llm.simulator.dialects.openai import OPENAI
from pandas_llm.simulator.dialects.replies import (
    Chat,
    check_fields,
    check_mode,
    make_reply,
    prompt_tokens,
    read_model,
    whole_number,
)
from pandas_llm.simulator.dialects.strict import strict_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.simulator.conditions import Settings

_MOST_CHOICES = 128
_MOST_LOGPROBS = 20
_LENGTH_NAMES = ("max_completion_tokens", "max_tokens")


def read_chat(incoming: Incoming, settings: Settings) -> Chat:
    """Return the request, or refuse it as OpenAI does."""
    fields = incoming.fields
    model = read_model(incoming.model or fields.get("model"), settings)
    check_fields(fields, settings)
    check_stream(fields)
    messages = _messages(fields)
    schema = _response_format(fields, messages, settings)
    n = whole_number(fields, "n", most=_MOST_CHOICES) or 1
    lengths = (whole_number(fields, name) for name in _LENGTH_NAMES)
    most = min((n for n in lengths if n is not None), default=None)
    tokens = prompt_tokens(messages, settings)
    logprobs = whole_number(fields, "top_logprobs", least=0, most=_MOST_LOGPROBS) or 0
    return Chat(
        model=model,
        messages=messages,
        n=min(n, settings.max_n or n),
        max_tokens=most,
        schema=schema,
        seed=fields.get("seed"),
        prompt_tokens=tokens,
        reserved=max(most or 0, tokens),  # as OpenAI counts against its limits
        top_logprobs=logprobs if fields.get("logprobs") and settings.logprobs else 0,
        marked=explicit(fields),
    )


def explicit(fields: Mapping[str, Any]) -> bool:
    """Return whether the prompt is to be kept up to marks alone."""
    wanted = fields.get("prompt_cache_options")
    return isinstance(wanted, dict) and wanted.get("mode") == "explicit"


def check_stream(fields: Mapping[str, Any]) -> None:
    """Refuse to stream."""
    if fields.get("stream"):
        text = "Unsupported value: 'stream' does not support true with this model."
        refuse(text, "unsupported_value", "stream")


def read_schema(holder: Any, param: str, name: str) -> Mapping[str, Any]:
    """Return the schema of a structured output, or refuse it."""
    schema = holder.get("schema") if isinstance(holder, dict) else None
    if not isinstance(schema, dict):
        text = f"Missing required parameter: '{name}.schema'."
        refuse(text, "missing_required_parameter", name)
    if holder.get("strict") and (problem := strict_problem(schema)):
        text = f"Invalid schema for {param} '{holder.get('name')}': {problem}"
        refuse(text, "invalid_json_schema", param)
    return schema


def check_says_json(messages: Sequence[Mapping[str, Any]], where: str) -> None:
    """Refuse JSON mode where no message speaks of JSON."""
    if not any("json" in message_text(m).lower() for m in messages):
        text = (
            f"'messages' must contain the word 'json' in some form, to use '{where}' "
            "of type 'json_object'."
        )
        refuse(text, None, "messages")


def read_url(url: Any, where: str, kinds: tuple[str, ...] = IMAGES) -> dict[str, str]:
    """Return a part of text in place of an image or a file, or refuse it."""
    try:
        return {"type": "text", "text": look_at_url(url, kinds)}
    except ImageError as error:
        refuse(f"Invalid '{where}': {error}", error.code, where)


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = fields.get("messages")
    if messages is None:
        text = "Missing required parameter: 'messages'."
        refuse(text, "missing_required_parameter", "messages")
    if not isinstance(messages, list) or not messages:
        refuse("Invalid 'messages': empty array.", "empty_array", "messages")
    return [_message(m, f"messages[{i}]") for i, m in enumerate(messages)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        refuse(f"Invalid '{where}': expected a role.", "invalid_type", where)
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [_part(part, f"{where}.content[{i}]") for i, part in enumerate(content)]
    return {**message, "content": parts}


def _part(part: Any, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        refuse(f"Invalid '{where}': expected an object.", "invalid_type", where)
    kind = part.get("type")
    content = part.get(kind) if isinstance(kind, str) else None
    if kind == "image_url":
        url = content.get("url") if isinstance(content, dict) else content
        return read_url(url, f"{where}.image_url.url")
    if kind not in ("file", "input_audio"):
        return part
    content = content if isinstance(content, dict) else {}
    if kind == "input_audio":
        url = f"data:audio/{content.get('format')};base64,{content.get('data')}"
        return read_url(url, f"{where}.input_audio", AUDIO)
    url, where = content.get("file_data"), f"{where}.file.file_data"
    if not str(url).startswith("data:") or not content.get("filename"):
        text = f"Invalid '{where}': expected a data URL beside 'filename'."
        refuse(text, "invalid_value", where)
    return read_url(url, where, DOCUMENTS[:1])  # text is a part of its own


def _response_format(
    fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], settings: Settings
) -> Mapping[str, Any] | None:
    wanted = fields.get("response_format") or {}
    if not isinstance(wanted, dict):
        text = "Invalid type for 'response_format': expected an object."
        refuse(text, "invalid_type", "response_format")
    mode = wanted.get("type", "text")
    if mode == "text":
        return None
    check_mode(mode, "response_format", settings)
    if mode == "json_object":
        check_says_json(messages, "response_format")
        return wanted.get("schema") or {}
    holder = wanted.get("json_schema") or wanted  # llama.cpp puts it one level higher
    return read_schema(holder, "response_format", "response_format.json_schema")


CHAT_COMPLETIONS = Dialect(
    vendor=OPENAI,
    paths=(
        "/v1/chat/completions",
        "/openai/v1/chat/completions",  # Azure, new and old
        "/openai/deployments/{model}/chat/completions",
    ),
    read=read_chat,
    write=make_reply,
)

"""Anthropic's Messages.

Field names, error types and limits: the ``anthropic`` package 2.12 and the texts of
its documentation; messages are worded as its service words them where that is known.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.simulator.answers import (
    DOCUMENTS,
    IMAGES,
    ImageError,
    look_at,
    look_at_url,
)
from pandas_llm.simulator.conditions import Answer, Problem, refuse
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Vendor, Written
from pandas_llm.simulator.dialects.replies import (
    Chat,
    beginnings,
    check_fields,
    check_mode,
    make_reply,
    prompt_tokens,
    read_model,
    said,
    whole_number,
)
from pandas_llm.simulator.dialects.strict import anthropic_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.simulator.conditions import Level, Settings

_SAMPLING = ("temperature", "top_p", "top_k")
_WITHOUT_SAMPLING = "2026-10-21"  # the first version that refuses them
_FIELDS = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "output_config", "thinking"),
        *("stop_sequences", "metadata", "service_tier", "speed", "cache_control"),
        *("tools", "tool_choice", "stream", "container", "inference_geo"),
        *("diagnostics", "prefill", *_SAMPLING),
    }
)
_MOST_MARKS = 4
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_WORDS = {
    "context_length_exceeded": "prompt is too long: {tokens} tokens > {most} maximum",
    "integer_below_min_value": "{name}: Input should be greater than or equal to 1",
    "insufficient_quota": "You have reached the monthly API usage limit of your tier.",
    "invalid_api_key": "invalid x-api-key",
    "invalid_json": "The request body is not valid JSON: expected an object",
    "invalid_json_schema": "output_config.format.schema: {problem}",
    "invalid_type": "{name}: Input should be a valid integer",
    "missing_model": "model: Field required",
    "model_not_found": "model: {model}",
    "rate_limit_exceeded": (
        "This request would exceed your organization's rate limit of {limit:,} {unit} "
        "per minute (model: {model})."
    ),
    "server_error": "Internal server error",
    "server_is_overloaded": "Service temporarily unavailable",
    "unsupported_parameter": "{name}: Extra inputs are not permitted",
}
_FINISHES = {"stop": "end_turn", "length": "max_tokens"}


def read(incoming: Incoming, settings: Settings) -> Chat:
    """Return the request, or refuse it as Anthropic does."""
    fields = incoming.fields
    _check_version(incoming)
    model = read_model(fields.get("model"), settings)
    check_fields(fields, settings)
    for name in sorted(fields.keys() - _FIELDS):
        refuse(f"{name}: Extra inputs are not permitted", None, name)
    if fields.get("stream"):
        refuse("stream: this model does not stream", None, "stream")
    most = whole_number(fields, "max_tokens")
    if most is None:
        refuse("max_tokens: Field required", None, "max_tokens")
    schema = _schema(fields.get("output_config") or {}, settings)
    messages = _messages(fields)
    tokens = prompt_tokens(messages, settings)
    # neither max_tokens nor what was kept count against the limits, unlike at OpenAI
    chat = Chat(
        *(model, messages, 1, most, schema, None, tokens, tokens),
        marked=True,
        reads_count=False,
    )
    if (marks := len(beginnings(chat)[1])) > _MOST_MARKS:
        text = (
            f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. "
            f"Found {marks}."
        )
        refuse(text, None, "cache_control")
    return chat


def write(chat: Chat, settings: Settings, number: int, fault: str | None) -> Written:
    """Return the reply as a message."""
    reply, usage = make_reply(chat, settings, number, fault)
    message: dict[str, Any] = {
        "id": f"msg_sim_{number:08}",
        "type": "message",
        "role": "assistant",
        "model": chat.model,
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage["prompt_tokens"] - chat.cached - chat.written,
            "cache_creation_input_tokens": chat.written,
            "cache_read_input_tokens": chat.cached,
            "output_tokens": usage["completion_tokens"],
            "service_tier": "standard",
        },
    }
    for choice in reply["choices"]:
        message |= _said(choice)
    if fault == "no_message":
        del message["content"]
    return message, usage


def _said(choice: Mapping[str, Any]) -> dict[str, Any]:
    words = said(choice)
    if words is None:
        return {}
    if words.finish in ("refusal", "content_filter"):
        details = {"type": "refusal", "category": None, "explanation": words.text}
        return {"stop_reason": "refusal", "stop_details": details}
    content = [{"type": "text", "text": words.text}]
    return {"content": content, "stop_reason": _FINISHES[words.finish]}


def _check_version(incoming: Incoming) -> None:
    version = incoming.headers.get("anthropic-version")
    if version is None:
        refuse("anthropic-version: header is required")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        refuse(f"anthropic-version: '{version}' is not a valid version")
    if version >= _WITHOUT_SAMPLING:
        for name in _SAMPLING:
            if name in incoming.fields:
                text = f"{name}: not supported with anthropic-version {version}"
                refuse(text, None, name)


def _schema(config: Any, settings: Settings) -> Mapping[str, Any] | None:
    if not isinstance(config, dict):
        refuse("output_config: Input should be a valid dictionary")
    form = config.get("format")
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        refuse("output_config.format.type: Input should be 'json_schema'")
    check_mode("json_schema", "output_config.format", settings)
    schema = form.get("schema")
    if not isinstance(schema, dict):
        refuse("output_config.format.schema: Field required")
    if problem := anthropic_problem(schema):
        refuse(f"output_config.format.schema: {problem}")
    return schema


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    turns = fields.get("messages")
    if not isinstance(turns, list):
        refuse("messages: Field required", None, "messages")
    if not turns:
        refuse("messages: at least one message is required", None, "messages")
    messages = [_message(message, f"messages.{i}") for i, message in enumerate(turns)]
    if system := fields.get("system"):
        content = _content(system, "system", ("text",))
        messages.insert(0, {"role": "system", "content": content})
    return messages


def _message(message: Any, where: str) -> dict[str, Any]:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("user", "assistant"):
        refuse(f"{where}.role: Input should be 'user' or 'assistant'", None, where)
    content = _content(message.get("content"), where, ("text", "image", "document"))
    return {"role": role, "content": content}


def _content(content: Any, where: str, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        refuse(f"{where}.content: Field required", None, where)
    if not content:
        refuse(f"{where}: all messages must have non-empty content", None, where)
    blocks = []
    for i, block in enumerate(content):
        at = f"{where}.content.{i}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in kinds:
            text = (
                f"{at}: Input tag '{kind}' found using 'type' does not match any of "
                f"the expected tags: {', '.join(kinds)}"
            )
            refuse(text, None, where)
        text = _BLOCKS[kind](block, at)
        mark = block.get("cache_control")
        if mark is not None and mark.get("type") != "ephemeral":
            refuse(f"{at}.cache_control.type: Input should be 'ephemeral'", None, where)
        blocks.append({"type": "text", "text": text, "cache_control": mark})
    return blocks


def _text(block: Mapping[str, Any], where: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        refuse(f"{where}.text: Input should be a valid string", None, where)
    if not text.strip():
        what = "contain non-whitespace text" if text else "be non-empty"
        refuse(f"messages: text content blocks must {what}", None, where)
    return text


def _image(
    block: Mapping[str, Any], where: str, kinds: tuple[str, ...] = IMAGES
) -> str:
    source, where = block.get("source"), f"{where}.{block.get('type')}.source"
    source = source if isinstance(source, dict) else {}
    kind, url = source.get("type"), source.get("url")
    if kind not in ("base64", "url") or str(url).startswith("data:"):
        refuse(f"{where}: expected 'base64' or 'url'", None, where)
    try:
        if kind == "url":
            return look_at_url(url, kinds)
        return look_at(source.get("media_type"), source.get("data"), kinds)
    except ImageError as error:
        refuse(f"{where}.{kind}: {error}", error.code, where)


def _document(block: Mapping[str, Any], where: str) -> str:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    text = source.get("data")
    if source.get("type") != "text":
        return _image(block, where, DOCUMENTS[:1])
    if not isinstance(text, str) or source.get("media_type") != "text/plain":
        refuse(f"{where}.document.source: expected text/plain", None, where)
    return text


def _error(problem: Problem, request_id: str) -> Answer:
    error: dict[str, Any] = {
        "type": _TYPES.get(problem.status, "api_error"),
        "message": problem.worded(_WORDS),
    }
    if problem.code == "insufficient_quota":
        error["details"] = {"error_code": "enforced_spend_limit_reached"}
    body = {"type": "error", "error": error, "request_id": request_id}
    headers = {}
    if problem.wait is not None:
        headers["retry-after"] = str(max(1, math.ceil(problem.wait)))
    return Answer(problem.status, orjson.dumps(body), headers=headers)


def _limit_headers(levels: list[Level]) -> dict[str, str]:
    now = datetime.now(UTC)
    headers = {}
    for level in levels:
        reset = now + timedelta(seconds=math.ceil(level.full_in))
        names = ["input-tokens", "tokens"] if level.kind == "tokens" else [level.kind]
        for name in names:
            begin = f"anthropic-ratelimit-{name}"
            headers[f"{begin}-limit"] = str(level.limit)
            headers[f"{begin}-remaining"] = str(level.remaining)
            headers[f"{begin}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers


_BLOCKS = {"text": _text, "image": _image, "document": _document}
ANTHROPIC = Vendor(
    refuse=_error,
    key="x-api-key",
    broken={
        "type": "error",
        "error": {"type": "api_error", "message": "Internal server error"},
    },
    limit_headers=_limit_headers,
    request_id="request-id",
)
MESSAGES = Dialect(ANTHROPIC, ("/v1/messages",), read, write)

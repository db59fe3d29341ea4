"""OpenAI's Responses, without state: one input, one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import DOCUMENTS
from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.dialects.completions import (
    check_says_json,
    check_stream,
    explicit,
    read_schema,
    read_url,
)
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Written
from pandas_llm.simulator.dialects.openai import OPENAI
from pandas_llm.simulator.dialects.replies import (
    Chat,
    check_fields,
    check_mode,
    make_reply,
    prompt_tokens,
    read_model,
    said,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.simulator.conditions import Settings

_FEWEST_TOKENS = 16
_UNKNOWN = ("n", "seed", "stop", "messages", "response_format", "max_tokens")
_STATEFUL = ("previous_response_id", "conversation", "background")
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


def read(incoming: Incoming, settings: Settings) -> Chat:
    """Return the request, or refuse it as OpenAI does."""
    fields = incoming.fields
    model = read_model(fields.get("model"), settings)
    check_fields(fields, settings)
    for name in _UNKNOWN:
        if name in fields:
            refuse(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    for name in _STATEFUL:
        if fields.get(name):
            refuse(f"'{name}' is not simulated.", "unsupported_parameter", name)
    check_stream(fields)
    messages = _messages(fields)
    schema = _format(fields, messages, settings)
    most = whole_number(fields, "max_output_tokens", least=_FEWEST_TOKENS)
    tokens = prompt_tokens(messages, settings, "input")
    return Chat(
        model=model,
        messages=messages,
        max_tokens=most,
        schema=schema,
        prompt_tokens=tokens,
        reserved=max(most or 0, tokens),
        marked=explicit(fields),
    )


def write(chat: Chat, settings: Settings, number: int, fault: str | None) -> Written:
    """Return the reply as a response."""
    reply, usage = make_reply(chat, settings, number, fault)
    response: dict[str, Any] = {
        "id": f"resp_sim_{number:08}",
        "object": "response",
        "created_at": reply["created"],
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": chat.model,
        "output": [],
        **_ECHOED,
        "max_output_tokens": chat.max_tokens,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": chat.cached,
                "cache_write_tokens": chat.written,
            },
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }
    for choice in reply["choices"]:
        _add(response, choice, f"msg_sim_{number:08}")
    return response, usage


def _add(response: dict[str, Any], choice: Mapping[str, Any], name: str) -> None:
    words = said(choice)
    message: dict[str, Any] = {"type": "message", "id": name, "role": "assistant"}
    message |= {"status": "completed", "content": []}
    response["output"].append(message)
    if words is None:  # as when all tokens went into reasoning
        return
    if words.finish == "refusal":
        message["content"] = [{"type": "refusal", "refusal": words.text}]
        return
    if words.finish != "stop":
        reason = "max_output_tokens" if words.finish == "length" else words.finish
        response["incomplete_details"] = {"reason": reason}
        response["status"] = message["status"] = "incomplete"
    part = {"type": "output_text", "text": words.text, "annotations": []}
    message["content"] = [{**part, "logprobs": []}]


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    items = fields.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list) or not items:
        text = "Missing required parameter: 'input'."
        refuse(text, "missing_required_parameter", "input")
    messages = [_message(item, f"input[{i}]") for i, item in enumerate(items)]
    if instructions := fields.get("instructions"):
        messages.insert(0, {"role": "system", "content": str(instructions)})
    return messages


def _message(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        refuse(f"Invalid '{where}': only messages are simulated.", "invalid_type")
    if not isinstance(item.get("role"), str):
        refuse(f"Invalid '{where}': expected a role.", "invalid_type", where)
    content = item.get("content")
    if isinstance(content, list):
        content = [_part(p, f"{where}.content[{i}]") for i, p in enumerate(content)]
    return {"role": item["role"], "content": content}


def _part(part: Any, where: str) -> dict[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_file":
        name = "file_url" if "file_url" in part else "file_data"
        return read_url(part.get(name), f"{where}.{name}", DOCUMENTS)
    if kind == "input_image":
        return read_url(part.get("image_url"), f"{where}.image_url")
    if kind not in ("input_text", "output_text"):
        text = (
            f"Invalid value: '{kind}'. Supported values are: 'input_text', "
            "'input_image', 'output_text', 'refusal', 'input_file', 'input_audio'."
        )
        refuse(text, "invalid_value", f"{where}.type")
    return {**part, "type": "text"}


def _format(
    fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], settings: Settings
) -> Mapping[str, Any] | None:
    wanted = (fields.get("text") or {}).get("format") or {}
    mode = wanted.get("type", "text")
    if mode == "text":
        return None
    check_mode(mode, "text.format", settings)
    if mode == "json_object":
        check_says_json(messages, "text.format")
        return {}
    if not wanted.get("name"):
        text = "Missing required parameter: 'text.format.name'."
        refuse(text, "missing_required_parameter", "text.format.name")
    return read_schema(wanted, "text.format", "text.format")


RESPONSES = Dialect(
    vendor=OPENAI,
    paths=("/v1/responses", "/openai/v1/responses"),
    read=read,
    write=write,
    # a failure inside a 200, as for background work
    broken={
        "id": "resp_sim_failed",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "failed",
        "error": {"code": "server_error", "message": "The model failed to answer."},
        "incomplete_details": None,
        "model": "sim",
        "output": [],
        **_ECHOED,
        "usage": None,
    },
)

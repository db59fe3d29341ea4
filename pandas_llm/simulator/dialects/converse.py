"""Amazon Bedrock's Converse.

Field names: botocore's model of the service 1.44. Errors: a type in a header, a message
in the body; worded as the service words them where that is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.simulator.answers import DOCUMENTS, IMAGES, ImageError, look_at
from pandas_llm.simulator.conditions import Answer, Problem, refuse
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Vendor, Written
from pandas_llm.simulator.dialects.replies import (
    Chat,
    check_fields,
    make_reply,
    prompt_tokens,
    read_model,
    said,
    whole_number,
)
from pandas_llm.simulator.dialects.strict import anthropic_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.simulator.conditions import Settings

_FIELDS = frozenset(
    {
        *("messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig"),
        *("projectIdentifier", "additionalModelRequestFields", "promptVariables"),
        *("additionalModelResponseFieldPaths", "requestMetadata", "outputConfig"),
        *("performanceConfig", "serviceTier"),
    }
)
_CONFIG = frozenset({"maxTokens", "temperature", "topP", "stopSequences"})
_TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ValidationException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
_STATUSES = {401: 403, 404: 400, 529: 503}
_WORDS = {
    "context_length_exceeded": "Input is too long for requested model.",
    "insufficient_quota": "Too many tokens per day, please wait before trying again.",
    "invalid_api_key": "The security token included in the request is invalid.",
    "invalid_json": "The request body is not valid JSON.",
    "invalid_json_schema": (
        "The model returned the following errors: output_config.format.schema: "
        "{problem}"
    ),
    "model_not_found": "The provided model identifier is invalid.",
    "rate_limit_exceeded": (
        "Too many {unit}, please wait before trying again. You have sent too many "
        "{unit}.  Wait before trying again."
    ),
    "server_error": "The system encountered an unexpected error during processing. "
    "Try your request again.",
    "server_is_overloaded": "Bedrock is unable to process your request.",
    "unsupported_parameter": (
        "This model doesn't support the {name} field. Remove {name} and try again."
    ),
}
_DOCUMENTS = {"pdf": "application/pdf", "txt": "text/plain"}
_NAME = re.compile(r"[A-Za-z0-9()\[\]-]+(?: [A-Za-z0-9()\[\]-]+)*")
"""A name of a document, as the service describes it."""
_FINISHES = {"stop": "end_turn", "length": "max_tokens"}


@dataclass(frozen=True, slots=True)
class Conversation(Chat):
    """A request, and the tool that must be called with its answer."""

    tool: str = ""


def read(incoming: Incoming, settings: Settings) -> Conversation:
    """Return the request, or refuse it as Bedrock does."""
    fields = incoming.fields
    model = read_model(incoming.model, settings)
    config = _object(fields.get("inferenceConfig") or {}, "inferenceConfig")
    others = _object(
        fields.get("additionalModelRequestFields") or {}, "additionalModelRequestFields"
    )
    for name in sorted((fields.keys() - _FIELDS) | (config.keys() - _CONFIG)):
        refuse(f"Malformed input request: extraneous key [{name}] is not permitted.")
    check_fields([*fields, *config, *others], settings)
    tool, schema = _tool(fields, settings)
    if not tool:
        schema = _format(fields, settings)
    messages = _messages(fields)
    tokens = prompt_tokens(messages, settings)
    most = whole_number(config, "maxTokens")
    seed = others.get("seed")
    return Conversation(
        *(model, messages, 1, most, schema, seed, tokens, tokens + (most or 0)),
        marked=True,
        reads_count=False,
        tool=tool,
    )


def write(
    chat: Conversation, settings: Settings, number: int, fault: str | None
) -> Written:
    """Return the reply as a message, or as the call of a tool."""
    reply, usage = make_reply(chat, settings, number, fault)
    message: dict[str, Any] = {"role": "assistant", "content": []}
    response: dict[str, Any] = {
        "metrics": {"latencyMs": 1},
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": usage["prompt_tokens"] - chat.cached - chat.written,
            "cacheReadInputTokens": chat.cached,
            "cacheWriteInputTokens": chat.written,
            "outputTokens": usage["completion_tokens"],
            "totalTokens": usage["total_tokens"],
        },
    }
    for choice in reply["choices"]:
        words = said(choice)
        if words is None:
            continue
        text = words.text
        if words.finish in ("refusal", "content_filter"):
            message["content"] = [{"text": text}] if text else []
            response["stopReason"] = "content_filtered"
            continue
        response["stopReason"] = _FINISHES[words.finish]
        message["content"] = [{"text": text}]
        if chat.tool:
            _call(response, chat.tool, text, number)
    if fault in ("no_message", "no_choices"):
        del response["output"]
    return response, usage


def _call(response: dict[str, Any], tool: str, text: str, number: int) -> None:
    """Put the call of a tool in place of the text, where it is whole."""
    try:
        arguments = orjson.loads(text)
    except orjson.JSONDecodeError:
        if response["stopReason"] == "end_turn":
            response["stopReason"] = "malformed_tool_use"
        return
    use = {"toolUseId": f"tooluse_sim_{number:08}", "name": tool, "input": arguments}
    response["output"]["message"]["content"] = [{"toolUse": use}]
    response["stopReason"] = "tool_use"


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(f"Unexpected type for {where}: expected an object.")
    return value


def _unsupported(name: str) -> None:
    text = f"This model doesn't support the {name} field. Remove {name} and try again."
    refuse(text, None, name)


def _tool(
    fields: Mapping[str, Any], settings: Settings
) -> tuple[str, Mapping[str, Any] | None]:
    """Return the tool that must be called, and the schema of what it takes."""
    config = fields.get("toolConfig")
    if config is None:
        return "", None
    if "tool" not in settings.schema_modes:
        _unsupported("toolConfig")
    tools = _object(config, "toolConfig").get("tools")
    if not isinstance(tools, list) or not tools:
        refuse("toolConfig.tools: expected at least one tool.")
    known = {}
    for each in tools:
        spec = _object(each, "toolConfig.tools").get("toolSpec") or {}
        schema = (spec.get("inputSchema") or {}).get("json")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            text = "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must"
            refuse(f"{text} be one of the following: object.")
        known[str(spec.get("name"))] = schema
    chosen = (config.get("toolChoice") or {}).get("tool") or {}
    name = chosen.get("name", "")
    if name and name not in known:
        refuse(f"toolConfig.toolChoice.tool.name: there is no tool {name}.")
    return name, known.get(name)


def _format(fields: Mapping[str, Any], settings: Settings) -> Mapping[str, Any] | None:
    """Return the schema of a structured output, which is a text in there."""
    wanted = _object(fields.get("outputConfig") or {}, "outputConfig").get("textFormat")
    if wanted is None:
        return None
    if "json_schema" not in settings.schema_modes:
        _unsupported("outputConfig")
    if wanted.get("type") != "json_schema":
        refuse("outputConfig.textFormat.type: expected json_schema.")
    described = (wanted.get("structure") or {}).get("jsonSchema") or {}
    try:
        schema = orjson.loads(str(described.get("schema")))
    except orjson.JSONDecodeError:
        schema = None
    if not isinstance(schema, dict):
        refuse("outputConfig.textFormat.structure.jsonSchema.schema: no JSON schema.")
    if problem := anthropic_problem(schema):
        refuse(problem, "invalid_json_schema", problem=problem)
    return schema


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    turns = fields.get("messages")
    if not isinstance(turns, list) or not turns:
        refuse("A conversation must start with a user message.")
    messages: list[dict[str, Any]] = []
    for i, message in enumerate(turns):
        message = _object(message, f"messages.{i}")  # noqa: PLW2901
        role, wanted = message.get("role"), ("assistant" if i % 2 else "user")
        if role not in ("user", "assistant"):
            refuse(f"Value at messages.{i}.role must satisfy enum value set.")
        if role != wanted:
            refuse(
                "A conversation must alternate between user and assistant roles. Make "
                "sure the conversation alternates between user and assistant roles and "
                "try again."
            )
        messages.append({"role": role, "content": _blocks(message, f"messages.{i}")})
    if system := fields.get("system"):
        blocks = _blocks({"content": system}, "system")
        messages.insert(0, {"role": "system", "content": blocks})
    return messages


def _blocks(message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    content = message.get("content")
    if not isinstance(content, list) or not content:
        refuse(f"The content field in the Message object at {where} is empty.")
    blocks: list[dict[str, Any]] = []
    for i, block in enumerate(content):
        if "cachePoint" in _object(block, where):
            if not blocks:
                refuse(f"A cachePoint at {where}.content.{i} has nothing before it.")
            blocks[-1]["cachePoint"] = True
        else:
            text = _block(block, f"{where}.content.{i}")
            blocks.append({"type": "text", "text": text})
    return blocks


def _block(block: Mapping[str, Any], where: str) -> str:
    text = block.get("text")
    if isinstance(text, str):
        if not text.strip():
            refuse(
                f"The text field in the ContentBlock object at {where} is blank. Add "
                "text to the text field, and try again."
            )
        return text
    kinds: tuple[str, ...] = IMAGES
    if isinstance(content := block.get("document"), dict):
        if not _NAME.fullmatch(str(content.get("name"))):
            refuse(f"The name of the document at {where} has other characters.")
        kind, kinds = _DOCUMENTS.get(str(content.get("format"))), DOCUMENTS
    elif isinstance(content := block.get("image"), dict):
        kind = f"image/{content.get('format')}"
    else:
        refuse(f"The ContentBlock object at {where} must set one of its fields.")
    source = content.get("source") or {}
    try:
        return look_at(kind, source.get("bytes"), kinds)
    except ImageError as error:
        refuse(f"Could not process what is at {where}: {error}", error.code)


def _error(problem: Problem, _: str) -> Answer:
    status = _STATUSES.get(problem.status, problem.status)
    kind = _TYPES.get(problem.status, "ServiceUnavailableException")
    if problem.code == "invalid_signature":
        kind = "InvalidSignatureException"
    uri = "http://internal.amazon.com/coral/com.amazon.bedrock/"
    headers = {"x-amzn-errortype": f"{kind}:{uri}"}
    body = orjson.dumps({"message": problem.worded(_WORDS)})
    return Answer(status, body, headers=headers)


BEDROCK = Vendor(
    refuse=_error,
    broken={"Output": {"__type": "com.amazon.coral.service#InternalFailure"}},
    request_id="x-amzn-requestid",
    signs=True,
)
CONVERSE = Dialect(BEDROCK, ("/model/{model}/converse",), read, write)

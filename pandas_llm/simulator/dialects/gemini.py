"""Google's Gemini: generateContent and the embeddings.

Field names: the ``google-genai`` package 3.4. Errors: `google.rpc.Status` with the
details that Google's services add; there are no rate limit headers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import (
    AUDIO,
    DOCUMENTS,
    IMAGES,
    ImageError,
    look_at,
    look_at_url,
)
from pandas_llm.simulator.conditions import refuse
from pandas_llm.simulator.dialects.endpoint import Dialect, Incoming, Written
from pandas_llm.simulator.dialects.gemini_errors import GOOGLE
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
    from collections.abc import Collection, Mapping

    from pandas_llm.simulator.conditions import Settings

_MOST_CANDIDATES = 8
_FIELDS = frozenset(
    {
        *("contents", "systemInstruction", "generationConfig", "safetySettings"),
        *("tools", "toolConfig", "cachedContent", "serviceTier", "store", "model"),
    }
)
_CONFIG_FIELDS = frozenset(
    {
        *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "seed"),
        *("stopSequences", "presencePenalty", "frequencyPenalty", "logprobs"),
        *("responseLogprobs", "responseMimeType", "responseSchema", "speechConfig"),
        *("responseJsonSchema", "thinkingConfig", "responseModalities"),
        *("mediaResolution", "enableEnhancedCivicAnswers", "imageConfig"),
    }
)
_FINISHES = {"stop": "STOP", "length": "MAX_TOKENS"}
_PATH = "/{version:v1|v1beta}/models/{model}"


def read(incoming: Incoming, settings: Settings) -> Chat:
    """Return the request, or refuse it as Google does."""
    fields = named(incoming.fields, _FIELDS)
    model = read_model(incoming.model, settings)
    config = fields.get("generationConfig") or {}
    config = named(config, _CONFIG_FIELDS, " at 'generation_config'")
    check_fields([*fields, *config], settings)
    n = whole_number(config, "candidateCount", most=_MOST_CANDIDATES) or 1
    schema = _schema(config, settings)
    messages = _messages(fields)
    tokens = prompt_tokens(messages, settings)
    return Chat(
        model=model,
        messages=messages,
        n=min(n, settings.max_n or n),
        max_tokens=whole_number(config, "maxOutputTokens"),
        schema=schema,
        seed=config.get("seed"),
        prompt_tokens=tokens,
        reserved=tokens,
    )


def write(chat: Chat, settings: Settings, number: int, fault: str | None) -> Written:
    """Return the reply as candidates."""
    reply, usage = make_reply(chat, settings, number, fault)
    tokens = usage["prompt_tokens"]
    response: dict[str, Any] = {
        "candidates": [_candidate(choice) for choice in reply["choices"]],
        "usageMetadata": {
            "promptTokenCount": tokens,
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
            **({"cachedContentTokenCount": chat.cached} if chat.cached else {}),
        },
        "modelVersion": chat.model,
        "responseId": f"sim-{number:08}",
    }
    if fault == "refusal":  # Google has no refusals: it blocks the prompt
        response["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
    if fault in ("refusal", "no_choices"):
        del response["candidates"]
    return response, usage


def named(fields: Any, known: Collection[str], where: str = "") -> dict[str, Any]:
    """Return fields under their names in camel case, or refuse an unknown one.

    Google's parser takes both ways of writing.
    """
    if not isinstance(fields, dict):
        refuse(f"Invalid value{where}: expected an object.")
    renamed = {_camel(name): value for name, value in fields.items()}
    for name, camel in zip(fields, renamed, strict=True):
        if camel not in known:
            text = (
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot '
                "find field."
            )
            refuse(text, "unknown_name", name)
    return renamed


def read_content(content: Any, where: str) -> list[dict[str, str]]:
    """Return the parts of a content as text, or refuse it."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts:
        refuse(
            f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty."
        )
    return [
        {"type": "text", "text": _part(part, f"{where}.parts[{i}]")}
        for i, part in enumerate(parts)
    ]


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def _candidate(choice: Mapping[str, Any]) -> dict[str, Any]:
    words = said(choice)
    candidate = {"index": choice["index"], "finishReason": "STOP"}
    if words is None:  # as when thinking took all tokens
        return candidate
    if words.finish not in _FINISHES:
        return {**candidate, "finishReason": "SAFETY"}
    content = {"parts": [{"text": words.text}], "role": "model"}
    finish = _FINISHES[words.finish]
    return {**candidate, "content": content, "finishReason": finish}


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    contents = fields.get("contents")
    if not isinstance(contents, list) or not contents:
        refuse("* GenerateContentRequest.contents: contents is not specified")
    messages = []
    for i, content in enumerate(contents):
        parts = read_content(content, f"contents[{i}]")
        role = content.get("role", "user")
        if role not in ("user", "model"):
            refuse("Please use a valid role: user, model.")
        messages.append(
            {"role": "assistant" if role == "model" else role, "content": parts}
        )
    if system := fields.get("systemInstruction"):
        parts = read_content(system, "system_instruction")
        messages.insert(0, {"role": "system", "content": parts})
    return messages


def _part(part: Any, where: str) -> str:
    part = _camels(part)
    data, file = _camels(part.get("inlineData")), _camels(part.get("fileData"))
    if isinstance(part.get("text"), str):
        return str(part["text"])
    if not data and not file:
        refuse(
            f"* GenerateContentRequest.{where}.data: required oneof field 'data' must "
            "have one initialized field"
        )
    media_type = str((data or file).get("mimeType", "image/"))
    is_image = media_type.startswith("image/")
    kinds = IMAGES if is_image else (*DOCUMENTS, *AUDIO)
    try:
        if data:
            return look_at(media_type, data.get("data"), kinds)
        return look_at_url(file.get("fileUri"), kinds)
    except ImageError as error:
        what = "image" if is_image else "file"
        refuse(f"Unable to process input {what} at '{where}': {error}", error.code)


def _camels(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict):
        return {}
    return {_camel(name): value for name, value in fields.items()}


def _schema(config: Mapping[str, Any], settings: Settings) -> Mapping[str, Any] | None:
    if {"responseSchema", "responseJsonSchema"} <= config.keys():
        refuse("Only one of response_schema and response_json_schema may be set.")
    wanted = config.get("responseJsonSchema")
    if "responseSchema" in config:
        wanted = json_schema(config["responseSchema"])
    mime_type = config.get("responseMimeType", "text/plain")
    where = "* GenerateContentRequest.generation_config.response_mime_type"
    if mime_type not in ("text/plain", "application/json"):
        text = "allowed mimetypes are `text/plain` and `application/json`."
        refuse(f"{where}: {text}")
    if mime_type == "text/plain":
        if wanted is not None:
            refuse(f"{where}: a response schema needs `application/json`.")
        return None
    mode = "json_object" if wanted is None else "json_schema"
    check_mode(mode, "generation_config.response_json_schema", settings)
    if not isinstance(wanted, dict | None):
        refuse("Invalid value at 'generation_config.response_json_schema'.")
    return wanted or {}


def json_schema(schema: Any) -> Any:
    """Turn Google's own form of a schema into JSON Schema.

    Examples
    --------
    >>> json_schema({"type": "STRING", "nullable": True})
    {'anyOf': [{'type': 'string'}, {'type': 'null'}]}
    """
    if isinstance(schema, list):
        return [json_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    converted: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            converted[name] = {key: json_schema(part) for key, part in value.items()}
        elif name == "type" and isinstance(value, str):
            converted[name] = value.lower()
        elif name != "nullable":
            converted[_camel(name)] = json_schema(value)
    if schema.get("nullable"):
        return {"anyOf": [converted, {"type": "null"}]}
    return converted


GENERATE_CONTENT = Dialect(
    vendor=GOOGLE,
    paths=(f"{_PATH}:generateContent",),
    read=read,
    write=write,
    usage="usageMetadata",
)

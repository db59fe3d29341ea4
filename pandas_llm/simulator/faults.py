"""What goes wrong on purpose, and how it looks on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.simulator.limits import go_duration, retry_headers
from pandas_llm.simulator.values import MARK, unit_hash

if TYPE_CHECKING:
    from pandas_llm.simulator.limits import Verdict
    from pandas_llm.simulator.settings import Settings

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer before it is sent."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def fault_of(settings: Settings, number: int, prompt: str) -> str | None:
    """Return the fault of a request: planned, of its prompt, or by chance.

    Chance depends on the seed and the number of the request alone.
    """
    if number in settings.fault_plan:
        return settings.fault_plan[number]
    for part, name in settings.fail_if.items():
        if part in prompt:
            return name
    if not settings.faults:
        return None
    left = unit_hash("fault", str(settings.seed), str(number))
    for name, share in sorted(settings.faults.items()):
        left -= share
        if left < 0:
            return name
    return None


def error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> Answer:
    """Return an error as OpenAI words it."""
    return Answer(status, orjson.dumps(_error_body(message, kind, code, param)))


def over_limit(verdict: Verdict, model: str) -> Answer:
    """Return the 429 of a limit that is really reached."""
    unit = "tokens" if verdict.kind == "tokens" else "requests"
    per = f"{unit} per min ({'TPM' if unit == 'tokens' else 'RPM'})"
    where = f"for {model} in organization org-simulator on {per}"
    if verdict.wait == float("inf"):
        text = (
            f"Request too large {where}: Limit {verdict.limit}, Requested "
            f"{verdict.requested}. The input or output tokens must be reduced in order "
            "to run successfully."
        )
    else:
        text = (
            f"Rate limit reached {where}: Limit {verdict.limit}, Requested "
            f"{verdict.requested}. Please try again in {go_duration(verdict.wait)}."
        )
    return error(429, text, kind=unit, code="rate_limit_exceeded")


def injected(name: str, settings: Settings, model: str) -> Answer | None:
    """Return the answer of a fault that replaces the whole reply, if it does."""
    if name in _WHOLE:
        return _WHOLE[name]
    if name not in _ERRORS:
        return None
    status, kind, code, message = _ERRORS[name]
    answer = error(status, message.format(model=model), kind=kind, code=code)
    if name in {"429", "503", "529"} and settings.retry_after:
        answer.headers.update(retry_headers(settings.fault_delay))
    return answer


def spoil(name: str, reply: dict[str, Any]) -> None:
    """Spoil a good reply in place."""
    if name == "no_usage":
        del reply["usage"]
    elif name == "no_choices":
        reply["choices"] = []
    for choice in reply["choices"]:
        message = choice["message"]
        if name == "no_message":
            del choice["message"]
        elif name == "refusal":
            message |= {"content": None, "refusal": f"{MARK}I can't help with that."}
        elif name == "content_filter":
            message["content"] = ""
            choice["finish_reason"] = "content_filter"
        elif name == "cut_off":
            message["content"] = message["content"][: len(message["content"]) // 2]
            choice["finish_reason"] = "length"
        elif name in _CONTENTS:
            message["content"] = _CONTENTS[name]


def _error_body(
    message: str, kind: str, code: str | None, param: str | None
) -> dict[str, dict[str, str | None]]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_CONTENTS = {
    "bad_output": f'{MARK}Sure! Here is what I found: {{"records": [{{"question": "Wh',
    "wrong_schema": '{"simulated": true, "unexpected": [1, 2, 3]}',
}
_HTML = b"<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"
_WHOLE = {
    "html": Answer(200, _HTML, "text/html"),
    "empty": Answer(200, b""),
    "broken_json": Answer(200, b'{"id": "chatcmpl-sim-0", "choices": [{"ind'),
    "error_200": Answer(
        200, b'{"error": {"message": "Provider returned error", "code": 502}}'
    ),
}
_ERRORS: dict[str, tuple[int, str, str | None, str]] = {
    "400": (
        400,
        "invalid_request_error",
        "invalid_prompt",
        "Invalid prompt: your prompt was flagged as potentially violating our policy.",
    ),
    "401": (
        401,
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided. You can find your API key in your account.",
    ),
    "404": (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "429": (
        429,
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for {model} on requests per min (RPM): Limit 500.",
    ),
    "429_quota": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "500": (
        500,
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    "503": (
        503,
        "server_error",
        "server_is_overloaded",
        "The engine is currently overloaded, please try again later.",
    ),
    "529": (529, "overloaded_error", None, "Overloaded"),
}

"""What goes wrong on purpose, and how it looks on the wire."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers import MARK, unit_hash
from pandas_llm.simulator.conditions.limits import go_duration
from pandas_llm.simulator.conditions.problems import Answer, Problem

if TYPE_CHECKING:
    from pandas_llm.simulator.conditions.limits import Verdict
    from pandas_llm.simulator.conditions.settings import Settings


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


def over_limit(verdict: Verdict, model: str, *, told: bool) -> Problem:
    """Return the 429 of a limit that is really reached; told: says how long."""
    unit = "tokens" if verdict.kind == "tokens" else "requests"
    per = f"{unit} per min ({'TPM' if unit == 'tokens' else 'RPM'})"
    where = f"for {model} in organization org-simulator on {per}"
    about = {"unit": unit, "limit": verdict.limit, "model": model}
    if verdict.wait == math.inf:
        text = (
            f"Request too large {where}: Limit {verdict.limit}, Requested "
            f"{verdict.requested}. The input or output tokens must be reduced in order "
            "to run successfully."
        )
        return Problem(429, text, unit, "rate_limit_exceeded", about=about)
    text = (
        f"Rate limit reached {where}: Limit {verdict.limit}, Requested "
        f"{verdict.requested}. Please try again in {go_duration(verdict.wait)}."
    )
    wait = verdict.wait if told else None
    return Problem(429, text, unit, "rate_limit_exceeded", wait=wait, about=about)


def injected(name: str, settings: Settings, model: str) -> Problem | None:
    """Return the error that a fault answers with, if it does."""
    problem = _ERRORS.get(name)
    if problem is None:
        return None
    waits = name in _WAITING and settings.retry_after
    return replace(
        problem,
        message=problem.message.format(model=model),
        wait=settings.fault_delay if waits else None,
        about={"model": model, **problem.about},
    )


def spoil(name: str, reply: dict[str, Any]) -> None:
    """Spoil a good reply in place."""
    if name == "no_choices":
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


_CONTENTS = {
    "bad_output": f'{MARK}Sure! Here is what I found: {{"records": [{{"question": "Wh',
    "wrong_schema": '{"simulated": true, "unexpected": [1, 2, 3]}',
}
_HTML = b"<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"
WHOLE = {"html": Answer(200, _HTML, "text/html"), "empty": Answer(200, b"")}
"""Faults that answer with something else than the vendor's JSON."""

_WAITING = frozenset({"429", "503", "529"})
_ERRORS = {
    "400": Problem(
        400,
        "Invalid prompt: a message must hold a text or a list of parts.",
        code="invalid_prompt",
    ),
    "401": Problem(
        401,
        "Incorrect API key provided. You can find your API key in your account.",
        code="invalid_api_key",
    ),
    "404": Problem(
        404,
        "The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
    "429": Problem(
        429,
        "Rate limit reached for {model} on requests per min (RPM): Limit 500.",
        "requests",
        "rate_limit_exceeded",
        about={"unit": "requests", "limit": 500},
    ),
    "429_quota": Problem(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "500": Problem(
        500,
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        "server_error",
    ),
    "503": Problem(
        503,
        "The engine is currently overloaded, please try again later.",
        "server_error",
        "server_is_overloaded",
    ),
    "529": Problem(529, "Overloaded", "overloaded_error"),
}

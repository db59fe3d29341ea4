"""OpenAI's own: its error bodies, its rate limit headers, its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from pandas_llm.simulator.conditions import Answer, Problem, go_duration, retry_headers
from pandas_llm.simulator.dialects.endpoint import Vendor

if TYPE_CHECKING:
    from pandas_llm.simulator.conditions import Level


def error_answer(problem: Problem, _: str) -> Answer:
    """Word an error as OpenAI does."""
    code = None if problem.code in _OURS else problem.code
    error = {
        "message": problem.message,
        "type": problem.kind,
        "param": problem.param,
        "code": code,
    }
    headers = {} if problem.wait is None else retry_headers(problem.wait)
    return Answer(problem.status, orjson.dumps({"error": error}), headers=headers)


def rate_headers(levels: list[Level]) -> dict[str, str]:
    """Return three ``x-ratelimit-*`` headers for each limit."""
    headers: dict[str, str] = {}
    for level in levels:
        headers[f"x-ratelimit-limit-{level.kind}"] = str(level.limit)
        headers[f"x-ratelimit-remaining-{level.kind}"] = str(level.remaining)
        headers[f"x-ratelimit-reset-{level.kind}"] = go_duration(level.full_in)
    return headers


# Codes that other vendors look their words up by; OpenAI sends null there.
_OURS = frozenset(
    {*("invalid_json", "missing_model", "no_such_object", "not_found"), "server_error"}
)
OPENAI = Vendor(
    refuse=error_answer,
    key="api-key",  # Azure's
    # OpenRouter: the upstream failed, yet the status says 200
    broken={"error": {"message": "Provider returned error", "code": 502}},
    limit_headers=rate_headers,
)

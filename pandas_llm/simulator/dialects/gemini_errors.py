"""Errors as Google's services word them: a status and typed details."""

from __future__ import annotations

from typing import Any

import orjson

from pandas_llm.simulator.conditions import Answer, Problem, go_duration
from pandas_llm.simulator.dialects.endpoint import Vendor

_TYPE = "type.googleapis.com/google.rpc."
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}
_OVER_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details."
)
_WORDS = {
    "context_length_exceeded": (
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed "
        "({most})."
    ),
    "insufficient_quota": _OVER_QUOTA,
    "invalid_api_key": "API key not valid. Please pass a valid API key.",
    "invalid_json": "Invalid JSON payload received. Expected an object.",
    "model_not_found": (
        "models/{model} is not found for API version v1beta, or is not supported for "
        "generateContent. Call ListModels to see the list of available models and "
        "their supported methods."
    ),
    "no_such_object": "Requested entity was not found.",
    "rate_limit_exceeded": _OVER_QUOTA,
    "server_error": "An internal error has occurred. Please retry.",
    "server_is_overloaded": "The model is overloaded. Please try again later.",
    "unsupported_parameter": (
        'Invalid JSON payload received. Unknown name "{name}" at '
        "'generation_config': Cannot find field."
    ),
}
_A_DAY = 10 * 3600.0  # how long a used up daily quota may have to be waited for


def error_answer(problem: Problem, _: str) -> Answer:
    """Word an error as Google does."""
    status = 400 if problem.code == "invalid_api_key" else problem.status
    wait = problem.wait
    if problem.code == "insufficient_quota":
        wait = _A_DAY
    message = problem.worded(_WORDS)
    details = list(_details(problem))
    if wait is not None and status == 429:  # noqa: PLR2004
        message += f"\nPlease retry in {go_duration(wait)}."
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{wait:.9g}s"})
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": _STATUSES.get(status, "UNAVAILABLE"),
    }
    if details:
        error["details"] = details
    return Answer(status, orjson.dumps({"error": error}))


def _details(problem: Problem) -> list[dict[str, Any]]:
    if problem.code == "invalid_api_key":
        return [
            {
                "@type": f"{_TYPE}ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        ]
    if problem.code == "unknown_name":
        violation = {"description": problem.message}
        return [{"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]}]
    if problem.code not in ("rate_limit_exceeded", "insufficient_quota"):
        return []
    return [{"@type": f"{_TYPE}QuotaFailure", "violations": [_violation(problem)]}]


def _violation(problem: Problem) -> dict[str, Any]:
    about = problem.about
    tokens = about.get("unit") == "tokens"
    what = "GenerateContentInputTokens" if tokens else "GenerateRequests"
    per = "Day" if problem.code == "insufficient_quota" else "Minute"
    metric = "input_token_count" if tokens else "requests"
    service = "generativelanguage.googleapis.com"
    return {
        "quotaMetric": f"{service}/generate_content_paid_tier_{metric}",
        "quotaId": f"{what}Per{per}PerProjectPerModel-PaidTier",
        "quotaDimensions": {"location": "global", "model": about.get("model", "")},
        "quotaValue": str(about.get("limit", 250)),
    }


GOOGLE = Vendor(
    refuse=error_answer,
    key="x-goog-api-key",
    broken={"error": {"code": 502, "message": "Bad Gateway", "status": "UNAVAILABLE"}},
)

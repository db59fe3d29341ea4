"""What an answer that is no success means; the same table for every dialect.

Sources: OpenAI's guide to error codes, its client's retry rules, and the error
bodies of vLLM, llama.cpp, Ollama, LiteLLM, OpenRouter, Mistral, Groq, Together and
Gemini's compatible endpoint.
"""

from __future__ import annotations

import email.utils
import html
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from pandas_llm import errors
from pandas_llm.providers.bodies import parsed
from pandas_llm.providers.headers import duration

if TYPE_CHECKING:
    from pandas_llm.types import HTTPResponse

_NO_CREDIT = re.compile(
    r"insufficient_quota|credit_balance|spend.limit|usage_limit_exceeded"
    r"|billing_not_active|billing_error|insufficient.balance|no credits?\b"
    r"|payment.required|organization_on_hold"
    r"|reached your specified [\w ]*usage limits"  # Anthropic, a 400
    r"|\blimit: 0(?!\.?\d)",  # Google: no free quota at all
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|string_above_max_length"
    r"|maximum context length|context (window|size|length|limit)|prompt is too long"
    r"|input token count",  # Google
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_filter|content_policy|moderation|ResponsibleAI",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api_key_invalid|api key (not valid|expired)|incorrect api key", re.IGNORECASE
)
"""Google and xAI answer 400 to a wrong key."""
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
_NO_IMAGES = re.compile("image input is not supported", re.IGNORECASE)
"""llama.cpp's, with status 500."""
_PAGE = 65_536
"""Bytes of a page that are looked at: its style sheet may stand before its title."""
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1>|\Z)|<[^>]*(?:>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_TRY_AGAIN = re.compile(
    r"(?:try again|retry) in ((?:[\d.]+ ?(?:ms|h|m|s))+)", re.IGNORECASE
)
_PER_DAY = re.compile("PerDay")
_ANOTHER_TRY = {408, 409, 425, 498, 500, 502, 504}
_OVERLOADED = {503, 529}


def load(response: HTTPResponse) -> Any:
    """Parse a body; raise `MalformedReplyError` for one that is not JSON."""
    try:
        return parsed(response.body)
    except ValueError:
        what = (
            "the reply is empty"
            if not response.body.strip()
            else (f"the reply is not JSON: {excerpt(response)}")
        )
        raise errors.MalformedReplyError(
            what, status=response.status, request_id=_request_id(response)
        ) from None


def load_or_none(response: HTTPResponse) -> Any:
    """Parse a body if it is JSON."""
    try:
        return load(response)
    except errors.MalformedReplyError:
        return None


def excerpt(response: HTTPResponse, width: int = 200) -> str:
    """Give the start of a body, markup taken off, for a message."""
    text = response.body[:_PAGE].decode("utf-8", "replace")
    text = " ".join(html.unescape(_MARKUP.sub(" ", text)).split())
    return text[:width] + "…" * (len(text) > width)


def classify(response: HTTPResponse, data: Any) -> errors.ProviderError:
    """Name the error: by what the body says first, by the status second."""
    body = _error_body(data)
    code, param, message = _fields(body, response)
    status = response.status
    if status < 400 and isinstance(body.get("code"), int):  # noqa: PLR2004
        status = body["code"]  # OpenRouter: an error inside a 200
    details = _details(body)
    wait = retry_after(response, message)
    if wait is None:
        wait = details.wait
    about = f"{code or ''} {body.get('type') or ''} {details.words} {message}"
    kind, hint = _kind(status, about, wait)
    if hint and message and message[-1] not in ".!?:":
        message += "."
    words = f"HTTP {status}" + f" ({code})" * bool(code) + f": {message}{hint}"
    return kind(
        words,
        status=status,
        code=code,
        param=param,
        request_id=_request_id(response),
        retry_after=wait,
    )


def _kind(  # noqa: C901, PLR0911, PLR0912 - the table, a line each
    status: int, about: str, wait: float | None
) -> tuple[type[errors.ProviderError], str]:
    """Give the class and the way out."""
    if _PER_DAY.search(about) and status == 429:  # noqa: PLR2004
        return (
            errors.RateLimitedTooLong,
            " The quota of the day is used up: run again later, or raise it.",
        )
    spent = status == 402 or "quota_exceeded" in about  # noqa: PLR2004
    if _NO_CREDIT.search(about) or (spent and wait is None):
        return (
            errors.NoCreditError,
            " Waiting does not help: see the account's billing.",
        )
    if _TOO_LONG.search(about) and status < 500:  # noqa: PLR2004
        return errors.ContextLengthError, " Shorten the prompt."
    if _BAD_KEY.search(about) and status == 400:  # noqa: PLR2004
        return errors.AuthenticationError, " Check the key and what it may do."
    if _FILTERED.search(about) and status in (400, 403):
        return errors.PromptFilteredError, ""
    if status in (402, 429) and not _TOO_LARGE.search(about):
        return errors.RateLimitError, ""
    if status in (401, 403):
        return errors.AuthenticationError, " Check the key and what it may do."
    if status == 404:  # noqa: PLR2004
        if "v1/responses" in about:
            return errors.ModelNotFoundError, " Ask for it as openai-responses/…"
        return errors.ModelNotFoundError, " Check model= and base_url=."
    if 300 <= status < 400:  # noqa: PLR2004
        return errors.ModelNotFoundError, " Redirects are not followed: fix base_url=."
    if _NO_IMAGES.search(about):
        return errors.BadRequestError, " This model takes no images."
    if status in _OVERLOADED:
        return errors.OverloadedError, ""
    if status in _ANOTHER_TRY or status >= 500 or status < 300:  # noqa: PLR2004
        return errors.ServerError, ""
    return errors.BadRequestError, ""


class _Details(NamedTuple):
    """What Google's errors say in their details."""

    words: str = ""
    wait: float | None = None


def _details(body: dict[str, Any]) -> _Details:
    """Read ``google.rpc.RetryInfo``, ``QuotaFailure`` and ``ErrorInfo``."""
    given = body.get("details")
    if not isinstance(given, list):
        return _Details()
    words, wait = [], None
    for detail in (item for item in given if isinstance(item, dict)):
        wait = duration(detail.get("retryDelay")) or wait
        violations = detail.get("violations") or []
        words += [str(v.get("quotaId")) for v in violations if isinstance(v, dict)]
        words.append(str(detail.get("reason") or ""))
    return _Details(" ".join(words), wait)


def holds_error(data: Any) -> bool:
    """Tell whether a body is an error though its status is 200."""
    if isinstance(data, list) and data:
        data = data[0]
    error = data.get("error") if isinstance(data, dict) else None
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _error_body(data: Any) -> dict[str, Any]:
    """Find the error in ``[{…}]``, ``{"error": …}``, a flat object or a text."""
    if isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, dict) and data.get("error"):
        error = data["error"]
        data = {**data, "message": error} if isinstance(error, str) else error  # xAI
    if isinstance(data, str):
        return {"message": data}
    return data if isinstance(data, dict) else {}


def _fields(
    body: dict[str, Any], response: HTTPResponse
) -> tuple[str | None, str | None, str]:
    """Give code, parameter and message; codes may be numbers, or ``"429"``."""
    details = body.get("details")
    code = body.get("code")
    if code is None and isinstance(details, dict):
        code = details.get("error_code")  # Anthropic
    if code is None or str(code) == str(response.status):  # llama.cpp, LiteLLM, Google
        code = body.get("type") or body.get("status") or code
    param = body.get("param")
    message = body.get("message") or body.get("detail") or excerpt(response)
    return (
        str(code) if code is not None else None,
        param if isinstance(param, str) else None,
        message if isinstance(message, str) else orjson.dumps(message).decode(),
    )


def _request_id(response: HTTPResponse) -> str | None:
    return response.headers.get("x-request-id") or response.headers.get("request-id")


def retry_after(response: HTTPResponse, message: str = "") -> float | None:
    """Give the seconds that an answer asks to wait.

    Read in this order: ``retry-after-ms``, ``Retry-After`` in seconds, as a date,
    and the message's own words.
    """
    headers = response.headers
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        pass
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - time.time())
    except ValueError:
        pass
    if match := _TRY_AGAIN.search(message):
        return duration(match[1].replace(" ", "").lower())
    return None

"""What an answer without success means; the same table for every dialect.

Sources: OpenAI's guide to error codes, its client's retry rules, and the error
bodies of vLLM, llama.cpp, Ollama, LiteLLM, OpenRouter, Mistral, Groq, Together and
Gemini's compatible endpoint.
"""

from __future__ import annotations

import codecs
import html
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from pandas_llm import errors
from pandas_llm.providers.answers.bodies import ODD, objects, parsed
from pandas_llm.providers.answers.headers import duration, retry_after
from pandas_llm.providers.failures.words import Failure, meaning, without_quotes
from pandas_llm.redaction import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.types import HTTPResponse, Request

    _Error = type[errors.ProviderError]

_EXCERPT = 201
"""Letters of a body that a message shows, with the mark behind."""
_PAGE = 65_536
"""Bytes of a page that are looked at: its style sheet may stand before its title."""
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1>|\Z)|<[^>]*(?:>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_MESSAGES = ("message", "detail", "msg", "error_message", "error_msg", "title")
_WAITS = ("retry_after", "retryAfter", "retry_after_seconds", "estimated_time")
"""Fields of seconds; the last is Hugging Face's, of a model that is being loaded."""
_PAGES = (b"<html", b"<!doctype", b"<!--", b"<head", b"<body", b"<title")
"""How a page begins."""
_PASSED_ON = 300
"""Letters of an answer that is passed on as it came."""
_MINIMAX = {
    **dict.fromkeys(("1002", "1039", "1041", "2045", "2056"), 429),
    **dict.fromkeys(("1004", "2049"), 401),
    "1008": 402,
    "1026": 451,
    "1027": 451,
    "1042": 400,
    "2013": 400,
}
"""The status that a code of MiniMax's in a 200 stands for; 500 for all others."""
_STATUS: dict[str, int] = {
    **dict.fromkeys(("invalid_request_error", "BadRequestError"), 400),
    **dict.fromkeys(("INVALID_ARGUMENT", "FAILED_PRECONDITION"), 400),
    **dict.fromkeys(("authentication_error", "invalid_api_key"), 401),
    **dict.fromkeys(("AuthenticationError", "UNAUTHENTICATED"), 401),
    "billing_error": 402,
    **dict.fromkeys(("permission_error", "PERMISSION_DENIED"), 403),
    **dict.fromkeys(("not_found_error", "NotFoundError", "NOT_FOUND"), 404),
    "model_not_found": 404,
    **dict.fromkeys(("rate_limit_error", "RESOURCE_EXHAUSTED"), 429),
    **dict.fromkeys(("overloaded_error", "UNAVAILABLE"), 503),
}
"""The status that a word stands for in a 200, such as within a stream."""
_CLOUDFLARE = re.compile(rb"\s*error code: 1\d{3}\s*\Z")
"""What its firewall answers in place of a page."""
_KINDS: dict[int, _Error] = {
    **dict.fromkeys(range(300, 400), errors.ModelNotFoundError),
    **dict.fromkeys(range(400, 500), errors.BadRequestError),
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.AuthenticationError,
    **dict.fromkeys((404, 405, 410, 501), errors.ModelNotFoundError),
    413: errors.ContextLengthError,
    429: errors.RateLimitError,
    451: errors.PromptFilteredError,
    # passing trouble: 424 is TGI's, 444 and 499 nginx's, 498 Groq's
    **dict.fromkeys((408, 409, 424, 425, 444, 498, 499), errors.ServerError),
    **dict.fromkeys((503, 529), errors.OverloadedError),
}
"""What a status alone means: the last line that has it, or else a server's error."""


def load(response: HTTPResponse) -> Any:
    """Parse a body; raise `MalformedReplyError` for one that is not JSON."""
    try:
        return parsed(response.body)
    except ValueError:
        empty = not response.body.strip()
        what = "empty" if empty else f"not JSON: {excerpt(response)}"
        if not empty and _is_page(response):
            what = _page(response) + " Check base_url=: an API's mostly ends in /v1"
        raise errors.MalformedReplyError(
            f"the reply is {what}",
            status=response.status,
            request_id=request_id(response),
        ) from None


def excerpt(response: HTTPResponse) -> str:
    """Return the start of a body, markup taken off, for a message."""
    text = response.body[:_PAGE].decode("utf-8", "replace")
    return clipped(" ".join(html.unescape(_MARKUP.sub(" ", text)).split()), _EXCERPT)


def lacks(what: str, response: HTTPResponse) -> errors.ProviderError:
    """Return the error of a reply without what it is read for, or that it tells."""
    data = parsed(response.body) if response.body.startswith(b"{") else None
    told = classify(response, data)
    if data is not None and type(told) is not errors.ServerError:
        return told
    return errors.MalformedReplyError(
        f"the reply holds no {what}: {excerpt(response)}", status=response.status
    )


def classify(response: HTTPResponse, data: Any, url: str = "") -> errors.ProviderError:
    """Return the error: by code, type and the vendor's words, then by the status."""
    try:
        return _classified(response, data, url)
    except ODD:
        # a body may be anything: then the status alone decides
        return _classified(response._replace(body=b""), None, url)


def _classified(response: HTTPResponse, data: Any, url: str) -> errors.ProviderError:
    """Return the error of a body that can be read."""
    body = _passed_on(_error_body(data))
    codes, said = _codes(body, data), _message(body)
    status = _meant(response.status, codes)
    response = response._replace(status=status)
    code, param = _code(body, status), body.get("param")
    message = said or excerpt(response)
    reasons, told = _details(body)
    words = without_quotes(message, _asked(response.asked))
    asked_wait = retry_after(response, words)
    wait = told if asked_wait is None else asked_wait
    if data is not None and said is None:
        words = ""  # the start of a body that has no message may be the row's text
    host = urlsplit(url).hostname or ""
    failure = Failure(status, (*codes, *reasons), words, host, wait)
    kind = meaning(failure) or _by_status(response, wait)
    if data is None and _is_page(response):
        message = _page(response)
    shown_code = f" ({code})" * (code not in (None, "", "None", str(status)))
    error = kind(
        f"HTTP {status}{shown_code}: {_helped(kind, failure, message)}",
        status=status,
        code=code,
        param=param if isinstance(param, str) else None,
        request_id=request_id(response),
        retry_after=wait,
    )
    error.said = words
    return error


def _meant(status: int, codes: Sequence[str]) -> int:
    """Return the status that a code stands for: in a 200, or what passes in a 400."""
    if status > 400 or not codes:  # noqa: PLR2004
        return status
    if status == 400:  # noqa: PLR2004
        code = int(codes[0]) if codes[0].isdecimal() else 0
        return code if code == 429 or 500 <= code < 600 else status  # noqa: PLR2004
    known = [int(code) if code.isdecimal() else _STATUS.get(code) for code in codes]
    return next((code for code in known if code and 400 <= code < 600), status)  # noqa: PLR2004


def _by_status(response: HTTPResponse, wait: float | None) -> _Error:
    """Return what a status means, with how long to wait and what came."""
    status = response.status
    if status == 402 and wait is not None:  # noqa: PLR2004
        return errors.RateLimitError
    if status in (403, 406) and (
        _is_page(response) or _CLOUDFLARE.match(response.body)
    ):
        return errors.BlockedError
    return _KINDS.get(status, errors.ServerError)


def _helped(kind: _Error, failure: Failure, message: str) -> str:
    """Add the way out to a message."""
    hint = _HINTS.get(kind, "")
    if issubclass(kind, errors.ModelNotFoundError):
        if 300 <= failure.status < 400:  # noqa: PLR2004
            hint = "Redirects are not followed: fix base_url=."
        elif "v1/responses" in failure.message:
            hint = "Ask for it as openai-responses/…"
    if kind is errors.BadRequestError and "mage input is not supp" in failure.message:
        hint = "This model takes no images."
    if hint and message and message[-1] not in ".!?:。！？":  # noqa: RUF001
        message += "."
    return f"{message} {hint}".strip() if hint else message


_HINTS: dict[_Error, str] = {
    errors.RateLimitedTooLong: "The quota of the day is used up: run again later, or "
    "raise it.",
    errors.NoCreditError: "Waiting does not help: see the account's billing.",
    errors.PaymentRequiredError: "Waiting does not help: see the account's billing.",
    errors.ContextLengthError: "Shorten the prompt.",
    errors.AuthenticationError: "Check the key and its permissions.",
    errors.ModelNotFoundError: "Check model= and base_url=.",
    errors.BlockedError: "A firewall before the API does not let this prompt through.",
}


def generated(response: HTTPResponse) -> str | None:
    """Return the text that Groq refused as not JSON and put into the error."""
    try:
        body = _error_body(parsed(response.body))
    except ValueError:
        return None
    if body.get("code") != "json_validate_failed":
        return None
    text = body.get("failed_generation")
    if isinstance(text, (dict, list)):
        return orjson.dumps(text).decode()
    return text if isinstance(text, str) else ""


def _asked(request: Request | None) -> str:
    """Return all that a row sent, as one text."""
    if request is None:
        return ""
    turns = [text for _, text in request.followup]
    return "\n".join([request.text, request.system or "", *turns])


def _page(response: HTTPResponse) -> str:
    """Describe a page that came in place of the API's answer."""
    title = excerpt(response)
    return f"an HTML page, such as a gateway's or a login's: {title!r}."


def _is_page(response: HTTPResponse) -> bool:
    """Return whether an answer is an HTML page, as firewalls and proxies send them."""
    start = response.body.removeprefix(codecs.BOM_UTF8).lstrip()[:15].lower()
    is_html = "html" in response.headers.get("content-type", "")
    return start.startswith(_PAGES) or (is_html and not start.startswith((b"{", b"[")))


def _details(body: dict[str, Any]) -> tuple[list[str], float | None]:
    """Read the reasons and the wait of ``google.rpc``'s details, or a field's wait."""
    reasons: list[str] = []
    waits = (body[name] for name in _WAITS if isinstance(body.get(name), (int, float)))
    wait = duration(str(next(waits, None)))
    for detail in objects(body.get("details")):
        delay = detail.get("retryDelay")
        wait = (duration(delay) if isinstance(delay, str) else None) or wait
        quotas = objects(detail.get("violations"))
        reasons += [str(one.get("quotaId")) for one in quotas]
        reasons.append(str(detail.get("reason") or ""))
    return reasons, wait


def _codes(body: dict[str, Any], data: Any) -> list[str]:
    """Return every code, type and status word that a body has."""
    inner, details = body.get("innererror"), body.get("details")
    codes = [body.get(name) for name in ("code", "type", "status", "error_type")]
    for part, name in ((details, "error_code"), (inner, "code"), (data, "error_type")):
        codes.append(part.get(name) if isinstance(part, dict) else None)
    codes.append(str(body.get("__type") or "").rpartition("#")[2])  # AWS
    codes += [one.get("reason") for one in objects(body.get("errors"))]  # Google
    about = body.get("metadata")
    if isinstance(about, dict) and about.get("reasons"):
        codes.append("moderation_blocked")  # OpenRouter
    return [str(code) for code in codes if isinstance(code, (str, int))]


def holds_error(data: Any) -> bool:
    """Return whether a body is an error though its status is 200."""
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return False
    error = _base_resp(data) or data.get("error")
    error = error or data.get("object") == "error"  # vLLM
    error = error or bool(objects(data.get("errors")))  # Cloudflare
    if isinstance(error, dict):
        return any(error.values()) and str(error.get("code")) != "0"
    return bool(error)


def _base_resp(data: dict[str, Any]) -> dict[str, Any]:
    """Return the error of MiniMax's ``base_resp``; empty without one."""
    inner = data.get("base_resp")
    if not isinstance(inner, dict) or str(inner.get("status_code") or 0) == "0":
        return {}
    code = str(inner["status_code"])
    message = inner.get("status_msg") or "no reason is given"
    return {"code": _MINIMAX.get(code, 500), "type": code, "message": message}


def _error_body(data: Any) -> dict[str, Any]:
    """Find the error in ``[{…}]``, ``{"error": …}``, a flat object or a text."""
    if isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, str):
        return {"message": data}
    if not isinstance(data, dict):
        return {}
    error = _base_resp(data) or data.get("error")
    if error and isinstance(error, dict):
        return error
    if error and isinstance(error, str) and not data.get("message"):
        return {**data, "message": error}  # xAI
    if _message(data) is None:
        return next(iter(objects(data.get("errors"))), data)  # Cloudflare
    return data


def _passed_on(body: dict[str, Any]) -> dict[str, Any]:
    """Add what OpenRouter passes on of the vendor behind it."""
    about = body.get("metadata")
    raw = about.get("raw") if isinstance(about, dict) else None
    if not isinstance(raw, str) or not isinstance(body.get("message"), str):
        return body
    try:
        inner = _error_body(orjson.loads(raw))
    except orjson.JSONDecodeError:
        inner = {"message": raw[:_PASSED_ON]}
    if (words := _message(inner)) is None:
        return body
    code = inner.get("code") or inner.get("type")
    return {**body, "message": f"{body['message']}: {words}", "status": code}


def _code(body: dict[str, Any], status: int) -> str | None:
    """Return the code, which may be a number, or the status as a text."""
    details, code = body.get("details"), body.get("code")
    if code is None and isinstance(details, dict):
        code = details.get("error_code")  # Anthropic
    if code is None or str(code) == str(status):  # llama.cpp, LiteLLM, Google
        code = body.get("type") or body.get("status") or code
    return None if code is None else str(code)


def _message(body: dict[str, Any]) -> str | None:
    """Return a body's own message, under any of its names."""
    message = next((body[name] for name in _MESSAGES if body.get(name)), None)
    if isinstance(message, dict):  # Mistral
        names = ("detail", "message", "error")
        message = next(filter(None, map(message.get, names)), None)
    if isinstance(message, list):
        message = _complaints(message)
    return None if message is None else str(message)


def _complaints(detail: list[Any]) -> str | None:
    """Write FastAPI's list without what it echoes: the input is the row's own text."""
    parts = []
    for item in detail:
        if isinstance(item, str):  # NestJS
            parts.append(item)
        elif isinstance(item, dict):
            loc = item.get("loc")
            where = ".".join(map(str, loc)) if isinstance(loc, list) else ""
            if words := item.get("msg") or item.get("message"):
                parts.append(f"{where}: {words}" if where else str(words))
    return "; ".join(parts) or None


def request_id(response: HTTPResponse) -> str | None:
    """Return the vendor's name of an exchange, for its support."""
    said = response.headers.get
    return said("x-request-id") or said("request-id") or said("x-amzn-requestid")

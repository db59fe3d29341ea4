"""Keys taken out of what is shown: requests in previews, answers that quote them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from pandas_llm.redaction import is_secret, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas_llm.types import Endpoint, HTTPRequest, HTTPResponse

_SHORTEST = 8
"""Letters of a secret; taking shorter ones out could spoil an answer."""


def secrets(endpoint: Endpoint) -> tuple[bytes, ...]:
    """Give an endpoint's key, and those of its headers that may hold one."""
    texts = [endpoint.api_key or ""]
    for name, value in endpoint.headers:
        if is_secret(name):
            texts += value.split()
    return tuple(text.encode() for text in texts if len(text) >= _SHORTEST)


def redacted(response: HTTPResponse, secrets: Iterable[bytes]) -> HTTPResponse:
    """Take secrets out of an answer: some servers quote them in their errors."""
    body = response.body
    for secret in secrets:
        if secret in body:
            body = body.replace(secret, b"***")
    return response if body is response.body else response._replace(body=body)


def masked(request: HTTPRequest, secrets: Iterable[bytes]) -> HTTPRequest:
    """Give a request as it may be shown: all as it is sent, but the secrets."""
    body = request.body
    for secret in secrets:
        body = body.replace(secret, b"***")
    headers = {name: _masked(name, value) for name, value in request.headers.items()}
    parts = urlsplit(request.url)
    query = [(name, _masked(name, value)) for name, value in parse_qsl(parts.query)]
    url = shown(request.url) + (f"?{urlencode(query, safe='*')}" if query else "")
    return request._replace(url=url, headers=headers, body=body)


def _masked(name: str, value: str) -> str:
    """Mask a secret; of a header such as ``Bearer …`` the first word stays."""
    if not is_secret(name):
        return value
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} ***" if blank else "***"

"""What may not be shown of requests and answers: keys, tokens, passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from pandas_llm import environment
from pandas_llm.redaction import basic, is_secret, login, parted, parted_proxy, shown
from pandas_llm.types import Endpoint, HTTPRequest, HTTPResponse, Request

if TYPE_CHECKING:
    from collections.abc import Iterable


_SHORTEST = 8
"""The shortest secret to remove: shorter ones may be ordinary words."""


def secrets(endpoint: Endpoint) -> tuple[bytes, ...]:
    """Return an endpoint's key, headers that may hold one, passwords in URLs."""
    texts = [endpoint.api_key or ""]
    user, place = parted(endpoint.base_url)
    proxy = environment.proxy(place)
    for known in (user, parted_proxy(proxy.value)[0] if proxy else ""):
        if known:
            texts += [login(known)[1], basic(known).partition(" ")[2]]
    for name, value in endpoint.headers:
        if is_secret(name):
            texts += value.split()
    return tuple(text.encode() for text in texts if len(text) >= _SHORTEST)


def redacted(
    response: HTTPResponse, secrets: Iterable[bytes], asked: Request | None = None
) -> HTTPResponse:
    """Remove secrets from an answer, since servers quote them; add what was asked."""
    status, headers, body, _ = response
    for secret in secrets:
        if secret in body:
            body = body.replace(secret, b"***")
    return HTTPResponse(status, headers, body, asked)


def masked(request: HTTPRequest, secrets: Iterable[bytes]) -> HTTPRequest:
    """Return a request as it is sent, with its secrets masked."""
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

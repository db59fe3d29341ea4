"""One HTTP exchange over aiohttp; its failures as the package's errors."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import BytesPayload
from yarl import URL

from pandas_llm._http.network import (
    ASKS_FOR_CERTIFICATE,
    PROXY_LOGIN,
    Login,
    Route,
    find_route,
    refusal,
    tls_context,
    tls_failure,
    tls_trouble,
    unknown_to,
)
from pandas_llm._http.timeouts import Timeouts
from pandas_llm.errors import (
    ConfigurationError,
    ConnectionBrokenError,
    ConnectionFailedError,
    LLMError,
    MalformedReplyError,
    ReplyTooLargeError,
    RequestTimeoutError,
    UnreachableError,
)
from pandas_llm.options import OPTIONS, Settings
from pandas_llm.redaction import causes
from pandas_llm.types import HTTPRequest, HTTPResponse

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Mapping


MAX_REPLY = 16 * 1024 * 1024
_LARGE = 1_000_000
"""Bytes of a body that aiohttp is to send in pieces; above 2**20 it warns else."""
_CONNECT_SECONDS = 10.0
_GLANCE = 3.0
"""Seconds in which a server tells what is of use, but not needed."""
_SPARE_FILES = 64
_MOST = 2000
"""More connections cost more CPU a row (1.9 times at 1,000 against 256)."""
_HEAD: Mapping[str, Any] = {
    name: size
    for name, size in (
        ("max_line_size", 2**18),
        ("max_field_size", 2**18),
        ("max_headers", 4096),
    )
    if name in signature(aiohttp.ClientSession._request).parameters  # noqa: SLF001
}
"""How much may stand ahead of an answer: gateways add what they know of a request.
aiohttp's own 8 kB and 128 fields would lose an answer that was paid for; older ones
do not count the fields."""
_FLEX = 900.0
"""Seconds that OpenAI advises for its flex tier."""
_BROKEN = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
)
_SECRETIVE = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)
_LOOK = "Is the server running, and is base_url right?"
_LOOK_UP = "Is the name right, and is this machine online?"
_FULL = "Raise the limit (ulimit -n), or pass a lower concurrency="


def patience(settings: Settings) -> float:
    """Return the seconds for one request: the flex tier's may wait for their turn."""
    seconds = settings.request_timeout
    unset = seconds == OPTIONS["request_timeout"].default
    return _FLEX if unset and settings.service_tier == "flex" else seconds


class Transport:
    """Sends requests of one run; a session of the caller's is never closed here."""

    account = ""
    """Whose limits count, where no key tells."""

    def __init__(self, settings: Settings) -> None:
        self._session: aiohttp.ClientSession | None = settings.session
        self._settings = settings
        self._ways: dict[str, tuple[Route, URL, Mapping[str, Any], bool]] = {}
        self._context: ssl.SSLContext | None = None
        self._answered = False
        # The connector has no limit of its own, so nothing waits in its queue and the
        # time is the exchange's alone. (It would be the wait's too otherwise: eight
        # requests over two connections lost four to a time-out.)
        self._seconds = timeout = patience(settings)
        self._timeouts = Timeouts(timeout)
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(timeout, _CONNECT_SECONDS)
        )

    async def __aenter__(self) -> Self:
        """Open the session of the run, in the loop that will use it."""
        custom_tls = self._settings.ca is not None or self._settings.cert is not None
        if self._session is None:
            if custom_tls:
                self._context = tls_context(self._settings)  # before a row is asked
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # see find_route
                auto_decompress=True,
            )
        elif self._session._loop is not asyncio.get_running_loop():  # noqa: SLF001
            raise ConfigurationError(
                "session= belongs to another event loop: call from the one it was "
                "made in, best by `await df.llm.agenerate(...)`"
            )
        elif custom_tls:
            raise ConfigurationError(
                "ca= and cert= are for connections that are made here: give them to "
                "the connector of session="
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the session if it was opened here."""
        self._timeouts.close()
        if self._session is not None and self._settings.session is None:
            await self._session.close()
            self._session = None

    def send(self, request: HTTPRequest) -> Awaitable[HTTPResponse]:
        """Send by POST, which leaves once: it may be paid for, or create something."""
        return self._exchange("POST", request, MAX_REPLY)

    def get(
        self, request: HTTPRequest, most: int = MAX_REPLY
    ) -> Awaitable[HTTPResponse]:
        """Ask by GET, for a list of models or a file of at most `most` bytes."""
        return self._exchange("GET", request, most)

    async def glance(
        self, url: str, headers: Mapping[str, str], most: int = MAX_REPLY
    ) -> HTTPResponse | None:
        """Ask by GET for what is of use, but not needed; return None without it."""
        with suppress(LLMError, TimeoutError):
            async with asyncio.timeout(_GLANCE):
                return await self.get(HTTPRequest(url, headers, b""), most)
        return None

    async def _exchange(
        self, method: str, request: HTTPRequest, most: int
    ) -> HTTPResponse:
        """Send, and read the answer; left unread, it closes its connection."""
        assert self._session is not None  # noqa: S101 - entered by the caller
        # no headers among the names: tools that show a traceback's would show the key
        body, known = request.body, self._ways.get(request.url)
        route, url, how, signs = known or self._way(request.url)
        try:
            with self._timeouts:
                # no `async with`: an answer that was read has left its connection
                response = await self._session.request(
                    method,
                    url,
                    data=BytesPayload(body) if len(body) < _LARGE else BytesIO(body),
                    headers=route.signed(request.headers) if signs else request.headers,
                    **how,
                )
                self._answered = True
                status, told = response.status, response.headers
                if status == PROXY_LOGIN and route.proxy is not None:
                    response.close()
                    raise UnreachableError(unknown_to(route), status=status)
                length = response.content_length
                if length is None or length > most or "Content-Encoding" in told:
                    content = await _bounded(response, most)
                else:
                    content = await response.read()
                return HTTPResponse(status, told, content)
        except (aiohttp.ClientError, OSError) as error:
            self._fail(error, route)

    def _way(self, url: str) -> tuple[Route, URL, Mapping[str, Any], bool]:
        """Find out how a URL is asked, once for a run: the environment may change."""
        route = find_route(url, direct=self._settings.session is not None)
        how = {
            **_HEAD,
            "ssl": self._tls(route),
            "timeout": self._timeout,
            "allow_redirects": False,  # the key must not follow to another host
        }
        if route.proxy is not None:
            how["proxy"] = route.proxy
            if route.proxy_login is not None and route.tunnelled:
                how["proxy_headers"] = Login(route.proxy_login)
        # a signature is of the path as it stands, where yarl would write %3A as a colon
        written = "%" in route.url and route.url.isascii() and " " not in route.url
        target = URL(route.url, encoded=written)
        self._ways[url] = way = (route, target, how, route.signs)
        return way

    def _tls(self, route: Route) -> ssl.SSLContext | bool:
        """Return this run's TLS context: aiohttp reads the variables at its import."""
        secure = route.tunnelled or (route.proxy or "").startswith("https:")
        if self._settings.session is not None or not secure:
            return True
        if self._context is None:
            self._context = tls_context(self._settings)
        return self._context

    def _fail(self, error: Exception, route: Route) -> NoReturn:
        """Raise what an exchange has failed with, as an error of the package."""
        failure = self._failure(error, route)
        for cause in causes(error):
            # aiohttp's frames hold the headers: tools that show the variables of a
            # traceback would show the key
            cause.__traceback__ = None
        if isinstance(error, _SECRETIVE):
            error.__context__ = failure.__context__ = None
            raise failure from None  # its repr shows the headers
        raise failure from error

    def _failure(  # noqa: C901, PLR0911 - a table of errors
        self, error: Exception, route: Route
    ) -> LLMError:
        """Return the error that says what went wrong with an exchange."""
        if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
            return ConfigurationError(f"base_url cannot be requested: {route}")
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            host = urlsplit(route.url).hostname
            return ConnectionFailedError(
                f"no connection to {route.named}: {_words(error)}. Is it right? "
                f"NO_PROXY={host} goes around it"
            )
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return refusal(error.status, error.message, route)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ConnectionFailedError(f"no connection to {route} in time. {_LOOK}")
        if isinstance(error, TimeoutError):
            msg = f"no answer within {self._seconds:g} s; see request_timeout="
            return RequestTimeoutError(msg)
        if (trouble := tls_trouble(error)) is not None:
            return tls_failure(error, trouble, route)
        if isinstance(error, _SECRETIVE):
            msg = f"the answer broke off or is not HTTP: {_words(error)}"
            return MalformedReplyError(msg)
        unmade = aiohttp.ClientConnectorError
        if isinstance(error, _BROKEN) and not isinstance(error, unmade):
            msg = f"{route} broke the connection off: {_words(error)}"
            if route.tunnelled and not (self._answered or self._settings.cert):
                # in TLS 1.3 a server says so after the handshake; it gets lost
                msg += f". {ASKS_FOR_CERTIFICATE}"
            broken = ConnectionBrokenError(msg)
            reset = aiohttp.ClientConnectionResetError
            broken.unwritten = isinstance(error.__cause__ or error, reset)
            return broken
        if route.tunnelled and _broke_off(error):
            hint = "" if self._settings.cert else f" {ASKS_FOR_CERTIFICATE}"
            msg = f"TLS with {route} failed: the handshake was broken off.{hint}"
            return ConnectionFailedError(msg)
        return _unnamed(error, route)


def _unnamed(error: Exception, route: Route) -> LLMError:
    """Return the error of a failure that has no name of its own."""
    msg = f"no connection to {route}: {_words(error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        nameless = isinstance(error, aiohttp.ClientConnectorDNSError)
        full = error.os_error.errno in (errno.EMFILE, errno.ENFILE)
        look = _FULL if full else _LOOK_UP if nameless else _LOOK
        return ConnectionFailedError(f"{msg}. {look}")
    return ConnectionBrokenError(msg)  # it may be this request's own


def _broke_off(error: Exception) -> bool:
    """Return whether a connection ended while it was made: in the middle of TLS."""
    cause = getattr(error, "os_error", None)
    return isinstance(cause, ConnectionError) and not isinstance(
        cause, ConnectionRefusedError
    )


def open_connections() -> int:
    """Return how many connections this process may have, by its open-file limit."""
    try:
        import resource
    except ImportError:
        return 500
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, (limit - _SPARE_FILES) // 2))


def _words(error: Exception) -> str:
    """Return an error's own words, without a URL: a proxy's may hold a password."""
    cause = getattr(error, "os_error", None)
    if cause is not None:  # aiohttp's own words show its settings, uvloop's a tuple
        known = isinstance(cause.errno, int) and cause.errno > 0
        words = os.strerror(cause.errno) if known else cause.strerror
    else:
        message = getattr(error, "message", None)  # of a head cut off, what was read
        words = message if isinstance(message, str) and message else str(error)
    return (words or type(error).__name__).partition(": <")[0]


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Read a body whose size is not known before, up to a bound."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                msg = f"the reply is larger than {most // 2**20} MB"
                raise ReplyTooLargeError(msg, status=response.status)
    except BaseException:
        response.close()
        raise
    response.release()
    return bytes(body)

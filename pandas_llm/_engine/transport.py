"""One HTTP exchange over aiohttp; its failures as the package's errors."""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

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
from pandas_llm.redaction import shown
from pandas_llm.types import HTTPRequest, HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

MAX_REPLY = 16 * 1024 * 1024
_LARGE = 1_000_000
"""Bytes of a body that aiohttp is to send in pieces; above 2**20 it warns else."""
_CONNECT_SECONDS = 10.0
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
_STALE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_BROKEN = (*_STALE, aiohttp.ClientConnectionResetError)
_SECRETIVE = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)


class Transport:
    """Sends requests of one run.

    Parameters
    ----------
    timeout : float
        Seconds for one exchange.
    session : aiohttp.ClientSession, optional
        The caller's session; used as it is and never closed here.
    """

    def __init__(
        self, timeout: float, session: aiohttp.ClientSession | None = None
    ) -> None:
        self._given = session
        self._session: aiohttp.ClientSession | None = session
        self._seconds = timeout
        self._proxy = lru_cache(_proxy)  # for one run: the environment may change
        # The connector has no limit of its own, so nothing waits in its queue and
        # `total` counts the exchange alone. (It would count the wait otherwise:
        # eight requests over two connections lost four to a time-out.)
        self._timeout = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(timeout, _CONNECT_SECONDS)
        )

    async def __aenter__(self) -> Self:
        """Open the session of the run, in the loop that will use it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # see _proxy
                auto_decompress=True,
            )
        elif self._session._loop is not asyncio.get_running_loop():  # noqa: SLF001
            raise ConfigurationError(
                "session= belongs to another event loop: call from the one it was "
                "made in, `await df.llm.agenerate(...)` at best"
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session if it was opened here."""
        if self._session is not None and self._given is None:
            await self._session.close()
            self._session = None

    async def send(self, request: HTTPRequest, *, once: bool = False) -> HTTPResponse:
        """Send by POST and give the whole answer, whatever its status.

        Parameters
        ----------
        request : HTTPRequest
            What to send.
        once : bool
            Whether it must not leave twice, because it creates something.

        Raises
        ------
        ProviderError
            When there is no whole answer.
        """
        session = self._session
        assert session is not None  # noqa: S101 - entered by the caller
        url, body = request.url, request.body
        for again in (False, True):
            try:
                async with session.post(
                    url,
                    data=body if len(body) < _LARGE else BytesIO(body),
                    headers=request.headers,
                    proxy=None if self._given else self._proxy(url),
                    timeout=self._timeout,
                    allow_redirects=False,  # the key must not follow to another host
                    **_HEAD,
                ) as response:
                    return HTTPResponse(
                        response.status, response.headers, await _body(response)
                    )
            except _STALE as error:
                # A kept connection that the server has closed meanwhile fails at
                # once, and aiohttp does not send a POST again by itself
                # (aio-libs/aiohttp#6138): one more try, free of charge.
                if again or once:
                    raise self._failure(error, url) from error
            except _SECRETIVE as error:
                raise self._failure(error, url) from None  # its repr shows the headers
            except (aiohttp.ClientError, OSError) as error:
                raise self._failure(error, url) from error
        raise AssertionError

    def _failure(  # noqa: PLR0911 - a table of errors
        self, error: Exception, url: str
    ) -> LLMError:
        """Name what went wrong with an exchange."""
        if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
            return ConfigurationError(f"base_url is no URL that can be asked: {error}")
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ConnectionFailedError(f"no connection to {shown(url)} in time")
        if isinstance(error, TimeoutError):
            msg = f"no answer within {self._seconds:g} s; see request_timeout="
            return RequestTimeoutError(msg)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            msg = (
                f"the certificate of {shown(url)} is not trusted, so nothing "
                f"was sent: {error.certificate_error}. For a certificate authority of "
                "your own set SSL_CERT_FILE to its file"
            )
            return UnreachableError(msg)
        if isinstance(error, _SECRETIVE):
            msg = f"the answer broke off or is no HTTP: {_words(error)}"
            return MalformedReplyError(msg)
        unmade = aiohttp.ClientConnectorError
        if isinstance(error, _BROKEN) and not isinstance(error, unmade):
            msg = f"{shown(url)} broke the connection off: {_words(error)}"
            return ConnectionBrokenError(msg)
        return ConnectionFailedError(f"no connection to {shown(url)}: {_words(error)}")

    async def get(
        self, url: str, headers: Mapping[str, str], most: int = MAX_REPLY
    ) -> HTTPResponse:
        """Ask by GET, for a server's list of models or a file of at most so much."""
        assert self._session is not None  # noqa: S101 - entered by the caller
        try:
            async with self._session.get(
                url,
                headers=headers,
                proxy=None if self._given else self._proxy(url),
                timeout=self._timeout,
                allow_redirects=False,
                **_HEAD,
            ) as response:
                body = await _body(response, most)
                return HTTPResponse(response.status, response.headers, body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            msg = f"no connection to {shown(url)}: {_words(error)}"
            raise ConnectionFailedError(msg) from error


def _proxy(url: str) -> str | None:
    """Find the proxy that the environment names for a URL.

    aiohttp's ``trust_env`` would ask twice in another thread for each request (half
    of a row's CPU), leave these threads in the caller's loop, and refuse every
    request with a key to a host that ``~/.netrc`` names.
    """
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return getproxies().get(parts.scheme)


def open_connections() -> int:
    """Give how many connections this process may have, by its open-file limit."""
    try:
        import resource
    except ImportError:
        return 500
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, (limit - _SPARE_FILES) // 2))


def _words(error: Exception) -> str:
    """Give an error's own words, without a URL: a proxy's may hold a password."""
    cause = getattr(error, "os_error", None)
    if cause is not None:  # aiohttp's own words show its settings, uvloop's a tuple
        known = isinstance(cause.errno, int) and cause.errno > 0
        said = os.strerror(cause.errno) if known else cause.strerror
    else:
        said = getattr(error, "message", None) or str(error)
    return (said or type(error).__name__).partition(": <")[0]


async def _body(response: aiohttp.ClientResponse, most: int = MAX_REPLY) -> bytes:
    """Read a body of bounded size."""
    length = response.content_length
    if (
        length is not None
        and length <= most
        and "Content-Encoding" not in response.headers
    ):
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            response.close()
            msg = f"the reply is larger than {most // 2**20} MB"
            raise ReplyTooLargeError(msg, status=response.status)
    return bytes(body)

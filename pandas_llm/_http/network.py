"""How a server is reached: passwords in URLs, proxies, TLS, and what they fail by."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pandas_llm import environment
from pandas_llm.errors import (
    ConfigurationError,
    ConnectionFailedError,
    LLMError,
    UnreachableError,
)
from pandas_llm.redaction import basic, causes, parted, parted_proxy, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.options import Settings

ASKS_FOR_CERTIFICATE = "If it asks for a client certificate (TLS), pass cert="
_REFUSED = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE")
"""OpenSSL's names for the answers of a server that misses a certificate."""
PROXY_LOGIN = 407
"""The status by which a proxy asks for a name and password."""


@dataclass(frozen=True, slots=True)
class Route:
    """How a URL is asked; its repr shows no password."""

    url: str
    """The address without a password."""
    login: str | None = field(default=None, repr=False)
    """The header that stands for the password."""
    proxy: str | None = None
    variable: str = ""
    """The variable that names the proxy."""
    proxy_login: str | None = field(default=None, repr=False)

    @property
    def tunnelled(self) -> bool:
        """Whether the proxy only passes bytes on, and so needs its own header."""
        return self.url.startswith("https:")

    @property
    def signs(self) -> bool:
        """Whether there is a password to add to headers."""
        return self.login is not None or self.proxy_login is not None

    def signed(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Add the passwords of URLs to a request's headers; they win over a key."""
        if self.login is not None:
            rest = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            headers = {**rest, "Authorization": self.login}
        if self.proxy_login is not None and not self.tunnelled:
            headers = {**headers, "Proxy-Authorization": self.proxy_login}
        return headers

    def __str__(self) -> str:
        """Describe where it leads, and through what."""
        if self.proxy is None:
            return shown(self.url)
        return f"{shown(self.url)} through {self.named}"

    @property
    def named(self) -> str:
        """Name the proxy."""
        return f"the proxy {self.proxy} ({self.variable})"


# -- proxies --------------------------------------------------------------------


class Login(dict[str, str]):
    """The header for a proxy; it shows nothing."""

    def __init__(self, login: str) -> None:
        super().__init__({"Proxy-Authorization": login})

    def __repr__(self) -> str:
        """Show nothing."""
        return "{…}"


def find_route(url: str, *, direct: bool) -> Route:
    """Remove the password from a URL, and find the proxy that leads there.

    aiohttp's ``trust_env`` would ask twice in another thread for each request (half
    of a row's CPU), leave these threads in the caller's loop, and refuse every
    request with a key to a host that ``~/.netrc`` names.
    """
    user, bare = parted(url)
    header = basic(user) if user else None
    variable = None if direct else environment.proxy(bare)
    if variable is None:
        return Route(bare, header)
    proxy_held, proxy = parted_proxy(variable.value)
    proxy = proxy.rstrip("/")
    try:
        parts = urlsplit(proxy)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ConfigurationError(
            f"{variable.name} names a proxy that cannot be used: {proxy}. Write it "
            "as http://host:port or https://host:port (SOCKS is not spoken)"
        )
    proxy_header = basic(proxy_held) if proxy_held else None
    return Route(bare, header, proxy, variable.name, proxy_header)


def unknown_to(route: Route) -> str:
    """Explain that a proxy asks for a name and password."""
    wants = "asks for a name and password"
    if route.proxy_login:
        wants = "does not take the name and password"
    return (
        f"{route.named} {wants} (407): write them into {route.variable}, as "
        "http://name:password@host:port"
    )


def refusal(status: int, reason: str, route: Route) -> LLMError:
    """Return the error of a proxy that made no connection."""
    if status == PROXY_LOGIN:
        return UnreachableError(unknown_to(route), status=status)
    place = shown(route.url)
    msg = f"{route.named} makes no connection to {place}: HTTP {status} {reason}"
    if status < 500:  # noqa: PLR2004 - it will not
        return UnreachableError(msg, status=status)
    return ConnectionFailedError(msg, status=status)


# -- TLS ------------------------------------------------------------------------


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Build the TLS context from the options and the environment."""
    ca, name = settings.ca, "ca="
    if ca is None and (variable := environment.authorities()) is not None:
        name, ca = f"{variable.name}=", variable.value
    path = None if ca is None else os.path.expanduser(os.fspath(ca))  # noqa: PTH111
    try:
        folder = path is not None and os.path.isdir(path)  # noqa: PTH112
        context = ssl.create_default_context(
            cafile=None if folder else path, capath=path if folder else None
        )
    except OSError as error:  # ssl.SSLError too
        why = _tls_words(error)
        msg = f"{name}{path} is not a file of certificates in PEM form: {why}"
        raise ConfigurationError(msg) from None
    context.set_alpn_protocols(("http/1.1",))
    if (cert := settings.cert) is not None:
        files = (cert,) if isinstance(cert, (str, os.PathLike)) else tuple(cert)
        paths = [os.path.expanduser(os.fspath(one)) for one in files]  # noqa: PTH111
        try:
            key = paths[1] if len(paths) > 1 else None
            context.load_cert_chain(paths[0], key, _encrypted)
        except OSError as error:
            raise ConfigurationError(
                f"cert={' and '.join(paths)} is not a certificate with its key in PEM "
                f"form: {_tls_words(error)}"
            ) from None
    return context


def _encrypted() -> str:
    """Refuse a key that OpenSSL would ask a password for, in the terminal."""
    raise ConfigurationError(
        "the key of cert= is encrypted: write it without a password, by "
        "openssl pkey -in key.pem -out plain.pem"
    )


def tls_trouble(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error among the causes of an error."""
    for seen in causes(error):
        for one in (seen, getattr(seen, "certificate_error", None)):
            # others are of asyncio's making, when a connection ends
            if isinstance(one, ssl.SSLError) and getattr(one, "reason", None):
                return one
    return None


def tls_failure(error: Exception, trouble: ssl.SSLError, route: Route) -> LLMError:
    """Return the error of a TLS connection that failed."""
    place, host = str(route), getattr(error, "host", None)
    if route.proxy is not None and host == urlsplit(route.proxy).hostname:
        place = route.named
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"the certificate of {place} is not trusted (TLS), so nothing was sent: "
            f"{_tls_words(trouble)}. For a certificate authority of your own pass ca= "
            "its file, or set SSL_CERT_FILE"
        )
    msg = f"TLS with {place} failed: {_tls_words(trouble)}"
    if any(word in (trouble.reason or "") for word in _REFUSED):
        return UnreachableError(f"{msg}. {ASKS_FOR_CERTIFICATE}")
    if trouble.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        msg += ". Does it speak plain http://?"
    return ConnectionFailedError(msg)


def _tls_words(error: OSError) -> str:
    """Return OpenSSL's words without its own places in C."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_message:
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)

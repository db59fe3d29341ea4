"""The one reader of the environment's variables; everybody else asks it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from pandas_llm.redaction import parted_proxy


def variable(*names: str) -> str | None:
    """Return the first of several variables that is set and not empty."""
    return next(filter(None, map(os.environ.get, names)), None)


def own(name: str) -> str | None:
    """Return what the package's own variable of a name says."""
    return variable(name_of_own(name))


def name_of_own(name: str) -> str:
    """Return the name of the package's own variable: PANDAS_LLM_CACHE of "cache"."""
    return f"PANDAS_LLM_{name.upper()}"


# -- the network ----------------------------------------------------------------


class Named(NamedTuple):
    """A value, and the variable that it comes from."""

    name: str
    value: str

    def __repr__(self) -> str:
        """Show the name alone: a proxy may hold a password."""
        return f"Named({self.name!r})"


def authorities() -> Named | None:
    """Return the file of certificate authorities that other tools are told to use."""
    # OpenSSL reads these itself
    if variable("SSL_CERT_FILE", "SSL_CERT_DIR"):
        return None
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    files = (Named(name, variable(name) or "") for name in names)
    return next((file for file in files if file.value), None)


def proxy(url: str) -> Named | None:
    """Return the proxy that the environment, or the system, names for a URL.

    That is HTTP_PROXY or HTTPS_PROXY, else ALL_PROXY; NO_PROXY lists exceptions: names,
    ``.domains``, addresses, ``10.0.0.0/8``, each with a port or without, or ``*``. What
    runs on this machine is an exception too, unless the proxy does.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    listed = re.split(r"[,\s]+", getproxies_environment().get("no", ""))
    if any(_covers(entry, host, port) for entry in listed if entry):
        return None
    if proxy_bypass(parts.netloc.rpartition("@")[2]):  # by the system's settings
        return None
    proxies = getproxies()
    for scheme in (parts.scheme, "all"):
        if text := proxies.get(scheme, "").strip():
            away = _is_here(host) and not _is_here(_host(parted_proxy(text)[1]))
            return None if away else Named(f"{scheme.upper()}_PROXY", text)
    return None


def _host(url: str) -> str:
    with suppress(ValueError):
        return urlsplit(url).hostname or ""
    return ""


def _is_here(host: str) -> bool:
    """Return whether a name or an address means the machine that asks."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of NO_PROXY means a host."""
    if entry == "*":
        return True
    if match := re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry):
        if int(match[2]) != port:
            return False
        entry = match[1]
    entry = entry.strip("[]").lower()
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry, strict=False)
    name = entry.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))

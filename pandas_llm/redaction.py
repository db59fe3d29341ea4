"""What no message, log or error may show: keys, passwords, control characters."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BRIEF = 81
_SECRET = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Controls except tab and line end (C0, DEL, C1), line separators, marks that turn the
direction of what follows, and halves of characters."""


class Secret(str):
    """A text with a hidden repr, such as a key."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show that there is one."""
        return "'***'"


# -- addresses ------------------------------------------------------------------


def parted(url: str) -> tuple[Secret, str]:
    """Return the name and password of a URL, as they stand there, and the rest of it.

    >>> parted("https://me:secret@host:8000/v1")
    ('***', 'https://host:8000/v1')
    >>> parted("http://me:se/cret@host/v1")
    ('***', 'http://host/v1')
    >>> parted("http://host/models/claude@1")[1]
    'http://host/models/claude@1'
    """
    mark = url.find("://")
    start = mark + 3 if mark >= 0 else 0
    scheme, rest = url[:start], url[start:]
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    end = place.rfind("@")
    port = place.rpartition(":")[2] if ":" in place else "0"
    if end < 0 and not port.isdigit() and not place.endswith("]"):
        end = rest.rfind("@")  # a password that holds one of /?# and is not escaped
    return Secret(rest[: max(0, end)]), scheme + rest[end + 1 :]


def parted_proxy(text: str) -> tuple[Secret, str]:
    """Return the name and password of a proxy, and its URL; its scheme may be missing.

    >>> parted_proxy("me:se/cr@t@host:8080")
    ('***', 'http://host:8080')
    """
    scheme, mark, rest = text.rpartition("://")
    # a proxy has no path that could hold another @
    credentials, _, place = rest.rpartition("@")
    return Secret(credentials), f"{scheme}://{place}" if mark else f"http://{place}"


def login(credentials: str) -> tuple[str, str]:
    """Return the name and password that a URL holds, unescaped."""
    name, _, password = credentials.partition(":")
    return unquote(name), unquote(password)


def basic(credentials: str) -> str:
    """Return what a URL holds as the header of basic authentication has it."""
    return f"Basic {b64encode(':'.join(login(credentials)).encode()).decode()}"


def shown(url: str) -> str:
    """Return a URL as messages may show it: without a password or a query.

    >>> shown("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    """
    return re.split("[?#]", parted(url)[1], maxsplit=1)[0]


# -- texts ----------------------------------------------------------------------


def is_secret(header: str) -> bool:
    """Return whether a header's value may be a key, by its name."""
    return _SECRET.search(header) is not None


def visible(text: str) -> str:
    r"""Return a text with its invisible control characters written out.

    >>> print(visible("\x1b[2Jgone \u202etxt.exe"))
    \x1b[2Jgone \u202etxt.exe
    """
    if text.isprintable():
        return text
    return _UNSEEN.sub(
        lambda match: match[0].encode("unicode_escape").decode(),
        text.replace("\r\n", "\n"),
    )


def clipped(text: str, most: int) -> str:
    """Return a text, or the beginning of a longer one with a mark; `most` letters.

    >>> clipped("short", 5), clipped("longer", 5)
    ('short', 'long…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def brief(value: Any) -> str:
    """Return a value for a message: one line of its repr, or what it is.

    >>> print(brief("x"), len(brief("text" * 99)))
    'x' 81
    """
    text = repr(value)
    if "\n" in text:
        return f"a {type(value).__name__}"
    return clipped(text, _BRIEF)


# -- errors ---------------------------------------------------------------------


def causes(error: BaseException) -> Iterator[BaseException]:
    """Return an error, and all that it was raised from: the frames of any may show."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


# -- options --------------------------------------------------------------------


class _Address(str):
    """A URL that does not show its password."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show where it leads."""
        return repr(shown(self))


class _Headers(dict[str, Any]):
    """Headers that do not show keys."""

    def __repr__(self) -> str:
        """Show all but what may be a key."""
        return repr({k: "***" if is_secret(k) else v for k, v in self.items()})


def conceal(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options whose secrets are hidden in any repr.

    >>> conceal({"api_key": "sk-1", "headers": {"Cookie": "a=1", "X-Team": "blue"}})
    {'api_key': '***', 'headers': {'Cookie': '***', 'X-Team': 'blue'}}
    """
    concealed = dict(options)
    key, url, headers = (concealed.get(n) for n in ("api_key", "base_url", "headers"))
    if isinstance(key, str):
        concealed["api_key"] = Secret(key)
    if isinstance(url, str) and parted(url)[0]:
        concealed["base_url"] = _Address(url)
    if type(headers) is dict and all(isinstance(name, str) for name in headers):
        concealed["headers"] = _Headers(headers)
    return concealed

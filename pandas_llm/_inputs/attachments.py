"""Images and files of rows: looked at when a request is made, read again to be sent.

So a run never holds more of them than are on their way, and a request is known by
what they hold, not by where they lie or what they are called.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import os
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pandas_llm._inputs.contents import extent, recognised
from pandas_llm.errors import ConfigurationError, FileError, ImageError
from pandas_llm.redaction import clipped
from pandas_llm.types import Attachment, FileLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas_llm.types import ImageLimits, Request

Option = Literal["images", "files"]
Seen = dict[tuple[Path, int, int, Option], Attachment]
"""The files that were looked at, by path, time of writing and size."""
TOKENS = 1000
"""Of one image, for a guess. A megapixel: OpenAI 765, Google 258 to 1,120, Anthropic
1,330, as their documents count."""
TOKENS_AT_MOST = 6500
"""Of an image or a page, to set money aside for: Together counts up to 6,404 for an
image, others less; Anthropic up to 3,000 for a page's text and 1,600 for its picture.
(OpenAI's gpt-4o-mini counts more, at a price that makes up for it.)"""
_SECOND_AT_MOST = 64
"""Tokens of a second of audio; Google counts 32, OpenAI 10. An MP3's rate varies."""
_PAGES = 10
"""Of a document that the provider fetches, for a guess."""
_PAGE = 50_000
"""Bytes of a page where they cannot be counted, for a guess."""
_SECOND = 16_000
"""Bytes of a second of audio where it does not say, for a guess."""
_MOST = 100_000_000
"""The largest file to look at: no provider takes more in a request."""
_SMALL = 300_000
"""The largest image that is shown as it is."""
_SHOWN = 81
_ERRORS = {"images": ImageError, "files": FileError}
_NOUNS = {"images": "an image", "files": "a file"}
_TAKEN = {
    "images": (
        ("image/png", "image/jpeg", "image/gif", "image/webp"),
        "PNG, JPEG, GIF and WebP can be sent",
    ),
    "files": (
        ("application/pdf", "text/plain", "audio/wav", "audio/mp3"),
        "PDF, text in UTF-8, WAV and MP3 can be sent",
    ),
}
"""What any provider takes, and how it is said."""
_digest = partial(hashlib.blake2b, digest_size=16)


def folder(path: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder that `files_root` names, without links; None for none."""
    if path is None:
        return None
    try:
        resolved = Path(path).expanduser().resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:  # NUL; ~nobody
        why = getattr(error, "strerror", None) or error
        msg = f"files_root={os.fspath(path)!r} cannot be used: {why}"
        raise ConfigurationError(msg) from None
    if not resolved.is_dir():
        raise ConfigurationError(f"files_root={os.fspath(path)!r} is not a folder")
    return resolved


def look_at(
    cell: Any,
    root: Path | None = None,
    option: Option = "images",
    seen: Seen | None = None,
) -> tuple[Attachment, ...]:
    """Look at the images or files of one cell, which may be a list of them.

    What an http URL holds is for the provider to fetch: it is known by its address. A
    file must lie below `root`, where there is one. A file that was `seen`, and has not
    been written since, is not read again.

    >>> (image,) = look_at(b"GIF89a and so on")
    >>> image.media_type, image.size
    ('image/gif', 16)
    """
    if hasattr(cell, "tolist") and not isinstance(cell, memoryview):  # Parquet's lists
        cell = cell.tolist()
    items = cell if isinstance(cell, (list, tuple)) else (cell,)
    seen = {} if seen is None else seen
    return tuple(_one(item, root, option, seen) for item in items)


def masked(request: Request) -> Request:
    """Put words in place of what the attachments hold, to show a request."""
    shown = (
        one._replace(data=f"<{_amount(one.size)}>") if one.media_type else one
        for one in request.attachments
    )
    return request._replace(attachments=tuple(shown))


def text_of(file: Attachment) -> str:
    """Return what a text file holds, or the words that `masked` has put there."""
    if file.data.startswith("<"):  # which no base64 does
        return file.data
    return base64.b64decode(file.data).decode("utf-8-sig")


def small(images: Iterable[Attachment]) -> tuple[str, ...]:
    """Return images as data URLs to show, without those that are large or elsewhere."""
    shown = (one for one in images if one.media_type and one.size <= _SMALL)
    return tuple(loaded(image).url for image in shown)


def weight(request: Request, provider: Any, kind: str = "") -> float:
    """Guess the tokens of a request's attachments, or of those of one kind."""
    if not request.attachments:
        return 0.0
    limits: FileLimits = getattr(provider, "files", None) or FileLimits(0, 0)
    usual = _Rates(TOKENS, limits.page, limits.second, 1 / 4)
    some = (one for one in request.attachments if one.media_type.startswith(kind))
    return sum(_tokens(one, usual) for one in some)


def has_sound(request: Request) -> bool:
    """Return whether audio is attached, whose tokens may have a price of their own."""
    return any(one.media_type.startswith("audio/") for one in request.attachments)


def surplus(request: Request) -> int:
    """Return how far the bytes of attachments exceed the tokens that they may cost."""
    most = _Rates(TOKENS_AT_MOST, TOKENS_AT_MOST, _SECOND_AT_MOST, 1.0)
    exceeding = 0
    for one in request.attachments:
        uncountable = one.option == "images" or one.media_type in ("", "text/plain")
        if uncountable or one.extent is not None:  # else its bytes are the bound
            data = 4 * math.ceil(one.size / 3)  # as base64; of an address nothing
            exceeding += data - math.ceil(_tokens(one, most))
    return exceeding


def described(attached: Iterable[Attachment]) -> str:
    """Describe briefly what images and files these are.

    >>> described(look_at([b"GIF89a and so on", "https://example.org/cat.png"]))
    '<image/gif 16 bytes> <image https://example.org/cat.png>'
    """
    return " ".join(f"<{_described(one)}>" for one in attached)


class _Rates(NamedTuple):
    """Tokens of an image, a page, a second and a byte of text."""

    image: float
    page: float
    second: float
    byte: float


def _tokens(one: Attachment, rates: _Rates) -> float:
    """Guess the tokens of an attachment."""
    if one.option == "images":
        return rates.image
    if one.media_type == "text/plain":
        return one.size * rates.byte
    if one.media_type.startswith("audio/"):
        return (one.extent or one.size / _SECOND) * rates.second
    pages = max(1.0, one.size / _PAGE) if one.media_type else _PAGES
    return (one.extent or pages) * rates.page


def check(request: Request, provider: Any, name: str) -> None:
    """Refuse a request with what its provider does not take."""
    for one in request.attachments:
        limits = getattr(provider, one.option, None)
        if limits is None:  # a run is not begun so; a provider may change its mind
            raise _ERRORS[one.option](f"{name} takes no {one.option}")
        if why := _refusal(one, limits, name):
            raise _ERRORS[one.option](why)
    together = sum(one.size for one in request.attachments)
    for one in request.attachments:
        most = getattr(provider, one.option).together
        if together > most:
            both = " and ".join(each for each in _ERRORS if getattr(request, each))
            raise _ERRORS[one.option](
                f"the row's {len(request.attachments)} {both} have "
                f"{_megabytes(together)}, and {name} takes up to {_megabytes(most)} in "
                "a request: shrink them"
            )


def _refusal(one: Attachment, limits: ImageLimits | FileLimits, name: str) -> str:
    """Return why a provider does not take an image or a file; empty where it does."""
    if not one.media_type:
        download = f"download {_short(one.source)}, and pass the file or its bytes"
        return "" if limits.fetches else f"{name} fetches no {one.option}: {download}"
    if one.media_type not in limits.types:
        kinds = (kind.partition("/")[2] for kind in limits.types)
        known = " or ".join(kinds).replace("plain", "text")
        if one.media_type == "text/plain":
            known += ", or write its text into a column of the template"
        return f"{_named(one)} is not a type that {name} takes: convert it to {known}"
    if one.size > limits.each:
        most = f"{name} takes {one.option} of up to {_megabytes(limits.each)}"
        return f"{_named(one)} has {_megabytes(one.size)}, and {most}: shrink it"
    return ""


def _one(cell: Any, root: Path | None, option: Option, seen: Seen) -> Attachment:
    if isinstance(cell, (bytearray, memoryview)):
        cell = bytes(cell)
    if isinstance(cell, str):
        scheme, colon, rest = cell.partition(":")
        scheme = scheme.lower()
        if colon and scheme in ("http", "https"):
            person = b"url" if option == "images" else b"url of a file"
            # `build` refuses what is not a text
            known = _digest(cell.encode("utf-8", "surrogatepass"), person=person)
            return Attachment(cell, "", 0, known.digest(), option=option)
        if colon and rest.startswith("//"):
            msg = f"{_short(cell)!r}: only http, https and data URLs are sent"
            raise _ERRORS[option](msg)
        if not (colon and scheme == "data"):
            cell = Path(cell)
    if isinstance(cell, os.PathLike):
        return _file(Path(cell), root, option, seen)
    if not isinstance(cell, (str, bytes)):
        a, kind = _NOUNS[option], type(cell).__name__
        msg = f"{a} must be a path, bytes or a URL, not {kind} ({_short(cell)})"
        raise _ERRORS[option](msg)
    return _known(cell, _content(cell, option), option)


def _file(path: Path, root: Path | None, option: Option, seen: Seen) -> Attachment:
    """Look at a file; what it holds is let go again."""
    error_of = _ERRORS[option]
    try:
        path = path.expanduser()
        if root is not None:
            # what is looked at, and read later, is the file that the check was of
            named, path = path, path.resolve()
            if not path.is_relative_to(root):
                start = "" if named.is_absolute() else f" (from {_short(Path.cwd())})"
                msg = f"{_short(named)}{start} does not lie below files_root="
                raise error_of(msg + _short(root))
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error_of(f"{_short(path)} is not a file")
        if status.st_size > _MOST:
            size = _megabytes(status.st_size)
            raise error_of(f"{_short(path)} has {size}: nobody takes so much")
        known = (path, status.st_mtime_ns, status.st_size, option)
        if (attachment := seen.get(known)) is not None:
            return attachment
        with path.open("rb") as file:
            content = file.read(_MOST)
    except FileNotFoundError:
        msg = f"there is no file {_short(path)!r} (from {_short(Path.cwd())})"
        raise error_of(msg) from None
    except (OSError, ValueError, RuntimeError) as error:  # NUL; ~nobody
        why = getattr(error, "strerror", None) or error
        raise error_of(f"{_short(path)} cannot be read: {why}") from None
    seen[known] = attachment = _known(path, content, option)
    return attachment


def _known(source: Any, content: bytes, option: Option) -> Attachment:
    """Return what bytes are; refuse what nobody takes."""
    media_type, word = recognised(content)
    types, taken = _TAKEN[option]
    if media_type not in types:
        if not content.strip():
            word = "empty"
        elif not word or (media_type == "text/plain" and word == "a text"):
            word = "no image" if option == "images" else "of no kind that is known"
        where = "the cell" if isinstance(source, bytes) else _short(source)
        raise _ERRORS[option](f"{where} is {word}; {taken}")
    known = _digest(content).digest()
    size = None if option == "images" else extent(content, media_type)
    return Attachment(source, media_type, len(content), known, "", option, size)


def _content(source: Any, option: Option) -> bytes:
    """Return the bytes of what `_one` has taken."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        return source.read_bytes()
    head, comma, data = source.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        form = "data:image/…;base64,…" if option == "images" else "data:…;base64,…"
        raise _ERRORS[option](f"{_short(source)!r} is not a data URL such as {form}")
    try:
        return base64.b64decode(data.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _ERRORS[option](f"{_short(source)!r} holds no base64: {error}") from None


def loaded(one: Attachment) -> Attachment:
    """Return an attachment with what it holds; raise where that has changed."""
    if not one.media_type:
        return one  # an address, for the provider to fetch
    try:
        content = _content(one.source, one.option)
    except OSError as error:
        msg = f"{_named(one)} cannot be read any more: {error.strerror}"
        raise _ERRORS[one.option](msg) from None
    if _digest(content).digest() != one.digest:
        # what is kept of the answer would be kept for another
        raise _ERRORS[one.option](f"{_named(one)} has changed since the run began")
    return one._replace(data=base64.b64encode(content).decode())


def _described(one: Attachment) -> str:
    if not one.media_type:
        return f"{one.option.removesuffix('s')} {_short(one.source)}"
    name = f"{one.source.name} " if isinstance(one.source, Path) else ""
    if one.option == "images":
        return f"{one.media_type} {_amount(one.size)}"
    unit = "page" if one.media_type == "application/pdf" else "second"
    count = 0 if one.extent is None else max(1, round(one.extent))
    parts = f", {count} {unit}{'s' * (count > 1)}" if count else ""
    return f"{name}{one.media_type} {_amount(one.size)}{parts}"


def _named(one: Attachment) -> str:
    source = one.source
    if not isinstance(source, Path):
        return f"the {one.media_type}"
    return f"{_short(source)} ({one.media_type})"


def _short(value: Any) -> str:
    """Show the end of a path, and the beginning of all else."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Path):
        return clipped(text[::-1], _SHOWN)[::-1]
    return clipped(text, _SHOWN)


def _amount(size: int) -> str:
    if size < 1000:  # noqa: PLR2004 - a kilobyte
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else _megabytes(size)  # noqa: PLR2004


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.2f} MB"

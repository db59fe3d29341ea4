"""Images of rows: looked at when a request is made, read again when it is sent.

So a run never holds more of them than are on their way, and a request is known by
what its images hold, not by where they lie.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pandas_llm.errors import ConfigurationError, ImageError
from pandas_llm.types import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pandas_llm.types import ImageLimits, Request

TOKENS = 1000
"""Of one image, for a guess. A megapixel: OpenAI 765, Google 258 to 1,120, Anthropic
1,330, as their documents count."""
TOKENS_AT_MOST = 6500
"""To set money aside for: Together counts up to 6,404, others less. (OpenAI's
gpt-4o-mini counts more, at a price that makes up for it.)"""
_MOST = 100_000_000
"""The largest file to look at: no provider takes more in a request."""
_SMALL = 300_000
"""The largest image that is shown as it is."""
_HEAD = 32
_SHOWN = 80
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_OTHERS = (
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
)
_BRANDS = {
    b"avif": "an AVIF",
    b"heic": "an HEIC",
    b"heix": "an HEIC",
    b"mif1": "a HEIF",
}
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
        msg = f"files_root={os.fspath(path)!r} is no folder"
        raise ConfigurationError(msg)
    return resolved


def look_at(cell: Any, root: Path | None = None) -> tuple[Image, ...]:
    """Look at the images of one cell, which may be a list of them.

    What an http URL holds is for the provider to fetch: it is known by its address. A
    file must lie below `root`, where there is one.

    >>> (image,) = look_at(b"GIF89a and so on")
    >>> image.media_type, image.size
    ('image/gif', 16)
    """
    if hasattr(cell, "tolist"):  # an array, as Parquet's lists come back
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return tuple(_one(item, root) for item in cell)
    return (_one(cell, root),)


async def load(request: Request, limits: ImageLimits | None, name: str) -> Request:
    """Read a request's images as base64 in a thread; refuse what exceeds `limits`."""
    if limits is None:  # a run is not begun so; a provider may change its mind
        msg = f"{name} takes no images"
        raise ImageError(msg)
    _check(request.images, limits, name)
    read = await asyncio.to_thread(lambda: tuple(map(_loaded, request.images)))
    return request._replace(images=read)


def masked(request: Request) -> Request:
    """Put words in place of what the images hold, to show a request."""
    shown = (
        image._replace(data=f"<{_amount(image.size)}>") if image.media_type else image
        for image in request.images
    )
    return request._replace(images=tuple(shown))


def small(images: Iterable[Image]) -> tuple[str, ...]:
    """Return images as data URLs to show, without those that are large or elsewhere."""
    shown = (one for one in images if one.media_type and one.size <= _SMALL)
    return tuple(_loaded(image).url for image in shown)


def weight(request: Request) -> float:
    """Guess the tokens of a request's images."""
    return len(request.images) * TOKENS


def surplus(request: Request) -> int:
    """Return how far the bytes of images exceed the tokens that they may cost."""
    letters = sum(len(image.data) for image in request.images)
    return letters - len(request.images) * TOKENS_AT_MOST


def _check(images: Sequence[Image], limits: ImageLimits, name: str) -> None:
    for image in images:
        if not (image.media_type or limits.fetches):
            msg = f"{name} fetches no images: download {_short(image.source)}, and pass"
            raise ImageError(f"{msg} the file or its bytes")
        if image.media_type and image.media_type not in limits.types:
            known = " or ".join(kind.removeprefix("image/") for kind in limits.types)
            msg = f"{_named(image)} is no type that {name} takes: convert it to {known}"
            raise ImageError(msg)
        if image.size > limits.each:
            sizes = f"{_megabytes(image.size)}, and {name} takes images of up to"
            msg = f"{_named(image)} has {sizes} {_megabytes(limits.each)}: shrink it"
            raise ImageError(msg)
    together = sum(image.size for image in images)
    if together > limits.together:
        msg = (
            f"the row's {len(images)} images have {_megabytes(together)}, and {name} "
            f"takes up to {_megabytes(limits.together)} in a request: shrink them"
        )
        raise ImageError(msg)


def described(images: Iterable[Image]) -> str:
    """Describe briefly what images these are.

    >>> described(look_at([b"GIF89a and so on", "https://example.org/cat.png"]))
    '<image/gif 16 bytes> <image https://example.org/cat.png>'
    """
    return " ".join(
        f"<{image.media_type} {_amount(image.size)}>"
        if image.media_type
        else f"<image {_short(image.source)}>"
        for image in images
    )


def _one(cell: Any, root: Path | None) -> Image:
    if isinstance(cell, (bytearray, memoryview)):
        cell = bytes(cell)
    if isinstance(cell, str):
        scheme, colon, rest = cell.partition(":")
        scheme = scheme.lower()
        if colon and scheme in ("http", "https"):
            return Image(cell, "", 0, _digest(_utf8(cell), person=b"url").digest())
        if colon and rest.startswith("//"):
            msg = f"{_short(cell)!r}: only http, https and data URLs are sent"
            raise ImageError(msg)
        if not (colon and scheme == "data"):
            cell = Path(cell)
    if isinstance(cell, os.PathLike):
        return _file(Path(cell), root)
    if not isinstance(cell, (str, bytes)):
        kind = type(cell).__name__
        msg = f"an image must be a path, bytes or a URL, not {kind} ({_short(cell)})"
        raise ImageError(msg)
    content = _content(cell)
    return Image(cell, _type(content, cell), len(content), _digest(content).digest())


def _file(path: Path, root: Path | None) -> Image:
    """Look at a file without holding all of it."""
    try:
        path = path.expanduser()
        if root is not None:
            # what is looked at, and read later, is the file that the check was of
            named, path = path, path.resolve()
            if not path.is_relative_to(root):
                msg = f"{_short(named)} does not lie below files_root={_short(root)}"
                raise ImageError(msg)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            msg = f"{_short(path)} is no file"
            raise ImageError(msg)
        if status.st_size > _MOST:
            msg = (
                f"{_short(path)} has {_megabytes(status.st_size)}: no image is so large"
            )
            raise ImageError(msg)
        with path.open("rb") as file:
            media_type = _type(file.read(_HEAD), path)
            file.seek(0)
            digest = hashlib.file_digest(file, _digest).digest()
    except FileNotFoundError:
        msg = f"there is no file {_short(path)!r} (from {_short(Path.cwd())})"
        raise ImageError(msg) from None
    except (OSError, ValueError, RuntimeError) as error:  # NUL; ~nobody
        why = getattr(error, "strerror", None) or error
        msg = f"{_short(path)} cannot be read: {why}"
        raise ImageError(msg) from None
    return Image(path, media_type, status.st_size, digest)


def _content(source: Any) -> bytes:
    """Return the bytes of what `_one` has taken for an image."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        return source.read_bytes()
    head, comma, data = source.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        msg = f"{_short(source)!r} is no data URL of the form data:image/…;base64,…"
        raise ImageError(msg)
    try:
        return base64.b64decode(data.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        msg = f"{_short(source)!r} holds no base64: {error}"
        raise ImageError(msg) from None


def _loaded(image: Image) -> Image:
    if not image.media_type:
        return image  # an address, for the provider to fetch
    try:
        content = _content(image.source)
    except OSError as error:
        msg = f"{_named(image)} cannot be read any more: {error.strerror}"
        raise ImageError(msg) from None
    if _digest(content).digest() != image.digest:
        # what is kept of the answer would be kept for another image
        msg = f"{_named(image)} has changed since the run began"
        raise ImageError(msg)
    return image._replace(data=base64.b64encode(content).decode())


def _type(head: bytes, source: Any) -> str:
    """Return the type by the first bytes: the names of files may be wrong."""
    for beginning, media_type in _BEGINNINGS:
        if head.startswith(beginning):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    other = next((kind for start, kind in _OTHERS if head.startswith(start)), None)
    if head[4:8] == b"ftyp":
        other = _BRANDS.get(head[8:12])
    what = other or ("no image" if head else "empty")
    where = "the cell" if isinstance(source, bytes) else _short(source)
    msg = f"{where} is {what}; PNG, JPEG, GIF and WebP can be sent"
    raise ImageError(msg)


def _named(image: Image) -> str:
    source = image.source
    if not isinstance(source, Path):
        return f"the {image.media_type}"
    return f"{_short(source)} ({image.media_type})"


def _short(value: Any) -> str:
    """Show the end of a path, and the beginning of all else."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    if len(text) <= _SHOWN:
        return text
    return f"…{text[-_SHOWN:]}" if isinstance(value, Path) else f"{text[:_SHOWN]}…"


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # `build` refuses what is no text


def _amount(size: int) -> str:
    if size < 1000:  # noqa: PLR2004 - a kilobyte
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else _megabytes(size)  # noqa: PLR2004


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.2f} MB"

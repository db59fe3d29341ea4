"""Images and files in requests: looked at just so far that a broken one is noticed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection

_BEGINNINGS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
    "application/pdf": (b"%PDF",),
    "text/plain": (b"",),
    "audio/wav": (b"RIFF",),
    "audio/mp3": (b"ID3", b"\xff"),
}
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
AUDIO = ("audio/wav", "audio/mp3")
DOCUMENTS = ("application/pdf", "text/plain")


class ImageError(ValueError):
    """An image or file that nobody takes; ``code`` is OpenAI's word for the reason."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def look_at(media_type: object, data: object, kinds: Collection[str] = IMAGES) -> str:
    """Describe an image, or another kind of file, given in base64.

    Raises
    ------
    ImageError
        It is not base64, of another type than told, or of a type nobody takes.

    Examples
    --------
    >>> look_at("image/gif", "R0lGODlhAQABAAAAACw=")
    '[image/gif, 14 bytes, 50dd7695]'
    """
    if not isinstance(media_type, str) or media_type not in kinds:
        text = (
            "You uploaded an unsupported image. Please make sure your image has of one "
            "the following formats: ['png', 'jpeg', 'gif', 'webp']."
        )
        if kinds is not IMAGES:
            text = f"Expected one of {', '.join(kinds)}, but got {media_type}."
        raise ImageError(text, "invalid_image_format")
    try:
        content = base64.b64decode(str(data).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        content = b""
    if not content:
        raise ImageError("Expected a base64-encoded image.", "invalid_base64")
    if not content.startswith(_BEGINNINGS[media_type]):
        text = f"The image does not match the media type {media_type}."
        raise ImageError(text, "image_type_mismatch")
    digest = hashlib.blake2b(content, digest_size=4).hexdigest()
    return f"[{media_type}, {len(content)} bytes, {digest}]"


def look_at_url(url: object, kinds: Collection[str] = IMAGES) -> str:
    """Describe what is given as a data URL; other addresses are not fetched."""
    if isinstance(url, str) and url.startswith("data:"):
        head, comma, data = url.removeprefix("data:").partition(",")
        media_type, semicolon, encoding = head.partition(";")
        if not comma or not semicolon or encoding != "base64":
            text = "Expected a data URL of the form data:<type>;base64,<data>."
            raise ImageError(text, "invalid_image_url")
        return look_at(media_type, data, kinds)
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ImageError("Expected a valid URL.", "invalid_image_url")
    return f"[{'image' if kinds is IMAGES else 'file'} at {url}]"

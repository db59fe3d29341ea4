"""Images in requests: looked at just so far that a broken one is noticed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from urllib.parse import urlsplit

_BEGINNINGS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


class ImageError(ValueError):
    """An image that no vendor takes; ``code`` is OpenAI's word for the reason."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def look_at(media_type: object, data: object) -> str:
    """Describe an image given in base64.

    Raises
    ------
    ImageError
        It is no base64, of another type than told, or of a type nobody takes.

    Examples
    --------
    >>> look_at("image/gif", "R0lGODlhAQABAAAAACw=")
    '[image/gif, 14 bytes, 50dd7695]'
    """
    if not isinstance(media_type, str) or media_type not in _BEGINNINGS:
        text = (
            "You uploaded an unsupported image. Please make sure your image has of one "
            "the following formats: ['png', 'jpeg', 'gif', 'webp']."
        )
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


def look_at_url(url: object) -> str:
    """Describe an image given as a data URL; other addresses are not fetched."""
    if isinstance(url, str) and url.startswith("data:"):
        head, comma, data = url.removeprefix("data:").partition(",")
        media_type, semicolon, encoding = head.partition(";")
        if not comma or not semicolon or encoding != "base64":
            text = "Expected a data URL of the form data:<type>;base64,<data>."
            raise ImageError(text, "invalid_image_url")
        return look_at(media_type, data)
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ImageError("Expected a valid URL.", "invalid_image_url")
    return f"[image at {url}]"

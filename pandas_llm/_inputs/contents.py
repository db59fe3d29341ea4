"""What bytes are, by what they begin with: media type, pages, seconds.

The names of files are not asked: they may be wrong.
"""

from __future__ import annotations

import re
import zlib
from itertools import islice

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png", "a PNG"),
    (b"\xff\xd8\xff", "image/jpeg", "a JPEG"),
    (b"GIF87a", "image/gif", "a GIF"),
    (b"GIF89a", "image/gif", "a GIF"),
    (b"{\\rtf", "", "an RTF"),
)
_CHUNKS = {b"WEBP": ("image/webp", "a WebP"), b"WAVE": ("audio/wav", "a WAV")}
"""Of RIFF."""
_OTHERS = (
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"PK\3\4", "a ZIP (as DOCX, XLSX and PPTX are)"),
    (b"\xd0\xcf\x11\xe0", "an OLE file (as DOC and XLS are)"),
    (b"\x1f\x8b", "a gzip"),
    (b"OggS", "an Ogg"),
    (b"fLaC", "a FLAC"),
    (b"\xff\xfe", "a text in UTF-16"),
    (b"\xfe\xff", "a text in UTF-16"),
)
"""Looked for in what is not a text."""
_BRANDS = {
    b"avif": "an AVIF",
    b"heic": "an HEIC",
    b"heix": "an HEIC",
    b"mif1": "a HEIF",
    b"M4A ": "an M4A",
}
_HEAD = 1024
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_PACKED = 2_000
"""Streams of objects to look into; a PDF of a thousand pages has about a hundred."""
_OBJECTS = re.compile(rb"/ObjStm(?:(?!/ObjStm).){0,400}?stream\r?\n", re.DOTALL)
_LONG = 1_000_000
"""Bytes of such a stream at most."""
_UNPACKED = 100_000_000
"""Bytes to unpack of one file at most: a small one may hold any number."""
_TAG = 10
"""Bytes of the head of an ID3 tag."""
_KILOBITS = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Of MP3 by the number in a frame's head: of MPEG 1, and of the others."""
_USUAL = 128


def recognised(content: bytes) -> tuple[str, str]:
    r"""Return the media type, empty for what is not sent, and a word for what it is.

    >>> recognised(b"%PDF-1.7"), recognised(b"Once."), recognised(b"BM\0")
    (('application/pdf', 'a PDF'), ('text/plain', 'a text'), ('', 'a BMP'))
    """
    head = content[:_HEAD]
    kinds = [kind for start, *kind in _BEGINNINGS if head.startswith(start)]
    if head[:4] == b"RIFF" and head[8:12] in _CHUNKS:
        kinds.append([*_CHUNKS[head[8:12]]])
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n\f\0").startswith(b"%PDF"):
        kinds.append(["application/pdf", "a PDF"])
    elif (head[:3] == b"ID3" and head[3:4] < b"\x10") or _kilobits(content):
        kinds.append(["audio/mp3", "an MP3"])
    elif head[4:8] == b"ftyp":
        kinds.append(["", _BRANDS.get(head[8:12], "an MP4")])
    elif not kinds and _is_text(content) and not _holds_pdf(content):
        kinds.append(["text/plain", "an SVG" if head.startswith(b"<svg") else "a text"])
    kinds += [["", word] for start, word in _OTHERS if head.startswith(start)]
    if b"%PDF-" in head:  # behind the head of a mail or a print job, as readers take it
        kinds.append(["application/pdf", "a PDF"])
    media_type, word = [*kinds, ["", ""]][0]
    return media_type, word


def extent(content: bytes, media_type: str) -> float | None:
    """Return a PDF's pages or the seconds of audio, roughly; None where unknown."""
    if media_type == "application/pdf":
        return _pages(content)
    if media_type == "audio/mp3":
        return len(content) / 125 / (_kilobits(content) or _USUAL)
    at = content.find(b"fmt ", 0, _HEAD) if media_type == "audio/wav" else -1
    each = int.from_bytes(content[at + 16 : at + 20], "little") if at >= 0 else 0
    return len(content) / each if each else None


def _pages(content: bytes) -> float | None:
    """Count the page objects, those in compressed object streams too."""
    count, left = len(_PAGE.findall(content)), _UNPACKED
    for start in (one.end() for one in islice(_OBJECTS.finditer(content), _PACKED)):
        end = content.find(b"endstream", start, start + _LONG)
        packed = content[start : max(start, end)]
        try:
            objects = zlib.decompressobj().decompress(packed, left)
        except zlib.error:  # encrypted, or packed in another way
            continue
        count += len(_PAGE.findall(objects))
        left -= len(objects)
        if left <= 0:
            break
    return count or None


def _kilobits(content: bytes) -> int | None:
    """Return the rate of the first frame of an MP3; None where there is none."""
    at = 0
    if content[:3] == b"ID3":
        size = 0
        for byte in content[6:_TAG]:
            size = size << 7 | byte & 0x7F
        at = _TAG + size
    head = content[at : at + 3]
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # noqa: PLR2004
        return None  # no layer III
    version, rate, frequency = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or not 0 < rate < 15 or frequency == 3:  # noqa: PLR2004
        return None  # reserved
    return _KILOBITS[version != 3][rate - 1]  # noqa: PLR2004


def _holds_pdf(content: bytes) -> bool:
    """Return whether a whole PDF lies behind what comes first."""
    begins = re.search(rb"^%PDF-", content[:_HEAD], re.MULTILINE)
    return begins is not None and b"%%EOF" in content[-_HEAD:]


def _is_text(content: bytes) -> bool:
    """Return whether it is UTF-8 without control characters, and more than blanks."""
    if _CONTROL.search(content) or not content.strip():
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True

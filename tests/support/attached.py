"""Small files of every kind that rows may hold, and some that they may not."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib


def pdf(pages: int = 1, note: str = "", *, packed: bool = False) -> bytes:
    """Return a PDF with blank pages; packed, its objects are in a compressed stream."""
    kids = " ".join(f"{3 + i} 0 R" for i in range(pages))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>".encode(),
        *[
            b"<</Type /Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<<>>>>"
            for _ in range(pages)
        ],
    ]
    written = b"%PDF-1.7\n%" + note.encode() + b"\n"
    if packed:
        places, body = [], b""
        for number, one in enumerate(objects, 1):
            places.append(b"%d %d" % (number, len(body)))
            body += one + b" "
        head = b" ".join(places) + b" "
        squeezed = zlib.compress(head + body)
        at = len(written)
        number = len(objects) + 1
        written += b"%d 0 obj\n<</Type/ObjStm/N %d/First %d/Filter/FlateDecode" % (
            number,
            len(objects),
            len(head),
        )
        written += b"/Length %d>>\nstream\n%b\nendstream\nendobj\n" % (
            len(squeezed),
            squeezed,
        )
        rows = struct.pack(">BHH", 0, 0, 65535)
        rows += b"".join(struct.pack(">BHH", 2, number, i) for i in range(len(objects)))
        rows += struct.pack(">BHH", 1, at, 0)
        rows += struct.pack(">BHH", 1, len(written), 0)
        start = len(written)
        written += (
            b"%d 0 obj\n<</Type/XRef/Size %d/W[1 2 2]/Root 1 0 R/Length %d>>\n"
            b"stream\n%b\nendstream\nendobj\n"
            % (number + 1, number + 2, len(rows), rows)
        )
        return written + b"startxref\n%d\n%%%%EOF\n" % start
    places = []
    for number, one in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    start = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    written += b"".join(b"%010d 00000 n \n" % at for at in places)
    written += b"trailer\n<</Size %d/Root 1 0 R>>\n" % (len(objects) + 1)
    return written + b"startxref\n%d\n%%%%EOF\n" % start


def wav(seconds: float = 0.1) -> bytes:
    """Return silence in 16 bits, 8,000 times a second."""
    held = io.BytesIO()
    with wave.open(held, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(round(seconds * 8000) * 2))
    return held.getvalue()


def mp3(seconds: float = 0.1, *, tagged: bool = False) -> bytes:
    """Return silence at 64 kilobits a second: frames of 576 samples at 22,050 Hz."""
    frame = b"\xff\xf3\x80\xc4" + bytes(204)  # MPEG 2, layer III
    tag = b"ID3\x04\0\0\0\0\x02\0" + bytes(256) if tagged else b""
    return tag + frame * max(1, round(seconds * 22_050 / 576))


def data_url(content: bytes, media_type: str) -> str:
    """Return bytes as a data URL of some type."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"

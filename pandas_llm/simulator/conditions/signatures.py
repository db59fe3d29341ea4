"""AWS' signatures of requests, version 4, as its documentation describes them."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/,]+/(\d{8})/([\w-]+)/([\w-]+)/aws4_request, ?"
    r"SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})"
)
_DRIFT = 900.0
"""Seconds that the clock of who signs may be wrong by."""


def signature_problem(
    secret: str, path: str, headers: Mapping[str, str], body: bytes
) -> str | None:
    """Return what is wrong with the signature of a POST to Bedrock; None for nothing.

    `path` is as it came, with its escapes.
    """
    match = _FORM.fullmatch(headers.get("Authorization", ""))
    stamp = headers.get("X-Amz-Date", "")
    if not match or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        return "Authorization header requires a signature and X-Amz-Date."
    day, region, service, names, signature = match.groups()
    signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((datetime.now(UTC) - signed_at).total_seconds()) > _DRIFT:
        return f"Signature expired: {stamp} is now earlier or later than 15 minutes."
    if service != "bedrock" or day != stamp[:8]:
        return "Credential should be scoped to correct service: 'bedrock'."
    if not {"host", "x-amz-date"} <= set(names.split(";")):
        return "'Host' and 'X-Amz-Date' must be signed."
    lines = [
        f"{name}:{' '.join(headers.get(name, '').split())}\n"
        for name in names.split(";")
    ]
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join(
        ("POST", quote(path, safe="/~"), "", "".join(lines), names, digest)
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
    expected = hmac.new(key, text.encode(), "sha256").hexdigest()
    if hmac.compare_digest(expected, signature):
        return None
    return (
        "The request signature we calculated does not match the signature you "
        "provided. Check your AWS Secret Access Key and signing method. Consult the "
        "service documentation for details.\n\nThe Canonical String for this request "
        f"should have been\n'{canonical}'"
    )

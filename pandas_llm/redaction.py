"""What no message, log or error may show: keys, and passwords in URLs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SECRET = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)


def shown(url: str) -> str:
    """Give a URL as messages may show it: without a password or a query.

    Examples
    --------
    >>> shown("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_secret(header: str) -> bool:
    """Tell by a header's name whether its value may be a key."""
    return _SECRET.search(header) is not None

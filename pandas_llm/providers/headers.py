"""What headers say: counts, durations and times in the forms that vendors use."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from functools import lru_cache

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_MOMENT = 1e6
"""Seconds that are no duration but a moment."""
_MILLISECONDS = 1e11
_SECONDS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}


def count(text: str | None, *, zero: bool = False) -> float | None:
    """Read a count; ``"30,000"``, ``-1`` and ``0`` have been seen on Azure.

    Examples
    --------
    >>> count("30,000"), count("-1"), count("0"), count("0", zero=True)
    (30000.0, None, None, 0.0)
    """
    if not text:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if value > 0 or (zero and value == 0) else None


def duration(text: str | None) -> float | None:
    """Read a Go duration, or a moment, in seconds from now.

    A number above a million is no duration but a moment: seconds since 1970, or
    milliseconds. So is a time as RFC 3339 writes it.

    Examples
    --------
    >>> duration("6ms"), duration("1m30.5s"), duration("7"), duration("soon")
    (0.006, 90.5, 7.0, None)
    >>> duration("1500000000"), duration("1500000000000"), duration("2020-01-01")
    (0.0, 0.0, 0.0)
    """
    value = _number(text)
    if value is None or value < _MOMENT:
        return value
    moment = value / 1000 if value > _MILLISECONDS else value
    return max(0.0, moment - time.time()) if math.isfinite(moment) else None


@lru_cache(1024)
def _number(text: str | None) -> float | None:
    """Read a duration in seconds, or a moment in seconds or milliseconds."""
    if not text:
        return None
    parts = _DURATION.findall(text)
    if parts and "".join(a + b for a, b in parts) == text:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return min(seconds, _MOMENT - 1)
    try:
        return float(text)  # Azure sends whole seconds
    except ValueError:
        return _timestamp(text)


def until(text: str | None) -> float | None:
    """Return the seconds until a time as RFC 3339 writes it; 0.0 when it is past.

    Examples
    --------
    >>> until("2020-01-01T00:00:00Z"), until("soon")
    (0.0, None)
    """
    moment = _timestamp(text)
    return None if moment is None else max(0.0, moment - time.time())


def _timestamp(text: str | None) -> float | None:
    """Read a time as RFC 3339 writes it, in seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()

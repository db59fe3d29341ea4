"""Read what headers say: counts, durations, limits, the wait that is asked for."""

from __future__ import annotations

import email.utils
import math
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from pandas_llm.types import Quota

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.types import HTTPResponse

_PART = (
    r"(\d+(?:\.\d+)?) ?(ms|us|µs|ns|d(?:ays?)?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?"
    r"|s(?:ec(?:ond)?s?)?)(?![a-z])(?:,? (?:and )?(?=\d))?"
)
_DURATION = re.compile(_PART, re.IGNORECASE)
_WHOLE = re.compile(f"(?:PT?)?(?:{_PART})+", re.IGNORECASE)
_TRY_AGAIN = re.compile(
    r"(?:(?:try again|retry(?: your request)?|available(?: again)?|resets?)"
    rf" (?:in|after)|wait(?: for)?):?(?: about| at least)? ((?:{_PART})+)"
    r"|retry after:? (\d+(?:\.\d+)?)(?![.,:]?\w|-\d| \w)"
    r"|(\d+(?:\.\d+)?) ?(?:秒|sekunden\b|secondes\b|segundos\b)",
    re.IGNORECASE,
)
"""A bare number is in seconds."""
_MOMENT = 1e6
"""From so many seconds on, a number is a moment."""
_LATEST = 1e11
"""From so many on it is one in thousandths, millionths or billionths of a second."""
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "ns": 1e-9}
_SECONDS |= dict.fromkeys(("us", "µs"), 1e-6)


def count(text: str | None, *, zero: bool = False) -> float | None:
    """Read a count; ``"30,000"``, ``-1`` and ``0`` have been seen on Azure."""
    if not text:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if value > 0 or (zero and value == 0) else None


def duration(text: str | None) -> float | None:
    """Read a duration or a moment (RFC 3339, or since 1970 in any unit) in seconds.

    >>> duration("6ms"), duration("1m30.5s"), duration("7"), duration("soon")
    (0.006, 90.5, 7.0, None)
    >>> duration("1500000000"), duration("1500000000000"), duration("2020-01-01")
    (0.0, 0.0, 0.0)
    """
    value = _number(text)
    if value is None or value < _MOMENT:
        return value
    if not math.isfinite(value):
        return None
    while value > _LATEST:
        value /= 1000
    return max(0.0, value - time.time())


@lru_cache(1024)
def _number(text: str | None) -> float | None:
    """Read a duration in seconds, or a moment in seconds or milliseconds."""
    if not text:
        return None
    if _WHOLE.fullmatch(text):
        seconds = sum(
            float(number) * (_SECONDS.get(unit.lower()) or _SECONDS[unit[0].lower()])
            for number, unit in _DURATION.findall(text)
        )
        return min(seconds, _MOMENT - 1)
    try:
        return float(text)  # Azure sends whole seconds
    except ValueError:
        return _timestamp(text)


def _timestamp(text: str) -> float | None:
    """Read a time as RFC 3339 or HTTP writes it, in seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def limit_names(pattern: str) -> tuple[str, ...]:
    """Return the headers of one limit: it, what remains, its reset."""
    return tuple(map(pattern.format, ("limit", "remaining", "reset")))


def quota(
    headers: Mapping[str, str], names: Sequence[str], period: float = 60.0
) -> Quota | None:
    """Read one limit from headers."""
    limit = count(headers.get(names[0]))
    remaining = count(headers.get(names[1]), zero=True)
    if limit is None and remaining is None:
        return None
    return Quota(limit, remaining, duration(headers.get(names[2])), period)


Limits = tuple[tuple[tuple[str, ...], float], tuple[tuple[str, ...], float]]
LIMITS: Limits = (
    (limit_names("x-ratelimit-{}-requests"), 60.0),
    (limit_names("x-ratelimit-{}-tokens"), 60.0),
)
"""OpenAI's headers of the limits on requests and tokens, and the seconds of each."""


def retry_after(response: HTTPResponse, message: str = "") -> float | None:
    """Return the seconds that the headers, or else the message, ask to wait."""
    headers = response.headers
    text = headers.get("retry-after", "").strip('"; ')
    milliseconds = headers.get("retry-after-ms", "")
    for value in (milliseconds and milliseconds + "ms", text):
        if (seconds := duration(value)) is not None:
            return max(0.0, seconds)
    match = _TRY_AGAIN.search(message)
    return duration(next(filter(None, match.groups()))) if match else None

"""How long to wait before another try."""

from __future__ import annotations

import random as _random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BASE = 0.5
_CAP = 60.0


def backoff(
    attempt: int,
    retry_after: float | None = None,
    random: Callable[[], float] = _random.random,
) -> float:
    """Give the seconds to wait after a failed attempt.

    Exponential with full jitter: uniform in ``[0, min(60, 0.5 * 2**attempt)]``.
    What the server asks for is a floor, and the jitter on it only positive (at
    most 20 %): rows that were told the same second must not come back together.

    Parameters
    ----------
    attempt : int
        How many attempts failed before this one, from 0.
    retry_after : float, optional
        Seconds the server asked for.

    Examples
    --------
    >>> backoff(3, random=lambda: 1.0)
    4.0
    >>> backoff(0, retry_after=10, random=lambda: 0.5)
    11.0
    """
    drawn = random()
    wait = min(_CAP, _BASE * 2.0 ** min(attempt, 16)) * drawn
    if retry_after is None:
        return wait
    return max(wait, retry_after * (1 + 0.2 * drawn))

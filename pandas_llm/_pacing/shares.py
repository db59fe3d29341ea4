"""One account's limits in parts: who may have how much of them, and until when."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import AbstractContextManager

    from pandas_llm._pacing.limiter import RateLimiter

TERM: Final = 2.0
"""Seconds that a part is leased for."""
RENEWAL: Final = 0.5
"""Seconds after which it is asked for again."""
WHOLE: Final = 0.99
"""The sum of all parts: bursts of several processes meet at the server."""
_LEAST: Final = 0.01
"""The part of a process that needs none at the moment."""

Budget: TypeAlias = "Callable[[Hashable, RateLimiter], AbstractContextManager[object]]"

budget: ContextVar[Budget | None] = ContextVar("pandas_llm_budget", default=None)
"""Where one account has several processes: gives this one its part of the limits, as
long as the context that it makes for the account and its limiter is open."""


@dataclass(slots=True)
class _Lease:
    part: float
    until: float
    wanting: bool


class AccountParts:
    """Leases parts of an account's limits; all parts together are never over one.

    Those whose requests wait get equal parts of what the others leave. One whose
    requests do not wait gives back half of its part at each renewal. A lease that is
    not renewed, because its process died, expires.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leases: dict[str, _Lease] = {}

    def renew(self, holder: str, *, wanting: bool, expected: int = 1) -> float:
        """Return a holder's part for `TERM` seconds; a new one leaves others room."""
        now = self._clock()
        self._leases = {h: s for h, s in self._leases.items() if s.until > now}
        mine = self._leases.pop(holder, None)
        others = self._leases.values()
        free = max(0.0, WHOLE - sum(lease.part for lease in others))
        modest = sum(lease.part for lease in others if not lease.wanting)
        rivals = 1 + sum(lease.wanting for lease in others)
        if mine is None:
            rivals = max(rivals, expected)
        part = min(free, max(0.0, WHOLE - modest) / rivals)
        if mine is not None and not wanting:
            part = min(part, max(_LEAST, mine.part / 2))
        self._leases[holder] = _Lease(part, now + TERM, wanting or mine is None)
        return part

    def release(self, holder: str) -> None:
        """Release a part."""
        self._leases.pop(holder, None)

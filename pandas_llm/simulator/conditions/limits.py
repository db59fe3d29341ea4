"""The rate limits of the simulated account: strict buckets, honest headers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm.simulator.conditions.settings import Settings

_MINUTE = 60.0
_MILLISECOND = 0.001
# What lacks a billionth is there: float rounding is not the client's fault.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass.

    Attributes
    ----------
    wait
        Seconds until it could pass; 0 lets it in, infinity never.
    kind
        The limit that stood in the way, ``"requests"`` or ``"tokens"``.
    limit, requested
        What it is per minute, and what the request asked of it.
    """

    wait: float = 0.0
    kind: str = "requests"
    limit: int = 0
    requested: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """A limit as it stands.

    Attributes
    ----------
    kind
        ``"requests"`` or ``"tokens"``.
    limit, remaining
        What it is per minute, and what is left at this moment.
    full_in
        Seconds until nothing of it is used up.
    """

    kind: str
    limit: int
    remaining: int
    full_in: float


class Bucket:
    """A token bucket that refills continuously and starts full."""

    def __init__(self, per_minute: float, size: float, now: float) -> None:
        self.per_minute = per_minute
        self.size = size
        self._level = size
        self._at = now

    def refill(self, now: float) -> float:
        """Return the level at this time."""
        gained = max(0.0, now - self._at) * self.per_minute / _MINUTE
        self._level = min(self.size, self._level + gained)
        self._at = now
        return self._level

    def wait_for(self, amount: float, now: float) -> float:
        """Return the seconds until this amount may be taken; infinity means never.

        What is larger than the bucket waits until it is full and leaves a debt: the
        rate holds, and only what exceeds a whole minute's limit can never pass.
        """
        if amount > max(self.per_minute, self.size) + _ROUNDING:
            return math.inf
        missing = min(amount, self.size) - self.refill(now) - _ROUNDING
        return max(0.0, missing) * _MINUTE / self.per_minute

    def take(self, amount: float) -> None:
        """Spend an amount that may be spent now."""
        self._level -= amount

    def level(self, kind: str, now: float) -> Level:
        """Return how full the bucket is."""
        level = self.refill(now)
        return Level(
            kind,
            round(self.per_minute),
            max(0, int(level + _ROUNDING)),
            (self.size - level) * _MINUTE / self.per_minute,
        )


class Limits:
    """The limits of one account on requests and tokens.

    A request that is refused uses up nothing.

    Parameters
    ----------
    settings
        The limits per minute and the burst.
    clock
        Seconds that only grow, such as `time.monotonic`.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._clock = clock
        requests, tokens = settings.requests_per_minute, settings.tokens_per_minute
        share = 1 / _MINUTE
        if settings.burst and requests:
            share = max(share, settings.burst / requests)
        self._buckets = {
            kind: Bucket(limit, max(1.0, size), clock())
            for kind, limit, size in (
                ("requests", requests, settings.burst or (requests or 0) * share),
                ("tokens", tokens, (tokens or 0) * share),
            )
            if limit
        }

    def admit(self, tokens: int) -> Verdict:
        """Let a request of so many tokens in, or say how long it has to wait."""
        now = self._clock()
        amounts = {"requests": 1, "tokens": tokens}
        refusals = [
            Verdict(wait, kind, round(bucket.per_minute), amounts[kind])
            for kind, bucket in self._buckets.items()
            if (wait := bucket.wait_for(amounts[kind], now)) > 0
        ]
        if refusals:
            return max(refusals, key=attrgetter("wait"))
        for kind, bucket in self._buckets.items():
            bucket.take(amounts[kind])
        return Verdict()

    def levels(self) -> list[Level]:
        """Return the limits of this moment."""
        now = self._clock()
        return [bucket.level(kind, now) for kind, bucket in self._buckets.items()]


def go_duration(seconds: float) -> str:
    """Write seconds as Go and OpenAI do.

    Examples
    --------
    >>> go_duration(0.006), go_duration(1.5), go_duration(90)
    ('6ms', '1.5s', '1m30s')
    """
    if seconds < 1:
        return f"{math.ceil(seconds / _MILLISECOND)}ms" if seconds > 0 else "0s"
    milliseconds = math.ceil(seconds / _MILLISECOND)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def retry_headers(seconds: float) -> dict[str, str]:
    """Return the headers that say how long to wait, rounded up in whole seconds."""
    return {
        "retry-after": str(max(1, math.ceil(seconds))),
        "retry-after-ms": str(max(1, math.ceil(seconds / _MILLISECOND))),
    }

"""Limits of an account: strict token buckets with headers, and a sliding window."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta


class Bucket:
    """Units that refill at a rate, up to a small burst.

    `eaten` is the share of the rate that another client of the account takes, as
    soon as it is there.
    """

    def __init__(self, unit: str, rate: float, burst: float, eaten: float) -> None:
        self.unit = unit
        self.rate = rate
        self.burst = burst
        self.level = burst
        self.at: float | None = None
        self.other = rate * eaten
        self.owed = 0.0

    def advance(self, now: float) -> None:
        if self.at is None:  # time counts from the first request
            self.at = now
        elapsed, self.at = now - self.at, now
        self.level = min(self.burst, self.level + elapsed * self.rate)
        # what the other client could not take in time it does not take later
        self.owed = min(self.owed + elapsed * self.other, 2.0)
        taken = min(math.floor(self.owed), max(0, math.floor(self.level)))
        self.level -= taken
        self.owed -= taken

    def wait(self, amount: float) -> float:
        return max(0.0, (amount - self.level) / self.rate)

    def headers(self) -> str:
        reset = (self.burst - self.level) / self.rate
        if self.unit in {"input", "output"}:
            return self.headers_of_anthropic(reset)
        return (
            f"x-ratelimit-limit-{self.unit}: {self.rate * 60:.0f}\r\n"
            f"x-ratelimit-remaining-{self.unit}: {max(0, int(self.level))}\r\n"
            f"x-ratelimit-reset-{self.unit}: {duration(reset)}\r\n"
        )

    def headers_of_anthropic(self, reset: float) -> str:
        begin = f"anthropic-ratelimit-{self.unit}-tokens"
        moment = datetime.now(UTC) + timedelta(seconds=reset)
        return (
            f"{begin}-limit: {self.rate * 60:.0f}\r\n"
            f"{begin}-remaining: {max(0, int(self.level))}\r\n"
            f"{begin}-reset: {moment.isoformat()}\r\n"
        )


class Window:
    """So many requests in any second; no header tells it."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.times: deque[float] = deque()

    def wait(self, now: float) -> float:
        while self.times and self.times[0] <= now - 1.0:
            self.times.popleft()
        full = len(self.times) >= self.most
        return self.times[0] + 1.0 - now if full else 0.0


class Account:
    """The limits of an account: a request passes all of them or none."""

    def __init__(self, settings: dict) -> None:
        eaten = settings["eaten"]
        self.buckets = [
            Bucket(unit, rate, settings[f"{unit}_burst"], eaten)
            for unit in ("requests", "tokens", "input", "output")
            if (rate := settings[f"{unit}_rate"])
        ]
        self.window = Window(settings["window"]) if settings["window"] else None
        self.tell = settings["tell"]
        self.change = settings["change"]
        self.begun: float | None = None

    @property
    def limits(self) -> bool:
        return bool(self.buckets or self.window)

    def admit(self, tokens: tuple[int, int], now: float) -> float:
        """Take the units and return 0.0, or return the seconds to wait."""
        self.begun = self.begun or now
        if self.change and now > self.begun + self.change[0]:
            self.buckets[0].rate, self.change = self.change[1], None
        read, written = tokens
        amounts = {"requests": 1.0, "tokens": read + written}
        amounts |= {"input": read, "output": written}
        wait = self.window.wait(now) if self.window else 0.0
        for bucket in self.buckets:
            bucket.advance(now)
            wait = max(wait, bucket.wait(amounts[bucket.unit]))
        if wait > 0.0:
            return wait
        for bucket in self.buckets:
            bucket.level -= amounts[bucket.unit]
        if self.window:
            self.window.times.append(now)
        return 0.0

    def headers(self) -> str:
        if not self.tell:
            return ""
        return "".join(bucket.headers() for bucket in self.buckets)


def duration(seconds: float) -> str:
    """Write a duration as Go does: ``12ms``, ``1.5s``, ``1m30s``.

    >>> duration(0.012), duration(1.5), duration(90)
    ('12ms', '1.5s', '1m30s')
    """
    if seconds < 1.0:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 1000) / 1000, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"

"""A strict token bucket, with the headers that real endpoints send."""

from __future__ import annotations

import math


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
        return (
            f"x-ratelimit-limit-{self.unit}: {self.rate * 60:.0f}\r\n"
            f"x-ratelimit-remaining-{self.unit}: {max(0, int(self.level))}\r\n"
            f"x-ratelimit-reset-{self.unit}: {duration(reset)}\r\n"
        )


class Account:
    """The buckets of an account: a request passes all of them or none."""

    def __init__(self, settings: dict) -> None:
        eaten = settings["eaten"]
        self.buckets = [
            Bucket(unit, rate, settings[f"{unit}_burst"], eaten)
            for unit in ("requests", "tokens")
            if (rate := settings[f"{unit}_rate"])
        ]
        self.tell = settings["tell"]

    def admit(self, tokens: float, now: float) -> float:
        """Give 0.0 and take the units, or give the seconds to wait."""
        wait = 0.0
        for bucket in self.buckets:
            bucket.advance(now)
            amount = 1.0 if bucket.unit == "requests" else tokens
            wait = max(wait, bucket.wait(amount))
        if wait > 0.0:
            return wait
        for bucket in self.buckets:
            bucket.level -= 1.0 if bucket.unit == "requests" else tokens
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

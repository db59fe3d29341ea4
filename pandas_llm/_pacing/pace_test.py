"""A number of requests at one pace, and how many of them are refused."""

from __future__ import annotations

import math


class PaceTest:
    """A count of refusals among the next `need` requests after the `first`.

    It is clean with at most `most` refusals. A slow one asks whether refusals go away
    at a lower pace.
    """

    def __init__(
        self, first: int, need: int, begun: float, most: float, *, slow: bool
    ) -> None:
        self.first = first
        self.slow = slow
        self.ended = math.inf
        """When its last request left."""
        self._need = need
        self._begun = begun
        self._most = most
        self._bad = 0

    def sent(self, number: int, now: float) -> None:
        """Record which request has left."""
        if number == self.first + self._need:
            self.ended = now

    def refused(self, number: int) -> None:
        """Record which request was refused."""
        self._bad += 0 < number - self.first <= self._need

    @property
    def clean(self) -> bool:
        """Whether no more requests were refused than strays explain."""
        return self._bad <= self._most

    @property
    def share(self) -> float:
        """The refusals among its requests."""
        return self._bad / self._need

    @property
    def tight(self) -> float:
        """The greatest share of refusals that its count still allows for."""
        return (self._bad + 2 + 2 * math.sqrt(self._bad)) / self._need

    @property
    def speed(self) -> float:
        """Requests a second."""
        return self._need / max(self.ended - self._begun, 1e-3)

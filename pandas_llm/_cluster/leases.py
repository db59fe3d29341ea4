"""Parts of an account's limits, leased from Dask's scheduler or Spark's driver."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from pandas_llm._pacing import RENEWAL, TERM, AccountParts

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from pandas_llm._pacing import Budget, RateLimiter

Ask: TypeAlias = "Callable[[str, bool | None], float | None]"
"""Renews the lease of an account, for a process that is wanting or not; with None it
is given back. Returns the part, or None when nobody answers."""

_GLANCE = 0.05
"""Seconds after which it is looked whether requests wait."""


class _Tenant:
    """One account's lease in this process, kept a term longer than runs use it."""

    def __init__(self, account: str, limiter: RateLimiter) -> None:
        self._account = account
        self._limiter = limiter
        self._lock = threading.Lock()
        self._runs = 0
        self._alive = False

    @contextmanager
    def used(self, ask: Ask) -> Iterator[None]:
        """Count a run; the first begins to renew, in a thread."""
        with self._lock:
            self._ask = ask
            self._runs += 1
            if not self._alive:
                self._alive = True
                self._limiter.share(0.0)
                threading.Thread(target=self._live, daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1

    def _live(self) -> None:
        while True:
            with self._lock:
                if not self._runs:
                    self._alive = False
                    self._limiter.share(None)
                    return
            self._renew()
            self._ask(self._account, None)

    def _renew(self) -> None:
        """Renew until no run has needed it for a term."""
        used = until = time.monotonic()
        wanting = True
        while (asked := time.monotonic()) < used + TERM:
            part = self._ask(self._account, wanting)
            if part is not None:
                self._limiter.share(part)
                until = asked + TERM
            elif asked > until:
                self._limiter.share(0.0)
            wanting = self._rest(wanting=wanting)
            if self._runs:
                used = time.monotonic()

    def _rest(self, *, wanting: bool) -> bool:
        """Wait for the next renewal; return whether requests have waited meanwhile.

        If none did before, those that begin to wait have it at once.
        """
        until, waited = time.monotonic() + RENEWAL, False
        while time.monotonic() < until and (wanting or not waited):
            time.sleep(_GLANCE)  # noqa: TID251 - a thread of its own
            waited = waited or self._limiter.wanting
        return waited


class Leases:
    """Who has which part of each account's limits; kept by scheduler or driver."""

    def __init__(self) -> None:
        self._shares: defaultdict[str, AccountParts] = defaultdict(AccountParts)

    def renew(
        self, account: str, holder: str, *, wanting: bool | None, expected: int
    ) -> float:
        """Return a holder's part for a term; with `wanting` None it is given back."""
        shares = self._shares[account]
        if wanting is not None:
            return shares.renew(holder, wanting=wanting, expected=expected)
        shares.release(holder)
        return 0.0


_tenants: dict[Hashable, _Tenant] = {}
_lock = threading.Lock()


def leased(ask: Ask) -> Budget:
    """Return the source of budget of a process that asks; for `budget`."""

    def lease(account: Hashable, limiter: RateLimiter) -> AbstractContextManager[None]:
        with _lock:
            if account not in _tenants:
                _tenants[account] = _Tenant(repr(account), limiter)
            return _tenants[account].used(ask)

    return lease

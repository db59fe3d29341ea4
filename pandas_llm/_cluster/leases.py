"""Parts of an account's limits, leased from Dask's scheduler by its workers."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from distributed import Status, get_client
from distributed.diagnostics.plugin import SchedulerPlugin

from pandas_llm._pacing import RENEWAL, TERM, Shares

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from distributed import Scheduler, Worker

    from pandas_llm._pacing import Budget, RateLimiter

_NAME = "pandas_llm"


class Accounts(SchedulerPlugin):  # type: ignore[misc]
    """Keeps, on the scheduler, who has which part of each account's limits."""

    idempotent = True
    name = _NAME

    async def start(self, scheduler: Scheduler) -> None:
        """Register the handler of the workers' requests."""
        self._scheduler = scheduler
        self._shares: dict[str, Shares] = {}
        scheduler.handlers["pandas_llm_lease"] = self.lease

    def lease(self, account: str, holder: str, wanting: bool | None) -> float:  # noqa: FBT001 - sent by name
        """Renew a lease; with `wanting` None it is given back."""
        shares = self._shares.setdefault(account, Shares())
        if wanting is None:
            shares.release(holder)
            return 0.0
        expected = len(self._scheduler.workers)
        return shares.renew(holder, wanting=wanting, expected=expected)


class _Tenant:
    """One account's lease in this process, kept a term longer than runs use it."""

    def __init__(self, worker: Worker, account: str, limiter: RateLimiter) -> None:
        self._worker = worker
        self._account = account
        self._limiter = limiter
        self._lock = threading.Lock()
        self._runs = 0
        self._alive = False

    def enter(self) -> None:
        """Count a run; the first begins to renew, in the worker's own loop."""
        with self._lock:
            self._runs += 1
            if not self._alive:
                self._alive = True
                self._limiter.share(0.0)
                self._worker.loop.add_callback(self._live)

    def leave(self) -> None:
        """Count a run's end."""
        with self._lock:
            self._runs -= 1

    async def _live(self) -> None:
        while self._needed():
            await self._renew()
            await self._ask(wanting=None)

    def _needed(self) -> bool:
        with self._lock:
            if not self._runs or not self._working():
                self._alive = False
                self._limiter.share(None)
            return self._alive

    def _working(self) -> bool:
        return self._worker.status in {Status.running, Status.paused}

    async def _renew(self) -> None:
        """Renew until no run has needed it for a term."""
        used = until = time.monotonic()
        wanting = True
        while (asked := time.monotonic()) < used + TERM and self._working():
            part = await self._ask(wanting=wanting)
            if part is not None:
                self._limiter.share(part)
                until = asked + TERM
            elif asked > until:
                self._limiter.share(0.0)
            await asyncio.sleep(RENEWAL)
            wanting = self._limiter.wanting
            if self._runs:
                used = time.monotonic()

    async def _ask(self, *, wanting: bool | None) -> float | None:
        ask = self._worker.scheduler.pandas_llm_lease
        try:
            part: float = await ask(
                account=self._account, holder=self._worker.address, wanting=wanting
            )
        except (OSError, RuntimeError):  # it is not there, or the worker is closing
            return None
        return part


_tenants: dict[Hashable, _Tenant] = {}
_lock = threading.Lock()
_registered: set[str] = set()


def leased(worker: Worker) -> Budget:
    """Return the source of budget of a worker's process; for `budget`."""
    with _lock:
        if worker.scheduler.address not in _registered:
            get_client().register_plugin(Accounts(), name=_NAME)
            _registered.add(worker.scheduler.address)
    return partial(_lease, worker)


@contextmanager
def _lease(worker: Worker, account: Hashable, limiter: RateLimiter) -> Iterator[None]:
    """Hold a lease while a run is under way; runs of one process share it."""
    with _lock:
        tenant = _tenants.get(account)
        if tenant is None:
            tenant = _tenants[account] = _Tenant(worker, repr(account), limiter)
    tenant.enter()
    try:
        yield
    finally:
        tenant.leave()

"""What Dask's scheduler keeps for its workers: their limits and what they used."""

from __future__ import annotations

import pickle
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from distributed import Status, get_client
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils import sync

from pandas_llm._cluster.book import Book
from pandas_llm._cluster.leases import Leases
from pandas_llm._pacing import TERM

if TYPE_CHECKING:
    from distributed import Client, Scheduler, Worker

    from pandas_llm._cluster.book import Tell

_NAME = "pandas_llm"


class Accounts(SchedulerPlugin):  # type: ignore[misc]
    """Keeps who has which part of each account's limits, and what runs have used."""

    idempotent = True
    name = _NAME

    async def start(self, scheduler: Scheduler) -> None:
        """Register the handlers of the workers' and the caller's requests."""
        self._scheduler = scheduler
        self._leases = Leases()
        self._book = Book()
        scheduler.handlers["pandas_llm_lease"] = self.lease
        scheduler.handlers["pandas_llm_book"] = self.book
        scheduler.stream_handlers["pandas_llm_told"] = self.hear

    def lease(self, account: str, holder: str, wanting: bool | None) -> float:  # noqa: FBT001 - sent by name
        """Renew a lease; with `wanting` None it is given back."""
        expected = len(self._scheduler.workers)
        return self._leases.renew(account, holder, wanting=wanting, expected=expected)

    def hear(self, key: Any, told: bytes, **_: Any) -> None:
        """Write down what a run of a task tells."""
        task = self._scheduler.tasks.get(key)
        for computation in reversed(self._scheduler.computations):
            if task is not None and task.group in computation.groups:
                self._book.hear(computation.start, told)
                break

    def book(self) -> bytes:
        """Return what the runs of the last computation used."""
        return pickle.dumps(self._book)


@cache
def connect(scheduler: str) -> None:  # noqa: ARG001 - of the key
    """Have the scheduler of this worker keep accounts; again does no harm."""
    get_client().register_plugin(Accounts(), name=_NAME)


def ask(worker: Worker, account: str, wanting: bool | None) -> float | None:  # noqa: FBT001 - as sent
    """Ask a worker's scheduler for a part of an account's limits."""
    if worker.status not in {Status.running, Status.paused}:
        return 1.0  # its cluster ends, so nobody else has a part
    words = {"account": account, "holder": worker.address, "wanting": wanting}
    renew = partial(worker.scheduler.pandas_llm_lease, **words)
    try:
        part: float = sync(worker.loop, renew, callback_timeout=TERM)
    except (OSError, RuntimeError):  # it is not there, or the worker is closing
        return None
    return part


def tell(worker: Worker) -> Tell:
    """Return what tells a worker's scheduler of the runs of the task under way."""
    key = worker.get_current_task()
    # the same way as the task's end, which overtakes nothing
    send = worker.batched_send
    return lambda told: worker.loop.add_callback(
        send, {"op": "pandas_llm_told", "key": key, "told": told}
    )


def book_of(client: Client) -> Book:
    """Fetch the book of a client's cluster."""
    client.register_plugin(Accounts(), name=_NAME)
    read: bytes = client.sync(client.scheduler.pandas_llm_book)
    book: Book = pickle.loads(read)  # noqa: S301 - of the cluster that we run on
    return book

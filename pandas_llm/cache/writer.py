"""The thread that commits replies and uses to a cache file, in batches."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from pandas_llm.cache import sqlite as database
from pandas_llm.types import Reply

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

Item: TypeAlias = tuple[bytes, Reply | None] | list[bytes] | threading.Event | None
"""A reply, or None in place of one that goes; keys that were used; an event to set when
written; None to stop."""

_LINGER = 0.1
"""Seconds it collects; the rest of the 200 ms is for the commit itself."""
_WRITE_WAIT, _TRY_WAIT = 10.0, 1.0
"""Seconds to wait for another process's lock, where it is tried again the second."""
_COMMIT_WAIT = 15.0
"""Seconds that others wait for it."""
_MOST_LEFT = 10_000
"""Replies that wait for a file which cannot be written to, until all are given up."""


class Writer:
    """Writes what its queue gets, and tries again what a lock or a full disk keeps out.

    It drops all after an error that lasts, which is told to `failed`: one that is there
    when somebody waits for the writing, or one of a damaged file.
    """

    def __init__(
        self,
        path: Path,
        limit: int,
        failed: Callable[[Exception], None],
        gone: Callable[[], None],
        patient: bool,  # noqa: FBT001 - passed on
    ) -> None:
        self.queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._path = path
        self._limit = limit
        self._failed, self._gone = failed, gone
        self._patient = patient
        self._file: tuple[int, int] | None = None
        """The identity of the file that is open."""
        self._off = False
        self._stamp = 0
        self._hurry = threading.Event()
        self._sqlite = database.Guard()
        self._thread = threading.Thread(
            target=self._run, name="pandas_llm.cache", daemon=True
        )
        self._thread.start()

    def flush(self) -> None:
        """Wait until what was put is on disk, or has failed to get there."""
        ticket = threading.Event()
        self.queue.put(ticket)
        self._hurry.set()
        ticket.wait(_COMMIT_WAIT)

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self.queue.put(None)
        self._hurry.set()
        self._thread.join(_COMMIT_WAIT)

    def _run(self) -> None:
        going, left = True, list[Item]()
        while going:
            items = [*left, self.queue.get()]
            self._hurry.wait(_LINGER)
            self._hurry.clear()
            with suppress(queue.Empty):
                while True:
                    items.append(self.queue.get_nowait())
            going = None not in items
            try:
                left = self._write(items)
            finally:
                for item in items:
                    if isinstance(item, threading.Event):
                        item.set()
        self._close()

    def _write(self, items: Sequence[Item]) -> list[Item]:
        """Commit to the file; return what is to be tried again."""
        puts = dict(item for item in items if isinstance(item, tuple))
        used = [key for item in items if isinstance(item, list) for key in item]
        if self._off or not (puts or used):
            return []
        awaited = not all(isinstance(item, (tuple, list)) for item in items)
        wait = (_WRITE_WAIT if awaited else _TRY_WAIT) * self._patient
        try:
            if self._sqlite.connection and database.identity(self._path) != self._file:
                self._gone()  # SQLite would go on in a file without a name
                self._close()
            with self._sqlite:
                connection = self._sqlite.connection or self._open(wait)
                connection.execute(f"PRAGMA busy_timeout={1000 * wait:.0f}")
                # a clock that was set back must not make new replies the first to go
                self._stamp = max(self._stamp, int(time.time()))
                database.write(connection, puts, used, self._stamp)
                database.evict(connection, self._path, self._limit, self._stamp)
        except database.ERRORS as error:
            self._close()
            lasts = awaited or database.damaged(error) or len(puts) > _MOST_LEFT
            if not lasts:
                return [*puts.items()]
            if puts:  # a use that is not noted loses nothing
                self._off = True
                self._failed(error)
        return []

    def _open(self, wait: float) -> sqlite3.Connection:
        connection = database.connect(self._path, wait)
        self._sqlite.connection = connection
        self._file = database.identity(self._path)
        (newest,) = connection.execute("SELECT max(used) FROM replies").fetchone()
        self._stamp = newest if isinstance(newest, int) else 0
        return connection

    def _close(self) -> None:
        with self._sqlite:
            self._sqlite.close()

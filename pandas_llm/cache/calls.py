"""Requests under way: equal ones of runs side by side share one call."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pandas_llm.cache import sqlite as database

if TYPE_CHECKING:
    from pandas_llm.types import Reply

    Waiting = list[asyncio.Future[None]]

_RECENT = 4096
"""Replies that are remembered until they are on disk for certain."""


class Calls:
    """Who asks what at the moment, of all runs of a process that share a file.

    Used from any thread and event loop. The first to `begin` a key leads: it looks
    with `recent`, asks, and must `end` the call, whatever came of it. All others get
    something to wait for, and look again then: the reply is kept, or the next leads.

    Examples
    --------
    >>> calls = Calls()
    >>> calls.begin(b"key") is None
    True
    >>> calls.end(b"key", None)
    """

    def __init__(self) -> None:
        self._lock = database.new_lock()
        self._under_way: dict[bytes, Waiting] = {}
        self._recent: dict[bytes, Reply] = {}

    def begin(self, key: bytes) -> asyncio.Future[None] | None:
        """Return None to the one who leads, to others what ends with the call."""
        with self._lock:
            waiting = self._under_way.get(key)
            if waiting is None:
                self._under_way[key] = []
                return None
            future = asyncio.get_running_loop().create_future()
            waiting.append(future)
            return future

    def end(self, key: bytes, reply: Reply | None) -> None:
        """Let those go on who wait for the call; the reply is kept in memory too."""
        with self._lock:
            waiting = self._under_way.pop(key)
            if reply is not None:
                self._recent[key] = reply
                if len(self._recent) > _RECENT:
                    del self._recent[next(iter(self._recent))]
        for future in waiting:
            with suppress(RuntimeError):  # its loop is closed
                future.get_loop().call_soon_threadsafe(_wake, future)

    def recent(self, key: bytes) -> Reply | None:
        """Return a reply that may not be on disk yet."""
        return self._recent.get(key)

    def forget(self) -> None:
        """Forget the replies: they are on disk."""
        with self._lock:
            self._recent.clear()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""Requests under way, so that runs side by side share one call for equal ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pandas_llm.cache import sqlite as database

if TYPE_CHECKING:
    from pandas_llm.types import Reply

    Waiting = list[asyncio.Future[None]]

_RECENT = 4096
"""Number of replies to remember until they are certainly on disk."""


class Calls:
    """The requests under way in all runs of a process that share a cache file.

    The first to `begin` a key leads: it looks with `recent`, sends, and must `end` the
    call. All others wait for a future, then look again: one of them may lead next.
    """

    def __init__(self) -> None:
        self._lock = database.Guard()
        self._under_way: dict[bytes, Waiting] = {}
        self._recent: dict[bytes, Reply] = {}

    def begin(self, key: bytes) -> asyncio.Future[None] | None:
        """Return None to the leader, and to others a future that ends with the call."""
        with self._lock:
            waiting = self._under_way.get(key)
            if waiting is None:
                self._under_way[key] = []
                return None
            future = asyncio.get_running_loop().create_future()
            waiting.append(future)
            return future

    def end(self, key: bytes, reply: Reply | None) -> None:
        """Wake those who wait for the call; remember the reply."""
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
        """Forget the replies, which are on disk now."""
        with self._lock:
            self._recent.clear()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""The replies that were paid for, in one SQLite file of this host.

A failure ends reading, or writing if it lasts, and never a run; `Cache.broken` says
why. A file that is damaged, or not ours, stays as it is: it may be somebody else's.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pandas_llm import environment
from pandas_llm.cache import sqlite as database
from pandas_llm.cache.calls import Calls
from pandas_llm.cache.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.cache.writer import Item
    from pandas_llm.types import Reply

DEFAULT_LIMIT = 2 << 30
"""Bytes that a file may hold before the least recently used replies go; those of the
last day stay while the disk has room."""

_log = logging.getLogger("pandas_llm")
_NAME = "replies.sqlite"
_OFF = {"0", "off", "false", "no"}
_ON = {"1", "on", "true", "yes"}
_STALE = 3600
"""Seconds until a use is noted again, so that reading rarely means writing."""


class Cache:
    """Replies by the fingerprint of their request; no method raises.

    It waits for another process's lock unless that was done in vain.
    """

    _writer: Writer | None

    def __init__(
        self, path: Path, *, limit: int = DEFAULT_LIMIT, patient: bool = True
    ) -> None:
        self.path = path
        self._patient = patient
        self.broken: str | None = None
        """What failed first."""
        self._limit = limit
        self._uses = 1
        self.shared = False
        """Whether several runs have used it at the same time."""
        self._readable = self._writable = True
        self._begin()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """Return the replies that are there and whole."""
        replies: dict[bytes, Reply] = {}
        fresh = int(time.time()) - _STALE
        stale = []
        for key, used, reply in database.decode(self._select(keys)):
            replies[key] = reply
            if used < fresh:
                stale.append(key)
        if stale:
            self._enqueue(stale)
        return replies

    def put(self, key: bytes, reply: Reply) -> None:
        """Keep a reply; it is on disk 200 ms later."""
        self._enqueue((key, reply))

    def forget(self, key: bytes) -> None:
        """Delete a reply."""
        self._enqueue((key, None))

    def flush(self) -> None:
        """Wait until all that was put is on disk."""
        self._check_process()
        if (writer := self._writer) is not None:
            writer.flush()

    def close(self) -> None:
        """Write what was put; the last user of the file closes it."""
        self._check_process()
        with _sharing:
            self._uses -= 1
            if self._uses <= 0 and _shared.get(_place(self.path)) is self:
                del _shared[_place(self.path)]
        if self._uses > 0:
            self.flush()
            if self._uses == 1:
                self.calls.forget()
            return
        self._readable = self._writable = False
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
        with self._sqlite:
            self._sqlite.close()

    def share(self) -> Cache:
        """Count one more user, who must close it too."""
        self._uses += 1
        self.shared = True
        return self

    # -- inside -----------------------------------------------------------------

    def _begin(self) -> None:
        database.watch_forks()
        self._process = os.getpid()
        self._writer = None
        self._sqlite = database.Guard()
        self.calls = Calls()

    def _check_process(self) -> None:
        """Start again in a forked child, where the connections are the parent's."""
        if self._process != os.getpid():
            # the parent works on: its connections may not be closed either
            _parents.append((self._sqlite, self._writer))
            self._begin()

    def _enqueue(self, item: Item) -> None:
        self._check_process()
        if self._writable:
            try:
                writer = self._writer or self._start()
            except RuntimeError as error:  # no more threads
                self._not_written(error)
            else:
                writer.queue.put(item)

    def _start(self) -> Writer:
        with self._sqlite:
            if self._writer is None:
                told = self._not_written, self._gone
                self._writer = Writer(self.path, self._limit, *told, self._patient)
            return self._writer

    def _select(self, keys: Sequence[bytes]) -> list[database.Row]:
        self._check_process()
        if not keys or not self._readable:
            return []
        with self._sqlite:
            try:
                reader = self._sqlite.connection
                if reader is None:
                    reader = database.connect_to_read(self.path, patient=self._patient)
                    self._sqlite.connection = reader
                return database.select(reader, keys)
            except database.ERRORS as error:
                self._readable = False
                self._break("no more replies are used", error)
                self._sqlite.close()
                return []

    def _not_written(self, error: Exception) -> None:
        self._writable = False  # what was paid for stays readable
        self._break("no more replies are kept", error)

    def _gone(self) -> None:
        error = OSError("it was removed, moved or replaced while it was in use")
        self._break("what was kept before is gone", error)

    def _break(self, lost: str, error: Exception) -> None:
        if database.damaged(error):  # writing could spoil what is left of it
            self._readable = self._writable = False
        why = f"{lost}: {database.reason(self.path, error)}"
        _log.info("the cache fails, %s", why)
        self.broken = self.broken or why


_shared: dict[tuple[int, str], Cache] = {}
_sharing = database.Guard()
_parents: list[object] = []


def _place(path: Path) -> tuple[int, str]:
    """Return what identifies a file within one process."""
    whole = str(path)
    if not database.homeless(path):
        with suppress(OSError):  # the current folder is gone
            whole = os.path.realpath(path)
    return os.getpid(), whole


def open_cache(path: Path, *, patient: bool = True) -> Cache:
    """Open a file, or share it with other runs of this process; close it each time."""
    place = _place(path)
    with _sharing:
        if place not in _shared:
            cache = _shared[place] = Cache(Path(place[1]), patient=patient)
            return cache
        cache = _shared[place].share()
    cache.flush()  # so that it finds all that is kept
    return cache


def why_unusable(path: Path) -> str | None:
    """Return why a file cannot be used, before a run pays for what it holds."""
    try:
        with database.Guard():
            database.connect_to_read(path).close()
    except database.ERRORS as error:
        return (
            f"the cache cannot be used: {database.reason(path, error)}\nAll rows are "
            "asked, and the next call pays for them again. Pass cache= another file, "
            "or cache=False."
        )
    return None


def location(
    option: bool | str | os.PathLike[str],  # noqa: FBT001 - the option's own type
) -> Path | None:
    """Return the file that the option `cache` names; None for no cache.

    PANDAS_LLM_CACHE, a path or ``"off"``, may say what ``True`` means.
    """
    if option is True and (variable := environment.own("cache")):
        word = variable.strip().lower()
        option = word not in _OFF if word in _OFF | _ON else variable
    if option is False:
        return None
    if option is True:
        return _usual()
    path = Path(option)
    with suppress(RuntimeError):  # no home folder: opening the file reports it
        path = path.expanduser()
    with suppress(OSError):
        return path / _NAME if path.is_dir() else path
    return path


def _usual() -> Path:
    """Return the file in the user's cache folder, below "~" if there is none."""
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("pandas_llm", appauthor=False))
    except (OSError, RuntimeError, LookupError, ValueError):
        folder = Path("~", "pandas_llm")
    return folder / _NAME


def flush(file: Path) -> None:
    """Flush a file if this process has it open."""
    if (cache := _shared.get(_place(file))) is not None:
        cache.flush()

"""The SQLite file that `cache` keeps replies in: its tables, entries and failures."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import sqlite3
import threading
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from pandas_llm.cache.entries import checksum, dump, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pandas_llm.types import Reply

DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Codes of a file that must be neither read nor written any more."""
LOCK_WAIT = 5.0
"""Seconds to wait for another process's lock; reading holds up the event loop."""
ERRORS = (sqlite3.Error, OSError, UnicodeError)
"""What any use of a file may raise; UnicodeError where names in it are damaged."""

Row: TypeAlias = tuple[bytes, int, int, bytes]
"""An entry: key, second of its last use, checksum, text."""

_log = logging.getLogger("pandas_llm")
_EVICTING = 0.05
"""Seconds of eviction that may follow one commit."""
_MOST = 999
"""Parameters of one statement; newer SQLite takes more."""
_VERSION = 1
_SCHEMA = """
CREATE TABLE pandas_llm_cache (version INTEGER NOT NULL);
CREATE TABLE replies (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    used INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    reply BLOB NOT NULL
);
CREATE INDEX replies_used ON replies (used)
"""
_SELECT = "SELECT key, used, sum, reply FROM replies WHERE key IN ({})"
_PUT = "INSERT OR REPLACE INTO replies (key, used, sum, reply) VALUES "
_ENTRY = "(?, ?, ?, ?)"
_TOUCH = "UPDATE replies SET used = ? WHERE key = ?"
_FORGET = """
DELETE FROM replies WHERE id IN (
    SELECT id FROM replies WHERE used <= ? ORDER BY used, id LIMIT 32
)
"""
_FRESH, _ROOM = 86_400, 0.1
"""Seconds in which a reply may not have been read yet, as one of a batch or of a run
that goes on; the share of the disk that must be free for these to exceed the limit."""
_DAMAGED = (
    "it is damaged, or not a cache, and was left as it is: move it away and the next "
    "run starts a new one"
)
_UNWRITABLE = (
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
)
"""Codes where nothing can be written, be it the log that reading needs too."""
_HINTS = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked, or its disk has no locks",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk is full, failing, or one that has no locks",
    sqlite3.SQLITE_READONLY: "it may not be written to",
    sqlite3.SQLITE_CANTOPEN: "it or its folder may not be written to",
}


# -- opening --------------------------------------------------------------------


def connect_to_read(path: Path, *, patient: bool = True) -> sqlite3.Connection:
    """Open a file, and if nothing can be written to its folder, as it lies there."""
    wait = LOCK_WAIT if patient else 0.0
    try:
        return connect(path, wait)
    except sqlite3.OperationalError as error:
        if _code(error) in _UNWRITABLE and size(path):
            with suppress(sqlite3.Error):
                # without locks: if others write, the checksums of entries tell
                return _connected(f"{path.absolute().as_uri()}?immutable=1", wait)
        raise


def connect(path: Path, wait: float) -> sqlite3.Connection:
    """Open a file, made if missing; wait up to `wait` seconds for others' locks."""
    if homeless(path):
        # or a folder named "~" would appear in the current folder
        raise FileNotFoundError("there is no home folder: set HOME, or pass cache=")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # only ever a new file: closing one that SQLite has open drops SQLite's locks
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    if size(path) == 1 or (not size(path) and size(log_of(path))):
        # SQLite would overwrite the one byte, or delete the log, which may hold all
        raise sqlite3.DatabaseError("it was cut off")
    return _connected(path, wait)


def _connected(place: Path | str, wait: float) -> sqlite3.Connection:
    """Open a file by its path, or by its address."""
    connection = sqlite3.connect(
        place,
        timeout=wait,
        isolation_level=None,
        check_same_thread=False,
        uri=isinstance(place, str),
    )
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        _recognise(connection, wait)
    except BaseException:
        connection.close()
        raise
    return connection


def _recognise(connection: sqlite3.Connection, wait: float) -> None:
    """Make the tables in an empty file; refuse one that is not ours."""
    names = _tables(connection)
    if not names:
        _create(connection, wait)
    elif "pandas_llm_cache" not in names:
        raise sqlite3.DatabaseError("it is the database of something else")
    query = "SELECT max(version) FROM pandas_llm_cache"
    (version,) = connection.execute(query).fetchone()
    if not isinstance(version, int) or version < _VERSION:
        raise sqlite3.DatabaseError("its version cannot be read")
    if version > _VERSION:
        raise sqlite3.DatabaseError("a newer version of pandas_llm made it")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _create(connection: sqlite3.Connection, wait: float) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError as error:
            # of two that make a file at once SQLite lets one fail without waiting
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            threading.Event().wait(0.01)
    if not _tables(connection):
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO pandas_llm_cache VALUES (?)", (_VERSION,))
    connection.execute("COMMIT")


def log_of(path: Path) -> Path:
    """Name the log that SQLite keeps beside a file while it is open."""
    return Path(f"{path}-wal")


def homeless(path: Path) -> bool:
    """Return whether a path begins with an unknown home folder."""
    return path.parts[:1] == ("~",)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of its name; None when there is none."""
    try:
        known = path.stat()
    except OSError:
        return None
    return known.st_dev, known.st_ino


def size(path: Path) -> int:
    """Return a file's bytes, 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- failing --------------------------------------------------------------------


def damaged(error: Exception) -> bool:
    """Return whether an error means that the file cannot be trusted."""
    return isinstance(error, UnicodeError) or _code(error) in DAMAGE


def reason(path: Path, error: Exception) -> str:
    """Describe what failed, and the way out."""
    if damaged(error):
        why = "its text is not UTF-8" if isinstance(error, UnicodeError) else error
        return f"{path}: {why} ({_DAMAGED})"
    hint = _HINTS.get(_code(error))
    return f"{path}: {error}" + (f" ({hint})" if hint else "")


def _code(error: Exception) -> int:
    """Return SQLite's primary code of an error, 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


# -- entries --------------------------------------------------------------------


def select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[Row]:
    """Find entries."""
    rows: list[Row] = []
    for start in range(0, len(keys), _MOST):
        part = keys[start : start + _MOST]
        query = _SELECT.format(",".join("?" * len(part)))
        rows += connection.execute(query, part).fetchall()
    return rows


def write(
    connection: sqlite3.Connection,
    puts: Mapping[bytes, Reply | None],
    used: Iterable[bytes],
    stamp: int,
) -> None:
    """Put entries, delete those without a reply, note uses; in one commit."""
    connection.execute("BEGIN IMMEDIATE")
    rows, most = list(_rows(puts, stamp)), _MOST // 4
    for start in range(0, len(rows), most):
        # many rows a statement: for each one sqlite3 lets go of the interpreter's lock
        # and takes it back, and the event loop waits for it too
        part = rows[start : start + most]
        entries = ", ".join([_ENTRY] * len(part))
        connection.execute(_PUT + entries, [*chain.from_iterable(part)])
    gone = [(key,) for key, reply in puts.items() if reply is None]
    connection.executemany("DELETE FROM replies WHERE key = ?", gone)
    connection.executemany(_TOUCH, [(stamp, key) for key in used])
    connection.execute("COMMIT")


def evict(connection: sqlite3.Connection, path: Path, limit: int, stamp: int) -> None:
    """Forget the least recently used entries; the rest after a later commit."""

    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    pages = limit // pragma("page_size")
    until = time.monotonic() + _EVICTING
    while pragma("page_count") - pragma("freelist_count") > pages:
        used = stamp - _FRESH if _has_room(path) else stamp
        forgot = connection.execute(_FORGET, (used,)).rowcount
        if not forgot or time.monotonic() > until:
            break
    # free pages are reused; they go back to the disk only if the limit was lowered
    if pragma("page_count") > pages * 1.2:
        _vacuum(connection, 1000)


def _has_room(path: Path) -> bool:
    with suppress(OSError):
        disk = shutil.disk_usage(path.parent)
        return disk.free > _ROOM * disk.total
    return False


def clear(connection: sqlite3.Connection) -> int:
    """Forget all entries and give the space back; return how many there were."""
    connection.execute("BEGIN IMMEDIATE")
    (entries,) = connection.execute("SELECT count(*) FROM replies").fetchone()
    connection.execute("DELETE FROM replies")
    connection.execute("COMMIT")
    _vacuum(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return int(entries)


def _vacuum(connection: sqlite3.Connection, pages: int = 0) -> None:
    """Return so many free pages to the disk, or all."""
    # a page is a step of the statement, and execute() takes only one step
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")


def decode(rows: Iterable[Row]) -> Iterator[tuple[bytes, int, Reply]]:
    """Yield key, last use and reply of each row that is undamaged."""
    for key, used, check, text in rows:
        try:
            if checksum(key, text) == check:
                yield key, int(used), load(text)
        except (TypeError, ValueError, OverflowError):
            continue


def _rows(puts: Mapping[bytes, Reply | None], stamp: int) -> Iterator[Row]:
    for key, reply in puts.items():
        if reply is None:
            continue
        try:
            text = dump(reply)
        except (TypeError, ValueError) as error:  # a lone surrogate
            _log.debug("a reply cannot be kept: %s", error)
            continue
        yield key, stamp, checksum(key, text), text


# -- forks ----------------------------------------------------------------------

_guards: WeakSet[Guard] = WeakSet()
_held: list[Guard] = []


class Guard:
    """A lock to hold while in SQLite, and the connection that it guards, if any.

    A fork waits for all locks and closes all connections: in the child, SQLite would
    take the parent's locks for its own, and write to a log that is gone by then.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        _guards.add(self)

    def __enter__(self) -> None:
        """Wait for the lock."""
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        """Let others have it."""
        self.lock.release()

    def close(self) -> None:
        """Close the connection; whoever holds the lock may."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(*ERRORS):
                connection.close()


@functools.cache
def watch_forks() -> None:
    """Let a forked child begin with no lock taken, or it would hang, and none open."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_hold, after_in_parent=_release, after_in_child=_release
        )


def _hold() -> None:
    _held[:] = [guard for guard in list(_guards) if guard.lock.acquire(timeout=1)]
    for guard in _held:
        guard.close()


def _release() -> None:
    for guard in _held:
        guard.lock.release()
    _held.clear()

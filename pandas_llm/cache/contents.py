"""What people do with a cache file: look at what it holds, and clear it."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm.cache import sqlite as database
from pandas_llm.cache.replies import flush, location
from pandas_llm.errors import LLMError

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


class CacheInfo(NamedTuple):
    """What a cache file holds.

    Attributes
    ----------
    path : Path or None
        The file; None where PANDAS_LLM_CACHE says that there is none.
    entries : int
        Replies in it.
    bytes : int
        Its size on disk.
    oldest, newest : datetime or None
        The earliest and the latest last use of an entry, to the hour.
    """

    path: Path | None
    entries: int
    bytes: int
    oldest: datetime | None
    newest: datetime | None


def info(path: str | os.PathLike[str] | None = None) -> CacheInfo:
    """Return what a cache holds.

    Parameters
    ----------
    path : str or path, optional
        The file; by default the one that PANDAS_LLM_CACHE names, or the usual one.

    Returns
    -------
    CacheInfo
        Entries, size and times of use.

    Raises
    ------
    LLMError
        When the file cannot be read, or is not ours.

    Examples
    --------
    >>> import pandas_llm.cache
    >>> pandas_llm.cache.info("nothing.sqlite").entries
    0
    """
    with _opened(path) as (file, connection):
        if file is None or connection is None:
            return CacheInfo(file, 0, 0, None, None)
        entries, *times = connection.execute(
            "SELECT count(*), min(used), max(used) FROM replies"
        ).fetchone()
        size = database.size(file) + database.size(database.log_of(file))
        return CacheInfo(file, entries, size, *map(_moment, times))


def _moment(second: Any) -> datetime | None:
    """Return the time of a use; None where there is none or it is damaged."""
    with suppress(TypeError, ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(second, UTC)
    return None


def clear(path: str | os.PathLike[str] | None = None) -> int:
    """Forget all replies of a cache, for good; a run that uses it goes on.

    Parameters
    ----------
    path : str or path, optional
        The file; by default the one that PANDAS_LLM_CACHE names, or the usual one.

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    LLMError
        When the file cannot be written to, or is not ours.

    Examples
    --------
    >>> import pandas_llm.cache
    >>> pandas_llm.cache.clear("nothing.sqlite")
    0
    """
    with _opened(path) as (_, connection):
        return 0 if connection is None else database.clear(connection)


@contextmanager
def _opened(
    path: str | os.PathLike[str] | None,
) -> Iterator[tuple[Path | None, sqlite3.Connection | None]]:
    """Open a file if it exists, after writing what this process has put there."""
    if (file := location(path or True)) is not None:
        flush(file)
    if file is None or not database.size(file):
        yield file, None
        return
    try:
        with closing(database.connect_to_read(file)) as connection:
            yield file, connection
    except database.ERRORS as error:
        raise LLMError(database.reason(file, error)) from error

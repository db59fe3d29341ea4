"""A Spark session's accounts: who has which limits, and what its workers used."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from pyspark import AccumulatorParam, TaskContext

from pandas_llm import Usage
from pandas_llm._cluster.book import Book
from pandas_llm._cluster.driver import Driver, line_to
from pandas_llm.errors import NoUsageError

if TYPE_CHECKING:
    import pandas as pd
    from pyspark import Accumulator
    from pyspark.sql import SparkSession

    from pandas_llm._cluster.driver import Address
    from pandas_llm._report import Report


class Accounts(NamedTuple):
    """What a worker takes along; nothing on Spark Connect, which has no way back."""

    driver: Address | None = None
    book: Accumulator[Any] | None = None


class _IntoBook(AccumulatorParam[Any]):
    """Adds what workers tell, lists of (page, told), to the driver's book."""

    def zero(self, value: Any) -> Any:
        """Return what a worker begins with."""
        return []

    def addInPlace(self, value1: Any, value2: Any) -> Any:  # noqa: N802 - Spark's name
        """Add to the book in the driver, to the list in a worker."""
        if not isinstance(value1, Book):
            return value1 + value2
        for page, told in value2:
            value1.hear(page, told)
        return value1


class Told:
    """What the runs of one partition tell, on each way that there is."""

    def __init__(self, accounts: Accounts, page: int) -> None:
        self._accounts = accounts
        self._page = page
        self._used = Usage()

    def tell(self, told: bytes, ended: bool) -> None:  # noqa: FBT001 - as told
        """Tell the driver what a run has used so far."""
        driver, book = self._accounts
        if driver is not None and (line := line_to(driver)).reached:
            line.tell(self._page, told)
        if ended:
            self._used += Usage(**orjson.loads(told)["usage"])
            if book is not None:
                book.add([(self._page, told)])

    def used(self) -> str:
        """Return what runs have used since it was asked last, in JSON."""
        used, self._used = self._used, Usage()
        return orjson.dumps(asdict(used)).decode()


_sessions: dict[str, Accounts] = {}
_cores: dict[str, int] = {}
_drivers: list[Driver] = []
_last: list[Book] = []


def page() -> int:
    """Return the number of the action that the task under way belongs to."""
    task = TaskContext.get()
    number = task and task.getLocalProperty("spark.sql.execution.id")
    return int(number or 0)


def cores(session: SparkSession) -> int:
    """Return how many Python workers run at once."""
    if not _is_remote(session):
        return int(session.sparkContext.defaultParallelism)
    name = session.session_id  # type: ignore[attr-defined]
    if name not in _cores:
        # nothing else tells: a range has as many parts as there are cores
        parts = session.range(1 << 16).selectExpr("spark_partition_id()")
        _cores[name] = parts.distinct().count()
    return _cores[name]


def _is_remote(session: SparkSession) -> bool:
    return type(session).__module__.startswith("pyspark.sql.connect")


def accounts_of(session: SparkSession, workers: int) -> Accounts:
    """Return what workers of a session take along; the first call begins to listen."""
    if _is_remote(session):
        return Accounts()
    context = session.sparkContext
    if context.applicationId not in _sessions:
        while _drivers:  # its session is over
            _drivers.pop().close()
        book = Book()
        _last[:] = [book]
        host = context.getConf().get("spark.driver.host") or ""
        bind = context.getConf().get("spark.driver.bindAddress") or host
        try:
            _drivers.append(Driver(bind, host, workers, book))
        except OSError:  # each worker keeps to its own part then
            address = None
        else:
            address = _drivers[0].address
        accounts = Accounts(address, context.accumulator(book, _IntoBook()))
        _sessions.clear()
        _sessions[context.applicationId] = accounts
    return _sessions[context.applicationId]


def _book() -> Book:
    if not _last:
        raise NoUsageError(
            "no verb was called on a session of this process: with Spark Connect ask "
            "for usage_column='usage', and sum it by pandas_llm.spark.usage_of"
        )
    return _last[0]


def last_usage() -> Usage:
    """Return what the last action with a verb in it used, on all workers.

    A partition that ran twice has cost twice, and counts so where its worker reaches
    the driver; elsewhere what failed is not known. With Spark Connect, ask for a
    `usage_column`.
    """
    return _book().usage()


def last_report() -> Report:
    """Return the report of the last action, as ``out.llm.report()``."""
    return _book().report()


def last_failures() -> pd.DataFrame:
    """Return a table of rows that failed in the last action.

    It has up to 100 of each batch and 10,000 in all, with the position in the batch,
    the kind of error, its message and the attempts.
    """
    return _book().failures()

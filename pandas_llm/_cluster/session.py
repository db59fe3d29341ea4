"""What a Spark session and its workers tell each other: limits, and what was used."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from pyspark import AccumulatorParam, TaskContext

from pandas_llm import Usage
from pandas_llm._cluster.book import Book
from pandas_llm._cluster.leases import Leases, leased
from pandas_llm._pacing import TERM, WHOLE
from pandas_llm.errors import NoUsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pyspark import Accumulator
    from pyspark.sql import SparkSession

    from pandas_llm._pacing import Budget, RateLimiter


class Address(NamedTuple):
    """Where a driver listens, and the word that it knows its workers by."""

    host: str
    port: int
    word: str


class Driver(socketserver.ThreadingTCPServer):
    """Keeps who has which part of each account's limits, and what runs have used."""

    daemon_threads = True

    def __init__(self, bind: str, host: str, expected: int, book: Book) -> None:
        super().__init__((bind, 0), _Handler)
        self._leases = Leases()
        self._expected = expected
        self._book = book
        self._lock = threading.Lock()
        self.address = Address(host, self.server_address[1], secrets.token_hex(16))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Let the worker find another way; the driver's log is not ours."""

    def answer(self, what: str, *message: Any) -> float:
        """Renew a lease, or write down what a run tells."""
        if what == "told":
            self._book.hear(*message)
        elif what == "lease":
            account, holder, wanting = message
            known = {"wanting": wanting, "expected": self._expected}
            with self._lock:
                return self._leases.renew(account, holder, **known)
        return 0.0

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    server: Driver

    def handle(self) -> None:
        for line in self.rfile:
            word, *asked = orjson.loads(line)
            if not hmac.compare_digest(str(word), self.server.address.word):
                return
            self.wfile.write(orjson.dumps(self.server.answer(*asked)) + b"\n")


class Line:
    """A worker's connection to its driver; silent where that cannot be reached."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._file: Any = None
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self.reached = self._said("hello") is not None

    def ask(self, account: str, wanting: bool | None) -> float | None:  # noqa: FBT001 - as sent
        """Renew the lease of an account."""
        return self._said("lease", account, self._holder, wanting)

    def tell(self, page: float, run: bytes) -> None:
        """Tell what a run has used so far."""
        self._said("told", page, run.decode())

    def _said(self, *asked: Any) -> float | None:
        with self._lock:
            try:
                if self._file is None:
                    line = socket.create_connection(self._address[:2], TERM)
                    self._file = line.makefile("rwb")
                self._file.write(orjson.dumps([self._address.word, *asked]) + b"\n")
                self._file.flush()
                answer: float = orjson.loads(self._file.readline())
            except (OSError, ValueError):  # it is not there, or hung up
                self._file = None
                return None
            return answer


_line_to = cache(Line)


class WorkerLinks(NamedTuple):
    """How a worker reaches the driver, which it cannot with Spark Connect."""

    workers: int
    driver: Address | None = None
    book: Accumulator[Any] | None = None

    def line(self) -> Line | None:
        """Return the worker's connection to the driver; None without one."""
        line = None if self.driver is None else _line_to(self.driver)
        return line if line and line.reached else None

    def source(self) -> Budget:
        """Return where this worker's part of the limits comes from."""
        line = self.line()
        return leased(line.ask) if line else partial(_fixed, self.workers)


@contextmanager
def _fixed(workers: int, _: Hashable, limiter: RateLimiter) -> Iterator[None]:
    """Keep to one of as many parts as there are workers."""
    limiter.share(WHOLE / workers if workers > 1 else None)
    yield


class _IntoBook(AccumulatorParam):  # type: ignore[misc]
    """Adds what workers tell, lists of (page, told), to the driver's book."""

    def zero(self, _: Any) -> list[Any]:
        """Return what a worker begins with."""
        return []

    def addInPlace(self, value: Any, more: Any) -> Any:  # noqa: N802 - Spark's name
        """Add to the book in the driver, to the list in a worker."""
        if not isinstance(value, Book):
            return value + more
        for page, run in more:
            value.hear(page, run)
        return value


class TaskReport:
    """Tells what the runs of one task use, by every link that there is."""

    def __init__(self, links: WorkerLinks) -> None:
        task = TaskContext.get()
        action = task and task.getLocalProperty("spark.sql.execution.id")
        self._page = int(action or 0)
        self._links = links
        self._used = Usage()

    def tell(self, told: bytes) -> None:
        """Tell the driver what a run has used so far."""
        if line := self._links.line():
            line.tell(self._page, told)
        run = orjson.loads(told)
        if run["log"] is not None:
            self._used += Usage(**run["usage"])
            if self._links.book is not None:
                self._links.book.add([(self._page, told)])

    def used(self) -> str:
        """Return what runs have used since it was asked last, in JSON."""
        used, self._used = self._used, Usage()
        return orjson.dumps(used).decode()


_sessions: dict[str, tuple[Driver | None, Accumulator[Book]]] = {}
"""The last session's; an earlier one is over."""
_cores: dict[str, int] = {}


def cores(session: SparkSession) -> int:
    """Return how many Python workers run at once."""
    if not _is_remote(session):
        return int(session.sparkContext.defaultParallelism)
    name = session.session_id
    if name not in _cores:
        # nothing else tells: a range has as many parts as there are cores
        parts = session.range(1 << 16).selectExpr("spark_partition_id()")
        _cores[name] = parts.distinct().count()
    return _cores[name]


def _is_remote(session: SparkSession) -> bool:
    return type(session).__module__.startswith("pyspark.sql.connect")


def links_of(session: SparkSession, workers: int) -> WorkerLinks:
    """Return how workers of a session reach it; the first call begins to listen."""
    if _is_remote(session):
        return WorkerLinks(workers)
    context = session.sparkContext
    if context.applicationId not in _sessions:
        while _sessions:
            earlier, _ = _sessions.popitem()[1]
            if earlier is not None:
                earlier.close()
        book, driver, conf = Book(), None, context.getConf()
        host = conf.get("spark.driver.host")
        with suppress(OSError):  # each worker keeps to its own part then
            bind = conf.get("spark.driver.bindAddress", host)
            driver = Driver(bind, host, workers, book)
        kept = driver, context.accumulator(book, _IntoBook())
        _sessions[context.applicationId] = kept
    driver, accumulator = _sessions[context.applicationId]
    return WorkerLinks(workers, driver.address if driver else None, accumulator)


def book() -> Book:
    """Return what the last action's runs have told; raise before any verb's call."""
    for _, accumulator in _sessions.values():
        told: Book = accumulator.value
        return told
    raise NoUsageError(
        "no verb was called on a session of this process: with Spark Connect ask for "
        "usage_column='usage', and sum it by pandas_llm.spark.usage_of"
    )

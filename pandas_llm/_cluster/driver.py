"""Where Spark's Python workers reach the driver: their limits and what they used."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import socketserver
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._cluster.leases import Leases
from pandas_llm._pacing import TERM

if TYPE_CHECKING:
    from pandas_llm._cluster.book import Book


@dataclass(frozen=True)
class Address:
    """Where a driver listens, and the word that it knows its workers by."""

    host: str
    port: int
    word: str


class Driver:
    """Keeps who has which part of each account's limits, and what runs have used."""

    def __init__(self, bind: str, host: str, expected: int, book: Book) -> None:
        self._leases = Leases()
        self._expected = expected
        self._book = book
        self._lock = threading.Lock()
        driver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    word, *asked = orjson.loads(line)
                    if not hmac.compare_digest(str(word), driver.address.word):
                        return
                    self.wfile.write(orjson.dumps(driver.answer(*asked)) + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Let the worker find another way; the driver's log is not ours."""

        self._server = Server((bind, 0), Handler)
        port = self._server.server_address[1]
        self.address = Address(host, port, secrets.token_hex(16))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, what: str, *message: Any) -> float:
        """Renew a lease, or write down what a run tells."""
        if what == "told":
            self._book.hear(*message)
        if what != "lease":
            return 0.0
        account, holder, wanting = message
        known = {"wanting": wanting, "expected": self._expected}
        with self._lock:
            return self._leases.renew(account, holder, **known)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


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
                    place = (self._address.host, self._address.port)
                    self._file = socket.create_connection(place, TERM).makefile("rwb")
                self._file.write(orjson.dumps([self._address.word, *asked]) + b"\n")
                self._file.flush()
                answer: float = orjson.loads(self._file.readline())
            except (OSError, ValueError):  # it is not there, or hung up
                self._file = None
                return None
            return answer


@cache
def line_to(address: Address) -> Line:
    """Return this process's connection to a driver."""
    return Line(address)

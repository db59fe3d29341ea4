"""What the runs of the last computation have used, on all workers."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import pandas as pd

from pandas_llm import Usage
from pandas_llm._pacing import RENEWAL
from pandas_llm._report import Report, join_summaries
from pandas_llm._run import so_far
from pandas_llm.errors import NoUsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._run import TaskRun

    Tell = Callable[[bytes], None]
    """Takes what a run tells; one that has ended tells its log too."""

_MOST = 10_000
"""Failed rows that are kept; all are counted."""
_lock = threading.Lock()  # of all books: they are pickled


class Book:
    """What runs have told; each run counts once, however often it tells.

    A run that died counts with what it had told, and so does the one in its place:
    both were paid for. `page` says of which computation the runs are.
    """

    def __init__(self) -> None:
        self.heard = 0.0
        """When something was told last."""
        self._page = -1.0
        self._begin()

    def _begin(self) -> None:
        self._used: dict[str, Usage] = {}
        self._ended: set[str] = set()
        self._span = [float("inf"), 0.0]
        self._logs: dict[Any, tuple[float, dict[str, Any]]] = {}
        self._failures: list[list[Any]] = []

    def hear(self, page: float, line: bytes | str) -> None:
        """Add what a run of a computation tells; a newer computation begins a page."""
        run = orjson.loads(line)
        with _lock:
            if page < self._page or run["id"] in self._ended:
                return
            if page > self._page:
                self._page = page
                self._begin()
            self.heard = time.time()
            start, usage = run["began"], Usage(**run["usage"])
            self._span[0] = min(self._span[0], start)
            self._span[1] = max(self._span[1], start + run["seconds"])
            self._used[run["id"]] = usage
            if run["log"] is not None:
                self._ended.add(run["id"])
                self._log(start, usage, run["log"])
                self._failures += run["failures"][: _MOST - len(self._failures)]

    def _log(self, start: float, usage: Usage, log: dict[str, Any]) -> None:
        kind = log["verb"], log.get("model")
        if kind in self._logs:
            since, known = self._logs[kind]
            first = min(since, start)
            both = join_summaries([known, log], [since - first, start - first])
            usage = replace(usage + Usage(**known["usage"]), seconds=both["seconds"])
            log, start = {**log, **both, "usage": asdict(usage)}, first
        self._logs[kind] = start, log

    def usage(self) -> Usage:
        """Return the sum of all runs; its time is from the first to the last."""
        if not self._used:
            raise NoUsageError(
                "no computation has reported its usage yet: compute the result "
                "first, in this process, on a cluster of distributed or in Spark"
            )
        seconds = self._span[1] - self._span[0]
        return replace(sum(self._used.values(), Usage()), seconds=seconds)

    def report(self) -> Report:
        """Build the report of the computation, a run for each verb in it."""
        return Report(self.usage(), [log for _, log in self._logs.values()])

    def failures(self) -> pd.DataFrame:
        """Return a table of failed rows: some of each run, 10,000 in all."""
        self.usage()  # raises if there is none
        columns = ["position", "label", "kind", "message", "attempts"]
        kinds: Any = {"kind": "str", "message": "str"}
        kinds |= {"position": "int64", "attempts": "int64"}
        return pd.DataFrame(self._failures, columns=columns).astype(kinds)


def listening(tell: Tell) -> Callable[[TaskRun], None]:
    """Return what hears of runs, and tells of each twice a second and at its end."""
    runs: dict[TaskRun, tuple[str, float]] = {}
    last = 0.0

    def hear(run: TaskRun) -> None:
        nonlocal last
        now = time.monotonic()
        if not run.ended and now - last < RENEWAL:
            return
        last = now
        facts = so_far(run)
        first = uuid4().hex, time.time() - facts["seconds"]
        name, began = runs.setdefault(run, first)
        plain = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        tell(orjson.dumps({"id": name, "began": began, **facts}, str, plain))

    return hear

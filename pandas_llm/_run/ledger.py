"""Several runs of one verb: what they share, and their usage as of one run."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pandas_llm._display import Usage
from pandas_llm._report import join_summaries
from pandas_llm._run.result import annotate, failure_table, log_of, read_attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pandas_llm._pacing import Headroom

_MOST_FAILURES = 100
"""Failed rows of a run that `so_far` returns."""

_last = threading.local()
listener: ContextVar[Callable[[Any], None]] = ContextVar(
    "listener", default=lambda _: None
)
"""Called with each `TaskRun` of the context again and again, and once it has ended."""


def last_usage() -> Usage:
    """Return what the last run of this thread used, where attrs cannot tell.

    Examples
    --------
    >>> import pandas_llm
    >>> isinstance(pandas_llm.last_usage(), pandas_llm.Usage)
    True
    """
    return getattr(_last, "usage", None) or Usage()


def remember(usage: Usage) -> None:
    """Set what `last_usage` returns in this thread."""
    _last.usage = usage


def so_far(run: Any) -> dict[str, Any]:
    """Return what a run has used so far; when it has ended, its log as well."""
    seconds = time.monotonic() - run.events.started
    used = {"usage": asdict(run.events.totals.usage(seconds)), "seconds": seconds}
    if not run.ended:
        return {**used, "log": None}
    table = failure_table(run.outcomes)[:_MOST_FAILURES]
    failures = table.astype(object).to_numpy().tolist()
    log = log_of(run.all_facts())
    return {**used, "usage": log["usage"], "log": log, "failures": failures}


shared_ledger: ContextVar[Ledger | None] = ContextVar("shared_ledger", default=None)


@contextmanager
def sharing(ledger: Ledger) -> Iterator[None]:
    """Let the runs in the block share a ledger, as those of one verb do."""
    token = shared_ledger.set(ledger)
    try:
        yield
    finally:
        shared_ledger.reset(token)


class Ledger:
    """The runs of one verb so far, and what they share."""

    def __init__(self, verb: str, *, of_rows: bool = True) -> None:
        self.usage = Usage()
        """What all runs have used."""
        self.unknown = 0.0
        """The most that answers without a known price may have cost, in dollars."""
        self.notices: list[str] = []
        """Warnings, to be given once."""
        self.headroom: Headroom | None = None
        """What they leave to others."""
        self.of_rows = of_rows
        """Whether what they ask about are the caller's rows."""
        self._verb = verb
        self._logs: list[dict[str, Any]] = []
        self._facts: dict[str, Any] = {}

    @property
    def spent(self) -> float:
        """Dollars of `max_cost` that may be used up."""
        return self.usage.known_cost + self.unknown

    def add(self, answer: Any) -> None:
        """Add a run by its result, if its data did not come from a run itself."""
        known = read_attrs(answer) if hasattr(answer, "attrs") else None
        if known is None:
            return
        usage, logs = known
        self.usage += usage
        self._logs += logs
        own = ("usage", "log", "answered_by")
        self._facts |= {k: v for k, v in answer.attrs["llm"].items() if k not in own}

    def annotate(self, result: Any, facts: Mapping[str, Any] | None = None) -> Any:
        """Return the verb's result, with the facts of all runs in its attrs."""
        remember(self.usage)
        if hasattr(result, "attrs"):
            own = {"usage": self.usage, "log": self._log(facts or {})}
            annotate(result, {**self._facts, **(facts or {}), **own})
        return result

    def _log(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        head: dict[str, Any] = {"verb": self._verb, "usage": asdict(self.usage)}
        if "cascade_bound" in facts:
            head["cascade"] = dict(facts)
        head["ended"] = self._logs[-1].get("ended") if self._logs else None
        return head | join_summaries(self._logs)

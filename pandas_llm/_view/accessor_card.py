"""What ``df.llm`` and ``out.llm`` show of themselves."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pandas_llm._display import SmallTable, dollars
from pandas_llm._run import runs, usage
from pandas_llm.errors import NoUsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm._display import Usage

_MADE = ("pandas_llm._verbs", "pandas_llm._table_verbs")


class AccessorCard(SmallTable):
    """The run that made the data, or the verbs that can be asked of it."""

    __slots__ = ("_made", "_own", "_rows", "_runs", "_usage")
    _side = "left"

    def __init__(self, data: Any, accessor: type) -> None:
        """Read the run that made the data, and the first lines of all methods."""
        self._rows = len(data)
        self._made: dict[str, str] = {}
        self._own: dict[str, str] = {}
        for name, member in vars(accessor).items():
            if name[:1] == "_" or inspect.iscoroutinefunction(member):
                continue
            line = (member.__doc__ or "").partition("\n")[0].replace("`", "")
            called = inspect.isfunction(member)
            if called and inspect.unwrap(member).__module__.startswith(_MADE):
                self._made[name] = line
            else:
                self._own[f"{name}()" if called else name] = line
        self._usage: Usage | None = None
        try:
            self._usage, self._runs = usage(data), runs(data)
        except NoUsageError:
            self._runs = []

    def _title(self) -> str:
        if self._usage is None:
            rows = "1 row" if self._rows == 1 else f"{self._rows:,} rows"
            return f"A language model over {rows}: help(df.llm.generate) says more"
        return "The result of a run: what it took, and what can be called on it"

    def _lines(self) -> list[tuple[str, str]]:
        twins = "Each that sends has an async twin, such as agenerate."
        if self._usage is None:
            return [*self._made.items(), ("", twins)]
        return [
            *_facts(self._usage, self._runs),
            *((f".{name}", line) for name, line in self._own.items()),
            ("verbs", ", ".join(self._made)),
        ]

    def __repr__(self) -> str:
        return f"{self._title()}\n\n{super().__repr__()}"


def _facts(used: Usage, logs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what a run, or a chain of them, took."""
    models = dict.fromkeys(str(log["model"]) for log in logs if log.get("model"))
    invented = "yes: the answers are invented"
    unknown = "no reply of this run; what the cache had is not known" * (
        used.cached > 0
    )
    simulated = (
        invented if any(log.get("simulated") for log in logs) else unknown or "no"
    )
    several = f" in {len(logs)} runs" if len(logs) > 1 else ""
    return [
        ("model", ", ".join(models) or "not known"),
        ("rows", f"{used.rows:,}{several}"),
        *([("from the cache", f"{used.cached:,} (free)")] if used.cached else []),
        ("failed", f"{used.failed:,}"),
        ("cost", dollars(used.known_cost, used.unpriced)),
        ("time", f"{used.seconds:,.1f} s"),
        ("simulated", simulated),
    ]

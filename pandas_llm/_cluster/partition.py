"""What Dask, Spark and others share: a plan for workers, run on one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from pandas_llm import _verbs
from pandas_llm._client import transferable
from pandas_llm._cluster.book import listening
from pandas_llm._pacing import budget
from pandas_llm._rows import arrow_type
from pandas_llm._run import listener
from pandas_llm._verbs import missing_verb, planner
from pandas_llm.errors import ConfigurationError, MissingVerbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm._cluster.book import Tell
    from pandas_llm._keys import Exact
    from pandas_llm._pacing import Budget
    from pandas_llm._run import Task
    from pandas_llm.plan import Plan

_TEXT, _VECTOR = pa.string(), pa.list_(pa.float32())


def engine_plan(
    verb: Callable[..., Any], data: Any, *args: Any, **options: Any
) -> Plan:
    """Make a verb's plan for workers; raise for what they cannot be sent or keep."""
    plan = planner(verb)(data, *args, **{"progress": False, **options})
    if not hasattr(plan, "columns"):
        raise ConfigurationError(
            f"{verb.__name__} with a cascade asks about the whole table: call it with "
            "pandas; on Dask `matches` and `filter` take thresholds of an earlier one"
        )
    return check_plan(plan)


def check_plan(plan: Plan) -> Plan:
    """Return a plan that workers can be sent and keep; raise for another."""
    if plan.settings.on_row is not None:
        msg = "rows come in other processes here: on_row= is for df.llm, leave it out"
        raise ConfigurationError(msg)
    if plan.settings.max_cost is not None:
        raise ConfigurationError(
            "max_cost holds for one run, and each partition is one: leave it out, and "
            "set a budget with the provider; df.llm.estimate on a sample shows the cost"
        )
    plan.__reduce__()  # says what cannot be sent, before there is work
    return plan


class MatchesPlan:
    """`matches` on each partition; a cascade's thresholds must be known."""

    def __init__(self, data: Any, template: str, options: Mapping[str, Any]) -> None:
        if options.get("cascade") is not None and options.get("thresholds") is None:
            raise ConfigurationError(
                "a cascade draws its sample from the whole table, and a partition is a "
                "part of it: find thresholds with pandas on some of the rows, and pass "
                "thresholds=(low, high), attrs['llm']['cascade_low'] and ['…_high']"
            )
        if options.get("confidence"):
            msg = "matches returns its answers alone here: leave confidence= out"
            raise ConfigurationError(msg)
        # bars of many workers would write over each other
        passed = {"progress": False, **options}
        program = planner(_verbs.matches)(data, template, **passed)
        self._plans = [check_plan(plan) for plan in program.plans]
        # a worker has other options set, and is in another folder
        own, *cheap = [transferable(plan.settings) for plan in self._plans]
        self.template, self.options = template, {**passed, **own}
        if cheap:
            self.options["cascade"] = cheap[0]

    def meta(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return the result for no rows; raise for a template that does not fit."""
        self._plans[0].meta(part)
        return part.assign(matches=pd.array([], dtype="boolean"))

    def __call__(self, part: pd.DataFrame) -> pd.DataFrame:
        """Ask about the rows of a partition."""
        return part.assign(matches=_verbs.matches(part, self.template, **self.options))


WHOLE_TABLE = (
    *("merge", "drop_duplicates", "duplicated", "ngroup"),
    *("nlargest", "agg", "search"),
)
"""Verbs that no partition can answer by itself."""


def missing_name(place: Any, name: str, called: str, whole: str) -> AttributeError:
    """Return the error for a name that a place lacks; it says what to do instead."""
    if name.startswith("_"):
        return AttributeError(name)
    if name not in WHOLE_TABLE:
        return missing_verb(place, name, called)
    return MissingVerbError(
        f"{called} has no {name}: it asks about the whole table, which lies in parts. "
        f"Call it on {whole}, or on the parts that belong together"
    )


def run_partition(
    plan: Callable[[Any], Any], part: Any, source: Budget | None, tell: Tell
) -> Any:
    """Run a plan on one partition.

    It keeps within the part of the limits that `source` has, and tells what it uses.
    """
    asked, heard = budget.set(source), listener.set(listening(tell))
    try:
        return plan(part)
    finally:
        budget.reset(asked)
        listener.reset(heard)


# -- the types of new columns, for engines that are strict ------------------------


def types_for(plan: Plan | MatchesPlan, rows: pd.DataFrame) -> dict[str, pa.DataType]:
    """Return the type of each new column; raise for a template that does not fit."""
    if isinstance(plan, MatchesPlan):
        plan.meta(rows)
        return {"matches": pa.bool_()}
    return _types_of(plan.task_for(rows))


def _types_of(task: Task) -> dict[str, pa.DataType]:
    return {one.name: _type(one.kind, one.exact) for one in task.columns}


def nested_types(task: Task) -> dict[str, pa.DataType]:
    """Return the types of lists and records among the new columns."""
    kinds = task.kinds
    types = {n: one for n, one in _types_of(task).items() if kinds[n] == "object"}
    return {name: type_ for name, type_ in types.items() if type_ != _TEXT}


def _type(kind: str, exact: Exact) -> pa.DataType:
    if kind in ("category", "vector"):
        return _TEXT if kind == "category" else _VECTOR
    if kind == "object":
        return arrow_type(exact) if _has_type(exact) else _TEXT
    return arrow_type(exact or kind)


def _has_type(exact: Exact) -> bool:
    """Return whether values have a type that all engines know; moments in lists not."""
    if isinstance(exact, list):
        return _has_type(exact[0])
    if isinstance(exact, dict):
        return all(map(_has_type, exact.values()))
    return exact not in ("", "json", "datetime")

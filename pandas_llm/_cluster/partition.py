"""What Dask, Spark and others share: a plan for workers, run on one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm._pacing import budget
from pandas_llm._verbs import plan_of
from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._pacing import Budget
    from pandas_llm.plan import Plan


def engine_plan(
    verb: Callable[..., Any], data: Any, *args: Any, **options: Any
) -> Plan:
    """Make a verb's plan for workers; raise for what they cannot be sent or keep."""
    # bars of many workers would write over each other
    plan: Plan = plan_of(verb)(data, *args, **{"progress": False, **options})
    if plan.settings.max_cost is not None:
        raise ConfigurationError(
            "max_cost holds for one run, and each partition is one: leave it out, and "
            "set a budget with the provider; df.llm.estimate on a sample shows the cost"
        )
    plan.__reduce__()  # says what cannot be sent, before there is work
    return plan


def run_partition(plan: Plan, part: Any, source: Budget | None) -> Any:
    """Run a plan on one partition, within the part of the limits that `source` has."""
    token = budget.set(source)
    try:
        return plan(part)
    finally:
        budget.reset(token)

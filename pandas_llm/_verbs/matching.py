"""Rows for which something is true: ``matches`` and ``filter``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from pandas_llm._verbs.forms import twin, verb
from pandas_llm._verbs.programs import Program

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from pandas_llm._verbs.forms import Rows, Table
    from pandas_llm._verbs.programs import Steps
    from pandas_llm.options import Options
    from pandas_llm.plan import Plan


@verb
def matches(
    data: Table | Rows,
    template: str,
    *,
    name: str = "matches",
    **options: Unpack[Options],
) -> Program:
    """Ask a yes-or-no question of each row.

    Parameters
    ----------
    data : DataFrame, Series or list of dicts
        The rows.
    template : str
        The question, with ``${column}`` for values.
    name : str
        The result's name.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    Series
        Of nullable boolean; NA where the row failed. A list for a list of dicts.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> cities.llm.matches("Is ${city} in Italy?", model="sim").dtype
    BooleanDtype
    """
    plan = _plan(locals(), name)

    def steps(data: Any) -> Steps[Any]:
        return _like(data, (yield from _answers(plan, data, name)))

    return Program("matches", steps, [plan], failed="their answers are NA")


@verb
def filter(  # noqa: A001 - pandas' word; it hides nothing outside this module
    data: Table,
    template: str,
    *,
    keep_undecided: bool = False,
    **options: Unpack[Options],
) -> Program:
    """Return the rows for which the answer to a question is yes.

    `DataFrame.filter` of pandas picks labels; this picks rows by their meaning.

    Parameters
    ----------
    data : DataFrame or Series
        The rows.
    template : str
        The question, with ``${column}`` for values.
    keep_undecided : bool, default False
        Keep the rows that failed; else they are left out, and a warning counts them.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    DataFrame or Series
        The rows, with index, order, dtypes and subclass as they were.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> set(cities.llm.filter("Is ${city} in Italy?", model="sim")) <= set(cities)
    True
    """
    plan = _plan(locals(), "matches")

    def steps(data: Any) -> Steps[Any]:
        mask = yield from _answers(plan, data, "matches")
        return _chosen(data, mask.fillna(keep_undecided).to_numpy(dtype=bool))

    failed = "those rows are kept" if keep_undecided else "those rows are left out"
    return Program("filter", steps, [plan], failed=failed)


amatches, afilter = twin(matches), twin(filter)


def _plan(arguments: Mapping[str, Any], name: str) -> Plan:
    from pandas_llm.plan import Plan

    return Plan(
        arguments["template"], {name: bool}, verb="extract", **arguments["options"]
    )


def _answers(plan: Plan, data: Any, name: str) -> Steps[pd.Series]:
    """Ask the question of each row; return the answers, without the rows' attrs."""
    questions = data
    if hasattr(data, "attrs"):
        questions = data.copy(deep=False)
        questions.attrs = {}
    answer = yield plan, questions
    if isinstance(answer, list):
        import pandas as pd

        return pd.Series([row[name] for row in answer], dtype="boolean")
    decided: pd.Series = answer[name]
    return decided


def _like(data: Any, answers: pd.Series) -> Any:
    """Return the answers in the kind of the data."""
    if isinstance(data, (list, tuple)):
        return list(answers.astype(object).where(answers.notna(), None))
    return answers


def _chosen(data: Any, mask: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [row for row, kept in zip(data, mask, strict=True) if kept]
    return data[mask]

"""Rows for which something is true: ``matches`` and ``filter``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from pandas_llm._verbs.cascade import EVEN, cheap_first, decide_rows
from pandas_llm._verbs.forms import verb
from pandas_llm._verbs.programs import Program, WithFacts
from pandas_llm.errors import InvalidTypeError
from pandas_llm.options import CHANCE, check_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm._verbs.forms import Rows, Table
    from pandas_llm._verbs.programs import Steps
    from pandas_llm.options import Options
    from pandas_llm.plan import Plan


@verb
def matches(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: Table | Rows,
    template: str,
    *,
    name: str = "matches",
    threshold: float = EVEN,
    confidence: bool = False,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
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
    threshold : float, default 0.5
        The probability of yes from which a row matches, where the model returns it.
    confidence : bool
        Add the probability of the answer, as ``<name>_confidence``.
    cascade, delta
        As for `classify`.
    recall, precision : float, optional
        What a cascade keeps of the answers of the model of the call: the share of its
        yes rows that are found, and the share of the rows found that are its yes; 0.9
        for the one that is not passed.
        Both hold with probability 1 - `delta`, by an exact bound for a sample of rows
        that both models answer.
    thresholds : tuple of float, optional
        In place of a target, ``cascade_low`` and ``cascade_high`` of an earlier run:
        the rows between go to the model of the call.
    **options
        As for `generate`.

    Returns
    -------
    Series
        Of nullable boolean; NA where the row failed. A DataFrame with `confidence`; a
        list for a list of dicts.

    Examples
    --------
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> cities.llm.matches("Is ${city} in Italy?", model="sim").dtype
    BooleanDtype
    """

    def finish(_: Any, answers: pd.DataFrame) -> Any:
        return answers if confidence else answers.iloc[:, 0]

    return _program("matches", locals(), finish, failed="their answers are NA")


@verb
def filter(  # noqa: A001, PLR0913 - pandas' word; it hides nothing outside this module
    data: Table,
    template: str,
    *,
    keep_undecided: bool = False,
    threshold: float = EVEN,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Return the rows for which the answer to a question is yes.

    `DataFrame.filter` of pandas picks labels; this picks rows by their meaning.

    Parameters
    ----------
    data : DataFrame or Series
        The rows.
    keep_undecided : bool, default False
        Keep the rows that failed; else they are left out, and a warning counts them.
    template, threshold, cascade, recall, precision, delta, thresholds, **options
        As for `matches`.

    Returns
    -------
    DataFrame or Series
        The rows, with index, order, dtypes and subclass as they were.

    Examples
    --------
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> set(cities.llm.filter("Is ${city} in Italy?", model="sim")) <= set(cities)
    True
    """

    def finish(data: Any, answers: pd.DataFrame) -> Any:
        return data[answers["matches"].fillna(keep_undecided).to_numpy(dtype=bool)]

    arguments = {"name": "matches", "confidence": False, **locals()}
    failed = "those rows are kept" if keep_undecided else "those rows are left out"
    return _program("filter", arguments, finish, failed=failed)


def _program(
    verb: str,
    arguments: Mapping[str, Any],
    finish: Callable[[Any, pd.DataFrame], Any],
    *,
    failed: str,
) -> Program:
    """Build the program that asks of each row, by one model or a cheap one first."""
    from pandas_llm.plan import Plan

    name, threshold, confidence = (
        arguments[n] for n in ("name", "threshold", "confidence")
    )
    check_value("threshold", threshold, CHANCE)

    def asked(**more: Any) -> Plan:
        return Plan(arguments["template"], {name: bool}, verb="extract", **more).apart()

    weighed = confidence or threshold != EVEN
    if weighed and arguments["cascade"] is not None:
        msg = "threshold= and confidence= are for one model: leave cascade= out"
        raise InvalidTypeError(msg)
    sure = partial(asked, confidence=True)
    plan = (sure if weighed else asked)(**arguments["options"])
    models = cheap_first(arguments, plan, sure, "recall", "precision")

    def steps(data: Any) -> Steps[Any]:
        if models is not None:
            cascade = yield from decide_rows(models, data, name)
            codes = yield from cascade.ask_rest()
            values = pd.array(codes == 1, dtype="boolean")
            values[codes < 0] = pd.NA
            answers = pd.DataFrame({name: values}, index=data.index)
            return WithFacts(finish(data, answers), cascade.facts)
        answer = yield plan, data
        answers = answer[list(plan.columns)[: 1 + confidence]].copy()
        if threshold != EVEN:
            _apply_threshold(answers, answer[f"{name}_confidence"], name, threshold)
        return finish(data, answers)

    return Program(verb, steps, [plan], models=models, failed=failed)


def _apply_threshold(
    answers: pd.DataFrame, share: pd.Series, name: str, threshold: float
) -> None:
    """Decide by the probability of yes, where the model returned one."""
    known = share.notna()
    yes = share.where(answers[name].fillna(value=False), 1 - share)
    decided = (yes >= threshold).astype("boolean")
    answers[name] = answers[name].where(~known, decided)
    if answers.shape[1] > 1:
        sure = yes.where(decided.fillna(value=False), 1 - yes)
        answers[f"{name}_confidence"] = share.where(~known, sure)

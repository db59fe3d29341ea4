"""The rows that are most of something: ``nlargest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import pandas as pd

from pandas_llm._algorithms import (
    questions_asked,
    select_largest,
    select_largest_by_votes,
)
from pandas_llm._table_verbs.pairs import Judge, in_rounds
from pandas_llm._verbs import Program, verb
from pandas_llm.options import check_value, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options

_SCORE = "score"


@verb
def nlargest(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: pd.DataFrame,
    k: int,
    template: str,
    *,
    by: Literal["pairs", "score"] = "pairs",
    votes: bool = False,
    both_orders: bool = True,
    **options: Unpack[Options],
) -> Program:
    """Return the `k` rows that are most of something, best first.

    Rows are compared two at a time, in rounds that are asked at once: the 10 best of
    1,000 take about 1,400 questions in about 30 rounds, twice that in both orders.
    `seed` is that of the samples too.

    Parameters
    ----------
    k : int
        How many.
    template : str
        A yes-or-no question whether the left row is more than the right one, with
        ``${left.column}`` and ``${right.column}``; with ``by="score"`` a question
        about one row, with ``${column}``, to be answered by a number.
    by : {"pairs", "score"}
        Compare pairs, or let the model give each row a number: one call a row, and
        less exact.
    votes : bool, default False
        For a judge that errs now and then: a row falls out after losing to two
        others, and the last ones, 30 or 1.6 `k`, all meet. About three times as many
        questions, and far more where `k` is large.
    both_orders : bool, default True
        Ask each pair both ways round, since models prefer a place; where the answers
        differ, the earlier row stands first, and with `votes` it is a draw. Twice as
        many questions.
    data, **options
        As for `agg`.

    Returns
    -------
    DataFrame or Series
        The rows, best first, with their labels and dtypes.

    Examples
    --------
    >>> cities = pd.DataFrame({"city": ["Oslo", "Rome", "Bonn"]})
    >>> best = cities.llm.nlargest(
    ...     1, "Is ${left.city} larger than ${right.city}?", model="sim"
    ... )
    >>> len(best)
    1
    """
    check_value("by", by, one_of("pairs", "score"))
    if by == "score":
        return _scored(k, template, options)
    return _compared(locals())


def _scored(k: int, template: str, options: Options) -> Program:
    from pandas_llm.plan import Plan

    plan = Plan(template, {_SCORE: float}, verb="extract", **options).apart()

    def steps(data: Any) -> Steps[Any]:
        answer = yield plan, data
        scores = pd.Series(answer[_SCORE].to_numpy(float, na_value=float("nan")))
        return data.iloc[scores.dropna().nlargest(k).index.to_numpy()]

    return Program("nlargest", steps, [plan], failed="those rows are left out")


def _compared(arguments: Mapping[str, Any]) -> Program:
    from pandas_llm._rows import source_of

    k, both_orders = arguments["k"], arguments["both_orders"]
    source = source_of(arguments["data"])
    judge = Judge(source, source, arguments, key="more")
    rows = judge.left.whole()
    select = select_largest_by_votes if arguments["votes"] else select_largest

    def ask(pairs: list[tuple[int, int]]) -> Steps[list[bool | None]]:
        turned = [(other, one) for one, other in pairs] if both_orders else []
        asked = rows[np.array(pairs + turned, np.int64)].tolist()
        answers = yield from judge.ask([(one, other) for one, other in asked])
        if not both_orders:
            return answers
        both = zip(answers[: len(pairs)], answers[len(pairs) :], strict=True)
        return [_together(one, other) for one, other in both]

    def steps(data: Any) -> Steps[Any]:
        asking = select(len(rows), k, judge.plan.settings.seed or 0)
        return data.iloc[rows[(yield from in_rounds(asking, ask))]]

    def span(_: int) -> tuple[int, int]:
        counts = questions_asked(select, len(rows), k)
        each = 2 if both_orders else 1
        return each * min(counts), each * max(counts)

    why = "each round of comparisons depends on the one before"
    failed = "the earlier of two rows stands first"
    return judge.program("nlargest", steps, failed=failed, batches=why, span=span)


def _together(there: bool | None, back: bool | None) -> bool | None:  # noqa: FBT001 - answers
    """Return what two answers about a pair, in both orders, come to."""
    if there is None or back is None:
        return there if back is None else not back
    return there if there != back else None

"""The rows that are most of something: ``nlargest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

import pandas as pd

from pandas_llm._algorithms import (
    questions_asked,
    select_largest,
    select_largest_by_votes,
)
from pandas_llm._table_verbs.pairs import questions, refuse_columns, sides
from pandas_llm._verbs import Program, table_of, twin, verb
from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm._table_verbs.pairs import Side
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options
    from pandas_llm.plan import Plan

_MORE = "more"
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

    Parameters
    ----------
    data : DataFrame or Series
        The rows.
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
        others, and the last ones all meet. About three times as many questions.
    both_orders : bool, default True
        Ask each pair both ways round, since models prefer a place; where the answers
        differ, the earlier row stands first. Twice as many questions.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them. `seed` is
        that of the samples too.

    Returns
    -------
    DataFrame or Series
        The rows, best first, with their labels and dtypes.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> cities = pd.DataFrame({"city": ["Oslo", "Rome", "Bonn"]})
    >>> best = cities.llm.nlargest(
    ...     1, "Is ${left.city} larger than ${right.city}?", model="sim"
    ... )
    >>> len(best)
    1
    """
    if type(k) is not int or k < 1:
        msg = f"k must be a whole number of at least 1, not {k!r}"
        raise InvalidValueError(msg)
    if by not in ("pairs", "score"):
        msg = f"by must be 'pairs' or 'score', not {by!r}"
        raise InvalidValueError(msg)
    if by == "score":
        return _scored(k, template, options)
    return _compared(locals(), options)


anlargest = twin(nlargest)


def _scored(k: int, template: str, options: Options) -> Program:
    from pandas_llm.plan import Plan

    plan = Plan(template, {_SCORE: float}, verb="extract", **options)

    def steps(data: Any) -> Steps[Any]:
        frame = table_of(data).copy(deep=False).drop(columns=_SCORE, errors="ignore")
        frame.attrs = {}
        answer = yield plan, frame
        scores = pd.Series(answer[_SCORE].to_numpy(float, na_value=float("nan")))
        return data.iloc[scores.dropna().nlargest(k).index.to_numpy()]

    return Program("nlargest", steps, [plan], failed="those rows are left out")


def _compared(arguments: Mapping[str, Any], options: Options) -> Program:
    from pandas_llm.plan import Plan

    k, template = arguments["k"], arguments["template"]
    plan = Plan(template, {_MORE: bool}, verb="extract", **options)
    refuse_columns(plan)
    frame = table_of(arguments["data"])
    left, right = sides(frame, frame, template, plan.settings.values)
    used = list(dict.fromkeys(left.columns + right.columns))
    rows = left._replace(columns=used).whole()

    select = select_largest_by_votes if arguments["votes"] else select_largest

    def steps(data: Any) -> Steps[Any]:
        asking = select(len(rows), k, plan.settings.seed or 0)
        try:
            asked = next(asking)
            while True:
                pairs = [(int(rows[one]), int(rows[other])) for one, other in asked]
                both = arguments["both_orders"]
                answers = yield from _both(plan, left, right, pairs, both)
                asked = asking.send(answers)
        except StopIteration as end:
            return data.iloc[rows[end.value]]

    def span(_: int) -> tuple[int, int]:
        counts = questions_asked(select, len(rows), k)
        each = 2 if arguments["both_orders"] else 1
        return each * min(counts), each * max(counts)

    why = "each round of comparisons depends on the one before"
    failed = "the earlier of two rows stands first"
    return Program("nlargest", steps, [plan], failed=failed, batches=why, span=span)


def _both(
    plan: Plan,
    left: Side,
    right: Side,
    pairs: Sequence[tuple[int, int]],
    both_orders: bool,  # noqa: FBT001 - of this module alone
) -> Steps[list[Any]]:
    """Ask each pair, in both orders if wanted; None where the two answers differ."""
    turned = [(other, one) for one, other in pairs] if both_orders else []
    column = (yield plan, questions(left, right, [*pairs, *turned]))[_MORE]
    answers = column.astype(object).where(column.notna(), None).tolist()
    if not both_orders:
        return list(answers)
    there, back = answers[: len(pairs)], answers[len(pairs) :]
    return [
        one if other is None else (not other if one is None or one != other else None)
        for one, other in zip(there, back, strict=True)
    ]

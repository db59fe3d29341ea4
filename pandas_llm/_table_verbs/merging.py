"""Rows of two frames that belong together: ``merge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import pandas as pd

from pandas_llm._table_verbs.pairs import (
    NEAREST,
    Judge,
    candidates,
    default_question,
    equal_rows,
    sides,
)
from pandas_llm._verbs import Program, Signed, column_names, table_of, twin, verb
from pandas_llm.errors import ConfigurationError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm._algorithms import Pairs
    from pandas_llm._table_verbs.pairs import Block, Side
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options

    How = Literal["inner", "left", "right", "outer"]
    Match = tuple[int, int]

_ONCE = {
    None: (False, False),
    "1:1": (True, True),
    "1:m": (False, True),
    "m:1": (True, False),
    "m:m": (False, False),
}
"""Whether a row of the left, and of the right, has at most one partner."""
_LONG = {"one_to_one": "1:1", "one_to_many": "1:m", "many_to_one": "m:1"}


@verb
def merge(  # noqa: PLR0913 - pandas' own parameters, all by name
    data: pd.DataFrame,
    right: pd.DataFrame,
    template: str | None = None,
    *,
    on: Any = None,
    left_on: Any = None,
    right_on: Any = None,
    how: How = "inner",
    suffixes: tuple[str, str] = ("_x", "_y"),
    validate: str | None = None,
    block: Block = NEAREST,
    neighbors: int = 2,
    max_pairs: int | None = None,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Join the rows of two frames that belong together.

    About 2.6 questions a left row with the usual `block`, about 1.0 with
    ``validate="1:1"``. Rows whose compared cells are equal belong together without a
    question; a row with NA in a used cell is never asked.

    Parameters
    ----------
    data, right : DataFrame
        The two sides.
    template : str, optional
        Your own question about two rows, with ``${left.column}`` and
        ``${right.column}``, to be answered by yes or no.
    on, left_on, right_on : label or list of labels, optional
        The columns to compare, as in pandas; `on` by default all that both have.
        With a `template` those by which pairs are found, and rows that are equal in
        them belong together.
    how : {"inner", "left", "right", "outer"}
        Which rows without a partner stay.
    suffixes : tuple of str
        For columns that both sides have.
    validate : {"1:1", "1:m", "m:1", "m:m"}, optional
        How many partners rows have: one that has its own drops out of the questions.
    block, neighbors, max_pairs
        Which pairs may be asked, as for `ngroup`; a tuple names a column of each side.
        The nearest of both sides are candidates.
    cascade, recall, precision, delta, thresholds
        A cheap model first, as for `matches`: it answers all candidate pairs, and the
        target holds for these.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    DataFrame
        The columns of both sides, rows in the order of the left, numbered from 0.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> shops = pd.DataFrame({"name": ["Acme Ltd"], "town": ["Oslo"]})
    >>> firms = pd.DataFrame({"name": ["Acme Ltd"], "size": [7]})
    >>> shops.llm.merge(firms, on="name", model="sim")["size"].tolist()
    [7]
    """
    return _program(locals())


amerge = twin(merge)


def _program(arguments: Mapping[str, Any]) -> Program:
    data, right = table_of(arguments["data"]), _right(arguments["right"])
    once = _once(arguments["validate"])
    how = arguments["how"]
    if how not in ("inner", "left", "right", "outer"):
        msg = f"how must be 'inner', 'left', 'right' or 'outer', not {how!r}"
        raise InvalidValueError(msg)
    names = _names(data, right, arguments["suffixes"])
    keys = _keys(data, right, arguments)
    question = arguments["template"]
    question = default_question(*keys) if question is None else question
    judge = Judge(question, arguments)
    settings = judge.plan.settings
    if settings.batch and any(once):
        msg = "batch=True asks all pairs in one round: leave validate= out"
        raise ConfigurationError(msg)
    one, other = sides(data, right, question, settings.values)
    equal = []
    if keys[0]:
        one, other = one._replace(compared=keys[0]), other._replace(compared=keys[1])
        equal = _equal(one, other)

    def steps(_: Any) -> Steps[Signed]:
        matches = list(equal)
        limits = arguments["neighbors"], arguments["max_pairs"]
        pairs = candidates(one, other, arguments["block"], *limits)
        open_pairs = _open(pairs, matches, once)
        yield from judge.prepare(one, other, open_pairs)
        while open_pairs:
            asked = _disjoint(open_pairs, once) if any(once) else open_pairs
            answers = yield from judge.ask(one, other, asked)
            matches += [pair for pair, yes in zip(asked, answers, strict=True) if yes]
            open_pairs = _free(open_pairs, matches, once, set(asked))
        out = _joined(data, right, sorted(matches), how, names)
        return Signed(out, judge.facts)

    failed = "the two rows count as not belonging together"
    return judge.program("merge", steps, failed)


def _right(right: Any) -> pd.DataFrame:
    if isinstance(right, pd.Series) and right.name is None:
        msg = "right must be a table, or a Series with a name"
        raise InvalidTypeError(msg)
    return table_of(right)


def _once(validate: str | None) -> tuple[bool, bool]:
    short = _LONG.get(validate or "", validate)
    if short not in _ONCE:
        msg = f"validate must be '1:1', '1:m', 'm:1' or 'm:m', not {validate!r}"
        raise InvalidValueError(msg)
    return _ONCE[short]


def _keys(
    left: pd.DataFrame, right: pd.DataFrame, arguments: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    """Return the columns that are compared on each side."""
    on, left_on, right_on = arguments["on"], arguments["left_on"], arguments["right_on"]
    if on is not None and (left_on is not None or right_on is not None):
        msg = "pass on=, or left_on= and right_on=, not both"
        raise InvalidValueError(msg)
    if (left_on is None) != (right_on is None):
        msg = "left_on= and right_on= go together"
        raise InvalidValueError(msg)
    if left_on is not None:
        one = column_names(left, left_on, "left_on")
        other = column_names(right, right_on, "right_on")
        if len(one) != len(other):
            msg = f"left_on names {len(one)} columns and right_on {len(other)}"
            raise InvalidValueError(msg)
        return one, other
    if on is None and arguments["template"] is not None:
        return [], []
    if on is None:
        on = [name for name in left.columns if name in right.columns]
        if not on:
            msg = "no column is in both: pass a template, or left_on= and right_on="
            raise InvalidValueError(msg)
    return column_names(left, on, "on"), column_names(right, on, "on")


def _names(
    left: pd.DataFrame, right: pd.DataFrame, suffixes: tuple[str, str]
) -> tuple[list[Any], list[Any]]:
    """Return the columns' names in the result; raise where two would be alike."""
    both = set(left.columns) & set(right.columns)
    one = [f"{c}{suffixes[0]}" if c in both else c for c in left.columns]
    other = [f"{c}{suffixes[1]}" if c in both else c for c in right.columns]
    repeated = {c for c in one + other if (one + other).count(c) > 1}
    if repeated:
        msg = f"two columns would be named {min(map(str, repeated))!r}: pass suffixes="
        raise InvalidValueError(msg)
    return one, other


def _equal(one: Side, other: Side) -> list[Match]:
    """Return the rows whose compared cells are equal: they need no question."""
    left, right = one.frame[one.compared], other.frame[other.compared]
    equal = equal_rows(left, one.whole(), right, other.whole())
    return list(zip(equal["left"].tolist(), equal["right"].tolist(), strict=True))


def _open(pairs: Pairs, matches: list[Match], once: tuple[bool, bool]) -> list[Match]:
    """Return the candidates that remain after equal rows are matched."""
    settled = ({one for one, _ in matches}, {other for _, other in matches})
    listed = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    known = set(matches)
    rest = [pair for pair in listed if pair not in known]
    if not any(once):  # equal rows have their partners, and look for no others
        return [p for p in rest if p[0] not in settled[0] or p[1] not in settled[1]]
    return _free(rest, matches, once)


def _free(
    pairs: list[Match],
    matches: list[Match],
    once: tuple[bool, bool],
    asked: set[Match] | frozenset[Match] = frozenset(),
) -> list[Match]:
    """Return the pairs not asked yet whose rows may both have another partner."""
    taken = [
        {pair[side] for pair in matches} if once[side] else set() for side in (0, 1)
    ]
    return [
        pair
        for pair in pairs
        if pair not in asked and pair[0] not in taken[0] and pair[1] not in taken[1]
    ]


def _disjoint(pairs: list[Match], once: tuple[bool, bool]) -> list[Match]:
    """Return the most similar pairs, with each row that pairs once in one of them."""
    seen: tuple[set[int], set[int]] = (set(), set())
    asked = []
    for pair in pairs:
        if any(once[side] and pair[side] in seen[side] for side in (0, 1)):
            continue
        for side in (0, 1):
            seen[side].add(pair[side])
        asked.append(pair)
    return asked


def _joined(
    left: pd.DataFrame,
    right: pd.DataFrame,
    matches: list[Match],
    how: How,
    names: tuple[list[Any], list[Any]],
) -> pd.DataFrame:
    """Join the rows as pandas' merge does."""
    pairs = pd.DataFrame(matches, columns=["one", "other"], dtype="int64")
    ends = {
        "left": (range(len(left)), pairs["other"]),
        "right": (pairs["one"], range(len(right))),
        "outer": (range(len(left)), range(len(right))),
    }
    one, other = ends.get(how, (pairs["one"], pairs["other"]))
    here = pd.DataFrame({"one": pd.unique(pd.Series(one, dtype="int64"))})
    there = pd.DataFrame({"other": pd.unique(pd.Series(other, dtype="int64"))})
    places = here.merge(
        pairs, on="one", how="left" if how in ("left", "outer") else "inner"
    )
    places = places.merge(
        there,
        on="other",
        how="outer" if how == "outer" else "right" if how == "right" else "left",
    )
    if how == "outer":
        places = places.sort_values(["one", "other"], na_position="last")
    halves = []
    for frame, column, new in ((left, "one", names[0]), (right, "other", names[1])):
        at = places[column]
        if at.notna().all():
            half = frame.take(at.to_numpy(dtype=np.int64)).reset_index(drop=True)
        else:
            half = frame.reset_index(drop=True).reindex(at.fillna(-1).astype("int64"))
            half = half.reset_index(drop=True)
        halves.append(half.set_axis(new, axis=1))
    out = pd.concat(halves, axis=1)
    out.attrs = dict(left.attrs)
    return out

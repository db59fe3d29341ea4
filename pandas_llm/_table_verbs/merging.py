"""Rows of two frames that belong together: ``merge``."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack, get_args

import numpy as np
import pandas as pd

from pandas_llm._table_verbs.pairs import (
    NEAREST,
    Judge,
    candidates,
    equal_rows,
    in_rounds,
)
from pandas_llm._verbs import Program, verb
from pandas_llm.errors import ConfigurationError, InvalidTypeError, InvalidValueError
from pandas_llm.options import check_value, one_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from pandas_llm._rows import Source
    from pandas_llm._table_verbs.pairs import Block, Pair, Used
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options

How = Literal["inner", "left", "right", "outer", "left_anti", "right_anti"]
_ONCE = {
    None: (False, False),
    "1:1": (True, True),
    "1:m": (False, True),
    "m:1": (True, False),
    "m:m": (False, False),
    "one_to_one": (True, True),
    "one_to_many": (False, True),
    "many_to_one": (True, False),
    "many_to_many": (False, False),
}
"""Whether a row of the left, and of the right, has at most one partner."""


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
    suffixes: tuple[str | None, str | None] = ("_x", "_y"),
    indicator: bool | str = False,
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
    question, and two rows that both have an equal partner are not asked about but
    with ``validate="m:m"``; nor is a row with NA in a used cell.

    Parameters
    ----------
    right : DataFrame
        The other side, a Series with a name too.
    template : str, optional
        Your own question about two rows, with ``${left.column}`` and
        ``${right.column}``, to be answered by yes or no.
    on, left_on, right_on : label or list of labels, optional
        The columns to compare, as in pandas; `on` by default all that both have.
        With a `template` those by which pairs are found, and rows that are equal in
        them belong together.
    how : {"inner", "left", "right", "outer", "left_anti", "right_anti"}
        Which rows without a partner stay; with the last two these alone, as in
        pandas 3.
    suffixes : tuple of str or None
        For columns that both sides have.
    indicator : bool or str
        Add a column ``_merge``, or of that name, as pandas does: "left_only",
        "right_only" or "both".
    validate : {"1:1", "1:m", "m:1", "m:m"}, optional
        How many partners rows have: one that has its own drops out of the questions.
        With "m:m" any number: rows with an equal partner are asked about too.
        pandas' long words are taken.
    block, neighbors, max_pairs
        Which pairs may be asked, as for `ngroup`; a tuple names a column of each side.
        The nearest of both sides are candidates.
    cascade, recall, precision, delta, thresholds
        A cheap model first, as for `matches`: it answers all candidate pairs, and the
        target holds for these.
    data, **options
        As for `agg`.

    Returns
    -------
    DataFrame
        The columns of both sides, rows in the order of the left, numbered from 0.

    Examples
    --------
    >>> shops = pd.DataFrame({"name": ["Acme Ltd"], "town": ["Oslo"]})
    >>> firms = pd.DataFrame({"name": ["Acme Ltd"], "size": [7]})
    >>> shops.llm.merge(firms, on="name", model="sim")["size"].tolist()
    [7]
    """
    return _program(locals())


def _program(arguments: Mapping[str, Any]) -> Program:
    from pandas_llm._rows import source_of

    left, right = source_of(arguments["data"]), _right(arguments["right"])
    how, validate = arguments["how"], arguments["validate"]
    check_value("how", how, one_of(*get_args(How)))
    check_value("validate", validate, one_of(*_ONCE))
    once = _ONCE[validate]
    frames = left.frame, right.frame
    names = _names(*frames, arguments["suffixes"], arguments["indicator"])
    keys = _keys(left, right, arguments)
    judge = Judge(left, right, arguments, keys)
    equal: list[Pair] = []
    if keys[0]:
        ones, others = judge.left.whole(), judge.right.whole()
        equal = equal_rows(judge.left, ones, judge.right, others)
    if _first(equal, once) != equal:
        msg = f"validate={validate!r} does not hold: equal rows would have several "
        raise InvalidValueError(f"{msg}partners. drop_duplicates() of pandas first")
    batch = judge.plan.settings.batch
    if batch and any(once):
        msg = "batch=True asks all pairs in one round: leave validate= out"
        raise ConfigurationError(msg)
    if not batch:  # what is not alone is asked about no more
        once = once[0] or how == "left_anti", once[1] or how == "right_anti"

    def steps(_: Any) -> Steps[pd.DataFrame]:
        pairs = candidates(judge.left, judge.right, arguments)
        pairs = _open(pairs, equal) if validate is None else pairs
        pairs = _free(pairs, equal, once)
        yield from judge.prepare(pairs)
        more = yield from in_rounds(partners(pairs, once), judge.ask)
        return _joined(*frames, equal + more, how, names)

    failed = "the two rows count as not belonging together"
    types = names.types(left, right)
    return judge.program("merge", steps, failed=failed, exact=types)


def _right(right: Any) -> Source:
    from pandas_llm._rows import source_of

    if isinstance(right, pd.Series) and right.name is None:
        raise InvalidTypeError("right must be a table, or a Series with a name")
    return source_of(right)


def _keys(left: Source, right: Source, arguments: Mapping[str, Any]) -> Used:
    on, left_on, right_on = arguments["on"], arguments["left_on"], arguments["right_on"]
    if on is not None and (left_on is not None or right_on is not None):
        raise InvalidValueError("pass on=, or left_on= and right_on=, not both")
    if (left_on is None) != (right_on is None):
        raise InvalidValueError("left_on= and right_on= go together")
    if left_on is not None:
        one = left.find_all(left_on, "left_on")
        other = right.find_all(right_on, "right_on")
        if len(one) != len(other):
            msg = f"left_on names {len(one)} columns and right_on {len(other)}"
            raise InvalidValueError(msg)
        return one, other
    if on is None and arguments["template"] is not None:
        return [], []
    if on is None:
        on = [name for name in left.frame.columns if name in right.frame.columns]
        if not on:
            msg = "no column is in both: pass a template, or left_on= and right_on="
            raise InvalidValueError(msg)
    return left.find_all(on, "on"), right.find_all(on, "on")


class _Names(NamedTuple):
    """The columns of the result."""

    left: pd.Index
    right: pd.Index
    origin: str | None
    """The one that says from where a row is."""

    def types(self, left: Source, right: Source) -> dict[str, Any]:
        """Return what columns are in other packages' tables that they come from."""
        return {
            str(new): side.passed.types[str(old)]
            for side, columns in ((left, self.left), (right, self.right))
            for old, new in zip(side.frame.columns, columns, strict=True)
            if str(old) in side.passed.types
        }


def _names(
    left: pd.DataFrame,
    right: pd.DataFrame,
    suffixes: Any,
    indicator: bool | str,  # noqa: FBT001 - pandas' own
) -> _Names:
    """Return the columns' names in the result; raise where two would be alike."""
    from pandas_llm._rows import new_label

    if not isinstance(indicator, (bool, str)):
        msg = f"indicator must be a bool or a column's name, not {indicator!r}"
        raise InvalidTypeError(msg)
    of_texts = isinstance(suffixes, (tuple, list)) and len(suffixes) == 2  # noqa: PLR2004
    if not of_texts or not all(isinstance(one, str | None) for one in suffixes):
        msg = f"suffixes must be two texts, or None for none, not {suffixes!r}"
        raise InvalidTypeError(msg)
    if left.columns.nlevels != right.columns.nlevels:
        msg = "the columns of one side have more levels than those of the other"
        raise InvalidValueError(msg)
    origin = "_merge" if indicator is True else indicator or None
    both = set(left.columns) & set(right.columns)
    one, other = (
        _suffixed(frame.columns, both, suffix or "")
        for frame, suffix in zip((left, right), suffixes, strict=True)
    )
    added = [] if origin is None else [new_label(left, origin)]
    new = [*one, *other, *added]
    repeated = {name for name in new if new.count(name) > 1}
    if repeated:
        way = "indicator= another name" if repeated & {*added} else "suffixes="
        msg = f"two columns would be named {min(map(str, repeated))!r}: pass {way}"
        raise InvalidValueError(msg)
    return _Names(one, other, origin)


def _suffixed(columns: pd.Index, both: set[Any], suffix: str) -> pd.Index:
    """Return columns with a suffix, in the first level, where both sides have them."""
    if columns.nlevels == 1:
        new = [f"{c}{suffix}" if suffix and c in both else c for c in columns]
        named: pd.Index = pd.Index(new, name=columns.name, tupleize_cols=False)
        return named
    parts = [(f"{c[0]}{suffix}", *c[1:]) if c in both else c for c in columns]
    return pd.MultiIndex.from_tuples(parts, names=columns.names)


def _open(pairs: list[Pair], matches: list[Pair]) -> list[Pair]:
    """Return the pairs of which a row has no partner yet."""
    ones, others = {one for one, _ in matches}, {other for _, other in matches}
    return [p for p in pairs if p[0] not in ones or p[1] not in others]


def _free(
    pairs: list[Pair], matches: list[Pair], once: tuple[bool, bool]
) -> list[Pair]:
    """Return the other pairs, whose rows may both have one more partner."""
    ones, others = {one for one, _ in matches}, {other for _, other in matches}
    taken, taken_too = ones if once[0] else set(), others if once[1] else set()
    found = set(matches)
    return [
        pair
        for pair in pairs
        if pair not in found and pair[0] not in taken and pair[1] not in taken_too
    ]


def partners(
    pairs: list[Pair], once: tuple[bool, bool]
) -> Generator[list[Pair], list[bool | None], list[Pair]]:
    """Yield the pairs to ask at once, the most similar first; return those that match.

    A row that pairs once is in one of them at first, then in twice as many a round.

    >>> asking = partners([(0, 0), (0, 1)], (True, False))
    >>> next(asking), asking.send([False])
    ([(0, 0)], [(0, 1)])
    """
    matches: list[Pair] = []
    most = 1
    while pairs:
        asked = _first(pairs, once, most)
        answers = yield asked
        same = [pair for pair, yes in zip(asked, answers, strict=True) if yes]
        matches += _first(same, once)
        rest = set(pairs) - set(asked)
        pairs = _free([pair for pair in pairs if pair in rest], matches, once)
        most *= 2
    return matches


def _first(pairs: list[Pair], once: tuple[bool, bool], most: int = 1) -> list[Pair]:
    """Return the most similar pairs, with each row that pairs once in so many."""
    seen: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    first = []
    for pair in pairs:
        if any(once[side] and seen[side][pair[side]] == most for side in (0, 1)):
            continue
        for side in (0, 1):
            seen[side][pair[side]] += 1
        first.append(pair)
    return first


def _joined(
    left: pd.DataFrame,
    right: pd.DataFrame,
    matches: list[Pair],
    how: How,
    names: _Names,
) -> pd.DataFrame:
    """Join the rows as pandas' merge does."""
    from pandas_llm._rows import put_columns

    places = [] if how.endswith("_anti") else list(matches)
    # a row without a partner has one that is not there, after the last
    if how in ("left", "outer", "left_anti"):
        alone = set(range(len(left))) - {one for one, _ in matches}
        places += [(one, len(right)) for one in alone]
    if how in ("right", "outer", "right_anti"):
        alone = set(range(len(right))) - {other for _, other in matches}
        places += [(len(left), other) for other in alone]
    places.sort(key=itemgetter(1, 0) if how == "right" else None)
    ones, others = np.array(places, np.int64).reshape(-1, 2).T
    halves = [
        frame.set_flags(allows_duplicate_labels=True)
        .set_axis(columns, axis=1)
        .reset_index(drop=True)
        .reindex(at)
        .reset_index(drop=True)
        for frame, columns, at in (
            (left, names.left, ones),
            (right, names.right, others),
        )
    ]
    for half in halves:
        half.attrs = {}  # which pandas compares, and arrays in them have no one truth
    out = pd.concat(halves, axis=1)
    if names.origin is not None:
        kinds = pd.Index(["left_only", "right_only", "both"])
        codes = np.where(others == len(right), 0, np.where(ones == len(left), 1, 2))
        out = put_columns(out, {names.origin: pd.Categorical.from_codes(codes, kinds)})
    loose = [side.flags.allows_duplicate_labels for side in (left, right)]
    return out.set_flags(allows_duplicate_labels=all(loose))

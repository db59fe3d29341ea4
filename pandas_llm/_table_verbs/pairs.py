"""Questions about two rows: which pairs may be asked, and how."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import combinations, product
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from pandas_llm._algorithms import near_pairs, near_vectors
from pandas_llm._table_verbs.vectors import has_vectors, stacked
from pandas_llm._verbs import Program, WithFacts, cheap_first, decide_rows
from pandas_llm.errors import InvalidTypeError, InvalidValueError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pandas_llm._algorithms import Pairs
    from pandas_llm._rows import Source
    from pandas_llm._verbs import Cascade, Steps
    from pandas_llm.plan import Plan

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Pair = tuple[int, int]
    Used = tuple[list[int], list[int]]
    Block = str | list[Any] | tuple[Any, Any] | Callable[..., Any] | None

T = TypeVar("T")

NEAREST = "nearest"
"""The usual `block`: the nearest rows by character n-grams."""
MOST_PAIRS, MOST_EQUAL = 100_000, 10_000_000
"""More pairs than this need `max_pairs`: of all rows, and of those that are equal."""
_QUESTION = "Do these two records describe one and the same thing?"


class Side(NamedTuple):
    """One side of the pairs."""

    source: Source
    name: str
    columns: dict[str, int]
    """The places of the columns in the question, by their names in it."""
    compared: list[int]
    """Those of the columns whose similarity makes a pair."""

    def whole(self) -> Ints:
        """Return the rows with a value in every used column."""
        used = {*self.columns.values(), *self.compared}
        return np.flatnonzero(~_missing(self.source, used))

    def taken(self, place: int, rows: Ints) -> pd.Series:
        """Return a column's cells in some rows, as all rows write them."""
        from pandas_llm._rows import with_integers

        cells = with_integers(self.source.column(place))
        return cells.take(rows).reset_index(drop=True)

    def texts(self, rows: Ints) -> list[str]:
        """Return the compared cells of some rows, joined."""
        lists = [self.taken(at, rows).tolist() for at in self.compared]
        return [" ".join(map(str, row)) for row in zip(*lists, strict=True)]


def _default_question(
    left: Source, ones: Sequence[int], right: Source, others: Sequence[int]
) -> str:
    """Return the template that compares two records by some columns."""
    records = []
    for source, side, places in ((left, "left", ones), (right, "right", others)):
        names = map(source.name, places)
        # a dollar sign in a name does not begin another
        lines = (f"{n.replace('$', '$$')}: ${{{side}.{n}}}" for n in names)
        records.append("\n".join(lines))
    first, second = records
    return f"{_QUESTION}\n\nFirst record:\n{first}\n\nSecond record:\n{second}"


def _sides(
    left: Source, right: Source, template: str, plan: Plan, compared: Used
) -> tuple[Side, Side]:
    """Return both sides with the columns that a template names; it must name some."""
    from pandas_llm._rows import Template

    both = {"left": left, "right": right}
    # with repeated names, which the template refuses where it uses them
    names = [f"{side}.{field}" for side in both for field in both[side].fields]
    for field in (*left.fields, *right.fields):
        if field.startswith(("left.", "right.")):
            msg = f"the column {field!r} would be read as a side: rename it"
            raise TemplateError(msg)
    named = Template(template, names, plan.settings.values).columns
    used = [name.partition(".") for name in named]
    columns = {}
    for name, source in both.items():
        places = dict(zip(source.fields, source.places, strict=True))
        columns[name] = {f: places[f] for side, _, f in used if side == name}
        if not columns[name]:
            msg = f"the template names no ${{{name}.…}}: write one for each side"
            raise TemplateError(msg)
    if left is right:  # a row may stand on either side
        columns = dict.fromkeys(both, columns["left"] | columns["right"])
    one, other = (
        Side(source, name, columns[name], mine or list(columns[name].values()))
        for (name, source), mine in zip(both.items(), compared, strict=True)
    )
    return one, other


def _questions(left: Side, right: Side, pairs: Sequence[Pair]) -> pd.DataFrame:
    places = np.array(pairs, np.int64).reshape(-1, 2)
    columns = {
        f"{side.name}.{field}": side.taken(at, rows)
        for side, rows in ((left, places[:, 0]), (right, places[:, 1]))
        for field, at in side.columns.items()
    }
    return pd.DataFrame(columns)


def refuse_columns(plan: Plan) -> None:
    """Raise for what a row has of its own: a prompt about several rows has none."""
    way = "Ask each row first, and put the answers into a column"
    ways = dict.fromkeys(("images", "files", "messages"), way)
    if isinstance(plan.settings.examples, str):
        ways["examples"] = "Pass (prompt, reply) pairs"
    for name, way in ways.items():
        if getattr(plan.settings, name):
            msg = f"{name}= cannot name a column here: each prompt is about several "
            raise InvalidTypeError(f"{msg}rows. {way}")


class Judge:
    """Who answers yes or no about pairs of rows: a plan, or a cheap one before it."""

    def __init__(
        self,
        left: Source,
        right: Source,
        arguments: Mapping[str, Any],
        used: Used | None = None,
        key: str = "same",
    ) -> None:
        # the columns `used` are compared, and asked about where there is no template
        from pandas_llm.plan import Plan

        question, named = arguments["template"], used or ([], [])
        if question is None and used is not None:
            question = _default_question(left, named[0], right, named[1])
        asked = partial(Plan, question, {key: bool}, verb="extract")
        self.plan = asked(**arguments["options"])
        refuse_columns(self.plan)
        self.left, self.right = _sides(left, right, question, self.plan, named)
        sure = partial(asked, confidence=True)
        self._models = cheap_first(arguments, self.plan, sure, "recall", "precision")
        self._key = key
        self._most: Callable[[], int] = int
        self._answers: dict[Pair, bool | None] = {}
        self._cascade: Cascade | None = None

    def program(
        self, name: str, steps: Callable[[Any], Steps[Any]], **told: Any
    ) -> Program:
        """Return the program of a verb whose questions this judge answers."""

        def with_facts(data: Any) -> Steps[WithFacts]:
            result = yield from steps(data)
            return WithFacts(result, self._cascade.facts if self._cascade else {})

        told = {"span": lambda first: (first, self._most()), **told}
        return Program(name, with_facts, [self.plan], models=self._models, **told)

    def narrow(self, source: Source) -> None:
        """Ask about some rows of the table alone."""
        self.left, self.right = (
            side._replace(source=source) for side in (self.left, self.right)
        )

    def prepare(
        self, pairs: Sequence[Pair], most: Callable[[Sequence[Pair]], int] = len
    ) -> Steps[None]:
        """Answer what needs no rounds: a batch, or what a cheap model is sure of.

        `most` returns how many questions may come of the pairs.
        """
        self._most = partial(most, pairs)
        if not pairs:
            return
        if self.plan.settings.batch:  # a batch takes hours
            yield from self.ask(pairs)
        if self._models is None:
            return
        asked = _questions(self.left, self.right, pairs)
        cascade = yield from decide_rows(self._models, asked, self._key)
        codes = np.where(cascade.kept, cascade.chosen, cascade.codes)
        for at in np.flatnonzero(cascade.kept | cascade.asked).tolist():
            self._answers[pairs[at]] = None if codes[at] < 0 else bool(codes[at])
        self._cascade = cascade

    def ask(self, pairs: Sequence[Pair]) -> Steps[list[bool | None]]:
        """Return answers, each asked once; None where the question failed."""
        from pandas_llm._rows import as_objects

        fresh = [pair for pair in pairs if pair not in self._answers]
        if self.plan.settings.batch and self._answers:
            fresh = []  # one round is all there is
        if fresh:
            asked = yield self.plan, _questions(self.left, self.right, fresh)
            answers = as_objects(asked[self._key]).tolist()
            self._answers.update(zip(fresh, answers, strict=True))
            if self._cascade is not None:
                self._cascade.book(asked)
        return [self._answers.get(pair) for pair in pairs]


def in_rounds(
    asking: Generator[list[Pair], list[bool | None], T],
    ask: Callable[[list[Pair]], Steps[list[bool | None]]],
) -> Steps[T]:
    """Answer the rounds of a method; return its result."""
    try:
        pairs = next(asking)
        while True:
            answers = yield from ask(pairs)
            pairs = asking.send(answers)
    except StopIteration as end:
        result: T = end.value
        return result


def candidates(left: Side, right: Side, arguments: Mapping[str, Any]) -> list[Pair]:
    """Return the pairs of rows to ask, the most similar first.

    Those within one table, which both sides then have, are there once.
    """
    block, neighbors = arguments["block"], arguments["neighbors"]
    rows, others = left.whole(), right.whole()
    within = left.source is right.source
    if callable(block):
        sides = (left,) if within else (left, right)
        pairs = _of_function(block(*(side.source.frame for side in sides)), left, right)
        if within:
            pairs = [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
        here, there = set(rows.tolist()), set(others.tolist())
        return [p for p in dict.fromkeys(pairs) if p[0] in here and p[1] in there]
    if block is None:
        count = math.comb(len(rows), 2) if within else len(rows) * len(others)
        _check_number(count, 0, arguments)
        one, other = rows.tolist(), others.tolist()
        return list(combinations(one, 2) if within else product(one, other))
    if isinstance(block, str) and block == NEAREST and not left.source.find(block):
        texts = None if within else right.texts(others)
        return _placed(near_pairs(left.texts(rows), texts, k=neighbors), rows, others)
    both = isinstance(block, tuple) and not left.source.find(block)
    names = block if both else (block, block)
    left = left._replace(compared=left.source.find_all(names[0], "block"))
    right = right._replace(compared=right.source.find_all(names[1], "block"))
    if len(left.compared) == 1 and has_vectors(left.source.column(left.compared[0])):
        near = _vectors(left, rows), _vectors(right, others)
        return _near(*near, neighbors, within=within)
    ones, twos = (
        Counter(map(row_keys(side.source, side.compared).__getitem__, there.tolist()))
        for side, there in ((left, rows), (right, others))
    )
    count = sum((ones[key] - within) * twos[key] for key in ones if key is not None)
    _check_number(count // (1 + within), MOST_EQUAL, arguments)
    pairs = equal_rows(left, rows, right, others)
    return [pair for pair in pairs if pair[0] < pair[1]] if within else pairs


def _near(
    left: tuple[Ints, Floats], right: tuple[Ints, Floats], k: int, *, within: bool
) -> list[Pair]:
    """Return the pairs of rows whose vectors are nearest."""
    (rows, here), (others, there) = left, right
    if len(rows) and len(others) and here.shape[1] != there.shape[1]:
        raise InvalidValueError(
            f"the vectors of block have {here.shape[1]} numbers on the left and "
            f"{there.shape[1]} on the right: embed both with one model"
        )
    return _placed(near_vectors(here, None if within else there, k=k), rows, others)


def _placed(near: Pairs, rows: Ints, others: Ints) -> list[Pair]:
    left, right = rows[near.left], others[near.right]
    return list(zip(left.tolist(), right.tolist(), strict=True))


def _check_number(count: int, usual: int, arguments: Mapping[str, Any]) -> None:
    """Raise for more pairs than anybody means to ask."""
    most = arguments["max_pairs"]
    if count > max(usual, MOST_PAIRS if most is None else most):
        raise InvalidValueError(
            f"block={arguments['block']!r} asks all {count:,} pairs: pass "
            f"max_pairs={count} if that is meant, or block={NEAREST!r}"
        )


def _of_function(made: Iterable[Any], left: Side, right: Side) -> list[Pair]:
    """Check the positions that a caller's function returned."""
    try:
        pairs = [(index(one), index(other)) for one, other in made]
    except (TypeError, ValueError) as error:
        msg = f"block must return pairs of positions, such as [(0, 1)]: {error}"
        raise InvalidTypeError(msg) from error
    for one, other in pairs:
        if not (0 <= one < left.source.rows and 0 <= other < right.source.rows):
            msg = f"block returned {(one, other)}: positions of rows are wanted"
            raise InvalidValueError(msg)
    return pairs


def _vectors(side: Side, rows: Ints) -> tuple[Ints, Floats]:
    vectors = side.source.column(side.compared[0]).iloc[rows]
    there = vectors.notna().to_numpy(bool)
    return rows[there], stacked(vectors[there], vectors.name)


def equal_rows(left: Side, rows: Ints, right: Side, others: Ints) -> list[Pair]:
    """Return the pairs of rows that are equal in all columns that are compared."""
    ones, twos = (row_keys(side.source, side.compared) for side in (left, right))
    partners: dict[Any, list[int]] = {}
    for at in others.tolist():
        partners.setdefault(twos[at], []).append(at)
    partners.pop(None, None)
    return [(at, two) for at in rows.tolist() for two in partners.get(ones[at], ())]


def row_keys(source: Source, places: Sequence[int]) -> list[Any]:
    """Return for each row what rows with equal cells share; None for one with NA."""
    rows = zip(*(source.column(at).tolist() for at in places), strict=True)
    keyed = zip(rows, _missing(source, places).tolist(), strict=True)
    return [None if gone else tuple(map(_hashable, row)) for row, gone in keyed]


def _missing(source: Source, places: Iterable[int]) -> NDArray[np.bool_]:
    missing = np.zeros(source.rows, np.bool_)
    for at in places:
        missing |= source.column(at).isna().to_numpy(bool)
    return missing


def _hashable(cell: Any) -> Any:
    """Return a cell; for one without a hash what equal ones have in common."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return tuple(map(_hashable, cell))
    if isinstance(cell, dict):
        return frozenset((name, _hashable(value)) for name, value in cell.items())
    if isinstance(cell, (set, frozenset)):
        return frozenset(cell)
    return cell if pd.api.types.is_hashable(cell) else id(cell)

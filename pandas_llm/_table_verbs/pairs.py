"""Questions about two rows: which pairs may be asked, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pandas_llm._algorithms import Pairs, near_pairs, near_vectors
from pandas_llm._verbs import (
    NO_BATCH,
    Program,
    cheap_first,
    column_names,
    dear_questions,
    decide,
)
from pandas_llm.errors import InvalidTypeError, InvalidValueError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pandas_llm._verbs import Decided, Steps
    from pandas_llm.plan import Plan

    Pair = tuple[int, int]
    Block = str | list[Any] | tuple[Any, Any] | Callable[..., Any] | None

NEAREST = "nearest"
"""The usual `block`: the nearest rows by character n-grams."""
MOST_PAIRS = 100_000
"""More pairs than this need `max_pairs`."""
_SAME = "same"
"""The key of the answer."""
_QUESTION = "Do these two records describe one and the same thing?"


class Side(NamedTuple):
    """One side of the pairs."""

    frame: pd.DataFrame
    name: str
    columns: list[Any]
    """Columns in the question."""
    compared: list[Any]
    """Columns whose similarity makes a pair."""

    @property
    def fields(self) -> dict[str, Any]:
        """The names of all columns in a template."""
        return {f"{self.name}.{column}": column for column in self.frame.columns}

    def whole(self) -> NDArray[np.int64]:
        """Return the rows with a value in every used column."""
        used = list(dict.fromkeys(self.columns + self.compared))
        missing = self.frame[used].isna().any(axis=1)
        return np.flatnonzero(~missing.to_numpy())

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the compared cells of some rows, joined."""
        lists = [self.frame[c].iloc[rows].tolist() for c in self.compared]
        return [" ".join(map(str, row)) for row in zip(*lists, strict=True)]


def default_question(left: Sequence[Any], right: Sequence[Any]) -> str:
    """Return the template that compares two records by some columns."""
    first = "\n".join(f"{name}: ${{left.{name}}}" for name in left)
    second = "\n".join(f"{name}: ${{right.{name}}}" for name in right)
    return f"{_QUESTION}\n\nFirst record:\n{first}\n\nSecond record:\n{second}"


def sides(
    left: pd.DataFrame,
    right: pd.DataFrame,
    template: str,
    values: Mapping[str, Any] | None,
) -> tuple[Side, Side]:
    """Return both sides with the columns that a template names; it must name some."""
    from pandas_llm._rows import Template

    both = Side(left, "left", [], []), Side(right, "right", [], [])
    for side in both:
        for column in side.frame.columns:
            if str(column).startswith(("left.", "right.")):
                msg = f"the column {column!r} would be read as a side: rename it"
                raise TemplateError(msg)
    fields = {name: column for side in both for name, column in side.fields.items()}
    # with repeated names, which the template refuses where it uses them
    names = [f"{side.name}.{column}" for side in both for column in side.frame.columns]
    used = Template(template, names, values).columns
    used_sides = []
    for side in both:
        columns = [fields[name] for name in used if name.startswith(f"{side.name}.")]
        if not columns:
            msg = f"the template names no ${{{side.name}.…}}: write one for each side"
            raise TemplateError(msg)
        used_sides.append(side._replace(columns=columns, compared=columns))
    return used_sides[0], used_sides[1]


def questions(left: Side, right: Side, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return the cells of some pairs, a pair a row."""
    one = np.array([pair[0] for pair in pairs], np.int64)
    other = np.array([pair[1] for pair in pairs], np.int64)
    columns = {}
    for side, rows in ((left, one), (right, other)):
        for column in side.columns:
            values = side.frame[column].take(rows)
            columns[f"{side.name}.{column}"] = values.reset_index(drop=True)
    return pd.DataFrame(columns)


def refuse_columns(plan: Plan) -> None:
    """Raise for what a row has of its own: a prompt about several rows has none."""
    for name in ("images", "files", "messages", "examples"):
        given = getattr(plan.settings, name)
        if given and (name != "examples" or isinstance(given, str)):
            msg = f"{name}= cannot name a column here: each prompt is about several "
            way = "rows. Ask each row first, and put the answers into a column"
            pairs = "rows. Pass (prompt, reply) pairs"
            raise InvalidTypeError(msg + (pairs if name == "examples" else way))


class Judge:
    """Who answers yes or no about pairs: a plan, or a cheap one before it."""

    plans: list[Plan]

    def __init__(self, question: str, arguments: Mapping[str, Any]) -> None:
        from pandas_llm.plan import Plan

        keys, options = {_SAME: bool}, arguments["options"]
        self.plan = Plan(question, keys, verb="extract", **options)
        refuse_columns(self.plan)
        self.plans, self.batches = [self.plan], None
        self._first = cheap_first(arguments, "recall", "precision")
        if self._first is not None:
            more, _ = self._first
            cheap = Plan(question, keys, verb="extract", confidence=True, **more)
            self.plans, self.batches = [self.plan, cheap], NO_BATCH
        self.candidates = 0
        self._answers: dict[Pair, bool | None] = {}
        self._decided: Decided | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What ``attrs`` says of a cascade."""
        return {} if self._decided is None else self._decided.facts

    def program(
        self, name: str, steps: Callable[[Any], Steps[Any]], failed: str
    ) -> Program:
        """Return the program of a verb whose questions this judge answers."""
        return Program(
            name, steps, self.plans, failed=failed, batches=self.batches, span=self.span
        )

    def span(self, first: int) -> tuple[int, int]:
        """Return how many questions there are at the least, and at the most."""
        if self._first is None:
            return first, self.candidates
        return dear_questions(first)

    def prepare(self, left: Side, right: Side, pairs: Sequence[Pair]) -> Steps[None]:
        """Answer what needs no rounds: a batch, or what a cheap model is sure of."""
        self.candidates = len(pairs)
        if not pairs:
            return
        if self.plan.settings.batch:  # a batch takes hours
            yield from self.ask(left, right, pairs)
        if self._first is None:
            return
        target, asked = self._first[1], questions(left, right, pairs)
        first = yield from decide(self.plans[1], self.plan, asked, target, _SAME)
        known = first.kept | first.answers.asked
        sure = np.where(first.kept, first.yes, first.answers.codes)
        for at in np.flatnonzero(known).tolist():
            self._answers[pairs[at]] = None if sure[at] < 0 else bool(sure[at])
        self._decided = first

    def ask(
        self, left: Side, right: Side, pairs: Sequence[Pair]
    ) -> Steps[list[bool | None]]:
        """Return answers, each asked once; None where the question failed."""
        fresh = [pair for pair in pairs if pair not in self._answers]
        if self.plan.settings.batch and self._answers:
            fresh = []  # one round is all there is
        if fresh:
            asked = yield self.plan, questions(left, right, fresh)
            answers = asked[_SAME].astype(object).where(asked[_SAME].notna(), None)
            self._answers.update(zip(fresh, answers, strict=True))
            if self._decided is not None:
                self._decided.answers.book(asked)
        return [self._answers.get(pair) for pair in pairs]


def candidates(
    left: Side, right: Side | None, block: Block, neighbors: int, max_pairs: int | None
) -> Pairs:
    """Return the pairs of rows to ask, the most similar first."""
    rows = left.whole()
    others = None if right is None else right.whole()
    if callable(block):
        frames = [side.frame for side in (left, right) if side is not None]
        return _of_function(block(*frames), left, right)
    if block is None:
        return _all(rows, others, max_pairs)
    if isinstance(block, str) and block == NEAREST and block not in left.frame.columns:
        texts = None if right is None or others is None else right.texts(others)
        near = near_pairs(left.texts(rows), texts, k=neighbors)
        return _placed(near, rows, others)
    names = block if isinstance(block, tuple) else (block, block)
    return _of_columns(left, right, names, neighbors)


def _placed(
    pairs: Pairs, rows: NDArray[np.int64], others: NDArray[np.int64] | None
) -> Pairs:
    second = rows if others is None else others
    return Pairs(rows[pairs.left], second[pairs.right], pairs.similarity)


def _all(
    rows: NDArray[np.int64], others: NDArray[np.int64] | None, max_pairs: int | None
) -> Pairs:
    within = others is None
    second = rows if others is None else others
    count = len(rows) * (len(rows) - 1) // 2 if within else len(rows) * len(second)
    if count > (MOST_PAIRS if max_pairs is None else max_pairs):
        msg = (
            f"block=None asks all {count:,} pairs: pass max_pairs={count} if that is "
            f"meant, or block={NEAREST!r}"
        )
        raise InvalidValueError(msg)
    if within:
        one, other = np.triu_indices(len(rows), 1)
    else:
        one, other = np.divmod(np.arange(count), max(1, len(second)))
    return Pairs(rows[one], second[other], np.zeros(count))


def _of_function(made: Iterable[Any], left: Side, right: Side | None) -> Pairs:
    """Check the positions that a caller's function returned."""
    pairs = [(int(one), int(other)) for one, other in made]
    last = len(left.frame if right is None else right.frame)
    for one, other in pairs:
        if not (0 <= one < len(left.frame) and 0 <= other < last):
            msg = f"block returned {(one, other)}: positions of rows are wanted"
            raise InvalidValueError(msg)
    if right is None:
        pairs = [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
    whole = set(left.whole().tolist())
    there = whole if right is None else set(right.whole().tolist())
    pairs = [p for p in dict.fromkeys(pairs) if p[0] in whole and p[1] in there]
    array = np.array(pairs, np.int64).reshape(-1, 2)
    return Pairs(array[:, 0], array[:, 1], np.zeros(len(array)))


def _of_columns(
    left: Side, right: Side | None, names: tuple[Any, Any], neighbors: int
) -> Pairs:
    """Return pairs with equal cells, or the nearest by columns of vectors."""
    one = column_names(left.frame, names[0], "block")
    second = left if right is None else right
    other = column_names(second.frame, names[1], "block")
    rows, others = left.whole(), second.whole()
    if len(one) == 1 and has_vectors(left.frame[one[0]]):
        first = left.frame[one[0]].iloc[rows]
        rows = rows[first.notna().to_numpy()]
        here = stacked(left.frame[one[0]].iloc[rows], one[0])
        if right is None:
            return _placed(near_vectors(here, k=neighbors), rows, None)
        last = second.frame[other[0]].iloc[others]
        others = others[last.notna().to_numpy()]
        there = stacked(second.frame[other[0]].iloc[others], other[0])
        if len(here) and len(there) and here.shape[1] != there.shape[1]:
            msg = (
                f"the vectors of block have {here.shape[1]} numbers on the left and "
                f"{there.shape[1]} on the right: embed both with one model"
            )
            raise InvalidValueError(msg)
        return _placed(near_vectors(here, there, k=neighbors), rows, others)
    pairs = equal_rows(left.frame[one], rows, second.frame[other], others)
    if right is None:
        pairs = pairs[pairs["left"] < pairs["right"]]
    pairs = pairs.sort_values(["left", "right"])
    count = len(pairs)
    return Pairs(pairs["left"].to_numpy(), pairs["right"].to_numpy(), np.zeros(count))


def equal_rows(
    left: pd.DataFrame,
    rows: NDArray[np.int64],
    right: pd.DataFrame,
    others: NDArray[np.int64],
) -> pd.DataFrame:
    """Return the pairs of rows that are equal in all columns of both frames."""
    keys = [f"key_{at}" for at in range(left.shape[1])]
    # objects, as pandas does not merge texts with numbers
    here = left.iloc[rows].astype(object).set_axis(keys, axis=1).assign(left=rows)
    there = right.iloc[others].astype(object).set_axis(keys, axis=1)
    return here.dropna().merge(there.assign(right=others).dropna(), on=keys)


def stacked(vectors: pd.Series, name: Any) -> NDArray[np.float64]:
    """Return vectors as the rows of a matrix; raise for unlike lengths."""
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1:
        msg = (
            f"the vectors of {name!r} have {' and '.join(map(str, sorted(lengths)))} "
            "numbers: embed all rows with one model"
        )
        raise InvalidValueError(msg)
    if not lengths:
        return np.empty((0, 1))
    return np.stack(vectors.tolist()).astype(np.float64)


def has_vectors(column: pd.Series) -> bool:
    values = column.dropna()
    return len(values) > 0 and isinstance(values.iloc[0], np.ndarray)

"""Rows that are one thing: ``drop_duplicates``, ``duplicated`` and ``ngroup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import pandas as pd

from pandas_llm._algorithms import group_pairs, questions_at_most
from pandas_llm._table_verbs.pairs import (
    NEAREST,
    Judge,
    candidates,
    in_rounds,
    row_keys,
)
from pandas_llm._verbs import Program, verb
from pandas_llm.options import check_value, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from pandas_llm._rows import Source
    from pandas_llm._table_verbs.pairs import Block
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options

    Keep = Literal["first", "last", False]

_KEEP = one_of("first", "last", False)  # noqa: FBT003 - pandas' own


@verb
def ngroup(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: pd.DataFrame,
    subset: Any = None,
    *,
    template: str | None = None,
    block: Block = NEAREST,
    neighbors: int = 5,
    max_pairs: int | None = None,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Return a number for each row, equal for rows that describe one thing.

    About 2 questions a row with the usual `block`. Rows whose used cells are equal
    are one thing without a question; a row with NA in a used cell is a thing of its
    own and never asked.

    Parameters
    ----------
    subset : label or list of labels, optional
        The columns to compare, by default all; as in pandas. With a `template`
        those by which pairs are found, by default the ones that it names.
    template : str, optional
        Your own question about two rows, with ``${left.column}`` and
        ``${right.column}``, to be answered by yes or no.
    block : str, list, tuple, callable or None
        Which pairs may be asked. ``"nearest"``: the nearest by character n-grams of
        the used columns (TF-IDF; nothing is sent). A column of vectors made by
        `embed`: the nearest by cosine. Other columns: pairs with equal cells. A
        function of the frame: pairs of positions. None: all pairs.
    neighbors : int, default 5
        How many nearest rows of each are candidates.
    max_pairs : int, optional
        Needed for ``block=None`` above 100,000 pairs, and for pairs with equal cells
        above 10 million.
    cascade, recall, precision, delta, thresholds
        A cheap model first, as for `matches`: it answers all candidate pairs, and the
        target holds for these. Other pairs of a group go to the model of the call.
    data, **options
        As for `agg`.

    Returns
    -------
    Series
        The number of each row's group, by first appearance.

    Examples
    --------
    >>> people = pd.DataFrame({"name": ["Jon Smith", "Jon Smith", "Ann Lee"]})
    >>> people.llm.ngroup("name", block="name", model="sim").tolist()
    [0, 0, 1]
    """
    return _program("ngroup", locals(), lambda _, groups: groups)


@verb
def duplicated(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: pd.DataFrame,
    subset: Any = None,
    *,
    keep: Keep = "first",
    template: str | None = None,
    block: Block = NEAREST,
    neighbors: int = 5,
    max_pairs: int | None = None,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Return which rows describe a thing that another row describes.

    Parameters
    ----------
    keep : {"first", "last", False}
        Which row of a thing is not marked, as in pandas.
    data, subset, template, block, neighbors, max_pairs
        As for `ngroup`.
    cascade, recall, precision, delta, thresholds, **options
        As for `ngroup`.

    Returns
    -------
    Series
        Of bool, under the input's labels.

    Examples
    --------
    >>> people = pd.DataFrame({"name": ["Jon Smith", "Jon Smith", "Ann Lee"]})
    >>> people.llm.duplicated("name", block="name", model="sim").tolist()
    [False, True, False]
    """
    check_value("keep", keep, _KEEP)

    def finish(_: Any, groups: pd.Series) -> pd.Series:
        return groups.duplicated(keep).rename(None)

    return _program("duplicated", locals(), finish)


@verb
def drop_duplicates(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: pd.DataFrame,
    subset: Any = None,
    *,
    keep: Keep = "first",
    ignore_index: bool = False,
    template: str | None = None,
    block: Block = NEAREST,
    neighbors: int = 5,
    max_pairs: int | None = None,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Return one row for each thing that rows describe.

    Parameters
    ----------
    keep : {"first", "last", False}
        Which row of a thing stays; False drops all that have a double.
    ignore_index : bool
        Number the rows that stay from 0.
    data, subset, template, block, neighbors, max_pairs
        As for `ngroup`.
    cascade, recall, precision, delta, thresholds, **options
        As for `ngroup`.

    Returns
    -------
    DataFrame or Series
        The rows that stay, with their labels and dtypes.

    Examples
    --------
    >>> people = pd.DataFrame({"name": ["Jon Smith", "Jon Smith", "Ann Lee"]})
    >>> people.llm.drop_duplicates("name", block="name", model="sim").index.tolist()
    [0, 2]
    """
    check_value("keep", keep, _KEEP)

    def finish(data: Any, groups: pd.Series) -> Any:
        rows = data[~groups.duplicated(keep).to_numpy()]
        return rows.reset_index(drop=True) if ignore_index else rows

    return _program("drop_duplicates", locals(), finish)


def _program(
    name: str, arguments: Mapping[str, Any], finish: Callable[[Any, pd.Series], Any]
) -> Program:
    """Build a verb's program, which makes its result of the data and its groups."""
    from pandas_llm._rows import source_of

    source, subset = source_of(arguments["data"]), arguments["subset"]
    used: list[int] = []
    if subset is not None:
        used = source.find_all(subset)
    elif arguments["template"] is None:
        used = list(range(source.frame.shape[1]))
    judge = Judge(source, source, arguments, (used, used))
    unlike, places = _unlike(source, judge.left.compared)
    judge.narrow(unlike)

    def steps(data: Any) -> Steps[Any]:
        pairs = candidates(judge.left, judge.right, arguments)
        yield from judge.prepare(pairs, questions_at_most)
        numbers = yield from in_rounds(group_pairs(unlike.rows, pairs), judge.ask)
        groups = pd.factorize(numbers[places])[0]
        return finish(data, pd.Series(groups, index=data.index, name="group"))

    return judge.program(name, steps, failed="the two rows count as two things")


def _unlike(source: Source, compared: list[int]) -> tuple[Source, NDArray[np.int64]]:
    """Return the first of all rows with equal cells, and which of them each is."""
    first: dict[Any, int] = {}
    # a row with NA is like no other
    keys = enumerate(row_keys(source, compared))
    rows = [at if key is None else first.setdefault(key, at) for at, key in keys]
    there, numbers = np.unique(rows, return_inverse=True)
    return source._replace(frame=source.frame.iloc[there]), numbers

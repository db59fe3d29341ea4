"""Rows that are one thing: ``drop_duplicates``, ``duplicated`` and ``ngroup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import pandas as pd

from pandas_llm._algorithms import group_pairs
from pandas_llm._table_verbs.pairs import (
    NEAREST,
    Judge,
    Side,
    candidates,
    default_question,
    sides,
)
from pandas_llm._verbs import Program, Signed, column_names, table_of, twin, verb
from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from pandas_llm._table_verbs.pairs import Block
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options

    Keep = Literal["first", "last", False]


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
    data : DataFrame or Series
        The rows.
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
        Needed for ``block=None`` above 100,000 pairs.
    cascade, recall, precision, delta, thresholds
        A cheap model first, as for `matches`: it answers all candidate pairs, and the
        target holds for these. Other pairs of a group go to the model of the call.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    Series
        The number of each row's group, by first appearance.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> people = pd.DataFrame({"name": ["Jon Smith", "Jon Smith", "Ann Lee"]})
    >>> people.llm.ngroup("name", block="name", model="sim").tolist()
    [0, 0, 1]
    """
    return _program("ngroup", locals(), _numbered)


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
    data : DataFrame or Series
        The rows.
    keep : {"first", "last", False}
        Which row of a thing is not marked, as in pandas.
    subset, template, block, neighbors, max_pairs
        As for `ngroup`.
    cascade, recall, precision, delta, thresholds
        As for `ngroup`.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    Series
        Of bool, under the input's labels.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> people = pd.DataFrame({"name": ["Jon Smith", "Jon Smith", "Ann Lee"]})
    >>> people.llm.duplicated("name", block="name", model="sim").tolist()
    [False, True, False]
    """
    _check_keep(keep)
    return _program("duplicated", locals(), lambda d, groups: _marked(d, groups, keep))


@verb
def drop_duplicates(  # noqa: PLR0913 - the verb's own parameters, all by name
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
    """Return one row for each thing that rows describe.

    Parameters
    ----------
    data : DataFrame or Series
        The rows.
    keep : {"first", "last", False}
        Which row of a thing stays; False drops all that have a double.
    subset, template, block, neighbors, max_pairs
        As for `ngroup`.
    cascade, recall, precision, delta, thresholds
        As for `ngroup`.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    DataFrame or Series
        The rows that stay, with their labels and dtypes.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> people = pd.DataFrame({"name": ["Jon Smith", "Jon Smith", "Ann Lee"]})
    >>> people.llm.drop_duplicates("name", block="name", model="sim").index.tolist()
    [0, 2]
    """
    _check_keep(keep)

    def rest(data: Any, groups: NDArray[np.int64]) -> Any:
        return data[~_marked(data, groups, keep).to_numpy()]

    return _program("drop_duplicates", locals(), rest)


angroup, aduplicated, adrop_duplicates = map(
    twin, (ngroup, duplicated, drop_duplicates)
)


def _check_keep(keep: Any) -> None:
    if keep not in ("first", "last", False):
        msg = f"keep must be 'first', 'last' or False, not {keep!r}"
        raise InvalidValueError(msg)


def _numbered(data: Any, groups: NDArray[np.int64]) -> pd.Series:
    return pd.Series(groups, index=data.index, name="group")


def _marked(data: Any, groups: NDArray[np.int64], keep: Keep) -> pd.Series:
    return pd.Series(pd.Series(groups).duplicated(keep).to_numpy(), index=data.index)


def _program(
    name: str,
    arguments: Mapping[str, Any],
    finish: Callable[[Any, NDArray[np.int64]], Any],
) -> Program:
    data, template, subset = (
        arguments["data"],
        arguments["template"],
        arguments["subset"],
    )
    frame = table_of(data)
    used = list(frame.columns) if subset is None else column_names(frame, subset)
    question = default_question(used, used) if template is None else template
    judge = Judge(question, arguments)
    values = judge.plan.settings.values  # noqa: PD011
    left, right = sides(frame, frame, question, values)
    columns = list(dict.fromkeys(left.columns + right.columns))
    compared = columns if subset is None else used
    left, right = (
        side._replace(columns=columns, compared=compared) for side in (left, right)
    )

    def steps(data: Any) -> Steps[Any]:
        groups = yield from _groups(judge, left, right, arguments)
        return Signed(finish(data, groups), judge.facts)

    failed = "the two rows count as two things"
    return judge.program(name, steps, failed)


def _groups(
    judge: Judge, left: Side, right: Side, arguments: Mapping[str, Any]
) -> Steps[NDArray[np.int64]]:
    """Ask about pairs of unlike rows, in rounds; return the number of each row."""
    unlike, group = _unlike(left)
    one, other = left._replace(frame=unlike), right._replace(frame=unlike)
    pairs = candidates(
        one, None, arguments["block"], arguments["neighbors"], arguments["max_pairs"]
    )
    listed = list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    asking = group_pairs(len(unlike), listed)
    yield from judge.prepare(one, other, listed)
    try:
        asked = next(asking)
        while True:
            asked = asking.send((yield from judge.ask(one, other, asked)))
    except StopIteration as end:
        numbers: NDArray[np.int64] = end.value[group]
    return np.asarray(pd.factorize(numbers)[0], np.int64)


def _unlike(side: Side) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the first of all rows with equal cells, and which of them each is."""
    cells = side.frame[side.compared].astype(object)
    keys = pd.Series([repr(row) for row in cells.itertuples(index=False)], dtype=object)
    keys[cells.isna().any(axis=1).to_numpy()] = None
    codes = pd.factorize(keys)[0]
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    numbers, first = np.unique(codes, return_index=True)
    del numbers
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return side.frame.iloc[first[order]], rank[codes]

"""What changed from one run to another, and whether for the better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_llm._algorithms import mcnemar, wilson
from pandas_llm._display import dollars, trims_traceback
from pandas_llm._evaluation.cards import Card, Part, figure, interval, words
from pandas_llm._evaluation.columns import (
    are_numbers,
    bare,
    column_of,
    confidence_column,
    few_rows,
    floats,
    label_columns,
)
from pandas_llm._rows import source_of, with_lists
from pandas_llm._run import usage
from pandas_llm.errors import InvalidValueError, NoUsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

_SHOWN = 5
_COUNTS = ("requests", "input_tokens", "output_tokens", "cost", "seconds")


class Comparison(Card):
    """Two runs over the same rows; `compare` makes it.

    Attributes
    ----------
    summary : DataFrame
        A row for each compared column: ``rows``, ``changed``, ``agreement``, ``low``,
        ``high`` (Wilson's 95 % interval); ``difference``, the mean distance of
        numbers. Each is an attribute too.
    changed : DataFrame
        The rows of which any column changed, with ``<column>_old`` and
        ``<column>_new``.
    gold : DataFrame or None
        For each column with a known truth ``n``, the accuracy of both with their
        intervals, ``better`` and ``worse`` (rows set right, rows made wrong), and
        ``p_value`` of the exact McNemar test.
    usage : DataFrame
        Requests, tokens, dollars and seconds of both, as their attrs tell; NA where
        they do not.
    only_old, only_new : DataFrame
        Rows that the other has not.
    remarks : tuple of str
    """

    _grouped = True

    def _parts(self) -> list[Part]:
        table = words(self.summary[["rows", "changed", "agreement"]])
        table["95 %"] = [
            interval(*ends) for ends in self.summary[["low", "high"]].to_numpy()
        ]
        if self.summary["difference"].notna().any():
            table["difference"] = words(self.summary)["difference"]
        parts = [Part("", table)]
        for column, row in [] if self.gold is None else self.gold.iterrows():
            parts.append(Part(f"{column} against the truth", _verdict(row)))
        if self.usage.notna().any(axis=None):
            usage = words(self.usage).assign(cost=self._costs)
            parts.append(Part("What they took", usage))
        pairs = [c for c in self.changed if c not in self._old]
        if pairs and len(self.changed):
            some = f" (the first {_SHOWN} of {len(self.changed):,}; all in .changed)"
            title = "Changed rows" + some * (len(self.changed) > _SHOWN)
            parts.append(Part(title, words(self.changed[pairs].head(_SHOWN))))
        return parts


@trims_traceback
def compare(old: Any, new: Any, on: Any = None, gold: Any = None) -> Comparison:
    """Show what changed between two runs over the same rows, and if for the better.

    Columns that both have are compared; those of probabilities and of details are
    not. Two NA are equal.

    Parameters
    ----------
    old, new : DataFrame, Series or list of dicts
        What two models, or two prompts, made of the same rows.
    on : column name or list of them, optional
        What names a row; else the index does. Rows that only one has are left out,
        with a remark.
    gold : column name, Series, or mapping, optional
        The truth, NA where nobody knows; a Series has the index of `old`. Where more
        than one column could be meant: a mapping of columns to their truth. A row
        that a model left NA is not right.

    Returns
    -------
    Comparison
        Printed it is a table, in a notebook a card; its attributes are DataFrames:
        ``summary``, ``changed``, ``gold``, ``usage``, ``only_old``, ``only_new``.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> old = pd.DataFrame({"text": ["a", "b", "c"], "label": ["x", "y", "x"]})
    >>> new = old.assign(label=["x", "x", "x"])
    >>> found = pandas_llm.compare(old, new)
    >>> found.changed
      text label_old label_new
    1    b         y         x
    """
    frames = source_of(old).frame, source_of(new).frame
    places = _aligned(*frames, on)
    pair = frames[0].iloc[places[0]], frames[1].iloc[places[1]]
    keys = [] if on is None else on if isinstance(on, list) else [on]
    golds = gold.values() if isinstance(gold, Mapping) else [gold]
    named = {one for one in golds if isinstance(one, str)}
    columns, beside = _compared(*pair, {*keys, *named})
    same = {name: _equal(*(frame[name] for frame in pair)) for name in columns}
    summary = pd.DataFrame(
        [_agreement(same[name], *(frame[name] for frame in pair)) for name in columns],
        pd.Index(columns, name="column", tupleize_cols=False),
    )
    truths = _truths(gold, frames, places, same)
    against_gold = [_against(*pair, *one) for one in truths.items()]
    rest = [
        frame.iloc[np.setdiff1d(np.arange(len(frame)), rows)]
        for frame, rows in zip(frames, places, strict=True)
    ]
    used, costs = zip(_usage(old), _usage(new), strict=True)
    return Comparison(
        summary=summary,
        changed=_changed(*pair, same),
        gold=pd.DataFrame(against_gold).set_index("column") if against_gold else None,
        usage=pd.DataFrame(used, ["old", "new"]).astype(
            dict.fromkeys(_COUNTS[:3], "Int64")
        ),
        only_old=rest[0],
        only_new=rest[1],
        remarks=tuple(_remarks(rest, beside, against_gold)),
        _old=set(frames[0].columns),
        _costs=list(costs),
        _heading=f"old against new: {len(pair[0]):,} rows",
    )


def _aligned(
    old: pd.DataFrame, new: pd.DataFrame, on: Any
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of the same rows in both frames."""
    indexes = [old.index, new.index]
    if on is not None:
        keys = on if isinstance(on, list) else [on]
        indexes = [
            pd.MultiIndex.from_arrays([column_of(frame, key, "on") for key in keys])
            for frame in (old, new)
        ]
    elif old.index.equals(new.index):
        return np.arange(len(old)), np.arange(len(old))
    for index, which in zip(indexes, ("old", "new"), strict=True):
        if not index.is_unique:
            first = index[index.duplicated()].tolist()[0]
            what = "its index" if on is None else f"on={on!r}"
            way = "name a row by on=" if on is None else "name rows by more columns"
            msg = f"{which} has {first!r} more than once in {what}: {way}"
            raise InvalidValueError(msg)
    places = indexes[1].get_indexer(indexes[0])
    if not (places >= 0).any():
        what = (
            "indexes have no label" if on is None else f"columns {on!r} have no value"
        )
        raise InvalidValueError(f"the {what} in common: are these the same rows?")
    return np.flatnonzero(places >= 0), places[places >= 0]


def _compared(
    old: pd.DataFrame, new: pd.DataFrame, skipped: set[Any]
) -> tuple[list[Any], list[Any]]:
    """Return the columns to compare, and those that say how the answers came about."""
    shared = [name for name in old.columns if name in new.columns]
    companions = {*label_columns(old, []).values(), *label_columns(new, []).values()}
    for name in shared:
        column_of(old, name, "old"), column_of(new, name, "new")  # there once
        companions.add(confidence_column(old, name))
        ordered = getattr(old[name].dtype, "ordered", False)
        companions |= {f"{name}_score"} if ordered else set()
    companions |= {name for name in shared if str(name).startswith("llm_")}
    columns = [name for name in shared if name not in companions | skipped]
    if not columns:
        raise InvalidValueError(
            f"the frames have no column in common to compare: old has "
            f"{list(old.columns)}, new has {list(new.columns)}"
        )
    return columns, [name for name in shared if name in companions - skipped]


def _equal(old: pd.Series, new: pd.Series) -> Flags:
    """Return where two columns have the same value; NA is the same as NA."""
    both = old.isna().to_numpy() & new.isna().to_numpy()
    if are_numbers(old, new):
        close: Any = {"rtol": 1e-9, "atol": 0, "equal_nan": True}
        near = np.isclose(floats(old), floats(new), **close)
        return np.asarray(both | near, bool)
    pairs = zip(old.astype(object), new.astype(object), strict=True)
    alike = [_alike(one, other) for one, other in pairs]
    return np.asarray(both | np.array(alike, bool), bool)


def _alike(one: Any, other: Any) -> bool:
    if one is pd.NA or other is pd.NA:
        return False
    if all(
        isinstance(cell, np.ndarray) and cell.dtype != object for cell in (one, other)
    ):
        return np.array_equal(one, other)
    return bool(bare(with_lists(one)) == bare(with_lists(other)))


def _agreement(same: Flags, old: pd.Series, new: pd.Series) -> dict[str, Any]:
    rows, share = len(same), float(same.mean()) if len(same) else math.nan
    low, high = wilson(share, rows)
    figures = {"rows": rows, "changed": int((~same).sum()), "agreement": share}
    apart = math.nan
    if are_numbers(old, new):
        apart = float(pd.Series(floats(old) - floats(new)).abs().mean())
    return {**figures, "low": low, "high": high, "difference": apart}


def _changed(
    old: pd.DataFrame, new: pd.DataFrame, same: dict[Any, Flags]
) -> pd.DataFrame:
    """Return the rows that changed: what changed twice, all else as it was in old."""
    rows = np.flatnonzero(~np.all(list(same.values()), axis=0))
    columns = []
    for name in old.columns:
        before = old[name].iloc[rows]
        if name in same and not same[name].all():
            after = new[name].iloc[rows].set_axis(before.index)
            columns += [before.rename(f"{name}_old"), after.rename(f"{name}_new")]
        else:
            columns.append(before)
    for column in columns:
        column.attrs = {}  # which pandas compares, and arrays in them have no one truth
    return pd.concat(columns, axis=1)


# -- against the truth ----------------------------------------------------------


def _truths(
    gold: Any,
    frames: tuple[pd.DataFrame, pd.DataFrame],
    places: Any,
    same: dict[Any, Flags],
) -> dict[Any, pd.Series]:
    """Return the truth of the common rows, by the column that it is of."""
    if gold is None:
        return {}
    named = isinstance(gold, Mapping) and set(gold) <= set(frames[0])
    truths = {}
    for column, one in (gold if named else {None: gold}).items():
        of_new = isinstance(one, str) and one not in frames[0] and one in frames[1]
        truth = column_of(frames[of_new], one, "gold").iloc[places[of_new]]
        if not truth.notna().any():
            raise InvalidValueError("gold is NA in every row that both have")
        if named and column not in same:
            msg = f"gold: {column!r} is not one of the compared columns {list(same)}"
            raise InvalidValueError(msg)
        pair = [frame.iloc[at] for frame, at in zip(frames, places, strict=True)]
        truths[column if named else _column_of_truth(truth, pair, same)] = truth
    return truths


def _column_of_truth(
    truth: pd.Series, pair: list[pd.DataFrame], same: dict[Any, Flags]
) -> Any:
    """Return the one column that a truth may be of: told somewhere, best if changed."""
    fits = [
        name for name in same if any(_right(frame[name], truth).any() for frame in pair)
    ]
    fits = [name for name in fits if not same[name].all()] or fits
    if len(fits) != 1:
        problem = (
            f"could be the truth of {fits}" if fits else f"fits none of {list(same)}"
        )
        raise InvalidValueError(f"gold {problem}: pass gold={{column: gold}}")
    return fits[0]


def _right(predicted: pd.Series, truth: pd.Series) -> Flags:
    """Return whether each row with a known truth was told it; NA is never right."""
    known = truth.notna().to_numpy()
    return _equal(predicted[known], truth[known])


def _against(
    old: pd.DataFrame, new: pd.DataFrame, column: Any, truth: pd.Series
) -> dict[str, Any]:
    """Return how often both are right, and whether the difference may be chance."""
    before, after = (_right(frame[column], truth) for frame in (old, new))
    row: dict[str, Any] = {"column": column, "n": len(before)}
    for name, right in (("old", before), ("new", after)):
        row[name] = float(right.mean())
        row[f"{name}_low"], row[f"{name}_high"] = wilson(row[name], len(right))
    better, worse = int((~before & after).sum()), int((before & ~after).sum())
    return {**row, "better": better, "worse": worse, "p_value": mcnemar(better, worse)}


def _verdict(row: pd.Series) -> list[tuple[str, str]]:
    """Return in words how both runs do against the truth."""
    lines = [("rows with a known truth", figure(int(row["n"])))]
    for name in ("old", "new"):
        span = interval(row[f"{name}_low"], row[f"{name}_high"])
        lines.append((f"{name} is right", f"{figure(row[name])} (95 %: {span})"))
    moved = f"{figure(int(row['better']))}, {figure(int(row['worse']))}"
    lines.append(("set right, made wrong", moved))
    lines.append(("exact McNemar test", f"p = {figure(row['p_value'])}"))
    return lines


# -- what they took -------------------------------------------------------------


def _usage(run: Any) -> tuple[dict[str, float], str]:
    """Return what a run took, and its cost in words; NA where its attrs do not tell."""
    try:
        used = usage(run)
    except (NoUsageError, AttributeError):
        return dict.fromkeys(_COUNTS, math.nan), "NA"
    figures = {name: getattr(used, name) for name in _COUNTS}
    return figures, dollars(used.known_cost, used.unpriced)


def _remarks(
    rest: list[pd.DataFrame], beside: list[Any], remarks: list[dict[str, Any]]
) -> Iterator[str]:
    """Yield what to know of the comparison; warn of few known rows."""
    for which, frame in zip(("old", "new"), rest, strict=True):
        if len(frame):
            yield f"{len(frame):,} rows are in {which} alone: see .only_{which}"
    if beside:
        yield f"Not compared: {', '.join(map(str, beside))}"
    for row in remarks:
        yield from few_rows([row["n"]], grouped=False)

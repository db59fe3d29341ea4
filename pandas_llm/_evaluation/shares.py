"""How many rows are something although a model said so, and which ones to label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_llm._algorithms import (
    NORMAL,
    drawn_mean,
    review_chances,
    systematic,
    tuned_mean,
    wilson,
)
from pandas_llm._display import trims_traceback
from pandas_llm._evaluation.cards import Card, Part, interval, title_of, words
from pandas_llm._evaluation.columns import (
    column_of,
    confidence_column,
    even_odds,
    few_rows,
    floats,
    groups_of,
    joined,
    label_columns,
    label_index,
    odds_of,
    read_answers,
)
from pandas_llm._rows import check_new, source_of
from pandas_llm.errors import InvalidTypeError, InvalidValueError, LLMWarning, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pandas_llm._evaluation.columns import Answers

    Floats = NDArray[np.float64]

_INCLUSION = "inclusion"
_MOST = 1000
_UNKNOWN = 0.5
"""How sure a model is of a row that it told no probability of."""


class Shares(Card):
    """Shares or means with intervals that hold; `share` makes it.

    Attributes
    ----------
    summary : DataFrame
        A row for each label (of each group); for numbers one. ``share`` (for numbers
        ``mean``), ``low`` and ``high`` are the estimate and its 95 % interval;
        ``naive``, ``naive_low``, ``naive_high`` take what the model told for true;
        ``labels_only``, ``labels_only_low``, ``labels_only_high`` look at the known
        rows alone. ``labelled`` and ``rows`` count them; ``power`` is how much was
        made of the model's answers, from 0 to 1. Each is an attribute too.
    remarks : tuple of str
    """

    def _parts(self) -> list[Part]:
        summary = words(self.summary)
        what = "share" if "share" in summary else "mean"
        shown = {what: summary[what], "95 %": self._interval("")}
        shown |= {"naive": summary["naive"], "labels only": summary["labels only"]}
        shown["their 95 %"] = self._interval("labels_only_")
        shown["labelled"] = summary["labelled"]
        return [Part("", pd.DataFrame(shown))]

    def _interval(self, of: str) -> list[str]:
        ends = (self.summary[f"{of}{end}"] for end in ("low", "high"))
        return [interval(low, high) for low, high in zip(*ends, strict=True)]


@trims_traceback
def share(  # noqa: PLR0913 - all by name but the first four
    frame: Any,
    column: Any,
    gold: Any,
    by: Any = None,
    *,
    probability: Any = None,
    probabilities: Any = None,
    inclusion: Any = None,
) -> Shares:
    """Estimate how many rows are what, with an interval that holds.

    The share of a label among what a model told is off by as much as the model errs.
    With a few rows whose truth is known, drawn at random, this estimates the share
    in the whole frame by prediction-powered inference: the model's mean, corrected
    by how far it is off on the known rows. The better the model, the narrower the
    interval; if it is useless, it is that of the known rows alone.

    Parameters
    ----------
    frame : DataFrame or list of dicts
        All the rows that the share is of.
    column, gold : column name, Series, array, or mapping
        What the model told of all rows, and what is true, NA where nobody knows. Of
        columns of numbers the mean is estimated.
    by : column name, Series, or list of them, optional
        Groups to estimate apart.
    probability, probabilities : optional
        Where columns with probabilities are not found by their names, as in
        `evaluate`. With them the interval is narrower.
    inclusion : column name or Series, optional
        How likely each known row was to be chosen, as ``df.llm.to_review`` has it;
        the column ``inclusion`` if there is one. Rows without are taken as drawn
        evenly.

    Returns
    -------
    Shares
        Printed it is a table, in a notebook a card; ``.summary`` is a DataFrame.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> reviews = pd.DataFrame({"label": ["good", "bad", "good", "good"] * 50})
    >>> reviews["gold"] = pd.Series(["good", "bad", "bad", "good"] * 10)
    >>> found = pandas_llm.share(reviews, "label", "gold")
    >>> found.summary.loc["good", ["share", "low", "high", "naive"]].round(2).to_dict()
    {'share': 0.5, 'low': 0.38, 'high': 0.62, 'naive': 0.75}
    """
    answers = read_answers(frame, column, gold, probability, probabilities)
    if answers.labels and len(answers.labels) > _MOST:
        raise InvalidValueError(
            f"{len(answers.labels)} labels have no shares to speak of: group them first"
        )
    chance, remarks = _inclusion(source_of(frame).frame, inclusion, answers)
    names, places = groups_of(frame, by)
    name = column.name if isinstance(column, pd.Series) else column
    labels = answers.labels or [name if isinstance(name, str) else "mean"]
    index = label_index(labels, "label")
    tables = [
        pd.DataFrame(_estimates(answers.rows(rows), chance[rows]), index)
        for rows in places
    ]
    summary = joined(names, tables)
    known = [int(answers.known[rows].sum()) for rows in places]
    few = few_rows(known, grouped=by is not None)
    unanswered = int((~answers.answered).sum())
    if unanswered:
        remarks.append(
            f"{unanswered:,} rows that the model left NA count with what it told of "
            "the others, corrected as they are."
        )
    what = "Mean" if answers.labels is None else "Shares"
    title = f"{what}: {title_of(column, gold, by)}"
    return Shares(
        summary=summary,
        remarks=(*remarks, *few),
        _grouped=answers.labels is not None or len(summary) > 1,
        _heading=f"{title}, {len(answers.predicted):,} rows",
    )


def _inclusion(
    frame: pd.DataFrame, column: Any, answers: Answers
) -> tuple[Floats, list[str]]:
    """Return each row's chance to be known, NaN for an even draw, and remarks."""
    chance = np.full(len(frame), np.nan)
    known, count = answers.known, int(answers.known.sum())
    if column is None and _INCLUSION in frame.columns:
        column = _INCLUSION
    if column is not None:
        try:
            chance = floats(column_of(frame, column, "inclusion"))
        except (TypeError, ValueError):
            chance = np.zeros(len(frame))
        wrong = known & ((chance <= 0) | (chance > 1))
        if wrong.any():
            first = int(wrong.argmax())
            raise InvalidValueError(
                f"inclusion must be above 0 and at most 1 where the truth is known; "
                f"{int(wrong.sum())} rows have others, the first: label "
                f"{frame.index[first]!r}. A row that could not be drawn stands for no "
                "other: leave its gold NA, or pass the probability it was drawn with"
            )
    even = int((known & np.isnan(chance)).sum())
    if not even:
        return chance, []
    who = "The" if even == count else f"{even} of the"
    remark = (
        f"{who} {count} rows with a known truth are taken as drawn evenly at random. "
        "If they were chosen in another way, the interval does not hold."
    )
    if even < count:
        warn(remark, LLMWarning)
    return chance, [remark]


def _estimates(answers: Answers, chance: Floats) -> Iterator[dict[str, Any]]:
    """Yield the rows of a group in the table: one a label, or that of the mean."""
    places = np.flatnonzero(answers.known)
    chance, weights = _draw(chance[places], len(answers.predicted))
    for predicted, plain, truth in _columns(answers, places):
        row = dict.fromkeys(_FIGURES, math.nan)
        if len(plain):
            row |= _figures("naive", *_naive(plain, shares=answers.labels is not None))
        if len(places):
            tuned, row["power"] = tuned_mean(predicted, truth, places, chance, weights)
            alone = drawn_mean(truth, chance, weights)
            for name, one in (("", tuned), ("labels_only", alone)):
                if answers.labels is None:
                    row |= _figures(name, one.mean, one.interval())
                else:
                    share = min(max(one.mean, 0.0), 1.0)
                    row |= _figures(name, share, one.share_interval())
        counts = {"labelled": len(places), "rows": len(predicted)}
        yield {"share" if answers.labels else "mean": row.pop(""), **row, **counts}


def _figures(name: str, middle: float, ends: tuple[float, float]) -> dict[str, float]:
    """Return an estimate and its interval under their names."""
    start = f"{name}_" if name else ""
    return {name: middle, f"{start}low": ends[0], f"{start}high": ends[1]}


_FIGURES = [
    *_figures("", 0, (0, 0)),
    *_figures("naive", 0, (0, 0)),
    *_figures("labels_only", 0, (0, 0)),
    "power",
]


def _naive(plain: Floats, *, shares: bool) -> tuple[float, tuple[float, float]]:
    """Return the mean of what was told, as if it were true, with its interval."""
    middle = float(plain.mean())
    if shares:
        return middle, wilson(middle, len(plain))
    reach = NORMAL * float(plain.std()) / math.sqrt(len(plain))
    return middle, (middle - reach, middle + reach)


def _draw(chance: Floats, rows: int) -> tuple[Floats, Floats]:
    """Return the chances and weights of known rows; those of an even draw for NaN.

    Two draws are put together by their sizes: each alone stands for all rows.
    """
    even = np.isnan(chance)
    chance = np.where(even, even.sum() / rows, chance)
    sizes = np.where(even, even.sum(), (~even).sum())
    return chance, sizes / chance


def _columns(
    answers: Answers, places: NDArray[np.intp]
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield predictions of all rows, those told alone, and the truth where known."""
    answered, truth = answers.answered, answers.truth[places]
    if answers.labels is None:
        plain = answers.predicted[answered]
        middle = plain.mean() if len(plain) else 0.0
        yield np.where(answered, answers.predicted, middle), plain, truth
        return
    odds = _odds(answers, len(answers.labels))
    known = odds[~np.isnan(odds).any(axis=1)]
    middle = known.mean(axis=0) if len(known) else 0.0
    odds = np.where(np.isnan(odds), middle, odds)
    for label in range(len(answers.labels)):
        plain = (answers.predicted[answered] == label).astype(float)
        yield odds[:, label], plain, (truth == label).astype(float)


def _odds(answers: Answers, count: int) -> Floats:
    """Return the probabilities of labels where known, else the labels told."""
    predicted, odds = answers.predicted[:, None], answers.odds
    if odds is None and answers.sure is not None and count > 1:
        odds = even_odds(answers.sure, answers.predicted, count)
    plain = np.where(predicted >= 0, predicted == np.arange(count), np.nan)
    return plain if odds is None else np.where(np.isnan(odds), plain, odds)


# -- rows to label --------------------------------------------------------------


def to_review(
    data: Any, k: int, column: Any = None, name: str = "inclusion", seed: int = 0
) -> pd.DataFrame:
    """Return `k` rows to label; `LLMAccessor.to_review` describes it."""
    source = source_of(data)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise InvalidTypeError(f"k must be a whole number of rows, not {k!r}")
    if not 0 < k <= source.rows:
        raise InvalidValueError(f"k must be from 1 to the {source.rows} rows, not {k}")
    check_new(source, [name])
    sure = _sure(source.frame, column)
    chance = review_chances(np.sqrt(sure * (1 - sure)), int(k))
    places = systematic(chance, np.random.default_rng(seed))
    chosen = source.frame.iloc[places].copy()
    chosen[name] = chance[places]
    return chosen


def _sure(frame: pd.DataFrame, column: Any) -> Any:
    names: list[Any] = list(frame.columns)
    labels: list[Any] = []
    if column is not None:
        values = column_of(frame, column, "column")
        names, labels = [values.name], list(values.dropna().unique())
    columns: list[Any] = []
    if labels or column is None:
        columns = list(label_columns(frame, labels).values())
    if not columns:
        candidates = {confidence_column(frame, name): None for name in names}
        columns = [one for one in candidates if one is not None]
        if len(columns) > 1:
            shown = ", ".join(map(repr, columns))
            msg = f"several columns say how sure the model was ({shown}): pass column="
            raise InvalidValueError(msg)
    if not columns:
        raise InvalidValueError(
            "no column says how sure the model was: pass confidence=True or "
            "probabilities=True to the verb, or draw rows evenly by df.sample(k)"
        )
    sure = odds_of(frame, columns).max(axis=1)
    return np.where(np.isnan(sure), _UNKNOWN, sure)

"""How often a column that a model wrote is right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_llm._algorithms import calibration_error, reliability, wilson
from pandas_llm._display import trims_traceback
from pandas_llm._evaluation.cards import (
    Card,
    Part,
    figure,
    interval,
    reliability_picture,
    title_of,
    words,
)
from pandas_llm._evaluation.columns import (
    few_rows,
    groups_of,
    joined,
    label_index,
    read_answers,
)
from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from pandas_llm._evaluation.columns import Answers

_LABELS, _SQUARE = 12, 8
"""Labels shown in a table, and up to which the confusion matrix is shown."""
_MOST = 1_000_000
"""Cells of confusion matrices that are made."""
_WORDS = {
    "n": "rows with a known truth",
    "unanswered": "left NA by the model",
    "accuracy": "accuracy",
    "kappa": "Cohen's kappa",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "correlation": "correlation",
    "within": "exact",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
_TINY = np.finfo(float).eps
_SLACK = 1e-9


class Agreement(Card):
    """How far a column agrees with the truth; `evaluate` makes it.

    Attributes
    ----------
    summary : DataFrame
        One row, or one for each group. For labels ``n``, ``unanswered``,
        ``accuracy``, ``low``, ``high`` (Wilson's 95 % interval) and ``kappa``; where
        the model told probabilities also ``log_loss``, ``brier``,
        ``calibration_error`` and ``calibration_floor``. For numbers ``n``,
        ``unanswered``, ``mae``, ``rmse``, ``correlation``, ``within``, ``low``,
        ``high``. Each is an attribute too.
    labels : DataFrame or None
        Precision, recall, F1 and support of each label.
    confusion : DataFrame or None
        A row for each true label, a column for each predicted one.
    reliability : DataFrame or None
        Mean confidence, accuracy and rows in up to ten bins of confidence.
    remarks : tuple of str
    """

    labels: pd.DataFrame | None
    confusion: pd.DataFrame | None
    reliability: pd.DataFrame | None
    _tolerance: float

    def _parts(self) -> list[Part]:
        if self._grouped:
            return [Part("", words(self.summary))]
        parts = [Part("", _lines(self.summary.astype(object).iloc[0], self._tolerance))]
        if self.labels is not None:
            often = self.labels.sort_values("support", ascending=False, kind="stable")
            shown = self.labels if len(often) <= _LABELS else often.head(_LABELS)
            title = "Each label"
            if len(shown) < len(often):
                title += (
                    f" (the {_LABELS} with most rows of {len(often)}; all in .labels)"
                )
            parts.append(Part(title, words(shown)))
        if self.confusion is not None and len(self.confusion) <= _SQUARE:
            parts.append(
                Part("True labels down, predicted ones across", words(self.confusion))
            )
        return parts

    def _picture(self) -> str:
        if self.reliability is None or self._grouped or not len(self.reliability):
            return ""
        return reliability_picture(self.reliability)


@trims_traceback
def evaluate(  # noqa: PLR0913 - all by name but the first four
    frame: Any,
    predicted: Any,
    gold: Any,
    by: Any = None,
    *,
    probability: Any = None,
    probabilities: Any = None,
    tolerance: float = 0.0,
) -> Agreement:
    """Measure how often a column that a model wrote is right.

    Rows whose truth is NA are not looked at. Rows that the model left NA count as
    ``unanswered``, and all other figures are of those it answered. Columns of numbers
    are compared as numbers; for codes that are not amounts pass
    ``df[column].astype("category")``.

    Parameters
    ----------
    frame : DataFrame or list of dicts
        With the column that a model wrote.
    predicted, gold : column name, Series, array, or mapping
        What was told, and what is true, NA where nobody knows. A mapping has labels
        of the index as keys.
    by : column name, Series, or list of them, optional
        Groups to measure apart.
    probability : column name or Series, optional
        The probability of each predicted label. Columns that ``confidence=True`` and
        ``probabilities=True`` have made are found by their names.
    probabilities : mapping, optional
        Each label to the column of its probability.
    tolerance : float
        How far a number may be off to count as ``within``.

    Returns
    -------
    Agreement
        Printed it is a table, in a notebook a card; its attributes are DataFrames:
        ``summary``, ``labels``, ``confusion``, ``reliability``.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> predicted = ["good", "bad", "good", "bad"] * 10
    >>> true = ["good", "bad", "bad", "bad"] * 10
    >>> found = pandas_llm.evaluate(
    ...     pd.DataFrame({"label": predicted, "gold": true}), "label", "gold"
    ... )
    >>> found.accuracy
    0.75
    >>> found.labels["recall"].round(2).to_dict()
    {'bad': 0.67, 'good': 1.0}
    """
    if not tolerance >= 0:
        raise InvalidValueError(f"tolerance must be at least 0, not {tolerance!r}")
    answers = read_answers(frame, predicted, gold, probability, probabilities)
    names, places = groups_of(frame, by)
    parts = [answers.rows(rows) for rows in places]
    figures = [_figures(part, tolerance) for part in parts]
    summary = pd.DataFrame(figures, ["all"] if names is None else names)
    labels = confusion = bins = None
    if answers.labels and len(answers.labels) ** 2 * len(parts) <= _MOST:
        labels = joined(names, map(_by_label, parts))
        confusion = joined(names, map(_confusion, parts))
    if answers.sure is not None:
        bins = joined(names, map(_bins, parts))
    answered = (summary["n"] - summary["unanswered"]).tolist()
    return Agreement(
        summary=summary,
        labels=labels,
        confusion=confusion,
        reliability=bins,
        remarks=tuple(few_rows(answered, grouped=names is not None)),
        _grouped=names is not None,
        _heading=title_of(predicted, gold, by),
        _tolerance=tolerance,
    )


def _figures(answers: Answers, tolerance: float) -> dict[str, Any]:
    """Return the row of a group in the summary."""
    both = answers.known & answers.answered
    rows = int(both.sum())
    counts = {"n": int(answers.known.sum())}
    counts["unanswered"] = counts["n"] - rows
    answers = answers.rows(np.flatnonzero(both))
    if answers.labels is None:
        return {**counts, **_of_numbers(answers, tolerance)}
    right = answers.predicted == answers.truth
    accuracy = float(right.mean()) if rows else math.nan
    low, high = wilson(accuracy, rows)
    figures = {**counts, "accuracy": accuracy, "low": low, "high": high}
    figures["kappa"] = _kappa(answers)
    return {**figures, **_of_probabilities(answers, right)}


def _of_numbers(answers: Answers, tolerance: float) -> dict[str, float]:
    """Return how far numbers are off; NaN where there are none."""
    predicted, truth = pd.Series(answers.predicted), pd.Series(answers.truth)
    off = (predicted - truth).abs()
    within = float((off <= tolerance + _SLACK).mean())
    low, high = wilson(within, len(off))
    return {
        "mae": float(off.mean()),
        "rmse": math.sqrt((off**2).mean()),
        "correlation": predicted.corr(truth),
        "within": within,
        "low": low,
        "high": high,
    }


def _kappa(answers: Answers) -> float:
    """Return Cohen's kappa: agreement beyond that of two who draw by chance."""
    rows, labels = len(answers.predicted), len(answers.labels or ())
    if not rows:
        return math.nan
    predicted, true = (
        np.bincount(codes, minlength=labels) / rows
        for codes in (answers.predicted, answers.truth)
    )
    chance = float(predicted @ true)
    agreed = float((answers.predicted == answers.truth).mean())
    return (agreed - chance) / (1 - chance) if chance < 1 else math.nan


def _of_probabilities(answers: Answers, right: Any) -> dict[str, float]:
    """Return how honest the probabilities are; nothing where there are none."""
    if answers.sure is None:
        return {}
    figures = {}
    if answers.odds is not None:
        known = ~np.isnan(answers.odds).any(axis=1)
        odds, truth = answers.odds[known], answers.truth[known]
        of_truth = odds[np.arange(len(truth)), truth]
        square = (odds**2).sum(axis=1) - 2 * of_truth + 1
        logs = -np.log(np.clip(of_truth, _TINY, 1))
        half = 2 if odds.shape[1] == 2 else 1  # noqa: PLR2004 - of two, one is told
        figures["log_loss"] = float(pd.Series(logs).mean())
        figures["brier"] = float(pd.Series(square).mean()) / half
    known = ~np.isnan(answers.sure)
    error, floor = calibration_error(answers.sure[known], right[known])
    return {**figures, "calibration_error": error, "calibration_floor": floor}


def _confusion(answers: Answers) -> pd.DataFrame:
    """Return how many rows of each true label were told each label."""
    labels: list[Any] = answers.labels or []
    both = answers.known & answers.answered
    pairs = answers.truth[both] * len(labels) + answers.predicted[both]
    counts = np.bincount(pairs, minlength=len(labels) ** 2)
    index, columns = (label_index(labels, name) for name in ("true", "told"))
    return pd.DataFrame(counts.reshape(len(labels), -1), index, columns)


def _by_label(answers: Answers) -> pd.DataFrame:
    """Return precision, recall and F1 of each label; NA where they have no rows."""
    table = _confusion(answers).to_numpy()
    hits, predicted, true = np.diag(table), table.sum(axis=0), table.sum(axis=1)
    with np.errstate(invalid="ignore"):  # of a label without rows: NaN
        columns = {
            "precision": hits / predicted,
            "recall": hits / true,
            "f1": 2 * hits / (predicted + true),
            "support": true,
        }
    return pd.DataFrame(columns, label_index(answers.labels or [], "label"))


def _bins(answers: Answers) -> pd.DataFrame:
    sure = answers.sure if answers.sure is not None else np.empty(0)
    rows = answers.known & answers.answered & ~np.isnan(sure)
    bins = reliability(sure[rows], (answers.predicted == answers.truth)[rows])
    return pd.DataFrame(bins._asdict())


def _lines(figures: pd.Series, tolerance: float) -> list[tuple[str, str]]:
    """Return the summary of one group as lines of words."""
    span = f" (95 %: {interval(figures['low'], figures['high'])})"
    lines = {name: figure(figures[name]) for name in _WORDS if name in figures}
    for name in ("accuracy", "within"):
        if name in lines:
            lines[name] += span
    if "calibration_error" in lines:
        lines["calibration_error"] += (
            f" (a perfect model: {figure(figures['calibration_floor'])})"
        )
    words_of = _WORDS | {"within": f"within {tolerance:g}" if tolerance else "exact"}
    return [(words_of[name], line) for name, line in lines.items()]

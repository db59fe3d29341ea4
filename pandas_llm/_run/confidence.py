"""How sure a column of labels is: probabilities, calibrated and held to a bound."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from pandas_llm._algorithms import Offsets, fit, prior
from pandas_llm._replies import LabelOdds, likeliest
from pandas_llm._rows import gold_codes
from pandas_llm._run.arrays import explode
from pandas_llm.errors import LLMWarning, UnsureError, warn
from pandas_llm.types import Remark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pandas_llm._engine import Outcomes
    from pandas_llm._rows import Source
    from pandas_llm._run.task import Task

    Floats = NDArray[np.float64]

_FEW = 30
"""Labelled rows below which a fit says little."""
_ALIKE = 1e-9
"""Probabilities that differ by less are equal, as all are once a row's own is off."""
_PRIOR = (
    "the column's mean is subtracted, which assumes that no label is very rare; it "
    "corrects which label is chosen, not how surely"
)
_NONE = (
    "{model} returns no probabilities, so those columns are NA. Ways out: a server "
    "with logprobs (OpenAI's chat models, llama.cpp, vLLM), a decision endpoint "
    "(model='openai-decisions/…'), votes (n=5)"
)


def check_gold(source: Source, task: Task) -> None:
    """Raise for known labels that do not fit the rows, or the labels declared."""
    if task.shape.gold is not None:
        gold_codes(task.shape.gold, source, task.labels)


def settle(
    outcomes: Outcomes, task: Task, source: Source, odds_source: str
) -> dict[str, Any]:
    """Calibrate what was told, leave out what is not sure; return the facts of it."""
    shape = task.shape
    if not shape.wants_odds:
        return {}
    if task.verb != "classify":
        return _of_keys(outcomes, task, odds_source)
    odds = _odds(outcomes)
    sources = Counter(one.source for one in odds if one is not None)
    if odds and not sources:
        warn(_NONE.format(model=task.settings.model), LLMWarning)
    table = _table(outcomes, len(task.labels))
    most = sources.most_common(1)
    facts: dict[str, Any] = {"probabilities": most[0][0] if most else None}
    if most and (shape.calibrate is not None or shape.gold is not None):
        _, record = explode(outcomes, keep_empty=True)
        offsets = _offsets(_at(record, table), task, source, facts)
        written = orjson.dumps(offsets.to_json(), option=orjson.OPT_SERIALIZE_NUMPY)
        facts["calibration"] = written.decode()
        table = offsets.apply(table)
        _rewrite(outcomes, task, table)
    if shape.abstain_below is not None:
        _abstain(outcomes, table, shape.abstain_below)
    return facts


def _odds(outcomes: Outcomes) -> list[LabelOdds | None]:
    """Return the odds of each record, which stand behind its label."""
    return outcomes.columns[1]


def _at(record: NDArray[np.intp], table: Floats) -> Floats:
    """Return the rows of some records; NaN for -1, which is none."""
    return np.vstack([table, np.full(table.shape[1], np.nan)])[record]


def _rewrite(outcomes: Outcomes, task: Task, table: Floats) -> None:
    """Choose the labels that are likeliest now; what was told if none is more so."""
    values, odds = task.output.columns[0].labels, _odds(outcomes)
    for at, row in enumerate(table):
        if (told := odds[at]) is None:
            continue
        best = likeliest(told.weights)
        if row[best] < row.max() - _ALIKE:
            best = int(row.argmax())
        outcomes.columns[0][at] = values[best]
        odds[at] = LabelOdds("", tuple(row.tolist()))


def _of_keys(outcomes: Outcomes, task: Task, odds_source: str) -> dict[str, Any]:
    """Return where the probabilities of an extract's keys come from."""
    sure = outcomes.columns[len(task.output.columns) - len(task.output.questions) :]
    there = any(value is not None for column in sure for value in column)
    if not there and outcomes.positions:
        msg = _NONE.format(model=task.settings.model)
        warn(msg.replace(", votes (n=5)", ""), LLMWarning)
    return {"probabilities": odds_source if there else None}


def _offsets(
    table: Floats, task: Task, source: Source, facts: dict[str, Any]
) -> Offsets:
    """Return what calibrates a column, and say in `facts` how good it is."""
    labels, shape = task.labels, task.shape
    if isinstance(shape.calibrate, Offsets):
        return shape.calibrate
    if shape.gold is None:
        facts["calibration_note"] = _PRIOR
        warn(f"calibrate='prior': {_PRIOR}", LLMWarning)
        return prior(table, labels)
    fitted = fit(table, gold_codes(shape.gold, source, labels), labels)
    if fitted.rows < _FEW:
        warn(
            f"gold: only {fitted.rows} labelled rows have probabilities; below {_FEW} "
            "the fit, and the errors told of it, are mostly chance",
            LLMWarning,
        )
    facts |= {
        "labelled": fitted.rows,
        "calibration_error_before": fitted.before,
        "calibration_error": fitted.after,
        "calibration_error_floor": fitted.floor,
    }
    return fitted.offsets


def _abstain(outcomes: Outcomes, table: Floats, least: float) -> None:
    """Leave out the labels that are less sure than a bound, or nobody knows how."""
    for at, position in enumerate(outcomes.positions):
        sure = table[at].max()
        if not sure >= least:
            outcomes.columns[0][at] = None
            why = "no probability" if np.isnan(sure) else f"{sure:.2f}"
            outcomes.note(position, Remark(UnsureError.kind, why))


def extra_values(
    outcomes: Outcomes, task: Task, record: NDArray[np.intp]
) -> list[Floats]:
    """Return the values of `Task.odds_columns`, for records of the result."""
    if not task.odds_columns:
        return []
    shape, count = task.shape, len(task.labels)
    table = _at(record, _table(outcomes, count))
    columns: list[Floats] = []
    if shape.confidence:
        columns.append(table.max(axis=1))
    if shape.probabilities:
        columns += list(table.T)
    if shape.ordered:  # the expected level, the first being 0
        columns.append(table @ np.arange(count))
    return columns


def _table(outcomes: Outcomes, labels: int) -> Floats:
    """Return the probabilities of each record; NaN where there are none."""
    unknown = (np.nan,) * labels
    rows = [unknown if one is None else one.weights for one in _odds(outcomes)]
    return np.array(rows, np.float64).reshape(-1, labels)

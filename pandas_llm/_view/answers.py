"""Which rows of a result are shown, and what is known of each."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pandas_llm._rows import is_na, name_of
from pandas_llm._run import ALONE, runs
from pandas_llm._view.asked import new_names
from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pandas_llm._view.asked import Asked, AskedRow

MOST = 100
"""Rows shown where the caller does not say how many."""
_UNSURE = 0.8
"""Below this probability an answer is unsure, unless `abstain_below` says another."""
_PLACES = ("_start", "_end", "_column")
_LONG = 8
"""Numbers of a vector that are shown."""


class Names(NamedTuple):
    """The columns of a result, by what they hold."""

    answers: list[Any]
    measures: list[Any]
    """Probabilities and shares of agreement."""
    error: Any
    """The column of reasons; None without one."""


class Answered(NamedTuple):
    """One row, with what is known of it."""

    label: str
    known: AskedRow
    answers: list[tuple[str, str]]
    marks: list[tuple[int, int]]
    """Where the prompt has the words that are quoted."""
    facts: list[tuple[str, str]]
    error: str


def as_frame(result: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """Return a result as a frame with its attrs, new columns by their plain names."""
    frame = result.to_frame() if isinstance(result, pd.Series) else result
    if frame.columns.nlevels == 1:
        return frame
    return frame.set_axis([*map(name_of, frame.columns)], axis=1)


def columns_of(frame: pd.DataFrame, asked: Asked) -> Names:
    """Sort a result's columns, by the task or else by their names."""
    task, names = asked.task, list(frame.columns)
    error = task.shape.error_column if task else None
    if task is not None and task.verb not in ALONE:
        names = [name for name in names if name in new_names(task)]
    measures = [name for name in names if _is_measure(name, frame)]
    quotes = [str(name) for name in names if str(name).endswith("_quote")]
    places = {f"{q.removesuffix('_quote')}{end}" for q in quotes for end in _PLACES}
    hidden = {*measures, *places, error}
    answers = [
        name
        for name in names
        if name not in hidden and not str(name).startswith("llm_")
    ]
    return Names(answers, measures, error if error in frame.columns else None)


def _is_measure(name: Any, frame: pd.DataFrame) -> bool:
    word = str(name)
    named = word.startswith("p_") or word.endswith(("confidence", "agreement"))
    return named and frame[name].dtype.kind == "f"


def chosen(
    frame: pd.DataFrame, names: Names, asked: Asked, only: str | None
) -> list[int]:
    """Return the positions of all rows, of the failed, or of the least sure first."""
    if only is None:
        return list(range(len(frame)))
    if only == "failed":
        return _failed(frame, names, asked)
    if only != "unsure":
        msg = f"only must be 'failed', 'unsure' or None, not {only!r}"
        raise InvalidValueError(msg)
    chosen = [name for name in names.measures if not str(name).startswith("p_")]
    bound = asked.task.shape.abstain_below if asked.task else None
    if chosen:
        sure = frame[chosen].min(axis=1)
    elif names.measures:
        sure = frame[names.measures].max(axis=1)
    else:
        msg = "nothing says how sure the answers are: run with confidence=True"
        raise InvalidValueError(msg)
    numbers: NDArray[np.float64] = sure.to_numpy(float, na_value=np.nan)
    order = np.argsort(numbers, kind="stable").tolist()
    return [at for at in order if numbers[at] < (bound or _UNSURE)]


def _failed(frame: pd.DataFrame, names: Names, asked: Asked) -> list[int]:
    """Return the rows with a reason; else those without an answer that were sent."""
    if names.error is not None:
        return np.flatnonzero(frame[names.error].notna()).tolist()
    empty = frame[names.answers].isna().all(axis=1).to_numpy(bool)
    rows = np.flatnonzero(empty & asked.sent()).tolist()
    # a row may be answered without a record
    known = asked.look_up(rows) if asked.task and asked.task.verb == "generate" else ()
    answered = {at for at, one in zip(rows, known, strict=False) if one.reply}
    return [at for at in rows if at not in answered]


def describe(
    frame: pd.DataFrame, positions: Sequence[int], names: Names, asked: Asked
) -> list[Answered]:
    """Return what is known of some rows."""
    reasons = _reasons(frame)
    rows: list[Answered] = []
    for at, known in zip(positions, asked.look_up(positions), strict=True):
        row = frame.iloc[at]
        answers = [(str(name), text(row[name])) for name in names.answers]
        label = str(frame.index[at])
        reason, tries = reasons.get(label, ("", 0))
        missing = all(value == "NA" for _, value in answers)
        if names.error is not None and not is_na(row[names.error]):
            reason, missing = str(row[names.error]), True
        facts = [(str(name), text(row[name])) for name in names.measures]
        facts += _facts(row, known, tries if missing else 0)
        marks = _marks(row, names, known)
        error = reason if missing else ""
        new = Answered(label, known, answers, marks, facts, error)
        last = rows[-1] if rows else None
        parts = known.parts
        if last and parts and (last.label, last.known.parts) == (label, parts):
            last.answers.extend(answers)  # records of one reply
            last.marks.extend(marks)
        else:
            rows.append(new)
    return rows


def _reasons(frame: pd.DataFrame) -> dict[str, tuple[str, int]]:
    """Return the reasons and tries that the run's log has, by the rows' labels."""
    logs = runs(frame)
    reasons = {
        str(label): (f"{group['kind']}: {words}", tries)
        for group in (logs[-1].get("failures", ()) if logs else ())
        for _, label, tries, words in group["examples"]
    }
    repeated = frame.index[frame.index.duplicated()]  # which row of them is not known
    return {k: v for k, v in reasons.items() if k not in set(map(str, repeated))}


def _facts(row: pd.Series, known: AskedRow, tries: int) -> list[tuple[str, str]]:
    """Return cost, tokens and tries: from the row's details, else from the cache."""
    facts = []
    if known.cost is not None and not math.isnan(known.cost):
        facts.append(("cost", f"${known.cost:,.6f}".rstrip("0")))
    into, out = row.get("llm_input_tokens"), row.get("llm_output_tokens")
    if known.reply is not None and known.reply.tokens is not None:
        into, out = known.reply.tokens[:2]
    if not is_na(into):
        facts.append(("tokens", f"{into:,} in, {out:,} out"))
    tries = int(row["llm_attempts"]) if "llm_attempts" in row else tries
    if tries:
        facts.append(("tries", str(tries)))
    if "llm_seconds" in row:
        facts.append(("seconds", f"{row['llm_seconds']:.2f}"))
    if known.reply is not None and known.reply.model:
        facts.append(("model", known.reply.model))
    return facts


def _marks(row: pd.Series, names: Names, known: AskedRow) -> list[tuple[int, int]]:
    """Return where the prompt has the words of the ``…_quote`` columns."""
    marks: list[tuple[int, int]] = []
    prompt = known.parts.get("prompt") or ""
    for name in names.answers:
        stem, ending, rest = str(name).rpartition("_quote")
        if not ending or rest:
            continue
        starts = _listed(row.get(f"{stem}_start"))
        for quote, start in zip_longest(_listed(row[name]), starts):
            if isinstance(quote, str) and quote:
                at = _place(quote, start, known.cells, prompt)
                marks += [(at, at + len(quote))] if at >= 0 else []
    return sorted(marks)


def _listed(cell: Any) -> list[Any]:
    return pd.Series([cell]).explode().tolist()


def _place(quote: str, start: Any, cells: Sequence[str], prompt: str) -> int:
    """Return where a quote stands in a prompt: by its place in a cell, or the first."""
    if not is_na(start):
        for cell in cells:
            if cell.startswith(quote, int(start)) and (at := prompt.find(cell)) >= 0:
                return at + int(start)
    return prompt.find(quote)


def text(value: Any) -> str:
    """Return a cell as it is shown; vectors are cut."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 1:
        head = ", ".join(f"{number:.3g}" for number in value[:_LONG])
        return f"[{head}{', …' * (len(value) > _LONG)}] ({len(value):,} numbers)"
    if is_na(value):
        return "NA"
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)

"""From outcomes to the result: typed new columns joined to the rows, and attrs."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd

from pandas_llm._display import Usage
from pandas_llm._engine import Details, Outcomes
from pandas_llm._rows import new_label, put_columns
from pandas_llm._run.arrays import expanded, explode, typed
from pandas_llm._run.confidence import extra_values
from pandas_llm._run.filling import filled, filling_of, vector_columns
from pandas_llm._run.task import RAW
from pandas_llm.errors import InvalidValueError, LLMWarning, NoUsageError, warn
from pandas_llm.types import Choice, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pandas_llm._rows import Source
    from pandas_llm._run.task import Task

_RUNS = 5
"""Number of runs of a chain whose logs are kept; usage counts all."""
_REMEMBERED = 16
_recent: OrderedDict[str, tuple[Task, Any]] = OrderedDict()
"""By the log in a result's attrs, which no two runs share; several threads add some."""


def _values(
    outcomes: Outcomes, task: Task, row: np.ndarray, record: np.ndarray
) -> Iterator[Any]:
    """Yield the values of each of `Task.columns`."""
    places = record.tolist()
    for values in outcomes.columns[: len(task.output.columns)]:
        yield [values[at] if at >= 0 else None for at in places]
    yield from extra_values(outcomes, task, record)
    if task.shape.error_column is not None:
        remarks = (outcomes.remark(at) for at in row.tolist())
        yield [e and f"{e.kind}: {e.message}" for e in remarks]
    if task.settings.details:
        yield from _detail_values(outcomes, task, row)


def _detail_values(
    outcomes: Outcomes, task: Task, row: np.ndarray
) -> Iterator[list[Any]]:
    """Yield the values of the ``llm_*`` columns."""
    stored = outcomes.details or {}
    details = [stored.get(outcomes.leader(at), Details()) for at in row.tolist()]
    for name in Details._fields:
        if name != "raws":
            yield [getattr(one, name) for one in details]
    if task.settings.details == RAW:
        raws = (one.raws for one in details)
        yield [r[0] if task.settings.n == 1 else Choice.listed(r) for r in raws]
        bare = sum(one.cached and one.raws[0] is None for one in stored.values())
        if bare and task.verb != "embed":
            msg = f"llm_raw is NA where a reply was kept without it (kept so: {bare}); "
            warn(msg + "refresh=True asks for those again, and pays", LLMWarning)


def failure_table(outcomes: Outcomes) -> pd.DataFrame:
    """Return a table of the rows that have an error."""
    failed = outcomes.failed()
    remarks = [remark for at in failed if (remark := outcomes.error(at)) is not None]
    labels = [outcomes.labels[at] for at in failed]
    return pd.DataFrame(
        {
            "position": np.array(failed, dtype=np.int64),
            "label": pd.Series(labels, dtype=None if failed else object),
            "kind": typed([remark.kind for remark in remarks], "str"),
            "message": typed([remark.message for remark in remarks], "str"),
            "attempts": np.array([r.attempts for r in remarks], dtype=np.int64),
        }
    )


def build_result(
    source: Source, outcomes: Outcomes, task: Task, facts: Mapping[str, Any]
) -> Any:
    """Return the result as pandas has it; `facts` go to ``attrs["llm"]``."""
    row, new = all_columns(outcomes, task)
    if (filling := filling_of(source, task)) is not None:
        new = filled(new, filling)
    taken = _taken(source.frame, row, ignore_index=task.shape.ignore_index)
    out: Any
    if task.joins:
        if task.shape.expand:  # the last run's vectors may have been longer
            stale = set(vector_columns(source, task)) - new.keys()
            labels = [new_label(taken, name) for name in stale]
            taken = taken.drop(columns=labels) if labels else taken
        out = put_columns(taken, new)
    else:
        out = pd.DataFrame(new, index=taken.index)
        out.attrs.update(taken.attrs)
        out.flags.allows_duplicate_labels = taken.flags.allows_duplicate_labels
        if len(new) == 1 and not task.apart:
            (name,) = new
            out = out[name]
    annotate(out, facts)
    return out


def rehearse(source: Source, task: Task) -> None:
    """Build the result of two rows, so that an error of pandas costs nothing."""
    texts = task.verb == "complete" and task.settings.n > 1
    try:
        few = source._replace(frame=source.frame.iloc[:2])
        outcomes = Outcomes(few.frame.index, task.output.width, details=True)
        if few.rows and (texts or task.verb == "generate"):  # a row may become several
            blank = (None,) * len(task.output.columns)
            outcomes.add(0, Outcome([blank, blank]))
        out = build_result(few, outcomes, task, {"usage": Usage()})
        source.passed.restore(out, task.exact)
    except pd.errors.DuplicateLabelError as error:
        way = "" if texts else "pass ignore_index=True, or "
        raise InvalidValueError(
            "the frame does not allow duplicate labels, and a row may become several: "
            f"{way}set_flags(allows_duplicate_labels=True) first"
        ) from error
    except (TypeError, ValueError, LookupError, NotImplementedError) as error:
        # from the copy of attrs, or the kind of the columns' index
        msg = f"pandas cannot put new columns beside these rows: {error}"
        raise InvalidValueError(msg) from error


def _taken(frame: pd.DataFrame, row: np.ndarray, *, ignore_index: bool) -> pd.DataFrame:
    """Return rows, some of them repeated, with the frame's flags."""
    if not ignore_index:
        taken = frame.take(row)
        if np.array_equal(row, np.arange(len(frame))):
            taken.index = frame.index  # pandas 2 would make an Index of a RangeIndex
        return taken
    strict = not frame.flags.allows_duplicate_labels
    loose = frame.set_flags(allows_duplicate_labels=True) if strict else frame
    taken = loose.take(row)
    taken.index = pd.RangeIndex(len(taken))
    return taken.set_flags(allows_duplicate_labels=False) if strict else taken


def all_columns(outcomes: Outcomes, task: Task) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the input's row for each row of the result, and all new columns."""
    shape = task.shape
    row, record = explode(outcomes, keep_empty=shape.how == "left")
    each = _values(outcomes, task, row, record)
    new: dict[str, Any] = {}
    for column, values in zip(task.columns, each, strict=True):
        array = typed(values, column.kind, column.labels)
        if column.kind == "vector" and shape.expand:
            new |= expanded(column.name, array, shape.dimensions or 0)
        else:
            new[column.name] = array
    if shape.ordered:
        (name,) = task.names
        new[name] = new[name].as_ordered()
    return row, new


def text_table(
    source: Source, positions: Sequence[int], columns: Mapping[str, list[Any]]
) -> pd.DataFrame:
    """Build a table of text under the labels of some rows."""
    index = source.frame.index.take(list(positions))
    typed_columns = {name: typed(values, "str") for name, values in columns.items()}
    return pd.DataFrame(typed_columns, index=index)


# -- what was asked, which attrs need not hold ------------------------------------


def note(result: Any, task: Task, data: Any) -> None:
    """Remember what was asked of which rows, by a weak reference to them."""
    log = getattr(result, "attrs", {}).get("llm", {}).get("log")
    if log is None:
        return
    task = replace(task, settings=replace(task.settings, session=None, progress=None))
    rows = weakref.ref(data) if hasattr(data, "attrs") else lambda: None
    _recent[log] = task, rows
    while len(_recent) > _REMEMBERED:
        _recent.popitem(last=False)


def recall(result: pd.DataFrame | pd.Series) -> tuple[Task, Any] | None:
    """Return what was asked, and the rows if they are still there; None if unknown."""
    known = result.attrs.get("llm")
    recent = _recent.get(known.get("log", "")) if isinstance(known, dict) else None
    return None if recent is None else (recent[0], recent[1]())


# -- attrs ----------------------------------------------------------------------


def annotate(target: pd.DataFrame | pd.Series, facts: Mapping[str, Any]) -> None:
    """Put the run's facts into ``attrs["llm"]``, as scalars, which copy fast."""
    # what others have put there is replaced, not added to
    chained, logs = read_attrs(target) or (Usage(), [])
    logs = logs[1 - _RUNS :]
    target.attrs["llm"] = {
        **facts,
        "usage": orjson.dumps(chained + facts["usage"]).decode(),
        "log": orjson.dumps([*logs, log_of(facts)]).decode(),
    }


def log_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the report needs to know of a run."""
    rest = {name: value for name, value in facts.items() if name != "log"}
    return {**rest, **facts.get("log", {})}


def read_attrs(
    target: pd.DataFrame | pd.Series,
) -> tuple[Usage, list[dict[str, Any]]] | None:
    """Return the usage and the logs in attrs; None if they are missing or not ours."""
    known: Any = target.attrs.get("llm")
    if not isinstance(known, dict) or "usage" not in known:
        return None
    try:
        used, logs = orjson.loads(known["usage"]), orjson.loads(known.get("log", "[]"))
        # another version may count more or fewer things
        counts = {f.name: used[f.name] for f in fields(Usage) if f.name in used}
    except (TypeError, ValueError, LookupError):
        return None
    if not counts or not all(type(n) in (int, float) for n in counts.values()):
        return None
    logs = logs if isinstance(logs, list) else []
    return Usage(**counts), [log for log in logs if isinstance(log, dict)]


def runs(target: pd.DataFrame | pd.Series) -> list[dict[str, Any]]:
    """Return the logs of the last runs that made a frame."""
    usage(target)  # raises if there is none
    return (read_attrs(target) or (None, []))[1]


def usage(target: pd.DataFrame | pd.Series) -> Usage:
    """Read what the run, or the chain of runs, that made a frame has used."""
    attrs = read_attrs(target)
    if attrs is None:
        raise NoUsageError(
            "this frame does not come from a run, or an operation on it has dropped "
            "its attrs (merge and concat do): call this on a verb's own result, or "
            "pandas_llm.last_usage()"
        )
    return attrs[0]

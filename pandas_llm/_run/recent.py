"""The tasks of this process's last runs, so that attrs need not hold them."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from pandas_llm._run.task import Task

_KEPT = 16
_recent: OrderedDict[str, tuple[Task, Any]] = OrderedDict()
"""By the log in a result's attrs, which no two runs share."""


def note(result: Any, task: Task, data: Any) -> None:
    """Keep what was asked of which rows; the rows live no longer for it."""
    log = getattr(result, "attrs", {}).get("llm", {}).get("log")
    if log is None:
        return
    task = replace(task, settings=replace(task.settings, session=None, progress=None))
    rows = weakref.ref(data) if hasattr(data, "attrs") else lambda: None
    _recent[log] = task, rows
    while len(_recent) > _KEPT:
        _recent.popitem(last=False)


def recall(result: pd.DataFrame | pd.Series) -> tuple[Task, Any] | None:
    """Return what was asked, and the rows if they are still there; None if unknown."""
    known = result.attrs.get("llm")
    found = _recent.get(known.get("log", "")) if isinstance(known, dict) else None
    return None if found is None else (found[0], found[1]())

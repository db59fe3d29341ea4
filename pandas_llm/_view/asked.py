"""What was asked of the rows of a result: prompts built again, replies of the cache."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_llm._client import offline_client, resolve_endpoints
from pandas_llm._inputs import attachments, turns_as_text
from pandas_llm._rows import missing_rows, new_label, with_integers
from pandas_llm._run import ALONE, TaskRun, blocking, recall, runs, shared_spec
from pandas_llm.errors import InvalidValueError, LLMError, RowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pandas_llm._client import Client
    from pandas_llm._run import Task
    from pandas_llm.types import Reply, Request

    Table = pd.DataFrame | pd.Series


@dataclass(slots=True)
class AskedRow:
    """One row's request, as far as it is known."""

    parts: dict[str, str | None] = field(default_factory=dict)
    """Empty where they cannot be known."""
    unsent: str = ""
    """Why the row was not sent."""
    pictures: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    """The row's texts, in one of which a quote has its place."""
    reply: Reply | None = None
    cost: float | None = None


@dataclass(slots=True)
class Asked:
    """A run's task and rows, where they can be known, and in words what cannot."""

    task: Task | None
    rows: Table | None = None
    notes: list[str] = field(default_factory=list)
    model: str = ""
    """The one that answered, where the call left it to the server."""

    def sent(self) -> NDArray[np.bool_] | bool:
        """Return which rows had a prompt; True for all, or where it is not known."""
        run = self._run(slice(None))
        if run is None or run.settings.na_action != "ignore":
            return True
        absent = missing_rows(run.source, run.prompts.needed)
        return True if absent is None else ~absent

    def look_up(self, positions: Sequence[int]) -> list[AskedRow]:
        """Return what is known of some rows."""
        rows = [AskedRow() for _ in positions]
        run = self._run(list(positions))
        if run is None or not positions:
            return rows
        for at, request in run.prompts.requests(shared_spec(run.task)):
            if isinstance(request, RowError):
                rows[at].unsent = f"not sent: {request}"
            elif request is None:
                rows[at].unsent = "not sent: a cell that the template names is NA"
            else:
                cells = run.source.frame.iloc[at].tolist()
                texts = tuple(cell for cell in cells if isinstance(cell, str))
                pictures = attachments.small(request.images)
                rows[at] = AskedRow(parts_of(request), pictures=pictures, cells=texts)
        try:
            self._recall(run, rows)
        except LLMError as error:
            self.notes.append(f"The cache could not be read: {error}")
        return rows

    def _run(self, part: slice | list[int]) -> TaskRun | None:
        """Bind the task to some of its rows; None where that cannot be."""
        if self.task is None or self.rows is None:
            return None
        try:
            return TaskRun(self.task, with_integers(self.rows).iloc[part], dry=True)
        except LLMError as error:  # a column is gone
            self.notes.append(f"The prompts are not known: {error}")
            return None

    def _recall(self, run: TaskRun, rows: list[AskedRow]) -> None:
        """Add the replies that the cache has, from the first model that answered."""
        endpoints = resolve_endpoints(run.settings)

        async def look() -> None:
            async with AsyncExitStack() as stack:
                setup = run.setup(stack)
                if setup.cache is None:
                    note = "What a row cost is not known: cache=False keeps nothing."
                    self.notes.append(note)
                    return
                for endpoint in reversed(endpoints):
                    model = endpoint.model or self.model
                    place = endpoint._replace(embeds=run.task.embeds, model=model)
                    client = offline_client(place, setup)
                    keys = _keys(client, run)
                    replies = setup.cache.get_many(list({*chain(*keys.values())}))
                    for at, both in keys.items():
                        if reply := next(filter(None, map(replies.get, both)), None):
                            rows[at].reply = reply
                            rows[at].cost = client.prices.billed(
                                reply, batch=run.settings.batch
                            )

        blocking.run(look)  # nothing is sent, so any loop will do


def parts_of(request: Request) -> dict[str, str | None]:
    """Return what a request is made of, in the order shown; turns are its row's own."""
    return {
        "system": request.system and _writable(request.system),
        "images": attachments.described(request.images) or None,
        "files": attachments.described(request.files) or None,
        "turns": _writable(turns_as_text(request.before)) or None,
        "prompt": _writable(request.prompt),
    }


def _writable(text: str) -> str:
    """Return a text with half a character, which no row is sent with, as an escape."""
    return text.encode(errors="backslashreplace").decode()


def _keys(client: Client, run: TaskRun) -> dict[int, tuple[bytes, bytes]]:
    """Return under which keys each row's reply may be kept."""
    return {
        at: (client.fingerprint.of(request), client.fingerprint.plain(request))
        for at, request in run.prompts.requests(client.spec)
        if request is not None and not isinstance(request, RowError)
    }


def asked_of(
    result: pd.DataFrame | pd.Series, data: Any = None, task: Task | None = None
) -> Asked:
    """Find what was asked: by the caller's word, or as this process remembers it.

    Raises
    ------
    InvalidValueError
        For `data` that are not the rows of the result.
    """
    remembered = recall(result)
    if task is None and remembered:
        task = remembered[0]
    if task is None:
        note = (
            "The prompts are not known: a verb over the table asks about pairs or "
            "groups of rows, not about each of these; where another process ran this, "
            "plan=, the Plan of the run, builds them again."
        )
        return Asked(None, None, [note])
    settings = replace(task.settings, max_cost=None)  # a run's, which this is not
    task = replace(task, settings=settings)
    model = (runs(result) or [{}])[-1].get("model") or ""
    if data is None and isinstance(result, pd.DataFrame) and task.verb not in ALONE:
        new = {new_label(result, name) for name in new_names(task)}
        rows = result.loc[:, [name not in new for name in result.columns]]
        # one column may have been a Series
        table = rows.iloc[:, 0] if rows.shape[1] == 1 else rows
        return Asked(task, table, model=model)
    if data is None:
        data = remembered[1] if remembered else None
    if data is None:
        note = "The prompts are not known: data=, the frame that was asked, has them."
        return Asked(task, None, [note])
    return Asked(task, _aligned(data, result), model=model)


def new_names(task: Task) -> set[str]:
    """Return the columns that a task adds, with those of quotes."""
    new = {*task.kinds}
    ends = ("quote", "start", "end", "column")
    return new | {f"{name}_{end}" for name in new for end in ends}


def _aligned(data: Table, result: Table) -> Table:
    """Return the rows that were asked in the order of the result."""
    if data.index.equals(result.index):
        return data
    if data.index.is_unique and result.index.isin(data.index).all():
        return data.loc[result.index]
    msg = "data= must be the rows that were asked: it lacks labels of the result"
    raise InvalidValueError(msg)

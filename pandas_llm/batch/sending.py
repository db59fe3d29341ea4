"""Rows on their way into a batch job: what is neither kept nor under way is sent."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm._client import SIMULATED, resolve_endpoint
from pandas_llm._pacing import CostBudget
from pandas_llm._run import TaskRun
from pandas_llm.batch import saved
from pandas_llm.batch.parts import affords, send_all, send_waiting
from pandas_llm.batch.recovery import settle_all
from pandas_llm.batch.state import Book, State, find
from pandas_llm.batch.upload import Upload, all_items
from pandas_llm.cache import location
from pandas_llm.errors import ConfigurationError
from pandas_llm.providers import connect, no_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pandas_llm._display import Totals
    from pandas_llm._engine import Item
    from pandas_llm._run import Task
    from pandas_llm.options import Settings


def begun(task: Task, data: Any) -> tuple[Book, TaskRun]:
    """Return the record of a new job and the run that sends its rows, both checked."""
    _check_carried(task)
    book = Book(_path(task.settings), State(_name([])), saved.write(task))
    return book, sending_run(task, data)


def sending_run(task: Task, data: Any) -> TaskRun:
    """Return the run whose rows are sent; what it may cost is checked before."""
    unbound = replace(task.settings, max_cost=None)
    return TaskRun(replace(task, settings=unbound), data, step=" submit")


async def send(task: Task, run: TaskRun, book: Book, *, rest: bool = False) -> None:
    """Send what is neither kept nor under way; as the `rest`, the job's own alone."""
    if not run.outcomes.rows:
        return
    async with Upload.opened(task, book) as upload:
        items = await all_items(run, upload.client)
        name = _name(items)
        if rest and name != book.state.id:
            return
        async with book.sole_sender():
            known = find(book.path, name)
            book.state = known[0] if known else State(name)
            await _send(upload, items, run.events.totals, again=not rest)


async def _send(
    upload: Upload, items: list[Item], totals: Totals, *, again: bool
) -> None:
    """Send some of the requests; count in `totals` what was tried the ordinary way."""
    book, state = upload.book, upload.book.state
    await settle_all(upload)
    await send_waiting(upload)
    before = replace(state.counters)
    busy = [book.rows(part) for part in (*state.live, *state.waiting)]
    if not all(busy):
        return  # another process has just heard that one has ended
    done = upload.kept(items).union(*busy)
    elsewhere = book.elsewhere({item.key for item in items} - done)
    state.beside, done = [*elsewhere], done.union(*elsewhere.values())
    if again and not state.pending:
        state.reasons.clear()
    left = [i for i in items if i.key not in done and i.key.hex() not in state.reasons]
    # equal prompts of cells that end elsewhere are one request
    todo = [*{item.key: item for item in left}.values()]
    if not todo and state.pending:
        book.save()
        return
    budget = CostBudget(upload.task.settings.max_cost)
    await affords(upload, todo, budget)
    try:
        if todo:
            await upload.check()
        todo = upload.without_odds(await upload.probe(todo, budget))
        upload.cache.flush()  # paid for, whatever comes now
        if todo and budget.spent:
            await affords(upload, todo, budget)
        await send_all(upload, todo)
    finally:
        state.used(totals, before)


def _check_carried(task: Task) -> None:
    """Refuse what a batch cannot carry."""
    if task.settings.on_row is not None:
        msg = "a batch's rows come all at its end: leave on_row= or batch=True out"
        raise ConfigurationError(msg)
    each = len(task.output.questions) + bool(task.output.open)
    if task.odds and each > 1:
        raise ConfigurationError(
            f"the probabilities of these keys are {each} requests a row, and a batch "
            "has one: leave confidence= or batch=True out, or use classify"
        )
    if not isinstance(task.shape.gold, str | None):
        raise ConfigurationError(
            "gold= as a Series cannot be kept with a batch job: put it into the frame "
            "and pass the column's name"
        )


def _name(items: Sequence[Item]) -> str:
    """Name a job by its requests: the same call finds it again."""
    digest = hashlib.blake2b(digest_size=8)
    for key in sorted(item.key for item in items):
        digest.update(key)
    return f"batch-{digest.hexdigest()}"


def _path(settings: Settings) -> Path:
    """Return where the job and its replies will be; refuse what a batch cannot do."""
    path = location(settings.cache)
    if path is None:
        msg = "batch=True fills the cache of replies: it does not go with cache=False"
        raise ConfigurationError(msg)
    for name in ("refresh", "replay", "fallback", "truncate", "service_tier"):
        if getattr(settings, name):
            raise ConfigurationError(f"{name} does not go with batch=True")
    endpoint = resolve_endpoint(settings)
    if endpoint.base_url == SIMULATED:
        raise ConfigurationError(
            "the simulator of model='sim' lives for one run, a batch for longer: start "
            "a pandas_llm.simulator.Simulator and pass its base_url"
        )
    if getattr(connect(endpoint), "batches", None) is None:  # no model is started
        raise no_batches(endpoint.base_url)
    return path

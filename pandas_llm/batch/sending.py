"""Rows on their way into batches: what is neither kept nor under way is sent.

Each batch is noted before it is asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from pandas_llm._client import SIMULATED, resolve_endpoint
from pandas_llm._inputs import attachments
from pandas_llm._pacing import CostBudget, estimate_tokens
from pandas_llm._run import TaskRun
from pandas_llm.batch import saved
from pandas_llm.batch.recovery import settle, settle_all
from pandas_llm.batch.state import Journal, Part, State, find
from pandas_llm.batch.upload import QueueFullError, Upload, all_items
from pandas_llm.cache import location
from pandas_llm.errors import (
    AttachmentError,
    BadRequestError,
    ConfigurationError,
    CostLimitError,
    LLMError,
    MaybeCreatedError,
    ModelNotFoundError,
    ProviderError,
)
from pandas_llm.providers import allowance, connect, no_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pandas_llm._display import Totals
    from pandas_llm._engine import Item
    from pandas_llm._run import Task

_ROOM = 0.8
"""The share of the account's queue for one batch: its tokens are estimated."""


def begun(task: Task, data: Any) -> tuple[Journal, TaskRun]:
    """Return the record of a new job and the run that sends its rows, both checked."""
    journal = Journal(_path(task), State(_name([])), saved.write(task))
    return journal, sending_run(task, data)


def sending_run(task: Task, data: Any) -> TaskRun:
    """Return the run whose rows are sent; what it may cost is checked before."""
    unbound = replace(task.settings, max_cost=None)
    return TaskRun(replace(task, settings=unbound), data, step=" submit")


async def send(
    task: Task, run: TaskRun, journal: Journal, *, rest: bool = False
) -> bool:
    """Send what is neither kept nor under way; as the `rest`, the job's own alone.

    Return whether the rows are the job's.
    """
    if not run.outcomes.rows:
        return not rest
    async with Upload.opened(task, journal) as upload:
        items = await all_items(run, upload.client)
        name = _name(items)
        if rest and name != journal.state.id:
            return False
        async with journal.sole_sender():
            known = find(journal.path, name)
            journal.state = known[0] if known else State(name)
            await _send(upload, items, run.events.totals, again=not rest)
    return True


async def _send(
    upload: Upload, items: list[Item], totals: Totals, *, again: bool
) -> None:
    """Send some of the requests; count in `totals` what was tried the ordinary way."""
    journal, state = upload.journal, upload.journal.state
    await settle_all(upload)
    await send_waiting(upload)
    before = replace(state.counters)
    busy = [journal.rows(part) for part in (*state.live, *state.waiting)]
    if not all(busy):
        return  # another process has just heard that one has ended
    done = upload.kept(items).union(*busy)
    elsewhere = journal.elsewhere({item.key for item in items} - done)
    state.beside, done = [*elsewhere], done.union(*elsewhere.values())
    if again and not state.pending:
        state.reasons.clear()
    left = [i for i in items if i.key not in done and i.key.hex() not in state.reasons]
    # equal prompts of cells that end elsewhere are one request
    todo = [*{item.key: item for item in left}.values()]
    if not todo and state.pending:
        journal.save()
        return
    budget = CostBudget(upload.task.settings.max_cost)
    await _affords(upload, todo, budget)
    try:
        if todo:
            await upload.check()
        todo = upload.without_odds(await upload.probe(todo, budget))
        upload.cache.flush()  # paid for, whatever comes now
        if todo and budget.spent:
            await _affords(upload, todo, budget)
        await _send_all(upload, todo)
    finally:
        state.used(totals, before)


def _path(task: Task) -> Path:
    """Return where the job and its replies will be; refuse what a batch cannot do."""
    settings = task.settings
    if (path := location(settings.cache)) is None:
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
    if settings.on_row is not None:
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
    return path


def _name(items: Sequence[Item]) -> str:
    """Name a job by its requests: the same call finds it again."""
    keys = b"".join(sorted(item.key for item in items))
    return f"batch-{hashlib.blake2b(keys, digest_size=8).hexdigest()}"


async def _send_all(upload: Upload, todo: Sequence[Item]) -> None:
    """Send the requests, in as many batches as the provider's limits make of them."""
    journal, n = upload.journal, upload.client.spec.n
    if n > 1 and not upload.client.negotiation.capabilities.n:
        raise ConfigurationError(
            "this model gives one choice a request: n must be 1 with batch=True"
        )
    journal.state.unsent = len(todo)
    lines: list[bytes] = []
    keys: list[bytes] = []
    size, tokens, room = 0, 0.0, journal.state.queue * _ROOM or math.inf
    for item in todo:
        name = item.key.hex()
        try:
            body = (await upload.built(item.request, n))[0]
        except AttachmentError as error:
            journal.state.reasons[name] = f"{error.kind}: {error}"
            journal.state.unsent -= 1
            continue
        line = upload.batches.line(name, body)
        weight = estimate_tokens(f"{item.request.system or ''}{item.request.text}")
        weight += attachments.weight(item.request, upload.client.provider)
        full = len(lines) == upload.most_requests or tokens + weight > room
        if lines and (full or size + len(line) > upload.batches.most_bytes):
            await _begin(upload, lines, keys, tokens)
            lines, keys, size, tokens = [], [], 0, 0.0
        lines.append(line)
        keys.append(item.key)
        size, tokens = size + len(line), tokens + weight
    if lines:
        await _begin(upload, lines, keys, tokens)
    journal.save()


async def _begin(
    upload: Upload, lines: Sequence[bytes], keys: Sequence[bytes], tokens: float
) -> None:
    """Create one batch, noted first; an unclear answer is cleared up by the list."""
    journal = upload.journal
    name = f"{journal.state.id}-{token_hex(8)}"
    ahead = sum(map(len, lines)) > upload.batches.inline or journal.state.waiting
    file = await upload.uploaded(lines) if ahead else ""
    part = Part("", len(lines), name=name, file=file, noted=time.time())
    part.tokens = round(tokens)
    part.waiting = bool(file and journal.state.waiting)  # behind those that wait
    journal.note(part, keys)
    if not part.waiting:
        await _launch(upload, part, lines)


async def send_waiting(upload: Upload) -> None:
    """Ask for the batches that wait, while the account's queue has room."""
    for part in upload.journal.state.waiting:
        if not upload.journal.claim(part):
            continue
        # where its file is gone, its rows are sent by a call that has them
        with suppress(BadRequestError, ModelNotFoundError):
            await _launch(upload, part, [])
        if part.waiting:
            break


async def _launch(upload: Upload, part: Part, lines: Sequence[bytes]) -> None:
    """Ask for a batch that is noted."""
    journal = upload.journal
    request = upload.batches.create(lines, part.file, part.name)
    try:
        made = await upload.create(request, part.requests)
    except MaybeCreatedError as error:
        if not await settle(upload, part, error):
            raise
    except asyncio.CancelledError:  # whoever pressed Ctrl-C must hear of it
        why = ProviderError("it was interrupted")
        journal.notes.append(str(upload.unclear(part.requests, why)))
        raise
    except QueueFullError as error:
        part.file = part.file or await upload.uploaded(lines)  # it has to wait there
        if not part.file:
            journal.drop(part)
            raise
        journal.full(part, str(error))
        journal.save()
    except LLMError:  # refused, or never sent
        journal.drop(part)
        raise
    else:
        journal.confirm(part, made)


async def _affords(upload: Upload, todo: Sequence[Item], budget: CostBudget) -> None:
    """Check `max_cost` before a batch is sent: it cannot be stopped in time."""
    if budget.limit is None:
        return
    spec, prices = upload.client.spec, upload.client.prices
    allowed, n = allowance(spec)
    if spec.max_tokens is None or allowed is None or not prices.known:
        msg = "max_cost with batch=True needs max_tokens, and a price (see prices=)"
        raise ConfigurationError(msg)
    most = budget.spent
    for item in todo:
        with suppress(AttachmentError):  # it is not sent, and told of when it would be
            body, surplus = await upload.built(item.request, spec.n)
            size, sound = len(body) - surplus, attachments.has_sound(item.request)
            most += prices.most(size, allowed * n, batch=True, sound=sound)
    if most > budget.limit:
        msg = f"the batch may cost ${most:.4g}, over max_cost={budget.limit:g}"
        raise CostLimitError(msg)

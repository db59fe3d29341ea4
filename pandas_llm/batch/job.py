"""The providers' batch endpoints: half the price, an answer within a day.

A batch fills the cache of replies; its result is the ordinary run over what is kept.
The job is kept in the cache file too, so that it outlives the process: the same call,
or `load`, goes on with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm._display import Bar, Status, Totals, ends_here
from pandas_llm._engine import SIMULATED, resolve_endpoint
from pandas_llm._run import TaskRun, run_for
from pandas_llm.batch import saved
from pandas_llm.batch.state import State, find, save
from pandas_llm.batch.upload import Upload, all_items, send_all
from pandas_llm.cache import location
from pandas_llm.errors import (
    BatchError,
    ConfigurationError,
    LLMError,
    ModelNotFoundError,
    NotCachedError,
    ProviderError,
)
from pandas_llm.redaction import visible
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from pandas_llm._engine import Item
    from pandas_llm._run import Task
    from pandas_llm.batch.state import Part
    from pandas_llm.options import Settings

__all__ = ["BatchJob", "BatchStatus", "load"]

_SOON, _LATE = 0.2, 30.0
"""Seconds between looks, at first and at last."""
_LONGEST_SILENCE = 900.0
"""Seconds without an answer to a look, while waiting: a batch takes hours anyway."""
_LARGEST = 1 << 30
"""Bytes of a file of results."""


class BatchStatus(NamedTuple):
    """How a job is, by the provider's own counts."""

    total: int
    done: int
    failed: int
    ended: bool


class BatchJob:
    """Rows that were sent to a batch endpoint.

    Attributes
    ----------
    id : str
        For `pandas_llm.batch.load`.
    """

    def __init__(self, task: Task, path: Path, state: State, written: bytes) -> None:
        self._task = task
        self._written = written
        self._path = path
        self._state = state
        self._totals = Totals(rows=state.requests)
        self._word = ""

    @property
    def id(self) -> str:
        """The job's name; equal requests have an equal one."""
        return self._state.id

    def __repr__(self) -> str:
        now = self._now()
        how = "ended" if now.ended else "running"
        return f"BatchJob({self.id!r}, {now.done + now.failed} of {now.total}, {how})"

    def status(self) -> BatchStatus:
        """Ask the provider how the job is."""
        run_for(self._task.settings, self._look)
        return self._now()

    def cancel(self) -> BatchStatus:
        """End the job early; what it has done is kept and paid for."""
        run_for(self._task.settings, self._cancel)
        return self._now()

    def result(self, data: Any, *, wait: bool = True) -> Any:
        """Return the result for the rows it was made of, or for others like them.

        Parameters
        ----------
        data : DataFrame, Series or list of dicts
            As for the verb.
        wait : bool
            Wait until the batch has ended; else return what there is.

        Returns
        -------
        DataFrame or Series
            As the verb gives it. Rows without an answer are failures of kind
            ``"batch"``; the same call without ``batch=True`` finishes them at once.
        """
        run = self._run(data)
        return run.answer(lambda: self._finish(run, wait=wait))

    async def aresult(self, data: Any, *, wait: bool = True) -> Any:
        """Return the result as `result` does, in the running event loop."""
        run = self._run(data)
        return await run.aanswer(lambda: self._finish(run, wait=wait))

    # -- inside -----------------------------------------------------------------

    def _bar(self) -> Bar:
        shown = self._task.settings.progress
        return Bar(self._totals, shown=shown, status=lambda: Status(self._word))

    def _now(self) -> BatchStatus:
        parts = self._state.parts
        return BatchStatus(
            sum(part.requests for part in parts),
            sum(part.done for part in parts),
            sum(part.failed for part in parts),
            not self._state.live,
        )

    def _run(self, data: Any) -> TaskRun:
        """Build the ordinary run over what is kept."""
        settings = self._task.settings
        kept = replace(settings, replay=True, batch=False, max_cost=None, fallback=())
        return TaskRun(replace(self._task, settings=kept), data, bar=self._bar())

    async def _finish(self, run: TaskRun, *, wait: bool) -> None:
        pause = _SOON
        heard = time.monotonic()
        while self._state.live:
            try:
                await self._look()
                heard = time.monotonic()
            except ProviderError as error:
                away = time.monotonic() - heard
                if not (wait and error.retryable and away < _LONGEST_SILENCE):
                    raise
            if not wait or not self._state.live:
                break
            await asyncio.sleep(pause)
            pause = min(_LATE, pause * 1.2)
        await run.execute()
        await self._explain(run)
        self._state.used(run.events.totals)

    async def _explain(self, run: TaskRun) -> None:
        """Note of rows without an answer what the batch said of them."""
        store = run.store
        bare = [
            at
            for at in store.failed()
            if store.leader(at) == at
            and (why := store.error(at)) is not None
            and why.kind == NotCachedError.kind
        ]
        if not bare:
            return
        words = {part.reason or part.word for part in self._state.parts}
        last = ", ".join(sorted(filter(None, words))) or "nothing was sent"
        async with Upload.opened(self._task, self._path) as upload:
            items = await all_items(
                TaskRun(run.task, run.data, dry=True), upload.client
            )
        keys = {item.position: item.key.hex() for item in items}
        for at in bare:
            said = self._state.reasons.get(keys[at], f"no answer in the batch ({last})")
            error = BatchError(f"{said}; without batch=True it is asked at once")
            store.add(at, Outcome([], error, attempts=0))

    async def _look(self) -> None:
        """Ask how the batches are; take the results of those that have ended."""
        if not self._state.live:
            return
        async with Upload.opened(self._task, self._path) as upload:
            for part in self._state.live:
                try:
                    response = await upload.get(upload.batches.poll(part.id))
                except ModelNotFoundError:
                    part.ended, part.word = True, "not known to the provider any more"
                    continue
                await self._take(upload, part, response.body)
            self._save()

    async def _take(self, upload: Upload, part: Part, body: bytes) -> None:
        told = upload.batches.read(body)
        part.word = visible(told.word)
        part.reason = told.reason and visible(told.reason)
        part.done, part.failed = told.done, told.failed
        self._word = part.word
        if told.state == "ended":
            for url in told.files:
                answer = await upload.get(url, _LARGEST)
                for result in upload.batches.results(answer.body):
                    upload.keep(result, self._state)
            upload.cache.flush()
            if upload.cache.broken:
                raise LLMError(
                    f"the batch's answers cannot be kept: {upload.cache.broken}"
                )
            part.ended = True
        now = self._now()
        self._totals.done, self._totals.failed = now.done + now.failed, now.failed

    async def _cancel(self) -> None:
        async with Upload.opened(self._task, self._path) as upload:
            for part in self._state.live:
                response = await upload.send(upload.batches.cancel(part.id))
                part.word = visible(upload.batches.read(response.body).word)
            self._save()

    def _save(self) -> None:
        save(self._path, self._state, self._written)


def submit(task: Task, data: Any) -> BatchJob:
    """Send a run's rows as a batch; see `LLMAccessor.submit`."""
    sending = _Sending(task, data)
    return sending.run.finish(sending.send)


async def asubmit(task: Task, data: Any) -> BatchJob:
    """Send a run's rows as a batch, in the running event loop."""
    sending = _Sending(task, data)
    return await sending.run.afinish(sending.send)


class _Sending:
    """The rows of one call on their way into a batch.

    What cannot be is refused before anything is sent.
    """

    def __init__(self, task: Task, data: Any) -> None:
        self._task = task
        self._path = _path(task.settings)
        self._written = saved.write(task)
        unbound = replace(task.settings, max_cost=None)
        self.run = TaskRun(replace(task, settings=unbound), data)

    async def send(self) -> BatchJob:
        """Send what is neither kept nor under way; a job that is, is gone on with."""
        state = State(_name([]))
        if self.run.store.rows:
            async with Upload.opened(self._task, self._path) as upload:
                state = await self._send(upload)
        return BatchJob(self._task, self._path, state, self._written)

    async def _send(self, upload: Upload) -> State:
        items = await all_items(self.run, upload.client)
        known = find(self._path, _name(items))
        state = known[0] if known else State(_name(items))
        if not state.live:
            before = replace(state.counters)
            kept = upload.kept(items)
            todo = [item for item in items if item.key not in kept]
            state.reasons.clear()
            try:
                todo = await upload.probe(todo, state)
                keep = lambda: save(self._path, state, self._written)  # noqa: E731
                await send_all(upload, todo, state, keep)
            finally:
                state.used(self.run.events.totals, before)
        return state


@ends_here
def load(
    job_id: str, cache: str | os.PathLike[str] | None = None, *, keys: Any = None
) -> BatchJob:
    """Load a job that another process has submitted.

    The file holds the keys as a JSON schema. A pydantic model among them is taken
    again if its module is imported; else replies are checked by the schema alone,
    with a warning.

    Parameters
    ----------
    job_id : str
        Its `BatchJob.id`.
    cache : str or path, optional
        The cache file that was used; by default the usual one.
    keys : optional
        The keys, or labels, of the call: for checks that a schema does not hold.

    Raises
    ------
    LLMError
        When the file knows of no such job, or holds one that cannot be read.
    ValueError
        When `keys` ask for another schema than the one that was sent.

    Examples
    --------
    >>> import pandas_llm.batch
    >>> pandas_llm.batch.load("batch-0", cache="nothing.sqlite")
    Traceback (most recent call last):
        ...
    pandas_llm.errors.LLMError: no job 'batch-0' in nothing.sqlite
    """
    path = location(cache or True)
    if path is None:
        msg = f"no job {job_id!r}: PANDAS_LLM_CACHE says that there is no file; pass "
        raise LLMError(f"{msg}cache= with the one that was used")
    found = find(path, job_id)
    if found is None:
        raise LLMError(f"no job {job_id!r} in {path}")
    state, written = found
    if not written.startswith(b"{"):
        ids = ", ".join(part.id for part in state.parts) or "none"
        msg = (
            f"job {job_id!r} is not JSON: it was kept by an earlier version as a "
            "pickle, which could run any code and is not read. Submit again: the same "
            f"call goes on with its batches at the provider ({ids})"
        )
        raise LLMError(msg)
    return BatchJob(saved.read(written, path, keys), path, state, written)


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
    for name in ("refresh", "replay", "fallback", "truncate"):
        if getattr(settings, name):
            msg = f"{name} does not go with batch=True"
            raise ConfigurationError(msg)
    if resolve_endpoint(settings).base_url == SIMULATED:
        msg = (
            "the simulator of model='sim' lives for one run, a batch for longer: start "
            "a pandas_llm.simulator.Simulator and pass its base_url"
        )
        raise ConfigurationError(msg)
    return path

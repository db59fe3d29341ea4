"""The providers' batch endpoints: half the price, an answer within a day.

A batch fills the cache of replies; its result is the ordinary run over what is kept.
The job is kept in the cache file too, so that it outlives the process: the same call,
or `load`, goes on with it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm._display import Bar, Status, Totals, trims_traceback
from pandas_llm._run import TaskRun, run_for
from pandas_llm.batch import saved
from pandas_llm.batch.polling import cancel, poll
from pandas_llm.batch.sending import begun, send, sending_run
from pandas_llm.batch.state import Journal, find
from pandas_llm.batch.upload import QueueFullError, Upload, all_items
from pandas_llm.cache import location
from pandas_llm.errors import BatchError, LLMError, NotCachedError, ProviderError
from pandas_llm.types import Outcome

if TYPE_CHECKING:
    import os

    from pandas_llm._run import Task
    from pandas_llm.batch.state import State

_SOON, _LATE = 0.2, 30.0
"""Seconds between looks, at the beginning and at most."""
_LONGEST_SILENCE = 900.0
"""Seconds without an answer to a look, while waiting: a batch takes hours anyway."""
_LONGEST_QUEUE = 86_400.0
"""Seconds without room in the account's queue, with nothing of the job in it."""


class BatchStatus(NamedTuple):
    """The state of a job, by the provider's own counts."""

    total: int
    done: int
    failed: int
    ended: bool
    waiting: int = 0
    """Requests that are in no batch yet."""


class BatchJob:
    """Rows that were sent to a batch endpoint.

    Attributes
    ----------
    id : str
        For `pandas_llm.batch.load`.
    """

    def __init__(self, task: Task, journal: Journal) -> None:
        self._task = task
        self._journal = journal
        journal.tell = self._tell
        self._totals = Totals(rows=self._now().total)
        self._word = ""

    @property
    def _state(self) -> State:
        return self._journal.state

    @property
    def id(self) -> str:
        """The job's name; equal requests have an equal one."""
        return self._state.id

    def __repr__(self) -> str:
        now = self._now()
        state = "ended" if now.ended else "running"
        return f"BatchJob({self.id!r}, {now.done + now.failed} of {now.total}, {state})"

    @trims_traceback
    def status(self) -> BatchStatus:
        """Ask the provider for the state of the job."""
        with self._journal.noted():
            run_for(self._task.settings, self._look)
        return self._now()

    @trims_traceback
    def cancel(self) -> BatchStatus:
        """End the job early; what it has done is kept and paid for."""
        run_for(self._task.settings, lambda: cancel(self._task, self._journal))
        return self._now()

    @trims_traceback
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
            As the verb returns it. Rows without an answer are failures of kind
            ``"batch"``; the same call without ``batch=True`` finishes them at once.
        """
        run = self._run(data)
        with self._journal.noted():
            return run.answer(lambda: self._finish(run, wait=wait))

    @trims_traceback
    async def aresult(self, data: Any, *, wait: bool = True) -> Any:
        """Return the result as `result` does, in the running event loop."""
        run = self._run(data)
        with self._journal.noted():
            return await run.aanswer(lambda: self._finish(run, wait=wait))

    # -- inside -----------------------------------------------------------------

    def _tell(self, word: str) -> None:
        self._word = word

    def _now(self) -> BatchStatus:
        parts = self._state.parts
        return BatchStatus(
            sum(part.requests for part in parts),
            sum(part.done for part in parts),
            sum(part.failed for part in parts),
            not self._state.pending,
            self._state.unsent + sum(part.requests for part in self._state.waiting),
        )

    def _run(self, data: Any) -> TaskRun:
        """Build the ordinary run over the replies in the cache."""
        own = self._task.settings
        offline = replace(own, replay=True, batch=False, max_cost=None, fallback=())
        task = replace(self._task, settings=offline)
        bar = Bar(self._totals, shown=own.progress, status=lambda: Status(self._word))
        return TaskRun(task, data, bar=bar, step=" result")

    async def _finish(self, run: TaskRun, *, wait: bool) -> None:
        pause = _SOON
        queued = heard = time.monotonic()
        own = True  # until it turns out that other rows than the job's are asked for
        while self._state.pending or (own and self._state.unsent):
            try:
                if own and self._state.unsent:
                    rest = sending_run(self._task, run.data)
                    own = await send(self._task, rest, self._journal, rest=True)
                    if own:
                        self._state.unsent = 0  # what is left has a reason
                await self._look()
                heard = time.monotonic()
            except ProviderError as error:
                away = time.monotonic() - heard
                if not (wait and error.retryable and away < _LONGEST_SILENCE):
                    raise
            if not wait or not (self._state.pending or (own and self._state.unsent)):
                break
            if self._state.live:
                queued = time.monotonic()
            elif time.monotonic() - queued > _LONGEST_QUEUE:
                raise QueueFullError(
                    "the account's queue for batches has had no room for a day: look "
                    "into its limit of enqueued tokens; the same call goes on"
                )
            await asyncio.sleep(pause)
            pause = min(_LATE, pause * 1.2)
        await run.execute()
        await self._explain(run)
        self._state.used(run.events.totals)

    async def _explain(self, run: TaskRun) -> None:
        """Note why the batch has no answer for rows that lack one."""
        outcomes = run.outcomes
        bare = [
            at
            for at in outcomes.failed()
            if outcomes.leader(at) == at
            and (why := outcomes.error(at)) is not None
            and why.kind == NotCachedError.kind
        ]
        if not bare:
            return
        words = {part.reason or part.word for part in self._state.parts}
        last = ", ".join(sorted(filter(None, words))) or "nothing was sent"
        async with Upload.opened(self._task, self._journal) as upload:
            items = await all_items(
                TaskRun(run.task, run.data, dry=True), upload.client
            )
        keys = {item.position: item.key.hex() for item in items}
        for at in bare:
            reason = self._state.reasons.get(
                keys[at], f"no answer in the batch ({last})"
            )
            error = BatchError(f"{reason}; without batch=True it is asked at once")
            outcomes.add(at, Outcome([], error, attempts=0))

    async def _look(self) -> None:
        pending = []
        for other in self._journal.others():
            await poll(self._task, other)
            self._state.reasons = other.state.reasons | self._state.reasons
            pending += [other.state.id] * other.state.running
        self._state.beside = pending
        self._word = await poll(self._task, self._journal) or self._word
        now = self._now()
        self._totals.done, self._totals.failed = now.done + now.failed, now.failed


def submit(task: Task, data: Any) -> BatchJob:
    """Send a run's rows as a batch; see `LLMAccessor.submit`."""
    journal, run = begun(task, data)
    with journal.noted():
        run.finish(lambda: send(task, run, journal))
    return BatchJob(task, journal)


async def asubmit(task: Task, data: Any) -> BatchJob:
    """Send a run's rows as a batch, in the running event loop."""
    journal, run = begun(task, data)
    with journal.noted():
        await run.afinish(lambda: send(task, run, journal))
    return BatchJob(task, journal)


@trims_traceback
def load(
    job_id: str,
    cache: str | os.PathLike[str] | None = None,
    *,
    keys: Any = None,
    base_url: str | None = None,
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
    base_url : str, optional
        Confirms the address that the job was sent to. It is needed where that is
        neither the provider's own nor set in this process, by an option or the
        environment: a file from a stranger may name any address, to collect keys.

    Raises
    ------
    LLMError
        When the file knows of no such job, or holds one that cannot be read, or
        names an address that has to be confirmed.
    ValueError
        When `keys` ask for another schema than the one that was sent, or `base_url`
        is another address.

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
        msg = f"no job {job_id!r}: PANDAS_LLM_CACHE turns the cache off; pass "
        raise LLMError(f"{msg}cache= with the one that was used")
    known = find(path, job_id)
    if known is None:
        raise LLMError(f"no job {job_id!r} in {path}")
    state, written = known
    if not written.startswith(b"{"):
        ids = ", ".join(part.id for part in state.parts if part.id) or "none"
        raise LLMError(
            f"job {job_id!r} is not JSON: it was kept by an earlier version as a "
            "pickle, which could run any code and is not read. Submit again: the same "
            f"call goes on with its batches at the provider ({ids})"
        )
    task = saved.confirmed(saved.read(written, path, keys), base_url)
    return BatchJob(task, Journal(path, state, written))

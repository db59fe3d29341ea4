"""One run: a task over one frame, from its rows to the result."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pandas_llm._client import (
    Events,
    Setup,
    keep_to_slots,
    open_client,
    resolve_endpoints,
)
from pandas_llm._display import Bar, Status, Usage
from pandas_llm._engine import Arrivals, Engine, Feed, Outcomes
from pandas_llm._pacing import CostBudget, Headroom
from pandas_llm._report import traced
from pandas_llm._rows import source_of
from pandas_llm._run import blocking, summary
from pandas_llm._run.confidence import check_gold, settle
from pandas_llm._run.filling import asked_rows, check_columns
from pandas_llm._run.ledger import Ledger, listener, remember, shared_ledger
from pandas_llm._run.prompts import Prompts, quoting, shared_spec
from pandas_llm._run.result import build_result, failure_table, note, rehearse
from pandas_llm._run.task import check_names
from pandas_llm.cache import location, open_cache, why_unusable
from pandas_llm.errors import (
    ConfigurationError,
    GenerationError,
    InterruptedRowError,
    LLMError,
    LLMWarning,
    warn,
)
from pandas_llm.options import check_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from pandas_llm._client import Client
    from pandas_llm._run.task import Task
    from pandas_llm.types import Endpoint, Remark

_AGAIN = " The same call{} asks only for these rows again."
_RESUMED = (
    " Their replies are kept: the same call{} goes on from there, and with "
    "replay=True it returns the finished part without sending anything."
)
T = TypeVar("T")
Work: TypeAlias = "Callable[[], Coroutine[Any, Any, T]]"


class TaskRun:
    """One run of a task over one frame, or over its rows `at` some positions.

    `step` follows the verb in the name of its span, where a run is not all of a call;
    `counts_rows` keeps what each row used, also without `details`.
    """

    unlimited = False
    """Whether no limit of the account was known at the end."""

    ended = False

    _warned_of_cache = False
    _stop: Callable[[Exception], None] | None = None  # while rows are asked
    _callback_error: Exception | None = None  # of the caller's own function

    def __init__(  # noqa: PLR0913 - all by name but the first two
        self,
        task: Task,
        data: Any,
        *,
        dry: bool = False,
        bar: Bar | None = None,
        at: Sequence[int] | None = None,
        step: str = "",
        counts_rows: bool = False,
    ) -> None:
        self.settings, self.data = task.settings, data
        self.source = source_of(data)
        self.prompts = Prompts(task, self.source)
        self.task = task = quoting(task, self.prompts)
        check_names(task)
        check_columns(self.source, task, self.prompts.columns)
        asked = asked_rows(self.source, task, at)
        labels, width = self.source.frame.index, task.output.width
        details = counts_rows or bool(self.settings.details)
        self.outcomes = Outcomes(labels, width, details=details)
        if asked is not None:
            self.outcomes.leave_out(~asked)
            self.prompts.only(asked)
        if not dry:
            check_gold(self.source, task)
            rehearse(self.source, task)
        self._deliver: Callable[[], None] = lambda: None
        if (on_row := self.settings.on_row) is not None:
            self._deliver = Arrivals(on_row, task.names, self.outcomes).deliver
        self.events = Events(budget=CostBudget(self.settings.max_cost))
        self.events.totals.rows = len(self.prompts.order)
        self.usage, self.failed = Usage(), list[int]()
        self.status: Callable[[], Status] = Status
        self.facts: dict[str, Any] = {}
        self.cache_broken: str | None = None
        self.odds_source = ""  # where probabilities come from, if there are any
        self.ledger = shared_ledger.get()
        self.headroom = self._headroom()
        self.trace = traced(f"{task.verb}{step}", not dry and self.settings.trace)
        self.endpoints: list[Endpoint] = []
        if not dry and self.source.rows:
            resolved = resolve_endpoints(self.settings)
            self.endpoints = [e._replace(embeds=task.embeds) for e in resolved]
            self._advise()
        self.bar = bar or Bar(
            self.events.totals,
            shown=self.settings.progress,
            status=lambda: self.status(),  # noqa: PLW0108 - it is set later
            headroom=self.headroom,
        )

    def _headroom(self) -> Headroom:
        """Return what is left to others: what was set in a verb's earlier run holds."""
        shared = self.ledger or Ledger(self.task.verb)
        if shared.headroom is None:
            part = self.settings.headroom
            shared.headroom = Headroom(part, lambda to: check_options({"headroom": to}))
        return shared.headroom

    def _advise(self) -> None:
        path = None if self.settings.replay else location(self.settings.cache)
        if path is not None and (why := why_unusable(path)) is not None:
            self._warned_of_cache = True
            self._notice(why)
        for advice in summary.advice(self.task, self.source, self.prompts):
            self._notice(advice)

    # -- the run ----------------------------------------------------------------

    def answer(self, work: Work[None] | None = None) -> Any:
        """Run to the end from code that is not async; `work` replaces `execute`."""
        self.finish(work or self.execute)
        return self.result()

    async def aanswer(self, work: Work[None] | None = None) -> Any:
        """Run to the end in the running loop, and return the result."""
        await self.afinish(work or self.execute)
        return self.result()

    def finish(self, work: Work[T]) -> T:
        """Do the work of the run in the right loop; an error carries what was done."""
        with self._counted():
            return blocking.run_for(self.settings, work, self._tick)

    async def afinish(self, work: Work[T]) -> T:
        """Do the work of the run in the running loop."""
        with self._counted():
            return await blocking.awaited(work, self._tick)

    async def execute(self) -> None:
        """Send all requests, and keep what becomes of each row."""
        settings, outcomes = self.settings, self.outcomes
        if not outcomes.rows:
            return
        async with AsyncExitStack() as stack:
            setup = self.setup(stack)
            clients = [
                await open_client(stack, endpoint, setup) for endpoint in self.endpoints
            ]
            self.endpoints = [client.endpoint for client in clients]
            client = clients[0]
            first = client.endpoint
            self.facts = {"provider": first.provider, "model": first.model}
            closed = client.spec.odds == "questions"
            self.odds_source = "decisions" if closed else "logprobs"
            self.status = lambda: summary.status(client)
            alike = self.prompts.arrange(client.spec, client.least_prefix)
            if alike:
                await keep_to_slots(client)
            feed = self.feed(client, alike=alike)
            shorter = self.prompts.shorter if settings.truncate else None
            engine = Engine(clients, feed, shorter)
            self._stop = engine.end
            try:
                await engine.execute(settings.deadline)
            finally:
                self._stop = None
                self.unlimited = not any(one.pace.limiter.told for one in clients)
                self.facts |= client.negotiation.facts(client.spec)
                if setup.cache is not None:
                    setup.cache.flush()
                    self.cache_broken = setup.cache.broken

    def feed(self, client: Client, *, alike: bool = False) -> Feed:
        """Return the requests of the run to send by a client."""
        requests = partial(self.prompts.requests, client.spec)
        parts = client, self.events, self.outcomes, self.settings
        return Feed(requests, *parts, order=self.prompts.order, alike=alike)

    def _tick(self) -> None:
        """Show and log the progress; called in the caller's thread.

        What a function of the caller's raises ends the run as a fatal error does:
        requests on their way are paid, so they finish.
        """
        if self._callback_error is not None:
            return
        try:
            self._show()
        except Exception as error:
            if self._stop is None:
                raise
            self._callback_error = error
            self._stop(error)

    def _show(self) -> None:
        self._deliver()
        listener.get()(self)
        now, status = time.monotonic() - self.events.started, self.status()
        limited, outage = status.seconds > 0, status.outage
        self.events.log.sample(now, self.events.totals, limited=limited, outage=outage)
        self.bar.tick()

    def setup(self, stack: AsyncExitStack) -> Setup:
        """Return what all clients of the run share; the stack closes the cache."""
        task, cache = self.task, None
        if (path := location(self.settings.cache)) is not None:
            cache = open_cache(path, patient=not self._warned_of_cache)
            stack.callback(cache.close)
        own = self.headroom, self.trace
        return Setup(shared_spec(task), task.output, self.settings, cache, *own)

    # -- after the run ----------------------------------------------------------

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what is done, however the work ends; an error carries it."""
        with self.trace or nullcontext():
            try:
                yield
            except BaseException as error:
                self._end(error)
                raise
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """Count, close the bar, and add to an error what was done before it."""
        if error is not None and self.outcomes.unfinished is None:
            # the rows that had no turn; those that are done stay done
            self.outcomes.unfinished = InterruptedRowError("the run was interrupted")
        self.failed = self.outcomes.failed()
        is_shown = not isinstance(error, ConfigurationError)
        if is_shown:
            done = self.outcomes, self.task, self.source, self.odds_source
            self.facts |= settle(*done)
        totals, seconds = self.events.totals, time.monotonic() - self.events.started
        self.events.log.sample(seconds, totals)
        failed = totals.failed if error else len(self.failed)
        self.usage = replace(totals.usage(seconds), failed=failed)
        remember(self.usage)
        if self.ledger is not None:
            self.ledger.unknown += self.events.budget.unknown
        if self.trace is not None:
            self.trace.usage = self.usage
        self.ended = True
        listener.get()(self)
        if error is not None and is_shown:
            self._attach(error)
        try:
            if error is None:
                if self._callback_error is not None:  # it came as the last row ended
                    raise self._callback_error
                self._deliver()
            self.bar.close()
        except Exception as callback_error:
            if error is None:  # else that one is raised
                self._attach(callback_error)
                raise

    def _attach(self, error: BaseException) -> None:
        """Add to an error what was done before it."""
        error.partial = self._partial()  # type: ignore[attr-defined]
        if done := self.outcomes.finished():
            resumed = self._kept(_RESUMED)
            error.add_note(
                f"{done} of {self.outcomes.rows} rows were done; they are in .partial "
                f"(in an interactive session: sys.last_value.partial).{resumed}"
            )
        if isinstance(error, LLMError):
            error.failures = failure_table(self.outcomes)
            if error.position is not None:
                where = summary.place(error.position, self.outcomes)
                error.add_note(f"It happened at {where}.")

    def result(self) -> Any:
        """Return the result, or raise or warn about rows that failed."""
        out = self._partial()
        self._warn_of_trouble()
        failed, outcomes, shape = self.failed, self.outcomes, self.task.shape
        named = self.ledger is None or self.ledger.of_rows
        lines = summary.remarks(failed, outcomes, shape.abstain_below, named=named)
        again = self._kept(_AGAIN) if failed and not self.settings.replay else ""
        if failed and shape.errors == "raise":
            rest = "The other rows are in .partial, all reasons in .failures."
            raised = GenerationError(f"{lines[0]}\n{rest}{again}")
            raised.partial, raised.failures = out, failure_table(outcomes)
            raise raised
        if lines:
            column = shape.error_column
            where = f"Column {column!r}" if column else "error_column='…'"
            kept = "" if self.ledger else f"{where} keeps each row's reason."
            lines += filter(None, [f"{kept}{again}".strip()])
            self._notice("\n".join(lines))
        return out

    def _notice(self, message: str) -> None:
        if self.ledger is not None:
            self.ledger.notices.append(message)
        else:
            warn(message, LLMWarning)

    def _warn_of_trouble(self) -> None:
        lost = self.headroom.part and self.unlimited and self.events.totals.requests
        broken = None if self._warned_of_cache else self.cache_broken
        for words in summary.troubles(self.facts, broken, unlimited=bool(lost)):
            warn(words, LLMWarning)

    def _kept(self, words: str) -> str:
        """Return words on the call that pays for nothing twice, if replies are kept."""
        if location(self.settings.cache) is None or self.cache_broken:
            return ""
        return words.format(" without refresh=True" if self.settings.refresh else "")

    def _partial(self) -> Any:
        """Build the result from what there is."""
        out = build_result(self.source, self.outcomes, self.task, self.all_facts())
        note(out, self.task, self.data)
        return self.source.passed.restore(out, self.task.exact)

    def _remarks(self) -> Iterator[tuple[int, Remark, bool]]:
        """Yield each row's remark, and whether the row is answered."""
        for answered, rows in ((False, self.failed), (True, self.outcomes.noted())):
            for at in rows:
                if (remark := self.outcomes.remark(at)) is not None:
                    yield at, remark, answered

    def all_facts(self) -> Mapping[str, Any]:
        """Return what attrs say of this run, its log among it."""
        counts, labels = self.outcomes.answered(), self.outcomes.labels
        each = (f"{e.model}: {counts[i]}" for i, e in enumerate(self.endpoints, 1))
        return {
            **self.facts,
            "answered_by": ", ".join(each),
            "simulated": self.events.totals.simulated,
            "usage": self.usage,
            "log": {  # for the report
                "verb": self.task.verb,
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "usage": asdict(self.usage),
                **self.events.log.summary(self._remarks(), lambda at: labels[at]),
            },
        }

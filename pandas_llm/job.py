"""One run: a resolved plan over one frame, from its rows to the result."""

from __future__ import annotations

import threading
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from pandas_llm import frame, options, summary
from pandas_llm.bundles import BundleEngine, Bundles
from pandas_llm.cache import open_cache
from pandas_llm.connection import Ask, open_client
from pandas_llm.engine import Engine
from pandas_llm.errors import (
    ConfigurationError,
    GenerationError,
    LLMError,
    LLMWarning,
    warn,
)
from pandas_llm.feed import Feed
from pandas_llm.prices import CostBudget
from pandas_llm.progress import Bar, Status
from pandas_llm.prompts import Prompts, column_template, shared_spec
from pandas_llm.run import Run
from pandas_llm.shape import ALONE
from pandas_llm.store import Store
from pandas_llm.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from pandas_llm.cache import Cache
    from pandas_llm.client import Client
    from pandas_llm.remarks import Remark
    from pandas_llm.shape import Recipe
    from pandas_llm.types import Endpoint

_last = threading.local()


def last_usage() -> Usage:
    """Tell what the last run of this thread used, where attrs cannot tell.

    Examples
    --------
    >>> import pandas_llm
    >>> isinstance(pandas_llm.last_usage(), pandas_llm.Usage)
    True
    """
    return getattr(_last, "usage", None) or Usage()


class Job:
    """One run of a plan over one frame."""

    def __init__(self, recipe: Recipe, data: Any, *, dry: bool = False) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.data = data
        self.source = frame.source(data)
        template, embeds = recipe.template, recipe.verb == "embed"
        if embeds:
            fields, constants = self.source.fields, self.settings.values
            template = column_template(template, fields, constants)
        self.prompts = Prompts(template, self.source, self.settings)
        self.store = Store(
            self.source.rows,
            len(recipe.output.columns),
            details=self.settings.details,
            labels=self.source.frame.index,
        )
        self._check_names()
        self.run = Run(budget=CostBudget(self.settings.max_cost))
        self.run.totals.rows = self.source.rows
        self.usage = Usage()
        self.failed: Sequence[int] = ()
        self.status: Callable[[], Status] = Status
        self.facts: dict[str, Any] = {}
        self.broken: str | None = None
        self.endpoints: list[Endpoint] = []
        if not dry and self.source.rows:
            self.endpoints = options.endpoints(self.settings)
            if embeds:
                length = recipe.shape.dimensions or 0
                self.endpoints = [self.endpoints[0]._replace(embeds=length)]
            self._advise()
        self.bar = Bar(
            self.run.totals,
            shown=self.settings.progress,
            status=lambda: self.status(),  # noqa: PLW0108 - it is set later
        )

    # -- before the run ---------------------------------------------------------

    def _check_names(self) -> None:
        if self.recipe.verb in ALONE:
            return
        new = [column.name for column in self.recipe.output.columns]
        if self.recipe.shape.error_column is not None:
            new.append(self.recipe.shape.error_column)
        if self.settings.details:
            new += [f"llm_{name}" for name in frame.DETAILS]
        repeated = {name for name in new if new.count(name) > 1}
        if repeated:
            msg = f"two new columns would be named {min(repeated)!r}"
            raise ValueError(msg)
        frame.check_new(self.source, new)

    def _advise(self) -> None:
        if not self.prompts.columns and self.source.rows > 1 and self.settings.dedupe:
            warn(
                f"the template names no column, so all {self.source.rows} rows share "
                "one call and one answer; dedupe=False asks for each row",
                LLMWarning,
            )

    # -- the run ----------------------------------------------------------------

    async def execute(self) -> None:
        """Send all requests; the outcomes go to the store."""
        settings, store = self.settings, self.store
        async with AsyncExitStack() as stack:
            ask = self.ask(stack)
            clients = [
                await open_client(stack, endpoint, ask) for endpoint in self.endpoints
            ]
            self.endpoints = [client.endpoint for client in clients]
            client = clients[0]
            self.facts = {
                "provider": client.endpoint.provider,
                "model": client.endpoint.model,
            }
            self.status = lambda: _status(client)
            requests = self.prompts.requests(client.spec)
            embeds = self.recipe.verb == "embed"
            feeds, engines = (Bundles, BundleEngine) if embeds else (Feed, Engine)
            feed = feeds(requests, client, self.run, store, settings)
            shorter = self.prompts.shorter if settings.truncate else None
            engine = engines(clients, self.run, store, shorter)
            try:
                await engine.execute(feed, settings.deadline)
            finally:
                self.facts |= client.terms.facts(client.spec)
                if ask.cache is not None:
                    ask.cache.flush()
                    self.broken = ask.cache.broken

    def tick(self) -> None:
        """Show and log how far it is; called in the caller's thread."""
        now, status = time.monotonic() - self.run.started, self.status()
        limited, outage = status.seconds > 0, status.outage
        self.run.log.sample(now, self.run.totals, limited=limited, outage=outage)
        self.bar.tick()

    def ask(self, stack: AsyncExitStack) -> Ask:
        """Give what all clients of the run share; the stack closes the cache."""
        cache = self._cache(stack)
        recipe = self.recipe
        spec = shared_spec(recipe.settings, recipe.output.schema, recipe.verb)
        return Ask(spec, recipe.output, recipe.settings, cache)

    def _cache(self, stack: AsyncExitStack) -> Cache | None:
        path = options.cache_path(self.settings)
        if path is None:
            return None
        cache = open_cache(path)
        stack.callback(cache.close)
        return cache

    # -- after the run ----------------------------------------------------------

    def __enter__(self) -> Self:
        """Enter the run."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count, close the bar, and give an error what was done before it."""
        self.failed = self.store.failed()
        seconds = time.monotonic() - self.run.started
        self.run.log.sample(seconds, self.run.totals)
        self.usage = replace(
            self.run.totals.usage(seconds),
            failed=self.run.totals.failed if error else len(self.failed),
        )
        _last.usage = self.usage
        if error is not None and not isinstance(error, ConfigurationError):
            self._attach(error)
        try:
            self.bar.close()
        except Exception as trouble:  # of the caller's own function
            self._attach(trouble)
            raise

    def _attach(self, error: BaseException) -> None:
        error.partial = self._partial()  # type: ignore[attr-defined]
        rows, labels = self.store.rows, self.source.frame.index
        if done := rows - len(self.failed):
            error.add_note(summary.done(done, rows, kept=self._keeps()))
        if isinstance(error, LLMError):
            error.failures = frame.failures(self.store, labels)
            if error.position is not None:
                error.add_note(f"It came with {summary.place(error.position, labels)}.")

    def result(self) -> Any:
        """Give the result, or raise or warn about rows that failed."""
        out = self._partial()
        self._warn_of_trouble()
        labels = self.source.frame.index
        failed, notes = self.failed, self.store.noted()
        said = []
        if failed:
            said.append(summary.counted(failed, self.store, labels, "failed"))
            if self.recipe.shape.errors == "raise":
                said.append(summary.raised(again=self._keeps()))
                raised = GenerationError("\n".join(said))
                raised.partial = out
                raised.failures = frame.failures(self.store, labels)
                raise raised
        if notes:
            what = "are answered, with a remark"
            said.append(summary.counted(notes, self.store, labels, what))
        if said:
            again = bool(failed) and self._keeps() and not self.settings.replay
            said.append(summary.advice(self.recipe.shape.error_column, again=again))
            warn("\n".join(said), LLMWarning)
        return out

    def _warn_of_trouble(self) -> None:
        if dropped := self.facts.get("dropped"):
            model = self.facts["model"]
            warn(
                f"{model} refuses {dropped}: all rows were sent without, so leave it "
                "out of the call",
                LLMWarning,
            )
        if self.broken:
            warn(
                f"not all replies could be kept or read: {self.broken}\n"
                "The result is whole. Pass cache= another file, or cache=False.",
                LLMWarning,
            )

    def _keeps(self) -> bool:
        return options.cache_path(self.settings) is not None and not self.broken

    def _partial(self) -> Any:
        """Build the result from what there is."""
        shape = self.recipe.shape
        row, record = frame.explode(self.store, keep_empty=shape.how == "left")
        new = frame.columns(self.store, self.recipe.output.columns, record)
        if shape.expand:
            new = frame.expanded(new, shape.dimensions or 0)
        if shape.error_column is not None:
            new[shape.error_column] = frame.errors(self.store, row)
        if self.settings.details:
            new |= frame.details(self.store, row)
        return frame.result(
            self.source,
            self.data,
            (row, new),
            alone=self.recipe.verb in ALONE,
            ignore_index=shape.ignore_index,
            facts=self._facts(),
        )

    def _answered(self) -> str:
        """Tell how many rows each model has answered."""
        counts = self.store.answered()
        said = [f"{e.model}: {counts[i]}" for i, e in enumerate(self.endpoints, 1)]
        return ", ".join(said)

    def _log(self) -> dict[str, Any]:
        """Give what the report shows of this run."""
        index = self.source.frame.index
        return {
            "verb": self.recipe.verb,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "usage": asdict(self.usage),
            **self.run.log.summary(self._remarks(), lambda at: index[at]),
        }

    def _remarks(self) -> Iterator[tuple[int, Remark, bool]]:
        """Give what is to be said of rows, and whether they are answered."""
        for answered, rows in ((False, self.failed), (True, self.store.noted())):
            for at in rows:
                if (remark := self.store.remark(at)) is not None:
                    yield at, remark, answered

    def _facts(self) -> Mapping[str, Any]:
        return {
            **self.facts,
            "answered_by": self._answered(),
            "simulated": self.run.totals.simulated,
            "usage": self.usage,
            "log": self._log(),
        }


def _status(client: Client) -> Status:
    """Say why all rows wait, if they do, and what pace is granted."""
    limiter = client.pace.limiter
    if client.circuit.is_open:
        return Status("waiting for the server", outage=True, plan=limiter.plan())
    seconds = limiter.waiting()
    why = f"waiting {seconds:.0f} s: rate limit" if seconds > 1 else ""
    return Status(why, seconds, plan=limiter.plan(), resting=_resting(client))


def _resting(client: Client) -> str:
    """Say how many rows wait for themselves, and what for."""
    pace = client.pace
    if pace.slots is None or not (rows := pace.slots.resting.total()):
        return ""
    why = " and ".join(kind for kind, count in pace.slots.resting.items() if count)
    word = "row waits for itself" if rows == 1 else "rows wait for themselves"
    return f"{rows} {word} ({why}), {pace.limiter.in_flight} in flight"

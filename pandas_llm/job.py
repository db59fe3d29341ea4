"""One run: a resolved plan over one frame, from its rows to the result."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pandas_llm import frame, options
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
from pandas_llm.progress import Bar
from pandas_llm.prompts import Prompts, shared_spec
from pandas_llm.sender import Run
from pandas_llm.store import Store
from pandas_llm.types import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from pandas_llm.cache import Cache
    from pandas_llm.client import Client
    from pandas_llm.output import Output
    from pandas_llm.types import Endpoint, Settings

Verb = Literal["generate", "extract", "complete", "classify"]
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


@dataclass(frozen=True, slots=True)
class Shape:
    """How outcomes become the result."""

    how: str = "left"
    ignore_index: bool = False
    errors: str = "coerce"
    error_column: str | None = None
    name: str = "completion"
    confidence: bool = False
    flatten: bool = False

    def __post_init__(self) -> None:
        """Refuse words that mean nothing."""
        for field, allowed in (
            ("how", ("left", "inner")),
            ("errors", ("coerce", "raise")),
        ):
            if getattr(self, field) not in allowed:
                msg = f"{field} must be {' or '.join(map(repr, allowed))}"
                raise ValueError(f"{msg}, not {getattr(self, field)!r}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a plan comes to, before there is data."""

    template: str
    verb: Verb
    shape: Shape
    settings: Settings
    output: Output
    keys: Any
    """As they were given."""


class Job:
    """One run of a plan over one frame."""

    def __init__(self, recipe: Recipe, data: Any, *, dry: bool = False) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.data = data
        self.source = frame.source(data)
        self.prompts = Prompts(recipe.template, self.source, self.settings)
        self.store = Store(
            self.source.rows,
            len(recipe.output.columns),
            details=self.settings.details,
            labels=self.source.frame.index,
        )
        self._check_names()
        self.run = Run(budget=CostBudget(self.settings.max_cost))
        self.run.totals.rows = self.source.rows
        self.waiting: Callable[[], str] = str
        self.facts: dict[str, Any] = {}
        self.broken: str | None = None
        self.endpoints: list[Endpoint] = []
        if not dry and self.source.rows:
            self.endpoints = options.endpoints(self.settings)
            self._advise()
        self.bar = Bar(
            self.run.totals,
            shown=self.settings.progress,
            waiting=lambda: self.waiting(),  # noqa: PLW0108 - it is set later
        )

    # -- before the run ---------------------------------------------------------

    def _check_names(self) -> None:
        if self.recipe.verb in ("complete", "classify"):
            return  # a Series of its own, or a frame of new columns
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
            self.waiting = lambda: _waiting(client)
            requests = self.prompts.requests(client.spec)
            feed = Feed(requests, client, self.run, store, dedupe=settings.dedupe)
            shorter = self.prompts.shorter if settings.truncate else None
            engine = Engine(clients, self.run, store, shorter)
            try:
                await engine.execute(feed, settings.deadline)
            finally:
                self.facts |= client.terms.facts(client.spec)
                if ask.cache is not None:
                    ask.cache.flush()
                    self.broken = ask.cache.broken

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
        self.bar.close()
        self.usage = replace(
            self.run.totals.usage(time.monotonic() - self.run.started),
            failed=0 if error else len(self.store.failed()),
        )
        _last.usage = self.usage
        if error is None or isinstance(error, ConfigurationError):
            return
        self._attach(error)

    def _attach(self, error: BaseException) -> None:
        error.partial = self._partial()  # type: ignore[attr-defined]
        done = self.store.rows - len(self.store.failed())
        if isinstance(error, LLMError):
            error.failures = frame.failures(self.store, self.source.frame.index)
        if not done:
            return
        error.add_note(
            f"{done} of {self.store.rows} rows were done; they are in .partial "
            f"(in an interactive session: sys.last_value.partial).{self._resumed()}"
        )

    def result(self) -> Any:
        """Give the result, or raise or warn about rows that failed."""
        out = self._partial()
        if dropped := self.facts.get("dropped"):
            model = self.facts["model"]
            warn(f"{model} refuses {dropped}; sent without", LLMWarning)
        if self.broken:
            warn(f"not all replies could be kept or read: {self.broken}", LLMWarning)
        failed, notes = self.store.failed(), self.store.noted()
        if failed and self.recipe.shape.errors == "raise":
            raised = GenerationError(self._summary(failed, "failed"))
            raised.partial = out
            raised.failures = frame.failures(self.store, self.source.frame.index)
            raise raised
        said = [self._summary(failed, "failed")] if failed else []
        if notes:
            said.append(self._summary(notes, "are answered, with a remark"))
        if said:
            said.append("error_column='…' keeps each row's reason.")
            warn("\n".join(said), LLMWarning)
        return out

    def _summary(self, found: Sequence[int], what: str) -> str:
        remarks = (self.store.remark(at) for at in found)
        counts = Counter(remark.kind for remark in remarks if remark is not None)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        first = found[0]
        reason = self.store.remark(first)
        label = self.source.frame.index[first]
        return (
            f"{len(found)} of {self.store.rows} rows {what} ({kinds}). "
            f"The first, row {first} (label {label!r}): {reason and reason.message}"
        )

    def _resumed(self) -> str:
        if options.cache_path(self.settings) is None:
            return ""
        return (
            " Their replies are kept: the same call goes on from there, and with "
            "replay=True it gives the finished part without sending anything."
        )

    def _partial(self) -> Any:
        """Build the result from what there is."""
        shape = self.recipe.shape
        row, record = frame.explode(self.store, keep_empty=shape.how == "left")
        new = frame.columns(self.store, self.recipe.output.columns, record)
        if shape.error_column is not None:
            new[shape.error_column] = frame.errors(self.store, row)
        if self.settings.details:
            new |= frame.details(self.store, row)
        return frame.result(
            self.source,
            self.data,
            (row, new),
            alone=self.recipe.verb in ("complete", "classify"),
            ignore_index=shape.ignore_index,
            facts=self._facts(),
        )

    def _answered(self) -> str:
        """Tell how many rows each model has answered."""
        counts = self.store.answered()
        said = [f"{e.model}: {counts[i]}" for i, e in enumerate(self.endpoints, 1)]
        return ", ".join(said)

    def _facts(self) -> Mapping[str, Any]:
        return {
            **self.facts,
            "answered_by": self._answered(),
            "simulated": self.run.totals.simulated,
            "usage": getattr(self, "usage", Usage()),
        }


def _waiting(client: Client) -> str:
    """Say why all rows wait, if they do."""
    if client.circuit.is_open:
        return "waiting for the server"
    seconds = client.pace.limiter.waiting()
    return f"waiting {seconds:.0f} s: rate limit" if seconds > 1 else ""

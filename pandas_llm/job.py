"""One run: a resolved plan over one frame, from its rows to the result."""

from __future__ import annotations

import threading
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson

from pandas_llm import frame, options
from pandas_llm.client import Run
from pandas_llm.connection import open_client
from pandas_llm.engine import Engine
from pandas_llm.errors import (
    ConfigurationError,
    GenerationError,
    LLMError,
    LLMWarning,
    warn,
)
from pandas_llm.progress import Bar
from pandas_llm.store import Store
from pandas_llm.template import Template
from pandas_llm.types import Request, Spec, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from pandas_llm.output import Output
    from pandas_llm.types import Endpoint, Settings

Verb = Literal["generate", "extract", "complete", "classify"]
_SAMPLING = ("temperature", "top_p", "seed", "stop", "reasoning_effort")
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


class Job:
    """One run of a plan over one frame."""

    def __init__(self, recipe: Recipe, data: Any, *, dry: bool = False) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.data = data
        self.source = frame.source(data)
        self.template, self.system = self._templates()
        self.store = Store(
            self.source.rows,
            len(recipe.output.columns),
            details=self.settings.details,
        )
        self._check_names()
        self.run = Run()
        self.run.totals.rows = self.source.rows
        self.waiting: Callable[[], str] = str
        self.facts: dict[str, Any] = {}
        if not dry and self.source.rows:
            self.endpoint = options.endpoint(self.settings)
            self._advise()
        self.bar = Bar(
            self.run.totals,
            shown=self.settings.progress,
            waiting=lambda: self.waiting(),
        )

    # -- before the run ---------------------------------------------------------

    def _templates(self) -> tuple[Template, Template | None]:
        settings, names = self.settings, self.source.fields
        constants = settings.values
        template = Template(self.recipe.template, names, constants)
        if settings.system is None:
            return template, None
        return template, Template(settings.system, names, constants, "system template")

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
        used = [*self.template.columns, *(self.system.columns if self.system else ())]
        if not used and self.source.rows > 1 and self.settings.dedupe:
            warn(
                f"the template names no column, so all {self.source.rows} rows share "
                "one call and one answer; dedupe=False asks for each row",
                LLMWarning,
            )

    # -- the run ----------------------------------------------------------------

    def requests(self, spec: Spec) -> Iterator[tuple[int, Request]]:
        """Make the requests, each when it is asked for; rows with NA have none."""
        system = self.system
        used = [*self.template.columns, *(system.columns if system else ())]
        used = list(dict.fromkeys(used))
        absent = frame.missing(self.source, used)
        ignore = self.settings.na_action == "ignore"
        render = self.template.renderer(used)
        render_system = system.renderer(used) if system else lambda _: None
        for position, row in enumerate(frame.rows(self.source, used)):
            if absent is not None and absent[position]:
                if ignore:
                    self.store.skip(position)
                    self.run.totals.done += 1
                    continue
                row = frame.without_na(row)  # noqa: PLW2901
            yield position, Request(spec, render(row), render_system(row))

    async def execute(self) -> None:
        """Send all requests; the outcomes go to the store."""
        settings = self.settings
        async with AsyncExitStack() as stack:
            client = await open_client(
                stack, self.endpoint, self.recipe.output, settings
            )
            endpoint = client.endpoint
            self.facts = {"provider": endpoint.provider, "model": endpoint.model}
            self.waiting = lambda: _waiting(client.pace.limiter.waiting())
            engine = Engine(client, self.run, self.store, dedupe=settings.dedupe)
            spec = self._spec(endpoint)
            requests = self.requests(spec)
            try:
                await engine.execute(requests, settings.deadline)
            finally:
                self.facts |= client.terms.facts(spec)

    def _spec(self, endpoint: Endpoint) -> Spec:
        settings = self.settings
        sampling = {name: getattr(settings, name) for name in _SAMPLING}
        return Spec(
            endpoint.model,
            tuple((prompt, self._reply(reply)) for prompt, reply in settings.examples),
            self.recipe.output.schema,
            settings.n,
            {name: value for name, value in sampling.items() if value is not None},
            settings.max_tokens,
            settings.extra or {},
        )

    def _reply(self, reply: Any) -> str:
        """Write an example's reply the way the model is asked to answer."""
        if isinstance(reply, str):
            return reply
        if self.recipe.verb == "generate":
            reply = {"records": reply if isinstance(reply, list) else [reply]}
        return orjson.dumps(reply).decode()

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
            failed=0 if error else len(self.store.failures()),
        )
        _last.usage = self.usage
        if error is None or isinstance(error, ConfigurationError):
            return
        self._attach(error)

    def _attach(self, error: BaseException) -> None:
        error.partial = self._partial()  # type: ignore[attr-defined]
        done = sum(self.store.done)
        if isinstance(error, LLMError):
            error.failures = frame.failures(self.store, self.source.frame.index)
        error.add_note(
            f"{done} of {self.store.rows} rows were done; they are in .partial "
            "(in an interactive session: sys.last_value.partial)"
        )

    def result(self) -> Any:
        """Give the result, or raise or warn about rows that failed."""
        failed = self.store.failures()
        out = self._partial()
        if dropped := self.facts.get("dropped"):
            model = self.facts["model"]
            warn(f"{model} refuses {dropped}; sent without", LLMWarning)
        if failed:
            counts: dict[str, int] = {}
            for error in failed.values():
                counts[error.kind] = counts.get(error.kind, 0) + 1
            first, reason = next(iter(failed.items()))
            label = self.source.frame.index[first]
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            msg = (
                f"{len(failed)} of {self.store.rows} rows failed ({kinds}). "
                f"The first, row {first} (label {label!r}): {reason}"
            )
            if self.recipe.shape.errors == "raise":
                raised = GenerationError(msg)
                raised.partial = out
                raised.failures = frame.failures(self.store, self.source.frame.index)
                raise raised
            warn(f"{msg}\nerror_column='…' keeps each row's reason.", LLMWarning)
        return out

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

    def _facts(self) -> Mapping[str, Any]:
        return {
            **self.facts,
            "simulated": self.run.totals.simulated,
            "usage": getattr(self, "usage", Usage()),
        }


def _waiting(seconds: float) -> str:
    return f"waiting {seconds:.0f} s: rate limit" if seconds > 1 else ""

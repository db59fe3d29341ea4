"""Verbs over a table: several runs as one.

A program is a generator that yields a plan and the frame to ask it of, and is sent the
result; so it is written once for sync and async code.
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias, TypeVar

from pandas_llm._algorithms import sample_size
from pandas_llm._display import trims_traceback
from pandas_llm.errors import (
    ConfigurationError,
    CostLimitError,
    InvalidTypeError,
    InvalidValueError,
    LLMWarning,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    import pandas as pd

    from pandas_llm._run import Estimate
    from pandas_llm.plan import Plan

NOT_PROVEN = "not proven: max_cost is reached"
"""The bound of a cascade whose better model could not answer all that it should."""
T = TypeVar("T")
Steps: TypeAlias = "Generator[tuple[Plan, Any], Any, T]"


class Models(NamedTuple):
    """The plans of a cascade, and what it must keep of the main model's answers.

    The main model is that of the call.
    """

    cheap: Plan
    main: Plan
    delta: float
    targets: tuple[float, ...] = ()
    """The share of right labels, or recall and precision; empty with `thresholds`."""
    thresholds: tuple[float, ...] | None = None
    """Those of an earlier run."""


class Program:
    """A verb over a table, ready to be called with its data.

    `steps` builds the generator for some data, `failed` describes failed questions for
    the warning, and `batches` says why `batch` is refused, if it is. `span` takes how
    many questions come first, and returns the least and the most of all; without it
    there are no others. Of the `models` of a cascade the cheap one is asked before the
    first of `plans`, which then answers at least a sample. `exact` is that of a plan
    whose columns the result has.
    """

    def __init__(  # noqa: PLR0913 - all by name but the first three
        self,
        name: str,
        steps: Callable[[Any], Steps[Any]],
        plans: list[Plan],
        *,
        failed: str,
        models: Models | None = None,
        batches: str | None = None,
        span: Callable[[int], tuple[int, int]] | None = None,
        exact: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.steps, self.failed, self.exact = name, steps, failed, exact
        self.plans, self._span, self.of_rows = plans, span, span is None
        if models is not None:
            self.plans = plans = [*plans, models.cheap]
            self._span = _sample_or_all
            batches = "what goes to the better model depends on the cheap one"
        by_row = name in ("matches", "filter") and models is None
        if not by_row and any(plan.settings.on_row is not None for plan in plans):
            msg = f"{name} asks questions of its own, not one a row: leave on_row= out"
            raise ConfigurationError(msg)
        if any(plan.refills for plan in plans):
            msg = f"{name} fills no columns: leave overwrite= and only_missing= out"
            raise InvalidTypeError(msg)
        if any(plan.explains for plan in plans):
            msg = f"{name} has no row for each question: leave error_column= out"
            raise InvalidTypeError(msg)
        if any(plan.verb == "complete" and plan.settings.n > 1 for plan in plans):
            msg = f"{name} takes one answer to each question: n must be 1"
            raise InvalidValueError(msg)
        if batches is not None and any(plan.settings.batch for plan in plans):
            raise ConfigurationError(f"{name} takes no batch=True: {batches}")

    @trims_traceback
    def __call__(self, data: Any) -> Any:
        """Run and wait."""
        call = _Call(self, data)
        with call.traced():
            for plan, questions in call:
                with call.booked():
                    call.answer = plan(questions)
        return call.result

    @trims_traceback
    async def acall(self, data: Any) -> Any:
        """Run in the caller's event loop."""
        call = _Call(self, data)
        with call.traced():
            for plan, questions in call:
                with call.booked():
                    call.answer = await plan.acall(questions)
        return call.result

    @trims_traceback
    def preview(
        self, data: Any, rows: int = 3, *, as_requests: bool = False
    ) -> pd.DataFrame:
        """Show the first questions, or their whole requests; send nothing."""
        from pandas_llm._rows import source_of
        from pandas_llm._run import text_table

        for plan, questions in _Call(self, data):
            return plan.preview(questions, rows, as_requests=as_requests)
        columns = ("url", "headers", "body") if as_requests else ("prompt",)
        return text_table(source_of([]), [], {name: [] for name in columns})

    @trims_traceback
    def estimate(self, data: Any, pilot: int = 0) -> Estimate:
        """Return what the call would take, by its first questions."""
        step = next(_Call(self, data), None)
        if step is None:
            return self.plans[0].estimate([], pilot)
        plan, questions = step
        if self._span is None:
            return replace(plan.estimate(questions, pilot), rows=len(data))
        first = len(questions)
        estimated = self.plans[0].estimate(questions, pilot)
        least, most = self._span(first)
        if not least == most == first:
            estimated = estimated.between(least / first, most / first)
        if plan is not self.plans[0]:  # a cheap model answers all of them before
            estimated = estimated.after(plan.estimate(questions))
        return replace(estimated, rows=len(data))


def _sample_or_all(rows: int) -> tuple[int, int]:
    """Return the least and the most questions of the better model of a cascade."""
    return sample_size(rows), rows


class WithFacts(NamedTuple):
    """A result, and what ``attrs["llm"]`` says of it."""

    result: Any
    facts: dict[str, Any]


class _Call:
    """One call of a program: yields each plan and its questions, and adds up costs."""

    def __init__(self, program: Program, data: Any) -> None:
        from pandas_llm._rows import source_of
        from pandas_llm._run import Ledger

        self._program = program
        self._ledger = Ledger(program.name, of_rows=program.of_rows)
        passed = source_of(data).passed
        self._restore, self._flags = passed.restore, passed.table.flags
        self._attrs = copy.deepcopy(passed.table.attrs)  # as pandas copies them
        rows = passed.table.copy(deep=False)
        rows.attrs = {}  # the runs of this call do not go on with an earlier one
        self._steps = program.steps(rows)
        self._started = time.monotonic()
        self._stopped: CostLimitError | None = None
        self.answer: Any = None
        self.result: Any = None

    def __iter__(self) -> Iterator[tuple[Plan, Any]]:
        return self

    def __next__(self) -> tuple[Plan, Any]:
        try:
            plan, questions = self._steps.send(self.answer)
        except StopIteration as end:
            known = isinstance(end.value, WithFacts)
            self._end(*(end.value if known else (end.value, {})))
            raise
        # once stopped, only what is kept is answered
        spent = math.inf if self._stopped else self._ledger.spent
        return plan.within(spent, time.monotonic() - self._started), questions

    def _end(self, result: Any, facts: dict[str, Any]) -> None:
        if self._stopped and "cascade_bound" in facts:
            facts["cascade_bound"] = NOT_PROVEN
        if hasattr(result, "attrs"):  # and flags, as pandas' methods pass them on
            result.attrs = {**self._attrs, **result.attrs}
            if not self._flags.allows_duplicate_labels:
                result.flags.allows_duplicate_labels = False
        result = self._ledger.annotate(result, facts)
        self.result = self._restore(result, self._program.exact)
        if self._stopped:
            self._end_early(self._stopped)
        self._warn()

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Put the spans of all runs below one, where they are traced."""
        wanted = self._program.plans[0].settings.trace
        if not wanted:
            yield
            return
        from pandas_llm._report import Trace

        with Trace(self._program.name, wanted) as trace:
            try:
                yield
            finally:
                trace.usage = self._ledger.usage

    @contextmanager
    def booked(self) -> Iterator[None]:
        """Book what a run has spent, however it ends."""
        from pandas_llm._run import sharing

        try:
            with sharing(self._ledger):
                yield
        except CostLimitError as error:
            # the verb ends with what is known: what is left is read from the cache
            if error.partial is None:
                raise
            self._stopped, self.answer = error, error.partial
        except BaseException as error:
            self._ledger.add(getattr(error, "partial", None))
            self._ledger.annotate(None)
            raise
        self._ledger.add(self.answer)

    def _end_early(self, stopped: CostLimitError) -> NoReturn:
        """Raise that `max_cost` is reached, with the verb's own result so far."""
        from pandas_llm.cache import location

        usage, program = self._ledger.usage, self._program
        spent = f"{'at most ' * (self._ledger.unknown > 0)}${self._ledger.spent:.4g}"
        msg = (
            f"{program.name}: max_cost is reached, with {spent} spent "
            f"on {usage.rows} questions; {usage.failed} of them have no answer: "
            f"{program.failed}. `.partial` has the result so far"
        )
        if location(program.plans[0].settings.cache) is not None:
            msg += "; answers are kept: the same call with a higher max_cost goes on"
        error = CostLimitError(msg)
        error.partial, error.failures = self.result, stopped.failures
        raise error from None

    def _warn(self) -> None:
        """Warn once about all questions that failed or have a remark."""
        if not self._ledger.notices:
            return
        usage, program = self._ledger.usage, self._program
        words = f"{program.name}: {self._ledger.notices[0]}"
        if usage.failed:
            failed = f"{usage.failed} of {usage.rows} questions failed"
            words = f"{failed}: {program.failed}.\n{words}"
        warn(words, LLMWarning)

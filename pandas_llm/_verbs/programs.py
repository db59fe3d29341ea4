"""Verbs over a table: several runs as one.

A program is a generator that yields a plan and the frame to ask it of, and is sent the
result; so it is written once for sync and async code.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias, TypeVar

from pandas_llm._display import ends_here
from pandas_llm.errors import (
    ConfigurationError,
    InvalidTypeError,
    InvalidValueError,
    LLMWarning,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pandas as pd

    from pandas_llm.plan import Plan

T = TypeVar("T")
Steps: TypeAlias = "Generator[tuple[Plan, Any], Any, T]"


class Program:
    """A verb over a table, ready to be called with its data.

    `steps` builds the generator for some data, `failed` describes failed questions for
    the warning, and `batches` says why `batch` is refused, if it is.
    """

    def __init__(
        self,
        name: str,
        steps: Callable[[Any], Steps[Any]],
        plans: list[Plan],
        *,
        failed: str,
        batches: str | None = None,
    ) -> None:
        self.name, self.steps, self.failed = name, steps, failed
        if batches is not None and any(plan.settings.batch for plan in plans):
            msg = f"{name} takes no batch=True: {batches}"
            raise ConfigurationError(msg)

    @ends_here
    def __call__(self, data: Any) -> Any:
        """Run and wait."""
        course = _Course(self, data)
        while (step := course.next()) is not None:
            with course.booked():
                course.answer = step.plan(step.questions)
        return course.result

    @ends_here
    async def acall(self, data: Any) -> Any:
        """Run in the caller's event loop."""
        course = _Course(self, data)
        while (step := course.next()) is not None:
            with course.booked():
                course.answer = await step.plan.acall(step.questions)
        return course.result

    def submit(self, data: Any) -> NoReturn:
        """Refuse: the next questions depend on the answers."""
        del data
        msg = f"{self.name} asks more than one question a row: it cannot be submitted"
        raise ConfigurationError(msg)


class Signed(NamedTuple):
    """A result, and what ``attrs["llm"]`` says of it."""

    result: Any
    facts: dict[str, Any]


class _Step(NamedTuple):
    plan: Plan
    questions: Any


class _Course:
    """One call of a program: its costs so far and its next step."""

    def __init__(self, program: Program, data: Any) -> None:
        from pandas_llm._run import Ledger

        self._program = program
        self._ledger = Ledger(program.name)
        self._steps = program.steps(data)
        self._started = time.monotonic()
        self._notices: list[str] = []
        self.answer: Any = None
        self.result: Any = None

    def next(self) -> _Step | None:
        """Return the next plan and its questions; None once there is a result."""
        try:
            plan, questions = self._steps.send(self.answer)
        except StopIteration as end:
            signed = end.value
            if not isinstance(signed, Signed):
                signed = Signed(signed, {})
            self.result = self._ledger.sign(*signed)
            self._warn()
            return None
        spent = self._ledger.usage.known_cost
        return _Step(plan.within(spent, time.monotonic() - self._started), questions)

    @contextmanager
    def booked(self) -> Iterator[None]:
        """Book what a run has spent, however it ends."""
        from pandas_llm._run import collected

        try:
            with collected(self._notices):
                yield
        except BaseException as error:
            self._ledger.add(getattr(error, "partial", None))
            self._ledger.sign(None)
            raise
        self._ledger.add(self.answer)

    def _warn(self) -> None:
        """Warn once about all questions that failed or have a remark."""
        if not self._notices:
            return
        usage, program = self._ledger.usage, self._program
        words = [f"{program.name}: {self._notices[0]}"]
        if usage.failed:
            words.insert(
                0,
                f"{usage.failed} of {usage.rows} questions failed: {program.failed}.",
            )
        warn("\n".join(words), LLMWarning)


def column_names(frame: pd.DataFrame, names: Any, what: str = "subset") -> list[Any]:
    """Return columns as a list; raise for one that the frame does not have once."""
    listed = names if isinstance(names, list) else [names]
    for name in listed:
        count = list(frame.columns).count(name)
        if count != 1:
            problem = f"is the name of {count} columns" if count else "is not a column"
            msg = f"{what} names {name!r}, which {problem}; there are "
            raise InvalidValueError(msg + ", ".join(map(repr, frame.columns)))
    return listed


def table_of(data: Any, verb: str) -> pd.DataFrame:
    """Return the data as a frame; raise for a list."""
    from pandas_llm._run import source_of

    if isinstance(data, (list, tuple)):
        msg = f"{verb} takes a DataFrame: pass pd.DataFrame(rows)"
        raise InvalidTypeError(msg)
    return source_of(data).frame

"""A plan: template, keys, verb and options; call it with data for the result."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NoReturn

from pandas_llm._client import transferable
from pandas_llm._display import trims_traceback
from pandas_llm._run import (
    Shape,
    TaskRun,
    awarn_of_cost,
    estimate_run,
    make_task,
    refuse_options,
    warn_of_cost,
)
from pandas_llm._view import preview_prompts, preview_requests
from pandas_llm.errors import ConfigurationError
from pandas_llm.options import Settings, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from pandas_llm._run import Estimate, Task, Verb
    from pandas_llm.batch import BatchJob


class Plan:
    """What to ask of every row, ready to be called with data, here or elsewhere.

    It is frozen: options are those of the moment it was made, whatever is set later.
    It pickles as its specification, so that any engine can send it to its workers:
    a key is found in their environment and never pickled.

    Parameters
    ----------
    template : str, optional
        The prompt; ``${column}`` stands for the row's value. None with `messages`
        alone, whose last turn is then the prompt.
    keys : list, mapping or pydantic model, optional
        What to get back; the labels for ``classify``, nothing for ``complete``.
    verb : {"generate", "extract", "complete", "classify", "embed"}
        Any number of records a row, exactly one, plain text, one label, or a
        vector, for which a column's name is a template too.
    **options
        Of the verb (`how`, `errors`, …), and of a run: see
        ``help(pandas_llm.set_options)``.

    Examples
    --------
    >>> import pandas as pd
    >>> from pandas_llm import Plan
    >>> plan = Plan("Give a title to: ${text}", ["title"], model="sim")
    >>> list(plan(pd.DataFrame({"text": ["Some text."]})).columns)
    ['text', 'title']
    """

    template: str | None
    keys: Any
    verb: Verb
    _task: Task

    @trims_traceback
    def __init__(
        self,
        template: str | None = None,
        keys: Any = None,
        *,
        verb: Verb = "generate",
        **options: Any,
    ) -> None:
        _check_frozen(options.get("calibrate"), options.get("gold"))
        self._set(_task_of(template, keys, verb, options))

    def _set(self, task: Task) -> None:
        own = {"template": task.template, "keys": task.keys, "verb": task.verb}
        vars(self).update(own, _task=task)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        """Refuse: the workers of an engine would not see it."""
        raise AttributeError(f"a Plan is frozen: make a new one to change its {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Plan is frozen: its {name} stays")

    def __repr__(self) -> str:
        model = self._task.settings.model
        return f"Plan({self.template!r}, {self.keys!r}, {self.verb!r}, model={model!r})"

    def __reduce__(self) -> Any:
        """Pickle the specification; raise if it holds a key or a session."""
        shape, settings = self._task.shape, self._task.settings
        _check_frozen(shape.calibrate, shape.gold)
        options = transferable(settings)
        return _rebuilt, (self.template, self.keys, self.verb, asdict(shape), options)

    def meta(self, data: Any) -> Any:
        """Return the result for data without rows: its columns, dtypes and index.

        Nothing is sent. Engines that work lazily want this first.

        Parameters
        ----------
        data : DataFrame or Series
            Only its columns, dtypes and index count.

        Examples
        --------
        >>> import pandas as pd
        >>> plan = Plan("Year of: ${text}", {"year": int}, model="sim")
        >>> plan.meta(pd.DataFrame({"text": ["1789"]})).dtypes["year"]
        Int64Dtype()
        """
        empty = data.iloc[:0]
        out = TaskRun(self._task, empty, dry=True).result()
        out.attrs.pop("llm", None)
        return out

    @trims_traceback
    def __call__(self, data: Any) -> Any:
        """Run and wait: a DataFrame for a DataFrame, a list for a list."""
        if self.settings.batch:
            return self.submit(data).result(data)
        warn_of_cost(self._task, data)
        return TaskRun(self._task, data).answer()

    @trims_traceback
    async def acall(self, data: Any) -> Any:
        """Run in the caller's event loop."""
        await awarn_of_cost(self._task, data)
        if self.settings.batch:
            from pandas_llm import batch

            return await (await batch.asubmit(self._task, data)).aresult(data)
        return await TaskRun(self._task, data).aanswer()

    @trims_traceback
    def submit(self, data: Any) -> BatchJob:
        """Send the rows to the provider's batch endpoint; do not wait."""
        from pandas_llm import batch  # for few runs only

        warn_of_cost(self._task, data)
        return batch.submit(self._task, data)

    @trims_traceback
    def preview(
        self, data: Any, rows: int = 3, *, as_requests: bool = False
    ) -> pd.DataFrame:
        """Show the prompts, or the whole requests, of the first rows; send nothing."""
        show = preview_requests if as_requests else preview_prompts
        return show(self._task, data, rows)

    @trims_traceback
    def estimate(self, data: Any, pilot: int = 0) -> Estimate:
        """Return what a run would take; with `pilot`, answer so many rows first."""
        return estimate_run(self._task, data, pilot)

    def within(self, cost: float, seconds: float) -> Plan:
        """Return this plan with what is left of its `max_cost` and `deadline`.

        Details are left out: a program's questions are not rows of its result.
        """
        settings = self.settings
        left: dict[str, Any] = {"details": False} if settings.details else {}
        if settings.max_cost is not None:
            left["max_cost"] = max(0.0, settings.max_cost - cost)
        if settings.deadline is not None:
            left["deadline"] = max(0.0, settings.deadline - seconds)
        if not left:
            return self
        return _plan_of(replace(self._task, settings=replace(settings, **left)))

    def apart(self) -> Plan:
        """Return this plan with a result of the new columns alone."""
        return _plan_of(replace(self._task, apart=True))

    @property
    def settings(self) -> Settings:
        """The options, each with its value; keys are masked in its repr."""
        return self._task.settings

    @property
    def columns(self) -> dict[str, str]:
        """The new columns, and of what kind each is; see `columns_for`."""
        return self._task.kinds

    def columns_for(self, data: Any) -> dict[str, str]:
        """Return the new columns for data like this.

        A `Quoted` key has one more, ``<key>_column``, where the template names
        several of the data's columns.
        """
        return self.task_for(data).kinds

    def task_for(self, data: Any) -> Task:
        """Return what is asked of data like this."""
        return TaskRun(self._task, data.iloc[:0], dry=True).task

    @property
    def exact(self) -> dict[str, Any]:
        """What tables of other packages need to know of the new columns."""
        return self._task.exact

    @property
    def labels(self) -> tuple[Any, ...]:
        """What ``classify`` chooses from; empty for other verbs."""
        return self._task.output.columns[0].labels if self.verb == "classify" else ()

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of a reply; None for text."""
        return self._task.output.schema

    @property
    def refills(self) -> bool:
        """Whether the columns of an earlier run are replaced or filled."""
        return self._task.shape.refills

    @property
    def explains(self) -> bool:
        """Whether there is a column of reasons."""
        return self._task.shape.error_column is not None

    @property
    def renumbers(self) -> bool:
        """Whether the result has an index of its own."""
        return self._task.shape.ignore_index


def plan_for(
    template: str | None, keys: Any, verb: Verb, options: Mapping[str, Any]
) -> Plan:
    """Make the plan of one call, which may be calibrated on its own frame."""
    return _plan_of(_task_of(template, keys, verb, options))


def _task_of(
    template: str | None, keys: Any, verb: Verb, options: Mapping[str, Any]
) -> Task:
    """Build a task; the verb's own options and those of a run are parted here."""
    own = {name: value for name, value in options.items() if name in Shape.__slots__}
    rest = {name: value for name, value in options.items() if name not in own}
    refuse_options(verb, rest)
    return make_task(template, keys, verb, Shape(**own), resolve(rest))


def _check_frozen(calibrate: Any, gold: Any) -> None:
    """Refuse a calibration that each partition would make for itself."""
    if gold is not None or (isinstance(calibrate, str) and calibrate == "prior"):
        raise ConfigurationError(
            "a plan may run on parts of a frame, and each would be calibrated by "
            "itself: pass calibrate= the offsets of an earlier run, "
            "out.attrs['llm']['calibration']"
        )


def _rebuilt(
    template: str | None,
    keys: Any,
    verb: Verb,
    shape: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Plan:
    """Build a plan with the options that it was pickled with."""
    task = make_task(template, keys, verb, Shape(**shape), Settings(**settings))
    return _plan_of(task)


def _plan_of(task: Task) -> Plan:
    """Make a plan of a task that has been checked."""
    plan = Plan.__new__(Plan)
    plan._set(task)  # noqa: SLF001
    return plan

"""A plan: template, keys, verb and options; called with data it gives the result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pandas_llm import blocking, drafts, options
from pandas_llm.job import Job, Recipe, Shape
from pandas_llm.keys import parse_keys, parse_labels
from pandas_llm.output import Completion, Label, Records
from pandas_llm.survey import estimate
from pandas_llm.tracebacks import ends_here

if TYPE_CHECKING:
    import pandas as pd

    from pandas_llm.job import Verb
    from pandas_llm.output import Output
    from pandas_llm.survey import Estimate


class Plan:
    """What to ask of every row, ready to be called with data.

    Parameters
    ----------
    template : str
        The prompt; ``${column}`` stands for the row's value.
    keys : list, mapping or pydantic model, optional
        What to get back; the labels for ``classify``, nothing for ``complete``.
    verb : {"generate", "extract", "complete", "classify"}
        Any number of records a row, exactly one, plain text, or one label.
    **options
        Of the verb (`how`, `errors`, …) and of the run; see the README.

    Examples
    --------
    >>> import pandas as pd
    >>> from pandas_llm import Plan
    >>> plan = Plan("Give a title to: ${text}", ["title"], model="sim")
    >>> list(plan(pd.DataFrame({"text": ["Some text."]})).columns)
    ['text', 'title']
    """

    @ends_here
    def __init__(
        self, template: str, keys: Any = None, *, verb: Verb = "generate", **given: Any
    ) -> None:
        fields = {k: given.pop(k) for k in list(given) if k in Shape.__slots__}
        if verb == "classify":
            fields.setdefault("name", "label")
        self.template = template
        self.keys = keys
        self.verb = verb
        shape, settings = Shape(**fields), options.resolve(given)
        if verb == "extract" and settings.n > 1:
            msg = "extract gives one record a row: n must be 1 (generate takes more)"
            raise ValueError(msg)
        output = _output(verb, keys, shape)
        self._recipe = Recipe(template, verb, shape, settings, output)

    @ends_here
    def __call__(self, data: Any) -> Any:
        """Run and wait: a DataFrame for a DataFrame, a list for a list."""
        job = Job(self._recipe, data)
        with job:
            if job.store.rows:
                blocking.run(job.execute, loop=self._loop(), tick=job.tick)
        return job.result()

    @ends_here
    async def acall(self, data: Any) -> Any:
        """Run in the caller's event loop."""
        if asyncio.current_task() is None:
            msg = (
                "there is no current task: nest_asyncio 1.6 has patched asyncio on "
                "Python 3.14; use nest-asyncio2"
            )
            raise RuntimeError(msg)
        job = Job(self._recipe, data)
        with job:
            if job.store.rows:
                await blocking.awaited(job.execute(), job.tick)
        return job.result()

    @ends_here
    def preview(
        self, data: Any, rows: int = 3, *, as_requests: bool = False
    ) -> pd.DataFrame:
        """Show the prompts, or the whole requests, of the first rows; send nothing."""
        show = drafts.requests if as_requests else drafts.prompts
        return show(self._recipe, data, rows)

    @ends_here
    def estimate(self, data: Any, pilot: int = 0) -> Estimate:
        """Tell what a run would take; with `pilot`, answer so many rows first."""
        return estimate(self._recipe, data, pilot)

    def _loop(self) -> Any:
        """Go into the running loop with a session, which belongs to it."""
        given = self._recipe.settings.session
        return "nested" if given is not None else self._recipe.settings.loop


def _output(verb: Verb, keys: Any, shape: Shape) -> Output:
    if verb == "complete":
        return Completion(shape.name)
    if verb == "classify":
        return Label(parse_labels(shape.name, keys), confidence=shape.confidence)
    return Records(parse_keys(keys, flatten=shape.flatten), single=verb == "extract")

"""``ddf.llm``: the verbs on Dask DataFrames, lazy, a run for each partition.

>>> import dask.dataframe as dd
>>> import pandas as pd
>>> import pandas_llm.dask
>>> ddf = dd.from_pandas(pd.DataFrame({"text": ["Adams.", "Monroe."]}), npartitions=2)
>>> facts = ddf.llm.generate("Facts on: ${text}", keys=["fact"], model="sim")
>>> list(facts.columns)
['text', 'fact']

On a cluster (`distributed`) the workers share one account: each leases a part of its
limits from the scheduler, so that they never exceed them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from dask.dataframe.extensions import (
    register_dataframe_accessor,
    register_series_accessor,
)

from pandas_llm import _verbs
from pandas_llm._cluster.partition import (
    Question,
    engine_plan,
    instead_of,
    run_partition,
)
from pandas_llm._verbs import brief, form, named_after_class
from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.dataframe as dd
    import pandas as pd

__all__ = ["DaskAccessor"]

P = ParamSpec("P")


def _frame(
    verb: Callable[Concatenate[pd.DataFrame, P], Any],
) -> Callable[Concatenate[Any, P], dd.DataFrame]:
    return _lazy(verb, "dd.DataFrame")


def _series(
    verb: Callable[Concatenate[pd.DataFrame, P], Any],
) -> Callable[Concatenate[Any, P], dd.Series]:
    return _lazy(verb, "dd.Series")


def _lazy(verb: Callable[..., Any], result: str) -> Callable[..., Any]:
    """Make a verb a method that plans a run for each partition."""

    def run(self: DaskAccessor, *args: Any, **options: Any) -> Any:
        if options.get("expand") and options.get("dimensions") is None:
            raise ConfigurationError(
                f"{verb.__name__} with expand=True on Dask needs dimensions=, the "
                "number of columns: nothing is sent before the result is computed"
            )
        data = self._data
        plan = engine_plan(verb, data, *args, **options)
        return data.map_partitions(
            _run,
            plan,
            meta=plan.meta(data._meta),  # noqa: SLF001 - what map_partitions itself asks
            clear_divisions=plan.renumbers,
            transform_divisions=False,
            enforce_metadata=False,
        )

    return form(run, verb, "self", doc=brief(verb), result=result)


@named_after_class
class DaskAccessor:
    """Run a language model over the rows of a Dask DataFrame or Series.

    The verbs are those of ``df.llm`` and take the same options; nothing is sent
    before the result is computed. Index and divisions stay as they are. Each
    partition is a run of its own: `deadline` and `concurrency` hold for each, equal
    requests share a call within one (and across them by the cache), and `max_cost`
    is refused.

    With ``ignore_index=True`` each partition is numbered from 0, and divisions are
    not known. With ``expand=True`` the columns must be known before a vector is: name
    the `dimensions`.
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    generate = _frame(_verbs.generate)
    extract = _frame(_verbs.extract)
    complete = _series(_verbs.complete)
    classify = _series(_verbs.classify)
    embed = _series(_verbs.embed)

    def matches(self, template: str, **options: Any) -> Any:
        """Ask a yes-or-no question of each row, lazily; see ``df.llm.matches``."""
        return self._answered(template, options)["matches"]

    def filter(self, template: str, **options: Any) -> Any:
        """Return the rows for which the answer is yes; see ``df.llm.filter``."""
        rows = self._answered(template, options)
        return rows[rows["matches"].fillna(value=False)].drop(columns="matches")

    def _answered(self, template: str, options: dict[str, Any]) -> Any:
        data = self._data
        if data.ndim == 1:
            data = data.to_frame(name=data.name or "value")
        question = Question(data, template, options)
        meta = question.meta(data._meta)  # noqa: SLF001 - as above
        return data.map_partitions(_run, question, meta=meta)

    def __getattr__(self, name: str) -> Any:
        """Raise with what to do instead of a verb over the whole table."""
        raise instead_of(type(self), name, "ddf.llm", "ddf.compute()")


def _run(part: Any, plan: Callable[[Any], Any]) -> Any:
    """Run one partition, in a worker."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):  # Dask's own threads or processes
        return plan(part)
    from pandas_llm._cluster.leases import leased

    return run_partition(plan, part, leased(worker))


register_dataframe_accessor("llm")(DaskAccessor)
register_series_accessor("llm")(DaskAccessor)

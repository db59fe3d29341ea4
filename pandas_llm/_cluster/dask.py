"""``ddf.llm``: the verbs on Dask DataFrames, lazy, a run for each partition.

>>> import dask.dataframe as dd
>>> import pandas as pd
>>> import pandas_llm.dask
>>> ddf = dd.from_pandas(pd.DataFrame({"text": ["Adams.", "Monroe."]}), npartitions=2)
>>> facts = ddf.llm.generate("Facts on: ${text}", keys=["fact"], model="sim")
>>> list(facts.columns)
['text', 'fact']

On a cluster (`distributed`) the workers share one account: each leases a part of its
limits from the scheduler, so that they never exceed them together. `last_usage` says
what they used.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import pandas as pd
import pyarrow as pa
from dask.callbacks import Callback
from dask.dataframe.extensions import (
    register_dataframe_accessor,
    register_series_accessor,
)

from pandas_llm import _verbs
from pandas_llm._cluster.book import Book
from pandas_llm._cluster.leases import leased
from pandas_llm._cluster.partition import (
    MatchesPlan,
    engine_plan,
    missing_name,
    nested_types,
    run_partition,
)
from pandas_llm._verbs import brief, form, named_after_class
from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm import Usage
    from pandas_llm._report import Report

P = ParamSpec("P")


def _lazy(
    verb: Callable[Concatenate[pd.DataFrame, P], Any],
) -> Callable[Concatenate[Any, P], Any]:
    """Make a verb a method that plans a run for each partition."""

    def run(self: DaskAccessor, *args: Any, **options: Any) -> Any:
        if options.get("expand") and options.get("dimensions") is None:
            raise ConfigurationError(
                f"{verb.__name__} with expand=True on Dask needs dimensions=, the "
                "number of columns: nothing is sent before the result is computed"
            )
        plan = engine_plan(verb, self._data, *args, **options)
        rows = self._data._meta  # noqa: SLF001 - what map_partitions itself asks
        types = nested_types(plan.task_for(rows))
        return self._data.map_partitions(
            _run,
            plan,
            types,
            meta=_typed(plan.meta(rows), types),
            clear_divisions=plan.renumbers,
            transform_divisions=False,
            enforce_metadata=False,
        )

    kind = "DataFrame" if verb in (_verbs.generate, _verbs.extract) else "Series"
    return form(run, verb, "self", doc=brief(verb), result=f"dd.{kind}")


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

    generate = _lazy(_verbs.generate)
    extract = _lazy(_verbs.extract)
    complete = _lazy(_verbs.complete)
    classify = _lazy(_verbs.classify)
    embed = _lazy(_verbs.embed)

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
        plan = MatchesPlan(data, template, options)
        meta = plan.meta(data._meta)  # noqa: SLF001 - as above
        return data.map_partitions(_run, plan, {}, meta=meta)

    def __getattr__(self, name: str) -> Any:
        """Raise with what to do instead of a verb over the whole table."""
        raise missing_name(type(self), name, "ddf.llm", "ddf.compute()")


def _run(
    part: Any, plan: Callable[[Any], Any], types: Mapping[str, pa.DataType]
) -> Any:
    """Run one partition, in a worker."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):  # Dask's own threads or processes
        tell = partial(_book.hear, _computation.start)
        return _typed(run_partition(plan, part, None, tell), types)
    from pandas_llm._cluster import scheduler

    scheduler.connect(worker.scheduler.address)
    source = leased(partial(scheduler.ask, worker))
    return _typed(run_partition(plan, part, source, scheduler.tell(worker)), types)


def _typed(out: Any, types: Mapping[str, pa.DataType]) -> Any:
    """Make lists and records Arrow's, which Parquet takes."""
    for name, kind in types.items():
        values = pa.array(out[name], kind, from_pandas=True)
        out[name] = pd.Series(values, index=out.index, dtype=pd.ArrowDtype(kind))
    return out


# -- what the last computation used ------------------------------------------------

_book = Book()


class _Computation(Callback):  # type: ignore[misc]
    """When the last computation of this process began."""

    start = 0.0

    def _start(self, _: Any) -> None:
        self.start = time.time()


_computation = _Computation()
_computation.register()


def last_usage(client: Any = None) -> Usage:
    """Return what the last computation with a verb in it used, on all workers.

    It is the last on `client`, by default on the current one, or with Dask's own
    threads, whichever was later. A partition that ran twice has cost twice, and counts
    so; of a worker that died all but its last half a second is known.
    ``scheduler="processes"`` tells nothing.
    """
    return _last(client).usage()


def last_report(client: Any = None) -> Report:
    """Return the report of the last computation, as ``out.llm.report()``."""
    return _last(client).report()


def last_failures(client: Any = None) -> pd.DataFrame:
    """Return a table of rows that failed in the last computation.

    It has up to 100 of each partition and 10,000 in all, with the position in the
    partition, the label, the kind of error, its message and the attempts.
    """
    return _last(client).failures()


def _last(client: Any) -> Book:
    if client is None and "distributed" in sys.modules:
        from distributed import default_client

        with suppress(ValueError):  # there is none
            client = default_client()
    if client is None:
        return _book
    from pandas_llm._cluster import scheduler

    return max(_book, scheduler.book_of(client), key=lambda book: book.heard)


register_dataframe_accessor("llm")(DaskAccessor)
register_series_accessor("llm")(DaskAccessor)

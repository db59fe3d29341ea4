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

from typing import TYPE_CHECKING, Any, Unpack

from dask.dataframe.extensions import (
    register_dataframe_accessor,
    register_series_accessor,
)

from pandas_llm._cluster.partition import engine_plan, run_partition
from pandas_llm.errors import ConfigurationError, InvalidTypeError

if TYPE_CHECKING:
    import dask.dataframe as dd

    from pandas_llm.options import (
        ExplodeOptions,
        LabelOptions,
        RecordOptions,
        SeriesOptions,
        VectorOptions,
    )
    from pandas_llm.plan import Plan

__all__ = ["LLMAccessor"]


class LLMAccessor:
    """Run a language model over the rows of a Dask DataFrame or Series.

    The verbs are those of ``df.llm`` and take the same options; nothing is sent
    before the result is computed. Index and divisions stay as they are. Each
    partition is a run of its own: `deadline` and `concurrency` hold for each, equal
    requests share a call within one (and across them by the cache), and `max_cost`
    is refused.
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    def generate(
        self, template: str, keys: Any, **options: Unpack[ExplodeOptions]
    ) -> dd.DataFrame:
        """Generate zero to many records a row; see ``df.llm.generate``.

        With ``ignore_index=True`` each partition is numbered anew, and divisions
        are not known.
        """
        return self._mapped(engine_plan(template, keys, "generate", options))

    def extract(
        self, template: str, keys: Any, **options: Unpack[RecordOptions]
    ) -> dd.DataFrame:
        """Extract exactly one record a row; see ``df.llm.extract``."""
        return self._mapped(engine_plan(template, keys, "extract", options))

    def complete(self, template: str, **options: Unpack[SeriesOptions]) -> dd.Series:
        """Complete each row's prompt with plain text; see ``df.llm.complete``."""
        return self._mapped(engine_plan(template, None, "complete", options))

    def classify(
        self, template: str, labels: Any, **options: Unpack[LabelOptions]
    ) -> dd.Series:
        """Give each row one of the labels; see ``df.llm.classify``."""
        return self._mapped(engine_plan(template, labels, "classify", options))

    def embed(
        self, template: str | None = None, **options: Unpack[VectorOptions]
    ) -> dd.Series:
        """Give each row's text a vector; see ``df.llm.embed``.

        With ``expand=True`` the columns must be known before a vector is: name the
        `dimensions`.
        """
        if options.get("expand") and options.get("dimensions") is None:
            raise ConfigurationError(
                "embed with expand=True on Dask needs dimensions=, the number of "
                "columns: nothing is sent before the result is computed"
            )
        if template is None:
            if self._data.ndim > 1:
                msg = "embed needs the name of the column with the texts, or a template"
                raise InvalidTypeError(msg)
            template = "value"
        return self._mapped(engine_plan(template, None, "embed", options))

    def _mapped(self, plan: Plan) -> Any:
        data = self._data
        return data.map_partitions(
            _run,
            plan,
            meta=plan.meta(data._meta),  # noqa: SLF001 - what map_partitions itself asks
            clear_divisions=plan.renumbers,
            transform_divisions=False,
            enforce_metadata=False,
        )


def _run(part: Any, plan: Plan) -> Any:
    """Run one partition, in a worker."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):  # Dask's own threads or processes
        return plan(part)
    from pandas_llm._cluster.leases import leased

    return run_partition(plan, part, leased(worker))


register_dataframe_accessor("llm")(LLMAccessor)
register_series_accessor("llm")(LLMAccessor)

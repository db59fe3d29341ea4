"""The verbs as functions: a DataFrame or a list of dicts in, the same kind out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from pandas_llm.accessor import LLMAccessor, make_plan

if TYPE_CHECKING:
    import pandas as pd

    from pandas_llm.survey import Estimate
    from pandas_llm.types import (
        ExplodeOptions,
        LabelOptions,
        Options,
        RecordOptions,
        SeriesOptions,
    )

    Rows = TypeVar("Rows", pd.DataFrame, list[dict[str, Any]])


def generate(
    data: Rows, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> Rows:
    """Generate zero to many records a row; see `LLMAccessor.generate`.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"text": "Snow fell."}]
    >>> out = pandas_llm.generate(rows, "Facts in: ${text}", ["fact"], model="sim")
    >>> list(out[0])
    ['text', 'fact']
    """
    result: Rows = make_plan(template, keys, "generate", **options)(data)
    return result


async def agenerate(
    data: Rows, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> Rows:
    """Generate as `generate` does, in the running event loop."""
    plan = make_plan(template, keys, "generate", **options)
    result: Rows = await plan.acall(data)
    return result


def extract(
    data: Rows, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> Rows:
    """Extract exactly one record a row; see `LLMAccessor.extract`."""
    result: Rows = make_plan(template, keys, "extract", **options)(data)
    return result


async def aextract(
    data: Rows, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> Rows:
    """Extract as `extract` does, in the running event loop."""
    result: Rows = await make_plan(template, keys, "extract", **options).acall(data)
    return result


def complete(data: Any, template: str, **options: Unpack[SeriesOptions]) -> Any:
    """Complete each row's prompt; a Series, or a list for a list of dicts."""
    return make_plan(template, None, "complete", **options)(data)


async def acomplete(data: Any, template: str, **options: Unpack[SeriesOptions]) -> Any:
    """Complete as `complete` does, in the running event loop."""
    return await make_plan(template, None, "complete", **options).acall(data)


def classify(
    data: Any, template: str, labels: Any, **options: Unpack[LabelOptions]
) -> Any:
    """Give each row one of the labels; a Series, or a list for a list of dicts."""
    return make_plan(template, labels, "classify", **options)(data)


async def aclassify(
    data: Any, template: str, labels: Any, **options: Unpack[LabelOptions]
) -> Any:
    """Classify as `classify` does, in the running event loop."""
    return await make_plan(template, labels, "classify", **options).acall(data)


def preview(
    data: Any,
    template: str,
    keys: Any = None,
    rows: int = 3,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Show the prompts of the first `rows` rows; nothing is sent."""
    return LLMAccessor(data).preview(template, keys, rows, **options)


def estimate(
    data: Any,
    template: str,
    keys: Any = None,
    *,
    pilot: int = 0,
    **options: Unpack[Options],
) -> Estimate:
    """Tell what a run would take, before it is made."""
    accessor = LLMAccessor(data)
    return accessor.estimate(template, keys, pilot=pilot, **options)

"""The verbs as functions: a DataFrame or a list of dicts in, the same kind out.

Type checkers, which know nothing of ``df.llm``, see what these return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from pandas_llm._display import ends_here
from pandas_llm.accessor import LLMAccessor, make_plan
from pandas_llm.signatures import show_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from pandas_llm._run import Estimate
    from pandas_llm.accessor import Errors
    from pandas_llm.options import (
        ExplodeOptions,
        LabelOptions,
        Options,
        RecordOptions,
        SeriesOptions,
    )

    Table = pd.DataFrame | pd.Series
    Rows = Sequence[dict[str, Any]]


@overload
def generate(
    data: Table, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> pd.DataFrame: ...


@overload
def generate(
    data: Rows, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> list[dict[str, Any]]: ...


@ends_here
def generate(
    data: Any, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> Any:
    """Generate zero to many records a row; see `LLMAccessor.generate`.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"text": "Snow fell."}]
    >>> out = pandas_llm.generate(
    ...     rows, "Facts in: ${text}", ["fact"], model="sim"
    ... )
    >>> list(out[0])
    ['text', 'fact']
    """
    return make_plan(template, keys, "generate", **options)(data)


@overload
async def agenerate(
    data: Table, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> pd.DataFrame: ...


@overload
async def agenerate(
    data: Rows, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> list[dict[str, Any]]: ...


@ends_here
async def agenerate(
    data: Any, template: str, keys: Any, **options: Unpack[ExplodeOptions]
) -> Any:
    """Generate as `generate` does, in the running event loop.

    Examples
    --------
    >>> import asyncio
    >>> import pandas_llm
    >>> rows = [{"text": "Snow fell."}]
    >>> out = asyncio.run(pandas_llm.agenerate(
    ...     rows, "Facts in: ${text}", ["fact"], model="sim"
    ... ))
    >>> list(out[0])
    ['text', 'fact']
    """
    return await make_plan(template, keys, "generate", **options).acall(data)


@overload
def extract(
    data: Table, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> pd.DataFrame: ...


@overload
def extract(
    data: Rows, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> list[dict[str, Any]]: ...


@ends_here
def extract(
    data: Any, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> Any:
    """Extract exactly one record a row; see `LLMAccessor.extract`.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"text": "Born in 1732."}]
    >>> out = pandas_llm.extract(
    ...     rows, "From: ${text}", {"year": int}, model="sim"
    ... )
    >>> type(out[0]["year"])
    <class 'int'>
    """
    return make_plan(template, keys, "extract", **options)(data)


@overload
async def aextract(
    data: Table, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> pd.DataFrame: ...


@overload
async def aextract(
    data: Rows, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> list[dict[str, Any]]: ...


@ends_here
async def aextract(
    data: Any, template: str, keys: Any, **options: Unpack[RecordOptions]
) -> Any:
    """Extract as `extract` does, in the running event loop.

    Examples
    --------
    >>> import asyncio
    >>> import pandas_llm
    >>> rows = [{"text": "Born in 1732."}]
    >>> out = asyncio.run(pandas_llm.aextract(
    ...     rows, "From: ${text}", {"year": int}, model="sim"
    ... ))
    >>> type(out[0]["year"])
    <class 'int'>
    """
    return await make_plan(template, keys, "extract", **options).acall(data)


@overload
def complete(
    data: Table,
    template: str,
    *,
    name: str = ...,
    errors: Errors = ...,
    error_column: None = ...,
    **options: Unpack[Options],
) -> pd.Series: ...


@overload
def complete(
    data: Table,
    template: str,
    *,
    name: str = ...,
    errors: Errors = ...,
    error_column: str,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
def complete(
    data: Rows, template: str, **options: Unpack[SeriesOptions]
) -> list[Any]: ...


@ends_here
def complete(data: Any, template: str, **options: Unpack[SeriesOptions]) -> Any:
    """Complete each row's prompt; a Series, or a list for a list of dicts.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"city": "Oslo"}, {"city": "Rome"}]
    >>> out = pandas_llm.complete(
    ...     rows, "Praise ${city}.", model="sim"
    ... )
    >>> len(out)
    2
    """
    return make_plan(template, None, "complete", **options)(data)


@overload
async def acomplete(
    data: Table,
    template: str,
    *,
    name: str = ...,
    errors: Errors = ...,
    error_column: None = ...,
    **options: Unpack[Options],
) -> pd.Series: ...


@overload
async def acomplete(
    data: Table,
    template: str,
    *,
    name: str = ...,
    errors: Errors = ...,
    error_column: str,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
async def acomplete(
    data: Rows, template: str, **options: Unpack[SeriesOptions]
) -> list[Any]: ...


@ends_here
async def acomplete(data: Any, template: str, **options: Unpack[SeriesOptions]) -> Any:
    """Complete as `complete` does, in the running event loop.

    Examples
    --------
    >>> import asyncio
    >>> import pandas_llm
    >>> rows = [{"city": "Oslo"}, {"city": "Rome"}]
    >>> out = asyncio.run(pandas_llm.acomplete(
    ...     rows, "Praise ${city}.", model="sim"
    ... ))
    >>> len(out)
    2
    """
    return await make_plan(template, None, "complete", **options).acall(data)


@overload
def classify(
    data: Table,
    template: str,
    labels: Any,
    *,
    name: str = ...,
    confidence: Literal[False] = ...,
    errors: Errors = ...,
    error_column: None = ...,
    **options: Unpack[Options],
) -> pd.Series: ...


@overload
def classify(
    data: Table,
    template: str,
    labels: Any,
    *,
    name: str = ...,
    confidence: bool = ...,
    errors: Errors = ...,
    error_column: str | None = ...,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
def classify(
    data: Rows, template: str, labels: Any, **options: Unpack[LabelOptions]
) -> list[Any]: ...


@ends_here
def classify(
    data: Any, template: str, labels: Any, **options: Unpack[LabelOptions]
) -> Any:
    """Give each row one of the labels; a Series, or a list for a list of dicts.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"text": "What a good day"}]
    >>> out = pandas_llm.classify(
    ...     rows, "Mood of: ${text}", ["good", "bad"], model="sim"
    ... )
    >>> out[0] in ("good", "bad")
    True
    """
    return make_plan(template, labels, "classify", **options)(data)


@overload
async def aclassify(
    data: Table,
    template: str,
    labels: Any,
    *,
    name: str = ...,
    confidence: Literal[False] = ...,
    errors: Errors = ...,
    error_column: None = ...,
    **options: Unpack[Options],
) -> pd.Series: ...


@overload
async def aclassify(
    data: Table,
    template: str,
    labels: Any,
    *,
    name: str = ...,
    confidence: bool = ...,
    errors: Errors = ...,
    error_column: str | None = ...,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
async def aclassify(
    data: Rows, template: str, labels: Any, **options: Unpack[LabelOptions]
) -> list[Any]: ...


@ends_here
async def aclassify(
    data: Any, template: str, labels: Any, **options: Unpack[LabelOptions]
) -> Any:
    """Classify as `classify` does, in the running event loop.

    Examples
    --------
    >>> import asyncio
    >>> import pandas_llm
    >>> rows = [{"text": "What a good day"}]
    >>> out = asyncio.run(pandas_llm.aclassify(
    ...     rows, "Mood of: ${text}", ["good", "bad"], model="sim"
    ... ))
    >>> out[0] in ("good", "bad")
    True
    """
    return await make_plan(template, labels, "classify", **options).acall(data)


@ends_here
def preview(
    data: Any,
    template: str,
    keys: Any = None,
    rows: int = 3,
    *,
    as_requests: bool = False,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Show the prompts of the first `rows` rows; nothing is sent.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"city": "Oslo"}]
    >>> pandas_llm.preview(rows, "Praise ${city}.")["prompt"].tolist()
    ['Praise Oslo.']
    """
    accessor = LLMAccessor(data)
    return accessor.preview(template, keys, rows, as_requests=as_requests, **options)


@ends_here
def estimate(
    data: Any,
    template: str,
    keys: Any = None,
    *,
    pilot: int = 0,
    **options: Unpack[Options],
) -> Estimate:
    """Tell what a run would take, before it is made; see `LLMAccessor.estimate`.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"city": "Oslo"}, {"city": "Oslo"}]
    >>> pandas_llm.estimate(rows, "Praise ${city}.", model="sim").requests
    1
    """
    accessor = LLMAccessor(data)
    return accessor.estimate(template, keys, pilot=pilot, **options)


for _verb in ("generate", "extract", "complete", "classify", "preview", "estimate"):
    show_options(globals()[_verb], getattr(LLMAccessor, _verb))
for _verb in ("agenerate", "aextract", "acomplete", "aclassify"):
    show_options(globals()[_verb], getattr(LLMAccessor, _verb))

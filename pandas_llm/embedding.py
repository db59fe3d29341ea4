"""``embed``: as a method of the accessors, and as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import pandas as pd

from pandas_llm._display import ends_here
from pandas_llm.errors import InvalidTypeError
from pandas_llm.signatures import show_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.options import Options, VectorOptions
    from pandas_llm.plan import Plan

    Table = pd.DataFrame | pd.Series
    Rows = Sequence[dict[str, Any]]

Errors = Literal["coerce", "raise"]


def _plan(data: Any, template: str | None, **options: Any) -> Plan:
    """Make the plan; a Series is read as it is, a frame needs to be told what."""
    from pandas_llm.plan import Plan

    if template is None:
        if not isinstance(data, pd.Series):
            msg = "embed needs the name of the column with the texts, or a template"
            raise InvalidTypeError(msg)
        template = "value"
    return Plan(template, verb="embed", **options)


class Embedding:
    """The accessors' part that gives vectors."""

    _data: Any

    @overload
    def embed(
        self,
        template: str | None = ...,
        *,
        dimensions: int | None = ...,
        expand: Literal[False] = ...,
        name: str = ...,
        errors: Errors = ...,
        error_column: None = ...,
        **options: Unpack[Options],
    ) -> pd.Series: ...

    @overload
    def embed(
        self,
        template: str | None = ...,
        *,
        dimensions: int | None = ...,
        expand: bool = ...,
        name: str = ...,
        errors: Errors = ...,
        error_column: str | None = ...,
        **options: Unpack[Options],
    ) -> pd.DataFrame: ...

    @ends_here
    def embed(  # noqa: PLR0913 - the verb's own parameters, all by name
        self,
        template: str | None = None,
        *,
        dimensions: int | None = None,
        expand: bool = False,
        name: str = "embedding",
        errors: Errors = "coerce",
        error_column: str | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Give each row's text a vector.

        Texts are sent in batches as large as the provider takes, equal ones once.

        Parameters
        ----------
        template : str, optional
            The name of the column with the texts, or a template with ``${column}``.
            Not needed on a Series.
        dimensions : int, optional
            The length of the vectors, where the model leaves a choice.
        expand : bool
            Give each dimension a column of float32 of its own, ``name_0`` and so on.
        name : str
            The result's name.
        errors, error_column, **options
            As for `generate`, but for those about the text of an answer.

        Returns
        -------
        Series
            Arrays of float32 under the input's labels, None where a row has no
            text or failed. A DataFrame with `expand`, `error_column` or
            ``details=True``.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> texts = pd.Series(["Cats purr.", "Dogs bark."])
        >>> texts.llm.embed(dimensions=2, model="sim").map(len).tolist()
        [2, 2]
        >>> texts.llm.embed(dimensions=2, expand=True, model="sim").columns.tolist()
        ['embedding_0', 'embedding_1']
        """
        plan = _plan(
            self._data,
            template,
            dimensions=dimensions,
            expand=expand,
            name=name,
            errors=errors,
            error_column=error_column,
            **options,
        )
        return plan(self._data)

    @ends_here
    async def aembed(
        self, template: str | None = None, **options: Unpack[VectorOptions]
    ) -> Any:
        """Embed as `embed` does, in the running event loop.

        Examples
        --------
        >>> import asyncio
        >>> import pandas as pd
        >>> import pandas_llm
        >>> texts = pd.Series(["Cats purr.", "Dogs bark."])
        >>> vectors = texts.llm.aembed(dimensions=2, model="sim")
        >>> asyncio.run(vectors).map(len).tolist()  # in a notebook: await vectors
        [2, 2]
        """
        return await _plan(self._data, template, **options).acall(self._data)


@overload
def embed(
    data: Table,
    template: str | None = ...,
    *,
    dimensions: int | None = ...,
    expand: Literal[False] = ...,
    name: str = ...,
    errors: Errors = ...,
    error_column: None = ...,
    **options: Unpack[Options],
) -> pd.Series: ...


@overload
def embed(
    data: Table,
    template: str | None = ...,
    *,
    dimensions: int | None = ...,
    expand: bool = ...,
    name: str = ...,
    errors: Errors = ...,
    error_column: str | None = ...,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
def embed(data: Rows, template: str, **options: Unpack[VectorOptions]) -> list[Any]: ...


def embed(
    data: Any, template: str | None = None, **options: Unpack[VectorOptions]
) -> Any:
    """Give each row's text a vector; see `LLMAccessor.embed`.

    Examples
    --------
    >>> import pandas_llm
    >>> rows = [{"text": "Cats purr."}]
    >>> out = pandas_llm.embed(rows, "text", dimensions=2, model="sim")
    >>> len(out[0])
    2
    """
    plan = _plan(data, template, **options)
    return plan(data)


@overload
async def aembed(
    data: Table,
    template: str | None = ...,
    *,
    dimensions: int | None = ...,
    expand: Literal[False] = ...,
    name: str = ...,
    errors: Errors = ...,
    error_column: None = ...,
    **options: Unpack[Options],
) -> pd.Series: ...


@overload
async def aembed(
    data: Table,
    template: str | None = ...,
    *,
    dimensions: int | None = ...,
    expand: bool = ...,
    name: str = ...,
    errors: Errors = ...,
    error_column: str | None = ...,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
async def aembed(
    data: Rows, template: str, **options: Unpack[VectorOptions]
) -> list[Any]: ...


async def aembed(
    data: Any, template: str | None = None, **options: Unpack[VectorOptions]
) -> Any:
    """Embed as `embed` does, in the running event loop.

    Examples
    --------
    >>> import asyncio
    >>> import pandas_llm
    >>> rows = [{"text": "Cats purr."}]
    >>> out = asyncio.run(pandas_llm.aembed(
    ...     rows, "text", dimensions=2, model="sim"
    ... ))
    >>> len(out[0])
    2
    """
    plan = _plan(data, template, **options)
    return await plan.acall(data)


show_options(embed, Embedding.embed)
show_options(aembed, Embedding.aembed)

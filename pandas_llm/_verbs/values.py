"""Verbs that make one value a row: ``complete`` and ``embed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from pandas_llm._verbs.forms import Errors, make_plan, verb
from pandas_llm.errors import InvalidTypeError

if TYPE_CHECKING:
    import pandas as pd

    from pandas_llm._verbs.forms import Foreign, Rows, Table
    from pandas_llm.options import Options, PlainOptions, SeriesOptions, VectorOptions
    from pandas_llm.plan import Plan

# mypy carries the first overload alone through a generic class (`SparkVerb`), so the
# one that takes all the verb's options comes first.


@overload
def complete(
    data: Rows, template: str | None = ..., **options: Unpack[SeriesOptions]
) -> list[Any]: ...
@overload
def complete(
    data: Table,
    template: str | None = ...,
    *,
    error_column: None = ...,
    **options: Unpack[PlainOptions],
) -> pd.Series: ...
@overload
def complete(
    data: Table,
    template: str | None = ...,
    *,
    error_column: str,
    **options: Unpack[PlainOptions],
) -> pd.DataFrame: ...
@overload
def complete(
    data: Foreign, template: str | None = ..., **options: Unpack[SeriesOptions]
) -> Any: ...


@verb
def complete(
    data: Table | Rows | Foreign,
    template: str | None = None,
    *,
    name: str = "completion",
    errors: Errors = "coerce",
    error_column: str | None = None,
    **options: Unpack[Options],
) -> Plan:
    """Complete each row's prompt with plain text.

    Parameters
    ----------
    template : str, optional
        The prompt, with ``${column}`` for values. With `messages` it may be left out:
        the last turn, which must then be the user's, is the prompt.
    name : str
        The result's name.
    data, errors, error_column, **options
        As for `generate`.

    Returns
    -------
    Series
        The texts under the input's labels; with ``n > 1`` labels repeat. A
        DataFrame with `error_column` or ``details=True``. A list for a list.

    Examples
    --------
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> cities.llm.complete("Praise ${city}.", model="sim").index.tolist()
    [0, 1]
    """
    return make_plan("complete", locals())


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
    data: Table, template: str | None = ..., **options: Unpack[VectorOptions]
) -> pd.DataFrame: ...
@overload
def embed(
    data: Rows, template: str | None = ..., **options: Unpack[VectorOptions]
) -> list[Any]: ...
@overload
def embed(
    data: Foreign, template: str | None = ..., **options: Unpack[VectorOptions]
) -> Any: ...


@verb
def embed(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: Table | Rows | Foreign,
    template: str | None = None,
    *,
    dimensions: int | None = None,
    expand: bool = False,
    overwrite: bool = False,
    only_missing: bool = False,
    name: str = "embedding",
    errors: Errors = "coerce",
    error_column: str | None = None,
    **options: Unpack[Options],
) -> Plan:
    """Turn each row's text into a vector.

    Texts are sent in batches as large as the provider takes, equal ones once.

    Parameters
    ----------
    template : str, optional
        The name of the column with the texts, or a template with ``${column}``.
        Not needed on a Series.
    dimensions : int, optional
        The length of the vectors, where the model leaves a choice.
    expand : bool
        Make a column of float32 of each dimension, ``name_0`` and so on.
    overwrite, only_missing : bool
        With `expand`: put those columns into the frame and return it whole, in place
        of those of an earlier run, or asking only for rows where they are all NA.
    name : str
        The result's name.
    data, errors, error_column, **options
        As for `generate`.

    Returns
    -------
    Series
        Arrays of float32 under the input's labels, None where a row has no
        text or failed. A DataFrame with `expand`, `error_column` or
        ``details=True``. A list for a list.

    Examples
    --------
    >>> texts = pd.Series(["Cats purr.", "Dogs bark."])
    >>> texts.llm.embed(dimensions=2, model="sim").map(len).tolist()
    [2, 2]
    >>> texts.llm.embed(dimensions=2, expand=True, model="sim").columns.tolist()
    ['embedding_0', 'embedding_1']
    """
    if template is None:
        if not _is_one_column(data):
            msg = "embed needs the name of the column with the texts, or a template"
            raise InvalidTypeError(msg)
        template = "value"
    return make_plan("embed", locals())


def _is_one_column(data: Any) -> bool:
    from pandas_llm._rows import source_of

    if (dimensions := getattr(data, "ndim", None)) is not None:  # Dask's too
        return bool(dimensions == 1)
    return "value" in source_of(data).fields

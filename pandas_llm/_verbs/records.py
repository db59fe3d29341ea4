"""Verbs that join new columns to a frame: ``generate`` and ``extract``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from pandas_llm._verbs.forms import Errors, make_plan, verb

if TYPE_CHECKING:
    import pandas as pd

    from pandas_llm._verbs.forms import Foreign, Rows, Table
    from pandas_llm.options import ExplodeOptions, Options, RecordOptions
    from pandas_llm.plan import Plan

How = Literal["left", "inner"]


@overload
def generate(
    data: Table, template: str | None, keys: Any, **options: Unpack[ExplodeOptions]
) -> pd.DataFrame: ...
@overload
def generate(
    data: Rows, template: str | None, keys: Any, **options: Unpack[ExplodeOptions]
) -> list[dict[str, Any]]: ...
@overload
def generate(
    data: Foreign, template: str | None, keys: Any, **options: Unpack[ExplodeOptions]
) -> Any: ...


@verb
def generate(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: Table | Rows | Foreign,
    template: str | None,
    keys: Any,
    *,
    how: How = "left",
    ignore_index: bool = False,
    errors: Errors = "coerce",
    error_column: str | None = None,
    flatten: bool = False,
    unique: bool = True,
    **options: Unpack[Options],
) -> Plan:
    """Generate zero or more records for each row, joined to the row's own columns.

    Parameters
    ----------
    data : DataFrame, Series, list of dicts or texts, Polars or Arrow table
        The rows; texts are ``${value}``.
    template : str
        The prompt, with ``${column}`` for values; ``$$`` is a dollar. With `messages`
        it may be None or left out: the last turn is then the prompt.
    keys : list, mapping or pydantic model
        The new columns: names, names with types, or a model of one record.
    how : {"left", "inner"}
        Keep a row without record as one row of NA, or drop it.
    ignore_index : bool
        Number the result from 0; otherwise labels repeat as with ``explode``.
    errors : {"coerce", "raise"}
        A failed row is NA and one warning counts them, or a `GenerationError`
        is raised when all rows are done.
    error_column : str, optional
        A column for each row's reason.
    flatten : bool
        Make columns, ``name.field``, of the fields of a nested model.
    unique : bool
        Keep equal records of a row once; False keeps those of one reply, such as two
        coffees on one receipt.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    DataFrame
        The input's columns, then the new ones; one row per record. A list of dicts
        for a list of dicts.

    Raises
    ------
    TemplateError, ValueError, TypeError, ConfigurationError
        Before anything is sent.
    GenerationError
        With ``errors="raise"``; has ``.partial`` and ``.failures``.
    LLMError
        One that is fatal (a wrong key, no credit); has ``.partial`` too.

    Examples
    --------
    >>> df = pd.DataFrame({"text": ["It rained on 2 days."]})
    >>> out = df.llm.generate("Facts in: ${text}", {"fact": str}, model="sim")
    >>> bool(out["fact"].isna().any())
    False
    >>> rows = [{"text": "Snow fell."}]
    >>> out = pandas_llm.generate(rows, "Facts in: ${text}", ["fact"], model="sim")
    >>> list(out[0])
    ['text', 'fact']
    """
    return make_plan("generate", locals())


@overload
def extract(
    data: Table, template: str | None, keys: Any, **options: Unpack[RecordOptions]
) -> pd.DataFrame: ...
@overload
def extract(
    data: Rows, template: str | None, keys: Any, **options: Unpack[RecordOptions]
) -> list[dict[str, Any]]: ...
@overload
def extract(
    data: Foreign, template: str | None, keys: Any, **options: Unpack[RecordOptions]
) -> Any: ...


@verb
def extract(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: Table | Rows | Foreign,
    template: str | None,
    keys: Any,
    *,
    errors: Errors = "coerce",
    error_column: str | None = None,
    flatten: bool = False,
    confidence: bool = False,
    codes: bool | None = None,
    overwrite: bool = False,
    only_missing: bool = False,
    **options: Unpack[Options],
) -> Plan:
    """Extract one record for each row, joined to the row's own columns.

    Parameters
    ----------
    data, template, keys, errors, error_column, flatten, **options
        As for `generate`.
    confidence : bool
        Add ``<key>_confidence`` for each key that is a bool, a Literal, an Enum or a
        list of labels: the probability of its value. By token probabilities that is
        one request a key; see `classify`.
    codes
        As for `classify`.
    overwrite : bool
        Replace columns of the keys' names that the frame has, such as those of the
        last run; they keep their places. Otherwise that is an error.
    only_missing : bool
        Ask only for rows in which all of those columns are NA, and fill them.

    Returns
    -------
    DataFrame
        The input's rows and columns, with the new columns. A list of dicts for a
        list of dicts.

    Examples
    --------
    >>> df = pd.DataFrame({"text": ["Born in 1732."]})
    >>> out = df.llm.extract("From: ${text}", {"year": int}, model="sim")
    >>> out["year"].dtype
    Int64Dtype()
    """
    return make_plan("extract", locals())

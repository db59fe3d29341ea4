"""The verbs on Spark DataFrames: lazy, a run for each batch of Arrow rows.

.. code-block:: python

    import pandas_llm.spark

    facts = pandas_llm.spark.generate(sdf, "Facts on: ${text}", ["fact"], model="…")

Spark's Python workers do not know of each other. The account's limits are divided
between them: each keeps to one part of as many as there are cores, or `workers`.
"""

from __future__ import annotations

from contextlib import contextmanager
from inspect import Parameter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, cast, overload

import orjson
import pandas as pd
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    LongType,
    StringType,
    StructType,
    TimestampNTZType,
)

from pandas_llm import _verbs
from pandas_llm._cluster.partition import (
    Question,
    engine_plan,
    instead_of,
    run_partition,
)
from pandas_llm._pacing import WHOLE
from pandas_llm._verbs import brief, form
from pandas_llm.errors import ConfigurationError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from pyspark.sql import DataFrame

    from pandas_llm._pacing import RateLimiter
    from pandas_llm.plan import Plan

__all__ = ["classify", "complete", "extract", "filter", "generate", "matches"]

_TYPES: Mapping[str, DataType] = {
    "str": StringType(),
    "int": LongType(),
    "float": DoubleType(),
    "bool": BooleanType(),
    "category": StringType(),
    "datetime": TimestampNTZType(),
}
_ITEMS: Mapping[str, DataType] = {
    "string": StringType(),
    "integer": LongType(),
    "number": DoubleType(),
    "boolean": BooleanType(),
}
_WORDS = """\
Parameters
----------
sdf : pyspark.sql.DataFrame
    The rows.
workers : int, optional
    Python workers that run at once, by default the session's cores
    (``defaultParallelism``). Each keeps to its part of the account's limits.
template, …, **options
    As for ``df.llm``; a key or `max_cost` is refused, see `Plan`.

Returns
-------
pyspark.sql.DataFrame
    Its columns, then the new ones. Labels are text; lists of texts or numbers are
    arrays; anything else that is nested is text in JSON. Nothing is sent before the
    result is asked for, and all is sent again each time it is, unless the cache has
    it: write it, or ``cache()`` it.
"""
P = ParamSpec("P")


class SparkVerb(Protocol[P]):
    """A verb as a function of a Spark DataFrame."""

    @overload
    def __call__(
        self, sdf: DataFrame, /, *args: P.args, **options: P.kwargs
    ) -> DataFrame: ...

    @overload
    def __call__(
        self, sdf: DataFrame, /, *args: Any, workers: int | None, **options: Any
    ) -> DataFrame: ...


def _lazy(verb: Callable[Concatenate[list[dict[str, Any]], P], Any]) -> SparkVerb[P]:
    """Make a verb a function of a Spark DataFrame, typed by its overload for lists."""

    def run(
        sdf: DataFrame, *args: Any, workers: int | None = None, **options: Any
    ) -> DataFrame:
        for name in ("overwrite", "only_missing"):
            if options.get(name):
                msg = (
                    f"Spark adds columns and fills none, so {name}= is for pandas and "
                    "Dask: drop the columns first, sdf.drop('name'); replies that are "
                    "kept cost nothing"
                )
                raise ConfigurationError(msg)
        return _mapped(sdf, engine_plan(verb, sdf, *args, **options), workers)

    workers = Parameter("workers", Parameter.KEYWORD_ONLY, default=None)
    doc = f"{brief(verb)}\n{_WORDS}"
    return form(run, verb, "sdf", more=[workers], doc=doc, result="DataFrame")


generate = _lazy(_verbs.generate)
extract = _lazy(_verbs.extract)
complete = _lazy(_verbs.complete)
classify = _lazy(_verbs.classify)


def matches(
    sdf: DataFrame, template: str, *, workers: int | None = None, **options: Any
) -> DataFrame:
    """Ask a yes-or-no question of each row, lazily, as a column ``matches``.

    See ``df.llm.matches``. A cascade takes the `thresholds` of an earlier run.
    """
    return _mapped(sdf, Question(sdf, template, options), workers)


def filter(  # noqa: A001 - as the verb's name
    sdf: DataFrame, template: str, *, workers: int | None = None, **options: Any
) -> DataFrame:
    """Return the rows for which the answer is yes; see ``df.llm.filter``."""
    answered = matches(sdf, template, workers=workers, **options)
    return answered.filter(answered["matches"]).drop("matches")


def missing(name: str) -> AttributeError:
    """Return the error for a name that this module does not have."""
    verbs = SimpleNamespace(**{verb: globals()[verb] for verb in __all__})
    return instead_of(verbs, name, "pandas_llm.spark", "sdf.toPandas()")


def _mapped(sdf: DataFrame, plan: Plan | Question, workers: int | None) -> DataFrame:
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in sdf.columns})
    columns = plan.columns_for(empty)  # says what is wrong with template and names
    for name in columns:
        if name in sdf.columns:
            raise InvalidValueError(
                f"the frame has a column {name!r} already: choose another name, or "
                f"sdf.drop({name!r}) first"
            )
    new = {
        name: _TYPES[kind] if kind in _TYPES else _type(cast("Plan", plan), name)
        for name, kind in columns.items()
    }
    schema = StructType(list(sdf.schema.fields))
    for name, type_ in new.items():
        schema = schema.add(name, type_)
    if workers is None:
        workers = sdf.sparkSession.sparkContext.defaultParallelism
    if workers < 1:
        raise InvalidValueError(f"workers must be at least 1, not {workers}")
    return sdf.mapInPandas(_runner(plan, new, workers), schema)


def _runner(
    plan: Plan | Question, new: Mapping[str, DataType], workers: int
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    def run(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            rows = batch.reset_index(drop=True)
            answers = run_partition(plan, rows, _part_of(workers))
            out = rows.take(answers.index)
            if isinstance(answers, pd.Series):
                answers = answers.to_frame()
            for name, type_ in new.items():
                out[name] = _plain(answers[name], type_).to_numpy(dtype=object)
            yield out

    return run


def _part_of(workers: int) -> Callable[[Hashable, RateLimiter], Any]:
    @contextmanager
    def part(_: Hashable, limiter: RateLimiter) -> Iterator[None]:
        limiter.share(WHOLE / workers if workers > 1 else None)
        yield

    return part


def _type(plan: Plan, name: str) -> DataType:
    """Return the type of nested values: a list of plain ones, or JSON."""
    schema = plan.schema or {}
    fields = schema["properties"]
    if plan.verb == "generate":
        fields = _resolved(fields["records"]["items"], schema)["properties"]
    if quotation := _quotation(fields.get(name)):
        return _list_type({"type": "array", "items": quotation["value"]}, schema) or (
            StringType()
        )
    key, _, part = name.rpartition("_")
    if _quotation(fields.get(key)):
        return ArrayType(LongType() if part in ("start", "end") else StringType())
    return _list_type(fields.get(name, {}), schema) or StringType()


def _quotation(field: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what each item of a list of quoted values holds; None for other keys."""
    for choice in (field or {}).get("anyOf", [field or {}]):
        held: Mapping[str, Any] = choice.get("items", {}).get("properties", {})
        if held.keys() == {"quote", "value"}:
            return held
    return None


def _list_type(field: Mapping[str, Any], root: Mapping[str, Any]) -> DataType | None:
    """Return the type of a list of plain values; None for anything else."""
    field = _resolved(field, root)
    for choice in field.get("anyOf", ()):
        if choice.get("type") != "null":
            return _list_type(choice, root)
    if field.get("type") != "array":
        return None
    items = _resolved(field["items"], root)
    if items.get("type") == "array":
        inner = _list_type(items, root)
        return ArrayType(inner) if inner else None
    if "format" in items or items.get("type") not in _ITEMS:
        return None
    return ArrayType(_ITEMS[items["type"]])


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference within the schema."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[-1]
    return cast("Mapping[str, Any]", root["$defs"][name])


def _plain(values: pd.Series, type_: DataType) -> pd.Series:
    """Return values as Spark takes them: None for NA, JSON for what has no type."""
    plain = values.astype(object).where(values.notna(), None)
    if isinstance(type_, StringType):
        plain = plain.map(_as_text)
    return plain


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, default=str).decode()

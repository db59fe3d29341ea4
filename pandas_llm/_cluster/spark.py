"""The verbs on Spark DataFrames: lazy, a run for each batch of Arrow rows.

.. code-block:: python

    import pandas_llm.spark

    facts = pandas_llm.spark.generate(sdf, "Facts on: ${text}", ["fact"], model="…")

Spark's Python workers lease parts of the account's limits from the driver, where they
reach it; elsewhere each keeps to one part of as many as there are cores, or `workers`.
"""

from __future__ import annotations

from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, overload

import orjson
import pandas as pd
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import DataType, DateType, StringType, StructType

from pandas_llm import Usage, _verbs
from pandas_llm._cluster import session
from pandas_llm._cluster.partition import (
    MatchesPlan,
    engine_plan,
    missing_name,
    run_partition,
    types_for,
)
from pandas_llm._rows import as_json, as_objects, revealed
from pandas_llm._verbs import brief, form
from pandas_llm.errors import ConfigurationError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyspark.sql import DataFrame

    from pandas_llm._report import Report
    from pandas_llm.plan import Plan

_WORDS = """\
Parameters
----------
sdf : pyspark.sql.DataFrame
    The rows.
workers : int, optional
    Python workers that run at once, by default the session's cores
    (``defaultParallelism``). Together they keep to the account's limits.
usage_column : str, optional
    A column whose text is, in the first row of each batch, what the batch has used,
    for `usage_of`. With Spark Connect nothing else tells it.
template, …, **options
    As for ``df.llm``; a key or `max_cost` is refused, see `Plan`.

Returns
-------
pyspark.sql.DataFrame
    Its columns, then the new ones. Labels are text, lists and vectors arrays, records
    structs; what has no type in Spark is text in JSON. Nothing is sent before the
    result is asked for, and all is sent again each time it is, unless the cache has
    it: write it, or ``cache()`` it.
"""
_OWN = ("workers", "usage_column")
_FILLS = (
    "Spark adds columns and fills none, so {name}= is for pandas and Dask: drop the "
    "columns first, sdf.drop('name'); replies that are kept cost nothing"
)
_NOT_HERE = {
    "overwrite": _FILLS,
    "only_missing": _FILLS,
    "expand": "a vector is an array here, so leave {name}= out: its items are "
    "out['embedding'][0] and so on",
}
P = ParamSpec("P")


class SparkVerb(Protocol[P]):
    """A verb as a function of a Spark DataFrame."""

    @overload
    def __call__(
        self, sdf: DataFrame, /, *args: P.args, **options: P.kwargs
    ) -> DataFrame: ...

    @overload
    def __call__(
        self,
        sdf: DataFrame,
        /,
        *args: Any,
        workers: int | None,
        usage_column: str | None = None,
        **options: Any,
    ) -> DataFrame: ...

    @overload
    def __call__(
        self, sdf: DataFrame, /, *args: Any, usage_column: str | None, **options: Any
    ) -> DataFrame: ...


def _lazy(verb: Callable[Concatenate[list[dict[str, Any]], P], Any]) -> SparkVerb[P]:
    """Make a verb a function of a Spark DataFrame, typed by its overload for lists."""

    def run(
        sdf: DataFrame,
        *args: Any,
        workers: int | None = None,
        usage_column: str | None = None,
        **options: Any,
    ) -> DataFrame:
        for name, why in _NOT_HERE.items():
            if options.get(name):
                raise ConfigurationError(why.format(name=name))
        if usage_column is not None and options.get("how") == "inner":
            msg = "how='inner' drops rows, so what they used: leave usage_column= out"
            raise ConfigurationError(msg)
        plan = engine_plan(verb, sdf, *args, **options)
        return _mapped(sdf, plan, workers, usage_column)

    more = [Parameter(n, Parameter.KEYWORD_ONLY, default=None) for n in _OWN]
    doc = f"{brief(verb)}\n{_WORDS}"
    return form(run, verb, "sdf", more=more, doc=doc, result="DataFrame")


generate = _lazy(_verbs.generate)
extract = _lazy(_verbs.extract)
complete = _lazy(_verbs.complete)
classify = _lazy(_verbs.classify)
embed = _lazy(_verbs.embed)


def matches(
    sdf: DataFrame,
    template: str,
    *,
    workers: int | None = None,
    usage_column: str | None = None,
    **options: Any,
) -> DataFrame:
    """Ask a yes-or-no question of each row, lazily, as a column ``matches``.

    See ``df.llm.matches``. A cascade takes the `thresholds` of an earlier run.
    """
    return _mapped(sdf, MatchesPlan(sdf, template, options), workers, usage_column)


def filter(  # noqa: A001 - as the verb's name
    sdf: DataFrame, template: str, *, workers: int | None = None, **options: Any
) -> DataFrame:
    """Return the rows for which the answer is yes; see ``df.llm.filter``."""
    if options.get("usage_column") is not None:
        raise ConfigurationError(
            "filter drops rows, so what they used: call matches with usage_column=, "
            "and out.filter('matches') once it is written"
        )
    answered = matches(sdf, template, workers=workers, **options)
    return answered.filter(answered["matches"]).drop("matches")


def missing(name: str) -> AttributeError:
    """Return the error for a name that this module does not have."""
    verbs = SimpleNamespace(generate=generate, extract=extract, complete=complete)
    vars(verbs).update(classify=classify, embed=embed, matches=matches, filter=filter)
    return missing_name(verbs, name, "pandas_llm.spark", "sdf.toPandas()")


def last_usage() -> Usage:
    """Return what the last action with a verb in it used, on all workers.

    A partition that ran twice has cost twice, and counts so where its worker reaches
    the driver; elsewhere what failed is not known. With Spark Connect, ask for a
    `usage_column`.
    """
    return session.book().usage()


def last_report() -> Report:
    """Return the report of the last action, as ``out.llm.report()``."""
    return session.book().report()


def last_failures() -> pd.DataFrame:
    """Return a table of rows that failed in the last action.

    It has up to 100 of each batch and 10,000 in all, with the position in the batch,
    the kind of error, its message and the attempts.
    """
    return session.book().failures()


def usage_of(sdf: DataFrame, column: str) -> Usage:
    """Return the sum of a `usage_column`; its time is that of all batches together.

    `sdf` is best read back, or cached: a lazy one would be computed again.
    """
    rows = sdf.select(column).dropna().collect()
    return sum((Usage(**orjson.loads(row[0])) for row in rows), Usage())


def _mapped(
    sdf: DataFrame,
    plan: Plan | MatchesPlan,
    workers: int | None,
    usage_column: str | None = None,
) -> DataFrame:
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in sdf.columns})
    new: dict[str, DataType] = {
        name: from_arrow_type(kind, prefer_timestamp_ntz=True)
        for name, kind in types_for(plan, empty).items()
    }
    if usage_column in new:
        raise InvalidValueError(f"{usage_column!r} is the name of two new columns")
    usage = {} if usage_column is None else {usage_column: StringType()}
    schema = StructType(list(sdf.schema.fields))
    for name, type_ in (new | usage).items():
        if name in sdf.columns:
            raise InvalidValueError(
                f"the frame has a column {name!r} already: choose another name, or "
                f"sdf.drop({name!r}) first"
            )
        schema = schema.add(name, type_)
    workers = session.cores(sdf.sparkSession) if workers is None else workers
    if workers < 1:
        raise InvalidValueError(f"workers must be at least 1, not {workers}")
    links = session.links_of(sdf.sparkSession, workers)
    return sdf.mapInPandas(partial(_run, plan, new, links, usage_column), schema)


def _run(
    plan: Plan | MatchesPlan,
    new: Mapping[str, DataType],
    links: session.WorkerLinks,
    usage_column: str | None,
    batches: Iterator[pd.DataFrame],
) -> Iterator[pd.DataFrame]:
    """Run a partition's batches, in a worker."""
    report = session.TaskReport(links)
    for batch in batches:
        rows = batch.reset_index(drop=True)
        answers = run_partition(plan, rows, links.source(), report.tell)
        out = rows.take(answers.index)
        if isinstance(answers, pd.Series):
            answers = answers.to_frame()
        for name, type_ in new.items():
            out[name] = _plain(answers[name], type_).to_numpy(dtype=object)
        if usage_column is not None:
            out[usage_column] = [report.used(), *[None] * (len(out) - 1)][: len(out)]
        yield out


def _plain(values: pd.Series, type_: DataType) -> pd.Series:
    """Return values as Spark takes them: None for NA, JSON for what has no type."""
    plain: pd.Series = as_objects(values)
    if isinstance(type_, StringType):
        plain = plain.map(_as_text)
    if isinstance(type_, DateType):
        plain = plain.map(lambda day: day and day.date())
    return plain


def _as_text(value: Any) -> str | None:
    value = revealed(value)
    if value is None or isinstance(value, str):
        return value
    return as_json(value)

"""The verbs on Spark DataFrames."""

from __future__ import annotations

from typing import Any

from pandas_llm._cluster import spark

__all__ = [
    "classify",
    "complete",
    "embed",
    "extract",
    "filter",
    "generate",
    "last_failures",
    "last_report",
    "last_usage",
    "matches",
    "usage_of",
]

classify = spark.classify
complete = spark.complete
embed = spark.embed
extract = spark.extract
filter = spark.filter  # noqa: A001 - the verb's name
generate = spark.generate
last_failures = spark.last_failures
last_report = spark.last_report
last_usage = spark.last_usage
matches = spark.matches
usage_of = spark.usage_of


def __getattr__(name: str) -> Any:
    raise spark.missing(name)

"""The verbs on Spark DataFrames."""

from __future__ import annotations

from typing import Any

from pandas_llm._cluster import spark

__all__ = ["classify", "complete", "extract", "filter", "generate", "matches"]

classify = spark.classify
complete = spark.complete
extract = spark.extract
filter = spark.filter  # noqa: A001 - the verb's name
generate = spark.generate
matches = spark.matches


def __getattr__(name: str) -> Any:
    raise spark.missing(name)

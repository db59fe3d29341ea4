"""The verbs on Spark DataFrames."""

from __future__ import annotations

from pandas_llm._cluster import spark

__all__ = ["classify", "complete", "extract", "generate"]

classify = spark.classify
complete = spark.complete
extract = spark.extract
generate = spark.generate

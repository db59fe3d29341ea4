"""``ddf.llm``: the verbs on Dask DataFrames; importing this registers them."""

from __future__ import annotations

from pandas_llm._cluster import dask

__all__ = ["DaskAccessor", "last_failures", "last_report", "last_usage"]

DaskAccessor = dask.DaskAccessor
last_failures = dask.last_failures
last_report = dask.last_report
last_usage = dask.last_usage

"""``ddf.llm``: the verbs on Dask DataFrames; importing this registers them."""

from __future__ import annotations

from pandas_llm._cluster import dask

__all__ = ["DaskAccessor"]

DaskAccessor = dask.DaskAccessor

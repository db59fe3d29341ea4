"""Verbs over a table, as pandas names them, and what is known before a run.

Each is a program over the plans of the verbs of a row.
"""

from __future__ import annotations

from pandas_llm._table_verbs.aggregate import agg
from pandas_llm._table_verbs.ahead import estimate, preview, submit
from pandas_llm._table_verbs.duplicates import drop_duplicates, duplicated, ngroup
from pandas_llm._table_verbs.largest import nlargest
from pandas_llm._table_verbs.merging import merge
from pandas_llm._table_verbs.searching import search
from pandas_llm._verbs import spell_out

__all__ = [
    "agg",
    "drop_duplicates",
    "duplicated",
    "estimate",
    "merge",
    "ngroup",
    "nlargest",
    "preview",
    "search",
    "submit",
]

spell_out()

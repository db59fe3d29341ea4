"""What a row is: pandas' and other tables, cells, and templates filled from them."""

from __future__ import annotations

from pandas_llm._rows.kinds import arrow_type, as_json, as_objects, revealed
from pandas_llm._rows.rows import (
    Order,
    Source,
    all_na,
    check_new,
    check_once,
    gold_codes,
    is_na,
    iter_rows,
    missing_rows,
    name_of,
    new_label,
    put_columns,
    row_at,
    source_of,
    with_integers,
    with_lists,
    without_na,
)
from pandas_llm._rows.template import Beginnings, Template, names_nothing

__all__ = [
    "Beginnings",
    "Order",
    "Source",
    "Template",
    "all_na",
    "arrow_type",
    "as_json",
    "as_objects",
    "check_new",
    "check_once",
    "gold_codes",
    "is_na",
    "iter_rows",
    "missing_rows",
    "name_of",
    "names_nothing",
    "new_label",
    "put_columns",
    "revealed",
    "row_at",
    "source_of",
    "with_integers",
    "with_lists",
    "without_na",
]

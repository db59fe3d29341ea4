"""What people see of a run: bar, usage, tables, tracebacks."""

from __future__ import annotations

from pandas_llm._display.bar import Bar, in_notebook
from pandas_llm._display.pages import page
from pandas_llm._display.paths import checked_path, page_path
from pandas_llm._display.progress import Progress, Status
from pandas_llm._display.tables import SmallTable, as_html, as_text, dollars
from pandas_llm._display.tracebacks import trims_traceback
from pandas_llm._display.usage import Totals, Usage

__all__ = [
    "Bar",
    "Progress",
    "SmallTable",
    "Status",
    "Totals",
    "Usage",
    "as_html",
    "as_text",
    "checked_path",
    "dollars",
    "in_notebook",
    "page",
    "page_path",
    "trims_traceback",
]

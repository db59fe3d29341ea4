"""The verbs: what can be asked of each row, defined once.

`forms` builds functions, methods and async twins from the definitions; `programs` are
what several runs make one.
"""

from __future__ import annotations

from pandas_llm._verbs.cascade import Cascade, cheap_first, decide_rows
from pandas_llm._verbs.chats import replacing, to_chat_jsonl
from pandas_llm._verbs.chunking import chunk
from pandas_llm._verbs.forms import (
    Rows,
    Table,
    brief,
    form,
    make_plan,
    method,
    missing_verb,
    named_after_class,
    planner,
    spell_out,
    tool,
    twin,
    twin_method,
    verb,
)
from pandas_llm._verbs.labelling import classify
from pandas_llm._verbs.matching import filter, matches  # noqa: A004 - pandas' word
from pandas_llm._verbs.programs import Program, Steps, WithFacts
from pandas_llm._verbs.records import extract, generate
from pandas_llm._verbs.values import complete, embed

__all__ = [
    "Cascade",
    "Program",
    "Rows",
    "Steps",
    "Table",
    "WithFacts",
    "brief",
    "cheap_first",
    "chunk",
    "classify",
    "complete",
    "decide_rows",
    "embed",
    "extract",
    "filter",
    "form",
    "generate",
    "make_plan",
    "matches",
    "method",
    "missing_verb",
    "named_after_class",
    "planner",
    "replacing",
    "spell_out",
    "to_chat_jsonl",
    "tool",
    "twin",
    "twin_method",
    "verb",
]

"""The verbs: what can be asked of each row, defined once.

`forms` builds functions, methods and async twins from the definitions; `programs` are
what several runs make one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pandas_llm._verbs.cascade import bare, cheap_first, decide
from pandas_llm._verbs.chunking import Tokenizer, chunk
from pandas_llm._verbs.forms import (
    brief,
    form,
    make_plan,
    method,
    missing_verb,
    named_after_class,
    plan_of,
    spell_out,
    tool,
    twin,
    twin_method,
    verb,
)
from pandas_llm._verbs.labelling import aclassify, classify
from pandas_llm._verbs.matching import (
    afilter,
    amatches,
    filter,  # noqa: A004 - pandas' word
    matches,
)
from pandas_llm._verbs.programs import (
    Program,
    Signed,
    Steps,
    column_names,
    table_of,
)
from pandas_llm._verbs.records import aextract, agenerate, extract, generate
from pandas_llm._verbs.values import (
    acomplete,
    aembed,
    complete,
    embed,
)

if TYPE_CHECKING:
    from pandas_llm._verbs.cascade import Cascade, Target
    from pandas_llm._verbs.chats import replacing, to_chat_jsonl
    from pandas_llm._verbs.forms import Rows, Table

__all__ = [
    "Cascade",
    "Program",
    "Rows",
    "Signed",
    "Steps",
    "Table",
    "Target",
    "Tokenizer",
    "aclassify",
    "acomplete",
    "aembed",
    "aextract",
    "afilter",
    "agenerate",
    "amatches",
    "bare",
    "brief",
    "cheap_first",
    "chunk",
    "classify",
    "column_names",
    "complete",
    "decide",
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
    "plan_of",
    "replacing",
    "spell_out",
    "table_of",
    "to_chat_jsonl",
    "tool",
    "twin",
    "twin_method",
    "verb",
]


def __getattr__(name: str) -> Any:
    """Import chats at first use: all that runs a frame comes with them."""
    if name in ("replacing", "to_chat_jsonl"):
        return getattr(import_module("pandas_llm._verbs.chats"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

"""The verbs: what can be asked of a frame, each defined once.

`forms` builds functions, methods and async twins from the definitions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pandas_llm._verbs.aggregate import aagg, agg
from pandas_llm._verbs.ahead import estimate, preview, submit
from pandas_llm._verbs.chunking import Tokenizer, chunk
from pandas_llm._verbs.duplicates import (
    adrop_duplicates,
    aduplicated,
    angroup,
    drop_duplicates,
    duplicated,
    ngroup,
)
from pandas_llm._verbs.forms import (
    brief,
    form,
    method,
    missing_verb,
    named_after_class,
    plan_of,
    twin_method,
)
from pandas_llm._verbs.labelling import aclassify, classify
from pandas_llm._verbs.largest import anlargest, nlargest
from pandas_llm._verbs.matching import (
    afilter,
    amatches,
    filter,  # noqa: A004 - pandas' word
    matches,
)
from pandas_llm._verbs.merging import amerge, merge
from pandas_llm._verbs.records import aextract, agenerate, extract, generate
from pandas_llm._verbs.searching import asearch, search
from pandas_llm._verbs.values import (
    acomplete,
    aembed,
    complete,
    embed,
)

if TYPE_CHECKING:
    from pandas_llm._verbs.chats import replacing, to_chat_jsonl

__all__ = [
    "Tokenizer",
    "aagg",
    "aclassify",
    "acomplete",
    "adrop_duplicates",
    "aduplicated",
    "aembed",
    "aextract",
    "afilter",
    "agenerate",
    "agg",
    "amatches",
    "amerge",
    "angroup",
    "anlargest",
    "asearch",
    "brief",
    "chunk",
    "classify",
    "complete",
    "drop_duplicates",
    "duplicated",
    "embed",
    "estimate",
    "extract",
    "filter",
    "form",
    "generate",
    "matches",
    "merge",
    "method",
    "missing_verb",
    "named_after_class",
    "ngroup",
    "nlargest",
    "plan_of",
    "preview",
    "replacing",
    "search",
    "submit",
    "to_chat_jsonl",
    "twin_method",
]


def __getattr__(name: str) -> Any:
    """Import chats at first use: all that runs a frame comes with them."""
    if name in ("replacing", "to_chat_jsonl"):
        return getattr(import_module("pandas_llm._verbs.chats"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

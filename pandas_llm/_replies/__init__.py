"""What `keys` ask of a reply, and how a reply is read."""

from __future__ import annotations

from pandas_llm._replies.columns import Column, columns_of, numbered
from pandas_llm._replies.endings import Ending, ending
from pandas_llm._replies.fields import UNIONS, strict_model
from pandas_llm._replies.keys import Keys, parse_keys, parse_labels
from pandas_llm._replies.outputs import Completion, Label, Output, Record, Records
from pandas_llm._replies.reasoning import without_thinking
from pandas_llm._replies.rebuild import Place, keys_of
from pandas_llm._replies.schema import narrowed, portable
from pandas_llm._replies.vectors import Vector

__all__ = [
    "UNIONS",
    "Column",
    "Completion",
    "Ending",
    "Keys",
    "Label",
    "Output",
    "Place",
    "Record",
    "Records",
    "Vector",
    "columns_of",
    "ending",
    "keys_of",
    "narrowed",
    "numbered",
    "parse_keys",
    "parse_labels",
    "portable",
    "strict_model",
    "without_thinking",
]

"""How a reply becomes values: its text, the JSON in it, the records, their values.

`outputs` has one class a kind of verb; it calls the others in that order.
"""

from __future__ import annotations

from pandas_llm._replies.endings import Ending, ending
from pandas_llm._replies.outputs import Completion, Label, Output, Record, Records
from pandas_llm._replies.reasoning import without_thinking
from pandas_llm._replies.vectors import Vector

__all__ = [
    "Completion",
    "Ending",
    "Label",
    "Output",
    "Record",
    "Records",
    "Vector",
    "ending",
    "without_thinking",
]

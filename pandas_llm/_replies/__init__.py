"""How a reply becomes values: its text, the JSON in it, the records, their values.

`outputs` has one class a kind of verb; it calls the others in that order.
"""

from __future__ import annotations

from pandas_llm._replies.asking import asked_again, one_reply, word_requests
from pandas_llm._replies.choices import Choices
from pandas_llm._replies.decided import Decided, Label, LabelOdds, likeliest
from pandas_llm._replies.endings import Ending, ending
from pandas_llm._replies.outputs import Completion, Output, Record, Records, Vector
from pandas_llm._replies.words import Words, clashing

__all__ = [
    "Choices",
    "Completion",
    "Decided",
    "Ending",
    "Label",
    "LabelOdds",
    "Output",
    "Record",
    "Records",
    "Vector",
    "Words",
    "asked_again",
    "clashing",
    "ending",
    "likeliest",
    "one_reply",
    "word_requests",
]

"""What a row brings beside its prompt: images and files, conversations, examples."""

from __future__ import annotations

from pandas_llm._inputs import attachments, turns
from pandas_llm._inputs.attachments import text_of
from pandas_llm._inputs.turns import of_pairs, turns_as_text

__all__ = ["attachments", "of_pairs", "text_of", "turns", "turns_as_text"]

"""What a row brings beside its prompt: images and files, conversations, examples."""

from __future__ import annotations

from pandas_llm._inputs import attachments, turns
from pandas_llm._inputs.attachments import text_of
from pandas_llm._inputs.turns import as_text, of_pairs

__all__ = ["as_text", "attachments", "of_pairs", "text_of", "turns"]

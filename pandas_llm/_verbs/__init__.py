"""What can be asked of a frame beside the verbs that send: chunks and chats."""

from __future__ import annotations

from pandas_llm._verbs.chats import replacing, to_chat_jsonl
from pandas_llm._verbs.chunking import Tokenizer, chunk

__all__ = ["Tokenizer", "chunk", "replacing", "to_chat_jsonl"]

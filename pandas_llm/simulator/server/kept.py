"""Beginnings of prompts that are kept for the requests to come."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from pandas_llm.simulator.answers import count_tokens
from pandas_llm.simulator.dialects import Chat, beginnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_llm.simulator.dialects import Work

_BLOCK = 512
"""Letters at which beginnings without a mark are kept: 128 tokens, as at OpenAI."""


class KeptPrompts:
    """What one server keeps of prompts, each from the end of its answer on."""

    def __init__(self) -> None:
        self._kept: set[bytes] = set()

    def found(self, work: Work, least: int | None) -> Work:
        """Return the work with the tokens of it that are kept, or will be."""
        if least is None or not isinstance(work, Chat):
            return work
        text, _ = beginnings(work)
        read = written = 0
        for end, digest in _ends(work):
            tokens = count_tokens(text[:end])
            if tokens < least:
                continue
            written = tokens
            if digest in self._kept:
                read = tokens
        written = written - read if work.marked else 0
        taken = work.reserved - read * (not work.reads_count)
        return replace(work, cached=read, written=written, reserved=taken)

    def keep(self, work: Work, least: int | None) -> None:
        """Keep the beginnings of a prompt that was answered."""
        if least is not None and isinstance(work, Chat):
            self._kept.update(digest for _, digest in _ends(work))


def _ends(chat: Chat) -> Iterator[tuple[int, bytes]]:
    """Yield where a prompt may be kept up to, and a digest of what is before."""
    text, marks = beginnings(chat)
    digest, begin = hashlib.sha256(chat.model.encode()), 0
    for end in marks if chat.marked else range(_BLOCK, len(text) + 1, _BLOCK):
        digest.update(text[begin:end].encode("utf-8", "surrogatepass"))
        begin = end
        yield end, digest.digest()

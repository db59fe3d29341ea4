"""A reply as the bytes that the cache keeps of it, and back."""

from __future__ import annotations

import zlib
from typing import Any

import orjson

from pandas_llm.types import Choice, Odds, Reply, Tokens

# A vector stands as bytes behind a NUL, which JSON never holds. Fields have positions,
# not names: new ones at the end of `Reply` or `Tokens` have their default in older
# entries; any other change of them or of `Choice` needs another version of the file.


def dump(reply: Reply) -> bytes:
    """Return a reply as bytes; raise for a text with a lone surrogate."""
    choices, tokens, *rest, _ = reply
    texts = [_fields(choice) for choice in choices]
    text = orjson.dumps((texts, tokens and tuple(tokens), *rest))
    vector = choices[0].vector if choices else None
    return text if vector is None else b"%b\0%b" % (text, vector)


def _fields(choice: Choice) -> tuple[Any, ...]:
    """Return a choice without what it does not have, so that it stays short."""
    if choice.odds is None and choice.raw is None:
        return choice[:3]
    odds = choice.odds and tuple(choice.odds)
    fields = (*choice[:3], None, odds, choice.raw)
    return fields if choice.raw is not None else fields[:-1]


def load(text: bytes) -> Reply:
    """Return the reply that bytes hold."""
    text, nul, vector = text.partition(b"\0")
    texts, tokens, *rest = orjson.loads(text)
    choices = tuple([Choice(*choice) for choice in texts])
    if any(choice.odds for choice in choices):
        choices = tuple(
            [choice._replace(odds=_odds(choice.odds)) for choice in choices]
        )
    if nul:
        choices = (choices[0]._replace(vector=vector),)
    return Reply(choices, tokens and Tokens(*tokens), *rest)


def _odds(fields: Any) -> Odds | None:
    """Build the odds of a choice again."""
    if not fields:
        return None
    source, answers = fields
    return Odds(source, tuple(tuple(map(tuple, answer)) for answer in answers))


def checksum(key: bytes, text: bytes) -> int:
    """Bind a text to its key: SQLite itself has no checksums."""
    return zlib.crc32(text, zlib.crc32(key))

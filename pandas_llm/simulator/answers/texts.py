"""What the simulated model says: always the same to the same question."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers.prompt import (
    message_text,
    read_prompt,
    schema_in_text,
)
from pandas_llm.simulator.answers.schema import SchemaError, Writer
from pandas_llm.simulator.answers.values import MARK, stable_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_ANY_OBJECT = {
    "type": "object",
    "properties": {
        "records": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
        }
    },
    "required": ["records"],
}


def answer(
    messages: Sequence[Mapping[str, Any]],
    schema: Mapping[str, Any] | None,
    seed: int | str = 0,
    choice_index: int = 0,
    model: str = "sim",
) -> str:
    """Return the text of one choice: JSON with a schema, else marked plain text.

    Parameters
    ----------
    messages
        The messages of the request, as on the wire.
    schema
        The JSON schema to obey; an empty one stands for any JSON object. Without one,
        a schema written out in the messages is obeyed, as a good model would.
    seed, choice_index, model
        Together with the messages they fix the answer.

    Examples
    --------
    >>> answer([{"role": "user", "content": "text: Cats purr."}], None)
    '[simulated] Cats purr.'
    """
    prompt = read_prompt(messages)
    whole = stable_hash(str(seed), model, *map(message_text, messages))
    start = whole % max(1, len(prompt.sentences)) + choice_index
    salt = f"{whole}/{choice_index}"
    if schema:
        return _obey(Writer(prompt, schema, salt, start))
    if described := schema_in_text(messages):
        with suppress(SchemaError):  # it only looked like a schema
            return _obey(Writer(prompt, described, salt, start))
    if schema is not None:
        return _obey(Writer(prompt, _ANY_OBJECT, salt, start))
    return _plain(prompt.sentences, start)


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has: a quarter of its UTF-8 bytes.

    Examples
    --------
    >>> count_tokens("Hello, world")
    3
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN)


def count_message_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the tokens of a prompt, with a few for each message as such."""
    return sum(count_tokens(message_text(m)) + _TOKENS_PER_MESSAGE for m in messages)


def cut_to_tokens(text: str, tokens: int) -> str:
    """Return the beginning of a text that has no more tokens than that."""
    data = text.encode("utf-8", "surrogatepass")[: tokens * _BYTES_PER_TOKEN]
    return data.decode("utf-8", "ignore")


def _obey(writer: Writer) -> str:
    return json.dumps(writer.write(), ensure_ascii=False)


def _plain(sentences: Sequence[str], start: int) -> str:
    if not sentences:
        return f"{MARK}There is nothing to say."
    taken = [sentences[(start + i) % len(sentences)] for i in range(2)]
    return MARK + " ".join(dict.fromkeys(taken))

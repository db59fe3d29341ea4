"""Turns of rows: conversations and examples in cells, checked before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.errors import TurnsError
from pandas_llm.redaction import clipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Turns = Sequence[tuple[str, str]]
    """The role and the text of each."""

SYSTEM = ("system", "developer")
"""Who says what holds for the whole conversation; the second is OpenAI's newer word."""
_ROLES = ("user", "assistant")
_CALLS = ("tool_calls", "function_call")
_OF_TOOLS = "only texts are sent: leave it out, or put it into a turn of the user's"
_ADVICE = {
    **dict.fromkeys(("tool", "function", "ipython"), _OF_TOOLS),
    "human": "write 'user'",
    **dict.fromkeys(("model", "ai", "bot"), "write 'assistant'"),
}
_TEXTS = (None, "text", "input_text", "output_text")
"""The kinds of parts of a content that are texts."""
_PAIR = 2
_SHOWN = 61


def conversation(cell: Any, column: str) -> list[tuple[str, str]]:
    """Return the turns of a cell, of which the first may be the system's.

    >>> conversation('[{"role": "user", "content": "Hi"}]', "history")
    [('user', 'Hi')]
    """
    turns = []
    for number, turn in enumerate(_items(cell, column, "turns"), 1):
        role, text = _turn(turn, f"turn {number} of column {column!r}")
        if role in SYSTEM and number > 1:
            raise TurnsError(
                f"turn {number} of column {column!r} is the {role}'s: it can only be "
                "the first, as not every model takes it later"
            )
        turns.append((role, text))
    return turns


def examples(
    cell: Any, column: str, written: Callable[[Any], str]
) -> list[tuple[str, str]]:
    """Return the (prompt, reply) pairs of a cell as turns, the replies `written`."""
    pairs = []
    for number, pair in enumerate(_items(cell, column, "(prompt, reply) pairs"), 1):
        where = f"example {number} of column {column!r}"
        if not isinstance(pair, list) or len(pair) != _PAIR:
            raise TurnsError(
                f"{where} must be a (prompt, reply) pair, not {_short(pair)}"
            )
        prompt, reply = pair
        if not isinstance(prompt, str):
            raise TurnsError(f"{where} must begin with a text, not {_short(prompt)}")
        try:
            pairs.append((prompt, written(reply)))
        except TypeError as error:
            msg = f"{where} has a reply that JSON does not hold: {error}"
            raise TurnsError(msg) from None
    return of_pairs(pairs)


def of_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return examples as turns.

    >>> of_pairs([("1 + 1?", "2")])
    [('user', '1 + 1?'), ('assistant', '2')]
    """
    return [turn for pair in pairs for turn in zip(_ROLES, pair, strict=True)]


def turns_as_text(turns: Turns) -> str:
    """Return turns as people read them.

    >>> print(turns_as_text([("user", "Hi"), ("assistant", "Hello")]))
    user: Hi
    assistant: Hello
    """
    return "\n".join(f"{role}: {text}" for role, text in turns)


def _items(cell: Any, column: str, what: str) -> list[Any]:
    """Return what a cell lists; nothing of an empty text."""
    items = cell
    if isinstance(cell, str):
        try:
            text = cell.removeprefix("\ufeff").strip()  # the mark of a file's start
            items = orjson.loads(text) if text else []
        except ValueError as error:
            msg = f"column {column!r} holds no {what} in JSON ({error}): {_short(cell)}"
            if text.startswith("["):  # as to_csv writes lists
                msg += "; Python's own text is read by ast.literal_eval, not as JSON"
            raise TurnsError(msg) from None
    items = _plain(items)
    if not isinstance(items, list):
        msg = f"column {column!r} must hold a list of {what}, not {_short(cell)}"
        raise TurnsError(msg)
    return items


def _turn(turn: Any, where: str) -> tuple[str, str]:
    """Return role and text; other fields of a turn are not sent."""
    if not isinstance(turn, Mapping) or "role" not in turn:
        msg = f"{where} must be {{'role': …, 'content': …}}, not {_short(turn)}"
        raise TurnsError(msg)
    role, text = turn["role"], _text(turn.get("content"), where)
    if role not in (*_ROLES, *SYSTEM):
        advice = "the roles are 'user' and 'assistant', and 'system' at the start"
        if isinstance(role, str):
            advice = _ADVICE.get(role.lower(), advice)
        raise TurnsError(f"{where} has the role {role!r}: {advice}")
    if any(turn.get(name) for name in _CALLS):
        raise TurnsError(f"{where} calls tools, and {_OF_TOOLS}")
    if not isinstance(text, str):
        kind = "nothing" if text is None else type(text).__name__
        msg = f"{where} ({role}) must have a text as its content, not {kind}"
        raise TurnsError(msg)
    if not text.strip():
        msg = f"{where} ({role}) is empty, and no model takes that: leave it out"
        raise TurnsError(msg)
    return role, text


def _text(content: Any, where: str) -> Any:
    """Return parts, which OpenAI and Anthropic write too, as one text."""
    if not isinstance(content, list):
        return content
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind not in _TEXTS or not isinstance(part.get("text"), str):
            raise TurnsError(
                f"{where} has a part {kind!r}: only texts are sent; see images= and "
                "files="
            )
    return "\n".join(part["text"] for part in content)


def _plain(value: Any) -> Any:
    """Return lists and dicts for what Parquet, numpy and Spark have instead."""
    if hasattr(value, "asDict"):  # a row of Spark, which is a tuple too
        value = value.asDict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _short(value: Any) -> str:
    """Show the beginning of a value, and of what kind it is."""
    return f"{clipped(repr(value), _SHOWN)} ({type(value).__name__})"

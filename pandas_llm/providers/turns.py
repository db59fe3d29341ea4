"""How turns are put together for a vendor that takes them in one way alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Turns = Sequence[tuple[str, Any]]
    """Role and text of each; in its place the parts, where anything is attached."""
    Part = dict[str, Any]
    Words = Callable[[str], Part]
    """`Dialect.words`: makes a part of a text."""
    Marked = Callable[[Part], list[Part]]
    """`Dialect.marked`: marks the end of a part."""


def split(
    prompt: str, ends: Sequence[int], words: Words, marked: Marked
) -> str | list[Part]:
    """Split a prompt where beginnings end that others have; blanks are not a part."""
    parts: list[Part] = []
    begin = 0
    for end in ends:
        if prompt[begin:end].strip() and prompt[end:].strip():
            parts += marked(words(prompt[begin:end]))
            begin = end
    return [*parts, words(prompt[begin:])] if parts else prompt


def led(system: str, turns: Turns, words: Words) -> Turns:
    """Put the system text ahead of the first turn."""
    return (*alternating([("user", system), turns[0]], words), *turns[1:])


def alternating(turns: Turns, words: Words) -> Turns:
    """Make one turn of those of one role that follow each other."""
    joined: list[tuple[str, Any]] = []
    for role, content in turns:
        if not joined or joined[-1][0] != role:
            joined.append((role, content))
        elif isinstance(content, str):
            joined[-1] = (role, f"{joined[-1][1]}\n\n{content}")
        else:  # the parts of the prompt
            joined[-1] = (role, [words(joined[-1][1]), *content])
    return joined

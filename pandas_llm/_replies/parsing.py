"""Parsing: JSON found in a reply's text, mended if need be."""

from __future__ import annotations

import json
import re
from typing import Any

from pandas_llm._replies.mending import Number, mended
from pandas_llm._replies.records import folded, holds_objects

# a bracket that begins JSON, or what was meant as such, and no aside of a sentence
_OPENS = re.compile(
    r"""[{\[](?=\s*(?:["'`“{\[\]}]|/[/*]|-?\d
        |(?:true|false|null|True|False|None|NaN)\b))
        |\{(?=\s*[\w$][\w$.\- ]{0,200}["']?\s*:)""",
    re.VERBOSE,
)
# a quote alone begins a text that never ends
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]"]', re.DOTALL)
_ASIDE = re.compile(r'\[[^\[\]{}"]*\]')
_HEADLESS = re.compile(r'"[^"\\\n]{1,200}"\s*:\s*["{\[\d-].*[}\]]\s*\Z', re.DOTALL)
_PAIR = re.compile(r'"\s*:')
_COLON = re.compile(r"\s*:")
_FENCE_OPENS = re.compile(r"(?:```|~~~)[ \t]*[\w+.-]*\s*\Z")
_FENCES = ("```", "~~~")
_LONGEST_NUMBER = 400
"""Digits that a parser of JSON takes for sure."""
_ENDING = re.compile(r"[\s}\]]*")
_GOES_ON = re.compile(r'[^{\[\n]*"[^{\[\n]*[}\]]')
_NUMBER_LAST = re.compile(r"""(?:\d\.?|["'][\d.,]+["'])[\s}\],;]*\Z""")
_NEAR = 200
"""Letters of a line that are looked at."""
_WORD = r"""(?:per\s?cent|pct|hundreds?|thousands?|lakhs?|crores?|dozens?|mill?i?ons?
    |[mbt]r?ill?ions?|millionen|millones|milliards?|milliarden|[kmbx]|bn)\b"""
_SCALE = re.compile(
    rf"""[}}\]]*(?:[ \t]{{0,9}}\(?[ \t]{{0,9}}(?:[%‰\u00d7万萬億亿千]|{_WORD})
    |\s{{0,99}}(?:[%‰]|{_WORD})[.\s]{{0,99}}\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A scale: on the same line, or all that there is on the next."""
_GOES_WITH = re.compile(
    r"[}\]]*(?:[ \t]{0,9}\(?[ \t]{0,9}(?:[°€$£¥\d½¼¾+*/^]|[-\u2013]\d)"
    r"|[ \t]{1,9}([a-z]+))"
)
_CLAUSES = frozenset(
    (
        *("and", "as", "is", "was", "because", "since", "which", "this", "that"),
        *("these", "the", "here", "hope", "where", "with", "according", "if", "let"),
        *("based", "i", "for", "from", "by", "but", "then", "so"),
    )
)
"""Words with which a sentence goes on that is no longer about the number."""
_HALVES = re.compile(r"[}\]]*\s+and\s+(?:an?|one|two|three|\d)\b")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|nor)|n['\u2019]t)[\s:`*]*\Z|[~≈±≤≥\u2212]\Z", re.IGNORECASE
)


class Twice:
    """What stands for a value whose key an object holds twice, differently."""


def _paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of two different values under one key none is the value."""
    made = dict(pairs)
    if len(made) < len(pairs):
        for key, value in pairs:
            if value != made[key]:
                made[key] = Twice()
    return made


# NaN is read as null: a number that may be missing is then missing
_DECODER = json.JSONDecoder(
    strict=False,
    parse_constant=lambda word: None if word == "NaN" else float(word),
    parse_float=Number,
    parse_int=Number,
    object_pairs_hook=_paired,
)


def find_json(
    text: str,
    *,
    truncated: bool = False,
    bare: bool = False,
    names: frozenset[str] = frozenset(),
) -> list[Any]:
    r"""Find all JSON values in a text; those with objects, when some have.

    A list of bare values counts when it is the whole text, or the whole of a fence:
    in a sentence it is an aside or a citation.

    Parameters
    ----------
    text : str
        A reply, with whatever stands around the JSON.
    truncated : bool
        Whether it was cut off: then only what is complete counts.
    bare : bool
        Whether a text alone may be a record.
    names : frozenset of str
        The names of a record.

    Raises
    ------
    ValueError
        When there is none, or it is broken beyond repair.

    Examples
    --------
    >>> find_json("Sure [1]:\n```json\n{'a': 1,}\n```\nAnything else?")
    [{'a': 1}]
    """
    text = _unwrapped(text.strip())
    values: list[Any] = []
    at, clean = 0, True
    while opening := _OPENS.search(text, at):
        start = opening.start()
        before = text[at:start]
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            if truncated and _end(text, start) is None:
                whole = _is_opened(before, clean=clean)
                bare = bare and (whole or text[start] == "{")
                values += _complete_items(text[start:], names, bare=bare)
                break
            if (aside := _ASIDE.match(text, start)) and before.strip():
                at, clean = aside.end(), False
                continue
            value, end = mended(text, start)
        _check_around(text, before, end)
        counts = _is_opened(before, clean=clean) and _is_closed(text, end)
        clean = holds_objects(value, deep=True) or counts
        if clean or isinstance(value, dict):
            values.append(value)
        at = end
    if not values:
        values = _bare(text)
    with_objects = [value for value in values if holds_objects(value)]
    return with_objects or values


def _unwrapped(text: str) -> str:
    """Take off quotes of JSON that was encoded twice; add a lost first brace."""
    if text[:1] == "`" and text[:3] != "```":
        text = text.strip("`").strip()
    if _HEADLESS.match(text):
        return "{" + text
    try:
        inner = _DECODER.decode(text) if text[:1] == '"' else None
    except (ValueError, RecursionError):
        return text
    return inner if isinstance(inner, str) and _OPENS.match(inner.strip()) else text


def _bare(text: str) -> list[Any]:
    """Read JSON that is no object or list."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        value = []
    if isinstance(value, list):
        msg = "the reply holds no JSON" if text else "the reply is empty"
        raise ValueError(msg) from None  # noqa: TRY004 - the reply is wrong
    return [value]


def _is_opened(before: str, *, clean: bool) -> bool:
    """Tell whether nothing but a fence stands between a list and what is before."""
    if not before.strip():
        return clean
    return _FENCE_OPENS.search(before[-200:]) is not None


def _is_closed(text: str, end: int) -> bool:
    """Tell whether a list is the last of the text, of its fence or of its line."""
    ending = _ENDING.match(text, end)
    rest = end if ending is None else ending.end()
    if rest == len(text) or text.startswith(_FENCES, rest):
        return True
    return text[rest] == "[" and "\n" in text[end:rest]


def _check_around(text: str, before: str, end: int) -> None:
    """Raise where JSON seems to begin or end, but is part of more."""
    ending = _ENDING.match(text, end)
    rest = end if ending is None else ending.end()
    quoted = text[rest : rest + 1] == '"' and "\n" not in text[end:rest]
    if (quoted and before[-1:] != '"') or (
        not quoted and _GOES_ON.match(text, rest) is not None
    ):
        msg = "the JSON goes on where it seems to end"
        raise ValueError(msg)
    if before.rstrip()[-1:] == ":" and len(_PAIR.findall(before)) > 1:
        msg = "the JSON lacks its beginning"
        raise ValueError(msg)
    if _NEGATED.search(before[-20:]) or _changes_the_number(text, end):
        msg = "words directly beside the JSON change what it says"
        raise ValueError(msg)


def _changes_the_number(text: str, end: int) -> bool:
    """Tell whether what stands behind a number at the end is part of it, a unit say."""
    if _NUMBER_LAST.search(text[max(0, end - 80) : end]) is None:
        return False
    if _SCALE.match(text, end) or _HALVES.match(text, end):
        return True
    found = _GOES_WITH.match(text, end)
    if found is None or found[1] in _CLAUSES:
        return False
    return "{" not in text[end : end + _NEAR].partition("\n")[0]


def _end(text: str, start: int) -> int | None:
    """Return where the bracket at `start` is closed; None when it was cut off."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark == '"':
            return None
        depth += (mark in "{[") - (mark in "}]")
        if depth == 0 and mark in "}]":
            return token.end()
    return None


def _complete_items(  # noqa: C901 - one pass over the marks
    text: str, names: frozenset[str], *, bare: bool
) -> list[Any]:
    """Return the complete items of the first list with any, of JSON that was cut off.

    Not those of a list that is itself a value of a record.
    """
    stack: list[str] = []
    lists = start = 0
    ends = '}"' if bare else "}"
    found: dict[str, tuple[int, int]] = {}  # by the last letter of an item
    keys: list[str] = []
    for token in _TOKEN.finditer(text):
        mark = token[0][0]
        if token[0] == '"':
            break  # the text in which the reply was cut off
        if mark in "{[":
            stack.append(mark)
            lists += mark == "["
            if lists == 1 and mark == "[":
                start = token.start()
                if _is_value(keys, names, bare=bare):
                    return []
        elif mark in "}]" and stack:
            lists -= stack.pop() == "["
        elif mark == '"' and not lists and _COLON.match(text, token.end()):
            keys.append(token[0][1:-1])
        if lists == 1 and stack[-1] == "[" and mark in ends:
            first, _ = found.get(mark, (start, 0))
            if first == start:
                found[mark] = (start, token.end())
    if not found:
        return []
    start, end = found.get("}") or found['"']
    try:
        return [_DECODER.decode(text[start:end] + "]")]
    except (ValueError, RecursionError):
        return [mended(text[start:end] + "]", 0)[0]]


def _is_value(keys: list[str], names: frozenset[str], *, bare: bool) -> bool:
    """Tell whether a list behind some keys is a value of a record."""
    *before, last = keys or [""]
    if last == "records" and last not in names:
        return False
    if bare and names & folded({last: None}, names).keys():
        keys = before
    return bool(names & folded(dict.fromkeys(keys), names).keys())


def written(value: Any, *, exact: bool = False) -> str:
    """Write data as JSON, numbers with the digits they had.

    Parameters
    ----------
    value
        What `find_json` found.
    exact : bool
        Whether fractions are written as texts, from which a decimal is read whole.

    Raises
    ------
    ValueError
        For a key that stands twice.
    """
    if isinstance(value, Number):
        is_whole = value.lstrip("-").isdigit()
        as_text = (exact and not is_whole) or len(value) > _LONGEST_NUMBER
        return f'"{value}"' if as_text else str(value)
    if isinstance(value, dict):
        pairs = (
            f"{json.dumps(key)}: {written(item, exact=exact)}"
            for key, item in value.items()
            if not _refused(key, item)
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item, exact=exact) for item in value) + "]"
    return json.dumps(value)


def _refused(key: str, item: Any) -> bool:
    """Raise for a key that stands twice."""
    if isinstance(item, Twice):
        msg = f"the key {key!r} stands twice, with different values"
        raise ValueError(msg)  # noqa: TRY004 - it is the reply that is wrong
    return False

"""Find the JSON in a reply's text, and mend it if it is broken."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pandas_llm._json.mending import Number, mended
from pandas_llm._json.records import folded, holds_objects
from pandas_llm._json.surroundings import NEAR, check_surroundings

if TYPE_CHECKING:
    from pandas_llm._keys import Keys

# a bracket that begins JSON, or what was meant as JSON, not an aside in a sentence
_OPENS = re.compile(
    r"""[{\[](?=\s*(?:["'`“„«{\[\]}]|/[/*]|-?\d
        |(?:true|false|null|True|False|None|NaN)\b))
        |\{(?=\s*[\w$][\w$.\- ]{0,200}["']?\s*:)""",
    re.VERBOSE,
)
# a quote alone begins a text that never ends
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]"]', re.DOTALL)
_ASIDE = re.compile(r'\[[^\[\]{}"]*\]')
_HEADLESS = re.compile(r'"[^"\\\n]{1,200}"\s*:\s*["{\[\d-].*[}\]]\s*\Z', re.DOTALL)
_QUOTE = re.compile(r'(?<!\\)"')
_PAIR = re.compile(r'"\s*:')
_COLON = re.compile(r"\s*:")
_BRACES = re.compile(r"\{+|\}+")
_DRAFT = re.compile(
    r"\A\s*</([^<>\s]{1,40})>(?!.*<\1[\s>])"
    r"|\b(?:final|corrected|revised|improved|better|updated|answer)\b"
    r"[^\w\n]{0,20}(?:\w+[^\w\n]{0,9}){0,2}\s*\Z",
    re.DOTALL | re.IGNORECASE,
)
"""What stands between two objects of which the first was not meant to stay."""
_FENCE_OPENS = re.compile(r"(?:```|~~~)[ \t]*[\w+.-]*\s*\Z")
_FENCES = ("```", "~~~")
_LONGEST_NUMBER = 400  # digits that any parser of JSON takes
_LONGEST_WHOLE = 19  # digits that a column holds
_ENDING = re.compile(r"[\s}\]]*")
_GOES_ON = re.compile(r'(?:\w|[^{\[\n]*")[^{\[\n]*[}\]]')


class Twice:
    """Stands for a value whose key an object holds twice, with different values."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, with `Twice` under a key that has two different values."""
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, value in pairs:
            if value != values[key]:
                values[key] = Twice()
    return values


# NaN is read as null: a number that may be missing is then missing
_DECODER = json.JSONDecoder(
    strict=False,
    parse_constant=lambda word: None if word == "NaN" else word,
    parse_float=Number,
    parse_int=Number,
    object_pairs_hook=_object,
)


def find_json(
    text: str, keys: Keys, *, truncated: bool = False, ended: bool = True
) -> list[Any]:
    r"""Return all JSON values in a text, only those with objects if there are any.

    A list of bare values must fill the text or a fence: in a sentence it is an aside.
    Where no reason to end is told (`ended`), a missing bracket is no slip.

    Examples
    --------
    >>> from pandas_llm._keys import parse_keys
    >>> reply = "Sure [1]:\n```json\n{'a': 1,}\n```\nAnything else?"
    >>> find_json(reply, parse_keys(["a"]))
    [{'a': 1}]
    """
    text = _unwrapped(text.strip())
    values = _values(text, keys, truncated=truncated, ended=ended) or [_bare(text)]
    holding = [value for value in values if holds_objects(value)] or values
    lists = [v for v in holding if isinstance(v, list) or _holds_all(v, keys)]
    if any(one != lists[0] for one in lists):
        raise ValueError("the reply holds more than one list of records")
    return holding


def _values(text: str, keys: Keys, *, truncated: bool, ended: bool) -> list[Any]:
    """Return the objects and lists of a text that are no asides in a sentence."""
    values: list[Any] = []
    at, clean = 0, True
    while opening := _OPENS.search(text, at):
        start = opening.start()
        before = text[at:start]
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            if truncated:
                whole = _is_opened(before, clean=clean) or text[start] == "{"
                bare = keys.is_bare and whole
                items = _complete_items(text[start:], keys.names, bare=bare)
                if items is not None:
                    values += items
                    break
            if (aside := _ASIDE.match(text, start)) and before.strip():
                at, clean = aside.end(), False
                continue
            value, end = _mended(text, start, ended=ended)
        _check_around(text, before, end)
        check_surroundings(text, before, start, end)
        if values and _DRAFT.search(before) and value not in values:
            raise ValueError("the reply holds a draft beside its answer")
        counts = _is_opened(before, clean=clean) and _is_closed(text, end)
        clean = holds_objects(value, deep=True) or counts
        if clean or isinstance(value, dict):
            values.append(value)
        at = end
    if values and text[at:].rstrip()[-1:] in ("{", "["):
        raise ValueError("the JSON breaks off")
    return values


def _holds_all(value: Any, keys: Keys) -> bool:
    """Return whether a value is a whole answer, and so another one contradicts it."""
    whole = isinstance(value, dict) and value.keys() == {"records"}
    return whole and "records" not in keys.names


def _unwrapped(text: str) -> str:
    """Remove quotes and braces of JSON that was encoded twice; add a lost first one."""
    if text[:1] == "`" and text[:3] != "```":
        text = text.strip("`").strip()
    if "{{" in text and not any(len(run) % 2 for run in _BRACES.findall(text)):
        text = text.replace("{{", "{").replace("}}", "}")  # as templates write them
    if _HEADLESS.match(text):
        return "{" + text
    # where all quotes are escaped, the outer ones are lost
    lost = '\\":' in text and _QUOTE.search(text) is None
    whole = f'"{text}"' if lost else text
    try:
        inner = _DECODER.decode(whole) if whole[:1] == '"' else None
    except (ValueError, RecursionError):
        return text
    return inner if isinstance(inner, str) and _OPENS.match(inner.strip()) else text


def _bare(text: str) -> Any:
    """Read a value that is neither an object nor a list."""
    with suppress(ValueError, RecursionError):
        if not isinstance(value := _DECODER.decode(text), list):
            return value
    raise ValueError("the reply holds no JSON" if text else "the reply is empty")


def _is_opened(before: str, *, clean: bool) -> bool:
    """Return whether a list is the first of the text, or of its fence."""
    if not before.strip():
        return clean
    return _FENCE_OPENS.search(before[-NEAR:]) is not None


def _behind_brackets(text: str, at: int) -> int:
    """Return where blanks and closing brackets end."""
    brackets = _ENDING.match(text, at)
    return at if brackets is None else brackets.end()


def _is_closed(text: str, end: int) -> bool:
    """Return whether a list is the last of the text, of its fence or of its line."""
    rest = _behind_brackets(text, end)
    next_list = text.startswith("[", rest) and "\n" in text[end:rest]
    return rest == len(text) or next_list or text.startswith(_FENCES, rest)


def _check_around(text: str, before: str, end: int) -> None:
    """Raise where JSON seems to begin or end, but is part of more."""
    rest = _behind_brackets(text, end)
    quoted = text[rest : rest + 1] == '"' and "\n" not in text[end:rest]
    if (quoted and before[-1:] != '"') or (
        not quoted and _GOES_ON.match(text, rest) is not None
    ):
        raise ValueError("the JSON goes on where it seems to end")
    if before.rstrip()[-1:] == ":" and len(_PAIR.findall(before)) > 1:
        raise ValueError("the JSON lacks its beginning")


def _mended(text: str, start: int, *, ended: bool) -> tuple[Any, int]:
    """Mend the JSON at `start`, which must be closed if no reason to end is told."""
    if not ended:
        opened = text.count("{", start) + text.count("[", start)
        if opened > text.count("}", start) + text.count("]", start):
            raise ValueError("the JSON breaks off")
    return mended(text, start)


def _complete_items(  # noqa: C901 - one pass over the marks
    text: str, names: frozenset[str], *, bare: bool
) -> list[Any] | None:
    """Return the complete items of a cut-off list of records; None if nothing is cut.

    It is the first list that has items; none are told where one is a record's value.
    """
    stack: list[str] = []
    lists = start = 0
    is_value = False
    spans: dict[str, tuple[int, int]] = {}  # by the last letter of an item
    keys: list[str] = []
    for token in _TOKEN.finditer(text):
        mark = token[0][0]
        if token[0] == '"':
            break  # the text in which the reply was cut off
        if mark in "{[":
            stack.append(mark)
            lists += mark == "["
        elif mark in "}]":
            lists -= stack.pop() == "["
            if not stack:
                return None
        elif not lists and _COLON.match(text, token.end()):
            keys.append(token[0][1:-1])
        if lists != 1 or stack[-1] != "[":
            continue
        if mark == "[":
            start = token.start()
            is_value = is_value or _is_value(keys, names, bare=bare)
        elif mark == "}" or (mark == '"' and bare):
            spans.setdefault(mark, (start, 0))
            if spans[mark][0] == start:
                spans[mark] = start, token.end()
    if is_value or not spans:
        return []
    start, end = spans.get("}") or spans['"']
    try:
        return [_DECODER.decode(text[start:end] + "]")]
    except (ValueError, RecursionError):
        return [mended(text[start:end] + "]", 0)[0]]


def _is_value(keys: list[str], names: frozenset[str], *, bare: bool) -> bool:
    """Return whether a list behind some keys is a value of a record."""
    *before, last = keys or [""]
    if last == "records" and last not in names:
        return False
    if bare and names & folded({last: None}, names).keys():
        keys = before
    return bool(names & folded(dict.fromkeys(keys), names).keys())


def _digits(number: Number, *, exact: bool) -> str:
    """Write a number; as a text where a parser would take it for another whole one."""
    as_text = len(number) > _LONGEST_NUMBER
    if not number.lstrip("-").isdigit():
        value, near = Decimal(number), float(number)
        small = value.adjusted() < _LONGEST_WHOLE
        is_whole = small and value == value.to_integral_value()
        if is_whole and value != near and not exact:
            return format(value, ".0f")
        as_text = as_text or exact or (near.is_integer() and small and not is_whole)
    return f'"{number}"' if as_text else str(number)


def as_json(value: Any, *, exact: bool = False) -> str:
    """Write data as JSON with all digits of numbers, fractions as texts if `exact`."""
    if isinstance(value, Number):
        return _digits(value, exact=exact)
    if isinstance(value, list):
        return "[" + ", ".join(as_json(item, exact=exact) for item in value) + "]"
    if not isinstance(value, dict):
        return json.dumps(value)
    pairs = []
    for key, item in value.items():
        if isinstance(item, Twice):
            raise ValueError(f"the key {key!r} stands twice, with different values")  # noqa: TRY004 - it is the reply that is wrong
        pairs.append(f"{json.dumps(key)}: {as_json(item, exact=exact)}")
    return "{" + ", ".join(pairs) + "}"

"""Parsing: JSON found in a reply's text, mended if need be, and the records in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import json_repair

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_THOUGHT = re.compile(
    r"\A\s*<(think|thinking|thought|reasoning)>.*?</\1>\s*", re.DOTALL | re.IGNORECASE
)
_THINKING = re.compile(r"\A\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
# a chat template may have written the opening tag, so that the reply lacks it
_THOUGHT_ENDS = re.compile(r"\A(?:(?!<think).)*?</think>\s*\n\s*", re.DOTALL)
# a bracket that begins JSON, or what was meant as such, and no aside of a sentence
_OPENS = re.compile(
    r"""[{\[](?=\s*(?:["'“{\[\]}]|/[/*]|-?\d
        |(?:true|false|null|True|False|None|NaN)\b))|\{(?=\s*\w+\s*:)""",
    re.VERBOSE,
)
# a quote alone begins a text that never ends
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]"]', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_VALUE = re.compile(r":\s*[,}\]]")
_MORE = re.compile(r"""["{\[]|'\s*:|:\s*'""")
_REPAIRABLE = 100_000
"""Characters that are worth mending; json-repair may take a second for so many."""

# NaN is read as null: a number that may be missing is then missing
_DECODER = json.JSONDecoder(
    strict=False, parse_constant=lambda word: None if word == "NaN" else float(word)
)


def without_thinking(text: str) -> str | None:
    """Take the thinking before an answer off; None when there is nothing else.

    Examples
    --------
    >>> without_thinking("<think>Let me see.</think>Yes.")
    'Yes.'
    """
    while thought := _THOUGHT.match(text):
        text = text[thought.end() :]
    if _THINKING.match(text):
        return None
    return _THOUGHT_ENDS.sub("", text) if "</think>" in text else text


def find_json(text: str, *, truncated: bool = False, bare: bool = False) -> list[Any]:
    r"""Find all JSON values in a text; those with objects, when some have.

    Parameters
    ----------
    text : str
        A reply, with whatever stands around the JSON.
    truncated : bool
        Whether it was cut off: then only what is complete counts.
    bare : bool
        Whether a text alone may be a record.

    Raises
    ------
    ValueError
        When there is none, or it is broken beyond repair.

    Examples
    --------
    >>> find_json("Sure [1]:\n```json\n{'a': 1,}\n```\nAnything else?")
    [{'a': 1}]
    """
    text = _decoded(text.strip())
    values: list[Any] = []
    at = 0
    while opening := _OPENS.search(text, at):
        start = opening.start()
        try:
            value, at = _DECODER.raw_decode(text, start)
            values.append(value)
        except (ValueError, RecursionError):
            if truncated and _end(text, start, texts_end=True) is None:
                values += _complete_items(text[start:], bare=bare)
                break
            value, at = _mended(text, start)
            values.append(value)
    if not values:
        values = _bare(text)
    with_objects = [value for value in values if _holds_objects(value)]
    return with_objects or values


def _decoded(text: str) -> str:
    """Take off the quotes of JSON that was encoded twice."""
    try:
        inner = _DECODER.decode(text) if text[:1] == '"' else None
    except (ValueError, RecursionError):
        return text
    return inner if isinstance(inner, str) and _OPENS.match(inner.strip()) else text


def _bare(text: str) -> list[Any]:
    """Read JSON that is no object or list."""
    try:
        return [_DECODER.decode(text)]
    except (ValueError, RecursionError):
        msg = "the reply holds no JSON" if text else "the reply is empty"
        raise ValueError(msg) from None


def _holds_objects(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict) for item in value)
    return isinstance(value, dict) and bool(value)


def _end(text: str, start: int, *, texts_end: bool = False) -> int | None:
    """Give where the bracket at `start` is closed; None when it never is.

    Of quotes within a text one may seem to begin a text that never ends. With
    `texts_end` the JSON was cut off there.
    """
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark == '"' and texts_end:
            return None
        depth += (mark in "{[") - (mark in "}]")
        if depth == 0 and mark in "}]":
            return token.end()
    return None


def _mended(text: str, start: int) -> tuple[Any, int]:
    """Repair the JSON that begins at `start`; give it and where it ends.

    json-repair invents what is missing, so JSON that breaks off in the middle, or
    lacks a value, is refused here.
    """
    end = _end(text, start)
    if end is None:
        end = max(text.rfind("}"), text.rfind("]")) + 1
        if end <= start or _MORE.search(text, end):
            msg = "the JSON breaks off"
            raise ValueError(msg)
    piece = text[start:end]
    if len(piece) > _REPAIRABLE:
        msg = "the JSON is broken, and too long to be mended"
        raise ValueError(msg)
    if _NO_VALUE.search(_STRING.sub('""', piece)):
        msg = "the JSON lacks a value"
        raise ValueError(msg)
    try:
        value: Any = json_repair.loads(piece, skip_json_loads=True)
    except Exception:  # noqa: BLE001 - whatever it stumbles over, it is no JSON
        value = None
    if not isinstance(value, (dict, list)) or not value:
        msg = "the JSON is broken"
        raise ValueError(msg)
    return value, end


def _complete_items(text: str, *, bare: bool) -> list[Any]:
    """Give the complete items of the first list with any, of JSON that was cut off."""
    stack: list[str] = []
    lists = start = 0
    ends = '}"' if bare else "}"
    found: dict[str, tuple[int, int]] = {}  # by the last letter of an item
    for token in _TOKEN.finditer(text):
        mark = token[0][0]
        if token[0] == '"':
            break  # the text in which the reply was cut off
        if mark in "{[":
            stack.append(mark)
            lists += mark == "["
            if lists == 1 and mark == "[":
                start = token.start()
        elif mark in "}]" and stack:
            lists -= stack.pop() == "["
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
        return [_mended(text[start:end] + "]", 0)[0]]


# -- from data to records -------------------------------------------------------


def items(
    values: Iterable[Any], names: frozenset[str], *, bare: bool = False
) -> list[Any]:
    """Find the records in whatever shape they came.

    A list, an object with a list under any name, one record alone, records by number,
    any of them nested once more.

    Parameters
    ----------
    values : iterable
        What `find_json` found.
    names : frozenset of str
        The names of a record.
    bare : bool
        Whether a record may be a value without its name: there is one name, and no
        list under it.

    Examples
    --------
    >>> items([{"data": {"pairs": [{"q": 1}, {"q": 2}]}}], frozenset({"q"}))
    [{'q': 1}, {'q': 2}]
    """
    found: list[Any] = []
    for value in values:
        inner = _inner_list(value, names, bare=bare)
        if inner is None and isinstance(value, dict) and len(value) == 1:
            (nested,) = value.values()  # one level of needless nesting
            if isinstance(nested, dict) and not _is_record(value, names):
                inner = _inner_list(nested, names, bare=bare) or [nested]
        found += [value] if inner is None else inner
    return found


def _inner_list(value: Any, names: frozenset[str], *, bare: bool) -> list[Any] | None:
    """Give the list of records that a value is or holds; None for a record alone."""
    if isinstance(value, list):
        if value and all(isinstance(item, list) for item in value):
            holds_records = any(_holds_objects(item) for item in value)
            return [i for inner in value for i in inner] if holds_records else value
        only_value = len(names) == 1 and not bare and not _holds_objects(value)
        return None if only_value and value else value
    if not isinstance(value, dict):
        return None
    # a list of texts holds no records of several keys
    lists = [v for v in value.values() if isinstance(v, list)]
    lists = [v for v in lists if not v or len(names) == 1 or _holds_objects(v)]
    records = [v for v in lists if v and all(_is_record(i, names) for i in v)]
    known = names & folded(value, names).keys()
    if known and not (len(records) == 1 and known < names):
        return lists[0] if bare and lists and len(value) == 1 else None
    for one in ([value["records"]] if "records" in value else [], records, lists):
        if len(one) == 1 and isinstance(one[0], list):
            return list(one[0])
    inner = list(value.values())
    by_number = len(inner) > 1 and all(isinstance(v, dict) for v in inner)
    return inner if by_number else None


def _is_record(item: Any, names: frozenset[str]) -> bool:
    return isinstance(item, dict) and bool(names & folded(item, names).keys())


def folded(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Rename the keys that differ from a name in case, blanks or marks only.

    A name that is there already, or that two keys could mean, is left alone.
    """
    wanted: dict[str, list[str]] = {}
    for name in names:
        if name not in item:
            wanted.setdefault(_fold(name), []).append(name)
    if not wanted:
        return dict(item)
    given = Counter(map(_fold, item))
    clear = {f: n[0] for f, n in wanted.items() if len(n) == 1 and given[f] == 1}
    return {clear.get(_fold(key), key): value for key, value in item.items()}


def named(item: Any, names: frozenset[str], optional: frozenset[str]) -> Any:
    """Give the record under its names, those that may be null filled in.

    A bare value belongs to the only key; one level of needless nesting is undone.
    """
    if isinstance(item, dict):
        if len(item) == 1 and not names & folded(item, names).keys():
            (inner,) = item.values()
            item = inner if isinstance(inner, dict) else item
        item = folded(item, names)
        if names & item.keys():
            return {**dict.fromkeys(optional - item.keys()), **item}
        return item
    if len(names) == 1:
        return {next(iter(names)): item}
    return item


def _fold(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold() or name

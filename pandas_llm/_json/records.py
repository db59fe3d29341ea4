"""Records: where they are in the data of a reply, and under which names."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pandas_llm._keys import Keys

_CITATIONS = re.compile(
    r"(?:sources?|references?|refs?|citations?|cites?|cited|footnotes?|notes?)",
    re.IGNORECASE,
)
_LISTS = re.compile(
    "(?:records?|items?|results?|data|outputs?|response|answers?|values?|list|entries"
    "|rows?|array|found|extracted|extractions?|matches)+"
)
"""Names of a list that do not describe what is in it."""
_PARTS = re.compile(r"[\s_-]+|(?<=[a-z])(?=[A-Z])")
_HEAD = re.compile("[:\uff1a]")
_STEM = 3
"""Letters of a name that its plural begins with; it may change the last of more."""


def holds_objects(value: Any, *, deep: bool = False) -> bool:
    """Return whether a value is an object with keys, or a list with objects."""
    if isinstance(value, list):
        return any(
            isinstance(item, dict) or (deep and holds_objects(item)) for item in value
        )
    return isinstance(value, dict) and bool(value)


def find_records(values: Iterable[Any], keys: Keys, *, single: bool) -> list[Any]:
    """Return the records in a reply: listed, alone, by number, or nested once more.

    Examples
    --------
    >>> from pandas_llm._keys import parse_keys
    >>> data = {"data": {"pairs": [{"q": 1}, {"q": 2}]}}
    >>> find_records([data], parse_keys(["q"]), single=False)
    [{'q': 1}, {'q': 2}]
    """
    records: list[Any] = []
    for value in values:
        inner = _inner_list(value, keys, single=single)
        if inner is None and isinstance(value, dict) and len(value) == 1:
            (nested,) = value.values()  # one level of needless nesting
            if isinstance(nested, dict) and not _is_record(value, keys):
                inner = _inner_list(nested, keys, single=single) or [nested]
        records += [value] if inner is None else inner
    return records


def _inner_list(value: Any, keys: Keys, *, single: bool) -> list[Any] | None:
    """Return the list of records that a value is or holds; None for a record alone."""
    if isinstance(value, list):
        if value and all(isinstance(item, list) for item in value):
            holds_records = any(holds_objects(item) for item in value)
            return [i for inner in value for i in inner] if holds_records else value
        # the only key holds the list, as it takes no bare value
        is_value = len(keys.names) == 1 and not keys.is_bare
        return None if is_value and value and not holds_objects(value) else value
    if not isinstance(value, dict):
        return None
    lists = [v for k, v in value.items() if _may_hold(k, value, keys, single=single)]
    full = [v for v in lists if v and all(_is_record(item, keys) for item in v)]
    present = folded(value, keys.names).keys()
    # an object with all that no record lacks is a record, and its lists are values
    listed = _is_list_of_records(value, keys, single=single)
    may_be_record = keys.names & present and not listed
    if may_be_record and (keys.required <= present or len(full) != 1):
        only = next(iter(value.values())) if keys.is_bare and len(value) == 1 else None
        return list(only) if isinstance(only, list) else None
    for one in ([value["records"]] if "records" in value else [], full, lists):
        if len(one) == 1 and isinstance(one[0], list):
            return list(one[0])
    inner = list(value.values())
    by_number = len(inner) > 1 and all(isinstance(v, dict) for v in inner)
    return inner if by_number else None


def _is_list_of_records(value: Mapping[str, Any], keys: Keys, *, single: bool) -> bool:
    """Return whether its only value is a list of records, if a key has its name too."""
    if value.keys() != {"records"} or len(keys.names) == 1:
        return False
    listed = value["records"]
    if single and not listed:
        return False  # a record was asked for, and its list is empty
    return isinstance(listed, list) and all(
        _is_record(item, keys) and keys.required <= folded(item, keys.names).keys()
        for item in listed
    )


def _may_hold(key: str, within: Mapping[str, Any], keys: Keys, *, single: bool) -> bool:
    """Return whether the value under a key may be a list of records."""
    value = within[key]
    if not isinstance(value, list):
        return False
    if holds_objects(value):
        beside = len(within) > 1 and (
            single or keys.names & folded(within, keys.names).keys()
        )
        return not beside or _is_name_of_list(key, keys)
    if not value or len(within) > 1 or len(keys.names) != 1:
        return len(within) == 1 and not value and not _CITATIONS.fullmatch(key.strip())
    # bare values: only of one name, not the list of something else
    return _is_name_of_list(key, keys)


def _is_name_of_list(name: str, keys: Keys) -> bool:
    """Return whether a list may have the name: any list's, or the plural of a key."""
    stems = [_fold(key)[: -1 if len(key) > _STEM else None] for key in keys.names]
    parts = (name, *_PARTS.split(name))
    plural = any(_fold(part).startswith(stem) for part in parts for stem in stems)
    return plural or _LISTS.fullmatch(_fold(name)) is not None


def _is_record(item: Any, keys: Keys) -> bool:
    return isinstance(item, dict) and bool(keys.names & folded(item, keys.names).keys())


def folded(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    r"""Rename keys that differ from one name in case, blanks or _-\, and no others."""
    names = set(names)
    if names <= item.keys():
        return dict(item)
    alike, present = Counter(map(_fold, names)), Counter(map(_fold, item))
    folds = {_fold(name): name for name in names}
    clear = {f: name for f, name in folds.items() if alike[f] == present[f] == 1}
    return {
        key if key in names else clear.get(_fold(key), key): value
        for key, value in item.items()
    }


def named(item: Any, keys: Keys) -> Any:
    """Return a record under its names, with null for optional ones that are missing."""
    names = keys.names
    if not isinstance(item, dict):  # a bare value belongs to the only key
        return {next(iter(names)): item} if len(names) == 1 else item
    if len(item) == 1 and not _is_record(item, keys):
        (inner,) = item.values()  # one level of needless nesting
        item = inner if isinstance(inner, dict) else item
    item = folded(item, names)
    missing = keys.optional - item.keys() if names & item.keys() else ()
    return {**dict.fromkeys(missing), **item}


def behind_name(text: str, keys: Keys) -> str:
    """Return a value that stands behind its key and a colon, or else the text.

    Examples
    --------
    >>> from pandas_llm._keys import parse_keys
    >>> behind_name("**Year:** 1797", parse_keys({"year": int}))
    '** 1797'
    """
    if any(":" in str(label) for label in keys.columns[0].labels):
        return text
    head, *rest = _HEAD.split(text, maxsplit=1)
    is_own = folded({head.strip("\"'`* "): None}, keys.names).keys() == keys.names
    return "".join(rest) if is_own else text


def _fold(name: str) -> str:
    return re.sub(r"[\s_\\-]+", "", normalize("NFC", name)).casefold() or name

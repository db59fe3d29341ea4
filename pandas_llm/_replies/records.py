"""Records: where they are in the data of a reply, and under which names."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CITATIONS = re.compile(
    r"(?:sources?|references?|refs?|citations?|cites?|cited|footnotes?|notes?)",
    re.IGNORECASE,
)


def holds_objects(value: Any, *, deep: bool = False) -> bool:
    """Tell whether a value is an object with keys, or a list with objects."""
    if isinstance(value, list):
        return any(
            isinstance(item, dict) or (deep and holds_objects(item)) for item in value
        )
    return isinstance(value, dict) and bool(value)


def items(
    values: Iterable[Any],
    names: frozenset[str],
    *,
    bare: bool = False,
    required: frozenset[str] = frozenset(),
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
    required : frozenset of str
        The names that no record lacks: an object that has them is a record, and what
        is in it are its values.

    Examples
    --------
    >>> items([{"data": {"pairs": [{"q": 1}, {"q": 2}]}}], frozenset({"q"}))
    [{'q': 1}, {'q': 2}]
    """
    found: list[Any] = []
    for value in values:
        inner = _inner_list(value, names, required, bare=bare)
        if inner is None and isinstance(value, dict) and len(value) == 1:
            (nested,) = value.values()  # one level of needless nesting
            if isinstance(nested, dict) and not _is_record(value, names):
                inner = _inner_list(nested, names, required, bare=bare) or [nested]
        found += [value] if inner is None else inner
    return found


def _inner_list(
    value: Any, names: frozenset[str], required: frozenset[str], *, bare: bool
) -> list[Any] | None:
    """Return the list of records that a value is or holds; None for a record alone."""
    if isinstance(value, list):
        if value and all(isinstance(item, list) for item in value):
            holds_records = any(holds_objects(item) for item in value)
            return [i for inner in value for i in inner] if holds_records else value
        only_value = len(names) == 1 and not bare and not holds_objects(value)
        return None if only_value and value else value
    if not isinstance(value, dict):
        return None
    lists = [v for k, v in value.items() if _may_hold(k, v, value, names)]
    records = [v for v in lists if v and all(_is_record(i, names) for i in v)]
    given = folded(value, names).keys()
    if names & given and (required <= given or len(records) != 1):
        only = next(iter(value.values())) if bare and len(value) == 1 else None
        return list(only) if isinstance(only, list) else None
    for one in ([value["records"]] if "records" in value else [], records, lists):
        if len(one) == 1 and isinstance(one[0], list):
            return list(one[0])
    inner = list(value.values())
    by_number = len(inner) > 1 and all(isinstance(v, dict) for v in inner)
    return inner if by_number else None


def _may_hold(
    key: str, value: Any, within: Mapping[str, Any], names: frozenset[str]
) -> bool:
    """Tell whether the value under a key may be a list of records.

    One without objects only where nothing else could be: a list of texts holds no
    records of several names, and what is cited is no answer.
    """
    if not isinstance(value, list):
        return False
    if holds_objects(value):
        return True
    alone = len(within) == 1 and not _CITATIONS.fullmatch(key.strip())
    return alone and (not value or len(names) == 1)


def _is_record(item: Any, names: frozenset[str]) -> bool:
    return isinstance(item, dict) and bool(names & folded(item, names).keys())


def folded(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Rename the keys that differ from a name in case, blanks, _ or - only.

    A name that is there already is left alone, a key that is itself a name, and names
    that two keys could mean, or keys that could mean two names.
    """
    names = set(names)
    if names <= item.keys():
        return dict(item)
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(_fold(name), []).append(name)
    given = Counter(map(_fold, item))
    clear = {
        fold: alike[0]
        for fold, alike in wanted.items()
        if len(alike) == 1 and given[fold] == 1
    }
    return {
        key if key in names else clear.get(_fold(key), key): value
        for key, value in item.items()
    }


def named(item: Any, names: frozenset[str], optional: frozenset[str]) -> Any:
    """Return the record under its names, those that may be null filled in.

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
    return re.sub(r"[\s_-]+", "", name).casefold() or name

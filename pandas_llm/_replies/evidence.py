"""Quoted keys: which words of a row's cells the values of a record stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm._keys import with_places
from pandas_llm._replies.spans import Text, find
from pandas_llm.errors import UnfoundedError
from pandas_llm.redaction import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._keys import Column
    from pandas_llm._replies.spans import Place

_SHOWN = 3
_LONGEST = 121


class _Quoted(NamedTuple):
    """A value that a reply quotes words for, and where they may be."""

    key: int
    value: Any
    places: list[Place]


class Evidence:
    """Puts the words of quoted keys, and where they stand, behind the values.

    `fields` are the columns that the template names, in the order of a row's cells.
    """

    def __init__(self, columns: Sequence[Column], fields: Sequence[str] = ()) -> None:
        self._keys = columns
        self._fields = fields
        several = len(fields) > 1
        self._width = 5 if several else 4
        self.columns = tuple(
            one for column in columns for one in with_places(column, several=several)
        )

    def placed(
        self, records: Sequence[tuple[Any, ...]], cells: Sequence[str], reply: str
    ) -> tuple[list[tuple[Any, ...]], UnfoundedError | None]:
        """Return the records with their words, and what was not found of them."""
        texts = [Text(cell) for cell in cells]
        missing: list[str] = []
        done = []
        for at, record in enumerate(records):
            where = f"record {at + 1}, " if len(records) > 1 else ""
            done.append(self._record(record, texts, where, missing))
        if not missing:
            return done, None
        return done, UnfoundedError(listed(missing), reply, len(missing))

    def _record(
        self,
        record: Sequence[Any],
        texts: Sequence[Text],
        where: str,
        missing: list[str],
    ) -> tuple[Any, ...]:
        """Return a record with its words; what is not found is added to `missing`."""
        quotes: list[_Quoted] = []
        for at, (column, value) in enumerate(zip(self._keys, record, strict=True)):
            if not column.quoted or value is None:
                continue
            items = value if column.quoted == "many" else (value,)
            for number, item in enumerate(items):
                places = find(item["quote"], texts)
                quotes.append(_Quoted(at, item["value"], places))
                if not places:
                    name = f"{column.name}[{number}]" if len(items) > 1 else column.name
                    missing.append(f"{where}{name}: {_reason(item['quote'])}")
        quoted: list[list[tuple[Any, ...]]] = [[] for _ in record]
        for quote, place in zip(quotes, chosen(quotes), strict=True):
            if place is not None:
                text, start, end = place
                words = texts[text].whole[start:end]
                values = (quote.value, words, start, end, self._fields[text])
                quoted[quote.key].append(values[: self._width])
        row: list[Any] = []
        for column, value, cells in zip(self._keys, record, quoted, strict=True):
            if not column.quoted:
                row.append(value)
            elif column.quoted == "one" or value is None:
                row += cells[0] if cells else (None,) * self._width
            else:
                row += [[one[at] for one in cells] for at in range(self._width)]
        return tuple(row)


def listed(problems: Sequence[str]) -> str:
    """Return the first problems, and how many more there are."""
    hidden = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f" (and {hidden} more)" * (hidden > 0))


def chosen(quoted: Sequence[_Quoted]) -> list[Place | None]:
    """Choose of equal places those nearest to each other; of words alone the first.

    What one list quotes twice stands at two places, if there are two.
    """
    chosen_places: list[Place | None] = [None] * len(quoted)
    taken: set[tuple[int, Place]] = set()
    for at in sorted(range(len(quoted)), key=lambda at: len(quoted[at].places)):
        key, _, places = quoted[at]
        if not places:
            continue
        settled = [[place] for place in chosen_places if place is not None]
        # where nothing is settled, any place of the others may come to be near
        others = settled or [
            w.places for w in quoted if w.places and w is not quoted[at]
        ]
        away = [[min(map(place.away, other)) for other in others] for place in places]
        ranks = [
            ((key, place) in taken, min(one, default=0), sum(one))
            for place, one in zip(places, away, strict=True)
        ]
        best = chosen_places[at] = places[ranks.index(min(ranks))]
        taken.add((key, best))
    return chosen_places


def _reason(words: str) -> str:
    if not words.strip():
        return "no words are quoted"
    return f"the words {clipped(words, _LONGEST)!r} are not in the text"

"""Where words stand in texts: as they are, folded, or nearly.

A text is folded character by character, each a base with its marks, so that a place in
what is folded is a place in the text. Folding all at once comes to the same.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache, cached_property, lru_cache
from itertools import product, zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RATIO = 90
"""How similar words must be, of 100, where rapidfuzz finds them: one letter of ten may
be another. Numbers must be the same, and as many words, each but for a slip: "is not"
for "is" says something else."""
_SLIPS = 4
"""Letters of a word that may have a slip; of a shorter one it makes another word. In a
name, another letter makes another name, and one more or less may be a slip."""
_STEM = 7
"""Letters of a word that may end otherwise in the text: John is not in Johnson."""
_ROUGH = 15
"""How much less alike is what is looked at, before it is cut at the ends of words."""
_MOST = 256
"""Equal places of a text that are told apart."""
_SPACED = "\u0530"
"""Below it are scripts whose words stand apart: Latin, Greek, Cyrillic, digits."""
_OUTSIDE = re.compile(r"^(?:[\s\"'`\u2018-\u201f\u00ab\u00bb\u300c-\u300f\u2026.,;:])+")
_TOKENS = re.compile(
    r"(?:(?<![^\s(])-)?\d+|[\u2e80-\U0010ffff]|[^\W\d](?:[^\W\d]|[\u0300-\u036f])*"
)
"""Numbers and words; of scripts that do not part words each sign."""
_DENIED = re.compile("['\u2019]t\\b")
_LAST_WORD = re.compile(r"[^\W\d_]+\Z")
_SIGNED = re.compile(r"(?:^|[\s(\[])[-\u2212]\Z")
_MARKED_NUMBER = re.compile(
    r"(?<![\d.,])(?:\d+\.\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?![.,]?\d)"
)
"""A fraction or thousands: not a date such as 31.01.2026, nor a list."""
_LONGEST = 30
_PLAIN = re.compile("[!-~]+(?: [!-~]+)*(?![\u0300-\U0010ffff])")
"""A run that needs no look at each of its characters: five times as fast."""
_MARKS = str.maketrans("'`", '""')

_QUOTES = frozenset(
    "\"'`\u00b4\u02b9\u02ba\u02bb\u02bc\u02bd\u05f3\u05f4\u2032\u2033\u2035\u2036\u3003"
    "\u201a\u201e\u2e42\u300c\u300d\u300e\u300f\u301d\u301e\u301f\uff02\uff07\uff62\uff63"
)
"""Quotation marks, and what is written for them, beside those that Unicode calls so."""
_SEEN = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd"
    "\U000110cd"
)
"""Format characters that are seen: signs around numbers. All others are not."""
_UNSEEN = re.compile(
    "[\u0640\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Tatweel, and what tells forms of a character."""
_JOINER = "\u200d"
_FLAGS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_FOLLOWING = re.compile("[\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""The joiner, tones of skin and tags."""
_COMPOSING = re.compile("[\u1161-\u1175\u11a8-\u11c2\U00016d67]")
"""Letters that compose with the one before and are not marks: Hangul, Kirat Rai."""


class Place(NamedTuple):
    """Where words stand: in which of the texts, from where to where."""

    text: int
    start: int
    end: int

    def away(self, other: Place) -> int:
        """Return how many characters are between two places."""
        if self.text != other.text:
            return sys.maxsize
        return max(0, self.start - other.end, other.start - self.end)


class Folded(NamedTuple):
    """A folded text, and where each of its characters was."""

    text: str
    starts: list[int]
    ends: list[int]


class Text:
    """A text to find words in."""

    def __init__(self, whole: str) -> None:
        self.whole = whole

    @cached_property
    def folded(self) -> Folded:
        """The text without what does not count."""
        return fold(self.whole)

    def exactly(self, words: str) -> Iterator[tuple[int, int, bool]]:
        """Yield where words stand as they are, and whether that parts a character."""
        for at in _occurrences(words, self.whole):
            start, end = at, at + len(words)
            while start > 0 and is_joined(self.whole, start):
                start -= 1
            while end < len(self.whole) and is_joined(self.whole, end):
                end += 1
            yield start, end, end - start > len(words)

    def alike(self, words: str) -> Iterator[tuple[int, int, bool]]:
        """Yield where folded words stand, and whether that parts a character."""
        text, starts, ends = self.folded
        needle = fold(words).text.strip()
        for at in _occurrences(needle, text):
            last = at + len(needle)
            parts = (at > 0 and starts[at - 1] == starts[at]) or (
                last < len(text) and starts[last] == starts[last - 1]
            )
            yield starts[at], ends[last - 1], parts


def find(words: str, texts: Sequence[Text]) -> list[Place]:
    """Return the equally good places of some words; none where they are not there.

    Places at whole characters and at whole words come before others.

    Examples
    --------
    >>> find("BORN  in", [Text("She was born in Oslo.")])
    [Place(text=0, start=8, end=15)]
    """
    bare = _OUTSIDE.sub("", _OUTSIDE.sub("", words)[::-1])[::-1]
    for form in dict.fromkeys((words.strip(), bare)):
        places: dict[tuple[int, int], list[Place]] = {}
        for order, search in enumerate((Text.exactly, Text.alike)):
            for at, text in enumerate(texts):
                for start, end, parts in search(text, form):
                    if not parts and _is_part(text.whole, start, end):
                        continue
                    within = _cuts(text.whole, start) or _cuts(text.whole, end)
                    rank = (2 if parts else int(within), order)
                    places.setdefault(rank, []).append(Place(at, start, end))
            if (0, 0) in places:
                break  # folding would find none that are better
        if places:
            return list(dict.fromkeys(places[min(places)]))
    return _nearly(fold(bare).text.strip(), texts)


def _occurrences(words: str, text: str) -> Iterator[int]:
    """Yield where words begin, at most `_MOST` times."""
    at = text.find(words) if words else -1
    for _ in range(_MOST):
        if at < 0:
            return
        yield at
        at = text.find(words, at + 1)


def _cuts(text: str, at: int) -> bool:
    """Return whether a place is within a word, where words stand apart."""
    return 0 < at < len(text) and all(
        char < _SPACED and unicodedata.category(char)[0] in "LMN"
        for char in text[at - 1 : at + 1]
    )


def _cuts_number(text: str, start: int, end: int) -> bool:
    """Return whether a place has only a part of a number, which is another one."""
    if text[start].isdigit() and _SIGNED.search(text, max(0, start - 2), start):
        return True
    for at in (start, end):
        if 0 < at < len(text):
            near = max(0, at - _LONGEST), at + _LONGEST
            numbers = map(re.Match.span, _MARKED_NUMBER.finditer(text, *near))
            if text[at - 1 : at + 1].isdigit() or any(a < at < b for a, b in numbers):
                return True
    return False


def _is_part(text: str, start: int, end: int) -> bool:
    """Return whether a place is a part of another number or word: legal in illegal."""
    begins = text[start].isalpha() and text[start - 1].isalpha() and _cuts(text, start)
    if begins or _cuts_number(text, start, end) or _DENIED.match(text, end):
        return True
    last = _LAST_WORD.search(text, max(start, end - _STEM), end)
    is_short = last is not None and len(last[0]) < _STEM
    return is_short and text[end : end + 1].isalpha() and _cuts(text, end)


def _same(one: str, other: str, whole: str) -> bool:
    """Return whether two texts have the same words but for slips within them.

    `whole` is the first before it was folded.
    """
    words = zip_longest(*map(_TOKENS.findall, (one, other, whole)), fillvalue="")
    return all(
        a == b or (_is_slip(a, b) and not (len(a) == len(b) and as_is[:1].isupper()))
        for a, b, as_is in words
    )


def _is_slip(one: str, other: str) -> bool:
    """Return whether a word may be another one with a slip: not likely and unlikely."""
    near = abs(len(one) - len(other)) <= 1 and max(len(one), len(other)) >= _SLIPS
    return near and one[:1] == other[:1] and not one[:1].isdigit()


def _nearly(words: str, texts: Sequence[Text]) -> list[Place]:
    """Return where a text has nearly the words, if rapidfuzz is there to tell."""
    try:
        from rapidfuzz import fuzz
    except ImportError:
        return []
    best, nearest = 0.0, []
    for number, text in enumerate(texts):
        whole, starts, ends = text.folded
        if not words or not whole:
            continue
        hit = fuzz.partial_ratio_alignment(words, whole, score_cutoff=RATIO - _ROUGH)
        if hit is None:
            continue
        rough = hit.dest_start, hit.dest_end
        if len(words) > len(whole):  # it has then looked for the text in the words
            rough = 0, len(whole)
        for start, end in product(*(_edges(whole, at) for at in rough)):
            part = whole[start:end]
            ratio = fuzz.ratio(words, part, score_cutoff=RATIO)
            if ratio > best and part.strip():
                start += len(part) - len(part.lstrip())  # noqa: PLW2901
                last = start + len(part.strip()) - 1
                place = Place(number, starts[start], ends[last])
                as_is = text.whole[place.start : place.end]
                is_part = _is_part(text.whole, place.start, place.end)
                if _same(part, words, as_is) and not is_part:
                    best, nearest = ratio, [place]
    return nearest


def _edges(text: str, at: int) -> Iterator[int]:
    """Yield a place, or the ends of the word that it is in."""
    before = after = at
    while _cuts(text, before):
        before -= 1
    while _cuts(text, after):
        after += 1
    return iter(dict.fromkeys((before, after)))


# -- folding ----------------------------------------------------------------------


def fold(text: str) -> Folded:
    """Return a text without what does not count.

    Examples
    --------
    >>> fold("Straße «X»").text
    'strasse "x"'
    """
    folded: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    end = 0
    while end < len(text):
        if run := _PLAIN.match(text, end):
            start, end = run.span()
            folded.append(run[0].lower().translate(_MARKS))
            starts.extend(range(start, end))
            ends.extend(range(start + 1, end + 1))
            continue
        start, end = end, end + 1
        while end < len(text) and is_joined(text, end):
            end += 1
        for char in _folded(text[start:end]):
            if char == " " and folded and folded[-1] == " ":
                ends[-1] = end
                continue
            folded.append(char)
            starts.append(start)
            ends.append(end)
    return Folded("".join(folded), starts, ends)


def is_joined(text: str, at: int) -> bool:
    """Return whether the characters around a place are one, a base with its marks.

    So are the parts of an emoji, of a flag and of a Hangul syllable.
    """
    char, before = text[at], text[at - 1]
    if char < "\u0300":
        return False
    if before == _JOINER and unicodedata.category(char) == "So":
        return True
    if char in _FLAGS:
        return (at - len(text[:at].rstrip(_FLAGS))) % 2 == 1
    return _follows(char)


@cache
def _follows(char: str) -> bool:
    """Return whether a character belongs to the one before it."""
    # a halfwidth voicing mark is a mark only when it is normalized
    plain = unicodedata.normalize("NFKC", char)[0]
    marks = unicodedata.category(char)[0] + unicodedata.category(plain)[0]
    return "M" in marks or bool(_FOLLOWING.match(char) or _COMPOSING.match(plain))


@lru_cache(1 << 14)
def _folded(character: str) -> str:
    """Fold one character, a base with its marks."""
    plain = "".join(map(_plain, character))
    for form in (str.casefold, str):
        plain = form(unicodedata.normalize("NFKC", plain))
    return "".join(map(_plain, plain))


def _plain(char: str) -> str:
    """Write quotes, dashes and blanks alike, and what is not seen not at all."""
    kind = unicodedata.category(char)
    if char.isspace():
        return " "
    if kind in ("Pi", "Pf") or char in _QUOTES:
        return '"'
    if kind == "Pd" or char == "\u2212":
        return "-"
    if (kind == "Cf" and char not in _SEEN) or _UNSEEN.match(char):
        return ""
    return "/" if char == "\u2044" else char

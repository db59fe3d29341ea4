"""Where words stand: in every script, after every harmless change, at whole characters.

Cells are made of characters of seventeen kinds, so that the test knows without the
code it tests where one ends.
"""

# ruff: noqa: RUF001 - look-alikes are what is tested

from __future__ import annotations

import builtins
import random
import re
import sys
import unicodedata
from itertools import accumulate

import pytest

from pandas_llm._replies.spans import RATIO, Place, Text, find


def letters(*ranges, but=""):
    """Return the letters in some ranges that Unicode has named."""
    return [
        chr(code)
        for low, high in ranges
        for code in range(low, high + 1)
        if unicodedata.category(chr(code))[0] in "LN" and chr(code) not in but
    ]


def marks(*ranges, but=""):
    """Return the marks in some ranges."""
    return [
        chr(code)
        for low, high in ranges
        for code in range(low, high + 1)
        if unicodedata.category(chr(code))[0] == "M" and chr(code) not in but
    ]


ACCENTS = marks((0x300, 0x314), (0x323, 0x333))
SCRIPTS = {
    # a dotless i has the capital of another letter
    "Latin": (letters((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x17F), but="ıŉſĸ"), []),
    "Latin with marks": (letters((0x41, 0x5A), (0x61, 0x7A)), ACCENTS),
    "Greek": (letters((0x386, 0x3CE), (0x1F00, 0x1F15)), ACCENTS[:3]),
    "Cyrillic": (letters((0x400, 0x45F)), ["\u0301", "\u0306"]),
    "Armenian": (letters((0x531, 0x556), (0x561, 0x586)), []),
    "Hebrew": (letters((0x5D0, 0x5EA)), marks((0x5B0, 0x5BD), (0x5C1, 0x5C2))),
    "Arabic": (letters((0x621, 0x64A), (0x671, 0x6D3), but="ـ"), marks((0x64B, 0x655))),
    "Devanagari": (letters((0x904, 0x939), (0x966, 0x96F)), marks((0x93E, 0x94D))),
    "Bengali": (letters((0x985, 0x9B9)), marks((0x9BC, 0x9CD), (0x9D7, 0x9D7))),
    "Tamil": (letters((0xB85, 0xBB9)), marks((0xBBE, 0xBCD), (0xBD7, 0xBD7))),
    "Sinhala": (letters((0xD85, 0xDC6)), marks((0xDCA, 0xDDF))),
    "Thai": (letters((0xE01, 0xE30)), [*marks((0xE31, 0xE4D)), "\u0e33"]),
    "Japanese": (letters((0x3042, 0x3094), (0x30A2, 0x30F4), (0xFF66, 0xFF9D)), []),
    "Chinese": (letters((0x4E00, 0x4EFF), (0x20000, 0x20040), (0xF900, 0xF920)), []),
    "Hangul": (letters((0xAC00, 0xACFF)), []),
}
JAMO = [
    lead + vowel + final
    for lead in "ᄀᄂᄃᄒ"
    for vowel in "ᅡᅥᅩᅵ"
    for final in ("", "ᆨ", "ᆫ")
]
WHOLE = {
    "Hangul conjoining": JAMO,
    "emoji": ["🙂", "👍🏽", "👩‍👩‍👧", "❤️‍🔥", "🏳️‍🌈", "🇩🇪", "🇫🇷", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
}
KINDS = [*SCRIPTS, *WHOLE]
BLANKS = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\r\n\r\n", "\u2009"]
QUOTES = ["'", '"', "’", "“", "”", "«", "„"]
DASHES = ["-", "–", "—", "‑", "−"]
UNSEEN = ["\u00ad", "\u200b", "\u200e", "\u2060"]


def character(random, kind):
    """Make one character, a base with its marks."""
    if kind in WHOLE:
        return random.choice(WHOLE[kind])
    bases, over = SCRIPTS[kind]
    few = random.randint(0, 2) if over else 0
    return random.choice(bases) + "".join(random.choice(over) for _ in range(few))


def word(random, kind):
    return [character(random, kind) for _ in range(random.randint(2, 6))]


def cell(random):
    """Make the characters of a cell, and the numbers of those where words begin."""
    parts, begins = [], []
    for _ in range(random.randint(3, 9)):
        if parts:
            parts.append(random.choice(BLANKS))
            if random.random() < 0.2:
                parts += [random.choice(QUOTES + DASHES)]
        begins.append(len(parts))
        parts += word(random, random.choice(KINDS))
    return parts, [*begins, len(parts)]


def harmless(random, parts):
    """Write some characters in another way that says the same."""
    written = []
    for part in parts:
        if part in BLANKS:
            written.append(random.choice(BLANKS))
        elif part in QUOTES:
            written.append(random.choice(QUOTES))
        elif part in DASHES:
            written.append(random.choice(DASHES))
        else:
            written.append(part + random.choice(UNSEEN) * (random.random() < 0.05))
    text = "".join(written)
    for change in (
        lambda text: unicodedata.normalize(random.choice(["NFC", "NFD"]), text),
        random.choice([str.swapcase, str.casefold, str]),
        lambda text: unicodedata.normalize(random.choice(["NFC", "NFD"]), text),
        random.choice([str, lambda text: f"“{text}”", lambda text: f"… {text}…"]),
    ):
        if random.random() < 0.5:
            text = change(text)
    return text


def plain(text):
    """Fold a text as a whole, as it is written in the book."""
    for form in (str.casefold, str):
        text = form(unicodedata.normalize("NFKC", text))
    said = [c for c in text if unicodedata.category(c)[0] in "LMN" and c != "\u034f"]
    return unicodedata.normalize("NFKC", "".join(said))


def parts_a_word(text: str, start: int, end: int) -> bool:
    """Return whether a word goes on beyond an end, as another one does."""
    spaced = "".join(char if char < "\u0530" else " " for char in text)
    within = start > 0 and spaced[start - 1 : start + 1].isalpha()
    last = re.search(r"[^\W\d_]*\Z", text[start:end])[0]
    goes_on = spaced[end - 1 : end + 1]
    return within or (len(goes_on) > 1 and goes_on.isalpha() and len(last) < 7)


def parts_more(text: str, start: int, end: int) -> bool:
    """Return whether a number or a word goes on beyond an end."""
    return parts_a_number(text, start, end) or parts_a_word(text, start, end)


def parts_a_number(text: str, start: int, end: int) -> bool:
    """Return whether a digit or its sign stands on the other side of an end."""
    before, after = f" {text[:start]}", f"{text[end:]} "
    sign = before[-1] in "-\u2212" and before[-2] in " ([" + "".join(BLANKS)
    return (text[start].isdigit() and (before[-1].isdigit() or sign)) or (
        text[end - 1].isdigit() and after[0].isdigit()
    )


@pytest.mark.parametrize("cells", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_words_of_seventeen_scripts_are_found_at_whole_characters(cells):
    assert len(KINDS) == 17
    rng = random.Random(18)
    for _ in range(cells):
        parts, begins = cell(rng)
        first, last = sorted(rng.sample(range(len(begins)), 2))
        if rng.random() < 0.3:  # anywhere, be it within a word
            first, last = sorted(rng.sample(range(len(parts) + 1), 2))
        else:
            first, last = begins[first], begins[last]
        said = parts[first:last]
        while said and said[-1] in BLANKS:
            said.pop()
        while said and said[0] in BLANKS:
            said.pop(0)
            first += 1
        if not any(plain(part) for part in said):
            continue
        text, words = "".join(parts), harmless(rng, said)
        start = sum(map(len, parts[:first]))
        if parts_more(text, start, start + sum(map(len, said))):
            continue
        ends = set(accumulate(map(len, parts), initial=0))
        found = find(words, [Text(text)])
        assert found, (text, words)
        for place in found:
            assert {place.start, place.end} <= ends, (text, words, place)
            assert plain(text[place.start : place.end]) == plain(words)
        # a model's words may begin or end within a character
        first, last = sorted(rng.sample(range(len(text) + 1), 2))
        part = text[first:last].strip()
        first += len(text[first:last]) - len(text[first:last].lstrip())
        if part and not parts_more(text, first, first + len(part)):
            found = find(part, [Text(text)])
            assert found, (text, part)
            for place in found:
                assert {place.start, place.end} <= ends, (text, part, place)


@pytest.mark.parametrize(
    ("words", "text", "quotes"),
    [
        ("in Oslo", "It rained in Oslo.", ["in Oslo"]),
        ("IN  oslo", "It rained in\r\nOslo.", ["in\r\nOslo"]),
        ("cafe\u0301", "un café noir", ["café"]),
        ("cafe", "un cafe\u0301 noir", ["cafe\u0301"]),  # never half a character
        ("cafe", "un cafe\u0301, un cafe", ["cafe"]),
        ("Strasse", "Die Straße hier", ["Straße"]),
        ("s", "ß und s o", ["s"]),
        ("1", "½ or 1", ["1"]),
        ("art", "A party of Art", ["Art"]),
        ("art", "The party", []),
        ("legal", "It is illegal.", []),
        ("She can", "She can't swim.", []),
        ("John", "Johnson was born.", []),
        ("John", "Johnson, and John", ["John"]),
        ("likely", "Unlikely, and very likely", ["likely"]),
        ("Budapest", "Budapesten lakik", ["Budapest"]),
        ("kg", "5kg", ["kg"]),
        ("Oslo", "in Oslo's north", ["Oslo"]),
        ("5", "15 of 5", ["5"]),  # words before parts of them
        ("東京", "東京で、東京は", ["東京", "東京"]),  # where words do not stand apart
        ("“so it was …”", "And so it was then", ["so it was"]),
        ("he said 'no'", "he said “no”", ["he said “no”"]),
        ("well-known", "a well\u2011known man", ["well\u2011known"]),
        ("zero", "ze\u00adro", ["ze\u00adro"]),
        ("👩", "👩\u200d👧 and 👩", ["👩"]),
        ("👩", "a 👩\u200d👧", ["👩\u200d👧"]),
        ("👍", "a 👍🏽", ["👍🏽"]),
        ("🇪🇫", "🇩🇪🇫🇷", ["🇩🇪🇫🇷"]),  # the halves of two flags
        ("ガラス", "ｶﾞﾗｽの", ["ｶﾞﾗｽ"]),
        (
            "한국",
            "\u1112\u1161\u11ab\u1100\u116e\u11a8",
            ["\u1112\u1161\u11ab\u1100\u116e\u11a8"],
        ),
        ("كتب", "كتـــب", ["كتـــب"]),
        ("2026", "am 31.01.2026", ["2026"]),
        ("2", "of 1,2,3", ["2"]),
        ("5", "1.5, 5.", ["5"]),
        ("elsewhere", "It rained.", []),
        ("", "It rained.", []),
        (" \u200b ", "It rained.", []),
        ("word", "", []),
    ],
)
def test_words_are_found_in_what_is_said(words, text, quotes):
    places = find(words, [Text(text)])
    assert [text[place.start : place.end] for place in places] == quotes


def test_the_places_are_told_of_every_text():
    texts = [Text("Oslo"), Text("Rome"), Text("in Oslo")]
    assert find("Oslo", texts) == [Place(0, 0, 4), Place(2, 3, 7)]
    assert find("rome", texts) == [Place(1, 0, 4)]


NEARLY = [
    (
        "the quick brwn fox jumps",
        "See the quick brown fox jumps!",
        "the quick brown fox jumps",
    ),
    ("quick brown foxes jump", "a quick brown foxen jump", "quick brown foxen jump"),
    (
        "was bom in the north of it",
        "He was born in the north of it.",
        "was born in the north of it",
    ),
    (
        "am 3. Mai in Müncen geboren",
        "Sie wurde am 3. Mai in München geboren",
        "am 3. Mai in München geboren",
    ),
]


@pytest.mark.parametrize(("words", "text", "quote"), NEARLY)
def test_words_with_a_slip_are_found_by_rapidfuzz(words, text, quote):
    ((_, start, end),) = find(words, [Text("Nothing."), Text(text)])
    assert text[start:end] == quote


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("on the 12th of May 1998 in Paris", "on the 12th of May 1999 in Paris"),
        ("Joan Smith was born in Oslo", "John Smith was born in Oslo"),
        ("Maria Rossi signed for the firm", "Mario Rossi signed for the firm"),
        ("a few of other words that say it", "one or two of the words to say it"),
        ("short wood", "shirt word"),
        ("a long sentence with a short one in it, and more", "a short one"),
        ("the patient has diabetes", "the patient has no diabetes"),
        ("I did not like it at all", "I did like it at all"),
        ("We don't offer refunds on sale", "We do offer refunds on sale"),
        ("unlikely to be approved by the board", "likely to be approved by the board"),
        ("prices decreased by a wide margin", "prices increased by a wide margin"),
        ("alive and well in Paris", "alive and ill in Paris"),
        ("can be returned within thirty days", "cannot be returned within thirty days"),
        ("我们认为这个产品总体来说不太好用", "我们认为这个产品总体来说太好用"),
        ("\u22125 degrees outside today", "5 degrees outside today"),
        ("5 degrees outside", "at \u22125 degrees outside"),
        *(("5 kg", "15 kg"), ("100", "1000 men"), ("10", "in 2010"), ("7", "17, 27")),
        *(("5 kg", "5.5 kg"), ("It cost 5", "It cost 5.5"), ("200", "1,200 men")),
    ],
)
def test_words_that_say_something_else_are_not_found(words, text):
    """Another number is another claim, however alike the rest."""
    assert find(words, [Text(text)]) == []


def test_without_rapidfuzz_words_are_found_by_what_they_say_alone(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("rapidfuzz"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.startswith("rapidfuzz")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    words, text, _ = NEARLY[0]
    assert find(words, [Text(text)]) == []
    assert find("QUICK brown", [Text(text)]) == [Place(0, 8, 19)]


def test_the_ratio_is_the_one_that_is_documented():
    assert RATIO == 90

"""Where a text in broken JSON ends: at a quote before a comma, bracket or next key.

Two possible ends, or two texts that would be joined, are an error.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

MENDABLE = 100_000  # characters that are read in search of an end
_MOST_QUOTES = 500  # without a backslash in one text; a model that loops writes more
_QUOTED_ITEM = re.compile(r'\s+"(?:[^"\\\n]|\\.)*"\s*(?:[,\]}]|\s")')
_SPACED_QUOTE = re.compile(r'\s+"')
_NO_WORD = re.compile(r"[^\w\s\"',.?!]{1,9}")
"""What joins two texts, as in "a"/"b"."""
_LOW_QUOTE = re.compile(r'„[^„“”"]*\Z')
_LOST_BEFORE = re.compile(r"\s*[}\]]\s*,\s*[{\[]\s*\Z")
MARKS = {
    '"': re.compile(r'\\.|"', re.DOTALL),
    "'": re.compile(r"\\.|'", re.DOTALL),
    "`": re.compile(r"\\.|`", re.DOTALL),
    "“": re.compile(r'\\.|[”"]', re.DOTALL),
    "„": re.compile(r'\\.|[“”"]', re.DOTALL),
    "\u2018": re.compile(r"\\.|\u2019", re.DOTALL),
    "«": re.compile(r"\\.|»", re.DOTALL),
}
CLOSES = re.compile(r"[\s\ufeff]*([,;}\]:]|//|/\*|(?<=\s)\#\s|\Z)")
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u([0-9a-fA-F]{4})|(.))",
    re.DOTALL,
)
TOO_LONG = "the JSON is broken, and too long to be mended"
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_COLON = r"\s*(?::+|=>?)"
KEYS = (
    re.compile(r'"{1,2}(?!\s*,)((?:[^"\\\n]|\\.){0,400})"{1,2}' + _COLON),
    re.compile(r"'(?!\s*,)((?:[^'\\\n]|\\.){0,400})'" + _COLON),
    re.compile(r"[“”„]([^“”„\"\n]{0,400})[“”\"]" + _COLON),
    re.compile(r"`([^`\n]{0,400})`" + _COLON),
    re.compile(r"«([^»\n]{0,400})»" + _COLON),
    re.compile(r"[\"']?([\w$][\w$.\- ]{0,200})[\"']?" + _COLON),
)
KEY_AHEAD = re.compile(
    r"""\s*(?:"[^"\\\n]{0,400}"|'[^'\\\n]{0,400}'|[“„][^“”\n]{0,400}[“”]|«[^»\n]{0,400}»"""
    r"""|["']?[\w$][\w$.\- ]{0,200}["']?)\s*(?::|=)"""
)
_NEXT_KEY = re.compile(rf"\s*(?:{KEYS[0].pattern}|{KEYS[1].pattern})")
_VALUE_AHEAD = re.compile(r"\s*(?:[\"'\[{\d-]|(?:true|false|null)\b)")
_KEY_WITHIN = re.compile(
    r"""[,}]\s*(["'])[\w$.\- ]{1,200}(?:\1\s*:|(?:\1\s|:)\s*["'\d\[{])"""
)
_KEY = "a key may begin in a text"
QUOTED_KEY = re.compile(r'"[^"\\\n]{0,400}"\s*:')


class Texts:
    """Reads the texts of JSON at a place, within the brackets that are open there."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._at = start
        self._limit = start + MENDABLE
        self._open: list[Any] = []

    def _refuse(self, what: str) -> NoReturn:
        """Raise, and show where."""
        near = self._text[max(0, self._at - 20) : self._at + 20]
        raise ValueError(f"the JSON is broken: {what} near {near!r}")

    def _string(self, mark: str) -> str:
        """Read a text; a quote within it may lack its backslash."""
        text, start = self._text, self._at + 1
        if mark in "\"'" and text.startswith(mark * 3, self._at):
            end = text.find(mark * 3, self._at + 3)
            if end >= 0 and CLOSES.match(text, end + 3):
                self._at = end + 3
                return unescaped(text[start + 2 : end])
        inner = first = 0
        for quote in MARKS[mark].finditer(text, start):
            at = quote.start()
            if at > self._limit:
                break
            if len(quote[0]) > 1 or self._ends_low(start, at):  # or it is escaped
                continue
            ends = self._text_ends(at, inner, mark)
            if ends is None:
                inner += 1
                if mark in "\"'" and at > start and self._joins(at, first, mark):
                    self._refuse("a text ends, and another begins")
                first = first or at
                if inner > _MOST_QUOTES:
                    self._refuse("a text has too many quotes")
                continue
            self._at = at + 1 if ends else self._lost_quote(start, at)
            start += inner == 1 and first == start  # two quotes at the beginning
            return self._whole(start, at if ends else self._at, sure=not inner)
        closed = self._unclosed(start) if mark == '"' and not inner else None
        if closed is not None:
            self._at = closed
            return self._whole(start, closed, sure=False)
        self._at = start
        too_long = len(text) > self._limit
        raise ValueError(TOO_LONG if too_long else "the JSON breaks off")

    def _whole(self, start: int, end: int, *, sure: bool) -> str:
        """Return a text; raise where it is not sure to end before the next key."""
        if not sure and _KEY_WITHIN.search(self._text, start, end):
            self._refuse(_KEY)
        return unescaped(self._text[start:end])

    def _ends_low(self, start: int, at: int) -> bool:
        """Return whether a quote ends a quotation in a text, as in „yes" here."""
        low = _LOW_QUOTE.search(self._text, max(start, at - 200), at)
        return low is not None and CLOSES.match(self._text, at + 1) is None

    def _joins(self, at: int, first: int, mark: str) -> bool:
        """Return whether a quote within a text rather ends one, or begins the next."""
        text = self._text
        if not first:  # an apostrophe may stand there
            ended = text[at - 1].isalpha() and text[at + 1 : at + 2].isspace()
            return ended and mark == '"'
        if _NO_WORD.fullmatch(text, first + 1, at):
            return True
        # the first may stand behind a number, as an inch does, until another opens
        ended = not text[first - 1].isspace() and text[first + 1].isspace()
        return ended and text[at - 1].isspace() and text[at + 1 : at + 2].isalnum()

    def _text_ends(self, at: int, inner: int, mark: str) -> bool | None:
        """Return whether a quote ends a text: None inside, False if its end is lost."""
        text, within = self._text, self._open[-1]
        closes = CLOSES.match(text, at + 1)
        follower = closes[1] if closes else ""
        if closes and follower in (",", ";"):
            return self._comma_ends(closes.end(), inner, mark)
        if closes and follower != ":":
            return True
        if mark == '"' and isinstance(within, dict) and QUOTED_KEY.match(text, at):
            before = text[max(0, at - 200) : at]
            lost = before.rstrip(" \t").endswith((",", "\n"))
            if not inner and (lost or _LOST_BEFORE.search(before)):
                return False
        if closes and follower == ":":
            if _VALUE_AHEAD.match(text, closes.end()):
                self._refuse(_KEY)
            return None
        return self._comma_lacks(at, inner, mark)

    def _comma_ends(self, at: int, inner: int, mark: str) -> bool | None:
        """Return whether a text ends at a quote with a comma behind it."""
        if inner % 2 == 0:
            return True  # what follows must fit, or there is an error
        after = self._text[at : at + 200].lstrip()[:1]
        if isinstance(self._open[-1], dict):
            has_key = KEY_AHEAD.match(self._text, at) is not None
            if has_key and mark == '"' and (after.isalnum() or after in "_$"):
                self._refuse("a text may end at two places")
            return True if has_key or after in "}]" else None
        if after in ('"', ""):
            self._refuse("a text may end at two places")
        return None

    def _comma_lacks(self, at: int, inner: int, mark: str) -> bool | None:
        """Return whether a text ends at a quote though a comma is missing behind it."""
        text, within = self._text, self._open[-1]
        if isinstance(within, dict):
            if _NEXT_KEY.match(text, at + 1):
                return True
            if mark == '"' and _SPACED_QUOTE.match(text, at + 1):
                self._refuse("a comma was expected")
            return None
        if not inner and mark == '"' and _QUOTED_ITEM.match(text, at + 1):
            return True
        if (
            _SPACED_QUOTE.match(text, at + 1)
            or text[max(0, at - 200) : at].rstrip()[-1:] == ","
        ):
            self._refuse("a comma or a quote was expected")
        return None

    def _unclosed(self, start: int) -> int | None:
        """Return where a text without its last quote ends: before the last brackets."""
        body = self._text[start : self._limit]
        inside = body.rstrip("}] \t\r\n`.")
        tail = body[len(inside) :]
        at = min((i for i in map(tail.find, "}]") if i >= 0), default=None)
        if at is None or "\n" in inside or len(self._text) > self._limit:
            return None
        return start + len(body[: len(inside) + at].rstrip())

    def _lost_quote(self, start: int, at: int) -> int:
        """Return where a text without its last quote ends: before the comma."""
        lost = _LOST_BEFORE.search(self._text, max(start, at - 200), at)
        if lost is not None:
            return lost.start()
        return start + len(self._text[start:at].rstrip().removesuffix(","))


def unescaped(text: str) -> str:
    """Replace escapes by their characters; an unknown one stays as it is."""
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(escape: re.Match[str]) -> str:
    high, low, code, letter = escape.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if code:
        return chr(int(code, 16))
    if letter in _ESCAPED:
        return _ESCAPED[letter]
    return letter if letter in "\"'\\/`\n" else f"\\{letter}"

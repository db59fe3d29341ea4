"""Mending JSON that is nearly right: marks are added, nothing else is changed.

Every letter and digit outside comments ends up in a key or a value, in the same order;
anything else is an error. One pass, without recursion.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from pandas_llm._json.quotes import (
    CLOSES,
    KEY_AHEAD,
    KEYS,
    MARKS,
    QUOTED_KEY,
    TOO_LONG,
    Texts,
    unescaped,
)
from pandas_llm._json.surroundings import check_comments

_DEEPEST = 200

_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/|\#[^\n]*)*", re.DOTALL)
_ENDS = r"(?=[\s\ufeff]*(?:[,;}\]]|//|/\*|\#))"
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:" + _ENDS + "|"
    r"""(?=\s+(?:"[^"\\\n]{1,200}"|'[^'\\\n]{1,200}')\s*:))"""
)
_IS_JSON = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"0\d\d(?:\.\d*)?")
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    + _ENDS
)
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "none", "None", "NONE"), None),
    "undefined": None,
    **dict.fromkeys(("NaN", "nan", "NAN"), None),  # so that it may be missing
}
_BARE = re.compile(r"(?:[^\W\d_]|[$€£¥])[^,;{}\[\]\":\n]*")
_MORE_WORDS = re.compile(r"\w[^,;{}\[\]\":\n]*")
_PREFIXED = re.compile(r"[bBuUrRfF]{1,2}'[^']*'")  # a text as Python writes some
_FIRST_WORD = re.compile(r"\w+")
_COMMENT = re.compile(r"\s(?://|/\*|\#).*", re.DOTALL)
_GOES_BEYOND = re.compile(r"\s(?://|\#|/\*[^*]*\Z)")
"""A comment that no bracket on its line can end; or text, such as "room # 5"."""
_BARE_ENDS = re.compile(r"[\s\ufeff]*(?:[,;}\]]|\Z)")
_KEY_ALONE = re.compile(r'"([^"\\\n]{1,400})"(?=\s*["{\[])')  # its colon is missing
_NEXT_KEY = re.compile(r'\s*"[^"\\\n]{1,200}"\s*:')
_UNOPENED = (
    re.compile(r'[^\W\d_][^,{}\[\]"\n]*(?=")'),
    re.compile(r'[^\W\d_][^:{}\[\]"\n]*(?=")'),
)
"""A text whose first quote is missing: with a colon in it, or with commas."""
_MORE = re.compile(r"""["{\[}\]]|'\s*:|:\s*'""")


class Number(str):
    """A number as it was written, with all its digits."""

    __slots__ = ()

    __repr__ = str.__str__

    def __eq__(self, other: object) -> bool:
        """Compare with another number by value."""
        return isinstance(other, Number) and Decimal(self) == Decimal(other)

    def __hash__(self) -> int:
        """Return the same for numbers of one value."""
        return hash(Decimal(self))


def mended(text: str, start: int) -> tuple[Any, int]:
    """Return the broken object or list that begins at `start`, and where it ends.

    Examples
    --------
    >>> mended("{'a': 1, b: [2, 3,}", 0)
    ({'a': 1, 'b': [2, 3]}, 19)
    """
    return _Mender(text, start).read()


class _Mender(Texts):
    """One pass over a text."""

    def __init__(self, text: str, start: int) -> None:
        super().__init__(text, start)
        self._key = ""  # of the value to come, where an object is open
        self._root: Any = None
        self._closed = False  # whether the last thing read was a closing bracket
        self._comma = True  # whether an item may come: behind a comma, or first

    def read(self) -> tuple[Any, int]:
        """Read one object or list."""
        self._value(self._text[self._at])
        while self._open:
            if self._at > self._limit:
                raise ValueError(TOO_LONG)
            self._next()
        if not self._root:
            raise ValueError("the JSON is broken")
        return self._root, self._at

    def _next(self) -> None:
        """Read one key and value, one item or the end of what is open."""
        was_closed, self._closed = self._closed, False
        mark = self._space()
        if mark in "}]" and mark:
            self._close(mark, was_closed=was_closed)
            return
        if mark in (",", ";"):
            self._at += 1
            self._closed, self._comma = was_closed, True
            return
        current = self._open[-1]
        if was_closed and not self._continues(current, mark):
            self._break_off()
            return
        if not mark:
            raise ValueError("the JSON breaks off")
        if self._bracket_lacks(current, mark):
            return
        if isinstance(current, dict):
            self._key = self._read_key()
            mark = self._space()
            if mark in ",;}]":
                what = "lacks a value" if mark else "breaks off"
                raise ValueError(f"the JSON {what}")
        elif current and not self._comma:
            is_joined = (was_closed and mark in "{[") or (
                isinstance(current[-1], str)
                and not isinstance(current[-1], Number)
                and mark in "\"'“"
            )
            if not is_joined:
                self._refuse("a comma or a bracket was expected")
        self._value(mark)

    def _bracket_lacks(self, current: Any, mark: str) -> bool:
        """Add a missing bracket between records or behind a list."""
        within = self._open[-2] if len(self._open) > 1 else None
        if isinstance(current, dict):
            if mark == "{" and current and self._comma and isinstance(within, list):
                self._open.pop()
                return True
            return False
        ahead = QUOTED_KEY.match(self._text, self._at) if mark == '"' else None
        if ahead is None or not self._comma:
            return False
        last = current[-1] if current else {}
        key = ahead[0].partition('"')[2].rpartition('"')[0]
        if not current or (isinstance(last, dict) and key in last):
            self._put({})
            self._open.append(current[-1])
        elif isinstance(within, dict):
            self._open.pop()
        else:
            self._refuse("a bracket was expected")
        return True

    def _space(self) -> str:
        """Skip blanks and comments, and return the character behind them."""
        self._at = self._behind_space(self._at)
        return self._text[self._at : self._at + 1]

    def _behind_space(self, at: int) -> int:
        space = _SPACE.match(self._text, at)
        if space is None:
            return at
        if space[0].strip():
            check_comments(self._text, *space.span())
        return space.end()

    def _continues(self, current: Any, mark: str) -> bool:
        """Return whether an open object or list goes on behind a closing bracket."""
        if mark and isinstance(current, dict):
            return KEY_AHEAD.match(self._text, self._at) is not None
        return bool(mark) and (self._comma or mark in "{[")

    def _break_off(self) -> None:
        """End the JSON behind its last bracket; what follows must be prose."""
        if self._comma or _MORE.search(self._text, self._at):
            self._refuse("a comma or a bracket was expected")
        self._open.clear()

    def _close(self, mark: str, *, was_closed: bool) -> None:
        """Close what a bracket closes and all within it, or else the last opened."""
        kind = dict if mark == "}" else list
        if any(isinstance(one, kind) for one in self._open):
            while not isinstance(self._open.pop(), kind):
                pass
        elif not was_closed:
            self._open.pop()
        self._at += 1
        self._closed, self._comma = True, False

    def _put(self, value: Any) -> None:
        """Put a value where it belongs."""
        self._comma = False
        if not self._open:
            self._root = value
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        elif self._key in self._open[-1]:
            raise ValueError(f"the JSON holds the key {self._key!r} twice")
        else:
            self._open[-1][self._key] = value

    def _read_key(self) -> str:
        """Read a key and its colon."""
        tries = (one.match(self._text, self._at) for one in (*KEYS, _KEY_ALONE))
        key = next(filter(None, tries), None)
        if key is None:
            self._refuse("a key was expected")
        self._at = key.end()
        return key[1].strip() if key.re is KEYS[-1] else unescaped(key[1])

    def _value(self, mark: str) -> None:
        """Read any value."""
        if mark in "{[":
            if len(self._open) >= _DEEPEST:
                self._refuse("brackets are nested too deep")
            container: Any = {} if mark == "{" else []
            self._put(container)
            self._open.append(container)
            self._at += 1
            self._comma = True
        elif mark in MARKS:
            self._put(self._string(mark))
        elif bare := (
            _NUMBER.match(self._text, self._at) or _DATE.match(self._text, self._at)
        ):
            self._at = bare.end()
            if self._is_thousand(bare[0]):
                self._refuse("digits may go on behind a comma")
            is_number = _IS_JSON.fullmatch(bare[0])
            self._put(Number(bare[0]) if is_number else bare[0])
        else:
            self._put(self._word())

    def _is_thousand(self, digits: str) -> bool:
        """Return whether digits in a list may be the end of a number, as in 1,000."""
        last = self._open[-1][-1:] if isinstance(self._open[-1], list) else ()
        numbers = [one for one in last if isinstance(one, Number)]
        return bool(numbers) and _THOUSANDS.fullmatch(digits) is not None

    def _word(self) -> Any:
        """Read a word, or a text whose quotes are missing."""
        for pattern in _UNOPENED:
            whole = pattern.match(self._text, self._at)
            if whole is not None and self._is_last_quote(whole.end()):
                self._at = whole.end() + 1
                return unescaped(whole[0])
        bare = _BARE.match(self._text, self._at)
        if bare is None:
            self._refuse("a value was expected, or its end")
        start, self._at = self._at, bare.end()
        if _GOES_BEYOND.search(bare[0]) and self._text[self._at : self._at + 1] != "\n":
            self._refuse("a word may end, or go on as a comment does")
        word = _COMMENT.sub("", bare[0]).rstrip()
        check_comments(self._text, start + len(word), bare.end())
        first = _FIRST_WORD.match(word)
        if first is not None and first[0] in _WORDS:
            # the comma before the next key may be missing
            ends = self._ends() or _NEXT_KEY.match(self._text, self._at)
            if word not in _WORDS or not ends:
                self._refuse("a word does not end")
            return _WORDS[word]
        if "\\" in word or _PREFIXED.fullmatch(word) or not self._ends():
            self._refuse("a word does not end")
        if isinstance(self._open[-1], dict):
            word = self._with_commas(start, word)
        return word

    def _is_last_quote(self, at: int) -> bool:
        """Return whether a quote ends a text, and does not begin one."""
        closes = CLOSES.match(self._text, at + 1)
        return closes is not None and closes[1] not in (":", "")

    def _ends(self) -> bool:
        """Return whether a word ends here."""
        end = _BARE_ENDS.match(self._text, self._at)
        return end is not None and end[0].strip() != ""

    def _with_commas(self, start: int, word: str) -> str:
        """Read on where a comma is one of a text without quotes."""
        while self._text[self._at : self._at + 1] == ",":
            if KEY_AHEAD.match(self._text, self._at + 1):
                break
            more = _MORE_WORDS.match(self._text, self._behind_space(self._at + 1))
            if more is None:
                break
            self._at = more.end()
            word = self._text[start : self._at].rstrip()
            if not self._ends():
                self._refuse("a word does not end")
        return word

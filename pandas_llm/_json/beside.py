"""What stands beside JSON, or in its comments, and changes what it says."""

from __future__ import annotations

import re

_NEAR = 200  # letters of a line that are looked at
_NUMBER_LAST = re.compile(r"""(?:\d\.?|["'][\d.,]+["'])[\s}\],;]*\Z""")
_NUMBER = re.compile(r"""[:\[,]\s*["']?[-+]?\d[\d.,]*["']?\s*[,}\]]""")
_LARGE = r"""(?:per\s?cent|pct|hundreds?|thousands?|lakhs?|crores?|dozens?|mill?i?ons?
    |[mbt]r?ill?ions?|millionen|millones|milliards?|milliarden)\b"""
_WORD = rf"(?:{_LARGE}|(?:[kmbx]|bn)\b)"
_SCALE = re.compile(
    rf"""[}}\]]*(?:[ \t]{{0,9}}\(?[ \t]{{0,9}}(?:[%‰\u00d7万萬億亿千]|(?:in\ )?{_WORD})
    |\s{{0,99}}\(?(?:[%‰]|(?:in\ )?{_WORD})\)?[.\s]{{0,99}}\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A scale: on the same line, or alone on the next."""
_IN_SCALE = re.compile(rf"\bin\s{_LARGE}", re.VERBOSE | re.IGNORECASE)
_GOES_WITH = re.compile(
    r"[}\]]*(?:[ \t]{0,9}\(?[ \t]{0,9}(?:[°€$£¥\d½¼¾+*/^]|[-\u2013]\d)"
    r"|[ \t]{1,9}([a-z]+))"
)
_CLAUSES = re.compile(
    "and|as|is|was|because|since|which|this|that|these|the|here|hope|where|with"
    "|according|if|let|based|i|for|from|by|but|then|so"
)
"""Words that begin a new clause, which is not about the number."""
_HALVES = re.compile(r"[}\]]*\s+and\s+(?:an?|one|two|three|\d)\b")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|nor)|n['\u2019]t)[\s:`*]*\Z|[~≈±≤≥\u2212]\Z", re.IGNORECASE
)
_UNSAID = (
    r"not (?:stated|given|mentioned|known|specified|found|provided|available|said)\b"
    r"|(?:unknown|unspecified|unstated|placeholder|n/a|missing)\b"
)
_BACK = (
    r"(?:wait\b|correct(?:ion|ed)\b|actually\b"
    r"|scratch that\b|hold on\b|oops\b|on second thoughts?\b|(?:i'm |i am )?sorry\b"
    r"|(?:my )?apolog|i (?:made|was wrong|misread|meant)\b"
    r"|(?:is|was|that(?:'s| is)|this is|it(?:'s| is))"
    r" (?:not (?:right|correct|true)|wrong|incorrect|false)\b)"
)
_TAKEN_BACK = re.compile(
    rf"[\s`~*_}}\].,;:!—\u2013(-]*{_BACK}|[}}\]`]*(?:\?|[ \t]{{0,9}}\(?(?:{_UNSAID}))",
    re.IGNORECASE,
)
"""Words that begin what follows an answer, and say that it is none."""
_COMMENTS = re.compile(r"(?://|\#)([^\n]*)|/\*(.*?)\*/", re.DOTALL)
_UNDONE = re.compile(
    rf"\W*(?:{_BACK}|{_UNSAID}|(?:or|oder|ou|maybe|perhaps|possibly|example|dummy)\b"
    r"|(?:[kmb]|bn)\b)",
    re.IGNORECASE,
)
_SCALED = re.compile(rf"[%‰万萬億亿千]|\b{_LARGE}", re.VERBOSE | re.IGNORECASE)


def check_beside(text: str, before: str, start: int, end: int) -> None:
    """Raise where words around the JSON take it back, or change its numbers."""
    if _TAKEN_BACK.match(text, end) or _NEGATED.search(before[-20:]):
        raise ValueError("words beside the JSON take it back")
    near = _IN_SCALE.search(before[-_NEAR:]) or _IN_SCALE.search(text, end, end + _NEAR)
    if _changes_the_number(text, end) or (near and _NUMBER.search(text, start, end)):
        raise ValueError("words directly beside the JSON change what it says")


def check_comments(space: str) -> None:
    """Raise where a comment gives another value, or the scale of a number."""
    for comment in _COMMENTS.finditer(space):
        said = comment[1] or comment[2] or ""
        if _UNDONE.match(said) or _SCALED.search(said):
            raise ValueError(f"a comment changes what the JSON says: {said.strip()!r}")


def _changes_the_number(text: str, end: int) -> bool:
    """Return whether a number ends here and its unit or scale follows."""
    if _NUMBER_LAST.search(text[max(0, end - 80) : end]) is None:
        return False
    if _SCALE.match(text, end) or _HALVES.match(text, end):
        return True
    follower = _GOES_WITH.match(text, end)
    if follower is None or _CLAUSES.fullmatch(follower[1] or ""):
        return False
    return "{" not in text[end : end + _NEAR].partition("\n")[0]

"""Words around JSON, or in its comments, that change what it says."""

from __future__ import annotations

import re

NEAR = 200  # letters of a line that are looked at
_NUMBER_LAST = re.compile(r"""(?:\d\.?|["'][\d.,]+["'])[\s}\],;]*\Z""")
_NUMBER = re.compile(r"""[:\[,]\s*["']?[-+]?\d[\d.,]*["']?\s*[,}\]]""")
_LARGE = r"""(?:per\s?cent|pct|hundreds?|thousands?|lakhs?|crores?|dozens?|mill?i?ons?
    |[mbt]r?ill?ions?|mil(?:l?ione[ns]?|l?iard\w*|h[õo]es|lones|yon|yar|ioni|iony)
    |mio|mrd|tsd|mln|mld|pro[zc]ent|por\s?cento|por\s?ciento|pour\s?cent
    |тыс\w*|млн|млрд|миллион\w*|миллиард\w*|процент\w*)\b"""
_WORD = rf"(?:{_LARGE}|(?:[kmbx]|bn)\b)"
_SCALE = re.compile(
    rf"""[}}\]]*(?:[ \t]{{0,9}}\(?[ \t]{{0,9}}
    (?:[%‰٪\uff05\u00d7万萬億亿兆千百만억천]|(?:in\ )?{_WORD})
    |\s{{0,99}}\(?(?:[%‰]|(?:in\ )?{_WORD})\)?[.\s]{{0,99}}\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A scale: on the same line, or alone on the next."""
_IN_SCALE = re.compile(rf"\bin\s{_LARGE}", re.VERBOSE | re.IGNORECASE)
_GOES_WITH = re.compile(
    r"[}\]]*(?:[ \t]{0,9}\(?[ \t]{0,9}(?:[°€$£¥\d½¼¾+^]|\*(?!\*)|/(?![/*])|[-\u2013]\d"
    r"|[,;][ \t]?\d)|[ \t]{0,9}([^\W\d_]+))"
)
_LETTER = r"[^\s\d!?.,;:(){}\[\]\"'`]"
_UNIT = re.compile(
    rf"[}}\]]*[ \t]{{0,9}}(?![\u2e80-\uabff])[^\W\d_]{_LETTER}*(?:[ \t]{_LETTER}+)?\)?"
    r"[ \t]*(?:\n|\Z)"
)
"""A word or two that end the line, in any script that parts words."""
_CLAUSES = re.compile(
    "and|as|is|was|because|since|which|this|that|these|the|here|hope|where|with"
    "|according|if|let|based|i|for|from|by|but|then|so"
)
"""Words that begin a new clause, which is not about the number."""
_HALVES = re.compile(r"[}\]]*\s+and\s+(?:an?|one|two|three|\d)\b")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|nor|nicht|keine?|pas|não|nunca|jamais|не)|n['\u2019]t|不是)"
    r"[\s:`*]*\Z|[~≈±≤≥\u2212]\Z",
    re.IGNORECASE,
)
_OR = (
    r"(?:(?:or|oder|ou|или|或|maybe|perhaps|possibly)\b"
    r"|(?:could|might|may) (?:also )?be\b)"
)
_UNSAID = (
    r"not (?:stated|given|mentioned|known|specified|found|provided|available|said"
    r"|sure|certain|clear|verified|confirmed)\b"
    r"|un(?:known|specified|stated|sure|certain|clear|verified|confirmed)\b"
    r"|(?:placeholder|n/a|missing|unbekannt|unklar|unsicher|inconnu|incertain"
    r"|desconocido)\b|nicht (?:angegeben|genannt|bekannt|sicher)\b|未知|未提及|不确定"
)
_REST = (
    r"(?:…|\.{3}|(?:etc|usw|and so on)\b|and (?:more|others)\b|省略"
    r"|(?:and )?(?:\d+|many|several|some) (?:more|others?)\b"
    r"|(?:and )?more (?:items|records|entries|rows)\b"
    r"|(?:the )?(?:rest|remaining)(?: of the)? (?:items|records|entries|rows)\b)"
)
"""What says that there are more records than are written."""
_BACK = (
    r"(?:wait\b|correct(?:ion|ed)\b|actually\b"
    r"|nein\b|korrektur\b|corrección\b|correção\b|rectificati|perd[óo]n\b|更正|抱歉|等等"
    r"|(?:edit|update)\s*:|no[,.!]? (?:it|that|this|wait|sorry)\b|hmm+\b"
    r"|scratch that\b|hold on\b|oops\b|on second thoughts?\b|(?:i'm |i am )?sorry\b"
    r"|(?:my )?apolog|i (?:made|was wrong|misread|meant)\b"
    r"|(?:is|was|that(?:'s| is)|this is|it(?:'s| is))"
    r" (?:not (?:right|correct|true)|wrong|incorrect|false)\b)"
)
_TAKEN_BACK = re.compile(
    rf"[\s`~*_}}\].,;:!—\u2013(-]*{_BACK}"
    rf"|[}}\]`]*(?:\?|[ \t,;/—\u2013-]{{0,9}}\(?(?:but )?(?:{_UNSAID}|{_OR}|{_REST})"
    r"|[ \t]{0,9}(?:true|false|null)\b(?!\s*\w))",
    re.IGNORECASE,
)
"""Words that begin what follows an answer, and take it back."""
_BEHIND = re.compile(r"[ \t}\]]*(//[^\n]*|/\*.{0,200}?\*/)", re.DOTALL)
_COMMENTS = re.compile(r"(?://|\#)([^\n]*)|/\*(.*?)\*/", re.DOTALL)
_UNDONE = re.compile(
    rf"\W*(?:{_BACK}|{_UNSAID}|{_OR}|(?:example|dummy)\b)|\W*?{_REST}"
    r"|[^?]*\?\s*\Z",
    re.IGNORECASE,
)
_SCALED = re.compile(
    rf"[%‰٪\uff05万萬億亿兆만억]|\b{_LARGE}|\A\W*(?:[kmb]|bn)\b",
    re.VERBOSE | re.IGNORECASE,
)
_LINES = re.compile("[,\n]")
_DIGIT = re.compile(r"\d")


def check_surroundings(text: str, before: str, start: int, end: int) -> None:
    """Raise where words around the JSON take it back, or change its numbers."""
    if _TAKEN_BACK.match(text, end) or _NEGATED.search(before[-20:]):
        raise ValueError("words beside the JSON take it back")
    if comment := _BEHIND.match(text, end):
        check_comments(text, *comment.span(1))
    near = _IN_SCALE.search(before[-NEAR:]) or _IN_SCALE.search(text, end, end + NEAR)
    if _changes_the_number(text, end) or (near and _NUMBER.search(text, start, end)):
        raise ValueError("words directly beside the JSON change what it says")


def check_comments(text: str, start: int, end: int) -> None:
    """Raise where a comment gives another value, or the scale of a number."""
    for comment in _COMMENTS.finditer(text, start, end):
        words = comment[1] or comment[2] or ""
        if _UNDONE.match(words) or (
            _SCALED.search(words) and _is_at_digits(text, *comment.span())
        ):
            raise ValueError(f"a comment changes what the JSON says: {words.strip()!r}")


def _is_at_digits(text: str, start: int, end: int) -> bool:
    """Return whether digits are before a comment, or behind one that comes first."""
    before, after = text[max(0, start - NEAR) : start], text[end : end + NEAR]
    if not before.rpartition("\n")[2].strip():
        after = after.lstrip()
    value = _LINES.split(before.rstrip("}],; \t\r\n"))[-1]
    return _DIGIT.search(value + after.partition("\n")[0]) is not None


def _changes_the_number(text: str, end: int) -> bool:
    """Return whether a number ends here and its unit or scale follows."""
    if _NUMBER_LAST.search(text[max(0, end - 80) : end]) is None:
        return False
    if _SCALE.match(text, end) or _HALVES.match(text, end):
        return True
    follower = _GOES_WITH.match(text, end)
    if follower is None or _CLAUSES.fullmatch(word := follower[1] or ""):
        return False
    if word and not word.islower() and not _UNIT.match(text, end):
        return False
    return "{" not in text[end : end + NEAR].partition("\n")[0]

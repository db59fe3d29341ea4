"""Characters that cannot be seen: spaces, control and format characters, fillers."""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")
_DRAWN_AS_NOTHING = "\u2800\u3164\u115f\u1160\uffa0\u034f" + "".join(
    map(chr, (*range(0xFE00, 0xFE10), *range(0x180B, 0x180E)))  # variation selectors
)


def is_blank(text: str) -> bool:
    r"""Return whether nothing of a text can be seen.

    Examples
    --------
    >>> is_blank("\u200b \ufeff"), is_blank(""), is_blank("-")
    (True, True, False)
    """
    return all(_is_unseen(one) or one in _DRAWN_AS_NOTHING for one in text)


def trimmed(text: str) -> str:
    """Return the text without unseen characters at its ends."""
    start, end = 0, len(text)
    while start < end and _is_unseen(text[start]):
        start += 1
    while start < end and _is_unseen(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_unseen(one: str) -> bool:
    return unicodedata.category(one) in _UNSEEN

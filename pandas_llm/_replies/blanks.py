"""Blanks: what of a text is not seen.

A text of nothing else is as empty as one without letters. Beside spaces these are
control and format characters (a byte order mark, zero-width spaces, marks of
direction) and letters that are drawn as nothing.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
_DRAWN_AS_NOTHING = frozenset(
    map(
        chr,
        (
            *(0x2800, 0x3164, 0x115F, 0x1160, 0xFFA0, 0x034F),
            *range(0xFE00, 0xFE10),  # they choose the form of the letter before them
            *range(0x180B, 0x180E),
        ),
    )
)


def is_blank(text: str) -> bool:
    r"""Tell whether nothing of a text is seen.

    Examples
    --------
    >>> is_blank("\u200b \ufeff"), is_blank(""), is_blank("-")
    (True, True, False)
    """
    return all(_is_unseen(one) or one in _DRAWN_AS_NOTHING for one in text)


def trimmed(text: str) -> str:
    r"""Take off the ends what is not seen.

    Examples
    --------
    >>> trimmed("\ufeffNONE\u200b\n")
    'NONE'
    """
    start, end = 0, len(text)
    while start < end and _is_unseen(text[start]):
        start += 1
    while start < end and _is_unseen(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_unseen(one: str) -> bool:
    return unicodedata.category(one) in _UNSEEN

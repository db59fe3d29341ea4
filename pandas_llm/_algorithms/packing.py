"""Parts packed in order, each pack up to a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(sizes: Sequence[float], most: float) -> list[range]:
    """Return consecutive packs whose sizes sum up to at most `most`.

    A part that is larger alone is a pack of its own.

    >>> pack([3, 3, 3, 9, 1], 6)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    packs, start, total = [], 0, 0.0
    for at, size in enumerate(sizes):
        if at > start and total + size > most:
            packs.append(range(start, at))
            start, total = at, 0.0
        total += size
    if len(sizes) > start:
        packs.append(range(start, len(sizes)))
    return packs

"""Rows that begin alike, put side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def side_by_side(
    codes: Sequence[NDArray[np.int64]], lengths: Sequence[Any], least: float
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return an order with rows that begin alike side by side, and what they share.

    `codes` have for each part, from the first on, a number by row: rows that are alike
    there have the same one, by first appearance. `lengths` are those of a row up to the
    end of each part; `least` is the shortest beginning that counts. In the order groups
    come by their first row, and the rows of a group as they came. What is shared are
    bits by row: part ``i`` ends a beginning that more share than the next longer one
    that counts.

    >>> order, shared = side_by_side([np.array([0, 1, 0, 2])], [9], 5)
    >>> order.tolist(), shared.tolist()
    ([0, 2, 1, 3], [1, 0, 1, 0])
    """
    rows = len(codes[0])
    order = np.lexsort(codes[::-1])
    new = np.zeros(rows, dtype=bool)
    new[:1] = True
    sizes = []
    for code in codes:
        sorted_ = code[order]
        new[1:] |= sorted_[1:] != sorted_[:-1]
        counts = np.diff(np.flatnonzero(new), append=rows)
        sizes.append(np.repeat(counts, counts))
    shared, inner = np.zeros(rows, dtype=np.uint8), np.ones(rows, dtype=np.int64)
    for part in reversed(range(len(codes))):
        length = np.broadcast_to(lengths[part], rows)[order]
        counts = (sizes[part] > inner) & (length >= least)
        shared[counts] |= 1 << part
        inner = np.where(counts, sizes[part], inner)
    by_row = np.empty_like(shared)
    by_row[order] = shared
    depth = int(shared.max(initial=0)).bit_length()  # short ones give no order
    return (np.lexsort(codes[:depth][::-1]) if depth else np.arange(rows)), by_row

"""A column of vectors, from `embed` or from a file."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def stacked(vectors: pd.Series, name: Any) -> Floats:
    """Return vectors as the rows of a matrix; raise for unlike lengths."""
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1:
        raise InvalidValueError(
            f"the vectors of {name!r} have {' and '.join(map(str, sorted(lengths)))} "
            "numbers: embed all rows with one model"
        )
    if not lengths:
        return np.empty((0, 1))
    return np.stack(vectors.tolist()).astype(np.float64)


def has_vectors(column: pd.Series) -> bool:
    """Return whether all cells are vectors, from `embed` or from a file (lists)."""
    cells = column.dropna().tolist()
    listed = [cell for cell in cells if isinstance(cell, (list, tuple))]
    # a file may write 1 for 1.0, and lists of whole numbers alone are other things
    flat = chain.from_iterable(listed)
    floats = (isinstance(one, (float, np.floating)) for one in flat)
    return bool(cells) and all(map(_is_vector, cells)) and (not listed or any(floats))


def _is_vector(cell: Any) -> bool:
    if isinstance(cell, (list, tuple)):
        return bool(cell) and isinstance(cell[0], (int, float, np.number, type(None)))
    return isinstance(cell, np.ndarray) and cell.ndim == 1 and cell.dtype.kind in "fiu"

"""Vectors: what ``embed`` asks for, and how its answers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pandas_llm._keys import Column
from pandas_llm._replies.outputs import Output
from pandas_llm.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._replies.outputs import Record
    from pandas_llm.errors import RowError
    from pandas_llm.types import Choice


class Vector(Output):
    """One vector a row; without `dimensions` of the model's own length.

    Examples
    --------
    >>> Vector("embedding", 2).schema["maxItems"]
    2
    """

    def __init__(self, name: str, dimensions: int | None = None) -> None:
        exact = f"vector{dimensions or ''}"
        self.columns = (Column(name, "vector", exact=exact),)
        self.open = (name,)
        # no server sees it: in the keys of the cache it tells embeddings from texts,
        # and one length from another
        length = {"minItems": dimensions, "maxItems": dimensions} if dimensions else {}
        self.schema = {"type": "array", "items": {"type": "number"}, **length}

    def read(
        self, choice: Choice, cells: Sequence[str] = ()
    ) -> tuple[list[Record], RowError | None]:
        """Return the vector, without a copy."""
        del cells
        if choice.vector is None:
            raise OutputError("the reply holds no vector", choice.text)
        return [(np.frombuffer(choice.vector, dtype="<f4"),)], None

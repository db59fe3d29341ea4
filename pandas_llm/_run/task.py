"""What is to be made of rows: verb, form of the result, and all of it as a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm._replies import Output
    from pandas_llm.options import Settings

Verb = Literal["generate", "extract", "complete", "classify", "embed"]
NAMES: Mapping[Verb, str] = {
    "complete": "completion",
    "classify": "label",
    "embed": "embedding",
}
"""What the new column is called unless told."""
ALONE = ("complete", "classify", "embed")
"""Verbs that give a Series of their own, or a frame of new columns."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How outcomes become the result."""

    how: str = "left"
    ignore_index: bool = False
    errors: str = "coerce"
    error_column: str | None = None
    name: str | None = None
    """None where the caller has not named the new column; `called` has the usual."""
    confidence: bool = False
    flatten: bool = False
    dimensions: int | None = None
    expand: bool = False

    def __post_init__(self) -> None:
        """Refuse words that mean nothing."""
        for field, allowed in (
            ("how", ("left", "inner")),
            ("errors", ("coerce", "raise")),
        ):
            if getattr(self, field) not in allowed:
                msg = f"{field} must be {' or '.join(map(repr, allowed))}"
                raise ValueError(f"{msg}, not {getattr(self, field)!r}")
        length = self.dimensions
        if length is not None and (type(length) is not int or length < 1):
            msg = f"dimensions must be a whole number of at least 1, not {length!r}"
            raise ValueError(msg)

    def called(self, verb: Verb) -> str:
        """Return the new column's name."""
        return NAMES[verb] if self.name is None else self.name

    @property
    def share(self) -> str | None:
        """The column of a label's share of the votes; None without `confidence`."""
        if not self.confidence:
            return None
        return "confidence" if self.name is None else f"{self.name}_confidence"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a plan comes to, before there is data."""

    template: str
    verb: Verb
    shape: Shape
    settings: Settings
    output: Output
    keys: Any
    """As they were given."""

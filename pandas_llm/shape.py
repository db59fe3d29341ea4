"""What is to be made of rows: verb, form of the result, and all of it as a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pandas_llm.output import Output
    from pandas_llm.types import Settings

Verb = Literal["generate", "extract", "complete", "classify", "embed"]
ALONE = ("complete", "classify", "embed")
"""Verbs that give a Series of their own, or a frame of new columns."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How outcomes become the result."""

    how: str = "left"
    ignore_index: bool = False
    errors: str = "coerce"
    error_column: str | None = None
    name: str = "completion"
    confidence: bool = False
    flatten: bool = False
    unique: bool = True
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

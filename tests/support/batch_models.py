"""Models that another process may have imported, or not."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, RootModel, field_validator


class Place(BaseModel):
    """Where it was."""

    town: str = Field(alias="the town")
    floor: int | None = None


class Fact(BaseModel):
    """One fact."""

    fact: str
    year: int = Field(ge=0)
    seen: dt.date | None = None
    kind: Literal["war", "peace"] = "peace"
    place: Place

    @field_validator("fact")
    @classmethod
    def _loud(cls, value: str) -> str:
        return value.upper()


class Node(BaseModel):
    """A tree."""

    name: str
    children: list[Node] = []
    other: Leaf | None = None


class Leaf(BaseModel):
    """A part of it."""

    back: Node | None = None
    when: dt.datetime


Node.model_rebuild()


class Defaults(BaseModel):
    """Nothing of it must be there."""

    count: int = 3
    words: set[str] = {"a"}
    day: dt.date = dt.date(2020, 1, 1)


class Tags(RootModel[list[str]]):
    """A list that is a model."""


class Tagged(BaseModel):
    """Has one."""

    tags: Tags
    code: str = Field(pattern="^[a-z]+$")


Odd = Annotated[int, AfterValidator(lambda value: value * 2)]

"""Keys of every kind and every constraint, for what is sent as a schema."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class Place(BaseModel):
    """Where it was."""

    name: str = Field(pattern="^[A-Z]")
    year: int | None = Field(None, ge=1000, le=2100)


EVERY_KIND: dict[str, Any] = {
    "fact": Annotated[str, Field(max_length=99, description="in one sentence")],
    "count": int,
    "share": float | None,
    "true": bool,
    "day": dt.date,
    "at": dt.datetime,
    "mood": Literal["good", "bad"],
    "tags": list[str],
    "place": Place,
    "places": list[Place] | None,
}


class Part(BaseModel):
    """A part with names that are keywords as well."""

    minimum: Annotated[int, Field(ge=1)]
    pattern: Annotated[str, Field(pattern="^[a-z]+$")] | None
    items: Annotated[list[Annotated[float, Field(lt=9)]], Field(max_length=4)]


class Tree(BaseModel):
    """A part of itself."""

    size: Annotated[int, Field(le=7)]
    parts: list[Tree]


CONSTRAINED: dict[str, Any] = {
    "low": Annotated[int, Field(ge=1, le=5)],
    "between": Annotated[float, Field(gt=0, lt=1.5)],
    "even": Annotated[int, Field(multiple_of=2)],
    "code": Annotated[str, Field(pattern="^[A-Z]{3}$")],
    "word": Annotated[str, Field(min_length=2, max_length=8, description="short")],
    "tags": Annotated[list[str], Field(min_length=1, max_length=3)],
    "maybe": Annotated[int, Field(ge=0)] | None,
    "part": Part,
    "tree": Tree,
    "day": dt.date,
    "plain": str,
}
RECORDS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "records": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["records"],
    "additionalProperties": False,
}

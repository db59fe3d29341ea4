"""JSON schemas that every provider's strict mode takes."""

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Annotated, Any, Literal, Optional, Union

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from pandas_llm._keys import parse_keys
from pandas_llm._keys.schema import portable
from pandas_llm._replies.outputs import Records
from pandas_llm.simulator.answers.texts import answer
from pandas_llm.simulator.dialects.strict import strict_problem
from pandas_llm.types import Choice

KEYWORDS = {
    *("$ref", "$defs", "type", "description", "properties", "required", "items"),
    *("additionalProperties", "anyOf", "enum", "format"),
}


class Size(enum.Enum):
    S = 1
    L = 2.5


class Dog(BaseModel):
    kind: Literal["dog"]
    age: Annotated[int, Field(ge=0, le=30, multiple_of=1)]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, description="lives left", gt=0, lt=10)


class Owner(BaseModel):
    """Who owns it."""

    pet: Annotated[Union[Dog, Cat], Field(discriminator="kind")]  # noqa: UP007
    pets: set[str] = Field(min_length=1, max_length=3)
    email: str = Field("x", pattern="^.+@", examples=["a@b"], deprecated=True)
    heirs: list[Owner] = Field([], json_schema_extra={"x-odd": 1})


EVERYTHING: dict[str, Any] = {
    "text": str,
    "short": Annotated[str, Field(min_length=1, max_length=9, description="a word")],
    "number": int | None,
    "share": Annotated[float, Field(ge=0, le=1)],
    "flag": bool,
    "day": dt.date,
    "at": dt.datetime | None,
    "label": ["a", "b"],
    "mixed": Literal["a", 1, None],  # noqa: PYI061 - as a person may write it
    "only": Literal["x"],
    "size": Size | None,
    "list": Annotated[list[Annotated[int, Field(gt=3)]], Field(min_length=2)],
    "owner": Owner,
    "owners": list[Owner] | None,
}


def schemas(schema: Any):
    """Return all schemas within one, itself first."""
    yield schema
    for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        yield from schemas(part)
    for part in schema.get("$defs", {}).values():
        yield from schemas(part)
    if "items" in schema:
        yield from schemas(schema["items"])


@pytest.fixture(params=[True, False], ids=["one record", "a list"])
def schema(request) -> Any:
    return Records(parse_keys(EVERYTHING), single=request.param).schema


def test_the_schema_is_what_strict_modes_take(schema):
    assert strict_problem(schema) is None
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in schemas(schema):
        assert part.keys() <= KEYWORDS
        assert part.keys() & {"$ref", "anyOf", "type"}
        if "$ref" in part:
            assert part.keys() == {"$ref"}
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
        if part.get("type") == "array":
            assert "items" in part


def test_making_a_schema_portable_twice_changes_nothing(schema):
    assert portable(schema) == schema


def test_optional_is_nullable_and_required(schema):
    record = Records(parse_keys(EVERYTHING), single=True).schema
    assert record["required"] == list(EVERYTHING)
    assert record["properties"]["number"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}]
    }


def test_constraints_are_said_in_the_description():
    asked = Records(parse_keys(EVERYTHING), single=True).schema["properties"]
    assert asked["short"] == {
        "type": "string",
        "description": "a word (at least 1 characters; at most 9 characters)",
    }
    assert asked["share"]["description"] == "at least 0; at most 1"
    assert asked["list"]["description"] == "at least 2 items"
    assert asked["list"]["items"]["description"] == "more than 3"
    owner = asked["owners"]["anyOf"][0]["items"]
    assert owner == {"$ref": "#/$defs/Owner"}


def test_labels_name_their_types():
    asked = Records(parse_keys(EVERYTHING), single=True).schema["properties"]
    assert asked["only"] == {"type": "string", "enum": ["x"]}
    assert asked["mixed"]["enum"] == ["a", 1, None]
    assert asked["mixed"]["type"] == ["string", "integer", "null"]


def test_what_the_schema_does_not_say_is_validated_here():
    output = Records(parse_keys({"share": EVERYTHING["share"]}), single=True)
    jsonschema.validate({"share": 7}, output.schema)
    with pytest.raises(
        Exception, match="share: Input should be less than or equal to 1"
    ):
        output.read(Choice('{"share": 7}'))


def test_an_answer_that_obeys_the_schema_is_understood(schema):
    output = Records(
        parse_keys(EVERYTHING), single="records" not in schema["properties"]
    )
    messages = [{"role": "user", "content": "text: Ada, 2026-01-31, has 4 or 5 cats."}]
    jsonschema.validate(json.loads(answer(messages, schema)), schema)
    # what the schema cannot say, the simulator does not know
    unsaid = ("short", "share", "list", "owner", "owners")
    easy = {key: EVERYTHING[key] for key in EVERYTHING if key not in unsaid}
    output = Records(parse_keys(easy), single=True)
    records, _ = output.read(Choice(answer(messages, output.schema)))
    assert len(records) == 1


TYPES = st.recursive(
    st.sampled_from(
        [str, int, float, bool, dt.date, dt.datetime, Size, Dog, Literal["a", 2]]
    ),
    lambda inner: inner.map(lambda t: list[t]) | inner.map(Optional.__getitem__),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.text(min_size=1).filter(str.isalnum), TYPES, min_size=1, max_size=5
    )
)
def test_any_keys_give_a_schema_that_strict_modes_take(keys):
    schema = Records(parse_keys(keys)).schema
    assert strict_problem(schema) is None
    assert portable(schema) == schema
    for part in schemas(schema):
        assert part.keys() <= KEYWORDS

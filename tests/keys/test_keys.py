"""The keys grammar: every form of it, and errors that name the key before any call."""
# ruff: noqa: UP006, UP035, UP045, PYI061, F821 - all spellings are tested

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
from typing import Annotated, Any, List, Literal, Optional, Union

import numpy as np
import pandas as pd
import pytest
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
)

from pandas_llm._keys import Column, parse_keys, parse_labels
from pandas_llm._replies.outputs import Records
from pandas_llm._run import arrays
from pandas_llm.types import Choice


class Colour(enum.Enum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    """Where somebody lives."""

    street: str
    floor: int | None = None
    kind: Literal["home", "work"] = "home"


class Person(BaseModel):
    name: str = Field(description="the full name")
    seen: AwareDatetime
    address: Address
    old: Address | None = None
    friends: list[Address] = []


class Node(BaseModel):
    name: str
    child: Optional[Node] = None
    children: list[Node] = []


KINDS = [
    (str, "str", ()),
    (int, "int", ()),
    (float, "float", ()),
    (bool, "bool", ()),
    (dt.date, "datetime", ()),
    (dt.datetime, "datetime", ()),
    (list[int], "object", ()),
    (list[list[Colour]], "object", ()),
    (list[["a", "b"]], "object", ()),
    (["b", "a"], "category", ("b", "a")),
    (("b", "a"), "category", ("b", "a")),
    (Literal["x", "y"], "category", ("x", "y")),
    (Literal[3, 1, 2], "category", (3, 1, 2)),
    (Literal["x", None], "category", ("x",)),
    (Literal[True, False], "category", (True, False)),
    (Colour, "category", ("red", "blue")),
    (Level, "category", (1, 2)),
    (Optional[int], "int", ()),
    (Optional[Colour], "category", ("red", "blue")),
    (float | None, "float", ()),
    (Optional[list[str]], "object", ()),
    (Union[int, str], "object", ()),  # noqa: UP007
    (Annotated[int, Field(ge=0)], "int", ()),
    (Optional[Annotated[str, Field(max_length=3)]], "str", ()),
    (Annotated[dt.date | None, Field(description="d")], "datetime", ()),
    (Address, "object", ()),
    (Optional[Address], "object", ()),
]


@pytest.mark.parametrize(("annotation", "kind", "labels"), KINDS, ids=str)
def test_a_type_gives_its_kind_of_column(annotation, kind, labels):
    keys = parse_keys({"the key": annotation})
    ((name, *told, _, _),) = keys.columns
    assert (name, *told) == ("the key", kind, labels)
    assert keys.names == {"the key"}


def test_a_list_means_text_in_its_order():
    assert parse_keys(["b", "a"]).columns == (Column("b", "str"), Column("a", "str"))


@pytest.mark.parametrize(
    "name", ["First Name", "_x", "model_dump", "f0", "$ref", "records", "ключ", "a.b"]
)
def test_a_key_may_have_any_name(name):
    output = Records(parse_keys({name: int, "f1": str}))
    text = f'{{"records": [{{"{name}": 5, "f1": "x"}}]}}'
    assert output.read(Choice(text)) == ([(5, "x")], None)


IMPOSSIBLE = [
    ("question", TypeError, r"write \['question'\]"),
    (b"question", TypeError, "must be a list of names"),
    (5, TypeError, "must be a list of names"),
    ({"a"}, TypeError, "must be a list of names"),
    ([], ValueError, "keys is empty"),
    ({}, ValueError, "keys is empty"),
    ([""], ValueError, "empty name"),
    (["a", " "], ValueError, "empty name"),
    ([1], TypeError, "a key must be a str, not 1"),
    (["a", "b", "a"], ValueError, "'a' more than once"),
    (["\ud800"], ValueError, "half a character"),
    ({"x": dict}, TypeError, r"keys\['x'\]: .*dict"),
    ({"x": dict[str, int]}, TypeError, r"keys\['x'\]"),
    ({"x": list}, TypeError, r"cannot have the type list: write list\[str\]"),
    ({"x": bytes}, TypeError, r"keys\['x'\]: .*not one of str, int"),
    ({"x": "the year"}, TypeError, r"keys\['x'\]: .*does not name a type.*Field\("),
    ({"x": "list[str]"}, TypeError, r"keys\['x'\]: .*write it without quotes"),
    ({"x": "category"}, TypeError, r"keys\['x'\]: .*write the labels"),
    ({"x": pd.CategoricalDtype()}, TypeError, r"keys\['x'\]: .*write the labels"),
    ({"x": "timedelta64[ns]"}, TypeError, r"keys\['x'\]: .*float, in seconds"),
    ({"x": np.complex128}, TypeError, r"keys\['x'\]: .*write float"),
    ({"x": [True, False]}, TypeError, r"keys\['x'\]: True and False .*write bool"),
    ({"x": None}, TypeError, r"keys\['x'\]"),
    ({"x": type(None)}, TypeError, r"keys\['x'\]: None alone"),
    ({"x": Any}, TypeError, r"keys\['x'\]"),
    ({"x": object}, TypeError, r"keys\['x'\]"),
    ({"x": decimal.Decimal}, TypeError, r"keys\['x'\]"),
    ({"x": dt.timedelta}, TypeError, r"keys\['x'\]"),
    ({"x": list[complex]}, TypeError, r"keys\['x'\]: .*complex"),
    ({"ok": str, "x": Optional[bytes]}, TypeError, r"keys\['x'\]"),
    ({"x": []}, ValueError, r"keys\['x'\]: labels must be one text"),
    ({"x": [1.5, 2.0]}, ValueError, r"keys\['x'\]: labels must be"),
    ({"x": ["a", "a"]}, ValueError, r"keys\['x'\]: a label appears twice"),
    ({"x": Literal[()]}, ValueError, r"keys\['x'\]: there is no label"),
    ({"x": Literal[None]}, ValueError, r"keys\['x'\]: there is no label"),
    ({"x": Literal[b"a"]}, TypeError, r"keys\['x'\]: a label is text"),
    ({"x": Literal[1, True]}, ValueError, r"keys\['x'\]: a label appears twice"),
    ({"x": enum.Enum("Empty", {})}, ValueError, r"keys\['x'\]: there is no label"),
    ({"x": enum.Enum("T", {"a": (1, 2)})}, TypeError, r"keys\['x'\]: a label is"),
    ({"x": enum.Enum("T", {"a": float("nan")})}, TypeError, r"keys\['x'\]: a label"),
    ({"x": type("Bare", (BaseModel,), {})}, ValueError, r"keys\['x'\]: the model Bare"),
    (RootModel[list[str]], TypeError, "has no named fields"),
    (BaseModel, TypeError, "has no named fields"),
]


@pytest.mark.parametrize(
    ("named", "plain"),
    [
        *(("int", int), ("Int64", int), (np.int64, int), (np.dtype("uint8"), int)),
        *((pd.Int64Dtype(), int), (pd.Int64Dtype, int), ("int64[pyarrow]", int)),
        *(("float32", float), (np.float64, float), (pd.Float64Dtype(), float)),
        *(("bool", bool), ("boolean", bool), (np.bool_, bool), ("string", str)),
        *(("str", str), (pd.StringDtype(), str), (np.str_, str), ("date", dt.date)),
        *(("datetime64[ns]", dt.datetime), (np.dtype("M8[us]"), dt.datetime)),
        *((pd.Timestamp, dt.datetime), (pd.DatetimeTZDtype("ns", "UTC"), dt.datetime)),
        (pd.CategoricalDtype(["a", "b"]), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (pd.Series([1, 2]), [1, 2]),
        ([1, 2, 3], Literal[1, 2, 3]),
        (list[np.int64], list[int]),
    ],
    ids=repr,
)
def test_names_of_pandas_and_numpy_ask_for_what_the_plain_type_asks(named, plain):
    ours, theirs = parse_keys({"x": plain}), parse_keys({"x": named})
    assert theirs.columns == ours.columns
    assert theirs.model.model_json_schema() == ours.model.model_json_schema()


@pytest.mark.parametrize(("keys", "error", "says"), IMPOSSIBLE, ids=repr)
def test_impossible_keys_are_refused_by_name(keys, error, says):
    with pytest.raises(error, match=says):
        parse_keys(keys)


def _odd(annotation: Any) -> type[BaseModel]:
    namespace = {
        "__annotations__": {"fine": str, "odd": annotation},
        "model_config": ConfigDict(arbitrary_types_allowed=True),
    }
    return type("Odd", (BaseModel,), namespace)


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (pd.DataFrame, "cannot be in JSON"),
        (dict[str, int], "free keys"),
        (list[dict[str, int]], "free keys"),
        (Any, "any value"),
        (List, "any value"),
        (tuple[int, str], "tuple of several types"),
        (enum.Enum("Empty", {}), "no label"),
    ],
)
def test_a_model_with_a_field_that_cannot_be_asked_for_is_refused(annotation, says):
    with pytest.raises((TypeError, ValueError), match=rf"odd.*{says}"):
        parse_keys(_odd(annotation))
    with pytest.raises((TypeError, ValueError), match=rf"nested.*{says}"):
        parse_keys({"nested": _odd(annotation)})


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"two columns the name 'a\.street'"):
        parse_keys({"a": Address, "a.street": str}, flatten=True)


# -- models ---------------------------------------------------------------------


def test_a_model_keeps_its_validators_aliases_and_constraints():
    class Order(BaseModel):
        number: Annotated[int, Field(ge=10)] = Field(alias="no")
        day: dt.date

        @field_validator("day", mode="before")
        @classmethod
        def german(cls, value: Any) -> Any:
            return "-".join(reversed(value.split("."))) if "." in value else value

    output = Records(parse_keys(Order), single=True)
    good = '{"no": "12", "day": "31.01.2026"}'
    assert output.read(Choice(good)) == ([(12, dt.date(2026, 1, 31))], None)
    assert [column.name for column in output.columns] == ["number", "day"]
    assert list(output.schema["properties"]) == ["no", "day"]
    assert output.schema["properties"]["no"]["description"] == "at least 10"


def test_a_persons_own_validator_sees_the_reply_first():
    german = BeforeValidator(lambda text: "-".join(reversed(text.split("."))))
    output = Records(parse_keys({"day": Annotated[dt.date, german]}), single=True)
    good = Choice('{"day": "31.01.2026"}')
    assert output.read(good) == ([(dt.date(2026, 1, 31),)], None)


def test_a_strict_model_is_read_all_the_same():
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        day: dt.date
        colour: Colour

    output = Records(parse_keys(Strict), single=True)
    reply = Choice('```json\n{"day": "2026-01-31", "colour": "red"}\n```')
    assert output.read(reply) == ([(dt.date(2026, 1, 31), "red")], None)


def test_a_recursive_model_has_an_object_at_the_root():
    output = Records(parse_keys(Node), single=True)
    assert output.schema["type"] == "object"
    assert output.schema["properties"]["child"]["anyOf"][0] == {"$ref": "#/$defs/Node"}
    text = '{"name": "a", "child": {"name": "b", "child": null, "children": []}}'
    ((name, child, children),), _ = output.read(Choice(text))
    assert (name, child["name"], children) == ("a", "b", [])


def test_types_that_only_a_function_knows_are_read():
    class Size(BaseModel):
        cm: int

    @dataclasses.dataclass
    class Part:
        size: Size

    class Thing(BaseModel):
        part: Part
        other: Part | str

    part = '{"size": {"cm": 3}}'
    output = Records(parse_keys({"v": Thing}), single=True)
    ((said,),), _ = output.read(Choice(f'{{"v": {{"part": {part}, "other": {part}}}}}'))
    assert said == {"part": {"size": {"cm": 3}}, "other": {"size": {"cm": 3}}}


def test_flatten_gives_fields_columns_of_their_own():
    keys = parse_keys(Person, flatten=True)
    assert [(column.name, column.kind) for column in keys.columns] == [
        ("name", "str"),
        ("seen", "datetime"),
        ("address.street", "str"),
        ("address.floor", "int"),
        ("address.kind", "category"),
        ("old.street", "str"),
        ("old.floor", "int"),
        ("old.kind", "category"),
        ("friends", "object"),
    ]
    text = (
        '{"name": "Ada", "seen": "2026-01-31T12:00:00+02:00", "old": null,'
        '"address": {"street": "S", "floor": 2, "kind": "Work"}, "friends": []}'
    )
    records, _ = Records(keys, single=True).read(Choice(text))
    seen = dt.datetime(2026, 1, 31, 10)  # noqa: DTZ001 - naive UTC is what is wanted
    assert records == [("Ada", seen, "S", 2, "work", None, None, None, [])]


def test_flatten_stops_where_a_model_is_within_itself():
    keys = parse_keys({"node": Node}, flatten=True)
    names = [column.name for column in keys.columns]
    assert names == ["node.name", "node.child", "node.children"]


# -- labels ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ["good", "bad"],
        ("good", "bad"),
        {"good": "smiles", "bad": "frowns"},
        pd.Series(["good", "bad"]),
        pd.Index(["good", "bad"]),
        pd.CategoricalDtype(["good", "bad"]),
        pd.Series(pd.Categorical(["bad", "bad"], ["good", "bad"])),
        {"good": 1, "bad": 2}.keys(),
        Literal["good", "bad"],
        enum.Enum("Mood", {"GOOD": "good", "BAD": "bad"}),
        (label for label in ["good", "bad"]),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_come_in_many_forms(labels):
    assert parse_labels("mood", labels).columns[0].labels == ("good", "bad")


def test_descriptions_of_labels_reach_the_schema():
    output = Records(parse_labels("mood", {"good": "smiles", "bad": "frowns"}))
    mood = output.schema["properties"]["records"]["items"]["properties"]["mood"]
    assert mood == {
        "type": "string",
        "enum": ["good", "bad"],
        "description": "good: smiles; bad: frowns",
    }


@pytest.mark.parametrize(
    "labels",
    [
        *("good", "", [], {}, None, 5, [1.5], [True, False], ["a", "a"], str),
        *({"good", "bad"}, frozenset({"good", "bad"})),
        *(["good", ""], [" "], {"good": "x", "": "y"}, Literal["good", "\t"]),
    ],
)
def test_impossible_labels_are_refused(labels):
    with pytest.raises((TypeError, ValueError), match="label"):
        parse_labels("mood", labels)


@pytest.mark.parametrize(
    ("labels", "given", "found"),
    [
        (["A", "a"], '"a"', "a"),
        (["+1", "-1"], '"-1"', "-1"),
        (["C", "C#"], '"c#"', "C#"),
        (["not ok", "ok"], '"NOT_OK"', "not ok"),
        (["1", "2"], "2", "2"),
        (Literal[1, 2], '"2"', 2),
        (Literal[True, False], '"true"', True),
    ],
)
def test_a_label_is_found_where_only_one_can_be_meant(labels, given, found):
    output = Records(parse_keys({"x": labels}), single=True)
    assert output.read(Choice(f'{{"x": {given}}}')) == ([(found,)], None)


@pytest.mark.parametrize(
    ("labels", "given"),
    [(["Ab", "aB"], '"ab"'), (Literal[1, 2], "true"), (Literal[True], "1")],
)
def test_a_label_that_could_be_two_is_none(labels, given):
    output = Records(parse_keys({"x": labels}), single=True)
    with pytest.raises(Exception, match="must be one of"):
        output.read(Choice(f'{{"x": {given}}}'))


# -- dtypes ---------------------------------------------------------------------

TEXT = "str" if arrays.PANDAS_GE_30 else "object"
DTYPES = {
    str: (TEXT, ["x"]),
    int: ("Int64", [2**60 + 1]),
    float: ("Float64", [0.5]),
    bool: ("boolean", [True]),
    dt.date: ("datetime64[us]", [dt.date(1, 1, 1)]),
    dt.datetime: ("datetime64[us]", [dt.datetime(9999, 12, 31)]),  # noqa: DTZ001
    Literal["b", "a"]: ("category", ["a"]),
    Level: ("category", [1]),
    list[int]: ("object", [[1], [2]]),
    Address: ("object", [{"street": "S"}]),
}


@pytest.mark.parametrize("annotation", DTYPES, ids=str)
@pytest.mark.parametrize("rows", ["no rows", "only NA", "values", "values and NA"])
def test_the_dtype_follows_from_the_key_alone(annotation, rows):
    dtype, values = DTYPES[annotation]
    ((_, kind, labels, *_),) = parse_keys({"x": annotation}).columns
    given = {
        "no rows": [],
        "only NA": [None, None],
        "values": values,
        "values and NA": [*values, None],
    }[rows]
    data = pd.DataFrame(index=range(len(given)))
    data["x"] = arrays.typed(given, kind, labels)
    assert str(data["x"].dtype) == dtype
    assert data["x"].isna().tolist() == [value is None for value in given]
    for found, value in zip(data["x"], given, strict=True):
        if isinstance(value, dt.date):
            assert found.isoformat()[:10] == value.isoformat()[:10]
        elif value is not None:
            assert found == value
    if kind == "category":
        assert list(data["x"].cat.categories) == list(labels)

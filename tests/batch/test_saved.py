"""What a batch job's file holds: a call as JSON, and back without its keys."""
# ruff: noqa: F821, UP007, UP045, PYI061 - all spellings are tested

from __future__ import annotations

import datetime as dt
import enum
import json
import sys
import types
import warnings
from typing import Annotated, Any, Literal, Optional, Union

import annotated_types
import pytest
from batch_models import Defaults, Fact, Leaf, Node, Odd, Place, Tagged
from pydantic import AfterValidator, BaseModel, Field, Strict, StringConstraints

from pandas_llm import ConfigurationError, LLMError, LLMWarning, options
from pandas_llm._run.task import Shape, make_task
from pandas_llm.batch import saved
from pandas_llm.errors import OutputError
from pandas_llm.types import Choice


class Colour(enum.Enum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Share(enum.Enum):
    HALF = 0.5
    WHOLE = 1.0
    NONE = "none"


FORMS = [
    *(str, int, float, bool, dt.date, dt.datetime),
    *(Optional[str], Optional[int], float | None, bool | None),
    *(Optional[dt.date], dt.datetime | None),
    *(list[int], list[str], list[list[Colour]], Optional[list[dt.date]]),
    *(list[Optional[int]], list[["a", "b"]], list[dt.datetime]),
    *(["b", "a"], ("b", "a"), Literal["x", "y"], Literal["x"], Literal[3, 1, 2]),
    *(Literal["x", None], Optional[Literal["x", "y"]], Literal[True, False]),
    *(Literal["1", 2], Colour, Level, Share, Optional[Colour], list[Level]),
    *(Union[int, str], Union[int, list[str], None], Union[float, bool]),
    *(Union[dt.date, str], Union[Colour, int]),
    Annotated[int, Field(ge=0, lt=5)],
    Annotated[int, Field(le=2**70)],
    Annotated[float, annotated_types.Interval(gt=0.5, le=3)],
    Annotated[float, Field(multiple_of=0.5)],
    Optional[Annotated[str, Field(max_length=3)]],
    Annotated[Optional[int], Field(description="how many")],
    Optional[Annotated[int, Field(ge=2)]],
    Annotated[str, Field(pattern="^[a-z]+$"), "said to nobody"],
    Annotated[list[str], Field(min_length=2)],
    Annotated[Literal["a", "b"], Field(description="which")],
    list[Annotated[int, annotated_types.Ge(2)]],
    Annotated[int, Field(default=7)],
]
REPLIES = [
    *("", "a", "b", "x", "X ", "red", " RED", "1", "2", "abcd", "none", "12.5", "true"),
    *("2026-01-31", "2026-01-31T10:00:00", "2026-01-31T10:00:00+02:00", "yes"),
    *(0, 1, 2, 3, 2**63, 2**70, 0.5, 1.0, 2.5, -1, True, False, None, [], {}),
    *([1, 2], [1], ["a", "b"], ["A"], [["red"], ["Blue"]], [None, 1], ["2026-01-31"]),
    *([["red", "green"]], {"x": 1}, [True], ["2026-01-31T10:00:00"], 1e300),
    {"the town": "Oslo", "floor": 2},
    {"the town": "Oslo"},
    {"town": "Oslo", "floor": "x"},
    [{"the town": "Oslo", "floor": None}],
]


def task(keys, verb="extract", template="${text}", shape=None, **given):
    given = {"model": "sim", "base_url": "http://127.0.0.1:9", **given}
    shape = shape or Shape()
    return make_task(template, keys, verb, shape, options.resolve(given))


def again(made, keys=None):
    return saved.read(saved.write(made), "kept.sqlite", keys)


def quietly_again(made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return again(made)


def answers(made, reply):
    """Return what a task makes of a reply, or that it makes nothing of it."""
    try:
        return repr(made.output.read(Choice(json.dumps(reply))))
    except OutputError:
        return "no answer"


@pytest.fixture
def strangers(monkeypatch):
    """Be where the models are not imported."""
    monkeypatch.delitem(sys.modules, "batch_models")


def alike(one, other, replies):
    assert other.output.schema == one.output.schema
    assert other.output.columns == one.output.columns
    told = [answers(one, reply) for reply in replies]
    assert [answers(other, reply) for reply in replies] == told
    assert set(told) > {"no answer"}


# -- keys -----------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["extract", "generate"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_keys_of_plain_types_read_as_before(form, verb):
    made = task({"the key": form, "f0": str}, verb)
    other = quietly_again(made)
    replies: list[Any] = [{"the key": value, "f0": "x"} for value in REPLIES]
    replies += [{"f0": "x"}, {"the key": "a"}]
    if verb == "generate":
        replies = [{"records": [reply, reply]} for reply in replies]
    alike(made, other, replies)


@pytest.mark.parametrize(
    "keys",
    [["b", "a"], {"only": int}, {"$ref": str, "_x": bool, "a.b": float, "ключ": int}],
    ids=str,
)
def test_names_may_be_any_and_keep_their_order(keys):
    made = task(keys)
    names = list(keys)
    replies = [dict.fromkeys(names, value) for value in ("a", "1", 1, 2.5, None)]
    alike(made, quietly_again(made), replies)


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize(
    "labels",
    [["good", "bad"], {"good": "smiles", "bad": "frowns"}, Colour, Literal[2, 1]],
    ids=str,
)
def test_labels_are_read_as_before(labels, confidence):
    shape = Shape(name="mood", confidence=confidence)
    made = task(labels, "classify", shape=shape)
    other = quietly_again(made)
    alike(made, other, [{"mood": value} for value in ("Good", "bad", "RED", 1, "2")])
    votes = [[(label,)] for label in made.output.columns[0].labels]
    assert other.output.combine(votes) == made.output.combine(votes)


def test_a_call_without_keys_needs_none():
    made = task(None, "complete", shape=Shape(name="said"))
    other = quietly_again(made)
    assert other.output.columns == made.output.columns
    assert other.output.schema is None
    with pytest.raises(ValueError, match="keys are not those"):
        again(made, keys=["answer"])


# -- models ---------------------------------------------------------------------

PLACE = {"the town": "Oslo", "floor": 2}
FACT = {"fact": "it rained", "year": 1789, "seen": "1789-07-14", "kind": "War"}
NODE = {"name": "a", "children": [{"name": "b", "children": []}], "other": None}
MODELS = [
    ({"place": Place, "n": int}, [{"place": PLACE, "n": 1}, {"place": 1, "n": 1}]),
    ({"places": list[Place] | None}, [{"places": [PLACE]}, {"places": None}, {}]),
    (Fact, [{**FACT, "place": PLACE}, {**FACT, "year": -1, "place": PLACE}, FACT]),
    (Fact, [{**FACT, "place": PLACE}, {**FACT, "place": PLACE, "fact": 1.5}]),
    (Node, [NODE, {**NODE, "children": [NODE]}, {**NODE, "name": []}]),
    ({"tree": Node}, [{"tree": NODE}, {"tree": 3}]),
    (Leaf, [{"back": NODE, "when": "2026-01-31T10:00:00"}, {"back": None}]),
    (Defaults, [{"count": 1}, {"words": ["b", "b"], "day": "2026-01-31"}, {"x": 1}]),
    (Tagged, [{"tags": ["a"], "code": "x"}, {"tags": ["a"], "code": "X"}]),
]


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize(("keys", "replies"), MODELS, ids=str)
def test_a_model_that_is_imported_is_taken_again(keys, replies, flatten):
    made = task(keys, shape=Shape(flatten=flatten))
    alike(made, quietly_again(made), replies)


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize(("keys", "replies"), MODELS, ids=str)
def test_without_its_model_a_reply_is_checked_by_the_schema(
    keys, replies, flatten, strangers
):
    made = task(keys, shape=Shape(flatten=flatten))
    with pytest.warns(LLMWarning, match="schema alone.*keys=") as caught:
        other = again(made)
    assert len(caught) == 1
    assert "batch_models" in str(caught[0].message)
    assert other.output.columns == made.output.columns

    def said(task, reply):
        # what its schema does not hold: a validator's word, names behind an alias
        told = answers(task, reply).lower()
        return told.replace("the town", "town")

    for reply in replies:
        assert said(other, reply) == said(made, reply)


@pytest.mark.parametrize(("keys", "replies"), MODELS, ids=str)
def test_a_model_that_is_given_needs_no_import(keys, replies, strangers):
    made = task(keys)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike(made, again(made, keys), replies)


@pytest.mark.parametrize(
    "form",
    [
        Odd,
        Annotated[int, Strict()],
        Annotated[str, StringConstraints(strip_whitespace=True)],
        Annotated[dt.date, Field(ge=dt.date(2000, 1, 1))],
        Annotated[Union[int, str], Field(ge=3)],
        Annotated[Optional[int], Field(ge=2)],
        list[Annotated[str, AfterValidator(str.upper)]],
        Annotated[str, Field(json_schema_extra={"format": "date"})],
    ],
    ids=lambda form: str(form).partition(" at 0x")[0],
)
def test_a_check_that_no_schema_holds_is_told_of(form):
    made = task({"x": form})
    with pytest.warns(LLMWarning, match="schema alone.*keys=") as caught:
        other = again(made)
    assert len(caught) == 1
    assert other.output.schema == made.output.schema
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike(made, again(made, {"x": form}), [{"x": value} for value in REPLIES])


def test_a_model_that_has_changed_is_not_taken(monkeypatch):
    made = task(Fact), task({"place": Place})
    written = [saved.write(one) for one in made]

    class Other(BaseModel):
        fact: int

    there = types.ModuleType("batch_models")
    there.Fact = there.Place = Other
    monkeypatch.setitem(sys.modules, "batch_models", there)
    for one, text in zip(made, written, strict=True):
        with pytest.warns(LLMWarning, match="schema alone"):
            other = saved.read(text, "kept.sqlite")
        assert other.output.columns == one.output.columns
        assert other.output.schema == one.output.schema


def test_other_keys_than_those_of_the_call_are_refused():
    made = task({"x": int})
    for keys in (["x"], {"y": int}, Fact):
        with pytest.raises(ValueError, match="keys are not those"):
            again(made, keys)


# -- a file from a stranger ------------------------------------------------------


def changed(made, **output):
    job = json.loads(saved.write(made))
    job["output"].update(output)
    return json.dumps(job).encode()


def test_a_file_makes_nothing_imported_and_nothing_called(monkeypatch, tmp_path):
    ran = []
    (tmp_path / "trap_on_import.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    lazy = types.ModuleType("lazy_trap")
    lazy.__getattr__ = lambda name: ran.append(name) or Fact
    monkeypatch.setitem(sys.modules, "lazy_trap", lazy)
    made = task(Fact)
    names = ["trap_on_import:Fact", "lazy_trap:Fact", "os:system", "builtins:exec"]
    names += ["subprocess:Popen", "batch_models:Fact.model_fields", ":", "x", ""]
    for name in names:
        text = changed(made, models={"Fact": name})
        with pytest.warns(LLMWarning, match="schema alone"):
            saved.read(text, "kept.sqlite")
    assert ran == []
    assert "trap_on_import" not in sys.modules


def test_a_text_in_a_schema_is_never_code(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = "open('ran', 'w')"
    made = task({"x": int})
    record = {
        "$defs": {code: {"type": "object", "properties": {code: {"type": "string"}}}},
        "properties": {"x": {"$ref": f"#/$defs/{code}"}},
        "title": code,
        "type": "object",
    }
    other = saved.read(changed(made, record=record), "kept.sqlite")
    answers(other, {"x": {code: "a"}})
    assert list(tmp_path.iterdir()) == []


DEEP: dict[str, Any] = {"type": "string"}
for _ in range(300):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    "output",
    [
        {"record": {}},
        {"record": {"properties": {"x": {"type": "object"}}}},
        {"record": {"properties": {"x": {"$ref": "#/$defs/no"}}}},
        {"record": {"properties": {"x": DEEP}}},
        {"record": {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}},
        {"columns": [{"name": "x"}]},
        {"columns": []},
        {"columns": [{"name": "x", "kind": "?", "labels": []}]},
        {"models": 3},
    ],
    ids=str,
)
def test_a_damaged_job_is_one_error(output):
    text = changed(task({"x": int}), **output)
    with pytest.raises(LLMError, match="cannot be read"):
        saved.read(text, "kept.sqlite")


def test_a_schema_that_leads_nowhere_holds_up_nobody():
    made = task({"x": Place, "y": int})
    record = json.loads(saved.write(made))["output"]["record"]
    for target in ("Place", "Other"):
        loop = {name: {"$ref": f"#/$defs/{target}"} for name in ("Place", target)}
        text = changed(made, record={**record, "$defs": loop})
        with pytest.warns(LLMWarning, match="schema alone"):
            other = saved.read(text, "kept.sqlite")
        assert answers(other, {"x": 1, "y": 2}) == "no answer"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"version": 9}', b"\x80"])
def test_what_is_no_job_is_one_error(text):
    with pytest.raises(LLMError, match="cannot be read"):
        saved.read(text, "kept.sqlite")


# -- options --------------------------------------------------------------------


def test_options_come_back_as_they_go_into_requests():
    class Told:
        def __str__(self):
            return "kindly"

    made = task(
        {"x": int},
        api_key=lambda: "sk-secret",
        headers={"x-team": "a", "authorization": "sk-secret"},
        values={"tone": Told(), "day": dt.date(2026, 1, 31)},
        examples=[("one", {"x": 1}), ("two", '{"x": 2}')],
        extra={"day": dt.date(2026, 1, 31), "top_k": 4},
        stop=("a", "b"),
        prices={"sim": (1.0, 2.0)},
        seed=3,
        progress=print,
        cache="elsewhere.sqlite",
    )
    text = saved.write(made)
    assert b"sk-secret" not in text
    settings = saved.read(text, "kept.sqlite").settings
    assert settings.api_key is settings.session is settings.progress is None
    assert settings.headers == {"x-team": "a"}
    assert settings.values == {"tone": "kindly", "day": "2026-01-31"}
    assert settings.examples == [["one", '{"x":1}'], ["two", '{"x": 2}']]
    assert settings.extra == {"day": "2026-01-31", "top_k": 4}
    assert settings.stop == ["a", "b"]
    assert settings.prices == {"sim": [1.0, 2.0]}
    assert (settings.seed, settings.cache) == (3, "kept.sqlite")


def test_an_option_that_json_does_not_hold_is_said_at_once():
    made = task(["x"], prices={("m",): (1.0, 2.0)})
    with pytest.raises(ConfigurationError, match="prices cannot be kept"):
        saved.write(made)

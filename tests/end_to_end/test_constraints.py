"""Constraints of keys reach the schema where the server takes them, over real HTTP."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any, Literal
from uuid import UUID  # noqa: TC003 - pydantic reads it

import jsonschema
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_server import Server, completion, failure
from pydantic import BaseModel, Field
from schema_keys import CONSTRAINED as KEYS
from vendor_replies import at, said

from pandas_llm._keys import parse_keys
from pandas_llm._keys.schema import constrained, narrowed, portable
from pandas_llm._replies.outputs import Records
from pandas_llm.cache import Fingerprint
from pandas_llm.providers import connect
from pandas_llm.types import Capabilities, Endpoint, Request, Spec

ROWS = pd.DataFrame({"text": ["one", "two", "three"]})


class Odd(BaseModel):
    """What no server takes."""

    price: Decimal
    id: UUID


SAID = {
    "low": 2,
    "between": 0.5,
    "even": 4,
    "code": "ABC",
    "word": "word",
    "tags": ["a"],
    "maybe": None,
    "part": {"minimum": 1, "pattern": "a", "items": [1.0]},
    "tree": {"size": 1, "parts": []},
    "day": "2026-01-31",
    "plain": "x",
}
KEYWORDS = {
    "low": {"minimum": 1, "maximum": 5},
    "between": {"exclusiveMinimum": 0, "exclusiveMaximum": 1.5},
    "even": {"multipleOf": 2},
    "code": {"pattern": "^[A-Z]{3}$"},
    "word": {"minLength": 2, "maxLength": 8},
    "tags": {"minItems": 1, "maxItems": 3},
    "day": {"format": "date"},
    "plain": {},
}


def asked(body: dict[str, Any]) -> Any:
    """Find the schema in a body of any dialect."""
    if "generationConfig" in body:
        return body["generationConfig"].get("responseJsonSchema")
    if "output_config" in body:
        return body["output_config"]["format"]["schema"]
    if "text" in body:
        return body["text"]["format"]["schema"]
    return body.get("response_format", {}).get("json_schema", {}).get("schema")


def keywords(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in schema.items()
        if key not in ("type", "description", "items", "properties", "anyOf")
    }


def built(provider: str, base_url: str, keys: Any = None, **more: Any) -> Any:
    output = Records(parse_keys(keys or KEYS), single=True)
    spec = Spec("m", schema=output.schema, constrained=output.constrained)
    speaker = connect(Endpoint(provider, base_url, "m", "k"))
    known = Capabilities(**more)
    return asked(orjson.loads(speaker.build(Request(spec, "Hi"), known, 1).body))


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "google"])
def test_constraints_are_sent_as_keywords(provider):
    text = orjson.dumps(SAID).decode()
    with Server(lambda _: said(provider, text)) as server:
        out = ROWS.llm.extract("${text}", KEYS, **at(server, provider))
    assert out["low"].tolist() == [2, 2, 2]
    assert len(server.bodies) == 3
    for body in server.bodies:
        found = asked(body)["properties"]
        for name, expected in KEYWORDS.items():
            assert keywords(found[name]) == expected
        assert found["maybe"]["anyOf"][0]["minimum"] == 0
        part = found["part"]["properties"]
        assert keywords(part["minimum"]) == {"minimum": 1}
        assert part["pattern"]["anyOf"][0]["pattern"] == "^[a-z]+$"
        assert part["items"]["maxItems"] == 4
        assert part["items"]["items"]["exclusiveMaximum"] == 9
        assert asked(body)["$defs"]["Tree"]["properties"]["size"]["maximum"] == 7
        # in words too: of keywords that are ignored the model hears all the same
        assert found["word"]["description"].startswith("short (at least 2")


def test_openais_own_strict_mode_gets_what_it_takes():
    found = built("openai", "https://api.openai.com/v1")["properties"]
    assert keywords(found["word"]) == {}
    for name in KEYWORDS.keys() - {"word"}:
        assert keywords(found[name]) == KEYWORDS[name]


@pytest.mark.parametrize(
    "message",
    [
        "Invalid schema for response_format 'records': In context=('properties', "
        "'word'), 'minLength' is not permitted.",
        "Unsupported keyword: multipleOf",
        "property 'exclusiveMinimum' is not supported",
        "The specified schema produces a constraint that has too many states",
        "For 'integer' type, properties maximum, minimum are not supported",
        "json_schema: keyword pattern is not allowed",
    ],
)
def test_refused_keywords_are_left_out_from_the_first_row_on(message):
    def answer(body):
        if keywords(asked(body)["properties"]["low"]):
            return failure(400, message)
        return completion(orjson.dumps(SAID).decode())

    with Server(answer) as server:
        out = ROWS.llm.extract("${text}", KEYS, **at(server))
        assert out["low"].tolist() == [2, 2, 2]
        assert len(server.bodies) == 4
        llm = out.attrs["llm"]
        assert (llm["schema"], llm["constraints"]) == ("json_schema", False)
        ROWS.llm.extract("Again: ${text}", KEYS, **at(server))
    assert len(server.bodies) == 7
    strict = Records(parse_keys(KEYS), single=True).schema
    assert [asked(body) == strict for body in server.bodies[1:]] == [True] * 6


def test_a_server_without_schemas_steps_down_all_the_way():
    def answer(body):
        if "response_format" in body:
            return failure(400, "response_format is not supported")
        return completion(orjson.dumps(SAID).decode())

    with Server(answer) as server:
        out = ROWS.llm.extract("${text}", KEYS, **at(server))
    assert out["low"].tolist() == [2, 2, 2]
    assert len(server.bodies) == 3 + 3


def test_keys_without_constraints_cost_no_further_step():
    def answer(body):
        if asked(body):
            return failure(400, "json_schema is not supported")
        return completion('{"fact": "x"}')

    with Server(answer) as server:
        out = ROWS.llm.extract("${text}", {"fact": str}, **at(server))
    assert out["fact"].tolist() == ["x"] * 3
    assert len(server.bodies) == 4


def test_another_refusal_leaves_the_keywords_in():
    def answer(body):
        if "temperature" in body:
            return failure(400, "temperature is above the maximum for this model")
        return completion(orjson.dumps(SAID).decode())

    with Server(answer) as server, pytest.warns(match="temperature"):
        ROWS.llm.extract("${text}", KEYS, temperature=1.5, **at(server))
    assert keywords(asked(server.bodies[-1])["properties"]["low"])


def test_what_no_grammar_holds_is_said_in_words_alone():
    keys: dict[str, Any] = {
        "look": Annotated[str, Field(json_schema_extra={"pattern": "^(?!x)y$"})],
        "edge": Annotated[str, Field(json_schema_extra={"pattern": r"^\bx"})],
        "group": Annotated[str, Field(pattern="^(?:a|b)$")],
        "end": Annotated[float, Field(le=math.inf, ge=1)],
    }
    found = built("vllm", "http://localhost:8000/v1", keys)["properties"]
    assert keywords(found["look"]) == {}
    assert "^(?!x)y$" in found["look"]["description"]
    assert keywords(found["edge"]) == {}
    assert keywords(found["group"]) == {"pattern": "^(?:a|b)$"}
    assert keywords(found["end"]) == {"minimum": 1}
    odd = built("vllm", "http://localhost:8000/v1", Odd)["properties"]
    assert odd["id"]["format"] == "uuid"
    assert not any("pattern" in part for part in odd["price"]["anyOf"])


def test_the_key_and_the_words_of_the_prompt_stay_as_they_were():
    output = Records(parse_keys(KEYS), single=True)
    with_, without = (
        Spec("m", schema=output.schema, constrained=more)
        for more in (output.constrained, None)
    )
    endpoint = Endpoint("openai", "http://localhost:1", "m", "k")
    keys = {Fingerprint(endpoint).of(Request(s, "Hi")) for s in (with_, without)}
    assert len(keys) == 1
    said_in_words = Capabilities("prompt")
    bodies = {
        connect(endpoint).build(Request(spec, "Hi"), said_in_words, 1).body
        for spec in (with_, without)
    }
    assert len(bodies) == 1


def test_without_constraints_there_is_no_second_schema():
    keys = {"a": str, "b": int | None, "c": Literal["x"], "d": dt.date}
    assert Records(parse_keys(keys)).constrained is None


WHOLE, BOUNDS = st.integers(-99, 99), st.integers(-99, 99) | st.floats(-99, 99)
PLAIN = {
    int: st.fixed_dictionaries({}, optional={"ge": WHOLE, "lt": WHOLE}),
    float: st.fixed_dictionaries({}, optional={"gt": BOUNDS, "le": BOUNDS}),
    str: st.fixed_dictionaries(
        {}, optional={"min_length": st.integers(0, 9), "max_length": st.integers(0, 99)}
    ),
}


@given(st.data())
def test_the_keywords_say_what_is_checked_here(data):
    kind = data.draw(st.sampled_from(list(PLAIN)))
    made = Annotated[kind, Field(**data.draw(PLAIN[kind]))]
    output = Records(parse_keys({"v": made}), single=True)
    schema = output.constrained or output.schema
    value = data.draw(
        {int: st.integers(-200, 200), float: st.floats(-200, 200), str: st.text()}[kind]
    )
    sent = {"v": value}
    obeys = jsonschema.Draft202012Validator(schema).is_valid(sent)
    try:
        output._keys.model.model_validate_json(orjson.dumps(sent))
        assert obeys
    except ValueError:
        assert not obeys


@given(st.sampled_from(["minimum", "pattern", "format", "maxItems", "minLength"]))
def test_narrowing_to_nothing_gives_the_portable_form(name):
    model = parse_keys({**KEYS, name: KEYS["low"]}).model.model_json_schema()
    whole = constrained(model)
    assert whole is not None
    assert narrowed(whole, lambda *_: False) == portable(model)
    assert narrowed(whole, lambda *_: True) == whole
    assert name in whole["properties"]

"""Requests and the simulator's answers, held against OpenAI's own specification.

``PANDAS_LLM_OPENAI_SPEC`` names the file (OpenAPI 3.1, as JSON).
"""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import openai.types
import openai.types.chat
import pandas as pd
import pytest
from attached import pdf
from schema_keys import EVERY_KIND as KEYS
from schema_keys import Place

import pandas_llm  # noqa: F401 - registers the accessor
from pandas_llm.providers.vendors.openai import OpenAI
from pandas_llm.types import Capabilities, Endpoint, Request, Spec

FILE = os.environ.get("PANDAS_LLM_OPENAI_SPEC", "")
pytestmark = pytest.mark.skipif(
    not FILE,
    reason="NOT CHECKED AGAINST OPENAI'S SPECIFICATION: PANDAS_LLM_OPENAI_SPEC is not "
    "set; it names openai-openapi-slim.json",
)

OPTIONS = [
    {},
    {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": "\n\n"},
    {"stop": ["a", "b"], "max_tokens": 2000, "n": 3},
    {"reasoning_effort": "low", "system": "Be short."},
    {"examples": [("2 facts", [{"fact": "x"}])], "extra": {"service_tier": "flex"}},
]


@pytest.fixture(scope="module")
def specification() -> Any:
    return json.loads(Path(FILE).read_text())


@pytest.fixture(scope="module")
def problems(specification):
    """Return the function that tells what is wrong with a value of a named schema."""
    components = specification["components"]

    def find(name: str, value: Any) -> list[str]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        validator = jsonschema.Draft202012Validator(schema)
        found = [
            f"{error.json_path}: {error.message}"
            for error in validator.iter_errors(value)
        ]
        known = names(name, components["schemas"])
        return found + [f"unknown field {key!r}" for key in value if key not in known]

    return find


def names(schema: Any, schemas: Any) -> set[str]:
    """Return the names of all properties of a schema, parts of it included."""
    if isinstance(schema, str):
        schema = schemas[schema]
    found = set(schema.get("properties", {}))
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        found |= names(part, schemas)
    if "$ref" in schema:
        found |= names(schema["$ref"].rsplit("/", 1)[-1], schemas)
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("modes", [("json_schema",), ("json_object",), ()], ids=str)
@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_every_request_keeps_to_the_specification(  # noqa: PLR0917 - fixtures
    options, modes, docs, simulator, on, problems
):
    server = simulator(schema_modes=modes, fault_plan={0: "wrong_schema"})
    common = {**on(server), **options}
    docs.llm.generate("Facts about ${text}", KEYS, **common)
    docs.llm.complete("Say more on ${text}", **common)
    docs.llm.classify("How is ${text}?", {"good": "smiles", "bad": "frowns"}, **common)
    if "n" not in options:
        docs.llm.extract("Who is in ${text}?", Place, **common)
    bodies = [seen["body"] for seen in server.requests()]
    assert len(bodies) >= 9
    for body in bodies:
        assert problems("CreateChatCompletionRequest", body) == []


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/sim", "ChatCompletionRequestMessageContentPartFile"),
        ("openai-responses/sim", "InputFileContent"),
    ],
)
def test_files_keep_to_the_specification(model, name, simulator, problems):
    server = simulator()
    rows = pd.DataFrame({"text": ["x"], "report": [pdf()]})
    place = {"model": model, "base_url": server.base_url, "api_key": "k"}
    rows.llm.complete("${text}", files="report", progress=False, **place)
    (seen,) = server.requests()
    turns = seen["body"].get("messages") or seen["body"]["input"]
    part, _ = turns[0]["content"]
    assert problems(name, part) == []
    assert problems(name, {**part, "type": "pdf"})


def test_the_request_to_openai_itself_keeps_to_the_specification(problems):
    endpoint = Endpoint("openai", "https://api.openai.com/v1", "m", "k")
    request = Request(Spec("m", max_tokens=5), "Hello")
    built = OpenAI(endpoint).build(request, Capabilities(), 1)
    body = json.loads(built.body)
    assert body["store"] is False
    assert problems("CreateChatCompletionRequest", body) == []


def test_an_unknown_field_is_a_failure(problems):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert problems("CreateChatCompletionRequest", body) == []
    found = problems("CreateChatCompletionRequest", {**body, "min_tokens": 5})
    assert found == ["unknown field 'min_tokens'"]
    assert problems("CreateChatCompletionRequest", {**body, "n": "3"})


def post(server, **fields: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc)
    body = {"model": "sim", "messages": [{"role": "user", "content": "A. B."}]}
    connection.request("POST", "/v1/chat/completions", json.dumps({**body, **fields}))
    response = connection.getresponse()
    data = json.loads(response.read())
    connection.close()
    return response.status, data


@pytest.mark.parametrize("fault", [None, "refusal", "cut_off", "content_filter"])
@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"max_tokens": 1}], ids=str)
def test_the_simulators_answers_keep_to_the_specification(
    fault, fields, simulator, problems
):
    server = simulator(fault_plan={0: fault} if fault else {})
    status, data = post(server, **fields)
    assert status == 200
    assert problems("CreateChatCompletionResponse", data) == []
    completion = openai.types.chat.ChatCompletion.model_validate(data, strict=True)
    assert len(completion.choices) == fields.get("n", 1)
    assert completion.model_extra == {}


@pytest.mark.parametrize("fault", ["400", "401", "404", "429", "429_quota", "500"])
def test_the_simulators_errors_keep_to_the_specification(fault, simulator, problems):
    status, data = post(simulator(fault_plan={0: fault}))
    assert status == int(fault[:3])
    assert problems("ErrorResponse", data) == []
    assert openai.types.ErrorObject.model_validate(data["error"])


def test_the_simulators_models_keep_to_the_specification(simulator, problems):
    connection = http.client.HTTPConnection(urlsplit(simulator().base_url).netloc)
    connection.request("GET", "/v1/models")
    data = json.loads(connection.getresponse().read())
    connection.close()
    assert problems("ListModelsResponse", data) == []
    for model in data["data"]:
        assert openai.types.Model.model_validate(model, strict=True)

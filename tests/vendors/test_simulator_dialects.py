"""The simulator's dialects, spoken to by the vendors' own client packages."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import json
import subprocess
import sys
import time
from typing import Any

import anthropic
import numpy as np
import openai
import pytest
from google import genai
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from wire import Got, exchange

from pandas_llm.simulator import Simulator, count_tokens
from pandas_llm.simulator.answers.attached import ImageError, look_at_url
from pandas_llm.simulator.answers.vectors import embed, packed
from pandas_llm.simulator.conditions.settings import FAULTS
from pandas_llm.simulator.dialects.strict import anthropic_problem

MARK = "[simulated] "
PROMPT = "Summarise the text.\ntext: Cats purr. Dogs bark."
# one red pixel
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()
SEEN = "[image/png, 70 bytes, be1e0a7e]"


class Pair(BaseModel):
    question: str
    answer: str


class Records(BaseModel):
    records: list[Pair]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.fixture
def messages_client():
    """Make Anthropic clients for simulators."""
    clients = []

    def make(sim: Simulator, retries: int = 0, key: str = "k") -> anthropic.Anthropic:
        client = anthropic.Anthropic(
            base_url=sim.origin, api_key=key, max_retries=retries
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def openai_client():
    """Make OpenAI clients for simulators."""
    clients = []

    def make(sim: Simulator, retries: int = 0, key: str = "k") -> openai.OpenAI:
        client = openai.OpenAI(base_url=sim.base_url, api_key=key, max_retries=retries)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def google_client():
    """Make Google clients for simulators."""
    clients = []

    def make(
        sim: Simulator, retries: int = 0, key: str = "k", version: str = "v1beta"
    ) -> genai.Client:
        options = genai.types.HttpOptions(base_url=sim.origin, api_version=version)
        if retries:
            options.retry_options = genai.types.HttpRetryOptions(
                attempts=retries + 1, initial_delay=0.01, max_delay=0.01
            )
        client = genai.Client(api_key=key, http_options=options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def ask_anthropic(client: anthropic.Anthropic, text: Any = PROMPT, **more: Any) -> Any:
    fields = {"model": "sim", "max_tokens": 1000, **more}
    return client.messages.create(
        messages=[{"role": "user", "content": text}], **fields
    )


def post(sim: Simulator, path: str, fields: Any, **headers: str) -> Got:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange(sim, path, json.dumps(fields).encode(), named)


MESSAGE = {
    "model": "sim",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": PROMPT}],
}
CONTENT = {"contents": [{"parts": [{"text": PROMPT}]}]}
GENERATE = "/v1beta/models/sim:generateContent"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "sim",
        "messages": [{"role": "user", "content": PROMPT}],
    },
    "/v1/responses": {"model": "sim", "input": PROMPT},
    "/v1/messages": MESSAGE,
    GENERATE: CONTENT,
    "/v1/embeddings": {"model": "sim", "input": [PROMPT, "Hello"]},
    "/v1beta/models/sim:embedContent": {"content": {"parts": [{"text": PROMPT}]}},
    "/v1beta/models/sim:batchEmbedContents": {
        "requests": [
            {"model": "models/sim", "content": {"parts": [{"text": text}]}}
            for text in (PROMPT, "Hello")
        ]
    },
    "/api/embed": {"model": "sim", "input": [PROMPT, "Hello"]},
}
VERSION = {"anthropic_version": "2023-06-01"}


# Anthropic Messages


def test_a_message_has_the_fields_of_anthropic(simulator, messages_client):
    reply = messages_client(simulator()).messages.with_raw_response.create(**MESSAGE)
    assert reply.headers["request-id"] == "req_sim_00000000"
    message = reply.parse()
    (block,) = message.content
    assert block.text.startswith(MARK)
    assert (message.stop_reason, message.stop_details) == ("end_turn", None)
    assert message.usage.input_tokens == count_tokens(PROMPT) + 4
    assert message.usage.output_tokens == count_tokens(block.text)
    assert message.model_dump(mode="json")["type"] == "message"


def test_all_dialects_say_the_same(
    simulator, messages_client, openai_client, google_client
):
    sim = simulator()
    client = openai_client(sim)
    asked = [{"role": "user", "content": PROMPT}]
    texts = {
        client.chat.completions.create(model="sim", messages=asked)
        .choices[0]
        .message.content,
        ask_anthropic(messages_client(sim)).content[0].text,
        client.responses.create(model="sim", input=PROMPT).output_text,
        google_client(sim).models.generate_content(model="sim", contents=PROMPT).text,
    }
    assert len(texts) == 1
    assert len(sim.stats()["per_prompt"]) == 1


def test_anthropics_structured_output_obeys_the_schema(simulator, messages_client):
    client = messages_client(simulator())
    message = client.messages.parse(
        model="sim",
        max_tokens=1000,
        system="Be brief.",
        messages=[{"role": "user", "content": PROMPT}],
        output_format=Records,
    )
    assert message.parsed_output.records
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        ask_anthropic(
            client,
            output_config={
                "format": {"type": "json_schema", "schema": {"type": "object"}}
            },
        )


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [
        ("400", anthropic.BadRequestError, "invalid_request_error"),
        ("401", anthropic.AuthenticationError, "authentication_error"),
        ("404", anthropic.NotFoundError, "not_found_error"),
        ("429", anthropic.RateLimitError, "rate_limit_error"),
        ("500", anthropic.InternalServerError, "api_error"),
        ("503", anthropic.ServiceUnavailableError, "api_error"),
        ("529", anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_anthropics_client_sees_its_errors(
    simulator, messages_client, fault, error, kind
):
    with pytest.raises(error) as caught:
        ask_anthropic(messages_client(simulator(fault_plan={0: fault})))
    body = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert body["request_id"] == caught.value.request_id == "req_sim_00000000"
    waits = fault in {"429", "503", "529"}
    assert caught.value.response.headers.get("retry-after") == ("1" if waits else None)


def test_a_spent_budget_at_anthropic_says_nothing_of_waiting(
    simulator, messages_client
):
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask_anthropic(messages_client(simulator(fault_plan={0: "429_quota"})))
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


def test_anthropics_client_waits_out_the_limit(simulator, messages_client):
    sim = simulator(requests_per_minute=100, burst=1)
    client = messages_client(sim, retries=3)
    for _ in range(2):
        assert ask_anthropic(client).content[0].text
    assert sim.stats()["by_status"] == {"200": 2, "429": 1}


def test_anthropics_rate_headers_are_timestamps(simulator):
    sim = simulator(requests_per_minute=60, tokens_per_minute=60_000)
    before = dt.datetime.now(dt.UTC)
    got = post(sim, "/v1/messages", {**MESSAGE, "max_tokens": 50_000}, **VERSION)
    assert got.status == 200  # max_tokens are not counted
    assert got.headers["anthropic-ratelimit-requests-limit"] == "60"
    assert got.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert got.headers["anthropic-ratelimit-input-tokens-limit"] == "60000"
    reset = dt.datetime.fromisoformat(got.headers["anthropic-ratelimit-requests-reset"])
    assert -1 <= (reset - before).total_seconds() <= 10
    refused = post(sim, "/v1/messages", MESSAGE, **VERSION)
    assert refused.status == 429
    assert refused.body["error"]["message"] == (
        "This request would exceed your organization's rate limit of 60 requests per "
        "minute (model: sim)."
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut_off", "max_tokens"), ("refusal", "refusal"), ("content_filter", "refusal")],
)
def test_a_fault_gives_a_message_its_stop_reason(
    simulator, messages_client, fault, reason
):
    client = messages_client(simulator(fault_plan={0: fault}))
    message = ask_anthropic(client)
    assert message.stop_reason == reason
    refused = reason == "refusal"
    assert (message.stop_details is not None) == refused
    assert bool(message.content) != refused
    short = ask_anthropic(client, max_tokens=4)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 4)


def test_anthropic_takes_images_and_refuses_broken_ones(simulator, messages_client):
    client = messages_client(simulator())
    blocks = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PNG_TEXT},
        },
        {"type": "text", "text": "What is it?"},
    ]
    assert SEEN in ask_anthropic(client, blocks).content[0].text
    blocks[0]["source"]["media_type"] = "image/jpeg"
    with pytest.raises(anthropic.BadRequestError, match="does not match"):
        ask_anthropic(client, blocks)
    blocks[0]["source"] = {"type": "url", "url": "https://example.com/a.png"}
    assert "https://example.com/a.png" in ask_anthropic(client, blocks).content[0].text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"n": 2}, "n: Extra inputs are not permitted"),
        ({"model": "gone"}, "model: gone"),
        ({"model": None}, "model: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        (
            {"messages": [{"role": "system", "content": "x"}]},
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            {"messages": [{"role": "user", "content": ""}]},
            "messages: text content blocks must be non-empty",
        ),
        (
            {"messages": [{"role": "user", "content": []}]},
            "messages.0: all messages must have non-empty content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages.0.content.0: Input tag 'video' found using 'type' does not match "
            "any of the expected tags: text, image, document",
        ),
        ({"stream": True}, "stream: this model does not stream"),
        (
            {"output_config": {"format": {"type": "json_object"}}},
            "output_config.format.type: Input should be 'json_schema'",
        ),
    ],
)
def test_anthropic_refuses_what_is_not_in_order(simulator, changes, message):
    got = post(simulator(), "/v1/messages", {**MESSAGE, **changes}, **VERSION)
    assert got.status == (404 if "gone" in message else 400)
    assert got.body["error"]["message"] == message


def test_sampling_is_refused_since_the_newest_version_of_anthropic(simulator):
    sim = simulator()
    body = {**MESSAGE, "temperature": 1.0}
    assert post(sim, "/v1/messages", body, **VERSION).status == 200
    new = post(sim, "/v1/messages", body, anthropic_version="2026-10-21")
    assert new.body["error"]["message"].startswith("temperature: ")
    without = post(sim, "/v1/messages", MESSAGE)
    assert without.body["error"]["message"] == "anthropic-version: header is required"


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"type": "integer", "minimum": 1}, "'integer' type, properties minimum"),
        ({"type": "string", "maxLength": 9}, "'string' type, properties maxLength"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, "'minItems'"),
        ({"type": "array", "items": {"type": "object"}}, "additionalProperties"),
        ({"$ref": "#/$defs/Tree"}, "Circular reference"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
    ],
)
def test_anthropics_rules_for_schemas(part, problem):
    tree = {
        "type": "object",
        "properties": {"child": {"$ref": "#/$defs/Tree"}},
        "additionalProperties": False,
    }
    flat = {**tree, "properties": {"x": {"type": "string"}}}
    schema = {**SCHEMA, "properties": {"p": part}}
    schema["$defs"] = {"Tree": tree if "$ref" in part else flat}
    found = anthropic_problem(schema)
    assert found is None if problem is None else problem in str(found)


def test_many_optional_fields_are_too_many_for_anthropic():
    names = [f"f{i}" for i in range(25)]
    schema = {**SCHEMA, "properties": {name: {"type": "string"} for name in names}}
    assert "optional" in str(anthropic_problem({**schema, "required": []}))
    assert anthropic_problem({**schema, "required": names[:1]}) is None


# OpenAI Responses


def test_a_response_has_the_fields_of_openai(simulator, openai_client):
    response = openai_client(simulator()).responses.create(
        model="sim", input=PROMPT, instructions="Be brief.", store=False
    )
    assert response.output_text.startswith(MARK)
    assert (response.status, response.error) == ("completed", None)
    assert response.incomplete_details is None
    usage = response.usage
    assert usage.input_tokens == count_tokens(PROMPT) + 4 + 3 + 4
    assert usage.output_tokens == count_tokens(response.output_text)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_responses_structured_output_obeys_the_schema(simulator, openai_client):
    response = openai_client(simulator()).responses.parse(
        model="sim", input=PROMPT, text_format=Records
    )
    assert response.output_parsed.records


def test_why_a_response_ended(simulator, openai_client):
    plan = {0: "cut_off", 1: "refusal", 2: "content_filter", 3: "error_200"}
    client = openai_client(simulator(fault_plan=plan))
    cut, refused, filtered, failed = (
        client.responses.create(model="sim", input=PROMPT) for _ in plan
    )
    assert (cut.status, cut.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert refused.output[0].content[0].type == "refusal"
    assert filtered.incomplete_details.reason == "content_filter"
    assert (failed.status, failed.error.code) == ("failed", "server_error")
    short = client.responses.create(model="sim", input="a " * 200, max_output_tokens=16)
    assert short.incomplete_details.reason == "max_output_tokens"


def test_responses_take_images_and_refuse_broken_ones(simulator, openai_client):
    client = openai_client(simulator())

    def ask(url: str) -> str:
        image = {"type": "input_image", "detail": "auto", "image_url": url}
        parts = [{"type": "input_text", "text": "Describe"}, image]
        asked = [{"role": "user", "content": parts}]
        return client.responses.create(model="sim", input=asked).output_text

    assert SEEN in ask(f"data:image/png;base64,{PNG_TEXT}")
    with pytest.raises(openai.BadRequestError, match="base64"):
        ask("data:image/png;base64,%%%")


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"n": 2}, "unknown_parameter", "n"),
        ({"seed": 1}, "unknown_parameter", "seed"),
        ({"stop": "x"}, "unknown_parameter", "stop"),
        ({"previous_response_id": "x"}, "unsupported_parameter", None),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
        (
            {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            *("missing_required_parameter", "text.format.name"),
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            *("invalid_value", "input[0].content[0].type"),
        ),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "r",
                        "strict": True,
                        "schema": {"type": "object"},
                    }
                }
            },
            *("invalid_json_schema", "text.format"),
        ),
    ],
)
def test_responses_refuse_what_is_not_in_order(simulator, changes, code, param):
    fields = {**BODIES["/v1/responses"], **changes}
    got = post(simulator(), "/v1/responses", fields)
    assert got.status == 400
    assert got.body["error"]["code"] == code
    if param:
        assert got.body["error"]["param"] == param


def test_chat_completions_take_images_and_refuse_broken_ones(simulator, openai_client):
    client = openai_client(simulator())

    def ask(url: str) -> Any:
        parts = [
            {"type": "text", "text": "Describe"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        asked = [{"role": "user", "content": parts}]
        reply = client.chat.completions.create(model="sim", messages=asked)
        return reply.choices[0].message.content

    assert SEEN in ask(f"data:image/png;base64,{PNG_TEXT}")
    assert "https://example.com/a.png" in ask("https://example.com/a.png")
    with pytest.raises(openai.BadRequestError) as caught:
        ask("/tmp/a.png")
    assert caught.value.code == "invalid_image_url"
    assert caught.value.param == "messages[0].content[1].image_url.url"


def test_openais_client_waits_out_the_limit_of_responses(simulator, openai_client):
    sim = simulator(requests_per_minute=120, burst=1)
    client = openai_client(sim, retries=3)
    for _ in range(3):
        assert client.responses.create(model="sim", input=PROMPT).output_text
    assert sim.stats()["by_status"] == {"200": 3, "429": 2}


def test_azures_client_finds_its_addresses(simulator):
    sim = simulator(api_key="k", models=("deployed",))
    with openai.AzureOpenAI(
        azure_endpoint=sim.origin, api_key="k", api_version="2024-10-21"
    ) as client:
        asked = [{"role": "user", "content": PROMPT}]
        reply = client.chat.completions.create(model="deployed", messages=asked)
        vectors = client.embeddings.create(model="deployed", input="Cats")
    assert reply.model == "deployed"
    assert len(vectors.data[0].embedding) == 256
    paths = [seen["path"] for seen in sim.requests()]
    assert paths[0] == "/openai/deployments/deployed/chat/completions"


# Gemini


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_candidate_has_the_fields_of_google(simulator, google_client, version):
    client = google_client(simulator(), version=version)
    reply = client.models.generate_content(
        model="sim", contents=PROMPT, config={"system_instruction": "Be brief."}
    )
    (candidate,) = reply.candidates
    assert reply.text.startswith(MARK)
    assert candidate.finish_reason == genai.types.FinishReason.STOP
    assert reply.model_version == "sim"
    usage = reply.usage_metadata
    assert usage.prompt_token_count == count_tokens(PROMPT) + 4 + 3 + 4
    assert usage.candidates_token_count == count_tokens(reply.text)
    assert usage.total_token_count == (
        usage.prompt_token_count + usage.candidates_token_count
    )


@pytest.mark.parametrize("own", [True, False])
def test_googles_structured_output_obeys_the_schema(simulator, google_client, own):
    schema = (
        {"response_schema": Records}
        if own
        else {"response_json_schema": Records.model_json_schema()}
    )
    reply = google_client(simulator()).models.generate_content(
        model="sim",
        contents=PROMPT,
        config={
            "response_mime_type": "application/json",
            "candidate_count": 2,
            **schema,
        },
    )
    assert len(reply.candidates) == 2
    for candidate in reply.candidates:
        assert Records.model_validate_json(candidate.content.parts[0].text).records


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("400", 400, "INVALID_ARGUMENT"),
        ("401", 400, "INVALID_ARGUMENT"),
        ("404", 404, "NOT_FOUND"),
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("500", 500, "INTERNAL"),
        ("503", 503, "UNAVAILABLE"),
    ],
)
def test_googles_client_sees_its_errors(simulator, google_client, fault, code, status):
    client = google_client(simulator(fault_plan={0: fault}))
    with pytest.raises(genai.errors.APIError) as caught:
        client.models.generate_content(model="sim", contents=PROMPT)
    assert (caught.value.code, caught.value.status) == (code, status)
    kind = genai.errors.ServerError if code >= 500 else genai.errors.ClientError
    assert isinstance(caught.value, kind)


def details(got: Got) -> dict[str, Any]:
    listed = got.body["error"].get("details", [])
    return {each["@type"].rpartition(".")[2]: each for each in listed}


def test_google_says_in_the_body_how_long_to_wait(simulator):
    sim = simulator(requests_per_minute=60, burst=1)
    assert post(sim, GENERATE, CONTENT).status == 200
    got = post(sim, GENERATE, CONTENT)
    assert got.status == 429
    assert not [name for name in got.headers if "rate" in name or "retry" in name]
    found = details(got)
    assert 0 < float(found["RetryInfo"]["retryDelay"].removesuffix("s")) <= 1
    (violation,) = found["QuotaFailure"]["violations"]
    assert violation["quotaId"].startswith("GenerateRequestsPerMinute")
    assert violation["quotaValue"] == "60"
    assert "Please retry in " in got.body["error"]["message"]
    sim.configure(requests_per_minute=None, faults={"429_quota": 1})
    daily = details(post(sim, GENERATE, CONTENT))
    assert "PerDay" in daily["QuotaFailure"]["violations"][0]["quotaId"]
    assert daily["RetryInfo"]["retryDelay"] == "36000s"
    sim.configure(faults={"429": 1}, retry_after=False)
    assert "RetryInfo" not in details(post(sim, GENERATE, CONTENT))


def test_googles_client_tries_again(simulator, google_client):
    sim = simulator(fault_plan={0: "429", 1: "503"})
    client = google_client(sim, retries=3)
    reply = client.models.generate_content(model="sim", contents=PROMPT)
    assert reply.text.startswith(MARK)
    assert sim.stats()["by_status"] == {"429": 1, "503": 1, "200": 1}


def test_a_key_that_google_does_not_know(simulator, google_client):
    sim = simulator(api_key="right")
    with pytest.raises(genai.errors.ClientError, match="API key not valid"):
        google_client(sim, key="wrong").models.generate_content(
            model="sim", contents=PROMPT
        )
    got = post(sim, GENERATE, CONTENT, x_goog_api_key="wrong")
    assert details(got)["ErrorInfo"]["reason"] == "API_KEY_INVALID"
    assert sim.requests()[0]["headers"]["x-goog-api-key"] == "***"
    reply = google_client(sim, key="right").models.generate_content(
        model="sim", contents=PROMPT
    )
    assert reply.text


def test_why_a_candidate_ended(simulator, google_client):
    plan = {0: "cut_off", 1: "content_filter", 2: "refusal", 3: "no_message"}
    client = google_client(simulator(fault_plan=plan))
    cut, filtered, blocked, empty = (
        client.models.generate_content(model="sim", contents=PROMPT) for _ in plan
    )
    assert cut.candidates[0].finish_reason == genai.types.FinishReason.MAX_TOKENS
    assert filtered.candidates[0].finish_reason == genai.types.FinishReason.SAFETY
    assert filtered.candidates[0].content is None
    assert blocked.candidates is None
    assert blocked.prompt_feedback.block_reason is not None
    assert empty.candidates[0].content is None


def test_google_takes_images_and_refuses_broken_ones(simulator, google_client):
    client = google_client(simulator())

    def ask(data: bytes, mime_type: str) -> str:
        image = genai.types.Part.from_bytes(data=data, mime_type=mime_type)
        reply = client.models.generate_content(
            model="sim", contents=["Describe", image]
        )
        return str(reply.text)

    assert SEEN in ask(PNG, "image/png")
    with pytest.raises(genai.errors.ClientError, match="Unable to process input image"):
        ask(b"no image", "image/png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": []}, 'Unknown name "messages": Cannot find field.'),
        (
            {"generationConfig": {"max_tokens": 5}},
            "Unknown name \"max_tokens\" at 'generation_config': Cannot find field.",
        ),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"parts": []}]}, "parts must not be empty"),
        ({"contents": [{"parts": [{}]}]}, "must have one initialized field"),
        (
            {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]},
            "Please use a valid role: user, model.",
        ),
        (
            {"generationConfig": {"responseJsonSchema": SCHEMA}},
            "a response schema needs `application/json`",
        ),
        ({"generationConfig": {"responseMimeType": "text/html"}}, "allowed mimetypes"),
        ({"generationConfig": {"candidateCount": 9}}, "candidateCount"),
    ],
)
def test_google_refuses_what_is_not_in_order(simulator, changes, message):
    got = post(simulator(), GENERATE, {**CONTENT, **changes})
    assert got.status == 400
    assert got.body["error"]["status"] == "INVALID_ARGUMENT"
    assert message in got.body["error"]["message"]


def test_google_takes_both_ways_of_writing_names(simulator):
    fields = {
        "contents": [{"parts": [{"text": PROMPT}]}],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {"max_output_tokens": 3},
    }
    got = post(simulator(), GENERATE, fields)
    assert got.body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert got.body["usageMetadata"]["candidatesTokenCount"] == 3


# Embeddings

TEXTS = ["The cat purrs.", "A cat sleeps.", "Stocks fell sharply."]


def test_openais_client_gets_vectors(simulator, openai_client):
    sim = simulator()
    client = openai_client(sim)
    found = client.embeddings.create(model="sim", input=TEXTS, dimensions=64)
    assert [item.index for item in found.data] == [0, 1, 2]
    vectors = np.array([item.embedding for item in found.data])
    assert vectors.shape == (3, 64)
    assert sim.requests()[0]["body"]["encoding_format"] == "base64"
    tokens = sum(map(count_tokens, TEXTS))
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (tokens, tokens)
    floats = client.embeddings.create(
        model="sim", input=TEXTS, dimensions=64, encoding_format="float"
    )
    assert np.allclose(vectors, [item.embedding for item in floats.data])
    assert sim.stats()["tokens_in"] == 2 * tokens


def test_lists_of_tokens_have_vectors_too(simulator, openai_client):
    client = openai_client(simulator())
    one = client.embeddings.create(model="sim", input=[1, 2, 3])
    two = client.embeddings.create(model="sim", input=[[1, 2, 3], [7]])
    assert len(one.data) == 1
    assert one.data[0].embedding == two.data[0].embedding
    assert (one.usage.prompt_tokens, two.usage.prompt_tokens) == (3, 4)


def test_googles_client_gets_the_same_vectors(simulator, google_client):
    sim = simulator()
    found = google_client(sim).models.embed_content(
        model="sim", contents=TEXTS, config={"output_dimensionality": 64}
    )
    values = [each.values for each in found.embeddings]
    assert np.allclose(values, [embed(text, 64) for text in TEXTS])
    got = post(
        sim,
        "/v1beta/models/sim:embedContent",
        {"content": {"parts": [{"text": TEXTS[0]}]}, "outputDimensionality": 64},
    )
    assert np.allclose(got.body["embedding"]["values"], values[0])


def test_the_simulator_answers_ollamas_requests_for_vectors(simulator):
    sim = simulator()
    fields = {"model": "sim", "input": TEXTS, "dimensions": 64}
    got = post(sim, "/api/embed", fields).body
    assert np.allclose(got["embeddings"], [embed(text, 64) for text in TEXTS])
    assert got["prompt_eval_count"] == sum(map(count_tokens, TEXTS))
    gone = post(sim, "/api/embed", {"model": "gone", "input": "x"})
    assert (gone.status, gone.body) == (
        404,
        {"error": 'model "gone" not found, try pulling it first'},
    )


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("/v1/embeddings", {"input": None}, "Missing required parameter: 'input'."),
        ("/v1/embeddings", {"input": ""}, "cannot be an empty string"),
        (
            "/v1/embeddings",
            {"input": ["a", ""]},
            "'input[1]': input cannot be an empty",
        ),
        ("/v1/embeddings", {"input": ["a", 1]}, "Invalid type for 'input[1]'"),
        ("/v1/embeddings", {"input": ["a"] * 2049}, "maximum length 2048"),
        ("/v1/embeddings", {"input": "a" * 40_000}, "maximum context length is 8192"),
        (
            "/v1/embeddings",
            {"input": ["a" * 20_000] * 61},
            "Requested 305000 tokens, max 300000 tokens per request",
        ),
        ("/v1/embeddings", {"encoding_format": "hex"}, "Invalid value: 'hex'"),
        ("/v1/embeddings", {"dimensions": 0}, "Invalid 'dimensions'"),
        ("/v1/embeddings", {"dimensions": 5000}, "Invalid 'dimensions'"),
        ("/api/embed", {"input": 5}, "invalid input type"),
        (
            "/v1beta/models/sim:batchEmbedContents",
            {"requests": [{"content": {"parts": [{"text": "x"}]}}]},
            "unexpected model name format",
        ),
        (
            "/v1beta/models/sim:batchEmbedContents",
            {
                "requests": BODIES["/v1beta/models/sim:batchEmbedContents"]["requests"]
                * 51
            },
            "at most 100 requests can be in one batch",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_embedding_requests_are_refused(simulator, path, changes, message):
    got = post(simulator(), path, {**BODIES[path], **changes})
    assert got.status == 400
    assert message in got.raw.decode()


def test_vectors_that_do_not_come_whole(simulator):
    plan = dict(
        enumerate(["no_choices", "cut_off", "no_message", "bad_output", "wrong_schema"])
    )
    sim = simulator(fault_plan=plan)
    fields = {**BODIES["/v1/embeddings"], "dimensions": 8, "encoding_format": "base64"}
    none, fewer, without, null, half = (
        post(sim, "/v1/embeddings", fields).body["data"] for _ in plan
    )
    assert none == []
    assert len(fewer) == 1
    assert "embedding" not in without[0]
    assert null[0]["embedding"][0] is None
    assert len(base64.b64decode(half[0]["embedding"])) == 4 * 4


@given(st.text(), st.integers(1, 50))
def test_a_vector_has_length_one_and_packs_to_itself(text, dimensions):
    vector = embed(text, dimensions)
    assert len(vector) == dimensions
    assert np.linalg.norm(vector) == pytest.approx(1)
    unpacked = np.frombuffer(base64.b64decode(packed(vector)), "<f4")
    assert np.array_equal(unpacked, np.array(vector, "f4"))


def test_texts_that_share_words_are_nearer():
    cat, other_cat, stocks = (np.array(embed(text, 256)) for text in TEXTS)
    assert cat @ other_cat > 0.3
    assert abs(cat @ stocks) < 0.1
    assert cat @ np.array(embed("the CAT: purrs", 256)) == pytest.approx(1)
    assert abs(cat @ np.array(embed(TEXTS[0], 256, "another-model"))) < 0.3


def test_vectors_are_the_same_in_every_process():
    program = (
        "from pandas_llm.simulator.answers.vectors import embed; print(embed({!r}, 16))"
    )
    command = [sys.executable, "-c", program.format(TEXTS[2])]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout == f"{embed(TEXTS[2], 16)}\n"


# All of them


def test_each_vendor_lists_the_models(
    simulator, messages_client, openai_client, google_client
):
    sim = simulator(models=("small", "large"))
    names = ["small", "large"]
    assert [model.id for model in openai_client(sim).models.list()] == names
    assert [model.id for model in messages_client(sim).models.list()] == names
    listed = google_client(sim).models.list()
    assert [model.name for model in listed] == ["models/small", "models/large"]


@pytest.mark.parametrize("path", BODIES)
def test_every_fault_can_be_asked_of_every_dialect(simulator, path):
    sim = simulator(fault_delay=0.01)
    good = post(sim, path, BODIES[path], **VERSION)
    assert good.status == 200
    for fault in sorted(FAULTS - {"hang", "reset", "truncated"}):
        sim.configure(faults={fault: 1})
        got = post(sim, path, BODIES[path], **VERSION)
        if fault[0].isdigit():
            google_key = "models" in path and fault == "401"
            assert got.status == (400 if google_key else int(fault[:3])), fault
            assert got.body["error"]
        else:
            assert got.status == 200
    assert sum(sim.stats()["faults"].values()) == len(FAULTS) - 3
    sim.configure(faults={"reset": 1})
    with pytest.raises(OSError, match=r"[Rr]eset"):
        post(sim, path, BODIES[path], **VERSION)
    sim.configure(faults={"truncated": 1})
    with pytest.raises(http.client.IncompleteRead):
        post(sim, path, BODIES[path], **VERSION)


@pytest.mark.parametrize("path", BODIES)
def test_no_usage_is_no_usage_in_every_dialect(simulator, path):
    sim = simulator(fault_plan={0: "no_usage"})
    words = ("usage", "usageMetadata", "prompt_eval_count")
    first, second = (post(sim, path, BODIES[path], **VERSION).body for _ in range(2))
    assert not [word for word in words if word in first]
    assert [word for word in words if word in second]


@pytest.mark.parametrize("path", BODIES)
def test_the_knobs_hold_for_every_dialect(simulator, path):
    sim = simulator(requests_per_minute=60, burst=1, latency=0.05)
    started = time.monotonic()
    assert post(sim, path, BODIES[path], **VERSION).status == 200
    assert time.monotonic() - started >= 0.05
    assert post(sim, path, BODIES[path], **VERSION).status == 429
    sim.configure(requests_per_minute=None, latency=0.0, api_key="k")
    assert post(sim, path, BODIES[path], **VERSION).status in (400, 401)
    key = "x_api_key" if "messages" in path else "Authorization"
    value = "k" if "messages" in path else "Bearer k"
    assert post(sim, path, BODIES[path], **VERSION, **{key: value}).status == 200
    sim.configure(api_key=None, fail_if={"Cats": "500"})
    assert post(sim, path, BODIES[path], **VERSION).status == 500
    sim.configure(fail_if={}, reject_params=tuple(BODIES[path]))
    refused = post(sim, path, BODIES[path], **VERSION)
    assert refused.status == 400 or "batch" in path


@pytest.mark.parametrize("path", BODIES)
def test_too_long_a_prompt_is_refused_in_every_dialect(simulator, path):
    sim = simulator(context_length=5)
    fields = {**BODIES[path], "truncate": False} if "api" in path else BODIES[path]
    got = post(sim, path, fields, **VERSION)
    assert got.status == 400
    assert (
        "too long" in got.raw.decode()
        or "exceeds" in got.raw.decode()
        or ("maximum context length is 5" in got.raw.decode())
    )


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/png;base64,", "invalid_base64"),
        ("data:image/png;base64,é", "invalid_base64"),
        (f"data:image/gif;base64,{PNG_TEXT}", "image_type_mismatch"),
        (f"data:image/tiff;base64,{PNG_TEXT}", "invalid_image_format"),
        ("data:image/png,abc", "invalid_image_url"),
        ("ftp://example.com/a.png", "invalid_image_url"),
        (None, "invalid_image_url"),
    ],
)
def test_images_that_nobody_takes(url, code):
    with pytest.raises(ImageError) as caught:
        look_at_url(url)
    assert caught.value.code == code

"""Whole runs in each dialect, over HTTP, against replies as the vendors write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import orjson
import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server

from pandas_llm import LLMWarning
from pandas_llm.errors import NoCreditError, RateLimitedTooLong
from pandas_llm.providers import connect
from pandas_llm.types import Capabilities, Endpoint, Request, Spec

ROWS = pd.DataFrame({"text": [f"Snow fell on {i} days." for i in range(6)]})
TEMPLATE = "Facts about ${text}"
KEYS = {"fact": str, "count": int}
LONG = "Be careful and exact. " * 400


def number(text: str) -> int:
    return int(re.findall(r"\d+", text)[-1])


def record(text: str) -> str:
    fact = {"fact": "Snow fell.", "count": number(text)}
    return orjson.dumps({"records": [fact]}).decode()


def anthropic(body) -> dict:
    return {
        "type": "message",
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hmm", "signature": "s"},
            {"type": "text", "text": record(body["messages"][-1]["content"])},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def google(body) -> dict:
    text = record(body["contents"][-1]["parts"][0]["text"])
    n = body.get("generationConfig", {}).get("candidateCount", 1)
    found = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5}
    return {"candidates": [found] * n, "usageMetadata": usage}


def responses(body) -> dict:
    text = record(body["input"][-1]["content"])
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "status": "completed",
        "output": [{"type": "message", "content": [part]}],
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def bedrock(body) -> dict:
    text = record(body["messages"][-1]["content"][0]["text"])
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
    }


DIALECTS = {
    "anthropic": (anthropic, "/v1/messages"),
    "google": (google, "/v1beta/models/m:generateContent"),
    "openai-responses": (responses, "/v1/responses"),
    "bedrock": (bedrock, "/model/m/converse"),
}


def at(server: Server, name: str, **more):
    """Return the options that send a run to a server in a dialect."""
    base_url = server.base_url
    if name != "openai-responses":
        base_url = base_url.removesuffix("/v1")  # as the vendors' variables have it
    given = {"model": f"{name}/m", "base_url": base_url, "api_key": "sk-key"}
    return {**given, "progress": False, **more}


def failed(status: int, error: dict, **headers: str) -> web.Response:
    return web.json_response(error, status=status, headers=headers)


@pytest.mark.parametrize("name", DIALECTS)
def test_records_come_back_typed(name):
    answer, path = DIALECTS[name]
    with Server(answer) as server:
        out = ROWS.llm.generate(TEMPLATE, KEYS, system="Be brief.", **at(server, name))
    assert out["count"].tolist() == list(range(6))
    assert str(out["count"].dtype) == "Int64"
    assert out.llm.usage.input_tokens == 60
    assert out.llm.usage.output_tokens == 30
    assert out.attrs["llm"]["schema"] == "json_schema"
    assert len(server.bodies) == 6
    assert set(server.paths) == {path}


@pytest.mark.parametrize("name", DIALECTS)
def test_several_choices_come_one_by_one_where_there_is_no_n(name):
    answer, _ = DIALECTS[name]
    with Server(answer) as server:
        out = ROWS.llm.complete(TEMPLATE, n=3, **at(server, name))
    assert len(out) == 6  # equal texts are dropped
    assert out.map(number).tolist() == list(range(6))
    assert len(server.bodies) == (6 if name == "google" else 18)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_schema_that_is_refused_is_said_in_words(name):
    answer, _ = DIALECTS[name]
    words = {
        "anthropic": "output_config.format: Extra inputs are not permitted",
        "google": "Unknown name \"responseJsonSchema\" at 'generation_config'",
        "openai-responses": "Invalid parameter: 'text.format' is not supported",
        "bedrock": "This model doesn't support the outputConfig or toolConfig field.",
    }[name]

    def picky(body):
        if "schema" in orjson.dumps(body).decode().replace("JSON schema", "").lower():
            error = {"type": "invalid_request_error", "message": words}
            return failed(400, {"type": "error", "error": error})
        return answer(body)

    with Server(picky) as server:
        out = ROWS.llm.generate(TEMPLATE, KEYS, **at(server, name))
    assert out["count"].tolist() == list(range(6))
    assert out.attrs["llm"]["schema"] in ("json_object", "prompt")
    assert len(server.bodies) == (8 if name == "bedrock" else 7)  # a tool between


@pytest.mark.parametrize("name", DIALECTS)
def test_what_a_dialect_has_no_field_for_is_told_once(name):
    answer, _ = DIALECTS[name]
    lacking = {"anthropic": "seed", "openai-responses": "seed, stop"}.get(name, "")
    options = {"seed": 5, "stop": "END", "temperature": 0.5}
    with Server(answer) as server:
        if lacking:
            with pytest.warns(
                LLMWarning, match=f"m refuses {lacking}: all rows were sent without"
            ):
                ROWS.llm.generate(TEMPLATE, KEYS, **at(server, name, **options))
        else:
            ROWS.llm.generate(TEMPLATE, KEYS, **at(server, name, **options))
    assert len(server.bodies) == 6


# -- Anthropic ---------------------------------------------------------------------


def test_anthropics_newer_version_gets_no_sampling_options():
    headers = {"anthropic-version": "2026-10-21"}
    options = {"temperature": 0.5, "top_p": 0.9, "stop": "END", "headers": headers}
    with (
        Server(anthropic) as server,
        pytest.warns(
            LLMWarning, match="refuses temperature, top_p: all rows were sent without"
        ),
    ):
        ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "anthropic", **options))
    for body in server.bodies:
        assert not {"temperature", "top_p"} & body.keys()
        assert body["stop_sequences"] == ["END"]
    assert server.headers[0]["anthropic-version"] == "2026-10-21"


def test_anthropics_newer_models_refuse_sampling_and_it_is_learned_once():
    def newer(body):
        if "temperature" in body:
            message = "`temperature` is not supported on this model."
            error = {"type": "invalid_request_error", "message": message}
            return failed(400, {"type": "error", "error": error})
        return anthropic(body)

    with (
        Server(newer) as server,
        pytest.warns(
            LLMWarning, match="refuses temperature: all rows were sent without"
        ),
    ):
        out = ROWS.llm.generate(
            TEMPLATE, KEYS, **at(server, "anthropic", temperature=0.5, top_p=0.9)
        )
    assert out["count"].notna().all()
    assert len(server.bodies) == 7
    assert all(body["top_p"] == 0.9 for body in server.bodies)


def test_an_overloaded_anthropic_is_asked_again():
    seen: list[int] = []

    def busy(body):
        seen.append(1)
        if len(seen) in (2, 4):
            error = {"type": "overloaded_error", "message": "Overloaded"}
            return failed(529, {"type": "error", "error": error})
        return anthropic(body)

    with Server(busy) as server:
        out = ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "anthropic"))
    assert out["count"].tolist() == list(range(6))
    assert out.llm.usage.retries == 2


def test_a_spend_limit_of_anthropic_ends_the_run_at_once():
    error = {
        "type": "rate_limit_error",
        "message": "The limit was reached.",
        "details": {"error_code": "enforced_spend_limit_reached"},
    }
    with (
        Server(lambda _: failed(429, {"type": "error", "error": error})) as server,
        pytest.raises(NoCreditError),
    ):
        ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "anthropic"))
    assert len(server.bodies) == 1


def test_a_long_system_prompt_is_marked_for_anthropics_cache_from_the_first_row():
    with Server(anthropic) as server:
        ROWS.llm.generate(TEMPLATE, KEYS, system=LONG, **at(server, "anthropic"))
    for body in server.bodies:
        (block,) = body["system"]
        assert block["text"] == LONG
        assert block["cache_control"] == {"type": "ephemeral"}


def test_the_mark_stands_behind_the_examples():
    provider = connect(Endpoint("anthropic", "http://h/v1", "m", None))
    spec = Spec("m", (("2 + 2?", "4"), ("3 + 3?", "6 " * 1500)))
    request = Request(spec, "Hello", "Be brief.", shared=(0,))
    built = provider.build(request, Capabilities(), 1)
    body = orjson.loads(built.body)
    assert body["system"] == "Be brief."
    marked = [turn for turn in body["messages"] if isinstance(turn["content"], list)]
    assert marked == [body["messages"][3]]
    assert body["messages"][-1] == {"role": "user", "content": "Hello"}
    assert built.body.count(b"cache_control") == 1


def test_anthropics_limits_are_full_again_at_a_time_of_day():
    provider = connect(Endpoint("anthropic", "http://h/v1", "m", None))
    soon = datetime.now(UTC) + timedelta(seconds=30)
    for text in (soon.isoformat(), soon.strftime("%Y-%m-%dT%H:%M:%SZ")):
        headers = {
            "anthropic-ratelimit-input-tokens-limit": "50000",
            "anthropic-ratelimit-input-tokens-remaining": "49000",
            "anthropic-ratelimit-input-tokens-reset": text,
        }
        quotas = provider.quotas(headers)
        assert quotas.requests is None
        assert quotas.tokens[:2] == (50000.0, 49000.0)
        assert 25 < quotas.tokens.reset <= 30


# -- Google ------------------------------------------------------------------------


def test_googles_quota_of_a_day_ends_the_run_at_once():
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
    details = [{"violations": [violation]}, {"retryDelay": "22s"}]
    error = {"code": 429, "message": "You exceeded your quota", "details": details}
    with (
        Server(lambda _: failed(429, {"error": error})) as server,
        pytest.raises(RateLimitedTooLong, match="quota of the day"),
    ):
        ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "google"))
    assert len(server.bodies) == 1


def test_googles_delay_is_waited_for():
    seen: list[int] = []

    def limited(body):
        seen.append(1)
        if len(seen) == 2:
            details = [{"@type": "google.rpc.RetryInfo", "retryDelay": "0.2s"}]
            error = {"code": 429, "message": "Slow down", "details": details}
            return failed(429, {"error": error})
        return google(body)

    with Server(limited) as server:
        out = ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "google"))
    assert out["count"].tolist() == list(range(6))
    assert out.llm.usage.seconds > 0.2


def test_a_prompt_that_google_blocks_fails_its_row_alone():
    def strict(body):
        if "on 3 days" in body["contents"][-1]["parts"][0]["text"]:
            return {"promptFeedback": {"blockReason": "SAFETY"}}
        return google(body)

    with (
        Server(strict) as server,
        pytest.warns(LLMWarning, match=r"1 of 6 rows failed \(1 content_filter\)"),
    ):
        out = ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "google"))
    assert out["count"].isna().tolist() == [i == 3 for i in range(6)]
    assert len(server.bodies) == 6


def test_a_candidate_without_text_is_asked_for_again():
    seen: list[int] = []

    def odd(body):
        seen.append(1)
        if len(seen) == 2:
            return {"candidates": [{"finishReason": "MALFORMED_RESPONSE"}]}
        return google(body)

    with Server(odd) as server:
        out = ROWS.llm.generate(TEMPLATE, KEYS, **at(server, "google"))
    assert out["count"].tolist() == list(range(6))
    assert len(server.bodies) == 7


@pytest.mark.parametrize(
    ("base_url", "model", "url"),
    [
        ("https://h", "m", "https://h/v1beta/models/m:generateContent"),
        ("https://h/v1", "m", "https://h/v1/models/m:generateContent"),
        ("https://h/v1beta", "models/m", "https://h/v1beta/models/m:generateContent"),
        ("https://h/v1", "tunedModels/x", "https://h/v1/tunedModels/x:generateContent"),
        (
            "https://h/v1/projects/p/locations/l/publishers/google",
            "m",
            "https://h/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
        ),
    ],
)
def test_googles_address_may_have_a_version_or_none(base_url, model, url):
    provider = connect(Endpoint("google", base_url, model, None))
    assert provider.build(Request(Spec("m"), "x"), Capabilities(), 1).url == url


@pytest.mark.parametrize("effort", ["none", "low"])
def test_googles_thinking_is_set_by_the_effort(effort):
    provider = connect(Endpoint("google", "https://h", "m", None))
    spec = Spec(
        "m",
        sampling={"reasoning_effort": effort},
        extra={"generationConfig": {"topK": 5}, "safetySettings": []},
    )
    body = orjson.loads(provider.build(Request(spec, "x"), Capabilities(), 1).body)
    thinking = {"thinkingBudget": 0} if effort == "none" else {"thinkingLevel": "LOW"}
    assert body["generationConfig"] == {"thinkingConfig": thinking, "topK": 5}
    assert body["safetySettings"] == []


def test_specs_that_come_and_go_are_not_taken_for_each_other():
    """Each question about a row has a spec of its own, which ends with the row."""
    dialect = connect(Endpoint("openai", "https://api.openai.com/v1", "m", "k"))
    before = (("user", "Hi"), ("assistant", "Hello"))
    for most in range(1, 30):
        request = Request(Spec("m", max_tokens=most), "Well?", before=before)
        body = orjson.loads(dialect.build(request, dialect.capabilities, 1).body)
        assert body["max_completion_tokens"] == most

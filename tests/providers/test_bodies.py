"""An answer is an answer, whatever stands around it; all of it over real HTTP."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import orjson
import pandas as pd
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from loopback_server import Server, completion
from vendor_replies import DIALECTS, at, said

from pandas_llm import LLMWarning
from pandas_llm._pacing import Prices
from pandas_llm.errors import FirstRowsError
from pandas_llm.providers import connect, read_reply
from pandas_llm.providers.batches import OpenAIBatches
from pandas_llm.types import Endpoint, HTTPRequest, HTTPResponse, Tokens

ROW = pd.DataFrame({"text": ["Rain."]})
USED = {
    "openai": ("usage", "prompt_tokens", "completion_tokens"),
    "openai-responses": ("usage", "input_tokens", "output_tokens"),
    "anthropic": ("usage", "input_tokens", "output_tokens"),
    "google": ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    "bedrock": ("usage", "inputTokens", "outputTokens"),
}
ODD: list[Any] = [
    *(None, [], {}, "12", 7, True, [1], "", {"total": 3}),
    *({"DETAILS": []}, {"IN": "many", "OUT": None}, {"IN": -3, "OUT": {}}),
]
EMPTY: dict[str, list[Any]] = {
    "openai": [
        {"message": {"content": content}, "finish_reason": "stop"}
        for content in (None, "", " \n", [], {}, 3, [{}], [{"type": "text"}], [None])
    ],
    "anthropic": [None, [], [{}], [{"type": "text"}], [{"type": "text", "text": None}]],
    "google": [
        *(None, {}, {"parts": None}, {"parts": []}, {"parts": [{}]}),
        {"parts": [{"text": ""}, {"text": "hm", "thought": True}]},
    ],
    "bedrock": [
        *(None, [], [{}], [{"text": None}], [{"text": ""}, {"reasoningContent": {}}])
    ],
    "openai-responses": [
        *([], [{"type": "message"}], [{"type": "message", "content": []}]),
        *([{"type": "message", "content": [{}]}], [{"type": "reasoning"}]),
    ],
}


def raw(body: bytes, status: int = 200, kind: str = "application/json") -> Any:
    return web.Response(body=body, status=status, headers={"Content-Type": kind})


def empty(provider: str, inside: Any) -> dict[str, Any]:
    if provider == "openai":
        return {"choices": [inside]}
    if provider == "anthropic":
        return {"content": inside, "stop_reason": "end_turn"}
    if provider == "google":
        return {"candidates": [{"content": inside, "finishReason": "STOP"}]}
    if provider == "bedrock":
        return {"output": {"message": {"content": inside}}, "stopReason": "end_turn"}
    return {"status": "completed", "output": inside}


@pytest.mark.parametrize(
    ("provider", "inside"), [(p, inside) for p in EMPTY for inside in EMPTY[p]]
)
def test_a_body_without_text_is_asked_again_in_every_form(provider, inside):
    answers = [empty(provider, inside), said(provider, "Yes.")]
    with Server(lambda body: answers[len(server.bodies) > 1]) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert len(server.bodies) == 2
    assert "the reply is empty" in orjson.dumps(server.bodies[1]).decode()


@pytest.mark.parametrize("status", [200, 201, 203])
@pytest.mark.parametrize("provider", DIALECTS)
def test_every_success_is_an_answer(provider, status):
    with Server(lambda _: raw(orjson.dumps(said(provider, "x")), status)) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["x"]
    assert len(server.bodies) == 1


def test_a_gateways_201_is_an_answer():
    text = b'{"choices": [{"message": {"content": "{\\"fact\\": \\"x\\"}"}, "finish_reason": "stop"}]}'  # noqa: E501
    with Server(lambda _: raw(text, 201)) as server:
        out = ROW.llm.extract("${text}", ["fact"], **at(server))
    assert out["fact"].tolist() == ["x"]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "count", [b"1e308", b"Infinity", b"1" + b"0" * 30, b"1" + b"0" * 18, b'"9e99"']
)
def test_a_count_of_tokens_that_cannot_be_loses_nothing(count):
    body = orjson.dumps(completion("Yes.", prompt_tokens=0, completion_tokens=2))
    body = body.replace(b'"prompt_tokens":0', b'"prompt_tokens":' + count)
    with Server(lambda _: raw(body)) as server:
        out = ROW.llm.complete("${text}", **at(server))
    assert out["completion"].tolist() == ["Yes."]
    assert out.llm.usage.input_tokens == 0


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize(
    "beside",
    [
        *(b"NaN", b"Infinity", b"-Infinity", b'{"a": [NaN, 1]}', b"1" + b"0" * 400),
        *(b'"\\ud83d"', b'"\xff"', b'"a\x01b"'),
    ],
)
def test_what_is_no_json_beside_the_answer_loses_nothing(provider, beside):
    body = orjson.dumps({**said(provider, "Yes."), "zz": 0})
    body = body.replace(b'"zz":0', b'"zz":' + beside)
    with Server(lambda _: raw(body)) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert len(server.bodies) == 1


def test_half_a_character_in_the_answer_is_marked(tmp_path):
    body = orjson.dumps(completion("HALF!")).replace(b"HALF", b"a\\ud83d")
    with Server(lambda _: raw(body)) as server:
        options = at(server, cache=tmp_path / "kept.sqlite")
        for _ in range(2):
            out = ROW.llm.complete("${text}", **options)
            assert out["completion"].tolist() == ["a\ufffd!"]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_malformed_usage_loses_nothing(provider, odd):
    name, into, outof = USED[provider]
    if isinstance(odd, dict):
        names = {"IN": into, "OUT": outof, "DETAILS": "output_tokens_details"}
        odd = {names.get(key, key): value for key, value in odd.items()}
    with Server(lambda _: {**said(provider, "Yes."), name: odd}) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert out.llm.usage.input_tokens == 0
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("provider", "name"),
    [("ollama", "prompt_eval_count"), ("bedrock", "inputTextTokenCount")],
)
def test_a_malformed_count_of_vectors_is_none(provider, name):
    dialect = connect(Endpoint(provider, "http://127.0.0.1:9", "m", "k"))
    used = [dialect.used({name: count}).tokens for count in (6, 0, "many", -3, None)]
    assert used == [Tokens(6), Tokens(0), None, None, None]


def test_a_malformed_usage_does_not_hide_the_tier():
    provider = connect(Endpoint("openai", "http://localhost:1", "m", "k"))
    for odd in (1, "x", [1], True, {}, None):
        answer = {**said("openai", "Yes."), "usage": odd, "service_tier": "flex"}
        reply = provider.parse(HTTPResponse(200, {}, orjson.dumps(answer)))
        assert (reply.tokens, reply.tier) == (None, "flex")


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("odd", [None, [], "x", 3, [1], {"cached_tokens": "few"}])
def test_malformed_details_lose_no_tokens(provider, odd):
    name, into, outof = USED[provider]
    used = {into: "12", outof: 7.0}
    details = ("prompt_tokens_details", "completion_tokens_details")
    used |= dict.fromkeys((*details, "input_tokens_details"), odd)
    used |= {"output_tokens_details": odd, "cachedContentTokenCount": odd}
    endpoint = Endpoint(provider, "http://localhost:1", "m", "k")
    body = orjson.dumps({**said(provider, "Yes."), name: used})
    reply = connect(endpoint).parse(HTTPResponse(200, {}, body))
    assert reply.tokens == Tokens(12, 7, 3 * (odd == 3 and provider == "google"))


@pytest.mark.parametrize("provider", DIALECTS)
def test_counts_that_lack_or_cannot_be_have_no_price(provider):
    name, into, outof = USED[provider]
    endpoint = Endpoint(provider, "http://localhost:1", "m", "k")
    prices = Prices(endpoint, {"m": (1e6, 1e6)})

    def cost(used):
        body = orjson.dumps({**said(provider, "Yes."), name: used})
        reply = connect(endpoint).parse(HTTPResponse(200, {}, body))
        each = [prices.billed(reply, batch=batch) for batch in (False, True)]
        assert each[1] == each[0] / 2 or math.isnan(each[0] + each[1])
        return each[0]

    assert cost({into: 10, outof: 5}) == 15
    for odd in (None, 0, -5, "few", True, 10**13, 1e300):
        assert math.isnan(cost({into: odd, outof: 5}))
        assert math.isnan(cost({into: 10, outof: odd}))


@given(st.recursive(st.none() | st.floats() | st.text() | st.booleans(), st.lists))
def test_a_cost_is_a_number_or_none(cost):
    endpoint = Endpoint("openrouter", "http://localhost:1", "m", "k")
    text = '{"choices": [{"message": {"content": "x"}}], "usage": {"cost": COST}}'
    body = text.replace("COST", json.dumps(cost)).encode()
    reply = connect(endpoint).parse(HTTPResponse(200, {}, body))
    assert reply.choices[0].text == "x"
    if reply.cost is not None:
        assert 0 <= reply.cost < float("inf")


@pytest.mark.parametrize("given_session", [False, True])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Long": "a" * 65_536},
        {f"X-Many-{i}": "a" for i in range(300)},
        {f"X-Many-{i}": "a" * 200 for i in range(330)},
    ],
    ids=["64 kB", "300", "both"],
)
def test_large_headers_of_an_answer_lose_nothing(headers, given_session):
    import aiohttp

    async def asked(options):
        async with aiohttp.ClientSession() as session:
            more = {"session": session} if given_session else {}
            return await ROW.llm.acomplete("${text}", **options, **more)

    answer = orjson.dumps(completion("Yes."))
    with Server(lambda _: web.Response(body=answer, headers=headers)) as server:
        out = asyncio.run(asked(at(server)))
    assert out["completion"].tolist() == ["Yes."]
    assert len(server.bodies) == 1


HALF = {"message": {"content": "half an ans"}, "finish_reason": None}


@pytest.mark.parametrize("code", [502, "502", "server_error", None])
@pytest.mark.parametrize("provider", DIALECTS)
def test_an_error_beside_the_answer_is_an_error(provider, code):
    error = {"code": code, "message": "Upstream error"}
    if provider == "openai-responses":
        error["code"] = "server_error"
    broken = {**said(provider, "half an ans"), "error": error}
    answers = [broken, said(provider, "Yes.")]
    with Server(lambda body: answers[len(server.bodies) > 1]) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert len(server.bodies) == 2


def test_an_upstream_that_died_half_way_is_the_servers_failure():
    error = {"code": 502, "message": "Upstream error"}

    def answer(body):
        good = "on" in body["messages"][-1]["content"]
        return completion("x") if good else {"choices": [HALF], "error": error}

    rows = pd.DataFrame({"text": ["one", "two"]})
    with Server(answer) as server, pytest.warns(LLMWarning, match="1 server"):
        out = rows.llm.complete("${text}", **at(server, max_retries=1))
    assert out["why"][1].startswith("server: HTTP 502")
    assert "Upstream error" in out["why"][1]
    assert len(server.bodies) == 3


@pytest.mark.parametrize("error", [None, {}, "", False, {"code": None, "message": ""}])
def test_an_error_that_says_nothing_is_none(error):
    with Server(lambda _: {**completion("Yes."), "error": error}) as server:
        out = ROW.llm.complete("${text}", **at(server))
    assert out["completion"].tolist() == ["Yes."]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (
            "<html>Please log in to the guest network</html>",
            "Please log in to the guest network",
        ),
        (
            "<!DOCTYPE html>\n<!-- < -->\n<html><head><style>\n"
            + ".a { color: red }\n" * 1000
            + "</style>\n<title>Guest &amp; visitor\n login</title></head>",
            "an HTML page, .*: 'Guest & visitor login'",
        ),
        (
            "<title>Blocked</title><script>\nvar x" + "x" * 9,
            "an HTML page, .*'Blocked'",
        ),
    ],
)
@pytest.mark.parametrize("provider", DIALECTS)
def test_a_gateways_page_is_one_clear_error_with_its_words(provider, page, words):
    rows = pd.DataFrame({"text": list("123456")})
    with (
        Server(lambda _: raw(page.encode(), kind="text/html")) as server,
        pytest.raises(FirstRowsError, match=words),
    ):
        rows.llm.complete("${text}", **at(server, provider, max_retries=0))
    assert len(server.bodies) == len(rows)  # fewer than ten


def test_a_gateways_page_to_one_row_fails_it_as_malformed():
    def answer(body):
        if "on" in body["messages"][-1]["content"]:
            return completion("x")
        return raw(b"<html>Please log in</html>", kind="text/html")

    rows = pd.DataFrame({"text": ["one", "two"]})
    with Server(answer) as server, pytest.warns(LLMWarning, match="1 malformed_reply"):
        out = rows.llm.complete("${text}", **at(server, max_retries=1))
    assert "is an HTML page" in out["why"][1]
    assert "'Please log in'. Check base_url=" in out["why"][1]
    assert len(server.bodies) == 3


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "1" + "0" * 400, '"\\ud83d"'])
def test_an_odd_line_of_a_batchs_file_loses_no_other(odd):
    def line(name: str, beside: str) -> str:
        body = '{"choices": [{"message": {"content": "Yes."}}], "zz": ODD}'
        said = body.replace("ODD", beside)
        return f'{{"custom_id": "{name}", "response": {{"status_code": 201, "body": {said}}}}}'  # noqa: E501

    file = "\n".join([line("a", "1"), line("b", odd), line("c", "1")]).encode()
    dialect = OpenAIBatches(
        HTTPRequest("https://api.openai.com/v1/chat/completions", {}, b"")
    )
    speaker = connect(Endpoint("openai", "https://api.openai.com/v1", "m", "k"))
    replies = [read_reply(speaker, one.response) for one in dialect.results(file)]
    assert [reply.choices[0].text for reply in replies] == ["Yes."] * 3

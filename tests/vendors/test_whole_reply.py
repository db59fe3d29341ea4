"""``details="raw"``: what stands in a reply beside its text, in each vendor's words."""

from __future__ import annotations

import warnings
from typing import Any

import anthropic.types
import botocore.session
import openai.types.chat
import openai.types.responses
import orjson
import pandas as pd
import pytest
from aiohttp import web
from botocore.parsers import RestJSONParser
from google.genai import types as google
from loopback_server import Server, completion
from pydantic import TypeAdapter
from vendor_replies import DIALECTS, at

from pandas_llm import LLMWarning
from pandas_llm.errors import InvalidValueError

ROW = pd.DataFrame({"text": ["Rain."]})
TOKEN = {"token": "Yes", "logprob": -0.1, "bytes": [89], "top_logprobs": []}
CALL = {"name": "look_up", "arguments": '{"city": "Oslo"}'}
SITE = {"url": "https://example.org", "title": "Rain"}

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "m-1",
    "citations": ["https://example.org"],
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": {"content": [TOKEN], "refusal": None},
            "message": {
                "role": "assistant",
                "content": "Yes.",
                "refusal": None,
                "reasoning_content": "Rain is wet.",
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"start_index": 0, "end_index": 3, **SITE},
                    }
                ],
                "tool_calls": [{"id": "call_1", "type": "function", "function": CALL}],
            },
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14},
}
CHOICE: dict[str, Any] = CHAT["choices"][0]

CITED = {"type": "output_text", "text": "Yes.", "logprobs": [TOKEN]}
CITED["annotations"] = [{"type": "url_citation", "start_index": 0, "end_index": 3}]
CITED["annotations"][0] |= SITE
THOUGHT = {"id": "rs_1", "type": "reasoning"}
THOUGHT["summary"] = [{"type": "summary_text", "text": "Rain is wet."}]
SAID = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1790000000,
    "model": "m-1",
    "status": "completed",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        THOUGHT,
        {"id": "fc_1", "type": "function_call", "call_id": "call_1", **CALL},
        {**SAID, "content": [CITED]},
    ],
    "usage": {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 14,
    },
}

PLACE = {"type": "char_location", "cited_text": "Rain is wet.", "document_index": 0}
PLACE |= {"document_title": "Weather", "start_char_index": 0, "end_char_index": 12}
BLOCKS = [
    {"type": "thinking", "thinking": "Rain is wet.", "signature": "c2lnbg=="},
    {"type": "text", "text": "Yes"},
    {"type": "text", "text": ".", "citations": [PLACE]},
    {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Oslo"}},
]
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": BLOCKS,
    "stop_reason": "stop_sequence",
    "stop_sequence": "END",
    "usage": {"input_tokens": 5, "output_tokens": 9},
}

PARTS = [
    {"text": "Rain is wet.", "thought": True},
    {"functionCall": {"name": "look_up", "args": {"city": "Oslo"}}},
    {"text": "Yes"},
    {"text": ".", "thoughtSignature": "c2lnbg=="},
]
GROUNDS = {"webSearchQueries": ["rain"], "groundingChunks": [{"web": {**SITE}}]}
GROUNDS["groundingChunks"][0]["web"]["uri"] = SITE["url"]
del GROUNDS["groundingChunks"][0]["web"]["url"]
CONTENTS: dict[str, Any] = {
    "candidates": [
        {
            "index": 0,
            "content": {"role": "model", "parts": PARTS},
            "finishReason": "STOP",
            "groundingMetadata": GROUNDS,
            "avgLogprobs": -0.5,
            "logprobsResult": {"chosenCandidates": [{"token": "Yes"}]},
        }
    ],
    "modelVersion": "m-1",
    "responseId": "r-1",
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 9},
}
CANDIDATE: dict[str, Any] = CONTENTS["candidates"][0]

SOURCE = {"title": "Weather", "location": {"web": {"url": SITE["url"]}}}
TURN = [
    {"reasoningContent": {"reasoningText": {"text": "Rain is wet."}}},
    {"text": "Yes."},
    {"citationsContent": {"content": [{"text": "wet"}], "citations": [SOURCE]}},
    {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"city": "Oslo"}}},
]
CONVERSE: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": TURN}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 9, "totalTokens": 14},
    "metrics": {"latencyMs": 12},
    "additionalModelResponseFields": {"stop_sequence": "END"},
    "performanceConfig": {"latency": "standard"},
}

WHOLE = {
    "openai": (
        CHAT,
        {
            "annotations": CHOICE["message"]["annotations"],
            "citations": ["https://example.org"],
            "logprobs": {"content": [TOKEN], "refusal": None},
            "reasoning_content": "Rain is wet.",
            "tool_calls": CHOICE["message"]["tool_calls"],
        },
    ),
    "openai-responses": (RESPONSE, {"output": RESPONSE["output"]}),
    "anthropic": (
        MESSAGE,
        {"content": [BLOCKS[0], *BLOCKS[2:]], "stop_sequence": "END"},
    ),
    "google": (
        CONTENTS,
        {
            "avgLogprobs": -0.5,
            "groundingMetadata": GROUNDS,
            "logprobsResult": {"chosenCandidates": [{"token": "Yes"}]},
            "parts": [PARTS[0], PARTS[1], PARTS[3]],
        },
    ),
    "bedrock": (
        CONVERSE,
        {
            "additionalModelResponseFields": {"stop_sequence": "END"},
            "content": [TURN[0], *TURN[2:]],
            "performanceConfig": {"latency": "standard"},
        },
    ),
}
TYPES: dict[str, Any] = {
    "openai": openai.types.chat.ChatCompletion,
    "openai-responses": openai.types.responses.Response,
    "anthropic": anthropic.types.Message,
    "google": google.GenerateContentResponse,
}


def text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def ask(server: Server, provider: str = "openai", **options: Any) -> pd.DataFrame:
    more = {"details": "raw", **options}
    out: pd.DataFrame = ROW.llm.complete("${text}", **at(server, provider, **more))
    return out


def test_bedrocks_body_is_its_own():
    model = botocore.session.Session().get_service_model("bedrock-runtime")
    shape = model.operation_model("Converse").output_shape
    answer = {"status_code": 200, "headers": {}, "body": orjson.dumps(CONVERSE)}
    read = RestJSONParser().parse(answer, shape)
    del read["ResponseMetadata"]
    assert read == CONVERSE


@pytest.mark.parametrize("provider", TYPES)
def test_the_bodies_are_the_vendors(provider):
    body, _ = WHOLE[provider]
    read = TYPES[provider].model_validate(body)
    kept = read.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert {name: kept[name] for name in body} == without_none(body)


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    return [*map(without_none, value)] if isinstance(value, list) else value


@pytest.mark.parametrize("provider", DIALECTS)
def test_what_stands_beside_the_text_is_json_in_a_column(provider, tmp_path):
    body, raw = WHOLE[provider]
    keeping = {"cache": tmp_path / "kept.sqlite"}
    with Server(lambda _: body) as server:
        out = ask(server, provider, **keeping)
        again = ask(server, provider, **keeping)
        other = ask(server, provider, details=True, **keeping)
    assert len(server.bodies) == 1
    assert out["llm_raw"].tolist() == [text(raw)]
    assert out["llm_text"].tolist() == ["Yes."]
    assert out.columns[-1] == "llm_raw"
    assert out["llm_raw"].dtype == out["llm_text"].dtype
    assert again["llm_cached"].all()
    assert again["llm_raw"].tolist() == [text(raw)]
    assert again["llm_raw"].dtype == out["llm_raw"].dtype
    assert list(other.columns) == list(out.columns[:-1])


@pytest.mark.parametrize("provider", DIALECTS)
def test_rows_that_were_kept_without_are_not_paid_again(provider, tmp_path):
    body, raw = WHOLE[provider]
    keeping = {"cache": tmp_path / "kept.sqlite"}
    with Server(lambda _: body) as server:
        ask(server, provider, details=False, **keeping)
        with pytest.warns(LLMWarning, match="kept without it .kept so: 1.; refresh="):
            out = ask(server, provider, **keeping)
        assert len(server.bodies) == 1
        with warnings.catch_warnings(action="error"):
            new = ask(server, provider, refresh=True, **keeping)
            ask(server, provider, **keeping)
            ask(server, provider, details=True, **keeping)
    assert out["llm_raw"].isna().all()
    assert out["llm_raw"].dtype == new["llm_raw"].dtype
    assert new["llm_raw"].tolist() == [text(raw)]


def chunks() -> list[Any]:
    """Write the completion as the chunks of a stream, as OpenAI's documents do."""

    def chunk(**fields: Any) -> Any:
        more = {"object": "chat.completion.chunk"}
        return {**CHAT, **more, "choices": [{"index": 0, **fields}]}

    call = {"index": 0, "id": "call_1", "type": "function"}
    begun = {"role": "assistant", "content": "", "reasoning_content": "Rain "}
    deltas: list[Any] = [
        begun,
        {"reasoning_content": "is wet."},
        {"content": "Yes"},
        {"content": ".", "annotations": CHOICE["message"]["annotations"]},
        {"tool_calls": [{**call, "function": {**CALL, "arguments": '{"city": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
    ]
    found = [chunk(delta=delta, finish_reason=None) for delta in deltas]
    found[2]["choices"][0]["logprobs"] = {"content": [TOKEN], "refusal": None}
    found[3]["choices"][0]["logprobs"] = {"content": [{**TOKEN, "token": "."}]}
    return [*found, chunk(delta={}, finish_reason="stop")]


def blocks() -> list[Any]:
    """Write the message as the events of a stream, as Anthropic's documents do."""

    def start(at: int, block: Any) -> Any:
        return {"type": "content_block_start", "index": at, "content_block": block}

    def delta(at: int, kind: str, **fields: Any) -> Any:
        piece = {"type": f"{kind}_delta", **fields}
        return {"type": "content_block_delta", "index": at, "delta": piece}

    end = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    begun = {**MESSAGE, "content": [], "stop_reason": None, "stop_sequence": None}
    return [
        {"type": "message_start", "message": begun},
        start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(0, "thinking", thinking="Rain "),
        delta(0, "thinking", thinking="is wet."),
        delta(0, "signature", signature="c2lnbg=="),
        start(1, {"type": "text", "text": ""}),
        delta(1, "text", text="Yes"),
        start(2, {"type": "text", "text": "", "citations": []}),
        delta(2, "text", text="."),
        delta(2, "citations", citation=PLACE),
        start(3, {**BLOCKS[3], "input": {}}),
        delta(3, "input_json", partial_json=""),
        delta(3, "input_json", partial_json='{"city":'),
        delta(3, "input_json", partial_json=' "Oslo"}'),
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def candidates() -> list[Any]:
    """Write the candidates as the chunks of a stream, as Google's documents do."""
    found: list[Any] = []
    for part in PARTS:
        content = {"role": "model", "parts": [part]}
        chunk = {**CONTENTS, "candidates": [{"index": 0, "content": content}]}
        found.append(chunk)
    found[-1]["candidates"][0] = {
        **CANDIDATE,
        "content": found[-1]["candidates"][0]["content"],
    }
    return found


STREAMS: dict[str, list[Any]] = {
    "openai": chunks(),
    "openai-responses": [
        {"type": "response.completed", "sequence_number": 1, "response": RESPONSE}
    ],
    "anthropic": blocks(),
    "google": candidates(),
}
EVENTS: dict[str, Any] = {
    "openai": openai.types.chat.ChatCompletionChunk,
    "openai-responses": openai.types.responses.ResponseCompletedEvent,
    "anthropic": anthropic.types.RawMessageStreamEvent,
    "google": google.GenerateContentResponse,
}


@pytest.mark.parametrize("provider", STREAMS)
def test_a_stream_says_the_same(provider):
    for event in STREAMS[provider]:
        TypeAdapter(EVENTS[provider]).validate_python(event)
    events = ["data: " + text(event) + "\n\n" for event in STREAMS[provider]]
    events += ["data: [DONE]\n\n"] * (provider == "openai")
    kind = {"Content-Type": "text/event-stream"}
    with Server(lambda _: web.Response(text="".join(events), headers=kind)) as server:
        out = ask(server, provider)
    raw = dict(WHOLE[provider][1])
    if provider == "openai":
        raw["logprobs"] = {"content": [TOKEN, {**TOKEN, "token": "."}]}
        raw["tool_calls"] = [{**raw["tool_calls"][0], "index": 0}]
    assert out["why"].isna().all()
    assert out["llm_text"].tolist() == ["Yes."]
    assert orjson.loads(out["llm_raw"][0]) == raw


def test_a_server_may_name_a_call_in_every_part_of_a_stream():
    whole = {"id": "call_1", "type": "function"}
    calls = [
        {**whole, "index": at, "function": {"name": "f", "arguments": piece}}
        for piece in ('{"a"', ": 1}")
        for at in (0, 1)
    ]
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [c]}}]} for c in calls]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {text(event)}\n\n" for event in events)
    kind = {"Content-Type": "text/event-stream"}
    with (
        Server(lambda _: web.Response(text=body, headers=kind)) as server,
        pytest.warns(LLMWarning, match="1 output"),
    ):
        out = ask(server)
    called = {**whole, "function": {"name": "f", "arguments": '{"a": 1}'}}
    raw = orjson.loads(out["llm_raw"][0])
    assert raw == {"tool_calls": [{**called, "index": at} for at in (0, 1)]}


def choices(*messages: dict[str, Any]) -> dict[str, Any]:
    found = [
        {"index": at, "message": {"role": "assistant", **said}, "finish_reason": "stop"}
        for at, said in enumerate(messages)
    ]
    return {"choices": found, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def test_each_of_several_choices_has_its_own(tmp_path):
    body = choices(
        {"content": "a", "reasoning": "one"},
        {"content": "b"},
        {"content": "c", "reasoning": "three"},
    )
    keeping = {"cache": tmp_path / "kept.sqlite", "n": 3}
    with Server(lambda _: body) as server:
        out = ask(server, **keeping)
        again = ask(server, **keeping)
    assert out["completion"].tolist() == ["a", "b", "c"]
    assert (
        out["llm_raw"].tolist()
        == ['[{"reasoning":"one"},{},{"reasoning":"three"}]'] * 3
    )
    assert again["llm_raw"].tolist() == out["llm_raw"].tolist()


def test_a_row_without_an_answer_has_its_raw_too():
    call = {"id": "call_1", "type": "function", "function": CALL}
    replies = {
        "refused": completion(None, refusal="I will not."),
        "called": choices({"content": None, "tool_calls": [call]}),
        "plain": completion("Yes."),
        "sick": {"error": {"message": "no", "code": "bad"}},
    }
    rows = pd.DataFrame({"text": list(replies)})
    with (
        Server(lambda body: replies[body["messages"][-1]["content"]]) as server,
        pytest.warns(LLMWarning, match="1 refusal"),
    ):
        out = rows.llm.complete("${text}", **at(server, details="raw", max_retries=0))
    assert out["llm_raw"].tolist()[:3] == [
        '{"refusal":"I will not."}',
        text({"tool_calls": [call]}),
        "{}",
    ]
    assert out["llm_raw"].isna().tolist() == [False, False, False, True]


def test_equal_replies_have_equal_texts_and_no_key():
    key = "sk-very-secret-key"
    orders = [{"b": 1, "a": {"y": 2, "x": key}}, {"a": {"x": key, "y": 2}, "b": 1}]
    rows = pd.DataFrame({"text": ["0", "1"]})

    def answer(body: Any) -> Any:
        at = int(body["messages"][-1]["content"])
        return choices({"content": "Yes.", "extra_content": orders[at]})

    with Server(answer) as server:
        options = {**at(server, details="raw"), "api_key": key}
        out = rows.llm.complete("${text}", **options)
    assert (
        out["llm_raw"].tolist()
        == ['{"extra_content":{"a":{"x":"***","y":2},"b":1}}'] * 2
    )


def test_parts_of_a_content_that_are_no_text_are_kept():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [thinking, {"type": "text", "text": "Yes."}]  # as Mistral sends them
    with Server(lambda _: choices({"content": parts})) as server:
        out = ask(server)
    assert out["completion"].tolist() == ["Yes."]
    assert orjson.loads(out["llm_raw"][0]) == {"content": [thinking]}


def test_what_is_nested_too_deeply_to_be_written_costs_no_answer():
    deep = "[" * 400 + "]" * 400
    said = f'{{"content": "Yes.", "role": "assistant", "deep": {deep}}}'
    body = f'{{"choices": [{{"message": {said}, "finish_reason": "stop"}}]}}'
    with Server(lambda _: web.Response(text=body)) as server:
        out = ask(server)
    assert out["completion"].tolist() == ["Yes."]
    assert out["llm_raw"].isna().all()


def test_answers_to_several_questions_are_a_list(simulator, on):
    keys = {"good": bool, "tone": ["warm", "cold"]}
    server = simulator()
    options = on(server, details="raw", confidence=True)
    out = ROW.llm.extract("Read: ${text}", keys, **options)
    listed = orjson.loads(out["llm_raw"][0])
    assert [sorted(one) for one in listed] == [["logprobs"]] * 2


@pytest.mark.parametrize("model", ["openai-decisions/sim", "systemone/sim"])
def test_a_decision_is_told_whole(simulator, model):
    at = {"model": model, "base_url": simulator().base_url, "api_key": "k"}
    out = ROW.llm.extract(
        "${text}", {"good": bool}, details="raw", progress=False, **at
    )
    assert "answers" in orjson.loads(out["llm_raw"][0])


def test_vectors_have_nothing_beside_them(simulator, on):
    out = ROW.llm.embed("text", **on(simulator(), details="raw"))
    assert out["llm_raw"].isna().all()
    assert out["llm_raw"].dtype == out["llm_text"].dtype


@pytest.mark.parametrize("model", ["openai/sim", "anthropic/sim"])
def test_batches_bring_it_home(simulator, tmp_path, model):
    server = simulator()
    rows = pd.DataFrame({"text": [f"Row {i}." for i in range(5)]})
    options = {
        "model": model,
        "base_url": server.base_url,
        "api_key": "k",
        "cache": tmp_path / "kept.sqlite",
        "progress": False,
        "details": "raw",
    }
    if weighed := model == "openai/sim":
        options["confidence"] = True  # so that the simulator tells of tokens
    out = rows.llm.classify("${text}", ["good", "bad"], batch=True, **options)
    batched = [s for s in server.requests() if "x-simulated-batch" in s["headers"]]
    assert len(batched) == 4
    found = [set(orjson.loads(raw)) for raw in out["llm_raw"]]
    assert found == [{"logprobs"} if weighed else set()] * 5


@pytest.mark.parametrize("wrong", ["all", "Raw", 2, None])
def test_only_raw_is_a_word(wrong):
    with pytest.raises(InvalidValueError, match="details must be True, False or 'raw'"):
        ROW.llm.complete("${text}", model="sim", details=wrong)


def test_a_variable_may_ask_for_it(simulator, on, monkeypatch):
    monkeypatch.setenv("PANDAS_LLM_DETAILS", "raw")
    out = ROW.llm.complete("${text}", **on(simulator()))
    assert out.columns[-1] == "llm_raw"

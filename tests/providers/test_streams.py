"""Event streams that nobody asked for are put together, in every dialect."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import orjson
import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server
from proportion import in_proportion
from vendor_replies import DIALECTS, at, said

from pandas_llm import LLMWarning
from pandas_llm.errors import ProviderError
from pandas_llm.providers import connect
from pandas_llm.providers.answers.streams import events
from pandas_llm.types import Endpoint, HTTPResponse

ROW = pd.DataFrame({"text": ["Rain."]})
PIECES = ['{"records": [{"fact": ', '"drops, ', "größer", ' als"}]}']


def chat(*pieces: str, reason: str | None = "stop") -> list[Any]:
    """Return the chunks as OpenAI's specification and vLLM send them."""
    deltas: list[Any] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces]
    chunks: list[Any] = [
        {"id": "c", "model": "m-1", "choices": [{"index": 0, "delta": d}]}
        for d in deltas
    ]
    end = {"index": 0, "delta": {}, "finish_reason": reason}
    used = {"prompt_tokens": 5, "completion_tokens": 9}
    return [*chunks, {"choices": [end], "usage": None}, {"choices": [], "usage": used}]


def messages(*pieces: str, reason: str | None = "end_turn") -> list[Any]:
    """Return the events as Anthropic's documents have them."""
    begun = {"type": "message", "role": "assistant", "content": [], "model": "m-1"}
    begun |= {"stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1}}
    thought = {"type": "thinking_delta", "thinking": "hm"}
    texts = [{"type": "text_delta", "text": piece} for piece in pieces]
    delta = "content_block_delta"
    return [
        {"type": "message_start", "message": begun},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": ""},
        },
        {"type": "ping"},
        {"type": delta, "index": 0, "delta": thought},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "text", "text": ""},
        },
        *({"type": delta, "index": 1, "delta": text} for text in texts),
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]


def contents(*pieces: str, reason: str | None = "STOP") -> list[Any]:
    """Return the chunks as Google's ``streamGenerateContent`` sends them."""
    chunks: list[Any] = [
        {"candidates": [{"content": {"parts": [{"text": p}]}}], "modelVersion": "m-1"}
        for p in pieces
    ]
    if reason:
        chunks[-1]["candidates"][0]["finishReason"] = reason
    used = {"promptTokenCount": 5, "candidatesTokenCount": 9}
    return [*chunks[:-1], {**chunks[-1], "usageMetadata": used}]


def responses(*pieces: str, reason: str | None = "completed") -> list[Any]:
    """Return the events as OpenAI's Responses send them."""
    whole = said("openai-responses", "".join(pieces))
    whole |= {"object": "response", "model": "m-1"}
    whole["usage"] = {"input_tokens": 5, "output_tokens": 9}
    delta = "response.output_text.delta"
    found: list[Any] = [{"type": "response.created", "response": {"output": []}}]
    found += [{"type": delta, "delta": piece} for piece in pieces]
    return [*found, {"type": f"response.{reason}", "response": whole}][
        : None if reason else -1
    ]


STREAMED = [name for name in DIALECTS if name != "bedrock"]  # it answers whole
STREAMS = dict(zip(STREAMED, (chat, responses, messages, contents), strict=True))


def written(
    found: list[Any], *, end: str = "\n", done: bool = True, named: bool = False
) -> bytes:
    """Write events as the standard of HTML has them."""
    lines = [": hello", ""]
    for event in found:
        if named:
            lines.append(f"event: {event.get('type', 'chunk')}")
        lines += ["data: " + orjson.dumps(event).decode(), ""]
    if done:
        lines += ["data: [DONE]", ""]
    return (end.join(lines) + end).encode()


def streamed(body: bytes, kind: str = "text/event-stream") -> web.Response:
    return web.Response(body=body, headers={"Content-Type": kind})


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("provider", STREAMED)
def test_a_stream_is_put_together(provider, named, end, kind):
    found = STREAMS[provider](*PIECES)
    body = written(found, end=end, named=named, done=provider == "openai")
    with Server(lambda _: streamed(body, kind)) as server:
        out = ROW.llm.generate("${text}", ["fact"], **at(server, provider))
    assert out["fact"].tolist() == ["drops, größer als"]
    assert out["why"].isna().all()
    used = out.llm.usage
    assert (used.input_tokens, used.output_tokens) == (5, 9)
    assert len(server.bodies) == 1


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("provider", STREAMED)
def test_a_stream_that_breaks_off_is_asked_again(provider):
    found = STREAMS[provider](*PIECES, reason=None)
    bodies = [written(found[:cut], done=False) for cut in range(1, len(found) + 1)]

    def answer(body):
        row = int(re.search(r"row (\d+)", str(body))[1])
        asked[row] += 1
        return streamed(bodies[row]) if asked[row] == 1 else good

    asked: Counter[int] = Counter()
    good = said(provider, "Yes.")
    rows = pd.DataFrame({"text": [f"row {i}" for i, _ in enumerate(bodies)]})
    with Server(answer) as server:
        out = rows.llm.complete("${text}", **at(server, provider, concurrency=1))
    assert out["completion"].tolist() == ["Yes."] * len(bodies)
    assert asked == dict.fromkeys(range(len(bodies)), 2)


@pytest.mark.parametrize("provider", STREAMED)
def test_an_event_cut_in_the_middle_is_asked_again(provider):
    body = written(STREAMS[provider](*PIECES), done=False)
    body = body[: body.index("größer".encode()) + 3]
    answers = [streamed(body), said(provider, "Yes.")]
    with Server(lambda _: answers[len(server.bodies) > 1]) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]


@pytest.mark.parametrize("provider", STREAMED)
def test_an_error_among_the_events_is_an_error(provider):
    error = {"type": "error", "error": {"code": "server_error", "message": "It died."}}
    body = written([*STREAMS[provider](*PIECES)[:-2], error], done=False)
    with (
        Server(lambda _: streamed(body)) as server,
        pytest.warns(LLMWarning, match="1 server"),
    ):
        out = ROW.llm.complete("${text}", **at(server, provider, max_retries=1))
    assert "It died." in out["why"][0]
    assert len(server.bodies) == 2


DIED = {"object": "error", "message": "It died.", "type": "x", "code": 500}
AMISS = [
    b"data: " + orjson.dumps(DIED) + b"\n\n",  # vLLM
    b"event: error\ndata: upstream connect error\n\n",
    b'event: error\ndata: {"message": "It died."}\n\n',
    b'data: {"choices": [{"delta": {"conte\n\n',
]


@pytest.mark.parametrize("amiss", AMISS)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_stream_with_something_amiss_in_it_is_no_answer(provider, amiss, whole):
    if whole and b"object" in amiss:
        pytest.skip("whoever ends well after it has not died")
    found = STREAMS[provider](*PIECES)
    end = written(found[-2:] if whole else [])
    body = written(found[:-2], done=False) + b"\n" + amiss + end
    reply = connect(Endpoint(provider, "http://h/v1", "m", "k"))
    with pytest.raises(ProviderError) as caught:
        reply.parse(HTTPResponse(200, {}, body))
    assert caught.value.kind == "server"
    ping = b"data: ping\n\n"
    good = written(found[:-2], done=False) + b"\n" + ping + written(found[-2:])
    (choice,) = reply.parse(HTTPResponse(200, {}, good)).choices
    assert choice.text == "".join(PIECES)


def test_a_stream_cut_off_at_the_limit_is_marked():
    body = written(chat("half an ", "ans", reason="length"))
    with (
        Server(lambda _: streamed(body)) as server,
        pytest.warns(LLMWarning, match="truncated"),
    ):
        out = ROW.llm.complete("${text}", **at(server))
    assert out["completion"].tolist() == ["half an ans"]


def test_a_whole_completion_may_be_the_only_event():
    whole = said("openai", "Yes.")
    with Server(lambda _: streamed(written([whole]))) as server:
        out = ROW.llm.complete("${text}", **at(server))
    assert out["completion"].tolist() == ["Yes."]


def test_a_stream_that_ends_with_the_whole_message_says_it_once():
    """As MiniMax's do."""
    whole = said("openai", "half an answer")
    chunks = chat("half an ", "answer", reason=None)
    with Server(lambda _: streamed(written([*chunks, whole]))) as server:
        out = ROW.llm.complete("${text}", **at(server))
    assert out["completion"].tolist() == ["half an answer"]


def test_several_choices_of_a_stream_are_kept_apart():
    chunks = [
        {"choices": [{"index": i, "delta": {"content": text}}]}
        for i, text in ((1, "b"), (0, "a"), (1, "B"), (0, "A"))
    ]
    body = written(
        [
            *chunks,
            *(
                {"choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]}
                for i in (0, 1)
            ),
        ]
    )
    with Server(lambda _: streamed(body)) as server:
        out = ROW.llm.complete("${text}", n=2, **at(server))
    assert sorted(out["completion"]) == ["aA", "bB"]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("provider", STREAMED)
def test_reading_a_stream_is_linear(provider):
    speaker = connect(Endpoint(provider, "http://localhost:1", "m", "k"))

    def reading(size):
        pieces = ["word word word "] * size
        answer = HTTPResponse(200, {}, written(STREAMS[provider](*pieces)))

        def read():
            assert len(speaker.parse(answer).choices[0].text) == 15 * size

        return read

    assert in_proportion(reading, 2_000)


def test_googles_list_of_chunks_is_a_stream_too():
    body = orjson.dumps(contents(*PIECES))
    with Server(lambda _: streamed(body, "application/json")) as server:
        out = ROW.llm.generate("${text}", ["fact"], **at(server, "google"))
    assert out["fact"].tolist() == ["drops, größer als"]


def test_a_refused_request_may_be_answered_by_an_event():
    error = {"error": {"message": "too many", "type": "invalid_request_error"}}
    answer = web.Response(body=written([error]), status=400)
    with (
        Server(lambda _: answer) as server,
        pytest.warns(LLMWarning, match="1 bad_request"),
    ):
        out = ROW.llm.complete("${text}", **at(server))
    assert out["why"][0].endswith("too many")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"data": 1}', None),
        (b"", None),
        (b"<html>data: x</html>", None),
        (b'data:{"a":1}\ndata:{"a":2}\n', [{"a": 1}, {"a": 2}]),
        (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
        (b'\xef\xbb\xbfevent: x\rdata: {"a": 1}\r\r', [{"a": 1}]),
        (
            b'\n\nid: 1\ndata: {"a": NaN}',
            [{"a": pytest.approx(float("nan"), nan_ok=True)}],
        ),
        (b"data: {\n\n", []),
    ],
)
def test_events_are_read_as_they_are_written(body, found):
    assert events(body) == found

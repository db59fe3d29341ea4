"""What ends a run, fails a row or is asked again: answers as vendors send them."""

from __future__ import annotations

import asyncio
import re
import time
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pandas as pd
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from loopback_server import Server, completion, failure

from pandas_llm import LLMError, LLMWarning, errors
from pandas_llm._client import endpoint
from pandas_llm._client.events import Streak
from pandas_llm._client.verdict import Ended, Standing, Then, decide

ROWS, BAD = 30, 12
FACT = '{"records": [{"fact": "x"}]}'


class Case(NamedTuple):
    """An answer to one row, the others being answered, and what must come of it."""

    who: str
    status: int
    body: Any
    kind: str | None
    retried: bool = False
    ends: bool = False
    says: str = ""
    """What stands in the row."""


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


ECHO = "The card was declined: insufficient balance, no credit left."
OPTIONS = "raise the temperature and keep the seed, json_schema is fine"
PAGE = "<html><head><title>413 Request Entity Too Large</title></head></html>"
CASES = [
    Case(
        "OpenRouter's moderation",
        403,
        {
            "error": {
                "message": "vendor/model requires moderation on Vendor. Your input was "
                'flagged for "violence". No credits were charged.',
                "code": 403,
                "metadata": {"reasons": ["violence"], "flagged_input": "…"},
            }
        },
        "content_filter",
    ),
    Case(
        "FastAPI, which echoes the row",
        422,
        {
            "detail": [
                {
                    "type": "value_error",
                    "loc": ["body", "messages", 0],
                    "msg": "Value error",
                    "input": ECHO,
                }
            ]
        },
        "bad_request",
        says=ECHO,
    ),
    Case(
        "an echo in the message",
        400,
        said(f"Invalid message: '{OPTIONS}'", type="invalid_request_error"),
        "bad_request",
        says=OPTIONS,
    ),
    Case(
        "an echo without quotes",
        400,
        said(f"cannot handle {ECHO}", type="invalid_request_error"),
        "bad_request",
        says=ECHO,
    ),
    Case(
        "DashScope's throttle",
        429,
        said(
            "Allocated quota exceeded, please increase your quota limit.",
            type="insufficient_quota",
            code="insufficient_quota",
        ),
        "rate_limit",
        retried=True,
    ),
    Case(
        "xAI, out of credit",
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team has either used all available credits or reached its "
            "monthly spending limit. To continue making API requests, please purchase "
            "more credits or raise your spending limit.",
        },
        "no_credit",
        ends=True,
    ),
    Case(
        "Zhipu, in arrears",
        429,
        said("您的账户已欠费，请充值后重试。", code="1113"),  # noqa: RUF001
        "no_credit",
        ends=True,
    ),
    Case(
        "OpenAI held back",
        400,
        said(
            "Invalid prompt: your prompt was flagged as potentially violating our "
            "usage policy.",
            type="invalid_request_error",
            code="invalid_prompt",
        ),
        "content_filter",
    ),
    Case(
        "Anthropic held back",
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Output blocked by content filtering policy",
            },
        },
        "content_filter",
    ),
    Case(
        "DashScope held back",
        400,
        said(
            "<400> InternalError.Algo.DataInspectionFailed: Input data may contain "
            "inappropriate content.",
            type="data_inspection_failed",
            code="data_inspection_failed",
        ),
        "content_filter",
    ),
    Case(
        "Bedrock by a gateway",
        400,
        said(
            'BedrockException - {"message":"Input is too long for requested model."}',
            code="400",
        ),
        "context_length",
    ),
    Case(
        "TGI, too long",
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must "
            "be <= 4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`",
            "error_type": "validation",
        },
        "context_length",
    ),
    Case("nginx, too large", 413, PAGE, "context_length"),
    Case(
        "a firewall", 403, "<html><title>Attention Required!</title></html>", "blocked"
    ),
    Case("a stray 401", 401, said("invalid api key"), None, retried=True),
    Case("a stray 404", 404, "not found", None, retried=True),
    Case("a stray 302", 302, "", None, retried=True),
    Case(
        "TGI, passing",
        424,
        {
            "error": "Request failed during generation: Server error: CUDA out of "
            "memory",
            "error_type": "generation",
        },
        None,
        retried=True,
    ),
    Case(
        "LM Studio, passing",
        400,
        {"error": "The model has crashed without additional information."},
        None,
        retried=True,
    ),
    Case("nginx, a closed client", 499, "", None, retried=True),
    Case(
        "died half-way",
        200,
        {
            "choices": [{"message": {"content": "half an ans"}, "finish_reason": None}],
            "error": {"code": 502, "message": "Upstream error"},
        },
        None,
        retried=True,
    ),
    Case(
        "NestJS",
        201,
        {"choices": [{"message": {"content": FACT}, "finish_reason": "stop"}]},
        None,
    ),
    Case(
        "Groq, a bad generation that can be mended",
        400,
        said(
            "Failed to generate JSON. Please adjust your prompt. See "
            "'failed_generation' for more details.",
            type="invalid_request_error",
            code="json_validate_failed",
            failed_generation='{"records": [{"fact": "x"}',
        ),
        None,
    ),
]


def minimax(code: int, message: str) -> dict[str, Any]:
    inner = {"status_code": code, "status_msg": message}
    return {"id": "1", "choices": None, "usage": None, "base_resp": inner}


CASES += [
    Case("MiniMax, its pace", 200, minimax(1002, "rate limit"), None, retried=True),
    Case("MiniMax, its tokens", 200, minimax(1039, "token limit"), None, retried=True),
    Case("MiniMax, passing", 200, minimax(1001, "timeout"), None, retried=True),
    Case("MiniMax, a new code", 200, minimax(7777, "oh"), None, retried=True),
    Case("MiniMax, held back", 200, minimax(1026, "new_sensitive"), "content_filter"),
    Case("MiniMax, refused", 200, minimax(2013, "invalid params"), "bad_request"),
    Case(
        "MiniMax, too long",
        200,
        minimax(2013, "invalid params, context window exceeds limit (2013)"),
        "context_length",
    ),
    Case(
        "MiniMax, no money",
        200,
        minimax(1008, "insufficient balance"),
        "no_credit",
        ends=True,
    ),
    Case(
        "MiniMax, all well",
        200,
        {
            "choices": [{"message": {"content": FACT}, "finish_reason": "stop"}],
            "base_resp": {"status_code": 0, "status_msg": ""},
        },
        None,
    ),
    Case(
        "MiniMax, beside half an answer",
        200,
        {
            "choices": [{"message": {"content": "half"}, "finish_reason": "stop"}],
            "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"},
        },
        "content_filter",
    ),
]
FOR_GOOD = [
    Case("401 for one row", 401, said("invalid api key"), "authentication", True),
    Case("403 for one row", 403, said("not for you"), "authentication", True),
    Case("404 for one row", 404, said("no such thing"), "not_found", True),
    Case("302 for one row", 302, "", "not_found", True),
    Case("402 for one row", 402, said("pay first"), "no_credit"),
    Case("400 for one row", 400, said("no"), "bad_request"),
    Case(
        "Groq, a bad generation",
        400,
        said("no", code="json_validate_failed", failed_generation="no JSON at all"),
        "output",
        True,
    ),
    Case(
        "Groq, a bad generation that is not shown",
        400,
        said("no", code="json_validate_failed", failed_generation=None),
        "output",
        True,
    ),
    Case("a page behind a mark", 403, "\ufeff<!DOCTYPE html>No.", "blocked"),
    Case("a page behind a comment", 403, "<!-- x --><html>No.</html>", "blocked"),
    *(
        Case(f"a body like no other: {body}", 400, body, "bad_request")
        for body in (
            {"error": {"message": "x", "details": [{"retryDelay": {"seconds": 5}}]}},
            {"error": {"message": "x", "details": [{"retryDelay": [1]}, None, 3]}},
            {"error": {"message": "x", "details": [{"violations": 5}]}},
            {"error": {"message": "x", "code": {"a": 1}, "type": [1], "param": 2}},
            {"error": {"message": [[1]], "innererror": 1, "metadata": {"raw": "[["}}},
            {"detail": [{"loc": 5, "msg": "x"}, 3, ["y"]]},
            {"error": [[{}]]},
        )
    ),
]


pytestmark = pytest.mark.usefixtures("short_waits")


def answer_of(case: Case) -> web.Response:
    if isinstance(case.body, str):
        page = "html" if case.body.startswith("<") else "plain"
        headers = {"Location": "/"} if case.status in (301, 302) else None
        return web.Response(
            status=case.status,
            text=case.body,
            content_type=f"text/{page}",
            headers=headers,
        )
    return web.Response(
        status=case.status,
        body=orjson.dumps(case.body),
        content_type="application/json",
    )


def text_of(body) -> str:
    return "\n".join(str(turn["content"]) for turn in body["messages"])


def frame(rows: int = ROWS, says: str = "", at: int = BAD) -> pd.DataFrame:
    texts = [f"Row {i}." for i in range(rows)]
    if at < rows:
        texts[at] += f" {says}"
    return pd.DataFrame({"text": texts})


def run(server: Server, df: pd.DataFrame, **more: Any) -> tuple[Any, LLMError | None]:
    """Return the frame and the error that the run ended with."""
    options = {
        "base_url": server.base_url,
        "model": "m",
        "api_key": "sk-of-this-test",
        "progress": False,
        "max_retries": 2,
        "output_retries": 1,
        **more,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMWarning)
        try:
            out = df.llm.generate("${text}", ["fact"], error_column="why", **options)
        except LLMError as error:
            return error.partial, error
    return out, None


def kinds(out: pd.DataFrame) -> dict[int, str]:
    found = out["why"].dropna()
    return {int(at): why.partition(":")[0] for at, why in found.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.who)
def test_an_answer_to_one_row_is_that_rows(case):
    seen = []

    def answer(body):
        text = text_of(body)
        if f"Row {BAD}." in text:
            seen.append(body)
            if len(seen) == 1 or not case.retried:
                return answer_of(case)
        return completion(FACT, prompt_tokens=1, completion_tokens=1)

    with Server(answer) as server:
        df = frame(says=case.says)
        out, error = run(server, df, temperature=0.5, seed=3, concurrency=4)
    if case.ends:
        assert error is not None
        assert error.kind == case.kind
        assert kinds(out)[BAD] == case.kind
        assert len(server.bodies) <= BAD + 1 + 4
        return
    assert error is None
    assert kinds(out) == ({BAD: case.kind} if case.kind and not case.retried else {})
    assert len(seen) == 1 + case.retried
    assert len(server.bodies) == ROWS + case.retried
    assert all("temperature" in body and "seed" in body for body in server.bodies)
    modes = {body["response_format"]["type"] for body in server.bodies}
    assert modes == {"json_schema"}


@pytest.mark.parametrize("case", FOR_GOOD, ids=lambda case: case.who)
def test_a_row_that_is_never_answered_fails_alone(case):
    def answer(body):
        if f"Row {BAD}." in text_of(body):
            return answer_of(case)
        return completion(FACT)

    with Server(answer) as server:
        for _ in range(2):  # a rerun gets past it as well
            before = len(server.bodies)
            out, error = run(server, frame())
            assert error is None
            assert kinds(out) == {BAD: case.kind}
            assert len(server.bodies) - before == ROWS + case.retried


@pytest.mark.parametrize("status", [302, 402, 403, 404])
def test_a_rerun_in_another_process_gets_past_it(status, tmp_path):
    """All other rows are kept: nothing else is there to be answered."""

    def answer(body):
        if f"Row {BAD}." in text_of(body):
            return answer_of(Case("", status, said("not this one"), ""))
        return completion(FACT)

    with Server(answer) as server:
        for _ in range(2):
            out, error = run(server, frame(), cache=tmp_path / "kept.sqlite")
            assert error is None
            assert list(kinds(out)) == [BAD]
            endpoint._settled.clear()
            endpoint._accepted.clear()
    tries = 1 if status == 402 else 2
    assert len(server.bodies) == ROWS - 1 + 2 * tries


@pytest.mark.parametrize("place", ["usage", "x_groq"])
def test_a_mended_generation_is_the_rows_value_and_is_booked(place):
    (case,) = [one for one in CASES if "can be mended" in one.who]
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    case = case._replace(
        body={**case.body, place: {"usage": usage} if place == "x_groq" else usage}
    )
    with Server(lambda _: answer_of(case)) as server:
        out, error = run(server, frame(3))
    assert error is None
    assert (out.llm.usage.input_tokens, out.llm.usage.output_tokens) == (21, 15)
    assert out["fact"].tolist() == ["x"] * 3
    assert len(server.bodies) == 3


def test_a_page_to_every_row_is_one_clear_error():
    page = "<html><title>Guests</title>Please log in to the guest network</html>"
    html = Case("", 200, page, "")
    with Server(lambda _: answer_of(html)) as server:
        _, error = run(server, frame(), max_retries=1)
    assert error is not None
    assert "Please log in to the guest network" in str(error)
    assert "first 10 rows" in str(error)
    assert len(server.bodies) == 3 * 2 + 7


# -- the system text ----------------------------------------------------------------

NO_SYSTEM = [
    failure(400, "System role not supported", "400"),
    failure(500, "Jinja Exception: System role not supported", "500"),
    failure(
        400,
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "400",
    ),
    failure(
        400,
        "Unsupported value: 'messages[0].role' does not support 'system' with this "
        "model.",
        "unsupported_value",
    ),
    failure(400, "Developer instruction is not enabled for models/gemma-3", "400"),
]


@pytest.mark.parametrize("examples", [(), (("Row X.", '{"records": []}'),)])
@pytest.mark.parametrize("refusal", NO_SYSTEM, ids=lambda r: r.text)
def test_a_model_without_system_role_is_told_in_the_first_turn(refusal, examples):
    status, text = refusal.status, refusal.text

    def answer(body):
        if any(turn["role"] == "system" for turn in body["messages"]):
            return web.Response(
                status=status, text=text, content_type="application/json"
            )
        return completion(FACT)

    with Server(answer) as server:
        out, error = run(server, frame(6), system="Be brief.", examples=examples)
    assert error is None
    assert kinds(out) == {}
    assert len(server.bodies) == 6 + 1
    first, *others = (body["messages"] for body in server.bodies)
    assert first[0]["role"] == "system"
    for turns in others:
        assert turns[0]["role"] == "user"
        assert turns[0]["content"].startswith("Be brief.\n\nRow ")
        roles = [turn["role"] for turn in turns]
        assert all(a != b for a, b in pairwise(roles))


def test_roles_alternate_after_an_empty_reply():
    def answer(body):
        return completion("" if "cannot be used" not in text_of(body) else FACT)

    with Server(answer) as server:
        out, error = run(server, frame(1))
    assert error is None
    assert out["fact"].tolist() == ["x"]
    assert [t["role"] for t in server.bodies[1]["messages"]][-1:] == ["user"]
    roles = [turn["role"] for turn in server.bodies[1]["messages"]]
    assert roles.count("user") == 1


# -- what ends a run -------------------------------------------------------------------

REVOKED = said("Incorrect API key provided", code="invalid_api_key")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_key_revoked_on_the_way_costs_few_calls(concurrency):
    refused = []

    def answer(body):
        if len(server.bodies) > 50:
            refused.append(body)
            return answer_of(Case("", 401, REVOKED, ""))
        return completion(FACT)

    with Server(answer) as server:
        out, error = run(server, frame(10_000), concurrency=concurrency)
    assert type(error) is errors.AuthenticationError
    assert "one after the other" in str(error)
    assert len(refused) <= 20 + concurrency
    found = pd.Series(kinds(out)).value_counts()
    assert found["authentication"] == len(refused)
    assert out["fact"].notna().sum() == 50


def test_a_row_with_another_status_than_its_neighbours_ends_nothing():
    """Ten rows that fail between others that are answered."""

    def answer(body):
        number = int(text_of(body).split("Row ")[-1].split(".")[0])
        if number % 2 and number < 60:
            return answer_of(Case("", 404, "not found", ""))
        return completion(FACT)

    with Server(answer) as server:
        for _ in range(2):
            out, error = run(server, frame(200), concurrency=4)
            assert error is None
            assert set(kinds(out).values()) == {"not_found"}
            assert list(kinds(out)) == list(range(1, 60, 2))


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_block_of_rows_that_fail_is_no_sample(status):
    """Rows side by side may be alike; those elsewhere show that it is they."""

    def answer(body):
        number = int(text_of(body).split("Row ")[-1].split(".")[0])
        if 100 <= number < 160:
            return failure(status, "not this one")
        return completion(FACT)

    with Server(answer) as server:
        out, error = run(server, frame(400), concurrency=8)
    assert error is None
    assert list(kinds(out)) == list(range(100, 160))
    tries = 1 if status == 400 else 2
    assert len(server.bodies) == 400 + 60 * (tries - 1)


@pytest.mark.parametrize("bad", [3, 9, 40])
def test_the_head_of_a_frame_is_no_sample(bad):
    def answer(body):
        number = int(text_of(body).split("Row ")[-1].split(".")[0])
        return failure(400, "no") if number < bad else completion(FACT)

    with Server(answer) as server:
        out, error = run(server, frame(1000))
    assert error is None
    assert list(kinds(out)) == list(range(bad))
    assert len(server.bodies) == 1000


def test_what_all_rows_refuse_ends_the_run_after_ten():
    def answer(_):
        answered = len(server.bodies) <= 20
        return completion(FACT) if answered else failure(400, "no more", "gone")

    with Server(answer) as server:
        out, error = run(server, frame(1000), concurrency=4)
    assert type(error) is errors.RepeatedError
    assert error.fatal
    assert "HTTP 400 (gone): no more" in str(error)
    assert len(server.bodies) <= 20 + 10 + 4 + Streak.AT_ONCE
    assert set(kinds(out).values()) == {"bad_request", "not_sent"}


def test_a_wrong_key_after_a_good_run_costs_one_call():
    def answer(_):
        good = server.headers[-1]["Authorization"] == "Bearer sk-of-this-test"
        return completion(FACT) if good else failure(401, "no such key")

    with Server(answer) as server:
        _, error = run(server, frame(50))
        assert error is None
        before = len(server.bodies)
        _, error = run(server, frame(50), api_key="sk-wrong")
    assert type(error) is errors.AuthenticationError
    assert len(server.bodies) == before + 1


@pytest.mark.usefixtures("short_outages")
def test_an_outage_shows_the_last_words():
    def answer(_):
        if len(server.bodies) > 20:
            return failure(503, "closed for stocktaking", "closed")
        return completion(FACT)

    with Server(answer) as server:
        _, error = run(server, frame(200), concurrency=8, patience=0.2)
    assert type(error) is errors.OutageError
    assert "closed for stocktaking" in str(error)
    count = int(re.search(r"(\d+) requests failed", str(error))[1])
    assert 0 < count <= len(server.bodies) - 20  # since the last answer came


@pytest.mark.parametrize("answered", [0, 30])
def test_nothing_but_refusals_shows_the_last_words(answered):
    """Whether nobody was answered ever, or nobody any more: in the time allowed."""

    def answer(_):
        if len(server.bodies) > answered:
            return failure(429, "come back in spring")
        return completion(FACT)

    start = time.monotonic()
    with Server(answer) as server:
        _, error = run(server, frame(100), concurrency=8, patience=2)
        took = time.monotonic() - start
    assert 2 < took < 8  # no wait of the limiter's is slept through to the end
    assert type(error) is errors.RateLimitedTooLong
    assert "come back in spring" in str(error)
    assert "patience=2" in str(error)
    told = re.search(r"(\d+) requests failed", str(error))
    assert told is not None
    # some may have been under way when the run ended
    refused = len(server.bodies) - answered
    assert refused - 8 <= int(told[1]) <= refused


def test_a_row_that_others_overtake_thirty_times_fails_by_itself(monkeypatch):
    """Larger than the account's limit, it is refused whenever it is asked."""
    monkeypatch.setattr("pandas_llm._pacing.limiter._ROW", (0.01, 0.01))
    asked = 0

    async def answer(body):
        nonlocal asked
        if body["messages"][-1]["content"] == "Row 5.":
            asked += 1
            return failure(429, "never in this pool of yours")
        await asyncio.sleep(0.01)
        return completion(FACT)

    with Server(answer) as server:
        out, error = run(server, frame(800), concurrency=4)
    assert error is None
    assert 30 <= asked <= 60
    assert out["fact"].notna().sum() == 799
    (failed,) = out["why"].dropna()
    assert "never in this pool of yours" in str(failed)


# -- the table ----------------------------------------------------------------------

ANY = Standing()
AUTH, GONE = errors.AuthenticationError("no"), errors.ModelNotFoundError("no")
SLOW, DOWN = errors.RateLimitError("slow"), errors.ServerError("oops")
LONG = errors.RateLimitError("slow", retry_after=200.0)
AWAY, BROKE = errors.ConnectionFailedError("no"), errors.ConnectionBrokenError("no")
TABLE = [
    (errors.BadRequestError("x"), replace(ANY, changed=True), Then.NOW),
    (AUTH, replace(ANY, changed=True, answered=False), Then.NOW),
    (errors.BadRequestError("x"), ANY, Then.ROW),
    (errors.BadRequestError("x"), replace(ANY, answered=False), Then.ROW),
    (errors.BadRequestError("x"), replace(ANY, alike=True), Then.RUN),
    (errors.ContextLengthError("x"), ANY, Then.ROW),
    (errors.BlockedError("x"), ANY, Then.ROW),
    (errors.ReplyTooLargeError("x"), ANY, Then.ROW),
    (AUTH, replace(ANY, answered=False), Then.RUN),
    (AUTH, ANY, Then.LATER),
    (AUTH, replace(ANY, again=True), Then.ROW),
    (AUTH, replace(ANY, alike=True), Then.RUN),
    (GONE, replace(ANY, answered=False), Then.RUN),
    (GONE, ANY, Then.LATER),
    (GONE, replace(ANY, again=True), Then.ROW),
    (errors.PaymentRequiredError("x"), replace(ANY, answered=False), Then.RUN),
    (errors.PaymentRequiredError("x"), ANY, Then.ROW),
    (errors.NoCreditError("x"), ANY, Then.RUN),
    (errors.RateLimitedTooLong("x"), ANY, Then.RUN),
    (errors.ConfigurationError("x"), ANY, Then.RUN),
    (errors.CostLimitError("x"), ANY, Then.RUN),
    (errors.EncodingError("x"), ANY, Then.ROW),
    (SLOW, ANY, Then.AFTER),
    (SLOW, replace(ANY, failures=99), Then.AFTER),
    (LONG, ANY, Then.RUN),
    (SLOW, replace(ANY, refused=901.0), Then.RUN),
    (SLOW, replace(ANY, refused=2.0, patience=1.0), Then.RUN),
    (SLOW, replace(ANY, overtaken=29), Then.AFTER),
    (SLOW, replace(ANY, overtaken=30), Then.ROW),
    (SLOW, replace(ANY, overtaken=1, refused=2.0, patience=1.0), Then.ROW),
    (SLOW, replace(ANY, refused=2.0, patience=1.0), Then.RUN),
    (SLOW, replace(ANY, gated=False), Then.AFTER),
    (SLOW, replace(ANY, gated=False, failures=6), Then.ROW),
    (DOWN, ANY, Then.AFTER),
    (DOWN, replace(ANY, failures=5), Then.AFTER),
    (DOWN, replace(ANY, failures=6), Then.ROW),
    (DOWN, replace(ANY, failures=6, spared=True, outage=True), Then.GATE),
    (DOWN, replace(ANY, outage=True), Then.GATE),
    (DOWN, replace(ANY, proven=False, failures=6), Then.ROW),
    (AWAY, replace(ANY, proven=False, failures=99), Then.AFTER),
    (AWAY, replace(ANY, proven=False, unreached=5.1), Then.RUN),
    (AWAY, replace(ANY, failures=6), Then.ROW),
    (BROKE, replace(ANY, proven=False, unreached=9.0), Then.AFTER),
    (BROKE, replace(ANY, proven=False, failures=6), Then.ROW),
]


@pytest.mark.parametrize(
    ("error", "now", "then"),
    TABLE,
    ids=[f"{i}-{type(e).__name__}-{then.name}" for i, (e, _, then) in enumerate(TABLE)],
)
def test_the_verdict_is_a_table(error, now, then):
    assert decide(error, now).then is then


def test_the_last_try_is_when_patience_ends_unless_the_server_named_a_wait():
    now = replace(ANY, wait=4.0, refused=9.0, patience=10.0)
    assert decide(SLOW, now).seconds == 1.0
    named = errors.RateLimitError("slow", retry_after=4.0)
    assert decide(named, now).seconds == 4.0


def test_no_announced_wait_is_longer_than_max_wait():
    long = errors.ServerError("oops", retry_after=86_400.0)
    assert decide(long, replace(ANY, max_wait=2.0)) == (Then.AFTER, 2.0, Ended.FATAL)
    assert decide(SLOW, replace(ANY, wait=9.0, max_wait=2.0)).seconds == 2.0


def test_why_a_run_stops_is_told():
    assert decide(LONG, ANY).why is Ended.WAIT
    assert decide(SLOW, replace(ANY, refused=999.0)).why is Ended.REFUSALS
    assert decide(AUTH, replace(ANY, alike=True)).why is Ended.ALIKE
    away = replace(ANY, proven=False, unreached=6.0)
    assert decide(AWAY, away).why is Ended.UNREACHABLE


@given(
    failures=st.integers(1, 6),
    asked=st.none() | st.floats(0, 100),
    drawn=st.floats(0, 1),
)
def test_a_wait_is_never_shorter_than_asked_for(failures, asked, drawn):
    error = errors.ServerError("oops", retry_after=asked)
    verdict = decide(error, replace(ANY, failures=failures, retries=9), lambda: drawn)
    assert verdict.then is Then.AFTER
    assert verdict.seconds >= (asked or 0)


# -- streaks ------------------------------------------------------------------------

NO = errors.BadRequestError("no", status=400)
KEY = errors.AuthenticationError("no such key", status=401)


def ends_at(streak, error, rows, **more):
    found = [
        streak.failed(error, elsewhere=at >= Streak.LOOK, **more) for at in range(rows)
    ]
    return found.index(True) + 1 if True in found else None


def test_ten_rows_alike_end_a_run_and_five_refusals_of_the_key():
    assert ends_at(Streak(), NO, 20) == 10
    assert ends_at(Streak(), KEY, 20) == 5


def test_an_answer_or_another_failure_begins_from_the_start():
    streak = Streak()
    assert ends_at(streak, NO, 9) is None
    streak.answered()
    assert ends_at(streak, NO, 9) is None
    assert ends_at(streak, errors.BadRequestError("x", code="other"), 9) is None


def test_rows_put_off_do_not_end_a_run_by_themselves():
    streak = Streak()
    assert ends_at(streak, KEY, 50, again=True) is None


def test_rows_in_flight_when_it_began_do_not_end_a_run_by_themselves():
    streak = Streak()
    assert not any(streak.failed(NO) for _ in range(64))
    assert streak.looking
    assert [streak.failed(NO, elsewhere=True) for _ in range(2)] == [False, True]


def test_what_is_said_of_the_texts_is_no_streak():
    too_long = errors.ContextLengthError("too long", status=400)
    assert ends_at(Streak(), too_long, 50) is None
    assert ends_at(Streak(), errors.PromptFilteredError("no"), 50) is None


# -- the page of errors ---------------------------------------------------------------


def all_kinds() -> set[str]:
    """Return the kind of every error that is raised, or stands in a row."""
    bases = {
        *(errors.LLMError, errors.RowError, errors.ProviderError),
        errors.AttachmentError,
    }
    return {
        kind.kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.LLMError)
        and kind not in bases
    }


def test_the_page_lists_every_kind_with_what_to_do():
    page = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
    rows = [
        line.strip("|").split("|")
        for line in page.read_text().splitlines()
        if line[:3] == "| `"
    ]
    assert all(
        len(cells) == 3 and all(cell.strip() for cell in cells) for cells in rows
    )
    named = [cells[0].strip(" `") for cells in rows]
    assert sorted(named) == sorted(all_kinds())

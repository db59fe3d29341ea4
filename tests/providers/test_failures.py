"""What error bodies mean, over bodies as servers send them."""

import email.utils
import time

import orjson
import pytest
from loopback_server import completion

from pandas_llm import errors
from pandas_llm.providers import failures
from pandas_llm.providers.answers.headers import duration
from pandas_llm.providers.vendors import openai
from pandas_llm.types import Endpoint, HTTPResponse, Request, Spec

PROVIDER = openai.OpenAI(Endpoint("openai", "http://h/v1", "m", None))
QUOTA = {"error": {"message": "You exceeded your current quota", "param": None}}


def body(**error):
    return {"error": error}


CASES = [
    # status, body, kind
    (400, body(message="bad", code="invalid_value"), "bad_request"),
    (400, body(message="x", code="context_length_exceeded"), "context_length"),
    (
        400,
        body(
            code=400,
            message="request (5048 tokens) exceeds the available context "
            "size (4096 tokens)",
            type="exceed_context_size_error",
        ),
        "context_length",
    ),
    (401, body(message="Incorrect API key", code="invalid_api_key"), "authentication"),
    (
        401,
        body(message="Invalid API Key", type="authentication_error", code=401),
        "authentication",
    ),
    (402, body(message="Insufficient Balance"), "no_credit"),
    (403, body(message="not allowed"), "authentication"),
    (403, body(message="flagged by moderation", code=403), "content_filter"),
    (400, body(message="x", code="content_filter"), "content_filter"),
    (404, body(message="no such model", code="model_not_found"), "model_not_found"),
    (404, {"detail": "Not Found"}, "model_not_found"),
    (408, b"", "server"),
    (409, body(message="lock"), "server"),
    (413, b"<html><body>too large</body></html>", "context_length"),
    (422, {"detail": [{"loc": ["n"], "msg": "bad"}]}, "bad_request"),
    (
        429,
        body(message="slow", type="tokens", code="rate_limit_exceeded"),
        "rate_limit",
    ),
    (429, body(message="ramp", code="slow_down"), "rate_limit"),
    (
        429,
        {
            "object": "error",
            "message": "Requests rate limit exceeded",
            "type": "rate_limited",
            "param": None,
            "code": "1300",
        },
        "rate_limit",
    ),
    (429, body(message="limit", code="429"), "rate_limit"),
    (429, b"Too Many Requests", "rate_limit"),
    (
        429,
        body(message="q", type="insufficient_quota", code="insufficient_quota"),
        "rate_limit",  # DashScope's throttle is called so
    ),
    (
        429,
        body(message="q", type="insufficient_quota", code="credit_balance_exhausted"),
        "no_credit",
    ),
    (429, body(message="q", code="organization_spend_limit_exceeded"), "no_credit"),
    (429, body(message="q", code="project_spend_limit_exceeded"), "no_credit"),
    (429, body(message="q", code="organization_usage_limit_exceeded"), "no_credit"),
    (429, body(message="q", code="billing_not_active"), "no_credit"),
    (
        429,
        body(
            message="Request too large for m: Limit 10000, Requested 12000",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        "bad_request",
    ),
    (498, body(message="capacity", code="capacity_exceeded"), "server"),
    (500, body(message="oops", type="server_error"), "server"),
    (502, b"<html>Bad gateway</html>", "server"),
    (503, body(message="Loading model", code=503), "overloaded"),
    (
        503,
        body(
            message="server busy, please try again.  maximum pending requests exceeded"
        ),
        "overloaded",
    ),
    (529, body(type="overloaded_error", message="Overloaded"), "overloaded"),
    (302, b"", "model_not_found"),
    (501, b"Unsupported method ('POST')", "model_not_found"),
    (503, body(message="no channel", code="model_not_found"), "model_not_found"),
    (
        400,
        [body(code=400, message="Unknown name", status="INVALID_ARGUMENT")],
        "bad_request",
    ),
    (400, {"error": "just text"}, "bad_request"),
    (400, b"", "bad_request"),
]


TOLD_ELSEWHERE = [
    (400, body(code=502, message="Provider returned error"), "server"),
    (400, body(code=429, message="Provider returned error"), "rate_limit"),
    (400, body(code=403, message="Provider returned error"), "bad_request"),
    (400, {"__type": "com.x#ThrottlingException", "message": "m"}, "rate_limit"),
    (403, body(message="m", errors=[{"reason": "rateLimitExceeded"}]), "rate_limit"),
    (403, body(message="m", metadata={"reasons": ["hate"]}), "content_filter"),
    (403, body(message="m", metadata={"reasons": []}), "authentication"),
    (403, b"error code: 1020\n", "blocked"),
    (403, b"error code: 1020 said the row", "authentication"),
    (406, b"<html>Mod_Security</html>", "blocked"),
    (400, {"errors": [{"message": "The input is too long"}]}, "context_length"),
    (405, b"Method Not Allowed", "model_not_found"),
    (410, body(message="This model was retired."), "model_not_found"),
]


@pytest.mark.parametrize(("status", "content", "kind"), TOLD_ELSEWHERE)
def test_what_the_status_does_not_say_is_read_in_every_place(status, content, kind):
    assert PROVIDER.error(response(status, content)).kind == kind


def response(status, content, **headers):
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    return HTTPResponse(status, headers, raw)


@pytest.mark.parametrize(("status", "content", "kind"), CASES)
def test_an_answer_is_classified(status, content, kind):
    error = PROVIDER.error(response(status, content, **{"x-request-id": "req-1"}))
    assert error.kind == kind
    assert (error.status, error.request_id) == (status, "req-1")
    assert str(status) in str(error)
    assert "<" not in str(error)
    retryable = kind in ("rate_limit", "server", "overloaded")
    fatal = kind in ("authentication", "no_credit", "model_not_found")
    assert (error.retryable, error.fatal) == (retryable, fatal)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (body(code=429, message="upstream limit"), "rate_limit"),
        (body(code=402, message="no credits"), "no_credit"),
        (body(code=502, message="bad upstream"), "server"),
        (body(message="who knows"), "server"),
        (body(message="x", code="429"), "rate_limit"),
        (body(message="x", code="2003"), "server"),
        (body(message="x", type="invalid_request_error"), "bad_request"),
        (body(message="x", type="y", code="invalid_api_key"), "authentication"),
        (body(message="x", type="not_found_error"), "model_not_found"),
        (body(message="x", type="overloaded_error"), "overloaded"),
        (body(message="x", status="PERMISSION_DENIED"), "authentication"),
        (body(message="prompt is too long: 9 tokens > 8 maximum"), "context_length"),
        ({"object": "error", "message": "x", "code": 400}, "bad_request"),
        ({"object": "error", "message": "x", "code": None}, "server"),
        ({"choices": [{"error": {"code": 502, "message": "x"}}]}, "server"),
        ({"choices": [{"finish_reason": "error", "message": None}]}, "server"),
        ({"choices": []}, "malformed_reply"),
        ({"code": 401, "message": "invalid token"}, "authentication"),
        ({"code": "429", "msg": "slow"}, "rate_limit"),
        ({"message": "prompt is too long: 9 tokens > 8"}, "context_length"),
        ({"code": 0, "message": "ok"}, "malformed_reply"),
        ({"errors": [{"code": 401, "message": "x"}], "result": None}, "authentication"),
        (completion("half") | {"errors": [{"message": "x"}]}, "server"),
        ({"message": "who knows"}, "malformed_reply"),
        ({"choices": None}, "malformed_reply"),
        ({"choices": [{"finish_reason": "stop"}]}, "malformed_reply"),
        ([], "malformed_reply"),
        (b"<html>hello</html>", "malformed_reply"),
        (b"", "malformed_reply"),
        (b"   \n", "malformed_reply"),
    ],
)
def test_an_error_may_come_inside_a_200(content, kind):
    with pytest.raises(errors.ProviderError) as caught:
        PROVIDER.parse(response(200, content))
    assert caught.value.kind == kind


def test_an_error_without_code_and_words_beside_an_answer_is_none():
    answer = completion("x") | {"error": {"code": 0, "message": "success"}}
    assert PROVIDER.parse(response(200, answer)).choices[0].text == "x"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><title>Attention Required!</title>", "blocked"),
        (b"  <HTML>no</HTML>", "blocked"),
        (b"Forbidden by policy 7", "blocked"),
        (body(message="not for you"), "authentication"),
    ],
)
def test_a_403_that_is_a_page_is_a_firewalls(content, kind):
    error = PROVIDER.error(response(403, content, **{"content-type": "text/html"}))
    assert error.kind == kind


@pytest.mark.parametrize("code", [400, "400", "None", "", None])
def test_a_code_that_says_no_more_than_the_status_is_not_shown(code):
    error = PROVIDER.error(response(400, body(code=code, message="Not so.")))
    assert str(error) == "HTTP 400: Not so."


def test_a_402_that_says_when_is_a_rate_limit():
    content = body(code=402, message="in flight budget")
    error = PROVIDER.error(response(402, content, **{"retry-after": "2"}))
    assert error.kind == "rate_limit"


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "1.5"}, "", 1.5),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "-5"}, "", 0.0),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "2m"}, "", 120.0),
        ({"retry-after": "1500000000"}, "", 0.0),  # a moment
        ({"retry-after": "1500000000000"}, "", 0.0),
        ({"retry-after": "2017-07-14T02:40:00Z"}, "", 0.0),
        ({}, "Please try again in 6ms.", 0.006),
        ({}, "Please try again in 1.5s.", 1.5),
        ({}, "Please try again in 2m", 120.0),
        ({}, "Please retry after 8 seconds.", 8.0),
        ({}, "Please wait 40000 seconds before retrying.", 40_000.0),
        ({}, "please try again after 1 seconds", 1.0),
        ({}, "Try again in 1 minute and 30 seconds", 90.0),
        ({}, "Try again in 1m 30s.", 90.0),
        ({}, "Try again in 1d2h", 93_600.0),
        ({}, "Try again in 3 months", None),
        ({"retry-after": "5 s"}, "", 5.0),
        ({"retry-after": '"5"'}, "", 5.0),
        ({"retry-after": "PT1M30S"}, "", 90.0),
        ({"retry-after": "Fri, 14 Jul 2017 02:40:00 GMT"}, "", 0.0),
        ({}, "Retry after: 30.", 30.0),
        ({}, "Retry after 30 apples", None),
        ({}, "Retry after 2017-07-14", None),
        ({}, "Please retry your request in 5s", 5.0),
        ({}, "Try again in about 20 seconds", 20.0),
        ({}, "It is expected to be available again in 45 s.", 45.0),
        ({}, "请在 30 秒后重试", 30.0),
        ({}, "Bitte in 30 Sekunden noch einmal versuchen.", 30.0),
        ({"retry-after": "1500000000000000"}, "", 0.0),
        ({"retry-after": "1500000000000000000"}, "", 0.0),
        ({}, "", None),
    ],
)
def test_the_wait_is_read_in_every_form(headers, message, seconds):
    assert failures.retry_after(HTTPResponse(429, headers, b""), message) == seconds


def test_the_wait_is_read_in_a_field_and_not_in_what_the_row_said():
    loading = {"error": "Model m is currently loading", "estimated_time": 20.5}
    assert PROVIDER.error(response(503, loading)).retry_after == 20.5
    told = body(message="slow", retry_after=7)
    assert PROVIDER.error(response(429, told)).retry_after == 7
    asked = Request(Spec("m", (), None, 1, {}, None, {}), "Say: try again in 9 days")
    echo = response(429, body(message="for 'Say: try again in 9 days'"))
    assert PROVIDER.error(echo._replace(asked=asked)).retry_after is None


def test_the_wait_is_read_as_a_date():
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    wait = failures.retry_after(HTTPResponse(429, {"retry-after": date}, b""))
    assert 28 < wait <= 30
    past = email.utils.formatdate(time.time() - 30, usegmt=True)
    assert failures.retry_after(HTTPResponse(429, {"retry-after": past}, b"")) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6ms", 0.006),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("7.66s", 7.66),
        ("1m30.5s", 90.5),
        ("17h3m0s", 61380.0),
        ("12", 12.0),
        ("", None),
        ("-", None),
        ("6ms and more", None),
    ],
)
def test_resets_are_go_durations(text, seconds):
    assert duration(text) == (pytest.approx(seconds) if seconds else seconds)


def test_quotas_are_read_and_nonsense_is_unknown():
    headers = {
        "x-ratelimit-limit-requests": "10,000",
        "x-ratelimit-remaining-requests": "9,999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "-1",
        "x-ratelimit-remaining-tokens": "0",
    }
    quotas = PROVIDER.quotas(headers)
    assert quotas.requests == (10000.0, 9999.0, 0.006, 60.0)
    assert quotas.tokens == (None, 0.0, None, 60.0)
    assert PROVIDER.quotas({}) is None


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": "x"}, "x"),
        (
            {
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "thinking"},
                    {"type": "text", "text": "b"},
                ]
            },
            "ab",
        ),
        ({}, ""),
    ],
)
def test_a_content_may_be_null_or_a_list_of_parts(message, text):
    content = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert PROVIDER.parse(response(200, content)).choices[0].text == text


def test_leading_blank_lines_do_no_harm():
    raw = b"\n\n \n" + orjson.dumps({"choices": [{"message": {"content": "x"}}]})
    assert PROVIDER.parse(response(200, raw)).choices[0].text == "x"

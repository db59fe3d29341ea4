"""Vendors' words, line by line: each line has what it is for, and what it is not."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm import errors
from pandas_llm.providers.failures import words
from pandas_llm.providers.failures.words import LINES, Failure, meaning, without_quotes
from pandas_llm.providers.vendors import openai
from pandas_llm.types import Capabilities, Endpoint, HTTPResponse, Request, Spec

OUT_OF_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details."
)
DOCS = (
    f"{OUT_OF_QUOTA} For more information on this error, read the docs: "
    "https://platform.openai.com/docs/guides/error-codes/api-errors."
)
# status, codes, message, kind
EXAMPLES = [
    (
        200,
        [],
        "Unexpected endpoint or method. (POST /chat/completions)",
        "model_not_found",
    ),
    (429, ["GenerateRequestsPerDayPerProjectPerModel-FreeTier"], "q", "wait_too_long"),
    (
        429,
        [],
        "Too many tokens per day, please wait before trying again.",
        "wait_too_long",
    ),
    (
        429,
        ["too_many_tokens_error"],
        "Tokens per day limit exceeded - too many tokens processed.",
        "wait_too_long",
    ),
    (429, ["insufficient_quota", "credit_balance_exhausted"], "q", "no_credit"),
    (429, ["project_spend_limit_exceeded"], "q", "no_credit"),
    (429, ["billing_hard_limit_reached"], "q", "no_credit"),
    (429, ["insufficient_quota"], OUT_OF_QUOTA, "no_credit"),
    (429, ["insufficient_quota"], DOCS, "no_credit"),
    (429, ["429"], f"litellm.RateLimitError: OpenAIException - {DOCS}", "no_credit"),
    (400, [], "Billing hard limit has been reached", "no_credit"),
    (
        429,
        ["insufficient_quota"],
        f"{OUT_OF_QUOTA} For details, see: https://help.aliyun.com/zh/model-studio",
        "rate_limit",
    ),
    (429, ["RESOURCE_EXHAUSTED"], OUT_OF_QUOTA, "rate_limit"),
    (429, ["resource_unavailable"], "No room for flex now.", "overloaded"),
    (
        429,
        ["Some resource has been exhausted"],
        "Your team has either used all available credits or reached its monthly "
        "spending limit. To continue making API requests, please purchase more credits "
        "or raise your spending limit.",
        "no_credit",
    ),
    (
        403,
        ["The caller does not have permission to execute the specified operation"],
        "Your newly created team doesn't have any credits yet.",
        "no_credit",
    ),
    (429, ["1113"], "您的账户已欠费，请充值后重试。", "no_credit"),  # noqa: RUF001
    (429, ["x"], "您的账户已欠费，请充值后重试。", "no_credit"),  # noqa: RUF001
    (429, ["x"], "余额不足或无可用资源包,请充值。", "no_credit"),
    (429, ["exceeded_current_quota_error"], "q", "no_credit"),
    (500, ["api_error"], "insufficient balance (1008)", "no_credit"),
    (429, ["2056"], "usage limit exceeded", "wait_too_long"),
    (
        429,
        [],
        "Your account org-1 <ak-1> is suspended, please check your plan and billing "
        "details",
        "no_credit",
    ),
    (
        429,
        ["429"],
        "Your account org-1 <ak-1> is suspended due to insufficient balance, please "
        "recharge your account or check your plan and billing details",
        "no_credit",
    ),
    (
        403,
        [],
        "Your account x> is not active, organization <x> exceeded current quota, "
        "please check your plan and billing details",
        "no_credit",
    ),
    (
        429,
        ["x"],
        "Your account is in arrears, please recharge and try again",
        "no_credit",
    ),
    (403, ["insufficient_user_quota"], "q", "no_credit"),
    (403, ["pre_consume_token_quota_failed"], "q", "no_credit"),
    (401, ["new_api_error"], "该令牌额度已用尽 TokenStatusExhausted[sk]", "no_credit"),
    (403, ["30001"], "余额不足", "no_credit"),
    (403, ["moderation_error"], "q", "content_filter"),
    (400, ["sensitive_content"], "q", "content_filter"),
    (422, [], "Prompt was rejected by the safety system", "content_filter"),
    (403, [], "Request blocked by content policy", "content_filter"),
    (400, [], "The prompt violates our usage policies.", "content_filter"),
    (400, [], "很抱歉,您的问题涉及违规内容", "content_filter"),
    (400, ["input_too_long"], "q", "context_length"),
    (
        400,
        [],
        "The prompt exceeds the maximum number of tokens (8192)",
        "context_length",
    ),
    (422, [], "Prompt tokens (9000) exceed max context (8192)", "context_length"),
    (400, [], "请求的 token 数超过模型最大上下文长度", "context_length"),
    (503, ["model_not_found"], "q", "model_not_found"),
    (
        503,
        ["one_api_error"],
        "当前分组 default 下对于模型 m 无可用渠道",
        "model_not_found",
    ),
    (400, ["x"], "CUDA error: device-side assert triggered", "server"),
    (422, ["x"], "Request failed during generation: Server error", "server"),
    (400, ["x"], "Too many requests", "rate_limit"),
    (403, ["x"], "rate limit exceeded", "rate_limit"),
    (400, ["x"], "The server is busy, please try again later.", "overloaded"),
    (400, ["x"], "服务繁忙,请稍后再试", "overloaded"),
    (429, ["1304"], "q", "wait_too_long"),
    (429, [], "request reached organization TPD rate limit", "wait_too_long"),
    (400, ["sensitive_words_detected"], "q", "content_filter"),
    (
        400,
        ["x"],
        "System detected potentially unsafe or sensitive content in input.",
        "content_filter",
    ),
    (
        400,
        [],
        "Input length (160062 tokens) exceeds the maximum allowed length (59862).",
        "context_length",
    ),
    (400, ["Arrearage"], "Access denied.", "no_credit"),
    (403, ["AccountOverdueError"], "Your account has an overdue balance.", "no_credit"),
    (
        400,
        [],
        "Access denied, please make sure your account is in good standing.",
        "no_credit",
    ),
    (402, ["invalid_request_error"], "Insufficient Balance", "no_credit"),
    (403, ["30001"], "Sorry, your account balance is insufficient", "no_credit"),
    (402, ["insufficient_balance"], "q", "no_credit"),
    (429, ["rate_limit_error", "enforced_spend_limit_reached"], "q", "no_credit"),
    (400, ["organization_on_hold"], "q", "no_credit"),
    (
        400,
        ["invalid_request_error"],
        "Your credit balance is too low to access the Anthropic API. Please go to "
        "Plans & Billing to upgrade or purchase credits.",
        "no_credit",
    ),
    (
        400,
        ["invalid_request_error"],
        "You have reached your specified workspace API usage limits.",
        "no_credit",
    ),
    (429, [], "Your prepayment credits are depleted.", "no_credit"),
    (429, [], "Quota exceeded for metric: free_tier_requests, limit: 0", "no_credit"),
    (429, ["quota_exceeded"], "Quota exceeded.", "no_credit"),
    (402, ["402"], "Insufficient credits. Add more using https://…", "no_credit"),
    (402, [], "You have reached your account's spending limit.", "no_credit"),
    (
        412,
        [],
        "Account x is suspended, possibly due to reaching the monthly spending limit "
        "or failure to pay past invoices.",
        "no_credit",
    ),
    (400, ["budget_exceeded"], "q", "no_credit"),
    (
        400,
        ["400"],
        "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0",
        "no_credit",
    ),
    (402, ["payment_required"], "q", "no_credit"),
    (400, ["content_filter"], "q", "content_filter"),
    (400, ["content_policy_violation"], "q", "content_filter"),
    (400, ["ResponsibleAIPolicyViolation"], "q", "content_filter"),
    (400, ["data_inspection_failed"], "q", "content_filter"),
    (400, ["DataInspectionFailed"], "q", "content_filter"),
    (400, ["1301"], "q", "content_filter"),
    (400, ["SensitiveContentDetected"], "q", "content_filter"),
    (400, ["InputTextSensitiveContentDetected.Policy"], "q", "content_filter"),
    (400, ["InputTextRiskDetection"], "q", "content_filter"),
    (
        400,
        ["invalid_prompt"],
        "Invalid prompt: we've limited access to this content for safety reasons.",
        "content_filter",
    ),
    (
        400,
        [],
        "Your prompt was flagged as potentially violating our usage policy.",
        "content_filter",
    ),
    (
        400,
        [],
        "Your request was rejected as a result of our safety system.",
        "content_filter",
    ),
    (
        400,
        [],
        "The response was filtered due to the prompt triggering Azure OpenAI's content "
        "management policy.",
        "content_filter",
    ),
    (
        400,
        ["invalid_request_error"],
        "Output blocked by content filtering policy",
        "content_filter",
    ),
    (
        403,
        ["403"],
        'vendor/model requires moderation on Vendor. Your input was flagged for "x".',
        "content_filter",
    ),
    (
        400,
        [],
        "litellm.ContentPolicyViolationError: AzureException - It was filtered",
        "content_filter",
    ),
    (400, ["400"], "Violated guardrail policy", "content_filter"),
    (
        400,
        [],
        "<400> InternalError.Algo.DataInspectionFailed: Output data may contain "
        "inappropriate content.",
        "content_filter",
    ),
    (
        400,
        ["x"],
        "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示"  # noqa: RUF001
        "语，感谢您的配合。",  # noqa: RUF001
        "content_filter",
    ),
    (
        400,
        [],
        "The request was rejected because it was considered high risk",
        "content_filter",
    ),
    (400, ["invalid_request_error"], "Content Exists Risk", "content_filter"),
    (
        403,
        ["The caller does not have permission to execute the specified operation"],
        "Content violates usage guidelines. Team: t, Failed check: SAFETY_CHECK_TYPE_X",
        "content_filter",
    ),
    (
        400,
        ["INVALID_ARGUMENT"],
        "The prompt was blocked because of PROHIBITED_CONTENT",
        "content_filter",
    ),
    (429, [], "Request too large for m: Limit 10000, Requested 12000", "bad_request"),
    (413, ["request_too_large"], "Request exceeds the maximum size", "bad_request"),
    (400, ["context_length_exceeded"], "q", "context_length"),
    (400, ["string_above_max_length"], "q", "context_length"),
    (400, [], "This model's maximum context length is 8192 tokens.", "context_length"),
    (
        400,
        [],
        "The decoder prompt (length 5000) is longer than the maximum model length of "
        "4096.",
        "context_length",
    ),
    (400, [], "Your input exceeds the context window of this model.", "context_length"),
    (
        500,
        ["server_error"],
        "the request exceeds the available context size. try increasing it",
        "context_length",
    ),
    (
        400,
        ["invalid_request_error"],
        "prompt is too long: 210000 tokens > 200000 maximum",
        "context_length",
    ),
    (400, ["400"], "Input is too long for requested model.", "context_length"),
    (
        422,
        ["validation"],
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
        "Given: 5000 `inputs` tokens and 100 `max_new_tokens`",
        "context_length",
    ),
    (
        422,
        ["validation"],
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500",
        "context_length",
    ),
    (
        400,
        [],
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - "
        "received 4292.",
        "context_length",
    ),
    (
        400,
        ["invalid_request_error"],
        "Prompt contains 40960 tokens and 0 draft tokens, too large for model with "
        "32768 maximum context length",
        "context_length",
    ),
    (
        400,
        ["x"],
        "Prompt contains 65673 tokens, too large for model with 32768 maximum",
        "context_length",
    ),
    (
        400,
        ["BadRequestError"],
        "The input (5000 tokens) is longer than the model's limit (4096 tokens).",
        "context_length",
    ),
    (
        400,
        ["invalid_parameter_error"],
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be "
        "[1, 30720]",
        "context_length",
    ),
    (
        400,
        [],
        "The number of tokens to keep from the initial prompt is greater than fits",
        "context_length",
    ),
    (
        400,
        [],
        "Trying to keep the first 5000 tokens when context the overflows.",
        "context_length",
    ),
    (
        400,
        ["INVALID_ARGUMENT"],
        "The input token count (1200000) exceeds the maximum number of tokens allowed "
        "(1048576).",
        "context_length",
    ),
    (400, ["1261"], "q", "context_length"),
    (
        400,
        ["20015"],
        "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
        "context_length",
    ),
    (
        400,
        ["400"],
        "litellm.ContextWindowExceededError: litellm.BadRequestError: x",
        "context_length",
    ),
    (402, ["credit_limit"], "Credit limit exceeded, please go to …", "no_credit"),
    (402, [], "You have run out of credits", "no_credit"),
    (400, ["x"], "Prompt 超长", "context_length"),
    (
        400,
        [],
        "Invalid request: Your request exceeded model token limit: 8192",
        "context_length",
    ),
    (
        400,
        ["Client specified an invalid argument"],
        "This model's maximum prompt length is 131072 but the request contains 200000 "
        "tokens.",
        "context_length",
    ),
    (400, ["x"], "Incorrect API key provided: xa***.", "authentication"),
    (400, ["x"], "This organization has been disabled.", "authentication"),
    (
        400,
        ["FAILED_PRECONDITION"],
        "User location is not supported for the API use.",
        "authentication",
    ),
    (400, ["organization_restricted"], "q", "authentication"),
    (400, ["expired_key", "400"], "q", "authentication"),
    (400, ["model_decommissioned"], "q", "model_not_found"),
    (400, ["invalid_model", "1500"], "Invalid model: x", "model_not_found"),
    (400, ["invalid_request_error"], "Model Not Exist", "model_not_found"),
    (400, ["400"], "x/y is not a valid model ID", "model_not_found"),
    (
        400,
        ["400"],
        "/chat/completions: Invalid model name passed in model=x.",
        "model_not_found",
    ),
    (403, ["AllocationQuota.FreeTierOnly"], "q", "no_credit"),
    (429, ["TooManyRequests", "SetLimitExceeded"], "q", "no_credit"),
    (400, ["blocked_api_access"], "q", "no_credit"),
    (403, ["403"], "Request blocked by guardrail", "content_filter"),
    (400, ["API_KEY_INVALID"], "q", "authentication"),
    (400, ["UnrecognizedClientException"], "q", "authentication"),
    (403, ["ExpiredTokenException"], "The security token … expired", "authentication"),
    (400, ["ValidationException"], "Operation not allowed", "authentication"),
    (
        400,
        ["ValidationException"],
        "The provided model identifier is invalid.",
        "model_not_found",
    ),
    (
        400,
        ["ValidationException"],
        "Invocation of model ID amazon.nova-2-lite-v1:0 with on-demand throughput "
        "isn\u2019t supported. Retry your request with the ID or ARN of an inference "
        "profile that contains this model.",
        "model_not_found",
    ),
    (400, ["ServiceQuotaExceededException"], "q", "wait_too_long"),
    (400, ["ThrottlingException"], "Rate exceeded", "rate_limit"),
    (429, ["ModelNotReadyException"], "q", "overloaded"),
    (
        400,
        ["ValidationException"],
        "This request has been blocked by our content filters.",
        "content_filter",
    ),
    (
        400,
        [],
        "The model has crashed without additional information. (Exit code: null)",
        "server",
    ),
    (500, ["500"], "image input is not supported - hint: mmproj", "bad_request"),
    (500, ["500"], "Jinja Exception: System role not supported", "bad_request"),
    (
        422,
        [],
        "Template error: template error: System role not supported",
        "bad_request",
    ),
    (403, ["403", "rateLimitExceeded"], "Rate Limit Exceeded", "rate_limit"),
    (200, ["rate_limit_exceeded"], "Rate limit reached", "rate_limit"),
    (400, ["Throttling.RateQuota"], "q", "rate_limit"),
    (400, ["1302"], "您当前使用该API的并发数过高，请降低并发", "rate_limit"),  # noqa: RUF001
]
SHAPES = [
    {"error": True, "message": "Input is too long for requested model."},
    {"error": "Bad Request", "message": "Input is too long for requested model."},
    {"error": {"msg": "Input is too long for requested model."}},
    {"message": ["Input is too long for requested model."]},
    {"detail": {"error": "Input is too long for requested model."}},
    {"detail": "Input is too long for requested model."},
    [{"error": {"message": "Input is too long for requested model."}}],
    "Input is too long for requested model.",
]
NOT_THEIRS = [
    (
        429,
        ["insufficient_quota"],
        "Allocated quota exceeded, please increase your quota",
    ),
    (429, ["rate_limit_exceeded"], "Limit 6000 tokens per minute"),
    (429, ["token_quota_exceeded"], "Tokens per minute limit exceeded"),
    (429, ["1302"], "您当前使用该API的并发数过高，请降低并发"),  # noqa: RUF001
    (429, ["rate_limit_reached_error"], "max organization concurrency: 1"),
    (422, [], "body.messages.0: Value error"),
    (400, [], "The card was declined: insufficient balance, no credit left."),
    (400, ["invalid_request_error"], "temperature must be below 2"),
    (429, [], "Quota exceeded for metric: requests, limit: 0.5"),
    (429, [], "Number of input tokens has exceeded your per-minute rate limit."),
    (400, ["invalid_safety_setting"], "safety_settings[0].category: invalid"),
    (400, [], "max_tokens is too large: this model supports at most 4096 tokens"),
    (403, [], "Your account was flagged for violating our usage policies."),
    (400, [], "The input image exceeds 5 MB"),
    (400, [], "content must be a text; it was rejected"),
    (503, [], "Service temporarily unavailable"),
    (401, [], "Too many requests"),
    (400, [], "'try again later' is no tool"),
    (400, [], "Invalid message: 'RPD'"),
    (400, [], "Invalid message: 'aliyun'"),
]


@pytest.mark.parametrize(("status", "codes", "message", "kind"), EXAMPLES)
def test_a_vendors_words_have_their_kind_of_error(status, codes, message, kind):
    found = meaning(Failure(status, codes, message))
    assert found is not None
    assert found.kind == kind


def test_every_line_is_met_by_an_example():
    met = set()
    for status, codes, message, _ in EXAMPLES:
        failure = Failure(status, codes, message)
        met.update(at for at, line in enumerate(LINES) if words._fits(line, failure))
    own = {at for at, line in enumerate(LINES) if line.at}
    assert [LINES[at] for at in range(len(LINES)) if at not in met | own] == []


@pytest.mark.parametrize(("status", "codes", "message"), NOT_THEIRS)
def test_what_no_line_is_for_is_left_to_the_status(status, codes, message):
    assert meaning(Failure(status, codes, message)) is None


def test_a_code_alone_is_proof_at_its_vendor_only():
    failure = Failure(429, ["insufficient_quota"], "q", "api.openai.com")
    assert meaning(failure) is errors.NoCreditError
    assert meaning(failure._replace(host="dashscope.aliyuncs.com")) is None


def test_what_says_how_long_to_wait_is_no_lack_of_credit():
    failure = Failure(429, ["x"], OUT_OF_QUOTA, wait=22.0)
    assert meaning(failure) is None
    assert meaning(failure._replace(wait=None)) is errors.NoCreditError


# -- what stands in the row ------------------------------------------------------------

PROVIDER = openai.OpenAI(Endpoint("openai", "http://h/v1", "m", None))
SPEC = Spec("m", (), {"type": "object"}, 1, {"temperature": 0.5, "seed": 1}, None, {})


def answer(status, body, prompt=""):
    return HTTPResponse(status, {}, orjson.dumps(body), Request(SPEC, prompt))


@pytest.mark.parametrize(
    "text", [message for *_, message, kind in EXAMPLES if kind != "bad_request"]
)
def test_what_an_error_quotes_of_the_row_says_nothing(text):
    if len(text) < 12:
        pytest.skip("too short to be told from the vendor's own words")
    prompt = f"What is meant by: {text} And by whom?"
    for said in (text, f"cannot take '{text}'", f"bad value: {text}"):
        body = {"error": {"message": said, "type": "invalid_request_error"}}
        assert PROVIDER.error(answer(400, body, prompt)).kind == "bad_request"
    echo = {"detail": [{"loc": ["body"], "msg": "Value error", "input": prompt}]}
    assert PROVIDER.error(answer(422, echo)).kind == "bad_request"
    nameless = {"errors": [{"reason": "no", "input": prompt}]}
    assert PROVIDER.error(answer(400, nameless)).kind == "bad_request"


@pytest.mark.parametrize("body", SHAPES, ids=str)
def test_the_message_is_found_in_every_shape(body):
    error = PROVIDER.error(answer(400, body))
    assert error.kind == "context_length"
    assert "Input is too long" in str(error)


def test_what_a_gateway_passes_on_counts():
    raw = {"error": {"message": "Input is too long for requested model.", "type": "x"}}
    body = {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": orjson.dumps(raw).decode(), "provider_name": "Vendor"},
        }
    }
    error = PROVIDER.error(answer(400, body))
    assert error.kind == "context_length"
    assert "Input is too long" in str(error)
    body["error"]["metadata"]["raw"] = "the wires are down"
    assert "the wires are down" in str(PROVIDER.error(answer(502, body)))


@given(st.text(min_size=12, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_a_quotation_is_taken_out(quoted, before, after):
    left = without_quotes(f"ab {quoted} yz", f"{before}{quoted}{after}")
    plain = " ".join(quoted.split())
    assert len(plain) < 12 or plain not in left


@pytest.mark.parametrize("row", ["账户已欠费", "余额不足请充值", "敏感内容的提示语"])
def test_a_quotation_may_be_short_in_chinese(row):
    left = without_quotes(f"Invalid message: {row}", f"Translate: {row}")
    assert meaning(Failure(400, [], left)) is None


@given(st.text(max_size=80))
def test_a_message_that_quotes_nothing_stays(message):
    assert without_quotes(message, "") == words._plain(message)[:2000].strip()


# -- options ------------------------------------------------------------------------

NAMED = [
    "Unsupported parameter: 'temperature' is not supported with this model.",
    "`temperature` is deprecated for this model.",
    "temperature: Extra inputs are not permitted",
    "body.temperature: Extra inputs are not permitted",
    "Invalid JSON payload. Unknown name \"temperature\" at 'generation_config'",
    "Argument not supported on this model: temperature",
    "This model does not support temperature",
    "Unrecognized request argument supplied: temperature",
]
QUOTED = [
    "Invalid message: 'raise the temperature and keep the seed, json_schema is fine'",
    'bad content "it has a low temperature today"',
    "cannot parse: the weather has a low temperature today",
]


@pytest.mark.parametrize("message", NAMED)
def test_an_option_that_the_subject_names_is_left_out(message):
    error = PROVIDER.error(answer(400, {"error": {"message": message}}))
    lower = PROVIDER.downgrade(Capabilities(), error, Request(SPEC, ""))
    assert lower is not None
    assert "temperature" in lower.refused


@pytest.mark.parametrize("message", QUOTED)
def test_an_option_that_is_quoted_stays(message):
    error = PROVIDER.error(answer(400, {"error": {"message": message}}))
    assert PROVIDER.downgrade(Capabilities(), error, Request(SPEC, "")) is None

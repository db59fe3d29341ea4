"""Vendors' words: which code or sentence means what, a line each.

A line counts only in the vendor's own message, or as its whole code or type: an
answer may quote the row, and a row may say anything. What no line knows is decided by
the status alone. Sources: the vendors' references and client sources, and reports of
what they send (2026-11); Chinese texts as they are sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pandas_llm import errors

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    _Error = type[errors.ProviderError]

_ANY = range(1000)
_REQUEST = (200, *range(400, 500))
_REFUSED = (400, 403, 422, 446)
_MONEY = (200, 400, 402, 403, 412, 429)
_OF_A_DAY, _PACE = errors.RateLimitedTooLong, errors.RateLimitError
_NO_CREDIT, _FILTERED = errors.NoCreditError, errors.PromptFilteredError
_TOO_LONG, _BAD = errors.ContextLengthError, errors.BadRequestError
_KEY, _NO_MODEL = errors.AuthenticationError, errors.ModelNotFoundError
_SENTENCE = (
    r"^(?:.*Exception - )?You exceeded your current quota, please check your plan and "
    r"billing details\W*(?:$|for more information on this error, read the docs)"
)


class Line(NamedTuple):
    """One vendor's words for one thing; both are searched without regard to case."""

    means: _Error
    who: str
    code: str = ""
    """Matches the whole of a code, type or reason."""
    text: str = ""
    """Is found in the message; where there is a code too, both must be."""
    status: Container[int] = _ANY
    at: str = ""
    """The host that it counts at alone."""
    wait: bool = True
    """Whether it counts though the answer says how long to wait."""


class Failure(NamedTuple):
    """What an answer without success says."""

    status: int
    codes: Sequence[str]
    """Code, type, status word and reasons."""
    message: str
    """The vendor's own, without what the row itself holds."""
    host: str = ""
    wait: float | None = None


def _lines(
    means: _Error,
    codes: Mapping[str, str],
    words: Mapping[str, str],
    status: Container[int] = _ANY,
) -> list[Line]:
    """Return a line for each vendor's codes and sentences, all of one meaning."""
    return [
        *(Line(means, who, code, "", status) for who, code in codes.items()),
        *(Line(means, who, "", text, status) for who, text in words.items()),
    ]


_NO_CREDIT_CODES = {
    "Volcengine": "AccountOverdueError",
    "Moonshot": "exceeded_current_quota_error",
    "DashScope": "Arrearage",
    "Anthropic": "(enforced|contract)_spend_limit_reached|organization_on_hold"
    "|billing_error",
    "LiteLLM": "budget_exceeded",
    "DashScope, Volcengine, Groq: paused by the owner": "AllocationQuota.FreeTierOnly"
    "|SetLimitExceeded|blocked_api_access",
}
_NO_CREDIT_WORDS = {
    "OpenAI": "billing hard limit has been reached",
    "xAI": "used all available credits or reached its monthly spending limit"
    "|team doesn.t have any credits",
    "Zhipu, SiliconFlow": "已欠费|余额不足|^your account is in arrears",
    "Moonshot": r"account .*is (suspended|not active)\b.*(billing|balance)",
    "DashScope": "make sure your account is in good standing",
    "MiniMax": r"^insufficient balance \(1008\)",
    "Anthropic": r"credit balance is too low|reached your specified [\w ]*usage limits",
    "Google": "prepay(ment)? credits are depleted",
    "Together": "reached your account.s spending limit|^credit limit exceeded",
    "Mistral": "run out of credits",
    "Fireworks": "account .*suspended, possibly due to .*spending",
    "LiteLLM": "budget has been exceeded! current cost",
}
_REFUSED_FOR_MONEY = {
    "DeepSeek, SiliconFlow": r"^\W*insufficient (account )?balance\W*$"
    "|account balance is insufficient",
    "OpenRouter": r"^insufficient credits\b",
}
_FILTERED_CODES = {
    "OpenAI, Azure, Moonshot": r"content_filter|(\w+_)?content_policy(_violation)?"
    "|moderation_blocked|ResponsibleAIPolicyViolation"
    "|(bio|cyber|misalignment)_policy(_violation)?",
    "DashScope": r"data_?inspection(_?failed)?",
    "Zhipu": "1301",
    "Volcengine": r"\w*(SensitiveContentDetected|RiskDetection)(\.\w+)?",
    "New API": "sensitive_words_detected|prompt_blocked",
}
_FILTERED_WORDS = {
    "OpenAI": "rejected (as a result of|by) our safety system",
    "Azure": "content management policy|ResponsibleAI",
    "LiteLLM": "ContentPolicyViolationError|GuardrailRaised",
    "DashScope": "may contain inappropriate content|DataInspection",
    "Zhipu": "不安全或敏感内容|敏感内容的提示语|potentially unsafe or sensitive",
}
_REFUSED_AS_FILTERED = {
    "OpenAI": "flagged as potentially violating",
    "Anthropic": "blocked by (the )?content filter",
    "OpenRouter": r"requires moderation\b|input was flagged|flagged by moderation",
    "LiteLLM": r"violated \w+ (guardrail )?policy|blocked by (a )?guardrail",
    "Moonshot": "considered high risk",
    "DeepSeek": "^content exists risk",
    "xAI": "content violates usage guidelines",
    "Gemini": r"PROHIBITED_CONTENT|(prompt|request|content) (was|is) blocked\b.*"
    r"(safety|prohibited|policy|blocklist)",
}
_TOO_LONG_CODES = {
    "OpenAI, llama.cpp, many": "context_(length|window)_exceeded"
    "|exceed_context_size(_error)?|string_above_max_length|ContextWindowExceededError",
    "Zhipu": "1261",
}
_TOO_LONG_WORDS = {"Zhipu": "prompt ?(超长|过长)|输入.{0,6}(超长|过长|超过)"}
_REFUSED_AS_TOO_LONG = {
    "OpenAI, vLLM, SGLang, Ollama, Together, llama.cpp": "maximum context length"
    "|context (window|size|length|limit)|maximum model length"
    "|reduce the length of the (messages|prompt)",
    "Anthropic": "prompt is too long",
    "Bedrock": "input is too long for requested model|too many input tokens"
    "|input tokens exceeded",
    "TGI": r".?inputs.? tokens \+ .?max_new_tokens.? must be"
    r"|.?inputs.? must have less than \d+ tokens",
    "Cohere": "too many tokens: |total number of tokens .*(exceed|cannot)",
    "Mistral": r"prompt contains \d+ tokens|too large for model with \d+ maximum",
    "SGLang": r"(input|prompt|request)\b.* (is )?longer than the (model|maximum)"
    r"|input (length )?\(\d+ tokens\) .*exceed",
    "DashScope": "range of input length should be",
    "LM Studio": "tokens to keep from the initial prompt|trying to keep the first ",
    "Google": "input token count",
    "Moonshot": "exceeded model token limit",
    "xAI": "maximum prompt length is",
    "SiliconFlow": "must be less than max_seq_len",
    "LiteLLM": "ContextWindowExceededError",
}
# what gateways say in words of their own
_FILTER = (
    r"(\w+_)?(moderation|guardrail|safety|policy|(sensitive_)?content)"
    r"_(error|violation|failed|block(ed)?|rejected|flagged)|sensitive_(content|words?)"
)
_FILTER_WORDS = (
    r"^(?!your (account|organi[sz]ation|project|api key|ip)\b).*"
    r"\b(violat\w*|blocked|rejected|flagged|prohibited)\b.{0,50}\b(safety|moderation"
    r"|guardrails?|(content|usage|use) (polic|filter|guideline|rule|moderation))"
    "|违规内容|敏感(信息|词|内容)|内容(审核|安全)|违反.{0,12}(政策|规定|规范|法规)"
)
_LONG_WORDS = (
    r"\b(prompt|input|context|token count)s?"
    r"( (is|are|has|tokens?|length|text|count|size|of|\(?[\d,]+\)?))*"
    r" (too long|exceed(s|ed)?|longer than)\b"
    "|(上下文|输入|token).{0,16}(超过|超出|超长)"
)
_QUOTA = "额度(不足|已用尽|失败)|quota (is not enough|has been exhausted)"
_TOO_FAST = r"^\W*(too many requests|rate limit (exceeded|reached))|请求(过于频繁|频率)"
_LATER = (
    r"\b(try|retry)( again)? later\W*$|稍后(再试|重试)|^upstream (connect|request)\b"
    r"|^(the )?(server|service|model)( \S+)? is (currently |too )?(busy|overloaded)\b"
)
_A_DAY = r"(tokens|requests) per day|\b[TR]PD\b.{0,9}limit"
_SPENT = (
    r"credit_balance_exhausted|billing_(not_active|hard_limit_reached)"
    r"|(organization|project)_(spend|usage)_limit_exceeded|usage_limit_exceeded"
)
_LARGER = "(exceeds?|larger than) the (available )?context size"
_NO_KEY = (
    "(AccessDenied|UnrecognizedClient|ExpiredToken|RequestExpired"
    "|(Incomplete|Invalid)Signature|MissingAuthenticationToken"
    "|InvalidClientTokenId|NotAuthorized)(Exception)?"
)
_WRONG_KEY = (
    "api key (not valid|expired)|incorrect api key|organization has been disabled"
    "|user location is not supported|free tier is not available in your country"
)
_NO_MODEL_CODES = (
    "(invalid_model|model_(not_found|not_available|not_supported|decommissioned"
    "|terms_required))"
)
_NO_CHANNEL = "no available channel for model|无可用渠道"
_NO_SUCH_MODEL = (
    "^model (does )?not exist\\b|is not a valid model id\\b|invalid model name passed"
)
_NOT_THERE = "model identifier is invalid|on-demand throughput isn.t supported"
_CRASHED = "(model|process|engine) has crashed|model (was )?unloaded"
_FAILED = "^request failed during generation|CUDA (error|out of memory)"
_ROLES = (
    "system (role|message|prompt|instruction)s? (is |are )?not supported"
    "|conversation roles must alternate"
)
LINES = (
    # -- the quota of a day: waiting takes too long ---------------------------------
    Line(_OF_A_DAY, "Google", r"\w*PerDay[\w-]*", status=(429,)),
    Line(_OF_A_DAY, "Zhipu", "1304", status=(429,)),
    Line(_OF_A_DAY, "Bedrock, Cerebras, Moonshot", "", _A_DAY, (400, 429), wait=False),
    Line(_OF_A_DAY, "Bedrock", "ServiceQuotaExceededException"),
    Line(errors.OverloadedError, "Bedrock, loading it", "ModelNotReadyException"),
    # -- no credit, or only no room or too fast --------------------------------------
    Line(_NO_CREDIT, "OpenAI", _SPENT),
    Line(_NO_CREDIT, "OpenAI itself", "insufficient_quota", at="api.openai.com"),
    Line(errors.NoRoomError, "OpenAI, flex", "resource_unavailable", status=(429,)),
    Line(_PACE, "Bedrock's", "ThrottlingException|TooManyRequestsException"),
    Line(_PACE, "Alibaba's", text="aliyun|alibabacloud", status=(429,)),
    Line(
        _PACE,
        "many, though the status does not say so",
        r"(user_?)?rate_?limit(_?(exceeded|error))?|Throttling(\.\w+)?",
        status=(200, 400, 403),
    ),
    Line(_PACE, "Zhipu", "1302|1303|1305", status=(200, 400)),
    Line(_PACE, "Google's", "RESOURCE_EXHAUSTED", _SENTENCE),
    Line(_NO_CREDIT, "OpenAI's sentence", text=_SENTENCE, status=_MONEY, wait=False),
    Line(_NO_CREDIT, "Zhipu", "1113", status=(*_MONEY, 200, 401)),
    Line(_OF_A_DAY, "MiniMax, five hours", "2056", "usage limit"),
    *_lines(_NO_CREDIT, _NO_CREDIT_CODES, _NO_CREDIT_WORDS),
    *_lines(_NO_CREDIT, {}, _REFUSED_FOR_MONEY, _MONEY),
    Line(_NO_CREDIT, "many", "insufficient_(balance|credits?)", status=_MONEY),
    Line(
        _NO_CREDIT,
        "New API",
        r"(insufficient_user|pre_consume_token)_quota\w*",
        status=_MONEY,
    ),
    Line(_NO_CREDIT, "New API", text=_QUOTA, status=(401, 402, 403)),
    Line(_NO_CREDIT, "Google, not free", text=r"\blimit: 0(?!\.?\d)", status=(429,)),
    Line(_NO_CREDIT, "Google", "quota_exceeded", status=(429,), wait=False),
    Line(_NO_CREDIT, "Cerebras", "payment_required", status=(402,), wait=False),
    # -- held back -------------------------------------------------------------------
    *_lines(_FILTERED, _FILTERED_CODES, _FILTERED_WORDS),
    Line(_FILTERED, "OpenAI", "invalid_prompt", "safety|policy|policies"),
    *_lines(_FILTERED, {}, _REFUSED_AS_FILTERED, _REQUEST),
    Line(_FILTERED, "Bedrock", text="blocked by our content filters", status=(400,)),
    Line(_FILTERED, "gateways", _FILTER, status=_REFUSED),
    Line(_FILTERED, "gateways", text=_FILTER_WORDS, status=_REFUSED),
    # -- too long --------------------------------------------------------------------
    Line(_BAD, "Groq, by the minute", text="^request too large for"),
    Line(_BAD, "Anthropic, 32 MB", "request_too_large"),
    *_lines(_TOO_LONG, _TOO_LONG_CODES, _TOO_LONG_WORDS),
    *_lines(_TOO_LONG, {}, _REFUSED_AS_TOO_LONG, _REQUEST),
    Line(_TOO_LONG, "llama.cpp before", text=_LARGER, status=(500,)),
    Line(_TOO_LONG, "gateways", "(input|prompt|context)_too_(long|large)"),
    Line(_TOO_LONG, "gateways", text=_LONG_WORDS, status=(400, 422)),
    # -- the key ---------------------------------------------------------------------
    Line(_KEY, "Google", "API_KEY_INVALID", status=(400,)),
    Line(_KEY, "Google, xAI, Anthropic", text=_WRONG_KEY, status=(200, 400)),
    Line(_KEY, "Groq, LiteLLM", "organization_restricted|expired_key", status=(400,)),
    Line(_KEY, "Bedrock", _NO_KEY),
    Line(_KEY, "Bedrock", "ValidationException", "^operation not allowed"),
    # -- no such model, with 400; no such path, with 200 -----------------------------
    Line(_NO_MODEL, "Groq, Mistral, New API", _NO_MODEL_CODES, status=(400, 422, 503)),
    Line(_NO_MODEL, "New API, One API", text=_NO_CHANNEL, status=(503,)),
    Line(_NO_MODEL, "DeepSeek, OpenRouter, LiteLLM", "", _NO_SUCH_MODEL, (400,)),
    Line(_NO_MODEL, "Bedrock", "ValidationException", _NOT_THERE),
    Line(_NO_MODEL, "LM Studio", text="^unexpected endpoint or method", status=(200,)),
    # -- what passes, below 500 ------------------------------------------------------
    Line(errors.ServerError, "LM Studio", text=_CRASHED, status=_REQUEST),
    Line(errors.ServerError, "TGI", text=_FAILED, status=(400, 422)),
    # -- what the model or its template does not know, at any status -----------------
    Line(_BAD, "llama.cpp", text="image input is not supported"),
    Line(_BAD, "llama.cpp, vLLM, TGI", text=_ROLES, status=range(400, 501)),
    # -- what passes, whatever the status --------------------------------------------
    Line(_PACE, "gateways", text=_TOO_FAST, status=_REFUSED),
    Line(errors.OverloadedError, "gateways", text=_LATER, status=_REFUSED),
)


def meaning(failure: Failure) -> type[errors.ProviderError] | None:
    """Return what the vendor's words say; None when only the status can tell."""
    return next((line.means for line in LINES if _fits(line, failure)), None)


def _fits(line: Line, failure: Failure) -> bool:
    if failure.status not in line.status or not (line.wait or failure.wait is None):
        return False
    if line.at and line.at != failure.host:
        return False
    if line.code and not any(
        re.fullmatch(line.code, code, re.IGNORECASE) for code in failure.codes
    ):
        return False
    return re.search(line.text, failure.message, re.IGNORECASE) is not None


_LEAST = 12
"""Letters that a message and a row must have in common to be a quotation; of Chinese
and its neighbours a third."""
_LONGEST = 2000
"""Letters of a message that are looked at."""


def without_quotes(message: str, asked: str) -> str:
    """Return a message without what stands in the row's own text.

    >>> without_quotes("Invalid message: 'raise the temperature!'",
    ...                "Please raise the  temperature!")
    "Invalid message: ' '"
    """
    text = _plain(message)[:_LONGEST]
    own = _plain(asked).lower()
    lower = text.lower()
    if len(lower) != len(text):  # a letter whose small form is longer
        text = lower
    parts: list[str] = []
    at = 0
    while at < len(text):
        end = at + (_LEAST if lower[at] < "\u2e80" else _LEAST // 3)
        if end <= len(text) and lower[at:end] in own:
            while end < len(text) and lower[at : end + 1] in own:
                end += 1
            parts.append(" ")
            at = end
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts).strip()


def _plain(text: str) -> str:
    """Make blanks and escapes alike, as a quotation may write them otherwise."""
    text = re.sub(r"\\[nrt]", " ", text).replace('\\"', '"').replace("\\'", "'")
    return " ".join(text.split())

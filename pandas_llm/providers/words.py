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
    from collections.abc import Container, Sequence

_ANY = range(1000)
_REQUEST = range(400, 500)
_MONEY = (400, 402, 403, 412, 429)
_NO_CREDIT, _FILTERED = errors.NoCreditError, errors.PromptFilteredError
_TOO_LONG, _PASSING = errors.ContextLengthError, errors.ServerError
_SENTENCE = (
    r"^(?:.*Exception - )?You exceeded your current quota, please check your plan and "
    r"billing details\W*(?:$|for more information on this error, read the docs)"
)


class Line(NamedTuple):
    """One vendor's words for one thing; both are searched without regard to case."""

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
    means: type[errors.ProviderError] = errors.ProviderError


class Failure(NamedTuple):
    """What an answer without success says."""

    status: int
    codes: Sequence[str]
    """Code, type, status word and reasons."""
    message: str
    """The vendor's own, without what the row itself holds."""
    host: str = ""
    wait: float | None = None


def _each_means(kind: type[errors.ProviderError], *lines: Line) -> tuple[Line, ...]:
    """Return lines that all mean one error."""
    return tuple(line._replace(means=kind) for line in lines)


LINES = (
    # -- the quota of a day: waiting takes too long ---------------------------------
    *_each_means(
        errors.RateLimitedTooLong,
        Line("Google", r"\w*PerDay[\w-]*", status=(429,)),
        Line(
            "Bedrock, Cerebras, Moonshot",
            text=r"(tokens|requests) per day|\b[TR]PD\b",
            status=(400, 429),
            wait=False,
        ),
        Line("Zhipu", "1304", status=(429,)),
        Line("Bedrock", "ServiceQuotaExceededException"),
    ),
    *_each_means(
        errors.OverloadedError, Line("Bedrock, loading it", "ModelNotReadyException")
    ),
    # -- no credit -------------------------------------------------------------------
    *_each_means(
        _NO_CREDIT,
        Line(
            "OpenAI",
            r"credit_balance_exhausted|billing_(not_active|hard_limit_reached)"
            r"|(organization|project)_(spend|usage)_limit_exceeded|usage_limit_exceeded",
        ),
        Line("OpenAI itself", "insufficient_quota", at="api.openai.com"),
    ),
    *_each_means(
        errors.NoRoomError, Line("OpenAI, flex", "resource_unavailable", status=(429,))
    ),
    *_each_means(
        errors.RateLimitError,
        Line("Bedrock's pace", "ThrottlingException|TooManyRequestsException"),
        Line("Alibaba's pace", text="aliyun|alibabacloud"),
        Line("Google's pace", "RESOURCE_EXHAUSTED", _SENTENCE),
    ),
    *_each_means(
        _NO_CREDIT,
        Line("OpenAI's sentence", text=_SENTENCE, status=_MONEY, wait=False),
        Line("OpenAI", text="billing hard limit has been reached"),
        Line(
            "xAI",
            text="used all available credits or reached its monthly spending limit"
            r"|team doesn.t have any credits",
        ),
        Line("Zhipu", "1113", status=(*_MONEY, 200, 401)),
        Line(
            "Zhipu",
            text="账户已欠费|余额不足.{0,12}请?充值|^your account is in arrears",
        ),
        Line("Volcengine", "AccountOverdueError"),
        Line("Moonshot", "exceeded_current_quota_error"),
        Line(
            "Moonshot", text=r"account .*is (suspended|not active)\b.*(billing|balance)"
        ),
        Line("DashScope", "Arrearage"),
        Line("DashScope", text="make sure your account is in good standing"),
        Line(
            "DeepSeek, SiliconFlow",
            text=r"^\W*insufficient (account )?balance\W*$"
            "|account balance is insufficient",
            status=_MONEY,
        ),
        Line("MiniMax", text=r"^insufficient balance \(1008\)"),
    ),
    *_each_means(
        errors.RateLimitedTooLong, Line("MiniMax, five hours", "2056", "usage limit")
    ),
    *_each_means(
        _NO_CREDIT,
        Line("many", "insufficient_(balance|credits?)", status=_MONEY),
        Line("New API", "insufficient_user_quota", status=_MONEY),
        Line(
            "Anthropic",
            "(enforced|contract)_spend_limit_reached|organization_on_hold|billing_error",
        ),
        Line(
            "Anthropic",
            text=r"credit balance is too low|reached your specified [\w ]*usage limits",
        ),
        Line("Google", text="prepay(ment)? credits are depleted"),
        Line("Google, no free quota", text=r"\blimit: 0(?!\.?\d)", status=(429,)),
        Line("Google", "quota_exceeded", status=(429,), wait=False),
        Line("OpenRouter", text=r"^insufficient credits\b", status=_MONEY),
        Line("Together", text="reached your account.s spending limit"),
        Line("Together", "credit_limit", status=_MONEY),
        Line("Mistral", text="run out of credits", status=_MONEY),
        Line("Fireworks", text="account .*suspended, possibly due to .*spending"),
        Line("LiteLLM", "budget_exceeded"),
        Line("LiteLLM", text="budget has been exceeded! current cost"),
        Line("Cerebras", "payment_required", status=(402,), wait=False),
    ),
    # -- held back -------------------------------------------------------------------
    *_each_means(
        _FILTERED,
        Line(
            "OpenAI, Azure, Moonshot",
            "content_filter|content_policy(_violation)?|moderation_blocked"
            "|ResponsibleAIPolicyViolation|(bio|cyber|misalignment)_policy(_violation)?",
        ),
        Line("DashScope", r"data_?inspection(_?failed)?"),
        Line("Zhipu", "1301"),
        Line("Volcengine", r"\w*(SensitiveContentDetected|RiskDetection)(\.\w+)?"),
        Line("New API", "sensitive_words_detected|prompt_blocked"),
        Line("OpenAI", "invalid_prompt", "safety|policy|policies"),
        Line("OpenAI", text="flagged as potentially violating", status=_REQUEST),
        Line("OpenAI", text="rejected (as a result of|by) our safety system"),
        Line("Azure", text="content management policy|ResponsibleAI"),
        Line("Bedrock", text="blocked by our content filters", status=(400,)),
        Line("Anthropic", text="blocked by (the )?content filter", status=_REQUEST),
        Line(
            "OpenRouter",
            text=r"requires moderation\b|input was flagged|flagged by moderation",
            status=_REQUEST,
        ),
        Line("LiteLLM", text="ContentPolicyViolationError|GuardrailRaised"),
        Line("LiteLLM", text=r"violated \w+ (guardrail )?policy", status=_REQUEST),
        Line("DashScope", text="may contain inappropriate content|DataInspection"),
        Line(
            "Zhipu",
            text="不安全或敏感内容|敏感内容的提示语|potentially unsafe or sensitive",
        ),
        Line("Moonshot", text="considered high risk", status=_REQUEST),
        Line("DeepSeek", text="^content exists risk", status=_REQUEST),
        Line("xAI", text="content violates usage guidelines", status=_REQUEST),
        Line(
            "Gemini",
            text=r"PROHIBITED_CONTENT|(prompt|request|content) (was|is) blocked\b.*"
            r"(safety|prohibited|policy|blocklist)",
            status=_REQUEST,
        ),
    ),
    # -- too long --------------------------------------------------------------------
    *_each_means(
        errors.BadRequestError,
        Line("Groq, by the minute", text="^request too large for"),
        Line("Anthropic, 32 MB", "request_too_large"),
    ),
    *_each_means(
        _TOO_LONG,
        Line(
            "OpenAI, llama.cpp, many",
            "context_(length|window)_exceeded|exceed_context_size(_error)?"
            "|string_above_max_length|ContextWindowExceededError",
        ),
        Line(
            "OpenAI, vLLM, SGLang, Ollama, Together, llama.cpp",
            text="maximum context length|context (window|size|length|limit)"
            "|ContextWindowExceededError|must be less than max_seq_len"
            "|maximum model length|reduce the length of the (messages|prompt)",
            status=_REQUEST,
        ),
        Line(
            "llama.cpp before",
            text="(exceeds?|larger than) the (available )?context size",
            status=(500,),
        ),
        Line("Anthropic", text="prompt is too long", status=_REQUEST),
        Line(
            "Bedrock",
            text="input is too long for requested model|too many input tokens"
            "|input tokens exceeded",
            status=_REQUEST,
        ),
        Line(
            "TGI",
            text=r".?inputs.? tokens \+ .?max_new_tokens.? must be"
            r"|.?inputs.? must have less than \d+ tokens",
            status=_REQUEST,
        ),
        Line(
            "Cohere",
            text="too many tokens: |total number of tokens .*(exceed|cannot)",
            status=_REQUEST,
        ),
        Line(
            "Mistral",
            text=r"prompt contains \d+ tokens|too large for model with \d+ maximum",
            status=_REQUEST,
        ),
        Line(
            "SGLang",
            text=r"(input|prompt|request)\b.* (is )?longer than the (model|maximum)"
            r"|input (length )?\(\d+ tokens\) .*exceed",
            status=_REQUEST,
        ),
        Line("DashScope", text="range of input length should be", status=_REQUEST),
        Line(
            "LM Studio",
            text="tokens to keep from the initial prompt|trying to keep the first ",
            status=_REQUEST,
        ),
        Line("Google", text="input token count", status=_REQUEST),
        Line("Zhipu", "1261"),
        Line("Zhipu", text="prompt ?(超长|过长)|输入.{0,6}(超长|过长|超过)"),
        Line("Moonshot", text="exceeded model token limit", status=_REQUEST),
        Line("xAI", text="maximum prompt length is", status=_REQUEST),
    ),
    # -- the key ---------------------------------------------------------------------
    *_each_means(
        errors.AuthenticationError,
        Line(
            "Google, xAI",
            text="api key (not valid|expired)|incorrect api key",
            status=(400,),
        ),
        Line("Google", "API_KEY_INVALID", status=(400,)),
        Line(
            "Bedrock",
            "(AccessDenied|UnrecognizedClient|ExpiredToken|RequestExpired"
            "|(Incomplete|Invalid)Signature|MissingAuthenticationToken"
            "|InvalidClientTokenId|NotAuthorized)(Exception)?",
        ),
        Line("Bedrock", "ValidationException", "^operation not allowed"),
    ),
    # -- no such path, with status 200; no such model, with 400 ----------------------
    *_each_means(
        errors.ModelNotFoundError,
        Line(
            "Bedrock",
            "ValidationException",
            "model identifier is invalid|on-demand throughput isn.t supported",
        ),
        Line("LM Studio", text="^unexpected endpoint or method", status=(200,)),
    ),
    # -- what passes, below 500 ------------------------------------------------------
    *_each_means(
        _PASSING,
        Line(
            "LM Studio",
            text="(model|process|engine) has crashed|model (was )?unloaded",
            status=_REQUEST,
        ),
    ),
    # -- what the model or its template does not know, at any status -------------
    *_each_means(
        errors.BadRequestError,
        Line("llama.cpp", text="image input is not supported"),
        Line(
            "llama.cpp, vLLM, TGI",
            text=r"system (role|message|prompt|instruction)s? (is |are )?not supported"
            "|conversation roles must alternate",
            status=range(400, 501),
        ),
    ),
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
"""Letters that a message and a row must have in common to be a quotation."""
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
        end = at + _LEAST
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

"""Why a choice ended, from the reason that any vendor names.

A known good word, or none, ends a whole answer; every other word marks or fails its
row. A word in no list is judged by its parts, or else its text is kept and marked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

Ending = Literal["stop", "tool_calls", "length", "content_filter", "error", "unknown"]

_WORDS: Mapping[Ending, str] = {
    # in the order in which they count, where a reason holds several of them
    "content_filter": """content_filter content_filtered content_policy moderation
        guardrail_intervened guardrail refusal flagged censored sensitive error_toxic
        safety image_safety blocklist prohibited_content image_prohibited_content spii
        language recitation image_recitation model_armor blacklist""",
    "error": """error failed abort aborted cancelled canceled
        insufficient_system_resource network_error internal_error server_error timeout
        time_limit interrupted user_cancel not_finished model_unloaded
        malformed_response malformed_model_output malformed_tool_use
        malformed_function_call unexpected_tool_call""",
    "length": """length max_length model_length context_length error_limit max_tokens
        max_output_tokens max_new_tokens token_limit model_context_window_exceeded
        context_length_exceeded max_predicted_tokens_reached context_length_reached""",
    "tool_calls": "tool_calls tool_call tool_use function_call",
    "stop": """stop stop_sequence stop_str stop_token end_turn eos eos_token
        end_of_text end_of_turn end complete completed finished done endoftext
        eos_found stop_string_found stop_criteria_met""",
}
_KNOWN = {kind: frozenset(words.split()) for kind, words in _WORDS.items()}
_PARTS: Mapping[Ending, re.Pattern[str]] = {  # for words in no list, in this order
    "content_filter": re.compile(
        r"filter|policy|safety|unsafe|moderat|guardrail|prohibit|censor|sensitiv|toxic"
        r"|harm|copyright|recitation|inspection|blocked|refus|violat"
    ),
    "error": re.compile(
        r"cancel|abort|fail|error|time_?d?_?out|interrupt|crash|kill|disconnect"
        r"|unavailable|overload|exception|malformed|broken|preempt|evict|shutdown"
        r"|died|lost|(^|_)oom(_|$)"
    ),
    "length": re.compile(
        r"(^|_)(length|tokens?|context|budget|truncated?|cut_?off)(_|$)"
    ),
}
_NO_REASON = ("", "none", "null")  # as earlier versions kept a reason that was missing
_BETWEEN = re.compile(r"[:.,;/|()]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def ending(reason: Any) -> Ending:
    """Return how a choice ended; a missing reason means a good end.

    Examples
    --------
    >>> ending("end_turn"), ending("MAX_TOKENS"), ending("content_filter: RECITATION")
    ('stop', 'length', 'content_filter')
    >>> ending(None), ending("pause_turn"), ending("gpu_crashed"), ending("ip_policy")
    ('stop', 'unknown', 'error', 'content_filter')
    """
    if reason == "stop" or reason is None:  # nearly always
        return "stop"
    if isinstance(reason, Mapping):  # SGLang's own form
        reason = reason.get("type")
    text = str(reason).strip()
    if text.lower() in _NO_REASON:
        return "stop"
    phrase = _HUMP.sub("_", text).lower().removeprefix("finish_reason_")
    words = {re.sub(r"[\s-]+", "_", part.strip()) for part in _BETWEEN.split(phrase)}
    for kind, known in _KNOWN.items():
        if words & known:
            return kind
    for kind, pattern in _PARTS.items():
        if any(map(pattern.search, words)):
            return kind
    return "unknown"

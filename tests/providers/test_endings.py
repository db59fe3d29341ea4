"""Why a choice ended decides what it is worth, in every dialect, over real HTTP."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, get_args

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_server import Server
from vendor_replies import at, said

from pandas_llm import LLMWarning
from pandas_llm._replies import Completion, Ending, ending
from pandas_llm.cache import open_cache
from pandas_llm.errors import OutputError
from pandas_llm.types import Choice, Reply

ROW = pd.DataFrame({"text": ["Rain."]})
GOOD = {
    "openai": ["stop", None, "eos", "eos_token", "end_turn", "STOP", "tool_calls"],
    "openai-responses": ["completed", None],
    "anthropic": ["end_turn", "stop_sequence", None],
    "google": ["STOP", None],
    "bedrock": ["end_turn", "stop_sequence", None],
}
CUT = {
    "openai": [
        "length",
        "model_length",
        "max_tokens",
        "MAX_TOKENS",
        "maxTokens",
        *("context_cutoff", "output_token_cap", "thinking_budget_spent", "truncated"),
    ],
    "openai-responses": ["max_output_tokens"],
    "anthropic": ["max_tokens", "model_context_window_exceeded"],
    "google": ["MAX_TOKENS"],
    "bedrock": ["max_tokens", "model_context_window_exceeded"],
}
UNKNOWN = {
    "openai": ["pause_turn", "repetition", "OTHER", "a_new_word", 7],
    "openai-responses": ["max_messages", "steered", "in_progress"],
    "anthropic": ["pause_turn", "a_new_word"],
    "google": ["OTHER", "FINISH_REASON_UNSPECIFIED", "A_NEW_WORD"],
    "bedrock": ["a_new_word"],
}
FILTERED = {
    "openai": [
        *("content_filter", "content_filter: RECITATION", "safety", "sensitive"),
        *("guardrail_intervened", "content_filtered", "PROHIBITED_CONTENT"),
        *("content_policy_violation", "SAFETY_BLOCK", "data_inspection_failed"),
    ],
    "openai-responses": ["content_filter"],
    "anthropic": ["content_filter", "guardrail_intervened"],
    "google": ["SAFETY", "RECITATION", "BLOCKLIST", "SPII", "LANGUAGE", "MODEL_ARMOR"],
    "bedrock": ["guardrail_intervened", "content_filtered"],
}
BROKEN = {
    "openai": [
        *("abort", "error", "insufficient_system_resource", "network_error"),
        *("cancelled", {"type": "abort"}, "cancel", "time_out", "worker_crashed"),
        *("CANCELLED_BY_CLIENT", "EngineFailure", "request timed out"),
    ],
    "openai-responses": ["cancelled", "failed"],
    "anthropic": ["error", "abort"],
    "google": ["ERROR", "MALFORMED_RESPONSE"],
    "bedrock": ["malformed_model_output", "malformed_tool_use"],
}


def each(reasons: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(dialect, reason, id=f"{dialect}-{reason}")
        for dialect, listed in reasons.items()
        for reason in listed
    ]


def ended(provider: str, text: str, reason: Any) -> dict[str, Any]:
    """Return an answer that ends for a reason, in a vendor's words."""
    answer = said(provider, text)
    if provider == "openai-responses":
        inside = reason not in ("completed", "cancelled", "failed", "in_progress", None)
        answer["status"] = "incomplete" if inside else reason
        answer["incomplete_details"] = {"reason": reason} if inside else None
    elif provider == "anthropic":
        answer["stop_reason"] = reason
    elif provider == "google":
        answer["candidates"][0]["finishReason"] = reason
    elif provider == "bedrock":
        answer["stopReason"] = reason
    else:
        answer["choices"][0]["finish_reason"] = reason
    return answer


@pytest.mark.parametrize(("provider", "reason"), each(GOOD))
def test_a_good_end_is_an_answer(provider, reason):
    with Server(lambda body: ended(provider, "Yes.", reason)) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert out["why"].isna().all()
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("provider", "reason"), each(CUT))
def test_an_answer_cut_off_is_kept_and_marked(provider, reason):
    with (
        Server(lambda body: ended(provider, "half an ans", reason)) as server,
        pytest.warns(LLMWarning, match="truncated"),
    ):
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["half an ans"]
    assert out["why"][0].startswith("truncated: the reply was cut off")
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("provider", "reason"), each(UNKNOWN))
def test_a_text_that_ends_for_a_reason_nobody_knows_is_kept_and_marked(
    provider, reason
):
    with (
        Server(lambda body: ended(provider, "Yes, bu", reason)) as server,
        pytest.warns(LLMWarning, match="truncated"),
    ):
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes, bu"]
    assert out["why"][0].startswith("truncated: the reply may not be whole: it ended")
    assert str(reason) in out["why"][0]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("provider", "reason"), [*each(UNKNOWN), *each(CUT)])
def test_json_that_ends_is_whole_whatever_the_reason_says(provider, reason):
    text = '{"records": [{"fact": "x"}]}'
    with Server(lambda body: ended(provider, text, reason)) as server:
        out = ROW.llm.generate("${text}", ["fact"], **at(server, provider))
    assert out["fact"].tolist() == ["x"]
    assert out["why"].isna().all()


@pytest.mark.parametrize(("provider", "reason"), each(UNKNOWN))
def test_no_text_and_a_reason_nobody_knows_is_asked_again(provider, reason):
    answers = [ended(provider, "", reason), said(provider, "Yes.")]
    with Server(lambda body: answers[len(server.bodies) > 1]) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert out["why"].isna().all()
    assert len(server.bodies) == 2


@pytest.mark.parametrize(("provider", "reason"), each(FILTERED))
def test_an_answer_held_back_fails_its_row_at_once(provider, reason):
    with (
        Server(lambda body: ended(provider, "half an ans", reason)) as server,
        pytest.warns(LLMWarning, match="content_filter"),
    ):
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].isna().all()
    assert out["why"][0].startswith("content_filter: ")
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("provider", "reason"), each(BROKEN))
def test_an_answer_broken_off_is_asked_again(provider, reason):
    answers = [ended(provider, "half an ans", reason), said(provider, "Yes.")]
    with Server(lambda body: answers[len(server.bodies) > 1]) as server:
        out = ROW.llm.complete("${text}", **at(server, provider))
    assert out["completion"].tolist() == ["Yes."]
    assert out["why"].isna().all()
    assert len(server.bodies) == 2


def test_what_breaks_off_again_and_again_fails_as_the_servers():
    def answer(body):
        text = body["messages"][-1]["content"]
        return ended("openai", "half an ans", "abort" if "3" in text else "stop")

    rows = pd.DataFrame({"text": list("12345")})
    with Server(answer) as server, pytest.warns(LLMWarning, match="1 server"):
        out = rows.llm.complete("${text}", **at(server, max_retries=1))
    assert len(server.bodies) == 4 + 2
    assert out["completion"].isna().tolist() == [False, False, True, False, False]
    assert out["why"][2].startswith("server: the server broke the answer off (abort)")


def test_one_choice_broken_off_takes_no_other_with_it():
    def answer(body):
        first = ended("openai", f"answer {len(server.bodies)}", "stop")
        if body.get("n", 1) > 1:
            more = [ended("openai", t, r) for t, r in (("b", "abort"), ("c", "stop"))]
            first["choices"] += [one["choices"][0] for one in more]
        return first

    with Server(answer) as server:
        out = ROW.llm.complete("${text}", n=3, **at(server))
    assert out["completion"].tolist() == ["answer 1", "c", "answer 2"]
    assert len(server.bodies) == 2


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
@pytest.mark.parametrize("kept", ["abort", "model_length", "eos", "None", None, "odd"])
def test_replies_of_older_caches_are_read_by_the_same_list(kept, tmp_path):
    path = tmp_path / "kept.sqlite"
    with Server(lambda body: said("openai", "Yes.")) as server:
        options = at(server, cache=path)
        ROW.llm.complete("${text}", **options)
        cache = open_cache(path)
        with closing(sqlite3.connect(path)) as file:
            ((key,),) = file.execute("SELECT key FROM replies").fetchall()
        cache.put(key, Reply((Choice("old", kept),)))
        cache.close()
        out = ROW.llm.complete("${text}", **options)
    assert out["completion"].tolist() == ["Yes." if kept == "abort" else "old"]
    marked = kept in ("model_length", "odd")
    assert out["why"].notna().tolist() == [marked]


def test_the_list_is_in_every_vendors_words():
    lists = {
        "stop": GOOD,
        "length": CUT,
        "unknown": UNKNOWN,
        "content_filter": FILTERED,
        "error": BROKEN,
    }
    for end, reasons in lists.items():
        for reason in (one for listed in reasons.values() for one in listed):
            assert ending(reason) == ("tool_calls" if reason == "tool_calls" else end)
    assert ending("stop: error") == "error"
    assert ending("FinishReason.MAX_TOKENS") == "length"
    assert ending("FINISH_REASON_STOP") == "stop"
    assert ending("Max Tokens") == ending("max-tokens") == "length"
    assert ending("stop (the end of the language model's turn)") == "stop"
    assert ending("state of the language") == ending("non-stop") == "unknown"


@given(st.text() | st.integers() | st.dictionaries(st.text(), st.text()))
def test_any_reason_has_one_ending_and_its_case_does_not_matter(reason):
    assert ending(reason) in get_args(Ending)
    if isinstance(reason, str) and reason.isascii() and reason.islower():
        assert ending(reason.upper()) == ending(reason)


def test_a_choice_broken_off_is_no_answer_wherever_it_comes_from():
    with pytest.raises(OutputError, match="abort"):
        Completion("c").read(Choice("half an ans", "abort"))

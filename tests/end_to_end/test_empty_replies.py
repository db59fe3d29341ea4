"""An empty text is an answer to no verb, in no dialect, and is never kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pandas as pd
import pytest
from loopback_server import Server, completion
from vendor_replies import at, said

from pandas_llm import LLMWarning
from pandas_llm.cache import open_cache
from pandas_llm.types import Choice, Reply

ROW = pd.DataFrame({"text": ["Rain."]})
TURNS = {
    **dict.fromkeys(("openai", "anthropic", "bedrock"), "messages"),
    "openai-responses": "input",
}
TEXTS = {
    "null": None,
    "nothing": "",
    "blanks": " \n\t ",
    "thinking": "<think>a</think>",
    "nothing that is seen": "\ufeff\u200b\u2060\x00\u3164",
}
VERBS = {
    "complete": ("${text}",),
    "generate": ("${text}", ["fact"]),
    "extract": ("${text}", ["fact"]),
    "classify": ("${text}", ["good", "bad"]),
}


def called(provider: str) -> dict[str, Any]:
    """Return an answer that calls a tool, though it may seem to have stopped."""
    if provider == "openai-responses":
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        return {"status": "completed", "output": [call]}
    if provider == "anthropic":
        use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
        return {"content": [use], "stop_reason": "tool_use"}
    if provider == "google":
        content = {"parts": [{"functionCall": {"name": "f", "args": {}}}]}
        return {"candidates": [{"content": content, "finishReason": "STOP"}]}
    if provider == "bedrock":
        use = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}
        return {"output": {"message": {"content": [use]}}, "stopReason": "tool_use"}
    answer = completion(None)
    answer["choices"][0]["message"]["tool_calls"] = [{"id": "c", "type": "function"}]
    return answer


@pytest.mark.parametrize("provider", [*TURNS, "google"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_text_is_asked_again_then_fails_and_is_not_kept(
    provider, text, verb, tmp_path
):
    answers = [said(provider, text)]
    kept = tmp_path / "kept.sqlite"
    with Server(lambda body: answers[0]) as server:
        options = at(server, provider, cache=kept, output_retries=2)
        call = getattr(ROW.llm, verb)
        with pytest.warns(LLMWarning, match="1 of 1 rows failed"):
            out = pd.DataFrame(call(*VERBS[verb], **options))
        assert out.iloc[0, -1].startswith("output: the reply is empty")
        assert len(server.bodies) == 3
        for body in server.bodies[1:]:
            turns = body[TURNS.get(provider, "contents")]
            last = turns[-1].get("parts") or turns[-1]["content"]
            last = last if isinstance(last, str) else last[0]["text"]
            assert "reply is empty" in last
            assert ("JSON" in last) == (verb != "complete")
            before = [turn.get("content", turn.get("parts")) for turn in turns[:-1]]
            assert all(before)
            assert "" not in before
        answers[0] = said(provider, "good" if verb != "extract" else '{"fact": "x"}')
        if verb == "generate":
            answers[0] = said(provider, "NONE")
        again = pd.DataFrame(call(*VERBS[verb], **options))
        assert again.iloc[:, -1].isna().all()
        assert len(server.bodies) == 4


@pytest.mark.parametrize("provider", [*TURNS, "google"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_tools_call_fails_at_once_and_says_that_tools_are_not_run(provider, verb):
    with Server(lambda body: called(provider)) as server:
        with pytest.warns(LLMWarning, match="1 of 1 rows failed"):
            out = getattr(ROW.llm, verb)(*VERBS[verb], **at(server, provider))
        assert len(server.bodies) == 1
    why = pd.DataFrame(out).iloc[0, -1]
    assert why.startswith("output: the model asked for a tool")
    assert "tools are not run" in why


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "tool_use", None])
@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
@pytest.mark.parametrize("verb", ["complete", "generate"])
def test_an_empty_reply_of_an_older_cache_is_not_served(verb, text, finish, tmp_path):
    kept = tmp_path / "kept.sqlite"
    good = "x" if verb == "complete" else '{"records": [{"fact": "x"}]}'
    with Server(lambda body: completion(good)) as server:
        options = at(server, cache=kept)
        call = getattr(ROW.llm, verb)
        call(*VERBS[verb], **options)
        with closing(sqlite3.connect(kept)) as file:
            ((key,),) = file.execute("SELECT key FROM replies").fetchall()
        cache = open_cache(kept)
        cache.put(key, Reply((Choice(text, finish),)))
        cache.close()
        out = pd.DataFrame(call(*VERBS[verb], **options))
        assert len(server.bodies) == 2
        assert out.iloc[0, -2] == "x"
        call(*VERBS[verb], **options)
        assert len(server.bodies) == 2


def test_a_text_beside_the_call_of_a_tool_is_an_answer():
    answer = called("openai")
    answer["choices"][0]["message"]["content"] = "Yes."
    with Server(lambda body: answer) as server:
        out = ROW.llm.complete("${text}", **at(server, error_column=None))
    assert out.tolist() == ["Yes."]

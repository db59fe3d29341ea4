"""What one row gets changes nothing for the others: neither questions nor answers."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import pandas as pd
import pytest
from loopback_server import Server, completion, failure

pytestmark = pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")

ROWS = pd.DataFrame({"text": [f"row {at:02}" for at in range(9)]})
ASK, LABELS = "Say ${text}", ["yes", "no"]
OPTIONS = {"model": "openai/m", "api_key": "-", "concurrency": 1, "cache": False}
OPTIONS |= {"error_column": "why", "max_retries": 0, "system": "Be brief."}
OPTIONS |= {"temperature": 0.3, "examples": [("a", "yes"), ("b", "no")], "seed": 3}
VERBS = {
    "complete": lambda frame, **more: frame.llm.complete(ASK, max_tokens=9, **more),
    "extract": lambda frame, **more: frame.llm.extract(
        ASK, {"a": str, "n": int}, **(more | {"examples": []})
    ),
    "confidence": lambda frame, **more: frame.llm.classify(
        ASK, LABELS, confidence=True, **more
    ),
    "abstain": lambda frame, **more: frame.llm.classify(
        ASK, LABELS, abstain_below=0.5, **more
    ),
    "votes": lambda frame, **more: frame.llm.classify(
        ASK, LABELS, n=3, confidence=True, **more
    ),
}


def usual(body, verb):
    """Answer as asked."""
    text = '{"a": "x", "n": 1}' if verb == "extract" else "yes"
    if "response_format" in body and verb != "extract":
        text = '{"label": "yes"}'
    reply = completion(text, prompt_tokens=9, completion_tokens=2, total_tokens=11)
    (choice,) = reply["choices"]
    if body.get("logprobs"):
        token = {"token": "yes", "logprob": -0.1}
        choice["logprobs"] = {"content": [{**token, "top_logprobs": [token]}]}
    reply["choices"] = [choice] * body.get("n", 1)
    return reply


def with_choice(**fields):
    def answer(body, verb):
        reply = usual(body, verb)
        reply["choices"] = [choice | fields for choice in reply["choices"]]
        return reply

    return answer


def with_message(**fields):
    return with_choice(message={"role": "assistant", "content": None, **fields})


def one_choice(body, verb):
    reply = usual(body, verb)
    return reply | {"choices": reply["choices"][:1]}


def refused(words):
    return lambda *_: failure(400, words)


ODD = {
    words: refused(words)
    for words in (
        "Invalid request",
        "'temperature' does not support 0.3 with this model",
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "Unrecognized request argument supplied: seed",
        "response_format is not supported",
        "System role not supported",
        "Conversation roles must alternate user/assistant",
        "n > 1 is not supported",
        "logprobs are not supported",
    )
}
ODD |= {
    "422": lambda *_: failure(422, "no"),
    "500": lambda *_: failure(500, "no"),
    "an error in a 200": lambda *_: {"error": {"message": "Invalid", "code": 400}},
    "no choices": lambda *_: {"choices": []},
    "no text": with_message(),
    "a blank": with_message(content=" \n"),
    "words": with_message(content="Well, it depends"),
    "a refusal": with_message(refusal="I cannot"),
    "a tool": with_message(tool_calls=[{"id": "x", "type": "function"}]),
    "filtered": with_choice(finish_reason="content_filter"),
    "cut off": with_choice(finish_reason="length"),
    "an unknown end": with_choice(finish_reason="weird"),
    "no probabilities": with_choice(logprobs=None),
    "one choice": one_choice,
    "no usage": lambda body, verb: usual(body, verb) | {"usage": None},
    "odd usage": lambda body, verb: usual(body, verb) | {"usage": "many"},
    "another model": lambda body, verb: usual(body, verb) | {"model": "other"},
}


def run(verb, odd=None, at=None):
    """Return the answers of the other rows, and how often each was asked how."""
    name = f"row {at:02}" if odd else "no row"

    def is_odd(body):
        return name in json.dumps(body["messages"])

    def answer(body):
        return ODD[odd](body, verb) if is_odd(body) else usual(body, verb)

    with Server(answer) as server:
        out = VERBS[verb](ROWS, base_url=server.base_url, **OPTIONS)
    asked = (json.dumps(body) for body in server.bodies if not is_odd(body))
    return out.drop(index=at) if odd else out, Counter(asked)


@cache
def alone(verb):
    return run(verb)


@pytest.mark.parametrize("at", [0, 4])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("verb", VERBS)
def test_one_odd_row_changes_nothing_for_the_others(verb, odd, at):
    answers, asked = run(verb, odd, at)
    same, usually = alone(verb)
    pd.testing.assert_frame_equal(answers, same.drop(index=at))
    assert asked == Counter(
        {body: n for body, n in usually.items() if f"row {at:02}" not in body}
    )

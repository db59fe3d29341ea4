"""Decisions: bodies and answers held against the types of OpenAI's own package."""

from __future__ import annotations

import orjson
import pandas as pd
import pytest
from openai.types import Decision
from openai.types.decision_create_params import DecisionCreateParams
from pydantic import TypeAdapter

from pandas_llm.providers import connect
from pandas_llm.types import Endpoint, HTTPResponse, Question, Request, Spec

MOOD = Question("mood", "How is it?", ("good", "bad"), ("good", "bad"), ("smiles", ""))
SPAM = Question("is it spam?", "Spam?", ("yes", "no"), (True, False), (), "predicate")
LEVEL = Question("level", "How far?", ("low", "high"), ("low", "high"), (), "score")
SPECS = {
    "plain": Spec("m", questions=(MOOD,)),
    "all": Spec("m", questions=(MOOD, SPAM, LEVEL)),
    "examples": Spec("m", (("Awful.", '{"mood": "bad"}'),), questions=(MOOD,)),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("system", [None, "Be fair."])
@pytest.mark.parametrize("before", [(), (("user", "Hi"), ("assistant", "Hello"))])
def test_a_body_is_one_that_the_package_would_send(name, system, before):
    provider = connect(Endpoint("openai-decisions", "https://x.example/v1", "m", "k"))
    request = Request(SPECS[name], "Nice!", system, before=before)
    body = orjson.loads(provider.build(request, provider.capabilities, 1).body)
    checked = TypeAdapter(DecisionCreateParams).validate_python(body)
    assert checked["model"] == "m"
    assert body.keys() <= DecisionCreateParams.__annotations__.keys()


def test_an_answer_of_the_package_is_read():
    answer = Decision.model_validate(
        {
            "id": "decision_1",
            "object": "decision",
            "created_at": 1,
            "model": "m",
            "answers": [
                {
                    "type": "choice",
                    "name": "mood",
                    "choice": "good",
                    "confidence": 0.75,
                    "probabilities": [
                        {"value": "good", "probability": 0.75},
                        {"value": "bad", "probability": 0.25},
                    ],
                },
                {"type": "predicate", "name": "question_1", "probability": 0.125},
                {"type": "refusal", "name": "level", "refusal": "I cannot."},
            ],
            "usage": {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 13,
            },
        }
    )
    provider = connect(Endpoint("openai-decisions", "https://x.example/v1", "m", "k"))
    asked = Request(SPECS["all"], "Nice!")
    body = answer.model_dump_json().encode()
    reply = provider.parse(HTTPResponse(200, {}, body, asked))
    assert reply.choices[0].odds.answers == (
        (("good", 0.75), ("bad", 0.25)),
        (("yes", 0.125), ("no", 0.875)),
        (),
    )
    assert (reply.tokens.input, reply.tokens.output) == (10, 3)
    assert reply.tokens.cached_input == 2


def test_the_simulator_answers_as_the_package_reads(simulator):
    import openai

    server = simulator()
    client = openai.OpenAI(base_url=server.base_url, api_key="k")
    told = client.decisions.create(
        model="sim",
        input="Nice!",
        questions=[
            {
                "type": "choice",
                "name": "mood",
                "instructions": "How is it?",
                "choices": [{"value": "good"}, {"value": "bad"}],
            }
        ],
    )
    (answer,) = told.answers
    assert sum(one.probability for one in answer.probabilities) == pytest.approx(1)
    ours = pd.Series(["Nice!"]).llm.classify(
        "How is it? ${value}",
        ["good", "bad"],
        name="mood",
        confidence=True,
        model="openai-decisions/sim",
        base_url=server.base_url,
        api_key="k",
    )
    assert ours["mood_confidence"].iloc[0] == pytest.approx(answer.confidence)

"""Decision endpoints: what is sent, and what is read, in both forms."""

from __future__ import annotations

from typing import Literal

import orjson
import pandas as pd
import pytest

from pandas_llm import LLMWarning
from pandas_llm.errors import ConfigurationError, MalformedReplyError
from pandas_llm.providers import connect, read_reply
from pandas_llm.types import Endpoint, HTTPResponse, Question, Request, Spec

MOOD = Question("mood", "How is it?", ("good", "bad"), ("good", "bad"), ("smiles", ""))
SPAM = Question("spam", "Is it spam?", ("yes", "no"), (True, False), (), "predicate")
LEVEL = Question("level", "How far?", ("low", "high"), ("low", "high"), (), "score")
ASKED = Request(Spec("m", questions=(MOOD, SPAM, LEVEL)), "Nice!", "Be brief.")
ROWS = pd.DataFrame({"text": ["Nice!", "Awful.", "Fine."]})


def provider(name):
    endpoint = Endpoint(name, "https://x.example/v1", "m", "k")
    return connect(endpoint)


def body(name):
    made = provider(name).build(ASKED, provider(name).capabilities, 1)
    return made.url, orjson.loads(made.body)


@pytest.mark.parametrize("name", ["openai-decisions", "systemone"])
def test_an_accounts_limits_are_read(name):
    quotas = provider(name).quotas({"x-ratelimit-limit-requests": "500"})
    assert quotas.requests.limit == 500
    assert quotas.tokens is None


def test_openais_form_is_sent_as_its_types_have_it():
    url, sent = body("openai-decisions")
    assert url == "https://x.example/v1/decisions"
    assert sent == {
        "model": "m",
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Nice!"},
        ],
        "questions": [
            {
                "type": "choice",
                "name": "mood",
                "instructions": "How is it?",
                "choices": [
                    {"value": "good", "description": "smiles"},
                    {"value": "bad"},
                ],
            },
            {"type": "predicate", "name": "spam", "instructions": "Is it spam?"},
            {
                "type": "score",
                "name": "level",
                "instructions": "How far?",
                "levels": [{"label": "low"}, {"label": "high"}],
            },
        ],
    }


def test_typesafes_form_names_the_questions():
    url, sent = body("systemone")
    assert url == "https://x.example/v1/systemone"
    assert sent["state"] == "Be brief.\n\nNice!"
    assert sent["questions"]["spam"] == {"type": "noul", "instructions": "Is it spam?"}
    assert sent["questions"]["mood"]["criteria"] == {"good": "smiles", "bad": ""}


def read(name, answers):
    data = {"model": "m", "answers": answers, "usage": {"input_tokens": 3}}
    response = HTTPResponse(200, {}, orjson.dumps(data), ASKED)
    return provider(name).parse(response).choices[0].odds.answers


def test_both_forms_are_read_alike():
    told = read(
        "openai-decisions",
        [
            {
                "type": "choice",
                "name": "mood",
                "choice": "good",
                "probabilities": [
                    {"value": "good", "probability": 0.75},
                    {"value": "bad", "probability": 0.25},
                ],
            },
            {"type": "predicate", "name": "spam", "probability": 0.125},
            {"type": "refusal", "name": "level"},
        ],
    )
    named = read(
        "systemone",
        {
            "mood": {"type": "choice", "probabilities": {"good": 0.75, "bad": 0.25}},
            "spam": {"type": "noul", "noul": 0.125},
            "level": {"type": "refusal"},
        },
    )
    wanted = ((("good", 0.75), ("bad", 0.25)), (("yes", 0.125), ("no", 0.875)), ())
    assert told == named == wanted


@pytest.mark.parametrize("name", ["openai-decisions", "systemone"])
@pytest.mark.parametrize(
    "answers", [None, "none", [], {}, [{"type": "choice"}] * 3, [1, 2, 3]]
)
def test_what_is_no_answer_is_an_error_of_its_kind(name, answers):
    data = {"model": "m", "answers": answers, "usage": {}}
    response = HTTPResponse(200, {}, orjson.dumps(data), ASKED)
    if name == "systemone" and answers == {}:  # by name none is there: all declined
        assert read(name, answers) == ((), (), ())
        return
    with pytest.raises(MalformedReplyError):
        read_reply(provider(name), response)


# -- whole runs -----------------------------------------------------------------

KEYS = {"spam": bool, "mood": ["good", "bad"], "tone": Literal["dry", "warm"]}


@pytest.fixture(params=["openai-decisions", "systemone"])
def here(request, simulator):
    server = simulator()
    model = f"{request.param}/sim"
    return server, {"model": model, "base_url": server.base_url, "api_key": "-"}


def test_three_closed_keys_are_one_request_a_row(here):
    server, options = here
    out = ROWS.llm.extract("Read: ${text}", KEYS, confidence=True, **options)
    assert server.stats()["requests"] == 3
    assert out.attrs["llm"]["probabilities"] == "decisions"
    assert out["spam"].dtype == "boolean"
    for name in KEYS:
        assert out[f"{name}_confidence"].between(0.5, 1).all()


def test_labels_come_with_probabilities_that_sum_to_one(here):
    _, options = here
    out = ROWS.llm.classify(
        "Mood? ${text}", ["good", "fair", "bad"], probabilities=True, **options
    )
    told = out[["p_good", "p_fair", "p_bad"]]
    assert told.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (told.idxmax(axis=1).str[2:] == out["label"].astype(str)).all()


def test_the_question_is_asked_apart_and_is_part_of_the_key(here, tmp_path):
    server, options = here
    options = {**options, "cache": tmp_path}
    one = ROWS.llm.classify("Is it good? ${text}", ["yes", "no"], **options)
    ROWS.llm.classify("Is it long? ${text}", ["yes", "no"], **options)
    assert server.stats()["requests"] == 6
    again = ROWS.llm.classify("Is it good? ${text}", ["yes", "no"], **options)
    assert server.stats()["requests"] == 6
    pd.testing.assert_series_equal(one, again)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda llm, o: llm.extract("${text}", {"spam": bool, "x": str}, **o),
            "'x' is",
        ),
        (lambda llm, o: llm.complete("${text}", **o), "'completion' is"),
        (lambda llm, o: llm.generate("${text}", ["a"], **o), "'a' is"),
        (lambda llm, o: llm.classify("${text}", ["a", "b"], n=3, **o), "leave n= out"),
        (
            lambda llm, o: llm.classify("${text}", map(str, range(300)), **o),
            "takes 255 labels",
        ),
    ],
    ids=["open key", "text", "records", "votes", "labels"],
)
def test_what_cannot_be_asked_says_so_before_a_request(here, ask, says):
    server, options = here
    with pytest.raises(ConfigurationError, match=says):
        ask(ROWS.llm, options)
    assert server.stats()["requests"] == 0


def test_a_key_that_was_declined_is_na_with_a_remark(simulator):
    server = simulator(fault_plan={0: "refusal"})
    options = {"model": "openai-decisions/sim", "base_url": server.base_url}
    with pytest.warns(LLMWarning, match="1 declined"):
        out = ROWS.llm.extract(
            "Read: ${text}", KEYS, error_column="why", api_key="-", **options
        )
    assert out["spam"].isna().tolist() == [True, False, False]
    assert out["mood"].notna().all()
    assert out["why"].iloc[0] == "declined: the model declined to answer: spam"

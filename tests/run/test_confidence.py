"""How sure a column is: probabilities, abstaining, calibration; over real HTTP."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from enum import Enum
from typing import Literal, Optional

import numpy as np
import pandas as pd
import pytest
from loopback_server import Server, completion

from pandas_llm import LLMWarning, Plan
from pandas_llm.errors import (
    ConfigurationError,
    InvalidTypeError,
    InvalidValueError,
    MissingColumnError,
)

TEXTS = pd.DataFrame({"text": [f"text {at}" for at in range(40)]})
ASK = "What is the mood of this? ${text}"
LABELS = ["good", "bad"]


@pytest.fixture
def on(simulator):
    """Return the options of a run at a simulator."""

    def options(**more):
        server = simulator(**more)
        return {"model": "sim", "base_url": server.base_url, "api_key": "-"}, server

    return options


def sent(server):
    return server.stats()["requests"]


# -- where probabilities come from ------------------------------------------------


def test_probabilities_of_a_chat_model_are_those_of_its_tokens(on):
    options, server = on()
    out = TEXTS.llm.classify(
        ASK, LABELS, confidence=True, probabilities=True, **options
    )
    assert list(out.columns) == ["label", "confidence", "p_good", "p_bad"]
    assert (out.dtypes[1:] == "Float64").all()
    told = out[["p_good", "p_bad"]].to_numpy(float)
    assert told.sum(axis=1) == pytest.approx(1)
    assert (told.max(axis=1) == out["confidence"]).all()
    assert (np.array(LABELS)[told.argmax(axis=1)] == out["label"]).all()
    assert out["confidence"].nunique() > 30
    assert out.attrs["llm"]["probabilities"] == "logprobs"
    assert sent(server) == 40


def test_tokens_of_the_reasoning_are_none_of_the_label():
    """As vLLM tells them beside a reasoning parser."""
    said = ["good", "?", " no.", "</think>", "\n", "bad", "<|im_end|>"]
    places = [
        {
            "token": one,
            "logprob": -0.1,
            "top_logprobs": [
                {"token": one, "logprob": -0.1},
                {"token": "bad" if one == "good" else "good", "logprob": -3.0},
            ],
        }
        for one in said
    ]
    whole = completion("bad")
    whole["choices"][0]["logprobs"] = {"content": places}
    with Server(lambda _: whole) as server:
        out = pd.Series(["x"]).llm.classify(
            "${value}",
            ["good", "bad"],
            confidence=True,
            model="openai/m",
            base_url=server.base_url,
            api_key="k",
        )
    assert out["label"].tolist() == ["bad"]
    # "good" might have stood in place of the new line too
    bad, good = math.exp(-0.2), math.exp(-3) + math.exp(-3.1)
    assert out["confidence"].tolist() == pytest.approx([bad / (bad + good)])


def test_votes_are_the_source_where_n_asks_for_them(on):
    options, _ = on()
    out = TEXTS.llm.classify(ASK, LABELS, probabilities=True, n=4, **options)
    assert out.attrs["llm"]["probabilities"] == "votes"
    assert set(out["p_good"]) <= {0, 0.25, 0.5, 0.75, 1}


@pytest.mark.parametrize(
    "server", [{"logprobs": False}, {"reject_params": ("logprobs",)}]
)
def test_without_a_source_the_columns_are_na_and_one_warning_says_the_ways_out(
    on, server
):
    options, running = on(**server)
    with pytest.warns(LLMWarning, match="no probabilities") as caught:
        out = TEXTS.llm.classify(ASK, LABELS, confidence=True, **options)
    assert len(caught) == 1
    for way in ("logprobs", "openai-decisions", "n=5"):
        assert way in str(caught[0].message)
    assert out["label"].notna().all()
    assert out["confidence"].isna().all()
    assert out.attrs["llm"]["probabilities"] is None
    assert sent(running) <= 40 + 12  # those in flight until three have told nothing


def test_wanting_probabilities_is_part_of_the_key(on, tmp_path):
    options, server = on()
    options["cache"] = tmp_path
    plain = TEXTS.llm.classify(ASK, LABELS, **options)
    assert sent(server) == 40
    one = TEXTS.llm.classify(ASK, LABELS, confidence=True, **options)
    assert sent(server) == 80
    again = TEXTS.llm.classify(ASK, LABELS, confidence=True, **options)
    assert sent(server) == 80
    pd.testing.assert_frame_equal(one, again)
    assert again.attrs["llm"]["probabilities"] == "logprobs"
    pd.testing.assert_series_equal(plain, TEXTS.llm.classify(ASK, LABELS, **options))
    assert sent(server) == 80


def test_what_a_server_without_probabilities_answered_is_paid_once(on, tmp_path):
    options, server = on(logprobs=False)
    options["cache"] = tmp_path
    TEXTS.llm.classify(ASK, LABELS, **options)
    with pytest.warns(LLMWarning, match="no probabilities"):
        TEXTS.llm.classify(ASK, LABELS, confidence=True, **options)
    assert sent(server) < 60  # those in flight when the first was without


def test_labels_that_clash_are_asked_for_by_letters(on):
    options, _ = on()
    labels = ["very good", "very bad"]
    shown = TEXTS.llm.preview(
        ASK, labels, rows=1, verb="classify", confidence=True, **options
    )
    assert "A for very good or B for very bad" in shown["asked"].iloc[0]
    out = TEXTS.llm.classify(ASK, labels, confidence=True, **options)
    assert out["confidence"].between(0.5, 1).all()
    words = TEXTS.llm.classify(ASK, LABELS, confidence=True, codes=True, **options)
    assert set(words["label"]) == set(LABELS)


class Mood(Enum):
    FINE = "good"
    POOR = "bad"


@pytest.mark.parametrize(
    "labels",
    [["a, b", "c\nd"], ["only"], ["-1", "+1"], [">50K", "<=50K"], ["-", "x"], Mood],
    ids=str,
)
@pytest.mark.parametrize("provider", ["", "openai-decisions/", "systemone/"])
def test_any_labels_have_probabilities(on, provider, labels):
    options, _ = on()
    options["model"] = provider + options["model"]
    out = TEXTS.llm.classify(ASK, labels, probabilities=True, **options)
    told = out.iloc[:, 1:].to_numpy(float)
    names = np.array([name.removeprefix("p_") for name in out.columns[1:]])
    assert told.sum(axis=1) == pytest.approx(1)
    assert (names[told.argmax(axis=1)] == out["label"]).all()
    assert set(out["label"]) == set(names)


def test_a_call_whose_labels_are_not_said_costs_other_calls_nothing():
    def answer(body):
        said = "good" if "mood" in str(body["messages"]) else "Well"
        wanted = body.get("logprobs")
        reply = completion(said if wanted else "good")
        if wanted:
            told = {"token": said, "logprob": -0.1}
            content = [{**told, "top_logprobs": [told]}]
            reply["choices"][0]["logprobs"] = {"content": content}
        return reply

    with Server(answer) as server:
        options = {"model": "openai/m", "base_url": server.base_url, "api_key": "-"}
        ask = TEXTS.iloc[:3].llm.classify
        with pytest.warns(LLMWarning, match="no probabilities"):
            out = ask("Hm? ${text}", LABELS, confidence=True, **options)
        assert set(out["label"]) == {"good"}
        assert ask(ASK, LABELS, confidence=True, **options)["confidence"].notna().all()


ODD = {
    "declined": (0, "refusal"),
    "filtered": (0, "content_filter"),
    "told of no label": (0, "unsure"),
    "told without probabilities": (0, "unsure"),
    "told without probabilities later": (7, "unsure"),
}


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("needed", [True, False])
def test_one_answer_without_probabilities_is_the_affair_of_its_row(how, needed):
    at, kind = ODD[how]

    def answer(body):
        reply = completion("good")
        choice = reply["choices"][0]
        odd = body["messages"][-1]["content"].endswith(f"text {at}")
        said = "Well" if odd and how == "told of no label" else "good"
        if odd and how == "declined":
            choice["message"] |= {"content": None, "refusal": "I cannot say"}
        elif odd and how == "filtered":
            choice["finish_reason"] = "content_filter"
        elif body.get("logprobs") and not (odd and "without" in how):
            choice["message"]["content"] = said
            told = {"token": said, "logprob": -0.1}
            choice["logprobs"] = {"content": [{**told, "top_logprobs": [told]}]}
        return reply

    with Server(answer) as server:
        options = {"model": "openai/m", "base_url": server.base_url, "api_key": "-"}
        options |= {"error_column": "why", "confidence": True, "concurrency": 1}
        if needed:
            options["abstain_below"] = 0.8
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LLMWarning)
            out = TEXTS.iloc[:10].llm.classify(ASK, LABELS, **options)
    odd, rest = out.iloc[at], out.drop(index=at)
    assert rest["label"].eq("good").all()
    assert rest["confidence"].notna().all()
    assert pd.isna(odd["confidence"])
    if kind == "unsure" and not needed:
        assert odd["label"] == "good"
        assert pd.isna(odd["why"])
    else:
        assert odd["why"].startswith(kind)
        assert pd.isna(odd["label"])
    assert len(server.bodies) == 10 + (kind == "unsure")


# -- extract ----------------------------------------------------------------------

KEYS = {"spam": bool, "mood": ["good", "bad"], "tone": Literal["dry", "warm"], "n": int}


def test_closed_keys_of_extract_have_their_confidence(on):
    options, server = on()
    rows = TEXTS.iloc[:5]
    out = rows.llm.extract("Read: ${text}", KEYS, confidence=True, **options)
    names = [f"{name}_confidence" for name in ("spam", "mood", "tone")]
    assert list(out.columns) == ["text", *KEYS, *names]
    assert out[names].to_numpy(float).min() >= 0.5
    assert out["n"].dtype == "Int64"
    assert sent(server) == 5 * 4  # one a closed key, one for the open key
    plain = rows.llm.extract("Read: ${text}", KEYS, **options)
    assert list(plain.columns) == ["text", *KEYS]


def test_a_label_may_be_called_as_what_is_not_said(on):
    options, _ = on()
    options["model"] = "openai-decisions/sim"
    keys = {"tone": Optional[Literal["not said", "dry"]]}  # noqa: UP045
    out = TEXTS.llm.extract("Read: ${text}", keys, confidence=True, **options)
    assert set(out["tone"].dropna()) == {"not said", "dry"}
    assert out["tone"].isna().any()  # null is an answer of its own


def test_estimate_counts_a_request_for_each_key(on):
    options, _ = on()
    more = {"verb": "extract", "confidence": True, **options}
    assert TEXTS.llm.estimate("Read: ${text}", KEYS, **more).requests == 40 * 4
    more["verb"] = "classify"
    assert TEXTS.llm.estimate(ASK, LABELS, **more).requests == 40


# -- abstaining, order ------------------------------------------------------------


def test_labels_below_the_bound_are_left_out_and_no_failure(on):
    options, _ = on()
    given = {"abstain_below": 0.8, "error_column": "why", "errors": "raise", **options}
    with pytest.warns(LLMWarning, match=r"rows are less sure than 0.8") as caught:
        out = TEXTS.llm.classify(ASK, LABELS, probabilities=True, **given)
    unsure = out[["p_good", "p_bad"]].max(axis=1) < 0.8
    assert 0 < unsure.sum() < 40
    assert (out["label"].isna() == unsure).all()
    shown = out.loc[unsure, "why"]
    assert shown.map(lambda text: bool(re.fullmatch(r"unsure: 0\.[5-8]\d", text))).all()
    assert f"{unsure.sum()} of 40" in str(caught[0].message)
    assert out.llm.usage.failed == 0
    assert "unsure" in out.llm.report()._repr_html_()


def test_abstaining_without_a_source_is_an_error(on):
    options, server = on(logprobs=False)
    with pytest.raises(ConfigurationError, match="abstain_below"):
        TEXTS.llm.classify(ASK, LABELS, abstain_below=0.8, **options)
    assert sent(server) <= 20  # those in flight until three have told nothing


@pytest.mark.parametrize("least", [0, 1.1, "0.8", True, -1])
def test_a_bound_is_a_probability(least):
    with pytest.raises(InvalidValueError, match="abstain_below must be between"):
        TEXTS.llm.classify(ASK, LABELS, abstain_below=least, model="sim")


def test_ordered_labels_have_an_expected_level(on):
    options, _ = on()
    levels = ["low", "middle", "high"]
    out = TEXTS.llm.classify(ASK, levels, ordered=True, probabilities=True, **options)
    assert out["label"].cat.ordered
    told = out[["p_low", "p_middle", "p_high"]].to_numpy(float)
    assert out["label_score"].to_numpy(float) == pytest.approx(told @ [0, 1, 2])
    alone = TEXTS.llm.classify(ASK, levels, ordered=True, **options)
    assert alone.cat.ordered
    rising = pd.CategoricalDtype(levels, ordered=True)
    assert TEXTS.llm.classify(ASK, rising, **options).dtype == rising


# -- calibration ------------------------------------------------------------------


def quietly(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMWarning)
        return call(*args, **options)


def test_the_prior_takes_the_mean_off_and_its_offsets_do_the_same_again(on, tmp_path):
    options, _ = on()
    options |= {"cache": tmp_path, "probabilities": True}
    with pytest.warns(LLMWarning, match="no label is very rare"):
        out = TEXTS.llm.classify(ASK, LABELS, calibrate="prior", **options)
    told = out[["p_good", "p_bad"]].to_numpy(float)
    assert np.log(told[:, 0] / told[:, 1]).mean() == pytest.approx(0, abs=1e-6)
    assert "no label is very rare" in out.attrs["llm"]["calibration_note"]
    offsets = out.attrs["llm"]["calibration"]
    part = TEXTS.iloc[:7].llm.classify(ASK, LABELS, calibrate=offsets, **options)
    pd.testing.assert_frame_equal(part, out.iloc[:7], rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_label_stays_where_the_mean_is_all_that_is_known(on, rows):
    options, _ = on()
    texts = pd.DataFrame({"text": TEXTS["text"].repeat(rows)})
    for text in texts["text"].unique()[:6]:
        alike = texts[texts["text"] == text]
        told = alike.llm.classify(ASK, LABELS, confidence=True, **options)["label"]
        given = {"calibrate": "prior", "confidence": True, **options}
        out = quietly(alike.llm.classify, ASK, LABELS, **given)
        assert out["label"].tolist() == told.tolist()
        assert out["confidence"].to_numpy(float) == pytest.approx(0.5)


def test_gold_labels_fit_offsets_and_tell_the_error(on):
    options, _ = on()
    plain = TEXTS.llm.classify(ASK, LABELS, **options).astype(str)
    gold = plain.where(TEXTS.index < 35)
    out = TEXTS.llm.classify(ASK, LABELS, gold=gold, confidence=True, **options)
    facts = out.attrs["llm"]
    assert facts["labelled"] == 35
    assert facts["calibration_error"] < facts["calibration_error_before"]
    assert 0 < facts["calibration_error_floor"] < 0.2
    framed = TEXTS.assign(gold=gold)
    named = framed.llm.classify(ASK, LABELS, gold="gold", confidence=True, **options)
    pd.testing.assert_frame_equal(out, named)


def test_gold_takes_the_members_of_an_enum(on):
    options, _ = on()
    gold = pd.Series([Mood.FINE, Mood.POOR, None, Mood.FINE] * 10)
    texts = gold.map(lambda one: one.value, na_action="ignore")
    one = quietly(TEXTS.llm.classify, ASK, Mood, gold=gold, confidence=True, **options)
    two = quietly(TEXTS.llm.classify, ASK, Mood, gold=texts, confidence=True, **options)
    assert one.attrs["llm"]["labelled"] == 30
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("gold", "error", "says"),
    [
        (pd.Series(["good", "ugly"] * 20), InvalidValueError, "not declared: ugly"),
        (pd.Series([None] * 40), InvalidValueError, "NA in every row"),
        (pd.Series(["good"] * 3), InvalidValueError, "gold has 3 rows"),
        ("golden", MissingColumnError, "not a column"),
        (["good"] * 40, InvalidTypeError, "gold must be a Series"),
    ],
)
def test_gold_that_does_not_fit_is_named_before_a_request(on, gold, error, says):
    options, server = on()
    with pytest.raises(error, match=says):
        TEXTS.llm.classify(ASK, LABELS, gold=gold, **options)
    assert sent(server) == 0


def test_few_gold_labels_are_warned_of(on):
    options, _ = on()
    gold = pd.Series(["good", "bad"] * 10 + [None] * 20)
    with pytest.warns(LLMWarning, match="only 20 labelled rows"):
        TEXTS.llm.classify(ASK, LABELS, gold=gold, **options)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"calibrate": "prior", "n": 3}, "votes cannot be calibrated"),
        ({"calibrate": "priors"}, "calibrate= takes"),
        ({"calibrate": {"bias": {"good": 0, "ugly": 1}}}, "are of the labels"),
        ({"calibrate": "prior", "gold": "text"}, "not both"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(given, says):
    with pytest.raises((InvalidValueError, ConfigurationError), match=says):
        TEXTS.llm.classify(ASK, LABELS, model="sim", **given)


@pytest.mark.parametrize("given", [{"calibrate": "prior"}, {"gold": "text"}])
def test_in_a_plan_only_offsets_calibrate(given):
    with pytest.raises(ConfigurationError, match="offsets of an earlier run"):
        Plan(ASK, LABELS, verb="classify", model="sim", **given)


def test_a_plan_with_offsets_travels():
    offsets = {"temperature": 2.0, "bias": {"good": 0.5, "bad": -0.5}}
    plan = Plan(ASK, LABELS, verb="classify", model="sim", calibrate=offsets)
    copy = pickle.loads(pickle.dumps(plan))
    assert list(copy(TEXTS.iloc[:3])) == list(plan(TEXTS.iloc[:3]))


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("generate", {"confidence": True}),
        ("generate", {"expand": True}),
        ("complete", {"probabilities": True}),
        ("extract", {"abstain_below": 0.5}),
        ("classify", {"how": "inner"}),
    ],
)
def test_a_verb_refuses_what_it_has_no_use_for(verb, given):
    keys = None if verb == "complete" else ["a", "b"]
    with pytest.raises(InvalidTypeError, match=f"{verb} has no parameter"):
        Plan(ASK, keys, verb=verb, model="sim", **given)

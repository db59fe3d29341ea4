"""Probabilities through batches: one request a row by the words of its labels."""

from __future__ import annotations

import pandas as pd
import pytest

from pandas_llm.errors import ConfigurationError

ROWS = pd.DataFrame({"text": [f"text {at}" for at in range(12)]})
LABELS = ["good", "bad"]
ASK = "Mood? ${text}"


@pytest.fixture
def on(simulator, tmp_path):
    server = simulator()
    options = {"model": "sim", "base_url": server.base_url, "api_key": "k"}
    return server, {**options, "cache": tmp_path}


def test_a_batch_tells_the_probabilities_that_a_run_tells(on):
    server, options = on
    given = {"probabilities": True, "confidence": True}
    out = ROWS.llm.classify(ASK, LABELS, batch=True, **given, **options)
    assert out["confidence"].notna().all()
    assert out.attrs["llm"]["probabilities"] == "logprobs"
    sent = server.stats()["requests"]
    again = ROWS.llm.classify(ASK, LABELS, **given, **options)
    assert server.stats()["requests"] == sent
    pd.testing.assert_frame_equal(out, again)
    fresh = ROWS.llm.classify(ASK, LABELS, **given, **{**options, "cache": False})
    pd.testing.assert_frame_equal(out, fresh)


def test_a_calibration_by_a_column_goes_through_a_batch(on):
    _, options = on
    rows = ROWS.assign(known=["good", "bad"] * 6)
    with pytest.warns(match="only 12 labelled rows"):
        out = rows.llm.classify(ASK, LABELS, gold="known", batch=True, **options)
    assert out.attrs["llm"]["labelled"] == 12


def test_a_server_without_probabilities_answers_the_plain_way(simulator, tmp_path):
    server = simulator(logprobs=False)
    options = {"model": "sim", "base_url": server.base_url, "api_key": "k"}
    options["cache"] = tmp_path
    with pytest.warns(match="no probabilities"):
        out = ROWS.llm.classify(ASK, LABELS, confidence=True, batch=True, **options)
    assert out["label"].notna().all()
    assert out["confidence"].isna().all()


@pytest.mark.parametrize(
    ("verb", "keys", "given", "says"),
    [
        ("extract", {"a": bool, "b": bool}, {"confidence": True}, "are 2 requests"),
        ("extract", {"a": bool, "n": int}, {"confidence": True}, "are 2 requests"),
        ("classify", LABELS, {"gold": pd.Series(["good"] * 12)}, "the column's name"),
    ],
)
def test_what_a_batch_cannot_carry_is_refused_before_it(on, verb, keys, given, says):
    server, options = on
    ask = getattr(ROWS.llm, verb)
    with pytest.raises(ConfigurationError, match=says):
        ask(ASK, keys, batch=True, **given, **options)
    assert server.stats()["requests"] == 0


def test_decision_endpoints_have_no_batches(on):
    server, options = on
    with pytest.raises(ConfigurationError, match="batch"):
        ROWS.llm.classify(
            ASK, LABELS, batch=True, **{**options, "model": "openai-decisions/sim"}
        )
    assert server.stats()["requests"] == 0

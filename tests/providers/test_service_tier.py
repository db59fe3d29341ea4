"""Service tiers: asked for, left for another, told, and left out where none is."""

from __future__ import annotations

import pandas as pd
import pytest
from loopback_server import Server, completion, failure

import pandas_llm
from pandas_llm import ConfigurationError, LLMWarning
from pandas_llm._http.transport import patience
from pandas_llm._pacing import retry
from pandas_llm.options import Settings


def facts(rows):
    return pd.DataFrame({"text": [f"Fact number {i}." for i in range(rows)]})


def at(server, model="openai/m", **more):
    where = {"model": model, "base_url": server.base_url, "api_key": "k"}
    return {**where, "progress": False, "cache": False, **more}


def told(body):
    """Answer, and name the tier that was asked for."""
    return {
        **completion("x", prompt_tokens=10, completion_tokens=2),
        "service_tier": body.get("service_tier", "default"),
    }


def full(body):
    """Have no room in flex for rows with an odd number."""
    odd = int(body["messages"][-1]["content"].split()[-1][:-1]) % 2
    if odd and body.get("service_tier") == "flex":
        return failure(429, "No room now.", "resource_unavailable")
    return told(body)


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "priority"])
def test_a_tier_is_asked_for_and_the_one_used_is_told(tier):
    with Server(told) as server:
        options = at(server, service_tier=tier, details=True)
        out = facts(3).llm.complete("${text}", **options)
        assert {body["service_tier"] for body in server.bodies} == {tier}
    assert out["llm_service_tier"].tolist() == [tier] * 3


def test_without_the_option_nothing_is_asked_for():
    with Server(told) as server:
        facts(1).llm.complete("${text}", **at(server))
        assert "service_tier" not in server.bodies[0]


def test_a_row_that_flex_has_no_room_for_is_asked_in_the_standard_tier(recwarn):
    with Server(full) as server:
        options = at(server, service_tier="flex", details=True, max_retries=0)
        out = facts(40).llm.complete("${text}", **options)
        sent = [body.get("service_tier") for body in server.bodies]
    assert out["completion"].tolist() == ["x"] * 40
    assert out["llm_service_tier"].tolist() == ["flex", "default"] * 20
    assert (sent.count("flex"), sent.count(None)) == (40, 20)
    assert not [w for w in recwarn if issubclass(w.category, LLMWarning)]


def test_no_room_slows_nothing_down(monkeypatch):
    """It says nothing of the account's limits, and is no outage."""
    monkeypatch.setattr(retry, "_BASE", 60.0)  # a wait would be seen
    with Server(full) as server:
        options = at(server, service_tier="flex", deadline=20, max_wait=100)
        out = facts(120).llm.complete("${text}", **options)
    assert out.notna().all()


def test_no_room_in_a_tier_of_the_callers_own_field_ends():
    with Server(full) as server:
        options = at(server, extra={"service_tier": "flex"}, max_retries=1)
        with pytest.warns(LLMWarning, match="1 of 2 rows failed"):
            out = facts(2).llm.complete("${text}", **options)
        assert len(server.bodies) == 3
    assert out.isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("model", "tier", "sent"),
    [
        ("anthropic/m", "standard_only", "standard_only"),
        ("anthropic/m", "default", "standard_only"),
        ("anthropic/m", "auto", "auto"),
        ("openai/m", "standard_only", "default"),
        ("openai-responses/m", "flex", "flex"),
        ("groq/m", "default", "on_demand"),
    ],
)
def test_each_vendor_gets_its_own_word(model, tier, sent):
    answers = {
        "anthropic/m": {
            "content": [{"type": "text", "text": "x"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 1, "service_tier": sent},
        },
        "openai-responses/m": {
            "status": "completed",
            "service_tier": sent,
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "x"}]}
            ],
            "usage": {"input_tokens": 3, "output_tokens": 1},
        },
    }
    with Server(lambda body: answers.get(model) or told(body)) as server:
        options = at(server, model, service_tier=tier, details=True)
        out = facts(1).llm.complete("${text}", **options)
        assert server.bodies[0]["service_tier"] == sent
    assert out["llm_service_tier"].tolist() == [sent]


@pytest.mark.parametrize("model", ["mistral/m", "deepseek/m", "ollama/m", "together/m"])
def test_a_vendor_without_tiers_is_asked_without_and_one_warning_says_so(model):
    with Server(told) as server:
        options = at(server, model, service_tier="flex")
        with pytest.warns(LLMWarning, match="service_tier") as caught:
            out = facts(5).llm.complete("${text}", **options)
        assert all("service_tier" not in body for body in server.bodies)
    assert out.tolist() == ["x"] * 5
    assert len(caught) == 1


def test_a_model_that_refuses_the_tier_is_asked_without():
    def answer(body):
        if "service_tier" in body:
            return failure(400, "Invalid service_tier argument", "invalid_request")
        return told(body)

    with Server(answer) as server:
        options = at(server, "openai/no-flex", service_tier="flex")
        with pytest.warns(LLMWarning, match="refuses service_tier"):
            out = facts(5).llm.complete("${text}", **options)
    assert out.tolist() == ["x"] * 5


def test_a_tier_is_no_part_of_what_a_reply_is_kept_under(tmp_path):
    with Server(told) as server:
        for tier in (None, "flex", "priority"):
            options = at(server, service_tier=tier, cache=tmp_path / "c.sqlite")
            facts(3).llm.complete("${text}", **options)
        assert len(server.bodies) == 3


def test_with_a_batch_a_tier_is_an_error_before_anything_is_sent(tmp_path):
    with Server(told) as server:
        options = at(server, service_tier="flex", cache=tmp_path / "c.sqlite")
        with pytest.raises(ConfigurationError, match="service_tier does not go with"):
            facts(3).llm.complete("${text}", batch=True, **options)
        assert server.bodies == []


def test_a_tier_that_nobody_has_is_refused():
    with pytest.raises(ValueError, match="service_tier must be 'auto'"):
        facts(1).llm.complete("${text}", model="sim", service_tier="cheap")
    with pytest.raises(TypeError, match="no option 'service_tier'"):
        facts(1)["text"].llm.embed(model="sim", service_tier="flex")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 600.0),
        ({"service_tier": "flex"}, 900.0),
        ({"service_tier": "flex", "request_timeout": 30}, 30.0),
        ({"service_tier": "priority"}, 600.0),
    ],
)
def test_flex_may_take_longer_unless_told_otherwise(given, seconds):
    assert patience(Settings(**given)) == seconds


def test_max_cost_sets_aside_what_the_dearest_tier_may_cost():
    pytest.importorskip("genai_prices", reason="needs the extra `cost`")
    from pandas_llm._pacing.prices import Prices
    from pandas_llm.types import Endpoint, Tokens

    prices = Prices(Endpoint("openai", "https://api.openai.com/v1", "gpt-5.4", None))
    plain = prices.most(1000, 100)
    assert prices.most(1000, 100, "flex") == plain  # it may end in the standard tier
    assert prices.most(1000, 100, "priority") == pytest.approx(2 * plain)
    prices.of(Tokens(10, 1), "priority")  # an account whose tier is dearer by default
    assert prices.most(1000, 100) == pytest.approx(2 * plain)


def test_usage_is_counted_by_the_tier_that_the_answer_names():
    with Server(told) as server:
        options = at(server, service_tier="flex", prices={"m": (1.0, 1.0)})
        out = facts(2).llm.complete("${text}", **options)
    assert out.llm.usage.cost == pytest.approx(24e-6)
    assert pandas_llm.last_usage().cost == out.llm.usage.cost

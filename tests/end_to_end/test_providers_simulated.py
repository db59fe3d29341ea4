"""Every provider against the dialect of the simulator that its vendor speaks."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import pytest

import pandas_llm

pytestmark = pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")

# provider to where its paths begin
PROVIDERS = ["openai", "openai-responses", "azure", "anthropic", "google", "bedrock"]
KEYS: dict[str, Any] = {
    "title": str,
    "count": int,
    "share": float | None,
    "mood": Literal["good", "bad"],
    "tags": list[str],
}


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


# Anthropic has no other word for both, Google blocks where others decline
_OWN_WORDS = {
    ("anthropic", "content_filter"): "refusal",
    ("google", "refusal"): "content_filter",
    ("bedrock", "refusal"): "content_filter",
    ("bedrock", "429_quota"): "wait_too_long",  # the tokens of a day
    ("google", "429_quota"): "wait_too_long",  # it says for how many hours
}


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"text": [f"Cat {i} purrs. Dog {i} barks." for i in range(count)]}
    )


def paths(server) -> set[str]:
    return {seen["path"] for seen in server.requests()}


def test_texts_come_back(simulator, here, provider):
    server = simulator(api_key="k")
    out = rows(20).llm.complete(
        "text: ${text}",
        system="Be brief.",
        examples=[("text: Hello.", "Hi.")],
        temperature=0.5,
        max_tokens=100,
        details=True,
        **here(server),
    )
    assert out["completion"].str.startswith("[simulated] ").all()
    assert out["completion"].nunique() == 20
    assert (out["llm_input_tokens"] > 0).all()
    assert (out["llm_finish_reason"] == "stop").all()
    assert out["llm_request_id"].notna().all()
    assert server.stats()["by_status"] == {"200": 20}
    (path,) = paths(server)
    assert (
        path
        == {
            "openai": "/v1/chat/completions",
            "openai-responses": "/v1/responses",
            "azure": "/openai/v1/chat/completions",
            "anthropic": "/v1/messages",
            "google": "/v1beta/models/sim:generateContent",
            "bedrock": "/model/sim/converse",
        }[provider]
    )


def test_records_obey_the_schema_by_the_vendors_own_means(simulator, here):
    server = simulator()
    out = rows(5).llm.extract("text: ${text}", KEYS, **here(server))
    assert out[list(KEYS)[:2]].notna().all().all()
    assert out["mood"].isin(["good", "bad"]).all()
    assert out.attrs["llm"]["schema"] == "json_schema"
    assert server.stats()["by_status"] == {"200": 5}  # nothing had to be found out


def test_an_endpoint_without_schemas_is_told_in_words(simulator, here):
    server = simulator(schema_modes=())
    out = rows(5).llm.extract("text: ${text}", KEYS, **here(server))
    assert out["title"].notna().all()
    assert out.attrs["llm"]["schema"] == "prompt"


def test_several_choices_come_in_one_reply_or_in_several(simulator, here, provider):
    server = simulator()
    out = rows(2).llm.complete("text: ${text}", n=2, **here(server))
    together = provider in {"openai", "azure", "google"}
    assert server.stats()["requests"] == (2 if together else 4)
    # where they are asked one by one, the same answer comes again, and is dropped
    assert len(out) == (4 if together else 2)


PASSING = [
    *("429", "500", "503", "529", "reset", "truncated", "html", "empty", "no_usage"),
    *("broken_json", "error_200", "bad_output", "wrong_schema", "no_choices"),
    "no_message",
]


@pytest.mark.slow
def test_faults_of_the_moment_cost_no_row(simulator, here):
    # all at once, after the first row: no row that asks again can meet a second one
    plan = dict(enumerate(PASSING, start=1))
    server = simulator(fault_plan=plan, fault_delay=0.5)
    out = rows(120).llm.extract(
        "text: ${text}", ["title"], error_column="why", **here(server)
    )
    assert out["why"].isna().all(), out["why"].dropna().tolist()
    assert out["title"].notna().all()
    assert server.stats()["faults"] == dict.fromkeys(PASSING, 1)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", "bad_request"),
        ("refusal", "refusal"),
        ("content_filter", "content_filter"),
        ("cut_off", "truncated"),
    ],
)
def test_a_rows_own_failure_is_named(simulator, here, provider, fault, kind):
    server = simulator(fail_if={"Cat 3 ": fault})
    out = rows(8).llm.extract(
        "text: ${text}", ["title"], error_column="why", **here(server)
    )
    (failed,) = out.index[out["why"].notna()]
    assert failed == 3
    kind = _OWN_WORDS.get((provider, fault), kind)
    assert out.loc[3, "why"].split(":")[0] == kind


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("401", "authentication"), ("404", "model_not_found"), ("429_quota", "no_credit")],
)
def test_what_no_row_survives_stops_the_run(simulator, here, provider, fault, kind):
    server = simulator(faults={fault: 1})
    with pytest.raises(pandas_llm.LLMError) as caught:
        rows(50).llm.complete("text: ${text}", **here(server))
    assert caught.value.kind == _OWN_WORDS.get((provider, fault), kind)
    assert server.stats()["requests"] == 1


def test_a_wrong_key_costs_one_request(simulator, here):
    server = simulator(api_key="right")
    with pytest.raises(pandas_llm.LLMError) as caught:
        rows(50).llm.complete("text: ${text}", **here(server, api_key="wrong"))
    assert caught.value.kind == "authentication"
    assert "wrong" not in str(caught.value)


def test_a_prompt_that_is_too_long_is_its_rows_failure(simulator, here):
    server = simulator(context_length=100)
    frame = rows(3)
    frame.loc[1, "text"] = "word " * 500
    out = frame.llm.complete("text: ${text}", error_column="why", **here(server))
    assert out.index[out["why"].notna()].tolist() == [1]
    assert out.loc[1, "why"].startswith("context_length: ")


def test_the_limits_of_each_vendor_are_kept(simulator, here):
    server = simulator(requests_per_minute=3000, burst=5)
    out = rows(60).llm.complete("text: ${text}", error_column="why", **here(server))
    assert out["why"].isna().all()
    assert server.stats()["answered"] == 60

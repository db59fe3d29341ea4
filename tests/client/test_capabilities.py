"""What an endpoint understands is found out once, and every defect ends as it must."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from typing import Any, Literal

import pandas as pd
import pytest
from loopback_server import Server, completion, failure

import pandas_llm
from pandas_llm import GenerationError, LLMWarning, Plan
from pandas_llm._client import endpoint as endpoints

FACTS = {"fact": str, "count": int}
TEMPLATE = "Facts about ${text}"


@pytest.fixture
def rows() -> pd.DataFrame:
    texts = [f"Snow fell on {i} days. It was cold." for i in range(12)]
    return pd.DataFrame({"text": texts})


def bodies(server) -> list[Any]:
    return [seen["body"] for seen in server.requests()]


def formats(server) -> list[str | None]:
    return [body.get("response_format", {}).get("type") for body in bodies(server)]


def statuses(server) -> dict[str, int]:
    return server.stats()["by_status"]


@pytest.mark.parametrize(
    ("modes", "settled", "refused"),
    [
        (("json_schema", "json_object"), "json_schema", 0),
        (("json_object",), "json_object", 1),
        ((), "prompt", 2),
    ],
)
def test_the_schema_mode_is_settled_by_the_first_row(  # noqa: PLR0917 - cases
    modes, settled, refused, rows, simulator, on
):
    server = simulator(schema_modes=modes)
    out = rows.llm.generate(TEMPLATE, FACTS, **on(server))
    assert out["fact"].notna().all()
    assert str(out["count"].dtype) == "Int64"
    assert statuses(server) == {"200": 12} | ({"400": refused} if refused else {})
    assert out.attrs["llm"]["schema"] == settled
    # the schema stands in the prompt where it is no field
    notes = ["JSON schema" in body["messages"][0]["content"] for body in bodies(server)]
    assert notes == [mode != "json_schema" for mode in formats(server)]
    assert out.attrs["llm"]["schema_in_prompt"] is (settled != "json_schema")


def test_what_was_settled_is_kept_for_the_process(rows, simulator, on):
    server = simulator(schema_modes=())
    rows.llm.generate(TEMPLATE, FACTS, **on(server))
    server.reset()
    out = rows.llm.generate("Other facts about ${text}", FACTS, **on(server))
    assert statuses(server) == {"200": 12}
    assert set(formats(server)) == {None}
    assert out.attrs["llm"]["schema"] == "prompt"


def test_what_was_settled_is_in_the_log(rows, simulator, on, caplog):
    server = simulator(schema_modes=("json_object",), api_key="sk-secret")
    with caplog.at_level(logging.INFO, "pandas_llm"):
        rows.llm.generate(TEMPLATE, FACTS, api_key="sk-secret", **on(server))
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert sum("settled on" in line and "json_object" in line for line in said) == 1
    assert sum("going on with" in line for line in said) == 1
    assert "sk-secret" not in caplog.text


def test_max_completion_tokens_becomes_max_tokens(rows, simulator, on):
    server = simulator(reject_params=("max_completion_tokens",))
    out = rows.llm.generate(TEMPLATE, FACTS, max_tokens=500, **on(server))
    assert statuses(server) == {"200": 12, "400": 1}
    first, *others = bodies(server)
    assert first["max_completion_tokens"] == 500
    assert all(body["max_tokens"] == 500 for body in others)
    assert not any("max_completion_tokens" in body for body in others)
    assert out.attrs["llm"]["max_tokens_field"] == "max_tokens"


def test_sampling_parameters_that_are_refused_are_dropped_with_one_warning(
    rows, simulator, on
):
    server = simulator(reject_params=("temperature", "top_p"))
    asked = {"temperature": 0.5, "top_p": 0.9, **on(server)}
    with pytest.warns(LLMWarning, match="sim refuses temperature, top_p") as caught:
        out = rows.llm.generate(TEMPLATE, FACTS, **asked)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert statuses(server) == {"200": 12, "400": 2}
    first, second, *others = bodies(server)
    assert "temperature" in first
    assert "temperature" not in second
    assert "top_p" in second
    assert not any("top_p" in body or "temperature" in body for body in others)
    assert out.attrs["llm"]["sampling"] is False
    assert out.attrs["llm"]["dropped"] == "temperature, top_p"
    # another run of the process knows it, drops them from the start, and says so
    server.reset()
    with pytest.warns(LLMWarning, match="sim refuses temperature, top_p"):
        rows.llm.generate("More on ${text}", FACTS, **asked)
    assert statuses(server) == {"200": 12}
    # one that asks for none has nothing to be told
    rows.llm.generate("And ${text}", FACTS, **on(server))


def test_an_option_that_is_no_sampling_is_not_dropped(rows, simulator, on):
    server = simulator(reject_params=("reasoning_effort",))
    with pytest.raises(Exception, match="reasoning_effort") as caught:
        rows.llm.generate(
            TEMPLATE, FACTS, reasoning_effort="low", temperature=1, **on(server)
        )
    assert caught.value.fatal
    assert server.stats()["requests"] == 10
    assert all("temperature" in body for body in bodies(server))


def test_all_of_it_at_once_is_settled_by_the_first_row(rows, simulator, on):
    server = simulator(
        schema_modes=(), reject_params=("max_completion_tokens", "temperature", "n")
    )
    with pytest.warns(LLMWarning, match="refuses temperature"):
        out = rows.llm.generate(
            TEMPLATE, FACTS, n=2, temperature=0.3, max_tokens=900, **on(server)
        )
    assert statuses(server) == {"200": 24, "400": 5}
    assert out["fact"].notna().all()
    llm = out.attrs["llm"]
    assert (llm["schema"], llm["max_tokens_field"]) == ("prompt", "max_tokens")
    assert (llm["sampling"], llm["several_choices"]) == (False, False)


def test_a_server_with_fewer_choices_gets_a_request_for_each_that_lacks(
    rows, simulator, on
):
    server = simulator(max_n=1)
    labels = rows.llm.classify(
        "How is ${text}?", ["good", "bad"], n=3, seed=5, **on(server)
    )
    assert labels.notna().all()
    assert server.stats()["requests"] == 36
    asked = [body.get("n", 1) for body in bodies(server)]
    # three answers with one each tell that it gives no more
    assert asked[-20:] == [1] * 20
    seeds = sorted(body["seed"] for body in bodies(server))
    assert seeds == [5] * 12 + [6] * 12 + [7] * 12


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
@pytest.mark.parametrize(
    ("n", "asked", "failed"), [(3, "n", 0), (1, "logprobs", 1)], ids=["n", "logprobs"]
)
def test_what_one_row_gets_takes_nothing_from_the_others(n, asked, failed, rows):
    def answer(body):
        odd = "on 3 days" in body["messages"][-1]["content"]
        if odd and "logprobs" in body:
            return failure(400, "logprobs are not supported for this prompt")
        reply = completion("yes")
        token = {"token": "yes", "logprob": -0.1}
        reply["choices"][0]["logprobs"] = {
            "content": [{**token, "top_logprobs": [token]}]
        }
        # a filter may leave fewer
        return reply | {"choices": reply["choices"] * (1 if odd else body.get("n", 1))}

    options = {"model": "openai/m", "api_key": "-", "concurrency": 1, "n": n}
    with Server(answer) as server:
        options |= {"base_url": server.base_url, "confidence": True}
        out = rows.llm.classify("${text}?", ["yes"], **options)
    assert [asked in body for body in server.bodies[-8:]] == [True] * 8
    assert out["label"].isna().sum() == failed


def test_a_prompt_that_is_too_long_settles_nothing(simulator, on):
    server = simulator(context_length=400)
    rows = pd.DataFrame({"text": ["the schema of temperature " * 200, "Snow fell."]})
    with pytest.warns(LLMWarning, match="1 context_length"):
        out = rows.llm.generate(TEMPLATE, FACTS, temperature=1, **on(server))
    assert statuses(server) == {"200": 1, "400": 1}
    assert out.attrs["llm"]["schema"] == "json_schema"
    assert out.attrs["llm"]["sampling"] is True


# -- replies that are not what was asked for -------------------------------------


def test_an_answer_that_does_not_validate_is_asked_for_again_with_the_reason(
    rows, simulator, on
):
    server = simulator(fault_plan={1: "wrong_schema"})
    out = rows.llm.extract(TEMPLATE, FACTS, concurrency=1, **on(server))
    assert out["fact"].notna().all()
    assert server.stats()["requests"] == 13
    first, again = bodies(server)[1]["messages"], bodies(server)[2]["messages"]
    assert again[: len(first)] == first
    answer, reason = again[len(first) :]
    assert answer["role"] == "assistant"
    assert json.loads(answer["content"]) == {"simulated": True, "unexpected": [1, 2, 3]}
    assert reason["role"] == "user"
    assert "fact: Field required" in reason["content"]
    assert "count: Field required" in reason["content"]


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_what_is_never_understood_is_an_error_of_the_row_with_the_text(
    retries, rows, simulator, on
):
    server = simulator(fault_plan=dict.fromkeys((3, 4, 5)[: retries + 1], "bad_output"))
    options = {"output_retries": retries, "details": True, "concurrency": 1}
    options |= on(server)
    with pytest.raises(GenerationError) as caught:
        rows.llm.extract(TEMPLATE, FACTS, errors="raise", **options)
    assert caught.value.failures["kind"].tolist() == ["output"]
    assert caught.value.failures["position"].tolist() == [3]
    assert caught.value.failures["attempts"].tolist() == [1 + retries]
    assert server.stats()["requests"] == 12 + retries
    partial = caught.value.partial
    assert partial["fact"].isna().tolist() == [i == 3 for i in range(12)]
    assert partial["llm_text"][3].startswith("[simulated] Sure!")
    assert "the JSON breaks off" in caught.value.failures["message"][0]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refusal", "refusal"),
        ("content_filter", "content_filter"),
        ("cut_off", "truncated"),
    ],
)
@pytest.mark.parametrize("verb", ["generate", "extract", "classify", "complete"])
def test_refusals_filters_and_truncation_are_never_asked_again(  # noqa: PLR0917
    verb, fault, kind, rows, simulator, on
):
    server = simulator(fail_if={"on 3 days": fault})
    common = {"error_column": "why", **on(server)}
    keys = {"classify": [["good", "bad"]], "complete": []}.get(verb, [FACTS])
    with pytest.warns(LLMWarning, match=rf"1 of 12 rows .*\(1 {kind}\)"):
        out = getattr(rows.llm, verb)(TEMPLATE, *keys, **common)
    assert server.stats()["requests"] == 12
    failed = out["why"].dropna()
    assert set(failed.index) == {3}
    assert failed.iloc[0].startswith(f"{kind}: ")


def test_a_truncated_list_keeps_its_whole_records_and_marks_the_row(simulator, on):
    server = simulator(fault_plan={0: "cut_off"})
    rows = pd.DataFrame({"text": ["Snow fell. It was cold. Rain came. Wind too."]})
    with pytest.warns(LLMWarning, match="1 truncated"):
        out = rows.llm.generate(TEMPLATE, ["fact"], error_column="why", **on(server))
    assert len(out) == 1
    assert out["fact"].notna().all()
    assert out["why"].str.startswith("truncated: ").all()


@pytest.mark.parametrize("fault", ["refusal", "bad_output"])
@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_dtypes_are_the_same_when_all_rows_fail(fault, rows, simulator, on):
    keys = {**FACTS, "x": float, "y": bool, "l": Literal["b", "a"], "t": list[int]}
    good = rows.llm.extract(TEMPLATE, keys, **on(simulator()))
    bad = rows.llm.extract(TEMPLATE, keys, **on(simulator(faults={fault: 1.0})))
    empty = rows.head(0).llm.extract(TEMPLATE, keys, **on(simulator()))
    assert bad["fact"].isna().all()
    assert good.dtypes.equals(bad.dtypes)
    assert good.dtypes.equals(empty.dtypes)
    assert list(bad["l"].cat.categories) == ["b", "a"]


# -- labels, votes and series -----------------------------------------------------


def test_classify_gives_a_category_with_the_declared_labels(rows, simulator, on):
    labels = {"sunny": "no cloud", "cold": "below zero", "odd": "all else"}
    server = simulator()
    found = rows.llm.classify("How is ${text}?", labels, name="weather", **on(server))
    assert found.name == "weather"
    assert list(found.cat.categories) == ["sunny", "cold", "odd"]
    assert set(found) == {"cold"}
    assert "sunny: no cloud; cold: below zero" in json.dumps(bodies(server)[0])


def test_confidence_adds_the_share_of_votes(rows, simulator, on):
    found = rows.llm.classify(
        "How is ${text}?", ["a", "b"], n=3, confidence=True, **on(simulator())
    )
    assert list(found.columns) == ["label", "confidence"]
    assert str(found["confidence"].dtype) == "Float64"
    assert found["confidence"].between(0.5, 1).all()


SHARES = [
    ({}, ["label", "confidence"]),
    ({"name": "mood"}, ["mood", "mood_confidence"]),
    ({"name": "label"}, ["label", "label_confidence"]),
    ({"name": "confidence"}, ["confidence", "confidence_confidence"]),
]


@pytest.mark.parametrize(("named", "columns"), SHARES, ids=str)
@pytest.mark.parametrize(
    "form", ["method", "series", "function", "list", "async", "async function", "plan"]
)
def test_the_share_is_named_after_the_label(
    form, named, columns, *, rows, simulator, on
):
    args = "How is ${text}?", ["warm", "cold"]
    options = {"confidence": True, "n": 3, **named, **on(simulator())}
    plan = Plan(*args, verb="classify", **options)
    assert list(plan.columns) == columns
    assert list(plan.meta(rows).columns) == columns
    found = {
        "method": lambda: rows.llm.classify(*args, **options),
        "series": lambda: rows["text"].llm.classify(*args, **options),
        "function": lambda: pandas_llm.classify(rows, *args, **options),
        "list": lambda: pd.DataFrame(
            pandas_llm.classify(rows.to_dict("records"), *args, **options)
        ),
        "async": lambda: asyncio.run(rows.llm.aclassify(*args, **options)),
        "async function": lambda: asyncio.run(
            pandas_llm.aclassify(rows, *args, **options)
        ),
        "plan": lambda: pickle.loads(pickle.dumps(plan))(rows),
    }[form]()
    assert list(found.columns) == columns
    assert set(found[columns[0]]) == {"cold"}
    assert found[columns[1]].between(0.5, 1).all()


def test_two_questions_with_confidence_can_be_joined(rows, simulator, on):
    server = simulator()
    out = rows
    for name in ("weather", "mood"):
        labels = ["cold", "good"]
        more = rows.llm.classify(
            "${text}", labels, name=name, confidence=True, **on(server)
        )
        out = out.join(more)
    assert list(out.columns[-4:]) == [
        *("weather", "weather_confidence"),
        *("mood", "mood_confidence"),
    ]


@pytest.mark.parametrize(
    ("verb", "keys", "options", "twice"),
    [
        ("classify", ["a"], {"error_column": "label"}, "label"),
        (
            *("classify", ["a"]),
            {"confidence": True, "error_column": "confidence"},
            "confidence",
        ),
        (
            *("classify", ["a"]),
            {"name": "x", "confidence": True, "error_column": "x_confidence"},
            "x_confidence",
        ),
        (
            *("classify", ["a"]),
            {"name": "llm_text", "confidence": True, "details": True},
            "llm_text",
        ),
        ("complete", None, {"error_column": "completion"}, "completion"),
        ("complete", None, {"name": "llm_model", "details": True}, "llm_model"),
        ("complete", None, {"error_column": "llm_text", "details": True}, "llm_text"),
        ("embed", None, {"error_column": "embedding"}, "embedding"),
        (*("embed", None), {"name": "v", "expand": True, "error_column": "v_3"}, "v_3"),
        ("extract", ["a"], {"error_column": "a"}, "a"),
    ],
    ids=str,
)
def test_a_column_never_hides_another(
    verb, keys, options, twice, *, rows, simulator, on
):
    server = simulator()
    plan = Plan("${text}", keys, verb=verb, **options, **on(server))
    for call in (plan, plan.meta, lambda data: asyncio.run(plan.acall(data))):
        with pytest.raises(ValueError, match=f"two new columns .*'{twice}'"):
            call(rows)
    assert server.stats()["requests"] == 0


def test_a_name_beyond_the_vectors_length_is_free(rows, simulator, on):
    found = rows.llm.embed(
        "text", dimensions=2, expand=True, error_column="embedding_2", **on(simulator())
    )
    assert list(found.columns) == ["embedding_0", "embedding_1", "embedding_2"]


def test_a_series_is_extracted_from_and_classified_too(rows, simulator, on):
    server = simulator()
    out = rows["text"].llm.extract("Facts about ${value}", FACTS, **on(server))
    assert list(out.columns) == ["text", "fact", "count"]
    assert len(out) == 12
    moods = rows["text"].llm.classify("How is ${text}?", ["good", "cold"], **on(server))
    assert isinstance(moods, pd.Series)
    assert set(moods) == {"cold"}


def test_flatten_gives_nested_fields_columns(rows, simulator, on):
    from pydantic import BaseModel

    class Weather(BaseModel):
        kind: Literal["snow", "rain"]
        days: int

    out = rows.llm.extract(TEMPLATE, {"w": Weather}, flatten=True, **on(simulator()))
    assert out.dtypes.astype(str)[["w.kind", "w.days"]].tolist() == [
        "category",
        "Int64",
    ]
    plain = rows.llm.extract(TEMPLATE, {"w": Weather}, **on(simulator()))
    assert plain["w"].iloc[0].keys() == {"kind", "days"}


def test_extract_takes_no_choices(rows):
    with pytest.raises(ValueError, match="n must be 1"):
        rows.llm.extract(TEMPLATE, FACTS, n=2, model="sim")


def test_nothing_is_settled_before_the_first_test():
    assert endpoints._settled == {}

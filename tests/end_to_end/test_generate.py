"""The main job, end to end, over real HTTP."""

import asyncio
import datetime as dt
import re

import numpy as np
import pandas as pd
import pytest

import pandas_llm
from pandas_llm import (
    ConfigurationError,
    GenerationError,
    LLMError,
    LLMWarning,
    TemplateError,
)

QA = ["question", "answer"]
PAIRS = "Write question and answer pairs.\ndocument: ${text}"


def frame_of(rows):
    return pd.DataFrame(
        {"number": range(rows), "text": [f"Row {i}." for i in range(rows)]}
    )


def echo(row):
    """Return whether the answer is of the row that it stands in."""
    return re.search(r"Row (\d+)\.", row["fact"])[1] == str(row["number"])


def test_records_are_exploded_and_joined(docs, simulator, on):
    before = docs.copy()
    server = simulator()
    out = docs.llm.generate(PAIRS, keys=QA, **on(server))
    pd.testing.assert_frame_equal(docs, before)
    assert list(out.columns) == ["title", "text", "question", "answer"]
    assert list(out.index) == ["b", "b", "a", "a", "b"]
    assert out["answer"].str.startswith("[simulated]").all()
    for title, answer in zip(out["text"], out["answer"], strict=True):
        assert answer.removeprefix("[simulated] ") in title
    assert server.stats()["requests"] == 3


def test_the_result_tells_what_made_it(docs, simulator, on):
    out = docs.llm.generate(PAIRS, QA, **on(simulator()))
    facts = out.attrs["llm"]
    assert facts["simulated"] is True
    assert (facts["provider"], facts["model"]) == ("sim", "sim")
    assert all(isinstance(v, (str, bool, int, float)) for v in facts.values())
    usage = out.llm.usage
    assert (usage.rows, usage.failed, usage.requests) == (3, 0, 3)
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    assert str(pandas_llm.last_usage()) == str(usage)


def test_usage_adds_up_over_a_chain(docs, simulator, on):
    server = simulator()
    first = docs.llm.generate(PAIRS, QA, **on(server))
    second = first.query("question != ''").llm.extract(
        "${answer}", {"year": int}, **on(server)
    )
    assert second.llm.usage.requests == server.stats()["requests"]
    assert second.llm.usage.rows == 3 + len(first)


def test_usage_of_a_frame_without_a_run_names_the_way_out(docs):
    with pytest.raises(AttributeError, match="last_usage"):
        _ = docs.llm.usage


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(60),
        pd.Index([f"k{i}" for i in range(60)]),
        pd.Index([i // 2 for i in range(60)]),
        pd.MultiIndex.from_product([["a", "b"], range(30)]),
        pd.date_range("2026-01-01", periods=60, freq="D"),
    ],
    ids=["range", "string", "duplicate", "multi", "datetime"],
)
def test_order_and_index_survive(index, simulator, on):
    df = frame_of(60).set_axis(index)
    server = simulator(latency=0.01, jitter=1.0)
    out = df.llm.extract("${text}", ["fact"], **on(server, concurrency=16))
    pd.testing.assert_frame_equal(out[["number", "text"]], df, check_freq=False)
    assert out.apply(echo, axis=1).all()
    assert set(server.stats()["per_prompt"].values()) == {1}


def test_how_inner_drops_rows_without_a_record(simulator, on):
    df = pd.DataFrame({"text": ["One thing.", None, "Other thing."]})
    left = df.llm.generate("${text}", ["fact"], **on(simulator()))
    inner = df.llm.generate("${text}", ["fact"], how="inner", **on(simulator()))
    assert left["fact"].isna().tolist() == [False, True, False]
    assert inner.index.tolist() == [0, 2]


def test_ignore_index_numbers_the_rows(docs, simulator, on):
    out = docs.llm.generate(PAIRS, QA, ignore_index=True, **on(simulator()))
    assert list(out.index) == [0, 1, 2, 3, 4]


def test_n_choices_are_put_together_without_equal_records(docs, simulator, on):
    server = simulator()
    out = docs.llm.generate(PAIRS, QA, n=3, **on(server))
    assert server.stats()["requests"] == 3
    assert not out.duplicated(["title", *QA]).any()
    assert server.requests()[0]["body"]["n"] == 3


def test_a_series_is_a_one_column_frame(simulator, on):
    series = pd.Series(["Row 1.", "Row 2."], index=["x", "y"], name="cell")
    server = simulator()
    out = series.llm.generate("${value} ${cell}", ["fact"], **on(server))
    assert list(out.columns) == ["cell", "fact"]
    text = series.llm.complete("$value", **on(server))
    assert text.name == "completion"
    assert text.index.tolist() == ["x", "y"]


def test_a_list_of_dicts_comes_back_as_one(simulator, on):
    rows = [{"text": "Row 1.", "extra": [1]}, {"text": None, "extra": None}]
    out = pandas_llm.generate(rows, "${text}", ["fact"], **on(simulator()))
    assert out[0]["extra"] == [1]
    assert out[0]["fact"].startswith("[simulated]")
    assert out[1] == {"text": None, "extra": None, "fact": None}
    assert pandas_llm.complete(rows, "${text}", **on(simulator()))[1] is None


def test_agenerate_gives_the_same_frame(docs, simulator, on):
    options = on(simulator())
    expected = docs.llm.generate(PAIRS, QA, **options)
    got = asyncio.run(docs.llm.agenerate(PAIRS, QA, **options))
    pd.testing.assert_frame_equal(expected, got)


def test_system_examples_and_values_are_sent(docs, simulator, on):
    server = simulator()
    docs.head(1).llm.generate(
        "${text} ${tone}",
        QA,
        system="You know ${title}.",
        values={"tone": "kindly"},
        examples=[("A text", {"question": "Q", "answer": "A"}), ("B", "[]")],
        temperature=0.5,
        stop=["END"],
        **on(server),
    )
    body = server.requests()[0]["body"]
    assert body["messages"] == [
        {"role": "system", "content": "You know Washington."},
        {"role": "user", "content": "A text"},
        {"role": "assistant", "content": '{"records":[{"question":"Q","answer":"A"}]}'},
        {"role": "user", "content": "B"},
        {"role": "assistant", "content": "[]"},
        {"role": "user", "content": docs["text"].iloc[0] + " kindly"},
    ]
    assert (body["temperature"], body["stop"]) == (0.5, ["END"])
    assert body["response_format"]["json_schema"]["strict"] is True


def test_only_what_was_set_is_sent(docs, simulator, on):
    server = simulator()
    docs.head(1).llm.complete("${text}", **on(server))
    assert sorted(server.requests()[0]["body"]) == ["messages", "model"]


# -- rows that are not sent -----------------------------------------------------


def test_an_empty_frame_costs_no_call_and_is_typed():
    empty = pd.DataFrame({"text": pd.Series([], dtype="str")})
    out = empty.llm.generate("${text}", {"a": int, "b": dt.date, "c": ["x", "y"]})
    assert out.dtypes.astype(str).to_dict() == {
        "text": str(empty["text"].dtype),
        "a": "Int64",
        "b": "datetime64[us]",
        "c": "category",
    }
    assert len(empty.llm.complete("${text}")) == 0


def test_na_is_not_sent_unless_asked(simulator, on):
    df = pd.DataFrame({"text": ["Row 1.", None], "other": [np.nan, 1.0]})
    server = simulator()
    out = df.llm.complete("${text}", **on(server))
    assert out.isna().tolist() == [False, True]
    assert server.stats()["requests"] == 1
    df.llm.complete("<${text}>", na_action=None, **on(server))
    prompts = [r["body"]["messages"][-1]["content"] for r in server.requests()]
    assert sorted(prompts[1:]) == ["<>", "<Row 1.>"]


def test_equal_requests_share_one_call(simulator, on):
    df = pd.DataFrame({"text": ["Row 1.", "Row 2."] * 20})
    server = simulator(latency=0.01)
    out = df.llm.generate("${text}", ["fact"], **on(server))
    assert server.stats()["requests"] == 2
    assert out["fact"].nunique() == 2
    assert (out["fact"].str.contains("Row 1") == out["text"].eq("Row 1.")).all()
    server.reset()
    df.llm.generate("${text}", ["fact"], dedupe=False, **on(server))
    assert server.stats()["requests"] == 40


def test_a_template_without_a_column_warns(docs, simulator, on):
    with pytest.warns(LLMWarning, match="names no column") as caught:
        docs.llm.complete("Tell a joke.", **on(simulator()))
    assert caught[0].filename == __file__
    with pytest.warns(LLMWarning, match=r"^'text' is sent as it is: write \$\{text\}"):
        docs.llm.complete("text", **on(simulator()))


# -- bad input, before anything is sent -----------------------------------------


def test_no_model_or_key_names_the_ways_out(docs, monkeypatch):
    with pytest.raises(ConfigurationError, match="no model") as caught:
        docs.llm.complete("${text}")
    for way in ("OPENAI_API_KEY", "base_url='http://localhost", "model='sim'"):
        assert way in str(caught.value)
    with pytest.raises(ConfigurationError, match="no key"):
        docs.llm.complete("${text}", model="some-model")


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ([], ValueError, "keys is empty"),
        ({}, ValueError, "keys is empty"),
        (["a", "a"], ValueError, "'a' more than once"),
        (["title"], ValueError, "a column 'title' already"),
        (["text"], ValueError, "'text', which no key may replace: rename the key$"),
        ("question", TypeError, r"write \['question'\]"),
        ([1], TypeError, "must be a str"),
        ({"a": complex}, TypeError, "keys\\['a'\\]"),
    ],
)
def test_bad_keys_are_refused_before_any_call(docs, keys, error, words):
    with pytest.raises(error, match=words):
        docs.llm.generate("${text}", keys, model="sim")


def test_an_unknown_column_is_refused_before_any_call(docs):
    with pytest.raises(TemplateError, match=r"did you mean \$\{text\}"):
        docs.llm.generate("${txt}", QA, model="sim")


def test_bad_words_are_refused(docs):
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        docs.llm.generate("${text}", QA, model="sim", temprature=1)
    with pytest.raises(ValueError, match="how must be 'left' or 'inner'"):
        docs.llm.generate("${text}", QA, model="sim", how="outer")
    with pytest.raises(ValueError, match="errors must be"):
        docs.llm.generate("${text}", QA, model="sim", errors="ignore")
    with pytest.raises(ValueError, match="n must be 1"):
        docs.llm.extract("${text}", QA, model="sim", n=2)
    with pytest.raises(TypeError, match="data must be"):
        pandas_llm.generate(3, "${text}", QA, model="sim")


def test_a_lone_surrogate_fails_its_row_before_sending(simulator, on):
    df = pd.DataFrame({"text": ["Row 0.", "bad \ud800", "Row 2."]}, dtype=object)
    server = simulator()
    with pytest.warns(LLMWarning, match="1 encoding"):
        out = df.llm.generate("${text}", ["fact"], error_column="why", **on(server))
    assert out["fact"].isna().tolist() == [False, True, False]
    assert "\\ud800" in out["why"].iloc[1]
    assert server.stats()["requests"] == 2


# -- failures -------------------------------------------------------------------


def test_a_thousand_rows_of_which_three_fail_for_good(simulator, on):
    """No peer returned 1,000 aligned rows with 997 answers and 3 reasons."""
    df = frame_of(1000).set_axis([i % 7 for i in range(1000)])
    bad = {"Row 0.": "400", "Row 500.": "refusal", "Row 999.": "content_filter"}
    server = simulator(fail_if=bad)
    with pytest.warns(LLMWarning, match="3 of 1000 rows failed"):
        out = df.llm.extract("${text}", ["fact"], error_column="why", **on(server))
    assert len(out) == 1000
    failed = out["why"].notna()
    assert out.loc[failed, "number"].tolist() == [0, 500, 999]
    assert [w.split(":")[0] for w in out.loc[failed, "why"]] == [
        "bad_request",
        "refusal",
        "content_filter",
    ]
    assert out[~failed].apply(echo, axis=1).all()
    assert set(server.stats()["per_prompt"].values()) == {1}


def test_errors_raise_finishes_everything_first(simulator, on):
    df = frame_of(20).set_axis([f"r{i}" for i in range(20)])
    server = simulator(fail_if={"Row 3.": "refusal"})
    with pytest.raises(GenerationError, match="1 of 20 rows failed") as caught:
        df.llm.extract("${text}", ["fact"], errors="raise", **on(server))
    assert caught.value.partial["fact"].notna().sum() == 19
    row = caught.value.failures.iloc[0]
    assert (row["position"], row["label"], row["kind"]) == (3, "r3", "refusal")
    assert row["attempts"] == 1
    assert server.stats()["requests"] == 20


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("401", "authentication"), ("404", "model_not_found"), ("429_quota", "no_credit")],
)
def test_what_is_wrong_for_all_rows_costs_one_call(fault, kind, simulator, on):
    server = simulator(faults={fault: 1.0})
    with pytest.raises(LLMError) as caught:
        frame_of(50).llm.generate("${text}", ["fact"], **on(server))
    assert caught.value.kind == kind
    assert caught.value.fatal
    assert server.stats()["requests"] == 1
    assert len(caught.value.partial) == 50
    assert caught.value.failures["kind"].value_counts().to_dict() == {
        kind: 1,
        "not_sent": 49,
    }


def test_no_credit_in_the_middle_keeps_what_was_answered(simulator, on):
    server = simulator(fault_plan={100: "429_quota"}, latency=0.002)
    with pytest.raises(LLMError) as caught:
        frame_of(500).llm.generate("${text}", ["fact"], **on(server, concurrency=8))
    requests = server.stats()["requests"]
    assert requests <= 101 + 8
    assert caught.value.partial["fact"].notna().sum() == requests - 1


def test_the_same_refusal_of_the_first_rows_stops_the_run(simulator, on):
    server = simulator(faults={"400": 1.0})
    with pytest.raises(LLMError, match="first 10 rows all failed") as caught:
        frame_of(50).llm.generate("${text}", ["fact"], **on(server))
    assert server.stats()["requests"] == 10
    assert len(caught.value.partial) == 50


@pytest.mark.parametrize(
    "fault",
    [
        "429",
        "500",
        "503",
        "529",
        "reset",
        "truncated",
        "html",
        "empty",
        "broken_json",
        "error_200",
        "no_choices",
        "no_message",
        "bad_output",
        "wrong_schema",
    ],
)
def test_ten_percent_of_a_passing_fault_lose_no_row(fault, simulator, on):
    server = simulator(faults={fault: 0.1}, fault_delay=0.01)
    df = frame_of(200)
    out = df.llm.extract("${text}", ["fact"], output_retries=6, **on(server))
    assert out.apply(echo, axis=1).all()
    assert len(out) == 200
    stats = server.stats()
    assert stats["requests"] > 200
    assert out.llm.usage.retries >= stats["requests"] - 200 - 50


def test_a_thousand_rows_with_mixed_faults_lose_and_double_none(simulator, on):
    faults = dict.fromkeys(["429", "500", "reset", "html", "broken_json"], 0.02)
    server = simulator(faults=faults, fault_delay=0.01)
    out = frame_of(1000).llm.extract("${text}", ["fact"], **on(server))
    assert out["number"].tolist() == list(range(1000))
    assert out.apply(echo, axis=1).all()


def test_a_missing_usage_is_no_error(simulator, on):
    out = frame_of(5).llm.extract(
        "${text}", ["fact"], **on(simulator(faults={"no_usage": 1.0}))
    )
    assert out["fact"].notna().all()
    assert out.llm.usage.input_tokens == 0


def test_a_row_that_hangs_fails_alone(simulator, on):
    server = simulator(fail_if={"Row 7.": "hang"})
    with pytest.warns(LLMWarning, match="1 timeout"):
        out = frame_of(20).llm.extract(
            "${text}", ["fact"], request_timeout=1, max_retries=1, **on(server)
        )
    assert out["fact"].isna().sum() == 1


@pytest.mark.usefixtures("short_search")
def test_an_unreachable_server_is_one_error(docs):
    with pytest.raises(LLMError, match="Is the server running") as caught:
        docs.llm.complete("${text}", model="sim", base_url="http://127.0.0.1:9/v1")
    assert caught.value.kind == "unreachable"


def test_the_deadline_keeps_what_is_done(simulator, on):
    server = simulator(latency=0.1)
    with pytest.warns(LLMWarning, match="deadline"):
        out = frame_of(400).llm.extract(
            "${text}",
            ["fact"],
            deadline=1.0,
            error_column="why",
            **on(server, concurrency=4),
        )
    done = out["fact"].notna()
    assert 4 <= done.sum() < 100
    assert out.loc[~done, "why"].str.startswith("deadline").all()
    requests = server.stats()["requests"]
    assert requests <= done.sum() + 4


def test_concurrency_is_bounded_as_the_server_sees_it(simulator, on):
    server = simulator(latency=0.02, jitter=0.5)
    frame_of(200).llm.extract("${text}", ["fact"], **on(server, concurrency=7))
    assert server.stats()["max_in_flight"] == 7


def test_an_unexpected_error_in_a_cell_keeps_what_is_done(simulator, on):
    class Odd:
        def __str__(self):
            raise RuntimeError("odd cell")

    df = pd.DataFrame({"text": ["Row 0.", "Row 1.", Odd(), "Row 3."]}, dtype=object)
    with pytest.raises(RuntimeError, match="odd cell") as caught:
        df.llm.extract("${text}", ["fact"], **on(simulator(), concurrency=1))
    assert caught.value.partial["fact"].notna().tolist() == [True, True, False, False]


def test_details_add_columns(docs, simulator, on):
    out = docs.llm.extract("${text}", ["fact"], details=True, **on(simulator()))
    assert out["llm_attempts"].tolist() == [1, 1, 1]
    assert out["llm_finish_reason"].tolist() == ["stop"] * 3
    assert out["llm_text"].str.startswith("{").all()
    assert (out["llm_output_tokens"] > 0).all()
    frame = docs.llm.complete("${text}", details=True, **on(simulator()))
    assert list(frame.columns)[:2] == ["completion", "llm_text"]


def test_the_only_model_of_a_server_is_used(docs, simulator):
    server = simulator()
    out = docs.llm.complete("${text}", base_url=server.base_url, progress=False)
    assert out.notna().all()
    assert out.attrs["llm"]["model"] == "sim"
    server = simulator(models=("a", "b"))
    with pytest.raises(ConfigurationError, match=r"lists: .*'a', 'b'"):
        docs.llm.complete("${text}", base_url=server.base_url, progress=False)


def test_attrs_survive_parquet(docs, simulator, on, tmp_path):
    out = docs.reset_index(drop=True).llm.generate(PAIRS, QA, **on(simulator()))
    out.to_parquet(tmp_path / "out.parquet")
    back = pd.read_parquet(tmp_path / "out.parquet")
    assert str(back.llm.usage) == str(out.llm.usage)


def test_a_key_is_in_no_message_repr_or_log(docs, simulator, caplog):
    secret = "sk-very-secret-key"
    server = simulator(api_key="another")
    caplog.set_level("DEBUG", "pandas_llm")
    with pytest.raises(LLMError) as caught:
        docs.llm.complete(
            "${text}", model="m", base_url=server.base_url, api_key=secret
        )
    error = caught.value
    seen = f"{error!r} {error} {vars(error)} {error.failures} {caplog.text}"
    assert secret not in seen
    plan = pandas_llm.Plan("${text}", ["a"], model="m", api_key=secret)
    assert secret not in f"{plan!r} {vars(plan)}"


def test_the_function_names_the_labels_as_the_accessor_does(docs, simulator, on):
    words = ("Topic of: ${text}", ["war", "law"])
    server = simulator()
    named = docs.llm.classify(*words, **on(server))
    pd.testing.assert_series_equal(
        pandas_llm.classify(docs, *words, **on(server)), named
    )
    assert named.name == "label"

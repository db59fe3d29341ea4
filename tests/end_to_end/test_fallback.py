"""Rows that one model cannot answer go to the next; texts too long are shortened."""

from __future__ import annotations

import pandas as pd
import pytest
from loopback_server import Server, completion, failure

from pandas_llm import GenerationError, LLMError, LLMWarning
from pandas_llm._client import verdict
from pandas_llm._engine import fallback
from pandas_llm.simulator import Simulator

ROWS = 20


pytestmark = pytest.mark.usefixtures("short_waits")


def facts(rows=ROWS):
    return pd.DataFrame({"text": [f"Row {i}." for i in range(rows)]})


TROUBLES = {
    "refusal": lambda: completion(None, refusal="I would rather not."),
    "output": lambda: completion("no JSON here"),
    "server": lambda: failure(500, "It fell over."),
    "content_filter": lambda: failure(400, "flagged", "content_filter"),
    "bad_request": lambda: failure(400, "cannot read this", "invalid_prompt"),
    "context_length": lambda: failure(
        400, "maximum context length is 100 tokens", "context_length_exceeded"
    ),
}


def models(trouble, rows=("Row 3.", "Row 11.")):
    """Return a server where model m1 cannot answer some rows, and m2 answers all."""

    def answer(body):
        prompt = next(m["content"] for m in body["messages"] if m["role"] == "user")
        if body["model"] == "m1" and prompt in rows:
            return TROUBLES[trouble]()
        text = f'{{"fact": "{body["model"]}: {prompt}"}}'
        return completion(text, prompt_tokens=10, completion_tokens=5)

    return Server(answer)


def asked(server, model):
    return [body for body in server.bodies if body["model"] == model]


def options(server, **more):
    return {
        "model": "m1",
        "base_url": server.base_url,
        "fallback": ["m2"],
        "max_retries": 1,
        "output_retries": 0,
        "progress": False,
        **more,
    }


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_row_one_model_cannot_answer_goes_to_the_next(trouble):
    with (
        models(trouble) as server,
        pytest.warns(
            LLMWarning, match="2 of 20 rows are answered, with a remark .2 fa"
        ),
    ):
        out = facts().llm.extract(
            "${text}", ["fact"], error_column="why", **options(server)
        )
    by = ["m2" if i in (3, 11) else "m1" for i in range(ROWS)]
    assert out["fact"].tolist() == [
        f"{model}: {text}" for model, text in zip(by, out["text"], strict=True)
    ]
    assert out["why"].notna().tolist() == [model == "m2" for model in by]
    assert out["why"].iloc[3].startswith("fallback: answered by m2, because: ")
    assert out.attrs["llm"]["answered_by"] == "m1: 18, m2: 2"
    assert out.llm.usage.failed == 0
    assert len(asked(server, "m1")) == ROWS + 2 * (trouble == "server")
    assert len(asked(server, "m2")) == 2


def test_errors_raise_does_not_raise_for_rows_that_fell_back():
    with models("refusal") as server, pytest.warns(LLMWarning, match="2 fallback"):
        out = facts().llm.extract(
            "${text}", ["fact"], errors="raise", **options(server)
        )
    assert out["fact"].notna().all()


def test_a_row_that_no_model_can_answer_fails_with_the_last_reason():
    with models("refusal") as server, pytest.raises(GenerationError) as caught:
        facts().llm.extract(
            *("${text}", ["fact"]),
            errors="raise",
            **options(server, fallback=["m1", "m1"]),
        )
    failures = caught.value.failures
    assert failures["position"].tolist() == [3, 11]
    assert failures["kind"].tolist() == ["refusal"] * 2
    assert len(server.bodies) == ROWS + 4


def test_no_record_from_the_next_model_is_an_answer_too():
    def answer(body):
        if body["model"] == "m1":
            return TROUBLES["refusal"]()
        return completion("NONE")

    with Server(answer) as server, pytest.warns(LLMWarning, match="with a remark"):
        out = facts(3).llm.generate(
            "${text}", ["fact"], errors="raise", **options(server)
        )
    assert out["fact"].isna().all()
    assert out.llm.usage.failed == 0


def test_equal_rows_count_each_for_whom_it_was_answered_by():
    df = pd.concat([facts(5)] * 3, ignore_index=True)
    with models("refusal") as server, pytest.warns(LLMWarning, match="fallback"):
        out = df.llm.extract("${text}", ["fact"], **options(server))
    assert out.attrs["llm"]["answered_by"] == "m1: 12, m2: 3"
    assert len(server.bodies) == 6


@pytest.mark.parametrize("trouble", ["refusal", "server", "context_length"])
def test_the_same_line_again_asks_no_model_at_all(trouble, tmp_path):
    with models(trouble) as server:
        more = options(server, cache=tmp_path / "c.sqlite", error_column="why")
        with pytest.warns(LLMWarning, match="2 fallback"):
            first = facts().llm.extract("${text}", ["fact"], **more)
        sent = len(server.bodies)
        with pytest.warns(LLMWarning, match="2 fallback"):
            again = facts().llm.extract("${text}", ["fact"], **more)
        with pytest.warns(LLMWarning, match="2 fallback"):
            facts().llm.extract("${text}", ["fact"], replay=True, **more)
        assert len(server.bodies) == sent
        pd.testing.assert_frame_equal(again, first)
        assert again.attrs["llm"]["answered_by"] == "m1: 18, m2: 2"
        assert again.llm.usage.cached == ROWS
        # without the other model the first one is asked what it could not answer
        with pytest.warns(LLMWarning, match="2 of 20 rows failed"):
            facts().llm.extract("${text}", ["fact"], **{**more, "fallback": ()})
        assert len(asked(server, "m2")) == 2
        assert len(server.bodies) == sent + 2 + 2 * (trouble == "server")


def test_answers_of_the_next_model_alone_are_never_taken_for_those_of_the_first(
    tmp_path,
):
    with models("refusal", rows=()) as server:
        more = options(server, cache=tmp_path / "c.sqlite")
        facts().llm.extract("${text}", ["fact"], **{**more, "model": "m2"})
        out = facts().llm.extract("${text}", ["fact"], **more)
    assert out["fact"].str.startswith("m1").all()


def test_rows_go_on_where_a_server_is_not_there(simulator, monkeypatch):
    monkeypatch.setattr(verdict, "_NEVER_REACHED", 0.3)
    monkeypatch.setattr(fallback, "_UNTIL_NEXT", 0.5)
    other = simulator(models=("m2",))
    monkeypatch.setenv("OPENAI_BASE_URL", other.base_url)
    with pytest.warns(LLMWarning, match="20 fallback"):
        out = facts().llm.extract(
            *("${text}", ["fact"]),
            model="sim",
            base_url="http://127.0.0.1:9/v1",
            fallback=["openai/m2"],
            progress=False,
            max_retries=1,
        )
    assert out["fact"].notna().all()
    assert out.attrs["llm"]["answered_by"] == "sim: 0, m2: 20"
    assert other.stats()["requests"] == ROWS


def test_rows_go_on_where_a_server_goes_down_in_the_middle(
    simulator, monkeypatch, tmp_path
):
    monkeypatch.setattr(fallback, "_UNTIL_NEXT", 0.5)
    first, other = Simulator(latency=0.02), simulator(models=("m2",))
    monkeypatch.setenv("OPENAI_BASE_URL", other.base_url)
    with first:
        base_url = first.base_url
        facts(30).llm.extract(
            *("${text}", ["fact"]),
            model="sim",
            base_url=base_url,
            progress=False,
            cache=tmp_path / "c.sqlite",
        )
    # settled before, so that it is no address that never answered
    with pytest.warns(LLMWarning, match="170 fallback"):
        out = facts(200).llm.extract(
            *("${text}", ["fact"]),
            model="sim",
            base_url=base_url,
            fallback=["openai/m2"],
            progress=False,
            max_retries=1,
            cache=tmp_path / "c.sqlite",
        )
    assert out["fact"].tolist() == [f"[simulated] {text}" for text in out["text"]]
    assert out.attrs["llm"]["answered_by"] == "sim: 30, m2: 170"


def test_a_wrong_key_is_no_reason_to_fall_back():
    def answer(body):
        return failure(401, "Incorrect API key provided", "invalid_api_key")

    with Server(answer) as server, pytest.raises(LLMError) as caught:
        facts().llm.extract("${text}", ["fact"], **options(server))
    assert caught.value.kind == "authentication"
    assert len(server.bodies) == 1


# -- too long -------------------------------------------------------------------


def long_and_short():
    text = [f"Row {i}. " + "word " * (400 if i % 5 == 2 else 3) for i in range(ROWS)]
    return pd.DataFrame({"text": text, "title": [f"Title {i}" for i in range(ROWS)]})


TEMPLATE = "Name one fact.\ntext: ${text}\ntitle: ${title}"


def test_what_is_too_long_fails_its_row_with_its_own_kind(simulator, on):
    server = simulator(context_length=100)
    with pytest.warns(LLMWarning, match="4 context_length"):
        out = long_and_short().llm.extract(TEMPLATE, ["fact"], **on(server))
    assert out["fact"].isna().tolist() == [i % 5 == 2 for i in range(ROWS)]
    assert server.stats()["requests"] == ROWS


def test_truncate_shortens_what_is_too_long_and_marks_it(simulator, on):
    server, df = simulator(context_length=100), long_and_short()
    with pytest.warns(LLMWarning, match="4 of 20 rows are answered.*4 shortened"):
        out = df.llm.extract(
            *(TEMPLATE, ["fact"]),
            truncate="text",
            errors="raise",
            error_column="why",
            **on(server),
        )
    assert out["fact"].notna().all()
    marked = (
        out["why"].str.startswith("shortened: its text was cut").fillna(value=False)
    )
    assert marked.tolist() == [i % 5 == 2 for i in range(ROWS)]
    pd.testing.assert_frame_equal(out[["text", "title"]], df)
    prompts = [r["body"]["messages"][-1]["content"] for r in server.requests()]
    answered = [
        prompt
        for prompt, request in zip(prompts, server.requests(), strict=True)
        if request["status"] == 200
    ]
    assert len(answered) == ROWS
    for i in range(ROWS):
        (prompt,) = [p for p in answered if p.endswith(f"title: Title {i}")]
        assert prompt.startswith(f"Name one fact.\ntext: Row {i}. word")
        assert len(prompt) > 150 or i % 5 != 2


def test_the_same_line_with_truncate_again_sends_nothing(simulator, on, tmp_path):
    server, df = simulator(context_length=100), long_and_short()
    more = on(server, truncate="text", cache=tmp_path / "c.sqlite")
    with pytest.warns(LLMWarning, match="4 shortened"):
        first = df.llm.extract(TEMPLATE, ["fact"], **more)
    sent = server.stats()["requests"]
    for replay in (False, True):
        with pytest.warns(LLMWarning, match="4 shortened"):
            again = df.llm.extract(TEMPLATE, ["fact"], replay=replay, **more)
        pd.testing.assert_frame_equal(again, first)
    assert server.stats()["requests"] == sent
    # the default never shortens, whatever was done before
    with pytest.warns(LLMWarning, match="4 context_length"):
        df.llm.extract(TEMPLATE, ["fact"], **on(server, cache=tmp_path / "c.sqlite"))


def test_a_template_that_is_too_long_by_itself_fails_its_rows(simulator, on):
    server = simulator(context_length=30)
    with pytest.warns(LLMWarning, match="2 context_length"):
        facts(2).llm.extract(
            "${text} " + "word " * 100, ["fact"], truncate="text", **on(server)
        )
    assert server.stats()["requests"] <= 20


def test_a_model_that_reads_more_is_asked_with_the_whole_text():
    """m1 is too small even for a shortened text, m2 takes it all."""

    def answer(body):
        if body["model"] == "m1":
            return TROUBLES["context_length"]()
        return completion(f'{{"fact": "{len(body["messages"][-1]["content"])}"}}')

    df = pd.DataFrame({"text": ["word " * 1000]})
    with Server(answer) as server, pytest.warns(LLMWarning, match="1 fallback"):
        out = df.llm.extract("${text}", ["fact"], **options(server, truncate="text"))
    assert out["fact"].tolist() == ["5000"]


@pytest.mark.parametrize(
    ("prices", "each"),
    [
        ({"m1": (1.0, 2.0), "m2": (10.0, 20.0)}, [20e-6, 200e-6]),
        ({"m1": (1.0, 2.0)}, None),
        ({"m2": (1.0, 2.0)}, None),
    ],
    ids=["both", "the first", "the second"],
)
def test_a_pilots_rows_have_the_price_of_the_model_that_answered(prices, each):
    with models("content_filter", ["Row 1."]) as server:
        found = facts(4).llm.estimate(
            "${text}", ["fact"], pilot=2, **options(server, prices=prices)
        )
    assert (found.input_tokens, found.output_tokens) == (40, 20)
    if each is None:
        assert "unknown price\n" in f"{found}\n"
    else:
        assert found.cost == pytest.approx(2 * sum(each))
        assert found.low < found.cost < found.high


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_a_model_that_refuses_all_from_then_on_ends_no_run(status):
    def answer(body):
        asked_first = [b for b in server.bodies if b["model"] == "m1"]
        if body["model"] == "m1" and len(asked_first) > 5:
            no = failure(status, "no more")
            no.headers["Retry-After"] = "3600"
            return no
        return completion(f'{{"fact": "{body["model"]}"}}')

    with Server(answer) as server, pytest.warns(LLMWarning, match="fallback"):
        out = facts(60).llm.extract(
            "${text}", ["fact"], **options(server, concurrency=1)
        )
    assert out["fact"].tolist() == ["m1"] * 5 + ["m2"] * 55


def test_a_key_of_the_last_model_that_is_revoked_costs_few_calls():
    def answer(body):
        if body["model"] == "m1":
            return completion(None, refusal="I would rather not.")
        asked_last = [b for b in server.bodies if b["model"] == "m2"]
        return failure(401, "gone") if len(asked_last) > 5 else completion("{}")

    with Server(answer) as server, pytest.raises(LLMError, match="gone") as caught:
        facts(500).llm.complete("${text}", concurrency=4, **options(server))
    assert caught.value.kind == "authentication"
    assert len(asked(server, "m2")) <= 5 + 20 + 4

"""Embeddings over real HTTP, in each dialect that has them."""

from __future__ import annotations

import asyncio
import sqlite3
import warnings
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_server import Server, failure

import pandas_llm
from pandas_llm import ConfigurationError, LLMWarning, Plan, TemplateError, errors
from pandas_llm._client import endpoint as endpoints
from pandas_llm.cache.fingerprint import Fingerprint
from pandas_llm.providers import connect
from pandas_llm.providers.dialect import Bundling
from pandas_llm.providers.vendors import openai
from pandas_llm.simulator import Simulator
from pandas_llm.simulator.answers.texts import count_tokens
from pandas_llm.simulator.answers.vectors import embed
from pandas_llm.simulator.dialects import embeddings
from pandas_llm.types import Endpoint, HTTPResponse, Request, Spec

# provider to the path that embeddings go to
PATHS = {
    "openai": "/v1/embeddings",
    "azure": "/openai/v1/embeddings",
    "google": "/v1beta/models/sim:batchEmbedContents",
    "ollama": "/api/embed",
    "bedrock": "/model/sim/invoke",
}
MOST = {"openai": 2048, "azure": 2048, "google": 100, "ollama": 256, "bedrock": 1}


@pytest.fixture(params=PATHS)
def provider(request) -> str:
    return request.param


def texts(count: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"Cat {i} purrs." for i in range(count)]})


def expected(words, dimensions=8) -> np.ndarray:
    """What the simulator's vectors are, rounded to float32 once."""
    return np.array([embed(w, dimensions) for w in words], dtype=np.float32)


def inputs(server) -> list[list[str]]:
    """The texts of each request, in any of the dialects."""
    bodies = [seen["body"] for seen in server.requests()]
    return [
        [body["inputText"]]
        if "inputText" in body
        else body["input"]
        if "input" in body
        else [r["content"]["parts"][0]["text"] for r in body["requests"]]
        for body in bodies
    ]


def sent_texts(server) -> list[str]:
    return [text for request in inputs(server) for text in request]


def same(found, wanted) -> bool:
    return np.array_equal(np.stack(list(found)), wanted)


# -- the result -----------------------------------------------------------------


def test_each_row_has_the_vector_of_its_text(simulator, here, provider):
    server = simulator(api_key="k")
    df = texts(300).set_index(pd.Index([7] * 300))
    out = df.llm.embed("text", dimensions=8, **here(server))
    assert out.name == "embedding"
    assert out.dtype == object
    assert out.index.tolist() == [7] * 300
    assert {(v.dtype.str, v.shape, v.flags.writeable) for v in out} == {
        ("<f4", (8,), True)
    }
    assert same(out, expected(df["text"]))
    assert {seen["path"] for seen in server.requests()} == {PATHS[provider]}
    assert server.stats()["by_status"] == {"200": server.stats()["requests"]}


def test_a_column_a_template_and_a_series_are_all_texts(simulator, on):
    server = simulator()
    df = pd.DataFrame({"a": ["x", "y"], 0: ["u", "v"]})
    given = on(server, dimensions=4)
    assert same(df.llm.embed("a", **given), expected("xy", 4))
    assert same(df.llm.embed("0", **given), expected("uv", 4))
    both = df.llm.embed("${a} is ${0}", **given)
    assert same(both, expected(["x is u", "y is v"], 4))
    for series in (df["a"], df["a"].rename(None)):
        assert same(series.llm.embed(**given), expected("xy", 4))
    assert same(df["a"].llm.embed("my ${a}", **given), expected(["my x", "my y"], 4))
    rows = [{"a": "x"}, {"a": None}]
    first, second = pandas_llm.embed(rows, "a", **given)
    assert same([first], expected("x", 4))
    assert second is None
    assert same(asyncio.run(df.llm.aembed("a", **given)), expected("xy", 4))
    assert same(asyncio.run(pandas_llm.aembed(df, "a", **given)), expected("xy", 4))


def test_expanded_vectors_are_columns_of_float32(simulator, on):
    df = pd.DataFrame({"text": ["a", None, "b", "a"]}, index=[3, 3, 1, 0])
    given = on(simulator(), expand=True, name="e")
    out = df.llm.embed("text", dimensions=3, **given)
    assert out.columns.tolist() == ["e_0", "e_1", "e_2"]
    assert set(out.dtypes) == {np.dtype("float32")}
    assert out.index.equals(df.index)
    assert np.array_equal(out.to_numpy()[[0, 2, 3]], expected("aba", 3))
    assert out.iloc[1].isna().all()
    assert df.iloc[:0].llm.embed("text", dimensions=3, **given).shape == (0, 3)
    nothing = df.iloc[[1]].llm.embed("text", dimensions=3, **given)
    assert nothing.dtypes.tolist() == out.dtypes.tolist()
    assert nothing.isna().all().all()


def test_equal_texts_share_a_call_but_not_an_array(simulator, on):
    server = simulator()
    out = pd.Series(["a", "b", "a"]).llm.embed(dimensions=2, **on(server))
    assert sorted(sent_texts(server)) == ["a", "b"]
    out[0][:] = 0
    assert same([out[2]], expected("a", 2))


def test_what_holds_no_text_is_not_sent(simulator, on):
    server = simulator()
    df = pd.DataFrame({"text": ["a", None, "", "b\ud800", "b"]}, dtype=object)
    with pytest.warns(LLMWarning, match="2 of 5 rows failed"):
        out = df.llm.embed("text", dimensions=2, error_column="why", **on(server))
    assert out["embedding"].notna().tolist() == [True, False, False, False, True]
    kinds = [None if pd.isna(why) else why.split(":")[0] for why in out["why"]]
    assert kinds == [None, None, "empty_text", "encoding", None]
    assert sorted(sent_texts(server)) == ["a", "b"]


# -- bundles --------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing():
    with Simulator() as server:
        yield server


@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore:column .* is NA in every row")
@given(
    st.lists(st.sampled_from("abcdefgh") | st.none(), max_size=30),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 4),
    st.booleans(),
)
def test_order_and_repetitions_hold_for_any_bundles(  # noqa: PLR0917 - cases
    standing, cells, most, tokens, concurrency, dedupe
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai.OpenAI, "embeds", Bundling(most, tokens))
        out = pd.Series(cells, dtype=object).llm.embed(
            dimensions=4,
            model="sim",
            base_url=standing.base_url,
            concurrency=concurrency,
            dedupe=dedupe,
            progress=False,
        )
    wanted = [None if cell is None else embed(cell, 4) for cell in cells]
    assert [v is None for v in out] == [w is None for w in wanted]
    for found, want in zip(out, wanted, strict=True):
        assert found is None or np.array_equal(found, np.array(want, dtype=np.float32))


def test_bundles_are_as_large_as_the_provider_takes(simulator, here, provider):
    server, rows = simulator(), 5000 if MOST[provider] > 300 else 600
    texts(rows).llm.embed("text", dimensions=8, concurrency=2, **here(server))
    sizes = [len(found) for found in inputs(server)]
    assert sum(sizes) == rows
    assert sizes[0] == 1  # a wrong key would have cost one small call
    assert max(sizes) == MOST[provider]
    assert len(sizes) == 1 + -(-(rows - 1) // MOST[provider])
    assert server.stats()["by_status"] == {"200": len(sizes)}


def test_bundles_stay_below_the_tokens_of_a_request(simulator, on):
    server = simulator()
    long = pd.Series([f"{i} " + "word " * 4000 for i in range(120)])
    long.llm.embed(dimensions=8, **on(server))
    sums = [sum(map(count_tokens, found)) for found in inputs(server)]
    assert server.stats()["by_status"] == {"200": len(sums)}  # above it answers 400
    assert 150_000 < max(sums) <= 300_000


def test_answers_stay_below_what_the_transport_takes(simulator, on):
    server = simulator(reject_params=("encoding_format",))
    out = texts(1200).llm.embed("text", dimensions=2000, **on(server))
    assert out.notna().all()
    assert server.stats()["by_status"]["200"] == server.stats()["requests"] - 1
    answers = [sum(map(len, map(str, found))) for found in inputs(server)]
    assert len(answers) > 2


def test_limits_that_nobody_knew_of_are_found(simulator, on, monkeypatch):
    monkeypatch.setattr(embeddings, "_MOST_INPUTS", 20)
    server = simulator()
    df = texts(3000)
    monkeypatch.setattr(openai.OpenAI, "embeds", Bundling(320, 300_000))
    out = df.llm.embed("text", dimensions=8, concurrency=1, **on(server))
    assert same(out, expected(df["text"]))
    sizes = [len(found) for found in inputs(server)]
    assert server.stats()["by_status"]["400"] <= 16  # 320, 160, 80, 40: found once
    assert sizes[-2] == 20


def test_a_minutes_tokens_are_not_asked_at_once(simulator, on):
    server = simulator()
    series = pd.Series([f"{i} " + "word " * 1000 for i in range(100)])
    given = on(server, dimensions=8, tokens_per_minute=60_000, deadline=1.5)
    with pytest.warns(LLMWarning, match="deadline"):
        series.llm.embed(**given)
    sums = [sum(map(count_tokens, found)) for found in inputs(server)]
    assert 5_000 < max(sums) <= 60_000 / 4


def test_the_minutes_tokens_that_headers_tell_count_too(simulator, on):
    server = simulator(tokens_per_minute=60_000)
    series = pd.Series([f"{i} " + "word " * 1000 for i in range(100)])
    with pytest.warns(LLMWarning, match="deadline"):
        series.llm.embed(dimensions=8, deadline=1.5, **on(server))
    sums = [sum(map(count_tokens, found)) for found in inputs(server)]
    assert 5_000 < max(sums) <= 60_000 / 4


# -- failures -------------------------------------------------------------------


def test_one_text_that_is_too_long_costs_its_neighbours_nothing(
    simulator, here, provider
):
    server = simulator(context_length=50)
    df = texts(64)
    df.loc[37, "text"] = "word " * 80
    with pytest.warns(LLMWarning, match=r"1 of 64 rows failed \(1 context_length\)"):
        out = df.llm.embed("text", dimensions=8, **here(server))
    rest = df.drop(37)["text"]
    assert same(out.drop(37), expected(rest))
    assert out[37] is None
    assert server.stats()["requests"] <= (64 if MOST[provider] == 1 else 1 + 2 * 7)
    assert set(rest) <= set(sent_texts(server))


def test_a_text_that_is_too_long_can_be_shortened(simulator, on):
    server = simulator(context_length=50)
    df = texts(20)
    df.loc[7, "text"] = "word " * 80
    with pytest.warns(LLMWarning, match="shortened"):
        out = df.llm.embed("text", dimensions=8, truncate="text", **on(server))
    assert same(out.drop(7), expected(df.drop(7)["text"]))
    assert out[7].shape == (8,)


def test_a_stray_401_puts_its_bundle_off(simulator, on, monkeypatch):
    monkeypatch.setattr(openai.OpenAI, "embeds", Bundling(10, 300_000))
    df = texts(100)
    server = simulator(fault_plan={4: "401"})
    out = df.llm.embed("text", dimensions=8, **on(server, concurrency=1))
    assert same(out, expected(df["text"]))
    assert server.stats()["requests"] == 1 + 10 + 1


def test_a_bundle_that_is_refused_for_good_is_asked_for_twice(monkeypatch):
    monkeypatch.setattr(openai.OpenAI, "embeds", Bundling(10, 300_000))

    def answer(body):
        if "text 15" in " ".join(body["input"]):
            return failure(404, "no such thing")
        vectors = [
            {"index": i, "embedding": [1.0]} for i, _ in enumerate(body["input"])
        ]
        return {"data": vectors}

    df = pd.DataFrame({"text": [f"text {i}" for i in range(60)]})
    with Server(answer) as server, pytest.warns(LLMWarning, match="9 not_found"):
        out = df.llm.embed(
            "text", base_url=server.base_url, model="m", concurrency=1, progress=False
        )
    # one of the ten was asked beside the last rows that were left
    assert out.isna().sum() == 9
    assert len(server.bodies) == 1 + 6 + 1


def test_a_run_that_ends_half_way_keeps_what_was_answered(
    simulator, on, tmp_path, monkeypatch
):
    monkeypatch.setattr(openai.OpenAI, "embeds", Bundling(10, 300_000))
    df = texts(100)
    given = {"dimensions": 8, "cache": tmp_path / "c.sqlite", "concurrency": 1}
    server = simulator(fault_plan={4: "429_quota"})
    with pytest.raises(errors.LLMError) as caught:
        df.llm.embed("text", **on(server, **given))
    partial = caught.value.partial
    assert partial.notna().sum() == 31  # the probe and three bundles
    done = partial.notna()
    assert same(partial[done], expected(df["text"][done]))
    assert len(caught.value.failures) == 69
    again = df.llm.embed("text", **on(server, **given))
    assert same(again, expected(df["text"]))
    assert again.llm.usage.cached == 31


PASSING = [
    *("429", "500", "503", "529", "reset", "truncated", "html", "empty", "no_usage"),
    *("broken_json", "error_200", "bad_output", "wrong_schema", "no_choices"),
    *("no_message", "cut_off"),
]


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("fault", PASSING)
def test_faults_of_the_moment_cost_no_row(simulator, here, fault):
    server = simulator(fault_plan={2: fault}, fault_delay=0.02)
    df = texts(700)
    out = df.llm.embed("text", dimensions=8, **here(server))
    assert same(out, expected(df["text"]))


def test_a_deadline_leaves_what_was_done(simulator, on, monkeypatch):
    monkeypatch.setattr(openai.OpenAI, "embeds", Bundling(10, 300_000))
    server = simulator(latency=0.1)
    with pytest.warns(LLMWarning, match="deadline"):
        out = texts(1000).llm.embed(
            "text", dimensions=8, concurrency=1, deadline=1.0, **on(server)
        )
    done = out.notna()
    assert 0 < done.sum() < 1000
    assert same(out[done], expected(texts(1000)["text"][done]))


def test_a_wrong_key_costs_one_small_call(simulator, here):
    server = simulator(api_key="right")
    with pytest.raises(errors.AuthenticationError):
        texts(500).llm.embed("text", **here(server))
    assert [len(found) for found in inputs(server)] == [1]


def test_a_key_that_ran_out_is_renewed(simulator, on):
    server = simulator(api_key="new")
    keys = iter(["old", "new"])
    given = on(server, api_key=lambda: next(keys))
    assert texts(5).llm.embed("text", dimensions=8, **given).notna().all()


# -- money and memory -----------------------------------------------------------


def test_what_is_kept_is_not_sent_again(simulator, on, tmp_path):
    server = simulator()
    given = on(server, dimensions=256, cache=tmp_path / "c.sqlite")
    first = texts(40).llm.embed("text", **given)
    again = texts(50).iloc[::-1].llm.embed("text", **given)
    assert sum(len(found) for found in inputs(server)) == 50  # ten are new
    assert again.llm.usage.cached == 40
    assert same(again.iloc[::-1][:40], np.stack(list(first)))
    assert same(texts(50).llm.embed("text", **given), expected(texts(50)["text"], 256))
    texts(50).llm.embed("text", **given, refresh=True)
    assert sum(len(found) for found in inputs(server)) == 100


def test_a_vector_is_kept_as_its_bytes(simulator, on, tmp_path):
    path = tmp_path / "c.sqlite"
    texts(3).llm.embed("text", **on(simulator(), dimensions=256, cache=path))
    with closing(sqlite3.connect(path)) as connection:
        kept = [row[0] for row in connection.execute("SELECT reply FROM replies")]
    assert len(kept) == 3
    assert all(4 * 256 < len(text) < 4 * 256 + 120 for text in kept)
    assert kept[0][-1024:] in {v.tobytes() for v in expected(texts(3)["text"], 256)}


def test_keys_of_the_cache_stay_what_they_are():
    """A change here would make people pay again for all their vectors."""
    task = Plan("text", verb="embed", dimensions=256, model="m")._task
    spec = Spec("m", schema=task.output.schema, max_tokens=0)
    endpoint = Endpoint("openai", "https://api.openai.com/v1", "m", None, embeds=256)
    digest = Fingerprint(endpoint).of(Request(spec, "Hello"))
    assert digest.hex() == "51e0f78acbf78adea46d662c08c34117"


def test_texts_vectors_and_lengths_do_not_answer_for_each_other(
    simulator, on, tmp_path
):
    server = simulator()
    given = on(server, cache=tmp_path / "c.sqlite")
    series = pd.Series(["a"])
    series.llm.complete("${value}", **given)
    lengths = [len(series.llm.embed(dimensions=d, **given)[0]) for d in (None, 2, 3)]
    assert lengths == [256, 2, 3]
    assert server.stats()["requests"] == 4


def test_replay_sends_nothing(simulator, on, tmp_path):
    server = simulator()
    given = on(server, dimensions=8, cache=tmp_path / "c.sqlite")
    texts(3).llm.embed("text", **given)
    sent = server.stats()["requests"]
    for _ in range(2):
        with pytest.warns(LLMWarning, match="2 not_cached"):
            out = texts(5).llm.embed("text", replay=True, **given)
        assert out.notna().tolist() == [True] * 3 + [False] * 2
        endpoints._settled.clear()  # as in another process
    assert server.stats()["requests"] == sent


def test_tokens_and_dollars_are_those_of_the_server(simulator, here, tmp_path):
    server = simulator()
    given = here(server, dimensions=8, prices={"sim": (1.0, 5.0)})
    out = texts(300).llm.embed("text", details=True, **given)
    usage, billed = out.llm.usage, server.stats()["tokens_in"]
    assert usage.input_tokens == billed == out["llm_input_tokens"].sum()
    assert usage.output_tokens == 0
    assert usage.cost == pytest.approx(billed / 1e6)
    assert usage.requests == server.stats()["requests"]
    assert out["llm_attempts"].eq(1).all()


def test_max_cost_is_used_up_and_not_passed(simulator, on):
    server = simulator()
    price = {"sim": (1_000_000.0, 0.0)}  # a dollar a token
    given = on(server, dimensions=8, prices=price, max_cost=300.0, concurrency=1)
    with pytest.raises(errors.CostLimitError) as caught:
        texts(400).llm.embed("text", **given)
    assert 100 < server.stats()["tokens_in"] <= 300
    done = caught.value.partial.notna()
    assert done.sum() * 3 <= server.stats()["tokens_in"] + 3


def test_an_estimate_counts_texts_and_no_output(simulator, on):
    plan = Plan("text", verb="embed", **on(simulator(), prices={"sim": (2.0, 9.0)}))
    found = plan.estimate(pd.concat([texts(10), texts(10)]))
    assert (found.rows, found.requests, found.output_tokens) == (20, 10, 0)
    assert found.cost == pytest.approx(found.input_tokens * 2e-6, rel=0.2)


# -- what is refused before anything is sent --------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda df: df.llm.embed("txt"), TemplateError, "did you mean 'text'"),
        (lambda df: df.llm.embed("${txt}"), TemplateError, "txt"),
        (lambda df: df.llm.embed(), TypeError, "name of the column"),
        (lambda df: df.llm.embed("text", dimensions=0), ValueError, "dimensions"),
        (lambda df: df.llm.embed("text", system="x"), TypeError, "template"),
        (lambda df: df.llm.embed("text", n=2), TypeError, "'n'"),
        (lambda df: df.llm.embed("text", fallback=["m"]), TypeError, "compared"),
        (
            lambda df: df.llm.embed("text", model="anthropic/c", api_key="k"),
            ConfigurationError,
            "anthropic has no embeddings",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(call, error, words):
    with (
        pandas_llm.option_context(model="sim", progress=False),
        pytest.raises(error, match=words),
    ):
        call(texts(2))


def test_options_set_for_texts_do_no_harm(simulator, on):
    server = simulator()
    with pandas_llm.option_context(
        temperature=0.5, system="Be brief, ${nothing}.", max_tokens=9, n=3
    ):
        out = texts(2).llm.embed("text", dimensions=4, **on(server))
    assert same(out, expected(texts(2)["text"], 4))
    assert server.requests()[0]["body"].keys() == {
        *("model", "input", "encoding_format", "dimensions")
    }


def test_a_plan_of_vectors_goes_anywhere(simulator, on):
    import pickle

    plan = Plan("text", verb="embed", dimensions=4, **on(simulator()))
    again = pickle.loads(pickle.dumps(plan))
    assert same(again(texts(3)), expected(texts(3)["text"], 4))
    assert plan.meta(texts(3)).name == "embedding"
    body = plan.preview(texts(3), 1, as_requests=True)["body"].iloc[0]
    assert '"input":["Cat 0 purrs."]' in body


# -- replies read by themselves ---------------------------------------------------


def adapter(name="openai", dimensions=0):
    return connect(Endpoint(name, "http://h/v1", "m", None, embeds=dimensions))


def answer(body: bytes) -> HTTPResponse:
    return HTTPResponse(200, {}, body)


def vectors(reply) -> list[list[float]]:
    return [np.frombuffer(c.vector, "<f4").tolist() for c in reply.choices]


def test_vectors_come_in_the_order_of_their_texts():
    body = b'{"data":[{"index":1,"embedding":[3]},{"index":0,"embedding":"AACAPw=="}]}'
    assert vectors(adapter().parse(answer(body))) == [[1.0], [3.0]]
    body = b'{"data":[{"embedding":[3]},{"embedding":[4]}]}'
    assert vectors(adapter().parse(answer(body))) == [[3.0], [4.0]]


@pytest.mark.parametrize(
    "embedding",
    ['"%%"', '"AAA="', "[]", "[null]", "[1e99]", "[[1]]", '"AADAfw=="', "3"],
)
def test_what_is_no_vector_is_asked_again(embedding):
    body = f'{{"data":[{{"index":0,"embedding":{embedding}}}]}}'
    with warnings.catch_warnings(), pytest.raises(errors.MalformedReplyError):
        warnings.simplefilter("error")
        adapter().parse(answer(body.encode()))


def test_a_length_that_was_not_asked_for_stops_the_run():
    body = b'{"embeddings":[[1,2,3]]}'
    with pytest.raises(ConfigurationError, match="vectors of 3 numbers"):
        adapter("ollama", 2).parse(answer(body))
    other = adapter("ollama")
    other.parse(answer(body))
    with pytest.raises(errors.MalformedReplyError, match="others 3"):
        other.parse(answer(b'{"embeddings":[[1,2]]}'))


def test_extra_fields_go_where_the_vendor_wants_them(simulator, on):
    extra = {"taskType": "RETRIEVAL_DOCUMENT"}
    server = simulator()
    given = on(server, model="google/sim", base_url=f"{server.origin}/v1beta")
    texts(2).llm.embed("text", dimensions=4, extra=extra, **{**given, "api_key": "k"})
    for seen in server.requests():
        assert all(
            r["taskType"] == "RETRIEVAL_DOCUMENT" for r in seen["body"]["requests"]
        )


def test_a_cancelled_run_has_what_was_done(simulator, on, monkeypatch):
    monkeypatch.setattr(openai.OpenAI, "embeds", Bundling(10, 300_000))
    server = simulator(latency=0.05)

    async def cancelled():
        given = on(server, dimensions=8, concurrency=1)
        run = asyncio.create_task(texts(1000).llm.aembed("text", **given))
        while server.stats()["answered"] < 5:
            await asyncio.sleep(0.01)
        run.cancel()
        await run

    with pytest.raises(asyncio.CancelledError) as caught:
        asyncio.run(cancelled())
    done = caught.value.partial.notna()
    assert 30 <= done.sum() < 1000
    assert same(caught.value.partial[done], expected(texts(1000)["text"][done]))

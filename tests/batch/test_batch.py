"""Batches: the same result for half the price, and nothing lost on the way."""

import asyncio
import datetime as dt
import os
import pickle
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import httpx2 as httpx
import orjson
import pandas as pd
import pytest
from batch_models import Fact
from pandas.testing import assert_frame_equal
from pydantic import Field

from pandas_llm import ConfigurationError, LLMError, LLMWarning, batch, last_usage
from pandas_llm.batch import state as states
from pandas_llm.errors import CostLimitError
from pandas_llm.providers.batches import OpenAIBatches
from pandas_llm.providers.vendors.anthropic import AnthropicBatches
from pandas_llm.simulator import Simulator
from pandas_llm.types import HTTPRequest

FACTS = ("Facts in: ${text}", {"fact": str, "year": int})
PRICES = {"sim": (1.0, 4.0)}


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


def frame(rows):
    return pd.DataFrame({"text": [f"In {1700 + at} it rained." for at in range(rows)]})


def at(server, kept, **more):
    more = {"model": "sim", "base_url": server.base_url, "cache": kept, **more}
    return {"progress": False, **more}


def sent_in_batches(server):
    return [s for s in server.requests() if "x-simulated-batch" in s["headers"]]


def quietly(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMWarning)
        return call(*args, **options)


@pytest.mark.parametrize("verb", ["generate", "extract", "complete", "classify"])
def test_a_batch_gives_what_the_verb_gives(simulator, kept, verb):
    server = simulator()
    args = {
        "generate": FACTS,
        "extract": FACTS,
        "complete": ("${text}",),
        "classify": ("${text}", ["good", "bad"]),
    }[verb]
    call = getattr(frame(12).llm, verb)
    out = call(*args, **at(server, kept, batch=True))
    assert len(sent_in_batches(server)) == 11  # the first row settles the terms
    assert server.stats()["requests"] == 12
    again = call(*args, **at(server, kept))
    assert server.stats()["requests"] == 12
    assert_frame_equal(pd.DataFrame(out), pd.DataFrame(again))


@pytest.mark.parametrize("model", ["anthropic/sim", "openai/sim"])
def test_every_vendors_batches_fill_the_cache(simulator, kept, model):
    server = simulator(batch_latency=0.2, fail_if={"1704": "500"})
    options = {
        "model": model,
        "base_url": server.base_url,
        "api_key": "k",
        "cache": kept,
        "progress": False,
        "error_column": "why",
    }
    out = quietly(frame(8).llm.extract, *FACTS, **options, batch=True)
    assert out.index[out["fact"].isna()].tolist() == [4]
    assert out["why"][4].startswith("batch: ")
    assert len(sent_in_batches(server)) == 7


def test_a_batch_costs_half(simulator, kept, tmp_path):
    server = simulator()
    options = {"prices": PRICES, "batch": True}
    frame(1).llm.extract(*FACTS, **at(server, kept))  # settles, and is kept
    out = frame(9).llm.extract(*FACTS, **at(server, kept, **options))
    plain = frame(9)[1:].llm.extract(
        *FACTS, **at(server, tmp_path / "other", prices=PRICES)
    )
    usage, ordinary = out.llm.usage, plain.llm.usage
    assert usage.cost == pytest.approx(ordinary.cost / 2)
    assert (usage.requests, usage.cached) == (8, 1)
    assert usage.input_tokens == ordinary.input_tokens
    assert usage.output_tokens == ordinary.output_tokens


def test_rows_that_are_kept_equal_or_na_are_not_sent(simulator, kept):
    server = simulator()
    df = frame(4)
    df.llm.extract(*FACTS, **at(server, kept))
    more = pd.concat([frame(6), frame(6), pd.DataFrame({"text": [None]})])
    out = more.llm.extract(*FACTS, **at(server, kept, batch=True))
    assert len(sent_in_batches(server)) == 2
    assert out["fact"].isna().tolist() == [False] * 12 + [True]


def test_the_first_that_is_ever_kept_may_be_a_batch(simulator, tmp_path):
    options = at(simulator(), tmp_path / "no" / "folder" / "kept.sqlite")
    out = frame(2).llm.submit(*FACTS, **options).result(frame(2))
    assert out["fact"].notna().all()


def test_there_is_an_async_twin(simulator, kept):
    server = simulator()
    work = frame(5).llm.agenerate(*FACTS, **at(server, kept, batch=True))
    assert asyncio.run(work)["fact"].notna().all()
    assert len(sent_in_batches(server)) == 4


def taken_up(server, job, kept, df, *imported):
    """Let another process finish a job, with modules imported first."""
    return subprocess.run(
        [
            *(
                sys.executable,
                str(Path(__file__).parents[1] / "support/batch_process.py"),
            ),
            *(job.id, str(kept), "|".join(df["text"]), *imported),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "PANDAS_LLM_BASE_URL": server.base_url},
    )


@pytest.mark.parametrize(
    ("imported", "warned"), [(["batch_models"], False), ([], True)], ids=["model", "no"]
)
def test_another_process_takes_a_model_that_it_has(simulator, kept, imported, warned):
    server = simulator()
    df = frame(4)
    job = df.llm.submit("${text}", Fact, **at(server, kept))
    done = taken_up(server, job, kept, df, *imported)
    assert done.stdout.splitlines()[-1].startswith("True 4 "), done.stderr
    assert ("batch_models.Fact" in done.stderr) is warned
    assert done.stderr.count("schema alone") == warned
    shout = done.stdout.splitlines()[0]  # as the model's own validator makes it
    assert (shout == shout.upper()) is not warned


def test_another_process_takes_the_job_up(simulator, kept):
    server = simulator(batch_latency=0.3)
    df = frame(6)
    job = df.llm.submit(*FACTS, **at(server, kept))
    assert not job.status().ended
    done = taken_up(server, job, kept, df)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == [
        f"BatchJob('{job.id}', 5 of 5, ended)",
        "True 6 pandas_llm",
    ]
    assert server.stats()["requests"] == 6


def test_the_same_call_goes_on_with_its_job(simulator, kept):
    server = simulator(batch_latency=0.3)
    first = frame(8).llm.submit(*FACTS, **at(server, kept))
    second = frame(8).llm.submit(*FACTS, **at(server, kept))
    assert first.id == second.id
    out = frame(8).llm.generate(*FACTS, **at(server, kept, batch=True))
    assert out["fact"].notna().all()
    assert set(server.stats()["per_prompt"].values()) == {1}


def test_an_expired_batch_gives_what_there_is_and_the_rest_is_finished(simulator, kept):
    server = simulator(batch_latency=0.6, batch_expiry=0.3)
    df = frame(21)
    with pytest.warns(LLMWarning, match=r"rows failed \(\d+ batch\).*without batch"):
        out = df.llm.extract(*FACTS, **at(server, kept, batch=True, error_column="why"))
    failed = out["fact"].isna()
    assert 2 < failed.sum() < 19
    assert out.loc[failed, "why"].str.contains("expired").all()
    assert out.loc[~failed, "why"].isna().all()
    before = server.stats()["requests"]
    whole = df.llm.extract(*FACTS, **at(server, kept))
    assert whole["fact"].notna().all()
    assert server.stats()["requests"] - before == failed.sum()


def test_what_an_expired_batch_lacks_can_be_sent_as_another(simulator, kept):
    server = simulator(batch_latency=0.4, batch_expiry=0.2)
    df = frame(11)
    out = quietly(df.llm.extract, *FACTS, **at(server, kept, batch=True))
    missing = out["fact"].isna().sum()
    assert missing
    server.configure(batch_expiry=None, batch_latency=0.0)
    before = server.stats()["requests"]
    out = df.llm.extract(*FACTS, **at(server, kept, batch=True))
    assert out["fact"].notna().all()
    assert server.stats()["requests"] - before == missing


def test_rows_that_fail_in_a_batch_say_why(simulator, kept):
    server = simulator(
        fail_if={"1703": "500", "1704": "refusal", "1705": "bad_output", "1706": "400"}
    )
    options = at(server, kept, batch=True, error_column="why")
    out = quietly(frame(10).llm.extract, *FACTS, **options)
    assert out.index[out["fact"].isna()].tolist() == [3, 4, 5, 6]
    for row, kind in ((3, "server"), (4, "refusal"), (5, "output"), (6, "bad_request")):
        assert out["why"][row].startswith(f"batch: {kind}"), out["why"][row]
    assert len(sent_in_batches(server)) == 9


def test_a_large_run_is_split(simulator, kept, monkeypatch):
    monkeypatch.setattr(OpenAIBatches, "most_requests", 4)
    server = simulator()
    out = frame(12).llm.extract(*FACTS, **at(server, kept, batch=True))
    assert out["fact"].notna().all()
    names = {s["headers"]["x-simulated-batch"] for s in sent_in_batches(server)}
    assert len(names) == 3


def test_a_run_is_split_by_its_bytes(simulator, kept, monkeypatch):
    monkeypatch.setattr(OpenAIBatches, "most_bytes", 3000)
    server = simulator()
    out = frame(12).llm.extract(*FACTS, **at(server, kept, batch=True))
    assert out["fact"].notna().all()
    assert len({s["headers"]["x-simulated-batch"] for s in sent_in_batches(server)}) > 1


def test_a_job_can_be_ended_early(simulator, kept):
    server = simulator(batch_latency=60.0)
    df = frame(50)
    job = df.llm.submit(*FACTS, **at(server, kept))
    partial = quietly(job.result, df, wait=False)
    assert partial["fact"].notna().sum() == 1  # the first row's, which was sent alone
    job.cancel()
    until = time.monotonic() + 20
    while not job.status().ended and time.monotonic() < until:
        time.sleep(0.1)
    out = quietly(job.result, df)
    assert out["fact"].isna().sum() > 40
    assert repr(job).endswith("ended)")


def test_the_bar_shows_the_providers_counts(simulator, kept, capsys):
    server = simulator(batch_latency=2.0)
    frame(20).llm.extract(*FACTS, **at(server, kept, batch=True, progress=True))
    shown = capsys.readouterr().err
    assert "in_progress" in shown
    assert "/19 [" in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cache": False}, "cache=False"),
        ({"refresh": True}, "refresh"),
        ({"fallback": ["other"]}, "fallback"),
        ({"base_url": None}, "Simulator"),
        ({"max_cost": 1.0, "prices": PRICES}, "max_tokens"),
    ],
    ids=["cache", "refresh", "fallback", "sim", "cost"],
)
def test_what_does_not_go_together_is_said_before_anything_is_sent(
    simulator, kept, options, says
):
    server = simulator()
    with pytest.raises(ConfigurationError, match=says):
        frame(3).llm.complete("${text}", **at(server, kept, batch=True, **options))
    assert sent_in_batches(server) == []


def test_max_cost_is_held_before_the_batch_is_sent(simulator, kept):
    server = simulator()
    options = {"prices": PRICES, "max_tokens": 1000, "batch": True}
    df = frame(11)
    with pytest.raises(CostLimitError, match="over max_cost"):
        df.llm.extract(*FACTS, **at(server, kept, max_cost=0.0001, **options))
    assert sent_in_batches(server) == []
    out = df.llm.extract(*FACTS, **at(server, kept, max_cost=1.0, **options))
    assert out.llm.usage.cost < 1.0


def test_a_server_without_batches_says_so(simulator, kept):
    server = simulator(api_key="right")
    with pytest.raises(LLMError):
        frame(3).llm.complete("${text}", **at(server, kept, batch=True, api_key="no"))


@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
def test_an_error_before_any_row_counts_what_is_there(kept, twin):
    df = frame(8)
    with Simulator(batch_latency=60.0) as server:
        options = at(server, kept, error_column="why", max_retries=0)
        job = df.llm.submit(*FACTS, **options)
    # it is gone, and nobody waits for it
    with pytest.raises(LLMError) as caught:
        asyncio.run(job.aresult(df, wait=False)) if twin else job.result(df, wait=False)
    error = caught.value
    assert "rows were done" not in "".join(getattr(error, "__notes__", ()))
    assert error.partial["fact"].isna().all()
    assert error.partial["why"].str.startswith("interrupted: ").all()
    assert error.failures["position"].tolist() == list(range(8))


def test_sending_counts_the_probe_and_the_result_all_of_it(simulator, kept):
    server, df = simulator(), frame(5)
    job = df.llm.submit(*FACTS, **at(server, kept, prices=PRICES))
    sent = last_usage()
    assert (sent.rows, sent.requests) == (5, 1)
    out = job.result(df)
    assert out.llm.usage.requests == last_usage().requests == 5
    assert out.llm.usage.cost > sent.cost > 0


# -- the job in the file --------------------------------------------------------


def test_an_empty_list_of_keys_is_refused_not_completed():
    with pytest.raises(ValueError, match="keys"):
        frame(2).llm.submit("${text}", [], model="sim")


def test_no_key_is_in_the_file(simulator, kept):
    secret = "sk-very-secret-batch-key"
    server = simulator(api_key=secret)
    options = at(server, kept, api_key=secret)
    frame(4).llm.submit(*FACTS, **options).result(frame(4))
    for file in kept.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_job_that_is_a_pickle_is_not_run_and_names_its_batches(
    kept, capsys, protocol
):
    state = states.State(
        "batch-1", [states.Part("batch_abc", 3), states.Part("batch_d", 4)]
    )
    states.Journal(kept, state, pickle.dumps(("${a}", Evil()), protocol)).save()
    with pytest.raises(LLMError, match=r"Submit again.*\(batch_abc, batch_d\)"):
        batch.load("batch-1", cache=kept)
    assert capsys.readouterr().out == ""


def test_the_same_call_goes_on_with_a_job_that_was_a_pickle(simulator, kept, capsys):
    server = simulator(batch_latency=0.3)
    job = frame(5).llm.submit(*FACTS, **at(server, kept))
    state, _ = states.find(kept, job.id)
    states.Journal(kept, state, pickle.dumps(Evil())).save()
    with pytest.raises(LLMError, match=state.parts[0].id):
        batch.load(job.id, cache=kept)
    again = frame(5).llm.submit(*FACTS, **at(server, kept))
    assert again.id == job.id
    assert again.result(frame(5))["fact"].notna().all()
    sent = sent_in_batches(server)
    assert {s["headers"]["x-simulated-batch"] for s in sent} == {state.parts[0].id}
    assert capsys.readouterr().out == ""
    loaded = batch.load(job.id, cache=kept, base_url=server.base_url)
    loaded = loaded.result(frame(5))
    assert_frame_equal(loaded, again.result(frame(5)))


@pytest.mark.parametrize("state", [b"{", b"[]", b'{"parts": 3}', b'{"id": "batch-1"}'])
def test_a_damaged_state_is_one_error(kept, state):
    states.Journal(kept, states.State("batch-1"), b"{}").save()
    with closing(sqlite3.connect(kept)) as connection, connection:
        connection.execute("UPDATE pandas_llm_batches SET state = ?", (state,))
    with pytest.raises(LLMError, match="'batch-1' cannot be read"):
        batch.load("batch-1", cache=kept)


MANY = {
    "fact": str,
    "year": int | None,
    "share": float,
    "sure": bool,
    "day": dt.date,
    "at": dt.datetime | None,
    "mood": ["good", "bad"],
    "level": Literal[1, 2, 3],
    "words": list[str],
    "parts": list[Literal["a", "b"]] | None,
    "size": Annotated[int, Field(ge=0, le=9, description="how large")],
}


@pytest.mark.parametrize(
    ("verb", "args", "options"),
    [
        ("generate", ("${text}", MANY), {"n": 2}),
        ("extract", ("${text}", MANY), {"error_column": "why"}),
        ("extract", ("${text} ${tone}", ["a", "b"]), {"values": {"tone": 3}}),
        ("classify", ("${text}", {"good": "smiles", "bad": "frowns"}), {"name": "m"}),
        ("classify", ("${text}", ["good", "bad"]), {"n": 3, "confidence": True}),
        ("complete", ("${text}",), {"name": "said", "stop": "."}),
        ("extract", ("${text}", Fact), {"flatten": True}),
    ],
)
def test_a_loaded_job_gives_the_frame_that_the_call_gives(
    simulator, kept, verb, args, options
):
    server = simulator()
    call = getattr(frame(6).llm, verb)
    out = quietly(call, *args, **at(server, kept, batch=True, **options))
    with closing(sqlite3.connect(kept)) as connection:
        ((name, written),) = connection.execute(
            "SELECT id, recipe FROM pandas_llm_batches"
        )
    assert orjson.loads(written)["template"] == args[0]
    sent = server.stats()["requests"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*schema alone")
        job = batch.load(name, cache=kept, base_url=server.base_url)
        again = quietly(job.result, frame(6))
    assert_frame_equal(pd.DataFrame(again), pd.DataFrame(out))
    assert server.stats()["requests"] == sent


def test_what_json_does_not_hold_is_said_before_anything_is_sent(simulator, kept):
    server = simulator()
    prices = {("m",): (1.0, 2.0)}
    with pytest.raises(ConfigurationError, match="prices cannot be kept"):
        frame(3).llm.submit(*FACTS, **at(server, kept, prices=prices))
    assert server.stats()["requests"] == 0


def test_load_without_a_file_says_so(monkeypatch, kept):
    monkeypatch.setenv("PANDAS_LLM_CACHE", "off")
    with pytest.raises(LLMError, match=r"PANDAS_LLM_CACHE.*cache="):
        batch.load("batch-1")
    monkeypatch.setenv("PANDAS_LLM_CACHE", str(kept))
    with pytest.raises(LLMError, match=r"no job 'batch-1' in .*kept.sqlite"):
        batch.load("batch-1")


def test_a_job_that_nobody_knows_is_an_error(kept):
    with pytest.raises(LLMError, match="no job 'batch-9'"):
        batch.load("batch-9", cache=kept)


# -- the protocols --------------------------------------------------------------


def test_the_simulators_inline_batches_read_as_anthropics(simulator):
    server = simulator()
    url = server.base_url + "/messages"
    headers = {"content-type": "application/json"}
    dialect = AnthropicBatches(HTTPRequest(url, headers, b""))
    lines = [dialect.line(name, b'{"model":"sim"}') for name in ("a", "b")]
    assert dialect.upload(lines) is None
    request = dialect.create(lines, "", "x")
    assert [r["custom_id"] for r in orjson.loads(request.body)["requests"]] == [
        "a",
        "b",
    ]
    made = dialect.read(httpx.post(request.url, content=request.body).content)
    assert made.total == 2
    while not (now := dialect.read(httpx.get(dialect.poll(made.id)).content)).ended:
        time.sleep(0.05)
    results = list(dialect.results(httpx.get(now.files[0]).content))
    assert {result.custom_id for result in results} == {"a", "b"}


def test_anthropics_results_are_read():
    # as in the vendor's reference
    body = b"""
{"custom_id":"b","result":{"type":"succeeded","message":{"id":"msg_1","content":[]}}}
{"custom_id":"a","result":{"type":"errored","error":{"type":"error","error":
{"type":"invalid_request_error","message":"too long"}}}}
{"custom_id":"c","result":{"type":"expired"}}
""".replace(b":\n{", b":{")
    url = "https://api.anthropic.com/v1/messages"
    dialect = AnthropicBatches(HTTPRequest(url, {}, b""))
    found = list(dialect.results(body))
    assert [one.custom_id for one in found] == ["b", "a", "c"]
    assert orjson.loads(found[0].response.body)["id"] == "msg_1"
    assert [one.reason for one in found] == ["", "", "expired"]
    assert found[1].response.status == 400
    assert b"too long" in found[1].response.body
    told = dialect.read(
        b'{"id":"msgbatch_1","processing_status":"ended","request_counts":'
        b'{"processing":0,"succeeded":5,"errored":1,"canceled":2,"expired":3}}'
    )
    assert (told.total, told.done, told.failed) == (11, 5, 6)
    assert told.files == (
        "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
    )

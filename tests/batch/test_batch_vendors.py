"""What every vendor's batches have in common, and where each has its own way."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import numpy as np
import orjson
import pandas as pd
import pytest
from aiohttp import web
from batch_between import (
    FRAME,
    ROWS,
    VENDORS,
    Between,
    at,
    created,
    cut,
    first,
    paid,
    place,
)
from loopback_server import Server

from pandas_llm import ConfigurationError, LLMWarning, providers
from pandas_llm.batch import recovery, state, upload
from pandas_llm.batch.state import Journal, Part, State
from pandas_llm.errors import AuthenticationError
from pandas_llm.providers import batches
from pandas_llm.providers.vendors.google import GoogleBatches
from pandas_llm.types import Capabilities, Endpoint, HTTPRequest, Request, Spec

pytestmark = pytest.mark.usefixtures("short_waits")
NEW = ["google/sim", "azure/sim", "mistral/sim"]
PRICES = {"sim": (1.0, 4.0)}
FACTS = ("Facts: ${text}", {"fact": str})


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


@pytest.fixture(params=["inline", "files"])
def google(request, monkeypatch):
    """Send Google's requests in the call, or ahead in a file."""
    if request.param == "files":
        monkeypatch.setattr(GoogleBatches, "inline", 0)
    return request.param


def in_batches(server):
    return [s for s in server.requests() if "x-simulated-batch" in s["headers"]]


# -- answers and vectors -----------------------------------------------------------


@pytest.mark.parametrize("model", NEW)
def test_a_batch_gives_what_the_verb_gives_for_half_the_price(
    simulator, kept, tmp_path, model, google
):
    if google == "files" and not model.startswith("google"):
        pytest.skip("these always have files")
    server = simulator()
    priced = at(server, kept, model, batch=True, prices=PRICES)
    out = FRAME.llm.extract(*FACTS, **priced)
    ahead = 0 if model.startswith("azure") else 1  # its batches' models answer no row
    assert len(in_batches(server)) == ROWS - ahead
    other = at(server, tmp_path / "other", model, prices=PRICES)
    plain = FRAME.llm.extract(*FACTS, **other)
    pd.testing.assert_frame_equal(pd.DataFrame(out), pd.DataFrame(plain))
    half = (ROWS - ahead) / 2 + ahead
    assert out.llm.usage.cost == pytest.approx(plain.llm.usage.cost * half / ROWS)
    assert out.llm.usage.input_tokens == plain.llm.usage.input_tokens
    again = FRAME.llm.extract(*FACTS, **at(server, kept, model))
    assert again.llm.usage.requests == 0


@pytest.mark.parametrize("model", NEW)
def test_vectors_come_by_batches_too(simulator, kept, tmp_path, model, google):
    server, more = simulator(), {"dimensions": 8, "prices": {"sim": (1.0, 0.0)}}
    out = FRAME.llm.embed("text", **at(server, kept, model, batch=True, **more))
    plain = FRAME.llm.embed("text", **at(server, tmp_path / "other", model, **more))
    assert all(np.array_equal(*pair) for pair in zip(out, plain, strict=True))
    assert out.llm.usage.input_tokens == plain.llm.usage.input_tokens
    assert 0.49 < out.llm.usage.cost / plain.llm.usage.cost < 0.75
    assert len(in_batches(server)) >= ROWS - 1


def test_googles_requests_go_in_a_file_where_they_are_too_large_for_a_call(
    simulator, kept, monkeypatch
):
    monkeypatch.setattr(GoogleBatches, "inline", 400)
    monkeypatch.setattr(GoogleBatches, "most_requests", 4)
    server = simulator()
    with Between(server) as between:  # four are above it, the last one is not
        options = at(between, kept, "google/sim", batch=True)
        out = FRAME.llm.complete("${text}", **options)
        assert between.seen["upload"] == 1
        assert between.seen["create"] == 2
    assert out.notna().all()


def test_googles_texts_to_embed_go_in_a_file_from_1_mb_on():
    url = "https://h/v1beta/models/m:batchEmbedContents"
    assert GoogleBatches(HTTPRequest(url, {}, b"")).inline == 1 << 20


def test_azures_deployments_for_batches_are_asked_nothing_else(simulator, kept):
    server = simulator()
    out = FRAME.llm.classify(
        "${text}", ["good", "bad"], **at(server, kept, "azure/sim", batch=True)
    )
    assert out.notna().all()
    assert len(in_batches(server)) == server.stats()["requests"] == ROWS


@pytest.mark.parametrize("model", VENDORS)
def test_a_wrong_key_is_one_error_before_anything_is_created(simulator, kept, model):
    server = simulator(api_key="right")
    wrong = at(server, kept, model, api_key="sk-of-somebody-else")
    with pytest.raises(AuthenticationError) as caught:
        FRAME.llm.submit(*FACTS, **wrong)
    assert "somebody" not in str(caught.value)
    right = at(server, kept, model, api_key="right")
    assert FRAME.llm.submit(*FACTS, **right).result(FRAME)["fact"].notna().all()


def test_azures_older_addresses_have_no_batches(kept):
    base_url = "https://res.openai.azure.com?api-version=2025-01-01"
    options = {"model": "azure/m", "base_url": base_url, "api_key": "k", "cache": kept}
    with pytest.raises(ConfigurationError) as caught:
        FRAME.llm.complete("${text}", batch=True, **options)
    assert "base_url='https://res.openai.azure.com/openai/v1'" in str(caught.value)


def test_parameters_of_an_address_go_along():
    base_url = "https://res.openai.azure.com/openai/v1?api-version=preview"
    provider = providers.connect(Endpoint("azure", base_url, "m", "k"))
    request = provider.build(Request(Spec("m"), "Hi."), Capabilities(), 1)
    dialect = batches.batches_of(provider, request)
    start = "https://res.openai.azure.com/openai/v1/batches"
    assert dialect.poll("b") == f"{start}/b?api-version=preview"
    assert dialect.newest("b") == f"{start}?limit=100&after=b&api-version=preview"


# -- what goes wrong ----------------------------------------------------------------


@pytest.mark.parametrize("model", VENDORS)
def test_a_request_that_fails_says_what_kind_of_error_it_was(
    simulator, kept, model, google
):
    server = simulator(fail_if={"1703": "500", "1704": "429"})
    options = at(server, kept, model, batch=True, error_column="why")
    with pytest.warns(LLMWarning, match="2 of 6 rows failed"):
        out = FRAME.llm.extract(*FACTS, **options)
    assert out.index[out["fact"].isna()].tolist() == [3, 4]
    assert out["why"][3].startswith("batch: server: HTTP 500")
    assert out["why"][4].startswith("batch: rate_limit: HTTP 429")


@pytest.mark.parametrize("model", NEW)
def test_an_expired_batch_gives_what_there_is(simulator, kept, model, google):
    server = simulator(batch_latency=0.6, batch_expiry=0.3)
    df = pd.DataFrame({"text": [f"In {1700 + n} it rained." for n in range(21)]})
    options = at(server, kept, model, batch=True, error_column="why")
    with pytest.warns(LLMWarning, match=r"rows failed \(\d+ batch\).*without batch"):
        out = df.llm.extract(*FACTS, **options)
    failed = out["fact"].isna()
    # Google keeps nothing of an expired batch, Mistral says that its time was exceeded
    assert 2 < failed.sum() < (21 if model.startswith("google") else 19)
    word = "timeout_exceeded" if model.startswith("mistral") else "expired"
    assert out.loc[failed, "why"].str.contains(word).all()
    whole = df.llm.extract(*FACTS, **at(server, kept, model))
    assert whole["fact"].notna().all()


@pytest.mark.parametrize("model", NEW)
def test_a_cancelled_job_keeps_what_is_done(simulator, kept, model, google):
    server = simulator(batch_latency=1.0)
    job = FRAME.llm.submit("${text}", **at(server, kept, model, error_column="why"))
    while not job.status().done:
        pass
    job.cancel()
    while not job.status().ended:
        pass
    with pytest.warns(LLMWarning, match="rows failed"):
        out = job.result(FRAME)
    left = out["completion"].isna()
    assert 0 < left.sum() < ROWS
    assert out.loc[left, "why"].str.contains("cancelled").all()
    assert len(created(server, model)) == 1


def test_a_failed_operation_says_why():
    url = "https://h/v1beta/models/m:generateContent"
    dialect = GoogleBatches(HTTPRequest(url, {}, b""))
    about = {"state": "BATCH_STATE_FAILED", "batchStats": {"requestCount": "3"}}
    operation = {"name": "batches/b", "metadata": about, "done": True}
    error = {"code": 13, "message": "Internal."}
    told = dialect.read(orjson.dumps({**operation, "error": error}))
    assert (told.ended, told.word, told.total) == (True, "failed", 3)
    assert (told.reason, told.full, told.files) == ("Internal.", False, ())
    for code in (8, 429):
        full = dialect.read(orjson.dumps({**operation, "error": {"code": code}}))
        assert full.full


@pytest.mark.parametrize("model", ["azure/sim", "google/sim"])
def test_a_file_that_the_vendor_is_busy_with_is_waited_for(
    simulator, kept, monkeypatch, model
):
    monkeypatch.setattr(GoogleBatches, "inline", 0)
    monkeypatch.setattr(upload, "_FILE_PAUSE", 0.0)
    asked = []

    def busy(what, request, n):
        """Say that the file is not ready, twice, and then that it is."""
        name = request.path.rpartition("/files/")[2]
        if what == "results" and name in ("sim-0000", "file-sim-0000"):
            asked.append(name)
            states = ("running", "PROCESSING") if len(asked) < 3 else ("", "ACTIVE")
            about = dict(zip(("status", "state"), states, strict=True))
            return web.json_response({"id": name, "name": f"files/{name}", **about})
        return None

    def pending(what, request, n):
        if what != "upload" or request.method != "POST":
            return None
        file = {"name": "files/sim-0000", "state": "PROCESSING"}
        odd = {"id": "file-sim-0000", "status": "pending", "file": file}
        return web.json_response(odd)

    with Between(simulator(), busy, pending) as between:
        out = FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
    assert out.notna().all()
    assert len(asked) == 3


# -- nothing is created twice ---------------------------------------------------------


@pytest.mark.parametrize("model", ["google/sim", "mistral/sim"])
def test_later_pages_of_the_list_are_read(simulator, kept, monkeypatch, model):
    monkeypatch.setattr(recovery, "_SETTLES", 0.05)
    server = simulator()

    def after(what, request, n):
        if (what, n) != ("create", 1):
            return None
        theirs(server, model)
        return cut(request)

    with Between(server, after=after) as between:
        job = FRAME.llm.submit("${text}", **at(between, kept, model))
        assert between.seen["create"] == 1
        assert between.seen["list"] >= 3  # whether there is one, and two pages or more
        assert job.result(FRAME).notna().all()


def theirs(server, model, count=120):
    """Make batches of another person's, newer than ours."""
    with httpx.Client(base_url=place(server, model)) as client:
        if model.startswith("google"):
            given = {"requests": {"requests": [{"request": {"contents": []}}]}}
            batch = {"batch": {"displayName": "theirs", "inputConfig": given}}
            for _ in range(count):
                client.post("/models/sim:batchGenerateContent", json=batch)
            return
        line = orjson.dumps({"custom_id": "x", "body": {"messages": []}})
        file = client.post(
            "/files", data={"purpose": "batch"}, files={"file": ("f.jsonl", line)}
        ).json()["id"]
        job = {"input_files": [file], "endpoint": "/v1/chat/completions"}
        job["model"] = "sim"
        for _ in range(count):
            client.post("/batch/jobs", json=job)


def test_a_batch_of_googles_without_a_name_is_another_persons():
    url = "https://h/v1beta/models/m:generateContent"
    dialect = GoogleBatches(HTTPRequest(url, {}, b""))
    about = {"state": "BATCH_STATE_PENDING"}
    page = dialect.listed(
        orjson.dumps({"operations": [{"name": "batches/b", "metadata": about}]})
    )
    assert not recovery.is_similar(page.batches[0], Part("", 1), 0.0, 1.0)
    assert dialect.listed(b"{}") == batches.Page((), None)


# -- a queue that is full -------------------------------------------------------------


@pytest.mark.parametrize("model", ["google/sim", "azure/sim"])
def test_a_full_queue_is_waited_for(simulator, kept, monkeypatch, model, google):
    monkeypatch.setattr(batches.Batches, "most_requests", 2)
    server = simulator(batch_queue=2, batch_latency=0.2)
    with Between(server) as between:
        out = FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
        assert between.seen["create"] > 3
        assert between.seen["upload"] in (2, 3)  # each once; Google's first is inline
    assert out.notna().all()
    assert paid(server) == [1] * ROWS


def test_a_quota_of_googles_that_is_no_queue_ends_the_call(simulator, kept):
    detail = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
    }
    error = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}
    said = web.json_response({"error": {**error, "details": [detail]}}, status=429)
    with (
        Between(simulator(), first("create", lambda _: said)) as between,
        pytest.raises(Exception, match="Quota exceeded") as caught,
    ):
        FRAME.llm.submit("${text}", **at(between, kept, "google/sim"))
    assert caught.value.kind == "wait_too_long"


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("Enqueued token limit reached for m. Limit: 2,000,000 enqueued tokens.", 2e6),
        ("… surpassed the configured limit of 30K for the deployment 'm'.", 30e3),
        ("… surpassed the configured limit of 1.5M for the deployment 'm'.", 1.5e6),
        ("… surpassed the configured limit of 700 for the deployment 'm'.", 700),
        ("You exceeded your current quota.", 0),
    ],
)
def test_the_room_in_a_queue_is_read_of_the_vendors_words(tmp_path, words, limit):
    journal = Journal(tmp_path / "kept.sqlite", State("job"), b"{}")
    part = Part("b", 3, tokens=100)
    journal.full(part, words)
    assert journal.state.queue == limit
    assert part.waiting


@pytest.mark.slow
def test_azures_own_words_cut_a_job_in_pieces(simulator, kept):
    long = pd.DataFrame({"text": [f"{at}: " + "some words " * 40 for at in range(24)]})
    server = simulator(batch_tokens=1000, batch_latency=0.1)
    out = long.llm.complete("${text}", **at(server, kept, "azure/sim", batch=True))
    assert out.notna().all()
    assert paid(server) == [1] * len(long)


@pytest.mark.slow
def test_a_batch_that_an_untold_queue_never_takes_is_cut(simulator, kept, monkeypatch):
    monkeypatch.setattr(state, "_LEAST_QUEUE", 50)
    rows = [f"In {1700 + n} it rained." for n in range(40)]
    df = pd.DataFrame({"text": rows})
    server = simulator(batch_tokens=150, batch_latency=0.05)
    out = df.llm.complete("${text}", **at(server, kept, "google/sim", batch=True))
    assert out.notna().all()
    assert len(created(server, "google/sim")) >= 2
    assert paid(server) == [1] * len(df)


def test_a_batch_that_may_fit_once_others_have_ended_is_not_cut(tmp_path):
    journal = Journal(tmp_path / "kept.sqlite", State("job"), b"{}")
    part = Part("", 3, tokens=400_000, file="f")
    for _ in range(50):
        journal.full(part, "You exceeded your current quota.")
        assert part.waiting
    part.tokens = 10_000_000
    journal.full(part, "You exceeded your current quota.")
    assert (part.ended, journal.state.unsent, journal.state.queue) == (
        True,
        3,
        5_000_000,
    )


# -- vendors without batches ----------------------------------------------------------


def without_batches():
    """Return the providers of this package that have none."""
    return [
        name
        for name, preset in sorted(providers.presets().items())
        if getattr(preset.dialect, "batches", None) is None
    ]


@pytest.mark.parametrize("name", without_batches())
def test_a_vendor_without_batches_is_told_of_before_anything_is_sent(name, kept):
    model = {"gguf": f"/{kept}.gguf", "tiny": ""}.get(name, "/m")
    Path(f"{kept}.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(1 << 20))
    with Server(lambda _: {}) as server:
        options = {"model": name + model, "cache": kept, "progress": False}
        if name not in ("gguf", "tiny"):  # which run in this process
            options |= {"base_url": server.base_url, "api_key": "k"}
        with pytest.raises(ConfigurationError, match="leave out batch=True"):
            FRAME.llm.classify("${text}", ["a", "b"], batch=True, **options)
        assert server.paths == []

"""An account's queue for batches that is full: parts wait, and none is forgotten."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
import pytest
from aiohttp import web
from batch_between import FRAME, ROWS, Between, at, created, paid

from pandas_llm import LLMWarning
from pandas_llm.batch import load, recovery
from pandas_llm.providers.batches import OpenAIBatches


def full(_: Any) -> web.Response:
    error = {"message": "Enqueued token limit reached.", "code": "token_limit_exceeded"}
    return web.json_response({"error": error}, status=429)


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    monkeypatch.setattr(OpenAIBatches, "most_requests", 2)
    monkeypatch.setattr(recovery, "_SETTLES", 0.05)


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


def good(server: Any) -> list[dict]:
    return [batch for batch in created(server) if batch["status"] != "failed"]


def test_one_call_sees_it_through(simulator, kept):
    server = simulator(batch_queue=2, batch_latency=0.2)
    out = FRAME.llm.complete("${text}", **at(server, kept, batch=True))
    assert out.notna().all()
    assert len(good(server)) == 3
    assert paid(server) == [1] * ROWS


def test_a_refused_creation_waits_too(simulator, kept):
    server = simulator(batch_latency=0.1)
    refused = lambda what, r, n: full(r) if what == "create" and n in (2, 3) else None  # noqa: E731
    with Between(server, refused) as between:
        out = FRAME.llm.complete("${text}", **at(between, kept, batch=True))
        assert out.notna().all()
        assert between.seen["create"] == 5  # three batches, two refusals
        assert between.seen["upload"] == 3
    assert len(created(server)) == 3
    assert paid(server) == [1] * ROWS


def test_submit_says_how_many_wait_and_status_sends_the_next(simulator, kept):
    server = simulator(batch_latency=0.2)
    refused = lambda what, r, n: full(r) if (what, n) == ("create", 2) else None  # noqa: E731
    with Between(server, refused) as between:
        job = FRAME.llm.submit("${text}", **at(between, kept))
        assert job._now().waiting == 3  # two parts, of two and of one
        assert len(created(server)) == 1
        while not (now := job.status()).ended:
            pass
        assert (now.waiting, now.done) == (0, ROWS - 1)
        assert job.result(FRAME).notna().all()
    assert len(created(server)) == 3


@pytest.mark.parametrize("how", ["load", "same call"])
def test_another_process_sends_what_waits(simulator, kept, how, monkeypatch):
    server = simulator(batch_queue=2, batch_latency=0.1)
    job = FRAME.llm.submit("${text}", **at(server, kept))
    if how == "load":
        monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "k")
        out = load(job.id, cache=kept, base_url=server.base_url).result(FRAME)
    else:
        out = FRAME.llm.complete("${text}", **at(server, kept, batch=True))
    assert out.notna().all()
    assert paid(server) == [1] * ROWS


def test_what_waits_is_not_sent_after_a_cancel(simulator, kept):
    server = simulator(batch_latency=60.0)
    refused = lambda what, r, n: full(r) if what == "create" and n > 1 else None  # noqa: E731
    with Between(server, refused) as between:
        job = FRAME.llm.submit("${text}", **at(between, kept))
        assert job.cancel().waiting == 0
        assert between.seen["create"] == 2
    assert len(created(server)) == 1


def test_two_processes_do_not_both_send_what_waits(simulator, kept):
    server = simulator(batch_latency=0.2)
    refused = lambda what, r, n: full(r) if (what, n) == ("create", 2) else None  # noqa: E731
    with Between(server, refused) as between:
        one = FRAME.llm.submit("${text}", **at(between, kept))
        two = FRAME.llm.submit("${text}", **at(between, kept))  # sends the rest
        while not (one.status().ended and two.status().ended):
            pass
        assert one.result(FRAME).notna().all()
    assert len(created(server)) == 3
    assert paid(server) == [1] * ROWS


# -- a queue that is told in tokens -----------------------------------------------

LONG = pd.DataFrame({"text": [f"{at}: " + "some words " * 40 for at in range(24)]})


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(OpenAIBatches, "most_requests", 50_000)


def test_a_part_that_is_larger_than_the_queue_goes_in_smaller_ones(
    simulator, kept, large
):
    server = simulator(batch_tokens=700, batch_latency=0.1)
    out = LONG.llm.complete("${text}", **at(server, kept, batch=True))
    assert out.notna().all()
    assert paid(server) == [1] * len(LONG)
    assert len(good(server)) >= 4
    assert len(created(server)) - len(good(server)) >= 1  # found out with the first


def test_a_job_with_rows_to_send_stays_what_it_is_when_others_are_asked_for(
    simulator, kept, large
):
    job = LONG.llm.submit("${text}", **at(simulator(batch_tokens=700), kept))
    name, before = job.id, job.status()
    assert before.waiting
    with pytest.warns(LLMWarning):
        job.result(LONG.iloc[1:3], wait=False)
    now = job.status()
    assert (job.id, now.total, now.waiting) == (name, before.total, before.waiting)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["load", "same call"])
def test_another_process_cuts_what_was_too_large(
    simulator, kept, large, how, monkeypatch
):
    server = simulator(batch_tokens=700, batch_latency=0.1)
    job = LONG.llm.submit("${text}", **at(server, kept))
    now = job.status()
    assert now.waiting == len(LONG) - 1  # one went ahead of the batch
    if how == "load":
        monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "k")
        out = load(job.id, cache=kept, base_url=server.base_url).result(LONG)
    else:
        out = LONG.llm.complete("${text}", **at(server, kept, batch=True))
    assert out.notna().all()
    assert paid(server) == [1] * len(LONG)


def test_a_row_that_is_larger_than_the_queue_is_said_so(simulator, kept, large):
    server = simulator(batch_tokens=700, batch_latency=0.05)
    rows = pd.concat([LONG.iloc[:3], pd.DataFrame({"text": ["long words " * 400]})])
    given = at(server, kept, batch=True, error_column="why")
    with pytest.warns(LLMWarning, match="1 of 4 rows failed"):
        out = rows.llm.complete("${text}", **given)
    assert out["completion"].isna().tolist() == [False, False, False, True]
    assert "over the account's queue of 700 tokens" in out["why"].iloc[-1]

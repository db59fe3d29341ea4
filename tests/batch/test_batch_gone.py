"""What a provider has no more, or not yet, or never had, in batches."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web
from batch_between import (
    FRAME,
    LOST,
    ROWS,
    VENDORS,
    Between,
    always,
    at,
    created,
    cut,
    first,
    paid,
)

from pandas_llm.batch import load, polling
from pandas_llm.errors import (
    BadRequestError,
    ConfigurationError,
    MalformedReplyError,
    MaybeCreatedError,
    ServerError,
)
from pandas_llm.providers.batches import OpenAIBatches
from pandas_llm.providers.vendors.google import GoogleBatches


def missing(_: Any) -> web.Response:
    error = {"message": "No such object.", "type": "invalid_request_error"}
    return web.json_response({"error": error}, status=404)


ODD = {"404": missing, "html": LOST["html"], "nothing": LOST["nothing"]}


pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


@pytest.fixture(autouse=True)
def in_files(monkeypatch):
    """Let all vendors but Anthropic keep results in files."""
    monkeypatch.setattr(GoogleBatches, "inline", 0)


@pytest.mark.parametrize("model", VENDORS)
@pytest.mark.parametrize("step", ["list", "poll", "results"])
@pytest.mark.parametrize("how", ODD)
def test_one_odd_answer_is_not_believed(simulator, kept, model, step, how):
    server = simulator()
    with Between(server, first(step, ODD[how])) as between:
        options = at(between, kept, model, batch=True)
        assert FRAME.llm.complete("${text}", **options).notna().all()
    assert len(created(server, model)) == 1
    assert paid(server) == [1] * ROWS


@pytest.mark.parametrize("model", VENDORS)
def test_results_that_are_gone_are_said_so_and_sent_again(
    simulator, kept, model, monkeypatch
):
    monkeypatch.setattr(polling, "_KEPT", 0.0)
    server = simulator()
    with Between(server, always("results", missing)) as between:
        options = at(between, kept, model, batch=True, error_column="why")
        lost = ROWS if model.startswith("azure") else ROWS - 1
        with pytest.warns(UserWarning, match=f"{lost} of 6 rows failed"):
            out = FRAME.llm.complete("${text}", **options)
        why = out["why"].dropna()
        assert len(why) == lost
        assert why.str.startswith("batch: ").all()
        assert why.str.contains("results are gone from the provider").all()
    again = FRAME.llm.complete("${text}", **at(server, kept, model, batch=True))
    assert again.notna().all()
    assert len(created(server, model)) == 2


@pytest.mark.parametrize("model", ["openai/sim", "anthropic/sim"])
@pytest.mark.parametrize("step", ["poll", "results"])
def test_a_new_batch_that_is_not_found_is_not_sent_again(simulator, kept, model, step):
    server = simulator()
    with Between(server) as between:
        options = at(between, kept, model)
        job = FRAME.llm.submit("${text}", **options)
        between._before = always(step, missing)
        for again in (job.status, lambda: job.result(FRAME, wait=False)):
            with pytest.raises(ServerError, match="key of another account"):
                again()
        between._before = lambda what, r, at: missing(r) if at <= 9 else None
        out = FRAME.llm.complete("${text}", **options, batch=True)
    assert out.notna().all()
    assert len(created(server, model)) == 1
    assert paid(server) == [1] * ROWS


@pytest.mark.parametrize("model", ["openai/sim", "mistral/sim"])
def test_results_that_are_not_named_yet_are_asked_for_again(simulator, kept, model):
    server, unnamed = simulator(), []

    def after(what: str, request: web.Request, _: int) -> Any:
        if what != "poll" or len(unnamed) == 2:
            return None
        url = server.base_url.removesuffix("/v1") + request.path_qs
        found = httpx.get(url).json()
        name = "output_file_id" if "openai" in model else "output_file"
        unnamed.extend(filter(None, [found[name]]))
        return web.json_response({**found, name: None})

    with Between(server, after=after) as between:
        options = at(between, kept, model, batch=True)
        assert FRAME.llm.complete("${text}", **options).notna().all()
    assert len(unnamed) == 2
    assert len(created(server, model)) == 1


def test_a_batch_that_was_deleted_is_given_up_by_a_cancel(simulator, kept):
    server = simulator()
    with Between(server, always("poll", missing)) as between:
        job = FRAME.llm.submit("${text}", **at(between, kept))
        assert job.cancel().ended
        between.heal()
        again = FRAME.llm.complete("${text}", **at(between, kept, batch=True))
    assert again.notna().all()
    assert len(created(server)) == 2


def test_a_cancel_ends_what_it_can_and_what_was_never_confirmed(
    simulator, kept, monkeypatch
):
    monkeypatch.setattr(OpenAIBatches, "most_requests", 2)
    server = simulator(batch_latency=1000)
    unlisted = lambda what, r, at: cut(r) if what == "list" and at > 1 else None  # noqa: E731
    lost = lambda what, r, at: cut(r) if (what, at) == ("create", 2) else None  # noqa: E731
    with Between(server, unlisted, lost) as between:
        with pytest.raises(MaybeCreatedError):
            FRAME.llm.submit("${text}", **at(between, kept))
        between.heal()
        no = web.json_response({"error": {"message": "No."}}, status=400)
        tries = iter([no, None])
        between._before = lambda what, r, _: (
            next(tries) if r.path.endswith("cancel") else None
        )
        with closing(sqlite3.connect(kept)) as file:
            ((job,),) = file.execute("SELECT id FROM pandas_llm_batches")
        with pytest.raises(BadRequestError):
            load(job, kept, base_url=between.base_url).cancel()
    words = [batch["status"] for batch in created(server)]
    assert sorted(words) == ["cancelling", "in_progress"]


@pytest.mark.parametrize("model", VENDORS)
def test_a_page_in_place_of_results_counts_nothing_and_loses_nothing(
    simulator, kept, model
):
    server, prices = simulator(), {"sim": (1.0, 4.0)}
    plain = FRAME.llm.complete(
        "${text}", **at(server, kept.parent / "other.sqlite", model, prices=prices)
    ).llm.usage
    with Between(server, always("results", LOST["html"])) as between:
        options = at(between, kept, model, prices=prices)
        job = FRAME.llm.submit("${text}", **options)
        with pytest.raises(MalformedReplyError, match="Hello"):
            while not job.status().ended:
                pass
        between.heal()
        out = job.result(FRAME)
    assert out.notna().all()
    assert out.llm.usage.requests == ROWS
    assert out.llm.usage.output_tokens == plain.output_tokens


@pytest.mark.parametrize("model", VENDORS)
@pytest.mark.parametrize("how", ["404", "html"])
def test_no_batch_endpoint_is_said_before_a_row_is_paid(simulator, kept, model, how):
    server = simulator()
    answers = lambda what, r, _: ODD[how](r) if what in ("list", "create") else None  # noqa: E731
    with Between(server, answers) as between:
        with pytest.raises(ConfigurationError, match="no batch endpoint at http") as e:
            FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
        assert "leave out batch=True" in str(e.value)
        assert "row" not in between.seen
        assert "create" not in between.seen


def test_a_server_with_batches_and_no_list_has_them(simulator, kept):
    server = simulator()
    refused = lambda _: web.json_response({"error": {"message": "No."}}, status=405)  # noqa: E731
    with Between(server, always("list", refused)) as between:
        options = at(between, kept, batch=True)
        assert FRAME.llm.complete("${text}", **options).notna().all()

"""What a provider has no more, or not yet, or never had, in batches."""

from __future__ import annotations

from typing import Any

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
    first,
    paid,
)

from pandas_llm.errors import ConfigurationError, MalformedReplyError
from pandas_llm.providers.batches.google import GoogleBatches


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
def test_results_that_are_gone_are_said_so_and_sent_again(simulator, kept, model):
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

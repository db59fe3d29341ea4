"""Vectors through a batch endpoint: the same ones, for half the price."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from batch_between import Between, at, created

from pandas_llm import ConfigurationError, LLMWarning
from pandas_llm.batch import upload
from pandas_llm.errors import CostLimitError

FRAME = pd.DataFrame({"text": [f"In {1700 + at} it rained." for at in range(6)]})
LOADED = """
import sys, pandas as pd, pandas_llm.batch
_, name, cache = sys.argv
frame = pd.DataFrame({"text": [f"In {1700 + at} it rained." for at in range(6)]})
out = pandas_llm.batch.load(name, cache=cache).result(frame)
print(out.map(len).tolist(), out.llm.usage.requests)
"""


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


def in_batches(server):
    return [s for s in server.requests() if "x-simulated-batch" in s["headers"]]


def test_a_batch_gives_the_vectors_that_embed_gives(simulator, kept, tmp_path):
    server, prices = simulator(), {"sim": (1.0, 0.0)}
    more = {"dimensions": 8, "prices": prices}
    out = FRAME.llm.embed("text", **at(server, kept, batch=True, **more))
    assert len(in_batches(server)) == 5  # the first row settles the terms
    plain = FRAME.llm.embed("text", **at(server, tmp_path / "other", **more))
    assert all(np.array_equal(*pair) for pair in zip(out, plain, strict=True))
    share = out.llm.usage.cost / plain.llm.usage.cost
    assert 0.5 < share < 0.75  # one row at the whole price
    again = FRAME.llm.embed("text", **at(server, kept, **more))
    assert again.llm.usage.requests == 0


@pytest.mark.parametrize("dimensions", [4, None])
def test_a_batch_is_no_larger_than_its_results_can_be_read(
    simulator, kept, monkeypatch, dimensions
):
    vector = (dimensions or upload._LONGEST_VECTOR) * 24 + 1024
    monkeypatch.setattr(upload, "_LARGEST_RESULTS", 2 * vector)
    server = simulator()
    options = at(server, kept, batch=True, dimensions=dimensions)
    assert FRAME.llm.embed("text", **options).notna().all()
    sizes = [batch["request_counts"]["total"] for batch in created(server)]
    assert sorted(sizes) == [1, 2, 2]  # one row of six went ahead


def test_expanded_columns_and_rows_without_a_text(simulator, kept):
    server = simulator()
    texts = pd.DataFrame({"text": ["A cat.", None, "", "A dog.", "A cat."]})
    options = at(server, kept, batch=True, dimensions=2, expand=True)
    with pytest.warns(LLMWarning, match=r"1 of 5 rows failed \(1 empty_text\)"):
        out = texts.llm.embed("text", **options)
    assert out["embedding_1"].isna().tolist() == [False, True, True, False, False]
    assert server.stats()["requests"] == 2


def test_another_process_finishes_a_submitted_job(simulator, kept):
    server = simulator(batch_latency=0.2)
    options = at(server, kept, dimensions=4)
    job = FRAME.llm.submit("text", verb="embed", **options)
    found = subprocess.run(
        [sys.executable, "-c", LOADED, job.id, str(kept)],
        env={**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.base_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.stdout.split("\n")[0] == f"{[4] * 6} 6", found.stderr
    assert len(in_batches(server)) == 5


@pytest.mark.parametrize("model", ["ollama/sim", "together/sim"])
def test_a_provider_without_batches_is_told_of_before_anything_is_sent(
    simulator, kept, model
):
    server = simulator()
    options = at(server, kept, model, batch=True)
    with pytest.raises(ConfigurationError, match="leave out batch=True"):
        FRAME.llm.embed("text", **options)
    assert server.stats()["requests"] == 0


def test_an_address_without_batches_is_told_of_before_a_row_is_paid(simulator, kept):
    from aiohttp import web

    server = simulator()
    gone = lambda what, r, n: web.Response(status=404) if what == "list" else None  # noqa: E731
    with Between(server, gone) as between:
        with pytest.raises(ConfigurationError, match="no batch endpoint"):
            FRAME.llm.embed("text", **at(between, kept, batch=True))
        assert "upload" not in between.seen
    assert server.stats()["requests"] == 0


def test_max_cost_needs_no_max_tokens(simulator, kept):
    server, prices = simulator(), {"sim": (1e6, 0.0)}
    options = at(server, kept, batch=True, prices=prices)
    with pytest.raises(CostLimitError, match="may cost"):
        FRAME.llm.embed("text", max_cost=1.0, **options)
    assert server.stats()["requests"] == 0
    assert FRAME.llm.embed("text", max_cost=1e6, **options).notna().all()


@pytest.mark.parametrize("pilot", [0, 3])
def test_an_estimate_of_a_batch_has_its_price(simulator, tmp_path, pilot):
    server, prices = simulator(), {"sim": (1.0, 4.0)}
    costs = []
    for name, batch in (("plain", False), ("batch", True)):
        options = at(server, tmp_path / name, batch=batch, prices=prices)
        found = FRAME.llm.estimate("${text}", pilot=pilot, **options)
        costs.append(found.cost)
        assert found.pilot == pilot
    assert costs[1] == pytest.approx(costs[0] / 2)
    assert in_batches(server) == []


def test_an_estimate_has_the_price_of_its_tier():
    pytest.importorskip("genai_prices", reason="needs the extra `cost`")
    costs = {}
    for tier in ("default", "priority"):
        options = {"model": "openai/gpt-5.4", "api_key": "k", "service_tier": tier}
        costs[tier] = FRAME.llm.estimate("${text}", cache=False, **options).cost
    assert costs["priority"] == pytest.approx(2 * costs["default"])

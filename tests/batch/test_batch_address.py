"""A loaded job is asked only where its reader would ask."""

from __future__ import annotations

import pandas as pd
import pytest
from batch_between import at

import pandas_llm
from pandas_llm import ConfigurationError, batch
from pandas_llm.batch.saved import confirmed

FRAME = pd.DataFrame({"text": ["It rained.", "It snowed."]})


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


@pytest.fixture
def reader(monkeypatch):
    """Set a key of this process alone, and no address."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-readers-own")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return monkeypatch


def test_an_address_of_the_file_alone_is_not_asked(simulator, kept, reader):
    server = simulator(batch_latency=0.1)
    job = FRAME.llm.submit("${text}", **at(server, kept))
    before = server.stats()["requests"]
    with pytest.raises(ConfigurationError) as caught:
        batch.load(job.id, cache=kept)
    assert f"base_url='{server.base_url}'" in str(caught.value)
    assert "OPENAI_BASE_URL" in str(caught.value)
    seen = [sent["headers"] for sent in server.requests()]
    assert "sk-the-readers-own" not in str(seen)
    assert server.stats()["requests"] <= before + 1  # the batch's own row
    loaded = batch.load(job.id, cache=kept, base_url=server.base_url + "/")
    assert loaded.result(FRAME).notna().all()


@pytest.mark.parametrize("how", ["environment", "option"])
def test_the_address_of_this_process_is_asked(simulator, kept, reader, how):
    server = simulator()
    job = FRAME.llm.submit("${text}", **at(server, kept))
    if how == "environment":
        reader.setenv("OPENAI_BASE_URL", server.base_url)
        assert batch.load(job.id, cache=kept).result(FRAME).notna().all()
        return
    with pandas_llm.option_context(base_url=server.base_url):
        assert batch.load(job.id, cache=kept).result(FRAME).notna().all()


def test_another_address_than_the_jobs_is_refused(simulator, kept, reader):
    job = FRAME.llm.submit("${text}", **at(simulator(), kept))
    with pytest.raises(ValueError, match="the job was sent to"):
        batch.load(job.id, cache=kept, base_url="https://api.openai.com/v1")


@pytest.mark.parametrize(
    ("model", "place", "allowed"),
    [
        ("openai/m", "https://api.openai.com/v1", True),
        ("openai/m", "https://api.openai.com/v1/", True),
        ("openai/m", "https://api.openai.com.evil.example/v1", False),
        ("openai/m", "https://api.openai.com@evil.example/v1", False),
        ("openai/m", "http://api.openai.com/v1", False),
        ("anthropic/m", "https://api.openai.com/v1", False),
        ("anthropic/m", "https://api.anthropic.com/v1", True),
    ],
)
def test_the_providers_own_address_needs_no_confirming(reader, model, place, allowed):
    reader.setenv("ANTHROPIC_API_KEY", "k")
    reader.delenv("ANTHROPIC_BASE_URL", raising=False)
    plan = pandas_llm.Plan("${text}", verb="complete", model=model, base_url=place)
    if allowed:
        assert confirmed(plan._task, None) is plan._task
        return
    with pytest.raises(ConfigurationError, match="confirm it"):
        confirmed(plan._task, None)

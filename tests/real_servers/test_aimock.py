"""Rows through the chaos of aimock, a mock server that nobody here wrote."""

from __future__ import annotations

import json
import os
from collections import Counter

import pandas as pd
import pytest
from aimock_server import AimockServer, missing

import pandas_llm  # noqa: F401 - registers the accessor

if missing() and os.environ.get("CI"):
    raise RuntimeError(missing())
pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=f"NOT TESTED WITH AIMOCK: {missing()}"),
    pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning"),
]

# provider to where its own paths begin
PROVIDERS = {
    "openai": "/v1",
    "openai-responses": "/v1",
    "anthropic": "/v1",
    "google": "/v1beta",
    "bedrock": "",
}
RECORDS = {"records": [{"question": "Why?", "answer": "So."}]}
ANSWERS = {"question and answer": json.dumps(RECORDS), "Say": "It is said."}
BREAKING = {"drop": 0.035, "malformed": 0.035, "disconnect": 0.03}
REFUSING = {"drop": 0.03, "malformed": 0.03, "disconnect": 0.03, "ratelimit": 0.01}
"""10 % in all. Its 429 has OpenAI's headers, always the same: 60 requests a minute, and
no tokens for six minutes. A client that believes them would have to wait so long."""


@pytest.fixture(scope="module")
def breaking():
    with AimockServer(ANSWERS, **BREAKING) as server:
        yield server


@pytest.fixture(scope="module")
def refusing():
    with AimockServer(ANSWERS, **REFUSING) as server:
        yield server


@pytest.fixture(scope="module")
def calm():
    with AimockServer(ANSWERS) as server:
        yield server


def options(server: AimockServer, provider: str) -> dict[str, object]:
    return {
        "model": f"{provider}/gpt-4o",
        "base_url": f"{server.origin}{PROVIDERS[provider]}",
        "api_key": "k",
        "progress": False,
    }


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"document {i}" for i in range(count)]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chaos", "provider"),
    [
        ("breaking", "openai"),
        ("breaking", "openai-responses"),
        ("refusing", "anthropic"),
        ("refusing", "google"),
        ("breaking", "bedrock"),
    ],
)
def test_two_hundred_rows_come_back_through_chaos(request, chaos, provider):
    server = request.getfixturevalue(chaos)
    out = rows(200).llm.complete(
        f"Say ${{text}} to {provider}.",
        error_column="why",
        concurrency=16,
        max_retries=12,  # by chance a row meets several faults
        **options(server, provider),
    )
    assert out["why"].isna().all(), out["why"].dropna().tolist()
    assert (out["completion"] == "It is said.").all()
    done = Counter(
        entry["response"].get("chaosAction", "answered")
        for entry in server.journal()
        if f"to {provider}." in json.dumps(entry["body"])
    )
    assert done["answered"] == 200
    assert sum(done.values()) > 200  # about 222: every fault was asked again


@pytest.mark.parametrize("provider", PROVIDERS)
def test_records_come_back_typed(calm, provider):
    out = rows(3).llm.generate(
        "Generate question and answer pairs: ${text}",
        ["question", "answer"],
        **options(calm, provider),
    )
    assert out["question"].tolist() == ["Why?"] * 3
    assert out["answer"].tolist() == ["So."] * 3

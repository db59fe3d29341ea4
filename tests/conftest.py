"""What all tests share: a clean state, no network beyond loopback, a simulator."""

from __future__ import annotations

import gc
import os
import socket
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from pandas_llm._client import endpoint as endpoints
from pandas_llm._client import verdict
from pandas_llm._pacing import limiter, retry
from pandas_llm._run import blocking
from pandas_llm.options import scopes
from pandas_llm.simulator import Simulator

# a hundred interpreters are started: each would compile the package by itself
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")


def pytest_report_header() -> list[str]:
    import aiohttp
    import pydantic

    return [
        f"pandas {pd.__version__}, numpy {np.__version__}, "
        f"aiohttp {aiohttp.__version__}, pydantic {pydantic.VERSION}"
    ]


def pytest_collection_finish() -> None:
    """Spare the collector ten thousand tests: a look at them takes a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_state(monkeypatch):
    """Forget keys, options and what other tests have learned of endpoints."""
    for name in list(os.environ):
        ours = name.startswith(("OPENAI_", "PANDAS_LLM_", "AZURE_OPENAI_"))
        theirs = name.endswith(("_API_KEY", "_BASE_URL", "_AUTH_TOKEN"))
        if (ours or theirs) and not name.endswith("_SPEC"):
            monkeypatch.delenv(name)
        network = name.lower().endswith(("_proxy", "_ca_bundle"))
        network = network or name.startswith("AWS_")
        if network or name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("PANDAS_LLM_CACHE", "off")
    monkeypatch.setenv("PANDAS_LLM_TRACEBACK", "full")
    monkeypatch.setattr(blocking, "_warned", False)
    scopes._global.clear()
    endpoints._settled.clear()
    limiter._limiters.clear()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """Refuse connections to other machines."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            pytest.fail(f"a test connects to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def short_waits(monkeypatch):
    """Ask a row that failed again after hardly a moment."""
    monkeypatch.setattr(retry, "_BASE", 0.002)


@pytest.fixture
def short_outages(short_waits, monkeypatch):
    """Ask a server that is down again after hardly a moment, too."""
    monkeypatch.setattr(retry.Circuit, "FIRST", 0.01)
    monkeypatch.setattr(retry, "_GLANCE", 0.01)


@pytest.fixture
def short_search(short_waits, monkeypatch):
    """Return a server up soon that was never reached."""
    monkeypatch.setattr(verdict, "_NEVER_REACHED", 0.1)


@pytest.fixture
def simulator():
    """Start simulators with given knobs; all stop at the end of the test."""
    running = []

    def start(**knobs) -> Simulator:
        server = Simulator(**knobs)
        server.__enter__()
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def on():
    """Return the options that send a call to a simulator, and no bar."""

    def at(server: Simulator, **more):
        return {"model": "sim", "base_url": server.base_url, "progress": False, **more}

    return at


PATHS = {"azure": "", "bedrock": "", "google": "/v1beta"}
"""Where a provider's paths begin at a simulator; ``/v1`` of the others."""


@pytest.fixture
def here(provider):
    """Return the options that send a call to a simulator in the provider's dialect."""

    def at(server: Simulator, **more):
        return {
            "model": f"{provider}/sim",
            "base_url": f"{server.origin}{PATHS.get(provider, '/v1')}",
            "api_key": "k",
            "progress": False,
            **more,
        }

    return at


@pytest.fixture
def docs() -> pd.DataFrame:
    """Three short documents under odd labels."""
    return pd.DataFrame(
        {
            "title": ["Washington", "Adams", "Jefferson"],
            "text": [
                "George Washington led the army. He was the first president.",
                "John Adams was a lawyer. He became the second president.",
                "Thomas Jefferson wrote the declaration.",
            ],
        },
        index=["b", "a", "b"],
    )

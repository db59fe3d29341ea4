"""LiteLLM's proxy, a gateway that many put in front: its 429 names no time to wait.

It wants an environment of its own (700 MB), so it is not run by the ordinary commands::

    python3 -m venv litellm && litellm/bin/pip install 'litellm[proxy]'
    export PANDAS_LLM_LITELLM=litellm/bin/litellm
    pytest -m nightly tests/real_servers/test_litellm.py
"""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import subprocess
import time

import pandas as pd
import pytest

import pandas_llm  # noqa: F401 - registers the accessor

PROGRAM = os.environ.get("PANDAS_LLM_LITELLM", "")
START_TIMEOUT = 180  # seconds; ten are usual
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not PROGRAM, reason="PANDAS_LLM_LITELLM names no program"),
]
KEY = f"sk-{secrets.token_hex(24)}"  # it does not start with a weak one
CONFIG = f"""
general_settings: {{master_key: {KEY}}}
model_list:
  - model_name: free
    litellm_params: {{model: openai/free, api_key: k, mock_response: "It is said."}}
  - model_name: limited
    litellm_params:
      {{model: openai/limited, api_key: k, mock_response: "It is said.", rpm: 5}}
router_settings:
  optional_pre_call_checks: [enforce_model_rate_limits]
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [PROGRAM, "--config", str(folder / "config.yaml"), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--telemetry", "False"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            # else it fetches its list of prices
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
    with process:
        try:
            wait_until_alive(process, port)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def wait_until_alive(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/liveliness")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    pytest.fail("the proxy did not start")


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"document {i}" for i in range(count)]})


def test_rows_come_back_through_the_proxy(proxy):
    out = rows(100).llm.complete(
        "Say ${text}", model="free", base_url=proxy, api_key=KEY, progress=False
    )
    assert (out == "It is said.").all()


def test_a_limit_that_names_no_time_is_waited_out(proxy):
    out = rows(8).llm.complete(
        "Say ${text}",
        model="limited",
        base_url=proxy,
        api_key=KEY,
        progress=False,
        error_column="why",
    )
    assert out["why"].isna().all(), out["why"].dropna().tolist()
    assert (out["completion"] == "It is said.").all()

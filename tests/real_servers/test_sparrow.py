"""`systemone` against the server that sparrow-decider brings along."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("sparrow_decider")

ROWS = pd.DataFrame({"text": ["What a lovely place", "Never again", "It was fine"]})
ASK = "Is this review positive or negative? ${text}"
LABELS = ["negative", "positive"]


@pytest.fixture(scope="module")
def sparrow():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = str(Path(sys.executable).with_name("sparrow-decider"))
    command = [script, "serve", "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while True:
            assert process.poll() is None, process.stdout.read().decode()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.05)
            else:
                break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def test_the_server_and_the_model_in_process_tell_the_same(sparrow):
    there = ROWS.llm.classify(
        ASK, LABELS, probabilities=True, model="systemone/tiny", base_url=sparrow
    )
    here = ROWS.llm.classify(ASK, LABELS, probabilities=True, model="tiny")
    pd.testing.assert_frame_equal(there, here, rtol=1e-6)
    assert here.llm.usage.cost == 0  # it runs here, and counts no tokens
    assert there.attrs["llm"]["probabilities"] == "decisions"


def test_several_keys_are_one_request(sparrow):
    keys = {"positive": bool, "length": ["short", "long"]}
    out = ROWS.llm.extract(
        "About: ${text}", keys, confidence=True, model="systemone/x", base_url=sparrow
    )
    assert out.llm.usage.requests == 3
    assert out["length_confidence"].between(0.5, 1).all()

"""Ctrl-C: real processes, real signals, and what the server sees afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pandas_llm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

ROOT = Path(pandas_llm.__file__).parents[1]
SCRIPT = Path(__file__).parents[1] / "support/interrupted_script.py"
SECONDS = 10.0
"""Two are promised; the rest is for a busy machine and the interpreter's exit."""


@pytest.fixture
def start(tmp_path):
    """Start interrupted_script.py; whatever still runs at the end is killed."""
    running = []

    def process(how: str, url: str = "-") -> tuple[subprocess.Popen, Path]:
        report = tmp_path / "report.json"
        started = subprocess.Popen(
            [sys.executable, "-W", "default", SCRIPT, how, url, report],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(started)
        return started, report

    yield process
    for started in running:
        started.kill()
        started.communicate()


def wait_for(holds) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until, "it did not come about in 30 s"
        time.sleep(0.02)


def wait_until(holds, process: subprocess.Popen) -> None:
    def holds_alive() -> bool:
        assert process.poll() is None, process.stderr.read()
        return holds()

    wait_for(holds_alive)


def press(process: subprocess.Popen) -> tuple[float, str]:
    """Press Ctrl-C; return the seconds until the process ended, and its last words."""
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    return time.monotonic() - pressed, said


def check_end(process: subprocess.Popen, seconds: float, said: str) -> None:
    assert process.returncode == -signal.SIGINT, said
    assert "rows were done; they are in .partial" in said
    assert seconds < SECONDS
    for trouble in ("ResourceWarning", "Unclosed", "never awaited", "was destroyed"):
        assert trouble not in said, said


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("script", "KeyboardInterrupt"),
        ("asyncio", "CancelledError"),
        ("uvloop", "CancelledError"),
        ("bare_loop", "KeyboardInterrupt"),
        ("nested", "CancelledError"),
        ("nested_bare_loop", "KeyboardInterrupt"),
        ("patched", "KeyboardInterrupt"),
        ("await", "CancelledError"),
        ("bare_await", "KeyboardInterrupt"),
    ],
)
def test_one_ctrl_c_stops_the_requests_and_keeps_what_was_done(
    how, kind, start, simulator
):
    server = simulator(latency=0.2)
    process, report = start(how, server.base_url)
    wait_until(lambda: server.stats()["answered"] >= 200, process)
    seconds, said = press(process)
    answered = server.stats()["answered"]
    check_end(process, seconds, said)
    found = json.loads(report.read_text())
    assert found["kind"] == kind
    assert found["rows"] == 20_000
    assert 100 <= found["done"] <= answered
    assert found["right"]
    assert found["threads"] == 1, "the job was still running"
    assert found["note"].startswith(f"{found['done']} of 20000 rows were done")
    wait_for(lambda: server.stats()["in_flight"] == 0)
    assert server.stats()["requests"] < 20_000


def test_ctrl_c_between_the_rounds_of_a_verb_tells_what_all_of_them_used(
    start, simulator
):
    server = simulator(latency=0.05)
    process, report = start("rounds", server.base_url)
    wait_until(lambda: server.stats()["answered"] >= 1_200, process)
    seconds, said = press(process)
    sent = server.stats()["requests"]
    check_end(process, seconds, said)
    found = json.loads(report.read_text())
    assert 1_000 <= found["requests"] <= sent
    assert found["rows"] > found["requests"] - 200
    assert found["columns"][-1] == "more"


def test_ctrl_c_stops_a_run_on_the_simulator_inside_the_process(start):
    process, report = start("own_simulator")
    said = ""
    while "tokens" not in said:  # of the bar: nobody else outside sees what it does
        assert process.poll() is None, said
        said += process.stderr.read(1)
    seconds, said = press(process)
    check_end(process, seconds, said)
    told = json.loads(report.read_text())
    assert 0 < told["done"] < 20_000
    assert told["processes_start"] is None  # the bar leaves that to the caller


def test_ctrl_c_stops_an_awaited_wait_for_a_batch(start, simulator):
    process, report = start("bare_batch", simulator(batch_latency=60.0).base_url)
    wait_until(report.exists, process)
    seconds, said = press(process)
    assert process.returncode == -signal.SIGINT, said
    assert seconds < SECONDS
    found = json.loads(report.read_text())
    assert (found["kind"], found["rows"], found["done"]) == ("KeyboardInterrupt", 3, 0)


@pytest.mark.parametrize("way", ["script", "asyncio", "nested", "bare_nested"])
def test_a_second_ctrl_c_returns_at_once(way, start):
    process, report = start(f"stubborn_{way}")
    wait_until(lambda: report.exists() and report.read_text() == "started", process)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: report.read_text() == "stopping", process)
    seconds, said = press(process)
    assert process.returncode == -signal.SIGINT, said
    assert seconds < SECONDS

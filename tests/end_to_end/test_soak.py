"""20,000 rows through faults and an outage: none lost, none twice, memory flat."""

from __future__ import annotations

import resource
import sys
import threading
import time

import pandas as pd
import pytest

ROWS = 20_000
FAULTS = {
    "500": 0.03,
    "reset": 0.02,
    "truncated": 0.02,
    "html": 0.01,
    "error_200": 0.01,
    "bad_output": 0.0095,
    "429": 0.0005,  # each slows all rows down, as it should
}
"""One request in ten."""
OUTAGE = 20.0


def megabytes():
    """Return the most memory this process has used so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10


class Saboteur(threading.Thread):
    """Takes the server down in the middle, and notes how memory grows."""

    def __init__(self, server):
        super().__init__()
        self._server = server
        self.memory = []
        self.refused = 0

    def _until(self, answers):
        until = time.monotonic() + 120
        while self._server.stats()["answered"] < answers:
            assert time.monotonic() < until
            time.sleep(0.3)

    def run(self):
        self._until(ROWS // 4)
        self.memory.append(megabytes())
        self._until(ROWS // 2)
        before = self._server.stats()["faults"].get("503", 0)
        self._server.configure(faults={"503": 1.0})
        time.sleep(OUTAGE)
        self._server.configure(faults=FAULTS)
        self.refused = self._server.stats()["faults"]["503"] - before


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_twenty_thousand_rows_through_faults_and_an_outage(
    simulator, on, tmp_path, record_property
):
    server = simulator(latency=0.01, jitter=0.5, faults=FAULTS, fault_delay=0.01)
    df = pd.DataFrame(
        {"number": range(ROWS), "text": [f"Fact number {i}." for i in range(ROWS)]}
    )
    options = on(server, cache=tmp_path / "c.sqlite", concurrency=50)
    # with the defaults, chance alone would fail a row in every 30th run of this test
    options |= {"max_retries": 8, "output_retries": 4}
    saboteur = Saboteur(server)
    saboteur.start()
    started = time.monotonic()
    out = df.llm.extract("${text}", ["fact"], error_column="why", **options)
    seconds = time.monotonic() - started
    growth = megabytes() - saboteur.memory[0]
    saboteur.join()
    stats = server.stats()
    said = (
        f"{seconds:.0f} s, {stats['requests']} requests, {saboteur.refused} of them in "
        f"{OUTAGE:g} s of outage, {growth:.0f} MB more at the end than at a quarter"
    )
    record_property("soak", said)
    print(said)
    # none lost, each with its own answer, in order
    pd.testing.assert_frame_equal(out[["number", "text"]], df)
    assert out["why"].isna().all()
    assert out["fact"].tolist() == [f"[simulated] {text}" for text in df["text"]]
    # none answered twice, but for those whose answer was no use
    assert stats["prompts"] == ROWS + 1  # the words of asking again are one
    assert stats["answered"] == ROWS + stats["faults"]["bad_output"]
    assert 0 < saboteur.refused <= 200
    assert growth < 100
    again = df.llm.extract("${text}", ["fact"], **options)
    assert again.llm.usage.cached == ROWS
    assert server.stats()["requests"] == stats["requests"]

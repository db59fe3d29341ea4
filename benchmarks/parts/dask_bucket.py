"""Four Dask workers on one strict token bucket: how much of it they take.

Run by itself, in an environment with pandas_llm's extra ``dask``:
``python benchmarks/parts/dask_bucket.py --rows 600``.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import warnings
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
from distributed import Client, LocalCluster

import pandas_llm.dask  # noqa: F401 - registers the accessor
from pandas_llm.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parent.parent))
from table import table

RATE, BURST, LATENCY = 40, 5, 0.2


def warm() -> None:
    """Import all that a run needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it blocks the worker's loop
        pd.Series(["x"]).llm.complete("${value}", model="sim", cache=False)


class Watch(threading.Thread):
    """Notes when the first request came, and when the last was answered."""

    def __init__(self, server: Simulator, rows: int) -> None:
        super().__init__(daemon=True)
        self.server, self.rows = server, rows
        self.first = self.last = 0.0

    def run(self) -> None:
        while not self.last:
            stats, now = self.server.stats(), time.monotonic()
            if stats["requests"] and not self.first:
                self.first = now
            if stats["answered"] >= self.rows:
                self.last = now
            time.sleep(0.01)  # noqa: TID251 - a thread of its own


def measure(client: Client, rows: int, told: str) -> tuple:
    """Run rows in eight partitions against a server of its own."""
    headers = told == "headers"
    knobs = {"headers": headers, "retry_after": headers, "latency": LATENCY}
    with Simulator(requests_per_minute=60 * RATE, burst=BURST, **knobs) as server:
        limit = {} if headers else {"requests_per_minute": 60 * RATE}
        frame = pd.DataFrame({"text": [f"Row {at}." for at in range(rows)]})
        lazy = dd.from_pandas(frame, npartitions=8).llm.complete(
            "${text}", model="sim", base_url=server.base_url, cache=False, **limit
        )
        client.run(warm)
        watch = Watch(server, rows)
        watch.start()
        started = time.monotonic()
        client.compute(lazy).result()
        wall = time.monotonic() - started
        watch.join()
        refused = server.stats()["rejected_429"]
    ideal, took = (rows - BURST) / RATE + LATENCY, watch.last - watch.first
    share = (f"{ideal / seconds:.1%}" for seconds in (took, wall))
    return (told, f"{rows:,}", f"{ideal:.1f}", f"{took:.1f}", *share, str(refused))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=600)
    arguments.add_argument("--repetitions", type=int, default=3)
    options = arguments.parse_args()
    cluster = LocalCluster(
        n_workers=4, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    )
    with cluster, Client(cluster) as client:
        lines = [
            measure(client, options.rows, told)
            for _ in range(options.repetitions)
            for told in ("options", "headers")
        ]
    heads = ("told by", "rows", "ideal, s", "first to last, s")
    table(*heads, "of the ideal", "by the wall", "429s", rows=lines)


if __name__ == "__main__":
    main()

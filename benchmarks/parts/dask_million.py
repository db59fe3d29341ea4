"""Parquet through Dask, or through one process: memory, and the overhead in all.

Run by itself, in an environment with pandas_llm's extra ``dask``:
``python benchmarks/parts/dask_million.py --rows 1000000 --workers 4``; with
``--workers 0`` all rows go through one call in one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

import pandas_llm.dask

sys.path.insert(0, str(Path(__file__).parent.parent))
import clients
from table import table


def write(folder: Path, rows: int, partition: int) -> None:
    """Write documents of 300 letters, a file a partition."""
    folder.mkdir()
    filler = "All work and no play makes a long document. " * 7
    for number, start in enumerate(range(0, rows, partition)):
        at = np.arange(start, min(rows, start + partition))
        texts = [f"Row #{row}# {filler[:290]}" for row in at.tolist()]
        frame = pd.DataFrame({"id": at, "text": texts})
        frame.to_parquet(folder / f"part-{number:05}.parquet")


def memory() -> tuple[float, float]:
    """Return this process's memory, now and at its peak, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if "VmR" in line}
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(sizes["VmRSS"]) / 1024, int(peak) / 1024


def cpu() -> float:
    """Return this process's seconds of CPU."""
    return time.process_time()


QUESTION = ("Questions and answers on: ${text}", ["question", "answer"])


def asked(server, folder: Path, options) -> dict:
    """Return the options of the call."""
    kept = options.cache and folder / "kept.sqlite"
    at = {"model": "bench", "base_url": server.base_url}
    return {**at, "concurrency": 64, "cache": kept, "progress": False}


def line(options, took: tuple, sizes: tuple, ids, server) -> tuple:
    """Return the table's line; `took` are seconds by the wall and of CPU."""
    seconds, used = took
    return (
        f"{options.rows:,}",
        str(options.workers or "one process"),
        f"{options.partition:,}" if options.workers else "all",
        "on" if options.cache else "off",
        f"{seconds:.0f}",
        f"{seconds / options.rows * 1e6:.0f}",
        f"{used / options.rows * 1e6:.0f}",
        *(f"{size:.0f}" for size in sizes),
        f"{options.rows - ids.nunique()} / {server.stats()['twice']}",
    )


def measure_process(server, folder: Path, options) -> tuple:
    """Run all rows through one call."""
    frame = pd.read_parquet(folder / "in")
    pd.Series(["x"]).llm.complete("${value}", model="sim", cache=False, progress=False)
    before, used, started = memory()[0], cpu(), time.monotonic()
    out = frame.llm.generate(*QUESTION, **asked(server, folder, options))
    seconds, used = time.monotonic() - started, cpu() - used
    peak = memory()[1]
    result = out.memory_usage(deep=True, index=False).sum() / 2**20
    above = f"{peak - before - result:.0f} MB above input and result"
    print(f"result {result:.0f} MB, peak {above}", file=sys.stderr)
    return line(options, (seconds, used), (before, peak), out["id"], server)


def measure(client: Client, server, folder: Path, options) -> tuple:
    """Run the files through the cluster."""
    source, target = folder / "in", folder / "out"
    before = client.run(memory)
    used = sum(client.run(cpu).values())
    started = time.monotonic()
    ddf = dd.read_parquet(source)
    ddf.llm.generate(*QUESTION, **asked(server, folder, options)).to_parquet(target)
    seconds = time.monotonic() - started
    used = sum(client.run(cpu).values()) - used
    after = client.run(memory)
    told = pandas_llm.dask.last_usage(client)
    print(f"last_usage: {told.rows:,} rows, {told.requests:,} sent", file=sys.stderr)
    ids = pd.read_parquet(target, columns=["id"])["id"]
    sizes = max(now for now, _ in before.values()), max(p for _, p in after.values())
    return line(options, (seconds, used), sizes, ids, server)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--partition", type=int, default=20_000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--cache", action="store_true")
    options = arguments.parse_args()
    server = clients.Server(Path(sys.executable))
    server.configure()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "in", options.rows, options.partition)
        if options.workers:
            cluster = LocalCluster(
                n_workers=options.workers,
                threads_per_worker=1,
                dashboard_address=":0",
                memory_limit=0,
            )
            with cluster, Client(cluster) as client:
                found = measure(client, server, folder, options)
        else:
            found = measure_process(server, folder, options)
    server.close()
    heads = ("rows", "workers", "rows a run", "cache", "seconds", "µs/row")
    sizes = ("MB before", "MB at most")
    table(*heads, "CPU µs/row", *sizes, "lost / twice", rows=[found])


if __name__ == "__main__":
    main()

"""A Parquet file through Dask: memory of the workers, and the overhead in all.

Run by itself, in an environment with pandas_llm's extra ``dask``:
``python benchmarks/parts/dask_million.py --rows 1000000 --partition 20000``.
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

import pandas_llm.dask  # noqa: F401 - registers the accessor

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
    """Give this process's memory, now and at its peak, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if "VmR" in line}
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(sizes["VmRSS"]) / 1024, int(peak) / 1024


def cpu() -> float:
    """Give this process's seconds of CPU."""
    return time.process_time()


def measure(client: Client, server, folder: Path, options) -> tuple:
    """Run one file through the cluster."""
    server.configure()
    source, target = folder / "in", folder / "out"
    write(source, options.rows, options.partition)
    before = client.run(memory)
    used = sum(client.run(cpu).values())
    started = time.monotonic()
    ddf = dd.read_parquet(source)
    ddf.llm.generate(
        "Questions and answers on: ${text}",
        ["question", "answer"],
        model="bench",
        base_url=server.base_url,
        concurrency=64,
        cache=options.cache and folder / "kept.sqlite",
    ).to_parquet(target)
    seconds = time.monotonic() - started
    used = sum(client.run(cpu).values()) - used
    after = client.run(memory)
    stats = server.stats()
    ids = pd.read_parquet(target, columns=["id"])["id"]
    lost = options.rows - ids.nunique()
    return (
        f"{options.rows:,}",
        f"{options.partition:,}",
        "on" if options.cache else "off",
        f"{seconds:.0f}",
        f"{seconds / options.rows * 1e6:.0f}",
        f"{used / options.rows * 1e6:.0f}",
        f"{max(now for now, _ in before.values()):.0f}",
        f"{max(peak for _, peak in after.values()):.0f}",
        f"{lost} / {stats['twice']}",
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--partition", type=int, default=20_000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--cache", action="store_true")
    options = arguments.parse_args()
    server = clients.Server(Path(sys.executable))
    cluster = LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,
        dashboard_address=":0",
        memory_limit=0,
    )
    with cluster, Client(cluster) as client, tempfile.TemporaryDirectory() as folder:
        line = measure(client, server, Path(folder), options)
    server.close()
    heads = ("rows", "rows a partition", "cache", "seconds", "µs/row")
    sizes = ("worker before, MB", "worker at most, MB")
    table(*heads, "CPU µs/row of workers", *sizes, "lost / twice", rows=[line])


if __name__ == "__main__":
    main()

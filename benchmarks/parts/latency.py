"""Fixed and log-normal latency: how well a client keeps its requests in flight."""

from __future__ import annotations

import math
from collections import defaultdict

from clients import FLOOR, OURS, run
from table import spread, table

SECONDS = 0.2
SIGMA = 0.8
IN_FLIGHT = 64


def main(bench) -> None:
    rows = 640 if bench.quick else 1280
    print(f"### {SECONDS * 1000:.0f} ms latency, {IN_FLIGHT} in flight\n")
    ideal = rows * SECONDS / IN_FLIGHT
    near = bench.pick(FLOOR, OURS, "parallel-parrot")
    compared = near if bench.quick else bench.working()
    _compare(bench, rows, {"latency": SECONDS}, ideal, compared)
    if bench.quick:
        return
    rows = 3200  # the last few rows, however slow, shall not decide
    print(f"### Log-normal latency, sigma {SIGMA}, {IN_FLIGHT} in flight\n")
    uneven = {"latency": SECONDS, "sigma": SIGMA}
    ideal = rows * SECONDS * math.exp(SIGMA**2 / 2) / IN_FLIGHT
    _compare(bench, rows, uneven, ideal, near)


def _compare(bench, rows: int, settings: dict, ideal: float, compared: list) -> None:
    seconds: dict[str, list[float]] = defaultdict(list)
    extra: dict[str, tuple] = {}
    for turn in range(bench.repetitions - 1):
        for client in compared:
            if turn and client in bench.peers():
                continue  # far from the ideal: once is enough
            bench.server.configure(**settings, seed=turn)
            job = {
                "rows": rows,
                "concurrency": IN_FLIGHT,
                "uvloop": client.uvloop,
                "base_url": bench.server.base_url,
            }
            result = run(client, job)
            if "error" in result:
                extra[client.name] = ("", result["error"])
                continue
            seconds[client.name].append(result["seconds"] / ideal)
            extra[client.name] = (bench.server.stats()["most"], result["lost"])
    table(
        "client",
        "rows",
        "time / ideal",
        "most in flight",
        "lost",
        rows=[
            (name, rows, spread(seconds[name], ".2f"), *extra[name])
            for name in (client.name for client in compared)
        ],
    )

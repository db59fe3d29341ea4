"""Fixed and log-normal latency: how well a client keeps its requests in flight."""

from __future__ import annotations

import math
from collections import defaultdict

from clients import OURS, run
from table import spread, table

SECONDS = 0.2
SIGMA = 0.8
IN_FLIGHT = 64


def main(bench) -> None:
    rows = 640 if bench.quick else 1280
    mean = SECONDS * math.exp(SIGMA**2 / 2)
    for title, settings, ideal in (
        ("fixed", {"latency": SECONDS}, rows * SECONDS / IN_FLIGHT),
        (
            f"log-normal, sigma {SIGMA}",
            {"latency": SECONDS, "sigma": SIGMA},
            rows * mean / IN_FLIGHT,
        ),
    ):
        print(f"### {SECONDS * 1000:.0f} ms latency ({title}), {IN_FLIGHT} in flight\n")
        _compare(bench, rows, settings, ideal)


def _compare(bench, rows: int, settings: dict, ideal: float) -> None:
    seconds: dict[str, list[float]] = defaultdict(list)
    extra: dict[str, tuple] = {}
    cases = {client.name: (client, {}) for client in bench.working()}
    for client in bench.pick(OURS):
        options = {"options": {"concurrency": "auto"}}
        cases[f'{OURS}, concurrency="auto"'] = (client, options)
    for turn in range(min(2, bench.repetitions)):
        for name, (client, more) in cases.items():
            bench.server.configure(**settings, seed=turn)
            job = {
                "rows": rows,
                "concurrency": IN_FLIGHT,
                "uvloop": client.uvloop,
                "base_url": bench.server.base_url,
            }
            result = run(client, {**job, **more})
            if "error" in result:
                extra[name] = ("", result["error"])
                continue
            seconds[name].append(result["seconds"] / ideal)
            extra[name] = (bench.server.stats()["most"], result["lost"])
    table(
        "client",
        "rows",
        "time / ideal",
        "most in flight",
        "lost",
        rows=[
            (name, rows, spread(seconds[name], ".2f"), *extra.get(name, ("", "")))
            for name in cases
        ],
    )

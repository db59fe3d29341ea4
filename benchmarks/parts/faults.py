"""10 % faults: 500, 429, resets, broken bodies and broken texts, in equal parts."""

from __future__ import annotations

from clients import FLOOR, run
from table import table

SHARE = 0.1


def main(bench) -> None:
    rows = 300 if bench.quick else 1000
    print(f"### {SHARE:.0%} faults, 64 in flight, 20 ms latency\n")
    lines = []
    for client in bench.working():
        if client.name == FLOOR:
            continue  # it has no retries: a fault ends a worker
        bench.server.configure(faults=SHARE, latency=0.02)
        job = {
            "rows": rows,
            "concurrency": 64,
            "uvloop": client.uvloop,
            "base_url": bench.server.base_url,
            "warm": 0,
        }
        result = run(client, job)
        if "error" in result:
            lines.append((client.name, rows, *["-"] * 6, result["error"]))
            continue
        lines.append(_line(client.name, rows, result, bench.server.stats()))
    table(
        "client",
        "rows",
        "faults met",
        "rows lost",
        "doubled",
        "misplaced",
        "answered twice",
        "seconds",
        "why lost",
        rows=lines,
    )


def _line(name: str, rows: int, result: dict, stats: dict) -> tuple:
    return (
        name,
        rows,
        stats.get("faults", 0),
        result["lost"],
        result["doubled"],
        result["misplaced"],
        stats["twice"],
        f"{result['seconds']:.1f}",
        ", ".join(f"{count} {reason}" for reason, count in result["reasons"].items()),
    )

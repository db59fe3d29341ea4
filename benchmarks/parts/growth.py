"""Cost growth: CPU and memory per row from a thousand rows to a million."""

from __future__ import annotations

from clients import FLOOR, OURS, run
from table import table

IN_FLIGHT = 256


def main(bench) -> None:
    sizes = [1000, 10_000, *([] if bench.quick else [100_000])]
    print("### Growth over HTTP, zero latency\n")
    lines = []
    for rows in sizes:
        for client in bench.pick(FLOOR, OURS):
            bench.server.configure()
            job = {"base_url": bench.server.base_url, "why": False}
            lines.append(_line(client, rows, job, client.name))
    _table(lines)
    print("### Growth without a network (a transport that answers at once)\n")
    lines = []
    for rows in [*sizes, *([] if bench.quick else [1_000_000])]:
        lines += [
            _line(client, rows, {"fake": "json", "why": False}, OURS)
            for client in bench.pick(OURS)
        ]
    for client in bench.pick(OURS):
        rows = 10_000 if bench.quick else 100_000
        traced = {"fake": "json", "why": False, "trace": True}
        lines.append(_line(client, rows, traced, f"{OURS}, traced"))
        rows = 20_000 if bench.quick else 200_000
        prose = {"fake": "prose", "why": False, "options": {"output_retries": 0}}
        lines.append(_line(client, rows, prose, f"{OURS}, no reply is JSON"))
    _table(lines)


def _line(client, rows: int, job: dict, name: str) -> tuple:
    job = {"base_url": "http://127.0.0.1:9/v1", "concurrency": IN_FLIGHT, **job}
    result = run(client, {**job, "rows": rows, "warm": 1000}, 300.0)
    if "error" in result:
        return (name, rows, *["-"] * 4, result["error"])
    above = result["above"] or result["grown"] - result["size"]
    traced = job.get("trace")
    return (
        name,
        f"{rows:,}",
        "-" if traced else f"{result['cpu'] / rows * 1e6:.0f}",
        f"{result['size'] / 1e6:.1f}",
        f"{above / 1e6:.1f}",
        f"{above / rows:.0f}",
        "" if result["lost"] == 0 else f"{result['lost']:,} lost",
    )


def _table(lines: list[tuple]) -> None:
    table(
        "client",
        "rows",
        "CPU µs/row",
        "result MB",
        "peak above MB",
        "B/row",
        "",
        rows=lines,
    )

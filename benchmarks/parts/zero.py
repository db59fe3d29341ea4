"""Zero latency: what a client costs itself, in CPU per row."""

from __future__ import annotations

from collections import defaultdict

from clients import FLOOR, OURS, run
from table import ratios, spread, table

IN_FLIGHT = 256
WITH_HEADERS = (
    "x-ratelimit-limit-requests: 30000000\r\nx-ratelimit-limit-tokens: 3000000000\r\n"
    "x-ratelimit-remaining-requests: 29999999\r\n"
    "x-ratelimit-remaining-tokens: 2999999000\r\n"
    "x-ratelimit-reset-requests: 1ms\r\nx-ratelimit-reset-tokens: 1ms\r\n"
)


def main(bench) -> None:
    print(f"### Zero latency, {IN_FLIGHT} in flight: CPU per row\n")
    cases = _cases(bench)
    costs: dict[str, list[float]] = defaultdict(list)
    notes: dict[str, str] = {}
    sizes: dict[str, float] = {}
    for turn in range(bench.repetitions):
        for name, (client, job, headers) in cases.items():
            if name in notes and name not in costs:
                continue  # it does not work: once is enough
            if turn and bench.quick and client in bench.peers():
                continue
            bench.server.configure(extra_headers=headers)
            result = run(client, {**job, "base_url": bench.server.base_url})
            if "error" in result:
                notes[name] = result["error"]
                continue
            costs[name].append(result["cpu"] / job["rows"] * 1e6)
            notes[name] = _note(result)
            stats = bench.server.stats()
            sizes[name] = stats["bytes"] / stats["requests"]
    rows = []
    for name, (_, job, headers) in cases.items():
        floor = costs[_floor(job, headers)]
        rows.append(
            (
                name,
                "uvloop" if job.get("uvloop", True) else "asyncio",
                job["rows"],
                f"{sizes.get(name, 0):.0f}",
                spread(costs[name]),
                spread(ratios(costs[name], floor), ".2f"),
                notes.get(name, ""),
            )
        )
    table("client", "loop", "rows", "B/request", "CPU µs/row", "/ floor", "", rows=rows)


def _floor(job: dict, headers: str) -> str:
    """Compare like with like: the same loop, the same headers."""
    if headers:
        return f"{FLOOR}, rate-limit headers"
    return FLOOR if job.get("uvloop", True) else f"{FLOOR}, asyncio"


def _note(result: dict) -> str:
    wrong = [
        f"{result[what]} {what}"
        for what in ("lost", "doubled", "misplaced")
        if result[what]
    ]
    return ", ".join(wrong)


def _cases(bench) -> dict:
    """Return name → (client, job, headers), the floor before what it is for."""
    cases = {}
    for suffix, more, headers in (
        ("", {}, ""),
        (", asyncio", {"uvloop": False}, ""),
        (", rate-limit headers", {}, WITH_HEADERS),
    ):
        for client in bench.pick(FLOOR, OURS):
            cases[client.name + suffix] = (client, _job(bench, client, more), headers)
    for client in bench.pick(OURS):
        for name, options in _options(bench, client.rows).items():
            job = _job(bench, client, options)
            cases[f"{OURS}, {name}"] = (client, job, "")
    for client in bench.peers():
        loop = {"uvloop": client.uvloop}  # as each comes
        cases[client.name] = (client, _job(bench, client, loop), "")
    return cases


def _options(bench, rows: int) -> dict[str, dict]:
    found = {'concurrency="auto"': {"options": {"concurrency": "auto"}}}
    if bench.has_option("cache"):
        cached = {"options": {"cache": True}}
        found["cache on, all new"] = cached
        found["cache on, all known"] = {**cached, "warm": rows}
    return found


def _job(bench, client, more: dict) -> dict:
    rows = client.rows // (2 if bench.quick else 1)
    return {"rows": rows, "concurrency": IN_FLIGHT, **more}

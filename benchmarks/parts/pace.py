"""Strict token buckets with a small burst: time over ideal, 429s, lost rows.

These runs mostly wait, so several go at a time, each with a server of its own.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from clients import OURS, Server, run
from table import spread, table

RATE = 40.0  # requests a second, and about as many by tokens
TOKENS = 8600.0
BOUND = {
    "requests": {"requests_rate": RATE, "requests_burst": 5.0},
    "tokens": {"tokens_rate": TOKENS, "tokens_burst": 2000.0},
}
OPTIONS = {
    "requests": {"requests_per_minute": RATE * 60},
    "tokens": {"tokens_per_minute": TOKENS * 60},
}


def main(bench) -> None:
    rows = 240 if bench.quick else 800
    print(f"### Strict token bucket, about {RATE:.0f} requests a second\n")
    cases = _cases(bench)
    found: dict[str, list[dict]] = defaultdict(list)
    errors: dict[str, str] = {}
    jobs = [
        (name, client, settings, {"rows": rows, "options": options})
        for _ in range(1 if bench.quick else 2)
        for name, (client, settings, options) in cases.items()
    ]
    jobs += [
        (f"{client.name}: {unit}", client, settings, {"rows": rows, "concurrency": 64})
        for client in (bench.pick("openai") if bench.quick else bench.peers())
        for unit, settings in BOUND.items()
    ]
    python = bench.python
    with ThreadPoolExecutor(5) as pool:
        for name, result in pool.map(lambda job: _one(python, *job), jobs):
            if "error" in result:
                errors[name] = result["error"]
            else:
                found[name].append(result)
    names = dict.fromkeys(name for name, *_ in jobs)
    table(
        "client: what binds",
        "rows",
        "time / ideal",
        "429s",
        "rows lost",
        "",
        rows=[_line(name, rows, found[name], errors) for name in names],
    )


def _cases(bench) -> dict:
    cases = {}
    for client in bench.pick(OURS):
        for unit, settings in BOUND.items():
            silent = {**settings, "tell": False}
            for told, knobs, options in (
                ("headers tell", settings, {}),
                ("options tell", silent, OPTIONS[unit]),
                ("nothing tells", silent, {}),
            ):
                cases[f"{OURS}: {unit}, {told}"] = (client, knobs, options)
        half = {**BOUND["requests"], "eaten": 0.5}
        cases[f"{OURS}: requests, another client takes half"] = (client, half, {})
        stall = {**BOUND["requests"], "stall": [2.0, 4.0]}
        cases[f"{OURS}: requests, a stall of 4 s"] = (client, stall, {})
    return cases


def _one(python, name: str, client, settings: dict, job: dict) -> tuple[str, dict]:
    server = Server(python)
    try:
        server.configure(latency=0.1, **settings)
        place = {"base_url": server.base_url, "warm": 0, "longest": 1000}
        options = {"concurrency": "auto", **job.get("options", {})}
        result = run(client, {"concurrency": 64, **place, **job, "options": options})
        stats = server.stats()
    finally:
        server.close()
    if "error" in result:
        return name, result
    return name, {**result, **_judge(settings, stats), "requests": stats["requests"]}


def _judge(settings: dict, stats: dict) -> dict:
    """Return the time from the first request to the last answer, over the ideal."""
    free = 1.0 - settings.get("eaten", 0.0)
    ideal = 0.1
    if rate := settings.get("requests_rate"):
        ideal += (stats.get("200", 0) - settings["requests_burst"]) / (rate * free)
    else:
        ideal += (stats.get("tokens", 0) - settings["tokens_burst"]) / (
            settings["tokens_rate"] * free
        )
    if settings.get("stall"):
        ideal += settings["stall"][1]
    return {
        "ratio": stats["seconds"] / ideal,
        "refused": stats.get("refused", 0) / stats["requests"],
    }


def _line(name: str, rows: int, found: list[dict], errors: dict) -> tuple:
    if not found:
        return (name, rows, "-", "-", "-", errors.get(name, ""))
    reasons = found[-1]["reasons"]
    return (
        name,
        rows,
        spread([one["ratio"] for one in found], ".3f"),
        spread([one["refused"] for one in found], ".1%"),
        spread([one["lost"] for one in found]),
        ", ".join(f"{count} {reason}" for reason, count in reasons.items()),
    )

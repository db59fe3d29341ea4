"""Refusals of every kind, each against the loop written by hand and the openai client.

Lines that a busy processor would spoil run one after the other; the others mostly
wait, so several go at a time, each with a server of its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from clients import OURS, Client, Server, run
from table import spread, table

LOOP = "loop"
IN_FLIGHT = 50
STRAYS = {"latency": 0.1}
TELL_NOTHING = {"latency": 0.1, "tell": False, "retry_after": False}
SLOW = {"refusal": [429, 0.1, 0.0]}  # a refusal comes as late as an answer


@dataclass
class Line:
    """A server, what is aimed at there, and what 0.1.0 reached."""

    name: str
    rows: int
    settings: dict
    aim: float
    against: str = "ideal"  # or the loop, the fastest peer, the same without refusals
    refused: float | None = None
    before: str = ""
    options: dict = field(default_factory=dict)
    model: str = "bench"
    together: bool = True
    most: int | None = None
    """Connections, at most."""

    def ideal(self, stats: dict) -> float:
        """Return the seconds that the answers of a run take at least."""
        settings = self.settings
        at_once = settings.get("slots") or settings.get("queue") or IN_FLIGHT
        seconds = stats["work"] / at_once
        answered = stats.get("200", 0)
        for amount, rate, burst in (
            (answered, settings.get("window"), settings.get("window")),
            (answered, settings.get("requests_rate"), settings.get("requests_burst")),
            (stats.get("output", 0), settings.get("output_rate"), 2000.0),
        ):
            if rate:
                seconds = max(
                    seconds,
                    settings["latency"] + _paced(amount - burst, rate, settings),
                )
        return seconds


def _paced(amount: float, rate: float, settings: dict) -> float:
    if "change" not in settings:
        return amount / rate
    after, later = settings["change"]
    return after + (amount - after * rate) / later


def alone(name: str, rows: int, aim: float, before: str, **settings: object) -> Line:
    """Return a line without a limit, to compare with the loop."""
    settings = {**STRAYS, **settings}
    return Line(name, rows, settings, aim, "loop", before=before, together=False)


def limited(
    name: str, rows: int, aim: float, refused: float | None, **more: object
) -> Line:
    """Return a line with a limit of which nothing but refusals tell."""
    before = more.pop("before", "")
    return Line(
        name, rows, {**TELL_NOTHING, **more}, aim, refused=refused, before=before
    )


TOLD = {"latency": 0.1, "requests_rate": 40.0, "requests_burst": 5.0}
AUTO = {"concurrency": "auto"}
LINES = [
    alone("2 % stray 429", 1500, 1.3, "1,206 rows in 25 s", strays=0.02),
    alone("5 % stray 429", 1500, 1.3, "463 rows in 25 s", strays=0.05),
    alone(
        "2 % stray 429, `Retry-After: 1`",
        1500,
        1.3,
        "885 rows in 30 s",
        strays=0.02,
        refusal=[429, 0.0, 1.0],
    ),
    Line(
        "10 % faults, a quarter of them 429",
        1000,
        {"latency": 0.02, "faults": 0.1},
        1.1,
        "peer",
        before="19 s",
        together=False,
    ),
    Line(
        "2 % of 503",
        750,
        {**STRAYS, "strays": 0.02, "refusal": [503, 0.0, 0.0]},
        1.5,
        "without",
        before="5.5 s",
        together=False,
    ),
    limited("40/s, told by 429 alone", 300, 1.3, 0.10, window=40, before="20 s"),
    limited(
        "the same, refused as slowly as answered", 300, 1.3, 0.08, window=40, **SLOW
    ),
    limited("40/s, told by 429 alone", 3000, 1.1, 0.03, window=40),
    limited(
        "the same, refused as slowly as answered", 3000, 1.1, 0.08, window=40, **SLOW
    ),
    limited(
        "8 at a time, else 429",
        200,
        1.2,
        None,
        slots=8,
        latency=0.3,
        before="2.2 of ideal",
    ),
    limited(
        "8 at a time, else a 503 page",
        200,
        1.2,
        None,
        slots=8,
        latency=0.3,
        refusal=[503, 0.0, 0.0],
        before="1.44 of ideal",
    ),
    Line(
        "Anthropic's output tokens the limit",
        400,
        {"latency": 0.1, "input_rate": 20000.0, "output_rate": 1000.0},
        1.1,
        refused=0.01,
        before="21 % refused",
        model="anthropic/bench",
    ),
    Line("40/s, told by headers", 400, TOLD, 1.03, refused=0.005, before="1.02, 0 %"),
    Line(
        "40/s, told by options",
        400,
        {**TOLD, "tell": False},
        1.03,
        refused=0.005,
        before="1.02, 0 %",
        options={"requests_per_minute": 2400},
    ),
    Line(
        "headers tell 40/s, after 4 s 20/s",
        300,
        {**TOLD, "change": [4.0, 20.0]},
        1.03,
        refused=0.005,
        before="1.02, 0 %",
    ),
    limited(
        "40/s, told by 429 alone, and 10 % strays",
        1500,
        1.2,
        None,
        window=40,
        strays=0.1,
        before="not done",
    ),
    Line(
        "four slots that queue, even latencies",
        200,
        {"latency": 0.3, "queue": 4},
        1.25,
        before="60 connections",
        options=AUTO,
        most=12,
    ),
    Line(
        "four slots that queue, scattered latencies",
        200,
        {"latency": 0.3, "sigma": 0.9, "queue": 4},
        1.25,
        before="60 connections",
        options=AUTO,
        most=40,
    ),
]


def main(bench) -> None:
    print(f"### Refusals of every kind, {IN_FLIGHT} in flight\n")
    loop = Client(LOOP, "backoff.py", "pandas_llm", (), python=bench.python)
    compared = [*bench.pick(OURS), loop, *bench.pick("openai")]
    most = 400 if bench.quick else 3000
    lines = [line for line in LINES if line.rows <= most or not line.together]
    found: list[list[dict]] = [[] for _ in lines]

    def measure(at: int, turn: int) -> None:
        # where an ideal is known the others are run once
        clients = compared[:1] if turn and lines[at].against == "ideal" else compared
        found[at].append(_round(bench.python, lines[at], clients, turn))

    for turn in range(bench.repetitions):
        again = [at for at, line in enumerate(lines) if not turn or line.rows <= 1500]
        for at in again:
            if not lines[at].together:
                measure(at, turn)
        with ThreadPoolExecutor(4) as pool:
            mostly = [at for at in again if lines[at].together]
            list(pool.map(measure, mostly, [turn] * len(mostly)))
    names = [client.name for client in compared]
    table(
        "server",
        "rows",
        *(f"{name}, s" for name in names),
        "against",
        "ratio",
        "aim",
        "refused, or connections",
        "aim",
        "rows lost",
        "0.1.0",
        rows=[_cells(*both, names) for both in zip(lines, found, strict=True)],
    )


def _round(python, line: Line, compared: list[Client], turn: int) -> dict:
    """Run clients against one server, one after the other."""
    server = Server(python)
    settings = {**line.settings, "seed": turn + 1}
    try:
        found = {c.name: _one(server, c, line, settings) for c in compared}
        if line.against == "without":
            settings["strays"] = 0.0
            found["without"] = _one(server, compared[0], line, settings)
    finally:
        server.close()
    if "error" in found[OURS]:
        return found
    base = found[OURS]["ideal"]
    if line.against == "peer":
        base = min(
            found[client.name]["seconds"]
            for client in compared[1:]
            if found[client.name].get("lost") == 0
        )
    elif line.against != "ideal":
        base = found[line.against]["seconds"]
    found["against"] = {"seconds": base}
    found["ratio"] = {"seconds": found[OURS]["seconds"] / base}
    return found


def _one(server: Server, client: Client, line: Line, settings: dict) -> dict:
    server.configure(**settings)
    own = client.name == OURS
    job = {
        "rows": line.rows,
        "concurrency": IN_FLIGHT,
        "base_url": server.base_url,
        "warm": 0,
        "model": line.model,
        "options": line.options if own else {},
    }
    result = run(client, job, 240.0)
    if "error" in result:
        return result
    stats = server.stats()
    return {
        "seconds": stats["seconds"],  # from the first request to the last answer
        "ideal": line.ideal(stats),
        "lost": result["lost"],
        "refused": stats.get("refused", 0) / stats["requests"],
        "connections": stats["connections"] - 1,  # one is the benchmark's
    }


def _cells(line: Line, rounds: list[dict], names: list[str]) -> tuple:
    def all_of(name: str, what: str = "seconds") -> list[float]:
        return [one[name][what] for one in rounds if what in one.get(name, {})]

    reason = next((r[OURS]["error"] for r in rounds if "error" in r[OURS]), "")
    load = spread(all_of(OURS, "refused"), ".1%")
    most = "" if line.refused is None else f"≤ {line.refused:.1%}"
    if line.most is not None:
        load = spread(all_of(OURS, "connections"))
        most = f"≤ {line.most}"
    return (
        line.name,
        f"{line.rows:,}",
        *(spread(all_of(name), ".1f") for name in names),
        f"{line.against}, {spread(all_of('against')[:1], '.1f')}",
        spread(all_of("ratio"), ".2f"),
        f"≤ {line.aim:g}",
        load,
        most,
        reason or " / ".join(spread(all_of(name, "lost")[:1]) for name in names),
        line.before,
    )

"""What all clients share: the rows, the clock, and the count of right answers.

Each client is a process: ``python floor.py '{"base_url": …, "rows": 5000, …}'``
prints one line of JSON. It imports this module first, so that the clock sees its
own imports, and calls `main` with two functions: `run(job, rows)` does the work,
`read(result)` turns what it gave into (row, question, answer), outside the clock.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
import tracemalloc
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from replies import expected  # of the server

_STARTED = time.perf_counter()
PROMPT = "Generate question and answer pairs from the following document.\ndocument: {}"
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "records",
        "strict": True,
        "schema": {
            "properties": {
                "records": {
                    "items": {
                        "properties": {
                            "question": {"type": "string"},
                            "answer": {"type": "string"},
                        },
                        "type": "object",
                        "required": ["question", "answer"],
                        "additionalProperties": False,
                    },
                    "type": "array",
                }
            },
            "type": "object",
            "required": ["records"],
            "additionalProperties": False,
        },
    },
}


def texts(rows: int, *, longest: int = 200) -> list[str]:
    """Make documents that name their row, of 100 to `longest` characters."""
    filler = "lorem ipsum dolor sit amet " * (longest // 27 + 1)
    return [
        f"#{row}# {filler[: 100 + row * 7919 % max(1, longest - 100)]}"
        for row in range(rows)
    ]


def loop_factory(job: dict):
    """Choose the loop; None leaves it to asyncio."""
    if not job.get("uvloop", True):
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


_runner: list[asyncio.Runner] = []


def run_async(job: dict, coroutine):
    """Run in one loop for all of the process; some clients keep a pool in it."""
    if not _runner:
        _runner.append(asyncio.Runner(loop_factory=loop_factory(job)))
    return _runner[0].run(coroutine)


async def under_semaphore(rows: list[str], concurrency: int, ask) -> list:
    """Do as the tutorials do: a task a row, errors kept."""
    semaphore = asyncio.Semaphore(concurrency)

    async def one(row: int, text: str):
        async with semaphore:
            content = await ask(PROMPT.format(text))
        return [
            (row, record["question"], record["answer"])
            for record in json.loads(content)["records"]
        ]

    tasks = (one(row, text) for row, text in enumerate(rows))
    return await asyncio.gather(*tasks, return_exceptions=True)


def flat(results: list) -> tuple[list, Counter]:
    """Split what `under_semaphore` gave into records and reasons."""
    found, reasons = [], Counter()
    for one in results:
        if isinstance(one, BaseException):
            reasons[type(one).__name__] += 1
        else:
            found += one
    return found, reasons


def check(records: list[tuple], rows: int) -> dict:
    """Count rows that are right, doubled and misplaced."""
    seen = Counter(row for row, _, _ in records)
    right = {row for row, *pair in records if tuple(pair) == expected(row)}
    return {
        "right": len(right),
        "lost": rows - len(right),
        "doubled": sum(count - 1 for count in seen.values()),
        "misplaced": len(records)
        - sum(tuple(pair) == expected(row) for row, *pair in records),
    }


def resident() -> int:
    """Return the bytes in memory now, or the most there ever were."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize()


def peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def main(run, read, packages: tuple[str, ...], size=lambda _: 0) -> None:
    """Measure `run`; `size(result)` gives the bytes of the result."""
    imported = time.perf_counter() - _STARTED
    job = json.loads(sys.argv[1])
    if job.get("warm", 20):
        run({**job, "warming": True}, texts(job.get("warm", 20)))
    rows = texts(job["rows"], longest=job.get("longest", 200))
    gc.collect()
    before, wall, used = resident(), time.perf_counter(), cpu()
    if job.get("trace"):
        tracemalloc.start()
    result = run(job, rows)
    traced = tracemalloc.get_traced_memory() if job.get("trace") else (0, 0)
    tracemalloc.stop()
    out = {
        "seconds": time.perf_counter() - wall,
        "cpu": cpu() - used,
        "imported": imported,
        "peak": peak(),
        "grown": peak() - before,
        "above": traced[1] - traced[0],
        "size": size(result),
        "versions": versions(*packages, "uvloop"),
    }
    records, reasons = read(result)
    out |= check(records, job["rows"])
    print(json.dumps({**out, "reasons": dict(reasons)}))

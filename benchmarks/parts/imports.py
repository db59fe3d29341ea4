"""Import time over pandas alone, in fresh interpreters."""

from __future__ import annotations

import subprocess

from clients import OURS
from table import spread, table

PROBE = """
import time
import pandas
wall, used = time.perf_counter(), time.process_time()
import pandas_llm
print(time.perf_counter() - wall, time.process_time() - used)
import sys
print(*[m for m in ("aiohttp", "pydantic", "orjson", "tqdm", "nest_asyncio",
                    "sqlite3") if m in sys.modules])
"""


def main(bench) -> None:
    print("### Import, over pandas alone\n")
    for client in bench.pick(OURS):
        walls, used, loaded = [], [], ""
        for _ in range(7 if bench.quick else 21):
            done = subprocess.run(
                [str(client.python), "-c", PROBE],
                check=True,
                capture_output=True,
                text=True,
            )
            times, loaded = done.stdout.splitlines()[:2]
            wall, cpu = map(float, times.split())
            walls.append(wall * 1000)
            used.append(cpu * 1000)
        table(
            "package",
            "wall ms",
            "CPU ms",
            "loaded with it",
            rows=[(OURS, spread(walls), spread(used), loaded or "none of the heavy")],
        )

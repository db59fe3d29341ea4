"""Embed short texts: ``python benchmarks/embeddings.py [rows]``.

A server in a process of its own answers at once with a vector made beforehand, so what
is timed is the client: pandas_llm, without and with its cache, and a loop over OpenAI's
client in requests of 2,048 texts, which checks and keeps nothing.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
from aiohttp import web
from table import spread, table

import pandas_llm  # noqa: F401 - registers the accessor

REPETITIONS = 3
FEWER = 4096
"""Rows for OpenAI's client, which takes minutes for numbers."""
mp = multiprocessing.get_context("spawn")


def serve(port, dimensions: int, *, packed: bool) -> None:
    vector = np.random.default_rng(0).standard_normal(dimensions).astype("<f4")
    form = base64.b64encode(vector).decode() if packed else vector.tolist()

    async def answer(request: web.Request) -> web.Response:
        count = len(orjson.loads(await request.read())["input"])
        data = [{"index": i, "embedding": form} for i in range(count)]
        usage = {"prompt_tokens": 8 * count, "total_tokens": 8 * count}
        body = orjson.dumps({"data": data, "model": "m", "usage": usage})
        return web.Response(body=body, content_type="application/json")

    async def main() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/embeddings", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


def timed(work) -> tuple[float, float]:
    """Return the seconds and the seconds of CPU that a call takes."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - started, resource.getrusage(0)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def clients(base_url: str, rows: int, folder: Path):
    """Name each way and give a function of the repetition that takes it."""
    options = {"model": "m", "api_key": "k", "base_url": base_url, "progress": False}

    def texts(run: int) -> pd.Series:
        return pd.Series(
            [f"A short text, number {i} of run {run}." for i in range(rows)]
        )

    def ours(run: int, **more) -> None:
        assert texts(run).llm.embed(**options, **more).notna().all()

    def theirs(run: int) -> None:
        from openai import OpenAI

        client, found = OpenAI(base_url=base_url, api_key="k"), []
        words = texts(run).tolist()[:FEWER]
        for start in range(0, len(words), 2048):
            part = words[start : start + 2048]
            reply = client.embeddings.create(model="m", input=part)
            found += [np.array(one.embedding, np.float32) for one in reply.data]
        assert len(found) == len(words)

    kept = folder / f"{rows}.sqlite"
    return {
        "pandas_llm": lambda run: ours(run, cache=False),
        "pandas_llm, cache on, all new": lambda run: ours(run, cache=kept),
        "pandas_llm, cache on, all known": lambda run: ours(run, cache=kept),
        "openai": theirs,
    }


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    lines = []
    for dimensions, packed in ((256, True), (1536, True), (1536, False)):
        port = mp.Queue()
        given = {"packed": packed}
        server = mp.Process(target=serve, args=(port, dimensions), kwargs=given)
        server.start()
        base_url = f"http://127.0.0.1:{port.get()}/v1"
        with tempfile.TemporaryDirectory() as folder:
            ways = clients(base_url, rows, Path(folder))
            took = {name: [] for name in ways}
            for run in range(REPETITIONS):
                for name, way in ways.items():
                    took[name].append(timed(lambda way=way, run=run: way(run)))
        server.terminate()
        server.join()
        form = f"{dimensions}, {'base64' if packed else 'numbers'}"
        for name, found in took.items():
            count = min(rows, FEWER) if name == "openai" else rows
            speed = spread([count / seconds for seconds, _ in found])
            cpu = spread([used / count * 1e6 for _, used in found])
            lines.append((form, name, speed, cpu))
    table("vectors", "client", "rows/s", "CPU µs/row", rows=lines)


if __name__ == "__main__":
    main()

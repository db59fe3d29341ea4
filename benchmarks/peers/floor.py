"""The floor: a pool of workers over aiohttp and orjson, and nothing else."""

import asyncio
from collections import Counter

import measure

import aiohttp  # isort: skip
import orjson  # isort: skip


async def generate(job, texts):
    url = job["base_url"] + "/chat/completions"
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    requests = enumerate(texts)
    found = []

    async def worker(session):
        for row, text in requests:
            prompt = measure.PROMPT.format(text)
            body = {
                "model": "bench",
                "response_format": measure.FORMAT,
                "messages": [{"role": "user", "content": prompt}],
            }
            async with session.post(
                url, data=orjson.dumps(body), headers=headers
            ) as response:
                reply = orjson.loads(await response.read())
            content = reply["choices"][0]["message"]["content"]
            for record in orjson.loads(content)["records"]:
                found.append(  # noqa: PERF401 - one record is the rule
                    (row, record["question"], record["answer"])
                )

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        workers = (worker(session) for _ in range(job["concurrency"]))
        done = await asyncio.gather(*workers, return_exceptions=True)
    return found, Counter(type(one).__name__ for one in done if one)


def run(job, texts):
    return measure.run_async(job, generate(job, texts))


def size(result):
    return sum(72 + sum(49 + len(text) for text in one[1:]) for one in result[0])


measure.main(run, lambda result: result, ("aiohttp", "orjson"), size)

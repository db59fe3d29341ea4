"""The loop that one writes by hand: workers, exponential backoff with full jitter."""

import asyncio
import json
import random

import measure

import aiohttp  # isort: skip

TRIES = 30


async def generate(job, texts):
    url = job["base_url"] + "/chat/completions"
    headers = {"Authorization": "Bearer k"}
    requests = enumerate(texts)
    found = []

    async def ask(session, body):
        for tries in range(TRIES):
            told = 0.0
            try:
                async with session.post(url, json=body, headers=headers) as response:
                    told = float(response.headers.get("retry-after", 0.0))
                    response.raise_for_status()
                    reply = await response.json()
                return json.loads(reply["choices"][0]["message"]["content"])["records"]
            except (aiohttp.ClientError, ValueError, LookupError):
                wait = random.uniform(0.0, min(60.0, 0.5 * 2.0**tries))
                await asyncio.sleep(max(wait, told))
        return []

    async def worker(session):
        for row, text in requests:
            prompt = measure.PROMPT.format(text)
            body = {
                "model": "bench",
                "response_format": measure.FORMAT,
                "messages": [{"role": "user", "content": prompt}],
            }
            for record in await ask(session, body):
                found.append(  # noqa: PERF401 - one record is the rule
                    (row, record["question"], record["answer"])
                )

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(worker(session) for _ in range(job["concurrency"])))
    return found


def run(job, texts):
    return measure.run_async(job, generate(job, texts))


measure.main(run, lambda found: (found, {}), ("aiohttp",))

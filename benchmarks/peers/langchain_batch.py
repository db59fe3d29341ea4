"""langchain-openai: `abatch` with its own bound on concurrency."""

import json

import measure

from langchain_openai import ChatOpenAI  # isort: skip


async def generate(job, texts):
    model = ChatOpenAI(
        model="bench", base_url=job["base_url"], api_key="k", use_responses_api=False
    ).bind(response_format=measure.FORMAT)
    return await model.abatch(
        [measure.PROMPT.format(text) for text in texts],
        {"max_concurrency": job["concurrency"]},
        return_exceptions=True,
    )


def run(job, texts):
    return measure.run_async(job, generate(job, texts))


def read(replies):
    results = []
    for row, reply in enumerate(replies):
        try:
            if isinstance(reply, Exception):
                raise reply
            records = json.loads(reply.content)["records"]
            results.append([(row, r["question"], r["answer"]) for r in records])
        except Exception as error:  # noqa: BLE001 - each reason is counted
            results.append(error)
    return measure.flat(results)


measure.main(run, read, ("langchain-openai", "openai"))

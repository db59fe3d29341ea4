"""openaivec: `AsyncBatchResponses`, one row a request so that the work is the same.

It counts tokens with tiktoken, which would fetch its tables; a stand-in that costs
nearly nothing takes its place.
"""

from collections import Counter

import measure

import openai  # isort: skip
import openaivec  # isort: skip
import pydantic  # isort: skip
import tiktoken  # isort: skip


class Encoding:
    def encode_ordinary(self, text):
        return range(len(text) // 4)


class Pair(pydantic.BaseModel):
    question: str
    answer: str


class Records(pydantic.BaseModel):
    records: list[Pair]


tiktoken.get_encoding = tiktoken.encoding_for_model = lambda _: Encoding()


async def generate(job, texts):
    async with openai.AsyncOpenAI(base_url=job["base_url"], api_key="k") as client:
        batches = openaivec.AsyncBatchResponses.of(
            client,
            "bench",
            "Generate question and answer pairs from the document.",
            Records,
            batch_size=1,
            max_concurrency=job["concurrency"],
        )
        return await batches.parse(texts)


def run(job, texts):
    try:
        return measure.run_async(job, generate(job, texts)), Counter()
    except Exception as error:  # noqa: BLE001 - one error loses the whole run
        return [], Counter({type(error).__name__: 1})


def read(result):
    answers, reasons = result
    found = [
        (row, pair.question, pair.answer)
        for row, answer in enumerate(answers)
        for pair in (answer.records if answer else ())
    ]
    return found, reasons


measure.main(run, read, ("openaivec", "openai"))

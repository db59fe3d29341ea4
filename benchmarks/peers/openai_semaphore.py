"""The openai package under a semaphore, its retries as they come."""

import measure

import openai  # isort: skip


async def generate(job, texts):
    limits = {"base_url": job["base_url"], "api_key": "k"}
    async with openai.AsyncOpenAI(**limits) as client:

        async def ask(prompt):
            reply = await client.chat.completions.create(
                model="bench",
                response_format=measure.FORMAT,
                messages=[{"role": "user", "content": prompt}],
            )
            return reply.choices[0].message.content

        return await measure.under_semaphore(texts, job["concurrency"], ask)


def run(job, texts):
    return measure.run_async(job, generate(job, texts))


measure.main(run, measure.flat, ("openai",))

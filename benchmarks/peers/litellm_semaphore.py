"""litellm under a semaphore, with the retries of the openai package."""

import os

import measure

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing but loopback
import litellm  # isort: skip


async def generate(job, texts):
    async def ask(prompt):
        reply = await litellm.acompletion(
            model="openai/bench",
            base_url=job["base_url"],
            api_key="k",
            max_retries=2,
            response_format=measure.FORMAT,
            messages=[{"role": "user", "content": prompt}],
        )
        return reply.choices[0].message.content

    return await measure.under_semaphore(texts, job["concurrency"], ask)


def run(job, texts):
    return measure.run_async(job, generate(job, texts))


litellm.suppress_debug_info = True
litellm.telemetry = False
measure.main(run, measure.flat, ("litellm", "openai"))

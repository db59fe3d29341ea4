"""parallel-parrot: `parallel_data_generation` over a list of dicts.

Its address and its number of connections are constants of a module.
"""

import logging
from collections import Counter

import measure

import parallel_parrot as pp  # isort: skip
from parallel_parrot import openai_api  # isort: skip


def run(job, texts):
    openai_api.OPENAI_CHAT_COMPLETIONS_URL = job["base_url"] + "/chat/completions"
    openai_api.MAX_NUM_CONCURRENT_REQUESTS = job["concurrency"]
    logging.disable(logging.WARNING)
    config = pp.OpenAIChatCompletionConfig(openai_api_key="k", model="bench")
    rows = [{"row": row, "text": text} for row, text in enumerate(texts)]
    try:
        done = measure.run_async(
            job,
            pp.parallel_data_generation(
                config=config,
                input_data=rows,
                prompt_template=measure.PROMPT.format("${text}"),
                output_key_names=["question", "answer"],
            ),
        )
    except Exception as error:  # noqa: BLE001 - one error loses the whole run
        return [], Counter({type(error).__name__: 1})
    return done.output, Counter()


def read(result):
    output, reasons = result
    found = [(r["row"], r["question"], r["answer"]) for r in output if r["question"]]
    return found, reasons


measure.main(run, read, ("parallel-parrot", "aiohttp"))

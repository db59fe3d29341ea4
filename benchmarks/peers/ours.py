"""pandas_llm, from this checkout."""

import sys
import warnings
from collections import Counter

import measure

import pandas as pd  # isort: skip
import pandas_llm  # isort: skip


def run(job, texts):
    if not job.get("uvloop", True):
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    if job.get("fake"):
        import fake

        fake.install(job["fake"])
    options = {"concurrency": job["concurrency"], **job.get("options", {})}
    if "cache" in pandas_llm.get_options():  # an option of later versions
        options.setdefault("cache", False)
    frame = pd.DataFrame({"text": texts})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pandas_llm.LLMWarning)
        return frame.llm.generate(
            measure.PROMPT.format("${text}"),
            keys=["question", "answer"],
            model=job.get("model", "bench"),
            base_url=job["base_url"],
            api_key="k",
            progress=True,
            error_column="why" if job.get("why", True) else None,
            **options,
        )


def read(result):
    answered = result[result["question"].notna()]
    records = zip(answered.index, answered["question"], answered["answer"], strict=True)
    reasons = Counter()
    if "why" in result:
        why = result["why"].dropna().str.split(":").str[0]
        reasons = Counter(why.value_counts().to_dict())
    return list(records), reasons


def size(result):
    return int(result.memory_usage(deep=True, index=True).sum())


measure.main(run, read, ("pandas-llm-accessor", "pandas", "aiohttp", "orjson"), size)

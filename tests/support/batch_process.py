"""The other side of a closed laptop: another process takes a batch job up."""

import importlib
import sys

import pandas as pd

import pandas_llm
from pandas_llm import batch

if __name__ == "__main__":
    _, name, cache, texts, *imported = sys.argv
    for module in imported:
        importlib.import_module(module)
    job = batch.load(name, cache=cache)
    df = pd.DataFrame({"text": texts.split("|")})
    out = job.result(df)
    print(*out["fact"])
    print(repr(job))
    print(out["fact"].notna().all(), out.llm.usage.requests, pandas_llm.__name__)

"""A run through a batch endpoint that may be killed: ``… MODEL URL CACHE ROWS``.

A further word sends Google's requests in files, however few they are.
"""

import sys

import pandas as pd

import pandas_llm
from pandas_llm.providers.vendors.google import GoogleBatches

if __name__ == "__main__":
    _, model, url, cache, rows, *files = sys.argv
    if files:
        GoogleBatches.inline = 0
    texts = [f"In {1700 + at} it rained." for at in range(int(rows))]
    pandas_llm.complete(
        pd.DataFrame({"text": texts}),
        "${text}",
        model=model,
        base_url=url,
        api_key="k",
        cache=cache,
        batch=True,
        progress=False,
    )

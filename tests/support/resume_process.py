"""A run of its own: ``python resume_process.py HOW URL CACHE ROWS REPORT``.

What it gave, or what it held when it was interrupted, is written to REPORT.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import warnings
from pathlib import Path

import pandas as pd

import pandas_llm

HOW, URL, CACHE, ROWS, REPORT = sys.argv[1:]
DOCS = pd.DataFrame({"text": [f"Fact number {i}." for i in range(int(ROWS))]})
SMALL = 200_000
"""Bytes a file may have where the disk is to be full."""


def report(out: pd.DataFrame, said: list[str]) -> None:
    done = out["fact"].notna()
    right = out.loc[done, "fact"] == "[simulated] " + out.loc[done, "text"]
    found = {
        "rows": len(out),
        "done": int(done.sum()),
        "right": bool(right.all()),
        "cached": out.llm.usage.cached,
        "said": said,
    }
    Path(REPORT).write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    if HOW == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            out = pandas_llm.extract(
                DOCS,
                "${text}",
                ["fact"],
                model="sim",
                base_url=URL,
                cache=CACHE,
                concurrency=20,
                progress=False,
            )
        except KeyboardInterrupt as interrupt:
            report(interrupt.partial, interrupt.__notes__)
            raise
    report(out, [str(warning.message) for warning in warned])


if __name__ == "__main__":
    # a shell's background job ignores SIGINT, and so would what it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()

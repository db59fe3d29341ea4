"""How much of what rows share a llama.cpp server reads from its cache.

    python benchmarks/prefixes.py                      # the tiny model, 4 slots
    python benchmarks/prefixes.py --docs 60 --questions 8

A frame of documents and questions, question by question, so that neighbours share
nothing. The best possible is one row after the other, document by document: each
document is then read once. Beside its slots the server has memory for ten prompts
(llama.cpp's 8 GB hold 25 of that length of a model of 8 billion parameters), or for
none. With the extras `local` and `tests`.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "support")]

from llamacpp_server import LlamaServer  # noqa: E402 - found by the path above

import pandas_llm  # noqa: E402

MEMORY = {"ten prompts": 8, "no prompt": 0}
"""Megabytes; a prompt of the tiny model takes 0.8."""
TEMPLATE = "Read this:\n${document}\n\nQuestion: ${question}"


def frame(documents: int, questions: int, letters: int) -> pd.DataFrame:
    """Return every question on every document, one question after the other."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 9))) for _ in range(99)]
    texts = []
    for number in range(documents):
        text = f"{number}: " + " ".join(draw.choices(words, k=letters))
        texts.append(text[:letters])
    rows = [(text, f"{q}?") for q in range(questions) for text in texts]
    return pd.DataFrame(rows, columns=["document", "question"])


def measure(
    rows: pd.DataFrame, slots: int, memory: int, **options: object
) -> tuple[float, float]:
    """Return the share of the input that a new server had, and the seconds."""
    with LlamaServer(slots=slots, memory=memory) as server:
        begun = time.perf_counter()
        rows.llm.complete(
            TEMPLATE,
            model="llamacpp/tiny",
            base_url=server.base_url,
            temperature=0.0,
            cache=False,
            progress=False,
            **options,
        )
        seconds = time.perf_counter() - begun
    usage = pandas_llm.last_usage()
    return usage.cached_input_tokens / usage.input_tokens, seconds


def main() -> None:
    """Print a table of all ways of sending."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=int, default=24)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--letters", type=int, default=1500)
    parser.add_argument("--slots", type=int, default=4)
    given = parser.parse_args()
    rows = frame(given.docs, given.questions, given.letters)
    best, alone = measure(rows, given.slots, 0, concurrency=1)
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}", end=", ")
    print(", ".join(f"{name} {version(name)}" for name in ("xllamacpp", "aiohttp")))
    print(f"{len(rows)} rows, {given.docs} documents, {given.slots} slots\n")
    print("| memory for | in flight | order | cached share | / best | seconds |")
    print("|---|---|---|--:|--:|--:|")
    print(f"| no prompt | 1 | auto | {best:.3f} | 1 | {alone:.1f} |")
    for words, memory in MEMORY.items():
        for at_once in (given.slots, 2 * given.slots, "auto"):
            for order in ("auto", "given"):
                told = {"concurrency": at_once, "order": order}
                share, seconds = measure(rows, given.slots, memory, **told)
                line = (words, at_once, order, f"{share:.3f}", f"{share / best:.2f}")
                print(f"| {' | '.join(map(str, line))} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()

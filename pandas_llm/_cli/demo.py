"""The demo: question and answer pairs about the packages installed here."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_llm import simulator

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATE = "Generate question and answer pairs from the text.\ntext: ${description}"
_SHOWN = 12
_CODE = """\
import pandas_llm

out = packages.llm.generate(
    "Generate question and answer pairs from the text.\\ntext: ${description}",
    keys=["question", "answer"],
    model="sim",
)"""
_REAL = """\
    model="gpt-…",         # with OPENAI_API_KEY set, or for a local server:
    model="llama3.2", base_url="http://localhost:11434/v1","""


def installed_packages(rows: int = 20) -> pd.DataFrame:
    """Read what the packages installed on this machine say of themselves.

    Examples
    --------
    >>> list(installed_packages(2).columns)
    ['package', 'description']
    """
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        about = {key: str(value) for key, value in distribution.metadata.json.items()}
        sentences = _first_sentences(about.get("description", ""))
        text = f"{about.get('summary', '')} {sentences}".strip()
        if text:
            found[about["name"]] = text[:600]
    names = sorted(found, key=str.casefold)[:rows]
    return pd.DataFrame(
        {"package": names, "description": [found[name] for name in names]}
    )


def _first_sentences(description: str, count: int = 3) -> str:
    """Extract plain sentences from Markdown or reStructuredText."""
    prose = re.sub(r"<[^>]*>|!?\[[^\]]*\]\([^)]*\)|`+|[*#|=~^-]{2,}", " ", description)
    sentences = re.findall(r"\b[A-Z][^.!?\n:]{40,200}[.!?](?=\s)", prose)
    return " ".join(" ".join(sentence.split()) for sentence in sentences[:count])


def run(say: Callable[[str], None], **options: Any) -> None:
    """Run the demo on the simulator, or on a real endpoint when `options` name one."""
    packages = installed_packages()
    say(f"{len(packages)} descriptions of Python packages installed here:\n")
    say(packages.head(3).to_string(max_colwidth=70) + "\n")
    if options.get("model") or options.get("base_url"):
        _generate(say, packages, **options)
        return
    say("On the simulator; the 4th request gets a 429, the 8th a 500, on purpose.\n")
    with simulator.Simulator(latency=0.25, fault_plan={3: "429", 7: "500"}) as server:
        _generate(say, packages, model="sim", base_url=server.base_url, concurrency=4)
    say("The simulator invents its answers. The code:\n")
    say(_CODE + "\n")
    say("For a real provider change one line:\n")
    say(_REAL)


def _generate(
    say: Callable[[str], None], packages: pd.DataFrame, **options: Any
) -> None:
    out = packages.llm.generate(
        TEMPLATE, keys=["question", "answer"], progress=True, cache=False, **options
    )
    columns = ["package", "question", "answer"]
    shown = out[columns].head(_SHOWN).to_string(max_colwidth=56, index=False)
    rest = f"\n… and {len(out) - _SHOWN} more" * (len(out) > _SHOWN)
    say(f"\n{shown}{rest}\n")
    used = out.llm.usage
    say(
        f"{used.rows} rows became {len(out)} in {used.seconds:.1f} s: {used.requests} "
        f"requests ({used.retries} of them retries), {used.failed} rows failed,\n"
        f"{used.input_tokens} tokens in, {used.output_tokens} tokens out.\n"
    )

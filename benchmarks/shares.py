"""How often the intervals of `share` hold, and how wide they are.

``python benchmarks/shares.py`` in an environment with the package and the extra `tiny`:
the model reads 3 x 1,000 sentences that people have labelled; of each set 100 are drawn
2,000 times, evenly and by `to_review`, and `share` is asked what it makes of them.
"""

from __future__ import annotations

import sys
import time
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from sure import LABELS, QUESTION, QUIET, SETS, fetch, sentences
from table import table

import pandas_llm

ROWS, KNOWN, DRAWS = 1000, 100, 2000
RARE = (0.02, 0.05, 0.1)


def rated(frame: pd.DataFrame) -> pd.DataFrame:
    """Ask tiny for the label of each sentence, with its probabilities."""
    told = frame.llm.classify(
        QUESTION, LABELS, model="tiny", probabilities=True, **QUIET
    )
    return told.assign(truth=frame["gold"].to_numpy())


def with_share(frames: list[pd.DataFrame], share: float) -> pd.DataFrame:
    """Draw a frame of which a share is positive."""
    every, dice = pd.concat(frames, ignore_index=True), np.random.default_rng(1)
    parts = [
        dice.choice(np.flatnonzero(every["truth"] == label), count, replace=False)
        for label, count in (
            ("positive", round(share * ROWS)),
            ("negative", round((1 - share) * ROWS)),
        )
    ]
    return every.iloc[np.concatenate(parts)].reset_index(drop=True)


def measure(frame: pd.DataFrame, *, review: bool) -> tuple[float, float, float]:
    """Return how often the interval holds, its width, and that of labels alone."""
    true = (frame["truth"] == "positive").mean()
    held, widths, alone = [], [], []
    for seed in range(DRAWS):
        if review:
            drawn = frame.llm.to_review(KNOWN, seed=seed)
            known = frame.assign(inclusion=drawn["inclusion"], gold=drawn["truth"])
        else:
            places = frame.index.isin(frame.sample(KNOWN, random_state=seed).index)
            known = frame.assign(gold=frame["truth"].where(places))
        row = pandas_llm.share(known, "label", "gold").summary.loc["positive"]
        held.append(row["low"] <= true <= row["high"])
        widths.append(row["high"] - row["low"])
        alone.append(row["labels_only_high"] - row["labels_only_low"])
    return float(np.mean(held)), float(np.mean(widths)), float(np.mean(alone))


def seconds(call) -> float:
    """Return the best of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    fetch()
    warnings.simplefilter("ignore")
    frames = {key: rated(sentences(key)) for key in SETS}
    cases = {SETS[key]: frame for key, frame in frames.items()}
    for share in RARE:
        cases[f"{share:.0%} positive"] = with_share(list(frames.values()), share)
    rows = []
    for name, frame in cases.items():
        right = (frame["label"].astype(str) == frame["truth"]).mean()
        naive = (frame["label"] == "positive").mean()
        true = (frame["truth"] == "positive").mean()
        for review in (False, True):
            held, width, alone = measure(frame, review=review)
            how = "to_review" if review else "evenly"
            told = [f"{right:.0%}", f"{true:.1%}", f"{naive:.1%}", f"{held:.1%}"]
            rows.append([name, how, *told, f"{width:.3f}", f"{width / alone:.2f}"])
    heads = ("rows", "drawn", "right", "true", "naive", "holds", "width", "of labels'")
    table(*heads, rows=rows)
    big = pd.concat(frames.values(), ignore_index=True).sample(
        10_000, replace=True, random_state=1, ignore_index=True
    )
    big["gold"] = big["truth"].where(big.index < 1000)
    for call in (pandas_llm.evaluate, pandas_llm.share):
        took = seconds(lambda call=call: call(big, "label", "gold"))
        print(f"{call.__name__}, 10,000 rows, 1,000 known: {took * 1000:.0f} ms")
    names = ("pandas", "numpy")
    print(sys.version.split()[0], *(f"{n} {version(n)}" for n in names))


if __name__ == "__main__":
    main()

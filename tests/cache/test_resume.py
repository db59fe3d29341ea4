"""What was answered stays: reruns, kills, full disks, and what the server sees."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest
from loopback_server import Server, completion
from pydantic import BaseModel, field_validator

import pandas_llm
from pandas_llm import GenerationError, LLMWarning, cache
from pandas_llm.cache import replies, writer
from pandas_llm.cache import sqlite as database

ROOT = Path(pandas_llm.__file__).parents[1]
SCRIPT = Path(__file__).parents[1] / "support/resume_process.py"
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def facts(*numbers):
    return pd.DataFrame({"text": [f"Fact number {i}." for i in numbers]})


def check(out):
    assert out["fact"].tolist() == [f"[simulated] {text}" for text in out["text"]]


@pytest.fixture
def ask(on, tmp_path):
    """Run over a frame with a cache; return the frame and the requests it took."""

    def extract(server, df, keys=("fact",), **more):
        before = server.stats()["requests"]
        options = {"cache": tmp_path / "c.sqlite", **on(server), **more}
        out = df.llm.extract("${text}", keys, **options)
        return out, server.stats()["requests"] - before

    return extract


# -- reruns ---------------------------------------------------------------------


def test_the_same_line_again_sends_nothing(ask, simulator):
    server = simulator()
    first, sent = ask(server, facts(*range(50)))
    assert sent == 50
    again, sent = ask(server, facts(*range(50)))
    assert sent == 0
    pd.testing.assert_frame_equal(again, first)
    assert (again.llm.usage.cached, again.llm.usage.requests) == (50, 0)
    assert (first.llm.usage.cached, first.llm.usage.requests) == (0, 50)


def test_only_new_rows_cost_whatever_is_added_dropped_or_moved(ask, simulator):
    server = simulator()
    ask(server, facts(*range(40)))
    out, sent = ask(server, facts(39, *range(5, 20), 100, 101, 3, 102))
    check(out)
    assert sent == 3
    assert out.llm.usage.cached == 17


def test_a_run_that_lost_rows_asks_for_these_alone(ask, simulator):
    server = simulator(fail_if={"number 7.": "500", "number 8.": "bad_output"})
    with pytest.warns(LLMWarning, match="2 of 20 rows failed"):
        ask(server, facts(*range(20)), max_retries=0, output_retries=0)
    server.configure(fail_if={})
    out, sent = ask(server, facts(*range(20)))
    check(out)
    assert sent == 2


@pytest.mark.parametrize("fault", ["refusal", "content_filter", "cut_off"])
def test_what_is_no_answer_is_not_kept(fault, ask, simulator):
    server = simulator(fail_if={"number 3.": fault})
    for _ in range(2):
        with pytest.warns(LLMWarning, match="1 of 5 rows failed"):
            _, sent = ask(server, facts(*range(5)))
    assert sent == 1


def test_refresh_asks_again_and_keeps_the_new_answers(ask, simulator):
    server = simulator()
    ask(server, facts(*range(10)))
    out, sent = ask(server, facts(*range(10)), refresh=True)
    assert (sent, out.llm.usage.cached) == (10, 0)
    _, sent = ask(server, facts(*range(10)))
    assert sent == 0


def test_what_refresh_has_paid_for_is_found_without_it(ask, simulator):
    server = simulator(fail_if={"number 7.": "400"})
    with pytest.warns(LLMWarning, match="call without refresh=True asks only for"):
        ask(server, facts(*range(10)), refresh=True)
    with pytest.raises(GenerationError, match="call without refresh=True asks only"):
        ask(server, facts(*range(10)), refresh=True, errors="raise")
    server.configure(fail_if={})
    assert ask(server, facts(*range(10)))[1] == 1


def test_replay_sends_nothing_and_marks_what_is_not_kept(ask, simulator):
    server = simulator()
    ask(server, facts(*range(10)))
    with pytest.warns(LLMWarning, match="3 of 13 rows failed .3 not_cached"):
        out, sent = ask(server, facts(*range(13)), replay=True)
    assert sent == 0
    check(out.head(10))
    assert out["fact"].tail(3).isna().all()
    with pytest.raises(GenerationError) as caught:
        ask(server, facts(*range(13)), replay=True, errors="raise")
    assert caught.value.failures["kind"].tolist() == ["not_cached"] * 3


def test_replay_needs_neither_server_nor_key(on, tmp_path, simulator):
    server = simulator()
    options = on(server, cache=tmp_path / "c.sqlite")
    facts(*range(5)).llm.extract("${text}", ["fact"], **options)
    server.__exit__(None, None, None)
    out = facts(*range(5)).llm.extract("${text}", ["fact"], replay=True, **options)
    check(out)
    server.__enter__()
    with pytest.warns(LLMWarning, match="2 not_cached"):
        facts(1, 2).llm.complete(
            "${text}", model="gpt-9", replay=True, cache=tmp_path / "c.sqlite"
        )


def test_other_keys_never_get_the_old_records(ask, simulator):
    server = simulator()
    ask(server, facts(3, 4), {"value": str})
    out, sent = ask(server, facts(3, 4), {"value": int})
    assert sent == 2
    assert out["value"].dtype == "Int64"
    _, sent = ask(server, facts(3, 4), {"value": str})
    assert sent == 0


def shouting(suffix, *, refuses=False):
    """Make models of one schema that read an answer differently."""

    class Fact(BaseModel):
        fact: str

        @field_validator("fact")
        @classmethod
        def read(cls, value):
            if refuses and suffix not in value:
                raise ValueError("not loud enough")
            return value + suffix

    return Fact


def test_another_reading_of_the_same_answers_asks_for_none(ask, simulator):
    server = simulator()
    first, _ = ask(server, facts(1, 2), shouting("?"))
    second, sent = ask(server, facts(1, 2), shouting("!"))
    assert sent == 0
    assert first["fact"].str.endswith("?").all()
    assert second["fact"].str.endswith(".!").all()


def test_an_answer_that_is_not_understood_any_more_is_asked_for_again(ask, simulator):
    server = simulator()
    ask(server, facts(1, 2), shouting(""))
    with pytest.warns(LLMWarning, match="2 output"):
        ask(server, facts(1, 2), shouting("!", refuses=True), output_retries=0)
    assert server.stats()["requests"] == 4


def test_several_choices_are_one_entry(ask, simulator, on, tmp_path):
    server = simulator()
    options = on(server, cache=tmp_path / "n.sqlite", n=3)
    text = pd.DataFrame({"text": ["One is odd. Two is even. Three is odd."] * 2})
    text.loc[1, "text"] += " Four is even."
    first = text.llm.generate("${text}", ["fact"], **options)
    assert cache.info(tmp_path / "n.sqlite").entries == 2
    again = text.llm.generate("${text}", ["fact"], **options)
    pd.testing.assert_frame_equal(again, first)
    assert server.stats()["requests"] == 2
    text.llm.generate("${text}", ["fact"], **{**options, "n": 2})
    assert server.stats()["requests"] == 4


def test_equal_rows_asked_each_for_itself_get_the_same_samples_again(ask, simulator):
    server = simulator()
    sentences = "One is odd. Two is even. Three is odd. Four is even. Five is odd."
    df = pd.DataFrame({"text": [sentences] * 6})
    first, sent = ask(server, df, dedupe=False, seed=1)
    assert sent == 6
    assert len(set(first["fact"])) > 1
    again, sent = ask(server, df, dedupe=False, seed=1)
    assert sent == 0
    pd.testing.assert_frame_equal(again, first)
    _, sent = ask(server, df.head(4), dedupe=False, seed=1)
    assert sent == 0
    _, sent = ask(server, pd.concat([df, df.head(2)]), dedupe=False, seed=1)
    assert sent == 2


def test_the_cache_tells_cached_rows_in_details(ask, simulator):
    server = simulator()
    ask(server, facts(1))
    out, _ = ask(server, facts(1, 2), details=True)
    assert out["llm_cached"].tolist() == [True, False]
    assert out["llm_attempts"].tolist() == [0, 1]


def test_without_a_cache_everything_is_asked_again(ask, simulator, tmp_path):
    server = simulator()
    ask(server, facts(1, 2))
    _, sent = ask(server, facts(1, 2), cache=False)
    assert sent == 2


# -- processes that end badly ---------------------------------------------------


@pytest.fixture
def start(tmp_path):
    """Start resume_process.py; whatever still runs at the end is killed."""
    running = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def process(server, rows, how="plain", report="report.json"):
        started = subprocess.Popen(
            [
                *(sys.executable, SCRIPT, how, server.base_url),
                *(tmp_path / "c.sqlite", str(rows), tmp_path / report),
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(started)
        return started

    yield process
    for started in running:
        started.kill()
        started.communicate()


def ended(process, report):
    """Wait for the end; return what the process reported."""
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    return json.loads(report.read_text())


def watch(server, process, answers, seconds=60.0):
    """Wait for so many more answers; return when each number of them was seen."""
    seen = [(time.monotonic(), server.stats()["answered"])]
    goal = seen[0][1] + answers
    while seen[-1][1] < goal:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < seen[0][0] + seconds
        time.sleep(0.04)
        seen.append((time.monotonic(), server.stats()["answered"]))
    return seen


@posix
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_at_twenty_random_moments_loses_only_the_last_moment(
    start, ask, simulator, record_property
):
    """Requests sent twice are those in flight and those of the last commit."""
    rows, in_flight, latest = 1500, 20, 0.2
    dice = random.Random(0)
    server = simulator(latency=0.1)
    allowed = repeated = 0
    for _ in range(20):
        before = server.stats()
        process = start(server, rows)
        seen = watch(server, process, dice.randint(1, 60))
        process.kill()
        killed = time.monotonic()
        process.wait()
        fresh = [n for moment, n in seen if moment < killed - latest - 0.1]
        known = fresh[-1] if fresh else before["answered"]
        time.sleep(0.15)  # the server notices who has gone
        stats = server.stats()
        repeated = stats["requests"] - stats["prompts"]
        allowed += in_flight + stats["answered"] - known
        assert repeated <= allowed
    out, sent = ask(server, facts(*range(rows)), concurrency=20)
    check(out)
    stats = server.stats()
    repeated = stats["requests"] - stats["prompts"]
    record_property("repeated", f"{repeated} of {rows}, {allowed} allowed")
    print(f"repeated {repeated} of {rows} after 20 kills, {allowed} allowed")
    assert repeated <= allowed
    assert sent + out.llm.usage.cached == rows
    assert stats["prompts"] == rows
    _, sent = ask(server, facts(*range(rows)))
    assert sent == 0


@posix
def test_ctrl_c_and_the_same_line_again_sends_only_what_is_missing(
    start, ask, simulator, tmp_path
):
    server = simulator(latency=0.05)
    process = start(server, 1000)
    watch(server, process, 200)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert process.returncode == -signal.SIGINT
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["right"]
    assert 100 <= found["done"] < 1000
    for words in ("of 1000 rows were done", "the same call goes on", "replay=True"):
        assert words in found["said"][0]
    with pytest.warns(LLMWarning, match=f"{1000 - found['done']} not_cached"):
        part, sent = ask(server, facts(*range(1000)), replay=True)
    assert (sent, part["fact"].notna().sum()) == (0, found["done"])
    out, sent = ask(server, facts(*range(1000)))
    check(out)
    assert sent == 1000 - found["done"]


@posix
def test_two_processes_share_a_cache_file(start, ask, simulator, tmp_path):
    server = simulator(latency=0.01)
    processes = [start(server, 400, report=f"{i}.json") for i in range(2)]
    for i, process in enumerate(processes):
        found = ended(process, tmp_path / f"{i}.json")
        assert (found["done"], found["right"], found["said"]) == (400, True, [])
    assert cache.info(tmp_path / "c.sqlite").entries == 400
    out, sent = ask(server, facts(*range(400)))
    check(out)
    assert sent == 0


@posix
def test_a_full_disk_costs_a_warning_and_no_row(start, simulator, tmp_path):
    server = simulator()
    found = ended(start(server, 1000, "full"), tmp_path / "report.json")
    assert (found["done"], found["right"]) == (1000, True)
    (said,) = found["said"]
    assert "no more replies are kept" in said
    assert "full" in said


# -- cache files that are no good -----------------------------------------------


def with_one_warning(ask, server, df, **more):
    """Run where the cache cannot be used; all rows are there and one warning."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        out, sent = ask(server, df, **more)
    check(out)
    (warning,) = warned
    assert warning.category is LLMWarning
    assert "cache cannot be used" in (said := str(warning.message)) or (
        "no more replies are kept" in said
    )
    return str(warning.message), sent


def test_a_damaged_cache_file_costs_a_warning_and_no_row(ask, simulator, tmp_path):
    file = tmp_path / "c.sqlite"
    file.write_bytes(b"this is no database at all " * 1000)
    before = file.read_bytes()
    said, sent = with_one_warning(ask, simulator(), facts(*range(30)))
    assert "damaged" in said
    assert sent == 30
    assert file.read_bytes() == before


def test_a_cache_file_damaged_inside_costs_a_warning_or_nothing(
    ask, simulator, tmp_path
):
    server, file = simulator(), tmp_path / "c.sqlite"
    ask(server, facts(*range(300)))
    body = bytearray(file.read_bytes())
    for at in range(4096, len(body), 64):
        body[at : at + 16] = os.urandom(16)
    file.write_bytes(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out, sent = ask(server, facts(*range(300)))
    check(out)
    assert sent > 0


def test_a_cache_file_whose_names_are_damaged_costs_a_warning_and_no_row(
    ask, simulator, tmp_path
):
    server, file = simulator(), tmp_path / "c.sqlite"
    ask(server, facts(*range(3)))
    body = file.read_bytes()
    file.write_bytes(body.replace(b"pandas_llm_cache", b"pandas_\xffllm_cach"))
    said, sent = with_one_warning(ask, server, facts(*range(3)))
    assert "UTF-8" in said
    assert sent == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="home folders of POSIX")
@pytest.mark.parametrize("home", [None, "/dev/null"])
def test_no_home_folder_costs_a_warning_and_no_row(
    home, ask, simulator, tmp_path, monkeypatch
):
    monkeypatch.delenv("PANDAS_LLM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    monkeypatch.chdir(tmp_path)
    said, sent = with_one_warning(ask, simulator(), facts(*range(3)), cache=True)
    assert sent == 3
    assert "home" in said or home in said
    assert list(tmp_path.iterdir()) == []


def test_a_locked_cache_file_costs_a_warning_and_no_row(
    ask, simulator, tmp_path, monkeypatch
):
    monkeypatch.setattr(database, "LOCK_WAIT", 0.3)
    monkeypatch.setattr(writer, "_WRITE_WAIT", 0.3)
    server = simulator()
    ask(server, facts(*range(5)))
    other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    said, sent = with_one_warning(ask, server, facts(*range(30)))
    other.close()
    assert "locked" in said
    assert sent == 25  # what was kept before can be read


@pytest.mark.parametrize("ends", [False, True])
def test_another_programs_lock_is_waited_for_once(ends, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_WAIT", 0.3)
    waits, connect = [], sqlite3.connect

    def noted(place, timeout=5.0, **more):
        waits.append(timeout)
        return connect(place, timeout=timeout, **more)

    def answer(body):
        if ends and len(server.bodies) > 1:
            other.close()
        return completion("x", prompt_tokens=1, completion_tokens=1)

    with Server(answer) as server:
        options = {"model": "m", "base_url": server.base_url, "api_key": "k"}
        options |= {"cache": tmp_path / "c.sqlite", "progress": False}
        pd.Series(["a"]).llm.complete("${value}", **options)
        other = connect(
            tmp_path / "c.sqlite", isolation_level=None, check_same_thread=False
        )
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", noted)
        with pytest.warns(LLMWarning, match="the cache cannot be used.*locked"):
            pd.Series(["a", "b"]).llm.complete("${value}", **options)
        assert sum(waits) == 0.3
        other.close()
        pd.Series(["a", "b"]).llm.complete("${value}", **options)
    assert len(server.bodies) == (3 if ends else 4)  # kept, as soon as they can be


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("place", ["/proc/pandas_llm.sqlite", "/dev/null/c.sqlite"])
def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_row(
    place, ask, simulator
):
    _, sent = with_one_warning(ask, simulator(), facts(*range(30)), cache=place)
    assert sent == 30


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="as root")
def test_a_read_only_cache_file_still_answers(ask, simulator, tmp_path):
    server = simulator()
    ask(server, facts(1, 2))
    (tmp_path / "c.sqlite").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        out, sent = ask(server, facts(1, 2))
    finally:
        tmp_path.chmod(0o755)
    check(out)
    assert sent == 0


def test_a_clock_that_jumps_does_no_harm(ask, simulator, monkeypatch):
    server = simulator(faults={"429": 0.05, "500": 0.05}, fault_delay=0.01)
    real = time.time
    jumps = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: real() + jumps.uniform(-1e8, 1e8))
    out, _ = ask(server, facts(*range(60)))
    check(out)
    again, sent = ask(server, facts(*range(60)))
    assert sent == 0
    pd.testing.assert_frame_equal(again, out)


def test_a_cache_that_cannot_be_used_is_told_before_a_row_is_paid(
    ask, simulator, tmp_path
):
    (tmp_path / "c.sqlite").write_bytes(b"no database" * 1000)
    server = simulator()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LLMWarning, match="the next call pays for them again"):
            ask(server, facts(1, 2))
    assert server.stats()["requests"] == 0


@posix
def test_a_cache_that_is_removed_in_use_is_told_of_and_begun_again(on, tmp_path):
    """Else SQLite would go on in a file without a name, to the end of the run."""
    path = tmp_path / "c.sqlite"
    df = facts(*range(60))

    def answer(body):
        at = len(server.bodies)
        if at in (10, 20):
            replies.flush(path)
        if at == 10:
            for file in tmp_path.glob("c.sqlite*"):
                file.unlink()
        return completion("yes")

    with Server(answer) as server:
        options = on(server, cache=path, concurrency=1)
        with pytest.warns(LLMWarning, match="what was kept before is gone"):
            df.llm.complete("${text}", **options)
        again = df.llm.complete("${text}", **options)
    assert 9 <= again.llm.usage.requests <= 20
    assert again.llm.usage.cached == 60 - again.llm.usage.requests

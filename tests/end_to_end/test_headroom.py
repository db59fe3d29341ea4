"""A part of a paid account is left to others, over real HTTP with strict limits."""

from __future__ import annotations

import dataclasses
import pickle
import time

import pandas as pd
import pytest

import pandas_llm

RATE = 100.0  # requests a second that the account has, and this is their burst, too
BURST = 20
TRIES = 3  # a busy machine is slower for a while; it never makes a run too fast


def is_reached(used, least, most):
    """Return whether any of a few runs uses the least; none may use more than most."""
    for part in (used() for _ in range(TRIES)):
        assert part <= most
        if part >= least:
            return True
    return False


def ask(server, rows, **options):
    texts = pd.Series([f"Row {i:04} of them" for i in range(rows)])
    given = {"base_url": server.base_url, "model": "sim", "api_key": server.base_url}
    given |= {"progress": False, "cache": False, **options}
    started = time.monotonic()
    out = texts.llm.complete("${value}", **given)
    assert out.notna().all()
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.parametrize("told", ["headers", "options"])
def test_a_fifth_of_the_requests_is_left(simulator, told):
    limit = 60 * RATE
    options = {"requests_per_minute": limit} if told == "options" else {}

    def used():
        headers = told == "headers"
        server = simulator(
            requests_per_minute=limit, burst=BURST, latency=0.02, headers=headers
        )
        seconds = ask(server, 400, headroom=0.2, **options)
        assert server.stats()["answered"] == server.stats()["requests"]
        return (400 - 0.8 * BURST) / seconds / RATE

    assert is_reached(used, 0.72, 0.82)  # 0.79 if nothing else is to do


def test_a_fifth_of_the_tokens_is_left(simulator):
    def used():
        server = simulator(tokens_per_minute=120_000, latency=0.02)
        seconds = ask(server, 250, headroom=0.2)
        usage = pandas_llm.last_usage()
        tokens = usage.input_tokens + usage.output_tokens
        return (tokens - 0.8 * 2000) / seconds / 2000

    assert is_reached(used, 0.5, 0.84)  # 0.79 if nothing else is to do


@pytest.mark.slow
def test_more_is_left_from_the_moment_that_it_is_set(simulator):
    def used():
        server = simulator(requests_per_minute=60 * RATE, burst=BURST, latency=0.02)
        seen = []

        def note(now):
            if now.done >= 200:
                now.headroom = 0.5
            seen.append((now.seconds, now.requests, now.headroom))

        ask(server, 500, headroom=0.2, progress=note)
        at = next(i for i, (_, _, part) in enumerate(seen) if part == 0.5)
        before, after = rate(seen[3], seen[at]), rate(seen[at + 2], seen[-3])
        assert before <= 0.86
        return after if before >= 0.7 else 0.0  # too slow from the beginning

    def rate(first, last):
        return (last[1] - first[1]) / (last[0] - first[0]) / RATE

    assert is_reached(used, 0.42, 0.53)


def test_what_is_set_holds_for_the_later_runs_of_a_verb(simulator):
    server = simulator(requests_per_minute=60 * RATE, latency=0.02)
    parts = []

    def note(now):
        parts.append(now.headroom)
        now.headroom = 0.4

    frame = pd.DataFrame({"text": [f"Line {i}" for i in range(200)]})
    given = {
        "base_url": server.base_url,
        "model": "sim",
        "api_key": "k",
        "cache": False,
    }
    given |= {"max_tokens_per_call": 100, "progress": note, "headroom": 0.1}
    frame.llm.agg("Sum up", "text", **given)
    assert parts[0] == 0.1
    assert set(parts[1:]) == {0.4}


def test_headroom_of_limits_that_nobody_tells_is_warned_of(simulator):
    with pytest.warns(pandas_llm.LLMWarning, match="requests_per_minute="):
        ask(simulator(), 3, headroom=0.2)
    ask(simulator(requests_per_minute=60_000), 3, headroom=0.2)
    ask(simulator(), 3, headroom=0.2, tokens_per_minute=1e6)
    ask(simulator(), 3)


def test_a_progress_can_be_kept_copied_and_compared(simulator):
    seen = []
    ask(simulator(), 3, progress=seen.append)
    last = seen[-1]
    copied = pickle.loads(pickle.dumps(last))
    assert (copied, copied.done, copied.headroom) == (last, 3, 0.0)
    assert dataclasses.asdict(last)["rows"] == 3
    assert dataclasses.replace(last, done=2).done == 2
    assert repr(last).startswith("Progress(rows=3,")


@pytest.mark.parametrize("part", [1, 0.991, 1.5, -0.1, "0.2", None, True, float("nan")])
def test_a_headroom_that_cannot_be_is_an_error_before_anything_is_sent(simulator, part):
    server = simulator()
    with pytest.raises(ValueError, match=r"headroom must be a number from 0 to 0\.99"):
        ask(server, 3, headroom=part)
    assert server.stats()["requests"] == 0


def test_a_headroom_that_cannot_be_set_names_what_may_be(simulator):
    seen = []
    ask(simulator(), 3, progress=seen.append)
    with pytest.raises(ValueError, match=r"headroom must be a number from 0 to 0\.99"):
        seen[0].headroom = 1.0
    assert seen[0].headroom == 0.0
    seen[0].headroom = 0.3  # of a run that has ended: of no use, and no error
    with pytest.raises(AttributeError):
        seen[0].done = 7

"""Every fault, at every place, in both modes: rows, order, requests and reasons."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter

import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server, completion

from pandas_llm import GenerationError, LLMError, LLMWarning
from pandas_llm._pacing import retry
from pandas_llm.errors import FirstRowsError
from pandas_llm.simulator import Simulator

ROWS = 14
SEED = 5
"""With it four of the first 36 requests meet a fault of 10 %, and not the first."""
KINDS = {
    "429": "rate_limit",
    "500": "server",
    "503": "overloaded",
    "529": "overloaded",
    "reset": "connection",
    "truncated": "malformed_reply",
    "hang": "timeout",
    "html": "malformed_reply",
    "broken_json": "malformed_reply",
    "error_200": "server",
    "no_choices": "malformed_reply",
    "bad_output": "output",
    "wrong_schema": "output",
    "refusal": "refusal",
    "cut_off": "truncated",
    "content_filter": "content_filter",
}
UNCLEAR = ["bad_output", "wrong_schema"]
WITHHELD = ["refusal", "cut_off", "content_filter"]
FAILING = [f for f in KINDS if f not in ("429", *UNCLEAR, *WITHHELD)]
both_modes = pytest.mark.parametrize("errors", ["coerce", "raise"])
PLACES = {"first": 0, "middle": 6}
at_a_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(retry, "_BASE", 0.05)


@pytest.fixture
def run(on):
    """Run over rows of which each says its number; return frame, error, server."""

    def execute(server, errors, rows=ROWS, **more):
        df = pd.DataFrame(
            {"number": range(rows), "text": [f"Row {i}." for i in range(rows)]}
        ).set_axis([f"r{i % 7}" for i in range(rows)])
        options = {"max_retries": 1, "output_retries": 1, **on(server), **more}
        error = None
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            # of a simulator that is stopped while it answers
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                out = df.llm.extract(
                    "${text}", ["fact"], errors=errors, error_column="why", **options
                )
            except LLMError as raised:
                out, error = raised.partial, raised
        said = [str(warning.message) for warning in warned]
        assert all(warning.category is LLMWarning for warning in warned), said
        pd.testing.assert_frame_equal(out[["number", "text"]], df)
        right = [
            fact == f"[simulated] {text}"
            for fact, text in zip(out["fact"], out["text"], strict=True)
        ]
        assert out["fact"].notna().tolist() == right
        return out, error, "\n".join(said)

    return execute


def reasons(out):
    """Return the kind of each row that has a reason, by its number."""
    found = out.loc[out["why"].notna()]
    return {
        number: why.split(":")[0]
        for number, why in zip(found["number"], found["why"], strict=True)
    }


def check_reported(out, error, said, errors, expected):
    """Check that those rows failed for those reasons, and that it was told."""
    assert reasons(out) == expected
    assert out["fact"].isna().sum() == len(expected)
    if not expected:
        assert error is None
        assert said == ""
    elif errors == "raise":
        assert type(error) is GenerationError
        assert error.failures["position"].tolist() == list(expected)
        assert error.failures["kind"].tolist() == list(expected.values())
        assert error.failures["label"].tolist() == [f"r{i % 7}" for i in expected]
        assert said == ""
    else:
        assert error is None
        assert f"{len(expected)} of {len(out)} rows failed" in said


each_fault = pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.slow if fault == "hang" else ())
        for fault in FAILING
    ],
)


@both_modes
@at_a_place
@each_fault
def test_a_row_whose_every_try_fails_fails_alone(fault, place, errors, run, simulator):
    at = PLACES[place]
    server = simulator(fail_if={f"Row {at}.": fault}, fault_delay=0.01)
    patience = {"request_timeout": 1.0} if fault == "hang" else {}
    out, error, said = run(server, errors, **patience)
    check_reported(out, error, said, errors, {at: KINDS[fault]})
    # a connection that breaks is tried once more, free of charge
    tries = 3 if fault == "reset" else 2
    assert server.stats()["requests"] == ROWS - 1 + tries
    assert sorted(server.stats()["per_prompt"].values())[:-1] == [1] * (ROWS - 1)
    if error is not None:
        assert error.failures["attempts"].tolist() == [tries]


@both_modes
@at_a_place
@pytest.mark.parametrize("fault", UNCLEAR)
def test_a_reply_that_is_not_understood_is_asked_for_again(
    fault, place, errors, run, simulator
):
    server = simulator(fail_if={f"Row {PLACES[place]}.": fault})
    out, error, said = run(server, errors)
    check_reported(out, error, said, errors, {})
    assert server.stats()["requests"] == ROWS + 1


@both_modes
@at_a_place
@pytest.mark.parametrize("fault", UNCLEAR)
def test_a_reply_that_is_not_understood_fails_its_row_when_nobody_may_ask_again(
    fault, place, errors, run, simulator
):
    at = PLACES[place]
    server = simulator(fail_if={f"Row {at}.": fault})
    out, error, said = run(server, errors, output_retries=0)
    check_reported(out, error, said, errors, {at: "output"})
    assert server.stats()["requests"] == ROWS


@both_modes
@at_a_place
@pytest.mark.parametrize("fault", WITHHELD)
def test_an_answer_that_is_withheld_is_not_asked_for_again(
    fault, place, errors, run, simulator
):
    at = PLACES[place]
    server = simulator(fail_if={f"Row {at}.": fault})
    out, error, said = run(server, errors)
    check_reported(out, error, said, errors, {at: KINDS[fault]})
    assert server.stats()["requests"] == ROWS


@both_modes
@at_a_place
def test_a_rate_limit_only_makes_its_row_wait(place, errors, run, simulator):
    server = simulator(fault_plan={PLACES[place]: "429"}, fault_delay=0.01)
    out, error, said = run(server, errors, max_retries=0)
    check_reported(out, error, said, errors, {})
    assert server.stats()["requests"] == ROWS + 1


@both_modes
def test_a_rate_limit_for_every_row_lasts_until_the_deadline(errors, run, simulator):
    server = simulator(faults={"429": 1.0}, fault_delay=0.01)
    out, error, said = run(server, errors, max_retries=0, deadline=1)
    expected = dict.fromkeys(range(ROWS), "deadline")
    check_reported(out, error, said, errors, expected)
    stats = server.stats()
    assert 1 < stats["requests"] < 150  # about 60; over 1,000 without a pause
    assert stats["answered"] == 0


@both_modes
@each_fault
def test_a_failure_of_every_row_stops_the_run_after_ten(fault, errors, run, simulator):
    server = simulator(faults={fault: 1.0}, fault_delay=0.01)
    patience = {"request_timeout": 1.0} if fault == "hang" else {}
    out, error, said = run(server, errors, **patience)
    assert type(error) is FirstRowsError
    found = list(reasons(out).values())
    assert found[:3] == [KINDS[fault]] * 3
    assert Counter(found) == {KINDS[fault]: 10, "not_sent": ROWS - 10}
    assert error.failures["kind"].tolist() == found
    # the first three with a second try, seven from all over the frame with none
    free = fault == "reset"  # each once more
    tries = {2 + free: 3, 1 + free: 7, 0: ROWS - 10}
    assert Counter(error.failures["attempts"]) == tries
    assert server.stats()["requests"] == 13 + 10 * free
    assert said == ""


@both_modes
@pytest.mark.parametrize("fault", [*UNCLEAR, *WITHHELD])
def test_no_use_of_any_answer_fails_every_row(fault, errors, run, simulator):
    server = simulator(faults={fault: 1.0})
    out, error, said = run(server, errors)
    expected = dict.fromkeys(range(ROWS), KINDS[fault])
    check_reported(out, error, said, errors, expected)
    assert server.stats()["requests"] == ROWS * (2 if fault in UNCLEAR else 1)


@both_modes
@pytest.mark.parametrize("fault", [f for f in KINDS if f not in WITHHELD])
def test_ten_percent_of_a_passing_fault_fail_no_row(fault, errors, run, simulator):
    server = simulator(faults={fault: 0.1}, fault_delay=0.01, seed=SEED)
    patience = {"request_timeout": 1.0} if fault == "hang" else {}
    out, error, said = run(
        server, errors, rows=36, max_retries=5, output_retries=5, **patience
    )
    check_reported(out, error, said, errors, {})
    hit = server.stats()["faults"][fault]
    assert hit >= 3
    assert server.stats()["requests"] == 36 + hit


@both_modes
@pytest.mark.parametrize("fault", WITHHELD)
def test_ten_percent_of_answers_withheld_fail_just_these_rows(
    fault, errors, run, simulator
):
    server = simulator(faults={fault: 0.1}, seed=SEED)
    out, error, said = run(server, errors, rows=36)
    hit = server.stats()["faults"][fault]
    failed = reasons(out)
    assert len(failed) == hit >= 3
    check_reported(out, error, said, errors, dict.fromkeys(failed, KINDS[fault]))
    assert server.stats()["requests"] == 36


# -- outages and what is none ---------------------------------------------------


def wait_for(holds):
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("latency", [0.02, pytest.param(0.2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("reset", marks=pytest.mark.slow),
        pytest.param("error_200", marks=pytest.mark.slow),
        "503",
    ],
)
def test_an_outage_in_the_middle_costs_no_row_and_few_requests(
    fault, latency, run, simulator, monkeypatch
):
    """Slow answers to earlier requests still come when all new ones are refused."""
    monkeypatch.setattr(retry.Circuit, "FIRST", 0.3)
    monkeypatch.setattr(retry, "_GLANCE", 0.1)
    server = simulator(latency=latency, jitter=0.5, fault_delay=0.0)

    def outage():
        wait_for(lambda: server.stats()["answered"] >= 100)
        server.configure(faults={fault: 1.0})
        time.sleep(0.8)
        server.configure(faults={})

    saboteur = threading.Thread(target=outage)
    saboteur.start()
    out, error, said = run(server, "coerce", rows=200, max_retries=6, concurrency=16)
    saboteur.join()
    check_reported(out, error, said, "coerce", {})
    stats = server.stats()
    assert stats["answered"] == 200
    # those in flight, twice with the free try, until it is seen; then one at a time
    assert 0 < stats["faults"][fault] <= 2 * (16 + 10) + 20


# Python 3.13.0 fails on a connection that is collected after its server has ended
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _SelectorTransport"
    ":pytest.PytestUnraisableExceptionWarning"
)
def test_a_server_that_is_started_again_is_found_again(run, on):
    first = Simulator(latency=0.02).__enter__()
    host, port = first.base_url.split("/")[2].split(":")
    servers = [first]

    def restart():
        wait_for(lambda: first.stats()["answered"] >= 100)
        first.__exit__(None, None, None)
        time.sleep(0.5)
        servers.append(Simulator(latency=0.02, host=host, port=int(port)).__enter__())

    saboteur = threading.Thread(target=restart)
    saboteur.start()
    try:
        out, error, said = run(first, "coerce", rows=300, max_retries=1)
    finally:
        saboteur.join()
        again = servers[-1].stats()["answered"]
        servers[-1].__exit__(None, None, None)
    check_reported(out, error, said, "coerce", {})
    assert again > 0


@pytest.mark.parametrize("max_retries", [0, 1])
def test_new_connections_refused_beside_old_ones_cost_no_row(max_retries):
    """As while nginx or a pod is replaced: old connections are served to their end."""
    counts = Counter()

    async def answer(body):
        counts["asked"] += 1
        if counts["asked"] == 50:
            await server.turn_deaf()
        if counts["asked"] == 200:
            await server.listen()
        reply = web.json_response(completion("yes"))
        if 50 <= counts["asked"] < 56:  # two connections of eight stay
            reply.force_close()
        return reply

    df = pd.DataFrame({"text": [f"Row {i}." for i in range(400)]})
    with Server(answer) as server:
        out = df.llm.complete(
            "${text}",
            model="m",
            base_url=server.base_url,
            progress=False,
            concurrency=8,
            max_retries=max_retries,
        )
    assert (out == "yes").all()
    assert counts["asked"] == 400


def test_rows_that_never_succeed_are_no_outage(run, simulator):
    """Without blame the last rows of such a run waited 15 minutes."""
    bad = [f"Row {i}." for i in range(5, 200, 7)]
    server = simulator(latency=0.005, fail_if=dict.fromkeys(bad, "500"))
    out, error, said = run(server, "coerce", rows=200, max_retries=2)
    check_reported(
        out, error, said, "coerce", dict.fromkeys(range(5, 200, 7), "server")
    )
    # two tries each, and now and then a third that the circuit gave back
    assert 200 + 2 * len(bad) <= server.stats()["requests"] <= 200 + 3 * len(bad)


def test_rows_side_by_side_that_never_succeed_are_no_outage(run, simulator):
    """They fill all slots; a row not asked before shows that others are answered."""
    bad = range(40, 49)
    server = simulator(
        latency=0.005, fail_if=dict.fromkeys([f"Row {i}." for i in bad], "500")
    )
    out, error, said = run(server, "coerce", rows=100, max_retries=2, concurrency=8)
    check_reported(out, error, said, "coerce", dict.fromkeys(bad, "server"))
    assert server.stats()["answered"] == 91
    assert server.stats()["faults"]["500"] <= 2 * 3 * len(bad)


def test_the_last_rows_that_never_succeed_are_no_outage(run, simulator):
    """Those that are answered have left before these fail, and no more will leave."""
    bad = range(40, 60, 2)
    server = simulator(
        latency=1.0,
        fault_delay=0.0,
        fail_if=dict.fromkeys([f"Row {i}." for i in bad], "500"),
    )
    out, error, said = run(server, "coerce", rows=60, max_retries=2, concurrency=60)
    check_reported(out, error, said, "coerce", dict.fromkeys(bad, "server"))
    assert server.stats()["answered"] == 50


def test_an_outage_is_over_when_the_deadline_passes(run, simulator):
    server = simulator(latency=0.02)

    def outage():
        wait_for(lambda: server.stats()["answered"] >= 50)
        server.configure(faults={"500": 1.0})

    saboteur = threading.Thread(target=outage)
    saboteur.start()
    out, error, _ = run(server, "coerce", 300, deadline=2.5, concurrency=16)
    saboteur.join()
    assert error is None
    assert set(reasons(out).values()) <= {"deadline", "server"}
    assert list(reasons(out).values()).count("server") <= 10
    assert out["fact"].notna().sum() >= 50
    assert server.stats()["faults"]["500"] <= 16 + 10 + 20

"""A batch whose creation was never confirmed is found again, and never paid twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import pytest
from aiohttp import web
from batch_between import (
    FRAME,
    LOST,
    ROWS,
    VENDORS,
    Between,
    at,
    created,
    cut,
    first,
    paid,
    place,
)

from pandas_llm.batch import load, recovery
from pandas_llm.errors import LLMError, MaybeCreatedError
from pandas_llm.providers.batches import OpenAIBatches
from pandas_llm.providers.vendors.google import GoogleBatches


@pytest.fixture(autouse=True)
def short_search(short_waits, monkeypatch):
    monkeypatch.setattr(recovery, "_SETTLES", 0.05)
    monkeypatch.setattr(recovery, "_PAUSE", 0.01)


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


lost = pytest.mark.parametrize(
    ("how", "model"),
    [
        pytest.param(
            *(how, model),
            marks=pytest.mark.slow if how == "late" and model != VENDORS[0] else (),
        )
        for how in LOST
        for model in VENDORS
    ],
)


@lost
def test_a_batch_whose_answer_was_lost_is_gone_on_with(simulator, kept, how, model):
    server = simulator()
    patience = {"request_timeout": 1.0} if how == "late" else {}
    with Between(server, after=first("create", LOST[how])) as between:
        options = at(between, kept, model, batch=True, **patience)
        out = FRAME.llm.complete("${text}", **options)
        assert between.seen["create"] == 1
    assert out.notna().all()
    assert len(created(server, model)) == 1
    assert paid(server) == [1] * ROWS


@lost
def test_one_that_never_arrived_is_sent_by_the_next_call(simulator, kept, how, model):
    server = simulator()
    patience = {"request_timeout": 1.0} if how == "late" else {}
    with Between(server, before=first("create", LOST[how])) as between:
        options = at(between, kept, model, batch=True, **patience)
        with pytest.raises(MaybeCreatedError, match="list of batches"):
            FRAME.llm.complete("${text}", **options)
        assert (between.seen["create"], created(server, model)) == (1, [])
        assert FRAME.llm.complete("${text}", **options).notna().all()
    assert len(created(server, model)) == 1
    assert paid(server) == [1] * ROWS


def test_one_that_cannot_be_noted_is_found_by_the_next_call(simulator, kept):
    server = simulator()
    made = 'instr(CAST(NEW.state AS TEXT), \'"id":"batch_\')'
    runs = "instr(CAST(NEW.state AS TEXT), '\"ended\":false')"
    full = f"WHEN {made} AND {runs} BEGIN SELECT RAISE(ABORT, 'disk full'); END"

    def fill(what: str, *_: Any) -> None:
        if what == "create":
            with closing(sqlite3.connect(kept)) as file:
                table = "BEFORE INSERT ON pandas_llm_batches"
                file.execute(f"CREATE TRIGGER full {table} {full}")

    with Between(server, after=fill) as between:
        options = at(between, kept, batch=True)
        with pytest.raises(LLMError, match="disk full"):
            FRAME.llm.complete("${text}", **options)
        with closing(sqlite3.connect(kept)) as file:
            file.execute("DROP TRIGGER full")
        assert FRAME.llm.complete("${text}", **options).notna().all()
    assert len(created(server)) == 1
    assert paid(server) == [1] * ROWS


@pytest.mark.parametrize("model", VENDORS)
@pytest.mark.parametrize("how", ["cut", "502", "html"])
def test_while_the_list_does_not_tell_nothing_is_sent(simulator, kept, how, model):
    server, away = simulator(), [True]

    def after(what: str, request: web.Request, _: int) -> Any:
        lost = what == "create" or (what == "list" and away)
        return LOST[how](request) if lost else None

    with Between(server, after=lambda *got: listing(*got, after)) as between:
        options = at(between, kept, model, max_retries=1)
        for _ in range(2):
            with pytest.raises(MaybeCreatedError, match="may exist"):
                FRAME.llm.submit("${text}", **options)
            assert between.seen["create"] == 1
        away.clear()
        job = FRAME.llm.submit("${text}", **options)
        assert job.result(FRAME).notna().all()
        assert between.seen["create"] == 1
    assert len(created(server, model)) == 1


def listing(what: str, request: web.Request, at: int, after: Any) -> Any:
    """Leave the first look at the list alone: it asks whether there is one."""
    return None if (what, at) == ("list", 1) else after(what, request, at)


@pytest.mark.parametrize("model", VENDORS)
def test_a_loaded_job_finds_its_batch(simulator, kept, model):
    server, away = simulator(), [True]

    def after(what: str, request: web.Request, n: int) -> Any:
        lost = what == "create" or (what == "list" and n > 1 and away)
        return cut(request) if lost else None

    with Between(server, after=after) as between:
        with pytest.raises(MaybeCreatedError):
            FRAME.llm.submit("${text}", **at(between, kept, model, max_retries=0))
        away.clear()
        ((name,),) = rows_of(kept, "SELECT id FROM pandas_llm_batches")
        out = load_with(name, kept, place(between, model))
        assert out.notna().all()
        assert between.seen["create"] == 1


def rows_of(kept: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(kept)) as connection:
        return connection.execute(query).fetchall()


def load_with(name: str, kept: Path, base_url: str) -> Any:
    keys = [f"{vendor}_API_KEY" for vendor in ("OPENAI", "ANTHROPIC", "GEMINI")]
    keys += ["AZURE_OPENAI_API_KEY", "MISTRAL_API_KEY"]
    os.environ.update(dict.fromkeys(keys, "k"))
    try:
        return load(name, cache=kept, base_url=base_url).result(FRAME)
    finally:
        for key in keys:
            del os.environ[key]


STEPS = {
    "openai/sim": ("upload", "create", "poll", "results"),
    "anthropic/sim": ("create", "poll", "results"),
    "google/sim": ("create", "poll"),
    "google/sim files": ("upload", "create", "poll", "results"),
    "azure/sim": ("create", "results"),
    "mistral/sim": ("create", "results"),
}
"""Azure's and Mistral's ways to upload and to ask are OpenAI's."""
QUICK = {("create", "after")}
"""The step that could be paid for twice."""
KILLS = [
    pytest.param(
        (model, step, side),
        marks=()
        if (step, side) in QUICK or model == "openai/sim"
        else pytest.mark.slow,
        id=f"{model} {step} {side}",
    )
    for model, steps in STEPS.items()
    for step in steps
    for side in ("before", "after")
]


@pytest.mark.parametrize("killed", KILLS)
def test_a_process_killed_at_any_step_pays_once(simulator, kept, monkeypatch, killed):
    server, child, armed = simulator(), [], threading.Event()
    model, step, side = killed
    model, _, files = model.partition(" ")
    if files:
        monkeypatch.setattr(GoogleBatches, "inline", 0)

    def kill(request: web.Request) -> web.Response:
        if not armed.is_set():
            armed.set()
            os.kill(child[0].pid, signal.SIGKILL)
        return cut(request)

    with Between(server, **{side: first(step, kill)}) as between:
        script = Path(__file__).parents[1] / "support/batch_kill_process.py"
        command = [sys.executable, str(script), model, place(between, model), str(kept)]
        child.append(subprocess.Popen([*command, str(ROWS), *files.split()]))
        assert child[0].wait(60) == -signal.SIGKILL
        out = FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
        assert out.notna().all()
    assert len(created(server, model)) == 1
    assert paid(server) == [1] * ROWS


def test_another_batch_of_the_moment_is_told_apart_by_its_results(simulator, kept):
    """Anthropic keeps no name: the one that has ended with our requests is ours."""
    server, model = simulator(), VENDORS[1]

    def after(what: str, request: web.Request, _: int) -> Any:
        if what != "create":
            return None
        theirs(server)
        return cut(request)

    with Between(server, after=after) as between:
        ended = None
        try:
            out = FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
        except MaybeCreatedError as error:  # they ran still, both
            ended = error
            out = FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
        assert ended is None or "batches of its time and size" in str(ended)
        assert out.notna().all()
        assert between.seen["create"] == 1
    assert len(created(server, model)) == 2


def theirs(server: Any) -> None:
    """Create a batch of another person's, as large as ours."""
    body = {"model": "sim", "max_tokens": 9, "messages": []}
    asked = [
        {"custom_id": f"theirs-{n}", "params": {**body, "messages": [user(str(n))]}}
        for n in range(ROWS - 1)
    ]
    url = f"{server.base_url}/messages/batches"
    httpx.post(url, content=orjson.dumps({"requests": asked})).raise_for_status()


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def test_two_that_may_be_it_are_an_error_that_names_them(simulator, kept):
    server, model = simulator(batch_latency=60.0), VENDORS[1]

    def after(what: str, request: web.Request, _: int) -> Any:
        if what != "create":
            return None
        theirs(server)
        return cut(request)

    with Between(server, after=after) as between:
        for _ in range(2):
            with pytest.raises(MaybeCreatedError) as caught:
                FRAME.llm.submit("${text}", **at(between, kept, model))
            names = [batch["id"] for batch in created(server, model)]
            assert len(names) == 2
            assert all(name in str(caught.value) for name in names)
        assert between.seen["create"] == 1


def test_a_batch_that_turns_out_anothers_costs_no_row(simulator, kept):
    server, model = simulator(batch_latency=0.3), VENDORS[1]

    def before(what: str, request: web.Request, at: int) -> Any:
        if (what, at) != ("create", 1):
            return None
        theirs(server)
        return cut(request)

    with Between(server, before) as between:
        options = at(between, kept, model, batch=True, error_column="why")
        with pytest.warns(UserWarning, match="failed"):
            out = FRAME.llm.complete("${text}", **options)
        assert out["why"].dropna().str.contains("another's batch").all()
        assert FRAME.llm.complete("${text}", **options)["completion"].notna().all()
        assert between.seen["create"] == 2  # one of them never arrived
    assert len(created(server, model)) == 2


def test_older_pages_of_the_list_are_read(simulator, kept):
    server = simulator()

    def after(what: str, request: web.Request, n: int) -> Any:
        if (what, n) != ("create", 1):
            return None
        line = {"custom_id": "x", "method": "POST", "url": "/v1/chat/completions"}
        content = orjson.dumps({**line, "body": {"model": "sim", "messages": []}})
        with httpx.Client(base_url=server.base_url) as client:
            name = client.post(
                "/files",
                data={"purpose": "batch"},
                files={"file": ("other.jsonl", content)},
            ).json()["id"]
            for _ in range(120):
                more = {"input_file_id": name, "completion_window": "24h"}
                body = {**more, "endpoint": "/v1/chat/completions"}
                client.post("/batches", content=orjson.dumps(body))
        return cut(request)

    with Between(server, after=after) as between:
        job = FRAME.iloc[:2].llm.submit("${text}", **at(between, kept))
        assert between.seen["create"] == 1
        ((written,),) = rows_of(kept, "SELECT state FROM pandas_llm_batches")
        part = orjson.loads(written)["parts"][0]
        newest = {batch["id"]: batch for batch in created(server)}
        assert part["id"] not in newest
        assert job.status().total == 1


@pytest.mark.parametrize("model", VENDORS)
def test_eight_threads_with_one_file_create_one_batch(
    simulator, kept, model, monkeypatch
):
    monkeypatch.setattr(recovery, "_SETTLES", 10.0)
    server = simulator(batch_latency=0.1)
    FRAME.iloc[:1].llm.complete("${text}", **at(server, kept, model))  # settles it

    def call(_: int) -> Any:
        return FRAME.llm.complete("${text}", **at(server, kept, model, batch=True))

    with ThreadPoolExecutor(8) as pool:
        outs = list(pool.map(call, range(8)))
    assert all(out.notna().all() for out in outs)
    assert len(created(server, model)) == 1
    assert paid(server) == [1] * ROWS


def test_rows_of_another_job_are_waited_for_and_not_sent(simulator, kept, monkeypatch):
    """Frames that overlap, one job loaded elsewhere, and the first fetched last."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    server = simulator(batch_latency=0.1)
    options = at(server, kept)
    first = FRAME[:4].llm.submit("${text}", **options)
    second = FRAME[2:].llm.submit("${text}", **options)
    within = FRAME[1:3].llm.submit("${text}", **options)
    assert (second.status().total, within.status().total) == (2, 0)
    for job, rows in (
        (load(within.id, kept, base_url=server.base_url), FRAME[1:3]),
        (second, FRAME[2:]),
    ):
        out = job.result(rows)
        assert out.notna().all()
        assert job.status().ended
    assert out.llm.usage.requests == 2
    assert first.result(FRAME[:4]).llm.usage.requests == 4
    assert paid(server) == [1] * ROWS


@pytest.mark.slow
def test_two_processes_create_one_batch_however_long_it_takes(simulator, kept):
    server, second = simulator(), asyncio.Event()

    async def slow(what: str, _: web.Request, at: int) -> None:
        if what == "create" and at > 1:
            second.set()
        elif what == "create":  # long enough for another to think that it was lost
            two.append(subprocess.Popen(command))
            with suppress(TimeoutError):
                await asyncio.wait_for(second.wait(), 5.0)

    code = (
        "import sys; from batch_between import FRAME, at; "
        "from pandas_llm.batch import recovery; recovery._SETTLES = 0.05; "
        "server = type('Server', (), {'base_url': sys.argv[1]}); "
        "out = FRAME.llm.complete('${text}', **at(server, sys.argv[2], batch=True)); "
        "assert out.notna().all()"
    )
    with Between(server, slow) as between:
        support = str(Path(__file__).parents[1] / "support")
        paths = os.pathsep.join([support, *filter(None, sys.path)])
        command = ["env", f"PYTHONPATH={paths}", sys.executable, "-c", code]
        command += [between.base_url, str(kept)]
        two: list[subprocess.Popen] = []
        assert subprocess.run(command, check=False, timeout=60).returncode == 0
        assert two[0].wait(60) == 0
    assert len(created(server)) == 1
    assert paid(server) == [1] * ROWS


def test_a_part_that_was_not_sent_is_sent_by_the_same_call(
    simulator, kept, monkeypatch
):
    monkeypatch.setattr(OpenAIBatches, "most_requests", 2)
    server = simulator(batch_latency=1.0)
    refuse = lambda _: web.json_response({"error": {"message": "No."}}, status=400)  # noqa: E731
    before = lambda what, r, n: refuse(r) if (what, n) == ("create", 2) else None  # noqa: E731
    with Between(server, before) as between:
        with pytest.raises(Exception, match="400"):
            FRAME.llm.submit("${text}", **at(between, kept))
        job = FRAME.llm.submit("${text}", **at(between, kept))
        assert job.result(FRAME).notna().all()
    assert len(created(server)) == 3
    assert paid(server) == [1] * ROWS


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=() if model == "openai/sim" else pytest.mark.slow)
        for model in VENDORS
    ],
)
def test_ctrl_c_while_a_batch_is_asked_for_says_what_may_exist(simulator, kept, model):
    server, child = simulator(), []

    async def interrupt(_: web.Request) -> web.Response:
        child[0].send_signal(signal.SIGINT)
        await asyncio.Event().wait()
        raise AssertionError

    with Between(server, after=first("create", interrupt)) as between:
        script = Path(__file__).parents[1] / "support/batch_kill_process.py"
        command = [sys.executable, str(script), model, place(between, model), str(kept)]
        child.append(
            subprocess.Popen([*command, str(ROWS)], stderr=subprocess.PIPE, text=True)
        )
        told = child[0].communicate(timeout=60)[1]
        assert "KeyboardInterrupt" in told
        ahead = 0 if model.startswith("azure") else 1
        assert f"A batch of {ROWS - ahead} requests may exist" in told
        assert "The same call looks for it" in told
        assert place(between, model) in told
        out = FRAME.llm.complete("${text}", **at(between, kept, model, batch=True))
        assert out.notna().all()
        assert between.seen["create"] == 1
    assert len(created(server, model)) == 1

"""Running the job from ordinary code: without a loop, inside one, in many threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pandas as pd
import pytest

import pandas_llm
from pandas_llm import options
from pandas_llm._run import blocking
from pandas_llm.errors import LoopError

pytestmark = pytest.mark.filterwarnings("ignore:this call blocks:RuntimeWarning")

ROOT = Path(pandas_llm.__file__).parents[1]
SCRIPT = Path(__file__).parents[1] / "support/nested_script.py"
TEMPLATE = "Give one fact.\ntext: ${text}"
LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]


def running(kind: str):
    """Return `asyncio.run`, or uvloop's."""
    return asyncio.run if kind == "asyncio" else pytest.importorskip("uvloop").run


def facts(rows: int, of: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"Fact {i} of call {of}." for i in range(rows)]})


def in_a_loop(function, *arguments, kind: str = "asyncio", **named):
    """Call a function that is not async from code that a loop runs."""

    async def main():
        return function(*arguments, **named)

    return running(kind)(main())


def call(kind: str | None, function, *arguments, **named):
    """Call a function in such a loop, or where none runs."""
    if kind is None:
        return function(*arguments, **named)
    return in_a_loop(function, *arguments, kind=kind, **named)


async def where() -> tuple[int, asyncio.AbstractEventLoop]:
    await asyncio.sleep(0)
    return threading.get_ident(), asyncio.get_running_loop()


def script(what: str, url: str, *switches: str) -> None:
    """Run one function of nested_script.py in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "default", SCRIPT, what, url, *switches],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    for trouble in ("ResourceWarning", "Unclosed", "never awaited", "was destroyed"):
        assert trouble not in done.stderr, done.stderr


# -- where the job runs -----------------------------------------------------------


@pytest.mark.timeout(0)  # the time limit of a test is a handler of signals
def test_without_a_running_loop_the_job_runs_in_the_callers_thread():
    assert blocking.run(where)[0] == threading.get_ident()
    assert blocking.run(where, loop="nested")[0] == threading.get_ident()


@pytest.mark.parametrize("kind", LOOPS)
def test_inside_a_running_loop_it_runs_in_a_thread_that_is_gone_afterwards(
    kind, simulator, on
):
    server = simulator()
    before = set(threading.enumerate())
    thread, loop = in_a_loop(blocking.run, where, kind=kind)
    assert thread != threading.get_ident()
    assert loop.is_closed()
    in_a_loop(facts(3).llm.generate, TEMPLATE, ["fact"], kind=kind, **on(server))
    assert set(threading.enumerate()) == before


def test_so_it_does_where_that_is_asked_for_or_signals_are_handled():
    assert blocking.run(where, loop="thread")[0] != threading.get_ident()
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert blocking.run(where)[0] != threading.get_ident()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("way", ["auto", "thread", "nested"])
def test_the_event_loop_that_the_thread_has_set_is_left_alone(way):
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    try:
        blocking.run(where, loop=way)
        assert asyncio.get_event_loop() is mine
        assert not mine.is_closed()
    finally:
        asyncio.set_event_loop(None)
        mine.close()


def test_uvloop_is_used_where_it_is_installed_and_asyncio_elsewhere(monkeypatch):
    uvloop = pytest.importorskip("uvloop")
    assert isinstance(blocking.run(where)[1], uvloop.Loop)
    stdin = os.dup(0)
    os.close(0)  # as of a daemon: libuv aborts when it closes a socket in its place
    try:
        assert isinstance(blocking.run(where)[1], asyncio.BaseEventLoop)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(blocking.run(where)[1], asyncio.BaseEventLoop)


def test_the_same_frame_comes_out_of_every_way(simulator, on):
    server, docs = simulator(), facts(40)
    options = on(server, concurrency=8)
    expected = docs.llm.generate(TEMPLATE, ["fact"], **options)
    assert expected["fact"].notna().all()
    for kind in LOOPS:
        got = in_a_loop(
            docs.llm.generate, TEMPLATE, ["fact"], loop="auto", kind=kind, **options
        )
        pd.testing.assert_frame_equal(got, expected)
        got = running(kind)(docs.llm.agenerate(TEMPLATE, ["fact"], **options))
        pd.testing.assert_frame_equal(got, expected)
    got = docs.llm.generate(TEMPLATE, ["fact"], loop="thread", **options)
    pd.testing.assert_frame_equal(got, expected)


# -- what goes in and comes out ---------------------------------------------------

_said = contextvars.ContextVar("said", default="nothing")


async def _what_is_said() -> str:
    return _said.get()


def test_the_job_sees_the_callers_context_variables():
    token = _said.set("hello")
    try:
        assert blocking.run(_what_is_said) == "hello"
        assert blocking.run(_what_is_said, loop="thread") == "hello"
        assert in_a_loop(blocking.run, _what_is_said) == "hello"
    finally:
        _said.reset(token)


class OddError(Exception):
    """An error with something large in its frames."""


class Large:
    """Something to hold a weak reference to."""


def _failing(made: list):
    async def job_that_fails() -> None:
        large = Large()
        made.append(weakref.ref(large))
        await asyncio.sleep(0)
        raise OddError("as it was")

    return job_that_fails


@pytest.mark.parametrize("looped", [False, True])
def test_an_exception_keeps_its_type_and_its_trace_and_leaves_nothing(looped):
    made = []
    call = in_a_loop if looped else lambda run, job: run(job)
    try:
        call(blocking.run, _failing(made))
    except OddError as error:
        text = str(error)
        names = [f.name for f in traceback.extract_tb(error.__traceback__)]
    assert text == "as it was"
    assert names[0] == sys._getframe().f_code.co_name
    assert names[-1] == "job_that_fails"
    gc.collect()
    assert made[0]() is None, "something keeps the frames of the job alive"


def test_a_job_that_lacks_threads_itself_is_not_run_twice():
    calls = []

    async def job() -> None:
        calls.append(1)
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="new thread"):
        in_a_loop(blocking.run, job)
    assert calls == [1]


@pytest.mark.parametrize("kind", [None, "asyncio"])
@pytest.mark.parametrize("source", ["bar", "signal"])
def test_what_interrupts_the_caller_ends_the_job(source, kind):
    """A time limit by a signal, as in pytest-timeout, Airflow and Celery."""
    ended = []

    async def job() -> None:
        try:
            if source == "signal":
                signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    def odd(*_) -> None:
        raise OddError

    before = signal.signal(signal.SIGTERM, odd)
    tick = {"tick": odd} if source == "bar" else {}
    try:
        with pytest.raises(OddError):
            call(kind, blocking.run, job, **tick)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == [1]


@pytest.mark.usefixtures("short_waits")
def test_sessions_are_closed_and_no_task_is_left(simulator, on):
    server = simulator(faults={"500": 0.2})

    async def main() -> set:
        facts(20).llm.generate(TEMPLATE, ["fact"], **on(server))
        await facts(20).llm.agenerate(TEMPLATE, ["fact"], **on(server))
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()
    facts(20).llm.generate(TEMPLATE, ["fact"], **on(server))
    gc.collect()
    sessions = [o for o in gc.get_objects() if type(o) is aiohttp.ClientSession]
    assert all(session.closed for session in sessions)


@pytest.mark.parametrize("awaited", [False, True])
def test_a_session_of_another_loop_is_refused_before_anything_is_sent(
    awaited, simulator, on
):
    server, loop = simulator(), asyncio.new_event_loop()

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = loop.run_until_complete(make())
    llm = facts(1).llm
    call = (lambda *a, **k: asyncio.run(llm.agenerate(*a, **k))) if awaited else None
    with pytest.raises(pandas_llm.ConfigurationError, match="another event loop"):
        (call or llm.generate)(TEMPLATE, ["fact"], **on(server, session=session))
    loop.run_until_complete(session.close())
    loop.close()
    assert server.stats()["requests"] == 0


def test_a_netrc_with_the_servers_name_neither_fails_the_run_nor_is_read(
    simulator, on, monkeypatch, tmp_path
):
    """aiohttp's trust_env refuses a key beside it, and reads it for each request."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = simulator(api_key="k")
    out = facts(2).llm.generate(TEMPLATE, ["fact"], **on(server, api_key="k"))
    assert out["fact"].notna().all()


def test_the_environments_proxy_is_used_and_its_exceptions_are_kept(
    simulator, on, monkeypatch
):
    server, proxy = simulator(), simulator()
    docs = facts(1)
    monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
    docs.llm.generate(TEMPLATE, ["fact"], **on(server))
    assert (server.stats()["requests"], proxy.stats()["requests"]) == (0, 1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    docs.llm.generate(TEMPLATE, ["fact"], **on(server))
    assert (server.stats()["requests"], proxy.stats()["requests"]) == (1, 1)


# -- many at once -----------------------------------------------------------------


@pytest.mark.parametrize("kind", LOOPS)
def test_fifty_tasks_of_one_loop_run_side_by_side(kind, simulator, on):
    server = simulator(latency=0.1)

    async def one(number: int) -> pd.DataFrame:
        docs = facts(number % 4 + 1, number)
        out = await docs.llm.agenerate(TEMPLATE, ["fact"], **on(server))
        assert list(out["text"]) == list(docs["text"])
        assert out["fact"].str.contains(f"of call {number}.", regex=False).all()
        return out

    async def main() -> list[pd.DataFrame]:
        return await asyncio.gather(*map(one, range(50)))

    frames = running(kind)(main())
    assert server.stats()["requests"] == sum(map(len, frames))
    assert server.stats()["max_in_flight"] >= 20


def test_sixteen_threads_run_side_by_side(simulator, on):
    server = simulator(latency=0.1)

    def one(number: int) -> pd.DataFrame:
        docs = facts(5, number)
        out = docs.llm.generate(TEMPLATE, ["fact"], **on(server))
        assert out["fact"].str.contains(f"of call {number}.", regex=False).all()
        assert pandas_llm.last_usage().requests == 5
        return out

    with ThreadPoolExecutor(16) as pool:
        frames = list(pool.map(one, range(16)))
    assert server.stats()["requests"] == sum(map(len, frames)) == 80


def test_option_context_reaches_a_call_made_in_a_loop(simulator, on):
    server = simulator()
    with options.option_context(**on(server)):
        out = in_a_loop(facts(2).llm.generate, TEMPLATE, ["fact"])
    assert len(out) == server.stats()["requests"] == 2


# -- cancelling a task --------------------------------------------------------------


@pytest.mark.parametrize("kind", LOOPS)
def test_a_cancelled_agenerate_stops_and_keeps_what_was_done(kind, simulator, on):
    server = simulator(latency=0.1)

    async def main():
        call = facts(5_000).llm.agenerate(
            TEMPLATE, ["fact"], **on(server, concurrency=20)
        )
        task = asyncio.create_task(call)
        while server.stats()["answered"] < 40:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return raised.value

    error = running(kind)(main())
    assert len(error.partial) == 5_000
    assert error.partial["fact"].notna().sum() >= 10
    assert "rows were done" in error.__notes__[0]
    sent = server.stats()["requests"]
    until = time.monotonic() + 30
    while server.stats()["in_flight"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    # those that had left may have arrived since
    assert server.stats()["requests"] <= sent + 20 < 200


def test_a_time_out_around_agenerate_has_what_was_done_as_its_cause(simulator, on):
    server = simulator(latency=0.05)

    async def main():
        call = facts(5_000).llm.agenerate
        async with asyncio.timeout(1.0):
            await call(TEMPLATE, ["fact"], **on(server, concurrency=10))

    with pytest.raises(TimeoutError) as raised:
        asyncio.run(main())
    assert raised.value.__cause__.partial["fact"].notna().any()


def test_a_call_in_a_cancelled_task_may_still_clean_up(simulator, on):
    """Only a cancellation that comes during the call ends it."""
    server = simulator()

    async def main():
        try:
            await asyncio.sleep(60)
        finally:
            main.out = facts(2).llm.generate(TEMPLATE, ["fact"], **on(server))

    async def cancelling():
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelling())
    assert main_out_is_whole(main)


def main_out_is_whole(main) -> bool:
    return bool(main.out["fact"].notna().all())


def test_agenerate_outside_of_a_task_says_why_it_cannot_run(simulator, on):
    server = simulator()

    async def main():
        call = facts(1).llm.agenerate(TEMPLATE, ["fact"], **on(server))
        failure = asyncio.get_running_loop().create_future()

        def step() -> None:
            try:
                call.send(None)
            except RuntimeError as error:
                failure.set_result(error)

        asyncio.get_running_loop().call_soon(step)
        return str(await failure)

    assert "nest-asyncio2" in asyncio.run(main())
    with pytest.raises(LoopError, match="trio"):  # where no loop of asyncio runs
        facts(1).llm.agenerate(TEMPLATE, ["fact"], **on(server)).send(None)


# -- the advice ---------------------------------------------------------------------


@pytest.mark.filterwarnings("default:this call blocks:RuntimeWarning")
@pytest.mark.parametrize("way", ["method", "function"])
def test_blocking_a_loop_is_warned_of_once_at_the_users_line(way, simulator, on):
    options, docs = on(simulator()), facts(1)

    async def main() -> int:
        for _ in range(2):
            if way == "method":
                docs.llm.generate(TEMPLATE, ["fact"], **options)
            else:
                pandas_llm.generate(docs, TEMPLATE, ["fact"], **options)
        return sys._getframe().f_code.co_firstlineno

    with pytest.warns(RuntimeWarning, match="agenerate") as caught:
        first = asyncio.run(main())
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert caught[0].lineno == first + (3 if way == "method" else 5)


@pytest.mark.filterwarnings("error:this call blocks:RuntimeWarning")
def test_no_advice_where_nothing_is_blocked(simulator, on):
    options, docs = on(simulator()), facts(1)
    docs.llm.generate(TEMPLATE, ["fact"], **options)
    docs.llm.generate(TEMPLATE, ["fact"], **options, loop="thread")
    asyncio.run(docs.llm.agenerate(TEMPLATE, ["fact"], **options))


# -- nest_asyncio -------------------------------------------------------------------


def test_the_ordinary_ways_neither_patch_asyncio_nor_import_nest_asyncio(simulator):
    script("unpatched", simulator().base_url)


def test_nested_on_uvloop_names_agenerate_and_patches_nothing(simulator, on):
    server, task = simulator(), asyncio.Task
    with pytest.raises(RuntimeError, match=r"uvloop.*await df.llm.agenerate"):
        in_a_loop(
            facts(1).llm.generate,
            TEMPLATE,
            ["fact"],
            kind=LOOPS[-1],
            loop="nested",
            **on(server),
        )
    assert asyncio.Task is task
    assert server.stats()["requests"] == 0


NESTS = [
    pytest.param(("only_nest_asyncio",), id="nest_asyncio"),
    pytest.param((), id="nest_asyncio2"),
]
if sys.version_info >= (3, 14):
    NESTS = NESTS[1:]


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("what", ["tied_to_the_loop", "patched", "no_thread"])
def test_nested_serves_what_is_tied_to_the_callers_loop(what, nest, simulator):
    script(what, simulator().base_url, *nest)


@pytest.mark.parametrize("nest", NESTS)
def test_a_session_serves_an_estimate_and_a_batch_as_it_serves_a_verb(nest, simulator):
    script("every_call_with_a_session", simulator().base_url, *nest)


@pytest.mark.parametrize("kind", LOOPS)
def test_an_estimate_and_a_batch_work_inside_a_running_loop(
    kind, simulator, on, tmp_path
):
    """Without a session, in a thread; and awaited, in the loop itself."""
    server, docs = simulator(), facts(6)
    options = on(server, cache=tmp_path / "replies.sqlite")

    async def main() -> list[pd.DataFrame]:
        told = docs.llm.estimate(TEMPLATE, ["fact"], pilot=2, **options)
        assert (told.pilot, told.cached) == (2, 2)
        job = docs.llm.submit(TEMPLATE, ["fact"], **options)
        assert job.status().total == 4
        awaited = await docs.llm.agenerate(TEMPLATE, ["fact"], **options, batch=True)
        return [job.result(docs), await job.aresult(docs), awaited]

    first, *others = running(kind)(main())
    assert first["fact"].notna().all()
    for other in others:
        pd.testing.assert_frame_equal(other, first)


def test_a_patched_process_without_uvloop_works_as_well(simulator):
    switches = ["only_nest_asyncio"] if sys.version_info < (3, 14) else []
    script("patched", simulator().base_url, "without_uvloop", *switches)


def test_without_a_thread_and_without_a_loop_the_callers_thread_is_used(simulator):
    script("no_thread_without_loop", simulator().base_url)


@pytest.mark.parametrize("why", ["python 3.14", "ipykernel 7"])
def test_nest_asyncio_1_is_refused_where_it_does_harm(why, monkeypatch):
    monkeypatch.setitem(sys.modules, "nest_asyncio2", None)
    if why == "python 3.14":
        monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    else:
        kernel = type(sys)("ipykernel")
        kernel.version_info = (7, 4, 0)
        monkeypatch.setitem(sys.modules, "ipykernel", kernel)
    task = asyncio.Task
    with pytest.raises(RuntimeError, match="pip install nest-asyncio2"):
        in_a_loop(blocking.run, where, loop="nested")
    assert asyncio.Task is task

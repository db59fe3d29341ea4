"""Equal requests of runs side by side: one pays, the others have its reply."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pandas as pd
import pytest
from loopback_server import Server, completion, failure

import pandas_llm  # noqa: F401 - registers the accessors

TEXTS = pd.Series([f"Row {i}" for i in range(40)])


def options(server, tmp_path, **more):
    told = {"base_url": server.base_url, "model": "m", "api_key": server.base_url}
    return told | {"progress": False, "cache": tmp_path / "kept.sqlite", **more}


def ask(server, tmp_path, texts=TEXTS, **more):
    return texts.llm.complete("${value}", **options(server, tmp_path, **more))


def prompts(server):
    return [body["messages"][-1]["content"] for body in server.bodies]


@pytest.mark.parametrize("wait", [0.0, 0.02])
def test_eight_threads_with_the_same_new_rows_pay_once(tmp_path, wait):
    ready = threading.Barrier(8)

    async def answer(body):
        await asyncio.sleep(wait)
        return completion(f"to {body['messages'][-1]['content']}")

    def work(_):
        ready.wait()
        return ask(server, tmp_path)

    with Server(answer) as server, ThreadPoolExecutor(8) as pool:
        outs = list(pool.map(work, range(8)))
    assert sorted(prompts(server)) == sorted(TEXTS)
    usages = [out.llm.usage for out in outs]
    assert sum(usage.requests for usage in usages) == 40
    assert sum(usage.cached for usage in usages) == 7 * 40
    for out in outs:
        assert out.tolist() == [f"to {text}" for text in TEXTS]


class Held:
    """A server whose first answer comes when it is told to."""

    def __init__(self, first) -> None:
        self.arrived, self.go = threading.Event(), threading.Event()
        self.first = first

    async def __call__(self, body):
        if not self.arrived.is_set():
            self.arrived.set()
            while not self.go.is_set():
                await asyncio.sleep(0.005)
            return self.first
        return completion("second")

    def follow(self, pool, server, tmp_path, **more):
        """Start a run that asks the same, and return when it waits for the other."""
        waits = threading.Event()

        def told(progress):
            if "another run" in progress.waiting:
                waits.set()

        run = pool.submit(
            ask, server, tmp_path, TEXTS[:1], **{"progress": told, **more}
        )
        assert waits.wait(20)
        return run


def test_a_run_that_is_cancelled_hands_the_request_on(tmp_path):
    answer = Held(completion("first"))

    async def main(server, pool):
        loop = asyncio.get_running_loop()
        given = options(server, tmp_path)
        leader = loop.create_task(TEXTS[:1].llm.acomplete("${value}", **given))
        await asyncio.to_thread(answer.arrived.wait, 20)
        run = await asyncio.to_thread(answer.follow, pool, server, tmp_path)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        return await asyncio.to_thread(run.result, 20)

    with Server(answer) as server, ThreadPoolExecutor(2) as pool:
        out = asyncio.run(main(server, pool))
        answer.go.set()
    assert out.tolist() == ["second"]
    assert len(server.bodies) == 2
    assert out.llm.usage.requests == 1


def test_a_row_that_fails_for_one_run_is_asked_by_the_next(tmp_path):
    answer = Held(failure(400, "not this one"))
    with Server(answer) as server, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(ask, server, tmp_path, TEXTS[:1])
        assert answer.arrived.wait(20)
        run = answer.follow(pool, server, tmp_path)
        answer.go.set()
        assert run.result(20).tolist() == ["second"]
        leader.exception(20)
    assert prompts(server) == ["Row 0"] * 2


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_one_that_waits_for_another_run_ends_at_its_own_deadline(tmp_path):
    answer = Held(completion("first"))
    with Server(answer) as server, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(ask, server, tmp_path, TEXTS[:1])
        assert answer.arrived.wait(20)
        run = answer.follow(pool, server, tmp_path, deadline=1.5)
        try:
            out = run.result(20)
        finally:
            answer.go.set()
        assert out.isna().all()
        assert leader.result(20).tolist() == ["first"]  # nobody was there to tell
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "more", [{"refresh": True}, {"dedupe": False}, {"cache": False}, {"session": True}]
)
def test_who_asks_for_an_answer_of_its_own_gets_one(tmp_path, more):
    """The second run asks while the first has no answer yet."""
    both = asyncio.Event()

    async def answer(_):
        if len(server.bodies) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 20)
        return completion("yes")

    async def main():
        async with aiohttp.ClientSession() as session:
            given = more | ({"session": session} if "session" in more else {})
            told = options(server, tmp_path, **given)
            one = TEXTS[:1].llm.acomplete("${value}", **told)
            other = TEXTS[:1].llm.acomplete("${value}", **told)
            return await asyncio.gather(one, other)

    with Server(answer) as server:
        outs = asyncio.run(main())
    assert [out.tolist() for out in outs] == [["yes"], ["yes"]]
    assert len(server.bodies) == 2

"""The pool: slots, order of work, stopping."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandas_llm._client import Events, Setup, Tally, offline_client
from pandas_llm._pacing.slots import Slots
from pandas_llm._replies import Completion
from pandas_llm.options import Settings
from pandas_llm.types import Choice, Endpoint, Reply, Spec, Tokens


@given(
    st.lists(
        st.one_of(st.just("take"), st.just("give"), st.integers(1, 6)), max_size=60
    )
)
def test_slots_are_never_more_than_the_limit(steps):
    async def run():
        slots = Slots(3)
        holders, waiting, limit = 0, [], 3
        for step in steps:
            if step == "take":
                waiting.append(asyncio.ensure_future(slots.acquire()))
            elif step == "give" and holders:
                slots.release()
                holders -= 1
            elif isinstance(step, int):
                slots.resize(step)
                limit = step
            before = holders
            await asyncio.sleep(0)
            taken = [task for task in waiting if task.done()]
            waiting = [task for task in waiting if not task.done()]
            holders += len(taken)
            assert holders <= max(limit, before)
            assert not waiting or holders >= limit
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert slots.used == holders

    asyncio.run(run())


def test_a_slot_given_to_a_cancelled_task_is_not_lost():
    async def run():
        slots = Slots(1)
        await slots.acquire()
        task = asyncio.ensure_future(slots.acquire())
        await asyncio.sleep(0)
        slots.release()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert slots.used == 0

    asyncio.run(run())


def test_a_resting_task_leaves_its_slot_and_comes_back_before_new_ones():
    async def run():
        slots, order = Slots(1), []

        async def row(name, seconds):
            slots.holders.add(asyncio.current_task())
            await slots.acquire()
            order.append(name)
            if seconds:
                await slots.rest(asyncio.sleep(seconds), "rate_limit")
                order.append(f"{name} again")
            else:
                await asyncio.sleep(0.02)
            slots.release()

        first = asyncio.ensure_future(row("first", 0.03))
        await asyncio.sleep(0)
        assert slots.resting == {"rate_limit": 1}
        others = [asyncio.ensure_future(row(n, 0)) for n in range(5)]
        await asyncio.gather(first, *others)
        assert order == ["first", 0, 1, "first again", 2, 3, 4]
        assert slots.used == 0
        assert not slots.resting.total()

    asyncio.run(run())


@given(
    rests=st.lists(st.floats(0, 0.003), min_size=1, max_size=12),
    cancelled=st.sets(st.integers(0, 11)),
    limit=st.integers(1, 3),
)
@settings(max_examples=40)
def test_no_slot_is_lost_when_resting_tasks_are_cancelled(rests, cancelled, limit):
    async def run():
        slots = Slots(limit)

        async def row(seconds):
            slots.holders.add(asyncio.current_task())
            await slots.acquire()
            try:
                assert slots.used <= slots.limit
                await slots.rest(asyncio.sleep(seconds), "server")
            finally:
                slots.release()

        rows = [asyncio.ensure_future(row(seconds)) for seconds in rests]
        await asyncio.sleep(0.001)
        for n in cancelled & set(range(len(rows))):
            rows[n].cancel()
        await asyncio.gather(*rows, return_exceptions=True)
        assert slots.used == 0
        assert not slots.resting.total()

    asyncio.run(run())


def test_several_choices_of_a_reply_are_not_taken_for_one_long_one():
    endpoint = Endpoint("openai", "http://h/v1", "m", None)
    setup = Setup(Spec("m"), Completion("text"), Settings(), None)
    pace = offline_client(endpoint, setup).pace
    tally = Tally(Events(), weight=100.0, ticket=pace.limiter.reserve(100.0))
    pace.sent(tally)
    reply = Reply((Choice("yes"),) * 4, Tokens(100, 400))
    pace.answered(tally, reply, None)
    _, into, out = pace.calibration.amounts(100.0, None, 4)
    assert (into, out) == (100.0, pytest.approx(1.95 * 400))

"""The pool: slots, order of work, stopping."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pandas_llm.slots import Slots


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
        assert slots.free == 1

    asyncio.run(run())

"""Many exchanges with one bound of time and one timer."""

import asyncio
import time

import pytest

from pandas_llm._http.timeouts import Timeouts


async def exchange(timeouts, until):
    with timeouts:
        await until.wait()
    return "answered"


def test_the_late_one_ends_and_its_neighbours_go_on():
    async def run():
        now, timeouts, answered = 0.0, Timeouts(1.0), asyncio.Event()
        asyncio.get_running_loop().time = lambda: now
        never = asyncio.create_task(exchange(timeouts, asyncio.Event()))
        await asyncio.sleep(0)
        now = 0.5
        later = asyncio.create_task(exchange(timeouts, answered))
        await asyncio.sleep(0)
        now = 1.0
        with pytest.raises(TimeoutError):
            await never
        answered.set()
        return await later

    assert asyncio.run(run()) == "answered"


def test_each_has_the_whole_time():
    async def run():
        timeouts, seconds = Timeouts(0.1), []

        async def timed(wait):
            await asyncio.sleep(wait)
            begun = time.monotonic()
            with pytest.raises(TimeoutError):
                await exchange(timeouts, asyncio.Event())
            seconds.append(time.monotonic() - begun)

        await asyncio.gather(*map(timed, (0, 0.03, 0.06, 0.06, 0.25)))
        return seconds

    assert min(asyncio.run(run())) >= 0.099


def test_a_task_may_be_late_twice():
    async def run():
        timeouts = Timeouts(0.05)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await exchange(timeouts, asyncio.Event())
        return asyncio.current_task().cancelling()

    assert asyncio.run(run()) == 0


@pytest.mark.parametrize("turns", range(6))
def test_a_task_that_is_cancelled_in_any_turn_is_cancelled(turns):
    async def run():
        timeouts = Timeouts(0.0)
        task = asyncio.create_task(exchange(timeouts, asyncio.Event()))
        for _ in range(turns):
            await asyncio.sleep(0)
        taken = task.cancel()  # before, while and after its time is over
        with pytest.raises(asyncio.CancelledError if taken else TimeoutError):
            await task
        assert not task.cancelled() or taken
        timeouts.close()
        return taken

    assert asyncio.run(run()) or turns


def test_an_error_of_an_exchange_is_its_own():
    async def run():
        timeouts = Timeouts(60.0)
        with pytest.raises(KeyError), timeouts:
            raise KeyError
        with timeouts:
            pass
        timeouts.close()

    asyncio.run(run())

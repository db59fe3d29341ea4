"""How far the feed reads ahead of the workers."""

import asyncio

from pandas_llm._client import Events, Setup, offline_client
from pandas_llm._engine import Feed, Outcomes
from pandas_llm._replies import Completion
from pandas_llm.options import Settings
from pandas_llm.types import Endpoint, Request, Spec


def test_rows_that_wait_for_the_first_are_a_few_of_a_million():
    settings = Settings(cache=False)
    spec, made = Spec("m"), 0
    endpoint = Endpoint("openai", "http://127.0.0.1:1/v1", "m", "k")
    client = offline_client(endpoint, Setup(spec, Completion("text"), settings, None))

    def requests(_):
        nonlocal made
        for at in range(1_000_000):
            made += 1
            yield at, Request(spec, f"same beginning {at}", shared=(15,))

    async def ask():
        feed = Feed(
            requests,
            client,
            Events(),
            Outcomes(range(1_000_000), 1),
            settings,
            order=range(1_000_000),
            alike=True,
        )
        ((first,),) = [await feed.next()]
        assert first.position == 0
        assert await feed.next() is None  # all that was read waits for the first
        assert feed.waits
        held = made
        first.heard(True)
        after = [(await feed.next())[0].position for _ in range(2000)]
        return held, after

    held, after = asyncio.run(ask())
    assert held <= 1024
    assert after == list(range(1, 2001))

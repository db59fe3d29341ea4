"""What the bar of a batch says while another process sends."""

from __future__ import annotations

import asyncio

from pandas_llm.batch.state import Journal, State


def test_the_wait_for_another_sender_has_a_reason_until_it_ends(tmp_path):
    path, said = tmp_path / "replies.sqlite", []

    async def both() -> None:
        told = asyncio.Event()

        def tell(word: str) -> None:
            said.append(word)
            told.set()

        async def second() -> None:
            async with Journal(path, State(""), b"", tell=tell).sole_sender():
                said.append("sends")

        async with Journal(path, State(""), b"", tell=said.append).sole_sender():
            waiting = asyncio.create_task(second())
            await told.wait()
        await waiting

    asyncio.run(both())
    assert set(said[:-2]) == {"another process sends batches of this cache file"}
    assert said[-2:] == ["", "sends"]

"""Scripts that patch asyncio, each for a process of its own.

``python nested_script.py WHAT BASE_URL [SWITCH ...]`` calls the switches, then
``WHAT``; a failed assertion ends it with exit code 1.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import aiohttp
import pandas as pd

from pandas_llm import simulator
from pandas_llm._run import blocking
from pandas_llm.errors import AuthenticationError

DOCS = pd.DataFrame({"text": [f"Fact number {i}." for i in range(30)]}, index=range(30))
TEMPLATE = "Give one fact.\ntext: ${text}"


def generate(url: str, **options) -> pd.DataFrame:
    return DOCS.llm.generate(
        TEMPLATE, ["fact"], model="sim", base_url=url, progress=False, **options
    )


def identities() -> list[object]:
    """Everything that nest_asyncio replaces."""
    loop = asyncio.BaseEventLoop
    return [
        *(asyncio.Task, asyncio.Future, asyncio.run, asyncio.tasks.Task),
        *(loop.run_forever, loop.run_until_complete, loop._run_once),
    ]


def only_nest_asyncio() -> None:
    """Make it look as if the fork were not installed."""
    sys.modules["nest_asyncio2"] = None


def without_uvloop() -> None:
    sys.modules["uvloop"] = None


# -- what each script shows -----------------------------------------------------


def unpatched(url: str) -> None:
    """The ordinary ways leave asyncio as it is."""
    before = identities()

    async def main() -> None:
        generate(url)
        await DOCS.llm.agenerate(
            TEMPLATE, ["fact"], model="sim", base_url=url, progress=False
        )

    generate(url)
    asyncio.run(main())
    assert identities() == before
    assert not {"nest_asyncio", "nest_asyncio2"} & set(sys.modules)


def queue(url: str) -> None:
    """A job may use a queue that is bound to the caller's loop."""
    bound: asyncio.Queue[int] = asyncio.Queue(1)

    async def fill() -> None:
        for number in range(5):
            await bound.put(number)

    async def drain() -> list[int]:
        return [await bound.get() for _ in range(5)]

    async def main() -> None:
        filler = asyncio.create_task(fill())
        await asyncio.sleep(0)  # the full queue now waits in this loop
        assert blocking.run(drain, loop="nested") == [0, 1, 2, 3, 4]
        await filler
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def same_loop(url: str) -> None:
    """The endpoint may be served by the loop that the call is made in."""

    async def main() -> None:
        async with simulator.serve() as server:
            out = generate(server.base_url, loop="nested")
            assert out["fact"].notna().all()
            assert server.stats()["answered"] == len(DOCS)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def session(url: str) -> None:
    """The caller's session is used in its own loop, and left open."""
    seen = []

    async def note(session, context, parameters) -> None:
        seen.append(parameters.url)

    async def main() -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(note)
        async with aiohttp.ClientSession(trace_configs=[trace]) as given:
            assert generate(url, session=given)["fact"].notna().all()
            assert not given.closed
            assert len(seen) == len(DOCS)
            async with given.get(f"{url}/models") as response:
                assert response.status == 200

    asyncio.run(main())


def every_call_with_a_session(url: str) -> None:
    """What the verb can do with a session, its estimate and its batch can do too.

    Under asyncio.run, and in a loop that runs on as a notebook's does.
    """

    async def main(place: Path) -> None:
        async with aiohttp.ClientSession() as given:
            options = {"model": "sim", "base_url": url, "progress": False}
            options |= {"session": given, "cache": place}
            told = DOCS.llm.estimate(TEMPLATE, ["fact"], pilot=2, **options)
            assert (told.pilot, told.cached, told.requests) == (2, 2, len(DOCS) - 2)
            job = DOCS.llm.submit(TEMPLATE, ["fact"], **options)
            assert job.status().total == len(DOCS) - 2
            expected = job.result(DOCS)
            assert expected["fact"].notna().all()
            assert (await job.aresult(DOCS)).equals(expected)
            assert generate(url, session=given, cache=place).equals(expected)
            DOCS.llm.submit("Other: ${text}", ["fact"], **options).cancel()
            assert not given.closed

    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder, "one.sqlite")))
        loop.run_until_complete(main(Path(folder, "other.sqlite")))
    loop.close()


def tied_to_the_loop(url: str) -> None:
    """All of the above, in one process for the sake of time."""
    for what in (queue, same_loop, session, fatal):
        what(url)


def patched(url: str) -> None:
    """In a process that somebody has patched, all is as elsewhere."""
    try:
        nest = importlib.import_module("nest_asyncio2")
    except ImportError:
        nest = importlib.import_module("nest_asyncio")
    nest.apply()
    expected = generate(url)
    kinds = []

    async def kind() -> None:
        kinds.append(type(asyncio.current_task()))

    async def main() -> None:
        blocking.run(kind)
        assert generate(url).equals(expected)
        assert generate(url, loop="nested").equals(expected)
        mine = await DOCS.llm.agenerate(
            TEMPLATE, ["fact"], model="sim", base_url=url, progress=False
        )
        assert mine.equals(expected)

    asyncio.run(main())
    import _asyncio

    blocking.run(kind)
    assert kinds == [_asyncio.Task] * 2, "the slow class in our own loop"


def no_thread(url: str) -> None:
    """Where no thread can be started, the running loop is used, with a warning."""
    expected = generate(url)
    warned = []

    async def main() -> pd.DataFrame:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = generate(url)
        warned.extend(str(w.message) for w in caught if w.category is RuntimeWarning)
        return out

    def refuse(self) -> None:
        raise RuntimeError("can't start new thread")

    blocking._warned = True
    threading.Thread.start = refuse
    assert asyncio.run(main()).equals(expected)
    assert warned == ["can't start new thread: going on inside the running loop"]


def no_thread_without_loop(url: str) -> None:
    """loop="thread" without a thread and without a loop: the caller's thread."""

    def refuse(self) -> None:
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert generate(url, loop="thread")["fact"].notna().all()
    assert [str(w.message) for w in caught] == [
        "can't start new thread: going on in this thread"
    ]


def fatal(url: str) -> None:
    """Errors come out of a nested run as they are."""

    async def main() -> None:
        async with simulator.serve(simulator.Settings(api_key="k")) as server:
            partial = None
            try:
                generate(server.base_url, loop="nested")
            except AuthenticationError as error:
                partial = error.partial
            assert len(partial) == len(DOCS)

    asyncio.run(main())


if __name__ == "__main__":
    what, base_url, *switches = sys.argv[1:]
    for switch in switches:
        globals()[switch]()
    globals()[what](base_url)

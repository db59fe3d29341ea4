"""The simulator for ordinary code: in a thread of its own, or until Ctrl-C."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from pandas_llm.simulator.conditions import Knobs, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pandas_llm.simulator.server.app import Server

_T = TypeVar("_T")


class Simulator:
    """A simulated endpoint in a background thread.

    Parameters
    ----------
    settings
        How it behaves.
    host, port
        Where it listens; port 0 takes a free one.
    **knobs
        The fields of `Settings`, over those of ``settings``.

    Examples
    --------
    >>> with Simulator(latency=0.01, faults={"429": 0.1}) as sim:
    ...     sim.stats()["requests"]
    0
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        **knobs: Unpack[Knobs],
    ) -> None:
        for name in knobs.keys() - Knobs.__annotations__.keys():
            known = ", ".join(Knobs.__annotations__)
            raise TypeError(f"Simulator has no {name!r}; there are {known}")
        self._settings = replace(settings or Settings(), **knobs)
        self._host, self._port = host, port
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        """Start the thread and wait until the server listens."""
        if self._running is not None:
            raise RuntimeError("this simulator is already running")
        self._running = _Running(self._settings, self._host, self._port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and wait for its thread."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    @property
    def origin(self) -> str:
        """Scheme, host and port: what clients of other vendors take."""
        return self._now().server.origin

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return self._now().server.base_url

    def stats(self) -> dict[str, Any]:
        """Return the counters since the start or the last reset."""
        return self._now().call(lambda server: server.stats())

    def requests(self) -> list[dict[str, Any]]:
        """Return the last 1000 requests, or 64 MB of them, keys masked."""
        return self._now().call(lambda server: server.requests())

    def reset(self) -> None:
        """Set the counters, the number of the next request among them, to zero."""
        self._now().call(lambda server: server.reset())

    def configure(self, **knobs: Unpack[Knobs]) -> None:
        """Change knobs while the server runs."""
        self._now().call(lambda server: server.configure(**knobs))

    def _now(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the simulator runs only inside its `with` block")
        return self._running


def run_forever(
    host: str = "127.0.0.1",
    port: int = 0,
    settings: Settings | None = None,
    announce: Callable[[str], object] | None = None,
) -> None:
    """Serve in this thread until Ctrl-C.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    settings
        How the server behaves.
    announce
        Called with the base URL once the server listens.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_forever(host, port, settings, announce))


async def _serve_forever(
    host: str,
    port: int,
    settings: Settings | None,
    announce: Callable[[str], object] | None,
) -> None:
    # aiohttp is imported when a server starts, not with the package.
    from pandas_llm.simulator.server.app import serve

    async with serve(settings, host=host, port=port) as server:
        if announce is not None:
            announce(server.base_url)
        await asyncio.get_running_loop().create_future()


class _Running:
    """A server and the thread it lives in."""

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self._started: Future[tuple[Server, asyncio.AbstractEventLoop]] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(settings, host, port),
            name="pandas_llm-simulator",
            daemon=True,
        )
        self._thread.start()
        self.server, self._loop = self._started.result()

    def call(self, function: Callable[[Server], _T]) -> _T:
        """Return the result of a function called in the server's loop."""
        if threading.current_thread() is self._thread:
            return function(self.server)

        async def run() -> _T:
            return function(self.server)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self, settings: Settings, host: str, port: int) -> None:
        try:
            asyncio.run(self._serve(settings, host, port))
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self, settings: Settings, host: str, port: int) -> None:
        # aiohttp is imported when a server starts, not with the package.
        from pandas_llm.simulator.server.app import serve

        async with serve(settings, host=host, port=port) as server:
            self._started.set_result((server, asyncio.get_running_loop()))
            await self._stopping.wait()

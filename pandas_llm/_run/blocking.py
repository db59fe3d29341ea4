"""Run the async job from ordinary code: script, notebook, thread, running loop.

Where no loop runs, one runs in place. Inside a running loop, a short-lived thread runs
the job while the caller waits in slices, so that Ctrl-C works; and so it does where
somebody handles signals: a loop would swallow what a handler raises. ``loop="nested"``
re-enters the running loop instead; it patches asyncio for the whole process and does
not run under uvloop, so it is not the default.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pandas_llm._display import in_notebook
from pandas_llm.errors import LoopError, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pandas_llm.options import Loop, Settings

T = TypeVar("T")
_SLICE = 0.05
_GRACE = 5.0
_warned = False


def _nothing() -> None: ...


async def _ticking(job: Coroutine[Any, Any, T], tick: Callable[[], None]) -> T:
    """Await a job and call `tick` now and then, in the same loop."""
    task = asyncio.ensure_future(job)
    try:
        while not (await asyncio.wait([task], timeout=_SLICE))[0]:
            tick()
    except BaseException:  # a cancellation, or of the caller's own function
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()


async def awaited(
    job: Callable[[], Coroutine[Any, Any, T]], tick: Callable[[], None] = _nothing
) -> T:
    """Await a job in the caller's loop; Ctrl-C cancels it if nobody handles that."""
    if _running_loop() is None:
        raise LoopError(
            "no event loop of asyncio runs here: under trio, call the verb without the "
            "`a` by `await trio.to_thread.run_sync(…)`"
        )
    if asyncio.current_task() is None:
        raise LoopError(
            "there is no current task: nest_asyncio 1.6 has patched asyncio on "
            "Python 3.14; use nest-asyncio2"
        )
    task = asyncio.get_running_loop().create_task(_ticking(job(), tick))
    with _sigint_cancels(task):
        return await task


def run_for(
    settings: Settings,
    job: Callable[[], Coroutine[Any, Any, T]],
    tick: Callable[[], None] = _nothing,
) -> T:
    """Run a coroutine where the options of a call ask for it."""
    # a session belongs to the loop that is running
    loop = "nested" if settings.session is not None else settings.loop
    return run(job, loop=loop, tick=tick)


def run(
    job: Callable[[], Coroutine[Any, Any, T]],
    *,
    loop: Loop = "auto",
    tick: Callable[[], None] = _nothing,
) -> T:
    """Run a coroutine to its end from code that is not async.

    `tick` is called in the caller's thread. A Ctrl-C, or the cancellation of the
    calling task, raises once the job has closed its connections; a second one at once.
    """
    running = _running_loop()
    if running is None:
        threaded = loop == "thread" or _handles_signals()
    elif threaded := loop != "nested":
        _advise()
    if threaded:
        thread = _Thread(job)
        try:
            return thread.run(_checking_cancel(tick))
        except RuntimeError as error:
            if thread.is_started:
                raise
            how = "in this thread" if running is None else "inside the running loop"
            warn(f"{error}: going on {how}", RuntimeWarning)
    if running is not None:
        return _nested(running, job, tick)
    return _in_place(lambda: _ticking(job(), tick))


def _handles_signals() -> bool:
    """Return whether handlers of signals, as of time limits, may raise here."""
    if threading.current_thread() is not threading.main_thread():
        return False
    usual = signal.default_int_handler
    handlers = map(signal.getsignal, signal.valid_signals())
    return any(callable(one) and one is not usual for one in handlers)


def _in_place(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # without a factory, Runner would unset the thread's event loop at its end
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(job())


def new_loop() -> asyncio.AbstractEventLoop:
    """Build a loop: uvloop's when it is installed (16 to 28 % less CPU)."""
    try:
        maker: Any = importlib.import_module("uvloop" if _has_stdio() else "asyncio")
    except ImportError:
        maker = asyncio
    loop: asyncio.AbstractEventLoop = maker.new_event_loop()
    # nest_asyncio replaces this class by the slow Python one, process-wide
    quick = getattr(sys.modules.get("_asyncio"), "Task", asyncio.Task)
    if asyncio.Task is not quick:
        loop.set_task_factory(lambda loop, coro, **more: quick(coro, loop=loop, **more))
    return loop


def _has_stdio() -> bool:
    """Return whether descriptors 0 to 2 are open, or uvloop aborts at a socket."""
    try:
        return all(map(os.fstat, range(3)))
    except OSError:
        return False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _advise() -> None:
    """Warn once that a running loop is blocked, except in a notebook."""
    global _warned  # noqa: PLW0603 - once a process
    if _warned or in_notebook():
        return
    _warned = True
    warn(
        "this call blocks the event loop that it was made in until all rows are "
        "done: write `await df.llm.agenerate(…)`, the same verb with an `a` in front",
        RuntimeWarning,
    )


def _checking_cancel(tick: Callable[[], None]) -> Callable[[], None]:
    """Return a tick that also raises once the calling task has been cancelled."""
    if _running_loop() is None or (task := asyncio.current_task()) is None:
        return tick
    before = task.cancelling()

    def checked_tick() -> None:
        tick()
        if task.cancelling() > before:  # asyncio.run does so at a Ctrl-C
            raise asyncio.CancelledError

    return checked_tick


# -- a thread of its own --------------------------------------------------------


class _Thread(Generic[T]):
    """One job in one short-lived thread."""

    def __init__(self, job: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._job = job
        target = partial(contextvars.copy_context().run, self._main)
        self._thread = threading.Thread(target=target, name="pandas_llm", daemon=True)
        self._result: Future[T] = Future()
        self._stopped = False
        self._task: asyncio.Task[Any] | None = None

    @property
    def is_started(self) -> bool:
        """Whether the system had a thread to spare."""
        return self._thread.ident is not None

    def run(self, tick: Callable[[], None]) -> T:
        """Start it, wait for it, return its result."""
        try:
            self._thread.start()
            while self._waiting():
                tick()
        except BaseException:  # a Ctrl-C or the caller's own cancellation
            self._stop()
            raise
        self._thread.join()
        return self._result.result()

    def _waiting(self) -> bool:
        # an interrupted join(timeout) believes a running thread dead (Python 3.11)
        return bool(wait([self._result], _SLICE).not_done)

    def _main(self) -> None:
        try:
            self._result.set_result(_in_place(self._watched))
        except BaseException as error:  # noqa: BLE001 - raised by run()
            self._result.set_exception(error)

    async def _watched(self) -> T:
        self._task = asyncio.current_task()
        if self._stopped:  # before there was a task to cancel
            raise asyncio.CancelledError
        return await self._job()

    def _stop(self) -> None:
        """Cancel the job and give it time to close its connections."""
        self._stopped = True  # though it be hit before it knows that it has started
        if not self.is_started:
            return
        if self._task is not None:
            with suppress(RuntimeError):  # the loop is closed: it has just ended
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        until = time.monotonic() + _GRACE
        while self._waiting():
            if time.monotonic() > until:
                return
        self._thread.join()


# -- inside the running loop ----------------------------------------------------


def _nested(
    loop: asyncio.AbstractEventLoop,
    job: Callable[[], Coroutine[Any, Any, T]],
    tick: Callable[[], None],
) -> T:
    """Re-enter the running loop."""
    _make_reentrant(loop)
    task = loop.create_task(_ticking(job(), _checking_cancel(tick)))
    try:
        with _sigint_cancels(task):
            return loop.run_until_complete(task)
    except BaseException:
        task.cancel()  # it ends when the caller's loop goes on
        raise


_interruptible: dict[asyncio.Task[Any], bool] = {}
"""Jobs in the main thread's loops, and whether a Ctrl-C has cancelled them."""


def _interrupt(number: int, frame: Any) -> None:
    if any(_interruptible.values()):
        signal.default_int_handler(number, frame)
    for task in _interruptible:
        _interruptible[task] = True
        with suppress(RuntimeError):  # its loop is closed
            task.get_loop().call_soon_threadsafe(task.cancel)


@contextmanager
def _sigint_cancels(task: asyncio.Task[Any]) -> Iterator[None]:
    """Cancel the job at Ctrl-C if nobody else handles it, then raise."""
    free = (signal.default_int_handler, _interrupt)
    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) in free
    if ours:
        _interruptible[task] = False
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if not _interruptible.get(task):
            raise
    finally:
        pressed = _interruptible.pop(task, False)
        if ours and not _interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


def _make_reentrant(loop: asyncio.AbstractEventLoop) -> None:
    if not isinstance(loop, asyncio.BaseEventLoop):
        # check first: nest_asyncio notices only after it has patched asyncio
        raise LoopError(
            f"loop='nested' cannot re-enter a {type(loop).__module__} loop: "
            "use `await df.llm.agenerate(...)` there"
        )
    if hasattr(loop, "_nest_patched"):
        _check_nest(new=hasattr(loop, "_nest_asyncio2"))
        return
    try:  # ipykernel 7.3 and later install it
        nest = importlib.import_module("nest_asyncio2")
    except ImportError:
        _check_nest(new=False)
        nest = importlib.import_module("nest_asyncio")
    nest.apply(loop)


def _check_nest(*, new: bool) -> None:
    kernel = getattr(sys.modules.get("ipykernel"), "version_info", (0,))
    if not new and (sys.version_info >= (3, 14) or kernel[0] >= 7):  # noqa: PLR2004
        raise LoopError(
            "loop='nested' needs nest-asyncio2 here (nest-asyncio 1.6 cancels the "
            "wrong task on Python 3.14 and loses cells on ipykernel 7): "
            "pip install nest-asyncio2, and do not apply nest_asyncio"
        )

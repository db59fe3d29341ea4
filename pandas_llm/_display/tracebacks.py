"""Tracebacks that end at the caller's line, without the frames of the package.

An `LLMError` is raised on purpose and loses its frames. Any other error is unexpected
and keeps them. Code of the caller's that was called from here, such as an `api_key`
function, keeps its own. ``PANDAS_LLM_TRACEBACK=full`` keeps all.
"""

from __future__ import annotations

import inspect
import os
import sysconfig
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pandas_llm import environment
from pandas_llm.errors import LLMError, LLMWarning, ProviderError
from pandas_llm.redaction import causes, conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

Function = TypeVar("Function", bound="Callable[..., Any]")

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")}
    | {_PACKAGE, "uvloop/", "<frozen"}  # uvloop's frames name no whole path
)
_ON_PURPOSE = (LLMError, LLMWarning)
"""The warning is an error where the caller has made warnings errors."""


def trims_traceback(verb: Function) -> Function:
    """Cut the package's frames off the tracebacks of a public function."""
    if inspect.iscoroutinefunction(verb):

        @wraps(verb)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            kwargs = conceal(kwargs)
            try:
                return await verb(*args, **kwargs)
            except BaseException as error:
                trim(error)
                raise  # which does not add this frame again

        return cast("Function", awaited)

    @wraps(verb)
    def called(*args: Any, **kwargs: Any) -> Any:
        kwargs = conceal(kwargs)  # frames that are shown may be with their variables
        try:
            return verb(*args, **kwargs)
        except BaseException as error:
            trim(error)
            raise  # which does not add this frame again

    return cast("Function", called)


def trim(error: BaseException) -> None:
    """Remove frames from an error that leaves the package, by its class."""
    from asyncio import CancelledError  # slow to import

    frames = list(_frames(error.__traceback__))
    if environment.own("traceback") == "full" or not frames:
        return
    beyond = error.__traceback__  # what follows the package's last frame
    for frame in frames:
        if _file(frame).startswith(_PACKAGE):
            beyond = frame.tb_next
    misses_arguments = isinstance(error, TypeError) and len(frames) == 1
    if isinstance(error, (KeyboardInterrupt, CancelledError)):
        error.__traceback__ = None
        error.__suppress_context__ = True  # the task's, which was cancelled for it
    elif beyond is not None and _of_caller(beyond):
        error.__traceback__ = beyond
    elif isinstance(error, _ON_PURPOSE) or misses_arguments:
        error.__traceback__ = None
        _trim_causes(error)
        if isinstance(error, ProviderError):
            # it says in its own words what it was raised from
            error.__context__ = error.__cause__ or error.__context__
            error.__cause__ = None  # which hides the context too


def _trim_causes(error: BaseException) -> None:
    """Leave the words of what an error was raised from, and the caller's frames."""
    for cause in causes(error):
        theirs = [f for f in _frames(cause.__traceback__) if _of_caller(f)]
        cause.__traceback__ = theirs[0] if theirs else None


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _file(frame: TracebackType) -> str:
    return frame.tb_frame.f_code.co_filename


def _of_caller(frame: TracebackType) -> bool:
    return not _file(frame).startswith(_LIBRARIES)

"""Options: the call > `option_context` > `set_options` > environment > default."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

from pandas_llm import environment
from pandas_llm._display import trims_traceback
from pandas_llm.options.option import check_against
from pandas_llm.options.table import OPTIONS, Settings
from pandas_llm.options.words import shows_options
from pandas_llm.redaction import conceal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pandas_llm.options.table import Options

_DEFAULTS = {name: option.default for name, option in OPTIONS.items()}
_global: dict[str, Any] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar(
    "pandas_llm_options", default=MappingProxyType({})
)


@shows_options
@trims_traceback
def set_options(**options: Unpack[Options]) -> None:
    """Set options for every later call of this process.

    None sets an option back to its default where that is None.

    Parameters
    ----------
    **options
        Any of the options; ``help(pandas_llm.set_options)`` lists them.

    Raises
    ------
    TypeError
        For a name that is not an option; the message suggests one.
    ValueError
        For a value out of range.

    Examples
    --------
    >>> import pandas_llm
    >>> pandas_llm.set_options(max_retries=3)
    >>> pandas_llm.get_options()["max_retries"]
    3
    >>> pandas_llm.set_options(max_retries=5)
    """
    check_options(options)
    _global.update(options)


def get_options() -> dict[str, Any]:
    """Return all options as a call made here and now would see them.

    Examples
    --------
    >>> import pandas_llm
    >>> pandas_llm.get_options()["n"]
    1
    """
    return conceal({**_DEFAULTS, **_environment(), **_global, **_context.get()})


@shows_options
@contextmanager
def option_context(**options: Unpack[Options]) -> Iterator[None]:
    """Set options within a ``with`` block, for this thread or task alone.

    Parameters
    ----------
    **options
        Any of the options; ``help(pandas_llm.option_context)`` lists them.

    Examples
    --------
    >>> import pandas_llm
    >>> with pandas_llm.option_context(n=3):
    ...     pandas_llm.get_options()["n"]
    3
    """
    check_options(options)
    token = _context.set({**_context.get(), **options})
    try:
        yield
    finally:
        _context.reset(token)


def resolve(options: Mapping[str, Any]) -> Settings:
    """Return every option's value; raise for a wrong name or value."""
    check_options(options)
    values = conceal({**get_options(), **options})
    for name, value in values.items():
        if isinstance(value, (dict, list)):
            values[name] = copy(value)  # the caller may change it later
    return Settings(**values)


def check_options(options: Mapping[str, Any]) -> None:
    """Raise for a name that is not an option, or a value that cannot be."""
    check_against(OPTIONS, options)


def _environment() -> dict[str, Any]:
    """Read ``PANDAS_LLM_MODEL`` and the like."""
    values: dict[str, Any] = {}
    for name, option in sorted(OPTIONS.items()):
        if option.variable and option.rule and (text := environment.own(name)):
            values[name] = option.rule.read(text)
    check_against(OPTIONS, values, environment.name_of_own)
    return values

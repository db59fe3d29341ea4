"""Signatures that name the options, for completion and for ``?`` in a notebook."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pandas_llm.options import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = [
    inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default)
    for option, default in ((f, getattr(Settings(), f.name)) for f in fields(Settings))
]


def show_options(verb: Callable[..., Any], like: Callable[..., Any]) -> None:
    """Show a verb with the parameters of another, and all options by name.

    Its first parameter, the data or ``self``, stays its own.

    Examples
    --------
    >>> def ask(data, **options): ...
    >>> show_options(ask, lambda self, template, *, name="x", **options: None)
    >>> list(inspect.signature(ask).parameters)[:4]
    ['data', 'template', 'name', 'model']
    """
    own, shown = inspect.signature(verb), inspect.signature(like)
    first, *_ = own.parameters.values()
    _, *rest = shown.parameters.values()
    known = {option.name for option in _OPTIONS}
    rest = [p for p in rest if p.kind != p.VAR_KEYWORD and p.name not in known]
    verb.__signature__ = own.replace(parameters=[first, *rest, *_OPTIONS])  # type: ignore[attr-defined]

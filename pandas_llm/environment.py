"""The one reader of the environment's variables; everybody else asks it."""

from __future__ import annotations

import os


def variable(*names: str) -> str | None:
    """Return the first of several variables that is set and not empty.

    Examples
    --------
    >>> variable("NOBODY_SETS_THIS", "NOR_THIS") is None
    True
    """
    return next(filter(None, map(os.environ.get, names)), None)


def own(name: str) -> str | None:
    """Return the package's own variable: for ``"cache"`` that is PANDAS_LLM_CACHE.

    Examples
    --------
    >>> own("nobody_sets_this") is None
    True
    """
    return variable(f"PANDAS_LLM_{name.upper()}")

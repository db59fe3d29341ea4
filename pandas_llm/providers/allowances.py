"""How much a request may have written, and so how much may be billed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas_llm.types import Spec

_LIMITS = (
    *("max_tokens", "max_completion_tokens", "max_output_tokens"),
    *("maxOutputTokens", "max_new_tokens", "num_predict"),
)
"""Names of the most tokens of an answer, in the bodies of all vendors."""
_CHOICES = ("n", "best_of", "candidateCount")
"""Names of how many answers are written, all of which are billed."""


def allowance(spec: Spec) -> tuple[int | None, int]:
    """Return the most tokens of a choice, and how many choices are billed.

    A caller's own fields may allow more than the options, or the other way round;
    which of the two a server goes by is not known, so the greater counts.

    Examples
    --------
    >>> from pandas_llm.types import Spec
    >>> allowance(Spec("m", max_tokens=20, extra={"max_completion_tokens": 500}))
    (500, 1)
    >>> allowance(Spec("m", max_tokens=20, extra={"n": 3}))
    (20, 3)
    """
    n = max([spec.n, *_whole(spec.extra, _CHOICES)])
    limits = _whole(spec.extra, _LIMITS)
    if spec.max_tokens is not None:
        limits.append(spec.max_tokens)
    return max(limits, default=None), n


def _whole(fields: Mapping[str, Any], names: tuple[str, ...]) -> list[int]:
    """Return the counts that fields have under some names, however deep."""
    found: list[int] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found += _whole(value, names)
        elif name in names and isinstance(value, int) and value > 0:
            found.append(int(value))
    return found

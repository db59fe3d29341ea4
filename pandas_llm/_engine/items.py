"""What workers take from the feed: a row's request, or a bundle of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm.types import Request


class Item(NamedTuple):
    """A request on its way to a worker."""

    position: int
    request: Request
    key: bytes
    attempts: int = 0
    """How often it was sent without success before it was put off."""
    elsewhere: bool = False
    """Whether it has its turn before those ahead of it."""
    heard: Callable[[bool], None] | None = None
    """Hears whether its first request was answered, where other rows wait for that."""


Bundle = tuple[Item, ...]
"""What one HTTP request asks: one item, or several texts to embed."""

"""What was answered of a row that takes several requests, until all of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm.cache import begun_key
from pandas_llm.types import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.cache import Cache
    from pandas_llm.types import Choice


class Begun:
    """The choices of a row so far: what ends a run before the last of them loses none.

    Without a cache nothing is kept.
    """

    def __init__(self, cache: Cache | None, key: bytes) -> None:
        self._cache, self._key = cache, key
        self._kept: tuple[Choice, ...] = ()
        if cache is not None:
            self._key = begun_key(key)
            reply = cache.get_many([self._key]).get(self._key)
            self._kept = reply.choices if reply else ()
        self._taken = False

    def take(self) -> tuple[Choice, ...]:
        """Return what an earlier run has paid for, once."""
        taken, self._taken = self._taken, True
        return () if taken else self._kept

    def keep(self, choices: Sequence[Choice]) -> None:
        """Keep what there is, since another request follows."""
        if self._cache is not None and len(choices) > len(self._kept):
            self._kept = tuple(choices)
            self._cache.put(self._key, Reply(self._kept))

    def end(self) -> None:
        """Forget the choices: the row has its answer, or none that is of use."""
        if self._cache is not None and self._kept:
            self._cache.forget(self._key)


ALONE = Begun(None, b"")
"""Of a row that one request answers."""

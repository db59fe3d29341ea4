"""What was answered of a row that takes several requests, until all of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm.cache import Cache, begun_key
from pandas_llm.types import Choice, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence


class Begun:
    """The choices of a row so far, which are not lost when something ends the run."""

    def __init__(self, cache: Cache, key: bytes) -> None:
        self._cache, self._key = cache, begun_key(key)
        reply = cache.get_many([self._key]).get(self._key)
        self._kept = reply.choices if reply else ()
        self._taken = False

    def take(self) -> tuple[Choice, ...]:
        """Return what an earlier run has paid for, once."""
        taken, self._taken = self._taken, True
        return () if taken else self._kept

    def keep(self, choices: Sequence[Choice]) -> None:
        """Keep what there is, since another request follows."""
        if len(choices) > len(self._kept):
            self._kept = tuple(choices)
            self._cache.put(self._key, Reply(self._kept))

    def end(self) -> None:
        """Forget the choices: the row has its answer, or none that is of use."""
        if self._kept:
            self._cache.forget(self._key)

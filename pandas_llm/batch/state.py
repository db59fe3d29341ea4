"""What is known of batch jobs, in the cache file, so that another process goes on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import orjson

from pandas_llm._display import Totals
from pandas_llm.cache import sqlite as database
from pandas_llm.errors import LLMError

if TYPE_CHECKING:
    from pathlib import Path

_LOCK_WAIT = 5.0
"""Seconds to wait for another process's lock."""
_USED = (
    *("requests", "input_tokens", "output_tokens", "cached_input_tokens"),
    *("reasoning_tokens", "known_cost", "unpriced"),
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pandas_llm_batches (
    id TEXT PRIMARY KEY, state BLOB NOT NULL, recipe BLOB NOT NULL
)
"""


@dataclass(slots=True)
class Part:
    """One of the provider's batches."""

    id: str
    requests: int
    ended: bool = False
    word: str = ""
    """The provider's, for how it is."""
    done: int = 0
    failed: int = 0
    reason: str | None = None


@dataclass(slots=True)
class State:
    """What is known of a job."""

    id: str
    parts: list[Part] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a request has no answer, by its key in hex."""
    requests: int = 0
    counters: Totals = field(default_factory=Totals)
    """What was asked, used and paid: by the rows ahead and by the batches."""

    @property
    def live(self) -> list[Part]:
        """The batches that have not ended."""
        return [part for part in self.parts if not part.ended]

    def used(self, totals: Totals, since: Totals | None = None) -> None:
        """Count for a run what the batch has used, not what it read again."""
        since = since or Totals()
        for name in _USED:
            setattr(totals, name, getattr(self.counters, name) - getattr(since, name))
        totals.cached = max(0, totals.cached - totals.requests)


def save(path: Path, state: State, written: bytes) -> None:
    """Keep what is known of a job."""
    try:
        with closing(database.connect(path, _LOCK_WAIT)) as connection:
            connection.execute(_SCHEMA)
            connection.execute(
                "INSERT OR REPLACE INTO pandas_llm_batches VALUES (?, ?, ?)",
                (state.id, orjson.dumps(asdict(state)), written),
            )
    except database.ERRORS as error:
        why = database.reason(path, error)
        raise LLMError(f"a batch job cannot be kept: {why}") from error


def find(path: Path, job: str) -> tuple[State, bytes] | None:
    """Give what is known of a job; None for one that nothing is known of."""
    if not database.size(path):
        return None
    try:
        with closing(database.connect(path, _LOCK_WAIT)) as connection:
            connection.execute(_SCHEMA)
            row = connection.execute(
                "SELECT state, recipe FROM pandas_llm_batches WHERE id = ?", (job,)
            ).fetchone()
    except database.ERRORS as error:
        raise LLMError(database.reason(path, error)) from error
    if row is None:
        return None
    try:
        known = orjson.loads(row[0])
        parts = [Part(**part) for part in known.pop("parts")]
        counters = Totals(**known.pop("counters"))
        return State(parts=parts, counters=counters, **known), bytes(row[1])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LLMError(f"the job {job!r} cannot be read: {error!r}") from error

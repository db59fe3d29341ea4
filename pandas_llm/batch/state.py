"""What is known of batch jobs, in the cache file, so that another process goes on."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections import defaultdict
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._display import Totals
from pandas_llm.cache import sqlite as database
from pandas_llm.errors import LLMError
from pandas_llm.redaction import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from pandas_llm.providers import Snapshot

_LOCK_PAUSE = 0.1
"""Seconds between looks whether another process has done sending."""
_USED = (
    *("requests", "input_tokens", "output_tokens", "cached_input_tokens"),
    *("reasoning_tokens", "written_input_tokens", "saved", "known_cost", "unpriced"),
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pandas_llm_batches (
    id TEXT PRIMARY KEY, state BLOB NOT NULL, recipe BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS pandas_llm_batch_rows (
    part TEXT PRIMARY KEY, job TEXT NOT NULL, keys BLOB NOT NULL
)
"""
_LIMIT = re.compile(r"(?:Limit:|configured limit of) ([\d,.]*\d)([KMB]?)\b")
"""What OpenAI and Azure say of a queue that is full."""
_LEAST_QUEUE = 250_000
"""Tokens that any queue is taken to hold; Google's smallest has twice that."""
_REFUSALS = 5
"""Refusals of a batch, with none of its job under way, until it may be too large."""
_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}
_KEY = 16
"""Bytes of a request's key."""


@dataclass(slots=True)
class Part:
    """One of the provider's batches, or one that is about to be."""

    id: str
    """Empty until the provider is known to have it."""
    requests: int
    ended: bool = False
    word: str = ""
    """The provider's word for its state."""
    done: int = 0
    failed: int = 0
    reason: str | None = None
    name: str = ""
    """Our name of it, which is sent where the provider keeps one."""
    file: str = ""
    """The provider's name of the file with its requests."""
    noted: float = 0.0
    """When it was asked for, in seconds of this machine's clock."""
    guessed: bool = False
    """Whether it was found by its moment and size alone."""
    waiting: bool = False
    """Whether it is to be asked for when the account's queue has room."""
    tokens: int = 0
    """An estimate for its prompts."""
    past: list[str] = field(default_factory=list)
    """The provider's names of batches that a full queue has failed; empty where it
    did not even begin one."""

    @property
    def open(self) -> bool:
        """Whether it was asked for and nobody knows what became of it."""
        return not (self.id or self.ended or self.waiting)

    @property
    def rank(self) -> tuple[int, bool, bool, bool]:
        """How far it has come: the process that knows more is right."""
        return len(self.past), self.ended, bool(self.id), not self.waiting

    def end(self, word: str) -> None:
        """Note that nothing more is to come of it."""
        self.ended, self.waiting, self.word = True, False, word


@dataclass(slots=True)
class State:
    """What is known of a job."""

    id: str
    parts: list[Part] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a request has no answer, by its key in hex."""
    unsent: int = 0
    """Requests that are in no batch yet."""
    queue: int = 0
    """Tokens that the account's queue takes; 0 until the provider says it."""
    counters: Totals = field(default_factory=Totals)
    """Counters of the rows sent ahead and of the batches."""
    beside: list[str] = field(default_factory=list)
    """Other jobs of the file that have some of its requests under way."""

    @property
    def live(self) -> list[Part]:
        """The batches that have not ended."""
        return [part for part in self.parts if part.id and not part.ended]

    @property
    def open(self) -> list[Part]:
        """The batches that may or may not exist."""
        return [part for part in self.parts if part.open]

    @property
    def waiting(self) -> list[Part]:
        """The batches that wait for room in the account's queue."""
        return [part for part in self.parts if part.waiting]

    @property
    def running(self) -> bool:
        """Whether any batch has yet to end."""
        return not all(part.ended for part in self.parts)

    @property
    def pending(self) -> bool:
        """Whether any batch with its requests has yet to end."""
        return self.running or bool(self.beside)

    def used(self, totals: Totals, since: Totals | None = None) -> None:
        """Count what the batch has used, not what the run has read again."""
        since = since or Totals()
        for name in _USED:
            setattr(totals, name, getattr(self.counters, name) - getattr(since, name))
        totals.cached = max(0, totals.cached - totals.requests)


@dataclass(slots=True)
class Journal:
    """What is known of a job, in the cache file: a batch is noted before it is made."""

    path: Path
    state: State
    written: bytes
    notes: list[str] = field(default_factory=list)
    """Notes that an interrupted call shows."""
    tell: Callable[[str], None] = lambda _: None
    """Hears why the job waits, if it does."""

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Take up what other processes know, then keep that and what is changed."""
        with _opened(self.path) as connection:
            # a note outlives the machine: it must be on the disk before the request
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            self._take_up(connection)
            yield connection
            connection.execute(
                "INSERT OR REPLACE INTO pandas_llm_batches VALUES (?, ?, ?)",
                (self.state.id, orjson.dumps(asdict(self.state)), self.written),
            )
            connection.executemany(
                "DELETE FROM pandas_llm_batch_rows WHERE part = ?",
                [(part.name,) for part in self.state.parts if part.ended],
            )
            connection.execute("COMMIT")

    def _take_up(self, connection: sqlite3.Connection) -> None:
        query = "SELECT state FROM pandas_llm_batches WHERE id = ?"
        row = connection.execute(query, (self.state.id,)).fetchone()
        if row is None:
            return
        known = {part.name or part.id: part for part in self.state.parts}
        with suppress(LLMError):  # damaged: it is written over
            state = _parsed(row[0], self.state.id)
            if state.counters.requests > self.state.counters.requests:
                self.state.counters = state.counters
            for part in state.parts:
                own = known.get(part.name or part.id)
                if own is None:
                    self.state.parts.append(part)
                elif part.rank > own.rank:
                    for name in part.__slots__:
                        setattr(own, name, getattr(part, name))

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Add to an interrupt what may exist at the provider."""
        try:
            yield
        except (KeyboardInterrupt, asyncio.CancelledError) as error:
            for note in self.notes:
                error.add_note(note)
            raise

    def save(self) -> None:
        """Keep what is known of the job."""
        with self._transaction():
            pass

    def note(self, part: Part, keys: Sequence[bytes]) -> None:
        """Write down a batch before it is asked for."""
        state = self.state
        state.parts.append(part)
        state.unsent -= part.requests
        try:
            with self._transaction() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO pandas_llm_batch_rows VALUES (?, ?, ?)",
                    (part.name, state.id, b"".join(keys)),
                )
        except LLMError:
            state.parts.remove(part)
            raise

    def confirm(self, part: Part, made: Snapshot) -> None:
        """Note that the provider has a batch."""
        part.id, part.word = made.id, visible(made.word)
        self.save()

    def claim(self, part: Part) -> bool:
        """Note that a batch which waits is asked for, unless another process does."""
        with self._transaction():
            if claimed := part.waiting:
                part.waiting, part.noted = False, time.time()
        return claimed

    def drop(self, part: Part, why: str = "") -> None:
        """Note that a batch will not be created; others take its rows."""
        self.state.unsent += part.requests
        part.requests = 0
        part.end(why)
        self.save()

    def full(self, part: Part, reason: str) -> None:
        """Hold a batch back, or give up one that the whole queue is too small for."""
        state = self.state
        if limit := _LIMIT.search(reason):
            number = float(limit[1].replace(",", ""))
            state.queue = int(number * _UNITS.get(limit[2], 1))
        elif self._too_large(part):  # nobody tells how much: half of it may fit
            state.queue = part.tokens // 2
        if not 0 < state.queue < part.tokens:
            part.past.append(part.id)
            part.id, part.waiting = "", True
        elif part.requests == 1:
            why = f"its prompt is over the account's queue of {state.queue:,} tokens"
            state.reasons |= {key.hex(): why for key in self.rows(part)}
            part.end(part.word)
        else:
            self.drop(part, "its rows go into smaller batches: the queue is too small")

    def _too_large(self, part: Part) -> bool:
        """Return whether a queue whose size is not told may never take a batch."""
        alone = not self.state.live and len(part.past) >= _REFUSALS
        return alone and part.tokens > 2 * _LEAST_QUEUE

    def rows(self, part: Part) -> set[bytes]:
        """Return the keys of the requests of a batch that has not ended."""
        query = "SELECT keys FROM pandas_llm_batch_rows WHERE part = ?"
        found = _asked(self.path, query, part.name)
        return _parted(b"".join(keys for (keys,) in found))

    def elsewhere(self, keys: set[bytes]) -> dict[str, set[bytes]]:
        """Return which requests other jobs of the file have under way."""
        query = "SELECT job, keys FROM pandas_llm_batch_rows WHERE job != ?"
        jobs: defaultdict[str, set[bytes]] = defaultdict(set)
        for job, joined in _asked(self.path, query, self.state.id):
            jobs[job] |= keys & _parted(joined)
        return {job: some for job, some in jobs.items() if some}

    def others(self) -> Iterator[Journal]:
        """Yield the journals of the other jobs that have some of its requests."""
        for job in self.state.beside:
            if (known := find(self.path, job)) is not None:
                yield Journal(self.path, *known, tell=self.tell)

    def taken(self) -> set[str]:
        """Return the provider's names of the batches of all jobs of the file."""
        states = _asked(self.path, "SELECT state FROM pandas_llm_batches")
        parts = [part for (state,) in states for part in _parsed(state, "a job").parts]
        return {name for part in parts for name in (part.id, *part.past) if name}

    @asynccontextmanager
    async def sole_sender(self) -> AsyncIterator[None]:
        """Wait until nobody else sends batches of the file, and keep others from it.

        The lock lies on a file beside it; it ends with its process, killed or not.
        """
        with _opened(self.path):  # makes its folder: this may be the first that is kept
            pass
        waited = False
        while (connection := _locked(self.path)) is None:
            waited = True
            self.tell("another process sends batches of this cache file")
            await asyncio.sleep(_LOCK_PAUSE)
        if waited:
            self.tell("")
        with closing(connection):
            yield


def _locked(path: Path) -> sqlite3.Connection | None:
    with _one_error(path):
        connection = sqlite3.connect(
            f"{path}-sending", timeout=0.0, isolation_level=None
        )
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            connection.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                return None
            raise
    return connection


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    wait = database.LOCK_WAIT
    with _one_error(path), closing(database.connect(path, wait)) as connection:
        connection.executescript(_SCHEMA)
        yield connection


def _asked(path: Path, query: str, *values: str) -> list[Any]:
    with _opened(path) as connection:
        return connection.execute(query, values).fetchall()


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    try:
        yield
    except database.ERRORS as error:
        why = database.reason(path, error)
        raise LLMError(f"a batch job cannot be kept or read: {why}") from error


def _parted(keys: bytes) -> set[bytes]:
    return {keys[at : at + _KEY] for at in range(0, len(keys), _KEY)}


def find(path: Path, job: str) -> tuple[State, bytes] | None:
    """Return what is known of a job; None for an unknown one."""
    if not database.size(path):
        return None
    query = "SELECT state, recipe FROM pandas_llm_batches WHERE id = ?"
    for state, written in _asked(path, query, job):
        return _parsed(state, job), written
    return None


def _parsed(written: bytes, job: str) -> State:
    try:
        known = orjson.loads(written)
        parts = [Part(**part) for part in known.pop("parts")]
        counters = Totals(**known.pop("counters"))
        known.pop("requests", None)  # in older jobs, whose batches are looked for
        return State(parts=parts, counters=counters, **known)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LLMError(f"the job {job!r} cannot be read: {error!r}") from error

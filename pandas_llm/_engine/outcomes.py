"""What became of every row so far: columns as they grow, errors by position."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pandas_llm.types import Remark, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pandas_llm.errors import LLMError
    from pandas_llm.types import Outcome


_NOT_YET = -1


class Remarks:
    """Remarks by row: their text and 15 bytes, where the errors took 580.

    >>> remarks = Remarks(3)
    >>> remarks.add(1, Remark("refusal", "No.", 2))
    >>> remarks.get(1), remarks.get(0)
    (Remark(kind='refusal', message='No.', attempts=2), None)
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._kinds: list[str] = []
        self._text = bytearray()
        self._ends = array("q", [0])
        self._kind = bytearray()
        self._attempts = array("H")
        self.numbers = array("i")
        """The number of each row's remark from 1, 0 for none; empty without any."""

    def add(self, position: int, remark: Remark) -> None:
        """Add a row's remark; other threads read it, so its number comes last."""
        if remark.kind not in self._kinds:
            self._kinds.append(remark.kind)
        self._text += remark.message.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._text))
        self._kind.append(self._kinds.index(remark.kind))
        self._attempts.append(min(remark.attempts, 0xFFFF))
        if not self.numbers:
            self.numbers = array("i", bytes(4 * self._rows))
        self.numbers[position] = len(self._kind)

    def get(self, position: int) -> Remark | None:
        """Return a row's remark."""
        number = self.numbers[position] - 1 if self.numbers else -1
        if number < 0:
            return None
        text = self._text[self._ends[number] : self._ends[number + 1]]
        message = text.decode("utf-8", "surrogatepass")
        kind = self._kinds[self._kind[number]]
        return Remark(kind, message, self._attempts[number])


class Details(NamedTuple):
    """What ``details=True`` tells of a row; all but `raws` are columns."""

    text: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    written_input_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 0
    cached: bool = False
    finish_reason: str | None = None
    model: str | None = None
    request_id: str | None = None
    service_tier: str | None = None
    raws: tuple[str | None, ...] = (None,)
    """What each choice said beside its text, as JSON."""


class Outcomes:
    """Outcomes of a run, in the order in which they came.

    Records are columns and row positions: 8 bytes a record and 8 a value. The caller's
    thread reads them when a run is interrupted, so positions are added last.
    """

    def __init__(self, labels: Any, width: int, *, details: bool = False) -> None:
        self.labels = labels
        """What the index calls each row."""
        self.rows = rows = len(labels)
        self.done = bytearray(rows)
        self.by = bytearray(rows)
        """The number of the client that was asked for a row, from 1; 0 for none."""
        self.positions = array("q")
        self.columns: list[list[Any]] = [[] for _ in range(width)]
        self._errors = Remarks(rows)
        self._notes = Remarks(rows)
        """Remarks on rows that were answered."""
        self.leaders: dict[int, int] = {}
        """Rows whose request equals that of another row: position → the other's."""
        self.details: dict[int, Details] | None = {} if details else None
        self.unfinished: LLMError | None = None
        """The error of rows that were not done when the run ended."""
        self.arrived: deque[tuple[int, int, int]] | None = None
        """Is filled, where somebody reads it, with each row's position and where its
        records begin and end; for a row that shares a call with -1 and its leader."""

    def add(self, position: int, outcome: Outcome) -> None:
        """Record one row's outcome."""
        begin = len(self.positions)
        for record in outcome.records:
            for column, value in zip(self.columns, record, strict=True):
                column.append(value)
            self.positions.append(position)
        if (error := outcome.error) is not None:
            error.position, error.label = position, self.labels[position]
            remarks = self._errors if outcome.failed else self._notes
            remarks.add(position, Remark.of(error, outcome.attempts))
        if self.details is not None:
            self.details[position] = _details(outcome)
        self.by[position] = outcome.by
        self.done[position] = 1
        if self.arrived is not None:
            self.arrived.append((position, begin, len(self.positions)))

    def leave_out(self, rows: NDArray[np.bool_]) -> None:
        """Mark rows that are not asked, so that nothing waits for them."""
        self.done[:] = rows.tobytes()

    def note(self, position: int, remark: Remark) -> None:
        """Add a remark on a row that was answered."""
        self._notes.add(position, remark)

    def answered(self) -> Counter[int]:
        """Count the rows that each client has answered, by its number from 1."""
        by = np.frombuffer(self.by, dtype=np.uint8)[self.leading()]
        return Counter(by[~self._failing()].tolist())

    def share(self, position: int, leader: int) -> None:
        """Let a row have the outcome of its leader."""
        self.leaders[position] = leader
        if self.arrived is not None:
            self.arrived.append((position, -1, leader))

    def leader(self, position: int) -> int:
        """Return the row whose outcome a row has; mostly itself."""
        return self.leaders.get(position, position)

    def leading(self) -> NDArray[np.intp]:
        """Return the `leader` of each row."""
        leaders, known = np.arange(self.rows), self.leaders.copy()
        leaders[[*known]] = [*known.values()]
        return leaders

    def error(self, position: int) -> Remark | None:
        """Return why a row has no answer."""
        leader = self.leader(position)
        if not self.done[leader]:
            return None if self.unfinished is None else Remark.of(self.unfinished)
        return self._errors.get(leader)

    def remark(self, position: int) -> Remark | None:
        """Return why a row has no answer, or what to know of the one it has."""
        return self.error(position) or self._notes.get(self.leader(position))

    def failed(self) -> list[int]:
        """Return the rows that have no answer, in order."""
        positions: list[int] = np.flatnonzero(self._failing()).tolist()
        return positions

    def _failing(self) -> NDArray[np.bool_]:
        """Return for each row whether it has no answer."""
        failing = np.zeros(self.rows, dtype=bool)
        if self._errors.numbers:
            failing |= np.array(self._errors.numbers) != 0
        if self.unfinished is not None:
            failing |= ~np.frombuffer(self.done, dtype=bool)
        return failing[self.leading()]

    def finished(self) -> int:
        """Count the rows that are done and did not fail."""
        done = np.frombuffer(self.done, dtype=bool)[self.leading()]
        return int((done & ~self._failing()).sum())

    def noted(self) -> list[int]:
        """Return the rows that are answered with a remark, in order."""
        positions: list[int] = np.flatnonzero(self._notes.numbers).tolist()
        return positions


class Arrivals:
    """Calls the function of `on_row` for each row that has come.

    The engine's thread adds rows to a queue, `deliver` empties it.
    """

    def __init__(
        self, call: Callable[..., None], names: Sequence[str], outcomes: Outcomes
    ) -> None:
        self._call, self._names, self._outcomes = call, names, outcomes
        self._queue = outcomes.arrived = deque()
        self._begin = array("q", [_NOT_YET]) * outcomes.rows
        self._end = array("q", [_NOT_YET]) * outcomes.rows
        self._followers: dict[int, list[int]] = defaultdict(list)
        """Rows that wait for one whose call they share."""

    def deliver(self) -> None:
        """Call the function for all rows that have come since the last time."""
        while self._queue:
            position, begin, end = self._queue.popleft()
            if begin != _NOT_YET:
                self._begin[position], self._end[position] = begin, end
                self._tell(position, position)
                for follower in self._followers.pop(position, ()):
                    self._tell(follower, position)
            elif self._begin[end] != _NOT_YET:
                self._tell(position, end)
            else:
                self._followers[end].append(position)

    def _tell(self, position: int, leader: int) -> None:
        places = range(self._begin[leader], self._end[leader])
        columns = self._outcomes.columns
        named = list(zip(self._names, columns, strict=False))
        records = [{name: values[at] for name, values in named} for at in places]
        remark = self._outcomes.error(leader)
        error = None if remark is None else f"{remark.kind}: {remark.message}"
        self._call(position, self._outcomes.labels[position], records, error)


def _details(outcome: Outcome) -> Details:
    reply = outcome.reply or Reply(())
    choices = reply.choices
    return Details(
        choices[0].text if choices else getattr(outcome.error, "text", None),
        outcome.tokens.input,
        outcome.tokens.output,
        outcome.tokens.cached_input,
        outcome.tokens.written,
        outcome.seconds,
        outcome.attempts,
        outcome.cached,
        choices[0].finish_reason if choices else None,
        reply.model,
        reply.request_id,
        reply.tier,
        tuple(choice.raw for choice in choices)
        or (getattr(outcome.error, "raw", None),),
    )

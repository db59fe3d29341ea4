"""What became of every row so far: columns as they grow, errors by position."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pandas_llm._engine.remarks import Remarks
from pandas_llm.types import Remark

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.types import Outcome


class Details(NamedTuple):
    """What ``details=True`` tells of a row."""

    text: str | None
    input_tokens: int
    output_tokens: int
    seconds: float
    attempts: int
    cached: bool
    finish_reason: str | None = None
    model: str | None = None
    request_id: str | None = None


class Store:
    """Outcomes of a run, in the order in which they came.

    Parameters
    ----------
    rows : int
        Rows of the input.
    width : int
        Columns of a record.
    details : bool
        Whether to keep `Details`.
    labels : sequence, optional
        The rows' labels, for their errors.

    Notes
    -----
    Records are kept as columns and an array of row positions: 8 bytes a record and
    8 a value, where a list of tuples a row takes 200. It is read from the caller's
    thread when a run is interrupted, so positions are added last.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        *,
        details: bool = False,
        labels: Any = None,
    ) -> None:
        self.rows = rows
        self._labels = labels
        self.done = bytearray(rows)
        self.by = bytearray(rows)
        """Which client answered a row, counted from 1; 0 for none."""
        self.positions = array("q")
        self.columns: list[list[Any]] = [[] for _ in range(width)]
        self._errors = Remarks(rows)
        self._notes = Remarks(rows)
        """What to know of rows that were answered all the same."""
        self.leaders: dict[int, int] = {}
        """Rows whose request equals that of another row: position → the other's."""
        self.details: dict[int, Details] | None = {} if details else None
        self.unfinished: LLMError | None = None
        """The error of rows that were not done when the run ended."""

    def add(self, position: int, outcome: Outcome) -> None:
        """Take one row's outcome."""
        for record in outcome.records:
            for column, value in zip(self.columns, record, strict=True):
                column.append(value)
            self.positions.append(position)
        if (error := outcome.error) is not None:
            error.position = position
            error.label = self._labels[position] if self._labels is not None else None
            remarks = self._errors if outcome.failed else self._notes
            remarks.add(position, Remark.of(error, outcome.attempts))
        if self.details is not None:
            self.details[position] = _details(outcome)
        self.done[position] = 1

    def answered(self) -> Counter[int]:
        """Count the rows that each client has answered, by its number from 1."""
        by = self.by
        if not self.leaders:
            return Counter(by)
        return Counter(by[self.leader(at)] for at in range(self.rows))

    def skip(self, position: int) -> None:
        """Mark a row that needs no request."""
        self.done[position] = 1

    def share(self, position: int, leader: int) -> None:
        """Give a row what the other gets, or has got already."""
        self.leaders[position] = leader

    def leader(self, position: int) -> int:
        """Tell whose outcome a row has; mostly its own."""
        return self.leaders.get(position, position)

    def error(self, position: int) -> Remark | None:
        """Tell why a row has no answer."""
        leader = self.leader(position)
        if not self.done[leader]:
            return None if self.unfinished is None else Remark.of(self.unfinished)
        return self._errors.get(leader)

    def remark(self, position: int) -> Remark | None:
        """Tell why a row has no answer, or what to know of the one it has."""
        return self.error(position) or self._notes.get(self.leader(position))

    def failed(self) -> list[int]:
        """Give the rows that have no answer, in order."""
        numbers = np.array(self._errors.numbers, dtype=np.int32)
        found = numbers != 0 if len(numbers) else np.zeros(self.rows, dtype=bool)
        if self.unfinished is not None:
            found |= np.frombuffer(self.done, dtype=np.uint8) == 0
        for position, leader in self.leaders.items():
            found[position] = found[leader]
        positions: list[int] = np.flatnonzero(found).tolist()
        return positions

    def finished(self) -> int:
        """Count the rows that are done and did not fail."""
        done = np.frombuffer(self.done, dtype=np.uint8) != 0
        for position, leader in self.leaders.items():
            done[position] = done[leader]
        done[self.failed()] = False
        return int(done.sum())

    def noted(self) -> list[int]:
        """Give the rows that are answered with a remark, in order."""
        positions: list[int] = np.flatnonzero(self._notes.numbers).tolist()
        return positions


def _details(outcome: Outcome) -> Details:
    reply = outcome.reply
    choices = reply.choices if reply else ()
    return Details(
        choices[0].text if choices else getattr(outcome.error, "text", None),
        outcome.tokens.input,
        outcome.tokens.output,
        outcome.seconds,
        outcome.attempts,
        outcome.cached,
        choices[0].finish_reason if choices else None,
        reply.model if reply else None,
        reply.request_id if reply else None,
    )

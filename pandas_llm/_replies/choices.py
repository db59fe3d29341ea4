"""The choices of a row, gathered until as many are understood as were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.errors import (
    ContentFilterError,
    OutputError,
    RefusalError,
    ToolCallError,
    TruncatedError,
    UnfoundedError,
)

if TYPE_CHECKING:
    from pandas_llm.errors import RowError
    from pandas_llm.types import Choice

    Records = list[tuple[Any, ...]]

_WITHHELD = (RefusalError, ContentFilterError, ToolCallError, TruncatedError)
"""Asked again unchanged, it would end the same."""


class Choices:
    """What was understood of a row's choices, and how many are still wanted."""

    def __init__(self, wanted: int) -> None:
        self.left = wanted
        self.kept: list[Choice] = []
        self.counted: list[Choice] = []
        """Those that are kept, and those that asking again would not change."""
        self.records: list[Records] = []
        self.mark: RowError | None = None
        self._problem: OutputError | None = None
        self._held: list[tuple[UnfoundedError, Records, Choice]] = []

    def add(
        self, choice: Choice, records: Records, mark: RowError | None
    ) -> OutputError | None:
        """Keep a choice; return why to ask again where what it quotes is not there."""
        if isinstance(mark, UnfoundedError):
            self._held.append((mark, records, choice))
            return mark
        self._keep(choice, records, mark)
        self._count(choice)
        return None

    def _count(self, choice: Choice) -> None:
        self.left -= 1
        self.counted.append(choice)

    def _keep(self, choice: Choice, records: Records, mark: RowError | None) -> None:
        self.kept.append(choice)
        self.records.append(records)
        self.mark = self.mark or mark

    def miss(self, choice: Choice, error: OutputError) -> OutputError | None:
        """Note a choice without records; return why to ask again, if it is of use."""
        self._problem = error
        if isinstance(error, _WITHHELD):
            self._count(choice)
            return None
        return error

    def close(self) -> None:
        """Make up what is left with answers that lack the fewest of their quotes.

        Raises
        ------
        OutputError
            When nothing was understood.
        """
        self._held.sort(key=lambda held: held[0].missing)
        for mark, records, choice in self._held[: self.left]:
            self._keep(choice, records, mark)
        if self._problem is not None and not self.kept:
            raise self._problem

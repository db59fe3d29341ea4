"""What is to be said of rows: a kind and a message each, in little space."""

from __future__ import annotations

from array import array

from pandas_llm.types import Remark


class Remarks:
    """Remarks by row: their text and 15 bytes, where the errors took 580.

    Parameters
    ----------
    rows : int
        How many rows there are.

    Examples
    --------
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
        """Which remark a row has, counted from 1; 0 for none. Empty without any."""

    def __bool__(self) -> bool:
        """Tell whether any row has one."""
        return len(self.numbers) > 0

    def add(self, position: int, remark: Remark) -> None:
        """Remark on a row that has none; read by other threads, so it counts last."""
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
        """Give a row's remark."""
        number = self.numbers[position] - 1 if self.numbers else -1
        if number < 0:
            return None
        text = self._text[self._ends[number] : self._ends[number + 1]]
        message = text.decode("utf-8", "surrogatepass")
        kind = self._kinds[self._kind[number]]
        return Remark(kind, message, self._attempts[number])

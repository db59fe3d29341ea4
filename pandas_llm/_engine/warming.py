"""Rows that begin alike: the first goes alone, the others find its beginning kept."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas_llm._engine.items import Item
    from pandas_llm.types import Request

_TRIES = 3
"""Rows that are sent alone, one after the other, while they fail."""


class _Beginning:
    """A beginning that rows share, and those of them that wait."""

    __slots__ = ("busy", "led", "rows", "text", "tries", "warm")

    def __init__(self, text: str) -> None:
        self.text = text
        self.led = self.warm = False
        self.tries = self.busy = 0
        self.rows: deque[tuple[Item, tuple[_Beginning, ...]]] = deque()


class Warming:
    """Decides which row goes next, where a vendor keeps the beginnings of prompts.

    A beginning is kept once its first row is answered: until then its other rows wait,
    and rows that begin otherwise go. After that they go one after the other while there
    are beginnings enough for all, as a server with a cache for each of its slots needs
    it, and else as many as may. When a first row fails, the next one goes alone; after
    three, all go. Rows come in an order in which those that begin alike are neighbours,
    so a beginning is forgotten with its last row.
    """

    def __init__(self) -> None:
        self.waiting = 0
        """Rows that wait."""
        self._last: tuple[str | None, tuple[_Beginning, ...]] = (None, ())
        self._freed: list[_Beginning] = []
        """Those of which a row has ended."""
        self._open: OrderedDict[_Beginning, None] = OrderedDict()
        """Those that are kept, and have rows that wait."""
        self._out: dict[int, tuple[list[_Beginning], _Beginning]] = {}
        """By row on its way, what it is the first of, and what it belongs to."""

    def come(self, row: Item) -> Item | None:
        """Return a new row if it may go now; else it waits."""
        chain = self._chain(row.request)
        own = chain[-1]
        if own.warm and own.busy:
            self._wait(row, chain, own)
            return None
        return self._gone(row, chain)

    def freed(self) -> Item | None:
        """Return the next row of a beginning of which a row has just ended."""
        while self._freed:
            if (row := self._of(self._freed.pop())) is not None:
                return row
        return None

    def help(self) -> Item | None:
        """Return a row that may go though others of its beginning are on their way."""
        while self._open:
            beginning = next(iter(self._open))
            self._open.move_to_end(beginning)
            if (row := self._of(beginning)) is not None:
                return row
        return None

    def leads(self, position: int) -> bool:
        """Return whether others wait until a row has been answered."""
        out = self._out.get(position)
        return bool(out and out[0])

    def heard(self, position: int, *, answered: bool) -> None:
        """Let those go on that wait for a row: all of them, or one if it has failed."""
        if (out := self._out.get(position)) is None:
            return
        led, _ = out
        while led:
            beginning = led.pop()
            beginning.tries += 1
            beginning.led = False
            beginning.warm = answered or beginning.tries >= _TRIES
            if beginning.rows and beginning.warm:
                self._open[beginning] = None
            elif beginning.rows:
                self._freed.append(beginning)

    def ended(self, position: int) -> bool:
        """Note that a row is done; return whether others waited for it."""
        led = self.leads(position)
        self.heard(position, answered=False)
        if (out := self._out.pop(position, None)) is not None:
            _, own = out
            own.busy -= 1
            if own.rows:
                self._freed.append(own)
        return led

    def back(self) -> list[Item]:
        """Return the rows that wait; they come again."""
        beginnings = {*self._open, *self._freed}
        for cold, own in self._out.values():
            beginnings |= {*cold, own}
        rows = [row for beginning in beginnings for row, _ in beginning.rows]
        for beginning in beginnings:
            beginning.rows.clear()
        self._open.clear()
        self.waiting = 0
        return rows

    def _of(self, beginning: _Beginning) -> Item | None:
        """Return the next row of a beginning, if it may go."""
        if not beginning.rows or beginning.led:
            return None
        self.waiting -= 1
        row, chain = beginning.rows.popleft()
        if not beginning.rows:
            self._open.pop(beginning, None)
        return self._gone(row, chain)

    def _gone(self, row: Item, chain: tuple[_Beginning, ...]) -> Item | None:
        """Let a row go, unless it waits for the first of a beginning of its own."""
        cold = [beginning for beginning in chain if not beginning.warm]
        for beginning in cold:
            if beginning.led:
                self._wait(row, chain, beginning)
                return None
        for beginning in cold:
            beginning.led = True
        chain[-1].busy += 1
        self._out[row.position] = cold, chain[-1]
        return row

    def _wait(
        self, row: Item, chain: tuple[_Beginning, ...], beginning: _Beginning
    ) -> None:
        beginning.rows.append((row, chain))
        self.waiting += 1
        if beginning.warm:
            self._open[beginning] = None

    def _chain(self, request: Request) -> tuple[_Beginning, ...]:
        """Return the beginnings of a request, those of the row before where it can."""
        system, before = self._last
        prompt, known = request.prompt, system == request.system
        chain: list[_Beginning] = []
        for at, end in enumerate(request.shared):
            text = before[at].text if known and at < len(before) else None
            known = text is not None and len(text) == end and prompt.startswith(text)
            chain.append(before[at] if known else _Beginning(prompt[:end]))
        self._last = request.system, tuple(chain)
        return self._last[1]

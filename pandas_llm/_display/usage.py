"""What a run has used so far, and in all."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pandas_llm._display.tables import SmallTable, dollars

if TYPE_CHECKING:
    from pandas_llm.types import Tokens


@dataclass(frozen=True, slots=True)
class Counts:
    """What is counted of a run, while it runs and at its end."""

    rows: int = 0
    failed: int = 0
    cached: int = 0
    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    known_cost: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0

    @property
    def cost(self) -> float:
        """Dollars; NaN when any request has no known price, never 0 for that."""
        return math.nan if self.unpriced else self.known_cost


@dataclass(frozen=True, slots=True, repr=False)
class Usage(SmallTable, Counts):
    """What a run used; a small table in a notebook and when printed.

    Attributes
    ----------
    rows, failed, cached : int
        Rows of the input; rows of them that have an error; rows answered from the
        cache, at no cost.
    requests, retries : int
        HTTP requests sent, those sent again among them.
    input_tokens, output_tokens, cached_input_tokens, reasoning_tokens : int
        As the provider counted, of what was paid for in this run; cached input is
        part of the input, reasoning part of the output.
    written_input_tokens : int
        The part of the input that the provider has kept for later requests, where it
        tells.
    saved : float
        Dollars that the provider's cache has saved, less what it has cost to fill it.
    seconds : float
        Wall-clock time.
    known_cost : float
        Dollars of all requests that have a price.
    unpriced : int
        Requests that have none: nothing tells the model's price, an answer counts no
        tokens, or it was lost (a time-out, a connection that broke, an interrupt) and
        may be billed all the same.

    Examples
    --------
    >>> both = Usage(rows=2, requests=2) + Usage(rows=1, requests=3, retries=2)
    >>> both.requests
    5
    >>> print(both)
    rows            3
    from the cache  0
    failed          0
    requests sent   5 (2 retries)
    tokens in       0
    tokens out      0
    cost            $0
    time            0.0 s
    """

    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    written_input_tokens: int = 0
    saved: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Add two runs, as of a chain."""
        if not isinstance(other, Usage):
            return NotImplemented
        names = [f.name for f in fields(self)]
        return Usage(**{n: getattr(self, n) + getattr(other, n) for n in names})

    def _title(self) -> str:
        return "Usage"

    def _lines(self) -> list[tuple[str, str]]:
        tries = "retry" if self.retries == 1 else "retries"
        again = f" ({self.retries:,} {tries})" if self.retries else ""
        cached, written = self.cached_input_tokens, self.written_input_tokens
        parts = [f"{cached:,} from the provider's cache"] * bool(cached)
        parts += [f"{written:,} put into it"] * bool(written)
        cheaper = f" ({', '.join(parts)})" if parts else ""
        word = f"{dollars(abs(self.saved), 0)} {'saved' if self.saved > 0 else 'more'}"
        by = f" ({word} by the provider's cache)" if self.saved else ""
        tokens = self.reasoning_tokens
        reasoning = f" ({tokens:,} of them reasoning)" if tokens else ""
        return [
            ("rows", f"{self.rows:,}"),
            ("from the cache", f"{self.cached:,}{' (free)' * (self.cached > 0)}"),
            ("failed", f"{self.failed:,}"),
            ("requests sent", f"{self.requests:,}{again}"),
            ("tokens in", f"{self.input_tokens:,}{cheaper}"),
            ("tokens out", f"{self.output_tokens:,}{reasoning}"),
            ("cost", dollars(self.known_cost, self.unpriced) + by),
            ("time", f"{self.seconds:,.1f} s"),
        ]


@dataclass(slots=True)
class Totals:
    """Counters of a running run; the bar reads them from another thread."""

    rows: int = 0
    done: int = 0
    failed: int = 0
    cached: int = 0
    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    written_input_tokens: int = 0
    saved: float = 0.0
    known_cost: float = 0.0
    unpriced: int = 0
    simulated: bool = False

    def pay(self, cost: float, tokens: Tokens, saved: float = 0.0) -> None:
        """Count what one reply used; NaN is an unknown price."""
        self.written_input_tokens += tokens.written
        self.saved += saved
        self.input_tokens += tokens.input
        self.output_tokens += tokens.output
        self.cached_input_tokens += tokens.cached_input
        self.reasoning_tokens += tokens.reasoning
        if cost == cost:  # noqa: PLR0124 - quicker than math.isnan, for every row
            self.known_cost += cost
        else:
            self.unpriced += 1

    def usage(self, seconds: float) -> Usage:
        """Return the frozen sum."""
        return Usage(**self.counts(Usage), seconds=seconds)

    def counts(self, kind: type[Counts]) -> dict[str, Any]:
        """Return the counters that another kind of counts has too."""
        names = (field.name for field in fields(kind))
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

"""What rows cost: prices per row, and a budget that rows in flight count against."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Endpoint

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "local")
_MILLION = 1_000_000
_PLAIN = 30_000
"""Prompts up to here are priced in proportion. Tiers for long contexts start at
100,000 tokens and above; looking a row up in the table takes 170 µs."""


class _Rates(NamedTuple):
    """Dollars a token."""

    input: float
    output: float
    cached_input: float


class Prices:
    """Prices of one model at one endpoint.

    Rows are priced one by one, never as a sum of tokens: a run of short prompts
    would fall into the tier for long ones.

    Parameters
    ----------
    endpoint : Endpoint
        Whose model.
    given : mapping of str to (float, float), optional
        Dollars per million tokens in and out, by model. Without it the table of
        the package `genai-prices` is asked, if it is installed (extra ``cost``).

    Examples
    --------
    >>> from pandas_llm.types import Endpoint, Tokens
    >>> endpoint = Endpoint("openai", "http://localhost/v1", "m", None)
    >>> Prices(endpoint, {"m": (1.0, 4.0)}).of(Tokens(1_000_000, 500_000))
    3.0
    >>> Prices(endpoint).of(Tokens(10, 10))
    nan
    """

    def __init__(
        self,
        endpoint: Endpoint,
        given: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._table: Any = None
        self._rates = self._given(given) or self._listed()

    @property
    def known(self) -> bool:
        """Whether there is a price at all."""
        return self._rates is not None

    def of(self, tokens: Tokens) -> float:
        """Give the dollars that an exchange costs; NaN when the price is unknown."""
        rates = self._rates
        if rates is None:
            return math.nan
        if tokens.input > _PLAIN and self._table is not None:
            return self._looked_up(tokens.input, tokens.output, tokens.cached_input)
        fresh = tokens.input - tokens.cached_input
        return (
            fresh * rates.input
            + tokens.output * rates.output
            + tokens.cached_input * rates.cached_input
        )

    def most(self, size: int, output: int) -> float:
        """Give the most that a body of `size` bytes and its answer may cost.

        A token is a byte at least, so with `max_tokens` nothing can cost more.
        """
        return self.of(Tokens(size, output))

    def _given(self, given: Mapping[str, tuple[float, float]] | None) -> _Rates | None:
        model, provider = self._endpoint.model, self._endpoint.provider
        for name in (model, f"{provider}/{model}"):
            if given and name in given:
                into, out = (price / _MILLION for price in given[name])
                return _Rates(into, out, into)
        return None

    def _listed(self) -> _Rates | None:
        host = urlsplit(self._endpoint.base_url).hostname
        if host in _LOOPBACK:
            return None  # no table knows it, and importing one takes most of a second
        try:
            import genai_prices
        except ImportError:
            return None
        self._table = genai_prices
        try:
            into, out = self._looked_up(1000, 0, 0), self._looked_up(0, 1000, 0)
            cached = self._looked_up(1000, 0, 1000)
        except LookupError:
            self._table = None
            return None
        return _Rates(into / 1000, out / 1000, cached / 1000)

    def _looked_up(self, into: int, out: int, cached: int) -> float:
        usage = self._table.Usage(
            input_tokens=into, output_tokens=out, cache_read_tokens=cached
        )
        price = self._table.calc_price(
            usage, self._endpoint.model, provider_api_url=self._endpoint.base_url
        )
        return float(price.total_price)


class CostBudget:
    """Dollars that may still be spent; rows in flight hold what they may cost.

    Parameters
    ----------
    limit : float or None
        The most to spend; None for no bound.

    Examples
    --------
    >>> budget = CostBudget(1.0)
    >>> budget.reserve(0.75), budget.reserve(0.75)
    (True, False)
    >>> budget.settle(0.75, 0.25)
    >>> budget.reserve(0.75)
    True
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.spent = 0.0
        self.reserved = 0.0
        self.holders = 0
        """How many amounts are held; sums of dollars never come back to exactly 0."""

    def reserve(self, cost: float) -> bool:
        """Hold an amount, if it fits."""
        if self.limit is not None and self.spent + self.reserved + cost > self.limit:
            return False
        self.reserved += cost
        self.holders += 1
        return True

    def settle(self, reserved: float, cost: float) -> None:
        """Give what was held back and book what it came to."""
        self.holders = max(0, self.holders - 1)
        self.reserved = max(0.0, self.reserved - reserved) if self.holders else 0.0
        # what cannot be told, for want of token counts, is taken to be the most
        self.spent += reserved if math.isnan(cost) else cost

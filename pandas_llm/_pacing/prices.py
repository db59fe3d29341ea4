"""What rows cost: prices per row, and a budget that rows in flight count against."""

from __future__ import annotations

import math
from operator import mul
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from pandas_llm.errors import (
    ConnectionBrokenError,
    ConnectionFailedError,
    UnreachableError,
)
from pandas_llm.types import Choice, Reply, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.errors import LLMError
    from pandas_llm.types import Endpoint, HTTPResponse

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "local")
_MILLION = 1_000_000
_OK = 200
_GATEWAYS = (408, 499, 502, 504, 520, 524)
"""Statuses of a server in between that gave up on the one behind it, which may have
gone on and may bill. Vendors do not bill what they refuse or fail at themselves."""
_PLAIN = 30_000
"""Prompts up to here are priced in proportion. Tiers for long contexts start at
100,000 tokens and above; looking a row up in the table takes 170 µs."""


_BATCH = 0.5
"""The share of its price that a request in a batch costs, if the table has none."""
_TIERS = 16
"""Tiers whose rates are kept; an answer could name any number."""


_Rates: TypeAlias = "tuple[float, ...]"
"""Dollars a token, by what it is, as in `_parts`."""


class Prices:
    """Prices of one model at one endpoint: the caller's, else those of `genai-prices`.

    Rows are priced one by one, never as a sum of tokens: a run of short prompts would
    fall into the tier for long ones.

    >>> from pandas_llm.types import Endpoint, Tokens
    >>> endpoint = Endpoint("openai", "http://localhost/v1", "m", None)
    >>> prices = Prices(endpoint, {"m": (1.0, 4.0)})
    >>> prices.of(Tokens(1_000_000, 500_000), batch=True)
    1.5
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prices: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._table: Any = None
        self._rates = self._set_by_caller(prices) or self._listed()
        free = self._rates is not None and not any(self._rates)
        self.unsaid = 0.0 if free else math.nan
        """Dollars of an exchange that counts no tokens."""
        self._by: dict[tuple[str | None, bool], tuple[_Rates, float]] = {}
        """Rates and a factor, by tier and whether it is a batch."""

    @property
    def known(self) -> bool:
        """Whether there is a price at all."""
        return self._rates is not None

    def of(
        self, tokens: Tokens, tier: str | None = None, *, batch: bool = False
    ) -> float:
        """Return the dollars that an exchange costs; NaN when the price is unknown."""
        if self._rates is None:
            return math.nan
        if (priced := self._by.get((tier, batch))) is None:
            priced = self._of_tier(tier, batch=batch)
        rates, share = priced
        if tokens.input > _PLAIN and self._table is not None:
            return share * self._looked_up(tokens, _context(tier, batch=batch))
        return float(share * sum(map(mul, _parts(tokens), rates)))

    def billed(self, told: Used | Reply, *, batch: bool = False) -> float:
        """Return the dollars of an exchange by what is told of it; else `unsaid`.

        Some servers send zeros, or nothing, in place of what they do not count.
        """
        tokens, cost = told.tokens, told.cost
        if cost is not None:
            return cost if cost or any(tokens or ()) else self.unsaid
        wrote = isinstance(told, Reply) and any(map(_is_written, told.choices))
        if tokens is None or not _is_whole(tokens, wrote=wrote):
            return self.unsaid
        return self.of(tokens, told.tier, batch=batch)

    def saved(
        self, tokens: Tokens, tier: str | None = None, *, batch: bool = False
    ) -> float:
        """Return what the provider's cache has saved of an exchange; 0 if not known.

        It is below 0 where more was put in than read.
        """
        if self._rates is None or not (tokens.cached_input or tokens.written):
            return 0.0
        fresh = tokens._replace(cached_input=0, written=0, written_hour=0)
        return self.of(fresh, tier, batch=batch) - self.of(tokens, tier, batch=batch)

    def most(  # noqa: PLR0913 - what may make it dearer
        self,
        size: int,
        output: int,
        tier: str | None = None,
        *,
        hour: bool = False,
        batch: bool = False,
        sound: bool = False,
    ) -> float:
        """Return the most that a body of `size` bytes and its answer may cost.

        A token is a byte at least, so with `max_tokens` nothing can cost more: not if
        the provider keeps the body (for an `hour`), nor in any tier that was met. With
        `sound` all of it may be audio.
        """
        ways = [Tokens(size, output), Tokens(size, output, 0, output, size)]
        if hour:
            ways.append(Tokens(size, output, 0, 0, size, size))
        if sound:
            ways.append(Tokens(size, output, audio=size))
        tiers = {None} if batch else {None, tier, *(name for name, _ in self._by)}
        return max(self.of(way, name, batch=batch) for name in tiers for way in ways)

    def _set_by_caller(
        self, prices: Mapping[str, tuple[float, float]] | None
    ) -> _Rates | None:
        model, provider = self._endpoint.model, self._endpoint.provider
        for name in (model, f"{provider}/{model}"):
            if prices and name in prices:
                into, out = (price / _MILLION for price in prices[name])
                return into, out, into, out, into, into, into
        return None

    def _listed(self) -> _Rates | None:
        if self._endpoint.path is not None:
            return (0.0,) * 7  # it runs here
        host = urlsplit(self._endpoint.base_url).hostname
        if host in _LOOPBACK:
            return None  # no table knows it, and importing one takes most of a second
        try:
            import genai_prices
        except ImportError:
            return None
        self._table = genai_prices
        try:
            return self._rates_in({})
        except LookupError:
            self._table = None
            return None

    def _of_tier(self, tier: str | None, *, batch: bool) -> tuple[_Rates, float]:
        """Return the rates of a tier, and what they are multiplied by."""
        assert self._rates is not None  # noqa: S101 - asked before
        rates, share = self._rates, 1.0
        if self._table is not None and (tier or batch):
            rates = self._rates_in(_context(tier, batch=batch))
        if batch and rates == self._rates:
            share = _BATCH
        if len(self._by) < _TIERS:
            self._by[tier, batch] = rates, share
        return rates, share

    def _rates_in(self, context: Mapping[str, str]) -> _Rates:
        """Return the table's rates for short prompts."""
        some = 1000
        kinds = (
            *(Tokens(some), Tokens(0, some), Tokens(some, cached_input=some)),
            *(Tokens(0, some, reasoning=some), Tokens(some, written=some)),
            *(Tokens(some, written=some, written_hour=some), Tokens(some, audio=some)),
        )
        return tuple(self._looked_up(kind, context) / some for kind in kinds)

    def _looked_up(self, tokens: Tokens, context: Mapping[str, str]) -> float:
        """Return what the table says; kinds without tokens are not named."""
        _, _, cached, reasoning, written, hour, audio = _parts(tokens)
        kinds = {
            "cache_read_tokens": cached,
            "output_reasoning_tokens": reasoning,
            "cache_write_tokens": written + hour,
            "cache_write_1h_tokens": hour,
            "input_audio_tokens": audio,
        }
        usage = self._table.Usage(
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            **{name: count for name, count in kinds.items() if count},
        )
        price = self._table.calc_price(
            usage,
            self._endpoint.model,
            provider_api_url=self._endpoint.base_url,
            price_context=context or None,
        )
        return float(price.total_price)


def _context(tier: str | None, *, batch: bool) -> dict[str, str]:
    """Return the table's names for a tier or a batch."""
    if batch:
        return {"processing": "batch"}
    return {"service_tier": tier} if tier else {}


def _is_written(choice: Choice) -> bool:
    """Return whether the model has written a text, which decisions are not."""
    decided = choice.odds is not None and choice.odds.source == "decisions"
    return bool(choice.text) and not decided


def _is_whole(tokens: Tokens, *, wrote: bool) -> bool:
    """Return whether counts hold all that is billed, and do not contradict each other.

    >>> [_is_whole(one, wrote=True) for one in (Tokens(9, 5, 8, 3), Tokens(9, 5, 20))]
    [True, False]
    """
    into, out, cached, reasoning, written, *_ = tokens
    inside = cached + written <= into and reasoning <= out
    return inside and into > 0 and (out > 0 or not wrote)


def _parts(tokens: Tokens) -> tuple[int, int, int, int, int, int, int]:
    """Return the tokens of each rate, each counted once and never below 0.

    >>> _parts(Tokens(100, 20, 30, 5, 50, 10, 15))
    (5, 15, 30, 5, 40, 10, 15)
    """
    into, out, cached, reasoning, written, hour, audio = tokens
    cached = min(cached, into)
    written = min(written, into - cached)
    hour, reasoning = min(hour, written), min(reasoning, out)
    fresh, plain = into - cached - written, out - reasoning
    audio = min(audio, fresh)
    return fresh - audio, plain, cached, reasoning, written - hour, hour, audio


class CostBudget:
    """Dollars that may still be spent; rows in flight hold what they may cost."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.spent = self.unknown = 0.0
        """Dollars in all; those of them that are the most it may have been."""
        self.reserved = 0.0
        self.holders = 0
        """How many amounts are held; sums of dollars rarely return to exactly 0."""

    def reserve(self, cost: float) -> bool:
        """Hold an amount, if it fits."""
        if self.limit is not None and self.spent + self.reserved + cost > self.limit:
            return False
        self.reserved += cost
        self.holders += 1
        return True

    def settle(self, reserved: float, cost: float) -> None:
        """Release what was held back and book what it came to."""
        self.holders = max(0, self.holders - 1)
        self.reserved = max(0.0, self.reserved - reserved) if self.holders else 0.0
        if math.isnan(cost):  # lost or not counted, so it is taken to be the most
            self.unknown += (cost := reserved)
        self.spent += cost


def refused(response: HTTPResponse) -> bool:
    """Return whether an answer without counts means that nothing is billed."""
    return not _OK <= response.status < _OK + 100 and response.status not in _GATEWAYS


def unsent(error: LLMError) -> bool:
    """Return whether a request without an answer cannot have reached the server."""
    if isinstance(error, ConnectionBrokenError):
        return error.unwritten
    return isinstance(error, (ConnectionFailedError, UnreachableError))

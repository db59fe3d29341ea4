"""What a run would take, before it is made."""

from __future__ import annotations

import math
import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pandas_llm import blocking, images, tables
from pandas_llm.connection import offline_client
from pandas_llm.feed import Feed
from pandas_llm.frame import take
from pandas_llm.job import Job
from pandas_llm.limits import Calibration, estimate_tokens
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm.prices import Prices
    from pandas_llm.shape import Recipe
    from pandas_llm.store import Details


_DEVIATIONS = 1.96
"""Standard errors to each side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True, repr=False)
class Estimate(tables.Table):
    """What a run would take.

    Attributes
    ----------
    rows : int
        Rows of the input.
    requests : int
        Requests to send: without rows that are NA, cached, or equal to another.
    cached : int
        Rows whose reply is kept.
    input_tokens, output_tokens : int
        Of the requests; by characters, or as the pilot's rows had them.
    cost : float
        Dollars; NaN when the price is unknown.
    low, high : float
        Where the cost lies with 95 % confidence by the pilot; NaN without one.
    pilot : int
        Rows that were answered to find out. Their replies are kept.
    """

    rows: int
    requests: int
    cached: int
    input_tokens: int
    output_tokens: int
    cost: float
    low: float = math.nan
    high: float = math.nan
    pilot: int = 0

    def _lines(self) -> list[tuple[str, str]]:
        cost = "unknown price" if math.isnan(self.cost) else f"${self.cost:,.4g}"
        if not math.isnan(self.low):
            cost += f" (${self.low:,.4g} to ${self.high:,.4g})"
        output = "" if self.pilot else " (a guess; pilot=20 finds out)"
        return [
            ("rows", f"{self.rows:,}"),
            ("cached", f"{self.cached:,}"),
            ("requests to send", f"{self.requests:,}"),
            ("tokens in", f"{self.input_tokens:,}"),
            ("tokens out", f"{self.output_tokens:,}{output}"),
            ("cost", cost),
        ]

    def _title(self) -> str:
        return "Estimate"


@dataclass(slots=True)
class _Survey:
    """What a look at all rows has found."""

    rows: int
    positions: list[int]
    weights: float
    cached: int
    prices: Prices


def estimate(recipe: Recipe, data: Any, pilot: int = 0) -> Estimate:
    """Estimate a run; with `pilot`, answer so many of its rows first.

    Parameters
    ----------
    recipe : Recipe
        Of the plan.
    data : DataFrame, Series or list of dicts
        The rows.
    pilot : int, default 0
        Rows to answer. They are cached, so the run itself does not pay for them
        again.
    """
    found = _survey(recipe, data)
    seen: Sequence[Details] = ()
    if pilot and found.positions:
        seen = _answered(recipe, take(data, found.positions[:pilot]))
        found = _survey(recipe, data)
    requests = len(found.positions)
    settings = recipe.settings
    if not seen:
        calibration = Calibration(counts_max_tokens=False)
        out = calibration.estimate(0.0, settings.max_tokens, settings.n)
        each = Tokens(round(found.weights / max(1, requests)), round(out))
        cost = found.prices.of(each) * requests
        return Estimate(
            found.rows,
            requests,
            found.cached,
            round(found.weights),
            round(out * requests),
            cost,
        )
    used = [Tokens(one.input_tokens, one.output_tokens) for one in seen]
    costs = [found.prices.of(tokens) for tokens in used]
    mean, spread = statistics.fmean(costs), 0.0
    if len(costs) > 1:
        spread = _DEVIATIONS * statistics.stdev(costs) / math.sqrt(len(costs))
    return Estimate(
        found.rows,
        requests,
        found.cached,
        round(statistics.fmean(tokens.input for tokens in used) * requests),
        round(statistics.fmean(tokens.output for tokens in used) * requests),
        mean * requests,
        max(0.0, mean - spread) * requests,
        (mean + spread) * requests,
        len(seen),
    )


def _survey(recipe: Recipe, data: Any) -> _Survey:
    """Make all requests, and send none."""
    job = Job(recipe, data)

    async def look() -> _Survey:
        async with AsyncExitStack() as stack:
            client = offline_client(job.endpoints[0], job.ask(stack))
            requests = job.prompts.requests(client.spec)
            feed = Feed(requests, client, job.run, job.store, recipe.settings)
            found = _Survey(job.store.rows, [], 0.0, 0, client.prices)
            while (item := await feed.next()) is not None:
                found.positions.append(item.position)
                system = item.request.system or ""
                found.weights += estimate_tokens(item.request.prompt + system)
                found.weights += images.weight(item.request)
            found.cached = job.run.totals.cached
            return found

    return blocking.run(look)


def _answered(recipe: Recipe, rows: Any) -> list[Details]:
    """Answer the rows of a pilot; their replies go to the cache."""
    settings = replace(recipe.settings, details=True)
    job = Job(replace(recipe, settings=settings), rows)
    with job:
        blocking.run(job.execute, loop=settings.loop, tick=job.tick)
    return [details for details in (job.store.details or {}).values() if details.text]

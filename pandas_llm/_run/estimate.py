"""What a run would take, before it is made."""

from __future__ import annotations

import math
import statistics
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm._client import offline_client, resolve_endpoint
from pandas_llm._display import Table
from pandas_llm._engine import Feed
from pandas_llm._inputs import attachments
from pandas_llm._pacing import Prices, estimate_tokens
from pandas_llm._rows import source_of
from pandas_llm._run import blocking
from pandas_llm._run.guess import written
from pandas_llm._run.ledger import Joint, joined
from pandas_llm._run.run import TaskRun
from pandas_llm.errors import InvalidValueError, LLMError, LLMWarning, warn
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._run.task import Task


_MANY, _DEAR = 1_000, 10.0
"""Rows and dollars from which a run without `max_cost` is worth a word."""
_LOOKS = 50
"""Rows that are looked at for it."""
_DEVIATIONS = 1.96
"""Standard errors to each side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True, repr=False)
class Estimate(Table):
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
        Of the requests; by characters and the form that is asked for, by the
        answers of these rows that are kept, or as the pilot's rows had them.
    cost : float
        Dollars; NaN when the price is unknown.
    low, high : float
        Where the cost lies with 95 % confidence by the pilot; NaN when the price is
        unknown, and with fewer than two rows to tell it by.
    pilot : int
        Rows that were answered to find out. Their replies are kept.
    fewest : int, optional
        Requests at the least, where it depends on the answers how many there are;
        `requests`, tokens and cost then are the most.
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
    fewest: int | None = None

    def between(self, least: float, most: float) -> Estimate:
        """Return an estimate of some questions for between so many times as many."""
        low, high = (
            self.cost if math.isnan(end) else end for end in (self.low, self.high)
        )
        return replace(
            self,
            requests=round(self.requests * most),
            input_tokens=round(self.input_tokens * most),
            output_tokens=round(self.output_tokens * most),
            cost=self.cost * most,
            low=low * least,
            high=high * most,
            fewest=round(self.requests * least),
        )

    def after(self, first: Estimate) -> Estimate:
        """Return an estimate with what another run takes before."""
        fewest = self.requests if self.fewest is None else self.fewest
        return replace(
            self,
            requests=self.requests + first.requests,
            cached=self.cached + first.cached,
            input_tokens=self.input_tokens + first.input_tokens,
            output_tokens=self.output_tokens + first.output_tokens,
            cost=self.cost + first.cost,
            low=self.low + first.cost,
            high=self.high + first.cost,
            fewest=fewest + first.requests,
        )

    def _lines(self) -> list[tuple[str, str]]:
        unknown = math.isnan(self.cost)
        cost = "unknown price" if unknown else f"${self.cost:,.4g}"
        if not unknown and not math.isnan(self.low):
            cost += f" (${self.low:,.4g} to ${self.high:,.4g})"
        output = "" if self.pilot else " (a guess; pilot=20 finds out)"
        count = f"{self.requests:,}"
        if self.fewest is not None:
            count = f"{self.fewest:,} to {count}, by the answers"
        return [
            ("rows", f"{self.rows:,}"),
            ("cached", f"{self.cached:,}"),
            ("requests to send", count),
            ("tokens in", f"{self.input_tokens:,}"),
            ("tokens out", f"{self.output_tokens:,}{output}"),
            ("cost", cost),
        ]

    def _title(self) -> str:
        return "Estimate"


class _PilotRow(NamedTuple):
    """What one row of a pilot took."""

    tokens: Tokens
    cost: float


@dataclass(slots=True)
class _Unsent:
    """What a look at all rows has found: the requests that a run would send."""

    rows: int
    positions: list[int]
    weights: float
    cached: int
    prices: Prices
    heard: float = 0.0
    """Those of the weights that are audio."""
    written: float | None = None
    """Tokens of the answers that are kept, the mean; None without any."""
    each: int = 1
    """Requests a row: one a closed key, where tokens tell its probabilities."""


def estimate_run(task: Task, data: Any, pilot: int = 0) -> Estimate:
    """Estimate a run; with `pilot`, answer so many of its rows first.

    Parameters
    ----------
    task : Task
        Of the plan.
    data : DataFrame, Series or list of dicts
        The rows.
    pilot : int, default 0
        Rows to answer. They are cached, so the run itself does not pay for them
        again.
    """
    _check_pilot(pilot)
    if not source_of(data).rows:
        return Estimate(0, 0, 0, 0, 0, 0.0)
    unsent = _look_at_rows(task, data)
    seen: Sequence[_PilotRow] = ()
    if pilot and unsent.positions:
        seen = _pilot(task, data, unsent.positions[:pilot])
        unsent = _look_at_rows(task, data)
    if not seen:
        return _unpiloted(task, unsent)
    rows = len(unsent.positions)
    requests = rows * unsent.each
    mean, low, high = _range([one.cost for one in seen])
    return Estimate(
        unsent.rows,
        requests,
        unsent.cached,
        round(statistics.fmean(one.tokens.input for one in seen) * rows),
        round(statistics.fmean(one.tokens.output for one in seen) * rows),
        mean * rows,
        low * rows,
        high * rows,
        len(seen),
    )


def _unpiloted(task: Task, found: _Unsent) -> Estimate:
    """Estimate by characters, and by the form that is asked for or kept answers."""
    requests = len(found.positions) * found.each
    out = written(task) if found.written is None else found.written / found.each
    count = max(1, len(found.positions))
    each = Tokens(round(found.weights / count), round(out))
    each = each._replace(audio=round(found.heard / count))
    tier, batch = task.settings.service_tier, task.settings.batch
    return Estimate(
        found.rows,
        requests,
        found.cached,
        round(found.weights * found.each),
        round(out * requests),
        found.prices.of(each, tier, batch=batch) * requests,
    )


def warn_of_cost(task: Task, data: Any) -> None:
    """Warn of a large run that costs much and has no `max_cost`; nothing is sent."""
    if _is_large(task, data) and (word := blocking.run(partial(_word, task, data))):
        warn(word, LLMWarning)


async def awarn_of_cost(task: Task, data: Any) -> None:
    """Warn as `warn_of_cost` does, in the caller's event loop."""
    if _is_large(task, data) and (word := await _word(task, data)):
        warn(word, LLMWarning)


def _is_large(task: Task, data: Any) -> bool:
    """Return whether a run has many rows, a known price, and nothing to bound it."""
    settings = task.settings
    if settings.max_cost is not None or settings.replay or settings.attaches:
        return False
    if not (settings.model and hasattr(data, "__len__") and len(data) >= _MANY):
        return False
    with suppress(LLMError):  # the run itself raises
        return Prices(resolve_endpoint(settings), settings.prices).known
    return False


async def _word(task: Task, data: Any) -> str | None:
    """Describe what a run may cost, by a look at rows from all over the frame."""
    spread, rows = range(0, len(data), len(data) // _LOOKS), len(data)
    with suppress(LLMError), joined(Joint()):  # the run itself raises and warns
        unsent = await _looked_at(task, data, spread)
        cost = _unpiloted(task, unsent).cost * rows / len(spread)
        if cost >= _DEAR:
            return (
                f"this run may cost about ${cost:,.0f}, by a look at {len(spread)} of "
                f"its {rows:,} rows and at what is kept: max_cost= bounds it, "
                "df.llm.estimate(…, pilot=20) finds out more"
            )
    return None


def _check_pilot(pilot: int) -> None:
    """Refuse what is no count: a slice would take -1 for all rows but one."""
    if not isinstance(pilot, Integral) or isinstance(pilot, bool) or pilot < 0:
        msg = f"pilot must be a whole number of at least 0, not {pilot!r}"
        raise InvalidValueError(msg)


def _range(costs: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of some costs and where it lies; NaN for what is not known."""
    mean = statistics.fmean(costs)
    if math.isnan(mean) or len(costs) < 2:  # noqa: PLR2004 - one row has no spread
        return mean, math.nan, math.nan
    spread = _DEVIATIONS * statistics.stdev(costs) / math.sqrt(len(costs))
    return mean, max(0.0, mean - spread), mean + spread


def _look_at_rows(task: Task, data: Any) -> _Unsent:
    """Build all requests, and send none: any loop will do."""
    return blocking.run(partial(_looked_at, task, data))


async def _looked_at(task: Task, data: Any, at: Sequence[int] | None = None) -> _Unsent:
    """Build all requests, or those of rows at some positions."""
    run = _counting(task, data, at)
    async with AsyncExitStack() as stack:
        client = offline_client(run.endpoints[0], run.setup(stack))
        requests = run.prompts.requests(client.spec)
        feed = Feed(requests, client, run.events, run.outcomes, task.settings)
        shared = sum(estimate_tokens(a + b) for a, b in client.spec.examples)
        unsent = _Unsent(run.outcomes.rows, [], 0.0, 0, client.prices)
        if client.spec.odds in ("words", "codes"):
            unsent.each = len(task.output.questions) + bool(task.output.open)
        while (bundle := await feed.next()) is not None:
            (item,) = bundle
            unsent.positions.append(item.position)
            system = item.request.system or ""
            unsent.weights += estimate_tokens(item.request.text + system)
            unsent.weights += shared
            unsent.weights += attachments.weight(item.request, client.provider)
            unsent.heard += attachments.weight(item.request, client.provider, "audio/")
    unsent.cached = run.events.totals.cached
    kept = (run.outcomes.details or {}).values()
    counted = [one.output_tokens for one in kept if one.output_tokens]
    unsent.written = statistics.fmean(counted) if counted else None
    return unsent


def _counting(task: Task, data: Any, at: Sequence[int] | None = None) -> TaskRun:
    """Make a run that keeps what each row used; its result has no columns for that."""
    run = TaskRun(task, data, at=at)
    run.outcomes.details = {}
    return run


def _pilot(task: Task, data: Any, at: Sequence[int]) -> list[_PilotRow]:
    """Answer the rows of a pilot; their replies go to the cache."""
    settings = replace(task.settings, on_row=None)  # the run calls it for these rows
    run = _counting(replace(task, settings=settings), data, at)
    run.finish(run.execute)
    # each row at the price of the model and tier that answered it; the rows to come
    # may be in a batch
    prices = [Prices(endpoint, task.settings.prices) for endpoint in run.endpoints]
    answers = []
    for position, details in (run.outcomes.details or {}).items():
        used = Tokens(details.input_tokens, details.output_tokens)
        if any(used):  # a server need not tell tokens, and none is not nothing
            who = max(1, run.outcomes.by[position]) - 1
            tier, batch = details.service_tier, task.settings.batch
            cost = prices[who].of(used, tier, batch=batch)
            answers.append(_PilotRow(used, cost))
    return answers

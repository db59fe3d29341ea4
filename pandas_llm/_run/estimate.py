"""How much a run would send and cost, before it is made."""

from __future__ import annotations

import math
import statistics
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._client import offline_client, resolve_endpoint
from pandas_llm._display import SmallTable
from pandas_llm._inputs import attachments
from pandas_llm._pacing import Prices, estimate_tokens
from pandas_llm._rows import source_of
from pandas_llm._run import blocking
from pandas_llm._run.ledger import Ledger, sharing
from pandas_llm._run.run import TaskRun
from pandas_llm.errors import LLMError, LLMWarning, warn
from pandas_llm.options import check_value, whole
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm._run.task import Task


_MANY, _EXPENSIVE = 1_000, 10.0
"""Rows and dollars from which a run without `max_cost` is warned of."""
_LOOKS = 50
"""Rows that such a warning looks at."""
_DEVIATIONS = 1.96
"""Standard errors to each side that hold 95 % of a normal distribution."""
_PROSE = 50.0
"""Tokens of an answer without a schema: two sentences."""
_TEXT = 7.0
"""Tokens of a text in a record: a name or half a sentence."""
_OTHER = 8.0
"""Tokens of a value of any type."""
_VALUES: Mapping[str, float] = {
    "integer": 1.5,
    "number": 2.5,
    "boolean": 1.0,
    "null": 1.0,
    "string": _TEXT,
}
_FORMATS: Mapping[str, float] = {"date": 6.0, "date-time": 12.0, "time": 6.0}
_MARKS = 2.0
"""Quotes, colon and comma around a name and its value; many are one token."""
_ITEMS = 2.0
"""Items of a list without a length."""
_DEEP = 6


@dataclass(frozen=True, slots=True, repr=False)
class Estimate(SmallTable):
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
        """Return this estimate for `least` to `most` times as many questions."""
        known = not math.isnan(self.low)
        return replace(
            self,
            requests=round(self.requests * most),
            input_tokens=round(self.input_tokens * most),
            output_tokens=round(self.output_tokens * most),
            cost=self.cost * most,
            low=(self.low if known else self.cost) * least,
            high=(self.high if known else self.cost) * most,
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


def estimate_run(task: Task, data: Any, pilot: int = 0) -> Estimate:
    """Estimate a run; with `pilot`, answer so many of its rows first.

    Their replies are cached, so the run itself does not pay for them again.
    """
    check_value("pilot", pilot, whole(0))
    if not source_of(data).rows:
        return Estimate(0, 0, 0, 0, 0, 0.0)
    look = partial(_look_at, task, data)
    guess, unsent = blocking.run(look)  # nothing is sent: any loop will do
    if not pilot or not unsent:
        return guess
    seen = _pilot(task, data, unsent[:pilot])
    guess, unsent = blocking.run(look)
    if not seen:
        return guess
    used, costs = zip(*seen, strict=True)
    cost = statistics.fmean(costs)
    spread = math.nan  # one row has none
    if len(costs) > 1 and not math.isnan(cost):
        spread = _DEVIATIONS * statistics.stdev(costs) / math.sqrt(len(costs))
    rows = len(unsent)
    return replace(
        guess,
        input_tokens=round(statistics.fmean(one.input for one in used) * rows),
        output_tokens=round(statistics.fmean(one.output for one in used) * rows),
        cost=cost * rows,
        low=max(cost - spread, 0.0) * rows,  # NaN stays
        high=(cost + spread) * rows,
        pilot=len(seen),
    )


def warn_of_cost(task: Task, data: Any) -> None:
    """Warn of a large run that costs much and has no `max_cost`; nothing is sent."""
    warning = partial(_warning, task, data)
    if _is_large(task, data) and (words := blocking.run(warning)):
        warn(words, LLMWarning)


async def awarn_of_cost(task: Task, data: Any) -> None:
    """Warn as `warn_of_cost` does, in the caller's event loop."""
    if _is_large(task, data) and (words := await _warning(task, data)):
        warn(words, LLMWarning)


def _is_large(task: Task, data: Any) -> bool:
    """Return whether a run has many rows, a known price, and nothing to bound it."""
    settings = task.settings
    bounded = settings.max_cost is not None or settings.replay or settings.attaches
    many = hasattr(data, "__len__") and len(data) >= _MANY
    if many and settings.model and not bounded:
        with suppress(LLMError):  # the run itself raises
            return Prices(resolve_endpoint(settings), settings.prices).known
    return False


async def _warning(task: Task, data: Any) -> str | None:
    """Return the warning of a run's cost, by rows from all over the frame, if any."""
    spread, rows = range(0, len(data), len(data) // _LOOKS), len(data)
    # the run itself raises and warns
    with suppress(LLMError), sharing(Ledger(task.verb)):
        guess, _ = await _look_at(task, data, spread)
        cost = guess.cost * rows / len(spread)
        if cost >= _EXPENSIVE:
            return (
                f"this run may cost about ${cost:,.0f}, by a look at {len(spread)} of "
                f"its {rows:,} rows and at what is kept: max_cost= bounds it, "
                "df.llm.estimate(…, pilot=20) finds out more"
            )
    return None


async def _look_at(
    task: Task, data: Any, at: Sequence[int] | None = None
) -> tuple[Estimate, list[int]]:
    """Estimate by the requests of all rows, or of some; return whose are unsent."""
    run = TaskRun(task, data, at=at, counts_rows=True)
    unsent: list[int] = []
    weight = heard = 0.0  # tokens, and those of them that are audio
    async with AsyncExitStack() as stack:
        client = offline_client(run.endpoints[0], run.setup(stack))
        spec, provider, feed = client.spec, client.provider, run.feed(client)
        shared = sum(estimate_tokens(a + b) for a, b in spec.examples)
        while (bundle := await feed.next()) is not None:
            (item,) = bundle
            unsent.append(item.position)
            request = item.request
            weight += estimate_tokens(request.text + (request.system or "")) + shared
            weight += attachments.weight(request, provider)
            heard += attachments.weight(request, provider, "audio/")
    each = 1  # requests a row: one a closed key, where tokens tell its probabilities
    if spec.odds in ("words", "codes"):
        each = len(task.output.questions) + bool(task.output.open)
    details = (run.outcomes.details or {}).values()
    lengths = [one.output_tokens for one in details if one.output_tokens]
    out = statistics.fmean(lengths) / each if lengths else _likely(task)
    rows, count = max(1, len(unsent)), len(unsent) * each
    mean = Tokens(round(weight / rows), round(out), audio=round(heard / rows))
    tier, batch = task.settings.service_tier, task.settings.batch
    guess = Estimate(
        run.outcomes.rows,
        count,
        run.events.totals.cached,
        round(weight * each),
        round(out * count),
        client.prices.of(mean, tier, batch=batch) * count,
    )
    return guess, unsent


def _pilot(task: Task, data: Any, at: Sequence[int]) -> list[tuple[Tokens, float]]:
    """Answer the rows of a pilot; return the tokens and the cost of each that tells."""
    settings = replace(task.settings, on_row=None)  # the run calls it for these rows
    own = replace(task, settings=settings)
    run = TaskRun(own, data, at=at, counts_rows=True)
    run.finish(run.execute)
    # each row at the price of the model and tier that answered it; the rows to come
    # may be in a batch
    prices = [Prices(endpoint, task.settings.prices) for endpoint in run.endpoints]
    answers = []
    for position, details in (run.outcomes.details or {}).items():
        used = Tokens(details.input_tokens, details.output_tokens)
        if any(used):  # a server need not tell tokens, and none is not nothing
            price = prices[run.outcomes.by[position] - 1]
            tier, batch = details.service_tier, task.settings.batch
            answers.append((used, price.of(used, tier, batch=batch)))
    return answers


# -- how long an answer will be, by its schema -------------------------------------


def _likely(task: Task) -> float:
    """Return how many tokens a row's answer may have, with all its choices."""
    schema, settings = task.output.schema, task.settings
    each = _PROSE if schema is None else _value(schema, schema)
    if settings.max_tokens is not None:
        each = min(each, settings.max_tokens)
    return settings.n * each


def _value(  # noqa: PLR0911 - a form a line
    schema: Any, root: Mapping[str, Any], depth: int = 0
) -> float:
    """Return the likely tokens of a value."""
    if not isinstance(schema, dict) or depth > _DEEP:
        return _OTHER
    if (name := schema.get("$ref")) is not None:
        definition = root.get("$defs", {}).get(str(name).rpartition("/")[2])
        return _value(definition, root, depth + 1)
    if values := [schema["const"]] if "const" in schema else schema.get("enum"):
        return statistics.fmean(map(_known, values))
    if kinds := schema.get("anyOf"):
        return max(_value(kind, root, depth + 1) for kind in kinds)
    fields = schema.get("properties")
    if fields is not None:
        inside = (
            estimate_tokens(name) + _MARKS + _value(field, root, depth + 1)
            for name, field in fields.items()
        )
        return sum(inside, 2.0)
    kind = schema.get("type")
    if kind == "array":
        items = max(_ITEMS, float(schema.get("minItems", 0)))
        items = min(items, float(schema.get("maxItems", items)))
        return 2.0 + items * _value(schema.get("items"), root, depth + 1)
    usual = _VALUES.get(str(kind), _OTHER)
    return _FORMATS.get(str(schema.get("format")), usual)


def _known(value: object) -> float:
    """Return the tokens of a given value."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return max(1.0, estimate_tokens(text))

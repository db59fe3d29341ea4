"""What a run says: why its rows wait, what happened to which row, what to do next."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pandas_llm._display import Status
from pandas_llm._rows import all_na
from pandas_llm.errors import UnsureError
from pandas_llm.redaction import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pandas_llm._client import Client
    from pandas_llm._engine import Outcomes
    from pandas_llm._run.prompts import Prompts
    from pandas_llm._run.task import Task

_WORDS = 301
"""Letters of a row's reason: some servers answer with a page."""


def advice(task: Task, source: Any, prompts: Prompts) -> Iterator[str]:
    """Yield what a call may not have meant, before anything is sent."""
    rows, settings = source.rows, task.settings
    name = task.template if rows > 1 else None
    if name in source.fields and task.embeds is None:
        yield f"{name!r} is sent as it is: write ${{{name}}} for the column"
    elif rows > 1 and settings.dedupe and not prompts.columns:
        yield (
            f"the template names no column, so all {rows} rows share one call and "
            "one answer: write ${column} where a row's own text belongs, or "
            "dedupe=False to ask once for each row"
        )
    for column in prompts.needed if settings.na_action else ():
        if rows > 1 and all_na(source, column):
            yield f"column {column!r} is NA in every row: nothing is sent"


def troubles(
    facts: Mapping[str, Any], broken: str | None, *, unlimited: bool
) -> Iterator[str]:
    """Yield what was not as the call meant it; `unlimited` if headroom did nothing."""
    if dropped := facts.get("dropped"):
        yield (
            f"{facts['model']} refuses {dropped}: all rows were sent without, so leave "
            "it out of the call"
        )
    if unlimited:
        yield (
            "headroom= has left nothing to others: neither headers nor options "
            "tell the account's limits. Pass what it has as requests_per_minute= "
            "or tokens_per_minute="
        )
    if broken:
        yield (
            f"the cache fails, so {broken}\n"
            "The result is whole. Pass cache= another file, or cache=False."
        )


def remarks(
    failed: Sequence[int], outcomes: Outcomes, bound: float | None, *, named: bool
) -> list[str]:
    """Count the rows that failed, are less sure than a bound, or have a remark.

    Those that are not `named` are questions, and their places are nobody's.
    """
    noted = {at: one.kind for at in outcomes.noted() if (one := outcomes.remark(at))}
    unsure = [at for at, kind in noted.items() if kind == UnsureError.kind]
    groups = {
        "failed": failed,
        f"are less sure than {bound}, so left NA": unsure,
        "are answered, with a remark": sorted({*noted} - {*unsure}),
    }
    return [
        _counted(rows, outcomes, what, named=named)
        for what, rows in groups.items()
        if rows
    ]


def _counted(rows: Sequence[int], outcomes: Outcomes, what: str, *, named: bool) -> str:
    """Count rows by the kinds of their remarks, and show the first's."""
    each = (outcomes.remark(at) for at in rows)
    counts = Counter(remark.kind for remark in each if remark is not None)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    first = outcomes.remark(rows[0])
    noun = "rows" if named else "questions"
    where = f", {place(rows[0], outcomes)}" if named else ""
    return (
        f"{len(rows)} of {outcomes.rows} {noun} {what} ({kinds}). "
        f"The first{where}: {_line(first.message if first else '')}"
    )


def place(position: int, outcomes: Outcomes) -> str:
    """Name a row."""
    # Python's own, no np.int64
    (label,) = outcomes.labels[position : position + 1].tolist()
    return f"row {position} (label {label!r})"


def _line(message: str) -> str:
    return clipped(" ".join(message.split()), _WORDS)


def status(client: Client) -> Status:
    """Return why all rows wait, if they do, and the granted pace."""
    limiter = client.pace.limiter
    if client.circuit.is_open:
        return Status("waiting for the server", outage=True, plan=limiter.plan())
    seconds, plan = limiter.waiting(), limiter.plan()
    paced = plan is not None and seconds <= 2 / plan + 1
    why = f"waiting {seconds:.0f} s: rate limit" if seconds > 1 and not paced else ""
    paced = paced and (seconds > 0 or not limiter.in_flight)
    return Status(why, seconds, plan=plan, resting=_resting(client), paced=paced)


def _resting(client: Client) -> str:
    """Describe how many rows wait on their own, and why."""
    kinds = Counter(client.pace.slots.resting)
    kinds["room for files"] += client.attached.waiting
    if not (rows := kinds.total()):
        return ""
    why = ", ".join(kind for kind, count in kinds.items() if count)
    word = "row waits" if rows == 1 else "rows wait"
    return f"{rows} {word} ({why}), {client.pace.limiter.in_flight} in flight"

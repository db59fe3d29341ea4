"""What a run warns of: before it what looks like a slip, after it what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm._rows import all_na

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pandas_llm._rows import Source
    from pandas_llm._run.prompts import Prompts
    from pandas_llm._run.task import Task


def before(task: Task, source: Source, prompts: Prompts, rows: int) -> Iterator[str]:
    """Yield warnings about a call of so many rows, of which none was sent."""
    name = task.template if rows > 1 else None
    if name in source.fields and task.embeds is None:
        yield f"{name!r} is sent as it is: write ${{{name}}} for the column"
    elif rows > 1 and task.settings.dedupe and not prompts.columns:
        yield (
            f"the template names no column, so all {rows} rows share one call and "
            "one answer: write ${column} where a row's own text belongs, or "
            "dedupe=False to ask once for each row"
        )
    for column in prompts.needed if task.settings.na_action else ():
        if rows > 1 and all_na(source, column):
            yield f"column {column!r} is NA in every row: nothing is sent"


def after(
    facts: Mapping[str, Any], broken: str | None, *, unlimited: bool
) -> Iterator[str]:
    """Yield warnings about a run that has ended.

    `broken` is why its cache fails; `unlimited`, whether a part of limits that nobody
    told was to be left.
    """
    if dropped := facts.get("dropped"):
        yield (
            f"{facts['model']} refuses {dropped}: all rows were sent without, so leave "
            "it out of the call"
        )
    if unlimited:
        yield (
            "headroom= has left nothing to others: neither headers nor options tell "
            "the account's limits. Pass what it has as requests_per_minute= or "
            "tokens_per_minute="
        )
    if broken:
        yield (
            f"the cache fails, so {broken}\n"
            "The result is whole. Pass cache= another file, or cache=False."
        )

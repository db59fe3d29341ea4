"""The commands over tables that ask no model: chunk, evaluate and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm._cli import files
from pandas_llm._cli.commands import USAGE, read, stopping
from pandas_llm._evaluation import evaluate as measure
from pandas_llm._verbs import chunk as cut
from pandas_llm.errors import LLMError, NoUsageError

if TYPE_CHECKING:
    import argparse

_refusing = stopping(USAGE, LLMError, ValueError, TypeError, OSError)


@_refusing
def chunk(words: argparse.Namespace) -> None:
    """Cut the texts of a column."""
    table = read(words)
    files.check_target(table, words.output)
    sizes = {"max_tokens": words.max_tokens, "overlap": words.overlap}
    parts = cut(table, words.column, name=words.name, **sizes)
    files.write_table(parts, words.output)


@_refusing
def evaluate(words: argparse.Namespace) -> None:
    """Print the figures, or write them."""
    table = read(words)
    agreement = measure(
        table, words.predicted, words.gold, words.by, tolerance=words.tolerance
    )
    if words.output == files.STANDARD:
        print(agreement)  # noqa: T201 - what the command is for
        return
    files.check_target(agreement.summary, words.output)
    files.write_table(agreement.summary.reset_index(), words.output)


@_refusing
def report(words: argparse.Namespace) -> None:
    """Write the page on the run that made a table."""
    table = read(words)
    try:
        page = table.llm.report()
    except NoUsageError:
        raise ValueError(
            "only Parquet keeps what its run was: write OUTPUT of the verb as "
            ".parquet, or pass the verb --report run.html"
        ) from None
    if words.output == files.STANDARD:
        print(page)  # noqa: T201 - what the command is for
        return
    files.check_page(words.output)
    page.save(words.output)

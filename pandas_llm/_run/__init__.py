"""One task over one frame: its rows, prompts, run and result; estimate."""

from __future__ import annotations

from pandas_llm._run import blocking
from pandas_llm._run.arrays import typed
from pandas_llm._run.blocking import run_for
from pandas_llm._run.estimate import Estimate, awarn_of_cost, estimate_run, warn_of_cost
from pandas_llm._run.ledger import Ledger, last_usage, listener, sharing, so_far
from pandas_llm._run.prompts import examples_of, shared_spec
from pandas_llm._run.result import recall, runs, text_table, usage
from pandas_llm._run.run import TaskRun
from pandas_llm._run.task import (
    ALONE,
    Shape,
    Task,
    Verb,
    make_task,
    output_of,
    parsed_keys,
    refuse_options,
)

__all__ = [
    "ALONE",
    "Estimate",
    "Ledger",
    "Shape",
    "Task",
    "TaskRun",
    "Verb",
    "awarn_of_cost",
    "blocking",
    "estimate_run",
    "examples_of",
    "last_usage",
    "listener",
    "make_task",
    "output_of",
    "parsed_keys",
    "recall",
    "refuse_options",
    "run_for",
    "runs",
    "shared_spec",
    "sharing",
    "so_far",
    "text_table",
    "typed",
    "usage",
    "warn_of_cost",
]

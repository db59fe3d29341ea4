"""One task over one frame: its rows, prompts, run, result; preview and estimate."""

from __future__ import annotations

from pandas_llm._run import blocking, frame
from pandas_llm._run.estimate import Estimate, estimate_run
from pandas_llm._run.frame import DETAILS, Source, runs, usage
from pandas_llm._run.preview import preview_prompts, preview_requests
from pandas_llm._run.prompts import shared_spec
from pandas_llm._run.recipe import check_given, make_recipe, output_of, parsed
from pandas_llm._run.run import Job, last_usage
from pandas_llm._run.task import Recipe, Shape, Verb
from pandas_llm._run.template import Template

__all__ = [
    "DETAILS",
    "Estimate",
    "Job",
    "Recipe",
    "Shape",
    "Source",
    "Template",
    "Verb",
    "blocking",
    "check_given",
    "estimate_run",
    "frame",
    "last_usage",
    "make_recipe",
    "output_of",
    "parsed",
    "preview_prompts",
    "preview_requests",
    "runs",
    "shared_spec",
    "usage",
]

"""Prompts before a run, answers beside their prompts after it."""

from __future__ import annotations

from pandas_llm._view.accessor_card import AccessorCard
from pandas_llm._view.page import View, report_of, view_of
from pandas_llm._view.preview import preview_prompts, preview_requests

__all__ = [
    "AccessorCard",
    "View",
    "preview_prompts",
    "preview_requests",
    "report_of",
    "view_of",
]

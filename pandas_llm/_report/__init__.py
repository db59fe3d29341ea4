"""The page on a run: its course over time, in words and pictures."""

from __future__ import annotations

from pandas_llm._report.page import Report
from pandas_llm._report.timeline import RunLog, join_summaries
from pandas_llm._report.traces import Call, Calls, Trace, traced

__all__ = ["Call", "Calls", "Report", "RunLog", "Trace", "join_summaries", "traced"]

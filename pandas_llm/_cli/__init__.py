"""The command line: verbs over files, flags made from the options, and the demo."""

from __future__ import annotations

from pandas_llm._cli.main import main

__all__ = ["main"]

"""The command line: its verbs over files, its flags, its demo."""

from __future__ import annotations

from pandas_llm._cli.main import main

__all__ = ["main"]

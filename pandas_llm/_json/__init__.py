"""JSON as models write it: found in a reply, mended, read into records."""

from __future__ import annotations

from pandas_llm._json.parsing import find_json
from pandas_llm._json.records import behind_name, find_records, named
from pandas_llm._json.validation import Reader

__all__ = ["Reader", "behind_name", "find_json", "find_records", "named"]

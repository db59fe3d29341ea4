"""What `keys` ask for: one pydantic model, its JSON schema, and typed columns."""

from __future__ import annotations

from pandas_llm._keys.booleans import check_booleans
from pandas_llm._keys.closed import questions_of
from pandas_llm._keys.columns import Column, Exact, RecordModel, mentions
from pandas_llm._keys.dtypes import is_ordered
from pandas_llm._keys.fields import UNIONS, naive_utc, strict_model
from pandas_llm._keys.model import Keys, parse_keys, parse_labels
from pandas_llm._keys.quoted import Quoted, refuse_quoted, with_places
from pandas_llm._keys.rebuild import kept_columns, keys_of
from pandas_llm._keys.schema import constrained, narrowed, portable

__all__ = [
    "UNIONS",
    "Column",
    "Exact",
    "Keys",
    "Quoted",
    "RecordModel",
    "check_booleans",
    "constrained",
    "is_ordered",
    "kept_columns",
    "keys_of",
    "mentions",
    "naive_utc",
    "narrowed",
    "parse_keys",
    "parse_labels",
    "portable",
    "questions_of",
    "refuse_quoted",
    "strict_model",
    "with_places",
]

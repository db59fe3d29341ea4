"""What `keys` ask for: one pydantic model, its JSON schema, and typed columns."""

from __future__ import annotations

from pandas_llm._keys.booleans import check_booleans
from pandas_llm._keys.closed import questions_of
from pandas_llm._keys.columns import (
    Column,
    Exact,
    Place,
    RecordModel,
    numbered,
    places_of,
)
from pandas_llm._keys.fields import UNIONS, strict_model
from pandas_llm._keys.model import Keys, parse_keys, parse_labels
from pandas_llm._keys.quoted import Quoted, refuse_quoted, with_places
from pandas_llm._keys.rebuild import keys_of
from pandas_llm._keys.schema import constrained, narrowed, portable

__all__ = [
    "UNIONS",
    "Column",
    "Exact",
    "Keys",
    "Place",
    "Quoted",
    "RecordModel",
    "check_booleans",
    "constrained",
    "keys_of",
    "narrowed",
    "numbered",
    "parse_keys",
    "parse_labels",
    "places_of",
    "portable",
    "questions_of",
    "refuse_quoted",
    "strict_model",
    "with_places",
]

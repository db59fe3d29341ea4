"""The methods behind the verbs over a table: pure numpy, nothing is sent.

A method that needs answers is a generator: it yields a round of questions, which can be
asked at once, receives their answers, and returns its result.
"""

from __future__ import annotations

from pandas_llm._algorithms.candidates import Pairs, near_pairs, near_vectors
from pandas_llm._algorithms.groups import group_pairs
from pandas_llm._algorithms.packing import pack
from pandas_llm._algorithms.ranking import (
    questions_asked,
    select_largest,
    select_largest_by_votes,
)
from pandas_llm._algorithms.thresholds import (
    Cutoffs,
    accuracy_cutoff,
    decision_cutoffs,
    sample_size,
)

__all__ = [
    "Cutoffs",
    "Pairs",
    "accuracy_cutoff",
    "decision_cutoffs",
    "group_pairs",
    "near_pairs",
    "near_vectors",
    "pack",
    "questions_asked",
    "sample_size",
    "select_largest",
    "select_largest_by_votes",
]

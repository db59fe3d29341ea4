"""The methods behind the verbs: pure numpy, nothing is sent.

A method that needs answers is a generator: it yields a round of questions, which can be
asked at once, receives their answers, and returns its result.
"""

from __future__ import annotations

from pandas_llm._algorithms.beginnings import side_by_side
from pandas_llm._algorithms.calibration import (
    Offsets,
    calibration_error,
    chosen,
    fit,
    prior,
    reliability,
)
from pandas_llm._algorithms.candidates import Pairs, near_pairs, near_vectors
from pandas_llm._algorithms.estimates import (
    NORMAL,
    drawn_mean,
    mcnemar,
    review_chances,
    systematic,
    tuned_mean,
    wilson,
)
from pandas_llm._algorithms.groups import group_pairs, questions_at_most
from pandas_llm._algorithms.packing import pack
from pandas_llm._algorithms.ranking import (
    questions_asked,
    select_largest,
    select_largest_by_votes,
)
from pandas_llm._algorithms.thresholds import (
    accuracy_cutoff,
    decision_cutoffs,
    sample_size,
)

__all__ = [
    "NORMAL",
    "Offsets",
    "Pairs",
    "accuracy_cutoff",
    "calibration_error",
    "chosen",
    "decision_cutoffs",
    "drawn_mean",
    "fit",
    "group_pairs",
    "mcnemar",
    "near_pairs",
    "near_vectors",
    "pack",
    "prior",
    "questions_asked",
    "questions_at_most",
    "reliability",
    "review_chances",
    "sample_size",
    "select_largest",
    "select_largest_by_votes",
    "side_by_side",
    "systematic",
    "tuned_mean",
    "wilson",
]

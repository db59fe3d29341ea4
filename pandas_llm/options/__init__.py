"""Options, each written once in `table`; checks, words and flags are made from it.

To add one, write it there: type, sentence, rule and default stand together.
"""

from __future__ import annotations

from pandas_llm.options.foreign import instead_of, other_verbs, verb_instead_of
from pandas_llm.options.option import Option, check_value, listed
from pandas_llm.options.rules import BOUND, CHANCE, one_of, whole
from pandas_llm.options.scopes import (
    check_options,
    get_options,
    option_context,
    resolve,
    set_options,
)
from pandas_llm.options.table import OPTIONS, Loop, Options, Settings
from pandas_llm.options.verbs import (
    ExplodeOptions,
    FilterOptions,
    LabelOptions,
    PlainLabelOptions,
    PlainOptions,
    RecordOptions,
    SeriesOptions,
    VectorOptions,
)
from pandas_llm.options.words import documented, parameters, reference

__all__ = [
    "BOUND",
    "CHANCE",
    "OPTIONS",
    "ExplodeOptions",
    "FilterOptions",
    "LabelOptions",
    "Loop",
    "Option",
    "Options",
    "PlainLabelOptions",
    "PlainOptions",
    "RecordOptions",
    "SeriesOptions",
    "Settings",
    "VectorOptions",
    "check_options",
    "check_value",
    "documented",
    "get_options",
    "instead_of",
    "listed",
    "one_of",
    "option_context",
    "other_verbs",
    "parameters",
    "reference",
    "resolve",
    "set_options",
    "verb_instead_of",
    "whole",
]

"""Options of single verbs; their defaults and rules are in the verbs' signatures."""

from typing import Annotated, Any, Literal

from pandas_llm.options.option import Option
from pandas_llm.options.table import Options

_UNFLAGGED = Option(flag=False)
"""Not on the command line."""
_Errors = Annotated[
    Literal["coerce", "raise"],
    "Whether failed rows are NA, or raise when all rows are done.",
    _UNFLAGGED,  # a failed row is empty, told, and seen in the exit code
]
_ErrorColumn = Annotated[str | None, "A column for each row's reason."]
_Overwrite = Annotated[
    bool, "Replace the columns of an earlier run; they keep their places."
]
_OnlyMissing = Annotated[
    bool, "Ask only for rows whose new columns are all NA, and fill them."
]
_Codes = Annotated[bool | None, "Ask for a letter in place of a label.", _UNFLAGGED]


class PlainOptions(Options, total=False):
    """Options of ``complete`` and ``classify`` for which the result is a Series."""

    name: Annotated[str, "The new column."]
    errors: _Errors


class SeriesOptions(PlainOptions, total=False):
    """Options of ``complete``."""

    error_column: _ErrorColumn


class PlainLabelOptions(PlainOptions, total=False):
    """Options of ``classify`` for which the result is a Series."""

    ordered: Annotated[bool, "Whether the labels are ordered, the lowest first."]
    abstain_below: Annotated[float | None, "Labels less probable than this are NA."]
    calibrate: Annotated[
        Any,
        "'prior', or the offsets of an earlier run.",
        _UNFLAGGED,  # offsets are in attrs, which files lack
    ]
    gold: Annotated[Any, "The labels that are known, to calibrate by.", _UNFLAGGED]
    codes: _Codes
    cascade: Annotated[Any, "A cheap model that answers first.", _UNFLAGGED]
    accuracy: Annotated[
        float | None, "What share of a cascade's labels must be right.", _UNFLAGGED
    ]
    delta: Annotated[float, "How likely a cascade's target may be missed.", _UNFLAGGED]
    thresholds: Annotated[
        float | None, "The threshold of an earlier cascade.", _UNFLAGGED
    ]


class LabelOptions(PlainLabelOptions, SeriesOptions, total=False):
    """Options of ``classify``."""

    confidence: Annotated[
        bool,
        "Add a column with the probability of the chosen label: confidence, or "
        "NAME_confidence where name is passed.",
    ]
    probabilities: Annotated[
        bool, "Add a column with the probability of each label: p_LABEL."
    ]


class FilterOptions(Options, total=False):
    """Options of ``filter``."""

    keep_undecided: Annotated[bool, "Keep the rows that failed."]
    threshold: Annotated[float, "The probability of yes from which a row is kept."]


class VectorOptions(SeriesOptions, total=False):
    """Options of ``embed``."""

    dimensions: Annotated[
        int | None, "The length of a vector, where the model leaves a choice."
    ]
    expand: Annotated[bool, "Put each dimension into a column of its own."]
    overwrite: _Overwrite
    only_missing: _OnlyMissing


class _RowOptions(Options, total=False):
    """Options of ``extract`` and ``generate`` beside those of the run."""

    errors: _Errors
    error_column: _ErrorColumn
    flatten: Annotated[
        bool,
        "Put the fields of nested records into columns of their own.",
        _UNFLAGGED,  # --keys cannot nest
    ]


class RecordOptions(_RowOptions, total=False):
    """Options of ``extract``."""

    confidence: Annotated[
        bool, "Add a column KEY_confidence for each key that has a set of values."
    ]
    codes: _Codes
    overwrite: _Overwrite
    only_missing: _OnlyMissing


class ExplodeOptions(_RowOptions, total=False):
    """Options of ``generate``."""

    how: Annotated[
        Literal["left", "inner"],
        "Keep a row without record as one row without values, or drop it.",
    ]
    ignore_index: Annotated[
        bool, "Number the result's rows from 0.", _UNFLAGGED  # files have no index
    ]
    unique: Annotated[
        bool, "Keep equal records of a row once; False keeps those of one reply."
    ]

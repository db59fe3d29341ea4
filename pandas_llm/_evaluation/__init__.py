"""How far to trust a column: probabilities calibrated on it, with the error left."""

from pandas_llm._evaluation.calibration import (
    Calibration,
    Offsets,
    Reliability,
    calibration_error,
    fit,
    prior,
    reliability,
)

__all__ = [
    "Calibration",
    "Offsets",
    "Reliability",
    "calibration_error",
    "fit",
    "prior",
    "reliability",
]

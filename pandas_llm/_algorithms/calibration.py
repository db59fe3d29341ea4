"""Probabilities of labels, calibrated on the column that they belong to.

A logit here is the log of a label's probability minus the mean of these logs over the
labels of its row: what the softmax of it gives is the row's probabilities again.
Calibrated are ``softmax(logits / temperature + bias)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST: Final = 1e-6
"""Probabilities below count as this: a few rows of 0 would set the column's mean."""
RIDGE: Final = 0.5
FOLDS: Final = 5
BINS: Final = 10
DRAWS: Final = 200
ROUNDS: Final = 50
STEEPEST, FLATTEST = 20.0, 0.05
"""The slope (1 / temperature) stays between: it may neither turn labels nor freeze."""


@dataclass(frozen=True)
class Offsets:
    """What calibration does to each row: a temperature and one bias a label."""

    bias: Mapping[str, float]
    """Added to each label's logit, in the order of the labels."""
    temperature: float = 1.0
    """What logits are divided by; above 1 the labels were told too surely."""

    def apply(self, probabilities: Floats) -> Floats:
        """Return calibrated probabilities, a row a text; rows with NaN stay NaN."""
        bias = np.array(list(self.bias.values()))
        return _softmax(_logits(probabilities) / self.temperature + bias)

    def to_json(self) -> dict[str, Any]:
        """Return what ``attrs`` keeps."""
        return {"temperature": self.temperature, "bias": dict(self.bias)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], labels: Sequence[str]) -> Self:
        """Return offsets that an earlier run kept, in the order of `labels`."""
        try:
            bias = {str(label): float(b) for label, b in dict(saved["bias"]).items()}
            temperature = float(saved.get("temperature", 1.0))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigurationError(
                "calibrate= takes 'prior' or the offsets of an earlier run, as its "
                "attrs have them: {'temperature': 1.2, 'bias': {label: number, …}}; "
                f"got {saved!r}"
            ) from None
        if bias.keys() != set(labels):
            raise ConfigurationError(
                f"the offsets in calibrate= are of the labels {sorted(bias)}, "
                f"this call has {sorted(labels)}: use those of a run with these labels"
            )
        known = np.isfinite([*bias.values(), temperature]).all()
        if not known or temperature <= 0:
            raise ConfigurationError(
                "the offsets in calibrate= must be finite numbers and the temperature "
                f"above 0; got {saved!r}"
            )
        return cls({label: bias[label] for label in labels}, temperature)


class Reliability(NamedTuple):
    """How often rows told with some confidence are right, in each bin with rows."""

    confidence: Floats
    """The mean of each bin."""
    accuracy: Floats
    """The share of its rows that are right."""
    rows: NDArray[np.int64]


class Calibration(NamedTuple):
    """Offsets fitted on labelled rows, and how good they are on rows not seen."""

    offsets: Offsets
    """Fitted on all labelled rows: for every other row, and for later runs."""
    held_out: Floats
    """Calibrated probabilities of the labelled rows, each by a fit without it."""
    rows: int
    """How many are labelled."""
    before: float
    """Expected calibration error on the labelled rows, as they were told."""
    after: float
    """The same, held out."""
    floor: float
    """What a perfectly calibrated model shows on as many rows."""


def prior(probabilities: Floats, labels: Sequence[str]) -> Offsets:
    """Return the offsets that take the column's mean logit off.

    A label that the prompt alone makes likely is told in every row: the mean over
    the column shows how likely (Zhou et al. 2023, "Batch calibration", with logits
    in place of probabilities). No label of a row is needed. It mends which label is
    told, not how surely, and takes a column of one label for half of each.

    >>> told = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> prior(told, ["yes", "no"]).apply(told).argmax(axis=1)
    array([0, 1])
    """
    return Offsets(dict(zip(labels, _mean_off(_logits(probabilities)), strict=True)))


def fit(
    probabilities: Floats, gold: NDArray[np.int64], labels: Sequence[str]
) -> Calibration:
    """Fit temperature and bias to labelled rows, and measure them by cross-validation.

    Platt scaling (Platt 1999; Guo et al. 2017 for more than two labels) of logits
    from which the column's mean is off: maximises ``Σ log p(gold) - ridge/2 ·
    ((slope - 1)² + Σ bias²)`` by Newton's method, ``slope = 1 / temperature``. The
    mean is taken of all rows, labelled or not: with few labels the fit starts there.
    `gold` is the position of each row's true label, -1 where it is not known.
    """
    logits = _logits(probabilities)
    mean_off = _mean_off(logits)
    labelled = np.flatnonzero((gold >= 0) & ~np.isnan(logits).any(axis=1))
    known, truth = logits[labelled], gold[labelled]
    centred, held_out = known + mean_off, np.full_like(known, np.nan)
    # Folds by true label in turn: each has its share of a rare one.
    fold = np.empty(len(truth), np.int64)
    fold[np.argsort(truth, kind="stable")] = np.arange(len(truth)) % FOLDS
    for left_out in range(FOLDS):
        out = fold == left_out
        slope, bias = _newton(centred[~out], truth[~out])
        held_out[out] = _softmax(slope * centred[out] + bias)
    slope, bias = _newton(centred, truth)
    whole = slope * mean_off + bias
    return Calibration(
        Offsets(dict(zip(labels, whole.tolist(), strict=True)), float(1 / slope)),
        held_out,
        len(truth),
        calibration_error(*chosen(_softmax(known), truth))[0],
        *calibration_error(*chosen(held_out, truth)),
    )


def chosen(
    probabilities: Floats, gold: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the confidence of each chosen label, and whether it is right.

    Rows whose position in `gold` is below 0, and rows with NaN, are left out.
    """
    known = (gold >= 0) & ~np.isnan(probabilities).any(axis=1)
    rows = probabilities[known]
    return rows.max(axis=1), rows.argmax(axis=1) == gold[known]


def reliability(confidence: Floats, right: NDArray[np.bool_]) -> Reliability:
    """Return confidence and accuracy in those of ten equal bins that have rows."""
    place = _bins(confidence)
    rows = np.bincount(place, minlength=BINS)
    some = rows > 0
    confidence_told = np.bincount(place, confidence, BINS)[some]
    hits = np.bincount(place, right, BINS)[some]
    return Reliability(confidence_told / rows[some], hits / rows[some], rows[some])


def calibration_error(
    confidence: Floats, right: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the expected calibration error, and its floor.

    It is ``Σ rows/n · |accuracy - confidence|`` over the bins (Naeini, Cooper,
    Hauskrecht 2015). That of a perfectly calibrated model is not 0: some of ten rows
    told with .8 are right nine times. The floor is its mean when the rows' correctness
    is drawn with the confidence told (a parametric bootstrap with a fixed seed).
    """
    if not len(confidence):
        return float("nan"), float("nan")
    dice, place, rows = np.random.default_rng(0), _bins(confidence), len(confidence)
    expected = np.bincount(place, confidence, BINS)

    def missed(right: NDArray[np.bool_]) -> float:
        return float(np.abs(np.bincount(place, right, BINS) - expected).sum())

    floor = sum(missed(dice.random(rows) < confidence) for _ in range(DRAWS)) / DRAWS
    return missed(right) / rows, floor / rows


def _bins(confidence: Floats) -> NDArray[np.int64]:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def _logits(probabilities: Floats) -> Floats:
    """Return the logs of probabilities less their mean over the row."""
    logs = np.log(np.maximum(np.asarray(probabilities, float), LEAST))
    centred: Floats = logs - logs.mean(axis=1, keepdims=True)
    return centred


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _mean_off(logits: Floats) -> Floats:
    """Return what takes the column's mean off each logit; 0 for a column without."""
    known = logits[~np.isnan(logits).any(axis=1)]
    return -known.mean(axis=0) if len(known) else np.zeros(logits.shape[1])


def _newton(logits: Floats, truth: NDArray[np.int64]) -> tuple[float, Floats]:
    """Return the slope and biases with the largest penalised likelihood."""
    start = at = np.r_[1.0, np.zeros(logits.shape[1])]
    for _ in range(ROUNDS):
        step = np.linalg.solve(*reversed(_slopes(at, start, logits, truth)))
        loss, share = _loss(at, start, logits, truth), 1.0
        while share > LEAST and _loss(at - share * step, start, logits, truth) > loss:
            share /= 2  # a whole step may go past the top
        at = at - share * step
        if np.abs(share * step).max() < LEAST:
            break
    return float(np.clip(at[0], FLATTEST, STEEPEST)), at[1:]


def _loss(at: Floats, start: Floats, logits: Floats, truth: NDArray[np.int64]) -> float:
    """Return the negative log-likelihood plus the ridge."""
    chance = _softmax(at[0] * logits + at[1:])[np.arange(len(truth)), truth]
    return float(RIDGE / 2 * ((at - start) ** 2).sum() - np.log(chance + 1e-300).sum())


def _slopes(
    at: Floats, start: Floats, logits: Floats, truth: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the gradient and the Hessian of the loss."""
    chances = _softmax(at[0] * logits + at[1:])
    missed = chances.copy()
    missed[np.arange(len(truth)), truth] -= 1
    gradient = np.r_[(missed * logits).sum(), missed.sum(axis=0)] + RIDGE * (at - start)
    spread = chances * (logits - (chances * logits).sum(axis=1, keepdims=True))
    hessian = np.zeros((len(at), len(at)))
    hessian[0, 0] = (spread * logits).sum()
    hessian[0, 1:] = hessian[1:, 0] = spread.sum(axis=0)
    hessian[1:, 1:] = np.diag(chances.sum(axis=0)) - chances.T @ chances
    return gradient, hessian + RIDGE * np.eye(len(at))

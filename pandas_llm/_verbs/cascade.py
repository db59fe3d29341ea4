"""A cheap model first: its sure answers are kept, the others go to a better one.

Thresholds come from a sample of rows that both answered, by `_algorithms.thresholds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pandas_llm._algorithms import (
    accuracy_cutoff,
    decision_cutoffs,
    prior,
    sample_size,
)
from pandas_llm.errors import ConfigurationError, InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pandas_llm._verbs.programs import Steps
    from pandas_llm.plan import Plan

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_PRIVATE = ("model", "base_url", "api_key", "headers", "fallback", "service_tier")
"""Options of the call that are for its own model alone."""


class Target(NamedTuple):
    """What a cascade must keep, or the thresholds that an earlier run has found."""

    least: tuple[float, ...]
    """The share of right labels, or recall and precision; empty with `thresholds`."""
    delta: float
    thresholds: tuple[float, ...] | None = None


def target_of(
    least: Mapping[str, float | None], delta: float, thresholds: Any
) -> Target:
    """Check what a cascade is asked to keep.

    Raises
    ------
    InvalidValueError
        For shares outside 0 to 1, or neither shares nor thresholds.
    """
    given = {name: value for name, value in least.items() if value is not None}
    for name, value in {**given, "delta": delta}.items():
        if type(value) not in (int, float) or not 0 < value < 1:
            msg = f"{name} must be between 0 and 1, not {value!r}"
            raise InvalidValueError(msg)
    if thresholds is not None:
        found = thresholds if isinstance(thresholds, (tuple, list)) else (thresholds,)
        numbers = all(type(one) in (int, float) for one in found)
        if not numbers or len(found) != len(least):
            what = "one number" if len(least) == 1 else "two numbers, (low, high)"
            msg = f"thresholds must be {what}, as attrs has them, not {thresholds!r}"
            raise InvalidValueError(msg)
        return Target((), delta, tuple(map(float, found)))
    if not given:
        msg = f"cascade= needs a target: pass {' and '.join(f'{n}=' for n in least)}"
        raise InvalidValueError(msg)
    return Target(tuple(given.get(name, 0.9) for name in least), delta)


def cheap_options(cascade: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the cheap model; keys go to no other provider."""
    own = {"model": cascade} if isinstance(cascade, str) else cascade
    if not isinstance(own, Mapping) or "model" not in own:
        msg = f"cascade must be a model's name, or options with one, not {cascade!r}"
        raise InvalidTypeError(msg)
    return {k: v for k, v in options.items() if k not in _PRIVATE} | dict(own)


def by_labels(
    cheap: Plan, dear: Plan, data: Any, target: Target, labels: list[Any]
) -> Steps[tuple[pd.Series, dict[str, Any]]]:
    """Classify rows: the cheap label where it is sure enough, else the dear one."""
    frame, rows = _bare(data), len(data)
    told = yield cheap, frame
    chances = told[[f"p_{label}" for label in labels]].to_numpy(float, na_value=np.nan)
    _check_told(cheap, chances)
    even = prior(chances, [str(label) for label in labels]).apply(chances)
    known = ~np.isnan(even[:, 0])
    chosen = np.where(known, np.nan_to_num(even).argmax(axis=1), -1)
    ranked = np.sort(np.nan_to_num(even, nan=1 / len(labels)), axis=1)
    sure = _without_ties(ranked[:, -1] - ranked[:, -2], known)
    answers = _Answers(labels, rows)
    sample: Ints = np.empty(0, np.int64)
    if target.thresholds is not None:
        kept = sure > target.thresholds[0]
    else:
        sample = _drawn(rows)
        yield from answers.ask(dear, frame, sample)
        wrong = answers.codes[sample] != chosen[sample]
        kept = accuracy_cutoff(
            sure, sample, wrong, accuracy=target.least[0], delta=target.delta
        )
    kept &= known & (answers.codes < 0)
    yield from answers.ask(dear, frame, np.flatnonzero(~kept & ~answers.asked))
    codes = np.where(kept, chosen, answers.codes)
    chosen_labels = [None if code < 0 else labels[code] for code in codes.tolist()]
    out = pd.Series(pd.Categorical(chosen_labels, labels), index=frame.index)
    least = float(sure[kept].min()) if kept.any() else None
    return out, _facts(target, kept, sample, [least])


def by_decisions(
    cheap: Plan, dear: Plan, data: Any, target: Target, name: str
) -> Steps[tuple[pd.Series, dict[str, Any]]]:
    """Decide yes or no: the cheap answer at both ends, the dear one in between."""
    frame, rows = _bare(data), len(data)
    told = yield cheap, frame
    value = told[name].to_numpy(float, na_value=np.nan)
    share = told[f"{name}_confidence"].to_numpy(float, na_value=np.nan)
    yes = np.where(value > 0.5, share, 1 - share)  # noqa: PLR2004 - a bool as a float
    _check_told(cheap, yes[:, None])
    pair = prior(np.column_stack([1 - yes, yes]), ["no", "yes"])
    even = pair.apply(np.column_stack([1 - yes, yes]))[:, 1]
    known = ~np.isnan(even)
    chance = _without_ties(np.nan_to_num(even, nan=0.5), known)
    answers = _Answers([False, True], rows)
    sample: Ints = np.empty(0, np.int64)
    if target.thresholds is not None:
        low, high = target.thresholds
        surely, hardly = chance > high, chance < low
    else:
        sample = _drawn(rows)
        yield from answers.ask(dear, frame, sample, name)
        recall, precision = target.least
        cut = decision_cutoffs(
            chance,
            sample,
            answers.codes[sample] == 1,
            recall=recall,
            precision=precision,
            delta=target.delta,
        )
        surely, hardly = cut.yes, cut.no
    kept = (surely | hardly) & known & (answers.codes < 0)
    yield from answers.ask(dear, frame, np.flatnonzero(~kept & ~answers.asked), name)
    codes = np.where(kept, surely.astype(int), answers.codes)
    values = pd.array(codes == 1, dtype="boolean")
    values[codes < 0] = pd.NA
    ends = [
        float(chance[hardly & kept].max()) if (hardly & kept).any() else None,
        float(chance[surely & kept].min()) if (surely & kept).any() else None,
    ]
    out = pd.Series(values, index=frame.index, name=name)
    return out, _facts(target, kept, sample, ends)


class _Answers:
    """The dear model's answers so far, as numbers of labels; -1 for none."""

    def __init__(self, labels: list[Any], rows: int) -> None:
        self._labels = {label: at for at, label in enumerate(labels)}
        self.codes: Ints = np.full(rows, -1, np.int64)
        self.asked: Bools = np.zeros(rows, np.bool_)

    def ask(
        self, plan: Plan, frame: pd.DataFrame, rows: Ints, name: str | None = None
    ) -> Steps[None]:
        """Ask about some rows, each once."""
        if len(rows) == 0:
            return
        answer = yield plan, frame.iloc[rows]
        column = answer if name is None else answer[name]
        values = column.astype(object).where(column.notna(), None)
        self.codes[rows] = [self._labels.get(value, -1) for value in values]
        self.asked[rows] = True


def _bare(data: Any) -> Any:
    """Return the rows, without what earlier runs have put into their attrs."""
    rows = pd.DataFrame(data) if isinstance(data, (list, tuple)) else data
    rows = rows.copy(deep=False)
    rows.attrs = {}
    return rows


def _check_told(plan: Plan, chances: Floats) -> None:
    if len(chances) and np.isnan(chances).all():
        msg = (
            f"cascade= needs a model that tells probabilities, and "
            f"{plan.settings.model} tells none: 'tiny', a decision endpoint, or a "
            "server with logprobs"
        )
        raise ConfigurationError(msg)


def _without_ties(values: Floats, known: Bools) -> Floats:
    """Break ties by fixed random numbers; what is not known comes last."""
    noise = np.random.default_rng(0).permutation(len(values)) * 1e-12
    return np.where(known, values + noise, -1.0)


def _drawn(rows: int) -> Ints:
    """Draw the rows that both models answer, uniformly over the whole table."""
    order = np.random.default_rng(1).permutation(rows)
    return np.sort(order[: sample_size(rows)]).astype(np.int64)


def _facts(
    target: Target, kept: Bools, sample: Ints, ends: list[float | None]
) -> dict[str, Any]:
    """Return what ``attrs`` and the report say of a cascade; scalars only."""
    names = ("cascade_low", "cascade_high") if len(ends) > 1 else ("cascade_above",)
    shares = ("accuracy",) if len(ends) == 1 else ("recall", "precision")
    proven = target.thresholds is None
    return {
        **dict(zip(names, ends, strict=True)),
        **dict(zip(shares, target.least, strict=False)),
        "cascade_delta": target.delta if proven else None,
        "cascade_sample": len(sample),
        "cascade_kept": int(kept.sum()),
        "cascade_dear": len(kept) - int(kept.sum()),
        "cascade_bound": "exact (hypergeometric), agreement with the dear model"
        if proven
        else "thresholds of an earlier run",
    }

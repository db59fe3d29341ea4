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
_EVEN = 0.5
"""The probability above which a cheap model's answer is yes."""
_BOUND = "exact (hypergeometric), agreement with the dear model"
NO_BATCH = "what goes to the better model depends on the cheap one"


class Target(NamedTuple):
    """What a cascade must keep, or the thresholds of an earlier run."""

    least: tuple[float, ...]
    """The share of right labels, or recall and precision; empty with `thresholds`."""
    delta: float
    thresholds: tuple[float, ...] | None = None


def cheap_first(
    given: Mapping[str, Any], *least: str
) -> tuple[dict[str, Any], Target] | None:
    """Return the cheap model's options and the target; None without a cascade.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        For a target without a cascade, or a cascade without a target.
    """
    if given["cascade"] is None:
        for name in (*least, "thresholds"):
            if given[name] is not None:
                msg = f"{name}= is for a cascade: pass cascade='tiny', or leave it out"
                raise InvalidTypeError(msg)
        return None
    target = _target({name: given[name] for name in least}, given)
    return _cheap_options(given["cascade"], given["options"]), target


def _target(least: Mapping[str, float | None], given: Mapping[str, Any]) -> Target:
    """Check what a cascade is asked to keep."""
    passed = {name: value for name, value in least.items() if value is not None}
    delta, thresholds = given["delta"], given["thresholds"]
    for name, value in {**passed, "delta": delta}.items():
        if type(value) not in (int, float) or not 0 < value < 1:
            msg = f"{name} must be between 0 and 1, not {value!r}"
            raise InvalidValueError(msg)
    if thresholds is not None:
        listed = thresholds if isinstance(thresholds, (tuple, list)) else (thresholds,)
        numbers = all(one is None or type(one) in (int, float) for one in listed)
        if not numbers or len(listed) != len(least):
            what = "one number" if len(least) == 1 else "two numbers, (low, high)"
            msg = f"thresholds must be {what}, as attrs has them, not {thresholds!r}"
            raise InvalidValueError(msg)
        # None, where an earlier run kept nothing at that end, keeps nothing
        bounds = (-1.0, 2.0)[-len(listed) :]
        ends = (
            b if t is None else float(t) for t, b in zip(listed, bounds, strict=True)
        )
        return Target((), delta, tuple(ends))
    if not passed:
        msg = f"cascade= needs a target: pass {' and '.join(f'{n}=' for n in least)}"
        raise InvalidValueError(msg)
    return Target(tuple(passed.get(name, 0.9) for name in least), delta)


def _cheap_options(cascade: Any, options: Mapping[str, Any]) -> dict[str, Any]:
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
    frame = bare(data)
    cheap_answers = yield cheap, frame
    chances = cheap_answers[[f"p_{label}" for label in labels]].to_numpy(
        float, na_value=np.nan
    )
    _check_told(cheap, cheap_answers, chances)
    even = prior(chances, [str(label) for label in labels]).apply(chances)
    known = ~np.isnan(even[:, 0])
    chosen = np.where(known, np.nan_to_num(even).argmax(axis=1), -1)
    ranked = np.sort(np.nan_to_num(even, nan=1 / len(labels)), axis=1)
    sure = _without_ties(ranked[:, -1] - ranked[:, -2], known)
    answers = _Answers(dear, labels, frame, cheap_answers)
    if target.thresholds is not None:
        kept = sure > target.thresholds[0]
    else:
        sample = yield from answers.ask_sample()
        wrong = answers.codes[sample] != chosen[sample]
        kept = accuracy_cutoff(
            sure, sample, wrong, accuracy=target.least[0], delta=target.delta
        )
    kept &= known & ~answers.asked
    yield from answers.ask(np.flatnonzero(~kept & ~answers.asked))
    codes = np.where(kept, chosen, answers.codes)
    chosen_labels = [None if code < 0 else labels[code] for code in codes.tolist()]
    out = pd.Series(pd.Categorical(chosen_labels, labels), index=frame.index)
    least = float(sure[kept].min()) if kept.any() else None
    return out, answers.facts(target, int(kept.sum()), [least])


def by_decisions(
    cheap: Plan, dear: Plan, data: Any, target: Target, name: str
) -> Steps[tuple[pd.Series, dict[str, Any]]]:
    """Decide yes or no: the cheap answer at both ends, the dear one in between."""
    frame = bare(data)
    first = yield from decide(cheap, dear, frame, target, name)
    answers = first.answers
    yield from answers.ask(np.flatnonzero(~first.kept & ~answers.asked))
    codes = np.where(first.kept, first.yes, answers.codes)
    values = pd.array(codes == 1, dtype="boolean")
    values[codes < 0] = pd.NA
    return pd.Series(values, index=frame.index, name=name), first.facts


def dear_questions(rows: int) -> tuple[int, int]:
    """Return the least and the most questions of the dear model."""
    return sample_size(rows), rows


class Decided(NamedTuple):
    """What a cheap model decides of some questions, and what the dear one has said."""

    yes: Bools
    kept: Bools
    answers: _Answers
    target: Target
    ends: list[float | None]

    @property
    def facts(self) -> dict[str, Any]:
        """What ``attrs`` says, once all questions are answered."""
        return self.answers.facts(self.target, int(self.kept.sum()), self.ends)


def decide(
    cheap: Plan, dear: Plan, frame: pd.DataFrame, target: Target, name: str
) -> Steps[Decided]:
    """Ask the cheap model all questions, the dear one a sample; set the thresholds."""
    cheap_answers = yield cheap, frame
    value = cheap_answers[name].to_numpy(float, na_value=np.nan)
    share = cheap_answers[f"{name}_confidence"].to_numpy(float, na_value=np.nan)
    share_yes = np.where(value > _EVEN, share, 1 - share)
    _check_told(cheap, cheap_answers, share_yes[:, None])
    known = ~np.isnan(share_yes)
    answers = _Answers(dear, [False, True], frame, cheap_answers)
    if target.thresholds is not None:
        low, high = target.thresholds
        yes, no = share_yes >= high, share_yes <= low
    else:
        both = np.column_stack([1 - share_yes, share_yes])
        even = prior(both, ["no", "yes"]).apply(both)[:, 1]
        chance = _without_ties(np.nan_to_num(even, nan=_EVEN), known)
        sample = yield from answers.ask_sample()
        recall, precision = target.least
        cut = decision_cutoffs(
            chance,
            sample,
            answers.codes[sample] == 1,
            recall=recall,
            precision=precision,
            delta=target.delta,
        )
        yes, no = cut.yes, cut.no
    kept = (yes | no) & known & ~answers.asked
    ends = [
        float(share_yes[no & kept].max()) if (no & kept).any() else None,
        float(share_yes[yes & kept].min()) if (yes & kept).any() else None,
    ]
    return Decided(yes, kept, answers, target, ends)


class _Answers:
    """The dear model's answers so far, as numbers of labels; -1 for none."""

    def __init__(
        self, plan: Plan, labels: list[Any], frame: pd.DataFrame, cheap: Any
    ) -> None:
        self._plan, self._frame = plan, frame
        self._labels = {label: at for at, label in enumerate(labels)}
        self._cheap = _cost(cheap)
        self._dear, self._questions = 0.0, 0
        self._sample = 0
        self.codes: Ints = np.full(len(frame), -1, np.int64)
        self.asked: Bools = np.zeros(len(frame), np.bool_)

    def ask(self, rows: Ints) -> Steps[None]:
        """Ask about some rows, each once."""
        if len(rows) == 0:
            return
        answer = yield self._plan, self._frame.iloc[rows]
        column = answer if answer.ndim == 1 else answer[next(iter(self._plan.columns))]
        values = column.astype(object).where(column.notna(), None)
        self.codes[rows] = [self._labels.get(value, -1) for value in values]
        self.asked[rows] = True
        self.book(answer)

    def book(self, answer: Any) -> None:
        """Count the questions of a run of the dear model, and what they cost."""
        self._questions += len(answer)
        self._dear += _cost(answer)

    def ask_sample(self) -> Steps[Ints]:
        """Ask about rows drawn uniformly over the whole table; return which."""
        order = np.random.default_rng(1).permutation(len(self.codes))
        sample: Ints = np.sort(order[: sample_size(len(order))]).astype(np.int64)
        yield from self.ask(sample)
        self._sample = len(sample)
        return sample

    def facts(
        self, target: Target, kept: int, ends: list[float | None]
    ) -> dict[str, Any]:
        """Return what ``attrs`` and the report say of a cascade; scalars only."""
        several = len(ends) > 1
        names = ("cascade_low", "cascade_high") if several else ("cascade_above",)
        shares = ("recall", "precision") if several else ("accuracy",)
        proven = target.thresholds is None
        dear = self._questions
        saved = (self._dear / dear if dear else np.nan) * kept - self._cheap
        return {
            **dict(zip(names, ends, strict=True)),
            **dict(zip(shares, target.least, strict=False)),
            "cascade_delta": target.delta if proven else None,
            "cascade_sample": self._sample,
            "cascade_kept": kept,
            "cascade_dear": dear,
            "cascade_saved": None if np.isnan(saved) else float(saved),
            "cascade_bound": _BOUND if proven else "thresholds of an earlier run",
        }


def _cost(answer: Any) -> float:
    """Return what a run has cost, in dollars; NaN where there is no price."""
    from pandas_llm._run import usage

    return float(usage(answer).cost) if len(answer) else 0.0


def bare(data: Any) -> Any:
    """Return the rows, without what earlier runs have put into their attrs."""
    rows = data.copy(deep=False)
    rows.attrs = {}
    return rows


def _check_told(plan: Plan, answers: pd.DataFrame, chances: Floats) -> None:
    """Refuse a model whose answers come without probabilities."""
    answered = answers[next(iter(plan.columns))].notna().to_numpy()
    if answered.any() and np.isnan(chances[answered]).all():
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

"""A cheap model first: its sure answers are kept, the others go to a better one.

Thresholds come from a sample of rows that both answered, by `_algorithms.thresholds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_llm._algorithms import accuracy_cutoff, decision_cutoffs, prior, sample_size
from pandas_llm._verbs.programs import Models
from pandas_llm.errors import ConfigurationError, InvalidTypeError, InvalidValueError
from pandas_llm.options import CHANCE, check_value
from pandas_llm.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from pandas_llm._verbs.programs import Steps
    from pandas_llm.plan import Plan

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_PRIVATE = ("model", "base_url", "api_key", "headers", "fallback", "service_tier")
"""Options of the call that only its own model gets."""
EVEN = 0.5
"""The probability above which a cheap model's answer is yes."""
_BOUND = "exact (hypergeometric), agreement with the dear model"


def cheap_first(
    arguments: Mapping[str, Any], main: Plan, cheap: Callable[..., Plan], *targets: str
) -> Models | None:
    """Return the models of a cascade; None where the call has none.

    `cheap` makes the cheap model's plan of its options; `targets` name the parameters
    that say what the cascade must keep.
    """
    if arguments.get("cascade") is None:
        for name in (*targets, "thresholds"):
            if arguments.get(name) is not None:
                msg = f"{name}= is for a cascade: pass cascade='tiny', or leave it out"
                raise InvalidTypeError(msg)
        return None
    passed = {n: arguments[n] for n in targets if arguments[n] is not None}
    delta, thresholds = arguments["delta"], arguments["thresholds"]
    for name, value in {**passed, "delta": delta}.items():
        check_value(name, value, CHANCE)
    if thresholds is not None:
        thresholds = _thresholds(thresholds, len(targets))
    elif not passed:
        msg = f"cascade= needs a target: pass {' and '.join(f'{n}=' for n in targets)}"
        raise InvalidValueError(msg)
    kept = () if thresholds else tuple(passed.get(name, 0.9) for name in targets)
    options = _cheap_options(arguments["cascade"], arguments["options"])
    return Models(cheap(**options), main, delta, kept, thresholds)


def _thresholds(passed: Any, count: int) -> tuple[float, ...]:
    listed = passed if isinstance(passed, (tuple, list)) else (passed,)
    numbers = all(one is None or type(one) in (int, float) for one in listed)
    if not numbers or len(listed) != count:
        what = "one number" if count == 1 else "two numbers, (low, high)"
        msg = f"thresholds must be {what}, as attrs has them, not {brief(passed)}"
        raise InvalidValueError(msg)
    # None, where an earlier run kept nothing at that end, keeps nothing
    bounds = (-1.0, 2.0)[-count:]
    ends = zip(listed, bounds, strict=True)
    return tuple(bound if one is None else float(one) for one, bound in ends)


def _cheap_options(cascade: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the cheap model; keys go to no other provider."""
    own = {"model": cascade} if isinstance(cascade, str) else cascade
    if not isinstance(own, Mapping) or "model" not in own:
        msg = (
            f"cascade must be a model's name, or options with one, not {brief(cascade)}"
        )
        raise InvalidTypeError(msg)
    return {k: v for k, v in options.items() if k not in _PRIVATE} | dict(own)


class Cascade:
    """The answers of both models so far, as numbers of labels; -1 for none."""

    def __init__(
        self, models: Models, frame: pd.DataFrame, labels: list[Any], cheap_cost: float
    ) -> None:
        from pandas_llm._rows import with_integers

        self._models, self._frame = models, with_integers(frame)
        self._labels = {label: at for at, label in enumerate(labels)}
        self._cheap_cost, self._main_cost = cheap_cost, 0.0
        self._questions = self._sample = 0
        self.codes: Ints = np.full(len(frame), -1, np.int64)
        self.asked: Bools = np.zeros(len(frame), np.bool_)

    def keep(self, kept: Bools, chosen: Ints, *ends: float | None) -> None:
        """Leave some rows to the cheap model, with what it has `chosen`.

        `ends` say how sure the least sure of them are; None for an end without any.
        """
        self.kept, self.chosen, self.ends = kept, chosen, ends

    def ask(self, rows: Ints) -> Steps[None]:
        """Ask the main model about some rows, each once."""
        if len(rows) == 0:
            return
        from pandas_llm._rows import as_objects

        plan = self._models.main
        answer = yield plan, self._frame.iloc[rows]
        column = answer if answer.ndim == 1 else answer[next(iter(plan.columns))]
        self.codes[rows] = [self._labels.get(value, -1) for value in as_objects(column)]
        self.asked[rows] = True
        self.book(answer)

    def ask_sample(self) -> Steps[Ints]:
        """Ask about rows drawn uniformly over the whole table; return which."""
        order = np.random.default_rng(1).permutation(len(self.codes))
        sample: Ints = np.sort(order[: sample_size(len(order))]).astype(np.int64)
        yield from self.ask(sample)
        self._sample = len(sample)
        return sample

    def ask_rest(self) -> Steps[Ints]:
        """Ask about all rows that are not kept; return every row's answer."""
        yield from self.ask(np.flatnonzero(~self.kept & ~self.asked))
        return np.where(self.kept, self.chosen, self.codes)

    def book(self, answer: Any) -> None:
        """Count the questions of a run of the main model, and what they cost."""
        self._questions += len(answer)
        self._main_cost += _cost(answer)

    @property
    def facts(self) -> dict[str, Any]:
        """What ``attrs`` and the report say, once all is answered; scalars only."""
        several = len(self.ends) > 1
        names = ("cascade_low", "cascade_high") if several else ("cascade_above",)
        shares = ("recall", "precision") if several else ("accuracy",)
        models, asked, kept = self._models, self._questions, int(self.kept.sum())
        proven = models.thresholds is None
        each = self._main_cost / asked if asked else np.nan
        saved = each * kept - self._cheap_cost
        return {
            **dict(zip(names, self.ends, strict=True)),
            **dict(zip(shares, models.targets, strict=False)),
            "cascade_delta": models.delta if proven else None,
            "cascade_sample": self._sample,
            "cascade_kept": kept,
            "cascade_dear": asked,
            "cascade_saved": None if np.isnan(saved) else float(saved),
            "cascade_bound": _BOUND if proven else "thresholds of an earlier run",
        }


def label_rows(
    models: Models, frame: pd.DataFrame, labels: list[Any]
) -> Steps[Cascade]:
    """Label rows by the cheap model; keep the labels that it is sure enough of."""
    answers = yield models.cheap, frame
    columns = [f"p_{label}" for label in labels]
    chances = answers[columns].to_numpy(float, na_value=np.nan)
    _check_told(models.cheap, answers, chances)
    even = prior(chances, [str(label) for label in labels]).apply(chances)
    known = ~np.isnan(even[:, 0])
    chosen = np.where(known, np.nan_to_num(even).argmax(axis=1), -1)
    ranked = np.sort(np.nan_to_num(even, nan=1 / len(labels)), axis=1)
    sure = _without_ties(ranked[:, -1] - ranked[:, -2], known)
    cascade = Cascade(models, frame, labels, _cost(answers))
    if models.thresholds is not None:
        kept = sure > models.thresholds[0]
    else:
        sample = yield from cascade.ask_sample()
        wrong = cascade.codes[sample] != chosen[sample]
        kept = accuracy_cutoff(
            sure, sample, wrong, accuracy=models.targets[0], delta=models.delta
        )
    kept &= known & ~cascade.asked
    cascade.keep(kept, chosen, min(sure[kept].tolist(), default=None))
    return cascade


def decide_rows(models: Models, frame: pd.DataFrame, name: str) -> Steps[Cascade]:
    """Decide yes or no by the cheap model; keep its answers at both ends."""
    answers = yield models.cheap, frame
    value = answers[name].to_numpy(float, na_value=np.nan)
    share = answers[f"{name}_confidence"].to_numpy(float, na_value=np.nan)
    share_yes = np.where(value > EVEN, share, 1 - share)
    _check_told(models.cheap, answers, share_yes[:, None])
    known = ~np.isnan(share_yes)
    cascade = Cascade(models, frame, [False, True], _cost(answers))
    if models.thresholds is not None:
        low, high = models.thresholds
        yes, no = share_yes >= high, share_yes <= low
    else:
        both = np.column_stack([1 - share_yes, share_yes])
        even = prior(both, ["no", "yes"]).apply(both)[:, 1]
        sample = yield from cascade.ask_sample()
        recall, precision = models.targets
        yes, no = decision_cutoffs(
            _without_ties(np.nan_to_num(even, nan=EVEN), known),
            sample,
            cascade.codes[sample] == 1,
            recall=recall,
            precision=precision,
            delta=models.delta,
        )
    kept = (yes | no) & known & ~cascade.asked
    highest_no = max(share_yes[no & kept].tolist(), default=None)
    lowest_yes = min(share_yes[yes & kept].tolist(), default=None)
    cascade.keep(kept, yes.astype(np.int64), highest_no, lowest_yes)
    return cascade


def _cost(answer: Any) -> float:
    """Return what a run has cost, in dollars; NaN where there is no price."""
    from pandas_llm._run import usage

    return float(usage(answer).cost) if len(answer) else 0.0


def _check_told(plan: Plan, answers: pd.DataFrame, chances: Floats) -> None:
    """Refuse a model whose answers come without probabilities."""
    answered = answers[next(iter(plan.columns))].notna().to_numpy()
    if answered.any() and np.isnan(chances[answered]).all():
        raise ConfigurationError(
            f"cascade= needs a model that returns probabilities, and "
            f"{plan.settings.model} returns none: 'tiny', a decision endpoint, or a "
            "server with logprobs"
        )


def _without_ties(values: Floats, known: Bools) -> Floats:
    """Break ties by fixed random numbers; what is not known comes last."""
    noise = np.random.default_rng(0).permutation(len(values)) * 1e-12
    return np.where(known, values + noise, -1.0)

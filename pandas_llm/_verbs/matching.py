"""Rows for which something is true: ``matches`` and ``filter``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from pandas_llm._verbs.cascade import (
    NO_BATCH,
    bare,
    by_decisions,
    cheap_first,
    dear_questions,
)
from pandas_llm._verbs.forms import twin, verb
from pandas_llm._verbs.programs import Program, Signed
from pandas_llm.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from pandas_llm._verbs.forms import Rows, Table
    from pandas_llm._verbs.programs import Steps
    from pandas_llm.options import Options
    from pandas_llm.plan import Plan

_EVEN = 0.5


@verb
def matches(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: Table | Rows,
    template: str,
    *,
    name: str = "matches",
    threshold: float = _EVEN,
    confidence: bool = False,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Ask a yes-or-no question of each row.

    Parameters
    ----------
    data : DataFrame, Series or list of dicts
        The rows.
    template : str
        The question, with ``${column}`` for values.
    name : str
        The result's name.
    threshold : float, default 0.5
        The probability of yes from which a row matches, where the model tells it.
    confidence : bool
        Add the probability of the answer, as ``<name>_confidence``.
    cascade : str or mapping, optional
        A cheap model's name (``"tiny"`` among them), or options with one: it answers
        all rows, and those that it is not sure of go to the model of the call.
    recall, precision : float, optional
        What a cascade keeps of the answers of the model of the call: the share of its
        yes rows that are found, and the share of the rows found that are its yes; 0.9
        for the one that is not passed.
        Both hold with probability 1 - `delta`, by an exact bound for a sample of rows
        that both models answer.
    delta : float, default 0.05
        How likely the target may be missed.
    thresholds : tuple of float, optional
        In place of a target, ``cascade_low`` and ``cascade_high`` of an earlier run:
        the rows between go to the model of the call.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    Series
        Of nullable boolean; NA where the row failed. A DataFrame with `confidence`; a
        list for a list of dicts.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> cities.llm.matches("Is ${city} in Italy?", model="sim").dtype
    BooleanDtype
    """
    ask = _Asking(locals(), name)

    def steps(data: Any) -> Steps[Any]:
        answers, facts = yield from ask(data)
        one = answers if answers.shape[1] > 1 else answers.iloc[:, 0]
        return Signed(one, facts)

    return ask.program("matches", steps, _NA)


@verb
def filter(  # noqa: A001, PLR0913 - pandas' word; it hides nothing outside this module
    data: Table,
    template: str,
    *,
    keep_undecided: bool = False,
    threshold: float = _EVEN,
    cascade: Any = None,
    recall: float | None = None,
    precision: float | None = None,
    delta: float = 0.05,
    thresholds: tuple[float, float] | None = None,
    **options: Unpack[Options],
) -> Program:
    """Return the rows for which the answer to a question is yes.

    `DataFrame.filter` of pandas picks labels; this picks rows by their meaning.

    Parameters
    ----------
    data : DataFrame or Series
        The rows.
    template : str
        The question, with ``${column}`` for values.
    keep_undecided : bool, default False
        Keep the rows that failed; else they are left out, and a warning counts them.
    threshold, cascade, recall, precision, delta, thresholds
        As for `matches`.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    DataFrame or Series
        The rows, with index, order, dtypes and subclass as they were.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> cities = pd.Series(["Oslo", "Rome"], name="city")
    >>> set(cities.llm.filter("Is ${city} in Italy?", model="sim")) <= set(cities)
    True
    """
    ask = _Asking({"confidence": False, **locals()}, "matches")

    def steps(data: Any) -> Steps[Any]:
        answers, facts = yield from ask(data)
        mask = answers["matches"].fillna(keep_undecided).to_numpy(dtype=bool)
        return Signed(data[mask], facts)

    failed = "those rows are kept" if keep_undecided else "those rows are left out"
    return ask.program("filter", steps, failed)


amatches, afilter = twin(matches), twin(filter)
_NA = "their answers are NA"


class _Asking:
    """How a question is asked of rows: by one model, or by a cheap one first."""

    def __init__(self, given: Mapping[str, Any], name: str) -> None:
        from pandas_llm.plan import Plan

        threshold, options = given["threshold"], given["options"]
        if type(threshold) not in (int, float) or not 0 < threshold < 1:
            msg = f"threshold must be between 0 and 1, not {threshold!r}"
            raise InvalidValueError(msg)
        self._name, self._threshold = name, threshold
        self._confidence = given["confidence"]
        template, keys = given["template"], {name: bool}
        first = cheap_first(given, "recall", "precision")
        weighed = self._confidence or threshold != _EVEN
        sure = {"confidence": True} if weighed and first is None else {}
        self._plan = Plan(template, keys, verb="extract", **sure, **options)
        self._cheap: Plan | None = None
        self.plans, self.batches = [self._plan], None
        if first is not None:
            if weighed:
                msg = "threshold= and confidence= are for one model: leave cascade= out"
                raise InvalidTypeError(msg)
            more, self._target = first
            self._cheap = Plan(template, keys, verb="extract", confidence=True, **more)
            self.plans.append(self._cheap)
            self.batches = NO_BATCH

    def program(
        self, name: str, steps: Callable[[Any], Steps[Any]], failed: str
    ) -> Program:
        """Return the program of a verb that asks so."""
        span = None if self._cheap is None else dear_questions
        return Program(
            name, steps, self.plans, failed=failed, batches=self.batches, span=span
        )

    def __call__(self, data: Any) -> Steps[tuple[pd.DataFrame, dict[str, Any]]]:
        """Ask; return a frame of answers, and what to say of them."""
        name = self._name
        if self._cheap is not None:
            plans = self._cheap, self._plan
            column, facts = yield from by_decisions(*plans, data, self._target, name)
            return column.to_frame(), facts
        answer = yield self._plan, bare(data)
        out = answer[list(self._plan.columns)[: 1 + self._confidence]].copy()
        if self._threshold != _EVEN:
            self._hold(out, answer[f"{name}_confidence"])
        return out, {}

    def _hold(self, out: pd.DataFrame, share: pd.Series) -> None:
        """Decide by the probability of yes, where it is told."""
        name, told = self._name, share.notna()
        yes = share.where(out[name].fillna(value=False), 1 - share)
        decided = (yes >= self._threshold).astype("boolean")
        out[name] = out[name].where(~told, decided)
        if self._confidence:
            sure = yes.where(decided.fillna(value=False), 1 - yes)
            out[f"{name}_confidence"] = share.where(~told, sure)

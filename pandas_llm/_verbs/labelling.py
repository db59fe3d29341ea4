"""One label a row: ``classify``, by one model or by a cheap one first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import pandas as pd

from pandas_llm._verbs.cascade import cheap_first, label_rows
from pandas_llm._verbs.forms import Errors, make_plan, verb
from pandas_llm._verbs.programs import Program, WithFacts
from pandas_llm.errors import InvalidTypeError

if TYPE_CHECKING:
    from pandas_llm._verbs.forms import Foreign, Rows, Table
    from pandas_llm._verbs.programs import Models
    from pandas_llm.options import LabelOptions, Options, PlainLabelOptions
    from pandas_llm.plan import Plan

_CASCADE = ("cascade", "accuracy", "delta", "thresholds")


@overload
def classify(
    data: Rows, template: str | None, labels: Any, **options: Unpack[LabelOptions]
) -> list[Any]: ...
@overload
def classify(
    data: Table,
    template: str | None,
    labels: Any,
    *,
    confidence: Literal[False] = ...,
    probabilities: Literal[False] = ...,
    error_column: None = ...,
    **options: Unpack[PlainLabelOptions],
) -> pd.Series: ...
@overload
def classify(
    data: Table, template: str | None, labels: Any, **options: Unpack[LabelOptions]
) -> pd.DataFrame: ...
@overload
def classify(
    data: Foreign, template: str | None, labels: Any, **options: Unpack[LabelOptions]
) -> Any: ...


@verb
def classify(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: Table | Rows | Foreign,
    template: str | None,
    labels: Any,
    *,
    name: str | None = None,
    confidence: bool = False,
    probabilities: bool = False,
    ordered: bool = False,
    abstain_below: float | None = None,
    calibrate: Any = None,
    gold: Any = None,
    codes: bool | None = None,
    cascade: Any = None,
    accuracy: float | None = None,
    delta: float = 0.05,
    thresholds: float | None = None,
    errors: Errors = "coerce",
    error_column: str | None = None,
    **options: Unpack[Options],
) -> Plan | Program:
    """Choose one of the labels for each row.

    Parameters
    ----------
    template : str
        The prompt, with ``${column}`` for values; as for `generate`.
    labels : list of str, or mapping of str to str
        The labels, or each label with its description.
    name : str, optional
        The result's name, by default "label".
    confidence : bool
        Add the probability of the chosen label, 0 to 1, as a column ``confidence``,
        or ``<name>_confidence`` where `name` is passed.
    probabilities : bool
        Add the probability of each label, as columns ``p_<label>`` that sum to 1.
    ordered : bool
        Whether the labels rise in the order listed, by default as those of an ordered
        categorical do: the result is one, and with
        `confidence` or `probabilities` the expected level as ``<name>_score``, the
        first label being 0.
    abstain_below : float, optional
        Leave NA, with the remark ``unsure: 0.61``, instead of a label that is less
        probable, or whose answer told no probability. That is not a failure.
    calibrate : "prior" or offsets, optional
        ``"prior"`` subtracts the column's mean (batch calibration, Zhou et al. 2023):
        it corrects which label is chosen, not how surely, and assumes that no label is
        very rare. Or the offsets of an earlier run, ``attrs["llm"]["calibration"]``.
    gold : Series or label of a column, optional
        Labels that are known, NA elsewhere: temperature and bias are fitted to them
        (Platt 1999; Guo et al. 2017), and the error before and after is in ``attrs``.
    codes : bool, optional
        Ask a chat model for a letter in place of a label, to read its probability.
        By default only where the first words of two labels are the same.
    cascade : str or mapping, optional
        A cheap model's name (``"tiny"`` among them), or options with one: it answers
        all rows, and those that it is not sure of go to the model of the call.
    accuracy : float, optional
        What share of a cascade's labels are those of the model of the call, with
        probability 1 - `delta`, by an exact bound for a sample that both answer.
    delta : float, default 0.05
        How likely the target may be missed.
    thresholds : float, optional
        In place of `accuracy`, ``cascade_above`` of an earlier run.
    data, errors, error_column, **options
        As for `generate`.

    Notes
    -----
    Probabilities come from a decision endpoint (``model="openai-decisions/…"``), from
    the tokens of a chat model (OpenAI's, llama.cpp, vLLM), or from votes (``n=5``),
    where a tie goes to the label listed first;
    ``attrs["llm"]["probabilities"]`` says which. Where a server returns none they are
    NA, and a warning says so.

    Returns
    -------
    Series
        Categorical, with exactly the labels as categories. A DataFrame with
        `confidence`, `probabilities`, `error_column` or ``details=True``. A list
        for a list.

    Examples
    --------
    >>> mood = pd.Series(["What a good day"]).llm.classify(
    ...     "Mood of: ${value}", ["good", "bad"], model="sim"
    ... )
    >>> mood.cat.categories.tolist()
    ['good', 'bad']
    """
    arguments = locals()
    from pandas_llm._keys import is_ordered

    arguments["ordered"] = ordered or is_ordered(labels)
    own = {name: arguments[name] for name in arguments if name not in _CASCADE}
    plan = make_plan("classify", own)
    models = cheap_first(arguments, plan, partial(_cheap, own), "accuracy")
    return plan if models is None else _cascade(models, arguments)


def _cheap(arguments: dict[str, Any], **options: Any) -> Plan:
    """Make the plan of a cheap model, whose probabilities decide."""
    usual = {"confidence": False, "probabilities": False, "abstain_below": None}
    usual |= {"calibrate": None, "gold": None, "error_column": None}
    if odd := [name for name, value in usual.items() if arguments[name] is not value]:
        raise InvalidTypeError(f"a cascade returns labels alone: leave {odd[0]}= out")
    return make_plan(
        "classify", {**arguments, "probabilities": True, "options": options}
    )


def _cascade(models: Models, arguments: dict[str, Any]) -> Program:
    labels = list(models.main.labels)
    dtype = pd.CategoricalDtype(labels, ordered=arguments["ordered"])
    name = "label" if arguments["name"] is None else arguments["name"]

    def steps(data: Any) -> Any:
        cascade = yield from label_rows(models, data, labels)
        codes = yield from cascade.ask_rest()
        chosen = pd.Categorical.from_codes(codes, dtype=dtype)
        return WithFacts(pd.Series(chosen, index=data.index, name=name), cascade.facts)

    failed = "their labels are NA"
    return Program("classify", steps, [models.main], models=models, failed=failed)

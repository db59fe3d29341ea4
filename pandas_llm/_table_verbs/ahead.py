"""What can be done before a run, or instead of waiting: preview, estimate, submit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm._verbs import make_plan, planner, tool
from pandas_llm.options import check_value, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from pandas_llm._run import Estimate, Verb
    from pandas_llm._verbs import Program, Rows, Table
    from pandas_llm.batch import BatchJob
    from pandas_llm.plan import Plan


@tool
def preview(  # noqa: PLR0913 - all by name but the first four
    data: Table | Rows,
    /,
    template: str | None = None,
    keys: Any = None,
    rows: int = 3,
    *,
    as_requests: bool = False,
    verb: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Show the first prompts as they would be sent; nothing is sent.

    Of a verb over the table they are its first questions.

    Parameters
    ----------
    data : DataFrame, Series or list of dicts
        The rows.
    template, keys
        As for `generate`; without `keys` as for `complete`.
    rows : int, default 3
        How many.
    as_requests : bool, default False
        Show the exact requests instead: URL, headers and JSON body, with keys
        masked. What an endpoint was found not to understand is left out, once
        this process has talked to it.
    verb : str, optional
        ``"generate"``, or ``"complete"`` without `keys`; for ``"classify"`` the keys
        are the labels. Pass the parameters of a verb over the table by name.

    Returns
    -------
    DataFrame
        Under the rows' labels. Where tokens are to tell probabilities, ``asked`` is
        what is asked beside the prompt.

    Examples
    --------
    >>> cities = pd.Series(["Oslo"])
    >>> cities.llm.preview("Praise ${value}.")["prompt"].tolist()
    ['Praise Oslo.']
    >>> sent = cities.llm.preview("Praise ${value}.", as_requests=True, model="sim")
    >>> print(sent["body"].iloc[0])
    {"model":"sim","messages":[{"role":"user","content":"Praise Oslo."}]}
    """
    plan = _ready(data, template, keys, options, verb)
    return plan.preview(data, rows, as_requests=as_requests)


@tool
def estimate(
    data: Table | Rows,
    /,
    template: str | None = None,
    keys: Any = None,
    *,
    pilot: int = 0,
    verb: str | None = None,
    **options: Any,
) -> Estimate:
    """Estimate what a run would take, before it is made.

    Where the number of a verb's questions depends on the answers, it is a range.

    Parameters
    ----------
    data, template, keys, verb, **options
        As for `preview`.
    pilot : int, default 0
        Rows to answer first, for a cost with a range. Their replies are
        cached, so the run does not pay for them again. Nothing is sent
        without it.

    Returns
    -------
    Estimate
        Rows, requests after cache and duplicates, tokens, and dollars.

    Examples
    --------
    >>> cities = pd.Series(["Oslo", "Rome", "Oslo"])
    >>> print(cities.llm.estimate(
    ...     "Praise ${value}.", model="sim", prices={"sim": (1.0, 2.0)}, cache=False
    ... ))
    rows              3
    cached            0
    requests to send  2
    tokens in         6
    tokens out        100 (a guess; pilot=20 finds out)
    cost              $0.000206
    """
    return _ready(data, template, keys, options, verb).estimate(data, pilot)


@tool
def submit(
    data: Table | Rows,
    /,
    template: str | None = None,
    keys: Any = None,
    *,
    verb: Verb | None = None,
    **options: Any,
) -> BatchJob:
    """Send the rows to the provider's batch endpoint, and do not wait.

    Half the price, an answer within a day. ``batch=True`` on a verb waits. Replies are
    kept in the cache, and so is the job: the same call again goes on with it.

    Parameters
    ----------
    data, template, keys, **options
        As for `preview`.
    verb : str, optional
        ``"generate"``, or ``"complete"`` without `keys`; for ``"classify"`` the
        keys are the labels, for ``"embed"`` a column's name is a template too.

    Returns
    -------
    BatchJob
        With `id` (for `pandas_llm.batch.load`), `status`, `result`, `cancel`.

    Examples
    --------
    >>> import tempfile
    >>> from pandas_llm.simulator import Simulator
    >>> cities = pd.DataFrame({"city": ["Oslo", "Rome"]})
    >>> folder = tempfile.TemporaryDirectory()
    >>> with Simulator() as server:
    ...     job = cities.llm.submit(
    ...         "Facts on ${city}.", ["fact"], model="sim", cache=folder.name,
    ...         base_url=server.base_url, progress=False,
    ...     )
    ...     out = job.result(cities)
    >>> out["fact"].notna().all()
    np.True_
    >>> folder.cleanup()
    """
    return _plan(template, keys, options, verb).submit(data)


_BY_ROW = ("generate", "extract", "complete", "classify", "embed")
_TABLE = (
    *("classify", "matches", "filter", "merge", "drop_duplicates", "duplicated"),
    *("ngroup", "nlargest", "agg", "search"),
)
_QUESTIONS = {"agg": "question", "search": "query"}
"""What verbs call their template, where they have another word."""


def _plan(
    template: str | None, keys: Any, options: Mapping[str, Any], verb: Any
) -> Plan:
    """Make the plan of a verb by row; without a name the keys say which."""
    check_value("verb", verb, one_of(*_BY_ROW, "matches", "filter", None))
    name: Any = verb or ("complete" if keys is None else "generate")
    if name in ("matches", "filter"):
        name, keys = "extract", {"matches": bool}
    arguments = {"template": template, "keys": keys, "options": options}
    return make_plan(name, arguments)


def _ready(
    data: Any, template: str | None, keys: Any, options: Mapping[str, Any], verb: Any
) -> Plan | Program:
    """Return what a call of a verb would run."""
    check_value("verb", verb, one_of(*dict.fromkeys((*_BY_ROW, *_TABLE)), None))
    if verb not in _TABLE:
        return _plan(template, keys, options, verb)
    names = _QUESTIONS.get(verb, "template"), "labels" if verb == "classify" else "keys"
    own = dict(zip(names, (template, keys), strict=True))
    passed = {name: value for name, value in own.items() if value is not None}
    plan: Plan | Program = planner(verb)(data, **passed, **options)
    return plan

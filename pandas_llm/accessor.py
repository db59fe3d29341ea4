"""``df.llm`` and ``series.llm``: every verb as a method, made from `_verbs`."""

from __future__ import annotations

from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pandas_llm import _table_verbs, _verbs
from pandas_llm._display import trims_traceback
from pandas_llm._verbs import method, missing_verb, named_after_class, twin_method
from pandas_llm.errors import InvalidTypeError
from pandas_llm.options import other_verbs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd

    from pandas_llm._display import Usage
    from pandas_llm._report import Report
    from pandas_llm._view import AccessorCard, View
    from pandas_llm.plan import Plan


class _ForeignVerb:
    """A verb of another tool."""

    def __init__(self, name: str) -> None:
        self._name = name

    @trims_traceback
    def __get__(self, accessor: object, owner: type) -> NoReturn:
        raise missing_verb(owner, self._name, "df.llm")


class _HidesForeignVerbs(type):
    """Leaves the names of other tools out of what completion reads of the class."""

    def __dir__(cls) -> list[str]:
        return [
            name
            for name in super().__dir__()
            if not isinstance(getattr_static(cls, name, None), _ForeignVerb)
        ]


class _ForeignVerbs(metaclass=_HidesForeignVerbs):
    """The names of other tools for our verbs, which raise with ours.

    They are attributes and not a ``__getattr__``, with which IPython completes nothing
    inside a call.
    """

    def __dir__(self) -> list[str]:
        return [*vars(self), *dir(type(self))]


for _name in other_verbs():
    setattr(_ForeignVerbs, _name, _ForeignVerb(_name))


@named_after_class
class LLMAccessor(_ForeignVerbs):
    """Run a language model over the rows of a DataFrame, or the values of a Series.

    ``${column}`` in a template stands for the row's value; on a Series ``${value}``
    or its name does. Every verb takes the options that
    ``help(pandas_llm.set_options)`` lists, and has an async twin with an ``a`` in
    front for use in a running event loop.

    On a frame with a column named ``llm``, ``df.llm`` is this accessor and
    ``df["llm"]`` the column.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> docs = pd.DataFrame({"text": ["Adams was the second president."]})
    >>> out = docs.llm.generate(
    ...     "Write question and answer pairs about: ${text}",
    ...     keys=["question", "answer"],
    ...     model="sim",
    ... )
    >>> list(out.columns)
    ['text', 'question', 'answer']
    """

    def __init__(self, data: Any) -> None:
        self._data = data

    def __repr__(self) -> str:
        """Show the run that made the data, or what can be asked of it."""
        return repr(self._card())

    def _repr_html_(self) -> str:
        return self._card()._repr_html_()

    def _card(self) -> AccessorCard:
        from pandas_llm._view import AccessorCard

        return AccessorCard(self._data, type(self))

    generate = method(_verbs.generate)
    extract = method(_verbs.extract)
    complete = method(_verbs.complete)
    classify = method(_verbs.classify)
    embed = method(_verbs.embed)

    agenerate = twin_method(_verbs.generate)
    aextract = twin_method(_verbs.extract)
    acomplete = twin_method(_verbs.complete)
    aclassify = twin_method(_verbs.classify)
    aembed = twin_method(_verbs.embed)

    # over the table
    matches = method(_verbs.matches)
    filter = method(_verbs.filter)
    merge = method(_table_verbs.merge)
    drop_duplicates = method(_table_verbs.drop_duplicates)
    duplicated = method(_table_verbs.duplicated)
    ngroup = method(_table_verbs.ngroup)
    nlargest = method(_table_verbs.nlargest)
    agg = method(_table_verbs.agg)
    search = method(_table_verbs.search)

    amatches = twin_method(_verbs.matches)
    afilter = twin_method(_verbs.filter)
    amerge = twin_method(_table_verbs.merge)
    adrop_duplicates = twin_method(_table_verbs.drop_duplicates)
    aduplicated = twin_method(_table_verbs.duplicated)
    angroup = twin_method(_table_verbs.ngroup)
    anlargest = twin_method(_table_verbs.nlargest)
    aagg = twin_method(_table_verbs.agg)
    asearch = twin_method(_table_verbs.search)

    preview = method(_table_verbs.preview)
    estimate = method(_table_verbs.estimate)
    submit = method(_table_verbs.submit)
    chunk = method(_verbs.chunk)

    @trims_traceback
    def to_review(
        self, k: int, column: Any = None, name: str = "inclusion", seed: int = 0
    ) -> pd.DataFrame:
        """Choose rows to label by hand: half evenly, half by doubt.

        Doubtful rows are more often wrong, so a review finds more mistakes among
        them. It does not narrow the interval of `pandas_llm.share`; but as each row's
        probability of being chosen is kept, the interval holds all the same.

        Parameters
        ----------
        k : int
            How many rows.
        column : column name, optional
            The column whose labels are reviewed, where several have probabilities.
        name : str
            The new column: how likely each row was to be chosen.
        seed : int
            Another draws other rows.

        Returns
        -------
        DataFrame
            The chosen rows, in their order, with the column `name`.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> told = pd.DataFrame({"label": ["good", "bad"] * 50})
        >>> told["confidence"] = [0.99, 0.6] * 50
        >>> rows = told.llm.to_review(20)
        >>> len(rows), rows["inclusion"].round(2).unique().tolist()
        (20, [0.13, 0.27])
        """
        from pandas_llm._evaluation import to_review

        return to_review(self._data, k, column, name, seed)

    @property
    @trims_traceback
    def usage(self) -> Usage:
        """What the run, or the chain of runs, has used."""
        from pandas_llm._run import usage

        return usage(self._data)

    @trims_traceback
    def report(
        self,
        path: str | PathLike[str] | None = None,
        *,
        view: str | PathLike[str] | None = None,
    ) -> Report:
        """Build the report of the run, or the chain of runs.

        It holds messages and labels, never prompts or answers.

        Parameters
        ----------
        path : str or path, optional
            A file to write it to, as one HTML page: .html or .htm.
        view : str or path, optional
            A file for the failed and the slowest rows beside their prompts and
            answers; the numbers of these rows in the report lead there.

        Returns
        -------
        Report
            A notebook shows it; printed, it is the totals.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> out = pd.Series(["Oslo"]).llm.complete("Praise ${value}.", model="sim")
        >>> "<svg" in out.llm.report()._repr_html_()
        True
        """
        from pandas_llm._view import report_of

        return report_of(self._data, path, view)

    @trims_traceback
    def view(
        self,
        rows: int | Sequence[Any] | None = None,
        only: Literal["failed", "unsure"] | None = None,
        *,
        data: Any = None,
        plan: Plan | None = None,
        path: str | PathLike[str] | None = None,
    ) -> View:
        """Show answers beside their prompts, with probability, cost and tries.

        Prompts are built again from the frame, and costs come from the cache; nothing
        is sent. What cannot be known is left out, and the page says so.

        Parameters
        ----------
        rows : int, or what ``loc`` takes, default 100
            How many rows, or which.
        only : {"failed", "unsure"}, optional
            Only rows without an answer, or those whose probability is below 0.8 (or
            `abstain_below`), the least sure first.
        data : DataFrame or Series, optional
            The rows that were asked, where the result lacks them: of ``complete``,
            ``classify`` and ``embed``, once the frame they came from is gone.
        plan : Plan, optional
            What was asked, where another process did.
        path : str or path, optional
            A file to write it to, as one HTML page: .html or .htm.

        Returns
        -------
        View
            A notebook shows it with a search; printed, it is text.

        Examples
        --------
        >>> import pandas as pd
        >>> import pandas_llm
        >>> cities = pd.Series(["Oslo"])
        >>> out = cities.llm.complete("Praise ${value}.", model="sim")
        >>> "Praise Oslo." in repr(out.llm.view())
        True
        """
        from pandas_llm._view import view_of

        task = None if plan is None else plan._task  # noqa: SLF001 - of this package
        view = view_of(self._data, rows, only, data=data, task=task)
        if path is not None:
            view.save(path)
        return view


class GroupedAccessor:
    """``df.groupby(…).llm``: raises with what to call, since groups have no verbs.

    On groups of a frame with a column named ``llm`` it is that column.
    """

    def __init__(self, grouped: Any = None) -> None:
        self._grouped = grouped

    def __get__(self, grouped: Any, owner: Any) -> Any:
        """Return the column ``llm`` of groups, or an accessor that raises."""
        if grouped is not None and "llm" in getattr(grouped.obj, "columns", ()):
            return grouped["llm"]
        return GroupedAccessor(grouped)

    @trims_traceback
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        by = getattr(self._grouped, "keys", None)
        shown = repr(by) if isinstance(by, (str, list)) else "…"
        raise InvalidTypeError(
            "groups have no verbs: for one answer a group call df.llm.agg(question, "
            f"column, by={shown}), for one a row call the verb on df before groupby"
        )

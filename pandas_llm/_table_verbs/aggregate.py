"""One answer to a question about many rows: ``agg``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from pandas_llm._algorithms import pack
from pandas_llm._table_verbs.pairs import refuse_columns
from pandas_llm._verbs import Program, verb
from pandas_llm.errors import InvalidTypeError, InvalidValueError, LLMWarning, warn

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from pandas_llm._rows import Source
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options
    from pandas_llm.plan import Plan

_RECORDS = "{question}\n\nAnswer from these records alone:\n\n{parts}"
_SOME = (
    "{question}\n\nThese are some of the records, in their order; other calls answer "
    "for the others. Note what these records say to the question, in at most {words} "
    "words:\n\n{parts}"
)
_ANSWERS = (
    "{question}\n\nThese are answers to it from parts of the records, in their order. "
    "Put them together into one answer:\n\n{parts}"
)
_SOME_ANSWERS = (
    "{question}\n\nThese are answers to it from some parts of the records, in their "
    "order. Put them together, in at most {words} words:\n\n{parts}"
)
_SHORTER = "{question}\n\nShorten this answer to at most {words} words:\n\n{parts}"
_BETWEEN = "\n---\n"
_WORDS = 0.6
"""Words in a token, few enough that an answer stays within its share."""
_ANSWER_SHARE = 8
"""Without `max_tokens`, an eighth of a call is left for its answer."""
_LEAST_ROOM = 40
"""Tokens of records that a call must have room for."""


@verb
def agg(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: pd.DataFrame,
    question: str,
    column: Hashable,
    *,
    by: Any = None,
    sort: bool = True,
    dropna: bool = True,
    keys: Any = None,
    name: str = "answer",
    max_tokens_per_call: int = 8000,
    **options: Unpack[Options],
) -> Program:
    """Answer a question about all rows, or about each group, however long it is.

    Rows are packed in order into calls up to a bound; the answers are put together
    with the same question, level by level. All groups' calls of a level run at once.
    Numbers of rows are better counted by pandas: no model counts exactly.

    Parameters
    ----------
    data : DataFrame or Series
        The rows.
    question : str
        What to ask; it may name the columns of `by`, as in ``"… of ${shop}?"``.
    column : label or str
        The column of texts, or a template for a row with ``${column}``.
    by : label or list of labels, optional
        The groups, as in ``DataFrame.groupby``.
    sort, dropna : bool
        Whether groups come in the order of their labels, and whether those of NA are
        left out.
    keys : list, mapping or pydantic model, optional
        The columns of the answer, one record; without them it is text.
    name : str
        The result's name, where the answer is text.
    max_tokens_per_call : int, default 8000
        The most tokens of a prompt with its answer, as estimated for rate limits.
    **options
        As for `generate`.

    Returns
    -------
    str or Series
        Without `by`: the text, or a Series of `keys`; None or NA where a call failed.
    Series or DataFrame
        With `by`: one answer a group, under the groups' labels.

    Examples
    --------
    >>> notes = pd.DataFrame({"shop": ["A", "A", "B"], "note": ["good", "late", "ok"]})
    >>> said = notes.llm.agg("What do they say?", "note", by="shop", model="sim")
    >>> said.index.tolist()
    ['A', 'B']
    """
    return _program(locals())


def _tokens(text: str) -> float:
    from pandas_llm._pacing import estimate_tokens

    return estimate_tokens(text)


@dataclass
class _Group:
    """One group on its way up the tree."""

    question: str
    parts: list[str]
    """Its records, then the answers to them; none left where a call failed."""
    room: float = 0.0
    """The tokens of parts that fit into a call."""
    depth: int = 0
    answer: Any = None

    @property
    def share(self) -> float:
        """The tokens that an answer may have, so that two fit into a call."""
        return self.room / 2 - _tokens(_BETWEEN)

    def packs(self) -> list[range]:
        """Return which parts go into one call."""
        return pack([_tokens(part + _BETWEEN) for part in self.parts], self.room)

    def prompt(self, at: range, *, last: bool) -> str:
        """Return the question about some parts."""
        forms = (_RECORDS, _ANSWERS) if last else (_SOME, _SOME_ANSWERS)
        parts = self.parts[at.start : at.stop]
        return self.filled(forms[self.depth > 0], _BETWEEN.join(parts))

    def filled(self, form: str, parts: str) -> str:
        """Return a form with the question and its parts."""
        words = int(self.share * _WORDS)
        return form.format(question=self.question, parts=parts, words=words)


def _program(arguments: Mapping[str, Any]) -> Program:
    from pandas_llm._keys import refuse_quoted
    from pandas_llm.plan import Plan

    options = {**arguments["options"], "details": False}
    text = Plan("${prompt}", verb="complete", **options)
    refuse_columns(text)
    keys = arguments["keys"]
    refuse_quoted(keys, "agg", "an answer about many rows")
    last = text if keys is None else Plan("${prompt}", keys, verb="extract", **options)
    groups, index = _groups(arguments, text)
    cut = _make_room(groups, text, arguments["max_tokens_per_call"])
    leaves = [len(group.packs()) for group in groups]

    def span(_: int) -> tuple[int, int]:
        # from two leaves on there is at most one answer for each two of them, and each
        # may be asked for again, shorter
        fewest = sum(count + (count > 1) for count in leaves)
        return fewest, sum(3 * count - 1 if count > 1 else count for count in leaves)

    def steps(_: Any) -> Steps[Any]:
        if cut:
            warn(f"agg: {cut} rows are longer than a call and were cut", LLMWarning)
        yield from _climb(groups, text, last)
        return _result(groups, index, last, arguments)

    levels = "answers are put together level by level; raise max_tokens_per_call"
    return Program(
        "agg",
        steps,
        [text, last],
        failed="answers that need them are NA",
        batches=levels if max(leaves, default=0) > 1 else None,
        span=span,
        exact=None if keys is None else last.exact,
    )


def _groups(
    arguments: Mapping[str, Any], plan: Plan
) -> tuple[list[_Group], pd.Index | None]:
    """Return the groups with their questions and texts, and the result's index."""
    from pandas_llm._rows import Template, iter_rows, source_of, without_na

    source, by = source_of(arguments["data"]), arguments["by"]
    if not (isinstance(by, list) or pd.api.types.is_hashable(by)):
        kind = type(by).__name__  # whose values pandas would group by
        msg = f"by must name columns, not be a {kind}: put it into a column first"
        raise InvalidTypeError(msg)
    texts = _texts(source, arguments["column"], plan)
    places = [] if by is None else source.find_all(by, "by")
    names = [source.name(at) for at in places]
    constants = plan.settings.values  # noqa: PD011
    template = Template(arguments["question"], names, constants, "question")
    render = template.check_says().renderer(names, source)
    if by is None:
        groups, numbers, index = [_Group(render(()), [])], [0] * source.rows, None
    else:
        grouped = _grouped(source, places, arguments)
        index, numbers = grouped.size().index, grouped.ngroup().tolist()
        # as the first row of each would write it
        cells = [*iter_rows(source, names)]
        rows = dict(zip(numbers[::-1], cells[::-1], strict=True))
        groups = [_Group(render(without_na(rows[at])), []) for at in range(len(index))]
    for number, one in zip(numbers, texts, strict=True):
        if one is not None and number >= 0:  # a row with NA in `by` is in no group
            groups[int(number)].parts.append(one)
    return groups, index


def _grouped(source: Source, places: list[int], arguments: Mapping[str, Any]) -> Any:
    """Return rows as pandas groups them, by columns that no level's name hides."""
    keys = [source.column(at).reset_index(drop=True) for at in places]
    flags = {name: arguments[name] for name in ("sort", "dropna")}
    try:
        by = keys if len(keys) > 1 else keys[0]
        grouped = pd.Series(range(source.rows)).groupby(by, observed=True, **flags)
        grouped.size()
    except (TypeError, ValueError, NotImplementedError) as error:
        msg = f"by= makes no groups ({error}): pass sort=False, or .astype(str) of it"
        raise InvalidValueError(msg) from error
    return grouped


def _texts(source: Source, column: Any, plan: Plan) -> list[str | None]:
    """Return each row's text; None where a used cell is NA."""
    from pandas_llm._rows import Template, iter_rows, missing_rows, names_nothing

    wanted = str(column)
    if source.find(column):
        (place,) = source.find_all(column, "column")
        wanted = f"${{{source.name(place)}}}"
    template = Template(wanted, source.fields, plan.settings.values)
    names = list(template.columns)
    if not names:
        raise names_nothing(column, source.fields)
    render = template.renderer(names, source)
    missing = missing_rows(source, names)
    rows = iter_rows(source, names)
    return [
        None if missing is not None and missing[at] else render(row)
        for at, row in enumerate(rows)
    ]


def _make_room(groups: list[_Group], plan: Plan, most: int) -> int:
    """Set how much of a call is left for records; return how many are cut to it."""
    cut = 0
    answer = plan.settings.max_tokens or most // _ANSWER_SHARE
    words = max(map(_tokens, (_SOME, _ANSWERS, _SOME_ANSWERS, _SHORTER)))
    system = _tokens(plan.settings.system or "")
    for group in groups:
        group.room = most - answer - words - system - _tokens(group.question)
        if group.room < _LEAST_ROOM:
            raise InvalidValueError(
                f"max_tokens_per_call={most} leaves no room for records beside the "
                "question and the answer"
            )
        cut += sum(_tokens(part) > group.room for part in group.parts)
        group.parts = [_fitting(part, group.room) for part in group.parts]
    return cut


def _fitting(text: str, most: float) -> str:
    """Return a text, or as much of its beginning as fits."""
    while (size := _tokens(text)) > most:
        text = text[: min(len(text) - 1, math.floor(len(text) * most / size))]
    return text


def _climb(groups: list[_Group], text: Plan, last: Plan) -> Steps[None]:
    """Ask level after level, until each group has one answer."""
    while groups := [group for group in groups if group.parts]:
        calls: list[tuple[_Group, str]] = []
        roots: list[tuple[_Group, str]] = []
        for group in groups:
            packs = group.packs()
            kind = roots if len(packs) == 1 else calls
            kind += [(group, group.prompt(at, last=kind is roots)) for at in packs]
            group.parts, group.depth = [], group.depth + 1
        if text is last:
            answers = yield from _asked(text, calls + roots)
        else:
            answers = yield from _asked(text, calls)
            answers += yield from _asked(last, roots)
        for (group, _), answer in zip(calls, answers, strict=False):
            group.parts.append(answer)
        for (group, _), answer in zip(roots, answers[len(calls) :], strict=True):
            group.answer = answer
        # a group with a part that failed has no answer
        groups = [group for group in groups if None not in group.parts]
        yield from _shorten(groups, text)


def _shorten(groups: list[_Group], plan: Plan) -> Steps[None]:
    """Ask once more for answers that are longer than their share; then cut them."""
    long = [
        (group, at)
        for group in groups
        for at, part in enumerate(group.parts)
        if _tokens(part) > group.share
    ]
    calls = [
        (group, group.filled(_SHORTER, _fitting(group.parts[at], group.room)))
        for group, at in long
    ]
    answers = yield from _asked(plan, calls)
    for (group, at), answer in zip(long, answers, strict=True):
        shorter = group.parts[at] if answer is None else answer
        group.parts[at] = _fitting(shorter, group.share)


def _asked(plan: Plan, calls: list[tuple[_Group, str]]) -> Steps[list[Any]]:
    """Ask prompts at once; return texts, or records; None for those that failed."""
    if not calls:
        return []
    answer = yield plan, pd.DataFrame({"prompt": [p for _, p in calls]}, dtype=object)
    if plan.verb == "complete":
        return [None if pd.isna(one) else one for one in answer]
    records = answer[list(plan.columns)]
    failed = records.isna().all(axis=1).tolist()
    return [None if failed[at] else records.iloc[[at]] for at in range(len(calls))]


def _result(
    groups: list[_Group],
    index: pd.Index | None,
    plan: Plan,
    arguments: Mapping[str, Any],
) -> Any:
    if arguments["keys"] is None:
        if index is None:
            return groups[0].answer
        from pandas_llm._run import typed

        texts = typed([group.answer for group in groups], "str")
        return pd.Series(texts, index=index, name=arguments["name"])
    none = plan.meta(pd.DataFrame({"prompt": pd.Series(dtype=object)}))[
        list(plan.columns)
    ]
    blank = none.reindex([0])
    rows = [blank if g.answer is None else g.answer for g in groups]
    out = pd.concat([none, *rows])
    if index is None:
        return out.iloc[0].rename(arguments["name"])
    return out.set_axis(index)

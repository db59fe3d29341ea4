"""One answer to a question about many rows: ``agg``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from pandas_llm._algorithms import pack
from pandas_llm._table_verbs.pairs import refuse_columns
from pandas_llm._verbs import Program, column_names, table_of, twin, verb
from pandas_llm.errors import InvalidValueError, LLMWarning, warn

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

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
"""Words in a token, so that an answer of so many words is within its share."""
_ANSWER_SHARE = 8
"""Without `max_tokens`, one part in so many of a call is left for its answer."""
_LEAST_ROOM = 40
"""Tokens of records that a call must have room for."""


@verb
def agg(  # noqa: PLR0913 - the verb's own parameters, all by name
    data: pd.DataFrame,
    question: str,
    column: Hashable,
    *,
    by: Any = None,
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
        The groups, as in ``DataFrame.groupby``: sorted, those of NA left out.
    keys : list, mapping or pydantic model, optional
        The columns of the answer, one record; without them it is text.
    name : str
        The result's name, where the answer is text.
    max_tokens_per_call : int, default 8000
        The most tokens of a prompt with its answer, as estimated for rate limits.
    **options
        Any option of a run; ``help(pandas_llm.set_options)`` lists them.

    Returns
    -------
    str or Series
        Without `by`: the text, or a Series of `keys`; None or NA where a call failed.
    Series or DataFrame
        With `by`: one answer a group, under the groups' labels.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> notes = pd.DataFrame({"shop": ["A", "A", "B"], "note": ["good", "late", "ok"]})
    >>> said = notes.llm.agg("What do they say?", "note", by="shop", model="sim")
    >>> said.index.tolist()
    ['A', 'B']
    """
    return _program(locals())


aagg = twin(agg)


def _tokens(text: str) -> float:
    from pandas_llm._pacing import estimate_tokens

    return estimate_tokens(text)


@dataclass
class _Group:
    """One group on its way up the tree."""

    question: str
    parts: list[str]
    depth: int = 0
    answer: Any = None
    failed: bool = False


def _program(arguments: Mapping[str, Any]) -> Program:
    from pandas_llm._keys import refuse_quoted
    from pandas_llm.plan import Plan

    frame = table_of(arguments["data"])
    most = arguments["max_tokens_per_call"]
    if type(most) is not int or most < 1:
        msg = f"max_tokens_per_call must be a whole number of at least 1, not {most!r}"
        raise InvalidValueError(msg)
    options = {**arguments["options"], "details": False}
    text = Plan("${prompt}", verb="complete", **options)
    refuse_columns(text)
    keys = arguments["keys"]
    refuse_quoted(keys, "agg", "an answer about many rows")
    last = text if keys is None else Plan("${prompt}", keys, verb="extract", **options)
    groups, index = _groups(frame, arguments, text)
    tree = _Tree(groups, text, last, most)
    levels = "answers are put together level by level; raise max_tokens_per_call"
    leaves = [len(tree.packs(group)) for group in groups]
    several = max(leaves, default=0) > 1

    def span(_: int) -> tuple[int, int]:
        # above two leaves and more there is an answer each two of them, at the most,
        # and each may be asked for again, shorter
        fewest = sum(count + (count > 1) for count in leaves)
        return fewest, sum(3 * count - 1 if count > 1 else count for count in leaves)

    def steps(_: Any) -> Steps[Any]:
        yield from tree.climb()
        return _result(groups, index, last, arguments)

    failed = "answers that need them are NA"
    refused = levels if several else None
    plans = [text, last]
    return Program("agg", steps, plans, failed=failed, batches=refused, span=span)


def _groups(
    frame: pd.DataFrame, arguments: Mapping[str, Any], plan: Plan
) -> tuple[list[_Group], pd.Index | None]:
    """Return the groups with their questions and texts, and the result's index."""
    from pandas_llm._rows import Template

    texts = _texts(frame, arguments["column"], plan)
    by, question = arguments["by"], arguments["question"]
    constants = plan.settings.values  # noqa: PD011
    if by is None:
        whole = Template(question, [], constants, "question").check_says()
        parts = [one for one in texts if one is not None]
        return [_Group(whole.renderer([])(()), parts)], None
    names = column_names(frame, by, "by")
    template = Template(question, list(map(str, names)), constants, "question")
    template.check_says()
    render = template.renderer(list(map(str, names)))
    grouped = frame.groupby(by, sort=True, observed=True)
    index = grouped.size().index
    groups = [
        _Group(render(label if isinstance(label, tuple) else (label,)), [])
        for label in index
    ]
    for number, one in zip(grouped.ngroup().tolist(), texts, strict=True):
        if one is not None and number == number and number >= 0:  # noqa: PLR0124 - NaN
            groups[int(number)].parts.append(one)
    return groups, index


def _texts(frame: pd.DataFrame, column: Any, plan: Plan) -> list[str | None]:
    """Return each row's text; None where a used cell is NA."""
    from pandas_llm._rows import Template, iter_rows, missing_rows, source_of

    source = source_of(frame)
    if column in frame.columns:
        column_names(frame, column, "column")
        wanted = f"${{{column}}}"
    else:
        wanted = str(column)
    template = Template(wanted, source.fields, plan.settings.values)
    names = list(template.columns)
    if not names:
        msg = f"{column!r} is neither a column nor a template with ${{column}} in it"
        raise InvalidValueError(msg)
    render = template.renderer(names, source)
    missing = missing_rows(source, names)
    rows = iter_rows(source, names)
    return [
        None if missing is not None and missing[at] else render(row)
        for at, row in enumerate(rows)
    ]


class _Tree:
    """All groups, level by level."""

    def __init__(self, groups: list[_Group], text: Plan, last: Plan, most: int) -> None:
        self._groups, self._text, self._last = groups, text, last
        answer = text.settings.max_tokens or most // _ANSWER_SHARE
        words = max(map(_tokens, (_SOME, _ANSWERS, _SOME_ANSWERS, _SHORTER)))
        system = _tokens(text.settings.system or "")
        self._room = {
            id(group): most - answer - words - system - _tokens(group.question)
            for group in groups
        }
        self.cut = 0
        for group in groups:
            if self._room[id(group)] < _LEAST_ROOM:
                msg = (
                    f"max_tokens_per_call={most} leaves no room for records beside the "
                    "question and the answer"
                )
                raise InvalidValueError(msg)
            group.parts = [
                self._fitting(part, self._room[id(group)]) for part in group.parts
            ]

    def packs(self, group: _Group) -> list[range]:
        """Return which parts of a group go into one call."""
        sizes = [_tokens(part + _BETWEEN) for part in group.parts]
        return pack(sizes, self._room[id(group)])

    def climb(self) -> Steps[None]:
        """Ask level after level, until each group has one answer."""
        if self.cut:
            warn(
                f"agg: {self.cut} rows are longer than a call and were cut", LLMWarning
            )
        climbing = [group for group in self._groups if group.parts]
        while climbing:
            inner = [group for group in climbing if len(self.packs(group)) > 1]
            final = [group for group in climbing if len(self.packs(group)) == 1]
            yield from self._level(inner, final)
            yield from self._shorten(inner)
            climbing = [group for group in inner if not group.failed]

    def _level(self, inner: list[_Group], final: list[_Group]) -> Steps[None]:
        calls = [
            (group, self._prompt(group, at, last=False))
            for group in inner
            for at in self.packs(group)
        ]
        roots = [(g, self._prompt(g, range(len(g.parts)), last=True)) for g in final]
        together = self._text is self._last
        answers = yield from _asked(
            self._text, [c[1] for c in calls + roots * together]
        )
        if not together:
            answers += yield from _asked(self._last, [prompt for _, prompt in roots])
        parts: dict[int, list[str]] = {id(group): [] for group in inner}
        for (group, _), answer in zip(calls + roots, answers, strict=True):
            if answer is None:
                group.failed = True
            elif id(group) in parts:
                parts[id(group)].append(answer)
            else:
                group.answer = answer
        for group in inner:
            group.parts, group.depth = parts[id(group)], group.depth + 1

    def _prompt(self, group: _Group, at: range, *, last: bool) -> str:
        parts = [group.parts[i] for i in at]
        forms = (_SOME, _SOME_ANSWERS) if not last else (_RECORDS, _ANSWERS)
        return self._filled(group, forms[group.depth > 0], _BETWEEN.join(parts))

    def _filled(self, group: _Group, form: str, parts: str) -> str:
        words = int(self._share(group) * _WORDS)
        return form.format(question=group.question, parts=parts, words=words)

    def _share(self, group: _Group) -> float:
        """Return the tokens that an answer may have, so that two fit into a call."""
        return self._room[id(group)] / 2 - _tokens(_BETWEEN)

    def _shorten(self, groups: list[_Group]) -> Steps[None]:
        """Ask once more for answers that are longer than their share; then cut them."""
        long = [
            (group, at)
            for group in groups
            for at, part in enumerate(group.parts)
            if not group.failed and _tokens(part) > self._share(group)
        ]
        prompts = [
            self._filled(g, _SHORTER, self._fitting(g.parts[at], self._room[id(g)]))
            for g, at in long
        ]
        answers = yield from _asked(self._text, prompts)
        for (group, at), answer in zip(long, answers, strict=True):
            shorter = group.parts[at] if answer is None else answer
            group.parts[at] = self._fitting(shorter, self._share(group))

    def _fitting(self, text: str, most: float) -> str:
        """Return a text, or as much of its beginning as fits."""
        size = _tokens(text)
        if size <= most:
            return text
        self.cut += 1
        while (size := _tokens(text)) > most:
            text = text[: min(len(text) - 1, math.floor(len(text) * most / size))]
        return text


def _asked(plan: Plan, prompts: list[str]) -> Steps[list[Any]]:
    """Ask prompts at once; return texts, or records; None for those that failed."""
    if not prompts:
        return []
    answer = yield plan, pd.DataFrame({"prompt": prompts})
    if plan.verb == "complete":
        return [None if pd.isna(one) else one for one in answer]
    records = answer[list(plan.columns)]
    failed = records.isna().all(axis=1).tolist()
    return [None if failed[at] else records.iloc[[at]] for at in range(len(prompts))]


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
    out = pd.concat([none, *rows]) if rows else none
    if index is None:
        return out.iloc[0].rename(arguments["name"])
    return out.set_axis(index)

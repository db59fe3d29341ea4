"""Closed keys: those that are answered by one of some labels, as questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pandas_llm._keys.columns import RecordModel, is_optional
from pandas_llm.types import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm._keys.columns import Column
    from pandas_llm._keys.model import Keys

_NOT_SAID = "not said"
"""The label of a key that may be null."""


def questions_of(
    keys: Keys,
    asked: str = "",
    descriptions: Mapping[str, str] | None = None,
    *,
    alone: bool = False,
) -> tuple[Question, ...]:
    """Return the closed keys as questions, in the order of the columns.

    `asked` is what to ask where a key has no description of its own, or `alone`;
    `descriptions` say what each label means.

    Examples
    --------
    >>> from pandas_llm._keys import parse_keys
    >>> keys = parse_keys({"spam": bool, "mood": ["good", "bad"], "year": int})
    >>> [(q.name, q.labels) for q in questions_of(keys)]
    [('spam', ('yes', 'no')), ('mood', ('good', 'bad'))]
    """
    fields = list(keys.model.model_fields.values())
    if len(fields) != len(keys.columns):  # nested ones have columns of their own
        return ()
    made = issubclass(keys.model, RecordModel)
    questions = []
    for field, column in zip(fields, keys.columns, strict=True):
        if column.kind not in ("bool", "category") or column.quoted:
            continue
        name = str(field.alias) if made else field.alias or column.name
        description = field.description or f"{name}: {asked}".removesuffix(": ")
        if alone or (len(fields) == 1 and not field.description):
            description = asked or name
        optional = is_optional(field.annotation)
        labels, values = _answers(column, optional=optional)
        told = descriptions or {}
        means = tuple(told.get(label, "") for label in labels if told)
        is_predicate = column.kind == "bool" and not optional
        kind: Literal["choice", "predicate"] = "predicate" if is_predicate else "choice"
        questions.append(Question(name, description, labels, values, means, kind))
    return tuple(questions)


def _answers(
    column: Column, *, optional: bool
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the labels that answer a question, and their values."""
    is_bool = column.kind == "bool"
    values = (True, False) if is_bool else column.labels
    labels = ("yes", "no") if is_bool else tuple(map(str, values))
    if not optional:
        return labels, values
    unsaid = _NOT_SAID
    while unsaid in labels:
        unsaid += " at all"
    return (*labels, unsaid), (*values, None)

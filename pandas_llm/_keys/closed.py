"""Closed keys: those that are answered by one of some labels, as questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm._keys.columns import RecordModel, is_optional
from pandas_llm.types import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm._keys.columns import Column
    from pandas_llm._keys.model import Keys

_YES_NO = (("yes", "no"), (True, False))
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

    Parameters
    ----------
    keys : Keys
        What one record is.
    asked : str
        What to ask where a key has no description of its own.
    descriptions : mapping of str to str, optional
        What each label means.
    alone : bool
        Whether `asked` is the question, whatever the key is called.

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
        questions.append(
            _question(column, name, description, descriptions, optional=optional)
        )
    return tuple(questions)


def _question(
    column: Column,
    name: str,
    instructions: str,
    descriptions: Mapping[str, str] | None,
    *,
    optional: bool,
) -> Question:
    labels: tuple[str, ...]
    values: tuple[Any, ...]
    if column.kind == "bool":
        labels, values = _YES_NO
    else:
        labels, values = tuple(map(str, column.labels)), column.labels
    if optional:
        unsaid = _NOT_SAID
        while unsaid in labels:
            unsaid += " at all"
        labels, values = (*labels, unsaid), (*values, None)
    description = (
        tuple(descriptions.get(label, "") for label in labels) if descriptions else ()
    )
    if column.kind == "bool" and not optional:
        return Question(name, instructions, labels, values, description, "predicate")
    return Question(name, instructions, labels, values, description)

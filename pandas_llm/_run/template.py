"""The prompt template, compiled once: ``${column}``, ``${price:.2f}``, ``$n``, ``$$``.

A value is never read as a template, so a cell cannot add fields. ``string.Template``
takes identifiers only, fails on ``$5``, and costs 2.3 µs a row against 0.3 here.
"""

from __future__ import annotations

import difflib
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pandas_llm._run.braces import check_braces, unclosed
from pandas_llm._run.rows import cells, is_na
from pandas_llm.errors import InvalidTypeError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from pandas_llm._run.rows import Source

_EXACT = 2.0**53
"""Where floats stop to tell whole numbers apart."""
_NAME = re.compile(r"[^\W\d]\w*")
_BRACED = re.compile(r"\{([^}]*)\}")


class _Field(NamedTuple):
    name: str
    braced: bool
    spec: str = ""
    """How to write its value, as after the colon in ``str.format``."""


class Template:
    """A template bound to the columns and constants that it may use.

    A name in both is the column's. `columns` lists the names that it uses.

    Examples
    --------
    >>> template = Template("${city} has $n people, $$5 each", ["n", "city"])
    >>> template.columns
    ['city', 'n']
    >>> template.renderer(template.columns)(("Oslo", 7))
    'Oslo has 7 people, $5 each'
    """

    def __init__(
        self,
        text: str,
        names: Sequence[str],
        values: Mapping[str, Any] | None = None,
        what: str = "template",
    ) -> None:
        if not isinstance(text, str):
            msg = f"the {what} must be a str, not {type(text).__name__}"
            raise InvalidTypeError(msg)
        self.text = text
        self._what = what
        constants = values or {}
        either = {*names, *constants}
        split = _split(text, sorted(either, key=len, reverse=True), what)
        uses = any(isinstance(part, _Field) for part in split)
        self._parts: list[str | _Field] = []
        for part in split:
            if isinstance(part, str):
                check_braces(part, either, what, uses=uses)
            else:
                self._check(part, names, constants)
                if part.name not in names:
                    part = formatted(constants[part.name], part.spec, part.name)  # noqa: PLW2901
            self._parts.append(part)
        self.fields: list[tuple[str, str]] = list(
            dict.fromkeys(
                (p.name, p.spec) for p in self._parts if isinstance(p, _Field)
            )
        )
        """The columns that it uses, each with how its values are written."""
        self.columns: list[str] = list(dict.fromkeys(name for name, _ in self.fields))

    @property
    def about(self) -> str | None:
        """The only column, where the question stands before or behind it."""
        fields = [part for part in self._parts if isinstance(part, _Field)]
        if len(fields) != 1 or fields[0] not in (self._parts[0], self._parts[-1]):
            return None
        return fields[0].name

    @property
    def formatted(self) -> str | None:
        """The first column whose values are not written as they are."""
        return next((name for name, spec in self.fields if spec), None)

    def parts_until(self, names: Collection[str]) -> int:
        """Return how many parts stand before the first column that is not named."""
        for at, part in enumerate(self._parts):
            if isinstance(part, _Field) and part.name not in names:
                return at
        return len(self._parts)

    def literal(self, parts: int | None = None) -> str:
        """Return what it, or its first parts, say in every row."""
        return "".join(part for part in self._parts[:parts] if isinstance(part, str))

    def renderer(
        self,
        columns: Sequence[str],
        source: Source | None = None,
        most: int | None = None,
    ) -> Callable[[Sequence[Any]], str]:
        """Return the function from a row's values, in this order, to the prompt.

        With their `source`, cells that a format does not suit raise, and integers with
        NA among them, which pandas keeps as floats, are written as integers. With
        `most`, so many parts of the template are all.
        """
        writers = {} if source is None else writers_of(source, self.fields)
        used = self._parts[:most]
        parts = [part if isinstance(part, str) else "" for part in used]
        slots: list[tuple[int, int]] = []
        written: list[tuple[int, int, Callable[[Any], str]]] = []
        for at, part in enumerate(used):
            if isinstance(part, str):
                continue
            index, key = columns.index(part.name), (part.name, part.spec)
            if key in writers:
                written.append((at, index, writers[key]))
            elif part.spec:
                written.append((at, index, partial(_written, part)))
            else:
                slots.append((at, index))

        def render(row: Sequence[Any]) -> str:
            filled = parts.copy()
            for at, index in slots:
                value = row[index]
                filled[at] = value if type(value) is str else str(value)
            for at, index, write in written:
                filled[at] = write(row[index])
            return "".join(filled)

        return render

    def _check(
        self, field: _Field, names: Sequence[str], constants: Mapping[str, Any]
    ) -> None:
        count = list(names).count(field.name)
        if count > 1:
            msg = (
                f"the {self._what} uses ${{{field.name}}}, and {count} columns have "
                "that name: rename one of them"
            )
            raise TemplateError(msg)
        if count == 0 and field.name not in constants:
            known = [*names, *constants]
            if field.braced and re.search(r"[^{]*[{\n]", field.name[1:]):
                raise unclosed(field.name, known, self._what)  # a brace far behind it
            raise TemplateError(_unknown(field, self._what, known))


def _written(field: _Field, value: Any) -> str:
    return formatted(value, field.spec, field.name)


def _split(text: str, known: Sequence[str], what: str) -> list[str | _Field]:
    """Split a template into text and fields; `known` names, the longest first."""
    parts: list[str | _Field] = []
    literal: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        literal.append(text[position:dollar])
        position = dollar + 1
        if text.startswith("$", position):
            literal.append("$")
            position += 1
        elif (named := _field(text, position, known)) is not None:
            field, position = named
            parts += ["".join(literal), field]
            literal = []
        elif text.startswith("{", position):
            raise unclosed(text[position + 1 :], known, what)
        else:
            literal.append("$")
    literal.append(text[position:])
    parts.append("".join(literal))
    return [part for part in parts if part != ""]


def _field(text: str, position: int, known: Sequence[str]) -> tuple[_Field, int] | None:
    """Read the name after a dollar, and where the text goes on."""
    if text.startswith("{", position):
        # a column's name may hold braces itself, so try existing names first
        for name in known:
            if text.startswith(name + "}", position + 1):
                return _Field(name, braced=True), position + len(name) + 2
        for name in known:
            if text.startswith(name + ":", position + 1):
                start = position + len(name) + 2
                if (end := text.find("}", start)) >= start:
                    field = _Field(name, braced=True, spec=text[start:end])
                    return field, end + 1
        match = _BRACED.match(text, position)
        return match and (_Field(match[1], braced=True), match.end())
    match = _NAME.match(text, position)
    return match and (_Field(match[0], braced=False), match.end())


def _unknown(field: _Field, what: str, names: Sequence[str]) -> str:
    shown = f"${{{field.name}}}" if field.braced else f"${field.name}"
    name, colon, spec = field.name.partition(":")
    near = difflib.get_close_matches(name.strip(), names, n=3, cutoff=0.5)
    folded = name.strip().casefold()
    near = [n for n in names if n.casefold() == folded] or near
    if near:
        meant = " or ".join(f"${{{name}{colon}{spec}}}" for name in near)
        hint = f"did you mean {meant}?"
    else:
        listed = ", ".join(repr(name) for name in names[:20]) or "none"
        hint = f"the names are: {listed}{' …' if len(names) > 20 else ''}."  # noqa: PLR2004
    if not field.braced:
        hint += f" For a dollar sign as text write $${field.name}."
    return f"the {what} names {shown}, which is neither a column nor in values=: {hint}"


# -- how cells are written, where ``str`` does not do ---


def writers_of(
    source: Source, fields: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Callable[[Any], str]]:
    """Return how to write the cells of those fields that ``str`` does not do for.

    Raises
    ------
    TemplateError
        For a format that cells of the column do not take.
    """
    writers: dict[tuple[str, str], Callable[[Any], str]] = {}
    for name, spec in fields:
        whole = _whole_with_na(source, name)
        if not (whole or spec):
            continue
        write = partial(formatted, spec=spec, name=name, whole=whole)
        writers[name, spec] = write
        if spec:
            column = cells(source, name).dropna()
            few = column.head(1) if column.dtype != object else column
            for value in {type(value): value for value in few.tolist()}.values():
                write(value)
    return writers


def formatted(value: Any, spec: str, name: str, *, whole: bool = False) -> str:
    """Write a value by a format; nothing for the empty text in place of NA.

    Examples
    --------
    >>> formatted(2.5, ".2f", "price"), formatted(3.0, "", "count", whole=True)
    ('2.50', '3')
    """
    if not spec:
        return str(int(value)) if whole and value != "" else str(value)
    if isinstance(value, str) and (value == "" or is_na(value)):
        return ""
    if whole:
        value = int(value)
    try:
        if not hasattr(value, "strftime"):
            return format(value, spec)
        if "%" in spec:
            return str(value.strftime(spec))
        why = "a date takes one such as %d.%m.%Y"
    except (TypeError, ValueError) as error:
        why = str(error)
        if isinstance(value, str):
            why += "; pd.to_numeric or pd.to_datetime converts the column"
    msg = f"${{{name}:{spec}}} cannot write {value!r} ({type(value).__name__}): {why}"
    raise TemplateError(msg)


def _whole_with_na(source: Source, name: str) -> bool:
    """Return whether a column holds integers that are floats only for want of NA."""
    column = cells(source, name)
    if column.dtype != np.float64:
        return False
    values = column.to_numpy()
    known = values[~np.isnan(values)]
    if not 0 < len(known) < len(values):
        return False
    return bool(np.all((np.abs(known) < _EXACT) & (known == np.floor(known))))

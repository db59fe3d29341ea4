"""The prompt template, compiled once: ``${column}``, ``${price:.2f}``, ``$n``, ``$$``.

A value is never read as a template, so a cell cannot add fields. ``string.Template``
takes identifiers only, fails on ``$5``, and costs 2.3 µs a row against 0.3 here.
"""

from __future__ import annotations

import difflib
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm._run.braces import check_braces, unclosed
from pandas_llm._run.formats import formatted, writers_of
from pandas_llm.errors import InvalidTypeError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pandas_llm._run.rows import Source

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
        known = sorted({*names, *constants}, key=len, reverse=True)
        split = _split(text, known, what)
        uses = any(isinstance(part, _Field) for part in split)
        self._parts: list[str | _Field] = []
        for part in split:
            if isinstance(part, str):
                check_braces(part, known, what, uses=uses)
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

    def renderer(
        self,
        columns: Sequence[str],
        source: Source | None = None,
    ) -> Callable[[Sequence[Any]], str]:
        """Return the function from a row's values, in this order, to the prompt.

        With their `source`, cells that a format does not suit raise, and integers with
        NA among them, which pandas keeps as floats, are written as integers.
        """
        writers = {} if source is None else writers_of(source, self.fields)
        parts = [part if isinstance(part, str) else "" for part in self._parts]
        slots: list[tuple[int, int]] = []
        written: list[tuple[int, int, Callable[[Any], str]]] = []
        for at, part in enumerate(self._parts):
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
                if (end := text.find("}", start)) > start:
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

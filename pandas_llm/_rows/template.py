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

from pandas_llm._algorithms import side_by_side
from pandas_llm._pacing import estimate_tokens
from pandas_llm._rows.braces import check_braces, unclosed
from pandas_llm._rows.rows import (
    cells,
    is_na,
    longest_cell,
    numbered,
    row_at,
    text_of,
    whole_with_na,
    without_na,
)
from pandas_llm.errors import InvalidTypeError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from pandas_llm._rows.rows import Order, Source

_PARTS = 7
"""Columns at the beginning of a template that are looked at."""
_SHORT = 256
"""Letters of a beginning of the prompt that are not worth a mark of their own."""
_MOST = 3
"""Beginnings that are told of; a body may mark four, and the caller may mark one."""


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
            msg = (
                f"the {what} must be a str, such as 'Shorten: ${{text}}' for a column "
                f"text, not {type(text).__name__}"
            )
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
        fields = [part for part in self._parts if isinstance(part, _Field)]
        self.fields = list(dict.fromkeys((one.name, one.spec) for one in fields))
        """The columns that it uses, each with how its values are written."""
        self.columns = list(dict.fromkeys(one.name for one in fields))
        ends = {*self._parts[:1], *self._parts[-1:]}
        self.about: str | None = None
        """The only column's own template, where the question stands beside it."""
        if len(fields) == 1 and fields[0] in ends:
            name, _, spec = fields[0]
            self.about = f"${{{name}{':' * bool(spec)}{spec}}}"

    def check_says(self) -> Template:
        """Return the template itself; raise where it has nothing but blanks."""
        if self.columns or self.literal().strip():
            return self
        example = (
            "'What do they say?'" if self._what == "question" else "'About: ${text}'"
        )
        msg = f"the {self._what} is empty: write what to ask, such as {example}"
        raise TemplateError(msg)

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
        `most`, only the first parts of the template are written.
        """
        writers = writers_of(source, self.fields)
        parts: list[str] = []
        slots: list[tuple[int, int]] = []
        written: list[tuple[int, int, Callable[[Any], str]]] = []
        for at, part in enumerate(self._parts[:most]):
            if isinstance(part, str):
                parts.append(part)
                continue
            parts.append("")
            index = columns.index(part.name)
            if write := writers.get((part.name, part.spec)):
                written.append((at, index, write))
            else:
                slots.append((at, index))

        def render(row: Sequence[Any]) -> str:
            filled = parts.copy()
            for at, index in slots:
                value = row[index]
                filled[at] = value if type(value) is str else text_of(value)
            for at, index, write in written:
                filled[at] = write(row[index])
            return "".join(filled)

        return render

    def _check(
        self, field: _Field, names: Sequence[str], constants: Mapping[str, Any]
    ) -> None:
        count = list(names).count(field.name)
        if count > 1:
            raise TemplateError(
                f"the {self._what} uses ${{{field.name}}}, and {count} columns have "
                "that name: rename one of them"
            )
        if count == 0 and field.name not in constants:
            known = [*names, *constants]
            if field.braced and re.search(r"[^{]*[{\n]", field.name[1:]):
                raise unclosed(field.name, known, self._what)  # a brace far behind it
            raise TemplateError(_unknown(field, self._what, known))


class Beginnings:
    """Where the prompts of rows begin alike, for a vendor that keeps beginnings."""

    def __init__(
        self,
        system: Template | None,
        prompt: Template,
        columns: Sequence[str],
        source: Source,
    ) -> None:
        self._system, self._prompt = system, prompt
        self._columns, self._source = columns, source
        self._begins: list[Callable[[Sequence[Any]], str]] = []
        self._shared = np.zeros(0, np.uint8)  # by row, which of them others have too

    def find(
        self, rows: Order, least: int, fixed: str, *, between: bool
    ) -> Order | None:
        """Find what of `least` tokens is shared; return an order by it, None for none.

        `fixed` is said before all prompts; `between` it and a prompt more may stand.
        """
        prompt, system, source = self._prompt, self._system, self._source
        known = list(system.columns) if system else []
        new = [name for name in prompt.columns if name not in known]
        if not new and not between:
            return None
        names = [*known, *([] if between else new[:-1])][:_PARTS]  # not equal prompts
        fixed += system.literal() if system else ""
        first = without_na(row_at(source, self._columns, int(rows[0])))
        sample = fixed + prompt.renderer(self._columns, source)(first)
        letters = least * len(sample) / max(1.0, estimate_tokens(sample))
        longest = sum(longest_cell(source, name) for name in names)
        if len(fixed) + len(prompt.literal()) + longest < letters:
            return None
        codes, lengths, size = [], [], np.zeros(len(rows), np.int64) + len(fixed)
        for count in range(len(names) + 1):
            code = np.zeros(len(rows), np.int64)
            if count:
                code, length = numbered(source, names[count - 1], rows)
                size = size + length
            parts = 0 if between else prompt.parts_until(names[:count])
            few = len(prompt.literal(parts)) < _SHORT and count == len(known)
            if few and size.min() >= letters:
                parts = 0  # a mark on the system text will do
            codes.append(code)
            self._begins.append(prompt.renderer(self._columns, source, parts))
            # a beginning does not end within the system text
            ends = count >= len(known)
            lengths.append(size + len(prompt.literal(parts)) if ends else size * 0)
        rank, shared = side_by_side(codes, lengths, letters)
        self._shared = np.zeros(source.rows, dtype=np.uint8)
        self._shared[np.asarray(rows)] = shared
        if not shared.any():
            return None
        return rows if (np.diff(rank) == 1).all() else np.asarray(rows)[rank]

    def ends(self, position: int, row: Sequence[Any]) -> tuple[int, ...]:
        """Return where in a row's prompt the beginnings end that others have too."""
        bits = int(self._shared[position])
        if not bits:
            return ()
        begins = enumerate(self._begins)
        return tuple(len(begin(row)) for at, begin in begins if bits >> at & 1)[-_MOST:]


def _split(text: str, known: Sequence[str], what: str) -> list[str | _Field]:
    """Split a template into text and fields; `known` names, the longest first."""
    # a column's name may hold braces itself, so existing names are tried first
    names = "|".join([re.escape(name) for name in known if name in text] or ["(?!)"])
    field = re.compile(
        rf"\$(?:(?P<dollar>\$)|{{(?P<whole>{names})}}"
        rf"|{{(?P<name>{names}):(?P<spec>[^}}]*)}}"
        r"|{(?P<other>[^}]*)}|(?P<bare>[^\W\d]\w*)|(?P<open>{))"
    )
    parts: list[str | _Field] = []
    literal, end = "", 0
    for match in field.finditer(text):
        literal += text[end : match.start()]
        end, kind = match.end(), match.lastgroup or ""
        if kind == "open":
            raise unclosed(text[end:], known, what)
        if kind == "dollar":
            literal += "$"
            continue
        name = match["name" if kind == "spec" else kind]
        one = _Field(name, braced=kind != "bare", spec=match["spec"] or "")
        parts += [literal, one]
        literal = ""
    parts.append(literal + text[end:])
    return [part for part in parts if part != ""]


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
        listed = ", ".join(repr(name) for name in names[:20])
        listed += " …" * (len(names) > 20)  # noqa: PLR2004
        hint = f"the names are: {listed}." if names else "there are no columns."
        if "value" in names[:1]:  # in all likelihood a row in df.apply, or a column
            hint += " A Series has no others: call the verb on the frame, which asks "
            hint += "about each row."
        if what == "question":
            hint = "a column of the rows goes into column=, beside the question."
    if not field.braced:
        hint += f" For a dollar sign as text write $${field.name}."
    return f"the {what} names {shown}, which is neither a column nor in values=: {hint}"


def names_nothing(text: Any, names: Sequence[str]) -> TemplateError:
    """Return the error of what is neither a column nor names one."""
    close = difflib.get_close_matches(str(text), names, n=1)
    hint = (
        f"; did you mean {close[0]!r}?"
        if close
        else f"; there are {', '.join(map(repr, names[:20]))}" * bool(names)
    )
    return TemplateError(
        f"{text!r} is neither a column nor a template with ${{column}} in it{hint}"
    )


# -- how cells are written, where ``str`` does not do ---


def writers_of(
    source: Source | None, fields: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Callable[[Any], str]]:
    """Return how to write the cells of those fields that ``str`` does not do for."""
    writers: dict[tuple[str, str], Callable[[Any], str]] = {}
    for name, spec in fields:
        whole = source is not None and whole_with_na(cells(source, name))
        if not (whole or spec):
            continue
        write = partial(formatted, spec=spec, name=name, whole=whole)
        writers[name, spec] = write
        if spec and source is not None:
            column = cells(source, name).dropna()
            few = column.head(1) if column.dtype != object else column
            for value in {type(value): value for value in few.tolist()}.values():
                write(value)
    return writers


def formatted(value: Any, spec: str, name: str, *, whole: bool = False) -> str:
    """Write a value by a format; nothing for the empty text in place of NA."""
    if not spec:
        return text_of(int(value) if whole and value != "" else value)
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

"""The requests of a run: templates bound to a frame, filled row by row."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from pandas_llm import images
from pandas_llm._algorithms import side_by_side
from pandas_llm._pacing import estimate_tokens
from pandas_llm._replies import Records
from pandas_llm._run.rows import (
    is_na,
    iter_rows,
    longest_cell,
    missing_rows,
    numbered,
    row_at,
    without_na,
)
from pandas_llm._run.template import Template
from pandas_llm.errors import ImageError, TemplateError
from pandas_llm.types import Request, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pandas_llm._run.rows import Order, Source
    from pandas_llm._run.task import Task
    from pandas_llm.errors import ContextLengthError
    from pandas_llm.options import Settings
    from pandas_llm.types import Image

_SAMPLING = ("temperature", "top_p", "seed", "stop", "reasoning_effort")
_NUMBER = re.compile(r"\d{3,}")
_MARGIN = 0.9
_LEAST = 0.02
_PARTS = 7
"""Columns at the beginning of a template that are looked at."""
_SHORT = 256
"""Letters of a beginning of the prompt that are not worth a mark of their own."""
_MOST = 3
"""Beginnings that are told of; a body may mark four, and the caller may mark one."""


class Prompts:
    """A template, and a system template, bound to the columns of a frame."""

    def __init__(self, text: str, source: Source, settings: Settings) -> None:
        names, constants = source.fields, settings.values
        template = Template(text, names, constants)
        self.columns = list(template.columns)
        self._source = source
        self.order: Order = range(source.rows)
        """The rows that are asked, in the order of sending."""
        self._given = settings.order == "given"
        self._ignore_na = settings.na_action == "ignore"
        self._of_system = system = None
        if settings.system is not None:
            system = Template(settings.system, names, constants, "system template")
            self.columns += [c for c in system.columns if c not in self.columns]
            self._of_system = system
        self._pictures = self._add_images(settings.images)
        self._root = images.folder(settings.files_root) if self._pictures else None
        self._cut = settings.truncate
        if self._cut is not None and self._cut not in self.columns:
            msg = f"truncate names {self._cut!r}, which the template does not use"
            raise TemplateError(msg)
        fields = template.fields + (system.fields if system else [])
        if any(spec for name, spec in fields if name == self._cut):
            msg = f"truncate names {self._cut!r}, which the template writes by a format"
            raise TemplateError(msg)
        self._prompt = template.renderer(self.columns, source)
        about = template.about
        self._about = None if about is None else self.columns.index(about)
        self._system = system.renderer(self.columns, source) if system else None
        self._kept: dict[int, float] = {}
        self._template = template
        self._cells: list[Callable[[Sequence[Any]], str]] = []
        self._begins: list[Callable[[Sequence[Any]], str]] = []
        self._shared: NDArray[np.uint8] | None = None
        """By row, which of its beginnings others have too."""

    def _add_images(self, option: str | Sequence[str] | None) -> list[int]:
        """Return the places of the image columns among the used ones."""
        names = [option] if isinstance(option, str) else list(option or ())
        known = self._source.fields
        for name in names:
            count = known.count(name)
            if count > 1:
                msg = f"images names {name!r}: {count} columns have that name"
                raise TemplateError(msg)
            if not count:
                near = ", ".join(difflib.get_close_matches(name, known, n=3) or known)
                msg = f"images names {name!r}: not a column (there is {near})"
                raise TemplateError(msg)
        self.columns += [name for name in names if name not in self.columns]
        return [self.columns.index(name) for name in names]

    def only(self, asked: NDArray[np.bool_] | None) -> None:
        """Make requests of these rows alone; None for all."""
        if asked is not None:
            self.order = np.flatnonzero(asked)

    def arrange(self, spec: Spec, least: int | None) -> bool:
        """Find beginnings of `least` tokens that rows share; return whether any do.

        Rows that share one follow each other. False too where the order is given.
        """
        asked, template, system = self.order, self._template, self._of_system
        known = list(system.columns) if system else []
        new = [name for name in template.columns if name not in known]
        if least is None or len(asked) < 2 or not (new or self._pictures):  # noqa: PLR2004
            return False
        # images stand before the prompt; rows that are alike to the end share a call
        names = [*known, *([] if self._pictures else new[:-1])][:_PARTS]
        fixed = "".join(f"{prompt}{reply}" for prompt, reply in spec.examples)
        fixed += system.literal() if system else ""
        first = without_na(row_at(self._source, self.columns, int(asked[0])))
        sample = fixed + self._prompt(first)
        letters = least * len(sample) / max(1.0, estimate_tokens(sample))
        longest = sum(longest_cell(self._source, name) for name in names)
        if len(fixed) + len(template.literal()) + longest < letters:
            return False
        size: Any = len(fixed)
        codes, lengths, begins = [], [], []
        for count in range(len(names) + 1):
            code = np.zeros(len(asked), np.int64)
            if count:
                code, length = numbered(self._source, names[count - 1], asked)
                size = size + length
            parts = template.parts_until(names[:count])
            few = len(template.literal(parts)) < _SHORT and count == len(known)
            if few and np.min(size) >= letters:
                parts = 0  # a mark on the system text will do
            codes.append(code)
            begins.append(template.renderer(self.columns, self._source, parts))
            after = 0 if self._pictures else len(template.literal(parts))
            # a beginning does not end within the system text
            lengths.append(size + after if count >= len(known) else 0)
        rank, shared = side_by_side(codes, lengths, letters)
        if not shared.any():
            return False
        self._begins = begins
        self._shared = np.zeros(self._source.rows, dtype=np.uint8)
        self._shared[np.asarray(asked)] = shared
        if not self._given and (np.diff(rank) != 1).any():
            self.order = np.asarray(asked)[rank]
        return not self._given

    def hold_cells(self) -> Sequence[str]:
        """Let requests hold the cells that answers may quote; return their columns.

        Raises
        ------
        TemplateError
            Where there is no text to quote, or not the cell's own.
        """
        fields = self._template.columns
        if not fields:
            msg = "Quoted[…] needs a text to quote, and the template names no column"
            raise TemplateError(msg + "; images have none" * bool(self._pictures))
        if formatted := self._template.formatted:
            msg = (
                f"Quoted[…] cuts its words out of the cell, and the template writes "
                f"{formatted!r} by a format: name it plainly, as ${{{formatted}}}"
            )
            raise TemplateError(msg)
        names = self._source.fields
        each = [Template(f"${{{name}}}", names) for name in fields]
        self._cells = [one.renderer(self.columns, self._source) for one in each]
        return fields

    def requests(
        self, spec: Spec, at: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Request | ImageError | None]]:
        """Yield the requests of all rows, or of those at some positions.

        None stands for a row with NA, an error for one whose images cannot be sent.
        """
        absent = missing_rows(self._source, self.columns)
        rows: Iterable[tuple[int, tuple[Any, ...]]]
        if at is not None:
            rows = ((p, row_at(self._source, self.columns, p)) for p in at)
        elif isinstance(self.order, range):
            rows = enumerate(iter_rows(self._source, self.columns))
        else:
            asked = iter_rows(self._source, self.columns, self.order)
            rows = zip(self.order.tolist(), asked, strict=True)
        for position, row in rows:
            if absent is not None and absent[position]:
                if self._ignore_na:
                    yield position, None
                    continue
                filled = without_na(row)
            else:
                filled = row
            prompt = self._prompt(filled)
            if spec.odds == "questions" and self._about is not None:
                prompt = str(filled[self._about])  # the question is asked apart
            system = self._system and self._system(filled)
            request = Request(spec, prompt, system)
            if self._shared is not None and (bits := int(self._shared[position])):
                request = request._replace(shared=self._ends(bits, filled))
            if self._cells:
                cells = tuple(cell(filled) for cell in self._cells)
                request = request._replace(cells=cells)
            if self._pictures:
                yield position, self._illustrated(request, row)
            else:
                yield position, request

    def _ends(self, bits: int, row: Sequence[Any]) -> tuple[int, ...]:
        """Return where in a row's prompt the beginnings end that others have too."""
        if self._pictures:
            return (0,)
        begins = enumerate(self._begins)
        return tuple(len(begin(row)) for at, begin in begins if bits >> at & 1)[-_MOST:]

    def _illustrated(
        self, request: Request, row: Sequence[Any]
    ) -> Request | ImageError | None:
        """Add a row's images; an empty list of them counts as NA."""
        pictures: list[Image] = []
        try:
            for at in self._pictures:
                new = () if is_na(row[at]) else images.look_at(row[at], self._root)
                if not new and self._ignore_na:
                    return None
                pictures += new
        except ImageError as error:
            return error
        return request._replace(images=tuple(pictures))

    def shorter(
        self, position: int, request: Request, error: ContextLengthError
    ) -> Request | None:
        """Build a row's request again with less of the column named by `truncate`."""
        if self._cut is None:
            return None
        share = self._kept.get(position, 1.0) * _fitting(str(error))
        if share < _LEAST:
            self._kept.pop(position, None)  # a model to fall back to may read more
            return None
        self._kept[position] = share
        row: list[Any] = list(row_at(self._source, self.columns, position))
        at = self.columns.index(self._cut)
        text = str(row[at])
        row[at] = text[: int(len(text) * share)]
        system = self._system and self._system(row)
        return request._replace(prompt=self._prompt(row), system=system, shared=())


def prompts_of(task: Task, source: Source) -> Prompts:
    """Bind a task's template to a frame; ``embed`` takes a column's name for one."""
    template, settings = task.template, task.settings
    if task.embeds is not None:
        template = column_template(template, source.fields, settings.values)
    return Prompts(template, source, settings)


def column_template(
    text: str, names: Sequence[str], values: Mapping[str, Any] | None
) -> str:
    """Return ``${name}`` for a column's name, and a template with columns as it is."""
    if text in names:
        return f"${{{text}}}"
    if not Template(text, names, values).columns:
        close = difflib.get_close_matches(text, names, n=1) or names[:1]
        hint = f"; write {close[0]!r} for that column" if close else ""
        msg = (
            f"{text!r} is neither a column nor a template with ${{column}} in it{hint}"
        )
        raise TemplateError(msg)
    return text


def quoting(task: Task, prompts: Prompts) -> Task:
    """Return a task that finds what its answers quote in the cells of these prompts."""
    if not (isinstance(task.output, Records) and task.output.quotes):
        return task
    return replace(task, output=task.output.over(prompts.hold_cells()))


def _fitting(message: str) -> float:
    """Guess what share of a text fits, from the two numbers of an error message."""
    numbers = sorted({int(digits) for digits in _NUMBER.findall(message)} - {400, 413})
    if len(numbers) < 2:  # noqa: PLR2004 - the limit and what was sent
        return 0.5
    return _MARGIN * max(0.1, min(0.95, numbers[-2] / numbers[-1]))


def shared_spec(task: Task) -> Spec:
    """Return what all requests of a run share; the model is put in for each client."""
    settings, output = task.settings, task.output
    sampling = {name: getattr(settings, name) for name in _SAMPLING}
    return Spec(
        "",
        examples_of(settings, task.verb),
        output.schema,
        settings.n,
        {name: _alike(name, v) for name, v in sampling.items() if v is not None},
        settings.max_tokens,
        settings.extra or {},
        output.constrained,
        settings.service_tier,
        output.questions,
        task.odds,
    )


def examples_of(settings: Settings, verb: str) -> tuple[tuple[str, str], ...]:
    """Return the examples, with replies as a model is asked to write them."""
    return tuple((prompt, _reply(reply, verb)) for prompt, reply in settings.examples)


def _alike(name: str, value: Any) -> Any:
    """Write equal options alike, so that equal requests have one cache key."""
    if name in ("temperature", "top_p"):
        return float(value)
    return [value] if name == "stop" and isinstance(value, str) else value


def _reply(reply: Any, verb: str) -> str:
    """Write an example's reply the way the model is asked to answer."""
    if isinstance(reply, str):
        return reply
    if verb == "generate":
        reply = {"records": reply if isinstance(reply, list) else [reply]}
    return orjson.dumps(reply).decode()

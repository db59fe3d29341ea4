"""The requests of a run: templates bound to a frame, filled row by row."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from pandas_llm._inputs import attachments, turns
from pandas_llm._replies import Records
from pandas_llm._rows import (
    Beginnings,
    Template,
    is_na,
    iter_rows,
    missing_rows,
    names_nothing,
    row_at,
    without_na,
)
from pandas_llm._run.task import RAW
from pandas_llm.errors import RowError, TemplateError, TurnsError
from pandas_llm.types import Request, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pandas_llm._rows import Order, Source
    from pandas_llm._run.task import Task
    from pandas_llm.errors import ContextLengthError
    from pandas_llm.options import Settings
    from pandas_llm.types import Attachment

_ATTACHED: tuple[attachments.Option, ...] = ("images", "files")
_SAMPLING = ("temperature", "top_p", "seed", "stop", "reasoning_effort")
_NUMBER = re.compile(r"(?<![-\w])(?:\d{1,3}(?:,\d{3})+|\d{3,})")
"""Not those in the names of models."""
_MARGIN = 0.9
_LEAST = 0.02


class Prompts:
    """A template, and a system template, bound to the columns of a frame."""

    _beginnings: Beginnings | None = None

    def __init__(self, task: Task, source: Source) -> None:
        settings, text = task.settings, task.template
        names, constants = source.fields, settings.values
        if task.embeds is not None and text in names:
            text = f"${{{text}}}"  # a column's name is a template too
        template = _compiled("" if text is None else text, source, constants)
        if task.embeds is not None and not template.columns:
            raise names_nothing(template.text, names)
        self._source, self.columns = source, list(template.columns)
        self.order: Order = range(source.rows)  # of sending, those that are asked
        self._keeps_order = settings.order == "given"
        self._ignore_na = settings.na_action == "ignore"
        system = None
        if settings.system is not None:
            system = Template(settings.system, names, constants, "system template")
            self.columns += [c for c in system.columns if c not in self.columns]
        self._templates = system, template
        _check_truncate(settings.truncate, [t for t in (system, template) if t])
        self._attached = self._add_attached(settings)
        self._last_turn_asks = text is None  # which is the prompt then
        instructed = system is not None and system.text.strip()
        if not (self._last_turn_asks or self._attached or instructed):
            template.check_says()
        self.needed = list(self.columns)
        """Those whose NA leaves a row out: a row may have no examples and no turns."""
        own = settings.examples if isinstance(settings.examples, str) else None
        self._examples = self._add("examples", own)
        self._turns = self._add("messages", settings.messages)
        self.needed += [self.columns[at] for at in self._turns if self._last_turn_asks]
        self._written = partial(written, verb=task.verb)
        root = attachments.folder(settings.files_root if self._attached else None)
        self._look_at = partial(attachments.look_at, root=root, seen={})
        self._prompt = template.renderer(self.columns, source)
        self._about = self._prompt
        if template.about is not None:
            about = Template(template.about, names)
            self._about = about.renderer(self.columns, source)
        self._system = system.renderer(self.columns, source) if system else None
        self._cut, self._shares = settings.truncate, dict[int, float]()
        """The column to shorten, and how much of it is left, by row."""
        self._cells: list[Callable[[Sequence[Any]], str]] = []

    def _add(self, option: str, named: str | Sequence[str] | None) -> list[int]:
        """Return the places of an option's columns among the used ones."""
        names = [named] if isinstance(named, str) else list(named or ())
        known = self._source.fields
        for name in names:
            count = known.count(name)
            problem = f"{count} columns have that name"
            if not count:
                near = ", ".join(difflib.get_close_matches(name, known, n=3) or known)
                problem = f"not a column (there is {near})"
            if count != 1:
                raise TemplateError(f"{option} names {name!r}: {problem}")
        self.columns += [name for name in names if name not in self.columns]
        return [self.columns.index(name) for name in names]

    def _add_attached(self, settings: Settings) -> list[tuple[int, attachments.Option]]:
        """Return the places of the columns with images and files, and which."""
        named = ((option, getattr(settings, option)) for option in _ATTACHED)
        return [
            (at, option) for option, some in named for at in self._add(option, some)
        ]

    def only(self, asked: NDArray[np.bool_]) -> None:
        """Make requests of these rows alone."""
        self.order = np.flatnonzero(asked)

    def arrange(self, spec: Spec, least: int | None) -> bool:
        """Find beginnings of `least` tokens that rows share; return whether any do.

        Rows that share one follow each other. False too where the order is given.
        """
        if least is None or len(self.order) < 2:  # noqa: PLR2004
            return False
        beginnings = Beginnings(*self._templates, self.columns, self._source)
        fixed = "".join(f"{prompt}{reply}" for prompt, reply in spec.examples)
        # what else a row has stands between the system text and the prompt
        between = bool(self._attached or self._examples or self._turns)
        order = beginnings.find(self.order, least, fixed, between=between)
        if order is None:
            return False
        self._beginnings = beginnings
        if self._keeps_order:
            return False
        self.order = order
        return True

    def hold_cells(self) -> Sequence[str]:
        """Let requests hold the cells that answers may quote; return their columns."""
        template = self._templates[1]
        fields = template.columns
        if not fields:
            msg = "Quoted[…] needs a text to quote, and the template names no column"
            msg += "; images and files have none" * bool(self._attached)
            raise TemplateError(msg)
        if formatted := next((name for name, spec in template.fields if spec), None):
            raise TemplateError(
                f"Quoted[…] cuts its words out of the cell, and the template writes "
                f"{formatted!r} by a format: name it plainly, as ${{{formatted}}}"
            )
        names = self._source.fields
        each = [Template(f"${{{name}}}", names) for name in fields]
        self._cells = [one.renderer(self.columns, self._source) for one in each]
        return fields

    def requests(
        self, spec: Spec, at: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Request | RowError | None]]:
        """Yield the requests of all rows, or of those at some positions.

        None stands for a row with NA, an error for one whose files or turns cannot be
        sent.
        """
        absent = missing_rows(self._source, self.needed)
        # the question is asked apart
        ask = self._about if spec.odds == "questions" else self._prompt
        request: Request | None
        for position, row in self._rows(at):
            filled = row
            if absent is not None and absent[position]:
                if self._ignore_na:
                    yield position, None
                    continue
                filled = without_na(row)
            system = self._system and self._system(filled)
            request = Request(spec, ask(filled), system)
            if self._beginnings is not None:
                ends = self._beginnings.ends(position, filled)
                request = request._replace(shared=ends)
            if self._cells:
                cells = tuple(cell(filled) for cell in self._cells)
                request = request._replace(cells=cells)
            try:
                if self._examples or self._turns:
                    request = self._with_turns(request, filled)
                if self._attached and request is not None:
                    request = self._with_attachments(request, row)
            except RowError as error:
                yield position, error
            else:
                yield position, request

    def _rows(self, at: Sequence[int] | None) -> Iterable[tuple[int, tuple[Any, ...]]]:
        """Return the values of all rows that are asked, or of those at positions."""
        if at is not None:
            return ((p, row_at(self._source, self.columns, p)) for p in at)
        if isinstance(self.order, range):
            return enumerate(iter_rows(self._source, self.columns))
        asked = iter_rows(self._source, self.columns, self.order)
        return zip(self.order.tolist(), asked, strict=True)

    def _with_turns(self, request: Request, row: Sequence[Any]) -> Request | None:
        """Add a row's own examples and turns; without a template the last is asked."""
        before: list[tuple[str, str]] = []
        chat: list[tuple[str, str]] = []
        prompt, system = request.prompt, request.system
        for at in self._examples:
            if not is_na(row[at]):
                before += turns.examples(row[at], self.columns[at], self._written)
        for at in self._turns:
            if not is_na(row[at]):
                chat += turns.conversation(row[at], self.columns[at])
        if self._last_turn_asks and not chat and self._ignore_na:
            return None
        if self._last_turn_asks and (not chat or chat[-1][0] != "user"):
            who = f"the {chat[-1][0]}'s" if chat else "missing"
            where = f"the last turn of column {self.columns[self._turns[0]]!r}"
            msg = f"{where} is {who}, so it asks nothing: pass a template"
            raise TurnsError(msg)
        if chat and chat[0][0] in turns.SYSTEM:
            system = "\n\n".join(filter(None, (system, chat.pop(0)[1])))
        if self._last_turn_asks:
            prompt = chat.pop()[1]
        return request._replace(prompt=prompt, system=system, before=(*before, *chat))

    def _with_attachments(self, request: Request, row: Sequence[Any]) -> Request | None:
        """Add a row's images and files; an empty list of them counts as NA."""
        attached: list[Attachment] = []
        for at, option in self._attached:
            cell = () if is_na(row[at]) else row[at]
            new = self._look_at(cell, option=option)
            if not new and self._ignore_na:
                return None
            attached += new
        return request._replace(attachments=tuple(attached))

    def shorter(
        self, position: int, request: Request, error: ContextLengthError
    ) -> Request | None:
        """Build a row's request again with less of the column named by `truncate`."""
        if self._cut is None:
            return None
        share = self._shares.get(position, 1.0) * share_that_fits(str(error))
        row = list(without_na(row_at(self._source, self.columns, position)))
        at = self.columns.index(self._cut)
        text = str(row[at])
        row[at] = text[: int(len(text) * share)]
        if share < _LEAST or not row[at]:  # something else is what is long
            self._shares.pop(position, None)  # a model to fall back to may read more
            return None
        self._shares[position] = share
        system = self._system and self._system(row)
        new = request._replace(prompt=self._prompt(row), system=system, shared=())
        return self._with_turns(new, row) if self._examples or self._turns else new


def _check_truncate(name: str | None, templates: Sequence[Template]) -> None:
    """Refuse a column to shorten that no template names, or not plainly."""
    fields = (field for template in templates for field in template.fields)
    formats = [spec for field, spec in fields if field == name]
    if name is not None and (not formats or any(formats)):
        why = "writes by a format" if formats else "does not use"
        raise TemplateError(f"truncate names {name!r}, which the template {why}")


def _compiled(
    text: str, source: Source, constants: Mapping[str, Any] | None
) -> Template:
    """Compile a template; a name of the index in it is told as such."""
    try:
        return Template(text, source.fields, constants)
    except TemplateError as error:
        levels = source.frame.index.names
        if any(f"names ${{{level}}}, " in str(error) for level in levels):
            way = "It is a level of the index: reset_index() makes a column of it."
            raise TemplateError(f"{error} {way}") from None
        raise


def quoting(task: Task, prompts: Prompts) -> Task:
    """Return a task that finds what its answers quote in the cells of these prompts."""
    if not (isinstance(task.output, Records) and task.output.quotes):
        return task
    return replace(task, output=task.output.over(prompts.hold_cells()))


def share_that_fits(message: str) -> float:
    """Guess what share of a text fits, from the two numbers of an error message."""
    words = message.partition(": ")[2] or message  # before stand the status and a code
    digits = {int(one.replace(",", "")) for one in _NUMBER.findall(words)}
    numbers = sorted(digits - {400, 413})
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
        {name: _normalized(name, v) for name, v in sampling.items() if v is not None},
        settings.max_tokens,
        settings.extra or {},
        output.constrained,
        settings.service_tier,
        output.questions,
        task.odds,
        raw=settings.details == RAW,
    )


def examples_of(settings: Settings, verb: str) -> tuple[tuple[str, str], ...]:
    """Return the examples of all rows, with replies as a model is asked to write."""
    if isinstance(settings.examples, str):  # the column of each row's own
        return ()
    return tuple((prompt, written(reply, verb)) for prompt, reply in settings.examples)


def _normalized(name: str, value: Any) -> Any:
    """Write equal options alike, so that equal requests have one cache key."""
    if name in ("temperature", "top_p"):
        return float(value)
    return [value] if name == "stop" and isinstance(value, str) else value


def written(reply: Any, verb: str) -> str:
    """Write an example's reply the way the model is asked to answer."""
    if isinstance(reply, str):
        return reply
    if verb == "generate":
        reply = {"records": reply if isinstance(reply, list) else [reply]}
    return orjson.dumps(reply).decode()

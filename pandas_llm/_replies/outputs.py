"""Replies to records: what a verb asks for, and how its answers are read."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from pydantic import ValidationError

from pandas_llm._json import Reader, behind_name, find_json, find_records, named
from pandas_llm._keys import Column, Keys, constrained, portable
from pandas_llm._replies.blanks import is_blank, trimmed
from pandas_llm._replies.endings import ending
from pandas_llm._replies.evidence import Evidence, listed
from pandas_llm._replies.reasoning import without_thinking
from pandas_llm.errors import (
    ContentFilterError,
    OutputError,
    RefusalError,
    ToolCallError,
    TruncatedError,
)
from pandas_llm.redaction import clipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.errors import RowError
    from pandas_llm.types import Choice, Question

Record = tuple[Any, ...]
Reading: TypeAlias = "tuple[list[Record], RowError | None]"
"""The records of a choice, and a remark on them."""
_SHOWN = 120
_NO_TOOLS = (
    "the model asked for a tool in place of an answer, and tools are not run: leave "
    "them out of the request"
)
_TOOLS = r"(?:\w+[:_])?(?:tool_?calls?|function_?calls?|tool_?use)"
_CALL = re.compile(
    rf"\s*(?:<{_TOOLS}>(?:\s*[{{\[<]|.*</{_TOOLS}>\s*\Z)"
    r"|<function=[\w.:-]+>(?:\s*[{<]|.*</function>\s*\Z)"
    r"|\[TOOL_CALLS\](?:\s*|[\w.-]+)(?:[\[{]|\[ARGS\])|```tool_c(?:ode|alls?)\n"
    r"|<[|\uff5c][\w▁]*(?:tool|action|function|python_tag|plugin|DSML)[\w▁]*[|\uff5c]?"
    r"[\w▁]*>|<start_function_call>|✿FUNCTION✿)",
    re.DOTALL | re.IGNORECASE,
)
"""A text that is nothing but calls that the server did not read; one that speaks of
them begins otherwise."""
_EMPTY = "the reply is empty"


class Output(ABC):
    """What one verb asks for, and how its answers are read."""

    columns: tuple[Column, ...]
    """The new columns."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema of a reply; None for text."""
    constrained: Mapping[str, Any] | None = None
    """The schema with the keywords that restrict values; None without any."""
    questions: tuple[Question, ...] = ()
    """The closed questions that it comes to."""
    open: tuple[str, ...]
    """The names of what is asked for beside them."""
    needed = False
    """Whether there must be probabilities of the labels."""
    votes = False
    """Whether a choice that could not be read counts as well."""
    unique = True
    """Whether equal records of a row become one."""

    @property
    def width(self) -> int:
        """How many values a record has."""
        return len(self.columns)

    @abstractmethod
    def read(self, choice: Choice, cells: Sequence[str] = ()) -> Reading:
        """Read a choice; `cells` are the texts of the row that it may quote.

        Raises
        ------
        OutputError
            When the choice holds nothing of what was asked for.
        """

    def combine(self, choices: Sequence[list[Record]], unread: int = 0) -> list[Record]:
        """Merge the choices that were read; `unread` more were asked for."""
        del unread
        return _merged(choices, unique=self.unique)


class Completion(Output):
    """Plain text, for ``complete``."""

    def __init__(self, name: str) -> None:
        self.columns = (Column(name, "str"),)
        self.open = (name,)

    def read(self, choice: Choice, cells: Sequence[str] = ()) -> Reading:
        """Return the text."""
        del cells
        cut = check_ending(choice)
        return [(_answer(choice.text, cut),)], cut


class Vector(Output):
    """One vector a row; without `dimensions` of the model's own length."""

    def __init__(self, name: str, dimensions: int | None = None) -> None:
        exact = f"vector{dimensions or ''}"
        self.columns = (Column(name, "vector", exact=exact),)
        self.open = (name,)
        # no server sees it: in the keys of the cache it tells embeddings from texts,
        # and one length from another
        length = {"minItems": dimensions, "maxItems": dimensions} if dimensions else {}
        self.schema = {"type": "array", "items": {"type": "number"}, **length}

    def read(self, choice: Choice, cells: Sequence[str] = ()) -> Reading:
        """Return the vector, without a copy."""
        del cells
        if choice.vector is None:
            raise OutputError("the reply holds no vector", choice.text)
        return [(np.frombuffer(choice.vector, dtype="<f4"),)], None


class Records(Output):
    """Records of `keys`: any number, or exactly one with `single`.

    Without `schema`, the one that was sent, it is made from the keys.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        single: bool = False,
        unique: bool = True,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self._keys = keys
        self._single = single
        self.unique = unique
        self._reader = Reader(keys, single=single)
        self._evidence: Evidence | None = None
        self.quotes = any(column.quoted for column in keys.columns)
        self._lay_out(Evidence(keys.columns).columns)
        self.open = tuple(column.name for column in keys.columns)
        self.schema = schema
        if schema is None:
            whole = self._reader.reply.model_json_schema()
            self.schema, self.constrained = portable(whole), constrained(whole)

    def _lay_out(self, columns: tuple[Column, ...]) -> None:
        """Set the columns."""
        self.columns = columns

    def over(self, fields: Sequence[str]) -> Self:
        """Return what looks for the words of quoted keys in the cells of a row.

        `fields` are their columns; before this is known, no words are looked for.
        """
        bound = copy.copy(self)
        bound._evidence = evidence = Evidence(self._keys.columns, fields)  # noqa: SLF001
        bound._lay_out(evidence.columns)  # noqa: SLF001
        return bound

    def read(self, choice: Choice, cells: Sequence[str] = ()) -> Reading:
        """Read JSON as it was asked for, else mend it; find what it quotes."""
        ended = check_ending(choice)
        cut: RowError | None = None
        try:
            # one pass of compiled code; nearly all replies end here
            records = self._reader.clean(choice.text)
        except Exception:  # noqa: BLE001 - a person's validator may raise anything
            records, cut = self._read_unclean(choice, ended)
        if self._evidence is None:
            return records, cut
        records, unfounded = self._evidence.placed(records, cells, choice.text)
        return records, cut or unfounded

    def _read_unclean(self, choice: Choice, cut: TruncatedError | None) -> Reading:
        reply, ended = choice.text, choice.finish_reason is not None
        text = trimmed(_answer(reply, cut))
        word = text.strip("\"'`. \n")
        if not word:
            raise cut or OutputError(_EMPTY, reply)
        if word.upper() == "NONE" and not self._single and not cut:
            return [], None
        data = self._find(text, reply, cut, ended=ended)
        if self._single and any(item != data[0] for item in data[1:]):
            many = f"{len(data)} records where exactly one was asked for"
            raise cut or OutputError(f"the reply holds {many}", reply)
        if self._single and not data:
            raise cut or OutputError("the reply holds no record", reply)
        records = self._validate(data[:1] if self._single else data, reply, cut)
        if cut and not records:
            raise cut
        return records, cut

    def _find(
        self, text: str, reply: str, cut: TruncatedError | None, *, ended: bool
    ) -> list[Any]:
        """Return the records in a text, as data not yet validated."""
        keys = self._keys
        try:
            values = find_json(text, keys, truncated=cut is not None, ended=ended)
        except ValueError as error:
            # a label or a date may stand without any JSON
            may_be_value = keys.is_bare and keys.columns[0].kind != "str"
            if may_be_value and not cut and text[:1] != "{":
                said = behind_name(text, keys)
                # the search for a label knows the marks around one; "A*" may be one
                closed = keys.columns[0].kind in ("category", "bool")
                return [said if closed else said.rstrip("\"'`*.").lstrip("\"'`* ")]
            shown = f": {clipped(text, _SHOWN)!r}" if text else ""
            raise cut or OutputError(f"{error}{shown}", reply) from None
        return find_records(values, keys, single=self._single)

    def _validate(
        self, data: list[Any], reply: str, cut: TruncatedError | None
    ) -> list[Record]:
        records: list[Record] = []
        for at, item in enumerate(data):
            try:
                records.append(self._reader.record(named(item, self._keys)))
            except Exception as error:  # noqa: BLE001 - as in read
                if cut:
                    continue  # the row is marked; asking again would end the same
                where = "" if self._single else f"record {at + 1}, "
                raise OutputError(where + _explain(error), reply) from None
        return records


def check_ending(choice: Choice) -> TruncatedError | None:
    """Raise for a choice without an answer; return an error for one cut off."""
    if choice.refusal is None and choice.finish_reason == "stop":
        return None  # nearly always
    if choice.refusal is not None:
        words = f": {clipped(choice.refusal, _SHOWN)}" if choice.refusal else ""
        raise RefusalError(f"the model declined to answer{words}", choice.refusal)
    ended = ending(choice.finish_reason)
    if ended == "content_filter":
        raise ContentFilterError(
            "the provider's content filter held the answer back", choice.text
        )
    if ended == "tool_calls" and is_blank(choice.text):
        raise ToolCallError(_NO_TOOLS, choice.text)
    if ended in ("stop", "tool_calls"):
        return None
    reason = choice.finish_reason
    if ended == "error":  # kept by an earlier version
        raise OutputError(f"the server broke the reply off ({reason})", choice.text)
    if ended == "unknown":
        why = f"it ended with {reason!r}, which is not known to be a good end"
        return TruncatedError(f"the reply may not be whole: {why}", choice.text)
    why = "" if choice.text else " before any text (all of it went to reasoning?)"
    msg = f"the reply was cut off at the token limit{why}: raise max_tokens"
    return TruncatedError(msg, choice.text)


def _answer(reply: str, cut: TruncatedError | None) -> str:
    """Return the text without its thinking; raise for an empty one."""
    text = without_thinking(reply)
    if text is None:
        raise cut or OutputError("the reply ends before its thinking does", reply)
    if is_blank(text):
        raise cut or OutputError(_EMPTY, reply)
    if _CALL.match(text):
        raise ToolCallError(_NO_TOOLS, reply)
    return text


def _merged(choices: Sequence[list[Record]], *, unique: bool) -> list[Record]:
    """Return each record once, or as often as the choice that has it most often."""
    if len(choices) == 1 and (len(choices[0]) == 1 or not unique):
        return choices[0]
    merged: list[Record] = []
    counts: Counter[Any] = Counter()
    for records in choices:
        in_choice: Counter[Any] = Counter()
        for record in records:
            key = _hashable(record)
            in_choice[key] += 1
            if in_choice[key] > counts[key] and not (unique and counts[key]):
                counts[key] += 1
                merged.append(record)
    return merged


def _hashable(record: Record) -> Any:
    """Return a key for a record; the lists and dicts in one do not hash."""
    try:
        hash(record)
    except TypeError:
        return repr(record)
    return record


def _explain(error: Exception) -> str:
    """Describe in one line what did not validate, for the row's error and the model."""
    if not isinstance(error, ValidationError):
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return f"{kind}{error}"
    lines = []
    for one in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, one["loc"])) or "whole"
        why = one["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {why}, not {clipped(repr(one['input']), 80)}")
    return listed(lines)

"""Replies to records: what a verb asks for, and how its answers are read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ValidationError, create_model

from pandas_llm._keys import Column, Keys, constrained, portable
from pandas_llm._replies.endings import ending
from pandas_llm._replies.parsing import find_json
from pandas_llm._replies.reasoning import without_thinking
from pandas_llm._replies.records import items, named
from pandas_llm._replies.validation import Reader
from pandas_llm.errors import (
    ContentFilterError,
    OutputError,
    RefusalError,
    ToolCallError,
    TruncatedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pandas_llm.types import Choice

Record = tuple[Any, ...]
_SHOWN_ERRORS = 3
_EMPTY = "the reply is empty"
_ONLY_THINKING = "the reply ends before its thinking does"


class Output(Protocol):
    """What one verb asks for."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The new columns."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of a reply; None for text."""

    @property
    def constrained(self) -> Mapping[str, Any] | None:
        """The same with the keywords that restrict values; None where none does."""

    @property
    def votes(self) -> bool:
        """Whether a choice that could not be read counts."""

    def read(self, choice: Choice) -> tuple[list[Record], TruncatedError | None]:
        """Read one choice.

        Returns
        -------
        records, cut
            `cut` is set when the reply was cut off and records may be missing.

        Raises
        ------
        OutputError
            When the choice holds nothing of what was asked for.
        """

    def combine(self, choices: Sequence[list[Record]], unread: int = 0) -> list[Record]:
        """Put the records of a row's choices together.

        Parameters
        ----------
        choices : sequence of lists of records
            Those that were understood.
        unread : int
            How many more were asked for.
        """


class Completion:
    """Plain text, for ``complete``."""

    votes = False
    schema: Mapping[str, Any] | None = None
    constrained: Mapping[str, Any] | None = None

    def __init__(self, name: str) -> None:
        self.columns = (Column(name, "str"),)

    def read(self, choice: Choice) -> tuple[list[Record], TruncatedError | None]:
        """Return the text; a reply without one is an error of its kind."""
        cut = _withheld(choice)
        return [(_answer(choice.text, cut),)], cut

    def combine(self, choices: Sequence[list[Record]], unread: int = 0) -> list[Record]:
        """Keep each text once."""
        del unread
        return _distinct(record for records in choices for record in records)


class Records:
    """Records of `keys`: any number of them, or exactly one with `single`.

    The schema follows from the keys, but where the one that was sent is given.
    """

    votes = False

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
        self._unique = unique
        self._reader = Reader(keys, single=single)
        envelope = create_model("Records", records=(list[keys.model], ...))  # type: ignore[name-defined]
        asked: type[BaseModel] = keys.model if single else envelope
        self.columns = keys.columns
        self.schema: Mapping[str, Any] | None = schema
        self.constrained: Mapping[str, Any] | None = None
        if schema is None:
            whole = asked.model_json_schema()
            self.schema, self.constrained = portable(whole), constrained(whole)
        kind = keys.columns[0].kind
        self._bare = len(keys.names) == 1 and kind != "object"
        self._unquoted = self._bare and kind != "str"
        """Whether a reply without any JSON may be the value: a label, a date."""

    def read(self, choice: Choice) -> tuple[list[Record], TruncatedError | None]:
        """Read JSON, clean first and by repair if need be."""
        cut = _withheld(choice)
        try:
            # one pass of compiled code; nearly all replies end here
            return self._reader.clean(choice.text), None
        except Exception:  # noqa: BLE001 - a person's validator may raise anything
            return self._read_unclean(choice.text, cut)

    def combine(self, choices: Sequence[list[Record]], unread: int = 0) -> list[Record]:
        """Keep each record once, in the order of choices and lists.

        Without `unique` as often as the choice has it in which it is most often.
        """
        del unread
        if len(choices) == 1 and (len(choices[0]) == 1 or not self._unique):
            return choices[0]
        if not self._unique:
            return _most(choices)
        return _distinct(record for records in choices for record in records)

    def _read_unclean(
        self, reply: str, cut: TruncatedError | None
    ) -> tuple[list[Record], TruncatedError | None]:
        text = _answer(reply, cut)
        word = text.strip("\"'`. \n")
        if not word:
            raise cut or OutputError(_EMPTY, reply)
        if word.upper() == "NONE" and not self._single and not cut:
            return [], None
        found = self._find(text, reply, cut)
        if self._single and any(item != found[0] for item in found[1:]):
            found_many = f"the reply holds {len(found)} records"
            msg = f"{found_many} where exactly one was asked for"
            raise cut or OutputError(msg, reply)
        if self._single and not found:
            raise cut or OutputError("the reply holds no record", reply)
        records = self._validate(found[:1] if self._single else found, reply, cut)
        if cut and not records:
            raise cut
        return records, cut

    def _find(self, text: str, reply: str, cut: TruncatedError | None) -> list[Any]:
        """Find the records in a text, as data not yet validated."""
        try:
            values = find_json(
                text,
                truncated=cut is not None,
                bare=self._bare,
                names=self._keys.names,
            )
        except ValueError as error:
            if self._unquoted and not cut and text.strip()[:1] not in ("", "{"):
                return [text.strip().strip("\"'`*.")]
            shown = f": {_short(text)!r}" if text else ""
            raise cut or OutputError(f"{error}{shown}", reply) from None
        keys = self._keys
        return items(values, keys.names, bare=self._bare, required=keys.required)

    def _validate(
        self, found: list[Any], reply: str, cut: TruncatedError | None
    ) -> list[Record]:
        keys = self._keys
        records: list[Record] = []
        for at, item in enumerate(found):
            try:
                record = named(item, keys.names, keys.optional)
                records.append(self._reader.record(record))
            except Exception as error:  # noqa: BLE001 - as in read
                if cut:
                    continue  # the row is marked; asking again would end the same
                where = "" if self._single else f"record {at + 1}, "
                raise OutputError(where + _explain(error), reply) from None
        return records


class Label(Records):
    """One label, for ``classify``: choices vote, ties go to the label listed first.

    With `share`, the name of a column, the label's share of the votes too.
    """

    votes = True

    def __init__(
        self,
        keys: Keys,
        *,
        share: str | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys, single=True, schema=schema)
        self._labels = keys.columns[0].labels
        self._shares = share is not None
        if share is not None:
            self.columns = (*keys.columns, Column(share, "float"))

    def combine(self, choices: Sequence[list[Record]], unread: int = 0) -> list[Record]:
        """Count the votes; the share is of those that could not be read as well."""
        votes = Counter(records[0][0] for records in choices)
        label = max(self._labels, key=lambda label: votes[label])
        share = votes[label] / (votes.total() + unread)
        return [(label, share) if self._shares else (label,)]


def _withheld(choice: Choice) -> TruncatedError | None:
    """Raise for a choice that is no answer; give the mark of one cut off."""
    if choice.refusal is not None:
        msg = f"the model declined to answer: {_short(choice.refusal)}"
        raise RefusalError(msg, choice.refusal)
    ended = ending(choice.finish_reason)
    if ended == "content_filter":
        msg = "the provider's content filter held the answer back"
        raise ContentFilterError(msg, choice.text)
    if ended == "tool_calls" and not choice.text.strip():
        msg = (
            "the model asked for a tool in place of an answer, and tools are not run: "
            "leave them out of the request"
        )
        raise ToolCallError(msg, choice.text)
    if ended in ("stop", "tool_calls"):
        return None
    if ended == "error":  # kept by an earlier version
        msg = f"the server broke the reply off ({choice.finish_reason})"
        raise OutputError(msg, choice.text)
    if ended == "unknown":
        msg = (
            f"the reply may not be whole: it ended with {choice.finish_reason!r}, "
            "which is not known to be a good end"
        )
        return TruncatedError(msg, choice.text)
    why = "" if choice.text else " before any text (all of it went to reasoning?)"
    msg = f"the reply was cut off at the token limit{why}: raise max_tokens"
    return TruncatedError(msg, choice.text)


def _answer(reply: str, cut: TruncatedError | None) -> str:
    """Return the text without its thinking; an empty one is never an answer."""
    text = without_thinking(reply)
    if text is None:
        raise cut or OutputError(_ONLY_THINKING, reply)
    if not text.strip():
        raise cut or OutputError(_EMPTY, reply)
    return text


def _distinct(records: Iterable[Record]) -> list[Record]:
    """Drop equal records; lists and dicts in them do not hash."""
    seen: set[Any] = set()
    kept = []
    for record in records:
        key = _hashable(record)
        if key not in seen:
            seen.add(key)
            kept.append(record)
    return kept


def _most(choices: Sequence[list[Record]]) -> list[Record]:
    """Keep each record as often as the choice has it that has it most."""
    kept: list[Record] = []
    had: Counter[Any] = Counter()
    for records in choices:
        here: Counter[Any] = Counter()
        for record in records:
            key = _hashable(record)
            here[key] += 1
            if here[key] > had[key]:
                had[key] += 1
                kept.append(record)
    return kept


def _hashable(record: Record) -> Any:
    """Return what tells a record from others."""
    try:
        hash(record)
    except TypeError:
        return repr(record)
    return record


def _explain(error: Exception) -> str:
    """Say in one line what did not validate, for the row's error and the re-ask."""
    if not isinstance(error, ValidationError):
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return f"{kind}{error}"
    found = error.errors(include_url=False, include_context=False)
    said = []
    for one in found[:_SHOWN_ERRORS]:
        where = ".".join(str(part) for part in one["loc"]) or "whole"
        given = _short(repr(one["input"]), 80)
        said.append(f"{where}: {one['msg'].removeprefix('Value error, ')}, not {given}")
    more = f" (and {len(found) - len(said)} more)" * (len(found) > len(said))
    return "; ".join(said) + more


def _short(text: str, width: int = 120) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"

"""Replies to records: what a verb asks for, and how its answers are read."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import json_repair
import orjson
import pydantic_core
from pydantic import BaseModel, ValidationError, create_model

from pandas_llm.errors import (
    ContentFilterError,
    OutputError,
    RefusalError,
    TruncatedError,
)
from pandas_llm.keys import Column, Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pandas_llm.types import Choice

Record = tuple[Any, ...]
_TRUNCATED = ("length", "max_tokens", "MAX_TOKENS")
_THINK = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)\s*", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)


class Output(Protocol):
    """What one verb asks for."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The new columns."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of a reply; None for text."""

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

    def combine(self, choices: Sequence[list[Record]]) -> list[Record]:
        """Put the records of a row's choices together."""


class Completion:
    """Plain text, for ``complete``."""

    schema = None

    def __init__(self, name: str) -> None:
        self.columns = (Column(name, "str"),)

    def read(self, choice: Choice) -> tuple[list[Record], TruncatedError | None]:
        """Give the text; a reply without one is an error of its kind."""
        cut = _withheld(choice)
        text = _THINK.sub("", choice.text)
        if cut and not text:
            raise cut
        return [(text,)], cut

    def combine(self, choices: Sequence[list[Record]]) -> list[Record]:
        """Keep each text once."""
        return _distinct(record for records in choices for record in records)


class Records:
    """Records of `keys`: any number of them, or exactly one with `single`."""

    def __init__(self, keys: Keys, *, single: bool = False) -> None:
        self._keys = keys
        self._single = single
        self._values = keys.values
        envelope = create_model("Records", records=(list[keys.model], ...))  # type: ignore[name-defined]
        self._envelope: type[BaseModel] = envelope
        self.columns = keys.columns
        asked = keys.model if single else envelope
        self.schema: Mapping[str, Any] = asked.model_json_schema(by_alias=True)

    def read(self, choice: Choice) -> tuple[list[Record], TruncatedError | None]:
        """Read JSON, clean first and by repair if need be."""
        cut = _withheld(choice)
        text = choice.text
        try:
            # one pass of compiled code; nearly all replies end here
            model = self._keys.model if self._single else self._envelope
            parsed = model.model_validate_json(text)
            rows = [parsed] if self._single else parsed.records  # type: ignore[attr-defined]
            return [self._values(row) for row in rows], None
        except ValueError:
            return self._read_unclean(text, cut), cut

    def combine(self, choices: Sequence[list[Record]]) -> list[Record]:
        """Keep each record once, in the order of choices and lists."""
        return _distinct(record for records in choices for record in records)

    def _read_unclean(self, text: str, cut: TruncatedError | None) -> list[Record]:
        text = _THINK.sub("", text).strip()
        if (
            not self._single
            and not cut
            and text.strip("\"'`. \n").upper() in ("NONE", "")
        ):
            return []
        data = _find_json(text, truncated=cut is not None)
        if data is None:
            raise cut or OutputError(_no_json(text), text)
        items = _items(data, self._keys.names)
        if self._single and len(items) != 1:
            msg = (
                f"the reply holds {len(items)} records where exactly one was asked for"
            )
            raise cut or OutputError(msg, text)
        return self._validate(items, text, cut)

    def _validate(
        self, items: list[Any], text: str, cut: TruncatedError | None
    ) -> list[Record]:
        records: list[Record] = []
        for at, item in enumerate(items):
            try:
                model = self._keys.model.model_validate_json(
                    orjson.dumps(_named(item, self._keys.names))
                )
                records.append(self._values(model))
            except (ValueError, TypeError) as error:
                if cut and at == len(items) - 1:
                    break  # the record in which the reply was cut off
                raise OutputError(_explain(error, at), text) from None
        if cut and not records:
            raise cut
        return records


class Label(Records):
    """One label, for ``classify``: choices vote, ties go to the label listed first."""

    def __init__(self, keys: Keys, *, confidence: bool = False) -> None:
        super().__init__(keys, single=True)
        self._labels = keys.columns[0].labels
        self._confidence = confidence
        if confidence:
            self.columns = (*keys.columns, Column("confidence", "float"))

    def combine(self, choices: Sequence[list[Record]]) -> list[Record]:
        """Count the votes."""
        votes = Counter(records[0][0] for records in choices)
        label = max(self._labels, key=lambda label: votes[label])
        share = votes[label] / votes.total()
        return [(label, share) if self._confidence else (label,)]


# -- from text to data ----------------------------------------------------------


def _withheld(choice: Choice) -> TruncatedError | None:
    """Raise for a choice that is no answer; give the mark of one cut off."""
    if choice.refusal is not None:
        msg = f"the model declined to answer: {_short(choice.refusal)}"
        raise RefusalError(msg, choice.refusal)
    if choice.finish_reason == "content_filter":
        msg = "the provider's content filter held the answer back"
        raise ContentFilterError(msg, choice.text)
    if choice.finish_reason not in _TRUNCATED:
        return None
    why = "" if choice.text else " before any text (all of it went to reasoning?)"
    msg = f"the reply was cut off at the token limit{why}: raise max_tokens"
    return TruncatedError(msg, choice.text)


def _find_json(text: str, *, truncated: bool) -> Any:
    """Find the JSON in a text; None when there is none."""
    fenced = [m[1] for m in _FENCE.finditer(text) if m[1].strip()[:1] in ("{", "[")]
    candidate = fenced[-1] if fenced else text
    start = min((i for c in "{[" if (i := candidate.find(c)) >= 0), default=-1)
    if start < 0:
        return _scalar(text)
    body = candidate[start:]
    end = max(body.rfind("}"), body.rfind("]")) + 1
    for attempt in (body, body[:end]):
        try:
            return orjson.loads(attempt)
        except orjson.JSONDecodeError:
            continue
    if truncated:
        return _complete_part(body[:end])
    repaired = json_repair.loads(body[:end] or body)
    return repaired if isinstance(repaired, (dict, list)) and repaired else None


def _scalar(text: str) -> Any:
    """Read a bare JSON text, number or boolean, as a one-key record may come."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _complete_part(body: str) -> Any:
    """Parse what was complete when the reply was cut off.

    The text ends at a closing brace, so that a number or a string that was cut is
    not taken for a whole one.
    """
    try:
        return pydantic_core.from_json(body, allow_partial=True)
    except ValueError:
        return None


def _items(data: Any, names: frozenset[str], *, depth: int = 0) -> list[Any]:
    """Find the list of records in whatever shape it came."""
    if not isinstance(data, dict):
        return list(data) if isinstance(data, list) else [data]
    if len(names & _folded(data, names).keys()) > len(names) // 2:
        return [data]
    values = list(data.values())
    if isinstance(data.get("records"), list):
        return list(data["records"])
    lists = [v for v in values if isinstance(v, list)]
    if len(lists) == 1:
        return list(lists[0])
    if values and depth == 0 and all(isinstance(v, dict) for v in values):
        if len(values) == 1:  # one level of needless nesting
            return _items(values[0], names, depth=1)
        return values  # {"1": {...}, "2": {...}}
    return [data]


def _folded(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Rename the keys that differ from a name in case or blanks only."""
    known = {_fold(name): name for name in names}
    return {known.get(_fold(key), key): value for key, value in item.items()}


def _fold(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold() or name


def _named(item: Any, names: frozenset[str]) -> Any:
    """Give the record under its names; a bare value belongs to the only key."""
    if isinstance(item, dict):
        return item if names <= item.keys() else _folded(item, names)
    if len(names) == 1 and not isinstance(item, list):
        return {next(iter(names)): item}
    return item


def _distinct(records: Iterable[Record]) -> list[Record]:
    """Drop equal records; lists and dicts in them do not hash."""
    seen: set[Any] = set()
    kept = []
    for record in records:
        try:
            key: Any = record
            hash(key)
        except TypeError:
            key = repr(record)
        if key not in seen:
            seen.add(key)
            kept.append(record)
    return kept


def _explain(error: Exception, at: int) -> str:
    """Say in one line what did not validate, for the row's error and the re-ask."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        given = _short(repr(first["input"]), 80)
        more = f" (and {error.error_count() - 1} more)" * (error.error_count() > 1)
        return f"record {at + 1}, {where or 'whole'}: {first['msg']}, not {given}{more}"
    return f"record {at + 1}: {error}"


def _no_json(text: str) -> str:
    return (
        f"the reply holds no JSON: {_short(text)!r}" if text else "the reply is empty"
    )


def _short(text: str, width: int = 120) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"

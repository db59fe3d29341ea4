"""JSON values that obey a JSON schema and speak of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers.prompt import (
    key_phrase,
    numbers_of,
    words_of,
    written,
)
from pandas_llm.simulator.answers.values import (
    FORMATS,
    MARK,
    bounded,
    distinct,
    fit_length,
    fits,
    small_number,
    stable_hash,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.simulator.answers.prompt import Prompt

_MOST_ITEMS = 3
_MOST_NESTED_ITEMS = 2
_MOST_OPEN = 4  # how often one $ref may be open before its branch is given up
_QUESTION_NAMES = ("question", "query")
_PHRASE_NAMES = (
    *("title", "topic", "name", "subject", "keyword", "tag", "category", "label"),
    *("phrase", "entity", "entities", "term", "heading"),
)
_KIND_OF_KEYWORD = {
    "properties": "object",
    "items": "array",
    "prefixItems": "array",
    "minimum": "number",
    "maximum": "number",
}


class SchemaError(ValueError):
    """A schema that nothing can obey, or that is not a schema."""


class _EndlessError(SchemaError):
    """A recursive branch that does not end."""

    def __init__(self) -> None:
        super().__init__("the schema is recursive and has no finite value")


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where in the answer a value stands."""

    name: str = ""
    sentence: int = 0
    item: int = 0
    listed: bool = False
    record: bool = False  # inside an object of a list: about its own sentence
    open_refs: tuple[str, ...] = ()

    @property
    def deep(self) -> bool:
        """Whether a definition is inside itself: time to come to an end."""
        return len(set(self.open_refs)) < len(self.open_refs)

    @property
    def first(self) -> int:
        """The sentence at which the list began."""
        return self.sentence - self.item


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes the values of one answer.

    Attributes
    ----------
    prompt
        What the answer speaks of.
    root
        The schema, also where a ``$ref`` is looked up.
    salt
        What tells this answer from every other one.
    start
        The sentence of the prompt to begin with.
    """

    prompt: Prompt
    root: Mapping[str, Any]
    salt: str
    start: int

    def write(self) -> Any:
        """Return a value that obeys the schema."""
        try:
            return self._value(self.root, _Spot(sentence=self.start))
        except (LookupError, TypeError, AttributeError) as error:
            # Checking a schema first would cost more than all of the answer.
            raise SchemaError(f"malformed schema: {error!r}") from error

    def _value(self, schema: Any, spot: _Spot) -> Any:
        if not isinstance(schema, dict):  # `true` allows anything
            schema = {}
        if "$ref" in schema:
            return self._referred(schema["$ref"], spot)
        if labels := [schema["const"]] if "const" in schema else schema.get("enum"):
            return self._label(labels, spot)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self._one_of(options, spot)
        if parts := schema.get("allOf"):
            merged = {k: v for k, v in schema.items() if k != "allOf"}
            return self._value(
                merged | {k: v for p in parts for k, v in p.items()}, spot
            )
        kind = schema.get("type") or _kind(schema)
        if isinstance(kind, list):
            return self._one_of([{**schema, "type": each} for each in kind], spot)
        return self._typed(kind, schema, spot)

    def _typed(self, kind: str, schema: dict[str, Any], spot: _Spot) -> Any:
        match kind:
            case "object":
                return self._object(schema, spot)
            case "array":
                return self._array(schema, spot)
            case "integer" | "number":
                return self._number(schema, spot, whole=kind == "integer")
            case "boolean":
                return self._hash(spot.name, spot.sentence, "boolean") % 2 == 0
            case "null":
                return None
            case _:
                return self._string(schema, spot)

    def _referred(self, ref: str, spot: _Spot) -> Any:
        refs = (*spot.open_refs, ref)
        if refs.count(ref) > _MOST_OPEN:
            raise _EndlessError
        target: Any = self.root
        for part in filter(None, ref.removeprefix("#").split("/")):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        return self._value(target, replace(spot, open_refs=refs))

    def _one_of(self, options: Sequence[Any], spot: _Spot) -> Any:
        """Choose the first option, null only where the prompt has nothing to say."""
        choices = [option for option in options if not _is_null(option)]
        nullable = len(choices) < len(options)
        if nullable and (spot.deep or not choices or not self._can_say(choices[0])):
            return None
        for option in choices:
            try:
                return self._value(option, spot)
            except _EndlessError:
                continue
        if nullable:
            return None
        raise _EndlessError

    def _can_say(self, schema: Any) -> bool:
        if _is_quotation(schema):
            return self._can_say(schema["properties"]["value"])
        kind = schema.get("type") if isinstance(schema, dict) else None
        if kind in ("integer", "number"):  # a tuple: kind may be a list
            whole = kind == "integer"
            schema = bounded(schema)
            return any(fits(n, schema, whole=whole) for n in self.prompt.numbers)
        if kind == "string" and schema.get("format") in {"date", "date-time"}:
            return bool(self.prompt.dates)
        return kind != "string" or bool(self.prompt.sentences)

    def _object(self, schema: dict[str, Any], spot: _Spot) -> dict[str, Any]:
        if _is_quotation(schema):
            value = self._value(schema["properties"]["value"], spot)
            return {"quote": self._words(value, spot), "value": value}
        required = schema.get("required", ())
        values = {}
        for name, part in schema.get("properties", {}).items():
            if spot.deep and name not in required:
                continue
            inside = replace(spot, name=name, item=0, record=spot.listed)
            try:
                values[name] = self._value(part, inside)
            except _EndlessError:
                if name in required:
                    raise
        return values

    def _array(self, schema: dict[str, Any], spot: _Spot) -> list[Any]:
        first = schema.get("prefixItems", [])
        least = max(schema.get("minItems", 0), len(first))
        most = schema.get("maxItems", max(least, _MOST_ITEMS))
        wanted = _MOST_NESTED_ITEMS if spot.listed else _MOST_ITEMS
        wanted = min(wanted, len(self.prompt.sentences))
        if spot.deep or first:
            wanted = least
        count = min(max(wanted, least), most)
        parts = [*first, *[schema.get("items", {})] * count][:count]
        try:
            values = [self._item(part, i, spot) for i, part in enumerate(parts)]
        except _EndlessError:
            if least:
                raise
            return []
        return values if first else distinct(values, least)

    def _item(self, schema: Any, number: int, spot: _Spot) -> Any:
        sentence = spot.sentence + number
        inside = replace(
            spot, sentence=sentence, item=number, listed=True, record=False
        )
        return self._value(schema, inside)

    def _label(self, labels: Sequence[Any], spot: _Spot) -> Any:
        """Return the label that shares most words with the text; hashes break ties."""
        words = words_of(self._sentence(spot)) if spot.record else self.prompt.words

        def rank(label: Any) -> tuple[float, int]:
            own = words_of(str(label).replace("_", " "))
            share = len(own & words) / len(own) if own else 0.0
            return -share, self._hash(spot.name, spot.first, str(label))

        known = [label for label in labels if label is not None] or list(labels)
        return sorted(known, key=rank)[spot.item % len(known)]

    def _number(self, schema: Mapping[str, Any], spot: _Spot, *, whole: bool) -> float:
        schema = bounded(schema)
        own = numbers_of(self._sentence(spot)) if spot.record else ()
        for numbers in (own, self.prompt.numbers):
            if fitting := [n for n in numbers if fits(n, schema, whole=whole)]:
                first = self._hash(spot.name, spot.first, "number")
                value = fitting[(first + spot.item) % len(fitting)]
                return int(value) if whole else value
        pick = self._hash(spot.name, spot.sentence, "number")
        return small_number(schema, pick, whole=whole)

    def _string(self, schema: dict[str, Any], spot: _Spot) -> str:
        form = schema.get("format")
        if form in {"date", "date-time"}:
            return self._date(spot) + ("T12:00:00Z" if form == "date-time" else "")
        if form in FORMATS:
            return FORMATS[form]
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        return fit_length(self._text(spot), least, most)

    def _text(self, spot: _Spot) -> str:
        sentence, name = self._sentence(spot), spot.name.lower()
        if name == "q" or any(word in name for word in _QUESTION_NAMES):
            return f"What does the text say about {key_phrase(sentence)}?"
        if any(word in name for word in _PHRASE_NAMES):
            return key_phrase(sentence)
        return sentence

    def _words(self, value: Any, spot: _Spot) -> str:
        """Return the words of the prompt that say a value, or speak of it."""
        sentence, document = self._sentence(spot), self.prompt.document
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return written(value, sentence) or written(value, document) or sentence
        if isinstance(value, str):
            for words in (value.removeprefix(MARK), value.partition("T")[0]):
                if words and words in document:
                    return words
        return sentence

    def _sentence(self, spot: _Spot) -> str:
        sentences = self.prompt.sentences
        return sentences[spot.sentence % len(sentences)] if sentences else "nothing"

    def _date(self, spot: _Spot) -> str:
        if dates := self.prompt.dates:
            return dates[spot.sentence % len(dates)]
        pick = self._hash(spot.name, spot.sentence, "date")
        return f"{2000 + pick % 25}-{1 + pick % 12:02}-{1 + pick % 28:02}"

    def _hash(self, *parts: object) -> int:
        return stable_hash(self.salt, *map(str, parts))


def _kind(schema: dict[str, Any]) -> str:
    known = (_KIND_OF_KEYWORD[key] for key in schema if key in _KIND_OF_KEYWORD)
    return next(known, "string")


def _is_quotation(schema: Any) -> bool:
    """Return whether a value is asked for with the words that it stands on."""
    return isinstance(schema, dict) and {*schema.get("properties", ())} == {
        "quote",
        "value",
    }


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"

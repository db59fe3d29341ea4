"""What is asked of rows: a verb with its options, checked, without the data."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_type_hints

import orjson

from pandas_llm._algorithms import Offsets
from pandas_llm._engine import Details
from pandas_llm._keys import Column, Keys, parse_keys, parse_labels, questions_of
from pandas_llm._replies import Completion, Decided, Label, Records, Vector
from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.options import (
    BOUND,
    OPTIONS,
    ExplodeOptions,
    LabelOptions,
    RecordOptions,
    SeriesOptions,
    Settings,
    VectorOptions,
    check_value,
    one_of,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas_llm._replies import Output

Verb = Literal["generate", "extract", "complete", "classify", "embed"]
NAMES: Mapping[Verb, str] = {
    "complete": "completion",
    "classify": "label",
    "embed": "embedding",
}
"""The name of the new column where the call passes none."""
ALONE = tuple(NAMES)
"""Verbs that return a Series, or a frame of the new columns alone."""
_DETAILS = [
    Column(f"llm_{name}", cast("Any", (get_args(hint) or (hint,))[0].__name__))
    for name, hint in get_type_hints(Details).items()
    if name != "raws"
]
"""The columns of `details`."""
RAW = "raw"
"""The column that ``details="raw"`` has beside them, of the kind "str"."""
_NO_TEXT = "no text is written"
_OF_TEXTS = {
    **dict.fromkeys(("system", "examples", "messages"), "put it into the template"),
    **dict.fromkeys(("n", "temperature", "top_p", "max_tokens", "seed"), _NO_TEXT),
    **dict.fromkeys(("stop", "reasoning_effort", "output_retries"), _NO_TEXT),
    "service_tier": "embeddings have one price",
    "fallback": "vectors of two models cannot be compared",
    **dict.fromkeys(("images", "files"), "only texts are embedded"),
}
"""Options that ``embed`` does not take, and why."""
_FIELD = re.compile(r"\$\{[^}]*\}|\$[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Shape:
    """How outcomes become the result."""

    how: str = "left"
    ignore_index: bool = False
    errors: str = "coerce"
    error_column: str | None = None
    name: str | None = None
    """None where the caller has not named the new column; `called` has the usual."""
    confidence: bool = False
    probabilities: bool = False
    ordered: bool = False
    abstain_below: float | None = None
    calibrate: Any = None
    """None, "prior", or `Offsets`."""
    gold: Any = None
    codes: bool | None = None
    flatten: bool = False
    unique: bool = True
    dimensions: int | None = None
    expand: bool = False
    overwrite: bool = False
    only_missing: bool = False

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        check_value("how", self.how, one_of("left", "inner"))
        check_value("errors", self.errors, one_of("coerce", "raise"))
        for name, rule in (("abstain_below", BOUND), ("dimensions", whole(1))):
            if (value := getattr(self, name)) is not None:
                check_value(name, value, rule)
                object.__setattr__(self, name, rule.plain(value))  # numpy's is ours
        if self.overwrite and self.only_missing:
            raise InvalidValueError(
                "pass overwrite=True, which asks for all rows again, or only_missing="
                "True, which asks for those without values, not both"
            )

    def called(self, verb: Verb) -> str:
        """Return the new column's name."""
        return NAMES[verb] if self.name is None else self.name

    @property
    def refills(self) -> bool:
        """Whether the columns of an earlier run are replaced or filled."""
        return self.overwrite or self.only_missing

    @property
    def wants_odds(self) -> bool:
        """Whether the probabilities of labels are asked for."""
        return self.confidence or self.probabilities or self.needs_odds

    @property
    def needs_odds(self) -> bool:
        """Whether there is no result without the probabilities of labels."""
        bounds = (self.abstain_below, self.calibrate, self.gold)
        return any(one is not None for one in bounds)


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of rows, before there are any."""

    template: str | None
    """None where the last turn of a row's `messages` is its prompt."""
    verb: Verb
    shape: Shape
    settings: Settings
    output: Output
    keys: Any
    """As they were passed."""
    apart: bool = False
    """Whether a program wants the new columns alone, which may be named as others."""

    @property
    def joins(self) -> bool:
        """Whether new columns are put into the rows' own frame."""
        joins = self.verb not in ALONE or self.shape.refills
        return joins and not self.apart

    @property
    def embeds(self) -> int | None:
        """The length of the vectors, 0 for the model's own; None for answers."""
        return (self.shape.dimensions or 0) if self.verb == "embed" else None

    @property
    def names(self) -> list[str]:
        """What the values of an answer are called."""
        return [column.name for column in self.output.columns]

    @property
    def labels(self) -> list[str]:
        """What may be answered in a column of labels."""
        return [str(label) for label in self.output.columns[0].labels]

    @property
    def odds(self) -> Literal["", "words", "codes"]:
        """Whether token probabilities are wanted, and by which words of the labels."""
        wanted = self.shape.wants_odds and self.settings.n == 1
        if not (wanted and self.output.questions):
            return ""
        return "codes" if self.shape.codes else "words"

    @property
    def odds_columns(self) -> list[str]:
        """The columns of probabilities that go with a column of labels."""
        shape, column = self.shape, self.output.columns[0]
        if self.verb != "classify":
            return []
        names = []
        if shape.confidence:
            plain = shape.name is None
            names.append("confidence" if plain else f"{shape.name}_confidence")
        if shape.probabilities:
            names += [f"p_{label}" for label in column.labels]
        if shape.ordered and names:
            names.append(f"{column.name}_score")
        return names

    @property
    def columns(self) -> list[Column]:
        """The new columns; vectors are one, expanded or not."""
        new = [*self.output.columns]
        new += [Column(name, "float") for name in self.odds_columns]
        if self.shape.error_column is not None:
            new.append(Column(self.shape.error_column, "str"))
        if self.settings.details:
            new += _DETAILS
        if self.settings.details == RAW:
            new.append(Column(f"llm_{RAW}", "str"))
        return new

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each new column."""
        return {column.name: column.kind for column in self.columns}

    @property
    def exact(self) -> dict[str, Any]:
        """What tables of other packages need to know of the new columns."""
        return {
            c.name: c.exact or ("str" if c.kind == "str" else "") for c in self.columns
        }


def check_names(task: Task) -> None:
    """Refuse two new columns of one name: one would hide the other."""
    names = [column.name for column in task.columns]
    if task.shape.expand:
        del names[0]
    repeated = {name for name in names if names.count(name) > 1}
    if task.shape.expand:
        most = task.shape.dimensions or math.inf
        repeated |= {name for name in names if dimension(task, name) < most}
    if repeated:
        msg = f"two new columns would be named {min(repeated)!r}: rename one"
        raise InvalidValueError(msg)


def dimension(task: Task, name: str) -> float:
    """Return which dimension of expanded vectors a column is; inf for none."""
    match = re.fullmatch(rf"{re.escape(task.names[0])}_(0|[1-9]\d*)", name)
    return int(match[1]) if match else math.inf


def refuse_options(verb: Verb, names: Iterable[str]) -> None:
    """Refuse options of the call that the verb does not take."""
    for name in names:
        if verb == "embed" and name in _OF_TEXTS:
            raise InvalidTypeError(f"embed has no option {name!r}: {_OF_TEXTS[name]}")


def make_task(
    template: str | None, keys: Any, verb: Verb, shape: Shape, settings: Settings
) -> Task:
    """Build a task; raise for keys or options that are not allowed."""
    check_shape(verb, shape, settings)
    if verb == "extract" and settings.n > 1:
        msg = "extract gives one record a row: n must be 1 (generate takes more)"
        raise InvalidValueError(msg)
    if verb == "embed":
        unset = {name: OPTIONS[name].default for name in _OF_TEXTS}
        settings = replace(settings, **{**unset, "max_tokens": 0})  # none come back
    if settings.messages is not None:
        template = template or None  # an empty one would be an empty turn
    elif template is None:
        msg = f"{verb} needs a template; it may be left out with messages= alone"
        raise InvalidTypeError(msg)
    keys = _copied(keys)
    parsed = parsed_keys(verb, keys, shape)
    shape = _with_offsets(shape, parsed)
    described = keys if verb == "classify" and isinstance(keys, Mapping) else None
    asked = "" if template is None else _question(template)
    output = output_of(verb, parsed, shape, asked=asked, described=described)
    return Task(template, verb, shape, settings, output, keys)


_AGAIN = frozenset({"overwrite", "only_missing"})
_NOT_AGAIN: Mapping[Verb, str] = {
    "generate": "a row may become several, so those of the last run cannot be told "
    "apart. Call it on the original frame: out = df.llm.generate(…), not "
    "out.llm.generate(…); replies that are kept cost nothing",
    "complete": "the result is a column of its own: df['text'] = df.llm.complete(…)",
    "classify": "the result is a column of its own: df['label'] = df.llm.classify(…)",
    "embed": "without expand=True the result is a column of its own: df['vector'] = "
    "df.llm.embed(…)",
}
"""Why there is nothing to replace or fill, and what to do."""
_OPTIONS: Mapping[Verb, Any] = {
    "generate": ExplodeOptions,
    "extract": RecordOptions,
    "complete": SeriesOptions,
    "classify": LabelOptions,
    "embed": VectorOptions,
}


def check_shape(verb: Verb, shape: Shape, settings: Settings) -> None:
    """Refuse what a verb does not take, and what needs probabilities it cannot have."""
    usual, taken = Shape(), _OPTIONS[verb].__optional_keys__
    if verb == "embed" and not shape.expand:
        taken -= _AGAIN
    for name in Shape.__slots__:
        value, default = getattr(shape, name), getattr(usual, name)
        alike = type(value) is type(default) and value == default
        if name not in taken and not alike:
            why = f": {_NOT_AGAIN[verb]}" if name in _AGAIN else ""
            raise InvalidTypeError(f"{verb} has no parameter {name!r}{why}")
    calibrated = shape.calibrate is not None or shape.gold is not None
    if calibrated and settings.n > 1:
        msg = "votes cannot be calibrated: leave n= out, or calibrate= and gold="
        raise InvalidValueError(msg)
    if shape.calibrate is not None and shape.gold is not None:
        msg = "pass calibrate= or gold=, not both: gold fits the offsets itself"
        raise InvalidValueError(msg)


def _with_offsets(shape: Shape, keys: Keys | None) -> Shape:
    """Read the offsets of an earlier run."""
    offsets = shape.calibrate
    if keys is None or offsets is None or isinstance(offsets, Offsets):
        return shape
    if isinstance(offsets, str):
        if offsets == "prior":
            return shape
        with suppress(ValueError):  # `from_json` says what is wanted
            offsets = orjson.loads(offsets)
    labels = [str(label) for label in keys.columns[0].labels]
    return replace(shape, calibrate=Offsets.from_json(offsets, labels))


def _question(template: Any) -> str:
    """Return what a template says of every row: the question."""
    return " ".join(_FIELD.sub(" ", str(template)).split()).rstrip(" :-\u2013\u2014")


def _copied(keys: Any) -> Any:
    """Copy keys that could be changed later, or be read only once."""
    if isinstance(keys, Mapping):
        return {name: _copied(kind) for name, kind in keys.items()}
    if isinstance(keys, Iterator):
        return list(keys)
    return copy.copy(keys) if isinstance(keys, (list, set)) else keys


def parsed_keys(verb: Verb, keys: Any, shape: Shape) -> Keys | None:
    """Parse what a verb takes for keys; None for one that has none."""
    if verb in ("embed", "complete"):
        return None
    if verb == "classify":
        return parse_labels(shape.called(verb), keys)
    return parse_keys(keys, flatten=shape.flatten)


def output_of(  # noqa: PLR0913 - all by name but the first three
    verb: Verb,
    keys: Keys | None,
    shape: Shape,
    schema: Mapping[str, Any] | None = None,
    *,
    asked: str = "",
    described: Mapping[str, str] | None = None,
) -> Output:
    """Build what a verb asks for.

    `schema` is the one that was sent, if it is known, `asked` what closed questions ask
    where their keys do not say, and `described` what each label of ``classify`` means.
    """
    if verb == "embed":
        return Vector(shape.called(verb), shape.dimensions)
    if keys is None:
        return Completion(shape.called(verb))
    common: Any = {"weighed": shape.wants_odds, "codes": shape.codes, "schema": schema}
    if verb == "classify":
        questions = questions_of(keys, asked, described, alone=True)
        return Label(keys, questions, needed=shape.needs_odds, **common)
    if verb == "extract" and (questions := questions_of(keys, asked)):
        return Decided(keys, questions, **common)
    single = verb == "extract"
    return Records(keys, single=single, unique=shape.unique, schema=schema)

"""A task: a verb with its checked keys and options; only the data is missing."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pandas_llm._keys import Keys, parse_keys, parse_labels
from pandas_llm._replies import Completion, Label, Records, Vector
from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.options import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas_llm._replies import Output

Verb = Literal["generate", "extract", "complete", "classify", "embed"]
NAMES: Mapping[Verb, str] = {
    "complete": "completion",
    "classify": "label",
    "embed": "embedding",
}
"""The usual names of the new column."""
ALONE = ("complete", "classify", "embed")
"""Verbs whose result holds only new columns, without those of the data."""
DETAILS: Mapping[str, str] = {
    "text": "str",
    "input_tokens": "int",
    "output_tokens": "int",
    "seconds": "float",
    "attempts": "int",
    "cached": "bool",
    "finish_reason": "str",
    "model": "str",
    "request_id": "str",
    "service_tier": "str",
}
"""The columns of `details`, without their prefix ``llm_``, and their kinds."""
_NO_TEXT = "no text is written"
_OF_TEXTS = {
    **dict.fromkeys(("system", "examples"), "put it into the template"),
    **dict.fromkeys(("n", "temperature", "top_p", "max_tokens", "seed"), _NO_TEXT),
    **dict.fromkeys(("stop", "reasoning_effort", "output_retries"), _NO_TEXT),
    "service_tier": "embeddings have one price",
    "fallback": "vectors of two models cannot be compared",
    "images": "only texts are embedded",
}
"""Options that `embed` refuses, and why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The verb's own options: how outcomes become the result."""

    how: str = "left"
    ignore_index: bool = False
    errors: str = "coerce"
    error_column: str | None = None
    name: str | None = None
    """The new column's name; None for the usual one."""
    confidence: bool = False
    flatten: bool = False
    unique: bool = True
    dimensions: int | None = None
    expand: bool = False

    def __post_init__(self) -> None:
        """Refuse values that the options do not know."""
        for field, allowed in (
            ("how", ("left", "inner")),
            ("errors", ("coerce", "raise")),
        ):
            if getattr(self, field) not in allowed:
                msg = f"{field} must be {' or '.join(map(repr, allowed))}"
                raise InvalidValueError(f"{msg}, not {getattr(self, field)!r}")
        length = self.dimensions
        if length is not None and (type(length) is not int or length < 1):
            msg = f"dimensions must be a whole number of at least 1, not {length!r}"
            raise InvalidValueError(msg)

    def called(self, verb: Verb) -> str:
        """Return the new column's name."""
        return NAMES[verb] if self.name is None else self.name

    @property
    def share(self) -> str | None:
        """The column for a label's share of the votes; None without `confidence`."""
        if not self.confidence:
            return None
        return "confidence" if self.name is None else f"{self.name}_confidence"


@dataclass(frozen=True, slots=True)
class Task:
    """What to ask of every row, and how to read the answers."""

    template: str
    verb: Verb
    shape: Shape
    settings: Settings
    output: Output
    keys: Any
    """As the caller wrote them."""

    @property
    def embeds(self) -> int | None:
        """The length of the vectors, 0 for the model's own; None for answers."""
        return (self.shape.dimensions or 0) if self.verb == "embed" else None

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The new columns and their kinds; vectors count as one, even expanded."""
        new: list[tuple[str, str]] = [(c.name, c.kind) for c in self.output.columns]
        if self.shape.error_column is not None:
            new.append((self.shape.error_column, "str"))
        if self.settings.details:
            new += [(f"llm_{name}", kind) for name, kind in DETAILS.items()]
        return new


def check_names(task: Task) -> None:
    """Refuse two new columns of one name, of which one would hide the other."""
    names = [name for name, _ in task.columns]
    vectors = names.pop(0) if task.shape.expand else None
    repeated = {name for name in names if names.count(name) > 1}
    if vectors is not None:
        most = task.shape.dimensions or math.inf
        repeated |= {name for name in names if _dimension(vectors, name) < most}
    if repeated:
        msg = f"two new columns would be named {min(repeated)!r}: rename one"
        raise InvalidValueError(msg)


def _dimension(vectors: str, name: str) -> float:
    """Return which dimension of expanded vectors a column would be; inf for none."""
    match = re.fullmatch(rf"{re.escape(vectors)}_(0|[1-9]\d*)", name)
    return int(match[1]) if match else math.inf


def check_options(verb: Verb, names: Iterable[str]) -> None:
    """Refuse options that a verb does not have."""
    for name in names:
        if verb == "embed" and name in _OF_TEXTS:
            msg = f"embed has no option {name!r}: {_OF_TEXTS[name]}"
            raise InvalidTypeError(msg)


def make_task(
    template: str, keys: Any, verb: Verb, shape: Shape, settings: Settings
) -> Task:
    """Build a task; raise for keys or options that do not fit the verb."""
    if verb == "extract" and settings.n > 1:
        msg = "extract gives one record a row: n must be 1 (generate takes more)"
        raise InvalidValueError(msg)
    if verb == "embed":
        unset = {name: getattr(Settings(), name) for name in _OF_TEXTS}
        settings = replace(settings, **{**unset, "max_tokens": 0})  # none come back
    keys = _copied(keys)
    output = output_of(verb, parsed_keys(verb, keys, shape), shape)
    return Task(template, verb, shape, settings, output, keys)


def _copied(keys: Any) -> Any:
    """Copy keys that the caller could change later, or that can be read only once."""
    if isinstance(keys, Mapping):
        return {name: _copied(kind) for name, kind in keys.items()}
    if isinstance(keys, (str, type)) or not hasattr(keys, "__next__"):
        return copy.copy(keys) if isinstance(keys, (list, set)) else keys
    return list(keys)


def parsed_keys(verb: Verb, keys: Any, shape: Shape) -> Keys | None:
    """Parse the keys of a verb; None for a verb without keys."""
    if verb in ("embed", "complete"):
        return None
    if verb == "classify":
        return parse_labels(shape.called(verb), keys)
    return parse_keys(keys, flatten=shape.flatten)


def output_of(
    verb: Verb,
    keys: Keys | None,
    shape: Shape,
    schema: Mapping[str, Any] | None = None,
) -> Output:
    """Build the reader of a verb's answers, with the schema that was sent if known."""
    if verb == "embed":
        return Vector(shape.called(verb), shape.dimensions)
    if keys is None:
        return Completion(shape.called(verb))
    if verb == "classify":
        return Label(keys, share=shape.share, schema=schema)
    single = verb == "extract"
    return Records(keys, single=single, unique=shape.unique, schema=schema)

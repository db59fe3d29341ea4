"""From what a person writes to a `Recipe`; checked, copied, with its output."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm.keys import parse_keys, parse_labels
from pandas_llm.output import Completion, Label, Records
from pandas_llm.shape import Recipe, Shape
from pandas_llm.types import Settings
from pandas_llm.vectors import Vector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas_llm.output import Output
    from pandas_llm.shape import Verb


NAMES = {"classify": "label", "embed": "embedding"}
"""What the new column is called unless told, where it is no completion."""
_NO_TEXT = "no text is written"
_OF_TEXTS = {
    **dict.fromkeys(("system", "examples"), "put it into the template"),
    **dict.fromkeys(("n", "temperature", "top_p", "max_tokens", "seed"), _NO_TEXT),
    **dict.fromkeys(("stop", "reasoning_effort", "output_retries"), _NO_TEXT),
    "fallback": "vectors of two models cannot be compared",
    "images": "only texts are embedded",
    "batch": "it sends many texts in a request, and at once",
}
"""Options that are no embedding's, and why."""


def check_given(verb: Verb, given: Iterable[str]) -> None:
    """Refuse options of the call itself that mean nothing to a verb."""
    for name in given:
        if verb == "embed" and name in _OF_TEXTS:
            msg = f"embed has no option {name!r}: {_OF_TEXTS[name]}"
            raise TypeError(msg)


def make_recipe(
    template: str, keys: Any, verb: Verb, shape: Shape, settings: Settings
) -> Recipe:
    """Make a recipe.

    Raises
    ------
    TypeError, ValueError
        For keys or options that cannot be.
    """
    if verb == "extract" and settings.n > 1:
        msg = "extract gives one record a row: n must be 1 (generate takes more)"
        raise ValueError(msg)
    if verb == "embed":
        unset = {name: getattr(Settings(), name) for name in _OF_TEXTS}
        settings = replace(settings, **{**unset, "max_tokens": 0})  # none come back
    keys = _kept(keys)
    output = _output(verb, keys, shape)
    return Recipe(template, verb, shape, settings, output, keys)


def _kept(keys: Any) -> Any:
    """Copy keys that could be changed later, or be read only once."""
    if isinstance(keys, Mapping):
        return {name: _kept(kind) for name, kind in keys.items()}
    if isinstance(keys, (str, type)) or not hasattr(keys, "__next__"):
        return copy.copy(keys) if isinstance(keys, (list, set)) else keys
    return list(keys)


def _output(verb: Verb, keys: Any, shape: Shape) -> Output:
    if verb == "embed":
        return Vector(shape.name, shape.dimensions)
    if verb == "complete":
        return Completion(shape.name)
    if verb == "classify":
        return Label(parse_labels(shape.name, keys), confidence=shape.confidence)
    single = verb == "extract"
    kept = parse_keys(keys, flatten=shape.flatten)
    return Records(kept, single=single, unique=shape.unique)

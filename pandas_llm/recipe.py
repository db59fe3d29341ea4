"""From what a person writes to a `Recipe`; checked, copied, with its output."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pandas_llm.job import Recipe, Shape
from pandas_llm.keys import parse_keys, parse_labels
from pandas_llm.output import Completion, Label, Records

if TYPE_CHECKING:
    from pandas_llm.job import Verb
    from pandas_llm.output import Output
    from pandas_llm.types import Settings


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
    if verb == "complete":
        return Completion(shape.name)
    if verb == "classify":
        return Label(parse_labels(shape.name, keys), confidence=shape.confidence)
    return Records(parse_keys(keys, flatten=shape.flatten), single=verb == "extract")

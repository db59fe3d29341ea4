"""Flags of the command line, made from the table of options."""

from __future__ import annotations

import argparse
import json
import types as python_types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pandas_llm import options

if TYPE_CHECKING:
    from pandas_llm.options import Option

_TABLES: Mapping[str, type] = {
    "generate": options.ExplodeOptions,
    "extract": options.RecordOptions,
    "complete": options.SeriesOptions,
    "classify": options.LabelOptions,
    "filter": options.FilterOptions,
    "embed": options.VectorOptions,
}


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add a flag for every option of a verb and of the run."""
    own = parser.add_argument_group(f"options of {verb}")
    run = parser.add_argument_group("options of the run")
    for name, option in options.listed(_TABLES[verb]).items():
        if option.flag:
            _add_one(run if name in options.OPTIONS else own, name, option)


def chosen(words: argparse.Namespace, verb: str) -> dict[str, Any]:
    """Return the options that were set by flags."""
    names = options.listed(_TABLES[verb])
    values = {name: value for name, value in vars(words).items() if name in names}
    for name, value in values.items():
        if isinstance(value, _Pairs):
            values[name] = dict(value)
    return values


class _Pairs(dict[str, Any]):
    """A mapping that flags fill, one or more names at a time."""


class _AddPairs(argparse.Action):
    """Parse NAME=VALUE, or a JSON object, as often as it comes."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add to earlier pairs."""
        pairs = _Pairs(getattr(namespace, self.dest, None) or {})
        try:
            pairs.update(_pairs(self.dest, values))
        except ValueError as error:
            parser.error(f"{option_string}: {error}")
        setattr(namespace, self.dest, pairs)


def _add_one(group: Any, name: str, option: Option) -> None:
    flag = "--" + name.replace("_", "-")
    arms = _arms(option.type)
    kinds = {typing.get_origin(arm) or arm for arm in arms}
    read = option.rule.read if option.rule else _json_or_text
    sentence = option.says.replace("`", "") + _default(option)
    common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    common["help"] = sentence.replace("%", "%%")
    if bool in kinds:
        literal = [arm for arm in arms if typing.get_origin(arm) is Literal]
        if words := [word for arm in literal for word in typing.get_args(arm)]:
            either = {"nargs": "?", "const": True, "type": read, "metavar": words[0]}
            group.add_argument(flag, choices=[True, *words], **either, **common)
        elif kinds & {str, int, float}:
            group.add_argument(flag, metavar="FILE", **common)
        if words or kinds & {str, int, float}:
            common |= {"help": f"do without {name}", "action": "store_false"}
            group.add_argument(f"--no-{flag[2:]}", **common)
            return
        common["action"] = argparse.BooleanOptionalAction
    elif Mapping in kinds:
        common |= {"action": _AddPairs, "metavar": "NAME=VALUE"}
    elif any(arm == Sequence[str] for arm in arms):
        common |= {"action": "append", "metavar": "TEXT"}
    elif kinds == {Literal}:
        words = [str(word).lower() for arm in arms for word in typing.get_args(arm)]
        words += ["none"] * (type(None) in typing.get_args(option.type))
        common |= {"type": _word, "choices": [_word(word) for word in words]}
        common["metavar"] = "{" + ",".join(words) + "}"
    elif kinds & {int, float}:
        common |= {"type": read, "metavar": "N"}
    elif Sequence in kinds:
        common |= {"type": read, "metavar": "JSON"}
    else:
        common["metavar"] = "TEXT"
    group.add_argument(flag, **common)


def _default(option: Option) -> str:
    """Describe a default, unless it is plain."""
    plain = option.default in (None, ()) or isinstance(option.default, bool)
    shown = option.shown.strip("'")
    return "" if plain else f" By default {shown}."


def _arms(hint: Any) -> list[Any]:
    """Return the types that a union is made of, but None."""
    union = typing.get_origin(hint) in (typing.Union, python_types.UnionType)
    arms = typing.get_args(hint) if union else (hint,)
    return [arm for arm in arms if arm is not type(None)]


def _word(text: str) -> str | None:
    return None if text == "none" else text


def _json_or_text(text: str) -> Any:
    """Read JSON, or return the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pairs(name: str, text: str) -> Mapping[str, Any]:
    if text.startswith("{"):
        pairs: Mapping[str, Any] = json.loads(text)
        return pairs
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"NAME=VALUE or a JSON object is needed, not {text!r}")
    if name == "prices":
        return {key: json.loads(f"[{value}]")}
    return {key: _json_or_text(value) if name == "extra" else value}

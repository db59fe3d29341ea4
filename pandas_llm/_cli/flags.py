"""Flags of the command line, made from the table of options."""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pandas_llm import options

if TYPE_CHECKING:
    from pandas_llm.options import Option


def add(parser: argparse.ArgumentParser, verb: str, table: type) -> None:
    """Add a flag for every option of a verb and of the run."""
    own = parser.add_argument_group(f"options of {verb}")
    run = parser.add_argument_group("options of the run")
    for name, option in options.listed(table).items():
        if option.flag:
            _add_one(run if name in options.OPTIONS else own, name, option)


class _AddPairs(argparse.Action):
    """Parse NAME=VALUE, or a JSON object, as often as it comes."""

    def __call__(self, parser: Any, namespace: Any, values: Any, *given: Any) -> None:
        """Add to earlier pairs."""
        try:
            pairs = _pairs(self.dest, values)
        except ValueError as error:
            parser.error(f"{given[0]}: {error}")
        earlier = getattr(namespace, self.dest, {})
        setattr(namespace, self.dest, {**earlier, **pairs})


class _StoreWord(argparse.Action):
    """Stores one of some words, of which `none` stands for None."""

    def __call__(self, _: Any, namespace: Any, values: Any, *__: Any) -> None:
        """Store the word."""
        setattr(namespace, self.dest, None if values == "none" else values)


def _add_one(group: Any, name: str, option: Option) -> None:
    flag = "--" + name.replace("_", "-")
    kinds = {typing.get_origin(arm) or arm for arm in option.arms}
    literals = [arm for arm in option.arms if typing.get_origin(arm) is Literal]
    words = [word for arm in literals for word in typing.get_args(arm)]
    read = option.rule.read if option.rule else _json_or_text
    # None is typed as none
    sentence = option.says.replace("`", "").replace("None", "none") + _default(option)
    common = {"dest": name, "default": argparse.SUPPRESS}
    keywords: dict[str, Any] = {"metavar": "TEXT"}
    if bool in kinds:
        keywords = {"action": argparse.BooleanOptionalAction}
        if words:
            keywords = {"choices": [True, *words], "metavar": words[0], "type": read}
            keywords |= {"nargs": "?", "const": True}
        elif kinds & {str, int, float}:
            keywords = {"metavar": "FILE"}
    elif Mapping in kinds:
        keywords = {"action": _AddPairs, "metavar": "NAME=VALUE"}
    elif Sequence[str] in option.arms:
        keywords = {"action": "append", "metavar": "TEXT"}
    elif kinds == {Literal}:
        words = [str(word).lower() for word in words]
        words += ["none"] * (type(None) in typing.get_args(option.type))
        keywords = {"choices": words, "action": _StoreWord}
    elif kinds & {int, float}:
        keywords = {"type": read, "metavar": "N"}
    elif Sequence in kinds:
        keywords = {"type": read, "metavar": "JSON"}
    group.add_argument(flag, help=sentence.replace("%", "%%"), **keywords, **common)
    if bool in kinds and "action" not in keywords:
        without = {"help": f"do without {name}", "action": "store_false"}
        group.add_argument(f"--no-{flag[2:]}", **without, **common)


def _default(option: Option) -> str:
    """Describe a default, unless it is plain."""
    plain = option.default in (None, ()) or isinstance(option.default, bool)
    shown = option.shown.strip("'")
    return "" if plain else f" By default {shown}."


def _json_or_text(text: str) -> Any:
    """Read JSON, or return the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pairs(name: str, text: str) -> dict[str, Any]:
    if text.startswith("{"):
        pairs: dict[str, Any] = json.loads(text)
        return pairs
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"NAME=VALUE or a JSON object is needed, not {text!r}")
    if name == "prices":
        return {key: json.loads(f"[{value}]")}
    return {key: _json_or_text(value) if name == "extra" else value}

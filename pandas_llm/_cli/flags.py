"""Flags of the command line, made from the table of options."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import types as python_types
import typing
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from pandas_llm import options

_NOT_HERE = {
    "api_key",  # a command's words are seen by all users of a machine
    "session",
    "loop",  # no event loop runs here
    "flatten",  # --keys cannot nest
    "errors",  # a failed row is empty, told, and seen in the exit code
    "ignore_index",  # files have no index
}
_TABLES: Mapping[str, tuple[Any, ...]] = {
    "generate": (options.Options, options.RecordOptions, options.ExplodeOptions),
    "extract": (options.Options, options.RecordOptions),
    "complete": (options.Options, options.SeriesOptions),
    "classify": (options.Options, options.SeriesOptions, options.LabelOptions),
}
_NAMES = {
    "Callable": Callable,
    "Mapping": Mapping,
    "Sequence": Sequence,
    "PathLike": PathLike,
    "Progress": object,
    "aiohttp": python_types.SimpleNamespace(ClientSession=object),
}
"""What types.py imports for the type checker alone."""


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add a flag for every option of a verb and of the run."""
    own = parser.add_argument_group(f"options of {verb}")
    run = parser.add_argument_group("options of the run")
    tables = _TABLES[verb]
    hints = typing.get_type_hints(tables[-1], localns=_NAMES)
    told = {name: text for table in tables for name, text in described(table).items()}
    for name, hint in hints.items():
        if name not in _NOT_HERE:
            group = run if name in options.Options.__annotations__ else own
            text = told[name].replace("`", "") + _default(name)
            _add_one(group, name, hint, text.replace("%", "%%"))


def given(words: argparse.Namespace, verb: str) -> dict[str, Any]:
    """Give the options that were set by flags."""
    names = _TABLES[verb][-1].__annotations__
    found = {name: value for name, value in vars(words).items() if name in names}
    for name, value in found.items():
        if isinstance(value, _Pairs):
            found[name] = dict(value)
    return found


def described(table: Any) -> dict[str, str]:
    """Read what a table's docstring says of its options.

    Examples
    --------
    >>> described(options.LabelOptions)["confidence"][:12]
    'Add a column'
    """
    text = inspect.cleandoc(table.__doc__ or "")
    found = re.findall(r"^(\w+)\n((?: {4}.+\n?)+)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", said).strip() for name, said in found}


class _Pairs(dict[str, Any]):
    """A mapping that flags fill, one or more names at a time."""


class _AddPairs(argparse.Action):
    """Take NAME=VALUE, or a JSON object, as often as it comes."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add to what is there."""
        found = _Pairs(getattr(namespace, self.dest, None) or {})
        try:
            found.update(_pairs(self.dest, values))
        except ValueError as error:
            parser.error(f"{option_string}: {error}")
        setattr(namespace, self.dest, found)


def _add_one(group: Any, name: str, hint: Any, told: str) -> None:
    flag = "--" + name.replace("_", "-")
    arms = _arms(hint)
    kinds = {typing.get_origin(arm) or arm for arm in arms}
    common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": told}
    if bool in kinds:
        if kinds & {str, int, float}:
            group.add_argument(flag, metavar="FILE", **common)
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
        words += ["none"] * _may_be_none(hint)
        common |= {"type": _word, "choices": [_word(word) for word in words]}
        common["metavar"] = "{" + ",".join(words) + "}"
    elif kinds & {int, float}:
        common |= {"type": _json_or_text, "metavar": "N"}
    elif Sequence in kinds:
        common |= {"type": _json_or_text, "metavar": "JSON"}
    else:
        common["metavar"] = "TEXT"
    group.add_argument(flag, **common)


def _default(name: str) -> str:
    """Tell a default that is not plain from the rest."""
    default = getattr(options.Settings(), name, None)
    plain = default in (None, "", ()) or isinstance(default, bool)
    shown = f"{default:g}" if isinstance(default, float) else default
    return "" if plain else f" By default {shown}."


def _arms(hint: Any) -> list[Any]:
    """Give the types that a union is made of, but None."""
    union = typing.get_origin(hint) in (typing.Union, python_types.UnionType)
    arms = typing.get_args(hint) if union else (hint,)
    return [arm for arm in arms if arm is not type(None)]


def _may_be_none(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _word(text: str) -> str | None:
    return None if text == "none" else text


def _json_or_text(text: str) -> Any:
    """Read numbers and lists; `options.check` says what is wrong with the rest."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pairs(name: str, text: str) -> Mapping[str, Any]:
    if text.startswith("{"):
        found: Mapping[str, Any] = json.loads(text)
        return found
    key, equals, value = text.partition("=")
    if not equals or not key:
        msg = f"NAME=VALUE or a JSON object is needed, not {text!r}"
        raise ValueError(msg)
    if name == "prices":
        return {key: json.loads(f"[{value}]")}
    return {key: _json_or_text(value) if name == "extra" else value}

"""Options: the call > `option_context` > `set_options` > environment > default."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import urlsplit

import orjson

from pandas_llm import cache
from pandas_llm.errors import ConfigurationError
from pandas_llm.providers import PRESETS
from pandas_llm.types import Endpoint, Options, Settings

if TYPE_CHECKING:
    from pathlib import Path

SIMULATED = "sim://local"
"""The simulator's address, whatever its port."""
_DEFAULTS: dict[str, Any] = {
    f.name: getattr(Settings(), f.name) for f in fields(Settings)
}
_NO_ENVIRONMENT = {
    "api_key",
    "headers",
    "examples",
    "extra",
    "values",
    "session",
    "prices",
    "cache",
}
_global: dict[str, Any] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar(
    "pandas_llm_options", default=MappingProxyType({})
)


def set_options(**options: Unpack[Options]) -> None:
    """Set options for every later call of this process.

    Parameters
    ----------
    **options
        See the table in the README. None gives an option its default again where
        that is None.

    Raises
    ------
    TypeError
        For a name that is no option; the message suggests one.
    ValueError
        For a value out of range.

    Examples
    --------
    >>> import pandas_llm
    >>> pandas_llm.set_options(max_retries=3)
    >>> pandas_llm.get_options()["max_retries"]
    3
    >>> pandas_llm.set_options(max_retries=5)
    """
    check(options)
    _global.update(options)


def get_options() -> dict[str, Any]:
    """Give all options as a call made here and now would see them.

    Examples
    --------
    >>> import pandas_llm
    >>> pandas_llm.get_options()["n"]
    1
    """
    return {**_DEFAULTS, **_environment(), **_global, **_context.get()}


@contextmanager
def option_context(**options: Unpack[Options]) -> Iterator[None]:
    """Set options within a ``with`` block, for this thread or task alone.

    Examples
    --------
    >>> import pandas_llm
    >>> with pandas_llm.option_context(n=3):
    ...     pandas_llm.get_options()["n"]
    3
    """
    check(options)
    token = _context.set({**_context.get(), **options})
    try:
        yield
    finally:
        _context.reset(token)


def resolve(options: Mapping[str, Any]) -> Settings:
    """Give every option its value; raise for a wrong name or value."""
    check(options)
    return Settings(**{**get_options(), **options})


def endpoint(settings: Settings) -> Endpoint:
    """Tell where requests go.

    The model may still be empty: an endpoint that lists exactly one is used with it.

    Raises
    ------
    ConfigurationError
        When there is no model or no key; the message names the ways out.
    """
    provider, model = _split_model(settings.model)
    preset = PRESETS[provider]
    given = settings.base_url or os.environ.get(preset.base_url_variable or "")
    base_url = given or preset.base_url or SIMULATED
    key = settings.api_key() if callable(settings.api_key) else settings.api_key
    key = key or os.environ.get(preset.key_variable or "") or None
    asks = not settings.replay
    if asks and not given and preset.base_url and (not key or not model):
        raise ConfigurationError(_ways_out(model, preset.key_variable))
    if given and urlsplit(given).scheme not in ("http", "https"):
        msg = f"base_url must start with http:// or https://, not {given!r}"
        raise ConfigurationError(msg)
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        msg = "api_key holds a blank, a line end or a letter that no header can carry"
        raise ConfigurationError(msg)
    headers = tuple((settings.headers or {}).items())
    return Endpoint(provider, base_url.rstrip("/"), model, key, headers)


def endpoints(settings: Settings) -> list[Endpoint]:
    """Give the endpoint of the model, then those of the models to fall back to."""
    found = [endpoint(settings)]
    for model in settings.fallback:
        same = _split_model(model)[0] == found[0].provider
        base_url = settings.base_url if same else None
        found.append(endpoint(replace(settings, model=model, base_url=base_url)))
    return found


def cache_path(settings: Settings) -> Path | None:
    """Tell which file keeps the replies; None for none."""
    return cache.location(settings.cache, _cache_variable())


def _cache_variable() -> str | None:
    return os.environ.get("PANDAS_LLM_CACHE")


cache.variable = _cache_variable


def account(endpoint: Endpoint) -> tuple[str, ...]:
    """Give what the provider's limits are counted by; the key only as a fingerprint."""
    key = hashlib.blake2b((endpoint.api_key or "").encode(), digest_size=8).hexdigest()
    return (endpoint.provider, endpoint.base_url, key, endpoint.model)


def _split_model(model: str | None) -> tuple[str, str]:
    """Split ``provider/name``; a prefix that is no provider belongs to the name."""
    if not model:
        return "openai", ""
    provider, slash, name = model.partition("/")
    if slash and provider in PRESETS:
        return provider, name
    return ("sim", "sim") if model == "sim" else ("openai", model)


def _ways_out(model: str, variable: str | None) -> str:
    lacking = "no key" if model else "no model"
    return (
        f"{lacking} is set, so there is nothing to send requests to. Ways out:\n"
        f"  a provider:      set {variable} and pass model='…' (a name that it lists)\n"
        "  a local server:  pass base_url='http://localhost:11434/v1' and model='…'\n"
        "  no server:       pass model='sim', the simulator (invented answers, marked)"
    )


# -- checks ---------------------------------------------------------------------


def check(options: Mapping[str, Any]) -> None:
    """Raise for a name that is no option, or a value that cannot be."""
    for name, value in options.items():
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = f"{name!r} is not an option{hint}"
            raise TypeError(msg)
        rule = _RULES.get(name)
        if rule is not None and not (value is None and _DEFAULTS[name] is None):
            words, holds = rule
            if not holds(value):
                msg = f"{name} must be {words}, not {value!r}"
                raise ValueError(msg)


def _number(low: float, *, strict: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return value > low if strict else value >= low

    return holds


def _whole(low: int) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= low

    return holds


def _one_of(*words: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is word or value == word for word in words)


def _pairs(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str)  # noqa: PLR2004
        for pair in value
    )


def _prices(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and all(map(_number(0), pair))  # noqa: PLR2004
        for pair in value.values()
    )


def _texts(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(item, str) for item in value)
    )


_BOOLEANS = (True, False)
_POSITIVE = ("a number above 0", _number(0, strict=True))
_FLAG = ("True or False", _one_of(*_BOOLEANS))
_TEXT = ("a str", lambda value: isinstance(value, str))
_MAPPING = ("a mapping", lambda value: isinstance(value, Mapping))
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "model": _TEXT,
    "base_url": _TEXT,
    "system": _TEXT,
    "headers": _MAPPING,
    "extra": _MAPPING,
    "values": _MAPPING,
    "api_key": ("a str or a callable", lambda v: isinstance(v, str) or callable(v)),
    "examples": ("a list of (prompt, reply) pairs", _pairs),
    "n": ("a whole number of at least 1", _whole(1)),
    "max_tokens": ("a whole number of at least 1", _whole(1)),
    "seed": ("a whole number", lambda value: isinstance(value, int)),
    "temperature": ("a number of at least 0", _number(0)),
    "top_p": ("a number of at least 0", _number(0)),
    "concurrency": (
        "'auto' or a whole number of at least 1",
        lambda value: value == "auto" or _whole(1)(value),
    ),
    "requests_per_minute": _POSITIVE,
    "tokens_per_minute": _POSITIVE,
    "request_timeout": _POSITIVE,
    "deadline": _POSITIVE,
    "max_wait": _POSITIVE,
    "max_retries": ("a whole number of at least 0", _whole(0)),
    "output_retries": ("a whole number of at least 0", _whole(0)),
    "cache": (
        "True, False or a path",
        lambda v: isinstance(v, (bool, str, os.PathLike)),
    ),
    "refresh": _FLAG,
    "replay": _FLAG,
    "dedupe": _FLAG,
    "max_cost": _POSITIVE,
    "prices": ("a mapping of models to (input, output) dollars", _prices),
    "truncate": _TEXT,
    "fallback": ("a list of models", _texts),
    "details": _FLAG,
    "progress": ("True, False or None", _one_of(*_BOOLEANS, None)),
    "na_action": ("'ignore' or None", _one_of("ignore", None)),
    "loop": ("'auto', 'thread' or 'nested'", _one_of("auto", "thread", "nested")),
}


def _environment() -> dict[str, Any]:
    """Read ``PANDAS_LLM_MODEL`` and the like."""
    found: dict[str, Any] = {}
    for name in sorted(_DEFAULTS.keys() - _NO_ENVIRONMENT):
        text = os.environ.get(f"PANDAS_LLM_{name.upper()}")
        if text:
            found[name] = _parsed(name, text)
    check(found)
    return found


def _parsed(name: str, text: str) -> Any:
    if _RULES.get(name, _TEXT) is _TEXT:
        return text
    try:
        return orjson.loads(text.lower() if text in ("True", "False") else text)
    except orjson.JSONDecodeError:
        return text

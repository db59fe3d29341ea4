"""Options: the call > `option_context` > `set_options` > environment > default."""

from __future__ import annotations

import difflib
import hashlib
import os
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import fields, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import urlencode, urlsplit

import orjson

from pandas_llm import cache, discovery, environment, providers
from pandas_llm.errors import ConfigurationError
from pandas_llm.redaction import is_secret
from pandas_llm.rules import RULES, TEXT
from pandas_llm.tracebacks import ends_here
from pandas_llm.types import Endpoint, Options, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pandas_llm.providers import Preset

SIMULATED = "sim://local"
"""The simulator's address, whatever its port."""
_DEFAULTS: dict[str, Any] = {
    f.name: getattr(Settings(), f.name) for f in fields(Settings)
}
_NO_ENVIRONMENT = {"api_key", "headers", "examples", "extra"}
_NO_ENVIRONMENT |= {"values", "session", "prices", "cache"}
_global: dict[str, Any] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar(
    "pandas_llm_options", default=MappingProxyType({})
)


class Secret(str):
    """A text that does not show itself, such as a key among the options."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show that there is one."""
        return "'***'"


@ends_here
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
    found = {**_DEFAULTS, **_environment(), **_global, **_context.get()}
    if isinstance(found["api_key"], str):
        found["api_key"] = Secret(found["api_key"])
    return found


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
    found = {**get_options(), **options}
    for name, value in found.items():
        if isinstance(value, (dict, list)):
            found[name] = copy(value)  # the caller may change it later
    return Settings(**found)


def portable(settings: Settings) -> dict[str, Any]:
    """Give options for another process: as they are here, but without any key.

    Raises
    ------
    ConfigurationError
        For a key or a session among them; the message names the ways out.
    """
    preset = _split_model(settings.model)[1]
    secret = [name for name in settings.headers or {} if is_secret(name)]
    if isinstance(settings.api_key, str) or secret:
        what = "api_key" if not secret else f"headers[{secret[0]!r}]"
        names = preset.key or "it"
        variable = names if isinstance(names, str) else names[0]
        msg = (
            f"{what} would be written down with the plan, for any to read. Ways out:\n"
            f"  the environment of the workers: set {variable} there\n"
            "  a function that gives it there: api_key=my_module.my_function"
        )
        raise ConfigurationError(msg)
    if settings.session is not None:
        msg = "session= belongs to this process: leave it out where others run the plan"
        raise ConfigurationError(msg)
    found = {f.name: getattr(settings, f.name) for f in fields(settings)}
    if not isinstance(settings.cache, bool) and not str(settings.cache).startswith("~"):
        found["cache"] = os.path.abspath(settings.cache)  # noqa: PTH100 - not resolved
    # requests must not go elsewhere because a worker's environment is another
    found["base_url"] = settings.base_url or _variable(preset.address)
    return found


def without_secrets(settings: Settings) -> Settings:
    """Leave out what may be a key; the environment has to give it again."""
    headers = {k: v for k, v in (settings.headers or {}).items() if not is_secret(k)}
    return replace(settings, api_key=None, session=None, headers=headers or None)


def endpoint(settings: Settings) -> Endpoint:
    """Tell where requests go.

    The model may still be empty: an endpoint that lists exactly one is used with it.

    Raises
    ------
    ConfigurationError
        When there is no model or no key; the message names the ways out.
    """
    name, preset, model = _split_model(settings.model)
    given = settings.base_url or _variable(preset.address)
    base_url = given or preset.base_url
    key, token = _key(settings, preset)
    # an address of one's own, a gateway's, may ask for no key
    own = given and (preset.base_url is not None or settings.headers)
    lacks = preset.needs_key and not own and not (key and model)
    if not settings.replay and (lacks or base_url is None):
        raise ConfigurationError(_ways_out(name, preset, model, key, base_url))
    if given and urlsplit(given).scheme not in ("http", "https"):
        msg = f"base_url must start with http:// or https://, not {given!r}"
        raise ConfigurationError(msg)
    headers = tuple((settings.headers or {}).items())
    place = _with_query((base_url or "").rstrip("/"), preset)
    given_key = settings.api_key
    renew = partial(_made, given_key) if callable(given_key) else None
    return Endpoint(name, place, model, key, headers, token, renew)


def _key(settings: Settings, preset: Preset) -> tuple[str | None, bool]:
    """Give the key, and whether it is a bearer token: as those of a function are."""
    if callable(settings.api_key):
        return _made(settings.api_key), True
    if key := settings.api_key or _variable(preset.key):
        return _sendable(key), False
    token = _variable(preset.token)
    return _sendable(token), token is not None


def _made(function: Callable[[], str]) -> str | None:
    return _sendable(function())


def _sendable(key: str | None) -> str | None:
    """Give a key back if a header can carry it; the error does not show it."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        msg = "api_key holds a blank, a line end or a letter that no header can carry"
        raise ConfigurationError(msg)
    return key or None


def _variable(names: str | tuple[str, ...] | None) -> str | None:
    """Return the first variable that is set, of those that a preset names."""
    return environment.variable(*((names,) if isinstance(names, str) else names or ()))


def _with_query(base_url: str, preset: Preset) -> str:
    """Put parameters of the environment into an address that has none."""
    given = {name: value for name, v in preset.query if (value := _variable(v))}
    if not given or "?" in base_url:
        return base_url
    return f"{base_url}?{urlencode(given)}"


def endpoints(settings: Settings) -> list[Endpoint]:
    """Give the endpoint of the model, then those of the models to fall back to."""
    found = [endpoint(settings)]
    other = replace(settings, base_url=None, api_key=None, headers=None)
    for model in settings.fallback:
        # a key is told to nobody but the provider that it was given for
        same = _split_model(model)[0] == found[0].provider
        found.append(endpoint(replace(settings if same else other, model=model)))
    return found


def cache_path(settings: Settings) -> Path | None:
    """Tell which file keeps the replies; None for none."""
    return cache.location(settings.cache)


def account(endpoint: Endpoint) -> tuple[str, ...]:
    """Give what the provider's limits are counted by; the key only as a fingerprint."""
    key = hashlib.blake2b((endpoint.api_key or "").encode(), digest_size=8).hexdigest()
    return (endpoint.provider, endpoint.base_url, key, endpoint.model)


def _split_model(model: str | None) -> tuple[str, Preset, str]:
    """Split ``provider/name``; a prefix that is no provider belongs to the name."""
    name, slash, rest = (model or "").partition("/")
    if slash and (preset := providers.preset(name)):
        return name, preset, rest
    name = "sim" if model == "sim" else "openai"
    return name, providers.presets()[name], model or ""


def _ways_out(
    name: str, preset: Preset, model: str, key: str | None, base_url: str | None
) -> str:
    """Say what is missing, and what could be used instead."""
    if base_url is None:
        ways = f"pass base_url='https://…' or set {preset.address}"
        return f"{name} has an address for each account: {ways}"
    lacking = "no key" if model else "no model"
    variables = (preset.key,) if isinstance(preset.key, str) else preset.key
    prefix = "" if name == "openai" else f"{name}/"
    known = "" if key else f"set {variables[0] if variables else 'api_key='} and "
    local = ["pass base_url='http://localhost:11434/v1' and model='…'"]
    if not model:
        local = discovery.found() or local
    locally = "".join(f"  a local server:  {way}\n" for way in local)
    return (
        f"{lacking} is set, so there is nothing to send requests to. Ways out:\n"
        f"  a provider:      {known}pass model='{prefix}…' (a name that it lists)\n"
        f"{locally}"
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
        rule = RULES.get(name)
        if rule is not None and not (value is None and _DEFAULTS[name] is None):
            words, holds = rule
            if not holds(value):
                msg = f"{name} must be {words}, not {value!r}"
                raise ValueError(msg)


def _environment() -> dict[str, Any]:
    """Read ``PANDAS_LLM_MODEL`` and the like."""
    found: dict[str, Any] = {}
    for name in sorted(_DEFAULTS.keys() - _NO_ENVIRONMENT):
        if text := environment.own(name):
            found[name] = _parsed(name, text)
    check(found)
    return found


def _parsed(name: str, text: str) -> Any:
    if RULES.get(name, TEXT) is TEXT:
        return text
    try:
        return orjson.loads(text.lower() if text in ("True", "False") else text)
    except orjson.JSONDecodeError:
        return text

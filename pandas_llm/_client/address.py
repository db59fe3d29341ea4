"""Where requests go: a model's name, an address and a key become an `Endpoint`."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from pandas_llm import environment
from pandas_llm._http import check_botocore, region_of
from pandas_llm._local import LOCAL, local_endpoint
from pandas_llm.errors import ConfigurationError
from pandas_llm.providers import Preset, local, not_openais, presets
from pandas_llm.providers import preset as provider_preset
from pandas_llm.redaction import is_secret, parted, shown
from pandas_llm.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm.options import Settings

SIMULATED = "sim://local"
"""The simulator's address, with any port."""
_GLANCE = 0.3
"""Seconds in which a server on this machine lists its models."""
_SHOWN = 5
_LARGEST = 1 << 20

local_addresses: Mapping[str, str] | None = None
"""Providers and the addresses to ask; None for those of the presets."""


def transferable(settings: Settings) -> dict[str, Any]:
    """Return options for another process, without a key; refuse a key among them."""
    preset = _split_model(settings.model)[1]
    secret = [name for name in settings.headers or {} if is_secret(name)]
    password = bool(parted(settings.base_url or "")[0])
    if isinstance(settings.api_key, str) or secret or password:
        what = "the password in base_url" if password else "api_key"
        what = f"headers[{secret[0]!r}]" if secret else what
        variable = (*_names(preset.address if password else preset.key), "it")[0]
        raise ConfigurationError(
            f"{what} would be written down with the plan, for any to read. Ways out:\n"
            f"  the environment of the workers: set {variable} there\n"
            "  a function that gives it there: api_key=my_module.my_function"
        )
    if settings.session is not None:
        msg = "session= belongs to this process: leave it out where others run the plan"
        raise ConfigurationError(msg)
    options = {f.name: getattr(settings, f.name) for f in fields(settings)}
    for name in ("cache", "ca", "cert", "files_root"):
        options[name] = _whole(options[name])
    # requests must not go elsewhere because a worker's environment is another; one
    # with a password in it is not written down
    own_url = settings.base_url or _variable(preset.address)
    place = own_url or _regional(preset, settings)
    options["base_url"] = None if place and parted(place)[0] else place
    options["model"] = _movable(settings.model)
    options["fallback"] = tuple(_movable(model) for model in settings.fallback)
    return options


def _movable(model: str | None) -> str | None:
    """Return a model's name; a path in it is made absolute."""
    provider, _, path = (model or "").partition("/")
    return f"gguf/{_whole(path)}" if provider == "gguf" else model


def _whole(option: Any) -> Any:
    """Return paths that are absolute or begin with the home folder; else what it is."""
    if isinstance(option, (list, tuple)):
        return [_whole(path) for path in option]
    if not isinstance(option, (str, os.PathLike)):
        return option
    path = os.fspath(option)
    return path if path.startswith("~") else os.path.abspath(path)  # noqa: PTH100


def without_secrets(settings: Settings) -> Settings:
    """Leave out what may be a key; the environment has to supply it."""
    headers = {k: v for k, v in (settings.headers or {}).items() if not is_secret(k)}
    return replace(settings, api_key=None, session=None, headers=headers or None)


def resolve_endpoint(settings: Settings) -> Endpoint:
    """Return where requests go, or raise with the ways out.

    The model may be empty: an endpoint that lists exactly one is used with it.
    """
    name, preset, model = _split_model(settings.model)
    if name in LOCAL:
        if settings.base_url:
            msg = f"model={settings.model!r} runs in this process: leave base_url= out"
            raise ConfigurationError(msg)
        return local_endpoint(name, model)
    own_url = settings.base_url or _variable(preset.address)
    base_url = own_url or preset.base_url
    if (
        name == "openai"
        and model == settings.model
        and not (own_url or settings.replay)
    ):
        _check_openais(model)
    key, token = _key(settings, preset)
    region = None
    if preset.signed:
        base_url, region = _at_aws(settings, preset, own_url, key)
    # an address of one's own, a gateway's, may ask for no key
    own = own_url and (preset.base_url is not None or settings.headers)
    lacks = preset.needs_key and not own and not ((key or region) and model)
    if not settings.replay and (lacks or base_url is None):
        raise ConfigurationError(ways_out(name, preset, model, key, base_url))
    headers = tuple((settings.headers or {}).items())
    checked = _checked(own_url) if own_url else base_url or ""
    place = _with_query(checked.rstrip("/"), preset)
    api_key = settings.api_key
    renew = partial(_made, api_key) if callable(api_key) else None
    return Endpoint(name, place, model, key, headers, token, renew=renew, region=region)


def _at_aws(
    settings: Settings, preset: Preset, own_url: str | None, key: str | None
) -> tuple[str, str | None]:
    """Return the address, and the region to sign for if nothing else tells who asks."""
    address = own_url or _regional(preset, settings) or ""
    headers = {name.lower() for name in settings.headers or {}}
    identified = key or parted(address)[0] or "authorization" in headers
    if identified or settings.replay:
        return address, None
    check_botocore()
    return address, region_of(address, settings.model)


def _regional(preset: Preset, settings: Settings) -> str | None:
    """Return the address in a region, where a provider has one for each."""
    if not preset.signed:
        return None
    return (preset.base_url or "").format(region=region_of(settings.model))


def _check_openais(model: str) -> None:
    """Refuse a model that OpenAI lacks, where no provider is named."""
    if (instead := not_openais(model, presets())) is not None:
        msg = f"model={model!r} names no provider, and OpenAI has no such model: "
        raise ConfigurationError(msg + instead)


def _checked(url: str) -> str:
    """Return an address that can be asked, its password escaped; errors hide that."""
    user, bare = parted(url)
    try:
        parts = urlsplit(bare)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not bare.lower().startswith(("http://", "https://")):
        msg = f"base_url must start with http:// or https://, not {shown(url)!r}"
        raise ConfigurationError(msg)
    if not usable:
        msg = f"base_url names no host, or no valid port: {shown(url)!r}"
        raise ConfigurationError(msg)
    if parts.path.rstrip("/").endswith("/chat/completions"):
        whole = shown(url).rstrip("/").removesuffix("/chat/completions")
        msg = f"base_url ends before /chat/completions: pass base_url={whole!r}"
        raise ConfigurationError(msg)
    if not set(user) & set("/?#[]"):
        return url  # as it stands, it is a part of what kept replies are known by
    name, _, password = user.partition(":")
    return bare.replace("://", f"://{quote(name, '%')}:{quote(password, '%')}@", 1)


def _key(settings: Settings, preset: Preset) -> tuple[str | None, bool]:
    """Return the key, and whether it is a bearer token: as those of a function are."""
    if callable(settings.api_key):
        return _made(settings.api_key), True
    if settings.api_key:
        return _sendable(settings.api_key), False
    if key := _variable(preset.key):
        return _sendable(key, *_names(preset.key)), False
    token = _variable(preset.token)
    return _sendable(token, *_names(preset.token)), token is not None


def _made(function: Callable[[], str]) -> str | None:
    return _sendable(function())


def _sendable(key: str | None, *variables: str) -> str | None:
    """Return a key if a header can carry it; the error does not show it."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        what = " or ".join(variables) or "api_key"
        msg = f"{what} holds a blank, a line end or a letter that no header can carry"
        raise ConfigurationError(msg)
    return key or None


def _variable(names: str | tuple[str, ...] | None) -> str | None:
    """Return the value of the first variable of a preset that is set."""
    return environment.variable(*_names(names))


def _names(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()


def _with_query(base_url: str, preset: Preset) -> str:
    """Put parameters of the environment into an address that has none."""
    query = {name: value for name, v in preset.query if (value := _variable(v))}
    if not query or "?" in base_url:
        return base_url
    return f"{base_url}?{urlencode(query)}"


def resolve_endpoints(settings: Settings) -> list[Endpoint]:
    """Return the endpoint of the model, then those of the models to fall back to."""
    endpoints = [resolve_endpoint(settings)]
    other = replace(settings, base_url=None, api_key=None, headers=None)
    for model in settings.fallback:
        # a key is told to nobody but the provider that it was given for
        same = _split_model(model)[0] == endpoints[0].provider
        endpoints.append(
            resolve_endpoint(replace(settings if same else other, model=model))
        )
    return endpoints


def account(endpoint: Endpoint, who: str = "") -> tuple[str, ...]:
    """Return what the provider's limits are counted by; a key as a fingerprint.

    `who` is the account where requests are signed, and there is no key.
    """
    known = (endpoint.api_key or who).encode()
    key = hashlib.blake2b(known, digest_size=8).hexdigest()
    return (endpoint.provider, endpoint.base_url, key, endpoint.model)


def _split_model(model: str | None) -> tuple[str, Preset, str]:
    """Split ``provider/name``; a prefix that is not a provider belongs to the name."""
    name, slash, rest = (model or "").partition("/")
    if slash and (preset := provider_preset(name)):
        return name, preset, rest
    if model == "tiny":
        return "tiny", presets()["tiny"], ""
    name = "sim" if model == "sim" else "openai"
    return name, presets()[name], model or ""


def ways_out(
    name: str, preset: Preset, model: str, key: str | None, base_url: str | None
) -> str:
    """Describe what is missing, and what to do."""
    if base_url is None:
        ways = f"pass base_url='https://…' or set {preset.address}"
        return f"{name} has an address for each account: {ways}"
    variables = _names(preset.key)
    prefix = "" if name == "openai" else f"{name}/"
    variable = f"set {variables[0]}" if variables else ""
    local = ["pass base_url='http://localhost:11434/v1' and model='…'"]
    if model:
        lack = f"no key is set for model='{prefix}{model}'"
        way = " or ".join(filter(None, (variable, "pass api_key=")))
    else:
        lack = "no model is set, so there is nothing to send requests to"
        way = "" if key else f"{variable or 'pass api_key='} and "
        way += f"pass model='{prefix}…' (a name that it lists)"
        local = servers_here() or local
    locally = "".join(f"  a local server:  {one}\n" for one in local)
    return (
        f"{lack}. Ways out:\n"
        f"  a provider:      {way}\n"
        f"{locally}"
        "  no server:       pass model='sim', the simulator (invented answers, marked)"
    )


def servers_here() -> list[str]:
    """Describe how to use each server of this machine; ask all at once, for 0.3 s."""
    asked = local_addresses
    if asked is None:
        asked = {name: p.base_url or "" for name, p in local().items()}
    listed: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=_ask, args=(name, url, listed), daemon=True)
        for name, url in asked.items()
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _GLANCE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    answers = dict(listed)  # one that comes late changes nothing any more
    return [
        _way(name, url, answers[name]) for name, url in asked.items() if name in answers
    ]


def _way(name: str, url: str, models: list[str]) -> str:
    names = ", ".join(models[:_SHOWN]) + ", …" * (len(models) > _SHOWN)
    place = urlsplit(url).netloc
    first = models[0] if models else "…"
    return f"pass model='{name}/{first}' ({place} lists {names or 'no model'})"


def _ask(name: str, url: str, listed: dict[str, list[str]]) -> None:
    """Ask a server for its models; ignore one that does not list them."""
    import http.client  # for an error message only
    import json

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=_GLANCE
    )
    try:
        connection.request("GET", f"{parts.path}/models")
        response = connection.getresponse()
        data = json.loads(response.read(_LARGEST))
        listed[name] = [str(model["id"]) for model in data["data"] or ()]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return
    finally:
        connection.close()

"""The providers by name: those of this package, and those of others."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from pandas_llm.errors import ConfigurationError, MalformedReplyError
from pandas_llm.providers.answers.bodies import ODD
from pandas_llm.providers.embeddings import Embeddings
from pandas_llm.providers.failures import generated
from pandas_llm.redaction import visible
from pandas_llm.types import Choice, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm.errors import LLMError, ProviderError
    from pandas_llm.types import (
        Capabilities,
        Endpoint,
        HTTPRequest,
        HTTPResponse,
        ImageLimits,
        Quotas,
        Request,
        Spec,
        Used,
    )

GROUP = "pandas_llm.providers"
"""The entry points by which other packages add providers."""
_SUCCESS = range(200, 300)
"""Gateways make a 201 of an answer."""
_TOLD = ("model", "request_id", "tier", "response_id")
"""Words of a reply about itself."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Provider(Protocol):
    """One vendor's dialect, bound to an endpoint."""

    capabilities: Capabilities
    """What to try first."""

    @property
    def images(self) -> ImageLimits | None:
        """What images it takes; None for none. `files` likewise, where it has that."""

    def build(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> HTTPRequest:
        """Put a request for `n` choices in the vendor's words."""

    def parse(self, response: HTTPResponse) -> Reply:
        """Read an answer with status 2xx; raise an `LLMError` for anything else."""

    def error(self, response: HTTPResponse) -> ProviderError:
        """Turn an answer with another status into an error."""

    def spent(self, response: HTTPResponse) -> Used:
        """Read what an answer used that `parse` or `error` made an error of."""

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Read the account's limits from the headers."""

    def downgrade(
        self, capabilities: Capabilities, error: LLMError, request: Request
    ) -> Capabilities | None:
        """Return what to try after a refused parameter; None when nothing is left."""

    def dropped(self, spec: Spec, capabilities: Capabilities) -> tuple[str, ...]:
        """Return the options that are not sent because the model refuses them."""


class Preset(NamedTuple):
    """What a provider's name in ``model="name/…"`` stands for.

    Examples
    --------
    >>> from pandas_llm.providers.vendors.openai import OpenAI
    >>> acme = Preset(OpenAI, "https://llm.acme.example/v1", key="ACME_API_KEY")
    >>> acme.needs_key
    True
    """

    dialect: Callable[[Endpoint], Provider]
    """Makes the provider; mostly a class."""
    base_url: str | None
    """None where each account has an address of its own. ``{region}`` in it is AWS'."""
    address: str | None = None
    """The environment variable with another address."""
    key: str | tuple[str, ...] = ()
    """The environment variables with a key, in the order they are looked at."""
    token: str | tuple[str, ...] = ()
    """Those with a bearer token, where that is sent otherwise than a key."""
    needs_key: bool = True
    """Whether a key is required."""
    query: tuple[tuple[str, str], ...] = ()
    """Parameters of the address, and the environment variables they are taken from."""
    signed: bool = False
    """Whether requests without a key are signed with AWS' credentials."""
    keeps: tuple[tuple[str, int], ...] = ()
    """What models' names hold ("" for any), and the tokens of the shortest beginning of
    a prompt that is worth keeping: by its documents or source as of 2026-11."""


@cache
def presets() -> Mapping[str, Preset]:
    """Return the providers of this package by name."""
    known: dict[str, Preset] = {}
    for module in iter_modules([str(Path(__file__).parent / "vendors")]):
        known |= import_module(f"{__package__}.vendors.{module.name}").PRESETS
    return known


@cache
def preset(name: str) -> Preset | None:
    """Return the provider of a name, here or in another package; None for none."""
    if name in presets():
        return presets()[name]
    from importlib.metadata import entry_points  # few need it, and it takes 20 ms

    for point in entry_points(group=GROUP, name=name):  # 20 ms, once a name
        try:
            known = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the provider {name!r} ({point.value}) cannot be imported: {error}"
            ) from error
        if not isinstance(known, Preset):
            raise ConfigurationError(
                f"the provider {name!r} ({point.value}) is not a Preset but {known!r}"
            )
        return known
    return None


def local() -> Mapping[str, Preset]:
    """Return the providers that are servers on one's own machine."""
    return {
        name: known
        for name, known in presets().items()
        if urlsplit(known.base_url or "").hostname in _LOOPBACK
    }


def spoken(endpoint: Endpoint) -> str:
    """Return the provider whose words an endpoint has; an address may tell."""
    if endpoint.provider != "openai":
        return endpoint.provider
    openai: Any = presets()["openai"].dialect
    place = _place(endpoint.base_url)
    for name, known in presets().items():
        alike = isinstance(known.dialect, type) and issubclass(known.dialect, openai)
        if alike and known.base_url and _place(known.base_url) == place:
            return name
    return endpoint.provider


def least_prefix(endpoint: Endpoint) -> int | None:
    """Return the tokens of a beginning that is worth keeping; None if none is kept."""
    known = preset(spoken(endpoint))
    if known is None or endpoint.embeds is not None:
        return None
    return next((n for name, n in known.keeps if name in endpoint.model), None)


def connect(endpoint: Endpoint) -> Provider:
    """Return the provider that speaks to an endpoint."""
    known = preset(spoken(endpoint))
    if known is None:
        raise ConfigurationError(f"there is no provider {endpoint.provider!r}")
    provider = known.dialect(endpoint)
    if endpoint.embeds is None:
        return provider
    return Embeddings(provider, endpoint)


def succeeded(response: HTTPResponse) -> bool:
    """Return whether the status is that of an answer."""
    return response.status in _SUCCESS


def read_reply(provider: Provider, response: HTTPResponse) -> Reply:
    """Return what an answer says; raise an `LLMError` when it is not a reply."""
    if response.status not in _SUCCESS:
        if (text := generated(response)) is not None:
            used = provider.spent(response)
            choice = Choice(text, "stop")
            return Reply((choice,), used.tokens, cost=used.cost, tier=used.tier)
        raise provider.error(response)
    try:
        reply = provider.parse(response)
        words = [getattr(reply, name) for name in _TOLD]
        for choice in reply.choices:
            words.append(choice.finish_reason)  # noqa: PERF401 - nearly always one
        plain = "".join(filter(None, words)).isprintable()
    except ODD as error:
        raise MalformedReplyError(
            f"the reply is not a chat completion: {error}", status=response.status
        ) from error
    if plain:
        return reply
    choices = tuple(_visible(choice, "finish_reason") for choice in reply.choices)
    seen: Reply = _visible(reply, *_TOLD)
    return seen._replace(choices=choices)


def _visible(told: Any, *names: str) -> Any:
    """Write out what people cannot see in the words about an answer, not in it."""
    words = {name: getattr(told, name) for name in names}
    seen = {name: word and visible(word) for name, word in words.items()}
    return told._replace(**seen)


def _place(base_url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(base_url)
    host = parts.hostname
    return "localhost" if host in _LOOPBACK else host, parts.port

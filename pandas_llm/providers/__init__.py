"""Providers: pure translation between requests and a vendor's wire format.

A provider does no I/O: it builds an `HTTPRequest` and reads an `HTTPResponse`.
To add one, write a module beside `openai.py` with a class that has the methods of
`Provider`, and name it in `PRESETS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.errors import LLMError, ProviderError
    from pandas_llm.types import (
        Capabilities,
        Endpoint,
        HTTPRequest,
        HTTPResponse,
        Quotas,
        Reply,
        Request,
        Spec,
    )


class Provider(Protocol):
    """One vendor's dialect, bound to an endpoint."""

    def build(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> HTTPRequest:
        """Put a request for `n` choices in the vendor's words."""

    def parse(self, response: HTTPResponse) -> Reply:
        """Read an answer with status 200; raise an `LLMError` when it is none."""

    def error(self, response: HTTPResponse) -> ProviderError:
        """Turn an answer with another status into an error."""

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Read the account's limits from the headers."""

    def downgrade(
        self, capabilities: Capabilities, error: LLMError, request: Request
    ) -> Capabilities | None:
        """Give what to try after a refused parameter; None when nothing is left."""

    def dropped(self, spec: Spec, capabilities: Capabilities) -> tuple[str, ...]:
        """Name the options that are not sent because the model refuses them."""


class Preset(NamedTuple):
    """What a provider's name in ``model="name/…"`` stands for."""

    dialect: str
    """The module here that speaks to it."""
    base_url: str | None
    """None: the plan opens the endpoint itself (the simulator)."""
    base_url_variable: str | None = None
    key_variable: str | None = None


PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        "openai", "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY"
    ),
    "sim": Preset("openai", None),
}


def connect(endpoint: Endpoint) -> Provider:
    """Give the provider that speaks to an endpoint."""
    dialect = PRESETS[endpoint.provider].dialect
    provider: Provider = import_module(f"{__name__}.{dialect}").Provider(endpoint)
    return provider

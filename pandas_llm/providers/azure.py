"""Azure OpenAI: chat completions under an address for each account.

Two forms of the address, as its client's source and Microsoft's pages have them:
``https://RESOURCE.openai.azure.com/openai/v1`` with the deployment as the model, and
the classic ``…/openai/deployments/NAME?api-version=…``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from pandas_llm.providers import openai
from pandas_llm.providers.registry import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Endpoint


class Azure(openai.OpenAI):
    """A deployment in Azure."""

    batches = None

    def url(self, endpoint: Endpoint) -> str:
        """Return the address that requests go to."""
        return _completed(endpoint, "chat/completions")

    def embeddings_url(self, endpoint: Endpoint) -> str:
        """Return the address that requests for embeddings go to."""
        return _completed(endpoint, "embeddings")

    def authorization(self, endpoint: Endpoint) -> dict[str, str]:
        """Send a key as such, and a token of Entra as a bearer's."""
        if endpoint.token:
            return super().authorization(endpoint)
        return {"api-key": endpoint.api_key or ""}


def _completed(endpoint: Endpoint, last: str) -> str:
    """Complete what was given of the address; a version asks for the classic."""
    parts = urlsplit(endpoint.base_url)
    path = parts.path.rstrip("/")
    if path in ("", "/openai"):
        classic = "api-version=" in parts.query and "=preview" not in parts.query
        name = quote(endpoint.model, safe="")
        path = f"/openai/deployments/{name}" if classic else "/openai/v1"
    return urlunsplit(parts._replace(path=f"{path}/{last}"))


PRESETS: Mapping[str, Preset] = {
    "azure": Preset(
        Azure,
        None,
        "AZURE_OPENAI_ENDPOINT",
        "AZURE_OPENAI_API_KEY",
        token="AZURE_OPENAI_AD_TOKEN",  # noqa: S106 - the name of a variable
        query=(("api-version", "OPENAI_API_VERSION"),),
    )
}

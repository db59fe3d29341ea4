"""Servers that speak OpenAI's chat completions, each with its own oddities.

What is not known for certain is not written down here: the first row finds it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

from pandas_llm.providers.bodies import amount
from pandas_llm.providers.dialect import Bundling, Vectors
from pandas_llm.providers.headers import limit_names
from pandas_llm.providers.openai import OpenAI
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Capabilities, ImageLimits, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.providers.dialect import Body, Schema
    from pandas_llm.types import Endpoint, Spec

_DAY = 86_400.0


class Server(OpenAI):
    """A server that knows the older field for the longest answer, without tiers."""

    capabilities = Capabilities(max_tokens="max_tokens")
    batches = None
    tiers: ClassVar[Mapping[str, str]] = {}


class OlderLimit(Server):
    """A server with tiers that knows the older field for the longest answer.

    llama.cpp, OpenRouter, Together's and Fireworks' documents; pydantic-ai's profiles.
    """

    tiers = OpenAI.tiers


class File(OlderLimit):
    """A GGUF file, served by llama.cpp for the run.

    A small model may write to the end of its context; a limit of its own is not sent
    where one is asked for, and is no part of the request's identity.
    """

    images = None
    embeds = None

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        """Write what the bodies of a run share, always with a longest answer."""
        return {"max_tokens": 1024, **super().shared(spec, schema, capabilities, n)}


class OneChoice(Server):
    """A server that returns one choice whatever `n` says."""

    capabilities = Capabilities(max_tokens="max_tokens", n=False)


class Ollama(OneChoice):
    """Ollama, with its own way to ask for embeddings.

    Its source of 2026-08 has neither ``n`` nor ``max_completion_tokens`` and drops
    what it does not know without a word. What is too long to embed it cuts without a
    word too, unless ``truncate`` says no, which only its own way has.
    """

    embeds = Bundling(256, 30_000)
    """No limits are known; its one queue shall answer within `request_timeout`."""

    def embeddings_url(self, endpoint: Endpoint) -> str:
        """Return the address, which is not under that of the compatible part."""
        return endpoint.base_url.removesuffix("/v1") + "/api/embed"

    def embeddings(
        self,
        texts: Sequence[str],
        spec: Spec,
        capabilities: Capabilities,
        dimensions: int,
    ) -> dict[str, Any]:
        """Ask for the vectors of whole texts."""
        body: dict[str, Any] = {"model": self.model, "input": texts, "truncate": False}
        if dimensions:
            body["dimensions"] = dimensions
        return {**body, **spec.extra}

    def vectors(self, data: Any) -> Vectors:
        """Find the vectors."""
        return Vectors(data["embeddings"], *self.used(data)[:2])

    def usage(self, data: Any) -> Used:
        """Read the tokens; its own way has another name for them."""
        if "prompt_eval_count" in data:
            return Used(Tokens(amount(data["prompt_eval_count"]) or 0))
        return super().usage(data)


class Together(Server):
    """Together counts requests and tokens by the second (curator's source)."""

    limits = (
        (limit_names("x-ratelimit-{}"), 1.0),
        (limit_names("x-ratelimit-{}-tokens"), 1.0),
    )


class Groq(Server):
    """Groq answers 400 to ``n`` above 1; its limit on requests is for a day."""

    capabilities = Capabilities(n=False)
    tiers: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("auto", "flex")},
        **dict.fromkeys(("default", "standard_only"), "on_demand"),
    }
    images = ImageLimits(3_000_000, 3_000_000)
    """4 MB of base64 in a request (its page on vision)."""
    limits = ((OpenAI.limits[0][0], _DAY), OpenAI.limits[1])


class DeepSeek(Server):
    """DeepSeek has JSON mode but no schema, and one choice."""

    capabilities = Capabilities("json_object", max_tokens="max_tokens", n=False)


class Mistral(Server):
    """Mistral answers 422 to fields that it does not know."""

    names: ClassVar[Mapping[str, str]] = {
        "seed": "random_seed",
        "dimensions": "output_dimension",
    }


class XAI(OpenAI):
    """xAI takes PNG and JPEG alone (its guide on images)."""

    images = ImageLimits(20 * 2**20, 50_000_000, ("image/png", "image/jpeg"))
    batches = None


class Azure(OpenAI):
    """A deployment in Azure, under an address for each account.

    Two forms of the address, as its client's source and Microsoft's pages have them:
    ``https://RESOURCE.openai.azure.com/openai/v1`` with the deployment as the model,
    and the classic ``…/openai/deployments/NAME?api-version=…``.
    """

    batches = None
    key_header = "api-key"

    def url(self, endpoint: Endpoint) -> str:
        """Return the address that requests go to."""
        return _completed(endpoint, "chat/completions")

    def embeddings_url(self, endpoint: Endpoint) -> str:
        """Return the address that requests for embeddings go to."""
        return _completed(endpoint, "embeddings")


def _completed(endpoint: Endpoint, last: str) -> str:
    """Complete the address; a version asks for the classic form."""
    parts = urlsplit(endpoint.base_url)
    path = parts.path.rstrip("/")
    if path in ("", "/openai"):
        classic = "api-version=" in parts.query and "=preview" not in parts.query
        name = quote(endpoint.model, safe="")
        path = f"/openai/deployments/{name}" if classic else "/openai/v1"
    return urlunsplit(parts._replace(path=f"{path}/{last}"))


def _at(name: str, base_url: str, dialect: type[OpenAI] = OpenAI) -> Preset:
    """Make the preset of a server with a key; those on this machine need none."""
    local = base_url.startswith("http://localhost")
    variable = name.upper()
    return Preset(
        dialect,
        base_url,
        f"{variable}_BASE_URL",
        f"{variable}_API_KEY",
        needs_key=not local,
    )


PRESETS: Mapping[str, Preset] = {
    "azure": Preset(
        Azure,
        None,
        "AZURE_OPENAI_ENDPOINT",
        "AZURE_OPENAI_API_KEY",
        token="AZURE_OPENAI_AD_TOKEN",  # noqa: S106 - the name of a variable
        query=(("api-version", "OPENAI_API_VERSION"),),
    ),
    "ollama": _at("ollama", "http://localhost:11434/v1", Ollama),
    "vllm": _at("vllm", "http://localhost:8000/v1"),
    "llamacpp": _at("llamacpp", "http://localhost:8080/v1", OlderLimit),
    "lmstudio": _at("lmstudio", "http://localhost:1234/v1", OneChoice),
    "openrouter": _at("openrouter", "https://openrouter.ai/api/v1", OlderLimit),
    "groq": _at("groq", "https://api.groq.com/openai/v1", Groq),
    "together": _at("together", "https://api.together.ai/v1", Together),
    "deepseek": _at("deepseek", "https://api.deepseek.com", DeepSeek),
    "mistral": _at("mistral", "https://api.mistral.ai/v1", Mistral),
    "fireworks": _at("fireworks", "https://api.fireworks.ai/inference/v1", OlderLimit),
    "gguf": Preset(File, None, needs_key=False),
    "xai": _at("xai", "https://api.x.ai/v1", XAI),
}

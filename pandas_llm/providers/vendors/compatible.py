"""Servers that speak OpenAI's chat completions, each with its own oddities.

What is not certain is left out here: the first row finds it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

from pandas_llm.providers.answers.bodies import tokens
from pandas_llm.providers.answers.headers import LIMITS, limit_names
from pandas_llm.providers.batches import AzureBatches, Batches, MistralBatches
from pandas_llm.providers.dialect import Bundling
from pandas_llm.providers.registry import Preset
from pandas_llm.providers.vendors.anthropic import MARK
from pandas_llm.providers.vendors.openai import KEEPS, OpenAI
from pandas_llm.types import Capabilities, FileLimits, ImageLimits, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.providers.dialect import Body, Schema
    from pandas_llm.types import Endpoint, Spec

_DAY = 86_400.0
_AUDIO = FileLimits(50_000_000, 50_000_000, ("audio/wav", "audio/mp3"))
"""Of servers here, as far as they say."""


class Server(OpenAI):
    """A server that knows the older field for the longest answer."""

    capabilities = Capabilities(max_tokens="max_tokens")
    batches: ClassVar[type[Batches] | None] = None
    files: FileLimits | None = None
    """Of servers that take some it is said; others may drop them without a word."""


class VLLM(OpenAI):
    """vLLM, which takes audio where the model does."""

    files = _AUDIO


class LlamaCpp(Server):
    """llama.cpp, which takes audio where the model does (its server's page)."""

    files = _AUDIO


class OpenRouter(Server):
    """OpenRouter, which fetches PDFs too, and reads them for models that cannot."""

    files = _AUDIO._replace(types=("application/pdf", *_AUDIO.types), fetches=True)
    """An address stands in place of the content; sizes are those of its upstreams."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        if endpoint.model.startswith("anthropic/"):  # others keep by themselves
            self.mark = MARK


class File(Server):
    """A GGUF file, served by llama.cpp for the run."""

    images = None
    embeds = None

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        """Write what the bodies of a run share, always with a longest answer."""
        # a small model may write on to the end of its context
        return {"max_tokens": 1024, **super().shared(spec, schema, capabilities, n)}


class OneChoice(Server):
    """A server that returns one choice for any `n`, and has no tiers."""

    tiers: ClassVar[Mapping[str, str]] = {}
    capabilities = Capabilities(max_tokens="max_tokens", n=False)


class Ollama(OneChoice):
    """Ollama, which drops fields that it does not know without a word (2026-08).

    It cuts long texts to embed without a word too; only its own endpoint can forbid it.
    """

    embeds = Bundling(256, 30_000)
    """No limits are known; its one queue must answer within `request_timeout`."""
    of_vectors: ClassVar[Mapping[str, Any]] = {"truncate": False}

    def embeddings_url(self, endpoint: Endpoint) -> str:
        """Return the address of its own endpoint."""
        return endpoint.base_url.removesuffix("/v1") + "/api/embed"

    def vectors(self, data: Any) -> Any:
        return data["embeddings"]

    def usage(self, data: Any) -> Used:
        """Read the tokens; its own way has another name for them."""
        if "prompt_eval_count" in data:
            return Used(tokens(data, ("prompt_eval_count", "")))
        return super().usage(data)


class Together(Server):
    """Together counts requests and tokens by the second (curator's source)."""

    tiers: ClassVar[Mapping[str, str]] = {}
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
    limits = ((LIMITS[0][0], _DAY), LIMITS[1])


class DeepSeek(OneChoice):
    """DeepSeek has JSON mode but no schema, and one choice."""

    capabilities = Capabilities("json_object", max_tokens="max_tokens", n=False)


class Mistral(Server):
    """Mistral answers 422 to fields that it does not know, and keeps prompts by key."""

    keyed = True
    tiers: ClassVar[Mapping[str, str]] = {}
    batches = MistralBatches
    names: ClassVar[Mapping[str, str]] = {
        "seed": "random_seed",
        "dimensions": "output_dimension",
    }


class XAI(OpenAI):
    """xAI takes PNG and JPEG alone (its guide on images)."""

    images = ImageLimits(20 * 2**20, 50_000_000, ("image/png", "image/jpeg"))
    batches = None
    files = None


class Azure(OpenAI):
    """A deployment in Azure, under an address for each account.

    That is ``https://RESOURCE.openai.azure.com/openai/v1`` with the deployment as the
    model, or the classic ``…/openai/deployments/NAME?api-version=…``.
    """

    batches = AzureBatches
    key_header = "api-key"

    def address(self, endpoint: Endpoint, path: str) -> str:
        """Complete the address; a version asks for the classic form."""
        parts = urlsplit(endpoint.base_url)
        account = parts.path.rstrip("/")
        if account in ("", "/openai"):
            classic = "api-version=" in parts.query and "=preview" not in parts.query
            name = quote(endpoint.model, safe="")
            account = f"/openai/deployments/{name}" if classic else "/openai/v1"
        return urlunsplit(parts._replace(path=account + path))


# name, dialect, address, and the tokens of the shortest beginning that is kept: of
# local servers (llama.cpp's slots, vLLM's blocks of 16) one worth a wait; OpenRouter's
# is of those behind it; Together, Fireworks and xAI name no figure
_SERVERS: Sequence[tuple[str, type[OpenAI], str, int]] = [
    ("ollama", Ollama, "http://localhost:11434/v1", 256),
    ("vllm", VLLM, "http://localhost:8000/v1", 256),
    ("llamacpp", LlamaCpp, "http://localhost:8080/v1", 256),
    ("lmstudio", OneChoice, "http://localhost:1234/v1", 256),
    # openrouter.ai/docs/features/prompt-caching
    ("openrouter", OpenRouter, "https://openrouter.ai/api/v1", 1024),
    # console.groq.com/docs/prompt-caching: 128 to 1,024 by model
    ("groq", Groq, "https://api.groq.com/openai/v1", 1024),
    ("together", Together, "https://api.together.ai/v1", 1024),
    # api-docs.deepseek.com/guides/kv_cache: from 64 on
    ("deepseek", DeepSeek, "https://api.deepseek.com", 256),
    ("mistral", Mistral, "https://api.mistral.ai/v1", 1024),
    ("fireworks", Server, "https://api.fireworks.ai/inference/v1", 1024),
    ("xai", XAI, "https://api.x.ai/v1", 1024),
]
PRESETS: Mapping[str, Preset] = {
    **{
        name: Preset(
            dialect,
            base_url,
            f"{name.upper()}_BASE_URL",
            f"{name.upper()}_API_KEY",
            needs_key=not base_url.startswith("http://localhost"),
            keeps=(("", least),),
        )
        for name, dialect, base_url, least in _SERVERS
    },
    "azure": Preset(
        Azure,
        None,
        "AZURE_OPENAI_ENDPOINT",
        "AZURE_OPENAI_API_KEY",
        token="AZURE_OPENAI_AD_TOKEN",  # noqa: S106 - the name of a variable
        query=(("api-version", "OPENAI_API_VERSION"),),
        keeps=KEEPS,
    ),
    "gguf": Preset(File, None, needs_key=False, keeps=(("", 256),)),
}

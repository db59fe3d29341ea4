"""Servers that speak OpenAI's chat completions, each with its own oddities.

What is not known for certain is not written down here: the first row finds it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pandas_llm.providers.bodies import amount
from pandas_llm.providers.dialect import Bundling, Vectors
from pandas_llm.providers.openai import OpenAI, limit_names, quota
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Capabilities, ImageLimits, Quotas, Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.types import Endpoint, Spec

_DAY = 86_400.0


class OneChoice(OpenAI):
    """A server that gives one choice whatever `n` says, and knows the older field."""

    capabilities = Capabilities(max_tokens="max_tokens", n=False)
    batches = None


class Ollama(OpenAI):
    """Ollama, with its own way to ask for embeddings.

    Its source of 2026-08 has neither ``n`` nor ``max_completion_tokens`` and drops
    what it does not know without a word. What is too long to embed it cuts without a
    word too, unless ``truncate`` says no, which only its own way has.
    """

    capabilities = OneChoice.capabilities
    batches = None
    embeds = Bundling(256, 30_000)
    """No limits are known; its one queue shall answer within `request_timeout`."""

    def embeddings_url(self, endpoint: Endpoint) -> str:
        """Return the address, which is not under that of the compatible part."""
        return endpoint.base_url.removesuffix("/v1") + "/api/embed"

    def embeddings(
        self,
        texts: Sequence[str],
        spec: Spec,
        capabilities: Capabilities,  # noqa: ARG002 - it has numbers only
        dimensions: int,
    ) -> dict[str, Any]:
        """Ask for the vectors of whole texts."""
        body: dict[str, Any] = {"model": self.model, "input": texts, "truncate": False}
        if dimensions:
            body["dimensions"] = dimensions
        return {**body, **spec.extra}

    def vectors(self, data: Any) -> Vectors:
        """Find the vectors."""
        return Vectors(data["embeddings"], *self.used(data))

    def usage(self, data: Any) -> Used:
        """Read the tokens; its own way has another name for them."""
        if "prompt_eval_count" in data:
            return Used(Tokens(amount(data["prompt_eval_count"]) or 0))
        return super().usage(data)


class OlderLimit(OpenAI):
    """A server that knows the older field for the longest answer.

    llama.cpp, OpenRouter, Together's and Fireworks' documents; pydantic-ai's profiles.
    """

    capabilities = Capabilities(max_tokens="max_tokens")
    batches = None


class Together(OpenAI):
    """Together counts requests and tokens by the second (curator's source)."""

    capabilities = Capabilities(max_tokens="max_tokens")
    batches = None

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Read ``x-ratelimit-limit``, which is of requests, and ``…-tokens``."""
        requests = quota(headers, limit_names(""), 1.0)
        tokens = quota(headers, limit_names("-tokens"), 1.0)
        return Quotas(requests, tokens) if requests or tokens else None


class Groq(OpenAI):
    """Groq answers 400 to ``n`` above 1; its limit on requests is for a day."""

    capabilities = Capabilities(n=False)
    batches = None
    images = ImageLimits(3_000_000, 3_000_000)
    """4 MB of base64 in a request (its page on vision)."""
    periods = (_DAY, 60.0)


class DeepSeek(OpenAI):
    """DeepSeek has JSON mode but no schema, and one choice."""

    capabilities = Capabilities("json_object", max_tokens="max_tokens", n=False)
    batches = None


class Mistral(OpenAI):
    """Mistral answers 422 to fields that it does not know."""

    capabilities = Capabilities(max_tokens="max_tokens")
    batches = None
    names: ClassVar[Mapping[str, str]] = {
        "seed": "random_seed",
        "dimensions": "output_dimension",
    }


class XAI(OpenAI):
    """xAI takes PNG and JPEG alone (its guide on images)."""

    images = ImageLimits(20 * 2**20, 50_000_000, ("image/png", "image/jpeg"))
    batches = None


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
    "xai": _at("xai", "https://api.x.ai/v1", XAI),
}

"""Which providers keep the beginnings of prompts, and how short ones they keep.

Each by its documents or source as of 2026-11; what is shorter is not worth a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm.providers.registry import spoken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Endpoint

_SERVER = 256
"""Local servers keep any beginning; one that is read in a moment needs no wait."""
LEAST: Mapping[str, int] = {
    # developers.openai.com/api/docs/guides/prompt-caching
    **dict.fromkeys(("openai", "openai-responses", "azure", "sim"), 1024),
    "anthropic": 1024,  # platform.claude.com/docs/en/build-with-claude/prompt-caching
    "google": 4096,  # ai.google.dev/gemini-api/docs/caching, implicit
    "deepseek": 256,  # api-docs.deepseek.com/guides/kv_cache: from 64 on
    "groq": 1024,  # console.groq.com/docs/prompt-caching: 128 to 1,024 by model
    "together": 1024,  # docs.together.ai/docs/inference/chat/prompt-caching: no figure
    "fireworks": 1024,  # docs.fireworks.ai/guides/prompt-caching: no figure
    "xai": 1024,  # docs.x.ai/developers/advanced-api-usage/prompt-caching: no figure
    "mistral": 1024,  # docs.mistral.ai, prompt caching: by `prompt_cache_key`
    "openrouter": 1024,  # openrouter.ai/docs/features/prompt-caching: of those behind
    # llama.cpp: `cache_prompt`, on by default, in each slot; vLLM: automatic prefix
    # caching by blocks of 16
    **dict.fromkeys(("llamacpp", "gguf", "ollama", "lmstudio", "vllm"), _SERVER),
}
"""Tokens of the shortest beginning that is worth keeping, by provider."""
_MODELS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "anthropic": (
        *((f"claude-{name}-5", 512) for name in ("opus", "fable", "mythos")),
        *((f"claude-{name}", 4096) for name in ("haiku-4-5", "opus-4-5", "opus-4-6")),
        *((f"claude-{name}", 2048) for name in ("3-haiku", "3-5-haiku")),
    ),
    "google": (("gemini-2.5", 2048),),
}
"""Models with another figure, by the beginning of their names."""


def least_prefix(endpoint: Endpoint) -> int | None:
    """Return the tokens of a beginning that is worth keeping; None if none is kept."""
    name = spoken(endpoint)
    model = endpoint.model.rpartition("/")[2]
    named = (n for begin, n in _MODELS.get(name, ()) if model.startswith(begin))
    return next(named, LEAST.get(name)) if endpoint.embeds is None else None

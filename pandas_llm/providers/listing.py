"""Which models there are: whose a name is, and what a server lists."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import orjson

from pandas_llm.providers.answers.bodies import ODD, amount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pandas_llm.types import HTTPResponse

_FAMILIES: Mapping[str, str] = {
    "claude": "anthropic",
    "gemini": "google",
    "grok": "xai",
    "deepseek-(chat|reasoner)": "deepseek",
    "(open-)?(mistral|mixtral|ministral|magistral|codestral|pixtral|devstral)-": (
        "mistral"
    ),
}
"""How names begin, and the provider that has them."""
_BEDROCK = (
    r"(arn:aws[\w-]*:bedrock:|((us|eu|apac|jp|au|ca|global|us-gov)\.)?(amazon|anthropic"
    r"|meta|mistral|cohere|ai21|deepseek|qwen|openai|writer|stability|moonshot|nvidia)"
    r"\.[a-z])"
)
"""Names that Bedrock has for models."""
_OPEN = r"(llama|qwen|gemma|phi|mistral|mixtral|deepseek|gpt-oss|smollm)[\w.]*(:|-|$)"
"""Models with open weights: many servers have them."""
_SAME: Mapping[str, str] = {
    **dict.fromkeys(("gemini", "vertex_ai", "vertexai", "google_genai"), "google"),
    "claude": "anthropic",
    **dict.fromkeys(("azure_openai", "azure_ai"), "azure"),
    "ollama_chat": "ollama",
    "hosted_vllm": "vllm",
    **dict.fromkeys(("together_ai", "togetherai"), "together"),
    "fireworks_ai": "fireworks",
    **dict.fromkeys(("lm_studio", "lm-studio"), "lmstudio"),
    "mistralai": "mistral",
    "x-ai": "xai",
    **dict.fromkeys(("bedrock", "bedrock_converse", "aws"), "bedrock"),
}
"""Other tools' names of our providers."""
_COMPATIBLE: Mapping[str, str] = {
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "perplexity": "https://api.perplexity.ai",
    "huggingface": "https://router.huggingface.co/v1",
    "cerebras": "https://api.cerebras.ai/v1",
}
"""Addresses of those that speak as OpenAI does, but have no name here."""
_PATH = re.compile(
    r"/(chat/completions|embeddings|responses|messages|decisions|systemone"
    r"|models/[^/]*)$"
)
"""What follows an API's address in that of a request."""
_NEAREST = 5


def not_openais(model: str, known: Collection[str]) -> str | None:
    """Return what to write for a model that OpenAI does not have; None for others.

    `known` are the names of providers.

    >>> print(not_openais("claude-opus-4-5", ["anthropic"]))
    write model='anthropic/claude-opus-4-5'
    >>> not_openais("antropic/claude-opus-4-5", ["anthropic"])[:45]
    "did you mean model='anthropic/claude-opus-4-5"
    >>> print(not_openais("anthropic:claude-opus-4-5", ["anthropic"]))
    write model='anthropic/claude-opus-4-5'
    >>> not_openais("gpt-5-mini", ["anthropic"])
    """
    prefix, slash, rest = model.partition("/")
    whose, colon, name = model.partition(":")
    named = {one: one for one in known} | dict(_SAME)
    if re.match(_BEDROCK, model):
        prefix, slash, rest = "bedrock", "/", model
    elif colon and whose in {**named, **_COMPATIBLE} and not re.match(_OPEN, model):
        prefix, slash, rest = whose, "/", name
    if prefix in named and slash:
        return f"write model='{named[prefix]}/{rest}'"
    if prefix in _COMPATIBLE and slash:
        return (
            f"write model={rest!r} and base_url={_COMPATIBLE[prefix]!r}, which speaks "
            "as OpenAI does, or the base_url of a gateway"
        )
    if slash:
        names = ", ".join(sorted(known))
        near = difflib.get_close_matches(prefix, known, n=1, cutoff=0.75)
        meant = f"did you mean model='{near[0]}/{rest}'? Or " if near else ""
        return (
            f"{meant}pass base_url= of the server that has it, or a provider: {names}"
        )
    for family, provider in _FAMILIES.items():
        if re.match(family, model):
            return f"write model='{provider}/{model}'"
    if re.match(_OPEN, model):
        return (
            f"write model='ollama/{model}' (or lmstudio/, vllm/) for a server on this "
            "machine, 'groq/…', 'together/…' or 'openrouter/…' for one elsewhere"
        )
    return None


def models_url(url: str) -> str | None:
    """Return the address that lists the models, for that of a request.

    >>> models_url("http://localhost/v1/chat/completions?api-version=1")
    'http://localhost/v1/models?api-version=1'
    """
    parts = urlsplit(url)
    path, matches = _PATH.subn("/models", parts.path)
    return urlunsplit(parts._replace(path=path)) if matches else None


def slots_of(response: HTTPResponse) -> int:
    """Return how many rows llama.cpp's properties say it reads at once; 0 for none."""
    try:
        return amount(orjson.loads(response.body)["total_slots"]) or 0
    except ODD:
        return 0


def models_of(response: HTTPResponse) -> list[str] | None:
    """Return the models that an answer lists; None where it is not a list."""
    try:
        data = orjson.loads(response.body)
        listed = data["data"] if "data" in data else data["models"]
        names = [str(one.get("id") or one["name"]) for one in listed]
    except ODD:
        return None
    return [name.removeprefix("models/") for name in names if name.isprintable()]


def nearest(model: str, listed: Sequence[str]) -> str:
    """Name the models of a list that are nearest to a name.

    >>> nearest("gpt-5-mni", ["o3", "gpt-5-mini", "gpt-5-nano"])
    "'gpt-5-mini', 'gpt-5-nano'"
    >>> nearest("x", ["a", "b", "c", "d", "e", "f"])
    "'a', 'b', 'c', 'd', 'e' and 1 more"
    """
    close = difflib.get_close_matches(model, listed, n=_NEAREST, cutoff=0.5)
    shown = close or listed[:_NEAREST]
    more = len(listed) - len(shown)
    text = ", ".join(map(repr, shown))
    return text + f" and {more} more" * (more > 0 and not close)

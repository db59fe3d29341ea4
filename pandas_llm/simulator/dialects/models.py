"""The list of models, as each vendor gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.dialects.anthropic import ANTHROPIC
from pandas_llm.simulator.dialects.gemini_errors import GOOGLE
from pandas_llm.simulator.dialects.openai import OPENAI
from pandas_llm.simulator.dialects.replies import SIMULATED_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.simulator.conditions import Settings
    from pandas_llm.simulator.dialects.endpoint import Vendor

_METHODS = ("generateContent", "embedContent", "batchEmbedContents")


def vendor_of(path: str, headers: Mapping[str, str]) -> Vendor:
    """Return who is asked: the address is the same, the headers are not."""
    if "/v1beta" in path or "x-goog-api-key" in headers:
        return GOOGLE
    return ANTHROPIC if "anthropic-version" in headers else OPENAI


def list_models(vendor: Vendor, settings: Settings) -> dict[str, Any]:
    """Return all models that are served, on one page."""
    names = list(dict.fromkeys(settings.models or (SIMULATED_MODEL,)))
    if vendor is GOOGLE:
        return {"models": [_google(name) for name in names]}
    if vendor is ANTHROPIC:
        data = [_anthropic(name) for name in names]
        ends = {"first_id": names[0], "last_id": names[-1]}
        return {"data": data, "has_more": False, **ends}
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}
        for name in names
    ]
    return {"object": "list", "data": data}


def _anthropic(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def _google(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "version": "simulated",
        "supportedGenerationMethods": _METHODS,
    }

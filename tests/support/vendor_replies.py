"""Answers in each vendor's words, and the options that send a call to them."""

from __future__ import annotations

from typing import Any

from loopback_server import Server, completion

DIALECTS = ["openai", "openai-responses", "anthropic", "google", "bedrock"]


def said(provider: str, text: str | None) -> dict[str, Any]:
    """Return an answer with a text in a vendor's words."""
    if provider == "openai-responses":
        parts = [] if text is None else [{"type": "output_text", "text": text}]
        message = {"type": "message", "role": "assistant", "content": parts}
        return {"status": "completed", "output": [message]}
    if provider == "anthropic":
        blocks = [] if text is None else [{"type": "text", "text": text}]
        return {"content": blocks, "stop_reason": "end_turn"}
    if provider == "google":
        content = {"role": "model", "parts": [] if text is None else [{"text": text}]}
        return {"candidates": [{"content": content, "finishReason": "STOP"}]}
    if provider == "bedrock":
        blocks = [] if text is None else [{"text": text}]
        message = {"role": "assistant", "content": blocks}
        return {"output": {"message": message}, "stopReason": "end_turn"}
    return completion(text)


def at(server: Server, provider: str = "openai", **more: Any) -> dict[str, Any]:
    more = {"error_column": "why", "progress": False, **more}
    return {
        "model": f"{provider}/m",
        "base_url": server.base_url,
        "api_key": "k",
        **more,
    }

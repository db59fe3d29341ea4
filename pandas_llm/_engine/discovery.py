"""Model servers on this machine: who answers on the usual ports, with which models."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pandas_llm.providers import local

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = 0.3
_SHOWN = 5
_LARGEST = 1 << 20

addresses: Mapping[str, str] | None = None
"""Providers and the addresses to ask; None for those of the presets."""


def found() -> list[str]:
    """Say how to use each server that answers, in the words of an error message.

    All are asked at once, and none longer than 0.3 s.
    """
    asked = addresses
    if asked is None:
        asked = {name: p.base_url or "" for name, p in local().items()}
    listed: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=_ask, args=(name, url, listed), daemon=True)
        for name, url in asked.items()
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    answers = dict(listed)  # one that comes late changes nothing any more
    return [
        _way(name, url, answers[name]) for name, url in asked.items() if name in answers
    ]


def _way(name: str, url: str, models: list[str]) -> str:
    said = ", ".join(models[:_SHOWN]) + ", …" * (len(models) > _SHOWN)
    place = urlsplit(url).netloc
    first = models[0] if models else "…"
    return f"pass model='{name}/{first}' ({place} lists {said or 'no model'})"


def _ask(name: str, url: str, listed: dict[str, list[str]]) -> None:
    """Ask a server for its models; one that does not list any way is none."""
    import http.client  # for an error message only
    import json

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=_SECONDS
    )
    try:
        connection.request("GET", f"{parts.path}/models")
        response = connection.getresponse()
        data = json.loads(response.read(_LARGEST))
        listed[name] = [str(model["id"]) for model in data["data"] or ()]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return
    finally:
        connection.close()

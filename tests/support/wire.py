"""Requests to a simulator by hand, with no client between."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pandas_llm.simulator import Simulator


@dataclass(frozen=True)
class Got:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found

    @property
    def text(self) -> str:
        found: str = self.body["choices"][0]["message"]["content"]
        return found


def exchange(
    sim: Simulator,
    path: str,
    data: bytes | None = None,
    headers: dict[str, str] | None = None,
    wait: float = 10,
) -> Got:
    connection = http.client.HTTPConnection(urlsplit(sim.base_url).netloc, timeout=wait)
    try:
        method = "GET" if data is None else "POST"
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Got(response.status, named, response.read())
    finally:
        connection.close()

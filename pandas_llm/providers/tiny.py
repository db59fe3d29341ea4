"""The tiny model that runs in this process: closed questions, in TypeSafe's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.errors import ConfigurationError, EncodingError
from pandas_llm.providers.dialect import Dialect
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Choice, HTTPRequest, Reply, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Capabilities, Endpoint, HTTPResponse, Quotas, Request

_CAN = (
    "model='tiny' chooses among labels: use it with classify(), and with extract() "
    "where every key is bool, Literal, an Enum or a list of labels"
)


class Tiny(Dialect):
    """Questions about a text; a probability for each label that may answer one."""

    lacking = ("temperature", "top_p", "seed", "stop", "reasoning_effort")

    def url(self, endpoint: Endpoint) -> str:
        """Return the address, which nothing is sent to."""
        return endpoint.base_url + "/systemone"

    def build(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> HTTPRequest:
        """Write the text and a question for each key."""
        state = "\n\n".join(filter(None, (request.system, request.prompt)))
        body = {"state": state, "questions": _questions(request.spec.schema)}
        try:
            return HTTPRequest(self._url, {}, orjson.dumps(body))
        except TypeError as error:
            msg = f"the prompt cannot be read as UTF-8: {error}"
            raise EncodingError(msg) from None

    def parse(self, response: HTTPResponse) -> Reply:
        """Read the likeliest label of each question."""
        data = self.answer(response)
        record = {name: _likeliest(told) for name, told in data["answers"].items()}
        text = orjson.dumps(record).decode()
        return Reply((Choice(text, "stop"),), Tokens(), data.get("model"))

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Return None: nothing here has limits."""
        return None


def _questions(schema: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Write a question for each key; raise if one is open."""
    if schema is None:
        raise ConfigurationError(f"a text is asked for, and {_CAN}")
    if schema["properties"].get("records", {}).get("type") == "array":
        raise ConfigurationError(f"any number of records is asked for, and {_CAN}")
    return {n: _question(n, about) for n, about in schema["properties"].items()}


def _question(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    said = about.get("description") or name
    if about.get("type") == "boolean":
        return {"type": "noul", "instructions": said}
    if about.get("type") == "string" and len(about.get("enum", ())) > 1:
        criteria = dict.fromkeys(about["enum"], "")
        return {"type": "choice", "instructions": said, "criteria": criteria}
    raise ConfigurationError(
        f"the key {name!r} can be answered in any words, and {_CAN}"
    )


def _likeliest(answer: Mapping[str, Any]) -> Any:
    return answer["noul"] > 0.5 if answer["type"] == "noul" else answer["choice"]  # noqa: PLR2004


PRESETS: Mapping[str, Preset] = {"tiny": Preset(Tiny, None, needs_key=False)}

"""Terms: what an endpoint and model understand, found out once for the process."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm.errors import BadRequestError

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.providers import Provider
    from pandas_llm.types import Capabilities, Endpoint, Request, Spec

_log = logging.getLogger("pandas_llm")
_settled: dict[tuple[str | int | None, ...], Capabilities] = {}
"""What was settled with each endpoint and model, for the process."""


class Terms:
    """The negotiation with one endpoint and model.

    Parameters
    ----------
    endpoint, provider
        With whom, and in which dialect.
    structured : bool
        Whether records are asked for: how a server takes a schema is not found out
        by a text.
    """

    def __init__(
        self, endpoint: Endpoint, provider: Provider, *, structured: bool
    ) -> None:
        self._endpoint = endpoint
        self._provider = provider
        place = (endpoint.provider, endpoint.base_url, endpoint.model, endpoint.embeds)
        self._place = (*place, structured)
        self.capabilities = _settled.get(self._place, provider.capabilities)

    @property
    def settled(self) -> bool:
        """Whether this process has had an answer from this endpoint and model."""
        return self._place in _settled

    def adapted(self, tried: Capabilities, error: LLMError, request: Request) -> bool:
        """Step down after a refused parameter; once for all rows in flight."""
        if not isinstance(error, BadRequestError):
            return False
        if tried != self.capabilities:
            return True  # another row has stepped down meanwhile
        lower = self._provider.downgrade(tried, error, request)
        if lower is None:
            return False
        _log.info("%s: %s; going on with %s", self._endpoint, error, lower)
        self.capabilities = lower
        return True

    def settle(self, *, clear: bool) -> None:
        """Remember what the endpoint understood, at the first reply that was clear."""
        if clear and _settled.get(self._place) is not self.capabilities:
            _settled[self._place] = self.capabilities
            _log.info("%s: settled on %s", self._endpoint, self.capabilities)
        elif not clear and not self.settled and not self.capabilities.describe:
            # the schema may have been ignored without a word: say it in the prompt
            self.capabilities = replace(self.capabilities, describe=True)

    def fewer(self) -> None:
        """Remember that the server gives fewer choices than asked for."""
        if self.capabilities.n:
            self.capabilities = replace(self.capabilities, n=False)
            self.settle(clear=True)

    def measured(self, wire: int) -> None:
        """Remember how long answers are; of small differences nobody must hear."""
        if wire > 1.25 * self.capabilities.wire:
            self.capabilities = replace(self.capabilities, wire=wire)
            self.settle(clear=True)

    def facts(self, spec: Spec) -> dict[str, Any]:
        """Tell what was settled, as scalars, and which options it cost a request."""
        known = self.capabilities
        if self._endpoint.embeds is not None:
            return {}
        dropped = self._provider.dropped(spec, known)
        return {
            "schema": known.schema,
            "constraints": known.constraints and known.schema == "json_schema",
            "schema_in_prompt": known.describe or known.schema != "json_schema",
            "max_tokens_field": known.max_tokens,
            "sampling": not dropped,
            "several_choices": known.n,
            "dropped": ", ".join(dropped),
        }

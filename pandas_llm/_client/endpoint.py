"""An endpoint: what it understands, and the key that holds now."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm._http import secrets
from pandas_llm.errors import AuthenticationError, BadRequestError, LLMError
from pandas_llm.providers import Provider, connect, repeats_roles

if TYPE_CHECKING:
    from pandas_llm._client.parts import Parts
    from pandas_llm.types import Capabilities, Endpoint, Request, Spec

_log = logging.getLogger("pandas_llm")
_UNAUTHORIZED = 401
ENOUGH = 3
"""How often something fails until that is the server's affair, not a row's."""
_settled: dict[tuple[str | int | None, ...], Capabilities] = {}
"""The capabilities of each endpoint and model, for the process."""
_accepted: set[bytes] = set()
"""Endpoints and keys that were answered in this process, as fingerprints."""


class Negotiation:
    """The negotiation with one endpoint and model; texts do not test schemas."""

    def __init__(self, parts: Parts) -> None:
        self._endpoint = endpoint = parts.endpoint
        self._provider = parts.provider
        place = (endpoint.provider, endpoint.base_url, endpoint.model, endpoint.embeds)
        self._place = (*place, parts.setup.spec.schema is not None)
        self.capabilities = _settled.get(self._place, parts.provider.capabilities)
        self._before: Capabilities | None = None
        """What was understood before steps down that no answer has confirmed."""
        self._undone = self._fewer = 0
        self._answered: set[str] = set()
        """Options that rows of this run were answered with."""
        self._last: tuple[Spec, Capabilities, int] | None = None
        """What the last of them was asked with."""

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
        if lower is None or _lost(tried, lower) & self._answered:
            return False  # others were answered with it: the error quotes the row
        _log.info("%s: %s; going on with %s", self._endpoint, error, lower)
        self._before = self._before or tried
        self.capabilities = lower
        return True

    def undo(self) -> None:
        """Take back what was changed for a row that failed all the same."""
        if self._before is not None and self._undone < ENOUGH:
            self.capabilities, self._before = self._before, None
            self._undone += 1

    def answered(self, request: Request, tried: Capabilities, n: int) -> None:
        """Remember what a row got `n` choices with; none of it is dropped later."""
        spec = request.spec
        asked = (spec, tried, n)
        if asked == self._last:
            return  # nearly always: all rows of a run are asked alike
        self._last = asked
        with_them = {*spec.sampling, "store", "strict"} - set(tried.refused)
        if spec.schema is not None:
            with_them.add(f"schema={tried.schema}")
        if spec.max_tokens is not None:
            with_them.add(f"max_tokens={tried.max_tokens}")
        if n > 1:
            with_them.add("n")
        if spec.top_logprobs and tried.logprobs:
            with_them.add("logprobs")
        if request.system and tried.system:
            with_them.add("system")
        if tried.repeats and repeats_roles(request):
            with_them.add("repeats")
        if spec.tier is not None and "service_tier" not in tried.refused:
            with_them.add("service_tier")
        self._answered |= with_them

    def settle(self, *, clear: bool) -> None:
        """Remember what the endpoint understood, at the first reply that was clear."""
        known = self.capabilities
        if clear:
            self._before = None
            if _settled.get(self._place) is not known:
                _settled[self._place] = known
                _log.info("%s: settled on %s", self._endpoint, known)
        elif not self.settled:
            # the schema may have been ignored without a word: say it in the prompt
            self.capabilities = replace(known, describe=True)
            if known.describe:  # which has not helped
                self._before = self._before or replace(known, describe=False)

    def fewer(self) -> None:
        """Remember that the server gives one choice, if it never gives several."""
        self._fewer += 1
        never = self._fewer >= ENOUGH and "n" not in self._answered
        if self.capabilities.n and never:
            self.capabilities = replace(self.capabilities, n=False)
            self.settle(clear=True)

    def unweighed(self) -> None:
        """Remember that the server reports no probabilities of tokens."""
        self.capabilities = replace(self.capabilities, logprobs=False)
        self.settle(clear=True)

    def measured(self, wire: int) -> None:
        """Remember how long answers are; ignore small differences."""
        if wire > 1.25 * self.capabilities.wire:
            self.capabilities = replace(self.capabilities, wire=wire)
            self.settle(clear=True)

    def facts(self, spec: Spec) -> dict[str, Any]:
        """Return the capabilities as scalars, and the options that were dropped."""
        known = self.capabilities
        if self._endpoint.embeds is not None:
            return {}
        dropped = self._provider.dropped(spec, known)
        return {
            "schema": known.schema,
            "constraints": known.constraints and known.held,
            "schema_in_prompt": known.describe or not known.held,
            "max_tokens_field": known.max_tokens,
            "sampling": not dropped,
            "several_choices": known.n,
            "dropped": ", ".join(dropped),
        }


def _lost(tried: Capabilities, lower: Capabilities) -> set[str]:
    """Return what a step down leaves out."""
    lost = set(lower.refused) - set(tried.refused)
    if lower.schema != tried.schema:
        lost.add(f"schema={tried.schema}")
    if lower.max_tokens != tried.max_tokens:
        lost.add(f"max_tokens={tried.max_tokens}")
    for name in ("n", "logprobs", "system", "repeats"):
        if getattr(lower, name) != getattr(tried, name):
            lost.add(name)
    return lost


class CurrentKey:
    """A provider with the key that holds now; `endpoint.renew` makes another key."""

    def __init__(self, endpoint: Endpoint, provider: Provider) -> None:
        self._endpoint = endpoint
        self.provider = provider
        self.secrets = secrets(endpoint)
        self.served = True
        self._key = _fingerprint(endpoint)
        self.noted = False
        """Whether it is known in this process that the key was accepted."""

    @property
    def accepted(self) -> bool:
        """Whether this key was accepted before in this process."""
        return self._key in _accepted

    def accept(self) -> None:
        """Remember that the key was accepted."""
        _accepted.add(self._key)
        self.noted = self.served = True

    def renewed(self, used: Provider, error: LLMError) -> bool:
        """Make another key after a 401, or where one has expired; once for all rows.

        The caller's function runs in the event loop: all rows wait for it.
        """
        old = self._endpoint
        if old.renew is None or not isinstance(error, AuthenticationError):
            return False
        if used is not self.provider:
            return True  # another row has done so meanwhile
        expired = error.status == _UNAUTHORIZED or "expired" in error.said.lower()
        if not (self.served and expired):  # AWS answers 403 then
            return False
        self.served = False
        _log.info("%s: %s; asking for another key", old, error)
        new = old._replace(api_key=old.renew())
        self.provider = connect(new)
        self._key = _fingerprint(new)
        self.noted = False
        self.secrets += secrets(new)
        return True


def _fingerprint(endpoint: Endpoint) -> bytes:
    """Return a digest that differs for each key."""
    headers = [text for header in endpoint.headers for text in header]
    parts = (endpoint.base_url, endpoint.api_key or "", *headers)
    # not their repr, in which a key shows as nothing
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()

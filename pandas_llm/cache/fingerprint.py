"""The cache key: a digest of the logical request."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm.redaction import is_secret

if TYPE_CHECKING:
    from pandas_llm.types import Endpoint, Request, Spec

_VERSION = 1
_OF_ONE_RUN = re.compile(
    "traceparent|tracestate|date|user-agent|(.*-)?(request|trace|correlation)-id",
    re.IGNORECASE,
)
"""Names of headers whose values change with each run."""


class Fingerprint:
    """Digests of requests to one endpoint, taken before any negotiation.

    The account's key, retry options, and headers that are secret or change with each
    run do not count; the caller's other headers do.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._place = [endpoint.provider, endpoint.base_url]
        self._renamed = endpoint.provider == "gguf"
        """Whether the model's name is that of a file, which may be moved."""
        self._headers = sorted(
            [name.lower(), str(value)]
            for name, value in endpoint.headers
            if not (is_secret(name) or _OF_ONE_RUN.fullmatch(name))
        )
        self._shared: dict[int, tuple[Spec, hashlib.blake2b]] = {}

    def of(self, request: Request) -> bytes:
        """Return 16 bytes; raise UnicodeEncodeError for a lone surrogate."""
        spec = request.spec
        started = self._shared.get(id(spec))
        if started is None:
            # keep the spec alive, or its id could become another's
            started = self._shared[id(spec)] = (spec, self._start(spec))
        digest = started[1].copy()
        if request.system is not None:
            system = request.system.encode()
            digest.update(b"%d:" % len(system) + system)
        if request.sample:
            digest.update(b"#%d" % request.sample)
        if request.attachments:
            attached = b"".join(one.digest for one in request.attachments)
            digest.update(b"!%d:" % len(attached) + attached)
        for role, text in request.before:
            encoded = text.encode()
            digest.update(b"@%b%d:%b" % (role.encode(), len(encoded), encoded))
        digest.update(b"|" + request.prompt.encode())
        return digest.digest()

    def plain(self, request: Request) -> bytes:
        """Return the key of a request if no probabilities were wanted."""
        return self.of(request._replace(spec=replace(request.spec, odds="")))

    def _start(self, spec: Spec) -> hashlib.blake2b:
        """Digest what all requests of a run share."""
        shared: list[Any] = [
            _VERSION,
            *self._place,
            "" if self._renamed else spec.model,
            spec.examples,
            spec.schema,
            spec.n,
            dict(spec.sampling),
            spec.max_tokens,
            dict(spec.extra),
        ]
        if self._headers:  # keys without headers stay those of older versions
            shared.append(self._headers)
        if spec.odds:  # likewise: those who want none find what they have paid for
            shared.append({"odds": spec.odds})
        if spec.odds == "questions":  # which the prompt does not say
            shared += [(q[:3], q[4:]) for q in spec.questions]  # not their values
        known = orjson.dumps(shared, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(known, digest_size=16)


def elsewhere_key(key: bytes) -> bytes:
    """Return the key of why a request was answered in another way."""
    return hashlib.blake2b(b"elsewhere" + key, digest_size=16).digest()


def begun_key(key: bytes) -> bytes:
    """Return the key of what was answered of a request that takes several."""
    return hashlib.blake2b(b"begun" + key, digest_size=16).digest()

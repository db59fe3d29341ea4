"""Embeddings of any dialect in the form of a `Provider`: a text in, a choice out.

So pace, money, retries and other keys are the same as for completions; only that a
request may hold many texts.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from pandas_llm.errors import ConfigurationError, MalformedReplyError
from pandas_llm.providers import failures
from pandas_llm.providers.answers.bodies import ODD
from pandas_llm.providers.failures import negotiation
from pandas_llm.types import Capabilities, Choice, HTTPRequest, Reply

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.providers.batches import Batches
    from pandas_llm.providers.dialect import Bundling
    from pandas_llm.types import Endpoint, HTTPResponse, ImageLimits, Request, Spec


class Embeddings:
    """Asks for vectors in a dialect; raises ConfigurationError if that has none."""

    capabilities = Capabilities()
    images: ImageLimits | None = None

    def __init__(self, dialect: Any, endpoint: Endpoint) -> None:
        most: Bundling | None = getattr(dialect, "embeds", None)
        if most is None:
            raise ConfigurationError(
                f"{endpoint.provider} has no embeddings: pass the model of another"
            )
        self.most = most
        self._dialect = dialect
        self.error, self.spent = dialect.error, dialect.spent
        self.quotas = dialect.quotas
        self._url = dialect.embeddings_url(endpoint)
        self._asked = endpoint.embeds or 0
        self.batches: type[Batches] | None = getattr(dialect, "batches", None)
        self._length = 0
        """Of all vectors so far."""
        self.wire = 0
        """Bytes of the last answer for each vector."""

    def build(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> HTTPRequest:
        """Write a request for the vectors of a bundle, or of one text."""
        texts = request.texts or (request.prompt,)
        body = self._dialect.embeddings(texts, request.spec, capabilities, self._asked)
        return HTTPRequest(self._url, self._dialect.headers, orjson.dumps(body))

    def parse(self, response: HTTPResponse) -> Reply:
        """Read the vectors, one a choice, in the order of the texts."""
        data = self._dialect.answer(response)
        try:
            vectors = self._dialect.vectors(data)
            choices = tuple(Choice("", vector=_packed(vector)) for vector in vectors)
        except ODD as error:
            raise failures.lacks(f"vectors ({error})", response) from error
        self._check({len(choice.vector or b"") // 4 for choice in choices})
        self.wire = len(response.body) // len(choices)
        reply: Reply = self._dialect.reply(choices, response, data)
        return reply

    def _check(self, lengths: set[int]) -> None:
        """Refuse vectors that are not of one length, the one asked for if any."""
        (length,) = lengths if len(lengths) == 1 else (0,)
        expected = self._asked or self._length or length
        if length and length == expected:
            self._length = length
        elif length and self._asked and not self._length:
            raise ConfigurationError(
                f"the model returns vectors of {length} numbers for any dimensions="
                f"{self._asked} says: leave it out"
            )
        else:
            of = f", others {expected}" if expected else ""
            sizes = sorted(lengths)
            raise MalformedReplyError(f"the reply holds vectors of {sizes} numbers{of}")

    def downgrade(
        self, capabilities: Capabilities, error: LLMError, request: Request
    ) -> Capabilities | None:
        """Ask for numbers where base64 is refused."""
        return negotiation.without(capabilities, error, "encoding_format", "base64")

    def dropped(self, spec: Spec, capabilities: Capabilities) -> tuple[str, ...]:
        """Return nothing: no option is left out."""
        return ()


def _packed(vector: Any) -> bytes:
    """Return a vector as little-endian float32; raise ValueError for anything else."""
    if isinstance(vector, str):
        packed = base64.b64decode(vector, validate=True)
        numbers = np.frombuffer(packed, dtype="<f4")
    else:
        with np.errstate(over="ignore"):
            numbers = np.array(vector, dtype="<f4")
        packed = numbers.tobytes()
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("a vector is not a list of finite numbers")
    return packed

"""What an endpoint is made of, whatever vendor it speaks as.

Requests become a `Chat` or an `Embedding`, which the server limits, delays, spoils and
answers alike; a vendor only names things: fields, errors, headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pandas_llm.simulator.conditions import Answer, Level, Problem, Settings


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came in; ``model`` is the one named in the address."""

    fields: dict[str, Any]
    headers: Mapping[str, str]
    model: str | None = None


class Work(Protocol):
    """What all requests have in common once they are read."""

    @property
    def model(self) -> str:
        """The model asked."""

    @property
    def prompt(self) -> str:
        """The text by which the request is counted, and fails if told so."""

    @property
    def reserved(self) -> int:
        """The tokens it takes from the limit."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """What all endpoints of a vendor share.

    Attributes
    ----------
    refuse
        Words an error; given the name of the request too.
    broken
        The fields of an error that comes with status 200.
    key
        The header that a key may stand in, beside ``Authorization``.
    limit_headers
        Tells the limits as they are now.
    request_id
        The header that names a request.
    signs
        Whether a request without a key may be signed, with the key as the secret.
    """

    refuse: Callable[[Problem, str], Answer]
    broken: Mapping[str, Any]
    key: str = ""
    limit_headers: Callable[[list[Level]], dict[str, str]] = lambda _: {}
    request_id: str = "x-request-id"
    signs: bool = False

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the key of a request; None where it has none."""
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return headers.get(self.key) or (key if scheme.lower() == "bearer" else None)


Written = tuple[dict[str, Any], Mapping[str, Any]]
"""A reply, and its ``prompt_tokens`` and ``completion_tokens``."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of endpoint.

    Attributes
    ----------
    paths
        Where it is; ``{model}`` stands for a model in the address.
    read
        Understands a request or refuses it.
    write
        Makes the reply, spoilt by a fault, from the request and its number.
    usage
        The field of the reply that says what it used.
    broken
        As the vendor's, where it is another.
    """

    vendor: Vendor
    paths: tuple[str, ...]
    read: Callable[[Incoming, Settings], Work]
    write: Callable[[Any, Settings, int, str | None], Written]
    usage: str = "usage"
    broken: Mapping[str, Any] = field(default_factory=dict)

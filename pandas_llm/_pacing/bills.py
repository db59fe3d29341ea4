"""Whether a request that was answered with no count is billed: for `max_cost` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm.errors import (
    ConnectionBrokenError,
    ConnectionFailedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.types import HTTPResponse

_OK = 200
_GATEWAYS = (408, 499, 502, 504, 520, 524)
"""Statuses of a server in between that gave up on the one behind it, which may have
gone on and may bill. Vendors do not bill what they refuse or fail at themselves."""


def refused(response: HTTPResponse) -> bool:
    """Return whether an answer without counts is of a request that costs nothing."""
    return not _OK <= response.status < _OK + 100 and response.status not in _GATEWAYS


def unsent(error: LLMError) -> bool:
    """Return whether a request without an answer cannot have reached the server."""
    broken = isinstance(error, ConnectionBrokenError)
    return isinstance(error, (ConnectionFailedError, UnreachableError)) and not broken

"""The key that an endpoint is reached with, and another one when it has run out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pandas_llm._engine.masking import secrets
from pandas_llm.errors import AuthenticationError
from pandas_llm.providers import connect

if TYPE_CHECKING:
    from pandas_llm.errors import LLMError
    from pandas_llm.providers import Provider
    from pandas_llm.types import Endpoint

_log = logging.getLogger("pandas_llm")
_UNAUTHORIZED = 401


class Access:
    """A provider with the key that holds now.

    Parameters
    ----------
    endpoint : Endpoint
        Where requests go in fact; `renew` makes another key.
    provider : Provider
        That speaks to it.

    Attributes
    ----------
    provider : Provider
        To build requests with.
    secrets : tuple of bytes
        What no answer may quote.
    served : bool
        Whether the key has been accepted since it was made. One that never was is
        not replaced a second time.
    """

    def __init__(self, endpoint: Endpoint, provider: Provider) -> None:
        self._endpoint = endpoint
        self.provider = provider
        self.secrets = secrets(endpoint)
        self.served = True

    def renewed(self, used: Provider, error: LLMError) -> bool:
        """Make another key after a 401; once for all rows that were in flight.

        The caller's function is called here, in the event loop: what it waits for,
        all rows wait for.
        """
        old = self._endpoint
        if old.renew is None or not isinstance(error, AuthenticationError):
            return False
        if used is not self.provider:
            return True  # another row has done so meanwhile
        if not self.served or error.status != _UNAUTHORIZED:
            return False
        self.served = False
        _log.info("%s: %s; asking for another key", old, error)
        new = old._replace(api_key=old.renew())
        self.provider = connect(new)
        self.secrets += secrets(new)
        return True

"""The tiny model that runs in this process: closed questions, in TypeSafe's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.providers.decisions import SystemOne
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Quotas


class Tiny(SystemOne):
    """Questions about a text; a probability for each label that may answer one."""

    def usage(self, data: Any) -> Used:
        """Return no tokens."""
        return Used(Tokens())

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Return None: nothing here has limits."""
        return None


PRESETS: Mapping[str, Preset] = {"tiny": Preset(Tiny, None, needs_key=False)}

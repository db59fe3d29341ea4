"""The tiny model that runs in this process: closed questions, in TypeSafe's form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pandas_llm.providers.decisions import SystemOne
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Tokens, Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.types import Question, Quotas, Request


class Tiny(SystemOne):
    """Questions about a text; a probability for each label that may answer one.

    Yes or no is asked as a choice: on 3,000 reviews that ranks better than as a "noul"
    (area under the curve .82 to .86 against .74 to .80).
    """

    def body(self, request: Request) -> dict[str, Any]:
        """Write the text and the questions about it, all as choices."""
        asked = request.spec.questions
        spec = replace(request.spec, questions=tuple(map(_as_choice, asked)))
        return super().body(request._replace(spec=spec))

    def usage(self, data: Any) -> Used:
        """Return no tokens."""
        return Used(Tokens())

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Return None: nothing here has limits."""
        return None


def _as_choice(question: Question) -> Question:
    return question._replace(kind="choice")


PRESETS: Mapping[str, Preset] = {"tiny": Preset(Tiny, None, needs_key=False)}

"""Why a request is not answered, before a vendor words it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer before it is sent."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is not answered, in OpenAI's words until a vendor rewords it.

    Attributes
    ----------
    code
        What vendors look up their own words by.
    wait
        Seconds until another try makes sense; None where that is not said.
    about
        What other vendors' words need: names to values.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    wait: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def worded(self, words: Mapping[str, str]) -> str:
        """Return the message by its code, the own one where there is none."""
        wording = words.get(self.code or "")
        return wording.format_map(self.about) if wording else self.message


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def refuse(
    message: str,
    code: str | None = None,
    param: str | None = None,
    *,
    status: int = 400,
    **about: Any,
) -> NoReturn:
    """Refuse a request that is not in order."""
    raise RefusedError(Problem(status, message, code=code, param=param, about=about))

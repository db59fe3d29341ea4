"""What is known of a run at one moment."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Any, NamedTuple, Protocol

from pandas_llm._display.usage import Counts


class Status(NamedTuple):
    """Whether and why rows wait now."""

    waiting: str = ""
    """Why all rows wait, if they do."""
    seconds: float = 0.0
    """How long until the account's limit lets any request leave."""
    outage: bool = False
    """Whether the server is down."""
    plan: float | None = None
    """Requests a second that the account's limits grant; None without limits."""
    resting: str = ""
    """Which rows wait for themselves while others go on, and what for."""
    paced: bool = False
    """Whether rows wait for nothing but their turn in the account's limits."""


class Headroom(Protocol):
    """What a run leaves of the known limits to others."""

    part: float


@dataclass(frozen=True, slots=True)
class _Moment(Counts):
    done: int = 0
    rate: float = 0.0
    left: float | None = None
    waiting: str = ""
    finished: bool = False


class Progress(_Moment):
    """A running run at one moment; what a function given as ``progress=`` gets.

    Attributes
    ----------
    rows, done, failed, cached : int
        Rows of the input; rows finished; of them failed; of them from the cache.
    requests, retries : int
        HTTP requests sent, those sent again among them.
    input_tokens, output_tokens : int
        As the provider counted, so far.
    known_cost : float
        Dollars so far, without the `unpriced` requests that have no known price.
    unpriced : int
        Requests without a known price.
    seconds : float
        Since the start.
    rate : float
        Rows a second lately, without the time in which all had to wait.
    left : float or None
        Seconds until the end, by the account's limits and the rate, whichever
        takes longer; None when it cannot be told.
    waiting : str
        Why all rows wait at the moment, such as ``"waiting 12 s: rate limit"``; or
        some, such as ``"7 rows wait (rate_limit), 43 in flight"``; or what sets the
        pace, such as ``"paced by the account: 30 a minute"``.
    finished : bool
        Whether this is the last one.
    headroom : float
        The part of the known limits that is left to others, as it is now. Set it, from
        any thread, and the run keeps to it from then on. Batches have no use for it.

    Examples
    --------
    >>> import pandas as pd
    >>> import pandas_llm
    >>> seen = []
    >>> texts = pd.Series(["Oslo", "Rome"])
    >>> out = texts.llm.complete("${value}", model="sim", progress=seen.append)
    >>> seen[-1].done, seen[-1].finished
    (2, True)
    """

    __slots__ = ("_headroom",)
    _headroom: Headroom  # the run's own; not a field: it is not of this moment

    @property
    def headroom(self) -> float:
        """The part of the known limits that is left to others."""
        return self._headroom.part if hasattr(self, "_headroom") else 0.0

    @headroom.setter
    def headroom(self, part: float) -> None:
        if hasattr(self, "_headroom"):
            self._headroom.part = part

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse, except for `headroom`: the rest was so at that moment."""
        if name != "headroom":
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

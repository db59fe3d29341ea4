"""Options: the call > `option_context` > `set_options` > environment > default."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from pandas_llm import environment
from pandas_llm._display import ends_here
from pandas_llm.redaction import conceal
from pandas_llm.rules import RULES, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike

    import aiohttp

    from pandas_llm._display import Progress

Loop = Literal["auto", "thread", "nested"]


class Options(TypedDict, total=False):
    """Options of every verb.

    Attributes
    ----------
    model
        The model, ``provider/name`` or a name; "sim" is the simulator.
    base_url
        The address of a compatible server, such as http://localhost:11434/v1.
    api_key
        The key, or a function that gives it.
    headers
        HTTP headers to add.
    system
        The system message, a template too.
    examples
        (prompt, reply) pairs that are sent before each row's prompt.
    n
        Choices per row; their records are put together, equal ones once.
    temperature
        How much chance there is in a reply; 0 is none.
    top_p
        The share of the likeliest tokens that a reply is drawn from.
    max_tokens
        The most tokens of a reply.
    seed
        A number for replies that repeat, where the provider can.
    stop
        Texts at which a reply ends.
    reasoning_effort
        How long a reasoning model thinks, such as "low".
    extra
        Fields merged into the request's body.
    concurrency
        Requests in flight: "auto", or a hard bound.
    requests_per_minute
        The account's limit, where the endpoint does not tell it.
    tokens_per_minute
        The account's limit, where the endpoint does not tell it.
    request_timeout
        Seconds for one request.
    deadline
        Seconds for the whole run.
    max_retries
        Tries after failures of the server or the network.
    output_retries
        Tries after replies that are not what was asked.
    max_wait
        The longest wait for a rate limit, in seconds.
    cache
        Whether replies are kept and not paid for twice, or the file to keep them in.
    refresh
        Ask anew whatever is kept.
    replay
        Answer from what is kept alone; nothing is sent.
    dedupe
        Equal requests of a run share one call.
    max_cost
        Dollars that the run may cost.
    prices
        Dollars per million tokens of a model, in and out.
    truncate
        The column whose text may be shortened when a prompt is too long.
    batch
        Through the provider's batch endpoint: half the price, within a day.
    fallback
        Models to ask, in turn, for rows that failed for good.
    values
        Constants for the templates.
    images
        The column with each row's images, or several: files, bytes or URLs.
    na_action
        "ignore": rows with NA in a used cell are not sent; None: as empty text.
    progress
        The bar; None shows it in a terminal or notebook. A function gets a `Progress`.
    details
        Add columns ``llm_*`` with text, tokens, seconds, attempts of each row.
    loop
        How the work runs where an event loop runs already.
    session
        The caller's own aiohttp session.
    ca
        A file with the certificate authorities to trust, in place of the system's.
    cert
        A client certificate: one file with its key in it, or (certificate, key).
    files_root
        The folder that files named by cells must lie in.
    """

    model: str | None
    base_url: str | None
    api_key: str | Callable[[], str] | None
    headers: Mapping[str, str] | None
    system: str | None
    examples: Sequence[tuple[str, Any]]
    n: int
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str] | None
    reasoning_effort: str | None
    extra: Mapping[str, Any] | None
    concurrency: int | Literal["auto"]
    requests_per_minute: float | None
    tokens_per_minute: float | None
    request_timeout: float
    deadline: float | None
    max_retries: int
    output_retries: int
    max_wait: float
    cache: bool | str | PathLike[str]
    refresh: bool
    replay: bool
    dedupe: bool
    max_cost: float | None
    prices: Mapping[str, tuple[float, float]] | None
    truncate: str | None
    batch: bool
    fallback: Sequence[str]
    values: Mapping[str, Any] | None
    images: str | Sequence[str] | None
    na_action: Literal["ignore"] | None
    progress: bool | Callable[[Progress], None] | None
    details: bool
    loop: Loop
    session: aiohttp.ClientSession | None
    ca: str | PathLike[str] | None
    cert: str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None
    files_root: str | PathLike[str] | None


class SeriesOptions(Options, total=False):
    """Options of ``complete`` and ``classify`` beside those of the run.

    Attributes
    ----------
    name
        The new column.
    errors
        Whether failed rows are NA, or raise when all rows are done.
    error_column
        A column for each row's reason.
    """

    name: str
    errors: Literal["coerce", "raise"]
    error_column: str | None


class LabelOptions(SeriesOptions, total=False):
    """Options of ``classify``.

    Attributes
    ----------
    confidence
        Add a column with the share of the votes that the label got (see n):
        confidence, or NAME_confidence where name is passed.
    """

    confidence: bool


class VectorOptions(SeriesOptions, total=False):
    """Options of ``embed``.

    Attributes
    ----------
    dimensions
        The length of a vector, where the model leaves a choice.
    expand
        Give each dimension a column of its own.
    """

    dimensions: int | None
    expand: bool


class RecordOptions(Options, total=False):
    """Options of ``extract`` beside those of the run.

    Attributes
    ----------
    errors
        Whether failed rows are NA, or raise when all rows are done.
    error_column
        A column for each row's reason.
    flatten
        Give the fields of nested records columns of their own.
    """

    errors: Literal["coerce", "raise"]
    error_column: str | None
    flatten: bool


class ExplodeOptions(RecordOptions, total=False):
    """Options of ``generate``.

    Attributes
    ----------
    how
        Keep a row without record as one row without values, or drop it.
    ignore_index
        Number the result's rows anew.
    """

    how: Literal["left", "inner"]
    ignore_index: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """`Options` resolved: each has a value. Keys are masked in the repr."""

    model: str | None = None
    base_url: str | None = None
    api_key: str | Callable[[], str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    system: str | None = None
    examples: Sequence[tuple[str, Any]] = ()
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: str | Sequence[str] | None = None
    reasoning_effort: str | None = None
    extra: Mapping[str, Any] | None = None
    concurrency: int | Literal["auto"] = "auto"
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    request_timeout: float = 600.0
    deadline: float | None = None
    max_retries: int = 5
    output_retries: int = 2
    max_wait: float = 120.0
    cache: bool | str | PathLike[str] = True
    refresh: bool = False
    replay: bool = False
    dedupe: bool = True
    max_cost: float | None = None
    prices: Mapping[str, tuple[float, float]] | None = None
    truncate: str | None = None
    batch: bool = False
    fallback: Sequence[str] = ()
    values: Mapping[str, Any] | None = None
    images: str | Sequence[str] | None = None
    na_action: Literal["ignore"] | None = "ignore"
    progress: bool | Callable[[Progress], None] | None = None
    details: bool = False
    loop: Loop = "auto"
    session: aiohttp.ClientSession | None = None
    ca: str | PathLike[str] | None = None
    cert: (
        str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None
    ) = None
    files_root: str | PathLike[str] | None = None


_DEFAULTS: dict[str, Any] = {
    f.name: getattr(Settings(), f.name) for f in fields(Settings)
}
_NO_ENVIRONMENT = {"api_key", "headers", "examples", "extra"}
_NO_ENVIRONMENT |= {"values", "session", "prices", "cache"}
_global: dict[str, Any] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar(
    "pandas_llm_options", default=MappingProxyType({})
)


@ends_here
def set_options(**options: Unpack[Options]) -> None:
    """Set options for every later call of this process.

    Parameters
    ----------
    **options
        See the table in the README. None gives an option its default again where
        that is None.

    Raises
    ------
    TypeError
        For a name that is no option; the message suggests one.
    ValueError
        For a value out of range.

    Examples
    --------
    >>> import pandas_llm
    >>> pandas_llm.set_options(max_retries=3)
    >>> pandas_llm.get_options()["max_retries"]
    3
    >>> pandas_llm.set_options(max_retries=5)
    """
    check(options)
    _global.update(options)


def get_options() -> dict[str, Any]:
    """Give all options as a call made here and now would see them.

    Examples
    --------
    >>> import pandas_llm
    >>> pandas_llm.get_options()["n"]
    1
    """
    return conceal({**_DEFAULTS, **_environment(), **_global, **_context.get()})


@contextmanager
def option_context(**options: Unpack[Options]) -> Iterator[None]:
    """Set options within a ``with`` block, for this thread or task alone.

    Examples
    --------
    >>> import pandas_llm
    >>> with pandas_llm.option_context(n=3):
    ...     pandas_llm.get_options()["n"]
    3
    """
    check(options)
    token = _context.set({**_context.get(), **options})
    try:
        yield
    finally:
        _context.reset(token)


def resolve(options: Mapping[str, Any]) -> Settings:
    """Give every option its value; raise for a wrong name or value."""
    check(options)
    found = conceal({**get_options(), **options})
    for name, value in found.items():
        if isinstance(value, (dict, list)):
            found[name] = copy(value)  # the caller may change it later
    return Settings(**found)


# -- checks ---------------------------------------------------------------------


def check(options: Mapping[str, Any]) -> None:
    """Raise for a name that is no option, or a value that cannot be."""
    for name, value in options.items():
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = f"{name!r} is not an option{hint}"
            raise TypeError(msg)
        rule = RULES.get(name)
        if rule is not None and not (value is None and _DEFAULTS[name] is None):
            words, holds = rule
            if not holds(value):
                msg = f"{name} must be {words}, not {value!r}"
                raise ValueError(msg)


def _environment() -> dict[str, Any]:
    """Read ``PANDAS_LLM_MODEL`` and the like."""
    found: dict[str, Any] = {}
    for name in sorted(_DEFAULTS.keys() - _NO_ENVIRONMENT):
        if text := environment.own(name):
            found[name] = _parsed(name, text)
    check(found)
    return found


def _parsed(name: str, text: str) -> Any:
    if RULES.get(name, TEXT) is TEXT:
        return text
    import orjson  # for those who set variables

    try:
        return orjson.loads(text.lower() if text in ("True", "False") else text)
    except orjson.JSONDecodeError:
        return text

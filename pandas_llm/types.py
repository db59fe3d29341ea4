"""Plain data that every layer shares; imports nothing of the package but errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from pandas_llm.redaction import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    import aiohttp

    from pandas_llm.errors import LLMError
    from pandas_llm.progress import Progress

SchemaMode = Literal["json_schema", "json_object", "prompt"]
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
        Add a column with the share of the votes that the label got (see n).
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
    unique
        Keep equal records of a row once.
    """

    how: Literal["left", "inner"]
    ignore_index: bool
    unique: bool


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


class Endpoint(NamedTuple):
    """Where requests go and with which key."""

    provider: str
    base_url: str
    model: str
    api_key: str | None
    headers: tuple[tuple[str, str], ...] = ()
    token: bool = False
    """Whether the key is a bearer token, where that is sent otherwise than a key."""
    renew: Callable[[], str | None] | None = None
    """Makes another key, where a function was given for it."""
    embeds: int | None = None
    """None where texts are asked for; for vectors their length, 0 the model's own."""

    def __repr__(self) -> str:
        """Show all but the key and the headers, which may hold one."""
        where = shown(self.base_url)
        return f"Endpoint({self.provider!r}, {where!r}, {self.model!r})"


@dataclass(frozen=True, slots=True)
class Spec:
    """What all requests of one run share."""

    model: str
    examples: tuple[tuple[str, str], ...] = ()
    schema: Mapping[str, Any] | None = None
    n: int = 1
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Image(NamedTuple):
    """An image of a row, known by what it holds and read when it is sent."""

    source: Any
    """A path, bytes, or a URL."""
    media_type: str
    """By its first bytes; empty for a URL that the provider is to fetch."""
    size: int
    """Bytes."""
    digest: bytes
    data: str = ""
    """The base64 of what is sent, once it is read."""

    @property
    def url(self) -> str:
        """Give it as a URL, with its content where it was read."""
        return (
            f"data:{self.media_type};base64,{self.data}" if self.data else self.source
        )


class ImageLimits(NamedTuple):
    """What images a provider takes; bytes, before base64 makes them a third more."""

    each: int
    together: int
    """Those of one request."""
    types: tuple[str, ...] = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Request(NamedTuple):
    """One row's request, before a provider puts it in its own words."""

    spec: Spec
    prompt: str
    system: str | None = None
    followup: tuple[tuple[str, str], ...] = ()
    """Turns after the prompt: (role, text), when an answer is asked for again."""
    sample: int = 0
    """Which of several answers to equal requests this is; moves the seed."""
    images: tuple[Image, ...] = ()
    """Sent before the prompt's text."""
    texts: tuple[str, ...] = ()
    """The texts of a bundle for embeddings; the prompt is then all of them."""


class HTTPRequest(NamedTuple):
    """What a provider wants sent, by POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Show where it goes alone: a header holds the key."""
        return f"HTTPRequest({shown(self.url)!r}, {len(self.body)} bytes)"


class HTTPResponse(NamedTuple):
    """What came back; header names compare without case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Choice(NamedTuple):
    """One answer of a reply."""

    text: str
    finish_reason: str | None = None
    """In OpenAI's words: ``stop``, ``length``, ``content_filter``, ``tool_calls``."""
    refusal: str | None = None
    vector: bytes | None = None
    """An embedding, as little-endian float32."""


class Tokens(NamedTuple):
    """Tokens of one exchange; `input` includes `cached_input`."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    reasoning: int = 0


class Used(NamedTuple):
    """What the server counted for one exchange; None where it does not say."""

    tokens: Tokens | None = None
    cost: float | None = None
    """Dollars, where the server says."""


class Reply(NamedTuple):
    """A provider's reply, in the package's own words."""

    choices: tuple[Choice, ...]
    tokens: Tokens | None = None
    model: str | None = None
    request_id: str | None = None
    simulated: bool = False
    cost: float | None = None
    """Dollars, where the server says."""


class Quota(NamedTuple):
    """One of the account's limits, as a reply's headers tell it."""

    limit: float | None
    """Units a `period`; None when unknown."""
    remaining: float | None
    """Units left now; None when unknown."""
    reset: float | None
    """Seconds until the quota is full again; None when unknown."""
    period: float = 60.0
    """Seconds in which `limit` units are granted."""


class Quotas(NamedTuple):
    """All limits a reply's headers tell."""

    requests: Quota | None = None
    tokens: Quota | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint understands; learned from its answers, kept for the process."""

    schema: SchemaMode = "json_schema"
    describe: bool = False
    """Whether the schema stands in the prompt too, whatever `schema` says."""
    max_tokens: str = "max_completion_tokens"
    refused: tuple[str, ...] = ()
    """Fields and options that are not sent any more."""
    n: bool = True
    wire: int = 0
    """Bytes that each vector takes in an answer; 0 when not known yet."""


class Outcome(NamedTuple):
    """What became of one request."""

    records: list[tuple[Any, ...]]
    error: LLMError | None = None
    """Why there is no record, or why there may be too few."""
    attempts: int = 1
    seconds: float = 0.0
    reply: Reply | None = None
    tokens: Tokens = Tokens()
    cached: bool = False
    """Whether the reply was known and nothing was sent."""

    @property
    def failed(self) -> bool:
        """Whether the row has no answer."""
        error = self.error
        return error is not None and not self.records and not error.remark

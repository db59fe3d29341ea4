"""The options of every verb, each written once: name, type, sentence, rule, default.

`Settings` repeats names and types, because type checkers cannot make a class of a
TypedDict. A test holds that both lists are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, Unpack

from pandas_llm._display import Progress
from pandas_llm.options import rules
from pandas_llm.options.option import Option, check_against, listed

if TYPE_CHECKING:
    import aiohttp

Loop = Literal["auto", "thread", "nested"]


class Options(TypedDict, total=False):
    """Options of every verb; ``help(pandas_llm.set_options)`` shows them."""

    model: Annotated[
        rules.Text, 'The model, "provider/name" or a name; "sim" is the simulator.'
    ]
    base_url: Annotated[
        rules.Text,
        "The address of a compatible server, such as http://localhost:11434/v1.",
    ]
    api_key: Annotated[
        rules.Key,
        "The API key, or a function that returns it; by default from the environment, "
        "such as OPENAI_API_KEY.",
        # no flag: a command's words are seen by all users of a machine
        Option(variable=False, secret=True, flag=False),
    ]
    headers: Annotated[
        rules.Headers, "HTTP headers to add.", Option(variable=False, secret=True)
    ]
    system: Annotated[rules.Text, "The system message, a template too."]
    examples: Annotated[
        rules.Examples,
        "(prompt, reply) pairs that are sent before each row's prompt, or the "
        "column with each row's own.",
        Option((), variable=False),
    ]
    messages: Annotated[
        rules.Turns,
        "The column with each row's earlier turns: lists of role and content, or "
        "JSON text.",
    ]
    n: Annotated[
        int,
        rules.COUNT,
        "Replies per row; their records are put together, equal ones once.",
        Option(1),
    ]
    temperature: Annotated[
        rules.Number, "How random replies are, from 0, the least; sent only when set."
    ]
    top_p: Annotated[
        rules.Number, "The share of the likeliest tokens that a reply is drawn from."
    ]
    max_tokens: Annotated[int | None, rules.COUNT, "The most tokens in a reply."]
    seed: Annotated[
        rules.Seed, "A number that makes replies repeatable, where the provider can."
    ]
    stop: Annotated[rules.TextOrTexts, "Texts at which a reply stops."]
    reasoning_effort: Annotated[
        rules.Text, 'How long a reasoning model thinks, such as "low".'
    ]
    service_tier: Annotated[
        Literal["auto", "default", "flex", "priority", "standard_only"] | None,
        'The provider\'s service tier: "flex" costs half and is slow, and what it '
        "has no room for is asked in the standard tier.",
    ]
    extra: Annotated[
        rules.Body, "Fields merged into the request's body.", Option(variable=False)
    ]
    concurrency: Annotated[
        rules.AutoOrCount,
        'How many requests are in flight at once: "auto", or at most so many.',
        Option("auto"),
    ]
    requests_per_minute: Annotated[
        rules.Positive,
        "The account's limit, where the endpoint's headers do not state it.",
    ]
    tokens_per_minute: Annotated[
        rules.Positive,
        "The account's limit, where the endpoint's headers do not state it.",
    ]
    headroom: Annotated[
        rules.Part,
        "The part of the account's known limits to leave to others.",
        Option(0.0),
    ]
    request_timeout: Annotated[rules.Seconds, "Seconds for a request.", Option(600.0)]
    deadline: Annotated[
        float | timedelta | None, rules.SECONDS, "Seconds for the whole run."
    ]
    max_retries: Annotated[
        rules.CountOrZero,
        "Tries after failures of the server or the network.",
        Option(5),
    ]
    output_retries: Annotated[
        rules.CountOrZero, "Tries after replies that are not what was asked.", Option(2)
    ]
    max_wait: Annotated[
        rules.Seconds, "The longest wait for a rate limit, in seconds.", Option(120.0)
    ]
    patience: Annotated[
        rules.Seconds,
        "Seconds of an outage, or of nothing but refusals, until the run ends.",
        Option(900.0),
    ]
    cache: Annotated[
        rules.FlagOrFile,
        "Whether replies are kept and not paid for twice, or the file to keep them in.",
        Option(default=True, variable=False),  # the variable is the file of True
    ]
    refresh: Annotated[bool, "Ask again, even if it is kept.", Option(default=False)]
    replay: Annotated[
        bool, "Answer from kept replies only; send nothing.", Option(default=False)
    ]
    dedupe: Annotated[
        bool,
        "Equal requests of a run, and of runs side by side, share one call.",
        Option(default=True),
    ]
    order: Annotated[
        Literal["auto", "given"],
        'The order of sending: "auto" sends rows that begin alike one after the '
        'other, where the provider keeps beginnings; "given" is the frame\'s.',
        Option("auto"),
    ]
    max_cost: Annotated[rules.Positive, "Dollars that the run may cost."]
    prices: Annotated[
        rules.Prices,
        "Dollars per million tokens of a model, in and out.",
        Option(variable=False),
    ]
    truncate: Annotated[
        rules.Text, "The column whose text may be shortened when a prompt is too long."
    ]
    batch: Annotated[
        bool,
        "Send through the provider's batch endpoint: half the price, within a day.",
        Option(default=False),
    ]
    fallback: Annotated[
        rules.Texts,
        "Models to ask, in turn, for rows that failed for good.",
        Option(()),
    ]
    values: Annotated[
        rules.Constants, "Constants for the templates.", Option(variable=False)
    ]
    images: Annotated[
        rules.TextOrTexts,
        "The column with each row's images, or several: files, bytes or URLs.",
    ]
    files: Annotated[
        rules.TextOrTexts,
        "The column with each row's files, or several: paths, bytes or URLs of "
        "PDF, text or audio.",
    ]
    na_action: Annotated[
        Literal["ignore"] | None,
        '"ignore": rows with NA in a used cell are not sent; None: as empty text.',
        Option("ignore"),
    ]
    progress: Annotated[
        rules.Bar,
        "Whether to show the bar, by default in a terminal or notebook; or a function "
        "that gets a `Progress`.",
    ]
    on_row: Annotated[
        rules.Listener,
        "A function called with (position, label, records, error) for each row as "
        "it comes, kept ones too.",
        Option(variable=False, flag=False),
    ]
    details: Annotated[
        bool | Literal["raw"],
        "Add columns ``llm_*`` with text, tokens, seconds, attempts of each row; "
        '"raw": also what else its reply holds, as JSON.',
        Option(default=False),
    ]
    trace: Annotated[
        bool | Literal["content"],
        'Record OpenTelemetry spans and metrics; "content" adds prompts and answers.',
        Option(default=False),
    ]
    loop: Annotated[
        Loop,
        'Inside a running event loop: run in a thread, or "nested" in that loop.',
        Option("auto", flag=False),  # no event loop runs there
    ]
    session: Annotated[
        rules.Session,
        "The caller's own aiohttp session.",
        Option(variable=False, flag=False),
    ]
    ca: Annotated[
        rules.File,
        "A file of the certificate authorities to trust, in place of the system's.",
    ]
    cert: Annotated[
        rules.Certificate,
        "A client certificate: a file that holds its key too, or (certificate, key).",
    ]
    files_root: Annotated[
        rules.File, "The folder that files named by cells must lie in."
    ]


OPTIONS: Mapping[str, Option] = listed(Options)
"""All that is known of each option of every verb."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Settings:
    """`Options` resolved: each has a value, and seconds are a float.

    Examples
    --------
    >>> Settings(deadline=timedelta(minutes=1), api_key="sk-1")
    Settings(deadline=60.0)
    """

    model: str | None
    base_url: str | None
    api_key: str | Callable[[], str] | None
    headers: Mapping[str, str] | None
    system: str | None
    examples: str | Sequence[tuple[str, Any]]
    messages: str | None
    n: int
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str] | None
    reasoning_effort: str | None
    service_tier: Literal["auto", "default", "flex", "priority", "standard_only"] | None
    extra: Mapping[str, Any] | None
    concurrency: int | Literal["auto"]
    requests_per_minute: float | None
    tokens_per_minute: float | None
    headroom: float
    request_timeout: float
    deadline: float | None
    max_retries: int
    output_retries: int
    max_wait: float
    patience: float
    cache: bool | str | PathLike[str]
    refresh: bool
    replay: bool
    dedupe: bool
    order: Literal["auto", "given"]
    max_cost: float | None
    prices: Mapping[str, tuple[float, float]] | None
    truncate: str | None
    batch: bool
    fallback: Sequence[str]
    values: Mapping[str, Any] | None
    images: str | Sequence[str] | None
    files: str | Sequence[str] | None
    na_action: Literal["ignore"] | None
    progress: bool | Callable[[Progress], None] | None
    on_row: Callable[[int, Any, list[dict[str, Any]], str | None], None] | None
    details: bool | Literal["raw"]
    trace: bool | Literal["content"]
    loop: Loop
    session: "aiohttp.ClientSession | None"
    ca: str | PathLike[str] | None
    cert: str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None
    files_root: str | PathLike[str] | None

    def __init__(self, **options: Unpack[Options]) -> None:
        values: Mapping[str, Any] = options
        if not values.keys() <= OPTIONS.keys():
            check_against(OPTIONS, values)
        for name, option in OPTIONS.items():
            value = option.plain(values.get(name, option.default))
            object.__setattr__(self, name, value)

    @property
    def attaches(self) -> bool:
        """Whether rows have images or files."""
        return bool(self.images or self.files)

    def __repr__(self) -> str:
        """Show what differs from the defaults, without keys."""
        shown = (
            f"{name}={getattr(self, name)!r}"
            for name, option in OPTIONS.items()
            if not option.secret and getattr(self, name) != option.default
        )
        return f"Settings({', '.join(shown)})"

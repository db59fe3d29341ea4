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
        str | None,
        Option(
            'The model, "provider/name" or a name; "sim" is the simulator.', rules.TEXT
        ),
    ]
    base_url: Annotated[
        str | None,
        Option(
            "The address of a compatible server, such as http://localhost:11434/v1.",
            rules.TEXT,
        ),
    ]
    api_key: Annotated[
        str | Callable[[], str] | None,
        Option(
            "The key, or a function that returns it; else the provider's variable.",
            rules.KEY,
            variable=False,
            flag=False,  # a command's words are seen by all users of a machine
            secret=True,
        ),
    ]
    headers: Annotated[
        Mapping[str, str] | None,
        Option("HTTP headers to add.", rules.HEADERS, variable=False, secret=True),
    ]
    system: Annotated[
        str | None, Option("The system message, a template too.", rules.TEXT)
    ]
    examples: Annotated[
        str | Sequence[tuple[str, Any]],
        Option(
            "(prompt, reply) pairs that are sent before each row's prompt, or the "
            "column with each row's own.",
            rules.EXAMPLES,
            (),
            variable=False,
        ),
    ]
    messages: Annotated[
        str | None,
        Option(
            "The column with each row's earlier turns: lists of role and content, or "
            "JSON text.",
            rules.TURNS,
        ),
    ]
    n: Annotated[
        int,
        Option(
            "Choices per row; their records are put together, equal ones once.",
            rules.COUNT,
            1,
        ),
    ]
    temperature: Annotated[
        float | None,
        Option(
            "How much chance there is in a reply, 0 is none; sent only when set.",
            rules.NUMBER,
        ),
    ]
    top_p: Annotated[
        float | None,
        Option(
            "The share of the likeliest tokens that a reply is drawn from.",
            rules.NUMBER,
        ),
    ]
    max_tokens: Annotated[
        int | None, Option("The most tokens of a reply.", rules.COUNT)
    ]
    seed: Annotated[
        int | None,
        Option("A number for replies that repeat, where the provider can.", rules.SEED),
    ]
    stop: Annotated[
        str | Sequence[str] | None,
        Option("Texts at which a reply ends.", rules.TEXT_OR_TEXTS),
    ]
    reasoning_effort: Annotated[
        str | None,
        Option('How long a reasoning model thinks, such as "low".', rules.TEXT),
    ]
    service_tier: Annotated[
        Literal["auto", "default", "flex", "priority", "standard_only"] | None,
        Option(
            'The provider\'s service tier: "flex" costs half and is slow, and what it '
            "has no room for is asked in the standard tier.",
            rules.one_of(
                *("auto", "default", "flex", "priority", "standard_only", None)
            ),
        ),
    ]
    extra: Annotated[
        Mapping[str, Any] | None,
        Option("Fields merged into the request's body.", rules.EXTRA, variable=False),
    ]
    concurrency: Annotated[
        int | Literal["auto"],
        Option(
            'Requests in flight: "auto", or a hard bound.', rules.AUTO_OR_COUNT, "auto"
        ),
    ]
    requests_per_minute: Annotated[
        float | None,
        Option(
            "The account's limit, where the endpoint's headers do not tell it.",
            rules.POSITIVE,
        ),
    ]
    tokens_per_minute: Annotated[
        float | None,
        Option(
            "The account's limit, where the endpoint's headers do not tell it.",
            rules.POSITIVE,
        ),
    ]
    headroom: Annotated[
        float,
        Option(
            "The part of the account's known limits to leave to others.",
            rules.PART,
            0.0,
        ),
    ]
    request_timeout: Annotated[
        float | timedelta, Option("Seconds for one request.", rules.SECONDS, 600.0)
    ]
    deadline: Annotated[
        float | timedelta | None, Option("Seconds for the whole run.", rules.SECONDS)
    ]
    max_retries: Annotated[
        int,
        Option(
            "Tries after failures of the server or the network.", rules.COUNT_OR_ZERO, 5
        ),
    ]
    output_retries: Annotated[
        int,
        Option(
            "Tries after replies that are not what was asked.", rules.COUNT_OR_ZERO, 2
        ),
    ]
    max_wait: Annotated[
        float | timedelta,
        Option("The longest wait for a rate limit, in seconds.", rules.SECONDS, 120.0),
    ]
    patience: Annotated[
        float | timedelta,
        Option(
            "Seconds of an outage, or of nothing but refusals, until the run ends.",
            rules.SECONDS,
            900.0,
        ),
    ]
    cache: Annotated[
        bool | str | PathLike[str],
        Option(
            "Whether replies are kept and not paid for twice, or the file to keep "
            "them in.",
            rules.FLAG_OR_FILE,
            True,  # noqa: FBT003 - the default
            variable=False,  # PANDAS_LLM_CACHE is the file that True means
        ),
    ]
    refresh: Annotated[
        bool, Option("Ask again whatever is kept.", rules.FLAG, default=False)
    ]
    replay: Annotated[
        bool,
        Option(
            "Answer from what is kept alone; nothing is sent.",
            rules.FLAG,
            default=False,
        ),
    ]
    dedupe: Annotated[
        bool,
        Option(
            "Equal requests of a run, and of runs side by side, share one call.",
            rules.FLAG,
            default=True,
        ),
    ]
    order: Annotated[
        Literal["auto", "given"],
        Option(
            'The order of sending: "auto" sends rows that begin alike one after the '
            'other, where the provider keeps beginnings; "given" is the frame\'s.',
            rules.one_of("auto", "given"),
            "auto",
        ),
    ]
    max_cost: Annotated[
        float | None, Option("Dollars that the run may cost.", rules.POSITIVE)
    ]
    prices: Annotated[
        Mapping[str, tuple[float, float]] | None,
        Option(
            "Dollars per million tokens of a model, in and out.",
            rules.PRICES,
            variable=False,
        ),
    ]
    truncate: Annotated[
        str | None,
        Option(
            "The column whose text may be shortened when a prompt is too long.",
            rules.TEXT,
        ),
    ]
    batch: Annotated[
        bool,
        Option(
            "Through the provider's batch endpoint: half the price, within a day.",
            rules.FLAG,
            default=False,
        ),
    ]
    fallback: Annotated[
        Sequence[str],
        Option(
            "Models to ask, in turn, for rows that failed for good.", rules.TEXTS, ()
        ),
    ]
    values: Annotated[
        Mapping[str, Any] | None,
        Option("Constants for the templates.", rules.MAPPING, variable=False),
    ]
    images: Annotated[
        str | Sequence[str] | None,
        Option(
            "The column with each row's images, or several: files, bytes or URLs.",
            rules.TEXT_OR_TEXTS,
        ),
    ]
    files: Annotated[
        str | Sequence[str] | None,
        Option(
            "The column with each row's files, or several: paths, bytes or URLs of "
            "PDF, text or audio.",
            rules.TEXT_OR_TEXTS,
        ),
    ]
    na_action: Annotated[
        Literal["ignore"] | None,
        Option(
            '"ignore": rows with NA in a used cell are not sent; None: as empty text.',
            rules.one_of("ignore", None),
            "ignore",
        ),
    ]
    progress: Annotated[
        bool | Callable[[Progress], None] | None,
        Option(
            "The bar, which None shows in a terminal or notebook; or a function that "
            "gets a `Progress`.",
            rules.BAR,
        ),
    ]
    on_row: Annotated[
        Callable[[int, Any, list[dict[str, Any]], str | None], None] | None,
        Option(
            "A function called with (position, label, records, error) for each row as "
            "it comes, kept ones too.",
            rules.FUNCTION,
            variable=False,
            flag=False,
        ),
    ]
    details: Annotated[
        bool | Literal["raw"],
        Option(
            "Add columns ``llm_*`` with text, tokens, seconds, attempts of each row; "
            '"raw": what else stands in its reply too, as JSON.',
            rules.FLAG_OR_RAW,
            default=False,
        ),
    ]
    trace: Annotated[
        bool | Literal["content"],
        Option(
            'Spans and metrics by OpenTelemetry; with all texts by "content".',
            rules.FLAG_OR_CONTENT,
            default=False,
        ),
    ]
    loop: Annotated[
        Loop,
        Option(
            "How the work runs where an event loop runs already.",
            rules.one_of("auto", "thread", "nested"),
            "auto",
            flag=False,  # no event loop runs there
        ),
    ]
    session: Annotated[
        "aiohttp.ClientSession | None",
        Option(
            "The caller's own aiohttp session.",
            rules.SESSION,
            variable=False,
            flag=False,
        ),
    ]
    ca: Annotated[
        str | PathLike[str] | None,
        Option(
            "A file of the certificate authorities to trust, in place of the system's.",
            rules.PATH,
        ),
    ]
    cert: Annotated[
        str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None,
        Option(
            "A client certificate: a file that holds its key too, or (certificate, "
            "key).",
            rules.CERTIFICATE,
        ),
    ]
    files_root: Annotated[
        str | PathLike[str] | None,
        Option("The folder that files named by cells must lie in.", rules.PATH),
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

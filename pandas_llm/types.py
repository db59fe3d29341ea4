"""What goes over the wire and between rooms: requests, replies, limits, outcomes.

Plain data; addresses show no key (`redaction`), and errors are named for types alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias

from pandas_llm.redaction import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pandas_llm.errors import LLMError

SchemaMode = Literal["json_schema", "json_object", "tool", "prompt"]


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
    path: Path | None = None
    """The file of a model on this machine; its digest is then the address."""
    region: str | None = None
    """AWS' region that requests are signed for; None where they need no signature."""

    def __repr__(self) -> str:
        """Show all but the key and the headers, which may hold one."""
        where = shown(self.base_url)
        return f"Endpoint({self.provider!r}, {where!r}, {self.model!r})"


class Question(NamedTuple):
    """One closed question about a row: a label out of some, yes or no, a level."""

    name: str
    """The key's, which is its name in JSON too."""
    instructions: str
    labels: tuple[str, ...]
    """What may be answered, in the order declared."""
    values: tuple[Any, ...]
    """What each label stands for."""
    descriptions: tuple[str, ...] = ()
    """What each label means; empty where none is described."""
    kind: Literal["choice", "predicate", "score"] = "choice"
    """A predicate's labels are yes and no; those of a score rise."""


class Odds(NamedTuple):
    """What a choice says of how likely its answers are, as the server said it."""

    source: Literal["decisions", "logprobs"]
    answers: tuple[tuple[tuple[str, float], ...], ...]
    """Of decisions: of each question the labels and their probabilities, nothing of
    one that was declined. Of logprobs: of each token of the answer those that could
    stand there with their logarithms, the one that was said first; before the first
    token of a further question stands an empty place."""


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
    constrained: Mapping[str, Any] | None = None
    """The schema with the keywords that restrict values, where there are any. It is
    what is sent, but not part of the request's identity: `schema` says as much."""
    tier: str | None = None
    """The service tier to ask for, in OpenAI's words; not part of the identity."""
    questions: tuple[Question, ...] = ()
    """What is asked as closed questions, where that is possible; the schema says as
    much, so it is not part of the identity."""
    odds: Literal["", "words", "codes", "questions"] = ""
    """Whether probabilities are wanted, and how: by the words of the labels, by letters
    that stand for them, or as questions of a decision endpoint."""
    top_logprobs: int = 0
    """How many tokens to report at each place; of a request for the words alone."""
    raw: bool = False
    """Whether a reply's other parts are kept; not part of the identity."""


class Attachment(NamedTuple):
    """An image or a file of a row, known by what it holds and read when it is sent."""

    source: Any
    """A path, bytes, or a URL."""
    media_type: str
    """By what it holds; empty for a URL that the provider is to fetch."""
    size: int
    """Bytes."""
    digest: bytes
    data: str = ""
    """The base64 of what is sent, once it is read."""
    option: Literal["images", "files"] = "images"
    """By which it came."""
    extent: float | None = None
    """A PDF's pages or the seconds of audio, roughly; None where that is not known."""

    @property
    def url(self) -> str:
        """Return it as a URL, with its content where it was read."""
        return (
            f"data:{self.media_type};base64,{self.data}" if self.data else self.source
        )

    @property
    def filename(self) -> str:
        """Return a name that says its type alone: the same content is the same."""
        return "file.txt" if self.media_type == "text/plain" else "file.pdf"


Image: TypeAlias = Attachment
"""What `picture` is given."""


class ImageLimits(NamedTuple):
    """What images a provider takes; bytes, before base64 makes them a third more."""

    each: int
    together: int
    """All that is attached to one request."""
    types: tuple[str, ...] = ("image/png", "image/jpeg", "image/gif", "image/webp")
    fetches: bool = True
    """Whether it fetches an image from an http address."""


class FileLimits(NamedTuple):
    """What files a provider takes, and about how many tokens it makes of them."""

    each: int
    together: int
    """All that is attached to one request."""
    types: tuple[str, ...] = ("application/pdf",)
    fetches: bool = False
    """Whether it fetches URLs."""
    page: int = 1500
    """Tokens of a PDF's page."""
    second: int = 32
    """Tokens of a second of audio."""


class Request(NamedTuple):
    """One row's request, before a provider puts it in its own words."""

    spec: Spec
    prompt: str
    system: str | None = None
    followup: tuple[tuple[str, str], ...] = ()
    """Turns after the prompt: (role, text), when an answer is asked for again."""
    sample: int = 0
    """Which of several answers to equal requests this is; moves the seed."""
    attachments: tuple[Attachment, ...] = ()
    """Images and files, sent before the prompt's text."""
    texts: tuple[str, ...] = ()
    """The texts of a bundle for embeddings; the prompt is then all of them."""
    cells: tuple[str, ...] = ()
    """The texts of the row that its answer quotes, where it is to quote any."""
    before: tuple[tuple[str, str], ...] = ()
    """The row's own turns before the prompt: its examples, then its conversation."""
    shared: tuple[int, ...] = ()
    """Where in the prompt beginnings end that other rows have too, 0 for all that
    stands before it; those that a vendor may keep. Not part of the identity."""

    @property
    def text(self) -> str:
        """All that the row says, but its system text."""
        if not self.before:
            return self.prompt
        return "\n".join([*(text for _, text in self.before), self.prompt])

    @property
    def images(self) -> tuple[Attachment, ...]:
        """Return the images among the attachments."""
        return tuple(one for one in self.attachments if one.option == "images")

    @property
    def files(self) -> tuple[Attachment, ...]:
        """Return the files among the attachments."""
        return tuple(one for one in self.attachments if one.option == "files")


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
    asked: Request | None = None
    """What it answers; an error may quote it, and that says nothing."""


class Choice(NamedTuple):
    """One answer of a reply."""

    text: str
    finish_reason: str | None = None
    """In OpenAI's words: ``stop``, ``length``, ``content_filter``, ``tool_calls``. One
    that is not known stays as it came."""
    refusal: str | None = None
    vector: bytes | None = None
    """An embedding, as little-endian float32."""
    odds: Odds | None = None
    """How likely its answers are, where that was asked for and said."""
    raw: str | None = None
    """All that the vendor says beside the text, as JSON, where that was asked for."""

    @staticmethod
    def listed(raws: Sequence[str | None]) -> str | None:
        """Return the JSON of several choices as one list; None where none has any."""
        if not any(raws):
            return None
        return f"[{','.join(raw or 'null' for raw in raws)}]"


class Tokens(NamedTuple):
    """Tokens of one exchange; `input` includes what was read from or put in a cache."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    reasoning: int = 0
    """Part of `output`."""
    written: int = 0
    """Input that the provider keeps for the next requests."""
    written_hour: int = 0
    """The part of `written` that is kept for an hour in place of minutes."""
    audio: int = 0
    """The part of `input` that was sound, where the server says; it costs more."""

    def divided(self, texts: Sequence[str]) -> list[Tokens]:
        """Divide the input by the lengths of its texts, without remainder."""
        ends = list(accumulate(map(len, texts)))
        upto = [self.input * end // max(1, ends[-1]) for end in ends]
        return [Tokens(end - begin) for begin, end in pairwise([0, *upto])]


class Used(NamedTuple):
    """What the server counted for one exchange; None where it does not say."""

    tokens: Tokens | None = None
    cost: float | None = None
    """Dollars, where the server says."""
    tier: str | None = None
    """The service tier that was used, where the server says."""


class Reply(NamedTuple):
    """A provider's reply, in the package's own words."""

    choices: tuple[Choice, ...]
    tokens: Tokens | None = None
    model: str | None = None
    request_id: str | None = None
    simulated: bool = False
    cost: float | None = None
    """Dollars, where the server says."""
    tier: str | None = None
    """The service tier that was used, where the server says."""
    response_id: str | None = None
    """The vendor's name of the answer, which is not kept."""


class Quota(NamedTuple):
    """One of the account's limits, as a reply's headers state it."""

    limit: float | None
    """Units a `period`; None when unknown."""
    remaining: float | None
    """Units left now; None when unknown."""
    reset: float | None
    """Seconds until the quota is full again; None when unknown."""
    period: float = 60.0
    """Seconds in which `limit` units are granted."""


class Quotas(NamedTuple):
    """All limits that a reply's headers state."""

    requests: Quota | None = None
    tokens: Quota | None = None
    input: Quota | None = None
    """Of the input alone, where it has a limit of its own."""
    output: Quota | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint understands; learned from its answers, kept for the process."""

    schema: SchemaMode = "json_schema"
    describe: bool = False
    """Whether the schema stands in the prompt as well."""
    max_tokens: str = "max_completion_tokens"
    refused: tuple[str, ...] = ()
    """Fields and options that are not sent any more."""
    n: bool = True
    constraints: bool = True
    """Whether a schema may hold keywords that restrict values, such as `minimum`."""
    system: bool = True
    """Whether there is a role for the system text; else it leads the first turn."""
    repeats: bool = True
    """Whether turns of one role may follow each other; else they are sent as one."""
    logprobs: bool = True
    """Whether answers hold the logarithms of their tokens' probabilities."""
    wire: int = 0
    """Bytes that each vector takes in an answer; 0 when not known yet."""

    @property
    def held(self) -> bool:
        """Whether a schema is sent as a field of its own."""
        return self.schema in ("json_schema", "tool")


class Outcome(NamedTuple):
    """What became of one request."""

    records: list[tuple[Any, ...]]
    error: LLMError | None = None
    """Why records are missing, or may be."""
    attempts: int = 1
    seconds: float = 0.0
    reply: Reply | None = None
    tokens: Tokens = Tokens()
    cached: bool = False
    """Whether the reply was known and nothing was sent."""
    by: int = 1
    """The number of the client that was asked, from 1; 0 where none was."""

    @property
    def failed(self) -> bool:
        """Whether the row has no answer."""
        error = self.error
        return error is not None and not self.records and not error.remark


class Remark(NamedTuple):
    """Why a row has no answer, or what to know of the one it has."""

    kind: str
    message: str
    attempts: int = 0

    @classmethod
    def of(cls, error: LLMError, attempts: int = 0) -> Self:
        """Build a remark from an error."""
        return cls(error.kind, str(error), attempts)

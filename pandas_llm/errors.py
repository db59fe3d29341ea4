"""Every error the package raises.

What is raised on purpose is an `LLMError`, also where it is a ``ValueError`` or
``TypeError`` to the caller: a traceback is cut at the caller's line by that alone.
`retryable` and `fatal` are class attributes: a retryable error is asked again, a
fatal one stops the run, anything else fails its row alone. Those that are `own` are
their row's alone once the run has had an answer: `fatal` of the error is then False.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pandas_llm.redaction import visible

if TYPE_CHECKING:
    import pandas as pd


class LLMWarning(UserWarning):
    """Something about a run that its result alone does not show."""


class LLMError(Exception):
    """Base of all errors of this package.

    Attributes
    ----------
    kind : str
        One word for tables and counts, such as ``"rate_limit"``.
    retryable, fatal : bool
        Whether the request is worth another try; whether the run must stop.
    remark : bool
        Whether it is only a remark on a row that was answered.
    position, label : int or None, hashable
        The row it is about: its place, and its label in the index.
    partial : DataFrame or None
        On an error that ends a run: the rows that were done, NA elsewhere.
    failures : DataFrame or None
        On an error that ends a run: position, label, kind, message, attempts.
    """

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    fatal: bool = False
    own: ClassVar[bool] = False
    """Whether it is its row's alone, once another row of the run was answered."""
    later: bool = False
    """Whether its row is asked once more, after the others."""
    remark: ClassVar[bool] = False
    position: int | None = None
    label: Any = None
    partial: Any = None
    failures: pd.DataFrame | None = None

    def __init_subclass__(cls, *, kind: str = "", **flags: bool) -> None:
        """Set the kind and the flags that a class's first line names."""
        super().__init_subclass__()
        cls.kind = kind or cls.kind
        for name, value in flags.items():
            setattr(cls, name, value)

    def __init__(self, *parts: Any) -> None:
        # words of servers come to people through here alone: a warning, a log, a
        # column and a report take them from an error
        super().__init__(*(visible(v) if isinstance(v, str) else v for v in parts))


class ConfigurationError(LLMError, kind="configuration", fatal=True):
    """The run cannot start: no model, no key, an unknown provider."""


class InvalidValueError(ConfigurationError, ValueError):
    """An argument has a value that it cannot have."""


class InvalidTypeError(ConfigurationError, TypeError):
    """An argument has a wrong type, or its name is unknown."""


class MissingColumnError(ConfigurationError, KeyError):
    """A column is named that the frame does not have."""

    __str__ = Exception.__str__  # KeyError's quotes it


class MissingVerbError(ConfigurationError, AttributeError):
    """An accessor is asked for a verb that it does not have."""


class LoopError(ConfigurationError, RuntimeError):
    """The event loop that the call was made in cannot be used for it."""


class NoUsageError(LLMError, AttributeError, kind="no_usage"):
    """The frame does not say what a run has used."""


class TemplateError(LLMError, ValueError, kind="template"):
    """The template names something that is not there, or there twice."""


class GenerationError(LLMError, kind="failed_rows"):
    """Some rows failed, and ``errors="raise"`` was asked for."""


class CostLimitError(LLMError, kind="max_cost", fatal=True):
    """The next row could cost more than is left of `max_cost`."""


class RowError(LLMError, kind="row"):
    """One row has no answer; the run goes on."""


class EncodingError(RowError, kind="encoding"):
    """A prompt cannot be sent: it holds a lone surrogate."""


class AttachmentError(RowError):
    """An image or a file cannot be sent."""


class ImageError(AttachmentError, kind="image"):
    """An image cannot be sent: no file, no image, of another type, too large."""


class FileError(AttachmentError, kind="file"):
    """A file cannot be sent: it is not there, of another type, too large."""


class TurnsError(RowError, kind="turns"):
    """A cell of `messages` or `examples` holds what cannot be sent as turns."""


class EmptyTextError(RowError, kind="empty_text"):
    """An empty text has no embedding; servers refuse the whole batch for it."""


class DeadlineError(RowError, kind="deadline"):
    """The row was not done when the run's deadline passed."""


class InterruptedRowError(RowError, kind="interrupted"):
    """The row was not done when the run was interrupted."""


class NotSentError(RowError, kind="not_sent"):
    """The row was not sent because the run had to stop before it."""


class NotCachedError(RowError, kind="not_cached"):
    """With ``replay=True``: no reply to this row's request is kept."""


class BatchError(RowError, kind="batch"):
    """The batch that the row was in has ended, or is left, without its answer."""


class ShortenedError(RowError, kind="shortened", remark=True):
    """The row was answered, but its text had to be cut to fit: see `truncate`."""


class FellBackError(RowError, kind="fallback", remark=True):
    """The row was answered, but by a model of `fallback`."""


class UnreadError(RowError, kind="unread", remark=True):
    """The row was answered, but not every vote on it could be read."""


class DeclinedError(RowError, kind="declined", remark=True):
    """The model declined some of a row's questions; the others are answered."""


class UnsureError(RowError, kind="unsure", remark=True):
    """The label is less sure than `abstain_below` asks for, or nobody knows how."""


class OutputError(RowError, kind="output"):
    """A reply that does not hold what was asked for.

    Attributes
    ----------
    text : str
        The reply as it came.
    raw : str or None
        What else was in it, as JSON, with ``details="raw"``.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text
        self.raw: str | None = None


class UnfoundedError(OutputError, kind="unfounded", remark=True):
    """The row was answered, but words that it quotes are not there; they are NA.

    Attributes
    ----------
    missing : int
        How many quotes are not there.
    """

    def __init__(self, message: str, text: str = "", missing: int = 1) -> None:
        super().__init__(message, text)
        self.missing = missing


class RefusalError(OutputError, kind="refusal"):
    """The model declined to answer."""


class ContentFilterError(OutputError, kind="content_filter"):
    """The provider's filter held the answer back."""


class ToolCallError(OutputError):
    """The model asked for a tool in place of an answer; tools are not run."""


class TruncatedError(OutputError, kind="truncated"):
    """The reply ended at the token limit; raise `max_tokens`."""


class ProviderError(LLMError, kind="provider"):
    """The endpoint answered with an error, or did not answer.

    Parameters
    ----------
    message : str
        What happened and the way out.
    status : int, optional
        The HTTP status; None when there was no answer.
    code, param : str, optional
        The provider's own code and the parameter it names.
    request_id : str, optional
        The provider's id of the exchange, to quote in a support request.
    retry_after : float, optional
        Seconds the provider asks to wait.
    """

    def __init__(  # noqa: PLR0913 - an error carries all that is known
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code and visible(code)
        self.param = param and visible(param)
        self.request_id = request_id and visible(request_id)
        self.retry_after = retry_after
        self.said = message
        """The vendor's own words, without what they quote of the row."""


class AuthenticationError(ProviderError, kind="authentication", fatal=True, own=True):
    """The key is missing, wrong or not allowed to do this."""


class ModelNotFoundError(ProviderError, kind="model_not_found", fatal=True, own=True):
    """The endpoint has no such model, or no such path."""


class NotFoundError(ModelNotFoundError, kind="not_found", fatal=False):
    """A 404 or a redirect for one row, where others are answered."""


class BlockedError(ProviderError, kind="blocked"):
    """A firewall before the API answers with a page in place of this row's reply."""


class NoCreditError(ProviderError, kind="no_credit", fatal=True):
    """The account has no credit or reached a spend limit; waiting does not help."""


class PaymentRequiredError(NoCreditError, own=True):
    """402 without a code or sentence that says more."""


class RateLimitedTooLong(ProviderError, kind="wait_too_long", fatal=True):  # noqa: N818 - reads as what happened
    """The provider asks for a wait longer than `max_wait`."""


class UnreachableError(ProviderError, kind="unreachable", fatal=True):
    """Nothing answers at the endpoint's address."""


class FirstRowsError(ProviderError, kind="first_rows", fatal=True):
    """The first rows all failed the same way, so the others would too."""


class RepeatedError(ProviderError, kind="repeated", fatal=True):
    """Row after row failed the same way, without an answer in between."""


class OutageError(ProviderError, kind="outage", fatal=True):
    """The endpoint has answered nothing for a long time."""


class MaybeCreatedError(ProviderError, kind="maybe_created", fatal=True):
    """A request that creates something was sent, and its answer is not clear."""


class ReplyTooLargeError(ProviderError, kind="reply_too_large"):
    """A reply larger than any answer should be."""


class BadRequestError(ProviderError, kind="bad_request"):
    """The endpoint does not accept this request."""


class ContextLengthError(BadRequestError, kind="context_length"):
    """The prompt is longer than the model can read."""


class PromptFilteredError(BadRequestError, kind="content_filter"):
    """The provider's filter does not let this prompt through."""


class RateLimitError(ProviderError, kind="rate_limit", retryable=True):
    """Too many requests or tokens for now."""


class ServerError(ProviderError, kind="server", retryable=True):
    """The endpoint failed."""


class OverloadedError(ServerError, kind="overloaded"):
    """The endpoint has too much to do."""


class NoRoomError(OverloadedError):
    """The service tier that was asked for has no room now; others may have."""


class ConnectionFailedError(ProviderError, kind="connection", retryable=True):
    """A connection could not be made."""


class ConnectionBrokenError(ConnectionFailedError):
    """A connection broke before there was an answer: something is there."""

    unwritten = False
    """Whether it broke before the request had left to its end."""


class RequestTimeoutError(ProviderError, kind="timeout", retryable=True):
    """No answer within `request_timeout` seconds."""


class MalformedReplyError(ProviderError, kind="malformed_reply", retryable=True):
    """A reply that is not a chat completion: HTML, an empty body, no choices."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the caller's line: the nearest frame outside this package."""
    package = str(Path(__file__).parent) + os.sep
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - as warnings itself does
    while frame.f_back and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(visible(message), category, stacklevel=level)

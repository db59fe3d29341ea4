"""Every error the package raises.

.. code-block:: text

    LLMError
    ├── ConfigurationError        no model, no key, unknown provider        fatal
    │   ├── InvalidValueError     an argument that cannot be (ValueError)   fatal
    │   ├── InvalidTypeError      of a wrong type, or unknown (TypeError)   fatal
    │   ├── MissingColumnError    no such column (KeyError)                 fatal
    │   └── LoopError             this event loop will not do (RuntimeError) fatal
    ├── NoUsageError              a frame that no run made (AttributeError)
    ├── TemplateError             unknown or ambiguous column (ValueError)
    ├── GenerationError           errors="raise": some rows failed
    ├── CostLimitError            the next row could pass max_cost          fatal
    ├── RowError                  one row has no answer
    │   ├── EncodingError         a cell that is not valid Unicode
    │   ├── ImageError            no such file, no image, too large
    │   ├── EmptyTextError        embed: nothing has no vector
    │   ├── DeadlineError         not done when the deadline passed
    │   ├── InterruptedRowError   not done when the run was interrupted
    │   ├── NotCachedError        replay=True, and no reply is kept
    │   ├── BatchError            the batch it was in has no answer to it
    │   ├── ShortenedError        answered, but its text was cut to fit
    │   ├── FellBackError         answered, but by a model of `fallback`
    │   ├── NotSentError          not sent because a fatal error came first
    │   └── OutputError           the reply is not what `keys` asks for
    │       ├── RefusalError      the model declined
    │       ├── ContentFilterError
    │       ├── ToolCallError     a call of a tool and no text
    │       └── TruncatedError    the reply was cut off (finish reason "length")
    └── ProviderError             what the endpoint or the network said
        ├── AuthenticationError   401, 403                                  fatal*
        ├── ModelNotFoundError    404, a redirect                           fatal*
        │   └── NotFoundError     the same, once other rows were answered
        ├── BlockedError          403 with a page: a firewall before the API
        ├── NoCreditError         a code or sentence that says so            fatal
        │   └── PaymentRequiredError  402 and no more                       fatal*
        ├── RateLimitedTooLong    a wait longer than `max_wait`             fatal
        ├── UnreachableError      no connection at all to begin with         fatal
        ├── FirstRowsError        the first rows all failed the same way     fatal
        ├── RepeatedError         row after row failed the same way          fatal
        ├── OutageError           an outage longer than `patience`          fatal
        ├── MaybeCreatedError     a batch was asked for, the answer unclear  fatal
        ├── BadRequestError       400, 413, 422
        │   ├── ContextLengthError
        │   └── PromptFilteredError
        ├── ReplyTooLargeError    more than 16 MB
        ├── RateLimitError        429                                       retryable
        ├── ServerError           5xx, 408, 409                             retryable
        │   └── OverloadedError   503, 529                                  retryable
        │       └── NoRoomError   429: the service tier is full now         retryable
        ├── ConnectionFailedError no connection could be made               retryable
        │   └── ConnectionBrokenError  it broke before there was an answer  retryable
        ├── RequestTimeoutError   no answer within `request_timeout`        retryable
        └── MalformedReplyError   HTML, an empty body, no choices           retryable

    LLMWarning (UserWarning)      rows failed, options the model refused

What is raised on purpose is an `LLMError`, also where it is a ``ValueError`` or
``TypeError`` to the caller: a traceback is cut at the caller's line by that alone.
`retryable` and `fatal` are class attributes: a retryable error is asked again, a
fatal one stops the run, anything else fails its row alone. Those with a star are the
row's own once the run has had an answer: `fatal` of the error itself is then False.
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
        Whether it only says something of a row that was answered all the same.
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

    def __init__(self, *said: Any) -> None:
        # words of servers come to people through here alone: a warning, a log, a
        # column and a report take them from an error
        super().__init__(*(visible(v) if isinstance(v, str) else v for v in said))


class ConfigurationError(LLMError):
    """The run cannot start: no model, no key, an unknown provider."""

    kind = "configuration"
    fatal = True


class InvalidValueError(ConfigurationError, ValueError):
    """An argument has a value that it cannot have."""


class InvalidTypeError(ConfigurationError, TypeError):
    """An argument is of a type that it cannot be, or there is none of that name."""


class MissingColumnError(ConfigurationError, KeyError):
    """A column is named that the frame does not have."""


class LoopError(ConfigurationError, RuntimeError):
    """The event loop that the call was made in cannot be used for it."""


class NoUsageError(LLMError, AttributeError):
    """The frame does not say what a run has used."""

    kind = "no_usage"


class TemplateError(LLMError, ValueError):
    """The template names something that is not there, or there twice."""

    kind = "template"


class GenerationError(LLMError):
    """Some rows failed, and ``errors="raise"`` was asked for."""

    kind = "failed_rows"


class CostLimitError(LLMError):
    """The next row could cost more than is left of `max_cost`."""

    kind = "max_cost"
    fatal = True


class RowError(LLMError):
    """One row has no answer; the run goes on."""

    kind = "row"


class EncodingError(RowError):
    """A prompt cannot be sent: it holds a lone surrogate."""

    kind = "encoding"


class ImageError(RowError):
    """An image cannot be sent: no file, no image, of another type, too large."""

    kind = "image"


class EmptyTextError(RowError):
    """An empty text has no embedding; servers refuse the whole batch for it."""

    kind = "empty_text"


class DeadlineError(RowError):
    """The row was not done when the run's deadline passed."""

    kind = "deadline"


class InterruptedRowError(RowError):
    """The row was not done when the run was interrupted."""

    kind = "interrupted"


class NotSentError(RowError):
    """The row was not sent because the run had to stop before it."""

    kind = "not_sent"


class NotCachedError(RowError):
    """With ``replay=True``: no reply to this row's request is kept."""

    kind = "not_cached"


class BatchError(RowError):
    """The batch that the row was in has ended, or is left, without its answer."""

    kind = "batch"


class ShortenedError(RowError):
    """The row was answered, but its text had to be cut to fit: see `truncate`."""

    kind = "shortened"
    remark = True


class FellBackError(RowError):
    """The row was answered, but by a model of `fallback`."""

    kind = "fallback"
    remark = True


class UnreadError(RowError):
    """The row was answered, but not every vote on it could be read."""

    kind = "unread"
    remark = True


class OutputError(RowError):
    """A reply that does not hold what was asked for.

    Attributes
    ----------
    text : str
        The reply as it came.
    """

    kind = "output"

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class RefusalError(OutputError):
    """The model declined to answer."""

    kind = "refusal"


class ContentFilterError(OutputError):
    """The provider's filter held the answer back."""

    kind = "content_filter"


class ToolCallError(OutputError):
    """The model asked for a tool in place of an answer; tools are not run."""


class TruncatedError(OutputError):
    """The reply ended at the token limit; raise `max_tokens`."""

    kind = "truncated"


class ProviderError(LLMError):
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

    kind = "provider"

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


class AuthenticationError(ProviderError):
    """The key is missing, wrong or not allowed to do this."""

    kind = "authentication"
    fatal = True
    own = True


class ModelNotFoundError(ProviderError):
    """The endpoint has no such model, or no such path."""

    kind = "model_not_found"
    fatal = True
    own = True


class NotFoundError(ModelNotFoundError):
    """A 404 or a redirect for one row, where others are answered."""

    kind = "not_found"
    fatal = False


class BlockedError(ProviderError):
    """A firewall before the API answers with a page in place of this row's reply."""

    kind = "blocked"


class NoCreditError(ProviderError):
    """The account has no credit or reached a spend limit; waiting does not help."""

    kind = "no_credit"
    fatal = True


class PaymentRequiredError(NoCreditError):
    """402 without a code or sentence that says more."""

    own = True


class RateLimitedTooLong(ProviderError):  # noqa: N818 - reads as what happened
    """The provider asks for a wait longer than `max_wait`."""

    kind = "wait_too_long"
    fatal = True


class UnreachableError(ProviderError):
    """Nothing answers at the endpoint's address."""

    kind = "unreachable"
    fatal = True


class FirstRowsError(ProviderError):
    """The first rows all failed the same way, so the others would too."""

    kind = "first_rows"
    fatal = True


class RepeatedError(ProviderError):
    """Row after row failed the same way, with no answer in between."""

    kind = "repeated"
    fatal = True


class OutageError(ProviderError):
    """The endpoint has answered nothing for a long time."""

    kind = "outage"
    fatal = True


class MaybeCreatedError(ProviderError):
    """A request that creates something was sent, and its answer is not clear."""

    kind = "maybe_created"
    fatal = True


class ReplyTooLargeError(ProviderError):
    """A reply larger than any answer should be."""

    kind = "reply_too_large"


class BadRequestError(ProviderError):
    """The endpoint does not accept this request."""

    kind = "bad_request"


class ContextLengthError(BadRequestError):
    """The prompt is longer than the model can read."""

    kind = "context_length"


class PromptFilteredError(BadRequestError):
    """The provider's filter does not let this prompt through."""

    kind = "content_filter"


class RateLimitError(ProviderError):
    """Too many requests or tokens for now."""

    kind = "rate_limit"
    retryable = True


class ServerError(ProviderError):
    """The endpoint failed."""

    kind = "server"
    retryable = True


class OverloadedError(ServerError):
    """The endpoint has too much to do."""

    kind = "overloaded"


class NoRoomError(OverloadedError):
    """The service tier that was asked for has no room now; others may have."""


class ConnectionFailedError(ProviderError):
    """No connection could be made."""

    kind = "connection"
    retryable = True


class ConnectionBrokenError(ConnectionFailedError):
    """A connection broke before there was an answer: something is there."""


class RequestTimeoutError(ProviderError):
    """No answer within `request_timeout` seconds."""

    kind = "timeout"
    retryable = True


class MalformedReplyError(ProviderError):
    """A reply that is no chat completion: HTML, an empty body, no choices."""

    kind = "malformed_reply"
    retryable = True


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the caller's line: the nearest frame outside this package."""
    package = str(Path(__file__).parent) + os.sep
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - as warnings itself does
    while frame.f_back and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(visible(message), category, stacklevel=level)

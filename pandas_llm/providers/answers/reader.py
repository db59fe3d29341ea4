"""How every dialect reads an answer: what it holds, used, and says of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_llm.errors import LLMError
from pandas_llm.providers import failures
from pandas_llm.providers.answers import streams
from pandas_llm.providers.answers.bodies import ODD
from pandas_llm.providers.answers.headers import quota
from pandas_llm.types import Quotas, Reply, Used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm.errors import ProviderError
    from pandas_llm.providers.answers.headers import Limits
    from pandas_llm.types import Choice, HTTPResponse


class Reader:
    """The part of a dialect that reads, without `parse`."""

    limits: Limits | None = None
    """Headers that tell the limits, and the seconds of each; None where none do."""
    _url: str
    """Where requests went."""

    def usage(self, data: Any) -> Used:
        """Read what an answer says it used; fields may be missing or odd."""
        return Used()

    def used(self, data: Any) -> Used:
        """Read what an answer used; odd fields count as missing."""
        try:
            return self.usage(data)
        except (*ODD, OverflowError):
            return Used()  # the answer counts all the same

    def load(self, response: HTTPResponse) -> Any:
        """Parse a body that is JSON, or an event stream that was not asked for."""
        body = response.body
        events = None if body.startswith(b"{") else streams.events(body)
        return failures.load(response) if events is None else self.joined(events)

    def answer(self, response: HTTPResponse) -> dict[str, Any]:
        """Parse the body of an answer; raise the error that a 200 may hold."""
        data = self.load(response)
        if failures.holds_error(data):
            raise failures.classify(response, data, self._url)
        return data if isinstance(data, dict) else {}

    def load_or_none(self, response: HTTPResponse) -> Any:
        """Parse a body if it can be."""
        try:
            return self.load(response)
        except (*ODD, LLMError):
            return None

    def joined(self, events: Sequence[Any]) -> Any:
        """Put the events of a stream together to the answer that they are parts of."""
        return next(filter(failures.holds_error, events), None)

    def reply(
        self, choices: tuple[Choice, ...], response: HTTPResponse, data: Any
    ) -> Reply:
        """Return choices with what OpenAI and most others say beside them."""
        tokens, cost, tier = self.used(data)
        model, id_ = data.get("model"), failures.request_id(response)
        simulated = data.get("system_fingerprint") == "fp_simulator"
        own = data.get("id")
        own = own if isinstance(own, str) else None
        return Reply(choices, tokens, model, id_, simulated, cost, tier, own)

    def spent(self, response: HTTPResponse) -> Used:
        """Read what an unreadable answer used: it is paid for too."""
        return self.used(self.load_or_none(response))

    def error(self, response: HTTPResponse) -> ProviderError:
        """Return the error of an answer without success."""
        return failures.classify(response, self.load_or_none(response), self._url)

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Read the account's limits from the headers, if there are any."""
        if self.limits is None:
            return None
        requests, tokens = (quota(headers, *limit) for limit in self.limits)
        return Quotas(requests, tokens) if requests or tokens else None

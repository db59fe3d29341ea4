"""Asks by the words of labels, so that the tokens of an answer have probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_llm._client.endpoint import ENOUGH
from pandas_llm._replies import ending, one_reply, word_requests
from pandas_llm.errors import (
    ConfigurationError,
    ContentFilterError,
    OutputError,
    RefusalError,
)
from pandas_llm.types import Choice, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas_llm._client.begun import Begun
    from pandas_llm._client.events import Tally
    from pandas_llm._client.parts import Parts
    from pandas_llm._client.sender import Sender

IN_WORDS = ("words", "codes")
"""Ways to ask for probabilities that take requests of their own."""


class ByWords:
    """Sends a request for each question; `kept` looks up the reply without odds."""

    def __init__(
        self,
        sender: Sender,
        parts: Parts,
        kept_reply: Callable[[Request], Reply | None],
    ) -> None:
        self._sender = sender
        self._output = parts.setup.output
        self._model = parts.endpoint.model
        self._kept = kept_reply
        self._readable: bool | None = None
        """Whether this run's answers can be read; None before it is known."""
        self._unread = 0
        """Answers that could not be read, before one that could."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether some answers could not be read, and it is not known why."""
        return self._readable is None and self._unread > 0

    async def send(
        self, request: Request, n: int, tally: Tally, begun: Begun | None
    ) -> Reply:
        """Ask by the words of the labels, or plainly where that is of no use."""
        send, negotiation = self._sender.send, self._sender.negotiation
        if request.followup:
            return await send(request, n, tally)
        if self._readable is False or not negotiation.capabilities.logprobs:
            return self._kept(request) or await send(request, n, tally)
        taken = () if begun is None else begun.take()
        replies = [Reply((choice,)) for choice in taken]
        for one in word_requests(request)[len(replies) :]:
            _keep(replies, begun)
            reply = await send(one, 1, tally)
            if any(map(_is_declined, reply.choices)):
                return reply
            replies.append(reply)
        text = None
        if self._output.open:
            _keep(replies, begun)
            text = await send(request, n, tally)
        whole = one_reply(replies, text)
        if whole is not None and self._understands(whole.choices[0], request):
            self._readable = True
            return whole
        if not self._readable:  # else it is this row's affair
            self._unread += 1
            if self._unread >= ENOUGH:
                self.check_needed()
                # the model thinks first, or does not answer with the labels
                self._readable = False
                if whole is None:
                    negotiation.unweighed()
        return self._kept(request) or text or await send(request, n, tally)

    def check_needed(self) -> None:
        """Stop where the labels are of no use without their probabilities."""
        if self._output.needed:
            raise ConfigurationError(
                "abstain_below, calibrate and gold need probabilities, and "
                f"{self._model} returns none: ask a server with logprobs "
                "(OpenAI, llama.cpp, vLLM), a decision endpoint, or for votes (n=5)"
            )

    def _understands(self, choice: Choice, request: Request) -> bool:
        """Return whether the words of an answer can be read."""
        try:
            self._output.read(choice, request.cells)
        except (RefusalError, ContentFilterError):
            return True
        except OutputError:
            return False
        return True


def _is_declined(choice: Choice) -> bool:
    """Return whether there is no answer, with or without probabilities."""
    return choice.refusal is not None or (
        ending(choice.finish_reason) == "content_filter"
    )


def _keep(replies: Sequence[Reply], begun: Begun | None) -> None:
    """Keep the answers so far, each at its question's place."""
    if begun is not None and all(reply.choices for reply in replies):
        begun.keep([reply.choices[0] for reply in replies])

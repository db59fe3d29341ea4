"""One endpoint and model: a request becomes an understood reply."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pandas_llm._client.begun import Begun
from pandas_llm._client.by_words import IN_WORDS, ByWords
from pandas_llm._client.events import NO_TOKENS, Tally
from pandas_llm._client.sender import Sender, TracedSender
from pandas_llm._http import masked, secrets
from pandas_llm._replies import Choices, Record, asked_again
from pandas_llm.cache import Cache, Fingerprint, elsewhere_key
from pandas_llm.errors import (
    ContextLengthError,
    LLMError,
    MalformedReplyError,
    NotCachedError,
    OutputError,
    RowError,
    UnreadError,
)
from pandas_llm.providers import Bundling, Embeddings, least_prefix
from pandas_llm.types import Choice, HTTPRequest, Outcome, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from pandas_llm._client.parts import Parts


_UNREAD = "unread"
"""The end of a kept choice that could not be read, and counts as a vote."""
_READ_AT_ONCE = 65_536
"""Characters of a reply, and of what it quotes, that are read without a thread."""


class Client:
    """Asks one endpoint until the reply is understood or the row has failed."""

    def __init__(self, parts: Parts) -> None:
        self.spec, self._output, settings, self._cache, *_ = parts.setup
        self.endpoint = parts.endpoint
        self.fingerprint = Fingerprint(parts.endpoint)
        self.provider = provider = parts.provider
        self._embeddings = provider if isinstance(provider, Embeddings) else None
        self.embeds = self._embeddings is not None
        """Whether it asks for vectors: an empty text has none."""
        self.bundling = self._embeddings.most if self._embeddings else Bundling(1)
        """How much one request may hold."""
        self.transport = parts.transport
        calls = parts.calls
        self._sender = TracedSender(parts, calls) if calls else Sender(parts)
        self.attached = self._sender.attached
        self.exchange = self._sender.plain
        self.negotiation = self._sender.negotiation
        self._by_words = ByWords(self._sender, parts, self._kept_plain)
        logprobs = self.negotiation.capabilities.logprobs
        if getattr(provider, "decides", False):
            self.spec = replace(self.spec, odds="questions")
        elif self.spec.odds and not (getattr(provider, "logprobs", False) and logprobs):
            self._by_words.check_needed()
            self.spec = replace(self.spec, odds="")
        self.least_prefix = least_prefix(self.endpoint)
        """Tokens of a beginning that the provider may keep; None if it keeps none."""
        self.pace = self._sender.pace
        self.prices = self.pace.prices
        self.circuit, self.history = self.pace.circuit, self.pace.history
        self._settings = settings
        self._memory = None if settings.refresh else self._cache
        """Where kept replies are looked for."""
        alone = settings.session is not None or not settings.dedupe
        self._shared = None if alone else self._memory
        """Where equal requests of other runs are found."""

    @property
    def proven(self) -> bool:
        """Whether this process has had answers with this key, and none is in doubt."""
        return self.history.proven and not self._by_words.is_in_doubt

    def as_sent(self, request: Request) -> HTTPRequest:
        """Write a request as it would be sent now, with its secrets masked."""
        capabilities = self.negotiation.capabilities
        n = request.spec.n if capabilities.n else 1
        http = self.provider.build(request, capabilities, n)
        return masked(http, secrets(self.endpoint))

    def known(self, asked: Sequence[tuple[bytes, Request]]) -> list[Outcome | None]:
        """Return the outcomes of requests whose replies are kept and understood."""
        if self._memory is None or not asked:
            return [None] * len(asked)
        replies = self._memory.get_many([key for key, _ in asked])
        return [self._recalled(replies.get(key), request) for key, request in asked]

    def _recalled(self, reply: Reply | None, request: Request) -> Outcome | None:
        """Read a reply that was kept."""
        if reply is None:
            return None
        choices: list[list[Record]] = []
        mark: RowError | None = None
        unread = 0
        for choice in reply.choices:
            if choice.finish_reason == _UNREAD:
                unread += 1
                continue
            try:
                records, cut = self._output.read(choice, request.cells)
            except OutputError:
                return None
            choices.append(records)
            mark = mark or cut
        if not choices:
            return None
        tokens = reply.tokens or NO_TOKENS
        records = self._output.combine(choices, unread)
        error = mark or _missed(unread, len(reply.choices))
        return Outcome(records, error, 0, 0.0, reply, tokens, cached=True)

    def _kept(self, key: bytes) -> Reply | None:
        """Return what is kept under a key."""
        if self._memory is None:
            return None
        return self._memory.get_many([key]).get(key)

    def _kept_plain(self, request: Request) -> Reply | None:
        """Return the kept reply to the same request without probabilities."""
        return self._kept(self.fingerprint.plain(request))

    def give_up(self, key: bytes, error: LLMError) -> None:
        """Keep why a request was answered elsewhere: so the same call asks there."""
        if self._cache is not None:
            why = Choice(str(error), error.kind)
            self._cache.put(elsewhere_key(key), Reply((why,)))

    def given_up(self, key: bytes) -> LLMError | None:
        """Return why an earlier run had a request's answer in another way."""
        if (reply := self._kept(elsewhere_key(key))) is None:
            return None
        (why,) = reply.choices
        too_long = why.finish_reason == ContextLengthError.kind
        return ContextLengthError(why.text) if too_long else RowError(why.text)

    def complete(
        self, request: Request, tally: Tally, key: bytes | None = None
    ) -> Awaitable[Outcome]:
        """Ask until the reply is understood; with `key` no reply is kept."""
        if key is None:
            key = self.fingerprint.of(request)
            outcome = self._recalled(self._kept(key), request)
            if outcome is not None:
                return _at_once(outcome)
        if self._settings.replay:
            return _at_once(_not_kept())
        if self._shared is None:
            return self._asked(request, key, tally)
        return self._together(self._shared, request, key, tally)

    async def _together(
        self, cache: Cache, request: Request, key: bytes, tally: Tally
    ) -> Outcome:
        """Ask, or have the reply of another run of this process that asks the same."""
        calls, led = cache.calls, False
        while (end := calls.begin(key)) is not None:
            led = True
            await self.pace.slots.rest(end, "another run")
        outcome: Outcome | None = None
        try:
            if led or cache.shared:
                reply = calls.recent(key) or self._kept(key)
                if (known := self._recalled(reply, request)) is not None:
                    return known
            outcome = await self._asked(request, key, tally)
        finally:
            paid = outcome is not None and not outcome.failed and cache.shared
            calls.end(key, outcome.reply if outcome is not None and paid else None)
        return outcome

    async def _asked(self, request: Request, key: bytes, tally: Tally) -> Outcome:
        """Ask until the reply is understood."""
        started = time.perf_counter()
        records: list[Record] = []
        reply: Reply | None = None
        error: LLMError | None
        spec, cache, begun = request.spec, self._memory, None
        worded = spec.odds in IN_WORDS and len(spec.questions) + bool(self._output.open)
        if cache is not None and max(spec.n, worded) > 1:
            begun = Begun(cache, key)
        try:
            reply, choices = await self._choices(request, tally, begun)
            error, understood = choices.mark, choices.records
            unread = spec.n - len(understood) if self._output.votes else 0
            records = self._output.combine(understood, unread)
            # out of the cache the share of votes is the same
            whole = (*choices.kept, *[Choice("", _UNREAD)] * unread)
            if whole != reply.choices:
                reply = reply._replace(choices=whole)
            if unread:
                error = error or _missed(unread, spec.n)
        except LLMError as failure:
            if failure.fatal:
                raise
            error = failure
            self.negotiation.undo()
        else:
            self._keep(key, request, reply)
        if begun is not None and (reply or isinstance(error, OutputError)):
            begun.end()
        seconds = time.perf_counter() - started
        return Outcome(records, error, tally.attempts, seconds, reply, tally.tokens)

    def _keep(self, key: bytes, request: Request, reply: Reply) -> None:
        """Keep a reply that was understood."""
        if self._cache is not None:
            asked = request.spec.odds in IN_WORDS
            if asked and not any(choice.odds for choice in reply.choices):
                key = self.fingerprint.plain(request)
            self._cache.put(key, reply)
        if self._embeddings is not None:
            self.negotiation.measured(self._embeddings.wire)

    async def complete_bundle(
        self, requests: Sequence[Request], keys: Sequence[bytes], tally: Tally
    ) -> list[Outcome]:
        """Ask for the vectors of several texts at once; each is kept by itself."""
        if self._settings.replay:
            return [_not_kept() for _ in requests]
        started = time.perf_counter()
        texts = tuple(request.prompt for request in requests)
        whole = requests[0]._replace(prompt="\n".join(texts), texts=texts, sample=0)
        reply = await self._sender.send(whole, 1, tally)
        if len(reply.choices) != len(texts):
            msg = f"the reply holds {len(reply.choices)} vectors for {len(texts)} texts"
            raise MalformedReplyError(msg)
        self.negotiation.settle(clear=True)
        seconds = time.perf_counter() - started
        outcomes = []
        tokens = reply.tokens
        shares = [None] * len(texts) if tokens is None else tokens.divided(texts)
        for choice, tokens, key in zip(reply.choices, shares, keys, strict=True):
            own = reply._replace(choices=(choice,), tokens=tokens, cost=None)
            records, _ = self._output.read(choice)
            self._keep(key, whole, own)
            used = tokens or NO_TOKENS
            outcomes.append(Outcome(records, None, tally.attempts, seconds, own, used))
        return outcomes

    async def _choices(
        self, request: Request, tally: Tally, begun: Begun | None
    ) -> tuple[Reply, Choices]:
        """Collect as many choices as were asked for.

        A choice that was declined, filtered, cut off or calls a tool counts as
        answered: asked again unchanged it would end the same. One that is not
        understood, or quotes what is not there, is asked again with the reason; one
        that the server did not give is asked for.
        """
        again, worded = self._settings.output_retries, request.spec.odds in IN_WORDS
        send = self._sender.send
        if worded:
            send = partial(self._by_words.send, begun=begun)
        choices, asked, wrong = Choices(request.spec.n), request, None
        reply = Reply(() if worded or begun is None else begun.take())
        if reply.choices:
            wrong = await self._read(reply, request, choices)
        while choices.left > 0:
            if choices.counted:
                if begun is not None:
                    begun.keep(choices.counted)
                sample = request.sample + len(choices.counted)
                asked = request._replace(sample=sample)
            if wrong is not None:
                if again == 0:
                    break
                again -= 1
                tally.events.retried(wrong)
                asked = asked_again(request, wrong)
            reply = await send(asked, choices.left, tally)
            wrong = await self._read(reply, request, choices)
            self.negotiation.settle(clear=wrong is None or wrong.remark)
            if wrong is None and choices.left > 0:
                self.negotiation.fewer()
        choices.close()
        return reply, choices

    async def _read(
        self, reply: Reply, request: Request, choices: Choices
    ) -> OutputError | None:
        """Read the choices of a reply; return why to ask again, if it is of use."""
        read, cells = self._output.read, request.cells
        size = sum(map(len, cells)) if cells else 0
        wrong: OutputError | None = None
        for choice in reply.choices[: choices.left]:
            try:
                if len(choice.text) + size > _READ_AT_ONCE:  # let other rows go on
                    part = await asyncio.to_thread(read, choice, cells)
                else:
                    part = read(choice, cells)
            except OutputError as error:
                error.raw = choice.raw
                wrong = choices.miss(choice, error) or wrong
            else:
                unfounded = choices.add(choice, *part)
                wrong = wrong or unfounded
        return wrong


def _missed(unread: int, asked: int) -> UnreadError | None:
    """Return the remark on votes that could not be read."""
    if not unread:
        return None
    return UnreadError(f"{unread} of {asked} votes could not be read")


async def _at_once(outcome: Outcome) -> Outcome:
    return outcome


def _not_kept() -> Outcome:
    return Outcome([], NotCachedError("no reply is kept, and replay=True"), 0)

"""OpenAI's chat completions, and every server that speaks them.

Field names and their oddities: OpenAI's specification and its client's source
(2026-11); dialects of other servers as their sources and documents say.
"""

from __future__ import annotations

import math
import re
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from pandas_llm._replies import ending
from pandas_llm.providers import failures
from pandas_llm.providers.answers import bodies, streams
from pandas_llm.providers.answers.headers import LIMITS
from pandas_llm.providers.batches import Batches, OpenAIBatches
from pandas_llm.providers.dialect import Bundling, Dialect
from pandas_llm.providers.registry import Preset
from pandas_llm.types import Capabilities, Choice, FileLimits, ImageLimits, Odds, Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.providers.answers.headers import Limits
    from pandas_llm.providers.dialect import Body, Schema, Texts
    from pandas_llm.types import Attachment, Endpoint, HTTPResponse, Image, Reply, Spec

_ENDED = ("length", "content_filter", "error")
"""Ends of a choice that may have no message: nothing was left to say."""
_UNKNOWN = ("minLength", "maxLength")
"""Keywords that its guide to structured outputs does not list."""
KEEPS = (("", 1024),)
"""developers.openai.com/api/docs/guides/prompt-caching."""
_MARKED = (5, 6)
"""The first version that keeps prompts up to a mark alone: by itself it sets one at
the end of each, which no other row has, and bills more for it."""
_TOLD = {
    *("id", "object", "created", "model", "choices", "usage", "service_tier", "index"),
    *("system_fingerprint", "x_groq", "timings", "finish_reason", "message", "role"),
}
"""Fields that tell nothing about an answer, or what other columns tell."""
_COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details.cached_tokens",
    "completion_tokens_details.reasoning_tokens",
    "prompt_tokens_details.cache_write_tokens",
    "",
    "prompt_tokens_details.audio_tokens",
)


class OpenAI(Dialect):
    """Chat completions at one endpoint; subclasses are servers with oddities."""

    images: ImageLimits | None = ImageLimits(50_000_000, 50_000_000)
    """As its documents; of other servers the tightest is known to themselves."""
    files: FileLimits | None = FileLimits(
        50_000_000,
        50_000_000,
        ("application/pdf", "audio/wav", "audio/mp3"),
        page=1500,
        second=10,
    )
    """50 MB a file and a request, PDF alone, no URLs (its guide to file inputs). A page
    is text and a picture, by a guess; a token of audio 100 ms (its realtime costs).
    """
    path = "/chat/completions"
    vectors_path = "/embeddings"
    joined = staticmethod(streams.completion)
    logprobs = True
    tiers: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("auto", "default", "flex", "priority")},
        "standard_only": "default",
    }
    limits: Limits | None = LIMITS

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        # the endpoint of OpenAI itself keeps answers unless told not to; others
        # refuse fields they do not know
        self._own = endpoint.base_url.startswith("https://api.openai.com/")
        self.keyed = self.keyed or self._own
        if self._own and _version(endpoint.model) >= _MARKED:
            self.mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}

    def takes(self, keyword: str, value: Any) -> bool:
        """Leave out what OpenAI's own strict mode refuses; others are asked."""
        return not self._own or (keyword not in _UNKNOWN and value != "uri")

    embeds: ClassVar[Bundling | None] = Bundling()
    of_vectors: ClassVar[Mapping[str, Any]] = {"encoding_format": "base64"}
    """Fields of requests for embeddings; base64 is a quarter of the size."""
    batches: ClassVar[type[Batches] | None] = OpenAIBatches
    """Servers that are not known to have them say None."""

    def embeddings(
        self, texts: Texts, spec: Spec, capabilities: Capabilities, dimensions: int
    ) -> Body:
        """Write a body without the fields that are refused."""
        length = {self.names.get("dimensions", "dimensions"): dimensions}
        fields = {**self.of_vectors, **(length if dimensions else {})}
        sent = {k: v for k, v in fields.items() if k not in capabilities.refused}
        return {"model": self.model, "input": texts, **sent, **spec.extra}

    def vectors(self, data: Any) -> list[Any]:
        """Find the vectors; each says which text it is of."""
        items = sorted(data["data"], key=lambda item: item.get("index", 0))
        return [item["embedding"] for item in items]

    def usage(self, data: Any) -> Used:
        """Read the tokens, and the cost where a server states it."""
        usage: Any = data.get("usage") or (data.get("x_groq") or {}).get("usage")
        tier = bodies.word(data, "service_tier") if "service_tier" in data else None
        cost = bodies.cost(usage)
        try:
            counted = bodies.tokens(usage, _COUNTS)
        except (AttributeError, ValueError):
            return Used(None, cost, tier)  # the cost may be known all the same
        both, total = counted.input + counted.output, usage.get("total_tokens")
        if total == both:
            return Used(counted, cost, tier)  # nearly always
        rest = (bodies.amount(total) or 0) - both
        if rest > 0 and (rest == counted.reasoning or not any(counted[2:])):
            # xAI counts the thinking apart, Gemini in the total alone
            counted = counted._replace(output=counted.output + rest)
        return Used(counted, cost, tier)

    def shared(
        self, spec: Spec, schema: Schema, capabilities: Capabilities, n: int
    ) -> Body:
        body: dict[str, Any] = {"model": self.model}
        if format_ := format_of(schema, capabilities):
            kind = format_.pop("type")
            inner = {kind: format_} if format_ else {}
            body["response_format"] = {"type": kind, **inner}
        if n > 1:
            body["n"] = n
        if spec.max_tokens is not None:
            body[capabilities.max_tokens] = spec.max_tokens
        if spec.top_logprobs and capabilities.logprobs:
            body |= {"logprobs": True, "top_logprobs": spec.top_logprobs}
        body |= self._kept(capabilities)
        return {**body, **self.sent(spec, capabilities), **spec.extra}

    def _kept(self, capabilities: Capabilities) -> Body:
        """Return what says how much is kept: no answers, of prompts what is marked."""
        if not self._own:
            return {}
        fields: Body = {"store": False}
        if self.marking(capabilities):
            fields["prompt_cache_options"] = {"mode": "explicit"}
        return {k: v for k, v in fields.items() if k not in capabilities.refused}

    def mark_before(self, fields: Body, turns: int) -> None:
        for message in reversed(fields["messages"][:-turns]):
            if message["role"] != "assistant":  # where a mark is not heeded
                message["content"] = self.ended(message["content"])
                return

    def picture(self, image: Image) -> dict[str, Any]:
        """Return an image as a URL, mostly one that holds it."""
        return {"type": "image_url", "image_url": {"url": image.url}}

    def file(self, file: Attachment) -> dict[str, Any]:
        """Return a file as a data URL, and audio as plain base64."""
        if file.media_type.startswith("audio/"):
            format_ = file.media_type.partition("/")[2]
            sound = {"data": file.data, "format": format_}
            return {"type": "input_audio", "input_audio": sound}
        whole = {"filename": file.filename, "file_data": file.url}
        return {"type": "file", "file": whole}

    def parse(self, response: HTTPResponse) -> Reply:
        """Read a completion; a 200 may hold an error, or nothing of use."""
        data = self.answer(response)  # an error beside choices too: they broke off
        if not data.get("choices"):
            raise failures.lacks("choices", response)
        read = partial(_choice, response=response, whole=data)
        choices = bodies.choices(data["choices"], read)
        return self.reply(choices, response, data)


def _choice(
    choice: Mapping[str, Any], response: HTTPResponse, whole: Mapping[str, Any]
) -> Choice:
    """Read one choice; its message may lack where nothing was left to say."""
    reason = choice.get("finish_reason")
    if choice.get("error"):  # OpenRouter
        raise failures.classify(response, choice)
    message = choice.get("message")
    if not isinstance(message, dict):
        if ending(reason) not in _ENDED:
            raise failures.lacks("message", response)
        message = {}  # Gemini's compatible endpoint, all spent on thinking
    content, logprobs = message.get("content"), choice.get("logprobs")
    text = content if isinstance(content, str) else _text(content)
    if not text.strip() and message.get("tool_calls"):
        reason = "tool_calls"  # some servers say "stop" beside them
    refusal = message.get("refusal") or None
    if refusal is None and reason != "stop":  # nearly never
        reason = bodies.finished(text, reason, response)
    raw = bodies.beside(response, _TOLD, whole, choice, message, content=content)
    odds = _odds(logprobs, text.strip()) if logprobs else None
    return Choice(text, reason, refusal, odds=odds, raw=raw)


def _odds(logprobs: Any, said: str) -> Odds | None:
    """Read which tokens could stand at each place, the one that was said first.

    Some servers tell those of the reasoning too, before those of what was said.
    """
    places = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(places, list) or not places:
        return None
    read = []
    try:
        for place in places:
            first = (place["token"], float(place["logprob"]))
            others = [
                (one["token"], float(one["logprob"])) for one in place["top_logprobs"]
            ]
            read.append((first, *(one for one in others if one[0] != first[0])))
        whole = "".join(place[0][0] for place in read)
    except (LookupError, TypeError, ValueError):
        return None  # the answer counts all the same
    if any(math.isnan(chance) for place in read for _, chance in place):
        return None
    if said and said != whole.strip() and said in whole:
        # the last time that it is said, from the token that it begins with
        before = len(whole[: whole.rindex(said)].rstrip())
        ends = accumulate(len(place[0][0]) for place in read)
        read = read[sum(end <= before for end in ends) :]
    return Odds("logprobs", tuple(read))


def format_of(schema: Schema, capabilities: Capabilities) -> Body:
    """Return the format of an answer as Responses has it; empty for any text."""
    mode = capabilities.schema
    if schema and mode == "json_schema":
        strict = {} if "strict" in capabilities.refused else {"strict": True}
        return {"type": mode, "name": "records", **strict, "schema": schema}
    return {"type": mode} if schema and mode == "json_object" else {}


def _version(model: str) -> tuple[int, int]:
    """Return the version in a model's name.

    >>> _version("gpt-6-sol"), _version("gpt-5.6"), _version("o3")
    ((6, 0), (5, 6), (0, 0))
    """
    found = re.search(r"gpt-(\d+)(?:\.(\d+))?", model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _text(content: Any) -> str:
    """Join the texts of a list of parts, without the thinking; none of null."""
    listed = content if isinstance(content, list) else ()
    parts = [{"text": one} if isinstance(one, str) else one for one in listed]
    texts = [
        part.get("text")
        for part in bodies.objects(parts)
        if part.get("type", "text") in bodies.TEXTS
    ]
    return "".join(text for text in texts if isinstance(text, str))


PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        OpenAI,
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        keeps=KEEPS,
    ),
    "sim": Preset(OpenAI, "sim://local", needs_key=False, keeps=KEEPS),
}

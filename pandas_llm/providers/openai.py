"""OpenAI's chat completions, and every server that speaks them.

Field names and their oddities: OpenAI's specification and its client's source
(2026-11); dialects of other servers as their sources and documents say.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from multidict import istr

from pandas_llm.errors import (
    ContextLengthError,
    EncodingError,
    MalformedReplyError,
    PromptFilteredError,
)
from pandas_llm.providers import failures
from pandas_llm.schema import portable
from pandas_llm.types import (
    Capabilities,
    Choice,
    HTTPRequest,
    Quota,
    Quotas,
    Reply,
    Tokens,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.errors import LLMError, ProviderError
    from pandas_llm.types import Endpoint, HTTPResponse, Request, Spec

_SAMPLING = ("temperature", "top_p", "seed", "stop")
# istr: its lookups in the headers of an answer cost half as much
_REQUEST_ID = istr("x-request-id")
_LIMITS = tuple(
    tuple(
        istr(f"x-ratelimit-{what}-{unit}") for what in ("limit", "remaining", "reset")
    )
    for unit in ("requests", "tokens")
)
_EMPTY = b'""}]}'
"""How the fields of an empty prompt end."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_SECONDS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}


class Provider:
    """Chat completions at one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._url = endpoint.base_url + "/chat/completions"
        self._model = endpoint.model
        headers = {"Content-Type": "application/json"}
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._headers = {**headers, **dict(endpoint.headers)}
        # the endpoint of OpenAI itself keeps answers unless told not to; others
        # refuse fields they do not know
        self._own = endpoint.base_url.startswith("https://api.openai.com/")
        self._bodies: dict[Any, tuple[dict[str, Any], str]] = {}
        self._around: tuple[Any, ...] = (None,)
        """What the last body stood between, and for what."""

    def build(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> HTTPRequest:
        """Write the request's body; raise `EncodingError` for a lone surrogate."""
        spec, prompt, system, followup, sample = request
        alike = (spec, capabilities, n, system)
        try:
            if followup or sample:
                body = orjson.dumps(self._fields(request, capabilities, n))
            else:
                # rows differ in their prompt only: the rest is written once
                if self._around[0] != alike:
                    empty = request._replace(prompt="")
                    fields = self._fields(empty, capabilities, n)
                    self._around = (alike, orjson.dumps(fields)[: -len(_EMPTY)])
                body = b"%b%b}]}" % (self._around[1], orjson.dumps(prompt))
        except TypeError as error:  # orjson's JSONEncodeError is one
            msg = f"the prompt cannot be sent as UTF-8: {error}"
            raise EncodingError(msg) from None
        return HTTPRequest(self._url, self._headers, body)

    def _fields(
        self, request: Request, capabilities: Capabilities, n: int
    ) -> dict[str, Any]:
        """Give all fields, the prompt last."""
        base, note = self._shared(request.spec, capabilities, n)
        system = "\n\n".join(filter(None, (request.system, note)))
        messages = [{"role": "system", "content": system}] if system else []
        for prompt, reply in request.spec.examples:
            messages.append({"role": "user", "content": prompt})
            messages.append({"role": "assistant", "content": reply})
        messages.append({"role": "user", "content": request.prompt})
        for role, text in request.followup:
            messages.append({"role": role, "content": text})
        fields = {**base, "messages": messages}
        if request.sample and "seed" in base:
            fields["seed"] += request.sample
        return fields

    def _shared(
        self, spec: Spec, capabilities: Capabilities, n: int
    ) -> tuple[dict[str, Any], str]:
        """Give what all bodies share: fields, and a note for the system message."""
        key = (id(spec), capabilities, n)
        if key not in self._bodies:
            schema = portable(spec.schema) if spec.schema else None
            body: dict[str, Any] = {"model": self._model}
            if schema:
                body |= _response_format(schema, capabilities)
            if n > 1:
                body["n"] = n
            if spec.max_tokens is not None:
                body[capabilities.max_tokens] = spec.max_tokens
            sampling = dict(spec.sampling)
            if not capabilities.sampling:
                sampling = {k: v for k, v in sampling.items() if k not in _SAMPLING}
            if self._own:
                body["store"] = False
            body |= {**sampling, **spec.extra}
            self._bodies[key] = (body, _note(schema, capabilities))
        return self._bodies[key]

    def parse(self, response: HTTPResponse) -> Reply:
        """Read a completion; a 200 may hold an error, or nothing of use."""
        data = failures.load(response)
        found = data.get("choices") if isinstance(data, dict) else None
        if not found:
            if isinstance(data, dict) and data.get("error"):
                raise failures.classify(response, data)
            msg = f"the reply holds no choices: {failures.excerpt(response)}"
            raise MalformedReplyError(msg, status=response.status)
        choices = []
        for choice in found:
            finish_reason = choice.get("finish_reason")
            if finish_reason == "error" or choice.get("error"):
                raise failures.classify(response, choice)
            message = choice.get("message")
            if not isinstance(message, dict):
                msg = f"a choice holds no message: {failures.excerpt(response)}"
                raise MalformedReplyError(msg, status=response.status)
            text = message.get("content")
            if type(text) is not str:
                text = _text(text)
            choices.append(Choice(text, finish_reason, message.get("refusal") or None))
        usage = data.get("usage")
        return Reply(
            tuple(choices),
            _tokens(usage),
            data.get("model"),
            response.headers.get(_REQUEST_ID),
            data.get("system_fingerprint") == "fp_simulator",
            _cost(usage),
        )

    def error(self, response: HTTPResponse) -> ProviderError:
        """Name the error of an answer that is no success."""
        return failures.classify(response, failures.load_or_none(response))

    def quotas(self, headers: Mapping[str, str]) -> Quotas | None:
        """Read ``x-ratelimit-*``; None when there are none."""
        for names in _LIMITS:
            if names[0] in headers or names[1] in headers:
                break
        else:
            return None
        requests, tokens = (_quota(headers, names) for names in _LIMITS)
        return Quotas(requests, tokens) if requests or tokens else None

    def downgrade(
        self, capabilities: Capabilities, error: LLMError, request: Request
    ) -> Capabilities | None:
        """Step down one capability that the error names."""
        if isinstance(error, (ContextLengthError, PromptFilteredError)):
            return None  # they speak of the prompt, and may quote any word of it
        about = f"{getattr(error, 'param', None) or ''} {error}".lower()
        spec = request.spec
        if (
            spec.max_tokens is not None
            and "max_completion_tokens" in about
            and capabilities.max_tokens == "max_completion_tokens"
        ):
            return replace(capabilities, max_tokens="max_tokens")
        if spec.schema and capabilities.schema != "prompt" and _about_schema(about):
            lower = capabilities.schema == "json_schema"
            return replace(capabilities, schema="json_object" if lower else "prompt")
        sampling = [name for name in _SAMPLING if name in spec.sampling]
        if capabilities.sampling and any(_names(error, name) for name in sampling):
            return replace(capabilities, sampling=False)
        if spec.n > 1 and capabilities.n and _names(error, "n"):
            return replace(capabilities, n=False)
        return None

    def dropped(self, spec: Spec, capabilities: Capabilities) -> tuple[str, ...]:
        """Name the options that are not sent because the model refuses them."""
        if capabilities.sampling:
            return ()
        return tuple(name for name in _SAMPLING if name in spec.sampling)


def _names(error: LLMError, name: str) -> bool:
    """Tell whether an error is about a field; "stop" and "n" are words as well."""
    if getattr(error, "param", None) == name:
        return True
    words = rf"['\"`]{name}['\"`]" if len(name) <= len("stop") else rf"\b{name}\b"
    return re.search(words, str(error), re.IGNORECASE) is not None


def _about_schema(about: str) -> bool:
    words = ("response_format", "json_schema", "json_object", "structured output")
    return any(word in about for word in (*words, "grammar", "schema"))


def _response_format(
    schema: Mapping[str, Any], capabilities: Capabilities
) -> dict[str, Any]:
    if capabilities.schema == "json_schema":
        strict = {"name": "records", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": strict}}
    if capabilities.schema == "json_object":
        return {"response_format": {"type": "json_object"}}
    return {}


def _note(schema: Mapping[str, Any] | None, capabilities: Capabilities) -> str:
    """Say the schema in words, where the endpoint does not take it as a field."""
    if not schema or (
        capabilities.schema == "json_schema" and not capabilities.describe
    ):
        return ""
    text = orjson.dumps(schema).decode()
    return f"Answer with one JSON object and nothing else. Its JSON schema is:\n{text}"


def _text(content: Any) -> str:
    """Join the parts of a content; some servers send a list, or null."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part.get("text") or ""
            for part in content
            if isinstance(part, dict) and part.get("type", "text") == "text"
        )
    return ""


def _cost(usage: Any) -> float | None:
    """Read the dollars that a server charges itself; OpenRouter says them."""
    cost = usage.get("cost") if isinstance(usage, dict) else None
    return float(cost) if cost is not None and isinstance(cost, (int, float)) else None


def _tokens(usage: Any) -> Tokens | None:
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens_details")
    completion = usage.get("completion_tokens_details")
    try:
        return Tokens(
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            int(prompt.get("cached_tokens") or 0) if prompt else 0,
            int(completion.get("reasoning_tokens") or 0) if completion else 0,
        )
    except (AttributeError, TypeError, ValueError):
        return None  # an answer is an answer, whatever stands beside it


def _quota(headers: Mapping[str, str], names: tuple[str, ...]) -> Quota | None:
    limit = _positive(headers.get(names[0]))
    remaining = _positive(headers.get(names[1]), zero=True)
    reset = duration(headers.get(names[2]))
    if limit is None and remaining is None:
        return None
    return Quota(limit, remaining, reset)


def _positive(text: str | None, *, zero: bool = False) -> float | None:
    """Read a count; ``"30,000"``, ``-1`` and ``0`` have been seen on Azure."""
    if not text:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if value > 0 or (zero and value == 0) else None


@lru_cache(1024)
def duration(text: str | None) -> float | None:
    """Read a Go duration in seconds.

    Examples
    --------
    >>> duration("6ms"), duration("1m30.5s"), duration("7"), duration("soon")
    (0.006, 90.5, 7.0, None)
    """
    if not text:
        return None
    parts = _DURATION.findall(text)
    if parts and "".join(a + b for a, b in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return float(text)  # Azure sends whole seconds
    except ValueError:
        return None

"""Spans and metrics of runs, by OpenTelemetry's conventions for generative AI.

One span for a run and, below it, one for each request with all its tries, from the
moment at which it first leaves. Only the package's API is used: where they go is for
the providers to say that the caller has set.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pandas_llm import environment
from pandas_llm._inputs import of_pairs
from pandas_llm.errors import ConfigurationError, LLMError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from pandas_llm._display import Usage
    from pandas_llm.types import Endpoint, Reply, Request

_NAMES: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "openai-decisions": "openai",
    "openai-responses": "openai",
    "xai": "x_ai",
}
"""What the conventions call a provider, where they have another name."""
_SAMPLING = {"stop": "stop_sequences"}
_SAMPLING |= {name: name for name in ("temperature", "top_p", "seed")}
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_WANTED = ("true", "1", "span_only", "span_and_event")
_TOKENS = [4**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]
"""The ends of the bins that the conventions advise."""


class Trace:
    """The span of one run, open as a context, and what its requests need."""

    def __init__(self, name: str, wanted: bool | str) -> None:  # noqa: FBT001 - the option
        try:
            from opentelemetry import context, metrics, trace
        except ImportError as error:
            raise ConfigurationError(
                "trace= needs OpenTelemetry's API: pip install "
                "'pandas-llm-accessor[otel]', or leave trace= out"
            ) from error
        setting = (environment.variable(_CONTENT) or "").lower()
        self.content = wanted == "content" or setting in _WANTED
        self.api, self.context, self._name = trace, context, name
        self.tracer = trace.get_tracer("pandas_llm")
        meter = metrics.get_meter("pandas_llm")
        self.seconds = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.usage: Usage | None = None
        """What the run has used, once that is known."""

    def __enter__(self) -> Self:
        """Begin the span below the caller's; what follows is below it."""
        operation, name = "invoke_workflow", self._name
        named = {"gen_ai.operation.name": operation, "gen_ai.workflow.name": name}
        self._span = self.tracer.start_span(f"{operation} {name}", attributes=named)
        self._token = self.context.attach(self.api.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the span, with what was used."""
        self.context.detach(self._token)
        if self.usage is not None:
            names = ("rows", "failed", "cached", "requests", "retries", "known_cost")
            used = {f"pandas_llm.{name}": getattr(self.usage, name) for name in names}
            self._span.set_attributes(used)
        if error is not None:
            self.fail(self._span, error)
        self._span.end()

    def fail(self, span: Any, error: BaseException) -> str:
        """Mark a span as failed, by the error's kind: its words may quote a row."""
        kind = error.kind if isinstance(error, LLMError) else type(error).__qualname__
        span.set_attribute("error.type", kind)
        span.set_status(self.api.StatusCode.ERROR)
        return kind


def traced(name: str, wanted: bool | str) -> Trace | None:  # noqa: FBT001 - the option
    """Return the span that a run is to have, if one is wanted."""
    return Trace(name, wanted) if wanted else None


class Calls:
    """The requests of a run to one endpoint: what all their spans say."""

    def __init__(self, trace: Trace, endpoint: Endpoint, base_url: str) -> None:
        self.trace = trace
        self.embeds = endpoint.embeds is not None
        operation = "embeddings" if self.embeds else "chat"
        if endpoint.provider == "google" and not self.embeds:
            operation = "generate_content"
        self.name = f"{operation} {endpoint.model}"
        self.shared: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _NAMES.get(endpoint.provider, endpoint.provider),
            "gen_ai.request.model": endpoint.model,
        }
        place = urlsplit(base_url)
        if place.hostname:
            port = place.port or (443 if place.scheme == "https" else 80)
            self.shared |= {"server.address": place.hostname, "server.port": port}

    def of(self, request: Request, n: int) -> Call:
        """Return a request's own, before it leaves."""
        return Call(self, request, n)


class Call:
    """One request on its way, with all its tries."""

    def __init__(self, calls: Calls, request: Request, n: int) -> None:
        self._calls, self._trace = calls, calls.trace
        self._request, self._n = request, n
        self._span: Any = None
        self._resent = 0

    def left(self) -> None:
        """Begin the span when the request first leaves; HTTP spans are below it."""
        if self._span is not None:
            return
        trace, calls = self._trace, self._calls
        attributes = calls.shared | _asked(self._request, self._n, embeds=calls.embeds)
        if trace.content and not calls.embeds:
            attributes |= _written(self._request)
        self._begun, self._left = time.time_ns(), time.perf_counter_ns()
        self._span = trace.tracer.start_span(
            calls.name,
            kind=trace.api.SpanKind.CLIENT,
            attributes=attributes,
            start_time=self._begun,
        )
        self._token = trace.context.attach(trace.api.set_span_in_context(self._span))

    def retried(self, error: LLMError, at: int) -> None:
        """Note that a try has failed, at a time in nanoseconds, and is made again."""
        self._resent += 1
        facts = {"error.type": error.kind, "http.request.resend_count": self._resent}
        if (status := getattr(error, "status", None)) is not None:
            facts["http.response.status_code"] = status
        if self._span is not None:
            self._span.add_event("retry", facts, at)

    def answered(self, reply: Reply) -> None:
        """End the span with what the reply says."""
        used, measured = reply.tokens, self._calls.shared
        known: dict[str, Any] = {}
        if reply.model:
            known["gen_ai.response.model"] = reply.model
            measured = measured | known
        if reply.response_id:
            known["gen_ai.response.id"] = reply.response_id
        if reasons := [one.finish_reason for one in reply.choices if one.finish_reason]:
            known["gen_ai.response.finish_reasons"] = reasons
        if used is not None:
            kinds = {"input": used.input, "output": used.output}
            for kind in ("input",) if self._calls.embeds else kinds:
                known[f"gen_ai.usage.{kind}_tokens"] = kinds[kind]
                of_kind = {**measured, "gen_ai.token.type": kind}
                self._trace.tokens.record(kinds[kind], of_kind)
            parts = {
                "cache_read.input_tokens": used.cached_input,
                "cache_creation.input_tokens": used.written,
                "reasoning.output_tokens": used.reasoning,
            }
            known |= {f"gen_ai.usage.{part}": n for part, n in parts.items() if n}
        if self._trace.content and not self._calls.embeds:
            messages = [
                _message("assistant", one.text, finish_reason=one.finish_reason)
                for one in reply.choices
            ]
            known["gen_ai.output.messages"] = _json(messages)
        self._span.set_attributes(known)
        self._end(measured)

    def failed(self, error: BaseException) -> None:
        """End the span with an error, if the request has left."""
        if self._span is not None:
            kind = self._trace.fail(self._span, error)
            self._end(self._calls.shared | {"error.type": kind})

    def _end(self, measured: Mapping[str, Any]) -> None:
        took = time.perf_counter_ns() - self._left  # of the span, to the nanosecond
        self._trace.seconds.record(took / 1e9, measured)
        self._trace.context.detach(self._token)
        self._span.end(self._begun + took)


def _asked(request: Request, n: int, *, embeds: bool) -> dict[str, Any]:
    """Return the attributes of a request, without its content."""
    spec = request.spec
    known: dict[str, Any] = {
        f"gen_ai.request.{_SAMPLING[name]}": value
        for name, value in spec.sampling.items()
        if name in _SAMPLING
    }
    if embeds:
        return known
    known["gen_ai.output.type"] = "text" if spec.schema is None else "json"
    if n != 1:
        known["gen_ai.request.choice.count"] = n
    if spec.max_tokens is not None:
        known["gen_ai.request.max_tokens"] = spec.max_tokens
    return known


def _written(request: Request) -> dict[str, str]:
    """Return a request's texts, as the conventions write messages."""
    asked = ("user", request.prompt)
    shared = of_pairs(request.spec.examples)
    turns = (*shared, *request.before, asked, *request.followup)
    known = {"gen_ai.input.messages": _json([_message(*turn) for turn in turns])}
    if request.system is not None:
        part = {"type": "text", "content": request.system}
        known["gen_ai.system_instructions"] = _json([part])
    return known


def _message(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}], **more}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

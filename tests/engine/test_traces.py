"""Spans and metrics over real HTTP, held against the conventions' own constants."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from enum import Enum
from pathlib import Path

import aiohttp
import opentelemetry.semconv._incubating.attributes.gen_ai_attributes as conventions
import pandas as pd
import pytest
from loopback_server import Server, completion, failure
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import http_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

import pandas_llm
import pandas_llm.batch
from pandas_llm._report import traces
from pandas_llm.errors import CostLimitError, GenerationError
from pandas_llm.providers import presets
from pandas_llm.simulator import Simulator

NAMES = {
    value
    for module in (conventions, error_attributes, server_attributes, http_attributes)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
"""All attributes that the conventions know."""
OURS = {f"pandas_llm.{name}" for name in ("rows", "failed", "cached", "requests")}
OURS |= {"pandas_llm.retries", "pandas_llm.known_cost"}
CITIES = pd.Series(["Oslo", "Rome", "Lima"])
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.fixture(scope="session")
def telemetry():
    """The providers that a caller sets, once a process."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return spans, reader


@pytest.fixture
def seen(telemetry, monkeypatch):
    """The spans of one test, in the order in which they ended."""
    monkeypatch.delenv(CONTENT, raising=False)
    spans, reader = telemetry
    spans.clear()
    reader.collect()
    yield spans.get_finished_spans
    for span in spans.get_finished_spans():
        if span.instrumentation_scope.name != "pandas_llm":
            continue
        names = set(span.attributes) | {n for e in span.events for n in e.attributes}
        assert names <= NAMES | OURS, names - NAMES - OURS
        assert span.end_time is not None


def points(telemetry, name):
    """Yield the data points of a metric, the newest of each set of attributes."""
    data = telemetry[1].get_metrics_data()
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    yield from metric.data.data_points


def here(server, **options):
    given = {"base_url": server.base_url, "api_key": "key-of-a-test", "model": "sim"}
    return {**given, "progress": False, "cache": False, "trace": True, **options}


def of_kind(spans, kind):
    return [span for span in spans if span.kind is kind]


def children(spans, parent):
    return [s for s in spans if s.parent and s.parent.span_id == parent.context.span_id]


# -- one run ---------------------------------------------------------------------


def test_a_run_has_a_span_and_each_request_one_below_it(simulator, seen):
    server = simulator()
    out = CITIES.to_frame("city").llm.generate(
        "Facts on ${city}",
        ["fact"],
        temperature=0.5,
        max_tokens=77,
        seed=3,
        stop=["END"],
        top_p=1,
        **here(server),
    )
    *requests, run = seen()
    assert out["fact"].notna().all()
    assert (run.name, run.kind, run.parent) == (
        "invoke_workflow generate",
        SpanKind.INTERNAL,
        None,
    )
    assert run.attributes["pandas_llm.rows"] == 3
    assert run.attributes["pandas_llm.requests"] == 3
    assert run.status.status_code is StatusCode.UNSET
    assert children(requests, run) == requests
    assert len(requests) == 3
    port = int(server.base_url.split(":")[2].split("/")[0])
    usage = pandas_llm.last_usage()
    for span in requests:
        assert (span.name, span.kind) == ("chat sim", SpanKind.CLIENT)
        assert span.status.status_code is StatusCode.UNSET
        assert run.start_time <= span.start_time < span.end_time <= run.end_time
        known = {**span.attributes}
        tokens = known.pop("gen_ai.usage.input_tokens")
        tokens += known.pop("gen_ai.usage.output_tokens")
        assert tokens > 0
        assert known.pop("gen_ai.response.id").startswith("chatcmpl-")
        assert known == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "sim",
            "gen_ai.request.model": "sim",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.top_p": 1.0,
            "gen_ai.request.seed": 3,
            "gen_ai.request.max_tokens": 77,
            "gen_ai.request.stop_sequences": ("END",),
            "gen_ai.output.type": "json",
            "gen_ai.response.model": "sim",
            "gen_ai.response.finish_reasons": ("stop",),
            "server.address": "127.0.0.1",
            "server.port": port,
        }
    for name in ("input_tokens", "output_tokens"):
        told = sum(span.attributes[f"gen_ai.usage.{name}"] for span in requests)
        assert told == getattr(usage, name)


def test_what_is_needed_to_sample_is_there_when_the_span_begins(simulator, seen):
    begun = []

    class Watch(SimpleSpanProcessor):
        def on_start(self, span, parent_context=None):
            begun.append({**span.attributes})

    provider = trace.get_tracer_provider()
    watch = Watch(InMemorySpanExporter())
    provider.add_span_processor(watch)
    CITIES.llm.complete("${value}", **here(simulator()))
    watch.on_start = lambda *_, **__: None
    needed = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"}
    needed |= {"server.address", "server.port"}
    assert all(needed <= set(one) for one in begun[1:])
    assert len(begun) == 4


def test_cached_rows_have_no_span(simulator, seen, tmp_path):
    server = simulator()
    options = here(server, cache=tmp_path / "kept.sqlite")
    CITIES[:2].llm.complete("${value}", **options)
    first = len(seen())
    CITIES.llm.complete("${value}", **options)
    again = seen()[first:]
    assert [span.name for span in again] == ["chat sim", "invoke_workflow complete"]
    assert again[1].attributes["pandas_llm.cached"] == 2


@pytest.mark.parametrize("n", [1, 3])
def test_choices_are_counted_and_each_has_its_reason(simulator, seen, n):
    CITIES[:1].to_frame("c").llm.generate("${c}", ["a"], n=n, **here(simulator()))
    request = seen()[0]
    assert request.attributes.get("gen_ai.request.choice.count", 1) == n
    assert request.attributes["gen_ai.response.finish_reasons"] == ("stop",) * n


def test_embeddings_are_an_operation_of_their_own(simulator, seen):
    out = CITIES.llm.embed(**here(simulator()))
    *requests, run = seen()  # the first text goes ahead, the others are one request
    assert len(out) == 3
    assert [span.name for span in requests] == ["embeddings sim"] * 2
    assert run.name == "invoke_workflow embed"
    for span in requests:
        assert span.attributes["gen_ai.operation.name"] == "embeddings"
        assert span.attributes["gen_ai.usage.input_tokens"] > 0
        assert "gen_ai.usage.output_tokens" not in span.attributes


def test_providers_and_operations_are_named_as_the_conventions_name_them():
    known = {one.value for one in conventions.GenAiProviderNameValues}
    assert set(traces._NAMES.values()) <= known
    assert set(traces._NAMES) <= set(presets())
    operations = {one.value for one in conventions.GenAiOperationNameValues}
    assert {"chat", "embeddings", "generate_content", "invoke_workflow"} <= operations
    assert isinstance(conventions.GenAiProviderNameValues, type(Enum))


@pytest.mark.parametrize(
    ("model", "named", "operation"),
    [
        ("anthropic/sim", "anthropic", "chat"),
        ("google/sim", "gcp.gemini", "generate_content"),
        ("openai-responses/sim", "openai", "chat"),
        ("mistral/sim", "mistral_ai", "chat"),
    ],
)
def test_the_vendors_have_the_conventions_names(
    simulator, seen, model, named, operation
):
    server = simulator()
    place = server.base_url
    if model.startswith("google"):
        place = place.removesuffix("/v1") + "/v1beta"
    if model.startswith("anthropic"):
        place = place.removesuffix("/v1")
    CITIES[:1].llm.complete("${value}", **here(server, model=model, base_url=place))
    request = seen()[0]
    assert request.attributes["gen_ai.provider.name"] == named
    assert request.name == f"{operation} sim"


# -- tries and errors ------------------------------------------------------------


def test_tries_are_events_of_one_span_that_has_them_all(seen):
    tries = []

    def answer(body):
        tries.append(body)
        if len(tries) == 1:
            return failure(429, "slow down")
        return failure(503, "down") if len(tries) == 2 else completion("yes")

    with Server(answer) as server:
        CITIES[:1].llm.complete("${value}", **here(server))
    request, run = seen()
    assert [event.name for event in request.events] == ["retry", "retry"]
    assert [{**event.attributes} for event in request.events] == [
        {
            "error.type": "rate_limit",
            "http.response.status_code": 429,
            "http.request.resend_count": 1,
        },
        {
            "error.type": "overloaded",
            "http.response.status_code": 503,
            "http.request.resend_count": 2,
        },
    ]
    first, second = (event.timestamp for event in request.events)
    assert request.start_time < first < second < request.end_time
    # an error that was overcome is none of the operation's
    assert request.status.status_code is StatusCode.UNSET
    assert "error.type" not in request.attributes
    assert run.attributes["pandas_llm.retries"] == 2


@pytest.mark.filterwarnings("ignore:1 of 3 rows failed")
def test_a_row_that_fails_has_a_failed_span_without_its_words(seen, telemetry):
    def answer(body):
        text = body["messages"][-1]["content"]
        if text == "Rome":
            return failure(400, f"cannot do with {text} and MY-SECRET-CELL")
        return completion("yes")

    with Server(answer) as server:
        out = CITIES.llm.complete("${value}", **here(server, model="m-of-failures"))
    assert out.isna().sum() == 1
    *requests, run = seen()
    failed = [s for s in requests if s.status.status_code is StatusCode.ERROR]
    assert len(failed) == 1
    assert failed[0].attributes["error.type"] == "bad_request"
    assert "MY-SECRET-CELL" not in failed[0].to_json()
    assert run.status.status_code is StatusCode.UNSET
    kinds = [
        point.attributes.get("error.type")
        for point in points(telemetry, "gen_ai.client.operation.duration")
        if point.attributes["gen_ai.request.model"] == "m-of-failures"
    ]
    assert sorted(kinds, key=str) == [None, "bad_request"]


def test_a_run_that_ends_with_an_error_says_so(simulator, seen):
    server = simulator(api_key="the-right-one")
    with pytest.raises(pandas_llm.ProviderError):
        CITIES.llm.complete("${value}", **here(server))
    request, run = seen()
    for span in (request, run):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "authentication"
    assert run.attributes["pandas_llm.requests"] == 1


def test_what_was_never_sent_has_no_span(seen):
    with Server(lambda body: completion("yes")) as server:
        place = here(server)
    with pytest.raises(CostLimitError):
        CITIES.llm.complete("${value}", max_cost=1e-9, prices={"sim": (1, 1)}, **place)
    assert [span.name for span in seen()] == ["invoke_workflow complete"]


def test_an_answer_that_is_asked_for_again_is_a_request_of_its_own(seen):
    answers = iter(["no json", '{"a": "yes"}'])
    with Server(lambda body: completion(next(answers))) as server:
        CITIES[:1].to_frame("c").llm.extract("${c}", ["a"], **here(server))
    *requests, _ = seen()
    assert [span.name for span in requests] == ["chat sim", "chat sim"]


def test_spans_end_when_a_run_is_cancelled(seen):
    asked = threading.Event()

    async def answer(body):
        asked.set()
        await asyncio.sleep(30)
        return completion("late")

    async def main(server):
        work = asyncio.create_task(CITIES.llm.acomplete("${value}", **here(server)))
        await asyncio.to_thread(asked.wait, 10)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    with Server(answer) as server:
        asyncio.run(main(server))
    request, run = seen()
    assert request.attributes["error.type"] == "CancelledError"
    assert run.attributes["error.type"] == "CancelledError"


# -- whose child -----------------------------------------------------------------


def below_mine(call):
    """Make a call inside a span of the caller's; return that span."""
    with trace.get_tracer("caller").start_as_current_span("mine") as mine:
        call()
        assert trace.get_current_span() is mine
    return mine


@pytest.mark.parametrize("loop", ["auto", "thread"])
def test_a_run_is_below_the_callers_span(simulator, seen, loop):
    options = here(simulator(), loop=loop)
    mine = below_mine(lambda: CITIES.llm.complete("${value}", **options))
    *requests, run, _ = seen()
    assert children([run], mine) == [run]
    assert children(requests, run) == requests
    assert {span.context.trace_id for span in requests} == {mine.context.trace_id}


@pytest.mark.filterwarnings("ignore:this call blocks the event loop")
def test_a_run_in_a_running_loop_is_below_the_callers_span(simulator, seen):
    """As in a notebook, where the work runs in a loop of its own."""
    options = here(simulator())

    async def cell():
        return below_mine(lambda: CITIES.llm.complete("${value}", **options))

    mine = asyncio.run(cell())
    *requests, run, _ = seen()
    assert children([run], mine) == [run]
    assert children(requests, run) == requests


def test_awaited_runs_side_by_side_are_each_their_callers(simulator, seen):
    options = here(simulator(latency=0.05))

    async def one(name):
        with trace.get_tracer("caller").start_as_current_span(name) as mine:
            await CITIES.llm.acomplete(f"{name} ${{value}}", **options)
        return mine

    async def both():
        return await asyncio.gather(one("first"), one("second"))

    for mine in asyncio.run(both()):
        (run,) = children(seen(), mine)
        assert len(children(seen(), run)) == 3


def test_http_spans_of_others_are_below_the_request(simulator, seen):
    """Of opentelemetry-instrumentation-aiohttp-client, which works by such a config."""
    options, current = here(simulator()), []

    async def note(session, context, params):
        current.append(trace.get_current_span().get_span_context().span_id)

    async def main():
        config = aiohttp.TraceConfig()
        config.on_request_start.append(note)
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            await CITIES.llm.acomplete("${value}", session=session, **options)

    asyncio.run(main())
    requests = of_kind(seen(), SpanKind.CLIENT)
    assert sorted(current) == sorted(span.context.span_id for span in requests)


def test_a_verb_over_the_table_has_one_span_above_its_runs(simulator, seen):
    frame = pd.DataFrame({"text": [f"Line {i} of a text" for i in range(60)]})
    options = here(simulator(), max_tokens_per_call=120)
    mine = below_mine(lambda: frame.llm.agg("Sum up", "text", **options))
    (verb,) = children(seen(), mine)
    runs = children(seen(), verb)
    assert verb.name == "invoke_workflow agg"
    assert len(runs) >= 2
    requests = [span for run in runs for span in children(seen(), run)]
    assert len(requests) == verb.attributes["pandas_llm.requests"]
    assert len(requests) == len(of_kind(seen(), SpanKind.CLIENT))


def test_a_batch_has_a_span_to_submit_and_one_to_load_and_none_a_row(
    simulator, seen, tmp_path, monkeypatch
):
    server = simulator()
    frame = CITIES.to_frame("city")
    options = here(server, cache=tmp_path / "kept.sqlite")
    job = frame.llm.submit("On ${city}", ["fact"], **options)
    names = [span.name for span in seen()]
    assert names[-1] == "invoke_workflow generate submit"
    monkeypatch.setenv("PANDAS_LLM_TRACE", "true")
    monkeypatch.setenv("PANDAS_LLM_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-a-test")
    loaded = pandas_llm.batch.load(job.id, cache=tmp_path / "kept.sqlite")
    out = loaded.result(frame)
    assert out["fact"].notna().all()
    names = [span.name for span in seen()[len(names) :]]
    assert names == ["invoke_workflow generate result"]


# -- metrics ---------------------------------------------------------------------


def test_tokens_and_seconds_are_histograms_with_the_advised_bins(seen, telemetry):
    used = {"prompt_tokens": 300, "completion_tokens": 20}

    with Server(lambda body: {**completion("yes"), "usage": used}) as server:
        CITIES.llm.complete("${value}", **here(server, model="m-of-metrics"))
    *requests, _ = seen()

    def own(name):
        for point in points(telemetry, name):
            if point.attributes["gen_ai.request.model"] == "m-of-metrics":
                assert set(point.attributes) <= NAMES
                yield point

    (seconds,) = own(gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION)
    assert seconds.count == 3
    spent = sum(span.end_time - span.start_time for span in requests) / 1e9
    assert seconds.sum == pytest.approx(spent, abs=1e-6)
    bins = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12]
    bins += [10.24, 20.48, 40.96, 81.92]
    assert seconds.explicit_bounds == pytest.approx(bins)
    tokens = {
        point.attributes["gen_ai.token.type"]: point
        for point in own(gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE)
    }
    assert set(tokens) == {"input", "output"}
    for kind, point in tokens.items():
        told = [span.attributes[f"gen_ai.usage.{kind}_tokens"] for span in requests]
        assert (point.count, point.sum) == (3, sum(told))
        assert point.explicit_bounds[:5] == (1, 4, 16, 64, 256)
        assert point.explicit_bounds[-1] == 67_108_864


# -- content ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ((True, None), False),
        ((True, "false"), False),
        ((True, "NO_CONTENT"), False),
        ((True, "EVENT_ONLY"), False),
        ((True, "true"), True),
        ((True, "SPAN_ONLY"), True),
        ((True, "span_and_event"), True),
        (("content", None), True),
        (("content", "false"), True),
    ],
)
def test_no_content_unless_it_is_asked_for(simulator, seen, monkeypatch, wanted, shown):
    option, variable = wanted
    if variable is not None:
        monkeypatch.setenv(CONTENT, variable)
    given = here(simulator(), trace=option, system="Be SHORT", examples=[("A1", "B1")])
    CITIES[:1].llm.complete("On ${value}", **given)
    everything = "".join(span.to_json() for span in seen())
    for word in ("Oslo", "SHORT", "B1", "simulated"):
        assert (word in everything) is shown, word
    if shown:
        known = seen()[0].attributes
        assert json.loads(known["gen_ai.system_instructions"]) == [
            {"type": "text", "content": "Be SHORT"}
        ]
        turns = json.loads(known["gen_ai.input.messages"])
        assert [(turn["role"], turn["parts"][0]["content"]) for turn in turns] == [
            ("user", "A1"),
            ("assistant", "B1"),
            ("user", "On Oslo"),
        ]
        (answer,) = json.loads(known["gen_ai.output.messages"])
        assert answer["role"] == "assistant"
        assert answer["finish_reason"] == "stop"


def test_a_rows_own_turns_are_content_too(simulator, seen):
    said = [("user", "Earlier"), ("assistant", "Then")]
    turns = [{"role": role, "content": text} for role, text in said]
    frame = pd.DataFrame({"city": ["Oslo"], "chat": [turns]})
    given = here(simulator(), trace="content", messages="chat")
    frame.llm.complete("On ${city}", **given)
    told = json.loads(seen()[0].attributes["gen_ai.input.messages"])
    assert [turn["parts"][0]["content"] for turn in told] == [
        *("Earlier", "Then", "On Oslo")
    ]


def test_content_is_text_that_people_can_read(simulator, seen):
    texts = pd.Series(["Осло 🙂"])
    texts.llm.complete("On ${value}", **here(simulator(), trace="content"))
    assert "On Осло 🙂" in seen()[0].attributes["gen_ai.input.messages"]


def test_no_key_is_in_any_span(simulator, seen):
    place = here(simulator(), trace="content", headers={"x-token": "SECRET-HEADER"})
    CITIES.llm.complete("On ${value}", **place)
    everything = "".join(span.to_json() for span in seen())
    assert "key-of-a-test" not in everything
    assert "SECRET-HEADER" not in everything


# -- on and off ------------------------------------------------------------------


def test_off_nothing_is_imported_and_no_span_is_made(seen, simulator):
    CITIES.llm.complete("${value}", **here(simulator(), trace=False))
    assert seen() == ()
    code = """
import sys, pandas as pd, pandas_llm
out = pd.Series(["a"]).llm.complete("${value}", model="sim", progress=False)
print([name for name in sys.modules if name.startswith("opentelemetry")], len(out))
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[] 1"


def test_off_no_row_calls_anything_for_it():
    """A row of a run that is not traced makes no call into the module of traces."""
    called = set()

    def watch(frame, event, _):
        if event == "call":
            called.add((frame.f_code.co_filename, frame.f_code.co_name))

    with Simulator() as server:
        options = here(server, trace=False, concurrency=1)
        CITIES.llm.complete("${value}", **options)
        sys.setprofile(watch)
        try:
            CITIES.llm.complete("On ${value}", **options)
        finally:
            sys.setprofile(None)
    inside = {name for file, name in called if file == traces.__file__}
    assert inside == {"traced"}  # once a run: it is not wanted
    assert not any(name in {"_traced", "left"} for _, name in called)


def test_without_the_extra_an_error_says_how_before_anything_is_sent(simulator):
    server = simulator()
    code = f"""
import sys, pandas as pd
sys.modules["opentelemetry"] = None
import pandas_llm
try:
    pd.Series(["a"]).llm.complete(
        "${{value}}", base_url={server.base_url!r}, api_key="k", model="sim", trace=True
    )
except pandas_llm.ConfigurationError as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'pandas-llm-accessor[otel]'" in told.stdout
    assert server.stats()["requests"] == 0


@pytest.mark.parametrize("wrong", ["yes", 1.5, "contents", []])
def test_trace_is_refused_for_any_other_value(wrong):
    with pytest.raises(ValueError, match=r"trace must be True, False or 'content'"):
        CITIES.llm.complete("${value}", model="sim", trace=wrong)


def test_the_variable_turns_it_on(simulator, seen, monkeypatch):
    place = here(simulator())
    del place["trace"]
    monkeypatch.setenv("PANDAS_LLM_TRACE", "true")
    CITIES[:1].llm.complete("${value}", **place)
    assert len(seen()) == 2


def test_the_runs_span_counts_rows_that_fail_where_they_raise_at_the_end(seen):
    def answer(body):
        rome = body["messages"][-1]["content"] == "Rome"
        return failure(400, "no") if rome else completion("yes")

    with Server(answer) as server, pytest.raises(GenerationError):
        CITIES.llm.complete("${value}", errors="raise", **here(server))
    assert seen()[-1].attributes["pandas_llm.failed"] == 1


def test_the_pages_code_prints_what_the_page_shows():
    page = (Path(__file__).parents[2] / "docs/how-to/traces.md").read_text()
    code = page.split("```python notest\n")[1].split("```")[0]
    shown = page.split("```text\n")[1].split("```")[0]
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert told.stdout == shown

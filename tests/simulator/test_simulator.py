"""The simulated server: real HTTP, faults on request, honest limits and counters."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from clock import Clock
from schema_keys import RECORDS
from wire import Got, exchange

from pandas_llm.simulator import (
    FAULTS,
    Settings,
    Simulator,
    count_tokens,
    prompt_key,
    serve,
)
from pandas_llm.simulator.conditions.delays import delay_of
from pandas_llm.simulator.conditions.faults import fault_of
from pandas_llm.simulator.conditions.limits import Limits, go_duration, retry_headers
from pandas_llm.simulator.dialects.openai import rate_headers
from pandas_llm.simulator.server.stats import Stats

if TYPE_CHECKING:
    from pandas_llm.simulator import Server

MARK = "[simulated] "
PROMPT = "Summarise the text.\ntext: Cats purr. Dogs bark."


def body(prompt: str = PROMPT, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "sim", "messages": messages, **fields}


def chat(
    sim: Simulator,
    prompt: str = PROMPT,
    *,
    headers: dict[str, str] | None = None,
    wait: float = 10,
    **fields: Any,
) -> Got:
    data = json.dumps(body(prompt, **fields)).encode()
    return exchange(sim, "/v1/chat/completions", data, headers, wait)


def json_schema(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "r", "schema": schema, **fields},
    }


# The protocol


def test_a_reply_has_the_fields_of_openai() -> None:
    with Simulator() as sim:
        got = chat(sim)
    reply = got.body
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-request-id"] == "req_sim_00000000"
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "sim"
    assert reply["system_fingerprint"] == "fp_simulator"
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["refusal"] is None
    assert got.text.startswith(MARK)
    usage = reply["usage"]
    assert usage["prompt_tokens"] == count_tokens(PROMPT) + 4
    assert usage["completion_tokens"] == count_tokens(got.text)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_equal_settings_and_requests_give_equal_replies() -> None:
    with Simulator(seed=3) as one, Simulator(seed=3) as two:
        first = [chat(one, n=2).raw, chat(one, "Another one").raw]
        assert first == [chat(two, n=2).raw, chat(two, "Another one").raw]


def test_max_tokens_cuts_the_text() -> None:
    with Simulator() as sim:
        for name in ("max_tokens", "max_completion_tokens"):
            fields: dict[str, Any] = {name: 4}
            got = chat(sim, **fields)
            assert got.body["choices"][0]["finish_reason"] == "length"
            assert got.body["usage"]["completion_tokens"] == 4
        assert chat(sim, max_tokens=4000).body["choices"][0]["finish_reason"] == "stop"


def test_a_server_may_give_fewer_choices_than_asked() -> None:
    with Simulator(max_n=2) as sim:
        assert len(chat(sim, n=5).body["choices"]) == 2


def test_json_object_obeys_the_schema_in_the_prompt() -> None:
    prompt = f"Reply with JSON: {json.dumps(RECORDS)}\ntext: Cats purr."
    with Simulator(schema_modes=("json_object",)) as sim:
        got = chat(sim, prompt, response_format={"type": "json_object"})
        assert json.loads(got.text)["records"][0]["text"].startswith(MARK)
        refused = chat(sim, response_format={"type": "json_object"})
        assert "json" in refused.error["message"]
        refused = chat(sim, response_format=json_schema(RECORDS))
        assert (refused.status, refused.error["param"]) == (400, "response_format")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "gone"}, 404, "model_not_found", None),
        ({"model": None}, 400, None, "model"),
        ({"messages": None}, 400, "missing_required_parameter", "messages"),
        ({"messages": []}, 400, "empty_array", "messages"),
        ({"messages": ["x"]}, 400, "invalid_type", "messages[0]"),
        ({"n": 0}, 400, "integer_below_min_value", "n"),
        ({"n": 129}, 400, "integer_above_max_value", "n"),
        ({"n": "2"}, 400, "invalid_type", "n"),
        ({"max_tokens": 0}, 400, "integer_below_min_value", "max_tokens"),
        ({"stream": True}, 400, "unsupported_value", "stream"),
        ({"top_p": 0.5}, 400, "unsupported_parameter", "top_p"),
        (
            {"response_format": json_schema({"type": "object"}, strict=True)},
            *(400, "invalid_json_schema", "response_format"),
        ),
        (
            {"response_format": json_schema({"$ref": "#/missing"})},
            *(400, "invalid_json_schema", "response_format"),
        ),
        (
            {"response_format": {"type": "json_schema"}},
            *(400, "missing_required_parameter", "response_format.json_schema"),
        ),
        ({"response_format": "json"}, 400, "invalid_type", "response_format"),
    ],
)
def test_a_wrong_request_is_refused_as_openai_does(
    fields: dict[str, Any], status: int, code: str | None, param: str | None
) -> None:
    with Simulator(reject_params=("top_p",)) as sim:
        got = chat(sim, **fields)
        assert (got.status, got.error["code"], got.error["param"]) == (
            status,
            code,
            param,
        )
        assert got.error["type"] == "invalid_request_error"
        assert sim.stats()["answered"] == 0


def test_what_is_no_json_object_is_refused() -> None:
    with Simulator() as sim:
        for data in (b"{", b"[]", b"", b"\xff"):
            assert exchange(sim, "/v1/chat/completions", data).status == 400
        assert sim.stats()["by_status"] == {"400": 4}
        assert sim.requests()[0]["body"] == "{"


def test_other_addresses_are_not_found() -> None:
    with Simulator() as sim:
        got = exchange(sim, "/v1/nothing")
        assert (got.status, "Invalid URL" in got.error["message"]) == (404, True)


def test_a_key_is_needed_where_one_is_set() -> None:
    with Simulator(api_key="secret", models=("a", "b")) as sim:
        assert chat(sim).error["code"] == "invalid_api_key"
        assert exchange(sim, "/v1/models").status == 401
        key = {"Authorization": "Bearer secret"}
        assert chat(sim, headers=key, model="a").status == 200
        gateway = {"x-goog-api-key": "secret", "Authorization": "Bearer gateway"}
        assert exchange(sim, "/v1/models", headers=gateway).status == 200
        models = exchange(sim, "/v1/models", headers=key).body["data"]
        assert [model["id"] for model in models] == ["a", "b"]
        shown = exchange(sim, "/requests").raw.decode()
    assert "Bearer ***" in shown
    assert "secret" not in shown
    assert "secret" not in repr(Settings(api_key="secret"))


def test_a_prompt_too_long_for_the_context_is_refused() -> None:
    with Simulator(context_length=20) as sim:
        assert chat(sim, "short").status == 200
        got = chat(sim, "long " * 100)
        assert (got.status, got.error["code"]) == (400, "context_length_exceeded")


# Faults


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code"),
    [
        ("400", 400, "invalid_request_error", "invalid_prompt"),
        ("401", 401, "invalid_request_error", "invalid_api_key"),
        ("404", 404, "invalid_request_error", "model_not_found"),
        ("429", 429, "requests", "rate_limit_exceeded"),
        ("429_quota", 429, "insufficient_quota", "insufficient_quota"),
        ("500", 500, "server_error", None),
        ("503", 503, "server_error", "server_is_overloaded"),
        ("529", 529, "overloaded_error", None),
    ],
)
def test_an_error_fault_answers_with_its_status_type_and_code(
    fault: str, status: int, kind: str, code: str | None
) -> None:
    with Simulator(fault_plan={0: fault}, fault_delay=0.02) as sim:
        got = chat(sim)
        assert (got.status, got.error["type"], got.error["code"]) == (
            status,
            kind,
            code,
        )
        waits = fault in {"429", "503", "529"}
        assert got.headers.get("retry-after-ms") == ("20" if waits else None)
        assert got.headers.get("retry-after") == ("1" if waits else None)
        assert chat(sim).status == 200
        assert sim.stats()["faults"] == {fault: 1}
        sim.configure(retry_after=False, faults={fault: 1})
        assert "retry-after" not in chat(sim).headers


def test_faults_in_the_http_body() -> None:
    plan = {0: "html", 1: "empty", 2: "broken_json", 3: "error_200"}
    with Simulator(fault_plan=plan) as sim:
        html, empty, broken, error = (chat(sim) for _ in plan)
        assert {got.status for got in (html, empty, broken, error)} == {200}
        assert html.headers["content-type"].startswith("text/html")
        assert html.raw.startswith(b"<!DOCTYPE html>")
        assert empty.raw == b""
        with pytest.raises(json.JSONDecodeError):
            broken.body  # noqa: B018
        assert error.error["code"] == 502
        assert sim.stats()["answered"] == 0


def test_a_fault_can_be_in_the_reply_itself() -> None:
    names = ("bad_output", "wrong_schema", "refusal", "cut_off", "content_filter")
    wanted = json_schema(RECORDS)
    with Simulator(fault_plan=dict(enumerate(names))) as sim:
        got = {name: chat(sim, response_format=wanted) for name in names}
        good = chat(sim, response_format=wanted)
    choices = {name: each.body["choices"][0] for name, each in got.items()}
    with pytest.raises(json.JSONDecodeError):
        json.loads(got["bad_output"].text)
    assert "records" not in json.loads(got["wrong_schema"].text)
    assert choices["refusal"]["message"]["content"] is None
    assert choices["refusal"]["message"]["refusal"].startswith(MARK)
    assert choices["cut_off"]["finish_reason"] == "length"
    assert good.text.startswith(got["cut_off"].text)
    assert len(got["cut_off"].text) < len(good.text)
    assert choices["content_filter"]["finish_reason"] == "content_filter"
    for each in got.values():
        assert each.body["usage"]["prompt_tokens"] > 0


def test_replies_without_a_part() -> None:
    plan = {0: "no_usage", 1: "no_choices", 2: "no_message"}
    with Simulator(fault_plan=plan) as sim:
        no_usage, no_choices, no_message = (chat(sim).body for _ in plan)
        assert "usage" not in no_usage
        assert no_choices["choices"] == []
        assert "message" not in no_message["choices"][0]
        assert sim.stats()["answered"] == 3
        assert sim.stats()["tokens_out"] > 0  # billed though not told


def test_a_reset_breaks_the_connection() -> None:
    with Simulator(fault_plan={0: "reset"}) as sim:
        with pytest.raises(ConnectionResetError):
            chat(sim)
        assert chat(sim).status == 200
        assert sim.stats()["in_flight"] == 0


def test_a_truncated_body_is_shorter_than_announced() -> None:
    with Simulator(fault_plan={0: "truncated"}) as sim:
        with pytest.raises(http.client.IncompleteRead):
            chat(sim)
        assert chat(sim).status == 200
        assert sim.stats()["by_status"] == {"200": 2}


def test_a_hanging_request_ends_with_its_client() -> None:
    with Simulator(fault_plan={0: "hang"}, slots=1) as sim:
        with pytest.raises(TimeoutError):
            chat(sim, wait=0.2)
        assert chat(sim).status == 200  # the only slot is free again
        assert sim.stats()["in_flight"] == 0
        assert sim.requests()[0]["status"] is None


def test_every_fault_can_be_asked_for() -> None:
    with Simulator() as sim:
        for fault in sorted(FAULTS):
            sim.configure(faults={fault: 1.0})
            try:
                chat(sim, wait=0.2)
            except (OSError, http.client.HTTPException):
                assert fault in {"hang", "reset", "truncated"}
        assert sim.stats()["faults"] == dict.fromkeys(FAULTS, 1)


def test_a_fault_may_belong_to_a_prompt() -> None:
    with Simulator(fail_if={"poison": "400"}) as sim:
        found = [chat(sim, text).status for text in ("a poison", "fine", "poison b")]
    assert found == [400, 200, 400]


def test_chance_depends_on_the_seed_and_the_number_alone() -> None:
    def drawn(seed: int) -> list[str | None]:
        settings = Settings(seed=seed, faults={"429": 0.2, "500": 0.1})
        return [fault_of(settings, number, "") for number in range(2000)]

    found = drawn(1)
    assert found == drawn(1) != drawn(2)
    assert 300 < found.count("429") < 500
    assert 140 < found.count("500") < 260


@pytest.mark.parametrize(
    ("knobs", "problem"),
    [
        ({"faults": {"nonsense": 0.1}}, "unknown faults"),
        ({"faults": {"429": 0.6, "500": 0.6}}, "in sum"),
        ({"faults": {"429": -0.1}}, "negative"),
        ({"fault_plan": {0: "nonsense"}}, "unknown faults"),
        ({"fail_if": {"x": "nonsense"}}, "unknown faults"),
        ({"latency": -1}, "latency"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"slots": 0}, "slots"),
        ({"schema_modes": ("xml",)}, "xml"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    knobs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Simulator(**knobs)


def test_a_knob_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(TypeError, match="Simulator has no 'model'; there are seed,"):
        Simulator(model="x")


# Limits


def test_durations_are_written_as_go_writes_them() -> None:
    written = {
        0: "0s",
        0.0001: "1ms",
        0.12: "120ms",
        7.66: "7.66s",
        60: "1m0s",
        90.5: "1m30.5s",
        61213: "17h0m13s",
    }
    assert {seconds: go_duration(seconds) for seconds in written} == written


def test_a_wait_is_never_told_too_short() -> None:
    assert retry_headers(0.0501) == {"retry-after": "1", "retry-after-ms": "51"}
    assert retry_headers(2.01)["retry-after"] == "3"


def test_requests_refill_continuously() -> None:
    clock = Clock(100.0)
    limits = Limits(Settings(requests_per_minute=60, burst=2), clock)
    assert [limits.admit(1).wait for _ in range(3)] == [0, 0, pytest.approx(1)]
    assert rate_headers(limits.levels()) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2s",
    }
    clock.now += 0.5
    assert limits.admit(1).wait == pytest.approx(0.5)
    clock.now += 0.5
    assert limits.admit(1).wait == 0
    clock.now += 1000
    assert rate_headers(limits.levels())["x-ratelimit-remaining-requests"] == "2"


def test_tokens_are_limited_and_a_refusal_uses_up_nothing() -> None:
    clock = Clock(100.0)
    settings = Settings(requests_per_minute=600, tokens_per_minute=6000)
    limits = Limits(settings, clock)
    assert limits.admit(60).wait == 0
    refused = limits.admit(90)
    assert (refused.kind, refused.limit, refused.requested) == ("tokens", 6000, 90)
    assert refused.wait == pytest.approx(0.5)
    headers = rate_headers(limits.levels())
    assert headers["x-ratelimit-remaining-tokens"] == "40"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-reset-tokens"] == "600ms"


def test_a_large_request_waits_for_a_full_bucket_and_leaves_a_debt() -> None:
    clock = Clock(100.0)
    limits = Limits(Settings(tokens_per_minute=6000), clock)
    assert limits.admit(1000).wait == 0
    assert rate_headers(limits.levels())["x-ratelimit-remaining-tokens"] == "0"
    assert limits.admit(1).wait == pytest.approx(9.01)
    assert limits.admit(6001).wait == float("inf")


def test_over_the_limit_is_a_429_that_says_how_long() -> None:
    async def run() -> None:
        clock = Clock(100.0)
        settings = Settings(requests_per_minute=30, burst=1)
        async with (
            serve(settings, clock=clock) as server,
            aiohttp.ClientSession() as web,
        ):
            url = f"{server.base_url}/chat/completions"

            async def send() -> tuple[int, Any]:
                async with web.post(url, json=body()) as response:
                    await response.read()
                    return response.status, response.headers

            status, headers = await send()
            assert (status, headers["x-ratelimit-remaining-requests"]) == (200, "0")
            status, headers = await send()
            assert (status, headers["retry-after-ms"]) == (429, "2000")
            assert headers["retry-after"] == "2"
            clock.now += 2
            assert (await send())[0] == 200
            assert server.stats()["rejected_429"] == 1
            server.configure(retry_after=False, headers=False)
            status, headers = await send()
            assert status == 429
            assert not {"retry-after", "x-ratelimit-limit-requests"} & set(headers)

    asyncio.run(run())


def test_max_tokens_count_against_the_limit_as_at_openai() -> None:
    with Simulator(tokens_per_minute=6000) as sim:
        got = chat(sim, max_tokens=7000)
        assert (got.status, got.error["type"]) == (429, "tokens")
        assert "too large" in got.error["message"]
        assert "retry-after" not in got.headers
        left = int(chat(sim, max_tokens=50).headers["x-ratelimit-remaining-tokens"])
        assert left == pytest.approx(50, abs=5)


# Counters and life


def test_the_counters_tell_what_happened() -> None:
    with Simulator(fault_plan={1: "500"}) as sim:
        replies = [chat(sim, text) for text in ("a", "a", "b", "ü")]
        stats = sim.stats()
        assert stats["connections"] == 4
        assert {**stats, "connections": 5} == exchange(sim, "/stats").body
        assert stats["requests"] == 4
        assert stats["by_status"] == {"200": 3, "500": 1}
        assert stats["answered"] == 3
        assert stats["prompts"] == 3
        assert stats["per_prompt"][prompt_key("a")] == 2
        assert stats["per_prompt"][prompt_key("ü")] == 1
        used = [got.body["usage"] for got in replies if got.status == 200]
        assert stats["tokens_in"] == sum(usage["prompt_tokens"] for usage in used)
        assert stats["tokens_out"] == sum(usage["completion_tokens"] for usage in used)
        seen = sim.requests()
        assert [each["number"] for each in seen] == [0, 1, 2, 3]
        assert [each["fault"] for each in seen] == [None, "500", None, None]
        assert seen[0]["body"] == body("a")
        assert seen[0]["path"] == "/v1/chat/completions"


def test_a_reset_starts_the_counters_and_the_plan_again() -> None:
    with Simulator(fault_plan={0: "500"}) as sim:
        assert [chat(sim).status for _ in range(2)] == [500, 200]
        sim.reset()
        assert sim.stats()["requests"] == 0
        assert chat(sim).status == 500
        assert exchange(sim, "/stats/reset", b"").body["by_status"] == {}
        assert chat(sim).status == 500


async def _post_many(server: Server, count: int) -> list[int]:
    url = f"{server.base_url}/chat/completions"
    async with aiohttp.ClientSession() as web:

        async def send(number: int) -> int:
            async with web.post(url, json=body(f"Row {number}")) as response:
                await response.read()
                return response.status

        return await asyncio.gather(*map(send, range(count)))


def test_requests_are_worked_on_together_unless_there_are_slots() -> None:
    async def run(slots: int | None) -> tuple[float, int]:
        async with serve(Settings(latency=0.05, slots=slots)) as server:
            started = time.monotonic()
            assert await _post_many(server, 6) == [200] * 6
            return time.monotonic() - started, server.stats()["max_in_flight"]

    _, most = asyncio.run(run(None))
    assert most > 1
    seconds, _ = asyncio.run(run(2))
    assert seconds >= 0.14  # three rounds of two: a floor, not a speed


def test_jitter_spreads_the_latency_around_its_mean() -> None:
    settings = Settings(latency=0.5, jitter=0.6)
    delays = [delay_of(settings, number) for number in range(4000)]
    assert delays[:9] == [delay_of(settings, number) for number in range(9)]
    assert sum(delays) / len(delays) == pytest.approx(0.5, rel=0.05)
    assert min(delays) < 0.2
    assert max(delays) > 1.5
    assert delay_of(replace(settings, jitter=0.0), 7) == 0.5


def test_an_exit_does_not_wait_for_hanging_requests() -> None:
    async def run() -> float:
        async with aiohttp.ClientSession() as web:
            async with serve(Settings(faults={"hang": 1.0})) as server:
                url = f"{server.base_url}/chat/completions"
                tasks = [asyncio.create_task(web.post(url, json=body())) for _ in "abc"]
                while server.stats()["in_flight"] < len(tasks):
                    await asyncio.sleep(0.01)
                started = time.monotonic()
            seconds = time.monotonic() - started
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, aiohttp.ClientError) for result in results)
        return seconds

    assert asyncio.run(run()) < 10  # they hang for good


def test_the_thread_and_the_port_are_gone_after_the_block() -> None:
    with Simulator() as sim:
        address = urlsplit(sim.base_url)
        assert chat(sim).status == 200
    assert address.hostname is not None
    assert address.port is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port), timeout=1)
    with pytest.raises(RuntimeError, match="inside"):
        sim.stats()


def test_a_simulator_can_be_entered_again_but_not_twice() -> None:
    sim = Simulator(Settings(seed=1), models=("m",))
    for _ in range(2):
        with sim:
            assert chat(sim, model="m").status == 200
            assert sim.stats()["requests"] == 1
            with pytest.raises(RuntimeError, match="already"):
                sim.__enter__()


def test_a_port_in_use_is_the_callers_error() -> None:
    with Simulator() as sim:
        port = urlsplit(sim.base_url).port
        assert port is not None
        with pytest.raises(OSError, match="address"), Simulator(port=port):
            pass


def test_a_wrong_knob_leaves_the_running_server_as_it_is() -> None:
    with Simulator() as sim:
        with pytest.raises(ValueError, match="unknown faults"):
            sim.configure(faults={"nonsense": 1.0})
        assert chat(sim).status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_run_forever_announces_its_address_and_ends_on_ctrl_c() -> None:
    code = (
        "from pandas_llm.simulator import run_forever\n"
        "run_forever(announce=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_the_package_is_imported_without_aiohttp() -> None:
    code = (
        "import sys, pandas_llm.simulator as s\n"
        "assert 'aiohttp' not in sys.modules\n"
        "assert s.serve and s.answer and 'aiohttp' in sys.modules\n"
        "assert all(hasattr(s, name) for name in s.__all__)\n"
        "assert not hasattr(s, 'nonsense')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_requests_that_are_kept_have_a_size():
    stats = Stats()
    for _ in range(100):
        stats.arrive("/v1/chat/completions", {}, bytes(2**20))
    assert stats.requests == 100
    assert len(stats.recent) == 64
    stats.arrive("/v1/chat/completions", {}, bytes(2**27))
    assert [seen.number for seen in stats.recent] == [100]

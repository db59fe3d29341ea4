"""What a run costs, what it may cost, and that no bill surprises."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import sqlite3
from collections import Counter
from contextlib import closing

import orjson
import pandas as pd
import pytest
from aiohttp import ClientSession, TCPConnector, web
from loopback_server import Server, certificates, completion, failure

import pandas_llm
from pandas_llm import ConfigurationError, LLMWarning, Plan
from pandas_llm._pacing.prices import Prices
from pandas_llm.cache.entries import load
from pandas_llm.errors import CostLimitError
from pandas_llm.types import Endpoint, Tokens

PRICES = {"sim": (2.0, 8.0)}
"""Dollars per million tokens in and out."""


def facts(rows):
    return pd.DataFrame({"text": [f"Fact number {i}." for i in range(rows)]})


def bill(server):
    """Return what the server has used, in dollars."""
    stats = server.stats()
    return (stats["tokens_in"] * 2.0 + stats["tokens_out"] * 8.0) / 1e6


# -- what it has cost -----------------------------------------------------------


def test_the_cost_is_what_the_server_has_counted(simulator, on):
    server = simulator(fail_if={"number 3.": "bad_output"})
    out = facts(30).llm.extract("${text}", ["fact"], prices=PRICES, **on(server))
    assert out.llm.usage.cost == pytest.approx(bill(server))
    assert server.stats()["requests"] == 31  # the answer nobody understood costs too


@pytest.mark.parametrize("name", ["sim", "sim/sim"])
def test_a_price_goes_by_the_models_name_with_or_without_provider(name, simulator, on):
    server = simulator()
    prices = {name: (2.0, 8.0)}
    out = facts(3).llm.extract("${text}", ["fact"], prices=prices, **on(server))
    assert out.llm.usage.cost == pytest.approx(bill(server))


def test_an_unknown_price_is_nan_and_never_zero(simulator, on, tmp_path):
    options = on(simulator(), cache=tmp_path / "c.sqlite")
    out = facts(3).llm.extract("${text}", ["fact"], **options)
    assert math.isnan(out.llm.usage.cost)
    assert math.isnan(pandas_llm.last_usage().cost)
    again = facts(3).llm.extract("${text}", ["fact"], **options)
    assert again.llm.usage.cost == 0.0  # nothing was asked, so nothing was paid


def test_tokens_that_nobody_counted_cost_nobody_knows_what(simulator, on):
    server = simulator(faults={"no_usage": 1.0})
    out = facts(3).llm.extract("${text}", ["fact"], prices=PRICES, **on(server))
    assert math.isnan(out.llm.usage.cost)


def test_cached_rows_cost_nothing(simulator, on, tmp_path):
    server = simulator()
    options = on(server, cache=tmp_path / "c.sqlite", prices=PRICES)
    facts(10).llm.extract("${text}", ["fact"], **options)
    paid = bill(server)
    out = facts(15).llm.extract("${text}", ["fact"], **options)
    assert out.llm.usage.cached == 10
    assert out.llm.usage.cost == pytest.approx(bill(server) - paid)


def test_the_costs_of_a_chain_add_up(simulator, on):
    server = simulator()
    options = on(server, prices=PRICES)
    first = facts(4).llm.extract("${text}", ["fact"], **options)
    second = first.llm.extract("${fact}", ["word"], **options)
    assert second.llm.usage.cost == pytest.approx(bill(server))


# -- max_cost -------------------------------------------------------------------


def bounded(server, most, tokens):
    """Return the options of a call of which each answer has a price and a bound."""
    return {
        "model": "openai/sim",
        "base_url": server.base_url,
        "api_key": "k",
        "prices": PRICES,
        "max_tokens": tokens,
        "max_cost": most,
        "progress": False,
    }


def limited(server, on, rows=300, **more):
    """Run into max_cost; return the error."""
    options = {"prices": PRICES, **on(server), **more}
    with pytest.raises(CostLimitError) as caught:
        facts(rows).llm.extract("${text}", ["fact"], **options)
    return caught.value


@pytest.mark.parametrize("concurrency", [1, 4, 40])
def test_with_max_tokens_the_bill_never_passes_max_cost(concurrency, simulator, on):
    server = simulator(latency=0.02, jitter=0.5)
    most = 0.01
    error = limited(
        server, on, max_cost=most, max_tokens=60, concurrency=concurrency, rows=400
    )
    assert error.fatal
    assert 0.5 * most < bill(server) <= most
    assert pandas_llm.last_usage().cost == pytest.approx(bill(server))
    done = error.partial["fact"].notna()
    assert done.sum() == server.stats()["answered"]
    assert len(error.partial) == 400
    assert error.failures["kind"].iloc[-1] == "not_sent"
    assert error.failures["kind"].value_counts()["max_cost"] == 1
    assert pandas_llm.last_usage().failed == 1  # no other was sent and failed
    assert set(error.failures["kind"]) == {"not_sent", "max_cost"}
    for words in ("max_cost=0.01", "raise it to go on"):
        assert words in str(error)


def test_what_is_paid_for_a_long_system_prompt_is_set_aside_too(simulator, on):
    """Rows are short here; what all share is a hundred times as long."""
    server = simulator(latency=0.01)
    most = 0.05
    system = "Answer as briefly as you can, and only in English. " * 100
    limited(
        *(server, on),
        max_cost=most,
        max_tokens=60,
        system=system,
        examples=[(system, "[]")],
        concurrency=20,
    )
    assert 0.5 * most < bill(server) <= most


def test_text_of_many_tokens_a_letter_cannot_pass_the_sum(simulator, on):
    server = simulator(latency=0.01)
    df = pd.DataFrame({"text": [f"{i} " + "𒀀𒁀𒂀" * 200 for i in range(100)]})
    df.loc[:20, "text"] = [f"Fact number {i}." for i in range(21)]
    with pytest.raises(CostLimitError):
        df.llm.extract(
            "${text}",
            ["fact"],
            prices=PRICES,
            max_cost=0.03,
            max_tokens=600,
            **on(server, concurrency=20),
        )
    assert bill(server) <= 0.03


def test_replies_that_count_no_tokens_use_up_the_sum_all_the_same(simulator, on):
    server = simulator(faults={"no_usage": 1.0})
    limited(server, on, max_cost=0.01, max_tokens=60)
    assert server.stats()["requests"] <= 0.01 / (60 * 8e-6)


def test_without_max_tokens_only_rows_in_flight_can_pass_the_sum(simulator, on):
    server = simulator(latency=0.02)
    most = 0.01
    limited(server, on, max_cost=most, concurrency=10)
    assert bill(server) <= most * 1.1


def test_a_sum_too_small_for_one_row_sends_none(simulator, on):
    server = simulator()
    error = limited(server, on, max_cost=1e-6, max_tokens=60)
    assert "the next row may cost $" in str(error)
    assert server.stats()["requests"] == 0
    assert error.partial["fact"].isna().all()


def test_a_run_stopped_by_max_cost_goes_on_from_there(simulator, on, tmp_path):
    server = simulator()
    more = {"cache": tmp_path / "c.sqlite", "max_tokens": 60}
    error = limited(server, on, max_cost=0.01, **more)
    assert "the same call goes on" in error.__notes__[0]
    done = server.stats()["answered"]
    assert done > 0
    out = facts(300).llm.extract(
        "${text}", ["fact"], prices=PRICES, max_cost=1, **on(server, **more)
    )
    assert out["fact"].notna().all()
    assert server.stats()["requests"] == 300
    assert out.llm.usage.cached == done


def test_max_cost_without_a_price_is_refused_before_any_call(simulator, on):
    server = simulator()
    with pytest.raises(ConfigurationError, match="no price for 'sim'") as caught:
        facts(3).llm.extract("${text}", ["fact"], max_cost=1.0, **on(server))
    assert "prices={'sim': (input, output)}" in str(caught.value)
    with pytest.raises(ConfigurationError, match="no price for 'other'"):
        facts(3).llm.extract(
            *("${text}", ["fact"]),
            max_cost=1.0,
            prices=PRICES,
            **on(server, fallback=["sim/other"]),
        )
    assert server.stats()["requests"] == 0


# -- the server's own figure ----------------------------------------------------


def test_the_servers_own_figure_wins():
    def answer(body):
        return completion("x", prompt_tokens=10, completion_tokens=10, cost=0.25)

    for prices in ({}, {"m": (1e6, 1e6)}):
        with Server(answer) as server:
            options = {"model": "m", "base_url": server.base_url, "prices": prices}
            out = facts(4).llm.complete("${text}", **options)
        assert out.llm.usage.cost == 1.0


def counts(into, out, **more):
    return {"prompt_tokens": into, "completion_tokens": out, **more}


THIRTY = {"completion_tokens_details": {"reasoning_tokens": 30}}
TICKS = {"cost_in_usd_ticks": 12 * 10**10}
TOLD = [
    *((counts(10, 5), 15), (counts("10", 5.0), 15)),
    # xAI counts the thinking apart, and Gemini's OpenAI form in the total alone
    *((counts(10, 5, total_tokens=45, **more), 45) for more in (THIRTY, {})),
    *((counts(10, 35, total_tokens=45, **more), 45) for more in (THIRTY, {})),
    *((counts(10, 5, **TICKS), 12), ({"cost": None, **TICKS}, 12)),
    # part of it lacks, cannot be, or contradicts the rest
    *((counts(10, 5, **THIRTY), None), ({"completion_tokens": 5}, None)),
    (counts(10, 5, prompt_tokens_details={"cached_tokens": 800}), None),
    *(({"prompt_tokens": 10, "cost": odd}, None) for odd in (-1, "1", True, math.nan)),
    *((counts(odd, 5), None) for odd in (None, 0, -5, "few", True, [], 10**13, 1e300)),
    *((counts(10, odd), None) for odd in (None, 0, -5, "few", True, [], 10**13, 1e300)),
]
"""What an answer says that it has used, and its dollars at a dollar a token."""


def test_a_cost_is_right_or_told_to_be_unknown():
    def answer(body):
        used = TOLD[int(body["messages"][-1]["content"])][0]
        return web.Response(
            text=json.dumps(completion("x", **used)), content_type="application/json"
        )

    with Server(answer) as server:
        options = {"model": "m", "base_url": server.base_url, "cache": False}
        pd.Series(range(len(TOLD))).llm.complete(
            "${value}", prices={"m": (1e6, 1e6)}, progress=False, **options
        )
    used = pandas_llm.last_usage()
    assert used.known_cost == sum(dollars or 0 for _, dollars in TOLD)
    assert used.unpriced == sum(dollars is None for _, dollars in TOLD)


def test_half_a_count_uses_up_the_most_that_a_row_may_cost():
    def answer(body):
        return completion("x", prompt_tokens=10, completion_tokens=None)

    with Server(answer) as server, pytest.raises(CostLimitError):
        options = {"model": "m", "base_url": server.base_url, "cache": False}
        facts(50).llm.complete(
            *("${text}",), **options, prices={"m": (1, 1e6)}, max_tokens=10, max_cost=95
        )
    assert len(server.bodies) == 9


def test_cached_and_reasoning_tokens_are_told():
    def answer(body):
        return completion(
            "x",
            prompt_tokens=100,
            completion_tokens=50,
            prompt_tokens_details={"cached_tokens": 60},
            completion_tokens_details={"reasoning_tokens": 40},
        )

    with Server(answer) as server:
        out = facts(3).llm.complete(
            "${text}", model="m", base_url=server.base_url, prices={"m": (1.0, 2.0)}
        )
    usage = out.llm.usage
    assert (usage.input_tokens, usage.output_tokens) == (300, 150)
    assert (usage.cached_input_tokens, usage.reasoning_tokens) == (180, 120)
    assert usage.cost == pytest.approx((300 * 1.0 + 150 * 2.0) / 1e6)


# -- what is billed though it is no reply -----------------------------------------

COUNTS = {
    "openai": ("usage", {"prompt_tokens": 6, "completion_tokens": 20}),
    "openai-responses": ("usage", {"input_tokens": 6, "output_tokens": 20}),
    "anthropic": ("usage", {"input_tokens": 6, "output_tokens": 20}),
    "google": ("usageMetadata", {"promptTokenCount": 6, "candidatesTokenCount": 20}),
}
ERROR = {"index": 0, "finish_reason": "error", "message": None}
USELESS = {
    "nothing else": {},
    "no choices": {"choices": [], "candidates": [], "output": None, "content": None},
    "a null message": {"choices": [{"index": 0, "message": None}]},
    "finish_reason error": {"choices": [{**ERROR, "error": {"code": 502}}]},
    "an error inside": {"error": {"code": "server_error", "message": "It broke."}},
    "of other types": {
        "choices": [3],
        "candidates": [3],
        "output": [3],
        "content": [3],
    },
}


@pytest.mark.parametrize("what", USELESS)
@pytest.mark.parametrize("provider", COUNTS)
def test_what_is_billed_counts_though_it_is_no_reply(provider, what, short_waits):
    field, used = COUNTS[provider]
    answer = {field: used, **USELESS[what]}
    most = 0.002
    with Server(lambda body: answer) as server:
        options = {
            "model": f"{provider}/sim",
            "base_url": server.base_url,
            "api_key": "k",
            "prices": PRICES,
            "max_tokens": 20,
            "progress": False,
        }
        with pytest.raises(pandas_llm.LLMError) as caught:
            facts(60).llm.complete("${text}", max_cost=most, **options)
        billed = len(server.bodies) * (6 * 2.0 + 20 * 8.0) / 1e6
    usage = pandas_llm.last_usage()
    assert usage.output_tokens == 20 * len(server.bodies)
    assert usage.cost == pytest.approx(billed)
    assert isinstance(caught.value, CostLimitError)
    assert 0.4 * most < billed <= most


@pytest.mark.parametrize("model", ["openai/m", "google/m", "ollama/m"])
def test_what_is_billed_counts_though_it_holds_no_vectors(model, short_waits):
    answer = {
        "usage": {"prompt_tokens": 6},
        "usageMetadata": {"promptTokenCount": 6},
        "prompt_eval_count": 6,
    }
    with Server(lambda body: answer) as server:
        options = {"base_url": server.base_url, "api_key": "k", "progress": False}
        with pytest.warns(LLMWarning, match="2 of 2 rows failed"):
            out = facts(2)["text"].llm.embed(
                model=model, prices={"m": (2.0, 0.0)}, max_retries=1, **options
            )
    assert out.isna().all()
    assert len(server.bodies) > 2
    assert pandas_llm.last_usage().cost == pytest.approx(len(server.bodies) * 12e-6)


def test_odd_counts_beside_a_good_answer_do_not_spoil_it():
    odd = {"prompt_tokens": "many", "completion_tokens": [], "cost": "free"}
    with Server(lambda body: completion("x", **odd)) as server:
        options = {"model": "m", "base_url": server.base_url, "progress": False}
        out = facts(2).llm.complete("${text}", **options)
        assert len(server.bodies) == 2
    assert out.tolist() == ["x", "x"]


# -- the table of genai-prices --------------------------------------------------

LISTED = Endpoint("openai", "https://api.openai.com/v1", "gpt-5.4", None)


def test_long_prompts_are_priced_by_their_own_tier_row_by_row():
    table = pytest.importorskip("genai_prices", reason="needs the extra `cost`")

    def listed(tokens):
        usage = table.Usage(input_tokens=tokens, output_tokens=1000)
        return float(table.calc_price(usage, "gpt-5.4").total_price)

    prices = Prices(LISTED)
    for tokens in (100, 29_999, 30_001, 200_000, 300_000, 900_000):
        assert prices.of(Tokens(tokens, 1000)) == pytest.approx(listed(tokens))
    assert prices.of(Tokens(300_000)) > 1.9 * prices.of(Tokens(150_000)) * 1.5
    # ten rows of 60,000 tokens are no row of 600,000
    assert 10 * prices.of(Tokens(60_000)) < 0.6 * prices.of(Tokens(600_000))


OPENAI = ("openai", "https://api.openai.com/v1")
CLAUDE = ("anthropic", "https://api.anthropic.com/v1")
GOOGLE = ("google", "https://generativelanguage.googleapis.com/v1beta")
READ = {"input_tokens": 2000, "cache_read_tokens": 1500, "output_tokens": 70}
KEPT = {"input_tokens": 2000, "cache_write_tokens": 1500, "output_tokens": 70}
HOUR = {**KEPT, "cache_write_1h_tokens": 900}
PLAIN_USE = {"input_tokens": 1234, "output_tokens": 567}
THOUGHT = {**PLAIN_USE, "output_reasoning_tokens": 400}
LONG_USE = {"input_tokens": 400_000, "output_tokens": 9000}
HEARD = {**PLAIN_USE, "input_audio_tokens": 1000}
NAMED = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cached_input",
    "output_reasoning_tokens": "reasoning",
    "cache_write_tokens": "written",
    "cache_write_1h_tokens": "written_hour",
    "input_audio_tokens": "audio",
}
LISTED_CASES = [
    *((OPENAI, "gpt-5.4", tier, PLAIN_USE) for tier in (None, "default", "flex")),
    *((OPENAI, "gpt-5.4", tier, READ) for tier in (None, "flex", "priority", "fast")),
    *((OPENAI, "gpt-6-sol", tier, READ) for tier in (None, "priority", "batch")),
    *((OPENAI, "gpt-6-sol", tier, LONG_USE) for tier in (None, "flex", "priority")),
    *((OPENAI, "gpt-5.6-sol", tier, KEPT) for tier in (None, "flex", "batch")),
    (OPENAI, "gpt-5.6-sol", "of nobody's", THOUGHT),
    (OPENAI, "gpt-5-mini", "flex", THOUGHT),
    (OPENAI, "text-embedding-3-small", None, {"input_tokens": 900}),
    (OPENAI, "text-embedding-3-small", "batch", {"input_tokens": 900}),
    *((CLAUDE, "claude-opus-5-5", "standard", use) for use in (READ, KEPT, HOUR)),
    *((CLAUDE, "claude-haiku-5-5", "batch", use) for use in (READ, KEPT, HOUR)),
    (CLAUDE, "claude-haiku-5-5", None, {**HOUR, "input_tokens": 2_000}),
    (CLAUDE, "claude-sonnet-4-5", None, {**LONG_USE, "cache_write_tokens": 300_000}),
    (GOOGLE, "gemini-3.6-flash", None, PLAIN_USE),
    (GOOGLE, "gemini-3.6-flash", "batch", THOUGHT),
    (GOOGLE, "gemini-2.5-pro", None, LONG_USE),
    (OPENAI, "gpt-audio", None, HEARD),
    *((GOOGLE, "gemini-2.5-flash", tier, HEARD) for tier in (None, "batch")),
    (GOOGLE, "gemini-2.5-flash", None, {**LONG_USE, "input_audio_tokens": 9_000}),
]


def case_name(case):
    (provider, _), model, tier, use = case
    return f"{provider} {model} {tier} {'-'.join(map(str, use.values()))}"


@pytest.mark.parametrize("case", LISTED_CASES, ids=case_name)
def test_prices_are_those_of_the_table(case):
    table = pytest.importorskip("genai_prices", reason="needs the extra `cost`")
    (provider, url), model, tier, use = case
    batch = tier == "batch"

    def listed(context):
        usage = table.Usage(**use)
        price = table.calc_price(
            usage, model, provider_api_url=url, price_context=context
        )
        return float(price.total_price)

    context = {"processing": "batch"} if batch else tier and {"service_tier": tier}
    expected = listed(context)
    if batch and expected == listed(None):  # no price of its own: half of it
        expected /= 2
    tokens = Tokens(**{NAMED[name]: count for name, count in use.items()})
    prices = Prices(Endpoint(provider, url, model, None))
    found = prices.of(tokens, tier, batch=batch)
    assert found == pytest.approx(expected, rel=1e-9)
    size, out = tokens.input, tokens.output
    most = prices.most(size, out, hour=True, batch=batch, sound=tokens.audio > 0)
    assert most >= found * (1 - 1e-9)


def test_there_are_as_many_prices_as_promised():
    assert len(LISTED_CASES) >= 30


def test_a_tier_has_its_own_price_and_a_batch_half_of_it():
    pytest.importorskip("genai_prices", reason="needs the extra `cost`")
    prices = Prices(LISTED)
    standard = prices.of(Tokens(1000, 1000))
    assert prices.of(Tokens(1000, 1000), "flex") == pytest.approx(standard / 2)
    assert prices.of(Tokens(1000, 1000), "priority") == pytest.approx(standard * 2)
    assert prices.of(Tokens(1000, 1000), batch=True) == pytest.approx(standard / 2)
    given = Prices(LISTED, {"gpt-5.4": (1.0, 1.0)})
    assert given.of(Tokens(1000, 1000), "flex") == given.of(Tokens(1000, 1000))


COUNTED = {
    "openai": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {
                    "cached_tokens": 60,
                    "cache_write_tokens": 30,
                    "audio_tokens": 5,
                },
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            "service_tier": "flex",
            "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
        },
        (Tokens(100, 50, 60, 40, 30, audio=5), "flex"),
    ),
    "openai-responses": (
        {
            "usage": {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "output_tokens_details": {"reasoning_tokens": 40},
            },
            "service_tier": "priority",
            "status": "completed",
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "x"}]}
            ],
        },
        (Tokens(100, 50, 60, 40, 30), "priority"),
    ),
    "anthropic": (
        {
            "usage": {
                "input_tokens": 10,
                "output_tokens": 50,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 10,
                },
                "service_tier": "standard",
            },
            "content": [{"type": "text", "text": "x"}],
            "stop_reason": "end_turn",
        },
        (Tokens(100, 50, 60, 0, 30, 10), "standard"),
    ),
    "google": (
        {
            "usageMetadata": {
                "promptTokenCount": 100,
                "candidatesTokenCount": 50,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 36},
                    {"modality": "AUDIO", "tokenCount": 64},
                ],
            },
            "candidates": [
                {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}
            ],
        },
        (Tokens(100, 50, audio=64), None),
    ),
}


@pytest.mark.parametrize("provider", COUNTED)
def test_tiers_and_kept_tokens_are_read_and_kept(provider, tmp_path):
    body, expected = COUNTED[provider]
    path = tmp_path / "c.sqlite"
    with Server(lambda _: body) as server:
        options = {"model": f"{provider}/m", "base_url": server.base_url}
        more = {"api_key": "k", "cache": path, "progress": False}
        assert facts(1).llm.complete("${text}", **options, **more).tolist() == ["x"]
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM replies").fetchall()
    (text,) = (v for v in rows[0] if isinstance(v, bytes) and v.startswith(b"[["))
    reply = load(text)
    assert (reply.tokens, reply.tier) == expected


def test_replies_that_were_kept_before_there_were_tiers_are_read():
    old = b'[[["x","stop",null]],[5,2,1,0],"m","id",false,0.5]'
    reply = load(old)
    assert (reply.tokens, reply.cost, reply.tier) == (Tokens(5, 2, 1), 0.5, None)


@pytest.mark.parametrize("odd", [7, [], "x", [7], [{"modality": "AUDIO"}], True, None])
@pytest.mark.parametrize("provider", ["openai", "google"])
def test_odd_details_of_a_prompt_lose_no_tokens(provider, odd):
    body = copy.deepcopy(COUNTED[provider][0])
    if provider == "openai":
        body["usage"]["prompt_tokens_details"] = odd
    else:
        body["usageMetadata"]["promptTokensDetails"] = odd
    with Server(lambda _: body) as server:
        options = {"model": f"{provider}/m", "base_url": server.base_url}
        out = facts(1).llm.complete("${text}", api_key="k", progress=False, **options)
    assert (out.llm.usage.input_tokens, out.llm.usage.output_tokens) == (100, 50)


@pytest.mark.parametrize("odd", [7, [], {}, "", "x" * 99, None, True])
def test_an_odd_service_tier_counts_as_none(odd):
    answer = {**COUNTED["openai"][0], "service_tier": odd}
    with Server(lambda _: answer) as server:
        options = {"base_url": server.base_url, "progress": False}
        out = facts(1).llm.complete("${text}", model="m", prices=DEAR_M, **options)
    assert out.tolist() == ["x"]
    assert out.llm.usage.cost > 0


DEAR_M = {"m": (20.0, 80.0)}


def test_a_listed_model_is_priced_without_prices(tmp_path):
    """The names of api.openai.com lead to a server of ours, certificate and all."""
    pytest.importorskip("genai_prices", reason="needs the extra `cost`")
    client, shown = certificates(tmp_path, "api.openai.com")
    sizes = iter([1000, 1000, 300_000])

    def answer(body):
        return completion("x", prompt_tokens=next(sizes), completion_tokens=100)

    class Here:
        async def resolve(self, host, _=0, family=0):
            return [
                {
                    "hostname": host,
                    "host": "127.0.0.1",
                    "port": server.port,
                    "family": 2,
                    "proto": 0,
                    "flags": 0,
                }
            ]

        async def close(self):
            pass

    async def run():
        connector = TCPConnector(resolver=Here(), ssl=client)
        async with ClientSession(connector=connector) as session:
            return await facts(3).llm.acomplete(
                "${text}",
                model="gpt-5.4",
                api_key="sk-x-nothing",
                session=session,
                progress=False,
            )

    with Server(answer, shown) as server:
        out = asyncio.run(run())
    prices = Prices(LISTED)
    each = [prices.of(Tokens(size, 100)) for size in (1000, 1000, 300_000)]
    assert out.llm.usage.cost == pytest.approx(sum(each))
    assert sum(each) > 1.5 * prices.of(Tokens(302_000)) / 2


def test_without_the_table_or_prices_the_price_is_unknown():
    nobody = Endpoint("openai", "http://example.test/v1", "no-such-model", None)
    assert math.isnan(Prices(nobody).of(Tokens(10, 10)))
    assert not Prices(nobody).known


def test_a_run_within_its_sum_says_nothing(simulator, on, recwarn):
    out = facts(5).llm.extract(
        *("${text}", ["fact"]), prices=PRICES, max_cost=1.0, **on(simulator())
    )
    assert out["fact"].notna().all()
    assert not [w for w in recwarn if issubclass(w.category, LLMWarning)]


# -- what it would cost ---------------------------------------------------------

ESTIMATES = [
    pytest.param(pilot, prices, id=f"pilot {pilot}, {said}")
    for pilot in (0, 1, 2, 5)
    for prices, said in ((PRICES, "a price"), (None, "none"))
]


@pytest.mark.parametrize(("pilot", "prices"), ESTIMATES)
def test_an_estimate_is_in_numbers_or_in_words(pilot, prices, simulator, on, tmp_path):
    options = on(simulator(), cache=tmp_path / "c.sqlite", prices=prices)
    found = facts(9).llm.estimate("${text}", ["fact"], pilot=pilot, **options)
    assert (found.rows, found.requests, found.cached) == (9, 9 - pilot, pilot)
    assert found.input_tokens > 0
    assert found.output_tokens > 0
    said = str(found)
    assert "nan" not in said
    assert ("unknown price" in said) == (prices is None) == math.isnan(found.cost)
    ranged = bool(prices) and pilot > 1  # one row does not tell how rows differ
    assert ("$" in said and " to $" in said) == ranged
    if ranged:
        assert 0 < found.low <= found.cost <= found.high
    else:
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_a_pilot_without_token_counts_leaves_the_guess(simulator, on):
    options = on(simulator(faults={"no_usage": 1.0}), prices=PRICES)
    guess = facts(9).llm.estimate("${text}", ["fact"], **options)
    assert facts(9).llm.estimate("${text}", ["fact"], pilot=3, **options) == guess


def test_a_pilot_of_vectors_counts_too(simulator, on):
    plan = Plan("text", verb="embed", prices=PRICES, **on(simulator()))
    found = plan.estimate(facts(9), pilot=3)
    assert found.pilot == 3
    assert (found.output_tokens, found.low > 0) == (0, True)


@pytest.mark.parametrize("pilot", [0, 2])
def test_no_rows_cost_nothing(pilot):
    found = facts(0).llm.estimate("${text}", ["fact"], pilot=pilot, model="sim")
    assert (found.rows, found.requests, found.cost, found.pilot) == (0, 0, 0.0, 0)


@pytest.mark.parametrize("pilot", [-1, 1.5, True, "2"])
def test_a_pilot_that_is_no_count_is_refused(pilot, simulator, on):
    server = simulator()
    with pytest.raises(ValueError, match="pilot must be a whole number"):
        facts(3).llm.estimate("${text}", ["fact"], pilot=pilot, **on(server))
    assert server.stats()["requests"] == 0


# -- a server that bills the most that it may ------------------------------------


class Biller:
    """Bills each request a token a byte and all that `max_tokens` allows, in dollars.

    Whatever it answers then: it has worked, and no client can tell that it has not.
    """

    def __init__(self, answers, *, inside=2.0, out=8.0):
        self.paid = 0.0
        self.calls = 0
        self._answers = answers
        self._inside, self._out = inside / 1e6, out / 1e6
        self._out_by = {"dear": 10}

    def __call__(self, body):
        self.calls += 1
        size = len(orjson.dumps(body))
        names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        allowed = max((body[name] for name in names if name in body), default=0)
        allowed *= body.get("n", 1)
        times = self._out_by.get(body["model"], 1)
        self.paid += times * (size * self._inside + allowed * self._out)
        usage = {"prompt_tokens": size, "completion_tokens": allowed}
        return self._answers(self.calls, body, usage)


def whole(at, body, usage):
    return completion('{"records": [{"fact": "x"}]}', **usage)


def unread(at, body, usage):
    return completion("no JSON", **usage) if at % 2 else whole(at, body, usage)


def uncounted(at, body, usage):
    return whole(at, body, {}) if at % 2 else completion("no JSON")


def zeros(at, body, usage):
    return whole(at, body, {"prompt_tokens": 0, "completion_tokens": 0})


def no_json(at, body, usage):
    if at % 2:
        return whole(at, body, usage)
    return web.Response(text="{", content_type="application/json")


def page(at, body, usage):
    if at % 3:
        return whole(at, body, usage)
    return web.Response(text="<html>Welcome</html>", content_type="text/html")


def gateway(at, body, usage):
    return web.Response(status=504) if at % 2 else whole(at, body, usage)


async def slow(at, body, usage):
    if at % 2:
        await asyncio.sleep(30)
    return whole(at, body, usage)


def one_choice(at, body, usage):
    return whole(at, body, usage)  # whatever `n` says, and all are billed


def refuses(at, body, usage):
    return completion(None, refusal="I will not.", **usage)


def cut(at, body, usage):
    reply = completion('{"records": [{"fact": "x', **usage)
    reply["choices"][0]["finish_reason"] = "length"
    return reply


DEAR = {**PRICES, "dear": (20.0, 80.0)}
WORST = {
    "answers": (whole, {}),
    "unreadable answers": (unread, {}),
    "answers without counts": (uncounted, {}),
    "zeros for counts": (zeros, {}),
    "half a body": (no_json, {}),
    "a page in place of an answer": (page, {}),
    "a gateway that gave up": (gateway, {}),
    "a time-out": (slow, {"request_timeout": 0.2}),
    "several choices": (whole, {"n": 3}),
    "fewer choices than asked for": (one_choice, {"n": 3}),
    "refusals and a dearer model": (refuses, {"fallback": ["openai/dear"]}),
    "answers cut off": (cut, {"output_retries": 3}),
    "reasoning": (whole, {"reasoning_effort": "high"}),
    "more allowed by extra": (whole, {"extra": {"max_tokens": 900}}),
    "more choices by extra": (whole, {"extra": {"n": 4}}),
    "equal rows": (whole, {"dedupe": False}),
}


LONG = [pytest.mark.slow, pytest.mark.timeout(300)]
"""Time-outs, one after the other; with one at a time they are few."""


@pytest.mark.parametrize(
    ("case", "concurrency"),
    [
        pytest.param(case, at_once, marks=LONG if (case, at_once) == slowest else ())
        for slowest in [("a time-out", 12)]
        for case in WORST
        for at_once in (1, 12)
    ],
)
def test_the_worst_bill_never_passes_max_cost(case, concurrency, short_waits):
    answers, options = WORST[case]
    biller, most = Biller(answers), 0.03
    with Server(biller) as server:
        with pytest.raises(pandas_llm.LLMError) as caught:
            facts(120).llm.generate(
                "${text}",
                ["fact"],
                model="openai/sim",
                base_url=server.base_url,
                api_key="k",
                prices=DEAR,
                max_tokens=60,
                max_cost=most,
                cache=False,
                concurrency=concurrency,
                progress=False,
                **options,
            )
        assert isinstance(caught.value, CostLimitError)
        assert 0.3 * most < biller.paid <= most


def test_rounds_of_a_verb_never_pass_max_cost_though_nothing_is_counted():
    """What a round may have cost is not there for the next one."""

    biller, most = Biller(lambda *_: completion('{"more": true}')), 0.03
    with Server(biller) as server, pytest.raises(CostLimitError, match=r"at most \$"):
        facts(16).llm.nlargest(
            3, "${left.text} says more than ${right.text}", **bounded(server, most, 40)
        )
    assert 0.5 * most < biller.paid <= most


def test_vectors_never_pass_max_cost_either():
    def answer(at, body, usage):
        found = [{"index": i, "embedding": [0.5]} for i, _ in enumerate(body["input"])]
        return {"data": found, "usage": usage} if at % 2 else {"data": found}

    biller, most = Biller(answer, out=0.0), 0.004
    with Server(biller) as server:
        options = {"base_url": server.base_url, "api_key": "k", "progress": False}
        with pytest.raises(CostLimitError):
            pd.Series([f"Fact {i}: " + "rain " * 50 for i in range(3000)]).llm.embed(
                model="openai/m", prices={"m": (2.0, 0.0)}, max_cost=most, **options
            )
    assert 0 < biller.paid <= most


def test_a_connection_that_broke_is_paid_for_once_and_not_tried_in_secret():
    """With `max_cost` there is no second copy of a request that nobody counts."""
    biller, most = Biller(whole), 0.01

    class Breaks(Server):
        async def _serve(self, request):
            response = await super()._serve(request)
            if biller.calls % 2 == 0:
                request.transport.abort()
            return response

    with Breaks(biller) as server, pytest.raises(CostLimitError):
        facts(200).llm.extract("${text}", ["fact"], **bounded(server, most, 60))
    assert 0.3 * most < biller.paid <= most


LOST = {
    "no answer": None,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
    "a gateway that gave up": (
        b"HTTP/1.1 504 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    ),
    "a time-out": b"",
}


@pytest.mark.parametrize("what", LOST)
def test_a_lost_answer_is_one_request_that_may_have_been_billed(what, short_waits):
    class Loses(Server):
        async def _serve(self, request):
            response = await super()._serve(request)
            if len(self.bodies) == 2:
                request.transport.write(LOST[what] or b"")
                if LOST[what] == b"":
                    await asyncio.sleep(30)
                request.transport.close()
            return response

    counted = {"prompt_tokens": 10, "completion_tokens": 1}
    with Loses(lambda body: completion("yes", **counted)) as server:
        out = facts(3).llm.complete(
            "${text}",
            model="openai/m",
            base_url=server.base_url,
            prices={"m": (1.0, 1.0)},
            request_timeout=2 if what == "a time-out" else 60,  # others may be slow
            concurrency=1,
            progress=False,
        )
        usage = out.llm.usage
        assert (usage.requests, usage.retries) == (len(server.bodies), 1) == (4, 1)
    assert out.notna().all()
    assert (usage.known_cost, usage.unpriced) == (pytest.approx(33e-6), 1)


def test_servers_that_refuse_or_are_not_there_use_nothing_up(short_outages):
    def answer(body):
        asked[row := str(body["messages"])] += 1
        if asked[row] < 3:  # of each row, whatever their order: none runs out of tries
            return failure(503 if asked[row] % 2 else 500, "Busy.")
        return completion("x", prompt_tokens=10, completion_tokens=2)

    asked = Counter()
    with Server(answer) as server:
        out = facts(20).llm.complete(
            "${text}",
            model="openai/sim",
            base_url=server.base_url,
            api_key="k",
            prices=PRICES,
            max_tokens=60,
            max_cost=20 * (10 * 2 + 2 * 8) / 1e6 + 2e-3,
            concurrency=1,
            max_retries=9,
            progress=False,
        )
    assert out.notna().all()


def test_the_rows_ahead_of_a_batch_count_against_max_cost(simulator, tmp_path):
    server = simulator()
    options = {
        "model": "sim",
        "base_url": server.base_url,
        "cache": tmp_path / "c.sqlite",
        "prices": PRICES,
        "max_tokens": 60,
        "batch": True,
        "progress": False,
    }
    # enough for the batch of all rows at half the price, and not for a row ahead too
    with pytest.raises(CostLimitError, match="the batch may cost"):
        facts(1).llm.extract("${text}", ["fact"], max_cost=1e-4, **options)
    assert server.stats()["requests"] == 0
    with pytest.raises(CostLimitError, match="the next row may cost"):
        facts(1).llm.extract("${text}", ["fact"], max_cost=6e-4, **options)
    assert server.stats()["requests"] == 0


# -- how long answers will be ------------------------------------------------------

LABELS = ["positive", "negative", "neutral"]
FACT = {"fact": str, "year": int, "sure": bool}
ANSWERS = {
    # (verb, keys, a usual answer, its tokens counted by hand)
    "a label": ("classify", LABELS, '{"label":"positive"}', 5),
    "a record": (
        *("extract", FACT),
        '{"fact":"The bridge was opened to traffic","year":1932,"sure":true}',
        21,
    ),
    "one key": ("extract", ["city"], '{"city":"Buenos Aires"}', 8),
    "records": (
        *("generate", FACT),
        '{"records":[{"fact":"The bridge was opened to traffic","year":1932,'
        '"sure":true},{"fact":"It was painted grey","year":1940,"sure":false}]}',
        45,
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_estimate_goes_by_the_verb_and_its_keys(case):
    verb, keys, _, tokens = ANSWERS[case]
    options = {"model": "m", "base_url": "http://localhost:9/v1", "cache": False}
    found = facts(100).llm.estimate("${text}", keys, verb=verb, **options)
    assert 100 * tokens / 1.8 <= found.output_tokens <= 100 * tokens * 1.8
    three = facts(100).llm.estimate("${text}", keys, verb=verb, max_tokens=3, **options)
    assert three.output_tokens == 300


def test_an_estimate_goes_by_kept_answers_where_there_are_some(tmp_path):
    def answer(body):
        return completion("x", prompt_tokens=10, completion_tokens=123)

    with Server(answer) as server:
        options = {
            "model": "openai/m",
            "base_url": server.base_url,
            "api_key": "k",
            "cache": tmp_path / "c.sqlite",
        }
        facts(4).llm.complete("${text}", progress=False, **options)
        found = facts(9).llm.estimate("${text}", **options)
    assert (found.cached, found.requests) == (4, 5)
    assert found.output_tokens == 5 * 123


def test_an_estimate_counts_examples_once_a_row():
    options = {"model": "m", "base_url": "http://localhost:9/v1", "cache": False}
    plain = facts(10).llm.estimate("${text}", **options)
    shown = [("An example of some length.", "An answer of some length.")]
    more = facts(10).llm.estimate("${text}", examples=shown, **options)
    assert more.input_tokens >= plain.input_tokens + 10 * 8


@pytest.mark.parametrize("pilot", [0, 2])
def test_an_estimate_asks_for_no_column_that_the_call_has_not(pilot, simulator, on):
    df = facts(4).assign(llm_text="of an earlier run")
    found = df.llm.estimate("${text}", ["fact"], pilot=pilot, **on(simulator()))
    assert (found.rows, found.pilot) == (4, pilot)


@pytest.mark.parametrize("price", [1.0, 0.0])
@pytest.mark.parametrize(
    ("status", "body", "at_least"),
    [
        (200, b'{"choices": [{"mess', True),
        (200, b"{}", True),
        (500, b'{"error": {"message": "oops"}}', False),
        (429, b"", False),
    ],
)
def test_an_answer_that_cannot_be_read_has_no_known_price(
    status, body, at_least, price
):
    """It was very likely paid; what it was is in no count."""
    spoilt = []

    def answer(asked):
        if len(server.bodies) == 2:
            spoilt.append(asked)
            return web.Response(
                status=status, body=body, content_type="application/json"
            )
        return completion("yes", prompt_tokens=10, completion_tokens=1)

    with Server(answer) as server:
        given = {"base_url": server.base_url, "model": "m", "api_key": "k"}
        given |= {"prices": {"m": (price, price)}, "cache": False, "progress": False}
        out = pd.Series(["a", "b", "c"]).llm.complete("${value}", **given)
    assert len(spoilt) == 1
    assert (out == "yes").all()
    usage = pandas_llm.last_usage()
    assert usage.known_cost == pytest.approx(33e-6 * price)
    assert usage.unpriced == (at_least and price > 0)  # what is free stays free

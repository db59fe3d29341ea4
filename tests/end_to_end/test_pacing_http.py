"""The pace over real HTTP: refusals of single rows, waits that end, few at a time."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from datetime import UTC, datetime

import aiohttp
import pandas as pd
import pytest
from aiohttp import web
from attached import pdf
from loopback_server import Server, completion, failure

import pandas_llm
from pandas_llm._client import attached
from pandas_llm.errors import RateLimitedTooLong
from pandas_llm.providers.answers.headers import duration


def ask(server, rows, **options):
    texts = pd.Series([f"Row {i}" for i in range(rows)])
    given = {"base_url": server.base_url, "model": "m", "api_key": server.base_url}
    given |= {"progress": False, "cache": False, **options}
    return texts.llm.complete("${value}", **given)


def refusal(status=429, **headers):
    answer = failure(status, "try again")
    answer.headers.update({name.replace("_", "-"): v for name, v in headers.items()})
    return answer


def prompt(body):
    return body["messages"][-1]["content"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_row_that_waits_for_itself_holds_no_slot(status):
    """One at a time: of a refused row the others do not notice."""
    order = []

    def answer(body):
        order.append(prompt(body))
        if prompt(body) == "Row 1" and order.count("Row 1") == 1:
            return refusal(status, Retry_After="1")
        return completion("yes")

    with Server(answer) as server:
        out = ask(server, 30, concurrency=1)
    assert (out == "yes").all()
    assert order.index("Row 1") == 1
    assert order[-1] == "Row 1"  # the others did not wait for it
    assert len(order) == 31


def ask_with_files(server, rows, **options):
    """Ask with a file for each row, of which one at a time has room."""
    frame = pd.DataFrame({"name": [f"Row {i}" for i in range(rows)]})
    frame["report"] = [pdf(note=name) for name in frame["name"]]
    given = {"base_url": server.base_url, "api_key": "k", "files": "report"}
    given |= {"model": "openai/m", "cache": False, **options}
    return frame.llm.complete("${name}", **given)


def words(body):
    return prompt(body)[-1]["text"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_row_that_waits_for_itself_holds_no_room_for_files(status, monkeypatch):
    monkeypatch.setattr(attached, "AT_ONCE", 1)
    answered = set()

    def answer(body):
        if words(body) == "Row 1" and len(answered) < 5:
            return refusal(status, Retry_After="1")
        answered.add(words(body))
        return completion("yes")

    with Server(answer) as server:
        out = ask_with_files(server, 6, progress=False)
    assert (out == "yes").all()
    assert len(server.bodies) == 7  # the others did not wait for it
    first, again = (body for body in server.bodies if words(body) == "Row 1")
    assert first == again  # with its file


def test_the_bar_says_that_rows_wait_for_room_for_files(monkeypatch):
    monkeypatch.setattr(attached, "AT_ONCE", 1)
    said, seen = threading.Event(), []

    async def answer(body):
        if len(server.bodies) > 1:  # the others wait for the first row in any case
            await asyncio.to_thread(said.wait, 10)
        return completion("yes")

    def look(progress):
        seen.append(progress.waiting)
        if "room for files" in progress.waiting:
            said.set()

    with Server(answer) as server:
        assert (ask_with_files(server, 3, progress=look) == "yes").all()
    assert any(w.endswith("(room for files), 1 in flight") for w in seen), seen
    assert seen[-1] == ""


def test_a_row_that_wakes_goes_before_new_ones():
    order = []

    async def answer(body):
        order.append(prompt(body))
        if prompt(body) == "Row 1" and order.count("Row 1") == 1:
            return refusal(Retry_After="0.2")
        await asyncio.sleep(0.05)
        return completion("yes")

    with Server(answer) as server:
        assert (ask(server, 40, concurrency=1) == "yes").all()
    again = [at for at, row in enumerate(order) if row == "Row 1"][1]
    assert again < 20


def test_a_wait_of_a_day_ends_at_max_wait_and_the_bar_says_what_it_waits_for():
    seen = []
    asked = []

    def answer(body):
        asked.append(prompt(body))
        if prompt(body) == "Row 1" and asked.count("Row 1") == 1:
            return refusal(503, Retry_After="86400")
        return completion("yes")

    with Server(answer) as server:
        out = ask(server, 3, max_wait=1, progress=lambda p: seen.append(p.waiting))
    assert (out == "yes").all()
    assert any(w.startswith("1 row waits (overloaded)") for w in seen), seen


def test_an_overload_that_asks_for_a_day_of_all_ends_no_run():
    first = set()

    def answer(body):
        row = prompt(body)
        if row != "Row 0" and row not in first:
            first.add(row)
            return refusal(503, Retry_After="86400")
        return completion("yes")

    with Server(answer) as server:
        out = ask(server, 12, max_wait=0.5, concurrency=12)
    assert (out == "yes").all()


@pytest.mark.parametrize("status", [429, 503])
def test_a_few_refusals_with_long_waits_hold_up_nobody(status):
    """Of 100 rows ten are told to wait 1 s: the other 90 are answered before."""
    first, order = set(), []

    def answer(body):
        row = prompt(body)
        order.append(row)
        if row.endswith("7") and row not in first:
            first.add(row)
            return refusal(status, Retry_After="1")
        return completion("yes")

    with Server(answer) as server:
        assert (ask(server, 100, concurrency=8) == "yes").all()
    assert len(order) == 110
    assert all(row in first for row in order[-9:])


def strays(share, **headers):
    """Return an answerer that refuses a share, after 100 ms as it answers."""
    chance = random.Random(1)

    async def answer(body):
        await asyncio.sleep(0.1)
        return refusal(**headers) if chance.random() < share else completion("yes")

    return answer


async def plain(url, rows, workers):
    """Ask with workers, exponential backoff and full jitter."""
    left, chance = iter(range(rows)), random.Random(2)

    async def work(session):
        for row in left:
            body = {"messages": [{"role": "user", "content": f"Row {row}"}]}
            for tries in range(30):
                async with session.post(f"{url}/chat/completions", json=body) as got:
                    await got.read()
                    if got.status == 200:
                        break
                told = float(got.headers.get("Retry-After", 0))
                await asyncio.sleep(max(told, chance.uniform(0, 0.5 * 2**tries)))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(workers)))


@pytest.mark.slow
@pytest.mark.parametrize("told", [{}, {"Retry_After": "1"}])
def test_strays_cost_no_more_than_in_a_plain_loop(told):
    with Server(strays(0.02, **told)) as server:
        start = time.perf_counter()
        asyncio.run(plain(server.base_url, 700, 50))
        loop = time.perf_counter() - start
    with Server(strays(0.02, **told)) as server:
        start = time.perf_counter()
        out = ask(server, 700, concurrency=50)
        ours = time.perf_counter() - start
    assert (out == "yes").all()
    assert ours <= 2 * loop + 1, (ours, loop)


@pytest.mark.parametrize("page", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_server_that_takes_eight_at_a_time_gets_eight(page):
    lock, busy, refused = threading.Lock(), [0], [0]

    async def answer(body):
        with lock:
            if busy[0] >= 8:
                refused[0] += 1
                if page:
                    return web.Response(status=503, text="<html>busy</html>")
                return refusal()
            busy[0] += 1
        try:
            await asyncio.sleep(0.05)
            return completion("yes")
        finally:
            busy[0] -= 1

    with Server(answer) as server:
        out = ask(server, 300, concurrency=50)
    assert (out == "yes").all()
    assert refused[0] <= 120  # of 300 that were answered; 42 of them the first wave


@pytest.mark.parametrize("form", ["s", "ms", "iso"])
def test_a_moment_is_read_as_a_moment(form):
    now = time.time() + 30
    iso = datetime.fromtimestamp(now, UTC).isoformat()
    text = {"s": f"{now:.0f}", "ms": f"{now * 1000:.0f}", "iso": iso}[form]
    assert duration(text) == pytest.approx(30, abs=2)


@pytest.mark.parametrize("limit", [{}, {"x_ratelimit_limit_tokens": "30000"}])
def test_nothing_left_for_an_hour_ends_the_run_at_once(limit):
    def answer(body):
        told = {
            "x_ratelimit_remaining_tokens": "0",
            "x_ratelimit_reset_tokens": "1h",
            **limit,
        }
        reply = web.json_response(completion("yes"))
        reply.headers.update({name.replace("_", "-"): v for name, v in told.items()})
        return reply

    start = time.perf_counter()
    with Server(answer) as server, pytest.raises(RateLimitedTooLong) as caught:
        ask(server, 10, max_wait=2)
    assert "3600 s" in str(caught.value) or "3599" in str(caught.value)
    assert time.perf_counter() - start < 30


class Apiece:
    """Anthropic's two buckets, one of input and one of output; the second is small."""

    def __init__(self, into: float, out: float, told=("input", "output")) -> None:
        self.told = told
        self.rates = {"input": into, "output": out}
        self.levels = dict(self.rates)
        self.at = time.monotonic()
        self.chance = random.Random(3)
        self.refused = self.used = 0

    def headers(self):
        found = {}
        for name in self.told:
            level, rate = self.levels[name], self.rates[name]
            reset = datetime.fromtimestamp(
                time.time() + (rate - level) / rate, UTC
            ).isoformat()
            begin = f"anthropic-ratelimit-{name}-tokens"
            found[f"{begin}-limit"] = f"{60 * rate:.0f}"
            found[f"{begin}-remaining"] = f"{max(0, level):.0f}"
            found[f"{begin}-reset"] = reset
        return found

    async def __call__(self, body):
        now = time.monotonic()
        amounts = {"input": 100, "output": self.chance.randint(10, 30)}
        for name, rate in self.rates.items():
            filled = self.levels[name] + rate * (now - self.at)
            self.levels[name] = min(rate, filled)
        self.at = now
        if any(self.levels[name] < amount for name, amount in amounts.items()):
            self.refused += 1
            answer = failure(429, "output tokens per minute")
        else:
            for name, amount in amounts.items():
                self.levels[name] -= amount
            self.used += amounts["output"]
            usage = {f"{name}_tokens": n for name, n in amounts.items()}
            content = [{"type": "text", "text": "yes"}]
            answer = web.json_response(
                {"type": "message", "role": "assistant", "model": "m", "id": "1"}
                | {"content": content, "stop_reason": "end_turn", "usage": usage}
            )
        answer.headers.update(self.headers())
        await asyncio.sleep(0.1)
        return answer


@pytest.mark.parametrize(
    "told", [("input", "output"), pytest.param(("output",), marks=pytest.mark.slow)]
)
def test_output_tokens_are_a_limit_of_their_own(told):
    """Where they are the scarcer: hardly a refusal, and little is left unused."""
    answer = Apiece(20_000, 1000, told)
    start = time.monotonic()
    with Server(answer) as server:
        out = ask(server, 220, model="anthropic/m")
        took = time.monotonic() - start
    assert (out == "yes").all()
    ideal = (answer.used - 1000) / 1000
    assert answer.refused < 4, answer.refused
    assert took < 1.5 * ideal + 1, (took, ideal)


@pytest.mark.parametrize("place", [0, 50])
def test_a_row_that_is_always_refused_holds_up_no_other(place, monkeypatch):
    """Larger than the limit, it is given up when patience ends; the run is not."""
    monkeypatch.setattr("pandas_llm._pacing.limiter._ROW", (0.05, 0.05))

    def answer(body):
        if prompt(body) == f"Row {place}":
            return failure(429, "too much for this account")
        return completion("yes")

    with Server(answer) as server, pytest.warns(pandas_llm.LLMWarning, match="rate"):
        out = ask(server, 100, concurrency=4, patience=1, errors="coerce")
    assert (out.drop(place) == "yes").all()
    assert pd.isna(out[place])

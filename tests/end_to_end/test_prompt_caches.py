"""Rows that begin alike: their order, the first alone, what is read again."""

import asyncio
import time
from collections import Counter, defaultdict

import pandas as pd
import pyarrow as pa
import pytest
from aiohttp import web
from loopback_server import Server, completion

import pandas_llm
from pandas_llm.simulator import Simulator

DOCS = [f"Document {number}. " + "It is long. " * 600 for number in range(6)]
ASKED = pd.DataFrame(
    [(text, f"Why {q}?") for q in range(5) for text in DOCS],
    columns=["doc", "question"],
    index=range(100, 130),
)
CLAUDE = "anthropic.claude-sonnet-5"
LIMIT = {"tokens_per_minute": 120_000}
TEMPLATE = "Read this:\n${doc}\nAnswer: ${question}"


def options(server, provider="openai", **more):
    bedrock = provider == "bedrock"
    return {
        "model": f"{provider}/{CLAUDE if bedrock else 'sim'}",
        "base_url": server.origin if bedrock else server.base_url,
        "api_key": "k",
        "cache": False,
        "progress": False,
        **more,
    }


def text_of(body: dict) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def document(body: dict) -> str:
    return text_of(body).split(".")[0].removeprefix("Read this:\n")


def answered(body: dict) -> dict:
    return completion(text_of(body)[-40:], prompt_tokens=10, completion_tokens=2)


class Watched:
    """Answers when it is told to, and counts rows sent while none of theirs was."""

    def __init__(self, together: int = 1, fails=lambda _: None) -> None:
        self.cold: Counter[str] = Counter()
        self.order: list[str] = []
        self.most = 0
        self._warm: set[str] = set()
        self._open: Counter[str] = Counter()
        self._together = together
        self._fails = fails
        self._waiting: list[asyncio.Future] = []

    async def __call__(self, body: dict):
        doc = document(body)
        self.order.append(doc)
        self.cold[doc] += doc not in self._warm
        self._open[doc] += 1
        self.most = max(self.most, sum(count > 0 for count in self._open.values()))
        if len(self.order) > 1 and self._together > 1:  # the first row is sent alone
            await self._all()
        else:
            await asyncio.sleep(0.01)
        self._open[doc] -= 1
        if (error := self._fails(text_of(body))) is not None:
            return error
        self._warm.add(doc)
        return answered(body)

    async def _all(self) -> None:
        """Wait until so many requests are here."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        if len(self._waiting) == self._together:
            for one in self._waiting:
                one.set_result(None)
            self._waiting.clear()
        await asyncio.wait_for(mine, 30)


def test_rows_that_begin_alike_are_sent_side_by_side_and_stand_where_they_were():
    watched = Watched()
    with Server(watched) as server:
        out = ASKED.llm.complete(TEMPLATE, **options(server, concurrency=1))
    assert watched.order == sorted(watched.order)
    assert out.index.tolist() == ASKED.index.tolist()
    assert all(map(str.endswith, out, ASKED["question"]))
    with Server(Watched()) as server:
        same = ASKED.llm.complete(TEMPLATE, **options(server, order="given"))
    pd.testing.assert_series_equal(out, same)


def test_the_order_that_is_given_is_kept():
    watched = Watched()
    with Server(watched) as server:
        told = options(server, concurrency=1, order="given")
        ASKED.llm.complete(TEMPLATE, **told)
    assert watched.order[:6] == [f"Document {number}" for number in range(6)]


def test_the_first_of_each_document_goes_alone_and_documents_side_by_side():
    watched = Watched()
    with Server(watched) as server:
        ASKED.llm.complete(TEMPLATE, **options(server, concurrency=16))
    assert set(watched.cold.values()) == {1}
    assert len(watched.order) == len(ASKED)
    assert watched.most > 1


@pytest.mark.parametrize(
    ("doc", "order"), [("short", "auto"), (DOCS[0], "given")], ids=["short", "given"]
)
def test_nothing_waits_for_what_is_short_or_where_the_order_is_given(doc, order):
    """All but the first row are at the server at once, or it would never answer."""
    data = pd.DataFrame({"doc": doc, "question": [f"Why {n}?" for n in range(9)]})
    with Server(Watched(together=8)) as server:
        told = options(server, concurrency=8, order=order)
        out = data.llm.complete(TEMPLATE, **told)
    assert out.notna().all()


@pytest.mark.parametrize("told", [{"total_slots": 2}, {"error": "no"}, []])
def test_llamacpp_is_sent_as_many_rows_as_it_has_slots(told):
    now, seen = 0, [0]

    async def answer(body):
        nonlocal now
        if not body:
            return web.json_response(told)
        now += 1
        seen.append(now)
        await asyncio.sleep(0.02)
        now -= 1
        return answered(body)

    with Server(answer) as server:
        ASKED.llm.complete(TEMPLATE, **options(server, "llamacpp"))
        assert server.paths.count("/props") == 1
        assert (max(seen) <= 2) == ("total_slots" in told)
        short = ASKED.assign(doc="short")
        short.llm.complete(TEMPLATE, **options(server, "llamacpp"))
    assert server.paths.count("/props") == 1  # where nothing is shared
    assert max(seen) > 2


def test_many_small_groups_fill_all_places_at_the_server():
    """Pairs of rows: every request waits until eight are there."""
    texts = [DOCS[0].replace("0", str(n), 1) for n in range(100, 165)]
    pairs = [(text, q) for text in texts[1:] for q in ("Why?", "How?")]
    data = pd.DataFrame([(texts[0], "Why?"), *pairs], columns=["doc", "question"])
    watched = Watched(together=8)
    with Server(watched) as server:
        out = data.llm.complete(TEMPLATE, **options(server, concurrency=8))
    assert out.notna().all()
    assert max(watched.cold.values()) == 1


def test_a_first_row_that_fails_holds_nobody_up():
    def fails(text):
        if "Why 3?" in text or "Why 4?" in text:
            return None
        error = {"message": "This row is odd.", "code": "odd_row"}
        return web.json_response({"error": error}, status=400)

    watched = Watched(fails=fails)
    with Server(watched) as server, pytest.warns(pandas_llm.LLMWarning, match="18 of"):
        out = ASKED.llm.complete(TEMPLATE, **options(server, concurrency=16))
    assert out.notna().sum() == 12
    # the first three go one by one, then all that are left go
    assert max(watched.cold.values()) <= 5


def test_a_first_row_that_sleeps_after_a_refusal_does_not_hold_up_its_document():
    seen = defaultdict(list)

    def answer(body):
        doc, text = document(body), text_of(body)
        seen[doc].append(text)
        if len(seen[doc]) == 1 and doc != "Document 0":
            error = {"message": "Too many requests.", "code": "rate_limit_exceeded"}
            headers = {"Retry-After": "1"}
            return web.json_response({"error": error}, status=429, headers=headers)
        return answered(body)

    with Server(answer) as server:
        out = ASKED.llm.complete(TEMPLATE, **options(server, concurrency=4))
    assert out.notna().all()
    refused = {texts[0]: texts for doc, texts in seen.items() if doc != "Document 0"}
    assert all(texts[1] != first for first, texts in refused.items())


def test_a_deadline_ends_those_that_wait_too():
    async def answer(body):
        if "Why" in text_of(body):
            await asyncio.sleep(60)
        return answered(body)

    with Server(answer) as server:
        with pytest.warns(pandas_llm.LLMWarning, match="30 of"):
            out = ASKED.llm.complete(TEMPLATE, **options(server, deadline=0.5))
        assert len(server.bodies) <= 1  # the first row of all, alone
    assert out.isna().all()


def test_a_rerun_finds_its_answers_whatever_the_order(tmp_path):
    kept = {"cache": tmp_path / "c.sqlite"}
    with Simulator() as sim:
        first = ASKED.llm.complete(TEMPLATE, **{**options(sim, order="given"), **kept})
        again = ASKED.llm.complete(TEMPLATE, **{**options(sim), **kept})
        assert sim.stats()["requests"] == len(ASKED)
    pd.testing.assert_series_equal(first, again)


def test_rows_arrive_as_they_come_each_with_its_label():
    told = {}
    with Simulator() as sim:
        out = ASKED.llm.complete(
            TEMPLATE,
            on_row=lambda at, label, records, _: told.update({at: (label, records)}),
            **options(sim),
        )
    assert sorted(told) == list(range(len(ASKED)))
    for at, (label, records) in told.items():
        assert label == ASKED.index[at]
        assert records[0]["completion"] == out.loc[label]


@pytest.mark.parametrize(
    "provider",
    ["openai", "openai-responses", "anthropic", "google", "deepseek", "bedrock"],
)
def test_each_dialect_reads_what_was_kept_and_tells(provider):
    with Simulator(prompt_cache=1024, models=("sim", CLAUDE)) as sim:
        told = options(sim, provider, details=True, concurrency=8)
        out = ASKED.llm.extract(TEMPLATE, {"reason": str}, **told)
    usage, documents = pandas_llm.last_usage(), len(DOCS)
    read = usage.cached_input_tokens / usage.input_tokens
    # each document once in full; what is kept by blocks ends a little earlier
    assert read > 0.9 * (len(ASKED) - documents) / len(ASKED)
    assert out["llm_cached_input_tokens"].sum() == usage.cached_input_tokens
    assert (out["llm_cached_input_tokens"] == 0).sum() == documents
    written = out["llm_written_input_tokens"]
    assert written.sum() == usage.written_input_tokens
    billed = provider in ("anthropic", "bedrock")
    assert (written > 0).sum() == (documents if billed else 0)
    assert f"{usage.cached_input_tokens:,} from the provider's cache" in str(usage)


@pytest.mark.parametrize(("provider", "more"), [("anthropic", {}), ("bedrock", LIMIT)])
def test_what_is_read_from_a_cache_takes_nothing_from_these_limits(provider, more):
    """Counted in full, the documents would take the limit of half a minute."""
    frame = pd.DataFrame({"doc": DOCS[0], "question": [f"Why {q}?" for q in range(30)]})
    started = time.monotonic()
    with Simulator(prompt_cache=1024, models=("sim", CLAUDE), **LIMIT) as sim:
        out = frame.llm.complete(TEMPLATE, **options(sim, provider, **more))
        refused = sim.stats()["rejected_429"]
    assert out.notna().all()
    assert pandas_llm.last_usage().input_tokens > 50_000
    assert time.monotonic() - started < 15
    assert refused <= 3


def test_the_dollars_that_a_cache_has_saved_are_told():
    pytest.importorskip("genai_prices")
    usage = {"prompt_tokens": 2_000, "completion_tokens": 10}
    details = {"prompt_tokens_details": {"cached_tokens": 1_000}}
    with Server(lambda _: completion("Yes.", **usage, **details)) as server:
        model = {"model": "openai/gpt-4o", "prices": {"gpt-4o": (2.5, 10.0)}}
        ASKED.llm.complete(TEMPLATE, **options(server) | model)
    assert pandas_llm.last_usage().saved == 0  # such prices name none for what is kept


def test_batches_carry_marks_and_keep_the_order(tmp_path):
    with Simulator(prompt_cache=1024) as sim:
        told = {**options(sim, "anthropic"), "cache": tmp_path / "c.sqlite"}
        out = ASKED.llm.complete(TEMPLATE, batch=True, **told)
        seen = [one["body"] for one in sim.requests() if "messages" in one["body"]]
    bodies = [body for body in seen if "max_tokens" in body]
    assert [document(body) for body in bodies] == sorted(map(document, bodies))
    assert all("cache_control" in body["messages"][-1]["content"][0] for body in bodies)
    assert out.notna().all()
    assert pandas_llm.last_usage().cached_input_tokens > 0


@pytest.mark.parametrize("kind", ["object", "list", "struct"])
def test_documents_in_lists_share_their_beginnings_as_texts_do(kind, simulator):
    docs = [{"text": text} if kind == "struct" else [text] for text in DOCS[:2]]
    arrow = {"list": pa.list_(pa.string()), "struct": pa.struct({"text": pa.string()})}
    dtype = pd.ArrowDtype(arrow[kind]) if kind in arrow else object
    asked = pd.DataFrame(
        {"doc": pd.Series(docs * 3, dtype=dtype), "question": range(6)}
    )
    server = simulator(prompt_cache=1024)
    out = asked.llm.complete(TEMPLATE, **options(server, "anthropic"))
    assert out.llm.usage.cached_input_tokens > 0

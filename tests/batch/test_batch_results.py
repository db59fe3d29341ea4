"""Files of results that are odd: what was paid is kept, and counted once."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from batch_between import FRAME, ROWS, Between, at, kind

from pandas_llm import LLMWarning
from pandas_llm.batch import job, upload

if TYPE_CHECKING:
    from collections.abc import Callable

PRICES = {"sim": (2.0, 8.0)}


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "c.sqlite"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(job, "_SOON", 0.01)
    monkeypatch.setattr(upload, "backoff", lambda _: 0.0)


class Altered(Between):
    """Changes the lines of files of results."""

    def __init__(self, behind: Any, change: Callable) -> None:
        super().__init__(behind)
        self._change = change

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        answer = await super()._serve(request)
        if kind(request) != "results":
            return answer
        lines = [line + b"\n" for line in answer.body.splitlines()]
        return web.Response(body=self._change(lines))


def without_its_name(line: bytes) -> bytes:
    return orjson.dumps({**orjson.loads(line), "custom_id": None}) + b"\n"


def of_another(line: bytes) -> bytes:
    return orjson.dumps({**orjson.loads(line), "custom_id": "x" * 32}) + b"\n"


def failed(line: bytes) -> bytes:
    told = {"response": None, "error": {"message": "Late."}}
    return orjson.dumps({**orjson.loads(line), **told}) + b"\n"


def empty(line: bytes) -> bytes:
    told = {"response": {"status_code": 200, "body": None}}
    return orjson.dumps({**orjson.loads(line), **told}) + b"\n"


CHANGES = {
    # (what becomes of the lines, answers that are lost)
    "another order": (lambda lines: b"".join(lines[::-1]), 0),
    "lines twice": (lambda lines: b"".join(lines + lines), 0),
    "a line of another": (lambda lines: b"".join([*lines, of_another(lines[0])]), 0),
    "a failure too": (lambda lines: b"".join([*lines, failed(lines[0])]), 0),
    "a failure first": (lambda lines: b"".join([failed(lines[0]), *lines]), 0),
    "cut off": (lambda lines: b"".join(lines)[:-9], 1),
    "a line that is none": (lambda lines: b"".join([b"oops\n", *lines[1:]]), 1),
    "a line missing": (lambda lines: b"".join(lines[1:]), 1),
}
OPENAIS = {
    "no name": (lambda lines: b"".join([without_its_name(lines[0]), *lines[1:]]), 1),
    "an empty answer": (lambda lines: b"".join([empty(lines[0]), *lines[1:]]), 1),
}
CASES = [
    *(("openai/sim", change) for change in CHANGES | OPENAIS),
    *(("anthropic/sim", change) for change in ("lines twice", "cut off")),
    *(("mistral/sim", change) for change in ("lines twice", "cut off")),
]


@pytest.mark.parametrize(("model", "change"), CASES)
def test_each_answer_is_kept_and_counted_once(model, change, simulator, kept):
    server, (alter, lost) = simulator(), (CHANGES | OPENAIS)[change]
    with Altered(server, alter) as between, warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMWarning)
        options = at(between, kept, model, prices=PRICES)
        out = FRAME.llm.complete("${text}", batch=True, error_column="why", **options)
        assert out["why"].notna().sum() == lost
        used = out.llm.usage
        assert used.unpriced == lost  # paid for, and nobody can tell how much
        told = change == "an empty answer"
        assert used.requests == ROWS - lost + told
        if lost and not told:
            assert "lack 1 of the 5 that are done" in out["why"].dropna().iloc[0]
        stats = server.stats()
        whole = (stats["tokens_in"] * 2.0 + stats["tokens_out"] * 8.0) / 1e6
        assert math.isnan(used.cost) if lost else whole / 2 < used.cost < 0.7 * whole
        again = FRAME.llm.complete("${text}", **options)
    assert again.notna().all()
    assert again.llm.usage.requests == lost


@pytest.mark.parametrize("verb", ["generate", "classify"])
def test_choices_that_lack_some_are_made_up_by_a_call_without_batch(
    verb, simulator, kept
):
    def spoil(lines):
        first = orjson.loads(lines[0])
        first["response"]["body"]["choices"][1]["message"]["content"] = "oops"
        second = orjson.loads(lines[1])
        del second["response"]["body"]["choices"][1:]
        return b"\n".join(map(orjson.dumps, [first, second])) + b"\n" + lines[2]

    server, keys = simulator(), ["fact", "other"]
    with Altered(server, spoil) as between, warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMWarning)
        options = at(between, kept, n=3, error_column="why")
        call = getattr(FRAME[:4].llm, verb)
        out = call("${text}", keys, batch=True, **options)
        why = out["why"].dropna().drop_duplicates()
        assert why.str.contains("^batch: output: ").tolist() == [True, True]
        assert why.str.contains("fewer choices than the 3 asked for").sum() == 1
        before = between.seen["row"]
        asked = server.stats()["tokens_out"]
        out = call("${text}", keys, **options)
    assert out["why"].isna().all()
    assert between.seen["row"] - before == 2
    # of six choices three are new
    assert server.stats()["tokens_out"] - asked < 0.3 * asked

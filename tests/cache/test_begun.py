"""Rows that take several requests: what was paid of them is not paid for again."""

from __future__ import annotations

import asyncio
import sqlite3
import warnings
from contextlib import closing

import pandas as pd
import pytest
from loopback_server import Server, completion, failure

from pandas_llm import LLMWarning
from pandas_llm.errors import CostLimitError

ROWS = pd.DataFrame({"text": ["Ann is 3.", "Bob is 4."]})


class Single:
    """A server that gives one choice a request; one request does not end well."""

    def __init__(self, number: int, what: str) -> None:
        self.number, self.what = number, what
        self.requests = 0

    async def __call__(self, body):
        self.requests += 1
        if self.requests == self.number and self.what != "max_cost":
            if self.what == "deadline":
                await asyncio.sleep(60)
            return failure(400, "Not this one.")
        text = f'{{"records": [{{"name": "{self.requests}"}}]}}'
        return completion(text, prompt_tokens=10, completion_tokens=10)


def ask(server, path, **more):
    options = {"model": "m", "base_url": server.base_url, "cache": path, "n": 3}
    options |= {"progress": False, "concurrency": 1, "max_tokens": 10}
    options["prices"] = {"m": (0.0, 10.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMWarning)
        return ROWS.llm.generate("${text}", ["name"], **options | more)


def entries(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM replies").fetchone()[0]


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("what", ["failure", "deadline", "max_cost"])
def test_choices_are_paid_once_however_their_row_ended(what, number, tmp_path):
    """The second row's request of that number has no answer."""
    answer = Single(3 + number, what)
    path = tmp_path / "c.sqlite"
    first = {"deadline": 2} if what == "deadline" else {}
    if what == "max_cost":
        first = {"max_cost": (number + 4.5) * 1e-4}  # a row may take three
    with Server(answer) as server:
        try:
            out = ask(server, path, **first)
        except CostLimitError as error:
            out = error.partial
        assert out["name"].isna().sum() == 1
        lost = answer.requests - 3 - (number - 1)
        assert lost == (what != "max_cost")
        out = ask(server, path)
    assert answer.requests == 6 + lost
    assert out.llm.usage.requests == 6 - 3 - (number - 1)
    assert out["name"].nunique() == 6
    assert entries(path) == 2  # what was kept of the row has gone


def test_a_refresh_asks_for_all_choices_again(tmp_path):
    answer = Single(3, "failure")
    with Server(answer) as server:
        ask(server, tmp_path / "c.sqlite")
        before = answer.requests
        ask(server, tmp_path / "c.sqlite", refresh=True)
    assert answer.requests - before == 6


def test_questions_are_paid_once_where_each_is_a_request(simulator, on, tmp_path):
    keys = {"mood": ["good", "bad"], "sure": bool, "size": ["big", "small"]}
    server = simulator(fail_if={"size": "400"})
    options = on(server, cache=tmp_path / "c.sqlite", confidence=True, concurrency=1)
    with pytest.warns(LLMWarning, match="2 of 2 rows failed"):
        ROWS.llm.extract("${text}", keys, **options)
    server.configure(fail_if={})
    before = server.stats()["requests"]
    out = ROWS.llm.extract("${text}", keys, **options)
    assert server.stats()["requests"] - before == 2
    plain = ROWS.llm.extract("${text}", keys, **on(server, confidence=True))
    pd.testing.assert_frame_equal(out, plain)
    assert entries(tmp_path / "c.sqlite") == 2

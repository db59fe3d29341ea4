"""`on_row`: rows as they come, over real HTTP."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter

import pandas as pd
import pytest

import pandas_llm
from pandas_llm.errors import ConfigurationError, InvalidValueError

ROWS = pd.DataFrame(
    {"text": [f"Row {at // 2}." for at in range(40)] + [None]},
    index=[f"r{at}" for at in range(41)],
)
"""Each text twice, so that the second shares the first's call; NA at the end."""


@pytest.fixture
def heard():
    """Return a function to pass, with what it was called with and where."""

    def on_row(position, label, records, error):
        on_row.rows.append((position, label, records, error))
        on_row.threads.add(threading.get_ident())

    on_row.rows, on_row.threads = [], set()
    return on_row


@pytest.mark.parametrize("loop", ["auto", "thread"])
def test_every_row_is_told_once_in_the_callers_thread(loop, heard, simulator, on):
    server = simulator(fail_if={"Row 3": "refusal"})
    given = {**on(server), "on_row": heard, "loop": loop}
    with pytest.warns(pandas_llm.LLMWarning):
        out = ROWS.llm.generate("Facts on ${text}", ["fact"], **given)
    assert heard.threads == {threading.get_ident()}
    assert Counter(row[0] for row in heard.rows) == Counter(range(41))
    for position, label, records, error in heard.rows:
        assert label == f"r{position}"
        theirs = out.loc[[label], "fact"].dropna().tolist()
        assert [record["fact"] for record in records] == theirs
        if position in (6, 7):
            assert error.startswith("refusal: ")
        else:
            assert error is None


def test_rows_come_as_they_are_answered_and_kept_ones_too(
    heard, simulator, on, tmp_path
):
    server = simulator(latency=0.01)
    given = {**on(server, cache=tmp_path / "kept"), "on_row": heard}
    early = []

    def first(*row):
        early.append(server.stats()["answered"])
        heard(*row)

    rows = ROWS.dropna()
    call = {**given, "on_row": first, "concurrency": 1, "dedupe": False}
    rows.llm.complete("Say ${text}", **call)
    assert min(early) < 40  # not all at the end
    assert len(heard.rows) == 40
    heard.rows.clear()
    out = asyncio.run(rows.llm.acomplete("Say ${text}", **given))
    assert server.stats()["requests"] <= 40
    told = {position: records for position, _, records, _ in heard.rows}
    assert [told[at][0][out.name] for at in range(40)] == out.tolist()


@pytest.mark.parametrize("loop", ["auto", "thread"])
@pytest.mark.parametrize("how", ["on_row", "progress"])
def test_an_exception_of_the_function_stops_the_run(how, loop, simulator, on):
    server = simulator(latency=0.02)
    rows = pd.DataFrame({"text": [f"Row {at}." for at in range(2_000)]})

    def stop(*_):
        if server.stats()["answered"] >= 20:
            raise ZeroDivisionError

    given = {**on(server), "concurrency": 4, "loop": loop, how: stop}
    with pytest.raises(ZeroDivisionError) as caught:
        rows.llm.complete("Say ${text}", **given)
    assert len(caught.value.partial) == 2_000
    assert caught.value.partial.notna().sum() >= 16
    stats = server.stats()
    assert stats["requests"] < 2_000
    # what was on its way is paid, so it is waited for
    assert caught.value.partial.notna().sum() == stats["requests"] == stats["answered"]


def test_what_comes_elsewhere_or_at_once_is_refused(heard, tmp_path):
    given = {"model": "sim", "on_row": heard}
    with pytest.raises(ConfigurationError, match="on_row= or batch=True"):
        ROWS.llm.complete(
            "${text}",
            model="m",
            base_url="http://localhost:9",
            api_key="-",
            batch=True,
            cache=tmp_path / "c",
            on_row=heard,
        )
    with pytest.raises(ConfigurationError, match="ngroup asks questions of its own"):
        ROWS.llm.ngroup("text", **given)
    dd = pytest.importorskip("dask.dataframe")
    from pandas_llm.dask import DaskAccessor

    lazy = DaskAccessor(dd.from_pandas(ROWS, npartitions=2))
    with pytest.raises(ConfigurationError, match="in other processes"):
        lazy.complete("${text}", **given)
    ROWS.dropna().llm.matches("Is it ${text}?", **given, cache=False)
    assert {row[0] for row in heard.rows} == set(range(40))


async def later(*_):
    """Take what a function of `on_row` or `progress` takes, once it is awaited."""


class Later:
    async def __call__(self, *_):
        """Take the same."""


@pytest.mark.parametrize("name", ["on_row", "progress"])
@pytest.mark.parametrize("function", [later, functools.partial(later, 1), Later()])
def test_a_function_that_would_never_be_awaited_is_refused(
    name, function, simulator, on
):
    server = simulator()
    with pytest.raises(InvalidValueError, match=f"{name} must be .*not async"):
        ROWS.llm.complete("${text}", **{**on(server), name: function})
    assert server.stats()["requests"] == 0


def test_the_rows_of_a_pilot_are_for_the_run_to_tell(heard, simulator, on):
    given = {**on(simulator()), "on_row": heard}
    ROWS.llm.estimate("Facts on ${text}", ["fact"], pilot=3, **given)
    assert heard.rows == []

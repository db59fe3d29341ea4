"""What is seen after a run: usage, the log, the report."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pandas_llm
from pandas_llm._display import tables
from pandas_llm._display.usage import Totals, Usage
from pandas_llm._report import page as report
from pandas_llm._report import plots, timeline
from pandas_llm._report.timeline import BUCKETS, SERIES, RunLog
from pandas_llm.types import Outcome, Tokens

TEMPLATE = "Give one fact.\ntext: ${text}"
ANSWERED = st.floats(0.0, 2000.0, allow_nan=False)


def facts(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"Fact number {i}." for i in range(rows)]})


# -- usage ----------------------------------------------------------------------


def test_usage_is_a_table_in_a_terminal_and_in_a_notebook():
    usage = Usage(
        rows=1200,
        failed=3,
        cached=200,
        requests=1004,
        retries=4,
        input_tokens=50_000,
        output_tokens=9_000,
        cached_input_tokens=1_024,
        reasoning_tokens=700,
        seconds=12.34,
        known_cost=1.5,
    )
    assert str(usage) == repr(usage)
    assert str(usage).splitlines() == [
        "rows            1,200",
        "from the cache  200 (free)",
        "failed          3",
        "requests sent   1,004 (4 retries)",
        "tokens in       50,000 (1,024 from the provider's cache)",
        "tokens out      9,000 (700 of them reasoning)",
        "cost            $1.50",
        "time            12.3 s",
    ]
    assert "<caption" in usage._repr_html_()
    assert "200 (free)" in usage._repr_html_()


def test_replies_without_a_price_do_not_hide_the_cost_of_the_others():
    totals = Totals()
    for cost in (0.25, math.nan, 0.5, math.nan):
        totals.pay(cost, Tokens())
    usage = totals.usage(1.0)
    assert math.isnan(usage.cost)
    assert (usage.known_cost, usage.unpriced) == (0.75, 2)
    assert "at least $0.75 (2 requests have no known price)" in str(usage)


def test_a_reply_without_token_counts_is_the_only_one_without_a_price(simulator, on):
    server = simulator(fail_if={"number 3.": "no_usage"})
    price = {"sim": (1.0, 2.0)}
    out = facts(10).llm.generate(TEMPLATE, ["fact"], **on(server, prices=price))
    assert math.isnan(out.llm.usage.cost)
    assert out.llm.usage.unpriced == 1
    assert out.llm.usage.known_cost > 0
    assert "at least $" in str(out.llm.usage)


@given(st.integers(0, 10**15))
def test_a_short_number_is_short_and_close(number):
    text = tables.short(number)
    size = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1.0)
    value = float(text.rstrip("kMG")) * size
    assert abs(value - number) <= 0.006 * number
    assert number >= 10**12 or len(text) <= 6


# -- the log --------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.001, 500.0), st.integers(0, 1000)), max_size=60))
def test_the_series_add_up_to_the_totals_in_bounded_room(steps):
    log, totals, now = RunLog(), Totals(), 0.0
    for passed, rows in steps:
        now += passed
        totals.done += rows
        totals.failed += rows // 7
        log.sample(now, totals, limited=rows % 2 == 0)
    assert {len(values) for values in log.series.values()} == {BUCKETS}
    assert now < BUCKETS * log.width
    assert sum(log.series["done"]) == pytest.approx(totals.done)
    assert sum(log.series["failed"]) == pytest.approx(totals.failed)
    waited = sum(passed for passed, rows in steps if rows % 2 == 0)
    assert sum(log.series["limited"]) == pytest.approx(waited)
    assert max(log.series["limited"]) <= log.width * (1 + 1e-9)
    assert set(log.series) == set(SERIES)


@given(st.lists(ANSWERED, min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_within_a_bin_of_the_true_one(answers, share):
    log = RunLog()
    for seconds in answers:
        log.answered(seconds)
    found = report.percentile(list(log.latency.items()), share)
    true = sorted(answers)[math.ceil(share * len(answers)) - 1]
    true = min(max(true, timeline.FASTEST), timeline.FASTEST * 2**20)
    assert true / 2 ** (1 / 8) * 0.999 <= found <= true * 2 ** (1 / 8) * 1.001


@given(st.lists(ANSWERED, max_size=100))
@example([2.0] * 20 + [1.0])
def test_the_slowest_rows_are_kept_and_no_others(answers):
    log = RunLog()
    for at, seconds in enumerate(answers):
        log.row(at, Outcome([], None, 1, seconds, None, Tokens(3, 4)))
    kept = log.summary([], str)["slowest"]
    slowest = sorted((s for s in answers if s > 0), reverse=True)[:20]
    assert [row[0] for row in kept] == [round(s, 3) for s in slowest]


def test_what_a_frame_carries_is_plain_small_and_survives_parquet(
    simulator, on, tmp_path
):
    server = simulator(fail_if={"number 3": "refusal"}, faults={"500": 0.05})
    with pytest.warns(pandas_llm.LLMWarning, match="rows failed"):
        out = facts(400).llm.generate(TEMPLATE, ["fact"], **on(server))
    kept = out.attrs["llm"]
    assert all(isinstance(value, (str, bool, int, float)) for value in kept.values())
    assert len(json.dumps(kept)) < 20_000
    assert copy.deepcopy(out.attrs) == out.attrs
    out.to_parquet(tmp_path / "out.parquet")
    back = pd.read_parquet(tmp_path / "out.parquet")
    assert repr(back.llm.report()) == repr(out.llm.report())
    (run,) = json.loads(kept["log"])
    (refused,) = run["failures"]
    assert (refused["kind"], refused["rows"]) == ("refusal", 111)
    assert [example[0] for example in refused["examples"]] == [3, 30, 31]
    assert run["retried"] == {"server": out.llm.usage.retries}
    assert sum(run["series"]["done"]) == pytest.approx(400, abs=0.1)
    assert sum(count for _, count in run["latency"]) == 400


# -- the report -----------------------------------------------------------------


class Page(HTMLParser):
    """Reads a page strictly: what is opened is closed, nothing is fetched."""

    VOID = frozenset({"meta", "rect", "line", "path", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href", "srcset", "xlink:href")
            assert not name.startswith("on")
            assert "url(" not in (value or "")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def shown(simulator, on):
    """A run with failures, retries and a hostile label."""
    server = simulator(
        latency=0.05, fail_if={"number 3.": "refusal"}, fault_plan={5: "500"}
    )
    frame = facts(60).set_axis([f"<img src=x onerror=alert({i})>" for i in range(60)])
    with pytest.warns(pandas_llm.LLMWarning):
        return frame.llm.generate(TEMPLATE, ["fact"], **on(server, concurrency=4))


def test_the_report_is_one_page_that_fetches_nothing(shown, tmp_path):
    path = tmp_path / "report.html"
    returned = shown.llm.report(path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.tags.count("svg") == 2
    assert not re.search(r"https?://", text)
    words = " ".join(page.words)
    for part in (
        "generate, sim (answers invented by the simulator)",
        "Rows over time",
        "retries",
        "Time to answer",
        "99 % within",
        "Retries, by the reason",
        "Failed rows",
        "the model declined to answer",
        "Slowest rows",
        "<img src=x onerror=alert(3)>",
    ):
        assert part in words
    assert Page(returned._repr_html_()).tags.count("svg") == 2
    assert "answered within, 99 %" in str(returned)


def test_a_chain_reports_its_runs_and_their_sum(simulator, on):
    server = simulator()
    out = facts(3)
    for number in range(7):
        out = out.llm.extract(
            f"{number}: ${{text}}", {f"fact{number}": str}, **on(server)
        )
    page = out.llm.report()._repr_html_()
    assert [f"Run {number} of 5" in page for number in (1, 5, 6)] == [True, True, False]
    assert out.llm.usage.requests == 21
    assert ">21</td>" in page


def test_partial_results_and_empty_frames_have_a_report_too(simulator, on):
    server = simulator(api_key="right-key")
    with pytest.raises(pandas_llm.LLMError) as caught:
        facts(5).llm.generate(TEMPLATE, ["fact"], **on(server))
    page = caught.value.partial.llm.report()._repr_html_()
    assert "not sent" in page
    empty = facts(0).llm.generate(TEMPLATE, ["fact"], **on(server))
    assert "rows" in str(empty.llm.report())
    assert Page(empty.llm.report()._repr_html_()).tags.count("svg") == 0


def test_a_result_from_the_cache_says_that_nothing_was_paid(simulator, on, tmp_path):
    options = on(simulator(), cache=tmp_path / "replies.sqlite")
    facts(5).llm.generate(TEMPLATE, ["fact"], **options)
    again = facts(5).llm.generate(TEMPLATE, ["fact"], **options)
    assert "5 (free)" in str(again.llm.usage)
    assert "requests sent   0" in str(again.llm.usage)
    assert "<svg" not in again.llm.report()._repr_html_()


@given(st.floats(1e-9, 1e12))
def test_an_axis_ends_at_or_above_the_highest_in_few_round_steps(most):
    top, rows = plots.scale(most)
    assert most <= top * (1 + 1e-9)
    assert top <= 2.5 * most
    assert 1 <= rows <= 6

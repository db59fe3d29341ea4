"""`view`: answers beside their prompts, from the frame and the cache."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pandas as pd
import pytest

import pandas_llm
from pandas_llm._run.result import note, recall
from pandas_llm.errors import InvalidValueError

TEMPLATE = "Facts of: ${text}"
FRAME = pd.DataFrame(
    {"text": ["Oslo is old.", None, "Rome is older.", "Paris fails."]},
    index=["o", "n", "r", "p"],
)
PRICES = {"sim": (1.0, 2.0)}


@pytest.fixture
def options(simulator, on, tmp_path):
    server = simulator(fail_if={"fails": "refusal"})
    return on(server, cache=tmp_path / "replies.sqlite", prices=PRICES)


@pytest.fixture
def run(options):
    """Run a verb on the frame, with one row that fails."""

    def call(verb, *args, **more):
        with pytest.warns(pandas_llm.LLMWarning):
            return getattr(FRAME.llm, verb)(TEMPLATE, *args, **options, **more)

    return call


def blocks(view) -> dict[str, str]:
    """Return what a terminal shows of each row."""
    parts = repr(view).split("── Row ")[1:]
    return {p.split(" ", 1)[0]: p.split("\n", 1)[1] for p in parts}


@pytest.mark.parametrize(
    "verb", [("generate", ["fact"]), ("complete",), ("classify", ["a", "b"])]
)
def test_each_row_has_prompt_answer_cost_and_reason(run, verb):
    out = run(*verb, system="Be brief about ${text}")
    shown = blocks(out.llm.view())
    assert list(shown) == ["o", "n", "r", "p"]
    assert "Facts of: Oslo is old." in shown["o"]
    assert "Be brief about Oslo" in shown["o"]
    tokens = shown["o"].split("tokens ")[1].split(" in, ")
    into, out_tokens = int(tokens[0]), int(tokens[1].split(" out")[0])
    assert f"cost ${(into + 2 * out_tokens) / 1e6:,.6f}".rstrip("0") in shown["o"]
    assert "not sent" in shown["n"]
    assert "refusal: the model declined" in shown["p"]
    assert "tries 1" in shown["p"]
    assert "its answers are invented by the simulator" in repr(out.llm.view())


def test_only_failed_leaves_out_the_answered_and_those_not_sent(run):
    for verb in [("extract", ["fact"]), ("generate", ["fact"]), ("complete",)]:
        assert list(blocks(run(*verb).llm.view(only="failed"))) == ["p"]
    named = run("extract", ["other"], error_column="why")
    assert list(blocks(named.llm.view(only="failed"))) == ["p"]


def test_only_unsure_begins_with_the_least_sure(run):
    out = run("classify", ["a", "b", "c"], confidence=True)
    out["confidence"] = [0.7, None, 0.5, None]
    assert list(blocks(out.llm.view(only="unsure"))) == ["r", "o"]
    out["confidence"] = [0.7, None, 0.95, None]
    assert list(blocks(out.llm.view(only="unsure"))) == ["o"]
    with pytest.raises(InvalidValueError, match="confidence=True"):
        run("complete").llm.view(only="unsure")
    with pytest.raises(InvalidValueError, match="'failed', 'unsure'"):
        out.llm.view(only="wrong")


def test_a_model_that_the_server_named_is_known_to_the_view(options):
    options.pop("model")
    out = FRAME.dropna().head(1).llm.complete(TEMPLATE, **options)
    assert "model sim" in repr(out.llm.view())


def test_rows_are_a_number_or_labels(run):
    out = run("extract", ["fact"])
    assert list(blocks(out.llm.view(2))) == ["o", "n"]
    assert list(blocks(out.llm.view(["r"]))) == ["r"]
    assert "1 of 4 rows" in repr(out.llm.view(["r"]))
    with pytest.raises(InvalidValueError, match="not a label"):
        out.llm.view(["nobody"])


@pytest.mark.parametrize(
    ("index", "rows", "shown"),
    [
        (pd.date_range("2020", periods=3, tz="UTC"), "2020-01-02", [1]),
        (pd.interval_range(0, 3), [0.5], [0]),
        (pd.Index([1, 1, None]), [1.0], [0, 1]),
        (pd.Index([1.0, None, None]), [float("nan")], [1, 2]),
        (pd.MultiIndex.from_product([["a"], [1, 2, 3]]), [("a", 2)], [1]),
        (pd.MultiIndex.from_product([["a"], [1, 2, 3]]), ("a", 3), [2]),
        (pd.Index(list("abc")), ("a", "c"), [0, 2]),
        (pd.Index(list("abc")), slice("b", None), [1, 2]),
        (pd.Index(list("abc")), pd.array([True, False, False]), [0]),
    ],
)
def test_labels_mean_what_they_mean_to_loc(index, rows, shown):
    frame = pd.DataFrame({"text": ["x", "y", "z"]}, index)
    out = frame.llm.complete("${text}", model="sim", cache=False, progress=False)
    seen = repr(out.llm.view(rows))
    texts = [text for text in "xyz" if f"[simulated] {text}" in seen]
    assert texts == ["xyz"[at] for at in shown]


def test_records_of_one_reply_stand_beside_one_prompt(options):
    frame = pd.DataFrame({"text": ["It rained. It snowed. It was cold."]})
    out = frame.llm.generate(TEMPLATE, ["fact"], **options)
    assert len(out) > 1
    page = out.llm.view()._page()
    assert page.count('<div class="row">') == 1
    assert page.count('<div class="name">fact</div>') == len(out)


def test_quotes_are_marked_in_the_prompt_at_their_own_place(options):
    frame = pd.DataFrame({"text": ["in 2021, not in 2021 <b>"]})
    out = frame.llm.extract(TEMPLATE, {"year": int}, **options)
    out["year_quote"], out["year_start"], out["year_end"] = "2021", 16, 20
    page = out.llm.view()._page()
    assert "in 2021, not in <mark>2021</mark> &lt;b&gt;" in page
    assert "year_start" not in page
    out["year_start"] = pd.array([None], dtype="Int64")
    assert "in <mark>2021</mark>, not in 2021" in out.llm.view()._page()
    out["year_quote"] = "nowhere"
    assert "<mark>" not in out.llm.view()._page()


def test_lists_of_quotes_are_marked_too(options):
    frame = pd.DataFrame({"text": ["one and two"]})
    out = frame.llm.extract(TEMPLATE, {"year": int}, **options)
    out["year_quote"], out["year_start"] = [["one", "two"]], [[0, 8]]
    page = out.llm.view()._page()
    assert "<mark>one</mark> and <mark>two</mark>" in page


def test_hostile_cells_labels_and_answers_are_text(options):
    bad = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J"
    frame = pd.DataFrame({bad: [bad]}, index=[bad])
    out = frame.llm.extract(f"Of ${{{bad}}}", ["fact"], **options)
    out["fact"], out["fact_quote"] = bad, bad
    for page in [out.llm.view()._page()]:
        assert page.count("<script") == page.count("</script>") <= 1
        assert "<img" not in page
        assert "\x1b" not in page
        assert "&lt;script&gt;alert(1)" in page
    cell = out.llm.view()._repr_html_()
    assert "<script" not in cell
    assert 'sandbox="allow-scripts"' in cell
    assert "default-src &#x27;none&#x27;" in cell
    assert "\x1b" not in repr(out.llm.view())


def test_another_process_needs_the_plan_and_says_so(options, tmp_path, run):
    out = run("extract", ["fact"])
    out.to_parquet(tmp_path / "out.parquet")
    script = """
import sys, json, pandas as pd, pandas_llm
out = pd.read_parquet(sys.argv[1])
without = repr(out.llm.view())
given = json.loads(sys.argv[2])
plan = pandas_llm.Plan("Facts of: ${text}", ["fact"], verb="extract", **given)
print(json.dumps([without, repr(out.llm.view(plan=plan))]))
"""
    given = json.dumps({**options, "cache": str(options["cache"])}, default=str)
    arguments = [sys.executable, "-c", script, str(tmp_path / "out.parquet"), given]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    without, with_plan = json.loads(done.stdout)
    assert "plan=, the Plan of the run" in " ".join(without.split())
    assert "Facts of" not in without.replace("[simulated] Facts of", "")
    assert "Facts of: Rome is older." in with_plan
    assert "cost $0.0" in with_plan


def test_a_series_finds_its_rows_while_they_live_or_is_given_them(options):
    out = pd.Series(["Oslo", "Rome"]).llm.complete("On ${value}", **options)
    gc.collect()
    assert "data=, the frame that was asked" in " ".join(repr(out.llm.view()).split())
    assert "On Oslo" in repr(out.llm.view(data=pd.Series(["Oslo", "Rome"])))
    with pytest.raises(InvalidValueError, match="lacks labels"):
        out.llm.view(data=pd.Series(["Oslo"]))


def test_parts_of_a_result_and_lost_columns_are_shown_as_far_as_they_go(run):
    out = run("extract", ["fact"])
    assert list(blocks(out.iloc[2:].llm.view())) == ["r", "p"]
    shown = out.drop(columns="text").llm.view()
    assert "The prompts are not known" in " ".join(repr(shown).split())
    assert "fact" in blocks(shown)["r"]


def test_without_a_cache_costs_are_not_known_and_details_tell_tries(options):
    more = {**options, "cache": False}
    out = FRAME.iloc[[0]].llm.extract(TEMPLATE, ["fact"], details=True, **more)
    text = repr(out.llm.view())
    assert "cache=False keeps nothing" in text
    assert "cost" not in blocks(out.llm.view())["o"]
    assert "tries 1" in text
    assert "details=True" not in text


def test_the_page_is_saved_whole(run, tmp_path):
    run("complete").llm.view(path=tmp_path / "view.html")
    page = (tmp_path / "view.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "http://" not in page.replace("http-equiv", "")


def test_a_page_is_written_under_no_ending_but_its_own(run, tmp_path, monkeypatch):
    out = run("complete")
    tmp_path = tmp_path / "pages"
    tmp_path.mkdir()
    for write in (
        lambda path: out.llm.view(path=path),
        lambda path: out.llm.view().save(path),
        lambda path: out.llm.report().save(path),
        lambda path: out.llm.report(path, view=tmp_path / "rows.html"),
        lambda path: out.llm.report(tmp_path / "run.html", view=path),
    ):
        for name in ("run.pdf", "run.html.gz", "RUN.MD"):
            with pytest.raises(ValueError, match=r"must end in \.html or \.htm"):
                write(tmp_path / name)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("HOME", str(tmp_path))
    page = out.llm.report("~/run.HTM", view="~/rows")._repr_html_()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["rows", "run.HTM"]
    assert 'href="rows#row-' in page


def test_rows_of_the_report_lead_to_their_prompts(run, tmp_path):
    (tmp_path / "rows of it").mkdir()
    file = tmp_path / "rows of it" / "view.html"
    for verb in [("extract", ["fact"]), ("generate", ["fact"])]:
        out = run(*verb)
        page = out.llm.report(tmp_path / "report.html", view=file)._repr_html_()
        shown = file.read_text(encoding="utf-8")
        for at, prompt in ((0, "Oslo is old."), (3, "Paris fails.")):
            link = f"rows%20of%20it/view.html#row-{at}"
            assert f'<a href="{link}">{at}</a>' in page
            assert prompt in shown.split(f'id="row-{at}"')[1].split("</pre>")[0]
        assert "row-1" not in page + shown  # which was not sent
        for private in ("Oslo is old", "Facts of"):
            assert private not in page
        assert "<a " not in out.llm.report()._repr_html_()


def test_rows_that_their_labels_do_not_tell_have_no_links(run, tmp_path):
    out = run("extract", ["fact"]).set_axis([0, 0, 0, 0])
    page = out.llm.report(view=tmp_path / "view.html")._repr_html_()
    assert "<a " not in page
    assert "cannot be found" in (tmp_path / "view.html").read_text(encoding="utf-8")


def test_a_verb_over_the_table_says_why_no_prompts_are_shown():
    frame = pd.DataFrame({"name": ["Oslo", "Bergen"]})
    given = {"model": "sim", "progress": False}
    template = "Same? ${left.name} ${right.name}"
    out = frame.llm.merge(frame, template, block=None, **given)
    shown = " ".join(repr(out.llm.view()).split())
    assert "a verb over the table asks about pairs or groups of rows" in shown


def test_runs_that_end_in_many_threads_are_remembered_side_by_side(on, simulator):
    """What follows a run that was paid for must not raise."""
    out = FRAME.llm.complete(TEMPLATE, **on(simulator()))
    task, _ = recall(out)

    def end(thread: int) -> None:
        for number in range(2000):
            attrs = {"llm": {"log": f"{thread} {number}"}}
            note(SimpleNamespace(attrs=attrs), task, FRAME)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(end, range(8))) == [None] * 8
    finally:
        sys.setswitchinterval(usual)
    assert recall(out) is None

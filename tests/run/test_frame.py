"""Rows out of frames and back, against a plain pandas reference."""

import datetime as dt
import threading

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm import LLMWarning
from pandas_llm._display import Usage
from pandas_llm._engine.outcomes import Outcomes
from pandas_llm._rows.rows import iter_rows, missing_rows, source_of
from pandas_llm._run import arrays, prompts, result
from pandas_llm._run.task import Shape, make_task
from pandas_llm.errors import DeadlineError, OutputError
from pandas_llm.options import Settings
from pandas_llm.types import Outcome

answers = st.lists(
    st.lists(st.tuples(st.text(max_size=3), st.integers(-5, 5)), max_size=3),
    min_size=1,
    max_size=8,
)


def filled(records, order, leaders=()):
    store = Outcomes(range(len(records)), 2)
    for position, leader in dict(leaders).items():
        store.share(position, leader)
    for position in order:
        if position not in dict(leaders):
            store.add(position, Outcome(records[position]))
    return store


def reference(df, records, *, keep_empty):
    """Do the same by pandas' own explode."""
    lists = [r or ([None] if keep_empty else []) for r in records]
    out = df.assign(record=pd.Series(lists, index=df.index, dtype=object))
    out = out[[bool(x) for x in lists]].explode("record")
    values = out.pop("record")
    out["q"] = [None if v is None or isinstance(v, float) else v[0] for v in values]
    out["a"] = [None if v is None or isinstance(v, float) else v[1] for v in values]
    out["q"] = arrays.typed(list(out["q"]), "str")
    out["a"] = pd.array(
        [None if pd.isna(v) else int(v) for v in out["a"]], dtype="Int64"
    )
    return out


@given(records=answers, keep_empty=st.booleans(), data=st.data())
def test_explode_and_join_equal_the_reference(records, keep_empty, data):
    rows = len(records)
    order = data.draw(st.permutations(range(rows)))
    labels = data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    df = pd.DataFrame({"x": range(rows)}, index=labels)
    store = filled(records, order)
    how = "left" if keep_empty else "inner"
    keys = {"q": str, "a": int}
    task = make_task("${x}", keys, "generate", Shape(how=how), Settings())
    out = result.build_result(source_of(df), store, task, {"usage": Usage()})
    expected = reference(df, records, keep_empty=keep_empty)
    out.attrs.clear()
    pd.testing.assert_frame_equal(out, expected, check_index_type=False)


@given(records=answers, data=st.data())
def test_a_row_that_shares_a_call_gets_the_same_records(records, data):
    rows = len(records)
    leader = data.draw(st.integers(0, rows - 1))
    followers = [p for p in range(rows) if p > leader and p % 2]
    store = filled(records, range(rows), [(p, leader) for p in followers])
    keys = {"q": str, "a": int}
    task = make_task("${x}", keys, "generate", Shape(), Settings())
    row, new = result.all_columns(store, task)
    for position in followers:
        own = [v for v, r in zip(new["q"], row, strict=True) if r == position]
        assert own == [v for v, r in zip(new["q"], row, strict=True) if r == leader]


@pytest.mark.parametrize(
    ("kind", "values", "dtype"),
    [
        ("int", [1, None, 2**63 - 1], "Int64"),
        ("float", [1.5, None], "Float64"),
        ("bool", [True, None], "boolean"),
        ("datetime", [None, None], "datetime64[us]"),
        ("category", ["x", None], "category"),
        ("object", [[1], None], "object"),
        ("str", ["a", None], "str" if arrays.PANDAS_GE_30 else "object"),
    ],
)
def test_dtypes_follow_from_the_kind_alone(kind, values, dtype):
    for some in (values, [None] * len(values), []):
        series = pd.Series(arrays.typed(list(some), kind, ["x", "y"]))
        assert str(series.dtype) == dtype
        assert len(series) == len(some)
        assert series.isna().tolist() == [value is None for value in some]


def test_failures_name_position_label_and_kind():
    store = Outcomes(pd.Index(["a", "b", "b", "c"]), 1)
    store.add(0, Outcome([("x",)]))
    store.add(1, Outcome([], OutputError("no JSON"), attempts=3))
    store.share(2, 1)
    store.unfinished = DeadlineError("late")
    table = result.failure_table(store)
    assert table["position"].tolist() == [1, 2, 3]
    assert table["label"].tolist() == ["b", "b", "c"]
    assert table["kind"].tolist() == ["output", "output", "deadline"]
    assert table["attempts"].tolist() == [3, 3, 0]
    assert list(result.failure_table(Outcomes((), 1)).columns) == list(table)


def test_multiindex_columns_are_named_by_their_tuple():
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    source = source_of(pd.DataFrame([[1, 2]], columns=columns))
    assert source.fields == ("('a', 'x')", "('a', 'y')")
    assert list(iter_rows(source, ["('a', 'y')"])) == [(2,)]


def test_only_the_named_columns_are_read():
    df = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [[1], [2]]})
    source = source_of(df)
    assert list(iter_rows(source, ["b", "a"])) == [("x", 1), (df["b"][1], 2)]
    assert list(iter_rows(source, [])) == [(), ()]
    assert missing_rows(source, ["a"]) is None
    assert missing_rows(source, ["b", "a"]).tolist() == [False, True]


def test_a_hundred_keys_and_more_are_put_beside_the_rows_without_a_warning():
    df = pd.DataFrame({"x": ["a", "b"]})
    df.attrs["mine"] = 1
    keys = {f"k{at}": dt.date for at in range(130)}
    out = df.llm.extract("${x}", keys, model="sim", progress=False)
    assert out.columns.tolist() == ["x", *keys]
    assert out.attrs["mine"] == 1
    assert out.notna().all(axis=None)


def test_equal_rows_share_a_call_but_no_list(simulator, on):
    server = simulator()
    df = pd.DataFrame({"x": ["a", "a", "b"]})
    out = df.llm.extract("${x}", {"facts": list[str]}, **on(server))
    out["facts"].iloc[0].append("mine")
    assert out["facts"].iloc[1] == out["facts"].iloc[0][:-1]
    assert server.stats()["requests"] == 2


# -- nothing raises after the run -------------------------------------------------


FOREIGN = [
    {"usage": '{"rows": 2}'},
    {"usage": '{"rows": 2, "requests": 1, "of_a_newer_version": [1]}', "log": "[]"},
    {"usage": '{"rows": "two"}'},
    {"usage": "{}"},
    {"usage": "[1]"},
    {"usage": "no JSON"},
    {"usage": 7},
    {"usage": '{"rows": 1}', "log": 7},
    {"usage": '{"rows": 1}', "log": "{}"},
    {"usage": '{"rows": 1}', "log": "[1, null]"},
    {"mine": 1},
    "a text",
    7,
    ["usage"],
    frozenset({"usage"}),
    pd.DataFrame({"usage": [1]}),
]


@pytest.mark.parametrize("held", FOREIGN, ids=lambda held: repr(held)[:30])
@pytest.mark.parametrize("verb", ["extract", "complete"])
def test_attrs_of_somebody_else_do_not_raise_after_the_run(held, verb, simulator, on):
    df = pd.DataFrame({"x": ["a", "b"]})
    df.attrs["llm"] = held
    server = simulator()
    keys = {"keys": ["fact"]} if verb == "extract" else {}
    out = getattr(df.llm, verb)("${x}", **keys, **on(server))
    rows = 4 if isinstance(held, dict) and '"rows": 2' in str(held) else None
    rows = (
        3 if isinstance(held, dict) and held.get("log") in ("{}", "[1, null]") else rows
    )
    assert out.llm.usage.rows == (rows or 2)
    assert "<svg" in out.llm.report()._repr_html_()
    again = (out.to_frame() if verb == "complete" else out).llm
    assert again.usage.rows == (rows or 2)


@pytest.mark.parametrize(
    "held", FOREIGN[2:7] + FOREIGN[10:], ids=lambda h: repr(h)[:30]
)
def test_attrs_of_somebody_else_are_no_usage(held):
    df = pd.DataFrame({"x": ["a"]})
    df.attrs["llm"] = held
    with pytest.raises(AttributeError, match="does not come from a run"):
        df.llm.usage  # noqa: B018


def test_a_frame_without_duplicate_labels_is_refused_before_anything_is_sent(
    simulator, on
):
    server = simulator()
    df = pd.DataFrame({"x": ["a", "b"]}).set_flags(allows_duplicate_labels=False)
    with pytest.raises(ValueError, match="pass ignore_index=True"):
        df.llm.generate("2 facts: ${x}", ["fact"], **on(server))
    assert server.stats()["requests"] == 0
    out = df.llm.generate("2 facts: ${x}", ["fact"], ignore_index=True, **on(server))
    assert out.index.tolist() == list(range(len(out)))
    assert len(out) >= 2
    assert not out.flags.allows_duplicate_labels
    for verb, more in (("extract", {"keys": ["fact"]}), ("complete", {})):
        assert len(getattr(df.llm, verb)("${x}", **more, **on(server))) == 2


@pytest.mark.parametrize("verb", ["generate", "extract"])
def test_what_pandas_would_refuse_is_found_before_anything_is_sent(verb, simulator, on):
    df = pd.DataFrame({"x": ["a"]})
    df.attrs["lock"] = threading.Lock()  # pandas copies attrs with every operation
    server = simulator()
    with pytest.raises(ValueError, match="pandas cannot put new columns"):
        getattr(df.llm, verb)("${x}", ["fact"], **on(server))
    assert server.stats()["requests"] == 0


@pytest.mark.parametrize(
    "label", ["\ud800", 2**70, float("nan"), ("a", 1), pd.Timestamp(0), "\x1b[2J", b"x"]
)
def test_labels_of_any_kind_do_not_raise_after_the_run(label, simulator, on):
    index = pd.Index([label], dtype=object, tupleize_cols=False)
    df = pd.DataFrame({"x": ["a"]}, index=index)
    server = simulator(fail_if={"a": "refusal"})
    with pytest.warns(LLMWarning, match="1 of 1 rows failed"):
        out = df.llm.extract("${x}", ["fact"], **on(server))
    assert "\x1b" not in str(out.llm.report())


@pytest.mark.parametrize(
    ("message", "share"),
    [
        ("HTTP 400 (20015): of prompt_tokens (9000), less than 8100 is taken.", 0.81),
        ("HTTP 400: 1,200,000 tokens, and 1,080,000 is the maximum.", 0.81),
        ("HTTP 400: c-5-20261022 takes 8100 tokens, and you sent 9000.", 0.81),
        ("HTTP 413: an HTML page: '413 Request Entity Too Large'.", 0.5),
        ("HTTP 422: must be <= 4050. Given: 4500 `inputs` and 100 more.", 0.81),
    ],
)
def test_what_fits_is_read_of_the_vendors_own_numbers(message, share):
    assert prompts.share_that_fits(message) == pytest.approx(share)

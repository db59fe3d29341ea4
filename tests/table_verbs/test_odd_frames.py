"""Odd but legal frames through every verb: pandas' labels and rows stay as they are."""

from __future__ import annotations

import datetime as dt
import decimal
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from loopback_server import Server, completion

import pandas_llm
from pandas_llm.errors import TemplateError
from pandas_llm.simulator import Simulator


class Mapped(pd.DataFrame):
    """As a GeoDataFrame is one."""

    @property
    def _constructor(self):
        return Mapped


TEXT = pd.DataFrame({"text": ["a b", "c d", "e f"], "n": [1, 2, 3]})
OBJECTS = pd.Index(["text", None], dtype=object)
PAIR = pd.Index(["text", ("a", 1)], dtype=object, tupleize_cols=False)


def of(values: Any, **more: Any) -> pd.DataFrame:
    return TEXT.assign(text=pd.Series(values, **more))


ROWS = {
    "range": TEXT,
    "steps": TEXT.set_axis(pd.RangeIndex(5, 11, 2)),
    "levels": TEXT.set_axis(
        pd.MultiIndex.from_tuples([("x", 1)] * 3, names=["k", "n"])
    ),
    "repeated": TEXT.set_axis([1, 1, 2]),
    "days": TEXT.set_axis(pd.date_range("2020", periods=3, tz="Europe/Oslo")),
    "categories": TEXT.set_axis(pd.CategoricalIndex(["a", "b", "a"], ["b", "a", "z"])),
    "intervals": TEXT.set_axis(pd.interval_range(0, 3)),
    "a column's name": TEXT.set_axis(pd.Index([7, 8, 9], name="text")),
    "NA": TEXT.set_axis([1.0, np.nan, np.nan]),
    "strict": TEXT.set_flags(allows_duplicate_labels=False),
    "subclass": Mapped(TEXT),
}
COLUMNS = {
    "dollar": TEXT.set_axis(["$text", "US$n"], axis=1),
    "levels": TEXT.set_axis(pd.MultiIndex.from_product([["text"], [1, 2]]), axis=1),
    "numbers": TEXT.set_axis(pd.RangeIndex(2), axis=1),
    "None": TEXT.set_axis(OBJECTS, axis=1),
    "bools": TEXT.set_axis([True, False], axis=1),
    "days": TEXT.set_axis(pd.date_range("2020", periods=2), axis=1),
    "tuple": TEXT.set_axis(PAIR, axis=1),
    "named": TEXT.rename_axis(columns="names"),
    "outputs": TEXT.assign(
        completion="c", label="l", same=2, more=3, matches=[1, 2, 3]
    ),
}
CELLS = {
    "lists": of([[1, 2], None, []], dtype=object),
    "arrow lists": of([[1], None, []], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "dicts": of([{"a": [1]}, {"a": {}}, None], dtype=object),
    "arrays": of([np.array([1, 2]), np.array(3.0), None], dtype=object),
    "sets": of([{1, 2}, set(), None], dtype=object),
    "objects": of([1, "1", decimal.Decimal("NaN")], dtype=object),
    "half a character": of(["\ud800", "\udfff", "b"], dtype=object),
    "intervals": of(pd.interval_range(0, 3)),
    "sparse": of([1.0, np.nan, 3.0], dtype="Sparse[float]"),
}
FRAMES = {
    f"{kind}: {name}": frame
    for kind, frames in (("rows", ROWS), ("columns", COLUMNS), ("cells", CELLS))
    for name, frame in frames.items()
}


@pytest.fixture(scope="module")
def sim():
    with Simulator() as server:
        yield {"model": "sim", "base_url": server.base_url, "progress": False}


def first(frame):
    """Return the label of the column with texts, and its name in templates."""
    label = "text" if "text" in frame.columns.tolist() else frame.columns[0]
    name = [str(label) for label in frame.columns][frame.columns.tolist().index(label)]
    return label, name


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_new_columns_stand_beside_the_rows_as_assign_puts_them(frame, sim):
    _, name = first(frame)
    before, text = frame.copy(), f"On ${{{name}}}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pandas_llm.LLMWarning)
        out = frame.llm.extract(text, {"fact": str, "year": int}, **sim)
        alone = [
            frame.llm.complete(text, **sim),
            frame.llm.classify(text, ["x", "y"], **sim),
            frame.llm.matches(text, **sim),
            frame.llm.embed(f"${{{name}}}", dimensions=2, **sim),
        ]
        some = frame.llm.filter(text, **sim)
        assert frame.llm.preview(text, ["fact"])._repr_html_().encode()
        assert repr(out.llm.view())
    wanted = frame.copy()
    depth = frame.columns.nlevels - 1
    for column in ("fact", "year"):
        label = (column, *[""] * depth) if depth else column
        wanted[label] = out[label]
    out.attrs = {}
    pd.testing.assert_frame_equal(out, wanted, check_column_type=True)
    for one in (out, *alone):
        assert type(one.index) is type(frame.index)
        assert one.index.identical(frame.index)
        assert one.flags == frame.flags
    assert type(some) is type(frame)
    assert some.dtypes.equals(frame.dtypes)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_verbs_over_the_table_take_columns_of_any_name_and_cells_of_any_kind(
    frame, sim
):
    label, name = first(frame)
    before, more = frame.copy(), f"Is ${{left.{name}}} more than ${{right.{name}}}?"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pandas_llm.LLMWarning)
        rows = [
            frame.llm.drop_duplicates([label], **sim),
            frame.llm.nlargest(2, more, **sim),
            frame.llm.nlargest(2, f"How good is ${{{name}}}?", by="score", **sim),
        ]
        groups = frame.llm.ngroup(label, block=[label], **sim)
        found = frame.llm.search("x", label, k=9, dimensions=2, **sim)
        joined = frame.llm.merge(frame, on=[label], how="outer", indicator=True, **sim)
        by = [frame.columns[-1]]
        said = frame.llm.agg("What?", label, by=by, keys={"year": int}, **sim)
    for some in rows:
        assert type(some) is type(frame)
        assert some.dtypes.equals(frame.dtypes)
        assert some.columns.identical(frame.columns)
        assert some.index.isin(frame.index).all()
        assert repr(some.llm.view())
    assert groups.index.identical(frame.index)
    assert found.columns[-1] in ("score", ("score", ""))
    assert found.columns[:-1].equals(frame.columns)
    assert joined.index.equals(pd.RangeIndex(len(joined)))
    assert joined.columns.nlevels == frame.columns.nlevels
    assert type(joined) is type(frame)
    assert joined.flags == frame.flags
    assert said.index.tolist() == frame.iloc[:, -1].tolist()
    assert said["year"].dtype == "Int64"
    pd.testing.assert_frame_equal(frame, before)


# -- what is asked ----------------------------------------------------------------

YEARS = pd.DataFrame({"year": [1999, np.nan, 2001, 2001], "text": list("abcc")})


@pytest.mark.parametrize(
    ("ask", "written"),
    [
        (lambda df, **o: df.llm.complete("In ${year}", **o), {"In 1999", "In 2001"}),
        (
            lambda df, **o: df.llm.ngroup("year", block=None, **o),
            {"year: 1999", "year: 2001"},
        ),
        (
            lambda df, **o: df.llm.merge(
                df.assign(year=df.year + 1), on="year", block=None, **o
            ),
            {"year: 1999", "year: 2002"},
        ),
        (
            lambda df, **o: df.llm.agg("${year}?", "text", by="year", **o),
            {"1999?", "2001?"},
        ),
        (
            lambda df, **o: df.llm.agg(
                "(${year})?", "text", by="year", dropna=False, **o
            ),
            {"(1999)?", "(2001)?", "()?"},
        ),
        (
            lambda df, **o: df.llm.nlargest(
                1, "${left.year} > ${right.year} (${left.text})?", **o
            ),
            {"1999 > 2001 (a)?"},
        ),
    ],
)
def test_a_whole_number_is_written_alike_whichever_rows_are_asked(ask, written):
    said: list[str] = []

    def answer(body):
        said.append(body["messages"][-1]["content"])
        return completion('{"same": true, "more": true}')

    with Server(answer) as server:
        ask(YEARS, model="x", base_url=server.base_url, progress=False)
    text = "\n".join(said)
    assert all(one in text for one in written)
    assert "1999.0" not in text
    assert "nan" not in text


def test_the_sample_of_a_cascade_is_asked_in_the_words_of_all_rows():
    frame = pd.DataFrame({"year": [np.nan, *map(float, range(1900, 2100))]})
    asked = []

    def answer(body):
        if "input" in body:
            told = {"type": "predicate", "probability": 0.75}
            return {"model": "x", "answers": [told], "usage": {"input_tokens": 1}}
        asked.append(body["messages"][-1]["content"])
        return completion('{"matches": true}')

    with Server(answer) as server:
        at = {"base_url": server.base_url, "api_key": "-"}
        cheap = {"model": "openai-decisions/x", **at}
        given = {"cascade": cheap, "recall": 0.9, "progress": False, **at}
        frame.llm.matches("Was ${year} warm?", model="openai/x", **given)
    assert 0 < len(asked) < 200
    assert not [text for text in asked if ".0" in text]


def test_a_text_alone_is_written_as_the_template_writes_it():
    frame = pd.DataFrame({"year": [1999, np.nan], "price": [1.005, 2]})

    def answer(_):
        told = {"type": "predicate", "probability": 0.75}
        return {"model": "x", "answers": [told], "usage": {"input_tokens": 1}}

    with Server(answer) as server:
        at = {"base_url": server.base_url, "api_key": "-", "progress": False}
        for text in ("Warm? ${year}", "Dear? ${price:.1f}"):
            frame.llm.matches(text, model="openai-decisions/x", **at)
    said = [body["input"] for body in server.bodies]
    assert sorted(said) == ["1.0", "1999", "2.0"]


LONG = np.zeros(2000)
NEARLY = LONG.copy()
NEARLY[1000] = 1


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (LONG, NEARLY, False),
        (np.array([0.123456789012]), np.array([0.123456789013]), False),
        (LONG, LONG.copy(), True),
        ([1, [2]], [1, [2]], True),
        ({"a": {1}, "b": 2}, {"b": 2, "a": {1}}, True),
        ({"a": [1]}, {"a": [2]}, False),
        ("a", "a", True),
        (1, "1", False),
        (object(), object(), False),
    ],
)
def test_cells_are_equal_without_a_question_only_if_they_are(one, other, equal, sim):
    frame = pd.DataFrame({"text": pd.Series([one, other], dtype=object)})
    for verb in (
        lambda: frame.llm.estimate(verb="ngroup", subset="text", block="text", **sim),
        lambda: frame.llm.estimate(verb="ngroup", subset="text", block=None, **sim),
    ):
        assert verb().requests == 0 or not equal
    assert frame.llm.estimate(verb="ngroup", block=None, **sim).requests == (not equal)


@pytest.mark.parametrize(
    "suffixes", [("_l", None), (None, "_r"), ["_l", "_r"], ("", "_r")]
)
def test_suffixes_are_those_of_pandas(suffixes, sim):
    one = pd.DataFrame({"name": ["a"], "x": [1]}).rename_axis(columns="of")
    other = pd.DataFrame({"name": ["a"], "y": [1]}).rename_axis(columns="of")
    joined = one.llm.merge(other, on="name", suffixes=suffixes, **sim)
    wanted = one.merge(other, how="cross", suffixes=suffixes)
    pd.testing.assert_frame_equal(joined, wanted)


@pytest.mark.parametrize("suffixes", ["ab", ("_x",), {"_l", "_r"}, 3, (None, None)])
def test_suffixes_that_make_no_names_are_refused(suffixes):
    with pytest.raises((TypeError, ValueError), match="suffixes"):
        TEXT.llm.merge(TEXT, on="text", suffixes=suffixes, model="sim")


@pytest.mark.parametrize("name", ["city", "score", "matches", None, ("a", 1), 3])
def test_a_series_is_value_in_every_verb(name, sim):
    cities = pd.Series(["Oslo", "Rome"], name=name)
    more = "Is ${left.value} larger than ${right.value}?"
    assert len(cities.llm.nlargest(1, more, **sim)) == 1
    assert len(cities.llm.nlargest(1, "Is ${value} large?", by="score", **sim)) == 1
    assert len(cities.llm.matches("Is it ${value}?", **sim)) == 2
    assert cities.llm.agg("What?", "value", **sim)
    assert len(cities.llm.ngroup("value", **sim)) == 2
    assert "Oslo" in repr(cities.llm.complete("${value}", **sim).llm.view())
    if name != "score":
        assert len(cities.llm.search("x", "value", dimensions=2, **sim)) == 2


@pytest.mark.parametrize(
    "names", [["text", "n"], ("text", "n"), TEXT.columns, np.array(["text", "n"])]
)
def test_columns_may_be_named_by_anything_like_a_list(names, sim):
    assert len(TEXT.llm.ngroup(names, **sim)) == 3
    assert len(TEXT.llm.merge(TEXT, on=names, **sim)) == 3


@pytest.mark.parametrize("by", [TEXT["text"], TEXT.columns, np.array(["text"] * 3)])
def test_groups_are_named_by_columns_and_not_made_of_values(by):
    with pytest.raises(TypeError, match="by must name columns, not be a"):
        TEXT.llm.agg("What?", "text", by=by, model="sim")


def test_vectors_that_a_file_brings_as_lists_are_not_embedded_again():
    vectors = [[1, 0.5], None, (1.0, 0), [None, 0.5], [np.nan, 1]]
    frame = pd.DataFrame({"text": list("abcde"), "vector": vectors})
    with Simulator() as server:
        at = {"model": "sim", "base_url": server.base_url, "progress": False}
        found = frame.llm.search("x", "vector", dimensions=2, **at)
        assert sorted(found["text"]) == ["a", "c"]  # the others are not whole
        assert found["score"].notna().all()
        assert server.stats()["requests"] == 1
        odd = pd.concat([frame, frame.assign(vector=[[0.5]] * 5)])
        with pytest.raises(ValueError, match="1 and 2 numbers"):
            odd.llm.search("x", "vector", **at)
        assert server.stats()["requests"] == 1


def test_several_texts_a_row_are_refused_where_labels_may_not_repeat(simulator, on):
    server = simulator()
    with pytest.raises(ValueError, match="a row may become several: set_flags"):
        ROWS["strict"].llm.complete("On ${text}", n=2, **on(server))
    assert server.stats()["requests"] == 0


@pytest.mark.parametrize("by", ["text", ["text", "n"]])
def test_groups_that_pandas_cannot_make_are_an_error_of_ours(by):
    frame = CELLS["dicts"]
    with pytest.raises(ValueError, match=r"by= makes no groups .* \.astype"):
        frame.llm.agg("What?", "text", by=by, model="sim")


NO_QUESTION = {
    "ngroup": {"subset": "text"},
    "merge": {"right": TEXT, "on": "text"},
    "nlargest": {"k": 1, "template": "${left.text} > ${right.text}?"},
    "agg": {"question": "What?", "column": "text"},
}


@pytest.mark.parametrize("verb", NO_QUESTION)
@pytest.mark.parametrize("rows", [TEXT[:0], TEXT.assign(text=None)])
def test_where_nothing_is_asked_there_is_an_empty_preview(verb, rows, sim):
    given = {"verb": verb, **NO_QUESTION[verb], **sim}
    assert rows.llm.preview(**given).columns.tolist() == ["prompt"]
    sent = rows.llm.preview(as_requests=True, **given)
    assert (len(sent), sent.columns.tolist()) == (0, ["url", "headers", "body"])
    assert rows.llm.estimate(**given).requests == 0
    del given["verb"]
    out = getattr(rows.llm, verb)(**given)
    if verb != "agg":  # whose answer is None
        assert f"{verb}, no model" in out.llm.report()._repr_html_()
        assert repr(out.llm.view()) + str(out.llm.report())


@pytest.mark.parametrize("verb", ["matches", "duplicated", "ngroup", "agg", "merge"])
def test_attrs_and_flags_are_those_of_the_data_as_with_pandas(verb, sim):
    frame = TEXT.set_flags(allows_duplicate_labels=False)
    frame.attrs = {"from": ["a list"], "at": np.array([1, 2])}
    first = {"matches": "Is ${text} nice?", "agg": "What?", "merge": frame}
    more = {"agg": {"column": "text", "by": "n"}, "merge": {"on": "text"}}
    asked = frame.llm.complete("On ${text}", **sim)
    frame.attrs["llm"] = asked.attrs["llm"]
    given = {**more.get(verb, {}), **sim}
    out = getattr(frame.llm, verb)(first.get(verb, "text"), **given)
    assert out.attrs["from"] == ["a list"]
    assert out.attrs["from"] is not frame.attrs["from"]
    assert out.flags == frame.flags
    assert out.llm.usage.requests >= asked.llm.usage.requests


@pytest.mark.parametrize(
    ("verb", "given", "says"),
    [
        ("agg", {"level": 0}, r"level: .* \.reset_index\(\)"),
        ("agg", {"observed": False}, "only groups of rows"),
        ("agg", {"sort": "no"}, "sort must be True or False, not 'no'"),
        ("filter", {"regex": "t"}, "df.filter picks labels"),
        ("nlargest", {"k": True}, "k must be a whole number of at least 1, not True"),
        ("nlargest", {"votes": None}, "votes must be True or False, not None"),
        ("nlargest", {"template": None}, "needs a template"),
        ("ngroup", {"neighbors": -1}, "neighbors must be a whole number"),
        ("embed", {"dimensions": 0}, "dimensions must be a whole number"),
        ("classify", {"confidence": "yes"}, "confidence must be True or False"),
    ],
)
def test_words_and_values_that_a_verb_does_not_take_are_told_by_its_own(
    verb, given, says
):
    more = "${left.text} > ${right.text}?"
    needed: dict[str, tuple[Any, ...]] = {
        "agg": ("What?", "text"),
        "filter": ("${text}?",),
        "classify": ("${text}", ["a", "b"]),
        "embed": ("text",),
    }
    if verb == "nlargest":
        given = {"k": 1, "template": more, **given}
    with pytest.raises((TypeError, ValueError), match=says):
        getattr(TEXT.llm, verb)(*needed.get(verb, ()), **given, model="sim")


def test_a_row_of_a_frame_is_told_that_the_verb_asks_about_each():
    with pytest.raises(TemplateError, match="call the verb on the frame, which asks"):
        TEXT.apply(lambda row: row.llm.complete("On ${text}", model="sim"), axis=1)


@pytest.mark.parametrize("verb", ["agg", "ngroup", "merge"])
def test_a_level_of_the_index_is_no_column_and_the_error_says_so(verb):
    frame = TEXT.set_axis(pd.Index([1, 2, 3], name="shop"))
    given = {
        "agg": {"question": "What?", "column": "text", "by": "shop"},
        "ngroup": {"subset": ["text", "shop"]},
        "merge": {"right": frame, "on": "shop"},
    }
    with pytest.raises(ValueError, match=r"level of the index: reset_index\(\)"):
        getattr(frame.llm, verb)(**given[verb], model="sim")


def test_what_only_missing_keeps_is_found_among_columns_of_several_levels(sim):
    frame = COLUMNS["levels"].copy()
    frame[("fact", "z")] = "other"
    frame[("fact", "")] = ["kept", None, None]
    out = frame.llm.extract("${('text', 1)}", ["fact"], only_missing=True, **sim)
    assert out[("fact", "z")].tolist() == ["other"] * 3
    assert out[("fact", "")].iloc[0] == "kept"
    assert out[("fact", "")].notna().all()


def test_vectors_beside_columns_of_several_levels_are_filled_and_replaced():
    with Simulator() as server:
        at = {"model": "sim", "base_url": server.base_url, "progress": False}
        given = {"expand": True, **at}
        frame = COLUMNS["levels"].copy()
        made = frame.llm.embed("${('text', 1)}", dimensions=3, **given)
        for name in made.columns:
            frame[(name, "")] = made[name]
        again = {"overwrite": True, **given}
        less = frame.llm.embed("${('text', 1)}", dimensions=2, **again)
        assert less.columns[2:].tolist() == [("embedding_0", ""), ("embedding_1", "")]
        sent = server.stats()["requests"]
        again = {"only_missing": True, **given}
        same = frame.llm.embed("${('text', 1)}", dimensions=3, **again)
        assert server.stats()["requests"] == sent
    assert same.equals(frame)


def test_moments_that_are_kept_are_in_utc_as_those_of_replies(sim):
    days = pd.to_datetime(["2020-01-01", None, None]).tz_localize("Europe/Oslo")
    out = TEXT.assign(at=days).llm.extract(
        "${text}", {"at": dt.datetime}, only_missing=True, **sim
    )
    assert out["at"].iloc[0] == pd.Timestamp("2019-12-31 23:00")

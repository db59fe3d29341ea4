"""Polars, Arrow and plain lists: what comes back is of their kind."""

import asyncio
import datetime as dt
import enum
import json
import subprocess
import sys
from typing import Literal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from loopback_server import Server, completion
from pydantic import BaseModel, RootModel, SecretStr

import pandas_llm
from pandas_llm import GenerationError, Plan, Quoted
from pandas_llm._rows.kinds import as_pandas
from pandas_llm.errors import ConfigurationError, InvalidTypeError
from pandas_llm.simulator import Simulator

FRAME = pl.DataFrame(
    {
        "big": [2**60 + 1, None, 3],
        "text": ["Oslo", "Rome", None],
        "day": [dt.date(2020, 1, 2), None, None],
        "kind": pl.Series(["u", "v", "u"], dtype=pl.Enum(["v", "u"])),
        "group": pl.Series(["g", "g", "h"], dtype=pl.Categorical),
        "parts": [[1, 2], None, []],
        "price": pl.Series(["1.10", "2.00", None]).cast(pl.Decimal(10, 2)),
        "at": [dt.time(1, 2), None, None],
    }
)
KEYS = {
    "year": int,
    "share": float,
    "sure": bool,
    "mood": ["good", "bad"],
    "born": dt.date,
    "tags": list[str],
    "name": str,
}
SIM = {"model": "sim", "cache": False, "progress": False}
KINDS = {"polars": FRAME, "arrow": FRAME.to_arrow()}


@pytest.fixture(params=KINDS)
def table(request):
    return KINDS[request.param]


def of_kind(result, data):
    assert nw.from_native(result, allow_series=True).implementation is (
        nw.from_native(data, allow_series=True).implementation
    )
    return nw.from_native(result, allow_series=True)


def test_extract_keeps_the_columns_and_types_the_new_ones():
    out = pandas_llm.extract(FRAME, "On ${text}", KEYS, **SIM)
    assert out.select(FRAME.columns).equals(FRAME)
    assert out.select(FRAME.columns).schema == FRAME.schema
    assert dict(out.select(KEYS.keys()).schema) == {
        "year": pl.Int64,
        "share": pl.Float64,
        "sure": pl.Boolean,
        "mood": pl.Categorical,
        "born": pl.Date,
        "tags": pl.List(pl.String),
        "name": pl.String,
    }
    assert out["year"].null_count() == 1  # the row without a text
    assert set(out["mood"].drop_nulls()) <= {"good", "bad"}


def test_arrow_tables_have_the_schema_that_they_had():
    data = FRAME.to_arrow()
    out = pandas_llm.extract(data, "On ${text}", KEYS, **SIM)
    assert isinstance(out, pa.Table)
    for name in data.column_names:
        assert out.schema.field(name).type == data.schema.field(name).type
        assert out[name].to_pylist() == data[name].to_pylist()
    assert out.schema.field("year").type == pa.int64()


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int64, 2)),
        pl.Series([[1.0], None, [2.0, 3.0]], dtype=pl.List(pl.Float32)),
    ],
    ids=["fixed", "float32"],
)
def test_lists_that_were_not_touched_keep_their_type(column):
    frame = pl.DataFrame({"text": ["a", "b", "c"], "list": column})
    for data in (frame, frame.to_arrow()):
        out = pandas_llm.extract(data, "On ${text}", {"year": int}, **SIM)
        kept = pl.from_arrow(out) if data is not frame else out
        assert kept.select(frame.columns).equals(frame)
        assert data is frame or out.schema.field("list") == data.schema.field("list")
        some = pandas_llm.filter(data, "On ${text}", **SIM)
        assert some.schema == data.schema


def test_keys_of_dicts_stay_what_they_were():
    out = pandas_llm.extract([{"text": "a", 1: 2}], "On ${text} ${1}", ["q"], **SIM)
    assert list(out[0]) == ["text", 1, "q"]


def test_all_verbs_by_row_return_the_kind_of_the_data(table):
    rows = pandas_llm.generate(
        table, "Facts on ${text}", ["q"], ignore_index=True, **SIM
    )
    assert of_kind(rows, table).columns == [*FRAME.columns, "q"]
    text = of_kind(pandas_llm.complete(table, "Hm ${text}", **SIM), table)
    assert isinstance(text, nw.Series)
    assert text.to_list()[2] is None
    label = pandas_llm.classify(table, "Hm ${text}", ["a", "b"], **SIM)
    assert of_kind(label, table).dtype == nw.Categorical
    vector = of_kind(pandas_llm.embed(table, "text", dimensions=3, **SIM), table)
    assert vector.dtype == nw.Array(nw.Float32, 3)
    assert vector.null_count() == 1
    both = pandas_llm.complete(table, "Hm ${text}", error_column="why", **SIM)
    assert of_kind(both, table).columns == ["completion", "why"]


@pytest.mark.parametrize("data", [FRAME["text"], FRAME.to_arrow()["text"]])
def test_a_column_alone_is_value(data):
    out = of_kind(pandas_llm.extract(data, "On ${value}", {"n": int}, **SIM), data)
    assert out.columns[-1] == "n"
    assert isinstance(
        of_kind(pandas_llm.embed(data, dimensions=2, **SIM), data), nw.Series
    )


def test_async_twins_plans_and_batches_return_it_too(table):
    out = asyncio.run(pandas_llm.acomplete(table, "Hm ${text}", **SIM))
    assert isinstance(of_kind(out, table), nw.Series)
    plan = Plan("Hm ${text}", ["q"], **SIM)
    assert of_kind(plan(table), table).columns == [*FRAME.columns, "q"]
    assert pandas_llm.estimate(table, "Hm ${text}", **SIM).rows == 3
    assert len(pandas_llm.preview(table, "Hm ${text}", **SIM)) == 2


def test_a_batch_returns_it_too(table, tmp_path, simulator):
    own = {"model": "sim", "cache": tmp_path / "c", "progress": False}
    url = simulator().base_url
    job = Plan("Hm ${text}", ["q"], base_url=url, **own).submit(table)
    assert of_kind(job.result(table), table).columns == [*FRAME.columns, "q"]


def test_verbs_over_the_table_return_it_too(table):
    def columns(result):
        return of_kind(result, table).columns

    own, text = FRAME.columns, table["text"]
    assert columns(pandas_llm.filter(table, "Is ${text} nice?", **SIM)) == own
    yes = of_kind(pandas_llm.matches(table, "Is ${text} nice?", **SIM), table)
    assert yes.dtype == nw.Boolean
    assert columns(pandas_llm.drop_duplicates(table, "text", block="kind", **SIM))
    twice = of_kind(pandas_llm.duplicated(table, "text", block="kind", **SIM), table)
    assert (twice.dtype, len(twice)) == (nw.Boolean, 3)
    assert of_kind(pandas_llm.ngroup(text, block=None, **SIM), table).dtype == nw.Int64
    pair = "Is ${left.text} above ${right.text}?"
    assert len(pandas_llm.nlargest(table, 1, pair, **SIM)) == 1
    joined = pandas_llm.merge(table, table, pair, on="text", block=None, **SIM)
    assert columns(joined)[0] == "big_x"
    said = pandas_llm.agg(table, "What?", "text", by="kind", **SIM)
    assert columns(said) == ["kind", "answer"]
    found = pandas_llm.search(table, "cold", "text", k=1, **SIM)
    assert columns(found) == [*own, "score"]
    record = pandas_llm.agg(table, "What?", "text", keys=["mood"], **SIM)
    assert list(record) == ["mood"]


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("how", ["inner", "outer"])
def test_columns_of_merged_tables_are_what_they_were(table, rows, how):
    right, given = table.slice(0, rows), {"how": how, "block": None, **SIM}
    out = of_kind(pandas_llm.merge(table, right, on="text", **given), table)
    for name, dtype in nw.from_native(table).schema.items():
        assert out.schema[f"{name}_x"] == out.schema[f"{name}_y"] == dtype


def test_an_answer_about_rows_has_the_types_of_an_answer_about_each(table):
    keys = {"born": dt.date, "moment": dt.datetime, "tags": list[str], "name": str}
    each = of_kind(pandas_llm.extract(table, "On ${text}", keys, **SIM), table)
    given = {"keys": keys, **SIM}
    by = of_kind(pandas_llm.agg(table, "What?", "text", by="kind", **given), table)
    assert by.select(*keys).schema == each.select(*keys).schema
    one = pandas_llm.agg(table, "What?", "text", **given)
    assert type(one["born"]) is dt.date
    assert type(one["moment"]) is dt.datetime
    listed = pandas_llm.agg([{"text": "a"}], "What?", "text", **given)
    assert type(listed["born"]) is dt.date


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
def test_what_is_known_may_be_a_column_of_the_same_package(table):
    truth = table["kind"]
    options = {"confidence": True, **SIM}
    out = pandas_llm.classify(table, "Of ${text}", ["u", "v"], gold=truth, **options)
    assert len(out) == 3
    assert pandas_llm.evaluate(table, "kind", truth).accuracy == 1


def test_vectors_of_an_earlier_run_are_searched():
    vectors = pandas_llm.embed(FRAME, "text", dimensions=4, **SIM)
    known = FRAME.with_columns(vectors)
    out = pandas_llm.search(known, "cold", "embedding", k=2, dimensions=4, **SIM)
    assert out.schema["embedding"] == pl.Array(pl.Float32, 4)
    assert len(out) == 2


def test_chunks_are_of_the_kind_too(table):
    out = of_kind(pandas_llm.chunk(table, "text", max_tokens=4), table)
    assert out.columns == [*FRAME.columns, "chunk"]


def test_tables_of_several_chunks_and_of_no_rows():
    two = pl.concat([FRAME, FRAME], rechunk=False)
    assert pandas_llm.complete(two, "Hm ${text}", **SIM).len() == 6
    out = pandas_llm.extract(FRAME.clear(), "Hm ${text}", KEYS, **SIM)
    assert (len(out), out.schema["year"]) == (0, pl.Int64)
    kept = pandas_llm.extract(
        pa.concat_tables([FRAME.to_arrow()] * 2), "On ${text}", KEYS, **SIM
    )
    assert kept["big"].to_pylist() == two["big"].to_list()


def test_numbers_with_nulls_and_dates_are_written_as_they_are():
    with Simulator() as server:
        pandas_llm.complete(FRAME, "${big} ${day}", base_url=server.base_url, **SIM)
        (said,) = [r["body"]["messages"][0]["content"] for r in server.requests()]
    assert said == f"{2**60 + 1} 2020-01-02"


def test_a_replaced_column_has_the_type_of_its_key():
    data = FRAME.with_columns(year=pl.lit("old"))
    out = pandas_llm.extract(data, "On ${text}", {"year": int}, overwrite=True, **SIM)
    assert out.schema["year"] == pl.Int64


class Place(BaseModel):
    name: str | None
    when: list[dt.date]


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Node(BaseModel):
    name: str
    below: list["Node"]


TYPED = {
    "tags": (list[str], pl.List(pl.String)),
    "days": (list[dt.date], pl.List(pl.Date)),
    "seen": (dt.datetime, pl.Datetime("us")),
    "n": (list[int], pl.List(pl.Int64)),
    "table": (list[list[float]], pl.List(pl.List(pl.Float64))),
    "born": (dt.date | None, pl.Date),
    "moods": (list[Literal["good", "bad"]] | None, pl.List(pl.String)),
    "kinds": (list[Mood], pl.List(pl.String)),
    "stars": (Literal[1, 2], pl.Int64),
    "place": (Place | None, pl.Struct({"name": pl.String, "when": pl.List(pl.Date)})),
    "places": (
        list[Place],
        pl.List(pl.Struct({"name": pl.String, "when": pl.List(pl.Date)})),
    ),
    "either": (int | str, pl.String),
    "odd": (Literal[1, "a"], pl.String),
    "rooted": (RootModel[RootModel[list[int]]], pl.List(pl.Int64)),
}


def test_types_do_not_depend_on_the_answers():
    keys = {name: kind for name, (kind, _) in TYPED.items()}
    kinds = {name: kind for name, (_, kind) in TYPED.items()}
    nothing = FRAME.with_columns(text=pl.lit(None, pl.String))
    with pytest.warns(pandas_llm.LLMWarning, match="NA in every row"):
        out = pandas_llm.extract(nothing, "On ${text}", keys, **SIM)
    assert dict(out.select(list(keys)).schema) == kinds
    told = pandas_llm.extract(FRAME, "On ${text}", keys, **SIM)
    assert dict(told.select(list(keys)).schema) == kinds
    assert told["places"].drop_nulls().len() == 2
    assert {type(json.loads(one)) for one in told["odd"].drop_nulls()} <= {int, str}
    assert pl.concat([out, told]).height == 2 * FRAME.height


def test_texts_have_their_type_without_any():
    nothing = pl.DataFrame({"text": [None]}, schema={"text": pl.String})
    more = {"error_column": "why", "details": "raw", **SIM}
    out = pandas_llm.extract(nothing, "On ${text}", {"name": str}, **more)
    new = dict(out.drop("text").schema)
    assert {new.pop(name) for name in ("name", "why", "llm_text", "llm_raw")} == {
        pl.String
    }
    assert pl.Null not in new.values()


def test_quoted_lists_have_their_types_without_any():
    keys = {"n": list[Quoted[int]], "when": Quoted[dt.date]}
    kinds = {
        "n": pl.List(pl.Int64),
        "n_quote": pl.List(pl.String),
        "n_start": pl.List(pl.Int64),
        "n_end": pl.List(pl.Int64),
        "when": pl.Date,
        "when_quote": pl.String,
        "when_start": pl.Int64,
        "when_end": pl.Int64,
    }
    for text in ("In 2020 it was 12.", None):
        told = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
        out = pandas_llm.extract(told, "Facts.\n\ntext: ${text}", keys, **SIM)
        assert dict(out.drop("text").schema) == kinds


def test_quoted_values_of_several_types_are_lists_beside_their_places():
    keys = {"v": list[Quoted[int | str]]}
    told = pl.DataFrame({"text": ["In 2020 it was 12."]})
    out = pandas_llm.extract(told, "Facts.\n\ntext: ${text}", keys, **SIM)
    kinds = [out.schema[name] for name in ("v_quote", "v_start", "v_end")]
    assert kinds == [pl.List(pl.String), pl.List(pl.Int64), pl.List(pl.Int64)]
    assert len(out["v"][0]) == len(out["v_quote"][0])


def test_a_model_within_itself_has_the_type_that_its_values_have():
    out = pandas_llm.extract(FRAME, "On ${text}", {"node": Node}, **SIM)
    assert isinstance(out.schema["node"], (pl.Struct, pl.String))


def test_values_of_several_types_are_json():
    mixed = pd.DataFrame({"any": pd.Series([{"a": 1}, [2], "x", None], dtype=object)})
    back = as_pandas(FRAME.clear()).restore(mixed)
    assert back["any"].to_list() == ['{"a":1}', "[2]", '"x"', None]


def test_a_secret_of_pydantics_is_what_it_holds():
    class Owner(BaseModel):
        name: SecretStr

    class Card(BaseModel):
        pin: SecretStr
        owner: Owner

    told = completion('{"records": [{"pin": "1234", "owner": {"name": "Ann"}}]}')
    with Server(lambda _: told) as server:
        rows = pl.DataFrame({"text": ["a"]})
        options = {"model": "m", "base_url": server.base_url, "cache": False}
        out = pandas_llm.extract(rows, "${text}", Card, progress=False, **options)
    assert out.row(0) == ("a", "1234", '{"name":"Ann"}')


def test_an_error_carries_rows_of_the_kind(table, simulator):
    server = simulator(faults={"broken_json": 1.0})
    with pytest.raises(GenerationError) as raised:
        pandas_llm.extract(
            table,
            "On ${text}",
            ["q"],
            errors="raise",
            base_url=server.base_url,
            output_retries=0,
            **SIM,
        )
    assert of_kind(raised.value.partial, table).columns == [*FRAME.columns, "q"]


# -- lists ------------------------------------------------------------------------


def test_lists_of_texts_return_lists():
    texts = ["Oslo", None, "Rome"]
    said = pandas_llm.complete(texts, "Praise ${value}", **SIM)
    assert [type(one) for one in said] == [str, type(None), str]
    labels = pandas_llm.classify(texts, "Mood of ${value}", ["a", "b"], **SIM)
    assert labels[1] is None
    assert {labels[0], labels[2]} <= {"a", "b"}
    vectors = pandas_llm.embed(texts, dimensions=2, **SIM)
    assert isinstance(vectors[0], np.ndarray)
    assert vectors[0].dtype == np.float32
    for verb in (pandas_llm.generate, pandas_llm.extract):
        rows = verb(texts, "On ${value}", ["fact"], **SIM)
        assert {tuple(row) for row in rows} == {("value", "fact")}
        assert rows[0]["value"] == "Oslo"
    assert pandas_llm.complete([], "Praise ${value}", **SIM) == []
    assert set(pandas_llm.filter(texts, "Is ${value} big?", **SIM)) <= set(texts)
    assert pandas_llm.ngroup(["a", "a"], **SIM) == [0, 0]


def test_verbs_over_the_table_take_lists_of_dicts():
    rows = [{"city": "Oslo"}, {"city": "Oslo"}]
    out = pandas_llm.drop_duplicates(rows, "city", **SIM)
    assert out == [{"city": "Oslo"}]


# -- what is no table ---------------------------------------------------------------


def test_lazy_frames_are_told_to_collect():
    with pytest.raises(InvalidTypeError, match=r"\.collect\(\)"):
        pandas_llm.complete(FRAME.lazy(), "Hm ${text}", **SIM)


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("dask.dataframe.dask_expr", "import pandas_llm.dask, and call data.llm."),
        ("pyspark.sql.connect.dataframe", "and call pandas_llm.spark.generate(data,"),
    ],
)
def test_tables_in_partitions_say_what_asks_about_them(package, words):
    table = type("DataFrame", (), {"__module__": package, "collect": None})()
    with pytest.raises(InvalidTypeError) as caught:
        pandas_llm.complete(table, "Hm ${text}", **SIM)
    assert words in str(caught.value)


@pytest.mark.parametrize("data", [5, "text", ["a", 3], {"a": 1}, None])
def test_what_holds_no_rows_is_refused(data):
    with pytest.raises(InvalidTypeError, match="data must be"):
        pandas_llm.complete(data, "Hm", **SIM)


def test_python_objects_in_polars_are_refused_before_anything_is_sent():
    data = FRAME.with_columns(own=pl.Series([object()] * 3, dtype=pl.Object))
    with pytest.raises(InvalidTypeError, match="'own' holds Python objects"):
        pandas_llm.complete(data, "Hm ${text}", **SIM)


def test_without_narwhals_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(ConfigurationError, match=r"accessor\[tables\]"):
        pandas_llm.complete(FRAME, "Hm ${text}", **SIM)
    with pytest.raises(InvalidTypeError, match="not int"):
        pandas_llm.complete(5, "Hm", **SIM)
    assert pandas_llm.complete(["a"], "Hm ${value}", **SIM)


def test_narwhals_is_imported_only_for_other_tables():
    code = (
        "import sys, pandas as pd, pandas_llm\n"
        "pandas_llm.complete(pd.DataFrame({'a': ['x']}), '${a}', model='sim')\n"
        "pandas_llm.complete(['x'], '${value}', model='sim')\n"
        "assert 'narwhals' not in sys.modules and 'polars' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_nan_is_not_sent_and_stays_what_it_is():
    frame = pl.DataFrame({"n": [1.0, float("nan"), None]})
    shown = pandas_llm.preview(frame, "On ${n}", rows=3, **SIM)
    assert shown["prompt"].tolist() == ["On 1.0"]
    out = pandas_llm.extract(frame, "On ${n}", {"k": int}, **SIM)
    assert out.select("n").equals(frame)
    assert out["k"].is_null().to_list() == [False, True, True]
    every = pandas_llm.preview(frame, "On ${n}", rows=3, na_action=None, **SIM)
    assert every["prompt"].tolist() == ["On 1.0", "On ", "On "]
    assert pandas_llm.compare(frame, frame).summary["changed"].tolist() == [0]


def test_columns_that_arrow_cannot_hold_are_named():
    whole = pl.DataFrame({"text": ["a"], "n": pl.Series([1], dtype=pl.Int128)})
    with pytest.raises(InvalidTypeError, match="column 'n' is of type Int128"):
        pandas_llm.complete(whole, "${text}", **SIM)
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["x", "x"])
    with pytest.raises(InvalidTypeError, match=r"cannot be read: .* 'x' 2 times"):
        pandas_llm.complete(twice, "${x}", **SIM)


@pytest.mark.parametrize("rows", [[], [None]])
def test_vectors_have_their_type_without_any(rows):
    texts = pl.Series("text", rows, dtype=pl.String)
    assert pandas_llm.embed(texts, **SIM).dtype == pl.List(pl.Float32)
    out = pandas_llm.embed(texts, dimensions=3, **SIM)
    assert out.dtype == pl.Array(pl.Float32, 3)


def test_lists_hold_pythons_own_dates():
    keys = {"day": dt.date, "moment": dt.datetime, "days": list[dt.date]}
    for out in (
        pandas_llm.extract(["Oslo"], "On ${value}", keys, **SIM),
        pandas_llm.generate([{"text": "Oslo"}], "On ${text}", keys, **SIM),
    ):
        assert type(out[0]["day"]) is dt.date
        assert type(out[0]["moment"]) is dt.datetime
        assert {type(day) for day in out[0]["days"]} == {dt.date}
    none = pandas_llm.extract([None], "On ${value}", keys, **SIM)
    assert none == [{"value": None, "day": None, "moment": None, "days": None}]


@pytest.mark.parametrize(
    ("data", "kind"),
    [([1, 2], "list of int"), (({"a": 1}, "x"), "tuple of dict, str")],
    ids=str,
)
def test_a_list_of_something_else_is_named(data, kind):
    with pytest.raises(InvalidTypeError, match=f"not a {kind}$"):
        pandas_llm.complete(data, "${value}", **SIM)

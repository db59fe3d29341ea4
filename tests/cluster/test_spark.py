"""Spark: the verbs over mapInPandas, on a real local session."""

import os
import shutil
import sys
from datetime import datetime

import pandas as pd
import pytest

from pandas_llm import ConfigurationError, Quoted

pytest.importorskip("pyspark")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java (17)", allow_module_level=True)

from attached import pdf

import pandas_llm.spark

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore"),  # of pandas 3, which Spark 4.3 is new to
]


@pytest.fixture(scope="module")
def spark():
    """Start Spark with two Python workers."""
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        patch.setenv("PANDAS_LLM_CACHE", "off")
        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.session.timeZone", "UTC")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


@pytest.fixture
def presidents(spark):
    told = "President {} was born in {}. He liked tea."
    rows = [(at, told.format(at, 1700 + at)) for at in range(12)]
    return spark.createDataFrame(rows, "id int, text string").repartition(3)


def test_filter_leaves_the_rows_that_match_and_others_say_what_to_do(
    presidents, simulator
):
    server = simulator()
    given = {"model": "sim", "base_url": server.base_url}
    asked = pandas_llm.spark.matches(presidents, "Was ${text} right?", **given)
    assert asked.dtypes[-1] == ("matches", "boolean")
    yes = {row["id"] for row in asked.collect() if row["matches"]}
    out = pandas_llm.spark.filter(presidents, "Was ${text} right?", **given)
    assert out.dtypes == presidents.dtypes
    assert {row["id"] for row in out.collect()} == yes
    assert 0 < len(yes) < 12
    with pytest.raises(AttributeError, match=r"Call it on sdf.toPandas\(\)"):
        _ = pandas_llm.spark.merge
    with pytest.raises(ConfigurationError, match="find thresholds with pandas"):
        pandas_llm.spark.filter(presidents, "${text}?", cascade="tiny", recall=0.9)


def test_generate_gives_the_records_of_every_row(presidents, simulator):
    server = simulator()
    out = pandas_llm.spark.generate(
        presidents,
        "Facts on: ${text}",
        {
            "fact": str,
            "year": int,
            "weight": float,
            "sure": bool,
            "day": datetime,
            "kind": ["war", "peace"],
            "names": list[str],
            "numbers": list[int] | None,
        },
        model="sim",
        base_url=server.base_url,
    )
    assert server.stats()["requests"] == 0
    assert out.dtypes == [
        ("id", "int"),
        ("text", "string"),
        ("fact", "string"),
        ("year", "bigint"),
        ("weight", "double"),
        ("sure", "boolean"),
        ("day", "timestamp_ntz"),
        ("kind", "string"),
        ("names", "array<string>"),
        ("numbers", "array<bigint>"),
    ]
    rows = out.collect()
    assert server.stats()["requests"] == 12
    assert {row["id"] for row in rows} == set(range(12))
    assert len(rows) > 12
    for row in rows:
        assert f"President {row['id']} " in row["text"]
        assert row["kind"] in ("war", "peace")
        assert all(isinstance(name, str) for name in row["names"])
        assert isinstance(row["day"], datetime)


def test_quoted_keys_come_with_their_words_and_places(presidents, simulator):
    out = pandas_llm.spark.extract(
        presidents,
        "Facts.\n\ntext: ${text}",
        {"born": Quoted[int], "told": list[Quoted[str]], "when": list[Quoted[int]]},
        model="sim",
        base_url=simulator().base_url,
    )
    assert out.dtypes[2:] == [
        *(("born", "bigint"), ("born_quote", "string")),
        *(("born_start", "bigint"), ("born_end", "bigint")),
        *(("told", "array<string>"), ("told_quote", "array<string>")),
        *(("told_start", "array<bigint>"), ("told_end", "array<bigint>")),
        *(("when", "array<bigint>"), ("when_quote", "array<string>")),
        *(("when_start", "array<bigint>"), ("when_end", "array<bigint>")),
    ]
    for row in out.collect():
        assert row["text"][row["born_start"] : row["born_end"]] == row["born_quote"]
        ends = zip(row["told_start"], row["told_end"], strict=True)
        assert [row["text"][start:end] for start, end in ends] == row["told_quote"]
    named = pandas_llm.spark.extract(
        presidents, "${id} ${text}", {"k": Quoted[str]}, model="sim"
    )
    assert named.columns[-2:] == ["k_end", "k_column"]


def test_extract_keeps_failed_rows_and_their_reasons(presidents, simulator):
    server = simulator(fail_if={"President 3 ": "refusal"})
    out = pandas_llm.spark.extract(
        presidents,
        "${text}",
        {"born": int},
        error_column="why",
        model="sim",
        base_url=server.base_url,
    ).toPandas()
    assert len(out) == 12
    failed = out[out["born"].isna()]
    assert failed["id"].tolist() == [3]
    assert failed["why"].iloc[0].startswith("refusal: ")
    assert out["why"].isna().sum() == 11


def test_complete_and_classify_add_a_column(presidents, simulator):
    options = {"model": "sim", "base_url": simulator().base_url}
    out = pandas_llm.spark.complete(presidents, "${text}", name="praise", **options)
    out = pandas_llm.spark.classify(
        out, "${praise}", ["good", "bad"], confidence=True, **options
    ).toPandas()
    assert out.columns.tolist() == ["id", "text", "praise", "label", "confidence"]
    assert out["praise"].str.startswith("[simulated]").all()
    assert out["label"].isin(["good", "bad"]).all()
    assert out["confidence"].between(0.5, 1).all()
    assert len(set(out["confidence"])) > 1
    whole = pandas_llm.spark.complete(presidents, "${id}", details="raw", **options)
    assert whole.dtypes[-1] == ("llm_raw", "string")
    assert {row["llm_raw"] for row in whole.collect()} == {"{}"}
    named = pandas_llm.spark.classify(
        presidents, "${text}", ["a"], name="mood", confidence=True, **options
    )
    assert named.columns == ["id", "text", "mood", "mood_confidence"]


def test_cells_hold_files_as_bytes_and_by_their_paths(spark, simulator, tmp_path):
    server = simulator()
    (tmp_path / "a.pdf").write_bytes(pdf(2))
    cells = [str(tmp_path / "a.pdf"), "/etc/passwd"]
    frame = spark.createDataFrame(
        [(at, cell, bytearray(pdf(3))) for at, cell in enumerate(cells)],
        "id int, path string, report binary",
    )
    options = {"model": "sim", "base_url": server.base_url, "files_root": tmp_path}
    out = pandas_llm.spark.complete(
        frame, "${id}", files=["path", "report"], error_column="why", **options
    ).toPandas()
    assert "[application/pdf, " in out["completion"].iloc[0]
    assert "does not lie below files_root" in out["why"].iloc[1]
    (seen,) = server.requests()
    parts = seen["body"]["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["file", "file", "text"]


def test_the_workers_divide_one_accounts_limit(spark, simulator):
    rate, rows = 20, 160
    server = simulator(requests_per_minute=60 * rate, latency=0.1, headers=False)
    sdf = spark.createDataFrame(
        pd.DataFrame({"text": [f"Row {at}." for at in range(rows)]})
    ).repartition(2)
    out = pandas_llm.spark.complete(
        sdf,
        "${text}",
        model="sim",
        base_url=server.base_url,
        requests_per_minute=60 * rate,
    )
    assert out.toPandas()["completion"].notna().all()
    stats = server.stats()
    assert stats["answered"] == rows
    # two that took the whole limit each would be refused half of the time
    assert stats["rejected_429"] < 0.02 * rows


def test_mistakes_are_told_before_anything_runs(presidents):
    with pytest.raises(pandas_llm.TemplateError, match="text"):
        pandas_llm.spark.complete(presidents, "${tekst}", model="sim")
    with pytest.raises(ValueError, match="column 'id' already"):
        pandas_llm.spark.complete(presidents, "${text}", name="id", model="sim")
    with pytest.raises(ConfigurationError, match="drop the columns first"):
        pandas_llm.spark.extract(presidents, "${text}", ["a"], overwrite=True)
    with pytest.raises(ConfigurationError, match="each partition is one"):
        pandas_llm.spark.complete(presidents, "${text}", model="sim", max_cost=1.0)
    with pytest.raises(ValueError, match="workers"):
        pandas_llm.spark.complete(presidents, "${text}", model="sim", workers=0)


def test_conversations_come_as_arrays_of_structs_or_as_text(spark, simulator):
    server = simulator()
    turns = "array<struct<role:string, content:string>>"
    said = [("user", "Hi"), ("assistant", "Hello"), ("user", "So?")]
    chats = spark.createDataFrame(
        [(1, said, '[["Q", "A"]]'), (2, None, None)],
        f"id int, said {turns}, few string",
    )
    given = {"model": "sim", "base_url": server.base_url}
    out = pandas_llm.spark.complete(
        chats, "Sum up ${id}.", messages="said", examples="few", **given
    )
    assert all(row["completion"].startswith("[simulated]") for row in out.collect())
    sent = [
        [(turn["role"], turn["content"]) for turn in seen["body"]["messages"]]
        for seen in server.requests()
    ]
    first = [("user", "Q"), ("assistant", "A"), *said, ("user", "Sum up 1.")]
    assert sorted(sent) == sorted([first, [("user", "Sum up 2.")]])

"""Spark: the verbs over mapInPandas, on a real local session."""

import datetime as dt
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel, SecretStr

from pandas_llm import ConfigurationError, Quoted
from pandas_llm.errors import NoUsageError

pytest.importorskip("pyspark")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java (17)", allow_module_level=True)

from attached import pdf
from loopback_server import Server, completion

import pandas_llm.spark
from pandas_llm._cluster import session as spark_session

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
            SparkSession.builder.master("local[2,2]")  # a task may fail once
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


class Stay(BaseModel):
    place: str
    year: int | None


class Life(BaseModel):
    born: dt.date
    died: dt.date | None
    last: Stay
    stays: list[Stay]
    days: list[dt.date]


def test_dates_records_and_lists_of_them_have_types_of_their_own(presidents, simulator):
    options = {"model": "sim", "base_url": simulator().base_url}
    out = pandas_llm.spark.extract(presidents, "${text}", Life, **options)
    stay = "struct<place:string,year:bigint>"
    assert out.dtypes[2:] == [
        ("born", "date"),
        ("died", "date"),
        ("last", stay),
        ("stays", f"array<{stay}>"),
        ("days", "array<date>"),
    ]
    rows = sorted(out.collect(), key=lambda row: row["id"])
    frame = pd.DataFrame({"text": [row["text"] for row in rows]})
    expected = frame.llm.extract("${text}", Life, cache=False, **options)
    for row, (_, plain) in zip(rows, expected.iterrows(), strict=True):
        assert row["born"] == plain["born"].date()
        assert row["died"] is None
        assert row["last"].asDict() == plain["last"]
        assert [one.asDict() for one in row["stays"]] == plain["stays"]
        assert row["days"] == plain["days"]


def test_texts_are_embedded_as_arrays(presidents, simulator):
    options = {"model": "sim", "base_url": simulator().base_url}
    out = pandas_llm.spark.embed(presidents, "text", name="v", **options)
    assert out.dtypes[-1] == ("v", "array<float>")
    rows = out.collect()
    frame = pd.DataFrame({"text": [row["text"] for row in rows]})
    expected = frame.llm.embed("text", cache=False, **options)
    assert [row["v"] for row in rows] == [vector.tolist() for vector in expected]
    with pytest.raises(ConfigurationError, match="a vector is an array here"):
        pandas_llm.spark.embed(presidents, "text", expand=True, **options)


def test_what_the_last_action_used_is_known(presidents, simulator):
    server = simulator(fail_if={"President 3 ": "refusal"})
    options = {"model": "sim", "base_url": server.base_url}
    options |= {"prices": {"sim": (1.0, 2.0)}}
    out = pandas_llm.spark.extract(presidents, "${text}", {"born": int}, **options)
    out = pandas_llm.spark.complete(out, "${text}", usage_column="used", **options)
    out = out.cache()
    assert len(out.collect()) == 12
    used = pandas_llm.spark.last_usage()
    assert used.rows == 24
    assert used.failed == 2
    assert used.requests == server.stats()["requests"] == 24
    assert used.known_cost == pytest.approx(
        (used.input_tokens * 1.0 + used.output_tokens * 2.0) / 1e6
    )
    assert pandas_llm.spark.last_failures()["kind"].tolist() == ["refusal"] * 2
    report = str(pandas_llm.spark.last_report())
    assert "extract" in report
    assert "complete" in report
    assert pandas_llm.spark.usage_of(out, "used").requests == 12
    assert server.stats()["requests"] == 24  # it was cached
    assert pandas_llm.spark.last_usage() == used
    pandas_llm.spark.complete(presidents, "${text}", **options).toPandas()
    assert pandas_llm.spark.last_usage().requests == 12


def test_a_partition_that_is_run_twice_counts_twice(spark, simulator, tmp_path):
    server = simulator()
    rows = spark.range(20).repartition(2)
    options = {"model": "sim", "base_url": server.base_url}
    out = pandas_llm.spark.complete(rows, "${id}", **options)
    broken = str(tmp_path / "broken")

    def once(batches):
        yield from batches
        if not os.path.exists(broken):  # noqa: PTH110 - pickled by value
            open(broken, "x").close()  # noqa: PTH123
            raise OSError("broken")

    assert len(out.mapInPandas(once, out.schema).collect()) == 20
    asked = server.stats()["requests"]
    assert asked == 30
    assert pandas_llm.spark.last_usage().requests == asked


def test_what_drops_rows_has_no_column_of_usage(presidents):
    with pytest.raises(ConfigurationError, match="drops rows"):
        pandas_llm.spark.filter(presidents, "${text}?", usage_column="u", model="sim")
    with pytest.raises(ConfigurationError, match="drops rows"):
        pandas_llm.spark.generate(
            presidents, "${text}", ["a"], how="inner", usage_column="u", model="sim"
        )
    with pytest.raises(ValueError, match="two new columns"):
        pandas_llm.spark.complete(presidents, "${text}", name="u", usage_column="u")


def test_an_idle_workers_part_goes_to_the_others(spark, simulator):
    rate, rows = 20, 160
    server = simulator(requests_per_minute=60 * rate, latency=0.1, headers=False)
    sdf = spark.createDataFrame(
        pd.DataFrame({"text": [f"Row {at}." for at in range(rows)]})
    ).coalesce(1)
    options = {"model": "sim", "base_url": server.base_url}
    options |= {"requests_per_minute": 60 * rate}
    out = pandas_llm.spark.complete(sdf, "${text}", workers=4, **options)
    started = time.monotonic()
    assert out.toPandas()["completion"].notna().all()
    # a fixed fourth of the limit takes 32 s, the whole 8 s
    assert time.monotonic() - started < 20
    assert server.stats()["rejected_429"] < 0.02 * rows


def test_workers_that_cannot_reach_the_driver_keep_to_a_part(
    spark, simulator, monkeypatch
):
    rate, rows = 20, 60
    server = simulator(requests_per_minute=60 * rate, latency=0.1, headers=False)
    sdf = spark.createDataFrame(
        pd.DataFrame({"text": [f"Row {at}." for at in range(rows)]})
    ).repartition(2)
    options = {"model": "sim", "base_url": server.base_url}
    options |= {"requests_per_minute": 60 * rate}
    pandas_llm.spark.complete(sdf, "${text}", **options)  # which begins to listen
    ((driver, *_),) = spark_session._sessions.values()
    with socket.socket() as nobody:  # bound, and listens to none
        nobody.bind(("127.0.0.1", 0))
        place = spark_session.Address("127.0.0.1", nobody.getsockname()[1], "word")
        monkeypatch.setattr(driver, "address", place)
        out = pandas_llm.spark.complete(sdf, "${text}", workers=6, **options)
        started = time.monotonic()
        assert out.toPandas()["completion"].notna().all()
    # a sixth of the limit each: 9 s, where all of it would take 3 s
    assert time.monotonic() - started > 7
    assert server.stats()["rejected_429"] < 0.02 * rows
    assert pandas_llm.spark.last_usage().requests == rows  # by the accumulator


def test_who_does_not_know_the_word_is_not_answered(spark, presidents):
    pandas_llm.spark.complete(presidents, "${text}", model="sim")
    ((driver, *_),) = spark_session._sessions.values()
    address = driver.address
    for word in ("wrong", "w\u00f6rd", None):
        with socket.create_connection((address.host, address.port), 5) as line:
            line.sendall(json.dumps([word, "lease", "a", "me", True]).encode() + b"\n")
            assert line.recv(100) == b""
    with socket.create_connection((address.host, address.port), 5) as line:
        line.sendall(json.dumps([address.word, "hello"]).encode() + b"\n")
        assert line.recv(100) == b"0.0\n"


def test_spark_connect_needs_no_context(simulator):
    pytest.importorskip("grpc")
    script = Path(__file__).parent.parent / "support" / "spark_connect_script.py"
    out = subprocess.run(
        [sys.executable, "-W", "ignore", script, simulator().base_url],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(out.stdout.splitlines()[-1])
    assert told["cores"] == 2
    assert told["rows"] == 12
    assert told["dtypes"] == [["born", "bigint"], ["used", "string"]]
    assert told["requests"] == 12
    assert "usage_column=" in told["error"]


def test_before_a_session_nothing_is_told(monkeypatch):
    monkeypatch.setattr(spark_session, "_sessions", {})
    with pytest.raises(NoUsageError, match="usage_of"):
        pandas_llm.spark.last_usage()


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


class Owner(BaseModel):
    name: SecretStr


class Card(BaseModel):
    pin: SecretStr
    owner: Owner


def test_a_secret_of_pydantics_is_what_it_holds(presidents):
    told = completion('{"records": [{"pin": "1234", "owner": {"name": "Ann"}}]}')
    with Server(lambda _: told) as server:
        options = {"model": "m", "base_url": server.base_url, "cache": False}
        out = pandas_llm.spark.extract(presidents, "${text}", Card, **options)
        row = out.first()
    assert (row["pin"], row["owner"]) == ("1234", '{"name":"Ann"}')


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

"""Files of every kind on the command line, and the commands that ask no model."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pandas_llm import Plan, options
from pandas_llm.__main__ import main
from pandas_llm._cli.files import Writing, read_table, write_table

TABLE = pd.DataFrame(
    {"id": ["007", "8"], "text": ["Kähler, \u2028 a;b\tc", 'say "hi"']}
)
ENDINGS = ["csv", "tsv", "jsonl", "ndjson", "json"]
COMMANDS = ["generate", "extract", "complete", "classify", "filter", "embed"]
OTHERS = ["chunk", "evaluate", "report", "demo", "simulate", "cache"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PANDAS_LLM_CACHE", str(tmp_path / "kept.sqlite"))
    return tmp_path


def run(capfd, *words):
    capfd.readouterr()
    try:
        code = main([*map(str, words)])
    except SystemExit as ended:
        code = ended.code
    return code, *capfd.readouterr()


def at(simulator):
    return ("--model", "sim", "--base-url", simulator().base_url, "--no-progress")


@pytest.mark.parametrize(
    "ending", [*ENDINGS, *(f"{one}.gz" for one in ENDINGS), "parquet"]
)
def test_what_is_written_is_read_again(ending, folder):
    write_table(TABLE, f"t.{ending}")
    assert (
        read_table(f"t.{ending}", Writing()).astype(object).equals(TABLE.astype(object))
    )
    first = Path(f"t.{ending}").read_bytes()
    assert (first[:2] == b"\x1f\x8b") == ending.endswith(".gz")
    write_table(TABLE, f"t.{ending}")
    assert Path(f"t.{ending}").read_bytes() == first  # no time in it


def test_json_is_an_array_also_without_rows(folder):
    write_table(TABLE, "t.json")
    assert json.loads(Path("t.json").read_text("utf-8")) == TABLE.to_dict("records")
    write_table(TABLE.head(0), "none.json")
    assert json.loads(Path("none.json").read_text()) == []
    assert read_table("none.json", Writing()).empty


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv"])
def test_numbers_that_json_cannot_write_are_null(ending, folder):
    inf, nan = float("inf"), float("nan")
    cells = [{"a": inf, "n": 10**30}, [nan, -inf, np.float32(0.5)], np.array([1, inf])]
    rows = pd.DataFrame({"x": [1.5, inf, nan], "cell": pd.Series(cells, dtype=object)})
    write_table(rows, f"t.{ending}")
    if ending == "csv":
        kept = pd.read_csv("t.csv")["cell"].tolist()
    else:
        lines = Path(f"t.{ending}").read_text().strip("[]\n").split("\n")
        told = [json.loads(line.strip(","), parse_constant=int) for line in lines]
        assert [row["x"] for row in told] == [1.5, None, None]
        kept = [json.dumps(row["cell"]) for row in told]
    wanted = [{"a": None, "n": 10**30}, [None, None, 0.5], [1.0, None]]
    assert [json.loads(cell, parse_constant=int) for cell in kept] == wanted


def test_half_a_character_does_not_cost_the_whole_file(folder):
    rows = pd.DataFrame({"text": ["a", "b \ud800"]}, dtype=object)
    for ending in ("csv", "tsv", "jsonl", "json"):
        write_table(rows, f"t.{ending}")
        again = read_table(f"t.{ending}", Writing())["text"].tolist()
        assert again == ["a", "b \ud800" if "json" in ending else r"b \ud800"]
    with pytest.raises(ValueError, match=r"Parquet cannot hold the table: .*ud800"):
        write_table(rows, "t.parquet")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "json", "jsonl"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_text_in_other_encodings_is_read(ending, encoding, folder):
    rows = TABLE.assign(text=["Kähler", "Ö;x"])
    write_table(rows, f"t.{ending}")
    plain = Path(f"t.{ending}").read_bytes()
    packed = ending.endswith(".gz")
    text = (gzip.decompress(plain) if packed else plain).decode().encode(encoding)
    Path(f"t.{ending}").write_bytes(gzip.compress(text) if packed else text)
    got = read_table(f"t.{ending}", Writing(encoding=encoding))
    assert got.to_dict("records") == rows.to_dict("records")


@pytest.mark.parametrize(("sep", "told"), [(";", ";"), ("tab", "\t"), ("\\t", "\t")])
def test_cells_may_be_parted_by_others(sep, told, folder, capfd, simulator):
    Path("t.csv").write_text(f"id{told}text\n007{told}a,b\n")
    words = ("complete", "t.csv", "-t", "Of ${text}", "-o", "o.csv", "--sep", sep)
    code, _, said = run(capfd, *words, *at(simulator))
    assert code == 0, said
    assert pd.read_csv("o.csv", dtype=str).iloc[0, :2].tolist() == ["007", "a,b"]


def test_several_files_are_read_one_below_the_other(folder, capfd, simulator):
    for name in ("a.csv", "b.csv.gz"):
        write_table(TABLE.assign(id=name), name)
    for given in (["a.csv", "b.csv.gz"], ["*.csv*"]):
        words = ("complete", *given, "-t", "Of ${text}", "-o", "o.jsonl")
        code, _, said = run(capfd, *words, *at(simulator))
        assert code == 0, said
        ids = pd.read_json("o.jsonl", lines=True)["id"].tolist()
        assert ids == ["a.csv", "a.csv", "b.csv.gz", "b.csv.gz"]


WRONG = [
    ("a.csv other.csv", "only one of a.csv and other.csv has id, text, x"),
    ("a.csv --sep ;;", "--sep must be one character"),
    ("a.csv --encoding klingon", "there is no klingon"),
    ("cut.csv.gz", "cut.csv.gz is not a whole gzip file"),
    ("no.csv.gz", "no.csv.gz is not a whole gzip file"),
    ("one.json", "must be a JSON array of objects"),
    ("bad.json", "bad.json is not JSON"),
    ("a.csv --encoding utf-16", "is not text in utf-16"),
    ("a.parquet.gz", "the ending must be .csv"),
    ("a.gz", "the ending must be .csv"),
    ("a.csv -o a.csv", "OUTPUT is INPUT"),
    ("a.csv --report none/p.html", "the folder none is not there"),
    ("a.csv --report run.pdf", "must end in .html or .htm, not .pdf"),
]


@pytest.mark.parametrize(("words", "told"), WRONG, ids=[words for words, _ in WRONG])
def test_what_is_wrong_is_said_before_anything_is_sent(
    words, told, folder, capfd, simulator
):
    write_table(TABLE, "a.csv")
    Path("other.csv").write_text("x\n1\n")
    Path("cut.csv.gz").write_bytes(gzip.compress(b"id,text\n" + b"ab" * 999)[:-9])
    Path("no.csv.gz").write_text("id,text\n")
    Path("one.json").write_text('{"text": "a"}')
    Path("bad.json").write_text('[{"text": ')
    server = simulator()
    to = ("--model", "sim", "--base-url", server.base_url)
    given = ["complete", *words.split(), "-t", "Of ${text}", *to]
    code, out, said = run(capfd, *given)
    assert (code, out) == (2, "")
    assert told in said
    assert server.stats()["requests"] == 0


# -- the commands ---------------------------------------------------------------------


def test_filter_keeps_rows_as_they_are(folder, capfd, simulator):
    write_table(TABLE, "a.csv")
    words = ("filter", "a.csv", "-t", "Is it nice? ${text}", "-o", "o.csv")
    code, _, said = run(capfd, *words, *at(simulator))
    assert code == 0, said
    kept = pd.read_csv("o.csv", dtype=str)
    assert kept.columns.tolist() == ["id", "text"]
    assert set(kept["id"]) <= {"007", "8"}
    code, out, _ = run(capfd, *words, "--preview", *at(simulator))
    assert "Is it nice? Kähler" in out
    code, out, _ = run(capfd, *words, "--estimate", *at(simulator))
    assert "rows" in out


def test_filter_tells_of_failed_rows_by_its_code(folder, capfd, simulator):
    write_table(TABLE, "a.csv")
    server = simulator(faults={"broken_json": 1.0})
    words = ("filter", "a.csv", "-t", "Is it nice? ${text}", "-o", "o.csv")
    to = ("--model", "sim", "--base-url", server.base_url, "--output-retries", 0)
    to += ("--max-retries", 0)
    code, _, said = run(capfd, *words, *to, "--no-progress")
    assert code == 1, said
    assert "failed" in said
    assert len(pd.read_csv("o.csv")) == 0
    assert run(capfd, *words, *to, "--no-progress", "--keep-undecided")[0] == 1
    assert len(pd.read_csv("o.csv")) == 2


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_embed_writes_vectors(ending, folder, capfd, simulator):
    write_table(TABLE, "a.csv")
    words = ("embed", "a.csv", "-t", "text", "-o", f"o.{ending}", "--dimensions", 3)
    code, _, said = run(capfd, *words, *at(simulator))
    assert code == 0, said
    cell = read_table(f"o.{ending}", Writing())["embedding"][0]
    assert len(json.loads(cell) if isinstance(cell, str) else cell) == 3
    code, _, said = run(capfd, *words, "--expand", *at(simulator))
    assert code == 0, said
    assert read_table(f"o.{ending}", Writing()).columns[-1] == "embedding_2"


def test_chunk_cuts_texts(folder, capfd):
    text = "It rained all day. Then the sun came out. " * 5
    write_table(pd.DataFrame({"id": ["1"], "text": [text]}), "a.csv")
    words = ("chunk", "a.csv", "--column", "text", "--max-tokens", 20, "-o", "o.tsv")
    assert run(capfd, *words) == (0, "", "")
    parts = pd.read_csv("o.tsv", sep="\t")
    assert parts["chunk"].tolist() == list(range(len(parts)))
    assert len(parts) > 2
    code, _, said = run(capfd, *words[:-2], "--overlap", 30)
    assert code == 2
    assert "overlap" in said


def test_evaluate_prints_figures_or_writes_them(folder, capfd):
    columns = {"said": "aabb", "true": "aabc", "by": "xyxy"}
    rows = pd.DataFrame({name: list(cells) for name, cells in columns.items()})
    write_table(rows, "a.csv")
    words = ("evaluate", "a.csv", "--predicted", "said", "--gold", "true")
    code, out, said = run(capfd, *words)
    assert code == 0
    assert re.search(r"accuracy +0?\.75", out)
    assert "pandas-llm: warning: only 4 rows" in said
    assert run(capfd, *words, "--by", "by", "-o", "o.csv")[0] == 0
    assert len(pd.read_csv("o.csv")) >= 2
    code, _, said = run(capfd, *words[:-1], "nothing")
    assert code == 2
    assert "nothing" in said


def test_parquet_keeps_what_its_run_was(folder, capfd, simulator):
    write_table(TABLE, "a.csv")
    words = ("classify", "a.csv", "-t", "Of ${text}", "--labels", "x,y")
    more = ("-o", "o.parquet", "--report", "run.html", *at(simulator))
    assert run(capfd, *words, *more)[0] == 0
    assert run(capfd, "report", "o.parquet", "-o", "page.html")[0] == 0
    for page in ("run.html", "page.html"):
        assert "<svg" in Path(page).read_text("utf-8")
    code, out, _ = run(capfd, "report", "o.parquet")
    assert code == 0
    assert "rows" in out
    code, _, said = run(capfd, "report", "a.csv")
    assert code == 2
    assert "only Parquet keeps" in said


# -- help ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*COMMANDS, *OTHERS])
def test_help_has_two_examples_in_80_columns(command, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, shown, _ = run(capfd, command, "--help")
    assert code == 0
    assert shown.count(f"\n  pandas-llm {command}") == 2
    assert max(map(len, shown.splitlines())) <= 80


def test_flags_of_filter_and_embed_come_from_the_table_of_options(capfd):
    for verb, table in {
        "filter": options.FilterOptions,
        "embed": options.VectorOptions,
    }.items():
        _, shown, _ = run(capfd, verb, "--help")
        for name, option in options.listed(table).items():
            assert (f"--{name.replace('_', '-')}" in shown) == option.flag, name
    assert Plan("x", verb="embed", model="sim").verb == "embed"


def answered(name: str, *words: str) -> list[dict]:
    """Complete the rows of a file; return them."""
    given = ("complete", name, "-t", "On ${text}", "--model", "sim", "-q")
    assert main([*given, *words, "-o", "out.jsonl", "--no-progress"]) == 0
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz"])
def test_a_blank_line_of_one_column_is_a_row(name, folder):
    text = b"text\na\n\nb\n"
    Path(name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert [row["text"] for row in answered(name)] == ["a", None, "b"]
    Path("two.csv").write_text("\ntext,b\na,1\n\nb,2\n")
    assert [row["text"] for row in answered("two.csv")] == ["a", "b"]


def test_json_may_be_lines_and_one_object_is_none(folder, capfd):
    Path("in.json").write_text('{"text": "a"}\n{"text": "b"}\n')
    assert [row["text"] for row in answered("in.json")] == ["a", "b"]
    Path("in.json.gz").write_bytes(gzip.compress(b'{"text": "a"}\n{"text": "b"}'))
    assert [row["text"] for row in answered("in.json.gz")] == ["a", "b"]
    Path("one.json").write_text('{"text": {"0": "a"}}')  # as df.to_json() writes it
    assert main(["complete", "one.json", "-t", "${text}", "--model", "sim"]) == 2
    assert "must be a JSON array of objects" in capfd.readouterr().err


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_mark_between_cells_is_guessed_at(mark, folder, capfd):
    Path("in.csv").write_text(mark.join(["id", "text"]) + "\n1" + mark + "a\n")
    words = ["complete", "in.csv", "-t", "On ${text}", "--model", "sim"]
    assert main(words) == 2
    said = capfd.readouterr().err
    flag = re.search("is it --sep (.*)[?]", said)[1].strip("'")
    assert main([*words, "--sep", flag, "--no-progress"]) == 0
    assert "is it" not in capfd.readouterr().err


@pytest.mark.parametrize("output", ["./in.csv", "sub/../in.csv", "in.csv"])
@pytest.mark.parametrize("given", ["in.csv", "i*.csv"])
def test_output_is_not_input_however_it_is_written(output, given, folder, capfd):
    Path("sub").mkdir()
    Path("in.csv").write_text("text\na\n")
    words = ["complete", given, "-t", "${text}", "--model", "sim", "-o", output]
    assert main(words) == 2
    assert "OUTPUT is INPUT" in capfd.readouterr().err
    assert Path("in.csv").read_text() == "text\na\n"


@pytest.mark.parametrize(
    ("labels", "said"), [("{a", "is not JSON"), ("", "empty label"), ("a,,b", "empty")]
)
def test_labels_that_are_none_are_named(labels, said, folder, capfd):
    Path("in.csv").write_text("text\na\n")
    words = ["classify", "in.csv", "-t", "${text}", "--model", "sim"]
    assert main([*words, "--labels", labels]) == 2
    assert re.search(f"--labels '{labels}' .*{said}", capfd.readouterr().err)


def test_an_option_that_is_a_flag_or_a_file_takes_a_file(folder):
    Path("in.csv").write_text("text\na\n")
    answered("in.csv", "--cache", "own.sqlite")
    assert Path("own.sqlite").exists()
    assert not Path("kept.sqlite").exists()

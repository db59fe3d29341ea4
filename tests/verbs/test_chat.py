"""Chats to fine-tune on, and files that are whole or not there."""

import json
import stat

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pandas_llm
from pandas_llm import TemplateError
from pandas_llm._cli.files import Writing, read_table, replacing, write_table

PAIRS = pd.DataFrame(
    {"question": ["Who?", "When?", None], "answer": ["Ada", "1843", "Never"]},
    index=["x", "x", "y"],
)
ROLES = {"user": "${question}", "assistant": "${answer}"}


def read(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_row_is_a_chat_in_openais_form(tmp_path):
    path, rows = pandas_llm.to_chat_jsonl(
        PAIRS.head(2),
        tmp_path / "chats.jsonl",
        system="You are ${who}.",
        values={"who": "brief"},
        **ROLES,
    )
    assert (path, rows) == (tmp_path / "chats.jsonl", 2)
    assert read(path)[0] == {
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "Ada"},
        ]
    }
    assert [p.name for p in tmp_path.iterdir()] == ["chats.jsonl"]


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_any_text_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    data = [{"q": f"Q{q}", "a": f"A{a}"} for q, a in rows]
    if any(has_half(text) for row in rows for text in row):
        with pytest.raises(ValueError, match="half a character"):
            pandas_llm.to_chat_jsonl(data, path, user="${q}", assistant="${a}")
        assert not path.exists()
        return
    pandas_llm.to_chat_jsonl(data, path, user="${q}", assistant="${a}")
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    chats = [json.loads(line)["messages"] for line in lines]
    assert [(q["content"], a["content"]) for q, a in chats] == [
        (row["q"], row["a"]) for row in data
    ]


def has_half(text):
    return any("\ud800" <= letter <= "\udfff" for letter in text)


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (PAIRS, {}, ValueError, r"1 of 3 rows have no 'question' .*row 2, label 'y'"),
        (PAIRS, {"user": "${qestion}"}, TemplateError, "did you mean .*question"),
        (PAIRS, {"assistant": "Yes."}, TemplateError, "names no column"),
        (PAIRS, {"na_action": "drop"}, ValueError, "'raise' or 'ignore'"),
        (PAIRS.head(0), {}, ValueError, "no rows to write"),
        (PAIRS.replace("1843", " "), {"user": "Q"}, ValueError, "the assistant is emp"),
        (PAIRS, {"user": " "}, ValueError, r"row 0 \(label 'x'\): the user is empty"),
    ],
)
def test_what_no_model_should_learn_is_refused(data, options, error, words, tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text("old")
    with pytest.raises(error, match=words):
        pandas_llm.to_chat_jsonl(data, path, **{**ROLES, **options})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["chats.jsonl"]


@pytest.mark.parametrize("name", ["chats.csv", "chats.jsonl.gz", "chats.parquet"])
def test_chats_are_written_under_no_ending_but_their_own(name, tmp_path):
    with pytest.raises(ValueError, match=r"chats are JSON Lines, .* \.jsonl or"):
        pandas_llm.to_chat_jsonl(PAIRS, tmp_path / name, na_action="ignore", **ROLES)
    assert not list(tmp_path.iterdir())


def test_rows_with_gaps_are_left_out_when_asked(tmp_path):
    written = pandas_llm.to_chat_jsonl(
        PAIRS, str(tmp_path / "c.jsonl"), na_action="ignore", **ROLES
    )
    assert written.rows == len(read(written.path)) == 2


def test_a_run_that_ends_well_is_written(simulator, on, tmp_path):
    docs = pd.DataFrame({"text": ["Ada wrote the first program.", "Rome is old."]})
    pairs = docs.llm.generate("QA: ${text}", ["q", "a"], **on(simulator()))
    written = pandas_llm.to_chat_jsonl(
        pairs, tmp_path / "c.jsonl", user="${q}", assistant="${a}"
    )
    assert written.rows == len(pairs)


# -- whole or not there ---------------------------------------------------------


def test_what_breaks_off_leaves_the_old_file(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_one(tmp_path):
    target, link = tmp_path / "out.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_table(pd.DataFrame({"a": ["1"]}), str(link))
    assert link.is_symlink()
    assert target.read_text() == "a\n1\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_json_lines_come_back_as_they_were(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("lines")
    rows = [{"a": a, "b": b} for a, b in cells]
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "in.jsonl").write_text(text)
    write_table(
        read_table(str(folder / "in.jsonl"), Writing()), str(folder / "out.jsonl")
    )
    out = (folder / "out.jsonl").read_bytes().decode(errors="surrogatepass")
    assert [json.loads(line) for line in out.split("\n") if line] == rows


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))))
def test_a_csvs_texts_come_back_as_they_were(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("cells")
    table = pd.DataFrame({"a": cells, "n": ["01"] * len(cells)}, dtype=object)
    write_table(table, str(folder / "out.csv"))
    again = read_table(str(folder / "out.csv"), Writing())
    assert again["a"].fillna("").tolist() == cells
    assert again["n"].tolist() == table["n"].tolist()

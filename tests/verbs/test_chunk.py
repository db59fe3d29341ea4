"""Chunks of long texts: nothing lost, nothing too long, in order."""

import itertools
import math
import re
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pandas_llm
from pandas_llm._pacing import estimate_tokens

PIECES = st.sampled_from(
    [
        *("The ship left the harbour. ", "Was it late?\n", "It was.\n\n", "   \n"),
        *("Straße, Öl und Ähre. ", "東京は首都です。", "🚢🚢 ", "\r\n\r\n", "e\u0301"),
        *("https://example.org/a/very/long/address?x=1 ", "3.14, e.g. this; ", "\t"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=30), max_size=30).map("".join)


def tokens(text):
    return math.ceil(estimate_tokens(text))


def squeezed(text):
    return re.sub(r"\s+", "", text)


def chunks(text, **options):
    series = pd.Series([text], dtype=object, name="text")
    return series.llm.chunk(**options)


@settings(max_examples=100)
@given(TEXTS, st.integers(2, 60))
def test_joined_chunks_are_the_text_and_none_is_too_long(text, size):
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="half a character"):
            chunks(text, max_tokens=size)
        return
    out = chunks(text, max_tokens=size)
    assert squeezed("".join(out["text"])) == squeezed(text)
    assert max(map(tokens, out["text"])) <= size
    assert out["chunk"].tolist() == list(range(len(out)))


@settings(max_examples=80)
@given(TEXTS.filter(lambda t: not re.search("[\ud800-\udfff]", t)), st.data())
def test_with_overlap_chunks_follow_each_other_without_a_gap(text, data):
    size = data.draw(st.integers(4, 60))
    overlap = data.draw(st.integers(1, size - 1))
    found = chunks(text, max_tokens=size, overlap=overlap)["text"].tolist()
    whole = squeezed(text)
    places = {(0, 0)}  # where the last chunk may lie: a text can repeat itself
    for piece in filter(None, map(squeezed, found)):
        # it begins at or before the end of what was seen; what it adds may be blank
        places = {
            (at, at + len(piece))
            for start, end in places
            for at in range(start, end + 1)
            if whole.startswith(piece, at) and at + len(piece) >= end
        }
    assert len(whole) in {end for _, end in places}
    assert all(tokens(piece) <= size for piece in found)


def test_a_chunk_ends_with_a_sentence_or_a_paragraph_where_it_can():
    sentence = "The harbour was closed for three days in January. "
    out = chunks((sentence * 4 + "\n\n") * 3, max_tokens=60)
    assert len(out) == 3
    out = chunks(sentence * 12, max_tokens=30)
    assert out["text"].str.endswith(".").all()
    assert out["text"].str.startswith("The harbour").all()


def test_overlap_repeats_whole_sentences_of_the_chunk_before():
    text = " ".join(f"Sentence number {i} is here." for i in range(12))
    out = chunks(text, max_tokens=30, overlap=12)["text"].tolist()
    assert len(out) > 2
    for before, after in itertools.pairwise(out):
        first = after.split(".")[0]
        assert first in before


def test_labels_repeat_other_columns_stay_and_the_input_is_untouched():
    df = pd.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "text": ["One sentence. Two sentences here.", "", None, "Short."],
            "score": [0.5, 1.5, 2.5, 3.5],
        },
        index=["b", "a", "b", "b"],
    )
    df.attrs["source"] = "here"
    before = df.copy(deep=True)
    out = df.llm.chunk("text", max_tokens=6, name="part")
    pd.testing.assert_frame_equal(df, before)
    assert out.columns.tolist() == ["id", "text", "score", "part"]
    assert out.index.tolist() == ["b", "b", "a", "b", "b"]
    assert out["id"].tolist() == [1, 1, 2, 3, 4]
    assert out["text"].isna().tolist() == [False, False, False, True, False]
    assert out["text"].iloc[2] == ""
    assert out["part"].tolist() == [0, 1, 0, pd.NA, 0]
    assert out["score"].dtype == df["score"].dtype
    assert out.attrs["source"] == "here"


def test_dtypes_are_the_same_without_rows():
    full = pd.DataFrame({"text": ["One. Two."]}).llm.chunk("text", max_tokens=3)
    empty = pd.DataFrame({"text": ["One."]}).head(0).llm.chunk("text", max_tokens=3)
    assert full.dtypes.tolist() == empty.dtypes.tolist()
    assert full["chunk"].dtype == "Int64"


@pytest.mark.parametrize("name", [None, "body"])
def test_a_series_gives_a_frame_of_its_texts(name):
    texts = pd.Series(["One sentence. Two sentences here."], index=["x"], name=name)
    out = texts.llm.chunk(max_tokens=6)
    assert out.columns.tolist() == [name or "value", "chunk"]
    assert out.index.tolist() == ["x", "x"]


class Words:
    """A tokenizer as libraries have them: callable for something else, too."""

    def encode(self, text):
        return text.split()

    def __call__(self, text):
        raise AssertionError


@pytest.mark.parametrize("tokenizer", [Words(), lambda text: len(text.split())])
def test_a_tokenizer_of_ones_own_counts(tokenizer):
    out = chunks("a b c d e f g", max_tokens=3, tokenizer=tokenizer)
    assert out["text"].tolist() == ["a b c", "d e f", "g"]


def test_an_error_of_the_tokenizer_is_seen_as_it_is():
    def broken(text):
        raise RuntimeError("no vocabulary")

    with pytest.raises(RuntimeError, match="no vocabulary"):
        chunks("some text", max_tokens=3, tokenizer=broken)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_tokens": 0}, ValueError, "max_tokens must be a whole number of at"),
        ({"max_tokens": 2.5}, ValueError, "max_tokens must be"),
        ({"max_tokens": 5, "overlap": 5}, ValueError, "must be less than max_tokens"),
        ({"max_tokens": 5, "overlap": -1}, ValueError, "overlap must be"),
        ({"max_tokens": 5, "column": "txt"}, KeyError, "did you mean 'text'"),
        ({"max_tokens": 5, "column": "id"}, TypeError, "a text is needed, not 1"),
        (
            {"max_tokens": 5, "name": "id"},
            ValueError,
            "has a column 'id' already: pass another name=",
        ),
        ({"max_tokens": 5, "tokenizer": 3}, TypeError, "must be a callable or have"),
        ({"max_tokens": 5, "column": None}, KeyError, "name the column"),
    ],
)
def test_what_cannot_be_is_said(options, error, words):
    df = pd.DataFrame({"id": [1], "text": ["Some text."]})
    with pytest.raises(error, match=words):
        df.llm.chunk(**{"column": "text", **options})


def test_two_columns_of_one_name_are_refused():
    df = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(ValueError, match="2 columns are named 'text'"):
        df.llm.chunk("text", max_tokens=3)


def test_without_the_library_the_extra_is_named():
    code = """
import sys
sys.modules["semantic_text_splitter"] = None
import pandas as pd, pandas_llm
try:
    pd.Series(["a"]).llm.chunk(max_tokens=3)
except pandas_llm.ConfigurationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'pandas-llm-accessor[chunk]'" in done.stdout


def test_chunks_are_rows_for_the_verbs(simulator, on):
    df = pd.DataFrame({"id": [1], "text": ["It rained. Then the sun came out."]})
    out = df.llm.chunk("text", max_tokens=6).llm.complete("${text}", **on(simulator()))
    assert out.tolist() == [
        "[simulated] It rained.",
        "[simulated] Then the sun came out.",
    ]
    assert pandas_llm.last_usage().requests == 2

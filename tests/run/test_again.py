"""A cell that is run twice: columns replaced, or filled where they are NA."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pandas as pd
import pytest
from loopback_server import Server, completion, failure

import pandas_llm
from pandas_llm import GenerationError, LLMWarning, Plan
from pandas_llm.errors import InvalidValueError

KEYS = {"n": int, "mood": ["good", "bad"]}


def rows(count=4):
    text = [f"Row {i}." for i in range(count)]
    return pd.DataFrame({"text": text, "own": range(count)}, index=list("abcd")[:count])


def numbered(value, *, failing=()):
    """Start a server that answers with a number; rows named in `failing` fail."""

    def answer(body):
        prompt = body["messages"][-1]["content"]
        if any(f"Row {at}." in prompt for at in failing):
            return failure(400, "Not this one.")
        return completion(f'{{"n": {value}, "mood": "good"}}')

    return Server(answer)


def extract(df, server, on, **more):
    return df.llm.extract("${text}", KEYS, **on(server, **more))


def test_overwrite_replaces_the_columns_in_their_places(on):
    with numbered(1) as first, numbered(2) as second:
        once = extract(rows(), first, on)[["n", "text", "mood", "own"]]
        again = extract(once, second, on, overwrite=True)
    assert list(again.columns) == ["n", "text", "mood", "own"]
    assert again["n"].tolist() == [2, 2, 2, 2]
    assert (again.dtypes == once.dtypes).all()
    assert again.index.tolist() == list("abcd")
    assert once["n"].tolist() == [1, 1, 1, 1]  # the frame that it was called on stays
    assert len(second.bodies) == 4
    assert again.llm.usage.rows == 8  # of the chain: both runs were paid
    assert again.attrs["llm"]["model"] == "sim"


@pytest.mark.parametrize("verb", ["generate", "extract"])
def test_a_key_named_like_what_the_prompt_is_made_of_is_to_be_renamed(verb):
    """No other way out is told: each of them would be refused as well."""
    texts = pd.Series(["a", "b"], name="mood")
    with pytest.raises(InvalidValueError, match=r"uses 'mood'.*: rename the key$"):
        getattr(texts.llm, verb)("Mood of ${mood}", ["mood"], model="sim")


def test_overwrite_takes_the_new_dtype_and_adds_what_is_missing(on):
    old = rows().assign(n=["x", "y", "z", None])
    with numbered(5) as server:
        out = extract(old, server, on, overwrite=True, error_column="why")
        again = extract(out, server, on, overwrite=True, error_column="why")
    assert list(out.columns) == ["text", "own", "n", "mood", "why"]
    assert out["n"].dtype == "Int64"
    pd.testing.assert_frame_equal(again, out)


def test_a_clash_names_overwrite_before_anything_is_sent(on):
    with numbered(1) as server:
        with pytest.raises(ValueError, match="'n' already: pass overwrite=True"):
            extract(rows().assign(n=1), server, on)
        with pytest.raises(ValueError, match="call it on the original frame"):
            rows().assign(n=1).llm.generate("${text}", KEYS, **on(server))
        assert server.bodies == []


def test_a_row_that_fails_when_it_is_replaced_is_na_and_told(on):
    with numbered(1) as first, numbered(2, failing=[2]) as second:
        once = extract(rows(), first, on)
        with pytest.warns(LLMWarning, match="1 of 4 rows failed"):
            again = extract(once, second, on, overwrite=True)
    assert again["n"].tolist() == [2, 2, pd.NA, 2]


def test_only_missing_asks_for_rows_without_values_and_fills_them(on):
    with numbered(1, failing=[1, 3]) as first, numbered(2) as second:
        with pytest.warns(LLMWarning, match="2 of 4 rows failed"):
            once = extract(rows(), first, on, error_column="why")
        once = once[["n", "why", "text", "mood", "own"]]
        again = extract(once, second, on, only_missing=True, error_column="why")
    assert len(second.bodies) == 2
    assert again["n"].tolist() == [1, 2, 1, 2]
    assert again["why"].isna().all()
    assert list(again.columns) == list(once.columns)
    assert (again.dtypes == once.dtypes).all()
    assert again.llm.usage.rows == 4 + 2
    assert again.llm.usage.failed == 2


def test_a_row_with_one_value_is_not_asked(on):
    old = rows().assign(n=[1, None, None, 4], mood=[None, "bad", None, "good"])
    with numbered(7) as server:
        out = extract(old, server, on, only_missing=True)
    assert len(server.bodies) == 1
    assert out["n"].tolist() == [1, pd.NA, 7, 4]
    assert out["mood"].astype(object).tolist() == [np.nan, "bad", "good", "good"]
    assert out["n"].dtype == "Int64"
    assert out["mood"].cat.categories.tolist() == ["good", "bad"]


def test_without_the_columns_all_rows_are_asked(on):
    with numbered(7) as server:
        out = extract(rows(), server, on, only_missing=True)
        again = extract(out, server, on, only_missing=True)
    assert len(server.bodies) == 4
    pd.testing.assert_frame_equal(again, out)


def test_what_fails_again_stays_na_and_is_among_the_failures(on):
    with numbered(1, failing=[1]) as server:
        with pytest.warns(LLMWarning):
            once = extract(rows(), server, on)
        with pytest.raises(GenerationError, match="1 of 4 rows failed") as caught:
            extract(once, server, on, only_missing=True, errors="raise")
    assert caught.value.failures["label"].tolist() == ["b"]
    assert caught.value.partial["n"].tolist() == [1, pd.NA, 1, 1]
    assert len(server.bodies) == 4 + 1


def test_a_run_that_ends_early_keeps_what_was_there(on):
    def refuse(_):
        return failure(401, "No such key.")

    old = rows().assign(n=[1, None, 3, None], mood=["good", None, "bad", None])
    with Server(refuse) as server:
        with pytest.raises(pandas_llm.LLMError) as caught:
            extract(old, server, on, only_missing=True)
        assert len(server.bodies) == 1
    assert caught.value.partial["n"].tolist() == [1, pd.NA, 3, pd.NA]
    assert caught.value.failures["label"].tolist() == ["b", "d"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"n": ["x", None, None, None]}, "column 'n' is not what its key asks for"),
        ({"n": [1.5, None, None, None]}, "column 'n' is not what its key asks for"),
        ({"mood": ["ugly", None, None, None]}, "'ugly' is not one of the labels"),
    ],
)
def test_columns_that_cannot_be_filled_are_refused_before_anything_is_sent(
    on, values, why
):
    with numbered(1) as server:
        with pytest.raises(ValueError, match=why):
            extract(rows().assign(**values), server, on, only_missing=True)
        assert server.bodies == []


@pytest.mark.parametrize("again", ["overwrite", "only_missing"])
def test_columns_that_the_prompt_is_made_of_are_kept(again, on):
    with numbered(1) as server:
        with pytest.raises(ValueError, match="uses 'text', which no key may replace"):
            rows().llm.extract("${text}", {"text": str}, **on(server), **{again: True})
        for verb in ("matches", "filter"):
            ask = getattr(rows().llm, verb)
            with pytest.raises(TypeError, match=f"{verb} fills no columns"):
                ask("Is it? ${text}", **on(server), **{again: True})
        assert server.bodies == []


def test_two_columns_of_one_name_cannot_be_filled(on):
    old = pd.concat([rows(), rows()[["own"]].rename(columns={"own": "n"})] * 2, axis=1)
    old = old.iloc[:, [0, 1, 2, 5]]
    with numbered(1) as server:
        with pytest.raises(ValueError, match="2 columns are named 'n'"):
            extract(old, server, on, overwrite=True)
        assert server.bodies == []


def test_both_together_and_verbs_that_cannot_are_refused_in_words(on):
    df = rows()
    with numbered(1) as server:
        options = on(server)
        with pytest.raises(ValueError, match="not both"):
            extract(df, server, on, overwrite=True, only_missing=True)
        for name in ("overwrite", "only_missing"):
            again = {name: True, **options}
            with pytest.raises(TypeError, match=r"original frame: out = df.llm.gener"):
                df.llm.generate("${text}", KEYS, **again)
            with pytest.raises(TypeError, match=r"df\['text'\] = df.llm.complete"):
                df.llm.complete("${text}", **again)
            with pytest.raises(TypeError, match=r"df\['label'\] = df.llm.classify"):
                df.llm.classify("${text}", ["a"], confidence=True, **again)
            with pytest.raises(TypeError, match="without expand=True"):
                df.llm.embed("text", **again)
        assert server.bodies == []


def test_typed_values_of_every_kind_stay_what_they_were(on):
    keys = {"s": str, "x": float, "ok": bool, "day": "date", "tags": list[str]}
    reply = '{"s": "t", "x": 0.5, "ok": true, "day": "2026-01-02", "tags": ["a"]}'

    def answer(body):
        if "Row 1." in body["messages"][-1]["content"]:
            return failure(400, "Not this one.")
        return completion(reply)

    with Server(answer) as server, pytest.warns(LLMWarning):
        once = rows().llm.extract("${text}", keys, **on(server))
    with Server(lambda _: completion(reply)) as server:
        again = once.llm.extract("${text}", keys, only_missing=True, **on(server))
        whole = rows().llm.extract("${text}", keys, **on(server))
    pd.testing.assert_frame_equal(again, whole)


def test_vectors_are_put_into_the_frame_and_replaced(simulator, on):
    options = on(simulator(), expand=True, overwrite=True)
    df = rows()
    once = df.llm.embed("text", dimensions=3, **options)
    assert list(once.columns) == ["text", "own", *(f"embedding_{i}" for i in range(3))]
    again = once.llm.embed("text", dimensions=2, **options)  # no stale dimension
    assert list(again.columns) == ["text", "own", "embedding_0", "embedding_1"]
    alone = df.llm.embed("text", dimensions=2, **on(simulator(), expand=True))
    pd.testing.assert_frame_equal(again[list(alone.columns)], alone, check_flags=False)
    assert again["embedding_0"].dtype == np.float32


def test_only_missing_vectors_are_asked_for(simulator, on):
    server = simulator()
    options = on(server, expand=True, only_missing=True, dimensions=2)
    df = rows()
    whole = df.llm.embed("text", **options)
    holes = whole.copy()
    holes.loc["b", ["embedding_0", "embedding_1"]] = np.nan
    texts = server.stats()["requests"]
    out = holes.llm.embed("text", **options)
    assert server.stats()["requests"] == texts + 1
    assert out.llm.usage.rows == 4 + 1
    pd.testing.assert_frame_equal(out, whole)


def test_the_twins_the_functions_and_lists_do_the_same(on):
    with numbered(1, failing=[1]) as first, numbered(2) as second:
        with pytest.warns(LLMWarning):
            once = extract(rows(), first, on)
        again = asyncio.run(
            once.llm.aextract("${text}", KEYS, **on(second, only_missing=True))
        )
        dicts = pandas_llm.extract(
            once.to_dict("records"), "${text}", KEYS, **on(second, only_missing=True)
        )
        plan = Plan("${text}", KEYS, verb="extract", **on(second, only_missing=True))
        shipped = pickle.loads(pickle.dumps(plan))(once)
    assert again["n"].tolist() == [1, 2, 1, 1]
    assert [row["n"] for row in dicts] == [1, 2, 1, 1]
    pd.testing.assert_frame_equal(shipped, again)
    assert len(second.bodies) == 3


def test_meta_tells_the_columns_that_are_replaced():
    plan = Plan("${text}", KEYS, verb="extract", overwrite=True, model="sim")
    meta = plan.meta(rows().assign(n="x")[["n", "text", "own"]])
    assert list(meta.columns) == ["n", "text", "own", "mood"]
    assert meta["n"].dtype == "Int64"


def test_an_estimate_counts_the_rows_that_would_be_asked():
    old = rows().assign(n=[1, None, 3, None], mood=["good", None, "bad", None])
    given = {"model": "sim", "cache": False, "verb": "extract", "only_missing": True}
    assert old.llm.estimate("${text}", KEYS, **given).requests == 2
    assert old.llm.preview("${text}", KEYS, **given | {"rows": 9})[
        "prompt"
    ].tolist() == ["Row 1.", "Row 3."]


def test_a_pilot_asks_as_the_run_does(simulator, on, tmp_path):
    server = simulator()
    df = pd.DataFrame({"n": [1.0, None, 3.0, 4.0]})  # prints 1, 3, 4
    options = on(server, cache=tmp_path / "c.sqlite", prices={"sim": (1.0, 1.0)})
    df.llm.estimate("Praise ${n}.", ["a"], pilot=2, verb="extract", **options)
    asked = server.stats()["requests"]
    df.llm.extract("Praise ${n}.", ["a"], **options)
    assert server.stats()["requests"] == asked + 1

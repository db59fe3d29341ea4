"""Values with the words they stand on: over HTTP, in every verb and way of running."""
# ruff: noqa: UP045 - both spellings of an optional key are tested

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
import re
from contextlib import nullcontext
from typing import Annotated, Any, Literal, Optional

import orjson
import pandas as pd
import pytest
from loopback_server import Server, completion, failure
from pydantic import BaseModel, Field

import pandas_llm
from pandas_llm import LLMWarning, Plan, Quoted
from pandas_llm.simulator import Simulator

TEXT = "Émile was born in Paris on 14 May 1889. In Paris he died, too."
ROW = pd.DataFrame({"text": [TEXT]})


def said(quote: Any, value: Any = "v") -> dict[str, Any]:
    """Return what a model answers of one quoted key."""
    return {"quote": quote, "value": value}


def replies(*answers: Any):
    """Answer one after the other, the last again and again."""
    left = list(answers)

    def answer(body: Any) -> Any:
        data = left.pop(0) if len(left) > 1 else left[0]
        return completion(
            data if isinstance(data, str) else orjson.dumps(data).decode()
        )

    return Server(answer)


def at(server: Server, **more: Any) -> dict[str, Any]:
    usual = {"model": "m", "base_url": server.base_url, "api_key": "k"}
    return {**usual, "progress": False, "error_column": "why", **more}


def extract(keys: Any, *answers: Any, frame=ROW, template="Read: ${text}", **more: Any):
    """Return the first row that comes of some answers, and the server."""
    with replies(*answers) as server:
        out = frame.llm.extract(template, keys, **at(server, **more))
    return out.iloc[0], server


# -- what is found --------------------------------------------------------------


def test_a_value_comes_with_its_words_and_where_they_are():
    born = said("14 May 1889", "1889-05-14")
    row, server = extract({"born": Quoted[dt.date]}, {"born": born})
    assert list(row.index) == [
        *("text", "born", "born_quote", "born_start", "born_end", "why")
    ]
    assert row["born"] == pd.Timestamp("1889-05-14")
    assert (
        TEXT[row["born_start"] : row["born_end"]] == row["born_quote"] == born["quote"]
    )
    assert row["born_start"] == 27
    assert pd.isna(row["why"])
    assert len(server.bodies) == 1


def test_the_words_are_asked_for_before_the_value():
    """So that the value follows from the words, not the words from the value."""
    _, server = extract({"born": Quoted[int]}, {"born": said("1889", 1889)})
    form = server.bodies[0]["response_format"]["json_schema"]["schema"]
    asked = form["properties"]["born"]
    assert list(asked["properties"]) == asked["required"] == ["quote", "value"]
    assert asked["additionalProperties"] is False
    assert "copied exactly" in asked["properties"]["quote"]["description"]


@pytest.mark.parametrize(
    ("quote", "start"),
    [
        ("BORN  IN", 10),
        ("“born in”", 10),
        ("E\u0301mile", 0),
        ("bom in Paris on 14", 10),
    ],
)
def test_the_quote_is_the_cells_own_however_the_model_writes_it(quote, start):
    row, _ = extract({"k": Quoted[str]}, {"k": said(quote)})
    assert TEXT[row["k_start"] : row["k_end"]] == row["k_quote"]
    assert row["k_start"] == start


def test_offsets_that_a_model_tells_count_for_nothing():
    told = {**said("Paris"), "start": 1, "end": 2}
    row, _ = extract({"k": Quoted[str]}, {"k": told, "k_start": 3, "k_end": 4})
    assert (row["k_start"], row["k_end"]) == (18, 23)


def test_of_equal_places_the_one_nearest_to_the_other_quotes_counts():
    keys = {"place": Quoted[str], "what": Quoted[str]}
    row, _ = extract(keys, {"place": said("Paris"), "what": said("died")})
    assert TEXT[row["place_start"] :].startswith("Paris he died")
    row, _ = extract(keys, {"place": said("Paris"), "what": said("born")})
    assert TEXT[row["place_start"] :].startswith("Paris on")


def test_of_equal_places_alone_the_first_counts():
    row, _ = extract({"place": Quoted[str]}, {"place": said("Paris")})
    assert row["place_start"] == TEXT.index("Paris")


def test_a_list_has_lists_of_words_and_places():
    answer = {"who": [said("Paris", "a"), said("Paris", "b"), said("Émile", "c")]}
    row, _ = extract({"who": list[Quoted[str]]}, answer)
    assert row["who"] == ["a", "b", "c"]
    assert row["who_quote"] == ["Paris", "Paris", "Émile"]
    assert row["who_start"] == [18, 43, 0]  # two mentions are two places
    assert row["who_end"] == [23, 48, 5]
    row, _ = extract({"who": list[Quoted[str]]}, {"who": []})
    assert row["who"] == row["who_quote"] == row["who_start"] == []


@pytest.mark.parametrize("kind", [Optional[Quoted[int]], Quoted[int] | None])
def test_what_may_be_missing_is_na_in_all_columns(kind):
    with replies({"records": [{"k": None}, {"k": said("1889", 1889)}]}) as server:
        out = ROW.llm.generate("${text}", {"k": kind}, **at(server))
    assert out["k"].isna().tolist() == out["k_quote"].isna().tolist() == [True, False]
    assert out["k_start"].tolist() == [pd.NA, TEXT.index("1889")]
    assert out["why"].isna().all()
    assert {name: str(out[name].dtype) for name in ("k", "k_start", "k_end")} == {
        **dict.fromkeys(("k", "k_start", "k_end"), "Int64")
    }


@pytest.mark.parametrize("none", [None, {"quote": "", "value": None}, said(None, None)])
def test_nothing_may_be_written_as_null_within(none):
    row, server = extract({"k": Optional[Quoted[int]]}, {"k": none})
    assert row[["k", "k_quote", "k_start", "k_end"]].isna().all()
    assert pd.isna(row["why"])
    assert len(server.bodies) == 1


def test_a_value_without_words_is_asked_again():
    one = {"k": {"quote": "", "value": 3}}
    row, server = extract({"k": Optional[Quoted[int]]}, one, {"k": said("1889", 1889)})
    assert row["k"] == 1889
    assert "k: no words are quoted" in str(server.bodies[1]["messages"])


def test_a_description_is_the_keys_own():
    kind = Annotated[
        Quoted[Annotated[int, Field(ge=1000)]], Field(description="a year")
    ]
    row, server = extract({"k": kind}, {"k": said("14", 14)}, {"k": said("1889", 1889)})
    form = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert form["properties"]["k"]["description"] == "a year"
    assert row["k"] == 1889


def test_confidence_stands_behind_the_quotes():
    keys = {"k": Quoted[str], "sure": bool, "day": Quoted[dt.date] | None}
    frame = pd.DataFrame({"text": ["It opened on 1889-03-31."]})
    out = frame.llm.extract("${text}", keys, model="sim", confidence=True)
    assert list(out.columns[1:]) == [
        *("k", "k_quote", "k_start", "k_end", "sure"),
        *("day", "day_quote", "day_start", "day_end", "sure_confidence"),
    ]
    assert out["day_quote"][0] == "1889-03-31"
    assert 0.5 <= out["sure_confidence"][0] <= 1


def test_several_columns_are_searched_and_named():
    frame = pd.DataFrame({"title": ["On Paris"], "text": [TEXT], "n": [7]})
    keys = {"a": Quoted[str], "b": Quoted[int], "c": list[Quoted[str]]}
    answer = {"a": said("On Paris"), "b": said("7", 7), "c": [said("died"), said("On")]}
    row, _ = extract(keys, answer, frame=frame, template="${title}\n${text} (${n})")
    assert list(row.index[3:8]) == ["a", "a_quote", "a_start", "a_end", "a_column"]
    assert (row["a_column"], row["a_start"]) == ("title", 0)
    assert (row["b_column"], row["b_start"], row["b_end"]) == ("n", 0, 1)
    assert row["c_column"] == ["text", "title"]


def test_equal_prompts_of_other_cells_have_places_of_their_own():
    frame = pd.DataFrame({"a": ["x Oslo", "x "], "b": [" y", "Oslo y"]})
    with replies({"k": said("Oslo")}) as server:
        out = frame.llm.extract("${a}${b}", {"k": Quoted[str]}, **at(server))
    assert out["k_column"].tolist() == ["a", "b"]
    assert out["k_start"].tolist() == [2, 0]


def test_equal_prompts_of_other_cells_are_one_request_of_a_batch(tmp_path):
    frame = pd.DataFrame({"a": ["x Oslo.", "x "], "b": [" y.", "Oslo. y."]})
    with Simulator() as sim:
        options = {"model": "sim", "base_url": sim.base_url, "cache": tmp_path / "c"}
        for _ in range(2):  # the endpoint is known then, and both rows in one batch
            out = frame.llm.extract(
                "${a}${b}", {"k": Quoted[str]}, batch=True, **options
            )
            frame = frame.replace("Oslo", "Rome", regex=True)
        assert sim.stats()["requests"] == 2
    assert out["k_quote"].notna().all()
    assert len(set(zip(out["k_column"], out["k_start"], strict=True))) == 2


def test_labels_and_other_keys_stand_beside_quoted_ones():
    keys = {"mood": Quoted[Literal["good", "bad"]], "name": str, "sure": bool}
    answer = {"mood": said("born", "GOOD"), "name": "Émile", "sure": True}
    row, _ = extract(keys, answer)
    assert (row["mood"], row["name"], row["sure"]) == ("good", "Émile", True)
    with replies(answer) as server:
        out = ROW.llm.extract("${text}", keys, **at(server))
    assert list(out["mood"].cat.categories) == ["good", "bad"]


# -- what is not ----------------------------------------------------------------


def test_words_that_are_not_there_are_asked_for_again_with_the_reason():
    wrong, right = {"born": said("in London", 1)}, {"born": said("in Paris", 2)}
    row, server = extract({"born": Quoted[int]}, wrong, right)
    assert (row["born"], row["born_quote"]) == (2, "in Paris")
    assert pd.isna(row["why"])
    first, second = server.bodies
    assert len(first["messages"]) == 1
    *_, answer, reason = second["messages"]
    assert orjson.loads(answer["content"]) == wrong
    assert "born: the words 'in London' are not in the text" in reason["content"]


def test_words_that_stay_away_leave_their_key_alone_na():
    keys = {"born": Quoted[int], "place": Quoted[str]}
    answer = {"born": said("in London", 1), "place": said("Paris", "Paris")}
    with pytest.warns(LLMWarning, match="1 unfounded"):
        row, server = extract(keys, answer, output_retries=2)
    assert len(server.bodies) == 3
    assert row[["born", "born_quote", "born_start", "born_end"]].isna().all()
    assert (row["place"], row["place_start"]) == ("Paris", 18)
    assert row["why"] == "unfounded: born: the words 'in London' are not in the text"


def test_the_row_counts_as_answered():
    with (
        replies({"k": said("London")}) as server,
        pytest.warns(LLMWarning, match="with a remark"),
    ):
        out = ROW.llm.extract(
            "${text}", {"k": Quoted[str]}, **at(server, errors="raise", details=True)
        )
    assert out.llm.usage.failed == 0
    assert "London" in out["llm_text"][0]


def test_what_is_not_there_is_left_out_of_a_list():
    answer = {"k": [said("Paris", 1), said("London", 2), said("1889", 3)]}
    with pytest.warns(LLMWarning, match="unfounded"):
        row, _ = extract({"k": list[Quoted[int]]}, answer, output_retries=0)
    assert (row["k"], row["k_quote"]) == ([1, 3], ["Paris", "1889"])
    assert "k[1]: the words 'London'" in row["why"]


def test_the_answer_that_lacks_least_is_taken():
    keys = {"a": Quoted[int], "b": Quoted[int]}
    one = {"a": said("Paris", 1), "b": said("London", 1)}
    none = {"a": said("Rome", 2), "b": said("London", 2)}
    with pytest.warns(LLMWarning, match="unfounded"):
        row, server = extract(keys, none, one, "no JSON at all", output_retries=2)
    assert len(server.bodies) == 3
    assert row["a"] == 1
    assert pd.isna(row["b"])


@pytest.mark.parametrize("words", ["", "  ", "\u200b"])
def test_no_words_are_no_evidence(words):
    with pytest.warns(LLMWarning, match="unfounded"):
        row, _ = extract({"k": Quoted[str]}, {"k": said(words)})
    assert pd.isna(row["k"])


def test_words_of_the_template_are_no_evidence():
    with pytest.warns(LLMWarning, match="unfounded"):
        row, _ = extract({"k": Quoted[str]}, {"k": said("Read")})
    assert pd.isna(row["k"])


def test_a_reply_without_the_form_is_asked_again_as_ever():
    row, server = extract({"k": Quoted[str]}, {"k": "Paris"}, {"k": said("Paris")})
    assert row["k_quote"] == "Paris"
    assert len(server.bodies) == 2


# -- ways of running ------------------------------------------------------------


def test_records_and_choices_are_merged_with_their_places():
    same = {"records": [{"k": said("Paris", "a")}, {"k": said("Émile", "b")}]}

    def answer(body: Any) -> Any:
        texts = [orjson.dumps(same).decode()] * body.get("n", 1)
        whole = [completion(text)["choices"][0] for text in texts]
        return {"choices": [{**one, "index": i} for i, one in enumerate(whole)]}

    with Server(answer) as server:
        out = ROW.llm.generate("${text}", {"k": Quoted[str]}, **at(server, n=3))
    assert out["k"].tolist() == ["a", "b"]
    assert out["k_start"].tolist() == [18, 0]
    assert out["why"].isna().all()


def test_of_several_choices_one_without_its_words_is_asked_again():
    texts = iter(["Paris", "London", "born"])

    def answer(body: Any) -> Any:
        found = []
        for index in range(body.get("n", 1)):
            data = {"records": [{"k": said(next(texts), index)}]}
            text = orjson.dumps(data).decode()
            found.append({**completion(text)["choices"][0], "index": index})
        return {"choices": found}

    with Server(answer) as server:
        out = ROW.llm.generate("${text}", {"k": Quoted[int]}, **at(server, n=2))
    assert out["k_quote"].tolist() == ["Paris", "born"]
    assert [body.get("n", 1) for body in server.bodies] == [2, 1]


def test_offsets_count_in_the_whole_cell_where_it_is_shortened():
    long = f"{TEXT} " + "And so on. " * 200

    def answer(body: Any) -> Any:
        if len(body["messages"][-1]["content"]) > 1500:
            return failure(400, "at most 1500, not 2500", "context_length_exceeded")
        return completion(orjson.dumps({"k": said("In Paris he died")}).decode())

    frame = pd.DataFrame({"text": [long]})
    with Server(answer) as server, pytest.warns(LLMWarning, match="shortened"):
        out = frame.llm.extract(
            "Read: ${text}", {"k": Quoted[str]}, **at(server, truncate="text")
        )
    row = out.iloc[0]
    assert long[row["k_start"] : row["k_end"]] == row["k_quote"] == "In Paris he died"


@pytest.mark.parametrize("words", ["Paris", "London"])
def test_a_kept_reply_comes_to_the_same(words, tmp_path):
    kept = {"cache": tmp_path / "kept.sqlite", "errors": "raise"}
    with replies({"k": said(words)}) as server:
        outs = []
        for _ in range(2):
            with pytest.warns(LLMWarning) if words == "London" else nullcontext():
                outs.append(
                    ROW.llm.extract("${text}", {"k": Quoted[str]}, **at(server, **kept))
                )
        sent = len(server.bodies)
    pd.testing.assert_frame_equal(*outs)
    assert sent == (1 if words == "Paris" else 3)
    assert outs[1].llm.usage.cached == 1


def test_rows_without_values_are_filled_with_their_places():
    keys = {"k": Quoted[str], "more": list[Quoted[str]]}
    with replies({"k": said("Paris"), "more": [said("Paris")]}) as server:
        out = ROW.llm.extract("${text}", keys, **at(server))
    more = pd.concat([out, pd.DataFrame({"text": ["Rome"]})], ignore_index=True)
    with replies({"k": said("Rome"), "more": []}) as server:
        out = more.llm.extract("${text}", keys, **at(server, only_missing=True))
        assert len(server.bodies) == 1
    assert out["k_quote"].tolist() == ["Paris", "Rome"]
    assert out["k_start"].tolist() == [18, 0]
    assert out["k_start"].dtype == "Int64"
    assert out["more_start"].tolist() == [[18], []]


def test_the_simulator_quotes_its_prompt():
    frame = pd.DataFrame(
        {"text": ["It opened on 1889-03-31. 1,710 steps.", "Nothing. At all."]}
    )
    keys = {
        "day": Optional[Quoted[dt.date]],
        "steps": Optional[Quoted[int]],
        "told": list[Quoted[str]],
        "mood": Quoted[Literal["good", "bad"]],
    }
    out = frame.llm.extract(
        "Facts.\n\ntext: ${text}", keys, model="sim", errors="raise"
    )
    assert out["day_quote"].tolist()[0] == "1889-03-31"
    assert out["steps_quote"].tolist()[0] == "1,710"
    assert out["steps"].tolist() == [1710, pd.NA]
    assert sorted(out["told_quote"].tolist()[1]) == ["At all.", "Nothing."]
    for row in out.to_dict("records"):
        assert row["text"][row["mood_start"] : row["mood_end"]] == row["mood_quote"]


def test_series_lists_and_async_forms_have_the_same_columns():
    keys = {"k": Quoted[str]}
    template = "Facts.\n\ntext: ${value}"
    series = pd.Series(["It rained in Oslo."])
    out = series.llm.extract(template, keys, model="sim")
    (row,) = pandas_llm.extract(
        [{"value": "It rained in Oslo."}], template, keys, model="sim"
    )
    again = asyncio.run(series.llm.aextract(template, keys, model="sim"))
    assert out.iloc[0].to_dict() == again.iloc[0].to_dict() == row
    assert row["k_quote"] == "It rained in Oslo."


def test_a_plan_is_pickled_with_quoted_keys():
    keys = {"k": Quoted[dt.date] | None, "more": list[Quoted[str]]}
    plan = Plan("text: ${text}", keys, verb="extract", model="sim")
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.schema == plan.schema
    pd.testing.assert_frame_equal(copy(ROW), plan(ROW))


def test_a_plan_knows_its_columns_and_dtypes_before_it_runs():
    keys = {"k": Quoted[dt.date], "more": list[Quoted[str]]}
    plan = Plan("${text}", keys, verb="extract", model="sim")
    meta = plan.meta(pd.DataFrame({"text": ["x"]}))
    assert meta.dtypes["k_start"] == meta.dtypes["k_end"] == "Int64"
    assert meta.dtypes["k"].kind == "M"
    assert list(meta.columns[1:]) == [
        *("k", "k_quote", "k_start", "k_end"),
        *("more", "more_quote", "more_start", "more_end"),
    ]
    wide = Plan("${text} ${title}", keys, verb="extract", model="sim")
    frame = pd.DataFrame({"text": ["x"], "title": ["y"]})
    assert "k_column" in wide.meta(frame).columns
    assert "k_column" in wide.columns_for(frame)
    assert plan.columns_for(frame) == plan.columns


def test_a_batch_finds_the_words_when_its_result_is_read(tmp_path):
    import pandas_llm.batch

    keys = {"k": Quoted[int], "more": list[Quoted[str]], "m": Quoted[["a", "b"]]}
    frame = pd.DataFrame({"text": ["a or b: 12 days", "And 7 nights, a or b."]})
    template = "Facts.\n\ntext: ${text}"
    with Simulator() as sim:
        options = {"model": "sim", "base_url": sim.base_url, "cache": tmp_path / "c"}
        job = frame.llm.submit(template, keys, verb="extract", api_key="k", **options)
        known = pandas_llm.batch.load(
            job.id, cache=tmp_path / "c", base_url=sim.base_url
        )
        pandas_llm.set_options(api_key="k")
        out, loaded = job.result(frame), known.result(frame)
        plain = frame.llm.extract(template, keys, **{**options, "cache": False})
    pd.testing.assert_frame_equal(out, plain)
    pd.testing.assert_frame_equal(loaded, plain)
    assert plain["k_quote"].tolist() == ["12", "7"]


# -- what cannot be -------------------------------------------------------------


def refused(keys: Any, match: str, frame: Any = ROW, template="${text}", **more: Any):
    with replies({"k": said("x")}) as server:
        with pytest.raises((ValueError, TypeError), match=match):
            frame.llm.extract(template, keys, **at(server, **more))
        assert server.bodies == []


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"date": Quoted[str], "date_quote": str}, r"date_quote.*'date'\] is Quoted"),
        ({"date_end": int, "date": Quoted[str]}, "date_end"),
        ({"k": Quoted}, "has one type"),
        ({"k": Quoted[Quoted[str]]}, "write one Quoted"),
        ({"k": Quoted[Optional[str]]}, r"write Optional\[Quoted"),
        ({"k": list[list[Quoted[str]]]}, "stands alone"),
        ({"k": list[Optional[Quoted[str]]]}, "stands alone"),
        ({"k": Quoted[str] | int}, "stands alone"),
        ({"k": Quoted[dict]}, "cannot have the type dict"),
    ],
)
def test_keys_that_cannot_be_quoted_are_refused_before_anything_is_sent(keys, match):
    refused(keys, match)


def test_a_field_of_a_model_cannot_be_quoted():
    with pytest.raises(TypeError, match="not of a model's field"):

        class Person(BaseModel):
            name: Quoted[str]


def test_a_column_of_that_name_is_refused():
    refused({"k": Quoted[str]}, "k_start", frame=ROW.assign(k_start=1))
    wide = ROW.assign(other="x", k_column="y")
    refused({"k": Quoted[str]}, "k_column", frame=wide, template="${text} ${other}")
    refused({"k": Quoted[str]}, "k_quote", error_column="k_quote")


def test_there_must_be_a_text_to_quote(tmp_path):
    refused({"k": Quoted[str]}, "names no column", template="Invent one.")
    picture = tmp_path / "one.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(
        {"k": Quoted[str]},
        "names no column; images and files have none",
        frame=ROW.assign(photo=str(picture)),
        template="What is it?",
        images="photo",
    )


@pytest.mark.parametrize("template", ["${text:>80}", "${n:.2f} ${text}"])
def test_a_cell_that_the_template_formats_is_not_quoted(template):
    refused(
        {"k": Quoted[str]}, "by a format", frame=ROW.assign(n=1.5), template=template
    )


def test_a_number_is_quoted_as_it_is_in_the_prompt():
    frame = pd.DataFrame({"n": [7, None, 12]})  # which pandas keeps as floats
    with replies({"k": said("7")}, {"k": said("12")}) as server:
        out = frame.llm.extract("Read: ${n}", {"k": Quoted[str]}, **at(server))
    assert server.bodies[0]["messages"][-1]["content"] == "Read: 7"
    assert out["k_quote"].dropna().tolist() == ["7", "12"]
    assert out["k_end"].tolist() == [1, pd.NA, 2]


def test_verbs_without_keys_have_no_quotes():
    with replies("x") as server:
        options = {k: v for k, v in at(server).items() if k != "error_column"}
        with pytest.raises(TypeError, match="classify returns a label"):
            ROW.llm.classify("${text}", Quoted[Literal["a", "b"]], **options)
        with pytest.raises(TypeError, match=re.escape("keys")):
            ROW.llm.complete("${text}", keys={"k": Quoted[str]}, **options)
        with pytest.raises(TypeError, match="agg returns an answer about many rows"):
            ROW.llm.agg("What?", "text", keys={"k": list[Quoted[str]]}, **options)
        assert server.bodies == []

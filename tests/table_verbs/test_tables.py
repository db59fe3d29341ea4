"""The verbs over a table, against a judge that knows the truth, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_server import Server
from pandas.testing import assert_frame_equal, assert_series_equal

import pandas_llm
from pandas_llm import LLMWarning
from pandas_llm._table_verbs.merging import partners
from pandas_llm.errors import (
    ConfigurationError,
    CostLimitError,
    InvalidTypeError,
    InvalidValueError,
    TemplateError,
)
from pandas_llm.simulator import Simulator

TWO = "Same? [${left.key}|${right.key}]"
MORE = "More? [${left.key}|${right.key}]"
PEOPLE = pd.DataFrame(
    {
        "key": [10, 20, 11, 30, 12],
        "name": ["Jon Smith", "Ann Lee", "John Smith", "Bo Ek", "Jon Smyth"],
    },
    index=list("abcde"),
)


def reply(value):
    message = {"role": "assistant", "content": json.dumps(value)}
    usage = {"prompt_tokens": 10, "completion_tokens": 1}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"model": "judge", "choices": choices, "usage": usage}


def prompt_of(body):
    return body["messages"][-1]["content"]


def judge(decide):
    """Answer the pair in brackets of a prompt, by two numbers."""

    def answer(body):
        one, other = re.search(r"\[(\d+)\|(\d+)\]", prompt_of(body)).groups()
        (key,) = body["response_format"]["json_schema"]["schema"]["properties"]
        return reply({key: decide(int(one), int(other))})

    return Server(answer)


def same(one, other):
    """Equal tens are one thing."""
    return one // 10 == other // 10


@pytest.fixture
def asked():
    with judge(same) as server:
        yield server


def options(server, **more):
    return {"base_url": server.base_url, "api_key": "-", "model": "judge", **more}


# -- duplicates -----------------------------------------------------------------


def test_ngroup_numbers_things_by_first_appearance(asked):
    groups = PEOPLE.llm.ngroup("name", template=TWO, **options(asked))
    assert groups.tolist() == [0, 1, 0, 2, 0]
    assert groups.index.tolist() == list("abcde")


@pytest.mark.parametrize(
    ("keep", "left"), [("first", "abd"), ("last", "bde"), (False, "bd")]
)
def test_drop_duplicates_and_duplicated_keep_what_pandas_would(asked, keep, left):
    given = {"keep": keep, "template": TWO, **options(asked)}
    out = PEOPLE.llm.drop_duplicates("name", **given)
    marked = PEOPLE.llm.duplicated("name", **given)
    assert out.index.tolist() == list(left)
    pd.testing.assert_frame_equal(out, PEOPLE[~marked])
    numbered = PEOPLE.llm.drop_duplicates("name", ignore_index=True, **given)
    pd.testing.assert_frame_equal(numbered, out.reset_index(drop=True))


def test_equal_rows_are_one_thing_without_a_question(asked):
    rows = pd.DataFrame({"key": [1, 1, 1], "name": ["x y", "x y", "x y"]})
    assert rows.llm.ngroup(**options(asked)).tolist() == [0, 0, 0]
    assert asked.bodies == []


def test_rows_with_na_in_a_used_cell_are_never_equal_and_never_asked(asked):
    rows = pd.DataFrame({"key": [1.0, None, None], "name": ["a b", "a b", "a b"]})
    assert rows.llm.ngroup(["key", "name"], **options(asked)).tolist() == [0, 1, 2]
    assert asked.bodies == []


def test_all_pairs_are_refused_above_a_bound(asked):
    rows = pd.DataFrame({"name": [f"n{i}" for i in range(600)]})
    with pytest.raises(InvalidValueError, match="179,700 pairs: pass max_pairs=179700"):
        rows.llm.ngroup("name", block=None, **options(asked))
    rows = pd.DataFrame({"name": [f"n{i}" for i in range(4500)], "of": "x"})
    for verb, count in (("ngroup", 10_122_750), ("merge", 20_250_000)):
        given = {"subset": "name"} if verb == "ngroup" else {"on": "name"}
        given |= {"right": rows} if verb == "merge" else {}
        with pytest.raises(InvalidValueError, match=f"'of' .* pass max_pairs={count}"):
            rows.llm.estimate(verb=verb, block="of", **given, **options(asked))
    few = PEOPLE.llm.ngroup("name", template=TWO, block=None, **options(asked))
    assert few.tolist() == [0, 1, 0, 2, 0]


@pytest.mark.parametrize(
    "block",
    ["town", ["town"], lambda frame: [(0, 2), (2, 4), (4, 0), (1, 1)], "vector"],
    ids=["column", "columns", "function", "vectors"],
)
def test_pairs_come_from_what_block_names(asked, block):
    vectors = [
        np.array(v, np.float32) for v in ([1, 0], [0, 1], [1, 0.1], [0, 2], [1, 0])
    ]
    rows = PEOPLE.assign(town=["x", "y", "x", "y", "x"], vector=vectors)
    groups = rows.llm.ngroup("name", template=TWO, block=block, **options(asked))
    assert groups.tolist() == [0, 1, 0, 2, 0]


def test_a_question_that_fails_joins_nothing_and_is_counted():
    with Server(lambda body: reply({"wrong": 1})) as server:
        given = options(server, output_retries=0)
        with pytest.warns(LLMWarning, match="failed"):
            groups = PEOPLE.llm.ngroup("name", template=TWO, **given)
    assert groups.nunique() == 5


# -- merge ----------------------------------------------------------------------

LEFT = pd.DataFrame({"key": [10, 20, 30], "name": ["Jon Smith", "Ann Lee", "Bo Ek"]})
RIGHT = pd.DataFrame(
    {
        "key": [11, 21, 40],
        "name": ["John Smith", "Anne Lee", "Ed Wu"],
        "size": [1, 2, 3],
    }
)


TWICE = pd.DataFrame({"name": ["Ann Lee", "Ann Lee"]})
HOW = ["inner", "left", "right", "outer"]
if int(pd.__version__.partition(".")[0]) > 2:
    HOW += ["left_anti", "right_anti"]


@pytest.mark.parametrize("indicator", [False, True, "source"])
@pytest.mark.parametrize("how", HOW)
def test_merge_lays_the_rows_out_as_pandas_does(asked, how, indicator):
    given = {"how": how, "indicator": indicator}
    out = LEFT.llm.merge(RIGHT, TWO, block=None, **given, **options(asked))
    ten = LEFT.assign(ten=LEFT["key"] // 10)
    wanted = ten.merge(RIGHT.assign(ten=RIGHT["key"] // 10), on="ten", **given)
    wanted = wanted.drop(columns="ten").reset_index(drop=True)  # pandas 3 need not
    pd.testing.assert_frame_equal(out, wanted)
    assert (len(asked.bodies) < 9) == how.endswith("_anti")


def test_equal_cells_belong_together_without_a_question(asked):
    out = LEFT.llm.merge(
        LEFT.rename(columns={"key": "id"}), on="name", **options(asked)
    )
    assert out["key"].tolist() == out["id"].tolist() == [10, 20, 30]
    assert asked.bodies == []


def test_a_matched_row_drops_out_of_the_questions(asked):
    given = {"validate": "1:1", "block": None, **options(asked)}
    out = LEFT.llm.merge(RIGHT, TWO, **given)
    once = len(asked.bodies)
    assert out["size"].tolist() == [1, 2]
    LEFT.llm.merge(RIGHT, TWO, block=None, **options(asked))
    assert once < len(asked.bodies) - once == 9


@pytest.mark.parametrize(
    ("words", "left_once", "right_once"),
    [
        (("1:1", "one_to_one"), True, True),
        (("1:m", "one_to_many"), False, True),
        (("m:1", "many_to_one"), True, False),
        (("m:m", "many_to_many"), False, False),
    ],
)
def test_validate_takes_pandas_words_and_holds_if_the_judge_says_yes_to_all(
    words, left_once, right_once
):
    for word in words:
        LEFT.merge(RIGHT, on="key", validate=word)  # a word of pandas
        with judge(lambda *_: True) as server:
            out = LEFT.llm.merge(
                RIGHT, TWO, validate=word, block=None, **options(server)
            )
        assert out["key_x"].is_unique == left_once
        assert out["key_y"].is_unique == right_once
        assert left_once or right_once or len(out) == 9


@pytest.mark.parametrize("once", [(True, True), (True, False), (False, True)])
@given(st.integers(0, 300), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_rows_that_pair_once_do_so_in_few_rounds(once, rows, chance):
    pairs = [(at, side) for at in range(rows) for side in (0, 1)]
    yes = {pair for pair in pairs if chance.random() < 0.05}
    asking, asked, rounds = partners(pairs, once), [], 0
    try:
        questions = next(asking)
        while True:
            asked, rounds = asked + questions, rounds + 1
            questions = asking.send([pair in yes for pair in questions])
    except StopIteration as end:
        found = end.value
    assert set(found) <= yes
    assert len(asked) == len(set(asked))
    assert rounds <= 12
    for side in (0, 1):
        partner = [pair[side] for pair in found]
        assert not once[side] or len(set(partner)) == len(partner)
    free = [
        p
        for p in yes - set(found)
        if not any(
            once[side] and p[side] in [pair[side] for pair in found] for side in (0, 1)
        )
    ]
    assert not free  # the others have a partner that has its own


@pytest.mark.parametrize("words", [None, "m:m", "many_to_many"])
def test_many_to_many_checks_nothing_as_in_pandas(asked, words):
    out = LEFT.llm.merge(RIGHT, TWO, validate=words, block=None, **options(asked))
    assert out["key_x"].tolist() == [10, 20]
    assert len(asked.bodies) == len(LEFT) * len(RIGHT)


@pytest.mark.parametrize(
    ("words", "found", "questions"),
    [(None, [10, 11], 0), ("m:m", [10, 10, 11, 11], 2), ("1:1", [10, 11], 0)],
)
@pytest.mark.parametrize("block", ["nearest", None])
def test_many_to_many_asks_about_rows_with_an_equal_partner_too(
    asked, words, found, questions, block
):
    left = PEOPLE.query("key in (10, 11)")
    given = {"template": TWO, "on": "name", "validate": words, "block": block}
    given = {"right": left, **given, **options(asked)}
    assert left.llm.estimate(verb="merge", **given).requests == questions
    out = left.llm.merge(**given)
    assert (out["key_x"].tolist(), len(asked.bodies)) == (found, questions)
    assert not out.duplicated().any()


def test_attrs_of_the_left_and_the_usage_of_all_rounds_are_kept(asked):
    left = LEFT.copy()
    left.attrs["source"] = "shop"
    out = left.llm.merge(RIGHT, TWO, block=None, **options(asked))
    assert out.attrs["source"] == "shop"
    assert out.llm.usage.requests == len(asked.bodies) == 9
    assert pandas_llm.last_usage() == out.llm.usage


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"template": "Same? ${left.name}"}, "names no \\${right"),
        ({"template": "Same? ${name}"}, "names \\${name}"),
        ({"template": "${left.name} ${right.nam}"}, "right.name"),
        ({"how": "cross"}, "how must be"),
        ({"validate": "1:2"}, "validate must be"),
        ({"on": "nam"}, "is not a column"),
        ({"left_on": "name"}, "go together"),
        ({"on": "name", "suffixes": ("", "")}, "two columns would be named"),
        ({"on": "name", "indicator": "size"}, "'size': pass indicator= another name"),
        ({"on": "name", "indicator": 1}, "indicator must be"),
        ({"left_index": True, "on": "name"}, "has no left_index: .*reset_index"),
        ({"on": "name", "unique": False}, "merge\\(\\) has no parameter 'unique'"),
        ({"on": "name", "left_on": "name", "right_on": "name"}, "not both"),
        ({"left_on": ["key", "name"], "right_on": "name"}, "names 2 columns"),
        ({"right": pd.DataFrame({"firm": ["Ann Lee"]})}, "no column is in both"),
        ({"right": pd.Series(["Ann Lee"])}, "a Series with a name"),
        ({"right": RIGHT.assign(**{"left.key": 1}), "on": "name"}, "read as a side"),
        ({"on": "name", "block": lambda *_: [(0, 3)]}, "positions of rows are wanted"),
        ({"on": "name", "block": lambda *_: [(0, 1.5)]}, "pairs of positions, .*float"),
        ({"on": "name", "block": lambda *_: None}, "block must return pairs"),
        ({"on": "name", "neighbors": 0}, "neighbors must be a whole number"),
        ({"on": "name", "max_pairs": 2.5}, "max_pairs must be a whole number"),
        ({"right": TWICE, "on": "name", "validate": "1:1"}, "'1:1' does not hold"),
        ({"right": TWICE, "on": "name", "validate": "m:1"}, "'m:1' does not hold"),
        ({"on": "name", "validate": "1:1", "batch": True}, "leave validate= out"),
    ],
)
def test_what_cannot_be_merged_says_so_before_a_call(asked, given, says):
    kinds = TemplateError, InvalidValueError, InvalidTypeError, ConfigurationError
    with pytest.raises(kinds, match=says):
        LEFT.llm.merge(**{"right": RIGHT, **given, **options(asked)})
    assert asked.bodies == []


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_an_empty_side_has_a_typed_result_and_no_call(asked, how):
    out = LEFT.iloc[:0].llm.merge(RIGHT, on="name", how=how, **options(asked))
    assert list(out.columns) == ["key_x", "name_x", "key_y", "name_y", "size"]
    assert len(out) == (3 if how == "outer" else 0)
    assert asked.bodies == []


# -- nlargest -------------------------------------------------------------------


@pytest.fixture
def ranking():
    with judge(lambda one, other: one > other) as server:
        yield server


def test_nlargest_returns_the_rows_best_first(ranking):
    rows = pd.DataFrame({"key": np.random.default_rng(0).permutation(60)})
    out = rows.llm.nlargest(5, MORE, **options(ranking))
    pd.testing.assert_frame_equal(out, rows.nlargest(5, "key"))
    assert out.llm.usage.requests == len(ranking.bodies)


def test_one_order_costs_half(ranking):
    PEOPLE.llm.nlargest(2, MORE, **options(ranking))
    both = len(ranking.bodies)
    PEOPLE.llm.nlargest(2, MORE, both_orders=False, **options(ranking))
    assert both == 2 * (len(ranking.bodies) - both)


def test_a_judge_that_prefers_the_first_leaves_the_order_of_rows():
    with judge(lambda *_: True) as server:
        out = PEOPLE.llm.nlargest(5, MORE, **options(server))
    assert out.index.tolist() == list("abcde")


def test_nlargest_by_votes_and_by_score(ranking):
    out = PEOPLE.llm.nlargest(2, MORE, votes=True, **options(ranking))
    assert out["key"].tolist() == [30, 20]
    with Server(lambda body: reply({"score": int(prompt_of(body))})) as server:
        scored = PEOPLE.llm.nlargest(2, "${key}", by="score", **options(server))
        assert len(server.bodies) == 5
    pd.testing.assert_frame_equal(scored, out)


@pytest.mark.parametrize("k", [0, -1, 1.0, True, None])
def test_k_must_be_a_whole_number(ranking, k):
    with pytest.raises(InvalidValueError, match="k must be a whole number"):
        PEOPLE.llm.nlargest(k, MORE, **options(ranking))


def test_k_may_be_a_number_of_numpy(ranking):
    out = PEOPLE.llm.nlargest(np.int64(2), MORE, **options(ranking))
    assert out["key"].tolist() == [30, 20]


def test_no_batch_where_rounds_depend_on_each_other(ranking):
    with pytest.raises(ConfigurationError, match="no batch=True: each round"):
        PEOPLE.llm.nlargest(1, MORE, batch=True, **options(ranking))


# -- matches, filter ------------------------------------------------------------


def even(body):
    key = int(re.search(r"\d+", prompt_of(body))[0])
    if key == 30:
        return reply({"neither": None})
    (name,) = body["response_format"]["json_schema"]["schema"]["properties"]
    return reply({name: key % 20 == 0})


def test_filter_is_the_frame_where_matches_is_true():
    with Server(even) as server:
        given = options(server, output_retries=0)
        with pytest.warns(LLMWarning, match="1 of 5 questions failed"):
            mask = PEOPLE.llm.matches("Even? ${key}", **given)
        with pytest.warns(LLMWarning, match="those rows are left out"):
            out = PEOPLE.llm.filter("Even? ${key}", **given)
        with pytest.warns(LLMWarning, match="those rows are kept"):
            more = PEOPLE.llm.filter("Even? ${key}", keep_undecided=True, **given)
    assert mask.dtype == "boolean"
    assert mask.isna().tolist() == [False, False, False, True, False]
    pd.testing.assert_frame_equal(out, PEOPLE[mask.fillna(False)])
    assert more.index.tolist() == ["b", "d"]


def test_filter_of_a_series_and_of_a_list():
    with Server(even) as server:
        keys = PEOPLE["key"].iloc[:3]
        assert keys.llm.filter("${value}", **options(server)).tolist() == [20]
        rows = [{"key": 20}, {"key": 21}]
        out = pandas_llm.filter(rows, "${key}", **options(server))
        assert out == [{"key": 20}]
        assert pandas_llm.matches(rows, "${key}", **options(server)) == [True, False]


def test_twins_do_the_same_in_a_running_loop():
    with Server(even) as server:
        rows = PEOPLE.iloc[:2]
        out = asyncio.run(rows.llm.afilter("${key}", **options(server)))
    assert out.index.tolist() == ["b"]


# -- agg ------------------------------------------------------------------------

NOTES = pd.DataFrame(
    {"shop": ["b", "a", "b", None, "a"], "note": ["one", "two", "three", "four", None]}
)


def joining(seen):
    """Answer with the numbers that a prompt holds, so that none is lost or twice."""

    def answer(body):
        prompt = prompt_of(body)
        seen.append(prompt)
        return reply_text(" ".join(re.findall(r"#\d+", prompt)) or prompt[-60:])

    return Server(answer)


def reply_text(text):
    out = reply(0)
    out["choices"][0]["message"]["content"] = text
    return out


def test_every_row_is_in_one_leaf_and_no_prompt_is_above_the_bound():
    from pandas_llm._pacing import estimate_tokens

    seen = []
    rows = pd.DataFrame({"text": [f"#{i} " + "word " * 20 for i in range(300)]})
    with Server(
        lambda body: seen.append(prompt_of(body)) or reply_text("ok")
    ) as server:
        out = rows.llm.agg("Which?", "text", max_tokens_per_call=600, **options(server))
    assert out == "ok"
    leaves = [prompt for prompt in seen if "#" in prompt]
    numbers = [n for prompt in leaves for n in re.findall(r"#(\d+)", prompt)]
    assert numbers == [str(i) for i in sorted(map(int, numbers))] or len(numbers) == 300
    assert sorted(map(int, numbers)) == list(range(300))
    assert max(map(estimate_tokens, seen)) <= 600
    assert len(seen) < 2 * len(leaves)


def test_by_groups_as_groupby_does_and_the_question_names_them():
    seen = []
    with joining(seen) as server:
        out = NOTES.llm.agg("What of ${shop}?", "note", by="shop", **options(server))
    assert out.index.tolist() == ["a", "b"]
    assert out.index.name == "shop"
    assert out.name == "answer"
    assert sorted(prompt.splitlines()[0] for prompt in seen) == [
        "What of a?",
        "What of b?",
    ]
    assert all("four" not in prompt for prompt in seen)


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("dropna", [True, False])
def test_groups_are_those_of_groupby(sort, dropna):
    notes = pd.DataFrame({"shop": ["b", None, "a", "b"], "note": list("wxyz")})
    given = {"sort": sort, "dropna": dropna}
    with joining([]) as server:
        out = notes.llm.agg("What?", "note", by="shop", **given, **options(server))
    pd.testing.assert_index_equal(
        out.index, notes.groupby("shop", **given).size().index
    )


def test_keys_make_typed_columns():
    with Server(lambda body: reply({"count": 3})) as server:
        out = NOTES.llm.agg(
            "?", "note", by="shop", keys={"count": int}, **options(server)
        )
        one = NOTES.llm.agg("?", "note", keys={"count": int}, **options(server))
    assert out["count"].dtype == "Int64"
    assert out["count"].tolist() == [3, 3]
    assert one["count"] == 3


def test_long_answers_are_asked_again_shorter_and_then_cut():
    seen = []

    def answer(body):
        seen.append(prompt_of(body))
        return reply_text("word " * 500)

    rows = pd.DataFrame({"text": ["word " * 50] * 20})
    with (
        Server(answer) as server,
        pytest.warns(LLMWarning, match="were cut")
        if False
        else (__import__("contextlib").nullcontext()),
    ):
        rows.llm.agg("Which?", "text", max_tokens_per_call=500, **options(server))
    assert any(prompt.startswith("Which?\n\nShorten") for prompt in seen)
    assert len(seen) < 60


def test_a_group_with_a_failed_call_is_na_and_counted():
    def answer(body):
        return reply_text("" if "two" in prompt_of(body) else "fine")

    with Server(answer) as server:
        given = {"by": "shop", **options(server, output_retries=0)}
        with pytest.warns(LLMWarning, match="need them are NA"):
            out = NOTES.llm.agg("?", "note", **given)
    assert out.isna().tolist() == [True, False]


@pytest.mark.parametrize("verb", ["agg", "matches"])
def test_a_warning_names_rows_where_there_are_rows_and_advises_what_is_taken(verb):
    given = {"agg": ("What?", "name"), "matches": ("${name}?",)}[verb]
    refusal = {"role": "assistant", "content": None, "refusal": "no"}
    choice = {"index": 0, "message": refusal, "finish_reason": "stop"}
    with (
        Server(lambda _: {"choices": [choice]}) as server,
        pytest.warns(LLMWarning) as caught,
    ):
        getattr(PEOPLE.llm, verb)(*given, **options(server, cache=False))
    said = str(caught[0].message)
    first = {"agg": "The first: the model", "matches": "first, row 0 (label 'a'):"}
    assert first[verb] in said
    assert f"{verb}: " in said
    assert "error_column" not in said  # which they refuse


def test_no_rows_no_call():
    with joining([]) as server:
        none = NOTES.iloc[:0]
        assert none.llm.agg("?", "note", **options(server)) is None
        assert none.llm.agg("?", "note", by="shop", **options(server)).empty
        assert server.bodies == []


def test_a_bound_without_room_is_refused():
    with (
        joining([]) as server,
        pytest.raises(InvalidValueError, match="leaves no room"),
    ):
        NOTES.llm.agg("?", "note", max_tokens_per_call=50, **options(server))


# -- search ---------------------------------------------------------------------


def vector(text):
    return [text.count("a"), text.count("b"), 0.1]


def embedding(body):
    data = [
        {"index": i, "embedding": vector(t), "object": "embedding"}
        for i, t in enumerate(body["input"])
    ]
    return {"data": data, "model": "judge", "usage": {"prompt_tokens": 1}}


def test_search_returns_the_nearest_rows_with_their_cosine():
    rows = pd.DataFrame({"text": ["bbb", "aab", "aaa", None]}, index=[7, 8, 9, 10])
    with Server(embedding) as server:
        out = rows.llm.search("aa", "text", k=2, **options(server))
    assert out.index.tolist() == [9, 8]
    assert out["score"].is_monotonic_decreasing
    assert out["score"].iloc[0] == pytest.approx(1, abs=1e-2)


def test_a_column_of_vectors_is_searched_with_one_call():
    rows = pd.DataFrame({"v": [np.array(vector(t), np.float32) for t in ("b", "a")]})
    with Server(embedding) as server:
        out = rows.llm.search("a", "v", k=1, **options(server))
        assert len(server.bodies) == 1
    assert out.index.tolist() == [1]


# -- all ------------------------------------------------------------------------


def test_max_cost_holds_over_all_rounds(ranking, tmp_path):
    rows = pd.DataFrame({"key": np.random.default_rng(0).permutation(60)})
    given = options(ranking, prices={"judge": (100.0, 0.0)}, max_tokens=1)
    given["cache"] = tmp_path / "kept"
    with pytest.raises(CostLimitError, match="a higher max_cost goes on") as caught:
        rows.llm.nlargest(5, MORE, max_cost=0.05, **given)
    assert pandas_llm.last_usage().known_cost <= 0.05
    paid = len(ranking.bodies)
    assert 10 <= paid <= 50
    partial = caught.value.partial
    assert len(partial) == 5
    assert partial.llm.usage.known_cost == pandas_llm.last_usage().known_cost
    again = rows.llm.nlargest(5, MORE, **given)  # what was paid for is kept
    assert again["key"].tolist() == [59, 58, 57, 56, 55]
    assert again.llm.usage.cached == paid


@pytest.mark.parametrize("verb", ["merge", "ngroup"])
def test_what_max_cost_leaves_of_pairs_counts_as_unlike(verb):
    rows = pd.DataFrame({"key": np.arange(200), "name": "n"})
    with judge(same) as server:
        price = {"prices": {"judge": (100.0, 0.0)}, "max_tokens": 1, "max_cost": 0.05}
        given = {"template": TWO, "block": lambda *_: PAIRS, **options(server), **price}
        if verb == "merge":
            given["right"] = rows
        with pytest.raises(CostLimitError, match="max_cost is reached") as end:
            getattr(rows.llm, verb)(**given)
        asked = len(server.bodies)
    assert 0 < asked <= 50
    if verb == "merge":
        assert len(end.value.partial) == asked
    else:
        assert end.value.partial.nunique() == 200 - asked


PAIRS = [(at, at + 1) for at in range(0, 200, 2)]


def test_the_report_shows_all_rounds_as_one(ranking):
    out = PEOPLE.llm.nlargest(2, MORE, **options(ranking))
    report = str(out.llm.report())
    assert "nlargest" in report
    assert f"requests sent   {len(ranking.bodies)}" in report


# -- a cheap model first ----------------------------------------------------------

LABELS = ["no", "yes"]


def truth(text):
    """Read what the oracle knows, and what the cheap judge believes."""
    key, chance = re.search(r"\[(\d) (0\.\d+)\]", text).groups()
    return int(key), float(chance)


def oracle(asked):
    """Answer as the better model does: always right."""

    def answer(body):
        text = prompt_of(body)
        asked.append(text)
        (name,) = body["response_format"]["json_schema"]["schema"]["properties"]
        yes = truth(text)[0] == 1
        return reply({name: LABELS[yes] if name == "label" else yes})

    return Server(answer)


def believer():
    """Answer as a decision endpoint does: with probabilities, right as often."""

    def answer(body):
        text = body["input"] if isinstance(body["input"], str) else str(body["input"])
        (question,) = body["questions"]
        yes = truth(text)[1]
        if question["type"] == "predicate":
            told = {"type": "predicate", "probability": yes}
        else:
            pairs = zip(LABELS, (1 - yes, yes), strict=True)
            told = [{"value": label, "probability": p} for label, p in pairs]
            told = {"type": "choice", "probabilities": told}
        return {"model": "cheap", "answers": [told], "usage": {"input_tokens": 1}}

    return Server(answer)


@pytest.fixture
def judged():
    """Return rows whose text tells a calibrated chance, and the truth drawn by it."""
    chance = np.random.default_rng(5).beta(0.5, 0.5, 600).clip(0.01, 0.99).round(6)
    true = np.random.default_rng(6).random(600) < chance
    return pd.DataFrame(
        {
            "text": [
                f"{at}: [{int(known)} {told:.6f}]"
                for at, (known, told) in enumerate(zip(true, chance, strict=True))
            ]
        }
    ), true


def first(server):
    return {
        "model": "openai-decisions/cheap",
        "base_url": server.base_url,
        "api_key": "-",
    }


def test_a_cascade_keeps_its_target_and_sends_few_rows_to_the_better_model(judged):
    rows, true = judged
    asked = []
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), "accuracy": 0.9, **options(dear)}
        out = rows.llm.classify("Which? ${text}", LABELS, **given)
        assert len(cheap.bodies) == 600
    facts = out.attrs["llm"]
    assert len(asked) == len(set(asked)) == facts["cascade_dear"] < 480
    assert (out.astype(str) == np.array(LABELS)[true.astype(int)]).mean() >= 0.9
    assert out.cat.categories.tolist() == LABELS
    assert facts["accuracy"] == 0.9
    assert facts["cascade_sample"] == 120
    assert facts["cascade_kept"] + facts["cascade_dear"] == 600
    assert out.llm.usage.requests == 600 + len(asked)


def test_thresholds_of_an_earlier_run_need_no_sample(judged):
    rows, _ = judged
    with oracle([]) as dear, believer() as cheap:
        given = {"cascade": first(cheap), **options(dear)}
        out = rows.llm.classify("Which? ${text}", LABELS, accuracy=0.9, **given)
        above = out.attrs["llm"]["cascade_above"]
        again = rows.llm.classify("Which? ${text}", LABELS, thresholds=above, **given)
    assert again.attrs["llm"]["cascade_sample"] == 0
    assert again.attrs["llm"]["cascade_dear"] <= out.attrs["llm"]["cascade_dear"]


def test_filter_with_a_cascade_keeps_recall_and_precision(judged):
    rows, true = judged
    asked = []
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), "recall": 0.8, "precision": 0.8}
        out = rows.llm.filter("Yes? ${text}", **given, **options(dear))
    found = np.isin(np.arange(600), out.index)
    assert (found & true).sum() >= 0.8 * true.sum()
    assert (found & true).sum() >= 0.8 * found.sum()
    assert len(asked) == len(set(asked)) == out.attrs["llm"]["cascade_dear"] < 600
    assert out.attrs["llm"]["recall"] == out.attrs["llm"]["precision"] == 0.8


def test_a_target_that_cannot_be_met_sends_all_rows_to_the_better_model(judged):
    rows, true = judged
    asked = []
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), "accuracy": 0.9999, **options(dear)}
        out = rows.llm.classify("Which? ${text}", LABELS, **given)
    assert len(asked) == 600
    assert (out == "yes").tolist() == true.tolist()


def pairs_of(rows):
    """Return two frames whose rows at one place make a pair of a known chance."""
    left = rows.rename(columns={"text": "key"}).assign(name="n")
    right = pd.DataFrame({"key": [f"right {at}" for at in range(len(rows))]})
    return left, right.assign(name="m")


def test_pair_questions_with_a_cascade_keep_recall_and_precision(judged):
    rows, true = judged
    left, right = pairs_of(rows)
    asked = []
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), "recall": 0.8, "precision": 0.8}
        given |= {"template": "Same? ${left.key} ${right.key}", **options(dear)}
        given["block"] = lambda one, _: [(at, at) for at in range(len(one))]
        price = {"prices": {"judge": (10.0, 10.0), "cheap": (1.0, 1.0)}}
        out = left.llm.merge(right, how="inner", **given, **price)
        assert len(cheap.bodies) == 600
    found = left["key"].isin(out["key_x"]).to_numpy()
    assert (found & true).sum() >= 0.8 * true.sum()
    assert (found & true).sum() >= 0.8 * found.sum()
    facts = out.attrs["llm"]
    assert len(asked) == len(set(asked)) == facts["cascade_dear"] < 600
    assert facts["cascade_kept"] + facts["cascade_dear"] == 600
    each = 11 * 10 / 1e6  # ten tokens in and one out, at ten dollars a million
    saved = facts["cascade_kept"] * each - 600 * 1e-6
    assert facts["cascade_saved"] == pytest.approx(saved, rel=0.01)
    report = str(out.llm.report())
    for words in ("recall 80%, precision 80%, with probability 95%", "hypergeometric"):
        assert words in report


def test_groups_with_a_cascade_ask_no_pair_twice():
    rows = pd.DataFrame(
        {"key": [f"{at}: [1 0.9{at % 10}]" for at in range(40)], "name": "n"}
    )
    asked = []
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), "thresholds": (0.2, 0.8), **options(dear)}
        question = "Same? ${left.key} ${right.key}"
        groups = rows.llm.ngroup("key", template=question, **given)
    assert groups.tolist() == [0] * 40
    facts = groups.attrs["llm"]
    assert facts["cascade_dear"] == len(asked) == len(set(asked))
    assert facts["cascade_kept"] == len(cheap.bodies)


def test_thresholds_of_an_earlier_filter_hold_for_other_rows(judged):
    rows, true = judged
    with oracle([]) as dear, believer() as cheap:
        given = {"cascade": first(cheap), **options(dear)}
        whole = rows.llm.filter("Yes? ${text}", recall=0.8, precision=0.8, **given)
        facts = whole.attrs["llm"]
        ends = facts["cascade_low"], facts["cascade_high"]
        few = rows.iloc[:50]  # whose mean is another
        again = few.llm.filter("Yes? ${text}", thresholds=ends, **given)
        none = few.llm.matches("Yes? ${text}", thresholds=(None, None), **given)
    chance = np.array([truth(text)[1] for text in few["text"]])
    sure = chance >= ends[1]
    doubtful = (chance > ends[0]) & ~sure
    assert (
        again.index.tolist() == np.flatnonzero(sure | (doubtful & true[:50])).tolist()
    )
    assert again.attrs["llm"]["cascade_dear"] == doubtful.sum()
    assert none.tolist() == true[:50].tolist()


def test_a_cascade_that_max_cost_stops_is_not_proven(judged):
    rows, _ = judged
    asked = []
    price = {"prices": {"judge": (100.0, 0.0), "cheap": (0.0, 0.0)}, "max_tokens": 1}
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), "accuracy": 0.9, **options(dear), **price}
        with pytest.raises(CostLimitError, match="their labels are NA") as caught:
            rows.llm.classify("Which? ${text}", LABELS, max_cost=0.2, **given)
        partial = caught.value.partial
        paid = len(asked)
    facts = partial.attrs["llm"]
    assert facts["cascade_bound"].startswith("not proven")
    assert paid <= 200
    assert partial.notna().sum() == facts["cascade_kept"] + paid
    assert len(caught.value.failures) == partial.isna().sum()
    assert set(caught.value.failures["kind"]) == {"max_cost", "not_sent"}
    assert (
        paid == len(set(asked)) == facts["cascade_dear"] - len(partial[partial.isna()])
    )


def test_max_cost_that_stops_the_cheap_model_is_told_as_such(judged):
    rows, _ = judged
    price = {"prices": {"judge": (1.0, 1.0), "cheap": (1000.0, 0.0)}, "max_tokens": 1}
    asked = []
    with oracle(asked) as dear, believer() as cheap:
        given = {"cascade": first(cheap), **options(dear), **price, "max_cost": 1e-9}
        with pytest.raises(CostLimitError, match="labels are NA") as caught:
            rows.llm.classify("Which? ${text}", LABELS, accuracy=0.9, **given)
        with pytest.raises(CostLimitError, match="answers are NA"):
            rows.llm.matches("Yes? ${text}", recall=0.9, **given)
        assert cheap.bodies == dear.bodies == []
    assert caught.value.partial.isna().all()
    assert "answers are kept" not in str(caught.value)  # the tests' cache is off


def test_an_estimate_of_a_cascade_has_both_models(judged):
    rows, _ = judged
    with oracle([]) as dear, believer() as cheap:
        price = {"prices": {"judge": (10.0, 10.0), "cheap": (1.0, 1.0)}}
        given = {"cascade": first(cheap), "accuracy": 0.9, **options(dear), **price}
        own = {"verb": "classify", **given}
        told = rows.llm.estimate("Which? ${text}", LABELS, **own)
        out = rows.llm.classify("Which? ${text}", LABELS, **given)
    assert (told.fewest, told.requests) == (600 + 120, 1200)
    assert told.fewest <= out.llm.usage.requests <= told.requests
    assert 0 < told.low < told.high == told.cost


@pytest.mark.usefixtures("short_waits")
def test_rows_that_the_cheap_model_fails_go_to_the_better_one(judged):
    rows, _ = judged
    asked = []
    with oracle(asked) as dear, Server(lambda body: {"error": "no"}) as cheap:
        given = {"cascade": first(cheap), "thresholds": 0.5, **options(dear)}
        few = rows.iloc[:4]
        with pytest.raises(Exception, match=r"."):
            few.llm.classify("Which? ${text}", LABELS, **given)
    assert asked == []


@pytest.mark.usefixtures("short_waits")
def test_keys_and_headers_go_to_no_other_provider(judged):
    rows, _ = judged
    with oracle([]) as dear, believer() as cheap:
        given = options(dear, api_key="sk-secret", headers={"x-team": "blue"})
        mine = {"model": "systemone/x", "base_url": cheap.base_url}
        with pytest.raises(Exception, match=r"."):  # speaks the other form
            rows.iloc[:2].llm.matches("${text}", cascade=mine, recall=0.9, **given)
        sent = [dict(header) for header in cheap.headers]
    assert sent
    assert not any("sk-secret" in str(header) for header in sent)
    assert not any("x-team" in str(header).lower() for header in sent)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"cascade": "tiny"}, InvalidValueError, "cascade= needs a target"),
        ({"cascade": 7, "recall": 0.9}, TypeError, "cascade must be a model's name"),
        ({"recall": 0.9}, TypeError, "is for a cascade"),
        ({"cascade": "tiny", "recall": 1.2}, InvalidValueError, "recall must be"),
        ({"threshold": 1}, InvalidValueError, "threshold must be"),
        ({"cascade": "tiny", "thresholds": 0.5}, InvalidValueError, "two numbers"),
        ({"cascade": "tiny", "thresholds": ("a", 1)}, InvalidValueError, "two numbers"),
        (
            {"cascade": "tiny", "recall": 0.9, "confidence": True},
            TypeError,
            "one model",
        ),
        (
            {"cascade": "tiny", "recall": 0.9, "batch": True},
            ConfigurationError,
            "no batch=True",
        ),
    ],
)
def test_a_cascade_that_cannot_be_is_refused_before_a_call(given, error, says):
    with oracle([]) as dear:
        with pytest.raises(error, match=says):
            PEOPLE.llm.matches("Yes? ${key}", **{**options(dear), **given})
        assert dear.bodies == []


def test_matches_by_the_probability_of_yes(judged):
    rows, _ = judged
    with believer() as cheap:
        given = {**first(cheap), "cache": False}
        sure = rows.llm.matches("Yes? ${text}", confidence=True, **given)
        strict = rows.llm.matches("Yes? ${text}", threshold=0.9, **given)
    chance = np.array([truth(text)[1] for text in rows["text"]])
    assert (sure["matches"] == (chance > 0.5)).all()
    told = sure["matches_confidence"].to_numpy(float)
    assert told == pytest.approx(np.maximum(chance, 1 - chance))
    assert (strict == (chance >= 0.9)).all()


# -- before -----------------------------------------------------------------------


def test_what_is_asked_of_each_row_can_be_seen_and_estimated_before():
    given = {"verb": "filter", "model": "sim", "cache": False}
    shown = PEOPLE.llm.preview("Is ${name} tall?", **given)
    assert shown["prompt"].iloc[0] == "Is Jon Smith tall?"
    assert PEOPLE.llm.estimate("Is ${name} tall?", **given).requests == 5


RANGES = {
    "ngroup": {"subset": "name", "template": TWO},
    "duplicated": {"template": TWO, "block": lambda _: [(0, 2), (2, 4)]},
    "drop_duplicates": {"subset": "name", "template": TWO, "block": None},
    "merge": {"right": PEOPLE.tail(3), "template": TWO, "validate": "1:1"},
    "nlargest": {"k": 2, "template": MORE},
    "agg": {"template": "What?", "column": "name", "max_tokens_per_call": 1000},
    "matches": {"template": "${name}?"},
    "search": {"template": "smith", "column": "name"},
}


@pytest.mark.parametrize("verb", RANGES)
def test_estimates_of_table_verbs_hold_and_preview_shows_a_question(verb):
    own = dict(RANGES[verb])
    pairs = "template" in own and "left." in own["template"]
    decide = (lambda one, other: one > other) if verb == "nlargest" else same
    with judge(decide) if pairs else Simulator() as server:
        given = {"model": "sim", "base_url": server.base_url, "api_key": "-"}
        given |= {"prices": {"sim": (1.0, 1.0)}, "dedupe": False, "cache": False}
        shown = PEOPLE.llm.preview(verb=verb, rows=2, **given, **own)
        question = own.pop("template")
        own[{"agg": "question", "search": "query"}.get(verb, "template")] = question
        told = PEOPLE.llm.estimate(verb=verb, **given, **own)
        getattr(PEOPLE.llm, verb)(**own, **given)
    requests = pandas_llm.last_usage().requests
    assert 1 <= len(shown) <= 2
    assert told.rows == 5
    assert told.cost > 0
    if told.fewest is not None:
        assert told.fewest <= requests <= told.requests
        assert told.low <= told.high == told.cost
        assert f"{told.fewest} to {told.requests}, by the answers" in str(told)
    elif verb != "search":  # whose texts share a request
        assert told.requests == requests


@pytest.mark.parametrize("tool", ["preview", "estimate"])
def test_an_unknown_verb_is_refused_with_those_that_there_are(tool):
    with pytest.raises(
        InvalidValueError, match=r"verb must be 'generate', .*'nlargest'"
    ):
        getattr(PEOPLE.llm, tool)("${name}", verb="largest", model="sim")
    with pytest.raises(TypeError, match="missing a required argument: 'k'"):
        getattr(PEOPLE.llm, tool)("${name}", verb="nlargest", model="sim")


def test_columns_of_one_name_are_refused_where_they_are_used(asked):
    twice = pd.DataFrame([[1, 2, 3]] * 2, columns=["key", "key", "name"])
    with pytest.raises(TemplateError, match="2 columns have that name"):
        twice.llm.ngroup("name", template=TWO, **options(asked))
    mixed = pd.DataFrame([[10, 1, 2], [11, 1, 3]], columns=["key", 1, "1"])
    with pytest.raises(TemplateError, match="2 columns have that name"):
        mixed.llm.ngroup(template="${left.1} ${right.1}", **options(asked))
    groups = mixed.llm.ngroup(template=TWO, block=None, **options(asked))
    assert groups.tolist() == [0, 0]


def test_vectors_of_unlike_lengths_are_refused_in_words(asked):
    rows = PEOPLE.iloc[:3].assign(vector=[np.ones(2), np.ones(3), None])
    with pytest.raises(InvalidValueError, match="have 2 and 3 numbers"):
        rows.llm.ngroup("name", template=TWO, block="vector", **options(asked))
    one, other = rows.iloc[:1], rows.iloc[1:2]
    given = {"block": ("vector", "vector"), "suffixes": ("_l", "_r"), **options(asked)}
    with pytest.raises(InvalidValueError, match="2 numbers on the left and 3"):
        one.llm.merge(other, TWO, **given)
    assert len(one.llm.merge(rows.iloc[2:3], TWO, **given)) == 0


@pytest.mark.parametrize(
    "frame",
    [
        PEOPLE.set_index([["x", "x", "y", "y", "z"], list("abcde")]),
        PEOPLE.set_axis([1, 1, 1, 2, 2]),
        PEOPLE.astype({"name": "category"}),
        PEOPLE.assign(same=1, more=2, prompt=3, matches=4),
    ],
    ids=["MultiIndex", "repeated labels", "categories", "names of ours"],
)
def test_frames_of_all_kinds_keep_their_rows_as_they_were(asked, frame):
    out = frame.llm.drop_duplicates("name", template=TWO, **options(asked))
    pd.testing.assert_frame_equal(out, frame.iloc[[0, 1, 3]])
    groups = frame.llm.ngroup("name", template=TWO, **options(asked))
    assert groups.index.equals(frame.index)


CALLS: dict[str, tuple[Any, ...]] = {
    "matches": ("Is it ${name}?",),
    "filter": ("Is it ${name}?",),
    "merge": (PEOPLE, "Same? ${left.name} ${right.name}"),
    "drop_duplicates": ("name",),
    "duplicated": ("name",),
    "ngroup": ("name",),
    "nlargest": (2, "More? ${left.name} ${right.name}"),
    "agg": ("What is it?", "name"),
    "agg by": ("What is it?", "name"),
    "search": ("Smith", "name", 2),
}
KEYED: dict[str, Any] = {"agg by": {"by": "key", "keys": {"age": int}}}


@pytest.mark.parametrize("details", [True, "raw"])
@pytest.mark.parametrize("verb", CALLS)
def test_details_are_of_rows_and_change_no_verb_over_the_table(
    verb, details, simulator, on
):
    call = getattr(PEOPLE.llm, verb.partition(" ")[0])
    keyed = KEYED.get(verb, {})
    plain = call(*CALLS[verb], **keyed, **on(simulator()))
    with pandas_llm.option_context(details=details):
        told = call(*CALLS[verb], **keyed, **on(simulator()))
    if isinstance(plain, str):
        assert told == plain
    else:
        compare = {pd.Series: assert_series_equal, pd.DataFrame: assert_frame_equal}
        compare[type(plain)](told, plain)


@pytest.mark.parametrize("verb", CALLS)
def test_a_column_of_reasons_has_no_place_in_verbs_over_the_table(verb, simulator, on):
    server = simulator()
    with pytest.raises((TypeError, ValueError), match="error_column"):
        getattr(PEOPLE.llm, verb.partition(" ")[0])(
            *CALLS[verb], error_column="why", **on(server)
        )
    assert server.stats()["requests"] == 0


def test_agg_takes_one_answer_to_a_question(simulator, on):
    with pytest.raises(InvalidValueError, match="n must be 1"):
        PEOPLE.llm.agg("What?", "name", n=3, **on(simulator()))


@pytest.mark.parametrize("option", ["files", "images", "messages", "examples"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda **more: PEOPLE.llm.agg("Who?", "name", **more),
        lambda **more: PEOPLE.llm.agg("Who?", "name", keys={"who": str}, **more),
        lambda **more: PEOPLE.llm.nlargest(1, MORE, **more),
        lambda **more: PEOPLE.llm.merge(PEOPLE, TWO, **more),
        lambda **more: PEOPLE.llm.duplicated("name", **more),
        lambda **more: PEOPLE.llm.drop_duplicates("name", **more),
        lambda **more: PEOPLE.iloc[:1].llm.ngroup("name", **more),
    ],
)
def test_columns_of_rows_are_refused_where_a_question_is_of_several(ask, option):
    with Simulator() as server:
        at = {"model": "sim", "base_url": server.base_url, "progress": False}
        with pytest.raises(InvalidTypeError, match=f"{option}= cannot name a column"):
            ask(**{option: "key"}, **at)
        if option == "examples":
            ask(examples=[("a", {})], **at)


def test_scores_are_of_single_rows_which_may_have_files(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    frame = PEOPLE.iloc[:2].assign(file=str(tmp_path / "a.pdf"))
    with Simulator() as server:
        at = {"model": "sim", "base_url": server.base_url, "progress": False}
        best = frame.llm.nlargest(
            1, "How old is ${name}?", by="score", files="file", **at
        )
    assert len(best) == 1

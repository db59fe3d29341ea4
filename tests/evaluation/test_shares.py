"""`share` and `to_review`: intervals that hold, what draws rows, what is refused."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pandas_llm
from pandas_llm._algorithms import review_chances, systematic, tuned_mean
from pandas_llm.errors import (
    InvalidTypeError,
    InvalidValueError,
    LLMWarning,
    MissingColumnError,
)

quick = settings(max_examples=60)


def rated(seed, share=0.5, rows=1000, boast=1.0):
    """Return rows told with probabilities, right in four of five, and the truth.

    With `boast` above 1 the model tells its probabilities too surely.
    """
    dice = np.random.default_rng(seed)
    truth = dice.permutation(rows) < share * rows
    logits = 2 * (dice.normal(size=rows) + np.where(truth, 1, -1))
    odds = 1 / (1 + np.exp(-boast * (logits + math.log(share / (1 - share)))))
    names = np.array(["no", "yes"])
    return pd.DataFrame(
        {
            "label": pd.Categorical(names[(odds > 0.5).astype(int)], names),
            "p_no": 1 - odds,
            "p_yes": odds,
            "truth": names[truth.astype(int)],
        }
    )


def known(frame, seed, count=100):
    """Return the frame with the truth of some rows, drawn evenly."""
    drawn = frame.sample(count, random_state=seed).index
    return frame.assign(gold=frame["truth"].where(frame.index.isin(drawn)))


def reviewed(frame, seed, count=100):
    """Return the frame with the truth of the rows that a review draws."""
    drawn = frame.llm.to_review(count, seed=seed)
    return frame.assign(gold=drawn["truth"], inclusion=drawn["inclusion"])


def covered(frame, draw, draws):
    """Return how often the interval holds, and its width against the labels' alone."""
    true, held, width, alone = (frame["truth"] == "yes").mean(), 0, 0.0, 0.0
    for seed in range(draws):
        row = pandas_llm.share(draw(frame, seed), "label", "gold").summary.loc["yes"]
        held += row["low"] <= true <= row["high"]
        width += row["high"] - row["low"]
        alone += row["labels_only_high"] - row["labels_only_low"]
    return held / draws, width / alone


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("draw", [known, reviewed])
def test_intervals_hold_in_93_to_97_percent_and_are_narrower(draw):
    held, width = covered(rated(1, boast=2), draw, 2000)
    assert 0.93 <= held <= 0.97
    assert width <= 0.85


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("draw", [known, reviewed])
def test_intervals_of_small_shares_hold_in_92_percent(draw, share):
    held, _ = covered(rated(2, share, boast=2), draw, 500)
    assert held >= 0.92


@pytest.mark.parametrize("draw", [known, reviewed])
def test_few_draws_hold_as_well(draw):
    held, width = covered(rated(3), draw, 100)
    assert held >= 0.9
    assert width <= 0.85


def test_the_naive_share_is_what_was_told_and_misses():
    frame = rated(4, share=0.2).assign(p_yes=0.5, p_no=0.5)
    frame["label"] = frame["label"].mask(frame.index < 200, "yes")
    found = pandas_llm.share(known(frame, 0), "label", "gold").summary.loc["yes"]
    assert found["naive"] == (frame["label"] == "yes").mean()
    assert found["naive_low"] > 0.2
    assert found["low"] < 0.2 < found["high"]


def test_the_figures_are_those_of_the_method():
    frame = known(rated(5), 1)
    found = pandas_llm.share(frame, "label", "gold").summary.loc["yes"]
    places = np.flatnonzero(frame["gold"].notna())
    truth = (frame["truth"].to_numpy()[places] == "yes").astype(float)
    told, chance = frame["p_yes"].to_numpy(), np.full(100, 0.1)
    one, power = tuned_mean(told, truth, places, chance, 1 / chance)
    assert found["share"] == pytest.approx(one.mean)
    assert (found["low"], found["high"]) == pytest.approx(one.share_interval())
    assert found["power"] == pytest.approx(power)
    assert found["labels_only"] == pytest.approx(truth.mean())
    assert (found["labelled"], found["rows"]) == (100, 1000)


def test_a_mean_of_numbers_has_an_interval_that_holds():
    dice = np.random.default_rng(6)
    frame = pd.DataFrame({"truth": dice.normal(100, 20, 1000)})
    frame["told"] = (frame["truth"] + dice.normal(5, 8, 1000)).astype("Float64")
    frame.loc[:49, "told"] = pd.NA
    held, width = 0, []
    for seed in range(200):
        found = pandas_llm.share(known(frame, seed), "told", "gold")
        held += found.low <= frame["truth"].mean() <= found.high
        width.append(
            (found.high - found.low) / (found.labels_only_high - found.labels_only_low)
        )
    assert 0.91 <= held / 200 <= 0.98
    assert np.mean(width) < 0.85
    assert found.naive > frame["truth"].mean() + 3
    assert found.summary.columns[0] == "mean"
    assert "50 rows that the model left NA" in str(found)


def test_all_rows_known_leave_no_doubt():
    frame = rated(7).rename(columns={"truth": "gold"})
    found = pandas_llm.share(frame, "label", "gold").summary.loc["yes"]
    assert found["share"] == found["low"] == found["high"] == pytest.approx(0.5)


@pytest.mark.parametrize("told", ["labels", "confidence", "booleans", "three labels"])
def test_predictions_are_taken_from_whatever_is_there(told):
    frame = known(rated(8), 2)
    if told == "labels":
        frame = frame.drop(columns=["p_no", "p_yes"])
    elif told == "confidence":
        sure = frame[["p_no", "p_yes"]].max(axis=1)
        frame = frame.drop(columns=["p_no", "p_yes"]).assign(confidence=sure)
    elif told == "booleans":
        sure = frame[["p_no", "p_yes"]].max(axis=1)
        yes = (frame["label"] == "yes").astype("boolean")
        frame = pd.DataFrame(
            {
                "yes": yes,
                "yes_confidence": sure,
                "gold": frame["gold"].map({"yes": True, "no": False}),
            }
        )
    else:
        frame["label"] = frame["label"].cat.add_categories("maybe")
        frame = frame.drop(columns="p_no").assign(label_confidence=0.9)
    name = "yes" if told == "booleans" else "label"
    row = pandas_llm.share(frame, name, "gold").summary.loc[
        True if told == "booleans" else "yes"
    ]
    assert row["low"] < 0.5 < row["high"]
    narrow = (row["high"] - row["low"]) / (
        row["labels_only_high"] - row["labels_only_low"]
    )
    assert narrow < 0.9


def test_the_confidence_of_a_label_that_was_left_out_says_nothing_of_others():
    frame = known(rated(8), 2).drop(columns=["p_no", "p_yes"])
    frame["label"] = frame["label"].cat.add_categories("maybe")
    frame.loc[:199, "label"] = None  # as abstain_below does
    some = frame.assign(label_confidence=0.7)
    none = frame.assign(label_confidence=np.where(frame["label"].isna(), np.nan, 0.7))
    told = [pandas_llm.share(one, "label", "gold").summary for one in (some, none)]
    pd.testing.assert_frame_equal(*told)


def test_groups_are_estimated_apart_and_one_without_known_rows_is_na():
    frame = known(rated(9), 3, 200).assign(shop=["x", "y", "z", None] * 250)
    frame["gold"] = frame["gold"].mask(frame["shop"] == "z")
    with pytest.warns(LLMWarning, match="1 of 4 groups have no row"):
        found = pandas_llm.share(frame, "label", "gold", by="shop")
    assert found.summary.index.names == ["shop", "label"]
    gone = found.summary.loc[("z", "yes")]
    assert math.isnan(gone["share"])
    assert gone["naive"] > 0
    alone = pandas_llm.share(frame[frame["shop"] == "x"], "label", "gold").summary
    pd.testing.assert_frame_equal(found.summary.loc["x"], alone)
    assert max(map(len, str(found).splitlines())) <= 80


@pytest.mark.parametrize("count", [0, 1, 2, 3, 29])
def test_few_known_rows_are_warned_of_and_never_a_false_interval(count):
    frame = known(rated(10), 4, count)
    if count == 0:
        with pytest.raises(InvalidValueError, match="gold is NA in every row"):
            pandas_llm.share(frame, "label", "gold")
        return
    with pytest.warns(LLMWarning, match=f"only {count} rows"):
        row = pandas_llm.share(frame, "label", "gold").summary.loc["yes"]
    assert math.isnan(row["low"]) or row["low"] <= 0.5 <= row["high"]
    assert math.isnan(row["low"]) == (count == 1)


# -- inclusion ------------------------------------------------------------------


def test_an_even_draw_is_assumed_and_said():
    frame = known(rated(11), 5)
    found = pandas_llm.share(frame, "label", "gold")
    assert "100 rows with a known truth are taken as drawn evenly" in found.remarks[0]
    told = pandas_llm.share(frame.assign(inclusion=0.1), "label", "gold")
    assert told.remarks == ()
    pd.testing.assert_frame_equal(told.summary, found.summary)


def test_two_draws_are_put_together_with_a_warning():
    frame = rated(12)
    first = known(frame, 6, 50)
    rest = frame[first["gold"].isna()]
    drawn = rest.llm.to_review(100)
    both = first.assign(inclusion=drawn["inclusion"])
    both["gold"] = both["gold"].fillna(drawn["truth"])
    with pytest.warns(LLMWarning, match="50 of the 150 rows"):
        row = pandas_llm.share(both, "label", "gold").summary.loc["yes"]
    assert row["low"] < 0.5 < row["high"]
    assert row["labelled"] == 150


@pytest.mark.parametrize("wrong", [0, -0.1, 1.5, "often"])
def test_a_row_that_could_not_be_drawn_is_refused(wrong):
    frame = known(rated(13), 7).assign(inclusion=wrong)
    with pytest.raises(InvalidValueError, match="above 0 and at most 1"):
        pandas_llm.share(frame, "label", "gold")
    other = frame.rename(columns={"inclusion": "chance"})
    with pytest.raises(InvalidValueError, match="above 0 and at most 1"):
        pandas_llm.share(other, "label", "gold", inclusion="chance")
    with pytest.raises(MissingColumnError, match="'chances'"):
        pandas_llm.share(other, "label", "gold", inclusion="chances")


def test_chances_of_rows_that_are_not_known_do_not_matter():
    frame = known(rated(14), 8)
    frame["inclusion"] = np.where(frame["gold"].isna(), 0, 0.1)
    assert pandas_llm.share(frame, "label", "gold").remarks == ()


def test_free_text_has_no_shares():
    frame = pd.DataFrame({"told": [f"text {at}" for at in range(2000)]})
    with pytest.raises(InvalidValueError, match="group them first"):
        pandas_llm.share(frame.assign(gold=frame["told"]), "told", "gold")


# -- to_review ------------------------------------------------------------------


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(0, 3))
def test_chances_sum_to_k_and_as_many_rows_are_drawn(seed, k, skew):
    dice = np.random.default_rng(seed)
    doubt = dice.random(300) ** (10**skew)
    chance = review_chances(doubt, k)
    assert chance.sum() == pytest.approx(k)
    assert chance.min() > 0
    assert chance.max() <= 1
    drawn = systematic(chance, dice)
    assert len(drawn) == len(set(drawn)) == k
    assert set(np.flatnonzero(chance == 1)) <= set(drawn)


def test_rows_are_drawn_as_often_as_told():
    frame = rated(15, rows=50)
    counts = np.zeros(50)
    for seed in range(1000):
        drawn = frame.llm.to_review(10, seed=seed)
        counts[drawn.index] += 1
        assert len(drawn) == 10
    sure = frame[["p_no", "p_yes"]].max(axis=1)
    chance = review_chances(np.sqrt(sure * (1 - sure)).to_numpy(), 10)
    assert np.abs(counts / 1000 - chance).max() < 0.06


def test_a_review_finds_more_wrong_rows_than_chance():
    frame = rated(16)
    wrong = frame["label"].astype(str) != frame["truth"]
    found = [wrong[frame.llm.to_review(100, seed=s).index].mean() for s in range(50)]
    assert np.mean(found) > 1.1 * wrong.mean()


def test_the_rows_come_in_order_with_attrs_and_the_same_seed_draws_the_same():
    frame = rated(17).set_index(pd.Index(range(1000, 2000)))
    frame.attrs["llm"] = {"verb": "classify"}
    drawn = frame.llm.to_review(20, name="chance")
    assert drawn.index.is_monotonic_increasing
    assert drawn.attrs == frame.attrs
    assert drawn.columns.tolist() == [*frame.columns, "chance"]
    pd.testing.assert_frame_equal(drawn, frame.llm.to_review(20, name="chance"))
    assert not drawn.index.equals(frame.llm.to_review(20, seed=1).index)
    assert "chance" not in frame


def test_what_the_model_did_not_tell_counts_as_most_doubtful():
    frame = rated(18)
    frame.loc[:9, ["p_no", "p_yes"]] = np.nan
    drawn = frame.llm.to_review(1000)
    assert (drawn["inclusion"] == 1).all()
    some = frame.llm.to_review(100)
    chance = some["inclusion"]
    assert (chance[chance.index < 10] == chance.max()).all()


@pytest.mark.parametrize("column", [None, "label", "mood"])
def test_the_column_is_found_by_its_probabilities(column):
    frame = rated(19)
    frame = frame.assign(mood=frame["truth"], mood_confidence=0.9)
    if column is None:
        frame = frame[["label", "p_no", "p_yes"]]
    elif column == "mood":
        frame = frame.drop(columns=["p_no", "p_yes"])
    assert len(frame.llm.to_review(10, column)) == 10


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"k": 0}, InvalidValueError, "from 1 to the 1000 rows"),
        ({"k": 1001}, InvalidValueError, "from 1 to the 1000 rows"),
        ({"k": 1.5}, InvalidTypeError, "whole number"),
        ({"k": True}, InvalidTypeError, "whole number"),
        ({"k": 5, "column": "nothing"}, MissingColumnError, "'nothing'"),
        ({"k": 5, "column": "plain"}, InvalidValueError, "no column says how sure"),
        ({"k": 5, "name": "label"}, InvalidValueError, "already: pass another name="),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(given, error, words):
    frame = rated(20).assign(plain="text")
    with pytest.raises(error, match=words):
        frame.llm.to_review(**given)


def test_without_probabilities_or_with_several_the_way_out_is_named():
    plain = pd.DataFrame({"label": ["a", "b"] * 10})
    with pytest.raises(InvalidValueError, match=r"confidence=True.*df\.sample"):
        plain.llm.to_review(5)
    several = plain.assign(confidence=0.9, mood=1, mood_confidence=0.8)
    with pytest.raises(InvalidValueError, match="'confidence', 'mood_confidence'"):
        several.llm.to_review(5)
    assert len(several.llm.to_review(5, "mood")) == 5


def test_what_classify_made_is_reviewed_and_counted(simulator, on):
    frame = pd.DataFrame({"text": [f"Review {at}" for at in range(60)]})
    told = frame.llm.classify(
        "How is it? ${text}", ["good", "bad"], confidence=True, n=5, **on(simulator())
    )
    rated = frame.join(told)
    drawn = rated.llm.to_review(40)
    drawn["gold"] = ["good", "bad"] * 20
    found = pandas_llm.share(rated.join(drawn[["gold", "inclusion"]]), "label", "gold")
    assert found.summary.loc["good", "labelled"] == 40
    assert found.remarks == ()

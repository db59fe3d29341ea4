"""`evaluate`: its figures beside scikit-learn's, what it shows, what it refuses."""

import enum
import math
import pickle
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

import pandas_llm
from pandas_llm.errors import (
    InvalidTypeError,
    InvalidValueError,
    LLMWarning,
    MissingColumnError,
)

quick = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def labelled(seed, rows=200, labels=("a", "b", "c")):
    """Return a frame with labels, their probabilities and what is true of all rows."""
    dice = np.random.default_rng(seed)
    odds = dice.dirichlet(np.full(len(labels), 0.5), rows)
    drawn = (odds.cumsum(axis=1) < dice.random((rows, 1))).sum(axis=1)
    names = np.array(labels, dtype=object)
    frame = pd.DataFrame(odds, columns=[f"p_{label}" for label in labels])
    told = pd.Categorical(names[odds.argmax(axis=1)], categories=list(labels))
    frame.insert(0, "label", told)
    return frame.assign(gold=names[np.minimum(drawn, len(labels) - 1)])


@quick
@given(seeds, st.integers(2, 6))
def test_the_figures_of_labels_are_scikit_learns(seed, count):
    labels = [f"label {place}" for place in range(count)]
    frame = labelled(seed, labels=labels)
    found = pandas_llm.evaluate(frame, "label", "gold")
    told, true = frame["label"].astype(str), frame["gold"]
    assert found.n == 200
    assert found.accuracy == pytest.approx(metrics.accuracy_score(true, told))
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(true, told))
    by_label = metrics.precision_recall_fscore_support(
        true, told, labels=labels, zero_division=np.nan
    )
    np.testing.assert_allclose(found.labels.to_numpy().T, by_label)
    matrix = metrics.confusion_matrix(true, told, labels=labels)
    np.testing.assert_array_equal(found.confusion, matrix)
    odds = frame[[f"p_{label}" for label in labels]].to_numpy()
    loss = metrics.log_loss(true, odds, labels=labels)
    assert found.log_loss == pytest.approx(loss)
    brier = metrics.brier_score_loss(
        *((true, odds[:, 1]) if count == 2 else (true, odds)),
        **({"pos_label": labels[1]} if count == 2 else {"labels": labels}),
    )
    assert found.brier == pytest.approx(brier)


@quick
@given(seeds)
def test_the_figures_of_numbers_are_scikit_learns(seed):
    dice = np.random.default_rng(seed)
    frame = pd.DataFrame({"true": dice.normal(50, 9, 80)})
    frame["told"] = frame["true"] + dice.normal(0, 3, 80)
    found = pandas_llm.evaluate(frame, "told", "true", tolerance=2)
    pair = (frame["true"], frame["told"])
    assert found.mae == pytest.approx(metrics.mean_absolute_error(*pair))
    assert found.rmse == pytest.approx(metrics.root_mean_squared_error(*pair))
    assert found.correlation == pytest.approx(frame["true"].corr(frame["told"]))
    assert found.within == ((frame["told"] - frame["true"]).abs() <= 2).mean()
    assert found.low < found.within < found.high
    assert found.labels is None


def test_a_calibrated_model_is_at_the_floor_and_a_boasting_one_above():
    frame = labelled(3, rows=2000, labels=("no", "yes"))
    honest = pandas_llm.evaluate(frame, "label", "gold")
    assert honest.calibration_error < 2 * honest.calibration_floor
    frame[["p_no", "p_yes"]] = frame[["p_no", "p_yes"]].round()
    boasting = pandas_llm.evaluate(frame, "label", "gold")
    assert boasting.calibration_error == pytest.approx(1 - boasting.accuracy)
    assert boasting.calibration_floor == 0


def test_rows_left_na_are_counted_and_the_others_measured():
    frame = labelled(1)
    frame.loc[:9, "label"] = np.nan
    frame.loc[100:, "gold"] = None
    found = pandas_llm.evaluate(frame, "label", "gold")
    assert (found.n, found.unanswered) == (100, 10)
    rest = frame.iloc[10:100]
    assert found.accuracy == (rest["label"].astype(str) == rest["gold"]).mean()
    assert found.confusion.to_numpy().sum() == found.labels["support"].sum() == 90


def test_groups_have_a_row_each_and_those_without_known_rows_are_na():
    frame = labelled(2).assign(shop=["x", "y", "z", None] * 50)
    frame.loc[frame["shop"] == "z", "gold"] = None
    with pytest.warns(LLMWarning, match="1 of 4 groups have no row to compare"):
        found = pandas_llm.evaluate(frame, "label", "gold", by="shop")
    assert found.summary.index.name == "shop"
    assert found.accuracy.index.tolist()[:3] == ["x", "y", "z"]
    assert math.isnan(found.accuracy["z"])
    assert found.n["z"] == 0
    alone = pandas_llm.evaluate(frame[frame["shop"] == "x"], "label", "gold")
    assert found.summary.loc["x"].to_dict() == alone.summary.loc["all"].to_dict()
    pd.testing.assert_frame_equal(found.labels.loc["x"], alone.labels)
    assert "1 of 4 groups" in str(found)
    both = frame.assign(year=[1, 2] * 100)
    with pytest.warns(LLMWarning):
        two = pandas_llm.evaluate(both, "label", "gold", by=["shop", "year"])
    assert two.summary.index.names == ["shop", "year"]


def test_fewer_than_30_known_rows_are_warned_of():
    frame = labelled(1)
    frame.loc[29:, "gold"] = None
    with pytest.warns(LLMWarning, match="only 29 rows"):
        pandas_llm.evaluate(frame, "label", "gold")


# -- which columns --------------------------------------------------------------


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@pytest.mark.parametrize(
    ("told", "gold"),
    [
        ([True, False, None], [1.0, 0.0, np.nan]),
        ([True, True, True], [True, True, True]),
        (["good", "bad", "bad"], [Mood.GOOD, Mood.BAD, None]),
        ([3, 1, 2], ["3", "1", None]),
    ],
    ids=["booleans beside floats", "one label alone", "members of an Enum", "texts"],
)
def test_truth_is_compared_by_value(told, gold):
    known = pd.Series(gold * 20, dtype=object)
    frame = pd.DataFrame({"told": told * 20, "gold": known})
    if told[0] == 3:
        with pytest.raises(InvalidValueError, match=r"gold has labels .*'1', '3'"):
            pandas_llm.evaluate(frame, "told", "gold")
        return
    for told_column in (frame["told"], frame["told"].astype("category")):
        found = pandas_llm.evaluate(frame.assign(told=told_column), "told", "gold")
        assert found.accuracy == 1


def test_codes_of_0_and_1_are_labels_where_they_are_categories():
    codes = pd.Series([0, 1, 1, 0] * 10)
    frame = pd.DataFrame({"told": codes.astype("category"), "gold": codes})
    assert pandas_llm.evaluate(frame, "told", "gold").labels.index.tolist() == [0, 1]
    assert pandas_llm.evaluate(frame.astype(int), "told", "gold").mae == 0


def test_a_result_can_be_pickled():
    found = pandas_llm.evaluate(labelled(1), "label", "gold")
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found)
    assert again.kappa == found.kappa


def test_gold_may_be_a_series_an_array_or_a_mapping_of_the_index():
    frame = labelled(4)
    usual = pandas_llm.evaluate(frame, "label", "gold").summary
    rest = frame.drop(columns="gold")
    golds = frame["gold"], frame["gold"].to_numpy(), pd.Index(frame["gold"])
    for gold in (*golds, frame["gold"].to_dict()):
        pd.testing.assert_frame_equal(
            pandas_llm.evaluate(rest, "label", gold).summary, usual
        )
    part = pandas_llm.evaluate(rest, "label", frame["gold"].head(50).to_dict())
    assert part.n == 50
    records = pandas_llm.evaluate(frame.to_dict("records"), "label", "gold")
    assert records.accuracy == usual["accuracy"].iloc[0]
    flags = frame[["label", "gold"]].set_axis([True, False], axis=1)
    assert str(pandas_llm.evaluate(flags, True, False)).startswith("True against")


def test_probabilities_are_found_as_the_verbs_lay_them_out():
    frame = labelled(5, labels=("no", "yes"))
    whole = pandas_llm.evaluate(frame, "label", "gold")
    odds = frame[["p_no", "p_yes"]]
    sure = frame.drop(columns=odds).assign(confidence=odds.max(axis=1))
    for one, name in (
        (sure, "label"),
        (
            sure.rename(columns={"label": "mood", "confidence": "mood_confidence"}),
            "mood",
        ),
        (frame.assign(label=frame["label"].astype(str)), "label"),
    ):
        found = pandas_llm.evaluate(one, name, "gold")
        assert found.log_loss == pytest.approx(whole.log_loss)
        assert found.calibration_error == pytest.approx(whole.calibration_error)
    other = frame.rename(columns={"p_no": "x", "p_yes": "y"})
    assert "log_loss" not in pandas_llm.evaluate(other, "label", "gold").summary
    for more in (
        {"probabilities": {"no": "x", "yes": other["y"]}},
        {"probability": odds.max(axis=1)},
    ):
        found = pandas_llm.evaluate(other, "label", "gold", **more)
        assert found.brier == pytest.approx(whole.brier)


def test_a_label_that_was_never_told_has_its_probability_all_the_same():
    frame = labelled(6)
    frame = frame[(frame["label"] != "c") & (frame["gold"] != "c")]
    texts = frame.assign(label=frame["label"].astype(str))
    found = pandas_llm.evaluate(texts, "label", "gold")
    loss = metrics.log_loss(
        texts["gold"], texts[["p_a", "p_b", "p_c"]], labels=["a", "b", "c"]
    )
    assert found.log_loss == pytest.approx(loss)


def test_probabilities_of_another_column_are_not_taken_for_this_ones():
    frame = labelled(7)
    shuffled = frame["label"].sample(frac=1, random_state=1).to_numpy()
    found = pandas_llm.evaluate(frame.assign(other=shuffled), "other", "gold")
    assert "log_loss" not in found.summary


def test_what_classify_made_is_measured(simulator, on):
    frame = pd.DataFrame({"text": [f"Review {at}" for at in range(40)]})
    told = frame.llm.classify(
        "How is it? ${text}",
        ["good", "bad"],
        probabilities=True,
        n=5,
        **on(simulator()),
    )
    rated = frame.join(told).assign(gold=["good", "bad"] * 20)
    found = pandas_llm.evaluate(rated, "label", "gold")
    assert found.log_loss > 0
    assert found.n == 40


# -- bad input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "gold", "more", "error", "words"),
    [
        ("mood", "gold", {}, MissingColumnError, "'mood' is not a column"),
        ("label", "truth", {}, MissingColumnError, "gold: 'truth' is not a column"),
        ("label", "none", {}, InvalidValueError, "gold is NA in every row"),
        ("none", "gold", {}, InvalidValueError, "predicted column is NA in every row"),
        ("label", ["a"], {}, InvalidValueError, "has 1 rows and the frame 200"),
        (
            "label",
            pd.Series(["a"] * 200, range(1, 201)),
            {},
            InvalidValueError,
            "index",
        ),
        ("label", {999: "a"}, {}, InvalidValueError, "999 is not one"),
        (
            "label",
            "upper",
            {},
            InvalidValueError,
            "'A', 'B', 'C'; it has 'a', 'b', 'c'",
        ),
        ("lists", "gold", {}, InvalidTypeError, "holds lists"),
        ("label", "gold", {"by": "shop"}, MissingColumnError, "by: 'shop'"),
        ("label", "gold", {"probability": "label"}, InvalidValueError, "0 to 1"),
        ("label", "gold", {"probability": "big"}, InvalidValueError, "0 to 1"),
        ("label", "gold", {"probabilities": ["p_a"]}, InvalidValueError, "a mapping"),
        (
            "label",
            "gold",
            {"probabilities": {"a": "p_a"}},
            InvalidValueError,
            "mapping",
        ),
        ("label", "gold", {"tolerance": -1}, InvalidValueError, "at least 0"),
        ("big", "p_a", {"probability": "p_a"}, InvalidValueError, "no probabilities"),
        ("big", "endless", {}, InvalidValueError, "inf cannot be measured"),
        ("flags", "codes", {}, InvalidValueError, "cannot have: 2; it has False, True"),
        ("label", "gold", {"by": "lists"}, InvalidTypeError, "make no groups"),
        ("label", "gold", {"by": "arrow"}, InvalidTypeError, "make no groups"),
    ],
)
def test_what_cannot_be_measured_is_said_in_words(told, gold, more, error, words):
    frame = labelled(1).assign(
        none=None,
        upper=labelled(1)["gold"].str.upper(),
        lists=[["a"]] * 200,
        arrow=pd.array([["a"]] * 200, pd.ArrowDtype(pa.list_(pa.string()))),
        big=1.5,
        endless=np.inf,
        flags=[True, False] * 100,
        codes=[1, 2] * 100,
    )
    with pytest.raises(error, match=words):
        pandas_llm.evaluate(frame, told, gold, **more)


def test_a_column_that_is_there_twice_is_refused():
    frame = labelled(1)
    twice = pd.concat([frame, frame[["gold"]]], axis=1)
    with pytest.raises(MissingColumnError, match="more than once"):
        pandas_llm.evaluate(twice, "label", "gold")


def test_an_unknown_figure_is_an_attribute_error():
    found = pandas_llm.evaluate(labelled(1), "label", "gold")
    assert not hasattr(found, "mae")
    assert {"accuracy", "kappa", "summary"} <= set(dir(found))


# -- what is shown --------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
@pytest.mark.parametrize("by", [None, "shop", ["shop", "gold"]])
def test_what_is_printed_fits_80_columns_and_the_card_escapes(by):
    labels = ["<b>bold</b>", "a label of very many words, as some have", "短い名前"]
    labels += [f"label {at}" for at in range(9)]
    frame = labelled(8, rows=600, labels=labels).assign(shop=["<i>x</i>", "y"] * 300)
    found = pandas_llm.evaluate(frame, "label", "gold", by=by)
    assert max(map(len, str(found).splitlines())) <= 80
    page = found._repr_html_()
    assert "<b>bold" not in page
    assert "<i>x" not in page
    assert ("<svg" in page) == (by is None)
    assert f"{found.summary['accuracy'].iloc[0]:.3f}" in str(found)


@pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning")
@pytest.mark.parametrize("by", [None, "sure", "year"])
def test_labels_and_groups_are_shown_as_they_are_written(by):
    frame = pd.DataFrame({"sure": [True, False], "year": [2019, 2020]})
    found = pandas_llm.evaluate(frame, "sure", "sure", by=by)
    shares = pandas_llm.share(frame, "sure", "sure")
    for label in frame[by or "sure"]:
        assert re.search(rf"^{label} ", str(found), re.MULTILINE)
    assert re.search("^True ", str(shares), re.MULTILINE)


def test_free_text_is_compared_whole_without_a_table_of_thousands():
    texts = [f"text {at}" for at in range(3000)]
    frame = pd.DataFrame({"told": texts, "gold": texts})
    found = pandas_llm.evaluate(frame, "told", "gold")
    assert found.accuracy == 1
    assert found.confusion is None
    assert len(str(found).splitlines()) < 20

"""`compare`: what changed, whether for the better, and what both took."""

import enum
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import pandas_llm
from pandas_llm.errors import InvalidValueError, LLMWarning, MissingColumnError


def runs(rows=100, seed=0):
    """Return two runs over the same rows, of which the second is right more often."""
    dice = np.random.default_rng(seed)
    truth = dice.choice(["a", "b"], rows)
    other = np.where(truth == "a", "b", "a")
    old = np.where(dice.random(rows) < 0.3, other, truth)
    new = np.where(dice.random(rows) < 0.15, other, truth)
    frame = pd.DataFrame({"text": [f"t{at}" for at in range(rows)], "gold": truth})
    return frame.assign(label=old), frame.assign(label=new)


def test_what_changed_is_counted_and_listed():
    old, new = runs()
    old.attrs["at"], new.attrs["at"] = np.array([1, 2]), np.array([1, 2])
    found = pandas_llm.compare(old, new)
    moved = old["label"] != new["label"]
    assert found.summary.index.tolist() == ["text", "gold", "label"]
    assert found.changed["text"].tolist() == old["text"][moved].tolist()
    assert found.changed.index.tolist() == old.index[moved].tolist()
    assert found.changed["label_old"].tolist() == old["label"][moved].tolist()
    assert found.changed["label_new"].tolist() == new["label"][moved].tolist()
    row = found.summary.loc["label"]
    assert row["changed"] == moved.sum()
    assert row["agreement"] == 1 - moved.mean()
    assert row["low"] < row["agreement"] < row["high"]
    assert found.agreement["text"] == 1
    assert found.gold is None


def test_against_the_truth_the_test_is_mcnemars_exact_one():
    old, new = runs()
    for gold in ("gold", old["gold"], {"label": "gold"}, {"label": old["gold"]}):
        row = pandas_llm.compare(old, new, gold=gold).gold.loc["label"]
        before, after = old["label"] == old["gold"], new["label"] == new["gold"]
        assert (row["old"], row["new"]) == (before.mean(), after.mean())
        assert row["better"] == (~before & after).sum()
        assert row["worse"] == (before & ~after).sum()
        sides = int(row["better"]), int(row["better"] + row["worse"])
        assert row["p_value"] == pytest.approx(stats.binomtest(*sides).pvalue)


def test_a_row_left_na_is_not_right_and_na_beside_na_is_no_change():
    old, new = runs()
    old.loc[:9, "label"] = new.loc[:4, "label"] = None
    old.loc[90:, "gold"] = None
    found = pandas_llm.compare(old, new, gold="gold")
    assert found.gold.loc["label", "n"] == 90
    right = (old["label"] == old["gold"])[:90]
    assert found.gold.loc["label", "old"] == right.mean()
    assert found.changed.index.isin(range(5)).sum() == 0
    assert found.changed.index.isin(range(5, 10)).sum() == 5


def test_rows_are_matched_by_index_or_by_columns():
    old, new = runs()
    usual = pandas_llm.compare(old, new).summary
    shuffled = new.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(pandas_llm.compare(old, shuffled).summary, usual)
    renumbered = shuffled.reset_index(drop=True)
    by_text = pandas_llm.compare(old, renumbered, on="text")
    assert by_text.summary.loc["label"].equals(usual.loc["label"])
    assert "text" not in by_text.summary.index
    both = pandas_llm.compare(old, renumbered, on=["text", "gold"])
    assert both.summary.index.tolist() == ["label"]
    some = pandas_llm.compare(old, new.iloc[20:].drop(columns="gold"), gold="gold")
    assert len(some.only_old) == 20
    assert len(some.only_new) == 0
    assert some.gold.loc["label", "n"] == 80
    assert "20 rows are in old alone" in str(some)
    twice = old.set_axis([0] * 100), new.set_axis([0] * 100)
    pd.testing.assert_frame_equal(pandas_llm.compare(*twice).summary, usual)


class Mood(enum.Enum):
    GOOD = "good"


def from_file(cells):
    """Return a list as Parquet brings it back."""
    return np.array([*cells, None], dtype=object)[:-1]


def test_cells_of_any_kind_are_compared():
    cells = {
        "numbers": ([1.0, 0.1 + 0.2, 3], [1, 0.3, 4]),
        "nullable": (pd.array([1, None, 3], "Int64"), pd.array([1, None, 4], "Int64")),
        "category": (pd.Categorical(["x", "y", "y"]), pd.Categorical(["x", "y", "x"])),
        "lists": ([[1], ["a", "b"], []], [[1], ["a", "b"], [0]]),
        "records": (
            [[{"of": ["a", "b"]}], [], [{"of": [["a"], ["b", "c"]]}]],
            [
                from_file([{"of": from_file(["a", "b"])}]),
                from_file([]),
                [{"of": [["a"]]}],
            ],
        ),
        "vectors": ([np.ones(2), None, np.ones(2)], [np.ones(2), None, np.zeros(2)]),
        "members": ([Mood.GOOD, "x", Mood.GOOD], ["good", "x", "bad"]),
        "dates": (
            pd.to_datetime(["2026-01-01", None, "2026-01-02"]),
            pd.to_datetime(["2026-01-01", None, "2026-01-03"]),
        ),
        "flags": ([True, None, True], pd.array([True, None, False], "boolean")),
    }
    old, new = (
        pd.DataFrame({name: pair[which] for name, pair in cells.items()})
        for which in (0, 1)
    )
    found = pandas_llm.compare(old, new)
    assert found.changed.index.tolist() == [2]
    assert (found.summary["changed"] == 1).all()
    assert found.summary.loc["numbers", "difference"] == pytest.approx(1 / 3)
    assert math.isnan(found.summary.loc["lists", "difference"])


def test_probabilities_and_details_are_not_compared_and_named():
    old, new = runs()
    sure = {"p_a": 0.25, "p_b": 0.75, "confidence": 0.75, "llm_seconds": 1.0}
    found = pandas_llm.compare(old.assign(**sure), new.assign(**sure, llm_text="x"))
    assert found.summary.index.tolist() == ["text", "gold", "label"]
    assert "Not compared: p_a, p_b, confidence, llm_seconds" in str(found)


def test_usage_of_both_is_told_by_their_attrs(simulator, on):
    frame = pd.DataFrame({"text": [f"Review {at}" for at in range(5)]})
    server = simulator()
    old = frame.llm.extract("On ${text}", {"n": int}, **on(server))
    new = frame.llm.extract("About ${text}: how many?", {"n": int}, **on(server))
    found = pandas_llm.compare(old, new)
    assert found.usage["requests"].tolist() == [5, 5]
    assert found.usage.loc["new", "input_tokens"] == new.llm.usage.input_tokens
    lost = pandas_llm.compare(old, new.merge(frame))
    assert lost.usage.loc["new"].isna().all()
    answers = [
        one.llm.classify("${text}", ["x", "y"], **on(server)) for one in (old, old)
    ]
    series = pandas_llm.compare(*answers)
    assert series.summary.index.tolist() == ["label"]
    assert series.usage.loc["old", "requests"] > 0


@pytest.mark.parametrize(
    ("change", "more", "error", "words"),
    [
        (lambda new: new.set_axis([0] * 100), {}, InvalidValueError, "new has 0 more"),
        (lambda new: new.set_axis(range(500, 600)), {}, InvalidValueError, "in common"),
        (
            lambda new: new,
            {"on": "gold"},
            InvalidValueError,
            "old has .* more than once",
        ),
        (lambda new: new, {"on": "id"}, MissingColumnError, "on: 'id' is not a column"),
        (lambda new: new, {"gold": "true"}, MissingColumnError, "gold: 'true'"),
        (lambda new: new, {"gold": {"label": "true"}}, MissingColumnError, "'true'"),
        (lambda new: new, {"gold": {0: "z"}}, InvalidValueError, "fits none"),
        (lambda new: new, {"gold": ["z"] * 100}, InvalidValueError, "fits none"),
        (lambda new: new, {"gold": [None] * 100}, InvalidValueError, "gold is NA"),
        (lambda new: new, {"gold": ["a"]}, InvalidValueError, "has 1 rows"),
        (
            lambda new: new.add_prefix("n_"),
            {},
            InvalidValueError,
            "no column in common",
        ),
        (
            lambda new: pd.concat([new, new[["label"]]], axis=1),
            {},
            MissingColumnError,
            "new: 'label' is there more than once",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_in_words(change, more, error, words):
    old, new = runs()
    with pytest.raises(error, match=words):
        pandas_llm.compare(old, change(new), **more)


def test_a_truth_that_fits_two_columns_has_to_be_named():
    old, new = (one.assign(second=one["label"]) for one in runs())
    with pytest.raises(
        InvalidValueError, match=r"\['label', 'second'\].*gold=\{column"
    ):
        pandas_llm.compare(old, new, gold="gold")
    found = pandas_llm.compare(old, new, gold={"label": "gold", "second": "gold"})
    assert found.gold.index.tolist() == ["label", "second"]


def test_few_known_rows_are_warned_of():
    old, new = runs()
    with pytest.warns(LLMWarning, match="only 29 rows have a known truth"):
        pandas_llm.compare(old, new, gold=old["gold"].where(old.index < 29))


def test_what_is_printed_fits_80_columns_and_the_card_escapes():
    old, new = (one.assign(note="<b>" + one["label"] + "</b>" * 30) for one in runs())
    found = pandas_llm.compare(old, new, gold={"label": "gold"})
    assert max(map(len, str(found).splitlines())) <= 80
    assert "exact McNemar test" in str(found)
    assert "<b>a" not in found._repr_html_()


def test_two_runs_that_agree_have_nothing_to_list():
    old, _ = runs()
    found = pandas_llm.compare(old, old, gold={"label": "gold"})
    assert len(found.changed) == 0
    assert found.gold.loc["label", "p_value"] == 1
    assert "Changed rows" not in str(found)

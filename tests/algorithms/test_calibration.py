"""Probabilities calibrated on their column: formulas, bounds, and what comes back."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandas_llm._algorithms import (
    Offsets,
    calibration_error,
    chosen,
    fit,
    prior,
    reliability,
)
from pandas_llm.errors import ConfigurationError

quick = settings(max_examples=60)
seeds = st.integers(0, 2**32 - 1)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def names(count):
    return [f"label {place}" for place in range(count)]


def column(seed, rows=400, labels=2, slope=1.0, bias=0.0):
    """Return probabilities, true positions, and what an honest model would tell.

    Told are the true logits divided by `slope`, with `bias` for the first label.
    """
    dice = np.random.default_rng(seed)
    true = dice.normal(0, 2, (rows, labels))
    honest = softmax(true)
    drawn = (honest.cumsum(axis=1) < dice.random((rows, 1))).sum(axis=1)
    told = true / slope
    told[:, 0] += bias
    return softmax(told), np.minimum(drawn, labels - 1), honest


@quick
@given(seeds, st.integers(2, 6), st.floats(-3, 3))
def test_the_prior_undoes_any_bias_that_all_rows_share(seed, labels, bias):
    told, _, _ = column(seed, labels=labels)
    tilted, _, _ = column(seed, labels=labels, bias=bias)
    straight = prior(told, names(labels)).apply(told)
    again = prior(tilted, names(labels)).apply(tilted)
    np.testing.assert_allclose(again, straight, atol=2e-3)  # logits are clipped


@quick
@given(seeds, st.integers(2, 6), st.floats(0.2, 5), st.floats(-3, 3))
def test_what_is_applied_are_probabilities_and_is_the_formula(
    seed, labels, temperature, bias
):
    told, _, _ = column(seed, rows=20, labels=labels)
    offsets = Offsets({n: bias * k for k, n in enumerate(names(labels))}, temperature)
    new = offsets.apply(told)
    np.testing.assert_allclose(new.sum(axis=1), 1)
    by_hand = told ** (1 / temperature) * np.exp(bias * np.arange(labels))
    by_hand /= by_hand.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(new, by_hand, atol=1e-4)


def test_a_temperature_alone_changes_no_label():
    told, _, _ = column(1, labels=4)
    new = Offsets(dict.fromkeys(names(4), 0.0), 3.0).apply(told)
    assert (new.argmax(axis=1) == told.argmax(axis=1)).all()
    assert (new.max(axis=1) < told.max(axis=1)).all()


@quick
@given(seeds)
def test_rows_without_probabilities_stay_without_and_count_for_nothing(seed):
    told, gold, _ = column(seed, rows=100)
    holed = np.vstack([told, [[np.nan, np.nan]]])
    more = np.append(gold, 0)
    assert prior(holed, names(2)) == prior(told, names(2))
    assert fit(holed, more, names(2)).offsets == fit(told, gold, names(2)).offsets
    new = prior(holed, names(2)).apply(holed)
    assert np.isnan(new[-1]).all()
    assert not np.isnan(new[:-1]).any()


@pytest.mark.parametrize("labels", [2, 3, 5])
@pytest.mark.parametrize(("slope", "bias"), [(1, 1.5), (0.4, 0), (2.5, -2)])
def test_gold_labels_find_the_slope_and_the_bias_of_the_model(labels, slope, bias):
    told, gold, honest = column(3, 4000, labels, slope, bias)
    found = fit(told, gold, names(labels))
    assert found.offsets.temperature == pytest.approx(1 / slope, rel=0.15)
    new = found.offsets.apply(told)
    assert np.abs(new - honest).mean() < 0.02
    assert found.after < found.before
    assert found.after < found.floor + 0.02


def test_a_labelled_row_is_not_scored_by_itself():
    """Labels by chance: with itself in the fit a row would look better than it is."""
    dice = np.random.default_rng(5)
    told = softmax(dice.normal(0, 2, (40, 12)))
    gold = dice.integers(0, 12, 40)
    found = fit(told, gold, names(12))
    seen = found.offsets.apply(told)
    rows = np.arange(40)
    unseen_loss = -np.log(found.held_out[rows, gold]).mean()
    assert unseen_loss > -np.log(seen[rows, gold]).mean()


@quick
@given(seeds, st.integers(2, 5), st.integers(0, 40))
def test_few_or_one_sided_labels_give_finite_offsets(seed, labels, known):
    told, gold, _ = column(seed, rows=80, labels=labels)
    gold = np.where(np.arange(80) < known, gold.min(), -1)
    found = fit(told, gold, names(labels))
    assert found.rows == known
    values = [*found.offsets.bias.values(), found.offsets.temperature]
    assert np.isfinite(values).all()
    assert found.offsets.temperature > 0
    if not known:  # nothing is known but the column
        assert found.offsets.bias == pytest.approx(prior(told, names(labels)).bias)
        assert math.isnan(found.after)


def test_a_model_that_is_worse_than_chance_is_made_unsure_not_turned():
    told, gold, _ = column(6)
    found = fit(told, 1 - gold, names(2))
    new = found.offsets.apply(told)
    assert found.offsets.temperature == pytest.approx(20)
    assert (new.max(axis=1) < 0.7).all()


@quick
@given(seeds, st.integers(1, 300))
def test_the_error_is_the_mean_distance_over_ten_bins(seed, rows):
    told, gold, _ = column(seed, rows)
    error, floor = calibration_error(*chosen(told, gold))
    confidence, right = told.max(axis=1), told.argmax(axis=1) == gold
    by_hand = 0.0
    for low in np.arange(10):
        inside = np.minimum(np.floor(confidence * 10), 9) == low
        if inside.any():
            distance = abs(right[inside].mean() - confidence[inside].mean())
            by_hand += inside.mean() * distance
    assert error == pytest.approx(by_hand)
    assert 0 <= floor <= 1
    assert reliability(*chosen(told, gold)).rows.sum() == rows


def test_an_honest_model_has_the_floors_error_and_the_floor_falls_with_the_rows():
    floors = {}
    for rows in (50, 200, 900):
        drawn = [column(seed, rows) for seed in range(60)]
        errors = [calibration_error(*chosen(honest, gold)) for _, gold, honest in drawn]
        error, floor = np.mean(errors, axis=0)
        assert error == pytest.approx(floor, rel=0.2)
        floors[rows] = floor
    assert floors[50] > floors[200] > floors[900] > 0.01


def test_rows_told_for_certain_and_wrong_are_an_error_of_one():
    told = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration_error(*chosen(told, np.array([1, 1]))) == (1.0, 0.0)
    assert np.isfinite(fit(told, np.array([1, 1]), names(2)).held_out).all()


def test_offsets_go_through_json_and_come_back_in_the_order_asked():
    told, gold, _ = column(7, labels=3)
    offsets = fit(told, gold, names(3)).offsets
    kept = json.loads(json.dumps(offsets.to_json()))
    assert Offsets.from_json(kept, names(3)) == offsets
    turned = Offsets.from_json(kept, names(3)[::-1])
    np.testing.assert_allclose(
        turned.apply(told[:, ::-1])[:, ::-1], offsets.apply(told)
    )


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"bias": {"label 0": 0.1}}, "of the labels"),
        ({"bias": {"label 0": 0.1, "other": 0}}, "this call has"),
        ({"bias": {"label 0": "much", "label 1": 0}}, "takes 'prior' or the offsets"),
        ({"temperature": 1}, "takes 'prior' or the offsets"),
        ("posterior", "takes 'prior' or the offsets"),
        ({"bias": {"label 0": 0, "label 1": 0}, "temperature": 0}, "above 0"),
        ({"bias": {"label 0": math.nan, "label 1": 0}}, "finite"),
    ],
)
def test_offsets_of_another_call_are_an_error_that_says_so(kept, words):
    with pytest.raises(ConfigurationError, match=words):
        Offsets.from_json(kept, names(2))

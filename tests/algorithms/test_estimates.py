"""Intervals and tests, held against scipy where it has them."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pandas_llm._algorithms import drawn_mean, mcnemar, tuned_mean, wilson
from pandas_llm._algorithms.estimates import NORMAL, student

quick = settings(max_examples=100)


@pytest.mark.parametrize("degrees", [*range(1, 40), 98, 500, 10_000])
def test_students_quantile_is_scipys(degrees):
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)
    if degrees > 5:
        assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-4)


def test_without_a_degree_of_freedom_there_is_no_quantile():
    assert math.isnan(student(0))
    assert pytest.approx(stats.norm.ppf(0.975)) == NORMAL


@quick
@given(st.integers(1, 5000), st.data())
def test_wilsons_interval_is_scipys(rows, data):
    hits = data.draw(st.integers(0, rows))
    told = stats.binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits / rows, rows) == pytest.approx((told.low, told.high), abs=1e-9)


def test_no_rows_have_no_interval():
    assert all(math.isnan(end) for end in wilson(0.5, 0))
    assert all(math.isnan(end) for end in wilson(math.nan, 0))


@quick
@given(st.integers(0, 1500), st.integers(0, 1500))
def test_mcnemars_p_value_is_the_exact_binomial(better, worse):
    rows = better + worse
    # whole numbers: scipy's binomtest loses its digits at very small values
    tail = sum(math.comb(rows, k) for k in range(min(better, worse) + 1))
    exact = min(1.0, float(Fraction(2 * tail, 2**rows)))
    assert mcnemar(better, worse) == pytest.approx(exact, rel=1e-6, abs=1e-300)


def test_an_even_draw_is_the_textbooks_mean_with_the_finite_frames_correction():
    values = np.random.default_rng(1).normal(5, 2, 40)
    found = drawn_mean(values, np.full(40, 40 / 100), np.ones(40))
    assert found.mean == pytest.approx(values.mean())
    assert found.variance == pytest.approx(values.var(ddof=1) / 40 * (1 - 0.4))
    assert (found.degrees, found.rows) == (39, pytest.approx(40 / 0.6))


def test_a_frame_that_is_all_known_has_no_error_left():
    values = np.array([0.0, 1.0, 1.0, 0.0])
    found = drawn_mean(values, np.ones(4), np.ones(4))
    assert found.interval() == (0.5, 0.5)
    assert found.share_interval() == pytest.approx((0.5, 0.5))


def test_the_tuning_is_the_slope_of_a_regression_within_0_and_1():
    dice = np.random.default_rng(2)
    told = dice.normal(0, 1, 1000)
    truth = 0.6 * told + dice.normal(0, 1, 1000)
    places, chance = np.arange(100), np.full(100, 0.1)
    found, power = tuned_mean(told, truth[:100], places, chance, 1 / chance)
    slope = np.polyfit(told[:100], truth[:100], 1)[0]
    assert power == pytest.approx(slope)
    rest = truth[:100] - slope * told[:100]
    assert found.mean == pytest.approx(slope * told.mean() + rest.mean())
    spread = rest.var(ddof=1) * 99 / 98
    assert found.variance == pytest.approx(spread / 100 * 0.9)
    assert tuned_mean(told, -truth[:100], places, chance, 1 / chance)[1] == 0
    assert tuned_mean(told, 9 * truth[:100], places, chance, 1 / chance)[1] == 1


def test_predictions_that_say_nothing_leave_the_labels_alone():
    truth = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    told, chance = np.full(50, 0.3), np.full(5, 0.1)
    tuned, _ = tuned_mean(told, truth, np.arange(5), chance, 1 / chance)
    assert tuned == drawn_mean(truth, chance, 1 / chance)

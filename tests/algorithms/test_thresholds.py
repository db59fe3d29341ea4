"""Where a cheap judge's answers are kept."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from pandas_llm._algorithms import accuracy_cutoff, decision_cutoffs, sample_size
from pandas_llm._algorithms.thresholds import least_count, spared_errors

SEEDS = 200
MISSED = 16
"""Of 200 draws at delta = .05 no more than 16 miss, but for one time in sixty."""


def column(rows, seed):
    """Return probabilities and truths of a calibrated, middling judge."""
    chance = np.random.default_rng(seed)
    probability = chance.beta(0.8, 0.8, rows)
    return probability, chance.random(rows) < probability


@pytest.mark.parametrize("rows", [200, 1000, 5000])
def test_the_target_of_accuracy_is_missed_as_rarely_as_promised(rows):
    probability, truth = column(rows, rows)
    label, sure = probability > 0.5, np.abs(probability - 0.5)
    missed, kept = 0, []
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed).permutation(rows)[: sample_size(rows)]
        keep = accuracy_cutoff(
            sure, draw, label[draw] != truth[draw], accuracy=0.9, delta=0.05
        )
        kept.append(keep.mean())
        keep[draw] = False
        missed += (np.where(keep, label, truth) == truth).mean() < 0.9
    assert missed <= MISSED
    assert rows < 1000 or np.mean(kept) > 0.3


@pytest.mark.parametrize("rows", [1000, 5000])
def test_the_targets_of_a_filter_are_missed_as_rarely_as_promised(rows):
    probability, truth = column(rows, rows)
    missed, decided = 0, []
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed).permutation(rows)[: sample_size(rows)]
        yes, no = decision_cutoffs(
            probability, draw, truth[draw], recall=0.9, precision=0.9, delta=0.05
        )
        assert not (yes & no).any()
        answer = np.where(yes, True, np.where(no, False, truth))
        answer[draw] = truth[draw]
        hits = (answer & truth).sum()
        missed += hits < 0.9 * truth.sum() or hits < 0.9 * answer.sum()
        decided.append((yes | no).mean())
    assert missed <= MISSED
    assert np.mean(decided) > 0.2


def test_the_bounds_are_those_of_the_hypergeometric_distribution():
    spare = spared_errors(1000, 200, 50, 0.05)
    assert hypergeom.cdf(spare, 1000, 50 + spare + 1, 200) <= 0.05
    assert hypergeom.cdf(spare + 1, 1000, 50 + spare + 2, 200) > 0.05
    least = least_count(1000, 200, 20, 0.05)
    assert hypergeom.sf(19, 1000, least, 200) > 0.05
    assert hypergeom.sf(19, 1000, least - 1, 200) <= 0.05


def test_a_sample_that_is_too_small_keeps_nothing():
    sure = np.linspace(0, 1, 100)
    few = np.array([3, 50])
    right = np.zeros(2, bool)
    kept = accuracy_cutoff(sure, few, right, accuracy=0.95, delta=0.05)
    assert not kept.any()


def test_a_table_without_a_yes_in_the_sample_proves_nothing_of_recall():
    probability = np.linspace(0, 1, 1000)
    draw = np.arange(0, 1000, 5)
    _, no = decision_cutoffs(
        probability, draw, np.zeros(200, bool), recall=0.9, precision=0.9, delta=0.05
    )
    assert least_count(1000, 200, 0, 0.05 / 3) == 0
    assert not no.all()

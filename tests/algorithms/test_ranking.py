"""The k largest by comparisons."""

import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandas_llm._algorithms import select_largest, select_largest_by_votes


def play(asking, more):
    """Answer each round; return the result, how many were asked, and the rounds."""
    count, rounds = 0, 0
    try:
        pairs = next(asking)
        while True:
            rounds += 1
            count += len(pairs)
            pairs = asking.send([more(a, b) for a, b in pairs])
    except StopIteration as end:
        return end.value, count, rounds


def order(rows, seed):
    value = list(range(rows))
    random.Random(seed).shuffle(value)
    return value


@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 1000))
def test_a_judge_that_does_not_err_finds_exactly_the_largest(rows, k, seed):
    value = order(rows, seed)
    best, _, _ = play(select_largest(rows, k, seed), lambda a, b: value[a] > value[b])
    assert [value[row] for row in best] == sorted(value, reverse=True)[:k]


def test_ten_of_a_thousand_take_few_questions_and_rounds():
    counts, rounds = [], []
    for seed in range(50):
        value = order(1000, seed)
        best, count, turns = play(
            select_largest(1000, 10, seed), lambda a, b, v=value: v[a] > v[b]
        )
        assert [value[row] for row in best] == list(range(999, 989, -1))
        counts.append(count)
        rounds.append(turns)
    assert mean(counts) <= 1800
    assert max(counts) <= 2700
    assert max(rounds) <= 60


@pytest.mark.parametrize("k", [100, 500, 999])
def test_many_of_a_thousand_take_no_more_than_sorting_them(k):
    value = order(1000, k)
    best, count, rounds = play(
        select_largest(1000, k, 1), lambda a, b: value[a] > value[b]
    )
    assert [value[row] for row in best] == list(range(999, 999 - k, -1))
    assert count <= 13_000
    assert rounds <= 80


@pytest.mark.parametrize("select", [select_largest, select_largest_by_votes])
@given(
    rows=st.integers(0, 200),
    k=st.integers(1, 40),
    seed=st.integers(0, 99),
    answers=st.sampled_from([[True], [False], [None], [True, False, None]]),
)
@settings(max_examples=50)
def test_whatever_is_answered_it_ends_with_k_rows(select, rows, k, seed, answers):
    chance = random.Random(seed)
    best, _, _ = play(select(rows, k, seed), lambda *_: chance.choice(answers))
    assert len(best) == len(set(best)) == min(k, rows)


def test_a_judge_that_errs_in_a_tenth_still_finds_nine_of_ten():
    counts, found = [], []
    for seed in range(20):
        value = order(1000, seed)
        chance = random.Random(seed)
        best, count, _ = play(
            select_largest_by_votes(1000, 15, seed),
            lambda a, b, v=value, c=chance: (v[a] > v[b]) ^ (c.random() < 0.1),
        )
        found.append(sum(value[row] >= 990 for row in best))
        counts.append(count)
    assert mean(found) >= 9
    assert mean(counts) <= 4500


@pytest.mark.parametrize(("prefers", "wrong"), [(0.4, 0), (0, 0.1), (0.2, 0.05)])
def test_pairs_whose_two_orders_contradict_each_other_are_draws(prefers, wrong):
    found, counts = [], []
    for seed in range(8):
        value, chance = order(1000, seed), random.Random(seed)

        def more(a, b, v=value, c=chance):
            return c.random() < prefers or (v[a] > v[b]) ^ (c.random() < wrong)

        def both(a, b, more=more):
            there, back = more(a, b), more(b, a)
            return there if there != back else None

        best, count, _ = play(select_largest_by_votes(1000, 10, seed), both)
        found.append(sum(value[row] >= 990 for row in best))
        counts.append(count)
    assert mean(found) >= 8.5
    assert mean(counts) <= 4500

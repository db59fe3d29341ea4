"""Groups of rows by few questions about pairs."""

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm._algorithms import group_pairs


def play(asking, judge):
    """Answer each round; return the result, all that was asked, and the rounds."""
    asked, rounds = [], 0
    try:
        pairs = next(asking)
        while True:
            rounds += 1
            asked += pairs
            pairs = asking.send([judge(a, b) for a, b in pairs])
    except StopIteration as end:
        return end.value, asked, rounds


@given(st.lists(st.integers(0, 4), max_size=14), st.randoms(use_true_random=False))
def test_a_judge_that_does_not_err_makes_the_true_groups(things, chance):
    pairs = list(combinations(range(len(things)), 2))
    chance.shuffle(pairs)
    groups, asked, _ = play(
        group_pairs(len(things), pairs), lambda a, b: things[a] == things[b]
    )
    assert len({tuple(sorted(pair)) for pair in asked}) == len(asked)
    for a, b in combinations(range(len(things)), 2):
        assert (groups[a] == groups[b]) == (things[a] == things[b])
    firsts = list(dict.fromkeys(groups.tolist()))
    assert firsts == list(range(len(firsts)))


@given(st.integers(0, 12), st.randoms(use_true_random=False))
def test_whatever_is_answered_it_ends_and_asks_no_pair_twice(rows, chance):
    pairs = [p for p in combinations(range(rows), 2) if chance.random() < 0.6]
    groups, asked, _ = play(
        group_pairs(rows, pairs), lambda *_: chance.choice([True, False, None])
    )
    assert len({tuple(sorted(pair)) for pair in asked}) == len(asked)
    assert len(groups) == rows


def clusters(size, count):
    return [at // size for at in range(size * count)]


def test_one_wrong_yes_does_not_chain_two_groups():
    things = clusters(4, 2)
    pairs = [(0, 4), *combinations(range(4), 2), *combinations(range(4, 8), 2)]
    pairs += [(a, b) for a in range(4) for b in range(4, 8) if (a, b) != (0, 4)]
    groups, _, _ = play(
        group_pairs(8, pairs), lambda a, b: {a, b} == {0, 4} or things[a] == things[b]
    )
    assert len(set(groups.tolist())) == 2
    assert len(set(groups[:4].tolist())) == 1


@pytest.mark.parametrize(("wrong", "least"), [(0.02, 0.97), (0.05, 0.93)])
def test_few_wrong_answers_leave_the_groups_nearly_right(wrong, least):
    chance = random.Random(1)
    things = clusters(3, 200)
    pairs = [p for g in range(200) for p in combinations(range(3 * g, 3 * g + 3), 2)]
    while len(pairs) < 1500:
        a, b = sorted(chance.sample(range(600), 2))
        pairs.append((a, b))
    groups, asked, _ = play(
        group_pairs(600, pairs),
        lambda a, b: (things[a] == things[b]) ^ (chance.random() < wrong),
    )
    same = [groups[a] == groups[b] for a, b in combinations(range(600), 2)]
    true = [things[a] == things[b] for a, b in combinations(range(600), 2)]
    both = np.logical_and(same, true).sum()
    assert 2 * both / (np.sum(same) + np.sum(true)) >= least
    assert len(asked) <= 1.1 * len(pairs)


def test_a_question_without_an_answer_joins_nothing():
    groups, _, _ = play(group_pairs(2, [(0, 1)]), lambda *_: None)
    assert groups.tolist() == [0, 1]


def test_a_thing_of_many_rows_takes_no_more_rounds_than_one_of_few():
    rows = 300
    near = [(a, a + gap) for gap in (1, 2, 3, 5) for a in range(rows - gap)]
    groups, asked, rounds = play(group_pairs(rows, near), lambda *_: True)
    assert set(groups.tolist()) == {0}
    assert rounds <= 8
    assert len(asked) <= 2 * rows

"""A closed question in words: how it is asked, and how its tokens are read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm._replies import Words, clashing
from pandas_llm.types import Question


def question(*labels: str, **more) -> Question:
    return Question("mood", "How is it?", labels, labels, **more)


def place(*told: tuple[str, float]) -> tuple[tuple[str, float], ...]:
    """Return a place of an answer from tokens and their probabilities."""
    return tuple((token, math.log(chance)) for token, chance in told)


POSITIVE = question("positive", "negative")


@pytest.mark.parametrize(
    "tokens",
    [
        [("positive", 0.6), ("negative", 0.3)],
        [("Positive", 0.6), ("negative", 0.3)],
        [(" positive", 0.4), ("positive", 0.2), (" negative", 0.3)],
        [("POS", 0.6), ("NEG", 0.3), ("The", 0.1)],
        [("pos", 0.6), ("neg", 0.2), ("Neg", 0.1)],
    ],
    ids=["plain", "case", "blank", "parts", "both cases"],
)
def test_a_label_is_read_at_its_first_token(tokens):
    told = Words(POSITIVE).read([place(*tokens)])
    assert told == pytest.approx((2 / 3, 1 / 3))


def test_what_stands_before_the_answer_is_passed_over():
    places = [
        place(('"', 0.9), ("positive", 0.05)),
        place(("positive", 0.8), ("neg", 0.2)),
    ]
    told = Words(POSITIVE).read(places)
    assert told is not None
    assert told[0] == pytest.approx((0.05 + 0.9 * 0.8) / (0.05 + 0.9))


def test_a_label_that_is_not_told_has_the_smallest_probability_told():
    told = Words(POSITIVE).read([place(("positive", 0.9), ("The", 0.01), ("A", 0.002))])
    assert told == pytest.approx((0.9 / 0.902, 0.002 / 0.902))


def test_labels_part_at_the_first_token_that_tells_them_apart():
    words = Words(question("very good", "very bad", "so so"), codes=False)
    places = [place(("very", 0.8), ("so", 0.2)), place((" good", 0.5), (" bad", 0.5))]
    assert words.read(places) == pytest.approx((0.4, 0.4, 0.2))


def test_labels_whose_first_words_clash_are_asked_for_by_letters():
    assert clashing(["very good", "very bad"]) == ("very good", "very bad")
    assert clashing(["a", "ab"]) == ("a", "ab")
    assert clashing(["good", "bad"]) is None
    words = Words(question("very good", "very bad"))
    assert words.words == ("A", "B")
    assert "A for very good or B for very bad" in words.note
    assert words.read([place(("A", 0.75), (" B", 0.25))]) == pytest.approx((0.75, 0.25))


def test_the_note_names_the_labels_and_what_they_mean():
    words = Words(question("good", "bad", descriptions=("smiles", "frowns")))
    assert (
        words.note == "Answer with one word: good or bad.\ngood (smiles); bad (frowns)"
    )


@pytest.mark.parametrize(
    "labels", [("-1", "+1"), (">50K", "<=50K"), ("#a", "(b)"), ("*", "#"), ("a", "")]
)
def test_labels_of_signs_that_may_stand_before_an_answer_are_read(labels):
    words = Words(question(*labels))
    one, two = words.words
    assert words.read([place((one, 0.9), (two, 0.1))]) == pytest.approx((0.9, 0.1))
    assert words.read([place((two, 0.8), (one, 0.2))]) == pytest.approx((0.2, 0.8))


def test_a_label_that_could_end_a_list_is_quoted():
    words = Words(question("well, fine", "bad\nor worse", "so"), codes=False)
    listed = '"well, fine", "bad\\nor worse" or so'
    assert words.note == f"Answer with one of these: {listed}."
    clash = Words(question("a, b", "a, c"))
    assert clash.note == 'Answer with one letter: A for "a, b" or B for "a, c".'


UNTOLD = [
    # what was said is another word, or denies a label, and likelier than all of them
    (POSITIVE, [place(("not", 0.7), ("positive", 0.3)), place((" positive", 1.0))]),
    (
        question("happy", "sad"),
        [place(("happ", 0.9), ("sad", 0.1)), place(("iness", 1.0))],
    ),
    (question("very good", "very bad"), [place(("Answer", 0.9), ("A", 0.1))]),
    *(
        (question("yes", "no"), [place((said, 0.8), (label, 0.2))])
        for said, label in (
            ("Nope", "Yes"),
            ("N/A", "No"),
            ("Yeah", "No"),
            ("否", "Yes"),
        )
    ),
    (question("1", "2", "3"), [place(("1", 0.5), ("2", 0.5)), place(("0", 1.0))]),
    # it names two
    (question("yes", "no"), [place(("yes", 0.9), ("no", 0.1)), place((" or no", 1.0))]),
    (question("a x", "a y"), [place(("A", 0.9), ("B", 0.1)), place((" or B", 1.0))]),
]
TOLD = [
    # as SmolLM2 begins: what it would say at once ranks reviews well
    (
        POSITIVE,
        [
            place(("The", 0.7), ("positive", 0.2), ("negative", 0.1)),
            place((" review is", 1.0)),
        ],
        2 / 3,
    ),
    # a single token is told: no other can have more than is left
    (POSITIVE, [place(("positive", 0.9))], 0.9),
    (POSITIVE, [place(("positive", 1.0))], 1.0),
    (POSITIVE, [place(("positive", 0.8), ("n", 0.2))], 0.8),
    (question("正面", "负面"), [place(("正面", 0.8), ("负", 0.2))], 0.8),
    (
        question("non-smoker", "smoker"),
        [place(("non", 0.6), ("smoker", 0.4)), place(("-smoker", 1.0))],
        0.6,
    ),
    (
        question("a x", "a y"),
        [place(("B", 0.9), ("A", 0.1)), place((" is a good one", 1.0))],
        0.1,
    ),
]


@pytest.mark.parametrize(("asked", "places"), UNTOLD)
def test_what_is_said_in_place_of_a_label_tells_nothing_of_them(asked, places):
    assert Words(asked).read(places) is None


@pytest.mark.parametrize(("asked", "places", "first"), TOLD)
def test_a_probability_claims_no_more_than_the_tokens_tell(asked, places, first):
    assert Words(asked).read(places) == pytest.approx((first, 1 - first))


def test_a_label_that_is_told_goes_before_those_that_are_not():
    places = [
        place(("I", 0.6), ("No", 0.2), ("think", 0.2)),
        place((" would say", 1.0)),
    ]
    yes, no = Words(question("yes", "no")).read(places)
    assert no > yes


@pytest.mark.parametrize("told", ["The answer", "", "Neither", "12"])
def test_an_answer_that_speaks_of_no_label_has_no_probabilities(told):
    assert Words(POSITIVE).read([place((told, 1.0))]) is None


@given(
    st.lists(
        st.text("abcdefgh", min_size=2, max_size=6), min_size=2, max_size=5, unique=True
    ),
    st.data(),
)
def test_probabilities_sum_to_one_and_keep_the_order_of_the_tokens(labels, data):
    if clashing(labels):
        labels = [f"{at}{label}" for at, label in enumerate(labels)]
    chances = data.draw(
        st.lists(
            st.floats(0.01, 1), min_size=len(labels), max_size=len(labels), unique=True
        )
    )
    told = Words(question(*labels)).read([place(*zip(labels, chances, strict=True))])
    assert told is not None
    assert math.fsum(told) == pytest.approx(1)
    expected = [chance / sum(chances) for chance in chances]
    assert told == pytest.approx(expected)

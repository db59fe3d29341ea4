"""Pairs of rows that may belong together."""

import numpy as np
import pytest

from pandas_llm._algorithms import near_pairs, near_vectors

NAMES = ["Jon Smith, Oslo", "Ann Lee, Rome", "John Smith, Oslo", "Anne Lee, Roma"]


def as_set(pairs):
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def test_rows_that_differ_by_a_letter_are_nearest():
    assert as_set(near_pairs(NAMES, k=1)) == {(0, 2), (1, 3)}


def test_the_most_similar_come_first_and_similarity_is_a_cosine():
    pairs = near_pairs(NAMES, k=3)
    assert (np.diff(pairs.similarity) <= 1e-12).all()
    assert ((pairs.similarity > 0) & (pairs.similarity <= 1 + 1e-9)).all()
    assert (pairs.left < pairs.right).all()


def test_two_sides_are_asked_from_both():
    left, right = ["red apple", "green pear"], ["a red apple", "pears, green", "blue"]
    assert as_set(near_pairs(left, right, k=1)) == {(0, 0), (1, 1)}


def test_case_and_blanks_make_no_difference():
    pairs = near_pairs(["ACME  Ltd", "acme ltd"], k=1)
    assert pairs.similarity[0] == pytest.approx(1)


@pytest.mark.parametrize(
    "texts", [[], ["one"], ["", ""], ["ab", "xyz"], ["\ud800", "\ud800x"], ["🙂", "🙂"]]
)
def test_texts_without_much_in_them_are_no_trouble(texts):
    pairs = near_pairs(texts, k=5)
    assert all(0 <= a < b < len(texts) for a, b in as_set(pairs))


def test_the_inverted_index_gives_the_product_of_the_whole_matrix():
    chance = np.random.default_rng(0)
    texts = ["".join(chance.choice(list("abcd "), 20)) for _ in range(150)]
    pairs = near_pairs(texts, k=149)
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = TfidfVectorizer(
        analyzer=lambda t: [
            f" {' '.join(t.split())} "[i : i + 3]
            for i in range(len(" ".join(t.split())))
        ],
        sublinear_tf=True,
    ).fit_transform(texts)
    matrix = (counts @ counts.T).toarray()
    for a, b, similarity in zip(*pairs, strict=True):
        assert similarity == pytest.approx(matrix[a, b], abs=1e-9)


def test_vectors_are_compared_by_cosine():
    vectors = np.array([[1.0, 0], [2, 0.1], [0, 3], [0, 0]])
    assert (0, 1) in as_set(near_vectors(vectors, k=1))
    assert as_set(near_vectors(vectors[:2], vectors[2:], k=2)) == {(1, 0)}

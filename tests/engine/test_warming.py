"""Which row goes next, where rows that begin alike wait for the first of them."""

from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pandas_llm._engine.warming import Warming
from pandas_llm.types import Request, Spec

SPEC = Spec("m")


class Row(NamedTuple):
    position: int
    request: Request


def rows(*beginnings: str, system: str = "s") -> list[Row]:
    """Return rows whose prompts begin so, all of it shared, or up to each bar."""
    made = []
    for at, text in enumerate(beginnings):
        parts = text.split("|")
        ends = [sum(map(len, parts[:count])) for count in range(1, len(parts) + 1)]
        prompt = f"{''.join(parts)}{at}"
        made.append(Row(at, Request(SPEC, prompt, system, shared=tuple(ends))))
    return made


def test_the_second_waits_until_the_first_is_answered():
    warming = Warming()
    a, b, c, other = rows("x", "x", "x", "y")
    assert warming.come(a) is a
    assert warming.come(b) is None
    assert warming.come(c) is None
    assert warming.come(other) is other
    assert warming.help() is None
    assert warming.waiting == 2
    warming.heard(a.position, answered=True)
    assert warming.help() is b
    assert warming.help() is c
    assert warming.waiting == 0


def test_after_a_failure_the_next_goes_alone_and_after_three_all_go():
    warming = Warming()
    first, *others = rows(*["x"] * 6)
    assert warming.come(first) is first
    assert [warming.come(row) for row in others] == [None] * 5
    on_the_way = first
    for _ in range(2):
        warming.heard(on_the_way.position, answered=False)
        on_the_way = warming.freed()
        assert on_the_way is not None
        assert warming.freed() is warming.help() is None
    warming.heard(on_the_way.position, answered=False)
    assert [warming.help() for _ in range(4)] == [*others[2:], None]


def test_a_row_that_ends_unheard_lets_the_next_go():
    warming = Warming()
    a, b = rows("x", "x")
    warming.come(a)
    warming.come(b)
    assert warming.ended(a.position)  # as when it was found in the cache
    assert warming.freed() is b


def test_while_one_is_on_its_way_the_next_comes_when_it_ends():
    warming = Warming()
    a, b, c = rows("x", "x", "x")
    warming.come(a)
    warming.heard(a.position, answered=True)
    assert warming.come(b) is None  # a server may have one place for each beginning
    assert warming.come(c) is None
    assert not warming.ended(a.position)
    assert warming.freed() is b


def test_an_inner_beginning_waits_for_an_outer_one():
    warming = Warming()
    a, b, c, d = rows("x|1", "x|1", "x|2", "x|2")
    assert [warming.come(row) for row in (a, b, c, d)] == [a, None, None, None]
    warming.heard(a.position, answered=True)
    went = [warming.help() for _ in range(3)]
    assert {row.position for row in went if row} == {b.position, c.position}
    warming.heard(c.position, answered=True)
    assert warming.help() is d


def test_another_system_text_is_another_beginning():
    warming = Warming()
    (a,), (b,) = rows("x", system="s"), rows("x", system="t")
    assert warming.come(a) is a
    assert warming.come(b._replace(position=1)) is not None


def test_rows_that_wait_come_again_when_they_are_taken_back():
    warming = Warming()
    a, b, c = rows("x", "x", "x")
    for row in (a, b, c):
        warming.come(row)
    assert warming.back() == [b, c]
    assert warming.waiting == 0
    assert warming.come(b) is None
    warming.heard(a.position, answered=True)
    assert warming.help() is b


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60)
orders = st.lists(
    st.sampled_from(["x|1", "x|2", "x", "y", "y|1"]), min_size=1, max_size=30
).map(sorted)


@given(orders, st.integers(1, 5), steps)
def test_every_row_goes_once_and_none_waits_for_ever(texts, most, course):
    warming, queue, course = Warming(), rows(*texts), list(course)
    out, went, heard = [], Counter(), set()
    while queue or out or warming.waiting:
        row = warming.freed() if len(out) < most else None
        while row is None and queue and len(out) < most:
            row = warming.come(queue.pop(0))
        if row is None and len(out) < most:
            row = warming.help()
        if row is not None:
            went[row.position] += 1
            out.append(row)
            continue
        assert out, "rows wait, and nothing is on its way"
        answered, which = course.pop() if course else (True, 0)
        row = out[which % len(out)]
        if row.position not in heard:
            heard.add(row.position)
            warming.heard(row.position, answered=answered)
        else:
            out.remove(row)
            warming.ended(row.position)
    assert went == Counter(range(len(texts)))
    assert not warming._open
    assert not warming._out

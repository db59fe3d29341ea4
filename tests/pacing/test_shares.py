"""Parts of one account's limits: never more than the whole, whoever comes and goes."""

import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm._pacing import Headroom, RateLimiter
from pandas_llm._pacing.shares import RENEWAL, TERM, AccountParts
from pandas_llm.types import Quota, Quotas

STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["want", "rest", "leave"]),
        st.floats(0, TERM),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 6))
def test_live_leases_never_exceed_the_whole(steps, expected):
    clock = Clock()
    shares = AccountParts(clock)
    held = {}
    for holder, what, pause in steps:
        clock.now += pause
        if what == "leave":
            shares.release(holder)
            held.pop(holder, None)
        else:
            wanting = what == "want"
            part = shares.renew(holder, wanting=wanting, expected=expected)
            assert 0.0 <= part <= 1.0
            held[holder] = (part, clock.now + TERM)
        live = [part for part, until in held.values() if until > clock.now]
        assert sum(live) <= 1.0


@given(st.integers(1, 8), st.integers(0, 8))
def test_those_who_want_come_to_equal_parts_of_nearly_all(wanting, resting):
    clock = Clock()
    shares = AccountParts(clock)
    parts = {}
    for _ in range(12):
        clock.now += RENEWAL
        for holder in range(wanting + resting):
            parts[holder] = shares.renew(str(holder), wanting=holder < wanting)
    busy = [parts[holder] for holder in range(wanting)]
    assert max(busy) == pytest.approx(min(busy))
    assert sum(busy) > 0.99 - 0.02 * resting - 1e-9


def test_the_part_of_one_who_died_goes_to_the_others_when_it_expires():
    clock = Clock()
    shares = AccountParts(clock)
    shares.renew("dead", wanting=True)
    assert shares.renew("alive", wanting=True) == 0.0
    clock.now = TERM - 0.01
    assert shares.renew("alive", wanting=True) == 0.0
    clock.now = TERM
    assert shares.renew("alive", wanting=True) == pytest.approx(0.99)


# -- what a limiter does with its part ------------------------------------------


def sent(limiter, clock, seconds, tokens=100.0):
    """Send as fast as the limiter lets; return how many left."""
    end = clock.now + seconds
    count = 0
    while clock.now < end:
        ticket = limiter.reserve(tokens)
        while (delay := limiter.delay(ticket)) > 0:
            clock.now += delay
            if clock.now >= end:
                limiter.release(ticket)
                return count
        count += 1
        limiter.settle(ticket, tokens, None)
    return count


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6))
def test_a_limiter_keeps_to_the_part_it_has_at_the_time(parts):
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    with limiter.bound(600, None):
        limiter.share(0.0)
        assert sent(limiter, clock, 5.0) == 0
        total, expected = 0, 0.0
        for part in parts:
            limiter.share(part)
            begun = clock.now
            total += sent(limiter, clock, 10.0)
            expected += 10.0 * part * (clock.now - begun)  # a wait longer than 10 s
    # what has come in under one part may leave under the next, a bucket at the most
    assert expected - 3.0 * len(parts) <= total <= expected + 3.5


def test_a_limit_that_headers_tell_is_divided_too():
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    limiter.share(0.25)
    ticket = limiter.reserve(1.0)
    assert limiter.delay(ticket) == 0.0
    limiter.settle(ticket, 1.0, Quotas(Quota(600.0, 599.0, 0.1), None))
    assert limiter.plan() == pytest.approx(2.5)
    assert 22 <= sent(limiter, clock, 10.0) <= 26


def test_without_a_part_the_limits_are_whole_again():
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    with limiter.bound(600, None):
        limiter.share(0.1)
        assert limiter.plan() == pytest.approx(1.0)
        limiter.share(None)
        assert limiter.plan() == pytest.approx(10.0)


def test_what_comes_in_between_two_runs_of_a_part_is_not_lost():
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    limiter.share(0.25)
    with limiter.bound(600, None):
        sent(limiter, clock, 10.0)
    clock.now += 0.4
    with limiter.bound(600, None):
        assert limiter.delay(limiter.reserve(1.0)) == 0.0
        limiter.share(None)
    with limiter.bound(None, None):  # nothing is left of the first runs' limit
        assert limiter.plan() is None


def test_headroom_is_a_part_of_the_part_of_this_process():
    limiter = RateLimiter(clock=Clock())
    with limiter.bound(600, None, Headroom(0.2, lambda part: None)):
        assert limiter.plan() == pytest.approx(8.0)
        limiter.share(0.5)
        assert limiter.plan() == pytest.approx(4.0)
        limiter.share(None)
        assert limiter.plan() == pytest.approx(8.0)

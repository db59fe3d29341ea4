"""The rate limiter, the concurrency target and the token estimates by themselves."""

from __future__ import annotations

import math
import random
import threading
from itertools import pairwise

import pytest
from clock import Clock
from hypothesis import given, settings
from hypothesis import strategies as st

from pandas_llm._pacing import (
    Calibration,
    Concurrency,
    RateLimiter,
    estimate_tokens,
    shared_limiter,
)
from pandas_llm.types import Quota, Quotas


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def limiter(clock):
    return RateLimiter(clock=clock, random=lambda: 0.5)


def send(limiter, tokens=100.0):
    """Reserve and leave at once."""
    ticket = limiter.reserve(tokens)
    assert limiter.delay(ticket) == 0.0
    return ticket


def wait(limiter, clock, ticket, most=1e5):
    """Sleep as the client does; return the seconds it took."""
    start = clock.now
    while (delay := limiter.delay(ticket)) > 0:
        clock.now += delay
        assert clock.now - start < most, "it never leaves"
    return clock.now - start


# -- without limits ------------------------------------------------------------------


def test_without_limits_nobody_waits(limiter):
    tickets = [limiter.reserve(1e6) for _ in range(1000)]
    assert {limiter.delay(ticket) for ticket in tickets} == {0.0}
    assert limiter.plan() is None
    assert limiter.waiting() == 0.0


def test_a_ticket_that_has_left_may_be_asked_again(limiter):
    ticket = send(limiter)
    limiter.reject(ticket, 60.0, None)
    assert limiter.delay(ticket) == 0.0


# -- explicit limits -----------------------------------------------------------------


def test_explicit_limits_hold_while_their_run_lives(limiter, clock):
    with limiter.bound(60, None):
        assert limiter.plan() == 1.0
        send(limiter)
        assert wait(limiter, clock, limiter.reserve(1)) == pytest.approx(1.0)
    assert limiter.plan() is None
    send(limiter)


def test_of_several_live_runs_the_least_limit_holds(limiter):
    with limiter.bound(600, None):
        with limiter.bound(60, None):
            assert limiter.plan() == 1.0
        assert limiter.plan() == 10.0
        with limiter.bound(6000, 60_000):
            assert limiter.plan() == 10.0
            send(limiter, 500)
            limiter.settle(limiter.reserve(500), 500, None)
            assert limiter.plan() == pytest.approx(2.0)


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_a_limit_that_is_none_does_not_limit(limiter, limit):
    with limiter.bound(limit, limit):
        for _ in range(100):
            send(limiter, 1e6)


def test_tokens_are_paced(limiter, clock):
    with limiter.bound(None, 60_000):
        start = clock.now
        for _ in range(20):
            wait(limiter, clock, limiter.reserve(500))
    assert clock.now - start == pytest.approx(19 * 0.5, rel=0.06)


def test_a_request_larger_than_the_bucket_leaves_and_is_paid_for(limiter, clock):
    with limiter.bound(None, 6000):
        wait(limiter, clock, limiter.reserve(10_000))
        assert wait(limiter, clock, limiter.reserve(1)) == pytest.approx(99.5, abs=1)


def test_tokens_not_used_are_given_back(limiter, clock):
    with limiter.bound(None, 60_000):
        ticket = limiter.reserve(5000)
        wait(limiter, clock, ticket)
        second = limiter.reserve(500)
        assert limiter.delay(second) > 0.0
        limiter.settle(ticket, 0.0, None)
        assert limiter.delay(second) == 0.0


def test_a_released_place_is_given_to_those_behind(limiter, clock):
    with limiter.bound(60, None):
        send(limiter)
        first, second, third = (limiter.reserve(1) for _ in range(3))
        limiter.release(first)
        limiter.release(second)
        assert wait(limiter, clock, third) == pytest.approx(1.0)


def test_released_places_make_no_burst(limiter, clock):
    with limiter.bound(60, None):
        send(limiter)
        mine = [limiter.reserve(1) for _ in range(50)]
        theirs = [limiter.reserve(1) for _ in range(50)]
        for ticket in theirs:
            limiter.release(ticket)
        clock.now += 3.0
        assert sum(limiter.delay(ticket) == 0.0 for ticket in mine) <= 3


def test_release_after_leaving_gives_nothing_back(limiter):
    with limiter.bound(60, None):
        limiter.release(send(limiter))
        assert limiter.delay(limiter.reserve(1)) > 0


def test_a_ticket_that_nobody_asks_for_blocks_the_queue_only_for_a_while(
    limiter, clock
):
    with limiter.bound(60, None):
        for _ in range(20):
            limiter.reserve(1)  # of a run that died
        assert wait(limiter, clock, limiter.reserve(1)) < 300


def test_a_ticket_thought_dead_may_come_back(limiter, clock):
    with limiter.bound(60, None):
        old, new = limiter.reserve(1), limiter.reserve(1)
        clock.now += 3600
        wait(limiter, clock, new)
        assert wait(limiter, clock, old) <= 2.0


# -- properties ----------------------------------------------------------------------


@settings(max_examples=60)
@given(
    rate=st.sampled_from([6, 60, 600, 6000]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["reserve", "ask", "release", "answer"]),
            st.integers(0, 1000),
            st.floats(0, 2),
        ),
        max_size=200,
    ),
)
def test_grants_never_exceed_the_burst_and_the_rate(rate, steps):
    clock = Clock(1000.0)
    limiter = RateLimiter(clock=clock)
    tickets, waiting, left = [], [], []
    with limiter.bound(rate, None):
        for action, which, seconds in steps:
            clock.now += seconds * 60 / rate
            if action == "reserve":
                new = [limiter.reserve(1) for _ in range(which % 7)]
                tickets += new
                waiting += new
            elif action == "ask" and waiting:
                ticket = waiting[which % len(waiting)]
                if limiter.delay(ticket) == 0.0:
                    waiting.remove(ticket)
                    left.append(ticket)
            elif action == "release" and waiting:
                limiter.release(waiting.pop(which % len(waiting)))
            elif action == "answer" and left:
                limiter.settle(left.pop(), 1.0, None)
    grants = sorted(ticket.sent for ticket in tickets if ticket.number > 0)
    burst = max(1.0, rate / 60 / 4)
    for first, start in enumerate(grants):
        for last, end in enumerate(grants[first:], first):
            assert last - first + 1 <= burst + rate / 60 * (end - start) + 1e-3


@settings(max_examples=60)
@given(
    sizes=st.lists(st.floats(0, 2000), min_size=2, max_size=30),
    requests=st.sampled_from([None, 60, 6000]),
    tokens=st.sampled_from([None, 6000, 600_000]),
    pause=st.sampled_from([None, 1.0, 20.0]),
    seed=st.integers(0, 1000),
)
def test_the_order_of_reservations_is_kept(sizes, requests, tokens, pause, seed):
    clock, chance = Clock(1000.0), random.Random(seed)
    limiter = RateLimiter(clock=clock)
    times = {}
    with limiter.bound(requests, tokens):
        before = send(limiter)
        tickets = [limiter.reserve(size) for size in sizes]
        if pause is not None:
            limiter.reject(before, pause, None)
        while len(times) < len(tickets):
            order = list(range(len(tickets)))
            chance.shuffle(order)
            delays = [math.inf]
            for n in order:
                if n in times:
                    continue
                if delay := limiter.delay(tickets[n]):
                    delays.append(delay)
                else:
                    times[n] = clock.now
            if len(times) < len(tickets):
                clock.now += min(delays)
    assert all(times[n] <= times[n + 1] for n in range(len(tickets) - 1))


@settings(max_examples=60)
@given(
    jumps=st.lists(st.floats(-1e6, 5), min_size=1, max_size=50),
    limit=st.sampled_from([60, 6000]),
)
def test_a_clock_that_jumps_back_neither_blocks_nor_bursts(jumps, limit):
    clock = Clock(1000.0)
    limiter = RateLimiter(clock=clock)
    forward, granted = 0.0, 0
    with limiter.bound(limit, None):
        for jump in jumps:
            clock.now += jump
            forward += max(0.0, jump)
            while limiter.delay(ticket := limiter.reserve(1)) == 0.0:
                granted += 1
            limiter.release(ticket)
        assert granted <= max(1, limit / 240) + limit / 60 * forward + 1e-6
        assert wait(limiter, clock, limiter.reserve(1)) <= 60 / limit + 1e-6


QUOTA = st.builds(
    Quota,
    limit=st.none() | st.floats(-10, 1e6),
    remaining=st.none() | st.floats(-10, 1e6),
    reset=st.none() | st.floats(-10, 1e6),
    period=st.sampled_from([0.0, 1.0, 60.0, 86_400.0]),
)


@settings(max_examples=150)
@given(
    answers=st.lists(
        st.tuples(
            st.booleans(),
            st.none() | st.builds(Quotas, *[st.none() | QUOTA] * 4),
            st.sampled_from([None, 0.0, 0.5, 30.0, 1e4]),
            st.floats(0, 5),
        ),
        max_size=20,
    )
)
def test_no_answer_however_odd_breaks_it(answers):
    clock = Clock(1000.0)
    limiter = RateLimiter(clock=clock)
    for refused, quotas, number, seconds in answers:
        ticket = limiter.reserve(number or 0.0)
        clock.now += seconds
        if limiter.delay(ticket) > 0:
            limiter.release(ticket)
            continue
        clock.now += seconds
        if refused:
            asked = 0.0 if number is None else number
            assert limiter.reject(ticket, number, quotas) >= asked - 1e-6
        else:
            limiter.settle(ticket, number, quotas)
        plan = limiter.plan()
        assert plan is None or plan > 0
        assert limiter.waiting() >= 0
    delay = limiter.delay(limiter.reserve(1))
    assert 0 <= delay < math.inf


# -- what headers tell ---------------------------------------------------------------


def answer(limiter, clock, remaining, *, limit=600.0, reset=None, period=60.0):
    """Send one request and take its answer a second later."""
    ticket = limiter.reserve(100)
    wait(limiter, clock, ticket)
    clock.now += 1.0
    quota = Quota(limit, remaining, reset, period)
    limiter.settle(ticket, 100, Quotas(requests=quota))


def grants(limiter, most=10_000):
    """Count how many may leave at once."""
    count = 0
    while count < most and limiter.delay(ticket := limiter.reserve(1)) == 0.0:
        count += 1
    if count < most:
        limiter.release(ticket)
    return count


def test_the_first_answer_teaches_rate_and_burst(limiter, clock):
    answer(limiter, clock, 19, reset=0.1)
    assert limiter.plan() == pytest.approx(10.0)
    assert grants(limiter) == 18  # a tenth of 20 is kept back


def test_requests_under_way_are_not_forgotten(limiter, clock):
    probe = send(limiter)
    for _ in range(15):
        send(limiter)
    quotas = Quotas(requests=Quota(600.0, 19.0, 0.1))
    limiter.settle(probe, 100, quotas)
    assert grants(limiter) == 2


def test_a_later_answer_corrects_the_level(limiter, clock):
    answer(limiter, clock, 99, reset=0.1)
    for left in (40, 40, 40):
        answer(limiter, clock, left, reset=6.0)
    assert grants(limiter) <= 50


@pytest.mark.parametrize("reset", [None, 1.0])
@pytest.mark.parametrize("limit", [None, 0.0, -1.0])
def test_a_quota_without_a_limit_limits_nothing(limiter, clock, limit, reset):
    answer(limiter, clock, 5, limit=limit, reset=reset)
    assert limiter.plan() is None
    assert grants(limiter, 50) == 50


def test_a_limit_alone_is_a_pace_with_a_small_burst(limiter, clock):
    answer(limiter, clock, None, limit=600.0)
    assert limiter.plan() == pytest.approx(10.0)
    assert grants(limiter) == 2


def test_a_limit_may_be_of_a_second(limiter, clock):
    answer(limiter, clock, 9, limit=10.0, reset=0.1, period=1.0)
    assert limiter.plan() == pytest.approx(10.0)


def test_a_daily_budget_is_no_pace_until_it_is_used_up(limiter, clock):
    answer(limiter, clock, 99, limit=14_400.0, reset=60.0, period=86_400.0)
    assert limiter.plan() is None
    assert grants(limiter) == 99
    assert limiter.plan() == pytest.approx(1 / 6)
    assert wait(limiter, clock, limiter.reserve(1)) == pytest.approx(6.0, abs=1.1)


def test_what_a_used_up_day_makes_wait_is_told_and_not_slept(limiter, clock):
    answer(limiter, clock, 1, limit=10.0, reset=9 * 8640.0, period=86_400.0)
    assert limiter.waiting() == 0.0
    assert grants(limiter) == 1
    limiter.reserve(1)
    assert limiter.waiting() == pytest.approx(8640.0, abs=2.0)


def test_a_new_limit_replaces_the_old_one(limiter, clock):
    answer(limiter, clock, 59, limit=60.0, reset=1.0)
    answer(limiter, clock, 5999, limit=6000.0, reset=0.01)
    assert limiter.plan() == pytest.approx(100.0)


def test_explicit_and_learned_limits_hold_together(limiter, clock):
    answer(limiter, clock, 599, reset=0.1)
    with limiter.bound(60, None):
        assert limiter.plan() == 1.0
        assert grants(limiter) == 1
    assert limiter.plan() == pytest.approx(10.0)


# -- refusals ------------------------------------------------------------------------


def test_a_refusal_is_its_own_rows_affair(limiter):
    assert limiter.reject(send(limiter), 10.0, None) == pytest.approx(11.0)
    for _ in range(10):
        send(limiter)
    assert limiter.waiting() == 0.0
    assert limiter.plan() is None


@given(chance=st.floats(0, 1), seconds=st.floats(0.001, 1e6))
def test_retry_after_is_a_floor_with_at_most_a_fifth_more(chance, seconds):
    limiter = RateLimiter(clock=Clock(1000.0), random=lambda: chance)
    paused = limiter.reject(send(limiter), seconds, None)
    assert seconds * 0.999999 <= paused <= 1.200001 * seconds


def test_without_retry_after_a_row_sleeps_ever_longer_to_four_seconds():
    limiter = RateLimiter(clock=Clock(1000.0), random=lambda: 1.0)
    sleeps = []
    for tries in range(1, 8):
        limiter.settle(send(limiter), 1.0, None)
        sleeps.append(limiter.reject(send(limiter), None, None, tries))
    assert sleeps == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_pause_of_days_is_told_not_slept(limiter):
    assert limiter.reject(send(limiter), 3 * 86_400.0, None) >= 3 * 86_400.0


def refuse_six(limiter, clock, retry_after=None, before=40):
    """Have many answered and six in a row refused."""
    for _ in range(before):
        limiter.settle(send(limiter), 1.0, None)
        clock.now += 0.1
    wave = [send(limiter) for _ in range(6)]
    for ticket in wave:
        limiter.reject(ticket, retry_after, None)


def test_six_refused_in_a_row_stop_all_until_one_trial_is_not_refused(limiter, clock):
    refuse_six(limiter, clock)
    trial, *others = [limiter.reserve(1) for _ in range(20)]
    assert all(limiter.delay(ticket) > 0 for ticket in (trial, *others))
    clock.now += limiter.waiting()
    assert limiter.delay(trial) == 0.0
    assert all(limiter.delay(ticket) > 0 for ticket in others)
    limiter.reject(trial, None, None)
    again = limiter.reserve(1)
    assert limiter.waiting() > 0.05
    clock.now += limiter.waiting()
    assert limiter.delay(again) > 0  # not before those ahead of it
    assert limiter.delay(others[0]) == 0.0
    limiter.settle(others[0], 1.0, None)
    assert limiter.waiting() == 0.0


def test_with_retry_after_an_alarm_lasts_as_long_as_told(limiter, clock):
    refuse_six(limiter, clock, retry_after=7.0)
    assert limiter.waiting() == pytest.approx(7.0)


def test_after_an_alarm_they_leave_at_the_pace_that_was_accepted(limiter, clock):
    refuse_six(limiter, clock)
    clock.now += limiter.waiting()
    limiter.settle(send(limiter), 1.0, None)
    start = clock.now
    for _ in range(5):
        wait(limiter, clock, limiter.reserve(1))
    assert clock.now - start == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize("asked", [None, 0.001])
def test_one_that_is_refused_two_thousand_times_in_a_row_is_only_refused(
    limiter, clock, asked
):
    for tries in range(1, 2001):
        ticket = limiter.reserve(100.0)
        while (delay := limiter.delay(ticket)) > 0:
            clock.now += delay
        assert 0 <= limiter.reject(ticket, asked, None, tries) < 120


def test_refusals_overtake_answers_and_are_still_seen_in_the_order_of_sending():
    """Refused in 2 ms, answered in 100 ms: a tenth of strays looks like all."""
    clock, chance = Clock(1000.0), random.Random(5)
    limiter = RateLimiter(clock=clock, random=chance.random)
    for _ in range(40):
        wave = [send(limiter) for _ in range(50)]
        strays = set(chance.sample(range(50), 5))
        clock.now += 0.002
        for n in sorted(strays):
            limiter.reject(wave[n], None, None)
        assert limiter.waiting() == 0.0
        clock.now += 0.098
        for n in set(range(50)) - strays:
            limiter.settle(wave[n], 1.0, None)


# -- threads -------------------------------------------------------------------------


def test_threads_share_one_queue(limiter, clock):
    left = []

    def work():
        for _ in range(300):
            ticket = limiter.reserve(1)
            if limiter.delay(ticket) == 0.0:
                left.append(ticket)
                limiter.settle(ticket, 1.0, None)
            else:
                limiter.release(ticket)

    with limiter.bound(12_000, None):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(left) == 25  # the burst, and time stands still
        clock.now += 0.1
        assert grants(limiter) == 20


def test_an_account_has_one_limiter_in_the_process():
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(shared_limiter(("test", "key"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert shared_limiter(("test", "other")) is not found[0]


# -- concurrency ---------------------------------------------------------------------


def round_trip(concurrency, clock, latency=1.0, rate=None, servers=math.inf):
    """Have as many answered as were in flight."""
    size = int(concurrency.size)
    seconds = latency * max(1.0, size / servers)
    for _ in range(size):
        clock.now += seconds / size
        concurrency.answered(seconds, rate)


def test_it_starts_small_and_doubles_every_round_trip(clock):
    concurrency = Concurrency(None, maximum=1000, clock=clock)
    targets = []
    for _ in range(5):
        targets.append(int(concurrency.size))
        round_trip(concurrency, clock)
    assert all(1.8 <= b / a <= 2.0 for a, b in pairwise(targets)), targets


@pytest.mark.parametrize("maximum", [1, 5, 100])
def test_it_never_exceeds_the_maximum(clock, maximum):
    concurrency = Concurrency(None, maximum=maximum, clock=clock)
    for _ in range(20):
        assert 1 <= int(concurrency.size) <= maximum
        round_trip(concurrency, clock, rate=1e6)


def test_a_limit_is_where_it_starts_and_stays(clock):
    concurrency = Concurrency(50, maximum=500, clock=clock)
    for servers in (math.inf, 4):
        round_trip(concurrency, clock, servers=servers)
        assert int(concurrency.size) == 50
    assert Concurrency(50, maximum=20, clock=clock).size == 20


def test_it_stops_growing_when_answers_come_no_faster(clock):
    concurrency = Concurrency(None, maximum=500, clock=clock)
    targets = []
    for _ in range(60):
        round_trip(concurrency, clock, servers=4)
        targets.append(int(concurrency.size))
    assert max(targets) <= 64
    assert int(concurrency.size) <= 16


def test_it_follows_a_known_rate(clock):
    concurrency = Concurrency(None, maximum=500, clock=clock)
    for _ in range(4):
        round_trip(concurrency, clock, latency=2.0, rate=20.0)
    assert 40 <= int(concurrency.size) <= 82
    for _ in range(10):
        round_trip(concurrency, clock, latency=2.0, rate=2.0)
    assert 4 <= int(concurrency.size) <= 10


# -- tokens --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0.0),
        ("a" * 44, 10.0),
        ("a b\n" * 11, 10.0),
        ("12.5;" * 18, 50.0),
        ("東京タワー", 3.75),
        ("한국어", 2.25),
        ("ж" * 35, 10.0),
        ("é" * 35 + "a" * 44, 20.0),
        ("😀" * 4, 3.0),
        ("\ud800" * 4, 3.0),
    ],
)
def test_tokens_are_estimated_by_the_kind_of_character(text, tokens):
    assert estimate_tokens(text) == pytest.approx(tokens)


@given(st.text(), st.text())
def test_estimates_add_up(a, b):
    both = estimate_tokens(a) + estimate_tokens(b)
    assert estimate_tokens(a + b) == pytest.approx(both)
    assert 0 <= both <= len(a + b)


def test_usage_corrects_the_estimate():
    calibration = Calibration()
    for _ in range(20):
        calibration.learn(100.0, 130, 20)
    assert calibration.amounts(200.0, None, 1)[0] == pytest.approx(280.0, rel=0.01)
    for _ in range(100):
        calibration.learn(100.0, 80, 300, n=3)
    assert calibration.amounts(100.0, None, 3)[0] == pytest.approx(380.0, rel=0.01)


def test_few_answers_leave_a_margin_for_the_output_of_the_first_wave():
    """On the word of one answer fifty requests leave; the mean of it may be low."""
    calibration, booked = Calibration(), []
    for _ in range(200):
        calibration.learn(100.0, 100, 20)
        booked.append(calibration.amounts(100.0, None, 1)[2])
    assert booked[0] == pytest.approx(39.0)
    assert booked == sorted(booked, reverse=True)
    assert booked[-1] == pytest.approx(20.0, rel=0.01)


def test_output_may_count_more_against_a_limit_than_it_is():
    calibration = Calibration()
    calibration.output_counts = 5.0
    for _ in range(100):
        calibration.learn(100.0, 100, 20)
    assert calibration.amounts(100.0, None, 1) == pytest.approx(
        (200, 100, 20), rel=0.01
    )
    assert calibration.amounts(100.0, 1000, 1)[0] == 1000


def test_max_tokens_counts_as_openai_counts_it():
    calibration = Calibration()
    assert calibration.amounts(100.0, 1000, 2)[0] == 2000.0
    assert calibration.amounts(5000.0, 1000, 1)[0] == 5050.0
    assert calibration.amounts(100.0, 10, 1) == (110.0, 100.0, 10.0)


@pytest.mark.parametrize("usage", [(0.0, 0, 0), (0.0, 10, 5), (10.0, 0, 0)])
def test_an_empty_usage_teaches_nothing_wrong(usage):
    calibration = Calibration()
    calibration.learn(*usage)
    assert calibration.amounts(100.0, None, 1)[0] >= 100.0


def test_a_reset_longer_than_the_period_is_no_window(limiter, clock):
    """As OpenAI's documentation shows it, and a server that copied that example."""
    ticket = send(limiter)
    quota = Quota(150_000.0, 0.0, 360.0)
    limiter.reject(ticket, 1.0, Quotas(None, quota))
    assert wait(limiter, clock, limiter.reserve(100.0)) < 10.0

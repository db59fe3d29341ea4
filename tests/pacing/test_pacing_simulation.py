"""The pace against servers by chance: each line of the table is a bound here.

Clock, server and engine are simulated, so that minutes of a run take milliseconds;
the limiter and the concurrency are the package's own. What is bounded is the median
over seeds, and a looser bound holds for the worst.
"""

from __future__ import annotations

import math
import random
import statistics
import threading
from typing import Any, NamedTuple

import pytest
from clock import EventClock
from pacing_simulation import (
    START,
    Bucket,
    Changing,
    Fixed,
    Run,
    Server,
    Sliding,
    Slots,
    Strays,
    plain,
    scattered,
    simulate,
)

from pandas_llm._pacing import Concurrency, RateLimiter

SEEDS = range(3)
"""Few, for the quick suite; the slow tests hold the same bounds over many."""
WIDE = scattered(0.05, 3.0)  # the latencies of a real model
WIDE_MEAN = 2.95 / math.log(60)


class Line(NamedTuple):
    """A line of the table."""

    server: Any
    rows: int
    ideal: float | None  # seconds; None: what a plain loop takes
    time: float  # at most so many times that
    refused: float = 1.0  # at most this share of what is sent
    worst: float = 1.5  # for the worst seed the bound on time times this
    concurrency: int | None = 50


def server(*rules, **how):
    """Return a maker of servers, of makers of rules."""

    def make(clock, chance):
        return Server(clock, chance, *(rule(chance) for rule in rules), **how)

    return make


def strays(share):
    return lambda chance: Strays(share, chance)


def by(kind, *args, **how):
    return lambda chance: kind(*args, **how)


EVEN = {"latency": lambda chance: chance.uniform(0.08, 0.12)}
TABLE = {
    "2 % strays": Line(server(strays(0.02)), 1500, None, 1.3),
    "5 % strays": Line(server(strays(0.05)), 1500, None, 1.3),
    "10 % strays": Line(server(strays(0.10)), 1500, None, 1.3, worst=2.0),
    "20 % strays": Line(server(strays(0.20)), 1500, None, 1.6, worst=2.0),
    "2 % strays, retry-after 1": Line(
        server(strays(0.02), retry_after=1.0), 1500, None, 1.3
    ),
    "5 % strays, retry-after 1": Line(
        server(strays(0.05), retry_after=1.0), 1500, None, 1.3
    ),
    "10 % strays that overtake all answers": Line(
        server(strays(0.10), refusal=0.002), 1500, None, 1.3, worst=2.0
    ),
    "10 % strays, latencies that scatter": Line(
        server(strays(0.10), latency=WIDE, refusal=0.05), 1000, None, 1.3
    ),
    "3 % of 503 with retry-after 8, 8 at a time": Line(
        server(strays(0.03), latency=0.01, retry_after=8.0),
        600,
        None,
        1.3,
        concurrency=8,
    ),
    "40/s, 300 rows": Line(server(by(Sliding, 40)), 300, 6.5, 1.3, 0.10),
    "40/s, 300 rows, refused as slowly as answered": Line(
        server(by(Sliding, 40), refusal=0.1, **EVEN), 300, 6.5, 1.3, 0.18
    ),
    "40/s, 3,000 rows": Line(server(by(Sliding, 40)), 3000, 74.0, 1.1, 0.03),
    "40/s, 3,000 rows, refused as slowly as answered": Line(
        server(by(Sliding, 40), refusal=0.1, **EVEN), 3000, 74.0, 1.1, 0.08
    ),
    "40/s, a bucket of 40": Line(server(by(Bucket, 40, 40)), 3000, 74.0, 1.1, 0.05),
    "40/s, a bucket of 10": Line(server(by(Bucket, 40, 10)), 3000, 74.8, 1.1, 0.08),
    "40/s, a bucket of 120": Line(server(by(Bucket, 40, 120)), 3000, 72.0, 1.1, 0.08),
    "40/s, a bucket of 1": Line(server(by(Bucket, 40, 1)), 1500, 37.5, 1.6, 0.12),
    "40/s, a bucket, latencies that scatter": Line(
        server(by(Bucket, 40, 40), latency=WIDE), 3000, 74.0, 1.1, 0.08
    ),
    "40/s, no number in flight given": Line(
        server(by(Bucket, 40, 40)), 3000, 74.0, 1.1, 0.08, concurrency=None
    ),
    "10/s, a burst of 5": Line(server(by(Bucket, 10, 6)), 1000, 99.4, 1.1, 0.10),
    "400/s": Line(server(by(Sliding, 400)), 6000, 14.0, 1.3, 0.05),
    "40/s and 2 % strays": Line(
        server(by(Sliding, 40), strays(0.02)), 1500, 36.5, 1.2, 0.12
    ),
    "40/s and 10 % strays": Line(
        server(by(Sliding, 40), strays(0.10)), 1500, 36.5, 1.2, 0.40
    ),
    "100/s, then 20/s": Line(
        server(by(Changing, 100, 20, 20.0)), 3000, 65.0, 1.2, 0.10
    ),
    "20/s, then 100/s": Line(
        server(by(Changing, 20, 100, 20.0)), 3000, 45.8, 1.3, 0.40
    ),
    "600 a minute by the clock": Line(
        server(by(Fixed, 600, 60.0)), 1500, 120.0, 1.35, 0.08
    ),
    "100 in 10 s, the refused count": Line(
        server(by(Fixed, 100, 10.0, counts=True)), 1500, 140.0, 1.45, 0.20
    ),
    "60 a minute by the clock, and each refusal asks for 60 s": Line(
        server(by(Fixed, 60, 60.0), retry_after=60.0), 300, 240.0, 1.2, 0.2
    ),
    "40/s, and each refusal asks for 60 s": Line(
        server(by(Bucket, 40, 40), retry_after=60.0), 3000, 74.0, 4.0, 0.08
    ),
    "no limit and no number given, latencies that scatter": Line(
        server(latency=WIDE), 4000, 8 * WIDE_MEAN, 2.4, concurrency=None
    ),
    "8 at a time": Line(server(by(Slots, 8), latency=0.3), 200, 7.5, 1.2),
    "8 at a time, no number given": Line(
        server(by(Slots, 8), latency=0.3), 200, 7.5, 1.2, concurrency=None
    ),
    "8 at a time, 1,000 rows": Line(
        server(by(Slots, 8), latency=0.3), 1000, 37.5, 1.1, 0.10
    ),
    "8 at a time, latencies that scatter": Line(
        server(by(Slots, 8), latency=WIDE), 1000, 1000 * WIDE_MEAN / 8, 1.2, 0.10
    ),
    "8 at a time and 2 % strays": Line(
        server(by(Slots, 8), strays(0.02), latency=0.3), 1000, 37.5, 1.2, 0.12
    ),
}


def reached(line: Line, seeds: Any) -> tuple[list[float], list[float]]:
    """Return the time over the ideal, and the share refused, of each seed."""
    times, refused = [], []
    for seed in seeds:
        run = simulate(line.server, line.rows, line.concurrency, seed)
        assert run.worst <= 30, "a row is refused for ever"
        ideal = line.ideal
        if ideal is None:
            ideal = plain(line.server, line.rows, line.concurrency or 50, seed)
        times.append(run.finished / ideal)
        refused.append(run.share)
    return times, refused


def check(line: Line, seeds: Any) -> None:
    times, refused = reached(line, seeds)
    assert statistics.median(times) <= line.time, times
    assert max(times) <= line.worst * line.time, times
    assert statistics.median(refused) <= line.refused, refused


@pytest.mark.parametrize("line", TABLE.values(), ids=TABLE)
def test_the_pace_holds_on_each_server_of_the_table(line):
    check(line, SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("line", TABLE.values(), ids=TABLE)
def test_the_pace_holds_on_each_server_over_many_seeds(line):
    check(line._replace(worst=3.0), range(100, 140))


@pytest.mark.parametrize(("latency", "most"), [(0.3, 12), (WIDE, 40)])
def test_four_slots_that_queue_get_few_connections(latency, most):
    mean = latency if isinstance(latency, float) else WIDE_MEAN
    for seed in SEEDS:
        run = simulate(server(queue=4, latency=latency), 400, None, seed)
        assert run.server.peak <= most
        assert run.finished <= 1.25 * 400 * mean / 4


def test_a_server_that_slows_down_with_load_and_still_does_more_is_given_more():
    """As those do that compute many answers at once: 113/s with 500, 64/s with 64."""

    def make(clock, chance):
        there = Server(clock, chance)
        there.latency = lambda chance: 0.5 * (1 + there.busy / 64)
        return there

    run = simulate(make, 8000, None)
    assert run.finished <= 1.5 * 8000 / 113


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_guess_is_gone_in_seconds(seed):
    """Four a second from a run before, where there is no limit any more."""
    clock, chance = EventClock(START), random.Random(seed)
    rule = Bucket(4, 4)
    there = Server(clock, chance, rule)
    limiter = RateLimiter(clock=clock, random=chance.random)
    first = Run(there, 40, limiter)
    first.pump()
    clock.run(lambda: first.done == 40)
    assert limiter.plan() is not None
    rule.rate = rule.burst = rule.level = 1e6
    second = Run(there, 1500, limiter)
    clock.now += 5.0
    start = clock.now - START
    second.pump()
    clock.run(lambda: second.done == 1500)
    assert second.finished - start <= 1500 * 0.1 / 50 + 4


def test_two_runs_side_by_side_keep_one_limit():
    clock, chance = EventClock(START), random.Random(1)
    there = Server(clock, chance, Bucket(40, 40))
    limiter = RateLimiter(clock=clock, random=chance.random)
    runs = [Run(there, 1500, limiter) for _ in range(2)]
    for run in runs:
        run.pump()
    clock.run(lambda: all(run.done == run.rows for run in runs))
    first, last = sorted(run.finished for run in runs)
    assert last <= 1.07 * 2960 / 40
    assert first >= 0.7 * last


@pytest.mark.parametrize("options", [True, False])
def test_a_limit_that_is_told_is_kept_with_strays(options):
    """Strays cost their row, not the pace; a limit told too high is found out."""
    rate, true = (40, 40) if options else (40, 20)
    make = server(by(Bucket, true, true), *([strays(0.02)] if options else []))
    clock, chance = EventClock(START), random.Random(3)
    limiter = RateLimiter(clock=clock, random=chance.random)
    run = Run(make(clock, chance), 1500, limiter)
    with limiter.bound(60 * rate, None):
        run.pump()
        clock.run(lambda: run.done == 1500)
    assert run.finished <= 1.1 * 1500 / true
    assert run.share <= 0.06


def false_alarms(share, runs):
    """Return how many runs of 1,000 rows were stopped, and how long each took."""
    make = server(strays(share), latency=WIDE, refusal=0.05)
    ran = [simulate(make, 1000, 50, seed) for seed in range(runs)]
    return sum(run.stopped for run in ran), [run.finished for run in ran]


@pytest.mark.parametrize(("share", "most", "runs"), [(0.05, 1, 15), (0.10, 2, 15)])
def test_strays_hardly_ever_ring_the_alarm(share, most, runs):
    stopped, times = false_alarms(share, runs)
    assert stopped <= most
    assert max(times) <= 2.5 * statistics.median(times)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "most"), [(0.05, 2), (0.10, 15)])
def test_strays_hardly_ever_ring_the_alarm_in_a_thousand_runs(share, most):
    stopped, times = false_alarms(share, 1000)
    assert stopped <= most
    assert max(times) <= 2.5 * statistics.median(times)


def drawn(kind, chance):
    """Return a server by chance, and the seconds that its rows take at least."""
    latency = 10 ** chance.uniform(-1.7, 0.3)
    how = {"latency": latency, "refusal": chance.choice([0.003, 0.03, latency])}
    rate, slots = 10 ** chance.uniform(0.7, 2.3), chance.randint(3, 30)
    share = chance.uniform(0.01, 0.12)
    limit = by(Bucket, rate, rate * chance.choice([0.3, 1.0, 2.0]))
    if chance.random() < 0.5:
        limit = by(Sliding, math.ceil(rate))
    rows = 1000
    plainly = rows * latency / 50
    rules, ideal = {
        "strays": ([strays(share)], None),
        "slots": ([by(Slots, slots)], max(plainly, rows * latency / slots)),
        "rate": ([limit], max(plainly, (rows - rate) / rate)),
        "rate and strays": ([limit, strays(share)], max(plainly, (rows - rate) / rate)),
    }[kind]
    return Line(server(*rules, **how), rows, ideal, 0.0)


CHANCE = {  # the median, and what 90 % stay below
    "strays": (1.1, 1.4),
    "slots": (1.3, 2.2),
    "rate": (1.15, 1.5),
    "rate and strays": (1.25, 1.65),
}


def by_chance(kind, count):
    times = sorted(
        reached(drawn(kind, random.Random(seed)), [seed])[0][0] for seed in range(count)
    )
    return statistics.median(times), times[int(0.9 * count)]


@pytest.mark.parametrize("kind", CHANCE)
def test_the_pace_holds_on_servers_drawn_by_chance(kind):
    median, tenth = by_chance(kind, 9)
    assert median <= CHANCE[kind][0] * 1.1
    assert tenth <= CHANCE[kind][1] * 1.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANCE)
def test_many_servers_by_chance(kind):
    median, tenth = by_chance(kind, 185)
    assert median <= CHANCE[kind][0]
    assert tenth <= CHANCE[kind][1]


def test_eight_threads_tell_it_what_happened():
    limiter = RateLimiter(random=lambda: 0.0)
    counts = [0] * 8

    def work(me):
        chance = random.Random(me)
        for _ in range(300):
            ticket = limiter.reserve(1.0)
            if limiter.delay(ticket) > 0:
                limiter.release(ticket)
            elif chance.random() < 0.05:
                limiter.reject(ticket, None, None)
            elif chance.random() < 0.1:
                limiter.release(ticket)  # cancelled
            else:
                limiter.settle(ticket, 1.0, None)
            counts[me] += 1

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [300] * 8
    assert limiter.in_flight == 0
    assert not limiter.wanting


def test_concurrency_given_is_kept():
    concurrency = Concurrency(50, maximum=500)
    for _ in range(100):
        concurrency.answered(1.0, None)
    assert int(concurrency.size) == 50

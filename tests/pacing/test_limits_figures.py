"""The figures that the pace must reach, simulated against a strict server."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from clock import EventClock

from pandas_llm._pacing import Concurrency, Headroom, RateLimiter
from pandas_llm.types import Quota, Quotas

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 10.0  # requests a second of most servers here
TOKENS = 500.0  # tokens of a mean request


@dataclass
class Meter:
    """A strict token bucket of the server."""

    rate: float
    size: float
    period: float = 60.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.size

    def refill(self, now: float) -> None:
        self.level = min(self.size, self.level + self.rate * (now - self.at))
        self.at = now

    def missing(self, amount: float) -> float:
        return (amount - self.level) / self.rate

    def quota(self, now: float) -> Quota:
        self.refill(now)
        reset = (self.size - self.level) / self.rate
        limit = self.rate * self.period
        return Quota(limit, float(math.floor(self.level)), reset, self.period)


class Window(Meter):
    """A fixed window, full again at its end."""

    def refill(self, now: float) -> None:
        if now // self.period != self.at // self.period:
            self.level = self.size
        self.at = now

    def missing(self, amount: float) -> float:
        return self.period - self.at % self.period

    def quota(self, now: float) -> Quota:
        self.refill(now)
        return Quota(self.size, self.level, self.missing(1), self.period)


class Tenth(Window):
    """A tenth of a limit a minute in each ten seconds, as Azure counts."""

    def quota(self, now: float) -> Quota:
        _, left, reset, _ = super().quota(now)
        return Quota(60 * self.rate, left, reset, 60.0)


class Gateway(Meter):
    """Several accounts behind one address: each request is one's, by chance."""

    def __init__(self, *accounts: tuple[float, Meter]) -> None:
        self.weights = [weight for weight, _ in accounts]
        self.meters = [meter for _, meter in accounts]
        self.chance = random.Random(1)
        self.turn()
        tightest = min(m.rate / w for w, m in accounts)
        super().__init__(tightest * sum(self.weights), 1.0)

    def turn(self) -> None:
        self.its = self.chance.choices(self.meters, self.weights)[0]

    @property
    def level(self) -> float:
        return self.its.level

    @level.setter
    def level(self, level: float) -> None:
        self.its.level = level

    def refill(self, now: float) -> None:
        self.turn()
        self.its.refill(now)

    def quota(self, now: float) -> Quota:
        return self.its.quota(now)


class Liar(Meter):
    """Tells a tenfold limit, untouched, with half of its answers."""

    chance = random.Random(1)

    def quota(self, now: float) -> Quota:
        limit, left, reset, period = super().quota(now)
        if self.chance.random() < 0.5:
            return Quota(10 * limit, 10 * limit - 1, 0.0, period)
        return Quota(limit, left, reset, period)


@dataclass
class Server:
    """Answers as late as it likes, refuses at once what its meters do not hold."""

    clock: EventClock
    random: random.Random
    requests: Meter | None = None
    tokens: Meter | None = None
    headers: bool = True
    late: bool = False  # headers tell what is left when the answer goes
    retry_after: Callable[[float], float | None] = lambda wait: wait
    median: float = 1.0
    sigma: float = 0.8
    slots: int | None = None
    stall: tuple[float, float] = (-1.0, -1.0)
    backlog: list[tuple[Any, ...]] = field(default_factory=list)
    busy: int = 0
    peak: int = 0

    def receive(self, used: float, reply: Callable[..., None]) -> None:
        if self.put_off(self.receive, used, reply):
            return
        now = self.clock.now
        wait = 0.0
        wanted = [(self.requests, 1.0), (self.tokens, used)]
        meters = [(meter, amount) for meter, amount in wanted if meter is not None]
        for meter, amount in meters:
            meter.refill(now)
            if meter.level < amount - 1e-9:
                wait = max(wait, meter.missing(amount))
        if wait > 0:
            refusal = (429, self.retry_after(wait), self.quotas())
            self.clock.after(0.05, reply, *refusal)
            return
        for meter, amount in meters:
            meter.level -= amount
        self.backlog.append((reply, self.quotas()))
        self.peak = max(self.peak, self.busy + len(self.backlog))
        self.work()

    def work(self) -> None:
        while self.backlog and (self.slots is None or self.busy < self.slots):
            self.busy += 1
            latency = self.median * math.exp(self.random.gauss(0, self.sigma))
            self.clock.after(latency, self.finish, *self.backlog.pop(0))

    def finish(self, reply: Callable[..., None], quotas: Quotas | None) -> None:
        if self.put_off(self.finish, reply, quotas):
            return
        self.busy -= 1
        self.work()
        reply(200, None, self.quotas() if self.late else quotas)

    def put_off(self, action: Callable[..., None], *args: Any) -> bool:
        stalled = self.stall[0] <= self.clock.now < self.stall[1]
        if stalled:
            self.clock.after(self.stall[1] - self.clock.now, action, *args)
        return stalled

    def quotas(self) -> Quotas | None:
        if not self.headers:
            return None
        now = self.clock.now
        meters = (self.requests, self.tokens)
        return Quotas(*(meter and meter.quota(now) for meter in meters))


@dataclass
class Client:
    """A worker pool as the engine's, over a limiter as the client uses it."""

    server: Server
    limiter: RateLimiter
    concurrency: Concurrency
    rows: int
    guess: Callable[[float], float] = lambda used: used
    scatter: float = 0.4
    """How much tokens scatter, by their logarithm."""
    worst: int = 0
    """Refusals of the row that had most."""
    taken: int = 0
    done: int = 0
    asleep: int = 0
    refused: int = 0
    used: float = 0.0
    left: float = 0.0
    finished: float = 0.0

    def start(self) -> None:
        self.clock = self.server.clock
        self.random = self.server.random
        self.take()  # the probe

    def take(self) -> None:
        self.taken += 1
        meter = self.server.tokens
        used = TOKENS
        if meter is not None:
            used = math.exp(self.random.gauss(-(self.scatter**2) / 2, self.scatter))
            used *= TOKENS
            used = min(used, meter.size)
        self.used += used
        self.ask(used)

    def ask(self, used: float, tries: int = 0) -> None:
        self.wait(self.limiter.reserve(self.guess(used)), used, tries)

    def wait(self, ticket: Any, used: float, tries: int) -> None:
        delay = self.limiter.delay(ticket)
        if delay > 0:
            late = 0.002 * self.random.random()
            self.clock.after(delay + late, self.wait, ticket, used, tries)
            return
        sent = self.left = self.clock.now

        def back(*answer: Any) -> None:
            self.clock.after(0.02, self.answer, ticket, used, tries, sent, *answer)

        network = 0.02 + 0.005 * self.random.random()
        self.clock.after(network, self.server.receive, used, back)

    def answer(
        self, ticket: Any, used: float, tries: int, sent: float, *reply: Any
    ) -> None:
        status, retry_after, quotas = reply
        if status != 200:
            self.refused += 1
            self.worst = max(self.worst, tries + 1)
            self.asleep += 1
            delay = self.limiter.reject(ticket, retry_after, quotas, tries + 1)
            self.clock.after(delay, self.wake, used, tries + 1)
            self.fill()
            return
        self.limiter.settle(ticket, used, quotas)
        self.concurrency.answered(self.clock.now - sent, self.limiter.plan())
        self.done += 1
        self.finished = self.clock.now
        self.fill()

    def wake(self, used: float, tries: int) -> None:
        self.asleep -= 1
        self.ask(used, tries)

    def fill(self) -> None:
        most = min(int(self.concurrency.size), self.limiter.cap)
        while self.taken < self.rows and self.taken - self.done - self.asleep < most:
            self.take()

    @property
    def share(self) -> float:
        """Refusals of all that was sent."""
        return self.refused / (self.rows + self.refused)


def simulate(
    *,
    rows: int = 6000,
    requests: Meter | None = None,
    tokens: Meter | None = None,
    options: bool = False,
    limit: int | None = None,
    guess: Callable[[float], float] = lambda used: used,
    scatter: float = 0.4,
    seed: int = 1,
    before: Callable[[Server], None] = lambda server: None,
    headroom: Headroom | None = None,
    **server: Any,
) -> Client:
    """Run the rows to their end; the client's `finished` is the time it took."""
    clock, chance = EventClock(), random.Random(seed)
    there = Server(clock, chance, requests, tokens, **server)
    limiter = RateLimiter(clock=clock, random=chance.random)
    concurrency = Concurrency(limit, maximum=500, clock=clock)
    client = Client(there, limiter, concurrency, rows, guess, scatter)
    before(there)
    per_minute = [meter and 60 * meter.rate for meter in (requests, tokens)]
    with limiter.bound(*(per_minute if options else (None, None)), headroom):
        client.start()
        clock.run(lambda: client.done == rows)
    return client


def ideal(client: Client, others: float = 0.0) -> float:
    """Return the seconds that the server's limits ask for at least."""
    server = client.server
    times = [0.0]
    if server.requests is not None:
        free = server.requests.rate - others
        times.append((client.rows - server.requests.size) / free)
    if server.tokens is not None:
        free = server.tokens.rate - others * TOKENS
        times.append((client.used - server.tokens.size) / free)
    return max(times)


def by_requests(seconds: float = 1.0, rate: float = RATE) -> Meter:
    return Meter(rate, max(1.0, rate * seconds))


def by_tokens(seconds: float = 2.0) -> Meter:
    return Meter(RATE * TOKENS, RATE * TOKENS * seconds)


KNOWN = {
    "requests": {"requests": by_requests},
    "requests, a burst of a minute": {"requests": lambda: by_requests(60)},
    "requests, told late": {"requests": by_requests, "late": True},
    "tokens": {"tokens": by_tokens},
    "tokens, told late": {"tokens": by_tokens, "late": True},
    "tokens, 30 % underestimated": {
        "tokens": by_tokens,
        "guess": lambda used: 0.7 * used,
    },
    "tokens, 30 % overestimated": {
        "tokens": by_tokens,
        "guess": lambda used: 1.3 * used,
    },
    "both": {"requests": by_requests, "tokens": by_tokens},
    "requests by option": {"requests": by_requests, "headers": False, "options": True},
    "tokens by option": {"tokens": by_tokens, "headers": False, "options": True},
}


def made(case: dict[str, Any]) -> dict[str, Any]:
    """Make the meters of a case; a run uses them up."""
    meters = ("requests", "tokens")
    return {name: make() if name in meters else make for name, make in case.items()}


@pytest.mark.parametrize("case", KNOWN.values(), ids=KNOWN)
def test_known_limits_are_used_up_and_not_overrun(case):
    client = simulate(**made(case))
    assert client.left <= 1.02 * ideal(client)  # the last answer may take long
    assert client.share < 0.005


@pytest.mark.parametrize("headers", [True, False])
def test_a_server_that_grants_no_burst_refuses_hardly_any(headers):
    strict = {"requests": Meter(RATE, 1.0), "headers": headers, "options": not headers}
    client = simulate(rows=3000, **strict)
    assert client.left <= 1.08 * ideal(client)
    assert client.share < 0.015


@pytest.mark.parametrize(
    "accounts",
    [
        ((0.5, 10.0), (0.5, 100.0)),
        ((0.9, 90.0), (0.1, 10.0)),
        ((0.99, 60.0), (0.01, 1.0)),
    ],
)
def test_each_limit_of_a_gateway_holds_for_what_its_account_gets(accounts):
    gateway = Gateway(*[(weight, Meter(rate, rate)) for weight, rate in accounts])
    client = simulate(requests=gateway, rows=4000)
    assert client.left <= 1.8 * ideal(client)  # one pace for all took 3.5
    assert client.share < 0.03


def test_limits_told_in_turn_do_not_refuse_what_the_least_of_them_holds_back():
    client = simulate(requests=Liar(RATE, 10 * RATE), rows=3000)
    assert client.left <= 1.05 * ideal(client)
    assert client.share < 0.02


BLIND = {
    "requests": {"requests": by_requests},
    "requests, a small burst": {"requests": lambda: by_requests(0.3)},
    "whole seconds of retry-after": {"requests": by_requests, "retry_after": math.ceil},
    "no retry-after": {"requests": by_requests, "retry_after": lambda wait: None},
    "tokens": {"tokens": by_tokens},
}


@pytest.mark.parametrize("case", BLIND.values(), ids=BLIND)
def test_a_limit_that_nothing_tells_is_learned_from_refusals(case):
    client = simulate(headers=False, **made(case))
    assert client.finished <= 1.10 * ideal(client)
    assert client.share < 0.05


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("told", [True, False])
def test_large_rows_have_their_turn_under_a_limit_on_tokens(told, seed):
    """After 30 refusals while smaller rows pass they would be taken for too large."""
    wait = (lambda wait: wait) if told else (lambda wait: None)
    limited = {"tokens": by_tokens(), "headers": False, "retry_after": wait}
    client = simulate(rows=3000, **limited, scatter=1.3, seed=seed)
    assert client.worst <= 20
    assert client.finished <= 1.3 * ideal(client)
    assert client.share < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_a_limit_that_nothing_tells_is_found_within_seconds(seed):
    """Four times what the first refusal lets one guess, in a run of 20 seconds."""
    meter = Meter(40.0, 5.0)
    client = simulate(
        rows=800, requests=meter, headers=False, median=0.1, sigma=0.0, seed=seed
    )
    assert client.left <= 1.15 * ideal(client)
    assert client.share < 0.08


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("burst", [1.0, 3.0])
def test_another_client_that_takes_half_is_made_room_for(burst, late):
    taken = [0, 0]

    def other(server):
        def send():
            server.receive(TOKENS, lambda status, *_: count(status))
            server.clock.after(server.random.expovariate(RATE / 2), send)

        def count(status):
            taken[status != 200] += 1

        send()

    meter = by_requests(burst)
    client = simulate(rows=3000, requests=meter, late=late, before=other)
    assert client.share < 0.03
    assert client.finished <= 1.15 * ideal(client, others=RATE / 2)  # not starved
    assert taken[1] <= 0.1 * taken[0]  # nor is the other


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_a_stall_of_ten_seconds_costs_little_more(unit, headers):
    def run(seed, **stall):
        meter = {"requests": by_requests, "tokens": by_tokens}[unit]()
        limited = {unit: meter, "headers": headers, "seed": seed}
        return simulate(rows=3000, **limited, **stall).left

    cost = [run(seed, stall=(100.0, 110.0)) - run(seed) for seed in range(4)]
    assert sum(cost) / len(cost) <= (12 if headers else 15)  # a guess wanders too


def test_a_fixed_window_is_spread_over_its_time():
    client = simulate(rows=3000, requests=Window(RATE, 60 * RATE))
    assert client.finished <= 1.03 * 3000 / RATE
    assert client.refused == 0


def test_windows_shorter_than_the_limit_says_are_used_up():
    client = simulate(rows=3000, requests=Tenth(RATE, 10 * RATE, 10.0))
    assert client.finished <= 1.35 * 3000 / RATE
    assert client.share < 0.005


def test_uneven_latencies_leave_a_fixed_concurrency_busy():
    client = simulate(rows=8000, limit=50, headers=False)
    mean = math.exp(0.8**2 / 2) + 0.04
    assert client.finished <= 8000 * mean / 50 / 0.9


@pytest.mark.parametrize("slots", [4, 12, 60])
def test_a_server_with_few_slots_is_not_flooded(slots):
    client = simulate(rows=200 * slots, slots=slots, headers=False)
    mean = math.exp(0.8**2 / 2)
    assert int(client.concurrency.size) <= 4 * slots
    assert client.server.peak <= min(16 * slots, 300)
    assert client.finished <= 1.15 * client.rows * mean / slots + 5


def test_a_server_without_limits_is_given_all_there_is():
    client = simulate(rows=8000, headers=False)
    assert int(client.concurrency.size) == 500
    mean = math.exp(0.8**2 / 2)
    assert client.left <= 8000 * mean / 500 + 12


def test_a_known_rate_needs_no_more_in_flight_than_littles_law_asks():
    client = simulate(rows=3000, requests=by_requests())
    mean = math.exp(0.8**2 / 2) + 0.04
    assert RATE * mean <= int(client.concurrency.size) <= 4 * RATE * mean


def test_a_bigger_server_is_found_and_used():
    """A server that gets ten times the slots in the middle of a run is given more."""

    def grow(server):
        server.clock.after(150.0, setattr, server, "slots", 40)

    client = simulate(rows=4000, slots=4, headers=False, before=grow)
    assert int(client.concurrency.size) >= 24


def test_two_runs_on_one_limiter_share_the_rate():
    clock, chance = EventClock(), random.Random(1)
    server = Server(clock, chance, by_requests())
    limiter = RateLimiter(clock=clock, random=chance.random)
    clients = [
        Client(server, limiter, Concurrency(None, maximum=500, clock=clock), 1500)
        for _ in range(2)
    ]
    for client in clients:
        client.start()
    clock.run(lambda: all(client.done == client.rows for client in clients))
    first, last = sorted(client.finished for client in clients)
    assert last <= 1.05 * (3000 - RATE) / RATE
    assert first >= 0.8 * last
    assert sum(client.refused for client in clients) < 0.005 * 3000


def test_a_daily_budget_is_spent_at_once():
    """Groq tells requests a day: 14,400 of them are no request every six seconds."""
    day = Meter(14_400 / 86_400, 14_400, period=86_400)
    client = simulate(rows=1000, requests=day)
    assert client.refused == 0
    assert client.finished < 60


# -- a part is left to others ----------------------------------------------------


def left(part: float) -> Headroom:
    return Headroom(part, lambda part: None)


def pace(client: Client, part: float = 0.0) -> float:
    """Return the part of the tightest limit that was used, its burst in proportion."""
    server, parts = client.server, []
    for meter, used in ((server.requests, client.rows), (server.tokens, client.used)):
        if meter is not None:
            parts.append((used - (1 - part) * meter.size) / client.left / meter.rate)
    return max(parts)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=SLOW)])
@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("part", [0.2, pytest.param(0.5, marks=SLOW)])
def test_a_run_leaves_its_part_of_known_limits(kind, part, seed):
    known, levels = {**KNOWN[kind]}, []
    meters = {k: known.pop(k)() for k in ("requests", "tokens") if k in known}

    def watch(server: Server) -> None:
        receive = server.receive

        def watched(used: float, reply: Callable[..., None]) -> None:
            receive(used, reply)
            levels.extend(meter.level / meter.size for meter in meters.values())

        server.receive = watched

    most = {"limit": 60, "headroom": left(part), "before": watch}
    client = simulate(rows=2000, **meters, **known, seed=seed, **most)
    # of a large burst a tenth is left as ever, and 2,000 rows are few
    close = 0.04 if "burst" in kind else 0.02
    assert pace(client, part) == pytest.approx(1 - part, abs=close)
    assert client.refused <= 3
    if "estimated" not in kind:  # whoever else comes finds its part of the burst, too
        assert min(levels[100:]) >= part - 0.1


@pytest.mark.parametrize("kind", KNOWN)
def test_no_headroom_is_the_pace_without_it_to_the_digit(kind):
    def times(headroom: Headroom | None) -> tuple[float, ...]:
        known = {**KNOWN[kind]}
        meters = {k: known.pop(k)() for k in ("requests", "tokens") if k in known}
        client = simulate(rows=1500, **meters, **known, headroom=headroom)
        return client.finished, client.left, client.refused

    assert times(left(0.0)) == times(None)


@pytest.mark.parametrize("kind", ["requests", "tokens", "requests by option"])
@pytest.mark.parametrize("parts", [(0.2, 0.5), (0.5, 0.0), (0.0, 0.5), (0.95, 0.1)])
def test_headroom_that_is_changed_holds_within_a_second(kind, parts):
    known, headroom = {**KNOWN[kind]}, left(parts[0])
    meters = {k: known.pop(k)() for k in ("requests", "tokens") if k in known}
    seen = []

    def watch(server: Server) -> None:
        receive = server.receive

        def counted(used: float, reply: Callable[..., None]) -> None:
            seen.append((server.clock.now, used))
            receive(used, reply)

        server.receive = counted
        server.clock.after(100.0, lambda: setattr(headroom, "part", parts[1]))

    rows = round(RATE * (100 * (1 - parts[0]) + 100 * (1 - parts[1])))
    simulate(rows=rows, **meters, **known, limit=60, headroom=headroom, before=watch)
    for (begin, end), part in zip([(10, 100), (101, 170)], parts, strict=True):
        used = [
            used if kind == "tokens" else 1 for at, used in seen if begin < at <= end
        ]
        rate = RATE * (TOKENS if kind == "tokens" else 1)
        assert sum(used) / (end - begin) / rate == pytest.approx(1 - part, abs=0.03)


def test_headroom_set_a_hundred_times_a_second_grants_no_bursts():
    headroom = left(0.5)

    def restless(server: Server, tick: int = 0) -> None:
        headroom.part = 0.5 + 0.001 * (tick % 2)
        server.clock.after(0.01, restless, server, tick + 1)

    client = simulate(
        rows=600, requests=by_requests(), headroom=headroom, before=restless
    )
    assert pace(client, 0.5) == pytest.approx(0.5, abs=0.02)


def test_others_who_take_more_than_the_headroom_are_made_room_for():
    """They take half of a limit of which a fifth was left: the run does with half."""

    def others(server: Server) -> None:
        server.requests.refill(server.clock.now)
        server.requests.level = max(0.0, server.requests.level - 1)
        server.clock.after(2 / RATE, others, server)

    client = simulate(
        rows=1500, requests=by_requests(5), headroom=left(0.2), before=others
    )
    assert pace(client, 0.2) == pytest.approx(0.5, abs=0.05)
    assert client.share < 0.03


def test_a_server_that_counts_twice_as_much_still_has_something_left_for_others():
    levels, meter = [], by_tokens()

    def double(server: Server) -> None:
        receive = server.receive

        def counted(used: float, reply: Callable[..., None]) -> None:
            receive(2 * used, reply)
            levels.append(meter.level / meter.size)

        server.receive = counted

    client = simulate(rows=1500, tokens=meter, headroom=left(0.4), before=double)
    steady = sorted(levels[300:])
    assert steady[len(steady) // 20] > 0.35
    assert client.share < 0.01


def test_of_a_daily_budget_a_part_is_kept():
    day = Meter(1000 / 86_400, 1000, period=86_400)
    client = simulate(rows=810, requests=day, headroom=left(0.2))
    assert client.refused == 0
    assert day.level == pytest.approx(200, abs=12)  # those in flight, at most


def test_of_runs_side_by_side_the_one_that_leaves_most_decides():
    limiter = RateLimiter(clock=lambda: 0.0)
    with limiter.bound(600, None, left(0.2)):
        assert limiter.plan() == pytest.approx(8.0)
        with limiter.bound(600, None, left(0.5)):
            assert limiter.plan() == pytest.approx(5.0)
        with limiter.bound(None, None, left(0.0)):
            assert limiter.plan() == pytest.approx(8.0)
    assert limiter.plan() is None

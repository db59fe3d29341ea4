"""Backoff, and the circuit that holds a run back while its server is down."""

from dataclasses import dataclass

from clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm._pacing.retry import Circuit, backoff


@dataclass
class Row:
    attempts: int = 1
    failures: int = 0
    failed: float = 0.0


@given(
    attempt=st.integers(0, 2000),
    asked=st.one_of(st.none(), st.floats(0, 1e5)),
    drawn=st.floats(0, 1),
)
def test_a_wait_is_bounded_and_never_shorter_than_asked_for(attempt, asked, drawn):
    wait = backoff(attempt, asked, random=lambda: drawn)
    assert wait >= (asked or 0)
    assert wait <= max(60.0, (asked or 0) * 1.2)
    assert backoff(attempt + 1, None, lambda: drawn) >= backoff(
        attempt, None, lambda: drawn
    )


def opened(clock=None, rows=10):
    circuit = Circuit(clock=clock or Clock())
    failed = [Row() for _ in range(rows)]
    for row in failed:
        circuit.failed(row)
    return circuit, failed


def test_a_streak_over_several_rows_opens_it_and_is_given_back():
    circuit, rows = opened()
    assert circuit.is_open
    assert [row.failures for row in rows] == [0] * 10


def test_a_streak_of_one_row_says_nothing_of_the_server():
    circuit, row = Circuit(clock=Clock()), Row()
    for _ in range(30):
        circuit.failed(row)
    assert not circuit.is_open
    assert row.failures == 30


def test_an_answer_ends_a_streak():
    clock = Clock()
    circuit = Circuit(clock=clock)
    for _ in range(50):
        for _ in range(9):
            circuit.failed(Row())
        clock.now += 2
        for _ in range(45):
            circuit.succeeded(sent=clock.now - 1, now=clock.now)
    assert not circuit.is_open


def test_answers_to_earlier_requests_do_not_end_a_streak():
    """Slow answers still come in while all that is new fails."""
    clock = Clock()
    circuit = Circuit(clock=clock)
    for answer in range(10):
        assert not circuit.is_open
        clock.now = 1 + answer / 100
        circuit.failed(Row())
        circuit.succeeded(sent=0.5, now=clock.now)
    assert circuit.is_open


def test_a_few_failures_beside_many_slow_answers_are_no_outage():
    """Failures come at once and answers after a second: one in ten of 256 fails."""
    clock = Clock()
    circuit = Circuit(clock=clock)
    for step in range(2560):
        clock.now = 1 + step / 256
        if step % 10 == 0:
            circuit.failed(Row())
        else:
            circuit.succeeded(sent=clock.now - 1, now=clock.now)
        assert not circuit.is_open


def test_one_request_goes_out_at_growing_intervals_until_one_is_answered():
    clock = Clock()
    circuit, _ = opened(clock)
    asked = []
    while clock.now < 100:
        if circuit.delay() == 0:
            asked.append(clock.now)
            circuit.failed(Row())
        clock.now += 0.125
    assert asked == [1, 3, 7, 15, 31, 61, 91]
    circuit.succeeded(sent=91, now=clock.now)
    assert circuit.delay() == 0.0
    assert not circuit.is_open


def test_while_it_is_open_no_row_pays():
    circuit, _ = opened()
    row = Row()
    for _ in range(20):
        circuit.failed(row)
    assert row.failures == 0


def test_retries_are_a_fifth_of_the_successes_and_a_floor():
    circuit = Circuit(clock=Clock())
    for _ in range(1000):
        circuit.succeeded(sent=0.0, now=0.0)
    spent, row = 0, Row()  # of one row, which is no streak
    while not circuit.is_open:
        circuit.failed(row)
        spent += 1
    assert spent in (300, 301)  # sums of 0.2 are not exact


def test_an_outage_that_outlasts_the_patience_exhausts_the_circuit():
    clock = Clock()
    circuit, _ = opened(clock)
    clock.now = 899
    assert not circuit.exhausted
    clock.now = 901
    assert circuit.exhausted


def test_an_answer_to_an_earlier_request_does_not_end_an_outage():
    clock = Clock()
    clock.now = 5
    circuit, rows = opened(clock)
    clock.now = 6
    circuit.succeeded(sent=4, now=6)
    assert circuit.is_open
    circuit.last = True  # nothing better can come
    assert not circuit.is_open
    circuit.failed(rows[0])
    assert rows[0].failures == 1


def test_no_connection_costs_no_row_and_opens_it_by_itself():
    """A server that stops listening may still answer over the connections it has."""
    clock = Clock()
    circuit, row = Circuit(clock=clock), Row()
    circuit.failed(row)
    clock.now = 1
    for _ in range(9):
        circuit.unmade()
        circuit.succeeded(sent=0.5, now=1)
    assert not circuit.is_open
    for _ in range(10):
        circuit.unmade()
    assert circuit.is_open
    circuit.succeeded(sent=0.5, now=1)
    assert circuit.is_open  # an answer over an old connection does not close it
    assert row.failures == 1
    clock.now = 3
    circuit.succeeded(sent=2, now=3)
    assert not circuit.is_open


def test_the_last_row_waits_for_a_server_that_is_away():
    clock = Clock()
    circuit, row = Circuit(clock=clock), Row()
    circuit.last = True
    for _ in range(10):
        circuit.unmade()
    assert circuit.is_open
    assert circuit.delay(row) > 0
    clock.now = 1000
    assert circuit.exhausted


def test_an_outage_among_the_last_rows_ends_only_with_an_answer():
    """Workers say at each look that there are no new rows; that is no news."""
    clock, rows = Clock(), [Row(), Row(), Row()]
    circuit = Circuit(clock=clock)
    circuit.last = True
    while not circuit.is_open:
        for row in rows:
            circuit.failed(row)
    circuit.last = True
    assert circuit.is_open


def test_an_answer_to_an_earlier_request_does_not_make_failures_a_rows_own():
    clock = Clock()
    circuit, one, other = Circuit(clock=clock), Row(), Row()
    circuit.succeeded(sent=0, now=0)
    clock.now = 5
    circuit.failed(one)
    circuit.failed(other)
    circuit.succeeded(sent=4, now=6)
    clock.now = 6
    circuit.failed(one)
    assert circuit.spares(one)  # the other failed too, and nothing left since
    assert circuit.is_open


def test_a_row_that_fails_alone_is_not_spared():
    clock = Clock()
    circuit, one, other = Circuit(clock=clock), Row(), Row()
    circuit.failed(other)
    clock.now = 2
    circuit.succeeded(sent=1, now=2)
    circuit.failed(one)
    circuit.failed(one)
    assert not circuit.spares(one)


def test_rows_are_blamed_by_an_answer_to_a_request_that_left_after_they_had_failed():
    clock = Clock()
    circuit = Circuit(clock=clock)
    rows = [Row() for _ in range(10)]
    for row in rows:
        clock.now += 1
        circuit.failed(row)
    assert circuit.is_open
    circuit.succeeded(sent=5.5, now=11)
    assert circuit.is_open  # five that failed later still speak for it
    circuit.succeeded(sent=6.5, now=11)
    assert not circuit.is_open
    circuit.failed(rows[0])
    assert circuit.spares(rows[9])
    assert not circuit.spares(rows[0])

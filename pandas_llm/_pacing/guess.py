"""The pace where nobody states a limit: what refusals alone show of it.

NOTES.md says what each part is and why each number is what it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pandas_llm._pacing.buckets import LATE, REQUESTS, TOKENS, Bucket
from pandas_llm._pacing.concurrency import Cap
from pandas_llm._pacing.wave import MOST_STRAYS, PaceTest, Wave

if TYPE_CHECKING:
    from pandas_llm._pacing.buckets import Ticket

_NOTABLE: Final = 0.04  # a thinner share is never doubted
_PAUSE: Final = (0.05, 8.0)  # seconds before the first trial, and at most
_MISSES: Final = 3  # refused trials that tell a window
_LAG: Final = 0.02  # seconds in which a refusal comes, at least
_LAGS: Final = 1.5  # times that refusals have taken, in which one comes
_LEAST: Final = 5.0  # requests a second that the first alarm lets one guess at least
_SLOWEST: Final = 1 / 60  # requests a second that are guessed at least, ever
_UNBOUND: Final = 0.4  # a pace of which no more than this is used does not bind
_EVIDENCE: Final = 8  # answers that are worth a conclusion
_AGED: Final = 400  # requests after which a share of refusals is counted afresh
_SAFE: Final = 0.97  # of a measured rate, what is used
_IDLE: Final = (3.0, 60.0)  # seconds of silence: a guess is a hint, is nothing
_PROBE: Final = (2.0, 30.0)  # seconds to the first probe, and at most between two
_SOON: Final = 0.5  # seconds to a probe after a cut that was not measured
_GLANCE: Final = 0.02  # seconds between looks where another's answer decides

FREE, SHUT, SEARCH, HOLD = "free", "shut", "search", "hold"


class Guess:
    """What an account's refusals show: a pace and how many at a time, or neither."""

    def __init__(self) -> None:
        self.flight = 0
        self._wave = Wave()
        self._refusals = 0
        self._heard = 0.05  # seconds that a refusal takes
        self._strays = self._taken = 0.0
        self._forget(0.0)

    def _forget(self, now: float) -> None:
        self.state = FREE
        self.pace: Bucket | None = None
        self._rate = self._clean = self._start = self._period = 0.0
        self._alarms, self._cut = 0, False
        self._mean = 0.0  # tokens of a mean request, where the limit is one on tokens
        self._gain, self._next, self._patience = 1.1, now, _PROBE[0]
        self._closed = self._shut = now
        self._begin_wave(now, now)
        self.cap = Cap()
        self._test: PaceTest | None = None

    def _begin_wave(self, now: float, anchor: float, first: int | None = None) -> None:
        """Begin a wave: refusals of requests sent before it count for nothing."""
        self._wave.begin(anchor, first)
        self._trial: Ticket | None = None
        self._missed = 0
        self._begin_watch(now)

    # -- what the limiter asks ------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether it holds nothing back."""
        return self.state == FREE and self.cap.least == math.inf

    @property
    def plan(self) -> float:
        """Requests a second that are granted in the long run; infinity if unknown."""
        if self.state != HOLD or self.pace is None:
            return math.inf
        return self.pace.rate / (self._mean or 1.0)

    @property
    def _gone(self) -> float:
        """All that has left, in the unit of the pace."""
        recent = self._wave.recent
        return recent[-1].mark[TOKENS] if self._mean and recent else self._wave.count

    def shut(self, now: float) -> float:
        """Return the seconds for which nobody may leave."""
        return max(0.0, self._shut - now) if self.state == SHUT else 0.0

    def wait(self, ticket: Ticket, now: float, first: bool) -> float:  # noqa: FBT001 - as hot as it gets
        """Return the seconds until a request may leave, as far as it knows."""
        self._judge(now)
        if self.state == SHUT:
            left = max(0.0, self._shut - now)
            return left if first and self._trial is None else left + _GLANCE
        wait = 0.0
        if self.pace is not None:
            self.pace.advance(now, self._gone)
            wait = self.pace.wait(ticket)
            if self.state == SEARCH:  # it may soon be faster
                wait = min(wait, _GLANCE)
        return max(wait, _GLANCE) if self.flight >= self.cap.at(now) else wait

    # -- what the limiter tells -----------------------------------------------------

    def sent(self, ticket: Ticket, now: float) -> None:
        """Record that a request has left."""
        recent = self._wave.recent
        if not recent:
            self._begin_wave(now, now)
        elif not self.flight:
            # while it was shut nobody could send
            idle = now - max(recent[-1].sent, self._shut)
            if idle > _IDLE[0]:
                self._wake(now, idle)
        self._wave.count += 1
        ticket.number = self._wave.count
        recent.append(ticket)
        ticket.crowd = self.flight
        self.flight += 1
        if self.state == SHUT:
            self._trial = ticket
        if self._test is not None:
            self._test.sent(self._wave.count, now)

    def answered(self, ticket: Ticket, now: float) -> None:
        """Record that a request was not refused."""
        self.flight -= 1
        ticket.done = now
        if self.state == FREE and self._test is None and self.cap.least == math.inf:
            return  # nearly always
        self._judge(now)
        if ticket is self._trial:
            self._open(ticket, now)
        elif ticket.crowd >= self.cap.least and ticket.number > self._wave.first:
            self.cap.raised(ticket.crowd, now)

    def refused(self, ticket: Ticket, now: float, asked: float | None) -> None:
        """Record that a request was refused, and the wait that was asked for."""
        self.decided(ticket, now)
        ticket.refused = True
        self._refusals += 1
        self._heard += 0.2 * (now - ticket.sent - self._heard)
        self._judge(now)
        if ticket is self._trial:
            self._missed += 1
            self._trial = None
            if ticket.crowd < self.cap.least:
                self.cap = Cap()
            self._pause(now, asked)
        elif ticket.number > self._wave.first and self.state != SHUT:
            if ticket.crowd >= self.cap.least:
                self.cap.confirmed(now)
                return
            if self._test is not None:
                self._test.refused(ticket.number)
            start = self._wave.refused(ticket, self._strays, alarmed=self._alarms > 0)
            if start is not None:
                self._alarm(start, now, asked)
            elif self._test is None:
                self._doubt(now)

    def decided(self, ticket: Ticket, now: float) -> None:
        """Record that a request is no longer in flight."""
        self.flight -= 1
        ticket.done = now

    def _alarm(self, start: Ticket, now: float, asked: float | None) -> None:
        self._alarms += 1
        self._mean = self._mean or self._wave.heavier()
        self._measure(start)
        refused, answered = self._wave.crowds()
        if refused[0] < max([1, *answered]):
            self.cap = Cap()
        elif self._alarms == 1 or len(answered) >= _EVIDENCE:
            self.cap = Cap(refused[min(1, len(refused) - 1)], now)
        self._test = None
        self.state = SHUT
        self._begin_wave(now, now)
        self._closed = now
        self._pause(now, asked)

    def _measure(self, start: Ticket) -> None:
        """Set the rate by what was accepted since the last time that it was full."""
        seconds = start.sent - max(self._wave.anchor, self._wave.recent[0].sent)
        accepted = self._wave.accepted(seconds, start, self._mean)
        if self._alarms == 1:
            self._rate = max(_LEAST, accepted / max(1.0, seconds), self._clean / 2)
            return
        rate, self._cut = 0.9 * self._rate, True
        if accepted >= _EVIDENCE and seconds >= self._period:
            rate, self._cut = accepted / seconds, False
            if self._period * rate >= 10:  # noqa: PLR2004 - a window's
                lately = self._wave.accepted(self._period, start, self._mean)
                lately /= self._period
                rate = min(1.5 * rate, max(rate, lately))
            elif self._clean:
                rate, self._cut = max(rate, 0.5 * self._clean), True
        test = self._test
        probing = test is not None and not test.slow and start.number > test.first
        probing = probing and self.state == HOLD and not self._cut
        rate, before = _SAFE * min(rate, self._rate), self._rate
        self._rate = max(rate, self._kept()) if probing else rate
        if probing:
            self._patience = min(1.5 * self._patience, _PROBE[1])
        elif self._rate < 0.7 * before:
            self._patience = _PROBE[0]

    def _pause(self, now: float, asked: float | None) -> None:
        first, most = _PAUSE
        if self._alarms > 1:
            first = max(first, 1.5 / self._rate)
        wait = min(most, first * 1.5 ** min(self._missed, 64))
        self._shut = now + (wait if asked is None else asked)

    def _open(self, trial: Ticket, now: float) -> None:
        """Go on after a trial that was not refused."""
        if trial.crowd >= self.cap.least:
            self.cap = Cap()
        anchor = self._closed
        window = self._missed >= _MISSES and self.cap.least == math.inf
        shut = trial.sent - self._closed
        if self._missed or shut > _PAUSE[1]:  # long: as the server asked
            anchor, self._period = trial.sent, shut
        self._begin_wave(now, anchor, self._wave.count - 1)
        self._clean = 0.0
        self._settle(now, SEARCH if self._alarms == 1 and not window else HOLD)

    def _settle(self, now: float, state: str) -> None:
        """Send at the rate that is guessed, and see."""
        self.state = state
        self._set_pace(self._rate, now)
        self._gain, self._start = 1.25 if self._cut else 1.1, self._rate
        self._next = now + max(_SOON if self._cut else _PROBE[0], 2 * self._period)
        if state == SEARCH:
            self._begin_test(now, max(6.0, self._rate * max(0.1, self._period)))

    def _set_pace(self, rate: float, now: float) -> None:
        rate = max(_SLOWEST, rate) / (1 - min(self._strays, MOST_STRAYS))
        unit, size = REQUESTS, 1.0 + LATE * rate
        if self._mean:  # a large one waits until there is room for all of it
            largest = max(ticket.tokens for ticket in self._wave.recent)
            unit, size = TOKENS, max(size * self._mean, largest)
            rate *= self._mean
        if self.pace is None or self.pace.unit != unit:
            self.pace = Bucket(unit, rate, 0.0, now, self._gone)
        self.pace.resize(rate, size, now, self._gone)

    def _begin_test(self, now: float, need: float) -> None:
        """Begin to count the refusals of the next requests."""
        usual = self._strays * need
        most = 1 + usual + 1.5 * math.sqrt(usual)
        self._test = PaceTest(self._wave.count, math.ceil(need), now, most, slow=False)

    def _judge(self, now: float) -> None:
        """End a trial or a test whose refusals would have come by now."""
        lag = max(_LAG, _LAGS * self._heard)
        trial, test = self._trial, self._test
        if trial is not None and now >= trial.sent + lag:
            self._open(trial, now)
        elif test is not None and now >= test.ended + lag:
            self._test = None
            self._strays = min(self._strays, test.tight)
            if test.slow:
                self._end_slow_test(test, now)
            elif self.state == SEARCH:
                self._end_search(test, now)
            else:
                self._end_probe(test, now)
        elif test is None and self.state == HOLD and now >= self._next:
            self._set_pace(self._gain * self._rate, now)
            self._begin_test(now, max(20.0, self._rate * max(0.5, self._period)))

    def _end_search(self, test: PaceTest, now: float) -> None:
        """End an epoch of the search."""
        if not test.clean:
            self._rate = max(0.5 * self._rate, test.speed * (1 - test.share))
            self._cut = True
            self._settle(now, HOLD)
            self._begin_watch(now)  # what the search sent slowly says nothing
        elif test.speed < _UNBOUND * self._rate:
            self._free(now)
        else:
            self._clean = self._rate
            self._rate *= 2
            self._settle(now, SEARCH)

    def _end_probe(self, test: PaceTest, now: float) -> None:
        """End a probe: keep what is clean and go on bolder, else go back."""
        if test.clean and test.speed < _UNBOUND * self._rate:
            self._free(now)
        elif test.clean:
            self._rate *= self._gain
            self._gain = min(2.0, 1 + 2 * (self._gain - 1))
            self._next = now
        else:
            self._rate, self._cut = self._kept(), False
            self._gain, self._start = 1.1, self._rate
            self._set_pace(self._rate, now)
            self._patience = min(1.5 * self._patience, _PROBE[1])
            self._later(now)

    def _later(self, now: float) -> None:
        """Put the next probe off."""
        self._next = now + max(self._patience, 100 / self._rate, 2 * self._period)

    def _kept(self) -> float:
        """Return the rate that a chain of probes leaves when it breaks."""
        if self._rate > 2 * self._start:
            return 0.6 * self._rate
        return self._start * (1.03 if self._rate > self._start else 1.0)

    def _free(self, now: float) -> None:
        self.state, self.pace = FREE, None
        self._alarms = 0
        self._begin_wave(now, now)

    # -- strays or a limit ----------------------------------------------------------

    def _doubt(self, now: float) -> None:
        """Begin a slow test when a thin share of refusals is worth a doubt."""
        holds = self.state == HOLD
        count, least, few = (40, 4, 2) if holds else (100, 8, 4)
        at, number, refused = self._watch
        sent, bad = self._wave.count - number, self._refusals - refused
        if sent < count or bad < least or self.state not in {FREE, HOLD}:
            return
        share, usual = bad / sent, self._strays * sent
        if share <= _NOTABLE or bad <= 1.25 * usual + 2 * math.sqrt(usual):
            if sent > _AGED:
                self._begin_watch(now)
            return
        self._taken = (sent - bad) / max(now - at, 1e-3)
        pace = 0.9 * self._taken if holds else 0.75 * sent / max(now - at, 1e-3)
        self._set_pace(pace, now)
        first = self._wave.count + int(max(0.3, self._period) * pace)
        self._test = PaceTest(
            first, math.ceil((2 * few + 4) / share), now, few, slow=True
        )

    def _end_slow_test(self, test: PaceTest, now: float) -> None:
        """End a slow test: the refusals are gone, or they are strays."""
        share, clean = test.share, test.clean
        self._mean = self._mean or self._wave.heavier()
        if not clean and (share > MOST_STRAYS or self._mean):
            self._taken, clean, share = 0.7 * self._taken, True, 0.0
        self._strays = share if clean else max(share, self._strays)
        if clean:
            self.cap = Cap()
            self._rate, self._cut = _SAFE * max(self._taken, 0.8 * self._rate), False
            self._settle(now, HOLD)
            self._later(now)
            return
        if self.state == FREE:
            self.pace = None
        else:
            self._settle(now, HOLD)
            self._next = now
        self._begin_watch(now)

    def _begin_watch(self, now: float) -> None:
        """Begin to count the refusals that a doubt is about."""
        self._watch = (now, self._wave.count, self._refusals)

    def _wake(self, now: float, idle: float) -> None:
        """Treat what was guessed before a silence as a hint, not as a fact."""
        if idle > _IDLE[1]:
            self._forget(now)
        elif self.state != SHUT:
            self._begin_wave(now, now)
            self._test = None
            if self.state != FREE:
                self._settle(now, SEARCH)

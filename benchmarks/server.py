"""A fast chat-completions server for the benchmark, in its own process.

``python server.py`` prints its port. ``POST /configure`` sets the knobs below and
clears the counters; ``GET /stats`` gives the counters. The text of a request names
its row as ``#123#``, and the reply names it too, so that rows which were lost,
doubled or misplaced can be counted.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import threading
import time
from collections import Counter, deque

import replies
from bucket import Account

DEFAULTS = {
    "latency": 0.0,  # seconds; the median if sigma is set
    "sigma": 0.0,  # of log-normal latencies
    "requests_rate": 0.0,  # a second; 0 does not limit
    "requests_burst": 5.0,
    "tokens_rate": 0.0,
    "tokens_burst": 1500.0,
    "input_rate": 0.0,  # tokens of the input and of the output apart
    "input_burst": 20000.0,
    "output_rate": 0.0,
    "output_burst": 2000.0,
    "window": 0,  # requests in any second
    "change": None,  # [after, requests_rate from then on]
    "slots": 0,  # so many at a time, else refused
    "queue": 0,  # so many at a time, the others wait
    "strays": 0.0,  # share of requests refused for no reason
    "refusal": [429, 0.0, 0.0],  # status; seconds it takes; a stray's retry-after
    "tell": True,  # x-ratelimit-* headers
    "retry_after": True,
    "eaten": 0.0,  # share of the rate that another client takes
    "stall": None,  # [after, for] seconds in which nothing is answered
    "faults": 0.0,  # share of requests
    "seed": 1,
    "extra_headers": "",
}
FAULTS = ("500", "429", "reset", "broken body", "broken text")
_REASONS = {
    200: "OK",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Error",
    503: "Service Unavailable",
}
_PAGE = b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"


class State:
    """Knobs and counters, shared by all connections."""

    def __init__(self, settings: dict) -> None:
        unknown = settings.keys() - DEFAULTS.keys()
        if unknown:
            raise ValueError(f"unknown settings: {unknown}")
        self.settings = {**DEFAULTS, **settings}
        self.account = Account(self.settings)
        self.random = random.Random(self.settings["seed"])
        self.counts: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.first: float | None = None
        self.last = 0.0
        self.connections = 0
        self.in_flight = self.most = self.busy = 0
        self.backlog: deque[tuple] = deque()
        self.work = 0.0
        """Seconds that all answers took together, waits in the queue left out."""
        self.cpu = time.process_time()

    def latency(self) -> float:
        median, sigma = self.settings["latency"], self.settings["sigma"]
        return median * math.exp(self.random.gauss(0.0, sigma)) if sigma else median

    def stalled(self, now: float) -> float:
        """Return the seconds until the server answers again."""
        if not self.settings["stall"]:
            return 0.0
        after, length = self.settings["stall"]
        begun = self.first + after
        return begun + length - now if begun <= now < begun + length else 0.0

    def stats(self) -> dict:
        twice = sum(count - 1 for count in self.answers.values())
        return {
            **self.counts,
            "rows": len(self.answers),
            "twice": twice,
            "seconds": self.last - (self.first or self.last),
            "connections": self.connections,
            "most": self.most,
            "work": self.work,
            "cpu": time.process_time() - self.cpu,
        }


class Connection(asyncio.Protocol):
    """One kept connection; requests come one after the other."""

    state = State({})

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        Connection.state.connections += 1

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
            stop = end + 4 + length
            if len(data) < stop:
                break
            self.handle(data[: data.find(b" HTTP")], data[end + 4 : stop])
            data = data[stop:]
        self.buffer = data

    def handle(self, line: bytes, body: bytes) -> None:
        if line.endswith(b"/completions"):
            self.ask(body, replies.completion)
        elif line.endswith(b"/messages"):
            self.ask(body, replies.message)
        elif line.endswith(b"/responses"):
            self.ask(body, replies.response)
        elif line == b"POST /configure":
            Connection.state = State(json.loads(body))
            self.send(200, b"{}")
        elif line == b"GET /stats":
            self.send(200, json.dumps(Connection.state.stats()).encode())
        else:
            self.send(404, replies.error("not_found", line.decode(), "not_found"))

    def ask(self, body: bytes, reply) -> None:
        state = Connection.state
        now = time.monotonic()
        if state.first is None:
            state.first = now
        state.counts["requests"] += 1
        state.counts["bytes"] += len(body)
        state.in_flight += 1
        state.most = max(state.most, state.in_flight)
        row = int(replies.ROW.search(body)[1])
        settings = state.settings
        if settings["faults"] and state.random.random() < settings["faults"]:
            self.fail(state, body, row, reply)
            return
        if settings["strays"] and state.random.random() < settings["strays"]:
            self.refuse(state, settings["refusal"][2])
            return
        if settings["slots"] and state.in_flight > settings["slots"]:
            self.refuse(state, 0.0)
            return
        headers = settings["extra_headers"]
        if state.account.limits:
            tokens = replies.tokens(body, row)
            wait = state.account.admit(tokens, now)
            headers += state.account.headers()
            if wait > 0.0:
                self.refuse(state, wait if settings["retry_after"] else 0.0, headers)
                return
            state.counts["tokens"] += sum(tokens)
            state.counts["output"] += tokens[1]
        answer = (200, reply(body, row), headers, row)
        if settings["queue"] and state.busy >= settings["queue"]:
            state.backlog.append((self, answer))
        else:
            self.later(state, now, answer)

    def later(self, state: State, now: float, answer: tuple) -> None:
        delay = max(state.latency(), state.stalled(now))
        state.work += delay
        state.busy += 1
        if delay:
            asyncio.get_running_loop().call_later(delay, self.answer, state, *answer)
        else:
            self.answer(state, *answer)

    def answer(
        self, state: State, status: int, body: bytes, headers: str, row: int
    ) -> None:
        state.last = time.monotonic()
        state.in_flight -= 1
        state.busy -= 1
        if state.backlog:
            connection, waiting = state.backlog.popleft()
            connection.later(state, state.last, waiting)
        state.counts[str(status)] += 1
        state.answers[row] += 1
        self.send(status, body, headers)

    def refuse(self, state: State, wait: float, headers: str = "") -> None:
        """Refuse; `wait` is what the answer asks for, 0.0 for nothing."""
        status, seconds, _ = state.settings["refusal"]
        state.in_flight -= 1
        state.counts["refused"] += 1
        if wait:
            headers += f"retry-after: {math.ceil(wait)}\r\n"
            headers += f"retry-after-ms: {math.ceil(wait * 1000)}\r\n"
        message = "Rate limit reached for bench. Please slow down."
        body = replies.error("requests", message, "rate_limit_exceeded")
        if status != 429:  # a gateway
            body = _PAGE
        asyncio.get_running_loop().call_later(seconds, self.send, status, body, headers)

    def fail(self, state: State, body: bytes, row: int, reply) -> None:
        fault = state.random.choice(FAULTS)
        state.counts["faults"] += 1
        if fault == "429":
            self.refuse(state, 0.2)
            return
        state.in_flight -= 1
        if fault == "500":
            self.send(500, replies.error("server_error", "an error", "server_error"))
        elif fault == "reset":
            self.transport.abort()
        elif fault == "broken body":
            self.send(200, reply(body, row)[:60])
        else:
            self.send(200, reply(body, row, broken=True))

    def send(self, status: int, body: bytes, headers: str = "") -> None:
        if self.transport is None:  # the client has gone meanwhile
            Connection.state.counts["gone"] += 1
            return
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            f"content-type: {'text/html' if body is _PAGE else 'application/json'}\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: req-bench\r\n{headers}\r\n"
        )
        self.transport.write(head.encode() + body)


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        import uvloop

        uvloop.run(serve())
    except ImportError:
        asyncio.run(serve())

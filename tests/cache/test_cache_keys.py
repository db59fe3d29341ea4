"""Replies that were paid for stay good: cache keys as they were written down.

``data/cache-keys.json`` holds, case by case, the rows that a run has put into its
cache and the values that came of them. A key that changes makes everybody pay again
for all they have, so a test that fails here says that the change is wrong, or that it
is worth a line in the changelog and another version of the cache.

Only public names are used. Requests go to made-up hosts, which a resolver leads to
the simulator: an address is part of a key. `VENDORS` go to the vendors' own
addresses, so theirs are only ever served. With ``PANDAS_LLM_WRITE_KEYS=1`` cases that
are new are added to the file, and those that are there are never changed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal  # noqa: TC003 - pydantic reads it
import enum
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional
from urllib.parse import urlsplit

import aiohttp
import orjson
import pandas as pd
import pydantic
import pytest
from aiohttp.abc import AbstractResolver
from pydantic import BaseModel, Field

from pandas_llm import Plan, Quoted
from pandas_llm.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE = Path(__file__).parents[1] / "data" / "cache-keys.json"
KNOWN: dict[str, Any] = orjson.loads(FILE.read_bytes())
WRITING = os.environ.get("PANDAS_LLM_WRITE_KEYS") == "1"
ROW = {"text": "It rained in Oslo.", "city": "Zürich ☂", "days": 7, "part": 0.25}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
GIF = (
    b"GIF89a\x01\x00\x01\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00"
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Page>>endobj\n"


class Mood(enum.Enum):
    """How it sounds."""

    GOOD = "good"
    BAD = "so so"


class Level(enum.IntEnum):
    """How loud it is."""

    LOW = 1
    HIGH = 2


class Office(BaseModel):
    """A post that somebody held."""

    title: str = Field(description="as it is called")
    terms: int = Field(ge=1, le=4, description="how many terms")
    since: dt.date | None = None


class Person(BaseModel):
    name: str = Field(min_length=2, max_length=40)
    office: Office
    earlier: list[Office] = Field(max_length=3)
    mood: Mood


class Part(BaseModel):
    name: str
    parts: list[Part] = []


class Bill(BaseModel):
    total: decimal.Decimal


class Limits(BaseModel):
    above: int = Field(gt=0, lt=100)
    share: float = Field(ge=0.0, le=1.0)
    even: int = Field(multiple_of=2)
    code: str = Field(pattern=r"^\[.+\S$")
    tags: list[str] = Field(min_length=1, max_length=5)
    kind: Literal["a", "b"] = Field("a", description="which of them")


class Case(NamedTuple):
    """One call."""

    verb: str = "extract"
    template: str | None = "From: ${text}"
    keys: Any = ("fact",)
    options: Mapping[str, Any] = MappingProxyType({})
    rows: Sequence[dict[str, Any]] = (ROW,)


def told(**options: Any) -> Case:
    """Return the plainest case with some options."""
    return Case(keys=["fact"], options=options)


def of(model: str, path: str, **more: Any) -> Case:
    """Return the plainest case for a model at a server of its vendor's kind."""
    options = {"model": model, "base_url": f"http://models.example{path}"}
    return Case(keys=["fact"], **more)._replace(options=options)


TURNS = [
    {"role": "system", "content": "You know Zürich ☂."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Praise ${city}."},
]
LABELS = {"sea": "ships, ports", "land": "hills and fields"}
CASES: dict[str, Case] = {
    # what the verbs send
    "extract": Case(keys=["fact"]),
    "generate": Case("generate", keys=["question", "answer"]),
    "complete": Case("complete", "Praise ${city}.", None),
    "classify": Case("classify", keys=["sea", "land"]),
    "classify: described": Case("classify", keys=LABELS),
    "classify: named": Case("classify", keys=LABELS, options={"name": "topic"}),
    "classify: votes": Case(
        "classify", keys=["sea", "land"], options={"n": 3, "confidence": True}
    ),
    "embed": Case("embed", "text", None),
    "embed: a template": Case("embed", "About ${city}: ${text}", None),
    "embed: dimensions": Case("embed", "text", None, {"dimensions": 8}),
    # templates
    "template: kinds of values": Case(
        template="$$5 ${text} ${days} ${part} ${day} ${at} ${yes} ${list}",
        keys=["fact"],
        rows=[
            {
                **ROW,
                "day": dt.date(2026, 1, 31),
                "at": dt.datetime(2026, 1, 31, 12, 30, tzinfo=dt.UTC),
                "yes": True,
                "list": ["a", 1],
            }
        ],
    ),
    "template: NA as nothing": Case(
        template="${text} and ${none}",
        keys=["fact"],
        options={"na_action": None},
        rows=[{**ROW, "none": None}],
    ),
    # keys
    "keys: types": Case(
        keys={"s": str, "i": int, "f": float, "b": bool, "d": dt.date, "t": dt.datetime}
    ),
    "keys: optional": Case(keys={"s": Optional[str], "i": int | None}),  # noqa: UP045
    "keys: lists": Case(
        "generate", keys={"s": list[str], "i": list[int], "l": list[list[float]]}
    ),
    "keys: labels": Case(keys={"mood": ["good", "so so"]}),
    "keys: literal": Case(keys={"mood": Literal["good", "bad", 3] | None}),
    "keys: enums": Case(keys={"mood": Mood, "level": Level}),
    "keys: annotated": Case(
        keys={"n": Annotated[int, Field(ge=1, le=9, description="a digit")]}
    ),
    "keys: constraints": Case(keys=Limits),
    "keys: nested": Case(keys=Person),
    "keys: nested, flat": Case(keys=Person, options={"flatten": True}),
    "keys: a list of nested": Case("generate", keys=Person),
    "keys: models in a mapping": Case(keys={"office": Office, "more": list[Office]}),
    "keys: recursive": Case(keys=Part),
    "keys: a decimal": Case(keys=Bill),
    "keys: quoted": Case(
        "generate",
        keys={
            "fact": Quoted[str],
            "count": Quoted[int] | None,
            "more": list[Quoted[str]],
        },
    ),
    # options
    "n": Case("complete", "Praise ${city}.", None, {"n": 3}),
    "temperature": told(temperature=0.5),
    "temperature 0": told(temperature=0),
    "top_p": told(top_p=0.9),
    "seed": told(seed=11),
    "stop": Case("complete", "Praise ${city}.", None, {"stop": ["END", "."]}),
    "stop: one": Case("complete", "Praise ${city}.", None, {"stop": "END"}),
    "max_tokens": told(max_tokens=300),
    "system": told(system="You know ${city}."),
    "examples": told(
        examples=[("From: Paris", {"fact": "It is old."}), ("From: x", {"fact": ""})]
    ),
    "examples: records": Case(
        "generate",
        keys=["fact"],
        options={"examples": [("2 facts", [{"fact": "a"}, {"fact": "b"}])]},
    ),
    "examples: text": Case(
        "complete", "Praise ${city}.", None, {"examples": [("Praise Rome.", "Ah!")]}
    ),
    "values": Case(
        template="In ${tongue}: ${text}",
        keys=["fact"],
        options={"values": {"tongue": "Norsk bokmål"}},
    ),
    "extra": told(extra={"service_tier": "flex", "logit_bias": {"50256": -100}}),
    "reasoning_effort": told(reasoning_effort="low"),
    "all at once": Case(
        "generate",
        keys={"fact": str, "year": int},
        options={
            "n": 2,
            "temperature": 0.7,
            "top_p": 0.5,
            "seed": 3,
            "max_tokens": 99,
            "system": "Be brief.",
            "examples": [("Q", [{"fact": "A", "year": 1}])],
        },
    ),
    "no dedupe: samples": Case(
        keys=["fact"], options={"dedupe": False}, rows=[ROW, ROW, ROW]
    ),
    # headers, whatever the case and order of their names
    "headers": told(headers={"X-Team": "blue", "openai-beta": "one"}),
    "headers: another value": told(headers={"X-Team": "red", "openai-beta": "one"}),
    "headers: alike": told(headers={"OpenAI-Beta": "one", "x-team": "blue"}),
    "headers: secret or of one run": told(
        headers={
            "Authorization": "Bearer 1",
            "X-Api-Key": "2",
            "x-token": "3",
            "Cookie": "a=4",
            "x-secret": "5",
            "traceparent": "00-6",
            "X-Request-ID": "7",
            "x-client-request-id": "8",
            "Date": "today",
            "User-Agent": "ours",
        }
    ),
    "headers: some that count": told(
        headers={"x-team": "blue", "OpenAI-Beta": "one", "traceparent": "00-9"}
    ),
    # the key is that of the row, whatever else the run is told
    "not in the key": told(
        max_retries=1,
        concurrency=2,
        details=True,
        error_column="why",
        prices={"sim": (1.0, 2.0)},
        request_timeout=60,
    ),
    # images
    "image": Case(
        keys=["fact"], options={"images": "photo"}, rows=[{**ROW, "photo": PNG}]
    ),
    "images": Case(
        keys=["fact"],
        options={"images": ["one", "two"]},
        rows=[{**ROW, "one": PNG, "two": GIF}],
    ),
    # files
    "file": Case(
        keys=["fact"], options={"files": "report"}, rows=[{**ROW, "report": PDF}]
    ),
    "files beside images": Case(
        keys=["fact"],
        options={"images": "one", "files": ["two", "three"]},
        rows=[{**ROW, "one": PNG, "two": PDF, "three": b"ID3\4 and sound"}],
    ),
    # turns of each row
    "messages": Case(
        keys=["fact"], options={"messages": "history"}, rows=[{**ROW, "history": TURNS}]
    ),
    "messages: the last is asked": Case(
        "complete", None, None, {"messages": "history"}, [{"history": TURNS}]
    ),
    "examples of each row": Case(
        keys=["fact"],
        options={"examples": "shots", "messages": "history"},
        rows=[{**ROW, "shots": [("x", {"fact": "It rains."})], "history": TURNS}],
    ),
    # vendors
    "openai": of("openai/gpt-5", "/v1"),
    "another model": of("openai/gpt-4.1", "/v1"),
    "a server without a prefix": of("qwen3", "/v1"),
    "openai-responses": of("openai-responses/gpt-5", "/v1"),
    "azure": of("azure/gpt-5", "/openai/v1"),
    "anthropic": of("anthropic/claude", ""),
    "google": of("google/gemini", "/v1beta"),
    "google: generate": of("google/gemini", "/v1beta", verb="generate"),
    "ollama": of("ollama/qwen3", "/v1"),
    "bedrock": of("bedrock/us.amazon.nova-lite-v1:0", ""),
    "mistral": of("mistral/large", "/v1"),
    "groq": of("groq/llama", "/v1"),
    "openai: embed": of("openai/ada", "/v1", verb="embed", template="text"),
    "google: embed": of("google/gecko", "/v1beta", verb="embed", template="text"),
    "bedrock: embed": of("bedrock/titan", "", verb="embed", template="text"),
    "ollama: embed": of("ollama/nomic", "/v1", verb="embed", template="text"),
    "azure: embed": of("azure/ada", "/openai/v1", verb="embed", template="text"),
}
MODELS = {urlsplit(f"//{c.options.get('model', '')}").path[1:] for c in CASES.values()}
MODELS |= {"qwen3"}
VENDORS: dict[str, Case] = {
    f"{name}, its own address": Case(keys=["fact"], options={"model": f"{name}/m"})
    for name in (
        *("openai", "openai-responses", "anthropic", "google", "ollama", "groq"),
        *("openrouter", "together", "deepseek", "mistral", "fireworks", "xai"),
        *("vllm", "llamacpp", "lmstudio"),
    )
}
VENDORS["the simulator's own address"] = Case(keys=["fact"], options={"model": "sim"})
VENDORS["the simulator's vectors"] = Case(
    "embed", "text", None, {"model": "sim", "dimensions": 4}
)


class ToTheSimulator(AbstractResolver):
    """Leads all names to one port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, *_: Any, **__: Any) -> list[Any]:
        """Find the one there is."""
        found = {"hostname": host, "host": "127.0.0.1", "port": self._port}
        return [{**found, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Close nothing."""


@pytest.fixture(scope="module")
def port():
    with Simulator(models=tuple(sorted(MODELS - {""}))) as server:
        yield urlsplit(server.base_url).port


def plan(case: Case, **more: Any) -> Plan:
    """Make a case's plan."""
    usual = {"model": "sim", "base_url": "http://models.example/v1", "progress": False}
    if case in VENDORS.values():
        del usual["base_url"]
    options = {**usual, **case.options, **more}
    keys = list(case.keys) if isinstance(case.keys, tuple) else case.keys
    keys = None if case.verb in ("embed", "complete") else keys
    return Plan(case.template, keys, verb=case.verb, **options)


def asked(case: Case, cache: Path, port: int) -> Any:
    """Run a case against the simulator."""

    async def run() -> Any:
        connector = aiohttp.TCPConnector(resolver=ToTheSimulator(port))
        async with aiohttp.ClientSession(connector=connector) as session:
            more = {"session": session, "api_key": "k", "errors": "raise"}
            return await plan(case, cache=cache, **more).acall(list(case.rows))

    return asyncio.run(run())


def kept(cache: Path) -> list[list[Any]]:
    """Read a cache's rows: key, checksum and text, and a vector where there is one."""
    with closing(sqlite3.connect(cache)) as connection:
        found = connection.execute("SELECT key, sum, reply FROM replies").fetchall()
    rows = []
    for key, check, reply in sorted(found):
        text, nul, vector = reply.partition(b"\0")
        row = [key.hex(), check, text.decode()]
        rows.append([*row, vector.hex()] if nul else row)
    return rows


def keep(cache: Path, rows: list[list[Any]]) -> None:
    """Make a cache by plain SQL, as it was when the rows were written down."""
    with closing(sqlite3.connect(cache)) as connection:
        connection.executescript(
            """
            CREATE TABLE pandas_llm_cache (version INTEGER NOT NULL);
            INSERT INTO pandas_llm_cache VALUES (1);
            CREATE TABLE replies (
                id INTEGER PRIMARY KEY,
                key BLOB NOT NULL UNIQUE,
                used INTEGER NOT NULL,
                sum INTEGER NOT NULL,
                reply BLOB NOT NULL
            );
            CREATE INDEX replies_used ON replies (used);
            """
        )
        for key, check, text, *vector in rows:
            reply = text.encode() + b"".join(b"\0" + bytes.fromhex(v) for v in vector)
            connection.execute(
                "INSERT INTO replies (key, used, sum, reply) VALUES (?, ?, ?, ?)",
                (bytes.fromhex(key), 1_700_000_000, check, reply),
            )
        connection.commit()


def plain(case: Case, out: Any) -> Any:
    """Return a result as JSON has it, without what the run itself has told."""
    given = {name for row in case.rows for name in row}
    dated = [  # lists hold Python's own dates; they were written down as pandas' own
        {n: v if n in given else _dated(v) for n, v in row.items()}
        if isinstance(row, dict)
        else row
        for row in out
    ]
    text = orjson.dumps(dated, default=_plainer, option=orjson.OPT_SERIALIZE_NUMPY)
    rows = orjson.loads(text)
    for row in rows:
        if isinstance(row, dict):
            for name in [n for n in row if n.startswith("llm_") or n in ROW]:
                del row[name]
    return rows


def _dated(value: Any) -> Any:
    return pd.Timestamp(value) if isinstance(value, dt.date) else value


def _plainer(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def check_words(name: str) -> None:
    """Skip what pydantic words in another way than when it was written down."""
    if name == "keys: a decimal":
        said = Bill.model_json_schema()["properties"]["total"]
        if said != KNOWN.get("pydantic's words for a decimal", said):
            pytest.skip(f"pydantic {pydantic.VERSION} has another pattern for decimals")


@pytest.mark.parametrize("name", CASES)
def test_a_request_has_the_key_it_always_had(name, port, tmp_path):
    check_words(name)
    cache = tmp_path / "kept.sqlite"
    out = asked(CASES[name], cache, port)
    rows = kept(cache)
    if WRITING and name not in KNOWN:
        write(name, rows, out)
    assert [row[0] for row in rows] == [row[0] for row in KNOWN[name]["replies"]]


@pytest.mark.parametrize("name", [*CASES, *VENDORS])
def test_a_reply_of_an_older_cache_is_served(name, tmp_path):
    check_words(name)
    cache = tmp_path / "kept.sqlite"
    keep(cache, KNOWN[name]["replies"])
    case = CASES.get(name) or VENDORS[name]
    out = plan(case, cache=cache, replay=True, errors="raise")(list(case.rows))
    assert plain(case, out) == KNOWN[name]["values"]


def test_all_that_is_written_down_is_looked_at():
    words = {"pydantic's words for a decimal"}
    assert KNOWN.keys() == CASES.keys() | VENDORS.keys() | words


def test_each_case_has_keys_of_its_own():
    alike = {  # as they should be
        "keys: nested, flat": "keys: nested",
        "not in the key": "extract",
        "headers: secret or of one run": "extract",
        "headers: alike": "headers",
        "headers: some that count": "headers",
        "no dedupe: samples": "extract",
    }
    seen: dict[str, str] = {}
    for name in [*CASES, *VENDORS]:
        for key, *_ in KNOWN[name]["replies"]:
            other = seen.setdefault(key, name)
            assert other == name or alike.get(name) == other, (name, other)


def write(name: str, rows: list[list[Any]], out: Any) -> None:
    """Add a new case to the file."""
    case = CASES.get(name) or VENDORS[name]
    KNOWN[name] = {"replies": rows, "values": plain(case, out)}
    said = Bill.model_json_schema()["properties"]["total"]
    KNOWN.setdefault("pydantic's words for a decimal", said)
    FILE.write_bytes(orjson.dumps(KNOWN, option=orjson.OPT_INDENT_2) + b"\n")

"""What a reply says is read as it stands, or the row is asked again with the reason."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import re
from decimal import Decimal  # noqa: TC003 - pydantic reads the annotation
from typing import Any, Literal, Optional

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_server import Server, completion
from proportion import in_proportion
from pydantic import BaseModel

from pandas_llm import LLMWarning
from pandas_llm._json.mending import Number, mended
from pandas_llm._json.records import folded
from pandas_llm._keys import parse_keys
from pandas_llm._replies.outputs import Completion, Records
from pandas_llm._replies.reasoning import without_thinking
from pandas_llm.errors import OutputError
from pandas_llm.types import Choice

ROW = pd.DataFrame({"text": ["x"]})


class _Sentinel:
    """A value with a name that stays the same from process to process."""

    def __repr__(self):
        return "AGAIN"


AGAIN = _Sentinel()
V_INT, V_STR, V_FLOAT, V_BOOL = ({"v": kind} for kind in (int, str, float, bool))
V_DATE, JANUARY = {"v": dt.date}, pd.Timestamp("2026-01-31")


class Spot(BaseModel):
    """A record within a record."""

    a: int


PEOPLE = {"name": str, "age": Optional[int]}  # noqa: UP045 - as people write it
GROWTH = {"growth": float | None, "growth %": float | None}
LANGUAGES = {"C": str | None, "C++": str | None}
STARS = ["1", "2", "3", "4", "5"]
CHANNELS = (
    '<|channel|>analysis<|message|>maybe {"records": [{"fact": "draft"}]}?<|end|>'
    '<|start|>assistant<|channel|>final<|message|>{"records": [{"fact": "final"}]}'
)
DRAFT = '[THINK]maybe {"records": [{"fact": "draft"}]}?[/THINK]'
FINAL = '{"records": [{"fact": "final"}]}'

CASES: list[tuple[str, Any, str, Any]] = [
    ("extract", V_INT, '{"v": 12 000}', AGAIN),
    ("extract", V_DATE, '{"v": "20260131-5"}', AGAIN),
    ("extract", V_DATE, '{"v": "2026-01-31/02"}', AGAIN),
    ("extract", V_DATE, '{"v": "2026-01-31-02"}', AGAIN),
    ("extract", V_DATE, '{"v": "2026-01-31,14"}', AGAIN),
    ("extract", V_DATE, '{"v": "2026-01-31510"}', AGAIN),
    ("extract", V_DATE, '{"v": "2026-01-31 02"}', AGAIN),
    ("extract", {"v": dt.datetime}, '{"v": "2026-01-31510:30"}', AGAIN),
    ("extract", V_DATE, '{"v": "2026-01-31T10:30"}', [JANUARY]),
    ("extract", V_DATE, '{"v": " 2026-01-31 10:30:00+00:00"}', [JANUARY]),
    ("extract", V_DATE, '{"v": "2026-W05-6"}', [JANUARY]),
    ("extract", V_INT, '{"v": 1\'000}', AGAIN),
    ("extract", V_INT, '{"v": "12.000"}', AGAIN),
    ("extract", V_INT, '{"v": "-1.000.000"}', AGAIN),
    ("extract", V_INT, '{"v": "12.0"}', [12]),
    ("extract", V_FLOAT, '{"v": "12.000"}', [12.0]),
    ("extract", V_INT, '{"v": 5 or 6}', AGAIN),
    ("extract", V_INT, '{"v": 9007199254740993.0}', [9007199254740993]),
    ("extract", V_INT, '{"v": 0.99999999999999999999}', AGAIN),
    ("extract", V_INT, '{"v": 1e3}', [1000]),
    ("extract", V_INT, '{"v": 1e999999999}', AGAIN),
    ("extract", V_INT, '{"v": 1e-400}', AGAIN),
    ("extract", {"v": int | str}, '{"v": 2.0}', [2]),
    ("extract", {"v": list[int]}, '{"v": [2.0, 3.00000000000000000001]}', AGAIN),
    ("extract", V_FLOAT, '{"v": 1e-400}', AGAIN),
    ("extract", V_FLOAT, '{"v": "-2e-324"}', AGAIN),
    ("extract", V_FLOAT, '{"v": 0.%s1}' % ("0" * 330), AGAIN),
    ("extract", V_FLOAT, '{"v": 5e-324}', [5e-324]),
    ("extract", V_FLOAT, '{"v": 0e-400}', [0.0]),
    ("extract", V_STR, '{"v": 1e-400}', ["1e-400"]),
    ("extract", V_FLOAT, '{"v": 12 million}', AGAIN),
    ("extract", V_FLOAT, '{"v": 10%}', AGAIN),
    ("extract", V_BOOL, '{"v": True and False}', AGAIN),
    ("extract", V_STR, '{"v": True and False}', AGAIN),
    ("extract", V_STR, '{"v": 12:30}', AGAIN),
    ("extract", V_STR, '{"v": +33 1 23}', AGAIN),
    ("extract", V_STR, '{"v": "Ann", "Bob"}', AGAIN),
    ("extract", V_STR, '{"v": "size 5", width 3"}', AGAIN),
    ("extract", V_STR, '{"v": "use "}" to close"}', AGAIN),
    ("extract", V_STR, '{"v": "Ann" and "Bob"}', AGAIN),
    ("extract", V_STR, '{"v": "5" or "6"}', AGAIN),
    ("extract", V_STR, '{"v": "Ann" "Bob"}', AGAIN),
    ("extract", V_STR, '{"v": "a 5" x 3" box",}', ['a 5" x 3" box']),
    ("extract", V_STR, '{"v": "a"}, "w": "b"}', AGAIN),
    ("extract", V_INT, '{"v": 1, "v": 2}', AGAIN),
    ("extract", V_INT, "{'v': 1, 'v': 2}", AGAIN),
    ("extract", {"v": list[int]}, '{"v": [1 234, 5]}', AGAIN),
    ("extract", V_STR, "{'v': 'it is fine',}", ["it is fine"]),
    ("extract", V_STR, '{"v": New York, NY}', ["New York, NY"]),
    ("extract", V_STR, '```json\n{"v": 1.10}\n```', ["1.10"]),
    ("extract", V_STR, '{"v": 1.10}', ["1.10"]),
    ("extract", V_INT, '{"v": 1, "v": 1}', [1]),
    (
        "extract",
        {"year": int},
        "According to source [1], he left office in 1797.",
        AGAIN,
    ),
    ("generate", ["fact"], "He was president [1]. Another followed [2].", AGAIN),
    ("generate", {"year": int}, "In 1797 [1], or 1798 [2, 3].", AGAIN),
    ("generate", ["fact"], 'It says ["a", "b"] there.', AGAIN),
    ("generate", ["fact"], 'Facts:\n```json\n["a", "b"]\n```', ["a", "b"]),
    ("generate", ["fact"], '["a", "b"]', ["a", "b"]),
    ("classify", STARS, "I give it 4 stars [1].", AGAIN),
    ("classify", STARS, "4 [1]", AGAIN),
    ("extract", {"answer": int}, '{"sources": [1], "answer": 1797}', [1797]),
    ("extract", {"answer": int}, '{"sources": [1]}', AGAIN),
    ("extract", {"answer": int}, '{"pages": [1], "said": "1797"}', AGAIN),
    ("extract", GROWTH, '{"growth": 5}', [5.0, None]),
    ("extract", LANGUAGES, '{"C": "low"}', ["low", None]),
    ("extract", {"a_b é": str}, r'{"a\\_b e\u0301": "x"}', ["x"]),
    ("extract", {"a": str | None, "A": str | None}, '{"A": "x"}', [None, "x"]),
    (
        "extract",
        PEOPLE,
        '{"name": "Ann", "children": [{"name": "Bob", "age": 3}]}',
        ["Ann", None],
    ),
    ("generate", ["fact"], DRAFT + FINAL, ["final"]),
    ("generate", ["fact"], CHANNELS, ["final"]),
    ("generate", ["fact"], f"{FINAL}<|im_end|>", ["final"]),
    ("complete", None, "hm</think>Yes.", ["Yes."]),
    ("complete", None, "Yes.<|eot_id|>", ["Yes."]),
    ("complete", None, "", AGAIN),
    ("generate", ["fact"], "", AGAIN),
    ("extract", {"answer": int}, '{"pages": [1]}', AGAIN),
    ("extract", ["title"], '{"authors": ["Ann"]}', AGAIN),
    ("classify", ["a", "b"], '{"options": ["a"]}', AGAIN),
    ("generate", {"year": int}, '{"pages": [1, 2]}', AGAIN),
    ("generate", {"year": int}, '{"years": [1797, 1801]}', [1797, 1801]),
    ("generate", ["fact"], '{"found": ["a", "b"]}', ["a", "b"]),
    ("generate", ["city"], '{"major_cities": ["a", "b"]}', ["a", "b"]),
    ("generate", ["fact"], '{"thoughts": ["a", "b"]}', AGAIN),
    ("generate", ["fact"], '{"quellen": ["a.pdf"]}', AGAIN),
    ("generate", ["fact"], '[{"fact": "a"}, // and 5 more\n]', AGAIN),
    ("generate", ["fact"], '[{"fact": "a"} /* etc. */]', AGAIN),
    ("generate", ["fact"], '[{"fact": "a"}] ... (10 more)', AGAIN),
    ("extract", {"answer": int}, '{"steps": [{"answer": 1}], "end": 2}', AGAIN),
    ("extract", PEOPLE, '{"full": "Ann", "kids": [{"name": "Bob"}]}', AGAIN),
    ("extract", PEOPLE, '{"age": 40, "kids": [{"name": "Bob"}]}', AGAIN),
    ("extract", ["name"], '{"ok": 1, "results": [{"name": "Ann"}]}', ["Ann"]),
    ("generate", ["fact"], '{"of": "X", "said": [{"fact": "a"}]}', ["a"]),
    ("extract", ["fact"], "\u200bn\u00e9e\ufeff", AGAIN),
    ("extract", V_INT, "\u200b5\ufeff", [5]),
    ("extract", V_STR, 'It is not {"v": "Ann"}', AGAIN),
    ("extract", V_INT, 'It isn\'t `{"v": 5}`', AGAIN),
    ("extract", V_INT, '~{"v": 5}', AGAIN),
    ("extract", V_STR, '{"v": "Ann"} million', ["Ann"]),
    ("extract", {"v": dt.datetime}, '{"v": "2026-01-31T10,5"}', AGAIN),
    ("extract", {"v": dt.datetime}, '{"v": "2026-01-31T10:30.5Z"}', AGAIN),
    ("extract", {"v": list[int]}, '{"v": [1,000, 2]}', AGAIN),
    ("extract", V_STR, '{"v": room # 5}', AGAIN),
    ("extract", V_STR, '{"v": Ann // the first, not Bob\n}', AGAIN),
    ("extract", V_STR, '{"v": Ann // the first\n}', ["Ann"]),
    ("extract", V_STR, '{"v": Ann /* the first */}', ["Ann"]),
    ("extract", V_STR, "{'v': 'Ann' or 'Bob'}", AGAIN),
    ("extract", V_STR, "{'v': 'rock 'n' roll'}", ["rock 'n' roll"]),
    ("extract", V_STR, '{"v": "Ann"/"Bob"}', AGAIN),
    ("extract", V_STR, '{"v": Ann}Bob}', AGAIN),
    ("extract", V_STR, '{"v": "Ann"}\n\nWait, it was Bob.', AGAIN),
    ("extract", V_STR, '```json\n{"v": "Ann"}\n```\n**Correction:** Bob.', AGAIN),
    ("extract", V_STR, '{"v": "Ann"} is wrong.', AGAIN),
    ("extract", V_STR, '{"v": "Ann"} is not right.', AGAIN),
    ("extract", V_STR, '{"v": "Ann"} is what it says.', ["Ann"]),
    ("extract", V_STR, '{"v": "Ann"}\nThis is not legal advice.', ["Ann"]),
    ("extract", V_STR, '{"v": undefined}', AGAIN),
    ("extract", V_STR, '{"v": Infinity}', ["Infinity"]),
    ("extract", V_STR, '{"v": Infinity War}', ["Infinity War"]),
    ("extract", V_FLOAT, '{"v": Infinity}', AGAIN),
    ("extract", V_FLOAT, '{"v": -Infinity,}', AGAIN),
    ("extract", V_INT, '{"v": 12}\n\nNo, it is 13.', AGAIN),
    ("extract", V_INT, '{"v": 12}\nEdit: 13', AGAIN),
    ("extract", V_INT, '{"v": 12 // 13?\n}', AGAIN),
    ("extract", V_INT, '{"v": 12 // could be 13\n}', AGAIN),
    ("extract", V_INT, '{"v": 12}\nNo other figure is given.', [12]),
    ("extract", {"s": Spot}, '{"s": {"a": 1, "a": 2}}', AGAIN),
    ("extract", {"s": list[Spot]}, '{"s": [{"a": 1}, {"a": 1, "a": 2}]}', AGAIN),
    ("extract", {"s": Spot}, '{"s": {"a": 1, "a": 1}}', [{"a": 1}]),
    ("extract", V_FLOAT, '{"v": 12} (in thousands)', AGAIN),
    ("extract", V_FLOAT, '{"v": 12}\nin millions.', AGAIN),
    ("generate", ["fact"], f"{FINAL}\nBetter: {FINAL.replace('final', 'x')}", AGAIN),
    ("generate", ["fact"], f"{FINAL}\nAgain: {FINAL}", ["final"]),
    ("generate", ["fact"], '["a"]\n["b"]', AGAIN),
    *(
        ("generate", ["fact"], f'{before}{{"fact": "a"}}{between}{{"fact": "b"}}', said)
        for before, between, said in (
            ("<draft>", "</draft><final>", AGAIN),
            ("<思考>", "</思考>", AGAIN),
            ("Draft: ", "\n\n**Final answer:**\n", AGAIN),
            ("", "\nCorrected version: ", AGAIN),
            ("<item>", "</item>\n<item>", ["a", "b"]),
            ("First: ", "\nSecond: ", ["a", "b"]),
            ("1. ", "\n2. ", ["a", "b"]),
            ("<reasoning_content>", "</reasoning_content>", ["b"]),
        )
    ),
    ("generate", ["fact"], '[{"fact": "a"},', AGAIN),
    ("generate", ["fact"], '{"fact": "a"}\n{', AGAIN),
    ("generate", ["fact"], '{"fact": "a"}\n{"fact": "b"}', ["a", "b"]),
]
BESIDE = (
    *("th", "kg", ", 13", "; 13"),
    *(
        " million",
        "%",
        " %",
        "k",
        "K",
        "M",
        " bn",
        " (million)",
        "\nmillion",
        " percent",
    ),
    *(
        " x 1000",
        "\u4e07",
        " Milliarden",
        " or 6",
        "-6",
        " and a half",
        "\u00bd",
        "/10",
    ),
    *(" years", " not", "\u20ac", " per day", " in thousands", " * 3"),
)
"""What changes a number, behind the JSON that holds it."""
APART = (
    *("", ".", " Hope this helps!", "\nNot 6, I think.", " as you asked", "\n\nMore?"),
    *(" (Note: it is in dollars.)", " [1]", ", which is what it says", "\n- done"),
    *("</s>", "\n```\nmillion things", " based on 2 sources", " \U0001f44d", "\n\n5%"),
    *("\nB) is another.", "\nMillions say so.", " Based on it.", " Killed in 1797."),
)
"""What does not."""


def call(verb: str, keys: Any, server: Server, **more: Any) -> pd.DataFrame:
    """Ask one row of a server, and return the new columns."""
    at = {"model": "openai/m", "base_url": server.base_url, "api_key": "k"}
    given = ("${text}",) if keys is None else ("${text}", keys)
    out = pd.DataFrame(getattr(ROW.llm, verb)(*given, progress=False, **at, **more))
    return out.drop(columns="text", errors="ignore")


@pytest.mark.parametrize(("verb", "keys", "reply", "value"), CASES, ids=repr)
def test_a_reply_is_read_as_it_stands_or_asked_again(verb, keys, reply, value):
    with Server(lambda body: completion(reply)) as server:
        if value is not AGAIN:
            out = call(verb, keys, server)
            found = out.iloc[:, 0] if len(out) > 1 else out.iloc[0]
            assert [None if pd.isna(one) else one for one in found] == value
            assert len(server.bodies) == 1
            return
        with pytest.warns(LLMWarning, match="1 of 1 rows failed"):
            out = call(verb, keys, server, error_column="why", output_retries=1)
        assert out.iloc[0, -1].startswith("output: ")
        assert out.iloc[0, 0] is None or pd.isna(out.iloc[0, 0])
        assert len(server.bodies) == 2
        reason = server.bodies[1]["messages"][-1]["content"]
        assert "cannot be used" in reason


BROKEN = [
    *((f'{{"v": "{said}"}}', int, AGAIN) for said in ("5_6", "2026_01", "1_00")),
    ('{"v": "12_000"}', int, 12_000),
    ('{"v": "1_000.5"}', float, 1000.5),
    ('{"v": "1_0.5"}', float, AGAIN),
    ('{"v": "2026-W05"}', dt.date, AGAIN),
    ("{'v': '''it's'''}", str, "it's"),
    ("{\u201ev\u201c: \u201eAnn\u201c}", str, "Ann"),
    ("{«v»: «Ann»}", str, "Ann"),
    ('{"v": "a \u201eyes" b"}', str, 'a \u201eyes" b'),
    ('{"v": "Ann"}?', str, AGAIN),
    ('{"v": "Ann"}\nIs that fine?', str, "Ann"),
    ('{"v": 0} (not stated)', int, AGAIN),
    ('{"v": 12}\n\n(all figures in millions)', int, AGAIN),
    ('In thousands of euros: {"v": 12}', float, AGAIN),
    ('In thousands: {"v": "Ann"}', str, "Ann"),
    *(
        (f'{{"v": 12 {open_} {said} {end}}}', int, value)
        for open_, end in (("//", "\n"), ("#", "\n"), ("/*", "*/"))
        for said, value in [
            *((one, AGAIN) for one in ("in millions", "%", "k", "or 13", "not stated")),
            *((one, AGAIN) for one in ("wait, 13", "unknown", "USD (thousands)")),
            *((one, 12) for one in ("as the text says", "the age", "kilometres")),
        ]
    ),
    ('{"v": "Ann", // or Bob\n}', str, AGAIN),
    ('{"v": Ann // or Bob\n}', str, AGAIN),
    ('{"v": "Ann // or Bob",}', str, "Ann // or Bob"),
    *(
        (said, str, AGAIN)
        for said in (
            '{"v": "Ann"} or Bob',
            '{"v": "Ann"} // or Bob',
            '{"v": "Ann"} (or Bob)',
            'Es ist nicht {"v": "Ann"}',
            '{"v": "Ann"}\n\nKorrektur: Bob.',
            '{"v": "Ann"}\n更正:Bob',
        )
    ),
    *(
        ('{"v": 12}' + more, int, AGAIN)
        for more in (" Mio.", " Prozent", " млн", "百万")
    ),
    *(('{"v": 12}' + more, int, 12) for more in (" 是答案", " Ich hoffe, das hilft.")),
    *(
        ('{"v": 12}' + unit, int, AGAIN)
        for unit in (
            " Euro",
            " GB",
            " مليون دولار",
            " ล้าน",
            " लाख",
            " 만",
            "٪",
            " USD\n",
        )
    ),
    *(
        ('{"v": 12}' + more, int, 12)
        for more in (" Thanks!", " Done.", " // see line 3", " (page 5)", " 谢谢")
    ),
    # a scale is a number's, be it before the comment or behind it
    *(
        (reply, str, "Ann")
        for reply in (
            '{"v": "Ann" // 95% sure\n}',
            "{'v': 'Ann', /* 90 percent */}",
            '{"v": Ann // 50 % owner\n}',
            '{"v": "Ann"} // 95% sure',
            '{"w": 12, "v": "Ann" // 95% sure\n}',
        )
    ),
    *(
        (reply, int, AGAIN)
        for reply in (
            '{\n// in millions\n"v": 12\n}',
            '{"v": /* in millions */ 12}',
            '{"v": 12,\n// in millions\n}',
            '{\n"v": 12\n} // in millions',
        )
    ),
    *(
        ('{"v": true}' + more, bool, AGAIN)
        for more in (
            " (unverified)",
            " (not sure)",
            " false",
            " (unklar)",
            " // unclear",
        )
    ),
    ('{"v": true} (verified)', bool, True),
    ("{'v': u'Ann'}", str, AGAIN),
    ('{{"v": "Ann"}}', str, "Ann"),
    ('```json\n{{"v": "Ann"}}\n```', str, "Ann"),
    ("{'v': 'use {{x}}',}", str, "use {{x}}"),
    *(
        ('{"v": "Ann"}' + more, str, AGAIN)
        for more in (", or Bob", "; maybe Bob", " - but not sure", "/or Bob", ", etc.")
    ),
    ('{"v": "Ann"} // may be Bob', str, AGAIN),
    *(
        ('{"v": "Ann"}' + more, str, "Ann")
        for more in (", as it says.", " - the first.", "\n- not stated: age")
    ),
    *(
        (reply, float, value)
        for reply, value in (
            *((".5", 0.5), ("**-.5**.", -0.5), ("V: .5", 0.5), ("`12`.", 12)),
            *(("**V:** 12", 12), ("v\uff1a12", 12), ("v: 12 or 13", AGAIN)),
            *(("Not v: 12", AGAIN), ("w: 12", AGAIN), ("v 12", AGAIN)),
            *(("v: 12\nw: 13", AGAIN), ("v:", AGAIN), ("v: v: 12", AGAIN)),
        )
    ),
    (".5", int, AGAIN),
    *(
        (reply, bool, value)
        for reply, value in (
            *(("No!", False), ("V: yes", True), ('{"v": "Yes."}', True)),
            *(('{"v": "「no」"}', False), ('{"v": "no?"}', AGAIN)),
            *(('{"v": "."}', AGAIN), ("v: yes or no", AGAIN)),
        )
    ),
    ('{"v": "Yes."}', bool | str, "Yes."),
    *(
        (reply, ["glad", "tre\u0300s sad", "\u200fשמח"], value)
        for reply, value in (
            *(("V: glad", "glad"), ('**V**: "Glad".', "glad"), ("V: x", AGAIN)),
            *(("V: not glad", AGAIN), ("V: glad\nWhy: x", AGAIN)),
            *(("très sad", "tre\u0300s sad"), ('{"v": "שמח"}', "\u200fשמח")),
        )
    ),
    ("v: a", ["v: a", "a"], "v: a"),
    *(
        (reply, str, AGAIN)
        for reply in (
            '{"v": "He said "go", she: "no""}',
            '{"v": "a": "b"}',
            '{"v": "a". "w": "b"}',
            '{"v": "hello "w": 5, "x": "y"}',
            "{'v': 'hello 'w': 'x'}",
            "{'v': \"it's, 'w': 5}",
        )
    ),
    ('{"v": "He wrote "Sir": a title"}', str, 'He wrote "Sir": a title'),
    ('{\\"v\\": \\"a \\\\\\"b\\\\\\"\\"}', str, 'a "b"'),
    ('{\n  \\"v\\": \\"a\\"\n}', str, "a"),
    ('It says \\"a\\"', str, AGAIN),
]


@pytest.mark.parametrize(("reply", "kind", "value"), BROKEN)
def test_what_beside_a_value_or_within_it_says_otherwise_is_heeded(reply, kind, value):
    assert read_whole({"v": kind}, reply) == value


def test_without_a_reason_to_end_open_brackets_are_no_slip():
    output = Records(parse_keys(["fact"]))
    reply = '{"records": [{"fact": "a"}'
    assert output.read(Choice(reply, "stop"))[0] == [("a",)]
    with pytest.raises(OutputError, match="breaks off"):
        output.read(Choice(reply, None))
    assert output.read(Choice(f"{reply},]}}", None))[0] == [("a",)]


def read_whole(keys: Any, reply: str) -> Any:
    output = Records(parse_keys(keys), single=True)
    try:
        return output.read(Choice(reply, "stop"))[0][0][0]
    except OutputError:
        return AGAIN


@pytest.mark.parametrize(
    "form", ['{"v": 12}', "{'v': 12,}", '{"v": "12"}', '[{"v":12}]']
)
@pytest.mark.parametrize("kind", [int, float])
def test_what_stands_directly_behind_a_number_is_not_dropped(form, kind):
    assert {read_whole({"v": kind}, form + more) for more in BESIDE} == {AGAIN}
    assert [read_whole({"v": kind}, form + more) for more in APART] == [12] * len(APART)


@pytest.mark.parametrize("cached", [False, True])
def test_votes_that_cannot_be_read_count_in_the_share(cached, tmp_path):
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        texts = ["a", "?", "?"] if len(body["messages"]) == 1 else ["?", "?"]
        whole = completion("a")
        (choice,) = whole["choices"]
        whole["choices"] = [
            {**choice, "index": at, "message": {"role": "assistant", "content": text}}
            for at, text in enumerate(texts)
        ]
        return whole

    options = {"confidence": True, "n": 3, "cache": tmp_path / "kept.sqlite"}
    with Server(answer) as server:
        for _ in range(1 + cached):
            sent = len(server.bodies)
            with pytest.warns(LLMWarning, match="2 of 3 votes could not be read"):
                out = call(
                    "classify", ["a", "b"], server, error_column="why", **options
                )
            row = out.iloc[0].tolist()
            assert row[0] == "a"
            assert row[1] == pytest.approx(1 / 3)
            assert row[2] == "unread: 2 of 3 votes could not be read"
        assert cached == (len(server.bodies) == sent)


def test_equal_records_of_one_reply_may_be_kept():
    reply = json.dumps({"records": [{"item": "coffee"}, {"item": "coffee"}]})
    with Server(lambda body: completion(reply)) as server:
        assert len(call("generate", ["item"], server)) == 1
        assert len(call("generate", ["item"], server, unique=False)) == 2


def test_across_choices_the_larger_count_of_equal_records_is_kept():
    output = Records(parse_keys(["item"]), unique=False)
    choices = [[("a",), ("b",)], [("a",), ("a",), ("c",)], [("b",)]]
    assert output.combine(choices) == [("a",), ("b",), ("a",), ("c",)]


# -- mending --------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = st.text("abz 019.,:'\"{}[]\\-é\n/#", max_size=10) | text
names = st.sampled_from(["v", "name", "a b", "C++", "№"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner),
    max_leaves=8,
)
objects = st.dictionaries(names, values, min_size=1)
PLAIN = {True: "true", False: "false", None: "null"}
_LITERALS = re.compile(r"(?i)\b(true|false|null|none|nan)\b")


def letters(value: Any) -> str:
    """Join the letters and digits of all keys and values in their order."""
    if isinstance(value, dict):
        return "".join(letters(key) + letters(one) for key, one in value.items())
    if isinstance(value, list):
        return "".join(map(letters, value))
    if value is None or isinstance(value, bool):
        return PLAIN[value]
    if isinstance(value, float):
        return "inf"
    return "".join(filter(str.isalnum, value))


def source(piece: str) -> str:
    """Join the letters and digits of JSON as it is written; a quoted word is text."""
    none = r"""(?<!["'])\b(?:None|nan|NaN|NAN|NONE)\b(?!["'])"""
    piece = re.sub(none, "null", piece)
    piece = _LITERALS.sub(lambda found: found[0].lower(), piece)
    return "".join(filter(str.isalnum, piece))


@given(objects, st.data())
@settings(max_examples=400)
def test_mending_neither_drops_nor_invents_a_letter_or_a_digit(value, data):
    whole = json.dumps(value, ensure_ascii=False)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(1, max(1, len(whole) - 1)))
        put = data.draw(st.sampled_from(["", *"\",:{}[]' 7x"]))
        whole = whole[:at] + put + whole[at + data.draw(st.integers(0, 1)) :]
    if re.search(r"\\|//|/\*|#", whole):
        return  # what an escape or a comment comes to is told below
    try:
        found, end = mended(whole, 0)
    except ValueError:
        return
    assert letters(found).lower() == source(whole[:end]).lower()


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ('{"a": "\\u00e9\\ud83d\\ude00\\n",}', {"a": "é😀\n"}),
        ('{"a": "C:\\Users",}', {"a": "C:\\Users"}),
        ('{"a": 1, // one\n "b": 2 /* two */,}', {"a": Number(1), "b": Number(2)}),
        ('{"a": "x" # one\n, "b": TRUE,}', {"a": "x", "b": True}),
        ('{"a": 007}', {"a": "007"}),
        ('{"a": 2026-01-31}', {"a": "2026-01-31"}),
        ('{"a": "He said "yes", then left", "b": 1}', None),
        ('["a" "b"]', ["a", "b"]),
        ('{"a": "hello, "b": "x"}', {"a": "hello", "b": "x"}),
        ('[{"a": 1, {"a": 2}]', [{"a": Number(1)}, {"a": Number(2)}]),
    ],
)
def test_what_a_mark_would_mend_is_mended(broken, found):
    found = found or {"a": 'He said "yes", then left', "b": Number(1)}
    assert mended(broken, 0)[0] == found


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("first", ["hello", "it's, so", 'say "hi" now'])
def test_a_text_whose_marks_are_lost_never_takes_in_the_next_key(first, raw):
    optional = str | None
    output = Records(parse_keys({"a": optional, "b": optional}), single=True)
    values = (first, 'a "quoted"')
    whole = json.dumps(dict(zip("ab", values, strict=True)))
    whole = whole.replace("\\", "") if raw else whole
    marks = [at for at, one in enumerate(whole) if one in '\\",:{}']
    for lost in itertools.combinations(marks, 2):
        reply = "".join(one for at, one in enumerate(whole) if at not in lost)
        with contextlib.suppress(OutputError):
            ((a, b),), _ = output.read(Choice(reply, "stop"))
            said = [letters([one]) for one in (a, b)]
            assert said == [letters([one]) for one in values]


@pytest.mark.parametrize(
    "unit", ['\\"', '"', "'", '{"q": ', "[1] ", '"a", ', "</think>", "<", "// ", "[["]
)
@pytest.mark.parametrize("before", ["", '{"v": "', '[{"q": "Q", "a": '])
def test_reading_takes_time_in_proportion_to_the_reply(unit, before):
    outputs = [Records(parse_keys(["q", "a"])), Completion("c")]

    def reading(letters):
        reply = Choice(before + unit * (letters // len(unit)))

        def read():
            for output in outputs:
                with contextlib.suppress(OutputError):
                    output.read(reply)

        return read

    assert in_proportion(reading, 10_000)


# -- names, records -------------------------------------------------------------


@given(
    st.lists(st.text("aA bB_-+%", min_size=1, max_size=4), min_size=1, unique=True),
    st.lists(st.text("aA bB_-+%", min_size=1, max_size=4), min_size=1, unique=True),
)
def test_a_name_is_folded_only_where_nothing_else_is_meant(declared, given_keys):
    def fold(name: str) -> str:
        return re.sub(r"[\s_-]", "", name).casefold() or name

    item = {key: at for at, key in enumerate(given_keys)}
    found = folded(item, declared)
    assert sorted(found.values()) == sorted(item.values())
    for name, at in found.items():
        was = given_keys[at]
        if was != name:
            assert was not in declared
            assert fold(was) == fold(name)
            assert [fold(one) for one in declared].count(fold(name)) == 1


def test_of_a_record_that_was_cut_off_its_values_are_no_records():
    output = Records(parse_keys(PEOPLE))
    reply = '{"name": "Ann", "children": [{"name": "Bob", "age": 3}, {"na'
    with pytest.raises(OutputError, match="cut off"):
        output.read(Choice(reply, "length"))


# -- reasoning ------------------------------------------------------------------

FORMS = [
    *((f"<{n}>", f"</{n}>") for n in ("think", "thinking", "thought", "reasoning")),
    *((f"<{n}>", f"</{n}>") for n in ("analysis", "scratchpad", "seed:think")),
    ("<longcat_think>", "</longcat_think>"),
    *(("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷")),
    *(("<|channel>thought\n", "<channel|>"), ("<unused94>thought\n", "<unused95>")),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    ("analysis", "assistantfinal"),
    *((f"<{n}>", f"</{n}>") for n in ("think_faster", "antThinking", "inner_thoughts")),
    ("<|begin_of_thinking|>", "<|end_of_thinking|>"),
    ("<|begin|>assistant<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("<|im_start|>think\n", "<|im_start|>answer\n"),
    ("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]\n"),
    ("analysisWe look: ", "assistantfinal"),
]


@pytest.mark.parametrize(("opening", "closing"), FORMS)
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("line", ["", "\n\n"])
def test_reasoning_in_any_form_is_no_part_of_an_answer(opening, closing, lost, line):
    if lost and opening.startswith("analysis"):
        pytest.skip("without its first word nothing tells it from prose")
    draft = ("" if lost else opening) + 'Maybe {"records": [{"fact": "draft"}]}?'
    facts = Records(parse_keys(["fact"]))
    assert facts.read(Choice(draft + closing + line + FINAL))[0] == [("final",)]
    said = Completion("c").read(Choice(draft + closing + line + "Yes."))[0]
    assert [one.strip() for (one,) in said] == ["Yes."]
    if not lost:
        with pytest.raises(OutputError):
            facts.read(Choice(draft if opening != "analysis" else ""))


@pytest.mark.parametrize(
    "token",
    [
        *("<|im_end|>", "<|eot_id|>", "</s>", "<|endoftext|>", "<end_of_turn>"),
        *(
            "<|role_end|>",
            "<|hy_eos|>",
            "[e~[",
            "<eod>",
            "<|return|>",
            "<|end|>",
            "<turn|>",
            "<\uff5cend▁of▁sentence\uff5c>\n",
        ),
    ],
)
def test_the_end_of_a_turn_is_no_part_of_an_answer(token):
    assert without_thinking(f"Yes.{token}") == "Yes."
    assert Completion("c").read(Choice(f"Yes.{token}"))[0] == [("Yes.",)]
    facts = Records(parse_keys(["fact"]))
    assert facts.read(Choice(FINAL + token))[0] == [("final",)]


@pytest.mark.parametrize(
    "honest",
    [
        "The `</think>` tag ends it.",
        'He wrote "</think>" twice.',
        "Yes </think> no",
        "Put it between <think> and </think> tags.",
        "```\nhm</think>Yes<|im_end|>\n```",
        "ChatML uses <|im_end|> to end turns.",
        "It is parted by <|sep|>",
        "<cancellation_reason>none</cancellation_reason>",
        "<s>old</s> new",
        "<summary>x</summary>\n<analysis>y</analysis>",
        'See {"a": "hm</think>Yes<|im_end|>"} there',
        "analysis of data",
        "a[0] < b[1]",
    ],
)
def test_a_mark_that_a_text_speaks_of_stays(honest):
    assert without_thinking(honest) == honest


# -- values ---------------------------------------------------------------------


class Price(BaseModel):
    amount: Decimal


@pytest.mark.parametrize("around", ["%s", "```json\n%s\n```", "Here: %s", "%s}"])
def test_decimals_keep_their_digits(around):
    digits = "3.14159265358979323846264338327950"
    reply = around % f'{{"amount": {digits}}}'
    ((amount,),), _ = Records(parse_keys(Price), single=True).read(Choice(reply))
    assert str(amount) == digits


@pytest.mark.parametrize("union", [str | list[str], list[str] | str | None])
def test_a_number_within_a_form_of_a_union_keeps_its_digits(union):
    output = Records(parse_keys({"v": union}), single=True)
    assert output.read(Choice('{"v": ["a", 1.10, 2]}'))[0] == [(["a", "1.10", "2"],)]


class Tree(BaseModel):
    size: int = 0
    share: float = 0.0
    inner: Optional[Tree] = None  # noqa: UP045
    parts: list[Tree] = []


@dataclasses.dataclass
class Point:
    x: int


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    age: float


DEEP = {"tree": Tree, "pet": Cat | Dog, "n": int | float}


class Place(BaseModel):
    at: Point
    more: list[Point] = []


@pytest.mark.parametrize("around", ["%s", "```\n%s\n```"])
@pytest.mark.parametrize(
    ("keys", "good", "bad"),
    [
        ({"v": Tree}, '{"inner": {"inner": {"size": 1}}}', ["true", str(2**64)]),
        ({"v": Tree}, '{"inner": {"parts": [{"share": 1}]}}', ["true"]),
        ({"v": Place}, '{"at": {"x": 1}}', ["true", str(2**64)]),
        ({"v": Place}, '{"at": {"x": 0}, "more": [{"x": 1}]}', ["true", str(2**64)]),
        ({"v": Cat | Dog}, '{"kind": "cat", "lives": 1}', ["true", str(2**64)]),
        ({"v": Cat | Dog}, '{"kind": "dog", "age": 1}', ["true"]),
        ({"v": int | list[int]}, "[1]", ["true", str(2**64)]),
    ],
)
def test_a_boolean_is_no_number_and_64_bits_are_the_most(keys, good, bad, around):
    output = Records(parse_keys(keys), single=True)
    assert len(output.read(Choice(around % f'{{"v": {good}}}'))[0]) == 1
    for wrong in bad:
        reply = around % f'{{"v": {good[::-1].replace("1", wrong[::-1], 1)[::-1]}}}'
        with pytest.raises(OutputError):
            output.read(Choice(reply))


def test_a_key_that_stands_twice_is_seen_in_flattened_records_too():
    with Server(lambda body: completion('{"s": {"a": 1, "a": 2}}')) as server:
        with pytest.warns(LLMWarning, match="1 of 1 rows failed"):
            out = call("extract", {"s": Spot}, server, flatten=True)
        assert out.isna().all(axis=None)
        assert len(server.bodies) == 3

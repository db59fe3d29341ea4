"""A corpus of replies that are not quite what was asked for, and how each must end.

`LIST` are asked with ``keys=["q", "a"]`` for any number of records, `ONE` for exactly
one record of `TYPES`, `WORD` for one label. A list is the records; a str the kind of
the error that the choice ends with; `(records, "truncated")` both.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, NamedTuple, Optional

TYPES: dict[str, Any] = {
    "name": str,
    "count": int,
    "share": float,
    "good": bool,
    "day": dt.date,
    "at": Optional[dt.datetime],  # noqa: UP045 - the older spelling is tested too
    "mood": Literal["Happy", "very sad"],
    "tags": list[str],
}
GOOD = {
    "name": "Ada",
    "count": 3,
    "share": 0.5,
    "good": True,
    "day": "2026-01-31",
    "at": None,
    "mood": "Happy",
    "tags": ["x", "y"],
}
ADA = ("Ada", 3, 0.5, True, dt.date(2026, 1, 31), None, "Happy", ["x", "y"])
QA = [("Q", "A")]
TWO = [("Q", "A"), ("R", "B")]


class Case(NamedTuple):
    """One reply and its end."""

    what: str
    text: str
    ends: Any
    finish: str = "stop"


LIST = [
    Case("clean", '{"records": [{"q": "Q", "a": "A"}, {"q": "R", "a": "B"}]}', TWO),
    Case("no records", '{"records": []}', []),
    Case("an empty list", "[]", []),
    Case("the word NONE", "NONE", []),
    Case("the word in a sentence's clothes", '"None."', []),
    Case("nothing", "", "output"),
    Case("blanks", " \n\t ", "output"),
    Case("an empty text in quotes", '""', "output"),
    Case("an empty fence", "```\n```", "output"),
    Case("thinking and nothing", "<think>No pairs.</think>\n", "output"),
    Case("a tool's call", "", "output", "tool_calls"),
    Case("blank lines ahead", '\n\n\n {"records": [{"q": "Q", "a": "A"}]}', QA),
    Case("a byte order mark", '\ufeff{"records": [{"q": "Q", "a": "A"}]}', QA),
    Case("a fence", '```json\n{"records": [{"q": "Q", "a": "A"}]}\n```', QA),
    Case("a fence without a word", '```\n[{"q": "Q", "a": "A"}]\n```', QA),
    Case("a fence never closed", '```json\n[{"q": "Q", "a": "A"}]', QA),
    Case(
        "two fences",
        '1:\n```json\n{"q": "Q", "a": "A"}\n```\n2:\n```\n{"q": "R", "a": "B"}\n```',
        TWO,
    ),
    Case("code beside it", '```py\nx = {}\n```\n[{"q": "Q", "a": "A"}]', QA),
    Case(
        "a fence within a text",
        'Here: {"q": "Q", "a": "```json\\n{}\\n```"}',
        [("Q", "```json\n{}\n```")],
    ),
    Case("prose around", 'Sure! [{"q": "Q", "a": "A"}] Hope it helps.', QA),
    Case("references in prose", 'By [1] and {x}: [{"q": "Q", "a": "A"}] [2]', QA),
    Case("thinking", '<think>{"q": "no"}</think>[{"q": "Q", "a": "A"}]', QA),
    Case("thinking twice", '<think>a</think><think>b</think>{"q":"Q","a":"A"}', QA),
    Case("lost opening tag", 'Hm {"q": 1}.\n</think>\n\n[{"q": "Q", "a": "A"}]', QA),
    Case("thinking and NONE", "<think>No pairs here.</think>\nNONE", []),
    Case("nothing but thinking", '<think>{"records": [', "output"),
    Case("one object alone", '{"q": "Q", "a": "A"}', QA),
    Case("a bare list", '[{"q": "Q", "a": "A"}, {"q": "R", "a": "B"}]', TWO),
    Case("another name", '{"pairs": [{"q": "Q", "a": "A"}]}', QA),
    Case("a count beside", '{"n": 1, "tags": [1], "qs": [{"q":"Q","a":"A"}]}', QA),
    Case("one object for the list", '{"records": {"q": "Q", "a": "A"}}', QA),
    Case("nested once more", '{"data": {"records": [{"q": "Q", "a": "A"}]}}', QA),
    Case("each nested", '{"records": [{"pair": {"q": "Q", "a": "A"}}]}', QA),
    Case("a list in a list", '[[{"q": "Q", "a": "A"}], [{"q": "R", "a": "B"}]]', TWO),
    Case("by number", '{"1": {"q": "Q", "a": "A"}, "2": {"q": "R", "a": "B"}}', TWO),
    Case("JSON lines", '{"q": "Q", "a": "A"}\n{"q": "R", "a": "B"}', TWO),
    Case("encoded twice", '"[{\\"q\\": \\"Q\\", \\"a\\": \\"A\\"}]"', QA),
    Case("other case", '[{"Q": "Q", "A ": "A"}]', QA),
    Case("more keys", '[{"q": "Q", "a": "A", "score": 1}]', QA),
    Case("numbers for text", '[{"q": 1, "a": 2.5}]', [("1", "2.5")]),
    Case(
        "a number of 23 digits",
        '```{"q": 12345678901234567890123, "a": "A"}```',
        [("12345678901234567890123", "A")],
    ),
    Case("equal records", '[{"q": "Q", "a": "A"}, {"q": "Q", "a": "A"}]', QA * 2),
    Case("single quotes", "[{'q': 'Q', 'a': 'A'}]", QA),
    Case("single quotes, lines", "{'q': 'Q', 'a': 'A'}\n{'q': 'R', 'a': 'B'}", TWO),
    Case("a trailing comma", '{"records": [{"q": "Q", "a": "A",},]}', QA),
    Case("bare keys", '[{q: "Q", a: "A"}]', QA),
    Case("no comma", '[{"q": "Q" "a": "A"}]', QA),
    Case("a comment", '{"q": "Q", // the question\n "a": "A"}', QA),
    Case("line ends in a text", '[{"q": "Q\nQ", "a": "A"}]', [("Q\nQ", "A")]),
    Case("quotes in a text", '[{"q": "a "Q" b", "a": "A"}]', [('a "Q" b', "A")]),
    Case("curly quotes", "{“q”: “Q”, “a”: “A”}", QA),
    Case("no last bracket", '{"records": [{"q": "Q", "a": "A"}]', QA),
    Case("a bracket too many", '{"q": "Q", "a": "A"}}', QA),
    Case("broken off without a word", '[{"q": "Q", "a": "A"}, {"q": "R', "output"),
    Case("broken off in a text", '{"records": [{"q": "Q", "a": "wh', "output"),
    Case("a value lacks", '[{"q": "Q", "a": }]', "output"),
    Case("a key lacks", '{"records": [{"q": "Q"}]}', "output"),
    Case("null for text", '{"records": [{"q": "Q", "a": null}]}', "output"),
    Case("a list for text", '{"records": [{"q": "Q", "a": ["A"]}]}', "output"),
    Case("columns", '{"q": ["Q", "R"], "a": ["A", "B"]}', "output"),
    Case("rows without names", '[["Q", "A"], ["R", "B"]]', "output"),
    Case("other keys", '{"simulated": true, "unexpected": [1, 2]}', "output"),
    Case("an empty object", "{}", "output"),
    Case("null", "null", "output"),
    Case("a number", "42", "output"),
    Case("plain prose", "I am sorry, I cannot see any document.", "output"),
    Case("prose with brackets", "Nothing [sic] {really} found", "output"),
    Case("half an emoji", '[{"q": "\\ud83d", "a": "A"}]', "output"),
    Case("deep lists", "[" * 100_000, "output"),
    Case("deep lists, cut", "[" * 100_000, "truncated", "length"),
    Case("deep closed lists", "[" * 5000 + "]" * 5000, "output"),
    Case("deep objects", '{"q":' * 50_000, "output"),
    Case("too broken and too long", "[{'q': '" + "it's " * 40_000 + "'}]", "output"),
    Case("5000 digits", '[{"q": ' + "9" * 5000 + ', "a": "A"}]', [("9" * 5000, "A")]),
    Case("HTML", "<html><body>{{ error }}</body></html>", "output"),
    Case(
        "cut in the second",
        '{"records": [{"q": "Q", "a": "A"}, {"q": "R',
        (QA, "truncated"),
        "length",
    ),
    Case(
        "cut within a brace of a text",
        '[{"q": "Q", "a": "A"}, {"q": "{x} y',
        (QA, "truncated"),
        "length",
    ),
    Case(
        "cut after the list",
        '{"records": [{"q": "Q", "a": "A"}]',
        (QA, "truncated"),
        "length",
    ),
    Case(
        "cut in a fence",
        '```json\n[{"q": "Q", "a": "A"},\n{"q"',
        (QA, "truncated"),
        "length",
    ),
    Case(
        "cut within a bracket of a text", '[{"q": "Q", "a": "}]}', "truncated", "length"
    ),
    Case(
        "cut JSON lines",
        '{"q": "Q", "a": "A"}\n{"q": "R", "',
        (QA, "truncated"),
        "length",
    ),
    Case(
        "cut, single quotes",
        "[{'q': 'Q', 'a': 'A'}, {'q': 'R",
        (QA, "truncated"),
        "length",
    ),
    Case("complete at the limit", '{"records": [{"q": "Q", "a": "A"}]}', QA, "length"),
    Case("cut in the first", '{"records": [{"q": "Q", "a": "wh', "truncated", "length"),
    Case("cut before any text", "", "truncated", "length"),
    Case("cut after blanks", " \n", "truncated", "length"),
    Case("cut in its thinking", "<think>Let me", "truncated", "length"),
    Case("cut in prose", "Here are the", "truncated", "length"),
    Case("filtered", '{"records": [', "content_filter", "content_filter"),
]


def one(**changed: Any) -> str:
    """Write `GOOD` with some values as other JSON."""
    import json

    parts = {key: json.dumps(value) for key, value in GOOD.items()} | changed
    return "{" + ", ".join(f'"{key}": {text}' for key, text in parts.items()) + "}"


def ada(**changed: Any) -> list[tuple[Any, ...]]:
    """Return `ADA` with some values changed."""
    return [tuple(changed.get(key, was) for key, was in zip(GOOD, ADA, strict=True))]


ONE = [
    Case("clean", one(), [ADA]),
    Case("a list of one", f"[{one()}]", [ADA]),
    Case("the envelope", f'{{"records": [{one()}]}}', [ADA]),
    Case("nested", f'{{"person": {one()}}}', [ADA]),
    Case("said twice", f"{one()}\nAs JSON:\n```json\n{one()}\n```", [ADA]),
    Case("two records", f"[{one()}, {one(count='4')}]", "output"),
    Case("no record", "[]", "output"),
    Case("nothing", "", "output"),
    Case("NONE", "NONE", "output"),
    Case("an optional key lacks", one().replace('"at": null, ', ""), [ADA]),
    Case("a number as text", one(count='"3"', share='"0.5"'), [ADA]),
    Case("blanks around a number", one(count='" 3 "'), [ADA]),
    Case("a whole float", one(count="3.0"), [ADA]),
    Case("a fraction for int", one(count="3.5"), "output"),
    Case("thousands", one(count='"1,234"'), "output"),
    Case("a decimal comma", one(share='"0,5"'), "output"),
    Case("a unit", one(count='"3 kg"'), "output"),
    Case("true for a number", one(count="true"), "output"),
    Case("true for a float", one(share="true"), "output"),
    Case("the largest", one(count=str(2**63 - 1)), ada(count=2**63 - 1)),
    Case("over Int64", one(count=str(2**63)), "output"),
    Case("under Int64", one(count=str(-(2**63) - 1)), "output"),
    Case("over Int64 as text", one(count=f'"{10**30}"'), "output"),
    Case("an endless float", one(share="1e400"), "output"),
    Case("98e637", one(share="98e637"), "output"),
    Case("Infinity", one(share="Infinity"), "output"),
    Case("infinity as text", one(share='"inf"'), "output"),
    Case("NaN", one(share="NaN"), "output"),
    Case("nan as text", one(share='"nan"'), "output"),
    Case("NaN where null may be", one(at="NaN"), [ADA]),
    Case("yes", one(good='"yes"'), [ADA]),
    Case("perhaps", one(good='"perhaps"'), "output"),
    Case("June 31st", one(day='"2026-06-31"'), "output"),
    Case("a day of seconds", one(day="1769817600"), "output"),
    Case("a year", one(day='"2026"'), "output"),
    Case("digits for a day", one(day='"20260131"'), "output"),
    Case("a day with a time", one(day='"2026-01-31T00:00:00Z"'), [ADA]),
    Case("a day with a tail", one(day='"2026-01-311"'), "output"),
    Case("a day in words", one(day='"January 31, 2026"'), "output"),
    Case("a German day", one(day='"31.01.2026"'), "output"),
    Case("UTC", one(at='"2026-01-31T12:00:00Z"'), ada(at=dt.datetime(2026, 1, 31, 12))),  # noqa: DTZ001
    Case(
        "an offset",
        one(at='"2026-01-31T12:00:00+02:00"'),
        ada(at=dt.datetime(2026, 1, 31, 10)),  # noqa: DTZ001
    ),
    Case("out of UTC's range", one(at='"0001-01-01T00:00:00+10:00"'), "output"),
    Case("a label in other case", one(mood='" happy "'), [ADA]),
    Case("a label with _", one(mood='"Very_Sad"'), ada(mood="very sad")),
    Case("an invented label", one(mood='"furious"'), "output"),
    Case("a number for a label", one(mood="1"), "output"),
    Case("null for a label", one(mood="null"), "output"),
    Case("text for a list", one(tags='"x"'), "output"),
    Case(
        "cut after the record", f"```json\n{one()}\n``", ([ADA], "truncated"), "length"
    ),
    Case("cut in its list", one()[:-6], "truncated", "length"),
]
WORD = [
    Case("clean", '{"label": "good"}', [("good",)]),
    Case("the word alone", "good", [("good",)]),
    Case("the word as a sentence", " **Good.**\n", [("good",)]),
    Case("the word in quotes", '"good"', [("good",)]),
    Case("a list of one", '["good"]', [("good",)]),
    Case("thought about", "<think>bad?</think>good", [("good",)]),
    Case("another name", '{"Label": "GOOD"}', [("good",)]),
    Case("both", '["good", "bad"]', "output"),
    Case("a sentence", "It is good, I think.", "output"),
    Case("an invented one", '{"label": "fine"}', "output"),
    Case("nothing", "", "output"),
]

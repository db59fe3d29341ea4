"""Replies to records: every defect ends as it must, and nothing else escapes."""
# ruff: noqa: UP045 - both spellings are tested

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field
from replies import LIST, ONE, TYPES, WORD, one

from pandas_llm._keys import parse_keys, parse_labels
from pandas_llm._replies.decided import Label
from pandas_llm._replies.outputs import Completion, Records
from pandas_llm.errors import OutputError, ToolCallError
from pandas_llm.types import Choice

PAIRS = Records(parse_keys(["q", "a"]))
PERSON = Records(parse_keys(TYPES), single=True)
MOOD = Label(parse_labels("label", ["good", "bad"]))


def end(output: Any, text: str, finish: str | None = "stop") -> Any:
    """Return the records, the kind of the error, or both."""
    try:
        records, cut = output.read(Choice(text, finish))
    except OutputError as error:
        assert error.text == text  # noqa: PT017 - the kind is what is asked for
        return error.kind
    return (records, cut.kind) if cut else records


def failure(output: Any, text: str) -> str:
    with pytest.raises(OutputError) as caught:
        output.read(Choice(text, "stop"))
    return str(caught.value)


@pytest.mark.parametrize("case", LIST, ids=lambda case: case.what)
def test_a_reply_with_a_list_ends_as_it_must(case):
    assert end(PAIRS, case.text, case.finish) == case.ends


@pytest.mark.parametrize("case", ONE, ids=lambda case: case.what)
def test_a_reply_with_one_record_ends_as_it_must(case):
    assert end(PERSON, case.text, case.finish) == case.ends


@pytest.mark.parametrize("case", WORD, ids=lambda case: case.what)
def test_a_reply_with_a_label_ends_as_it_must(case):
    assert end(MOOD, case.text, case.finish) == case.ends


MARKED = [
    *(("Happy." + after, "happy") for after in ("", "\n", " ", "**", "\u201d")),
    *((f'{{"label": "{said}"}}', "happy") for said in ("Happy.", "happy!", "«happy»")),
    *(
        (said, "happy")
        for said in ("「happy」", "\uff48\uff41\uff50\uff50\uff59", "happy。")
    ),
    *(
        (said, "output")
        for said in ("happy?", "happy…", "not happy", "un-happy", "~happy")
    ),
    *(("A*", "A*"), ("a*", "A*"), ("A", "A"), ("**A**", "output"), ("A*.", "output")),
]


@pytest.mark.parametrize(("text", "label"), MARKED)
def test_marks_around_a_label_are_none_of_it_unless_another_has_them(text, label):
    found = end(Label(parse_labels("label", ["happy", "A", "A*"])), text)
    assert found == (label if label == "output" else [(label,)])


def test_the_corpus_has_at_least_sixty_defects():
    assert len(LIST) + len(ONE) + len(WORD) >= 60


def test_a_refusal_is_told_with_the_models_words():
    with pytest.raises(OutputError, match="declined to answer: I will not") as caught:
        PAIRS.read(Choice("", "stop", refusal="I will not."))
    assert caught.value.kind == "refusal"
    assert caught.value.text == "I will not."
    with pytest.raises(OutputError, match=r"declined to answer$"):
        PAIRS.read(Choice("", "stop", refusal=""))


def test_an_error_names_the_record_the_key_and_what_was_given():
    said = failure(PAIRS, '{"records": [{"q": "x", "a": "y"}, {"q": 1, "a": {}}]}')
    assert said == "record 2, a: Input should be a valid string, not {}"


def test_an_error_names_several_defects_for_the_model_to_mend():
    said = failure(PERSON, one(count='"1,234"', day='"2026-06-31"', mood='"meh"'))
    assert "count: Input should be a valid integer" in said
    assert "day: day is out of range for month, not '2026-06-31'" in said
    assert "mood: must be one of 'Happy', 'very sad', not 'meh'" in said


def test_records_of_all_choices_are_joined_and_equal_ones_dropped():
    first, _ = PAIRS.read(Choice('[{"q": "1", "a": "x"}, {"q": "2", "a": "x"}]'))
    second, _ = PAIRS.read(Choice('[{"q": "1", "a": "x"}, {"q": "1", "a": "y"}]'))
    assert PAIRS.combine([first, second]) == [("1", "x"), ("2", "x"), ("1", "y")]


def test_equal_records_with_lists_in_them_are_dropped_too():
    output = Records(parse_keys({"tags": list[str], "n": int}))
    row = (["a"], 1)
    assert output.combine([[row, (["b"], 1)], [(["a"], 1)]]) == [row, (["b"], 1)]


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ('["a", "b"]', [("a",), ("b",)]),
        ('{"records": ["a", "b"]}', [("a",), ("b",)]),
        ('{"fact": ["a", "b"]}', [("a",), ("b",)]),
        ('{"facts": ["a"]}', [("a",)]),
        ('{"fact": "a"}', [("a",)]),
    ],
)
def test_the_only_key_may_come_without_its_name(text, records):
    assert end(Records(parse_keys(["fact"])), text) == records


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ('{"tags": ["a", "b"]}', [(["a", "b"],)]),
        ('["a", "b"]', [(["a", "b"],)]),
        ('{"records": [{"tags": ["a"]}, {"tags": []}]}', [(["a"],), ([],)]),
        ('[["a"], ["b"]]', [(["a"],), (["b"],)]),
    ],
)
def test_the_only_key_may_be_a_list(text, records):
    assert end(Records(parse_keys({"tags": list[str]})), text) == records


def test_a_list_that_was_cut_off_is_no_list_of_records():
    output = Records(parse_keys({"tags": list[str]}))
    assert end(output, '{"tags": ["a", "b', "length") == "truncated"
    output = Records(parse_keys({"title": str, "tags": list[str]}))
    assert end(output, '{"title": "x", "tags": ["a", "b', "length") == "truncated"


def test_a_key_named_records_is_a_key():
    output = Records(parse_keys({"records": int, "year": int}))
    assert end(output, '{"records": 3, "year": 1990}') == [(3, 1990)]
    for kind in (int, int | None, list[int], str):
        output = Records(parse_keys({"records": kind, "year": int | None}))
        assert end(output, '{"records": []}') == []
    output = Records(parse_keys({"records": str, "year": int | None}))
    reply = '{"records": [{"records": "a", "year": null}, {"records": "b"}]}'
    assert end(output, reply) == [("a", None), ("b", None)]
    keys = parse_keys({"records": list[int], "year": int | None})
    assert end(Records(keys, single=True), '{"records": []}') == [([], None)]
    assert end(Records(keys, single=True), '{"records": [3]}') == [([3], None)]


def test_a_reply_with_none_of_the_keys_is_no_record_of_nulls():
    optional = Records(parse_keys({"a": int | None, "b": Optional[str]}))
    assert end(optional, '{"records": [{}]}') == "output"
    assert end(optional, '{"answer": {"A": 5}}') == [(5, None)]


class Defaults(BaseModel):
    size: int = 1
    note: str | None = None


def test_a_model_whose_fields_all_have_defaults_needs_one_of_them():
    output = Records(parse_keys(Defaults), single=True)
    assert end(output, '{"unexpected": 1}') == "output"
    assert end(output, '{"size": 2}') == [(2, None)]


def test_names_that_fold_alike_are_not_mixed_up():
    output = Records(parse_keys(["a b", "ab"]))
    assert end(output, '{"a b": "1", "ab": "2"}') == [("1", "2")]
    assert end(output, '{"A B": "1", "AB": "2"}') == "output"


def test_what_a_persons_validator_raises_is_the_rows_error():
    def broken(value: str) -> str:
        raise KeyError(value)

    output = Records(parse_keys({"a": Annotated[str, AfterValidator(broken)]}))
    assert failure(output, '{"a": "x"}') == "record 1, KeyError: 'x'"


@pytest.mark.parametrize(
    ("annotation", "makes"),
    [(int, 2**70), (int, "x"), (float, float("inf")), (str, 5), (bool, "x")],
)
def test_what_a_persons_validator_makes_must_fit_the_column(annotation, makes):
    spoilt = Annotated[annotation, AfterValidator(lambda _: makes)]
    assert end(Records(parse_keys({"a": spoilt})), '{"a": 1}') == "output"


class Person(BaseModel):
    born: dt.datetime
    heirs: int = Field(0, ge=0)
    wealth: float | None = None


@pytest.mark.parametrize(
    "text",
    [
        '{"born": 2026}',
        '{"born": "2026-01-01", "wealth": 98e637}',
        '{"born": "2026-01-01", "heirs": 9223372036854775808}',
        '{"born": "2026-01-01", "heirs": true}',
        '{"born": "2026-01-01", "heirs": -1}',
    ],
)
def test_a_persons_model_is_held_to_the_columns_as_well(text):
    assert end(Records(parse_keys(Person), single=True), text) == "output"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    colour: Colour
    made: dt.date
    sizes: tuple[float, ...] = ()


def test_nested_models_become_plain_data():
    output = Records(parse_keys({"part": Part, "parts": list[Part]}), single=True)
    text = '{"colour": "RED ", "made": "2026-01-31", "sizes": [1]}'
    ((part, parts),), _ = output.read(Choice(f'{{"part": {text}, "parts": [{text}]}}'))
    assert part == {"colour": "red", "made": dt.date(2026, 1, 31), "sizes": [1.0]}
    assert parts == [part]


# -- classify and complete ------------------------------------------------------


def votes(*labels: str, weighed: bool = False) -> list[tuple[Any, ...]]:
    output = Label(parse_labels("mood", ["good", "bad", "so so"]), weighed=weighed)
    return output.combine([[(label, None)[: output.width]] for label in labels])


def test_the_majority_wins_and_a_tie_goes_to_the_label_listed_first():
    assert votes("bad", "bad", "good") == [("bad",)]
    assert votes("so so", "bad", "so so", "bad") == [("bad",)]


def test_probabilities_are_the_shares_of_votes():
    found = votes("bad", "bad", "good", "bad", weighed=True)
    assert found == [("bad", ("votes", (0.25, 0.75, 0.0)))]


def test_a_completion_is_the_text_without_thinking():
    output = Completion("c")
    assert end(output, "<think>a</think>\n\nYes.") == [("Yes.",)]
    assert end(output, "Yes </think> no") == [("Yes </think> no",)]
    for nothing in ("", " \n\t ", "<think>a</think>\n "):
        assert end(output, nothing) == "output"
        assert end(output, nothing, "length") == "truncated"
    assert end(output, "<think>Hm") == "output"
    assert end(output, "Once upon", "length") == ([("Once upon",)], "truncated")
    assert end(output, "", "length") == "truncated"
    assert end(output, "<think>Hm", "length") == "truncated"


# -- properties -----------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: text,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    dt.date: st.dates(),
    dt.datetime: st.datetimes(),
    Literal["red", "Green", 3]: st.sampled_from(["red", "Green", 3]),
    list[int]: st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    list[list[str]]: st.lists(st.lists(text, max_size=2), max_size=2),
}
VALUES |= {Optional[t]: st.none() | values for t, values in list(VALUES.items())}


@st.composite
def keys_and_records(draw):
    """Draw keys with any names and types, and records of them."""
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
    chosen = draw(
        st.lists(names.filter(str.strip), min_size=1, max_size=4, unique=True)
    )
    keys = {name: draw(st.sampled_from(list(VALUES))) for name in chosen}
    values = st.tuples(*(VALUES[annotation] for annotation in keys.values()))
    return keys, draw(st.lists(values, max_size=3))


def as_json(keys: Any, records: list[tuple[Any, ...]]) -> str:
    rows = [dict(zip(keys, record, strict=True)) for record in records]
    return json.dumps({"records": rows}, default=str)


@given(keys_and_records())
def test_what_is_written_is_read(drawn):
    keys, records = drawn
    assert end(Records(parse_keys(keys)), as_json(keys, records)) == records


WRAPPINGS = [
    "```json\n{}\n```",
    "Here you are:\n\n```\n{}\n```\nIs there anything else?",
    "<think>Maybe [1, 2] or {{'a': 1}}?</think>{}",
    "I hope this is what you want: {}",
    "\n\n{}\n",
]


@given(keys_and_records(), st.sampled_from(WRAPPINGS))
def test_what_is_written_is_read_within_fences_prose_and_thinking(drawn, wrapping):
    keys, records = drawn
    reply = wrapping.format(as_json(keys, records))
    assert end(Records(parse_keys(keys)), reply) == records


@given(keys_and_records(), st.data())
def test_of_a_reply_cut_anywhere_only_whole_records_are_kept(drawn, data):
    keys, records = drawn
    whole = as_json(keys, records)
    at = data.draw(st.integers(0, len(whole) - 1))
    kept = end(Records(parse_keys(keys)), whole[:at], "length")
    if kept != "truncated":
        found, mark = kept
        assert mark == "truncated"
        assert found == records[: len(found)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["q", "a", "records", "name", "x"]), inner)
    ),
    max_leaves=12,
)
OUTPUTS = [PAIRS, PERSON, MOOD, Completion("c"), Records(parse_keys(Part), single=True)]
brackets = st.text(st.sampled_from("{}[]\":,'\\ tfn1-.e\nq<think>/`"), max_size=60)


@given(text | brackets, st.sampled_from(["stop", "length", None]))
@example("[" * 3000, "stop")
@example('{"q": ' * 3000, "length")
def test_nothing_but_an_output_error_escapes_from_any_text(reply, finish):
    for output in OUTPUTS:
        end(output, reply, finish)


@given(json_values, st.integers(0, 40), st.sampled_from(["stop", "length"]))
def test_nothing_but_an_output_error_escapes_from_any_json(value, spoilt, finish):
    reply = json.dumps(value)
    for output in OUTPUTS:
        end(output, reply, finish)
        end(output, reply[:spoilt] + reply[spoilt + 1 :], finish)


CALL = '{"name": "look_up", "arguments": {"label": "yes"}}'
CALLS = [
    f"<tool_call>\n{CALL}\n</tool_call>",
    f"<think>Hm.</think>\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>",
    "<tool_call>look_up<arg_key>label</arg_key></tool_call>",
    "<function=look_up>\n<parameter=label>yes</parameter>\n</function>",
    "<tool_call>\n<function=look_up></function>\n</tool_call><|im_end|>",
    f"[TOOL_CALLS][{CALL}]",
    "[TOOL_CALLS]look_up{}",
    f"<|tool_call|>[{CALL}]<|/tool_call|>",
    f"<|python_tag|>{CALL}",
    f"<tool_call>{CALL}",
    "<function_calls>\n<invoke name='look_up'></invoke>\n</function_calls>",
    '<minimax:tool_call>\n<invoke name="look_up"></invoke>\n</minimax:tool_call>',
    f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    "<|tool_call_start|>[look_up(label='yes')]<|tool_call_end|>",
    f"<|START_ACTION|>[{CALL}]<|END_ACTION|>",
    '<\uff5cDSML\uff5cfunction_calls>\n<\uff5cDSML\uff5cinvoke name="look_up">',
    "```tool_code\nlook_up(label='yes')\n```",
]


@pytest.mark.parametrize("text", CALLS)
def test_a_call_that_the_server_did_not_read_is_no_answer(text):
    labels = Label(parse_labels("label", ["yes", "no"]))
    named = Records(parse_keys(["name"]))
    for output in (Completion("completion"), labels, named):
        with pytest.raises(ToolCallError, match="tools are not run"):
            output.read(Choice(text, "stop"))


@pytest.mark.parametrize(
    "text",
    [
        "Write <tool_call>{}</tool_call> around a call.",
        "<tool_call> is a tag of Qwen.",
        "`<tool_call>{}</tool_call>` is a call.",
        "```\n<tool_call>{}</tool_call>\n```",
        "[TOOL_CALLS] is a mark of Mistral's template.",
        "<function=look_up> opens a call.",
    ],
)
def test_a_text_that_speaks_of_calls_is_one(text):
    records, cut = Completion("completion").read(Choice(text))
    assert (records, cut) == ([(text,)], None)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Yes.\n\n<think>hm</think>", "Yes."),
        ("Yes. <think>hm</think>\n", "Yes."),
        ("Yes.\n<think>hm", "Yes."),
        ("<think>a</think>\n  Yes.\n[THINK]b[/THINK]", "Yes."),
        ("Yes.\n\n<thought>hm</thought>", "Yes."),
        ("Yes.\n", "Yes.\n"),  # a person may have asked for it
    ],
)
def test_no_blank_is_left_before_thinking_at_the_end(reply, answer):
    assert Completion("completion").read(Choice(reply))[0] == [(answer,)]


@pytest.mark.parametrize("number", ["1e-400", "-1E-400", "0.1e-330", f"0.{'0' * 400}1"])
def test_a_number_that_is_too_small_for_a_float_is_not_read_as_zero(number):
    for kind, value in ((float, number), (list[float], f"[0.5, {number}]")):
        said = failure(
            Records(parse_keys({"x": kind}), single=True), f'{{"x": {value}}}'
        )
        assert "too small" in said
    text = Records(parse_keys({"x": str}), single=True)
    assert end(text, f'{{"x": {number}}}') == [(number,)]


@pytest.mark.parametrize(
    "number", ["0e-400", "0.0", "-0.0", "1e-300", "5e-324", "1e-320"]
)
def test_small_numbers_and_zeros_are_read(number):
    output = Records(parse_keys({"x": float}), single=True)
    assert end(output, f'{{"x": {number}}}') == [(float(number),)]

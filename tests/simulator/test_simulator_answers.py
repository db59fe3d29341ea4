"""The simulator's answers: they obey the schema, speak of the prompt and repeat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm.simulator import answer, count_tokens
from pandas_llm.simulator.answers.prompt import key_phrase, numbers_of, read_prompt
from pandas_llm.simulator.answers.schema import SchemaError
from pandas_llm.simulator.answers.texts import count_message_tokens, cut_to_tokens
from pandas_llm.simulator.dialects.strict import strict_problem

jsonschema = pytest.importorskip("jsonschema")

MARK = "[simulated] "
TOWER = (
    "The Eiffel Tower stands in Paris. It is 330 metres tall. "
    "Visitors are happy there! It opened on 1889-03-31."
)
SENTENCES = [
    "The Eiffel Tower stands in Paris.",
    "It is 330 metres tall.",
    "Visitors are happy there!",
    "It opened on 1889-03-31.",
]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def about(document: str) -> list[dict[str, Any]]:
    instruction = "Generate question and answer pairs from the following document."
    return user(f"{instruction}\ndocument: {document}")


def obj(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def records(**properties: Any) -> dict[str, Any]:
    return obj(records={"type": "array", "items": obj(**properties)})


def ask(schema: dict[str, Any], document: str = TOWER, **options: Any) -> Any:
    return json.loads(answer(about(document), schema, **options))


def one(schema: dict[str, Any], document: str = TOWER, **options: Any) -> Any:
    return ask(obj(value=schema), document, **options)["value"]


TEXT = {"type": "string"}


def test_records_ask_about_a_sentence_and_answer_with_it() -> None:
    found = ask(records(question=TEXT, answer=TEXT))["records"]
    assert len(found) == 3
    for record in found:
        sentence = record["answer"].removeprefix(MARK)
        assert sentence in SENTENCES
        assert key_phrase(sentence) in record["question"]
        assert record["question"].startswith(f"{MARK}What does the text say about ")
    assert len({record["answer"] for record in found}) == 3


def test_a_short_document_gives_fewer_records_and_an_empty_one_none() -> None:
    schema = records(text=TEXT)
    assert ask(schema, "Cats purr.") == {"records": [{"text": f"{MARK}Cats purr."}]}
    assert ask(schema, "") == {"records": []}


def test_equal_questions_get_equal_answers_and_each_choice_another() -> None:
    schema = records(question=TEXT, answer=TEXT)
    answers = [answer(about(TOWER), schema, 7, choice, "m") for choice in range(4)]
    again = [answer(about(TOWER), schema, 7, choice, "m") for choice in range(4)]
    assert answers == again
    assert len(set(answers)) == 4


def test_seed_model_and_messages_all_change_the_answer() -> None:
    document = " ".join(f"Sentence number {i} is here." for i in range(200))
    plain = answer(about(document), None)
    assert answer(about(document), None, seed=1) != plain
    assert answer(about(document), None, model="other") != plain
    system = [{"role": "system", "content": "Be brief."}]
    assert answer([*system, *about(document)], None) != plain


def test_plain_text_is_marked_and_quotes_the_prompt() -> None:
    text = answer(about(TOWER), None)
    assert text.startswith(MARK)
    assert any(sentence in text for sentence in SENTENCES)
    assert "Generate" not in text


@pytest.mark.parametrize(
    ("prompt", "document"),
    [
        ("Summarise the text.\ntext: Cats purr.", "Cats purr."),
        ("Summarise.\nThe text:\n\nCats purr.\n\nSummary:", "Cats purr."),
        ("Translate to French. Text: Cats purr.", "Cats purr."),
        ("Summarise this review:\nCats purr.", "Cats purr."),
        ("Please summarise what follows.\n\nCats purr.", "Cats purr."),
        ("Cats purr.\nAnswer:", "Cats purr."),
        ("Cats purr.", "Cats purr."),
        ("Say hello", "Say hello"),
        ("See https://example.com/a at 10:30", "See https://example.com/a at 10:30"),
        ("Extract the names.\ndocument: ", ""),
        ("", ""),
    ],
)
def test_the_document_is_found_in_the_prompt(prompt: str, document: str) -> None:
    assert read_prompt(user(prompt)).document == document


def test_a_long_run_of_blanks_or_braces_does_no_harm() -> None:
    for text in (". " + " " * 20_000, "\n" * 20_000, '"properties"' + '{"a":' * 9000):
        assert answer(user(text), None).startswith(MARK)


def test_the_last_user_message_counts_and_parts_are_joined() -> None:
    parts = [
        {"type": "text", "text": "Summarise."},
        {"type": "text", "text": "a: Yes."},
    ]
    messages = [
        *user("An example."),
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {}}]},
    ]
    assert read_prompt(messages).document == "Yes."
    assert read_prompt([{"role": "user", "content": None}]).document == ""


@pytest.mark.parametrize(
    "complaint",
    [
        "Your last reply was not valid JSON. Answer again with JSON only.",
        "That answer cannot be used: no JSON. Answer again, with JSON in the form {}.",
    ],
)
def test_a_complaint_about_the_last_reply_is_not_the_document(complaint: str) -> None:
    messages = [
        *about("Cats purr."),
        {"role": "assistant", "content": "prose"},
        *user(complaint),
    ]
    assert read_prompt(messages).document == "Cats purr."


def test_numbers_come_from_the_prompt_when_they_fit() -> None:
    assert one({"type": "integer"}, "It costs 1,299 euros.") == 1299
    assert one({"type": "number"}, "It costs 5.99 euros since 2021-03-04.") == 5.99
    assert 1 <= one({"type": "integer", "minimum": 1, "maximum": 5}, TOWER) <= 5
    assert numbers_of("v1.2.3 3-5 -7 2024-01-31 12345678901234567") == (3, 5, -7)


def test_a_record_takes_the_number_of_its_own_sentence() -> None:
    document = "Tea costs 2 euros. Coffee costs 3 euros. Milk costs 4 euros."
    found = ask(records(text=TEXT, price={"type": "number"}), document)["records"]
    assert all(f"costs {record['price']} " in record["text"] for record in found)


def test_null_is_said_only_where_the_prompt_has_nothing() -> None:
    number = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    day = {"type": ["string", "null"], "format": "date"}
    assert one(number, "No number here.") is None
    assert one(number, "All 12 of them.") == 12
    assert one(day, "No day here.") is None
    assert one(day) == "1889-03-31"
    assert one({"type": ["string", "null"]}) is not None


def test_dates_have_their_format() -> None:
    assert one({"type": "string", "format": "date"}) == "1889-03-31"
    moment = one({"type": "string", "format": "date-time"})
    assert moment == "1889-03-31T12:00:00Z"
    made_up = one({"type": "string", "format": "date"}, "On 2023-02-30 or so.")
    assert made_up != "2023-02-30"


def test_the_label_that_shares_words_with_the_text_is_chosen() -> None:
    labels = {"enum": ["angry", "happy", "sad"]}
    assert {one(labels, seed=seed) for seed in range(20)} == {"happy"}
    ties = {one(labels, "Nothing of it.", seed=seed) for seed in range(20)}
    assert ties == {"angry", "happy", "sad"}
    several = one({"type": "array", "items": labels})
    assert several[0] == "happy"
    assert sorted(several) == ["angry", "happy", "sad"]


def test_short_texts_go_unmarked_and_long_ones_are_filled() -> None:
    assert len(one({"type": "string", "maxLength": 5})) <= 5
    assert not one({"type": "string", "maxLength": 5}).startswith("[")
    assert one({"type": "string", "maxLength": 30}).startswith(MARK)
    assert len(one({"type": "string", "minLength": 500})) >= 500
    assert len(one({"type": "string", "minLength": 7, "maxLength": 7})) == 7


def test_recursive_schemas_come_to_an_end() -> None:
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": obj(
                name=TEXT,
                left={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                children={"type": "array", "items": {"$ref": "#/$defs/Node"}},
                other={"anyOf": [{"$ref": "#/$defs/Node"}, TEXT]},
            )
        },
    }
    value = json.loads(answer(about(TOWER), schema))
    jsonschema.validate(value, schema)
    assert value["children"]
    root = obj(children={"type": "array", "items": {"$ref": "#"}})
    jsonschema.validate(json.loads(answer(about(TOWER), root)), root)


def test_a_recursion_that_cannot_end_is_reported_not_followed_for_ever() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": obj(a={"$ref": "#/$defs/A"})}}
    with pytest.raises(ValueError, match="no finite value"):
        answer(about(TOWER), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/Missing"},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": "x"}}},
        {"type": "object", "properties": {"a": {"type": "object", "properties": []}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
    ],
)
def test_a_malformed_schema_is_a_schema_error(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        answer(about(TOWER), schema)


def test_what_only_looks_like_a_schema_is_part_of_the_text() -> None:
    text = 'Cats purr. {"properties": {"a": {"type": "string", "maxLength": "x"}}}'
    assert answer(user(text), None).startswith(MARK)


def test_a_schema_in_the_text_is_obeyed() -> None:
    schema = obj(colour={"enum": ["red"]})
    system = {"role": "system", "content": f"Reply as {json.dumps(schema, indent=1)}."}
    messages = [system, *about("{not json} Cats purr.")]
    assert json.loads(answer(messages, {})) == {"colour": "red"}
    assert json.loads(answer(messages, None)) == {"colour": "red"}
    free = json.loads(answer(about("Cats purr."), {}))
    assert free == {"records": [{"text": f"{MARK}Cats purr."}]}


def test_text_of_any_script_is_counted_and_cut() -> None:
    assert count_tokens("") == 0
    assert count_tokens("abcde") == 2
    assert count_tokens("日本語") == 3
    assert count_tokens("\ud800") == 1
    assert cut_to_tokens("日本語", 1) == "日"
    assert count_message_tokens(user("abcd")) == 5


def test_the_rules_of_strict_schemas_are_known() -> None:
    assert strict_problem(records(a=TEXT)) is None
    assert "type" in str(strict_problem({"anyOf": [obj()]}))
    loose = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    assert "additionalProperties" in str(strict_problem(loose))
    optional = obj(b={**obj(a=TEXT), "required": []})
    assert "Missing 'a'" in str(strict_problem(optional))
    assert "allOf" in str(strict_problem(obj(a={"anyOf": [{"allOf": [TEXT]}]})))


def bounds(
    low: str, high: str, least: int, most: int
) -> st.SearchStrategy[dict[str, Any]]:
    """Return keywords of a lower and an upper bound, either or both."""
    pairs = st.tuples(st.integers(least, most), st.integers(0, 20))
    both = pairs.map(lambda pair: {low: pair[0], high: pair[0] + pair[1]})
    either = st.sampled_from([low, high])
    return both | st.dictionaries(either, st.integers(least, most), max_size=1)


LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    bounds("minimum", "maximum", -50, 50).map(lambda b: {"type": "integer", **b}),
    bounds("minimum", "maximum", -50, 50).map(lambda b: {"type": "number", **b}),
    bounds("exclusiveMinimum", "maximum", -9, 9)
    .filter(lambda b: len(b) < 2 or b["exclusiveMinimum"] < b["maximum"])
    .map(lambda b: {"type": "number", **b}),
    st.integers(1, 9).map(lambda m: {"type": "integer", "multipleOf": m}),
    bounds("minLength", "maxLength", 0, 60).map(lambda b: {"type": "string", **b}),
    st.sampled_from(["date", "date-time"]).map(
        lambda form: {"type": "string", "format": form}
    ),
    st.lists(st.text() | st.integers() | st.none(), min_size=1).map(
        lambda labels: {"enum": labels}
    ),
    st.text().map(lambda value: {"const": value}),
    st.sampled_from([["string", "null"], ["integer", "null"], ["null", "array"]]).map(
        lambda kinds: {"type": kinds}
    ),
    st.sampled_from([{}, True, {"$ref": "#/$defs/Tree"}]),
)
NAMES = st.sampled_from(["question", "answer", "title", "n", "a b", "ключ"])


def grow(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(NAMES, parts, max_size=4).map(lambda p: obj(**p))
    arrays = st.builds(
        lambda items, limits: {"type": "array", "items": items, **limits},
        parts,
        bounds("minItems", "maxItems", 0, 5),
    )
    options = st.lists(parts, min_size=1, max_size=3).map(lambda some: {"anyOf": some})
    return objects | arrays | options


TREE = obj(name=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
SCHEMAS = st.dictionaries(NAMES, st.recursive(LEAVES, grow, max_leaves=8)).map(
    lambda properties: {**obj(**properties), "$defs": {"Tree": TREE}}
)


@given(SCHEMAS, st.text(), st.integers(), st.integers(0, 5))
def test_every_answer_validates_against_its_schema(
    schema: dict[str, Any], document: str, seed: int, choice: int
) -> None:
    text = answer(user(document), schema, seed, choice)
    checker = jsonschema.FormatChecker(["date"])
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    validator.validate(json.loads(text))


@given(st.text())
def test_any_prompt_has_a_marked_answer(prompt: str) -> None:
    assert answer(user(prompt), None).startswith(MARK)

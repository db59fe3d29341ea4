"""The prompt template."""

import datetime as dt
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm import TemplateError
from pandas_llm._rows.template import Template

names = st.text(min_size=1).filter(lambda name: "$" not in name)


def render(text, **row):
    template = Template(text, list(row))
    return template.renderer(template.columns)([row[c] for c in template.columns])


@pytest.mark.parametrize(
    ("text", "row", "prompt"),
    [
        ("${a}", {"a": "x"}, "x"),
        ("$a", {"a": "x"}, "x"),
        ("$a$b${a}", {"a": 1, "b": 2.5}, "12.51"),
        ("$$a", {"a": "x"}, "$a"),
        ("$$$a", {"a": "x"}, "$x"),
        ("it costs $5, or $ 6, or 7$", {"a": "x"}, "it costs $5, or $ 6, or 7$"),
        ("${First Name}!", {"First Name": "Ada"}, "Ada!"),
        ("${a}b}", {"a}b": "braces"}, "braces"),
        ("${a.b}", {"a.b": "dot"}, "dot"),
        ("$größe", {"größe": 3}, "3"),
        ("$${unclosed", {"unclosed": 1}, "${unclosed"),
        ("${n:.2f}|${n:05.1f}", {"n": 2.5}, "2.50|002.5"),
        ("${n:}", {"n": 1.5}, "1.5"),
        ("${n:,}", {"n": 1234567}, "1,234,567"),
        ("${day:%d.%m.%Y}", {"day": pd.Timestamp("2026-01-31")}, "31.01.2026"),
        ("${day:%Y}", {"day": dt.date(2026, 1, 31)}, "2026"),
        ("${word:>5}|${word:.2}", {"word": "abc"}, "  abc|ab"),
        ("${n:.2f}", {"n:.2f": "whole name", "n": 1}, "whole name"),
        ("${a:b:.1f}", {"a:b": 2, "a": 1}, "2.0"),
        ("no field", {"a": 1}, "no field"),
        ("", {}, ""),
    ],
)
def test_fields_are_replaced(text, row, prompt):
    assert render(text, **row) == prompt


def test_a_value_is_never_read_as_a_template():
    assert render("${a} and ${b}", a="${b} $b $$", b="secret") == (
        "${b} $b $$ and secret"
    )


def test_constants_are_put_in_once():
    template = Template("${unit} ${x}", ["x"], {"unit": "${x}"})
    assert template.columns == ["x"]
    assert template.renderer(["x"])(("1",)) == "${x} 1"


def test_a_column_comes_before_a_constant_of_its_name():
    template = Template("${x}", ["x"], {"x": "constant"})
    assert template.renderer(["x"])(("row",)) == "row"


@given(st.dictionaries(names, st.text(), min_size=1, max_size=4))
def test_any_name_and_any_value_come_back(row):
    text = "<|>".join(f"${{{name}}}" for name in row)
    template = Template(text, list(row))
    prompt = template.renderer(template.columns)([row[c] for c in template.columns])
    assert prompt == "<|>".join(row.values())


@given(st.text().filter(lambda text: "$" not in text and "{" not in text))
def test_text_without_a_dollar_stays_as_it_is(text):
    assert render(text, a=1) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("${txt}", "did you mean ${text}"),
        ("${Text}", "did you mean ${text}?"),
        ("$USD", "write $$USD"),
        ("${zzzzzzz}", "the names are: 'text', 'title'"),
    ],
)
def test_an_unknown_name_says_what_may_be_meant(text, hint):
    with pytest.raises(TemplateError) as caught:
        Template(text, ["text", "title"])
    assert hint in str(caught.value)


def test_a_name_that_occurs_twice_is_an_error_only_when_used():
    assert Template("${b}", ["a", "a", "b"]).columns == ["b"]
    with pytest.raises(TemplateError, match="2 columns have that name"):
        Template("${a}", ["a", "a", "b"])


def test_a_template_must_be_text():
    with pytest.raises(TypeError, match=r"must be a str, such as .*, not int"):
        Template(5, ["a"])


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("{text}", "write ${text}."),
        ("Title of:{ text }", "write ${text}."),
        ("{price:.2f} for {text!r}", "write ${price:.2f}."),
        ("{First Name}", "write ${First Name}."),
        ("{{ text }}", "write ${text}."),
        ("{{text|upper}}", "write ${text}."),
        ("{row.text}", "write ${text}."),
        ("{row['text']}", "write ${text}."),
        ("{Text}", "write ${text}."),  # nothing else is filled in
        ("${text} and {text}", "write ${text}."),
        ("{% for x in text %}", "no statements"),
        ("${text", "write ${text}, or $${text"),
        ('${text and {"a": 1}', "write ${text}, or $${text"),
        ("${First Name and so on", "write ${First Name}, or"),
        ("${", "write ${column}"),
        ("${txt:.2f}", "did you mean ${text:.2f}?"),
    ],
)
def test_fields_of_other_template_languages_are_told(text, form):
    with pytest.raises(TemplateError) as caught:
        Template(text, ["text", "price", "First Name", "3"])
    assert form in str(caught.value)


def test_what_other_languages_mean_can_be_sent():
    text = "Explain {text}: ${text}"
    with pytest.raises(TemplateError) as caught:
        Template(text, ["text"])
    assert "values={'braces': '{text}'} and write ${braces}" in str(caught.value)
    template = Template("Explain ${braces}: ${text}", ["text"], {"braces": "{text}"})
    assert template.renderer(["text"])(["x"]) == "Explain {text}: x"


@pytest.mark.parametrize(
    "text",
    [
        'Reply with {"text": 1, "price": {"value": 2}} for ${text}',
        "Reply as {text: string, price: number} for ${text}",
        r"Explain \frac{text}{price} and \textbf{text}: ${text}",
        r"Does \d{3} match ${text}?",
        "Fill in {answer} or {{answer}}: ${text}",
        "An empty set {} and {{}}: ${text}",
        "{% is a percent sign in braces %}: ${text}",
        "{n} people {'text'} {\n text \n: 1}: ${text}",
    ],
)
def test_honest_braces_are_sent_as_they_stand(text):
    template = Template(text, ["text", "price", "3"])
    assert template.renderer(["text"])(["x"]) == text.replace("${text}", "x")


@pytest.mark.parametrize(
    "part",
    [
        *('{"a": {"b": 1}} ', "{{ ", "{% if ", "{% set", r"\frac{x}{x} ", "{x: ", "{x"),
        *("{{x|", "{" + " " * 20_000, "{{" + " " * 20_000, "{{" + "-" * 20_000),
        "{x:" + "0" * 20_000,
    ],
    ids=lambda part: part[:6],
)
def test_braces_are_looked_at_in_time_in_proportion(part):
    text = part * max(1, 100_000 // len(part))
    names = ["x", *(f"c{at}" for at in range(1000))]
    began = time.process_time()
    Template(text, names)
    assert time.process_time() - began < 2.0  # a thousandth of what a square takes


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (np.arange(1001), str(list(range(1001)))),
        (np.array([0.123456789012]), "[0.123456789012]"),
        (np.array(["a", "b"]), "['a', 'b']"),
        (np.array([np.array(["a"]), None], dtype=object), "[['a'], None]"),
        ([np.int64(1), np.float64(2.5), np.str_("x")], "[1, 2.5, 'x']"),
        ({"k": (np.bool_(True),)}, "{'k': (True,)}"),
        ({1, 2}, "{1, 2}"),
        (np.float64(1.5), "1.5"),
    ],
)
def test_an_array_is_written_as_the_list_of_what_it_holds(cell, text):
    assert render("${a}", a=cell) == text

"""The prompt template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm import TemplateError
from pandas_llm._run.template import Template

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
        ("${unclosed", {"unclosed": 1}, "${unclosed"),
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


@given(st.text().filter(lambda text: "$" not in text))
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
    with pytest.raises(TypeError, match="must be a str, not int"):
        Template(5, ["a"])

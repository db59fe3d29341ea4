"""A verb is written once: what a new definition gets, and where the forms come from."""

import asyncio
import inspect
import pickle
import re

import pandas as pd
import pytest

import pandas_llm
from pandas_llm._verbs.forms import make_plan, method, twin, twin_method, verb
from pandas_llm.accessor import LLMAccessor

SENDING = ("generate", "extract", "complete", "classify", "embed")


@verb
def matches(data, template, *, name="matches", **options):
    """Return whether a template's claim holds for each row.

    Parameters
    ----------
    data : DataFrame, Series or list of dicts
        The rows.
    """
    labels = ["yes", "no"]
    given = {"template": template, "labels": labels, "name": name, "options": options}
    return make_plan("classify", given)


class Accessor:
    def __init__(self, data):
        self._data = data

    matches = method(matches)
    amatches = twin_method(matches)


FRAME = pd.DataFrame({"text": ["a", "b"]}, index=["x", "y"])
FORMS = {
    "function": matches,
    "twin": lambda *args, **given: asyncio.run(twin(matches)(*args, **given)),
    "method": lambda data, *args, **given: Accessor(data).matches(*args, **given),
    "async method": lambda data, *args, **given: asyncio.run(
        Accessor(data).amatches(*args, **given)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_new_verb_runs_its_one_plan(form, on, simulator):
    out = FORMS[form](FRAME, "${text} is a vowel", name="vowel", **on(simulator()))
    assert out.name == "vowel"
    assert out.index.tolist() == ["x", "y"]
    assert out.cat.categories.tolist() == ["yes", "no"]


def test_a_new_verb_has_the_options_and_a_list_for_a_list(on, simulator):
    rows = [{"text": "a"}]
    assert matches(rows, "${text} is a vowel", **on(simulator()))[0] in ("yes", "no")
    shown = inspect.signature(Accessor.amatches).parameters
    assert list(shown)[:4] == ["self", "template", "name", "model"]
    assert Accessor.amatches.__name__ == "amatches"
    assert "data :" not in Accessor.matches.__doc__


VERBS = [
    name
    for name in pandas_llm.__all__
    if hasattr(LLMAccessor, name)
    and not inspect.iscoroutinefunction(getattr(pandas_llm, name))
]


@pytest.mark.parametrize("name", VERBS)
def test_help_describes_each_parameter_in_full(name):
    for form in (getattr(pandas_llm, name), getattr(LLMAccessor, name)):
        *own, _ = form.__doc__.partition("\nReturns\n")
        assert not re.search(r"\n +As for `\w+`\.\n", own[0])
        entries = re.findall(r"^([a-z_0-9, ]+?)(?: : .*)?\n    ", own[0], re.MULTILINE)
        described = {each for entry in entries for each in entry.split(", ")}
        assert {*inspect.signature(form).parameters} - {"self"} <= described


@pytest.mark.parametrize("name", [*SENDING, "preview", "estimate"])
def test_all_forms_of_a_verb_come_of_one_definition(name):
    forms = [getattr(pandas_llm, name), getattr(LLMAccessor, name)]
    if name in SENDING:
        forms += [getattr(pandas_llm, f"a{name}"), getattr(LLMAccessor, f"a{name}")]
        dask = pytest.importorskip("pandas_llm.dask")
        forms.append(getattr(dask.DaskAccessor, name))
    assert len({inspect.unwrap(form) for form in forms}) == 1
    assert {form.__name__ for form in forms} <= {name, f"a{name}"}


@pytest.mark.parametrize("name", ["generate", "agenerate", "preview", "report"])
def test_a_method_is_named_after_its_accessor(name):
    method = getattr(LLMAccessor, name)
    assert method.__qualname__ == f"LLMAccessor.{name}"
    assert pickle.loads(pickle.dumps(method)) is method

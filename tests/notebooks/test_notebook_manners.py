"""What a person sees while typing: completion, signatures, docstrings."""

import asyncio
import doctest
import inspect
import pydoc

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import pandas_llm
from pandas_llm import options
from pandas_llm.accessor import LLMAccessor
from pandas_llm.errors import InvalidTypeError
from pandas_llm.options import Options

VERBS = {
    *("generate", "extract", "complete", "classify", "embed"),
    *("agenerate", "aextract", "acomplete", "aclassify", "aembed"),
    *("preview", "estimate", "chunk", "usage"),
}


# jedi reads all of pandas, on a busy machine for minutes
_JEDI = pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(300)], id="jedi")


@pytest.fixture(params=[_JEDI, pytest.param(False, id="no jedi")])
def complete(request):
    """Return what a real IPython offers after some text."""
    shell = InteractiveShell.instance()
    shell.user_ns |= {
        "pd": pd,
        "pandas_llm": pandas_llm,
        "df": pd.DataFrame({"text": ["a"], "llm": [1]}),
        "texts": pd.Series(["a"]),
    }
    shell.Completer.use_jedi = request.param

    def offered(line):
        with provisionalcompleter():
            found = list(shell.Completer.completions(line, len(line)))
        return {one.text.lstrip(".") for one in found}

    yield offered
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("frame", ["df", "texts"])
def test_tab_after_the_accessor_shows_the_verbs_alone(complete, frame):
    shown = complete(f"{frame}.llm.")
    public = {name for name in dir(LLMAccessor) if not name.startswith("_")}
    assert shown == public >= VERBS


def test_tab_after_the_package_shows_what_is_public(complete):
    assert complete("pandas_llm.") == set(pandas_llm.__all__)


@pytest.mark.parametrize(
    "call", ["df.llm.generate(", "pandas_llm.agenerate(", "df.llm.classify("]
)
def test_tab_within_a_call_offers_the_options(complete, call):
    known = complete(call)
    assert {f"{name}=" for name in (*Options.__annotations__, "errors")} <= known
    assert "options=" not in known


@pytest.mark.parametrize("call", ["set_options(", "option_context("])
def test_tab_where_options_are_set_offers_them(complete, call):
    known = complete(f"pandas_llm.{call}")
    assert {f"{name}=" for name in Options.__annotations__} <= known
    assert "options=" not in known


@pytest.mark.parametrize("name", ["set_options", "option_context"])
def test_help_tells_each_option_with_its_rule_and_default(name):
    told = pydoc.plain(pydoc.render_doc(getattr(pandas_llm, name)))
    for option, known in options.OPTIONS.items():
        head = f"    {option} : {known.words}, default {known.shown}\n"
        assert told.count(head) == 1, option
        after = " ".join(told.split(head)[1].split())
        assert after.startswith(known.says), option
    assert "**options" not in told
    assert ">>> import pandas_llm" in told


def test_signatures_name_each_option_once():
    for verb in VERBS - {"usage", "chunk"}:
        for owner in (LLMAccessor, pandas_llm):
            shown = inspect.signature(getattr(owner, verb)).parameters
            assert Options.__annotations__.keys() <= shown.keys()
            assert "options" not in shown
            assert shown["n"].default == 1


@pytest.mark.parametrize("verb", sorted(VERBS - {"usage"}))
def test_a_methods_words_tell_of_its_own_parameters_alone(verb):
    method = getattr(LLMAccessor, verb)
    assert "data" not in inspect.signature(method).parameters
    assert "\ndata :" not in inspect.getdoc(method)


def test_a_functions_words_tell_of_the_data():
    for verb in ("generate", "extract", "complete", "classify", "embed", "estimate"):
        assert "\ndata :" in inspect.getdoc(getattr(pandas_llm, verb))


def test_a_signature_tells_what_comes_of_a_table_and_of_a_list():
    def result(verb):
        return inspect.signature(verb).return_annotation

    assert result(LLMAccessor.generate) == "pd.DataFrame"
    assert result(pandas_llm.agenerate) == "pd.DataFrame | list[dict[str, Any]]"
    assert result(LLMAccessor.aembed) == "pd.Series | pd.DataFrame"


def public():
    for name in pandas_llm.__all__:
        yield f"pandas_llm.{name}", getattr(pandas_llm, name)
    for name in VERBS:
        yield f"LLMAccessor.{name}", inspect.getattr_static(LLMAccessor, name)


def test_every_public_name_has_a_docstring_with_an_example():
    """test_documents.py runs them."""
    without = []
    for name, value in public():
        said = inspect.getdoc(value)
        assert said, name
        assert said.splitlines()[0].endswith("."), name
        is_error = isinstance(value, type) and issubclass(value, Exception | Warning)
        if is_error or inspect.ismodule(value) or name == "LLMAccessor.usage":
            continue
        if not doctest.DocTestParser().get_examples(said):
            without.append(name)
    assert without == []


# -- a column that is named llm -------------------------------------------------


def test_a_column_named_llm_is_reached_by_brackets(simulator, on):
    df = pd.DataFrame({"llm": ["Oslo", "Rome"]})
    assert isinstance(df.llm, LLMAccessor)
    assert df["llm"].tolist() == ["Oslo", "Rome"]
    out = df.llm.extract("Praise ${llm}.", {"n": int}, **on(simulator()))
    assert out.columns.tolist() == ["llm", "n"]
    assert out["llm"].llm.complete("${llm}", **on(simulator())).index.tolist() == [0, 1]


# -- arguments ------------------------------------------------------------------


@pytest.mark.parametrize("form", ["a method", "a function", "a twin"])
def test_an_argument_that_is_missing_is_named_by_the_verb(form):
    calls = {
        "a method": lambda df: df.llm.classify("${text}"),
        "a function": lambda df: pandas_llm.classify(df, "${text}"),
        "a twin": lambda df: asyncio.run(pandas_llm.aclassify(df, "${text}")),
    }
    with pytest.raises(InvalidTypeError, match=r"^classify\(\) missing .*'labels'"):
        calls[form](pd.DataFrame({"text": ["a"]}))

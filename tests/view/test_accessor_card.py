"""What `df.llm` and `out.llm` show of themselves, and what `help()` says of a verb."""

from __future__ import annotations

import inspect
import re

import pandas as pd
import pytest

import pandas_llm
from pandas_llm import options
from pandas_llm.accessor import LLMAccessor

FRAME = pd.DataFrame({"text": ["Oslo", "Rome", None]})
VERBS = [
    name
    for name, member in vars(LLMAccessor).items()
    if inspect.isfunction(member)
    and not inspect.iscoroutinefunction(member)
    and inspect.unwrap(member).__module__.startswith(
        ("pandas_llm._verbs", "pandas_llm._table_verbs")
    )
]


@pytest.mark.parametrize("data", [FRAME, FRAME["text"]], ids=["frame", "series"])
def test_the_accessor_lists_each_verb_with_a_line(data):
    text, page = repr(data.llm), data.llm._repr_html_()
    assert max(map(len, text.splitlines())) <= 80
    assert len(VERBS) >= 18
    for verb in VERBS:
        line = getattr(LLMAccessor, verb).__doc__.partition("\n")[0].replace("`", "")
        assert f"{verb} {line}" in " ".join(text.split())
        assert verb in page
    assert "over 3 rows" in text


def test_a_result_says_what_its_run_took_and_what_can_be_called(simulator, on):
    server = simulator(fail_if={"Rome": "refusal"})
    with pytest.warns(pandas_llm.LLMWarning):
        out = FRAME.llm.extract("On ${text}", ["fact"], **on(server))
    text = repr(out.llm)
    assert max(map(len, text.splitlines())) <= 80
    facts = dict(
        line.split(maxsplit=1) for line in text.splitlines()[2:] if line[:1].strip()
    )
    assert facts["model"] == "sim"
    assert facts["rows"] == "3"
    assert facts["failed"] == "1"
    assert facts["simulated"] == "yes: the answers are invented"
    assert {"cost", "time", ".usage", ".report()", "verbs"} <= facts.keys()
    assert all(verb in text for verb in VERBS)
    assert "the answers are invented" in out.llm._repr_html_()


def test_a_result_of_the_cache_does_not_say_whether_it_is_invented(
    simulator, on, tmp_path
):
    server = on(simulator(), cache=tmp_path / "replies.sqlite")
    for _ in range(2):
        out = FRAME.llm.extract("On ${text}", ["fact"], **server)
    text = " ".join(repr(out.llm).split())
    assert "from the cache 2 (free)" in text
    assert "simulated no reply of this run" in text


def test_a_chain_counts_its_runs(simulator, on):
    out = FRAME
    for number in range(2):
        out = out.llm.extract("On ${text}", [f"f{number}"], **on(simulator()))
    assert "6 in 2 runs" in repr(out.llm)


def test_hostile_names_do_not_become_markup(simulator, on):
    server = on(simulator(models=("<b>x",)))
    out = FRAME.llm.complete("On ${text}", **{**server, "model": "<b>x"})
    assert "<b>x" not in out.llm._repr_html_()
    assert "&lt;b&gt;x" in out.llm._repr_html_()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "chunk"])
def test_help_has_a_sentence_for_each_option_after_the_verbs_own_parameters(verb):
    method = getattr(LLMAccessor, verb)
    shown = list(inspect.signature(method).parameters)[1:]
    text = inspect.getdoc(method)
    head = text.partition("\nReturns\n")[0]
    entries = [
        name
        for line in re.findall(r"^([a-z_, ]+)(?: : .*)?$", head, re.MULTILINE)
        for name in line.split(", ")
    ]
    own = [name for name in shown if name not in options.OPTIONS]
    places = [entries.index(name) for name in shown]  # each has an entry
    assert max(places[: len(own)]) < min(places[len(own) :])
    assert shown[: len(own)] == own
    flat = " ".join(text.split())
    for name, option in options.OPTIONS.items():
        assert head.count(f"\n{name} : ") <= 1
        assert " ".join(option.says.split()) in flat, name

"""The words of errors and warnings: what happened, to which row, what to do next."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pandas as pd
import pytest

import pandas_llm
from pandas_llm._display import tracebacks
from pandas_llm.simulator import Simulator

ROOT = Path(pandas_llm.__file__).parents[1]
TEMPLATE = "One fact.\ntext: ${text}"
FRAME = pd.DataFrame({"text": ["a", "b", "c", "d", "e"]}, index=list("vwxyz"))


@pytest.fixture(autouse=True)
def trimmed(monkeypatch):
    monkeypatch.delenv("PANDAS_LLM_TRACEBACK")


def generate(options, keys=("fact",)):
    return FRAME.llm.generate(TEMPLATE, list(keys), **options)


WAYS_OUT = """\
{lack}. Ways out:
  a provider:      set OPENAI_API_KEY {way}
  a local server:  pass base_url='http://localhost:11434/v1' and model='…'
  no server:       pass model='sim', the simulator (invented answers, marked)"""

BEFORE = {
    "a misspelt option": (
        lambda: generate({"temperatur": 1}),
        "'temperatur' is not an option; did you mean 'temperature'?",
    ),
    "an option out of range": (
        lambda: generate({"n": 0}),
        "n must be a whole number of at least 1, not 0",
    ),
    "a misspelt column": (
        lambda: FRAME.llm.generate("x ${txt}", ["fact"]),
        "the template names ${txt}, which is neither a column nor in values=: did you "
        "mean ${text}?",
    ),
    "a dollar": (
        lambda: FRAME.llm.generate("In $USD: ${text}", ["fact"]),
        "the template names $USD, which is neither a column nor in values=: the names "
        "are: 'text'. For a dollar sign as text write $$USD.",
    ),
    "a column that is there already": (
        lambda: FRAME.assign(fact=1).llm.generate(TEMPLATE, ["fact"], model="sim"),
        "the frame has a column 'fact' already: call it on the original frame, rename "
        "the key, or drop the column first",
    ),
    "a key that is a column of the prompt": (
        lambda: generate({}, ["text"]),
        "the prompt uses 'text', which no key may replace: rename the key",
    ),
    "no keys": (
        lambda: generate({}, []),
        "keys is empty: name at least one column, such as keys=['answer']",
    ),
    "keys as a text": (
        lambda: FRAME.llm.generate(TEMPLATE, "fact"),
        "keys must be a list of names, a mapping of names to types or a pydantic "
        "model, not 'fact': write ['fact']",
    ),
    "no labels": (
        lambda: FRAME.llm.classify(TEMPLATE, []),
        "labels is empty: name at least one label, such as ['good', 'bad']",
    ),
    "a wrong how": (
        lambda: FRAME.llm.generate(TEMPLATE, ["fact"], how="outer"),
        "how must be 'left' or 'inner', not 'outer'",
    ),
    "data of another kind": (
        lambda: pandas_llm.generate(3, TEMPLATE, ["fact"]),
        "data must be a DataFrame, a Series, a list of dicts or of texts, or a Polars "
        "or Arrow table, not int",
    ),
    "no model": (
        lambda: generate({}),
        WAYS_OUT.format(
            lack="no model is set, so there is nothing to send requests to",
            way="and pass model='…' (a name that it lists)",
        ),
    ),
    "no key": (
        lambda: generate({"model": "m"}),
        WAYS_OUT.format(lack="no key is set for model='m'", way="or pass api_key="),
    ),
    "a template in the place of the keys": (
        lambda: FRAME.llm.generate(["fact"], TEMPLATE),
        "keys must be a list of names, a mapping of names to types or a pydantic "
        f"model, not {TEMPLATE!r}: the template goes first",
    ),
    "a label as a text": (
        lambda: FRAME.llm.classify(TEMPLATE, "good"),
        "labels must be a list of texts or a mapping label → description, not 'good': "
        "write ['good', …]",
    ),
    "an address without its scheme": (
        lambda: generate({"model": "m", "base_url": "localhost:1"}),
        "base_url must start with http:// or https://, not 'localhost:1'",
    ),
    "a bound on the cost without a price": (
        lambda: generate({"model": "sim", "max_cost": 1.0}),
        "max_cost is set, and there is no price for 'sim': pass prices={'sim': (input, "
        "output)} in dollars per million tokens, or install the extra: pip install "
        "'pandas-llm-accessor[cost]'",
    ),
    "a verb without its keys": (
        lambda: FRAME.llm.extract(TEMPLATE),
        "extract() missing a required argument: 'keys', such as keys=['answer']",
    ),
    "a column that is not there": (
        lambda: pandas_llm.evaluate(FRAME, "label", "gold"),
        "the predicted column: 'label' is not a column of the frame; it has 'text'",
    ),
    "a frame that no run made": (
        lambda: FRAME.llm.usage,
        "this frame does not come from a run, or an operation on it has dropped its "
        "attrs (merge and concat do): call this on a verb's own result, or "
        "pandas_llm.last_usage()",
    ),
}


@pytest.mark.parametrize("situation", BEFORE)
def test_what_is_said_before_anything_is_sent(situation):
    call, text = BEFORE[situation]
    with pytest.raises(
        (ValueError, TypeError, AttributeError, pandas_llm.LLMError)
    ) as caught:
        call()
    assert str(caught.value) == text
    assert not getattr(caught.value, "__notes__", [])


FIRST = "It happened at row 0 (label 'v')."
ENDED = {
    "a wrong key": (
        {"api_key": "right-key"},
        {},
        "HTTP 401 (invalid_api_key): Incorrect API key provided. You can find your API "
        "key in your account. Check the key and its permissions.",
        [FIRST],
    ),
    "an unknown model": (
        {},
        {"model": "other"},
        "HTTP 404 (model_not_found): The model `other` does not exist or you do not "
        "have access to it. Check model= and base_url=. The server "
        "lists 'sim'.",
        [FIRST],
    ),
    "no credit": (
        {"fault_plan": {2: "429_quota"}},
        {"concurrency": 1},
        "HTTP 429 (insufficient_quota): You exceeded your current quota, please check "
        "your plan and billing details. Waiting does not help: see the account's "
        "billing.",
        [
            "2 of 5 rows were done; they are in .partial (in an interactive session: "
            "sys.last_value.partial). Their replies are kept: the same call goes on "
            "from there, and with replay=True it returns the finished part without "
            "sending anything.",
            "It happened at row 2 (label 'x').",
        ],
    ),
    "the first rows alike": (
        {"faults": {"400": 1.0}},
        {},
        "the first 5 rows all failed the same way, so no other was sent: HTTP 400 "
        "(invalid_prompt): Invalid prompt: a message must hold a text or a list of "
        "parts.",
        [],
    ),
    "a wait that is too long": (
        {"faults": {"429": 1.0}, "fault_delay": 30.0},
        {"max_wait": 1},
        "the endpoint asks to wait 3. s, longer than max_wait=1: run again later, or "
        "raise max_wait. (HTTP 429 (rate_limit_exceeded): Rate limit reached for sim "
        "on requests per min (RPM): Limit 500.)",
        [FIRST],
    ),
    "the cost's bound": (
        {},
        {"max_cost": 0.00005, "prices": {"sim": (1.0, 1.0)}, "max_tokens": 20},
        "the next row may cost $0.000..., and $0 of max_cost=5e-05 are spent: raise it "
        "to go on",
        [FIRST],
    ),
    "failed rows": (
        {"fail_if": {"text: b": "refusal", "text: d": "content_filter"}},
        {"errors": "raise"},
        "2 of 5 rows failed (1 refusal, 1 content_filter). The first, row 1 (label "
        "'w'): the model declined to answer: [simulated] I can't help with that.\n"
        "The other rows are in .partial, all reasons in .failures. The same call asks "
        "only for these rows again.",
        [],
    ),
}


def matches(said: str, text: str) -> bool:
    """Compare; a dot stands for any character, where a figure varies."""
    pattern = re.escape(text).replace(r"\.", ".")
    return re.fullmatch(pattern, said) is not None


@pytest.mark.parametrize("situation", ENDED)
def test_what_is_said_when_a_run_ends_with_an_error(situation, on, tmp_path):
    knobs, options, text, notes = ENDED[situation]
    with Simulator(**knobs) as server:
        cache = tmp_path / "replies.sqlite"
        with pytest.raises(pandas_llm.LLMError) as caught:
            generate(on(server, cache=cache, max_retries=1, **options))
    assert matches(str(caught.value), text), str(caught.value)
    assert getattr(caught.value, "__notes__", []) == notes
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("index", "shown"),
    [
        (pd.Index([7, 7]), "7"),
        (pd.Index([0.5, 7]), "0.5"),
        (pd.Index([7, 8], dtype="Int64"), "7"),
        (pd.RangeIndex(2), "0"),
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]), r"\('a', 1\)"),
    ],
)
def test_labels_are_shown_as_people_write_them(index, shown, on):
    rows = pd.DataFrame({"text": ["a", "b"]}).set_index(index)
    told = pytest.warns(pandas_llm.LLMWarning, match=rf"row 0 \(label {shown}\): ")
    with Simulator(fail_if={"a": "refusal"}) as server, told:
        rows.llm.complete("${text}", **on(server))


COLUMN = "error_column='…' keeps each row's reason."
WARNED = {
    "a refusal": (
        {"fail_if": {"text: b": "refusal"}},
        {},
        "1 of 5 rows failed (1 refusal). The first, row 1 (label 'w'): the model "
        f"declined to answer: [simulated] I can't help with that.\n{COLUMN}",
    ),
    "reasons in a column": (
        {"fail_if": {"text: b": "refusal"}},
        {"error_column": "why"},
        "1 of 5 rows failed (1 refusal). The first, row 1 (label 'w'): the model "
        "declined to answer: [simulated] I can't help with that.\n"
        "Column 'why' keeps each row's reason.",
    ),
    "a broken body": (
        {"fail_if": {"text: b": "truncated"}},
        {"max_retries": 0},
        "1 of 5 rows failed (1 malformed_reply). The first, row 1 (label 'w'): the "
        "answer broke off or is not HTTP: Response payload is not completed\n" + COLUMN,
    ),
    "an option that is refused": (
        {"reject_params": ("temperature",)},
        {"temperature": 0.5},
        "sim refuses temperature: all rows were sent without, so leave it out of the "
        "call",
    ),
    "nothing kept": (
        {},
        {"replay": True},
        "5 of 5 rows failed (5 not_cached). The first, row 0 (label 'v'): no reply is "
        f"kept, and replay=True\n{COLUMN}",
    ),
    "a cache that cannot be": (
        {},
        {"cache": "/proc/nowhere/replies.sqlite"},
        "the cache cannot be used: /proc/nowhere/replies.sqlite: [Errno 2] No such "
        "file or directory: '/proc/nowhere'\n"
        "All rows are asked, and the next call pays for them again. Pass cache= "
        "another file, or cache=False.",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("situation", WARNED)
def test_each_situation_has_its_warning(situation, on):
    knobs, options, text = WARNED[situation]
    with Simulator(**knobs) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        generate(on(server, **options))
    assert [str(one.message) for one in caught] == [text]
    assert caught[0].category is pandas_llm.LLMWarning
    assert caught[0].filename == __file__


def test_a_server_that_answers_with_a_page_does_not_fill_the_screen(on, simulator):
    server = simulator(fail_if={"text: b": "bad_output"})
    many = {"text": ["b" + "\n" + "x" * 5000, "c"]}
    with pytest.warns(pandas_llm.LLMWarning) as caught:
        pd.DataFrame(many).llm.generate(
            TEMPLATE, {"n": int}, **on(server, output_retries=0)
        )
    lines = str(caught[0].message).splitlines()
    assert len(lines) <= 3
    assert len(lines[0]) < 450


# -- tracebacks -----------------------------------------------------------------


def files(error: BaseException) -> list[str]:
    """Name the files of a traceback, of its causes too."""
    found = traceback.TracebackException.from_exception(error)
    names = []
    while found is not None:
        names += [Path(frame.filename).name for frame in found.stack]
        chained = None if found.__suppress_context__ else found.__context__
        found = found.__cause__ or chained
    return names


def test_a_traceback_ends_at_the_users_line(on, simulator):
    server = simulator(api_key="right-key")
    calls = [
        lambda: FRAME.llm.generate("x ${txt}", ["fact"]),
        lambda: FRAME.llm.generate("x", ["fact"], wrong=1),
        lambda: FRAME.llm.generate(TEMPLATE, ["fact"], **on(server)),
        lambda: FRAME.llm.complete("x ${text}", **on(server, loop="thread")),
        lambda: FRAME["text"].llm.classify("x ${text}", ["a", "b"], **on(server)),
        lambda: pandas_llm.extract(FRAME, TEMPLATE, ["fact"], **on(server)),
        lambda: pandas_llm.embed(FRAME),
        lambda: pandas_llm.embed(FRAME, "x ${txt}", model="sim"),
        lambda: pandas_llm.Plan("x ${txt}", ["fact"], model="sim")(FRAME),
        lambda: pandas_llm.set_options(wrong=1),
        lambda: FRAME.llm.estimate("x ${txt}"),
        lambda: FRAME.llm.preview("x ${txt}"),
        lambda: FRAME.llm.usage,
        lambda: FRAME.llm.generate("x ${text}", 3),
        lambda: FRAME.llm.classify("x ${text}", []),
        lambda: FRAME.llm.generate("x ${text}", ["fact"], how="outer"),
        lambda: FRAME.llm.generate("x ${text}", ["text"], model="sim"),
        lambda: FRAME.llm.generate("x ${text}", ["fact"], n=0),
        lambda: FRAME.llm.generate("x ${text}"),
        lambda: FRAME.llm.chunk("txt", max_tokens=9),
        lambda: FRAME.llm.submit("x ${txt}", ["fact"], model="sim"),
        lambda: pandas_llm.complete(FRAME),
        FRAME.llm.preview,
        lambda: FRAME.llm.estimate("x ${text}", pilot=-1, model="sim"),
        lambda: pandas_llm.batch.load("no-such-job"),
        lambda: pandas_llm.to_chat_jsonl(FRAME, "x", user="${txt}", assistant="a"),
        lambda: asyncio.run(awaits("x ${txt}")),
        lambda: asyncio.run(awaits("x ${text}", n=0)),
        lambda: asyncio.run(awaits_function()),
    ]
    here = Path(__file__).name
    for call in calls:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of any class
            call()
        found = set(files(caught.value))
        assert not {"accessor.py", "forms.py", "tracebacks.py"} & found
        assert files(caught.value)[-1] == here


async def awaits(template, **options):
    await FRAME.llm.agenerate(template, ["fact"], **options)


def test_a_warning_that_is_an_error_ends_at_the_users_line_too(on, simulator):
    server = simulator(fail_if={"text: b": "refusal"})
    with warnings.catch_warnings(), pytest.raises(pandas_llm.LLMWarning) as caught:
        warnings.simplefilter("error")
        FRAME.llm.generate(TEMPLATE, ["fact"], **on(server))
    assert {*files(caught.value)} == {Path(__file__).name}


async def awaits_function():
    await pandas_llm.aembed(FRAME)


def test_nothing_at_the_address_is_said_in_plain_words_and_few_lines(short_search):
    closed = "http://127.0.0.1:9/v1"
    with pytest.raises(pandas_llm.ProviderError) as caught:
        given = {"model": "m", "base_url": closed, "progress": False}
        generate({**given, "max_retries": 0})
    assert str(caught.value) == (
        "no connection to http://127.0.0.1:9/v1/chat/completions: Connection refused. "
        "Is the server running, and is base_url right?"
    )
    assert {*files(caught.value)} == {Path(__file__).name}
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Error: ") == 1
    assert "ClientConnectorError" in repr(caught.value.__context__)


def broken(*args):
    raise ZeroDivisionError("the user's own mistake")


@pytest.mark.parametrize("option", ["api_key", "progress"])
def test_the_users_own_functions_stay_in_the_traceback(option, on, simulator):
    with pytest.raises(ZeroDivisionError) as caught:
        generate({**on(simulator()), option: broken})
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["generate", "broken"]
    assert {*files(caught.value)} == {Path(__file__).name}


def test_a_function_that_fails_during_the_run_is_not_blamed_again_at_its_end(
    on, simulator
):
    """Its error of the first call is raised, without another behind it."""
    with pytest.raises(ZeroDivisionError) as caught:
        generate({**on(simulator(latency=0.5)), "progress": broken})
    assert caught.value.__context__ is None
    assert {*files(caught.value)} == {Path(__file__).name}


MISTAKES = {
    "return 1 / 0": ZeroDivisionError,
    "return None + 1": TypeError,
    "return len()": TypeError,
    "return int('x')": ValueError,
    "return {}['x']": KeyError,
    "return None.name": AttributeError,
    "raise ValueError('not meant for the caller')": ValueError,
    "raise TypeError('not meant for the caller')": TypeError,
}


@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("code", MISTAKES)
def test_a_mistake_of_the_package_itself_keeps_all_frames(code, twin):
    """Also one of a class that bad input has: what counts is what it is raised as."""
    path = Path(tracebacks.__file__).with_name("made_up.py")
    namespace = {}
    word = "async def" if twin else "def"
    source = f"def inner():\n    {code}\n{word} verb():\n    return inner()\n"
    exec(compile(source, path, "exec"), namespace)
    verb = tracebacks.trims_traceback(namespace["verb"])
    with pytest.raises(MISTAKES[code]) as caught:
        asyncio.run(verb()) if twin else verb()
    assert files(caught.value)[-2:] == ["made_up.py", "made_up.py"]


def test_all_frames_are_shown_when_asked_for(monkeypatch):
    monkeypatch.setenv("PANDAS_LLM_TRACEBACK", "full")
    with pytest.raises(pandas_llm.TemplateError) as caught:
        FRAME.llm.generate("x ${txt}", ["fact"])
    assert "template.py" in files(caught.value)


CELLS = """
import pandas as pd, pandas_llm
df = pd.DataFrame({"text": ["a"]})
df.llm.generate("x ${txt}", ["fact"])
"""


@pytest.mark.slow
def test_ipython_shows_the_users_line_alone(tmp_path):
    pytest.importorskip("IPython")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--colors=NoColor"],
        input=CELLS,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path), "PATH": "/usr/bin"},
    )
    shown = done.stdout[done.stdout.index("Traceback") :]
    assert '----> 1 df.llm.generate("x ${txt}", ["fact"])' in shown
    assert "did you mean ${text}?" in shown
    assert "pandas_llm/" not in shown

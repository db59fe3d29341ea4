"""Options: precedence, environment, checks, endpoints."""

import os
import pickle
import re
import subprocess
import sys
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import ForwardRef

import numpy as np
import orjson
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

import pandas_llm
from pandas_llm import ConfigurationError, options
from pandas_llm._client import address
from pandas_llm.options import OPTIONS, Settings, rules

PAGE = Path(pandas_llm.__file__).parents[1] / "docs" / "reference" / "options.md"

VALUES = ["flex", "m", 3, 0.5, True, False, ["m"], "thread", "given", None]
CASES = {
    name: next(v for v in VALUES if option.allows(v) and v != option.default)
    for name, option in OPTIONS.items()
    if option.variable
}
NO_VARIABLE = {
    *("api_key", "headers", "examples", "extra"),
    *("values", "session", "prices", "cache", "on_row"),
}


def test_settings_have_the_options_in_their_order_and_with_their_types():
    spans = {float | timedelta: float, float | timedelta | None: float | None}
    given = {one.name: one.annotation for one in options.parameters()}
    held = {one.name: one.type for one in fields(Settings)}
    assert list(held) == list(given)
    for name, kind in given.items():
        assert held[name] == spans.get(kind, kind), name
        assert (kind in spans) == (OPTIONS[name].rule is rules.SECONDS), name


ODD = [None, True, "auto", 3, 2.5, timedelta(1), ["a"], {"a": "b"}, {"a": 1}, len]


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_told_whole(name):
    option = OPTIONS[name]
    assert re.fullmatch(r"[\w(\"].*\.", option.says)
    assert option.rule is not None
    assert option.allows(option.default)
    assert getattr(Settings(), name) == option.default
    assert pandas_llm.get_options()[name] == option.default
    if not isinstance(option.type, ForwardRef):  # what the type says, the rule allows
        read = TypeAdapter(option.type, config={"arbitrary_types_allowed": True})
        assert read.validate_python(option.default) == option.default
        for value in filter(option.allows, ODD):
            try:
                read.validate_python(value, strict=True)
            except ValidationError:
                pytest.fail(f"{name} may be {value!r} by its rule, not by its type")


def test_the_environment_sets_what_a_text_can_say():
    assert OPTIONS.keys() - CASES.keys() == NO_VARIABLE


def test_the_page_says_which_options_no_variable_sets():
    (listed,) = re.findall("for all but (.*?);", PAGE.read_text())
    set_otherwise = {"api_key", "cache"}  # by the provider's variable; by its own rule
    without = {name for name, option in OPTIONS.items() if not option.variable}
    assert {*re.findall(r"`(\w+)`", listed)} == without - set_otherwise


def test_the_page_has_the_table_of_options(tmp_path):
    table = f"<!-- options -->\n{options.reference()}<!-- /options -->\n"
    assert table in PAGE.read_text(), "run python docs/options.py"
    old = PAGE.read_text().replace(table, "<!-- options -->\n<!-- /options -->\n")
    (tmp_path / "options.md").write_text(old)
    script = PAGE.parents[1] / "options.py"
    here = {**os.environ, "PYTHONPATH": str(PAGE.parents[2])}
    words = [sys.executable, script, tmp_path / "options.md"]
    subprocess.run(words, check=True, env=here)
    assert (tmp_path / "options.md").read_text() == PAGE.read_text()


SPANS = [timedelta(minutes=2), pd.Timedelta("2min"), 120, 120.0]
SECONDS = [name for name, option in OPTIONS.items() if option.rule is rules.SECONDS]


@pytest.mark.parametrize("span", SPANS, ids=lambda span: type(span).__name__)
@pytest.mark.parametrize("name", SECONDS)
def test_seconds_may_be_a_span_of_time(name, span):
    assert getattr(options.resolve({name: span}), name) == 120.0
    assert getattr(replace(Settings(), **{name: span}), name) == 120.0
    plan = pandas_llm.Plan("${text}", ["a"], model="m", **{name: span})
    assert getattr(pickle.loads(pickle.dumps(plan)).settings, name) == 120.0
    with pandas_llm.option_context(**{name: span}):
        kept = getattr(options.resolve({}), name)
    assert kept == 120.0
    assert not isinstance(kept, timedelta)


@pytest.mark.parametrize(
    "wrong",
    [
        *(timedelta(0), timedelta(seconds=-1), pd.Timedelta("-2min"), pd.NaT, "2min"),
        *(0, -1.5, float("nan"), True, np.timedelta64(2, "m"), [1]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", SECONDS)
def test_what_is_no_span_of_time_is_refused(name, wrong):
    words = rf"{name} must be a number above 0 \(seconds\).*Timedelta.*, not"
    for use in (options.resolve, lambda given: pandas_llm.set_options(**given)):
        with pytest.raises(ValueError, match=words):
            use({name: wrong})


def test_a_run_ends_at_a_deadline_that_is_a_timedelta(simulator, on):
    server = simulator(latency=30.0)
    with pytest.warns(pandas_llm.LLMWarning, match="deadline"):
        out = pd.DataFrame({"text": ["a", "b"]}).llm.complete(
            "${text}", deadline=pd.Timedelta("200ms"), error_column="why", **on(server)
        )
    assert out["why"].str.contains("deadline").all()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("stop", '["a", "b"]', ["a", "b"]),
        ("stop", "5", "5"),
        ("model", "5", "5"),
        ("system", '"quoted"', '"quoted"'),
        ("system", "null", "null"),
        ("images", "photo", "photo"),
        ("files", "report", "report"),
        ("dedupe", "False", False),
        ("progress", "None", None),
        ("na_action", "null", None),
        ("loop", '"thread"', "thread"),
        ("deadline", "90", 90),
    ],
)
def test_a_variable_is_read_as_the_rule_has_it(name, text, value, monkeypatch):
    monkeypatch.setenv(f"PANDAS_LLM_{name.upper()}", text)
    assert pandas_llm.get_options()[name] == value
    assert type(pandas_llm.get_options()[name]) is type(value)


def test_a_variable_that_cannot_be_is_named(monkeypatch):
    monkeypatch.setenv("PANDAS_LLM_CONCURRENCY", "many")
    with pytest.raises(ValueError, match=r"^PANDAS_LLM_CONCURRENCY must be .*'many'$"):
        options.resolve({})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (pd.Series(["a text", "another"]), "not a Series"),
        (["a text of a column"] * 1000, "'a text of a …"),
    ],
)
def test_a_large_value_is_shown_in_brief(value, shown):
    with pytest.raises(ValueError, match="system must be a str or None, not ") as error:
        options.resolve({"system": value})
    assert str(error.value).endswith(shown)


def test_settings_show_no_key():
    given = options.resolve({"api_key": "sk-1", "headers": {"X-Key": "sk-2"}, "n": 3})
    assert repr(given) == "Settings(n=3)"
    with pytest.raises(TypeError, match="did you mean 'deadline'"):
        Settings(dedline=3)


@pytest.mark.parametrize(("name", "value"), CASES.items())
def test_call_beats_context_beats_set_beats_environment(name, value, monkeypatch):
    default = getattr(Settings(), name)

    def seen():
        return pandas_llm.get_options()[name]

    assert seen() == default
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    monkeypatch.setenv(f"PANDAS_LLM_{name.upper()}", text)
    assert seen() == value
    pandas_llm.set_options(**{name: default})
    assert seen() == default
    with pandas_llm.option_context(**{name: value}):
        assert seen() == value
        assert getattr(options.resolve({}), name) == value
        assert getattr(options.resolve({name: default}), name) == default
    assert seen() == default


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"n": 0}, ValueError, "n must be a whole number of at least 1, not 0"),
        ({"n": True}, ValueError, "n must be"),
        ({"concurrency": "fast"}, ValueError, "'auto' or a whole number"),
        ({"deadline": -1}, ValueError, "a number above 0"),
        ({"na_action": "drop"}, ValueError, "'ignore' or None"),
        ({"loop": "magic"}, ValueError, "'auto', 'thread' or 'nested'"),
        ({"examples": ["a"]}, ValueError, r"\(prompt, reply\) pairs"),
        ({"examples": ["ab", "cd"]}, ValueError, r"\(prompt, reply\) pairs"),
        ({"values": [1]}, ValueError, "a mapping"),
        ({"stop": 5}, ValueError, "a str, a list of str or None, not 5"),
        ({"reasoning_effort": 1}, ValueError, "a str or None"),
        ({"seed": True}, ValueError, "a whole number or None, not True"),
        ({"headers": {"X-Team": 1}}, ValueError, "a mapping of str to str"),
        ({"cache": "s3://bucket/replies"}, ValueError, "True, False or a path"),
        ({"session": "s"}, ValueError, "an aiohttp.ClientSession or None"),
        ({"modell": "m"}, TypeError, "did you mean 'model'"),
        ({"qqqq": 1}, TypeError, r"is not an option; pandas_llm.get_options\(\)"),
        ({"keys": ["a"]}, TypeError, "not an option here: generate and extract"),
        ({"labels": ["a"]}, TypeError, "not an option here: classify has"),
        ({"errors": "raise"}, TypeError, "not an option here: pass it to a verb's"),
    ],
)
def test_wrong_options_are_refused(given, error, words):
    with pytest.raises(error, match=words):
        options.resolve(given)
    with pytest.raises(error, match=words):
        pandas_llm.set_options(**given)


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("gpt-x", "openai", "gpt-x"),
        ("openai/gpt-x", "openai", "gpt-x"),
        ("meta-llama/Llama-3", "openai", "meta-llama/Llama-3"),
        ("sim", "sim", "sim"),
    ],
)
def test_a_prefix_that_is_no_provider_belongs_to_the_name(model, provider, name):
    given = {"model": model, "api_key": "k", "base_url": "http://localhost/v1"}
    found = address.resolve_endpoint(options.resolve(given))
    assert (found.provider, found.model) == (provider, name)


def test_key_and_address_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1/")
    found = address.resolve_endpoint(options.resolve({"model": "m"}))
    assert found.api_key == "sk-env"
    assert found.base_url == "http://localhost:9/v1"
    given = address.resolve_endpoint(
        options.resolve({"model": "m", "api_key": lambda: "sk-2"})
    )
    assert given.api_key == "sk-2"
    assert "sk-" not in repr(found)


@pytest.mark.parametrize("url", ["ftp://host/v1", "localhost:8000", "file:///etc"])
def test_only_http_addresses_are_taken(url):
    with pytest.raises(ConfigurationError, match="http:// or https://"):
        address.resolve_endpoint(options.resolve({"model": "m", "base_url": url}))


@pytest.mark.parametrize("key", ["sk x", "sk\ny", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key):
    with pytest.raises(ConfigurationError) as caught:
        address.resolve_endpoint(options.resolve({"model": "m", "api_key": key}))
    assert key not in str(caught.value)


def test_accounts_differ_by_key_and_do_not_hold_it():
    def account(key):
        return address.account(
            address.resolve_endpoint(options.resolve({"model": "m", "api_key": key}))
        )

    assert account("sk-1") != account("sk-2")
    assert account("sk-1") == account("sk-1")
    assert "sk-1" not in repr(account("sk-1"))


def test_paths_of_options_mean_the_same_wherever_a_plan_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {"ca": "ca.pem", "cert": (Path("c.pem"), "k.pem"), "files_root": "photos"}
    plan = pandas_llm.Plan("${text}", verb="complete", model="sim", **paths)
    written = pickle.dumps(plan)
    monkeypatch.chdir("/")
    settings = pickle.loads(written)._task.settings
    assert settings.ca == str(tmp_path / "ca.pem")
    assert [*settings.cert] == [str(tmp_path / name) for name in ("c.pem", "k.pem")]
    assert settings.files_root == str(tmp_path / "photos")


@pytest.mark.parametrize("field", ["messages", "model", "input", "contents"])
def test_extra_does_not_override_what_a_row_asks(field, simulator, on):
    server = simulator()
    with pytest.raises(ValueError, match=f"extra must be .* without .*'{field}'"):
        pd.DataFrame({"text": ["a"]}).llm.complete(
            "${text}", extra={field: "x"}, **on(server)
        )
    assert server.stats()["requests"] == 0


NUMPYS = {
    "n": np.int64(2),
    "max_tokens": np.int32(50),
    "seed": np.uint8(7),
    "temperature": np.float32(0.5),
    "top_p": np.float16(0.5),
    "concurrency": np.int64(3),
    "max_retries": np.int64(2),
    "headroom": np.int8(0),
    "request_timeout": np.float32(30),
    "patience": np.float64(9),
}


@pytest.mark.parametrize(("name", "value"), NUMPYS.items())
def test_numbers_of_numpy_are_as_good_as_pythons(simulator, on, name, value):
    server = simulator()
    given = {**on(server), "cache": False, name: value}
    assert pd.Series(["a"]).llm.complete("${value}", **given).notna().all()
    body = server.requests()[0]["body"]
    assert body.get(name, value.tolist()) == value.tolist()
    with pytest.raises(ValueError, match=f"{name} must be"):
        pd.Series(["a"]).llm.complete("${value}", **{**given, name: np.True_})


def test_numpy_values_are_sent_as_plain_ones(simulator, on):
    server = simulator()
    extra = {"top_k": np.int64(3), "bias": {"7": np.float64(0.5)}, "ids": np.arange(2)}
    stop = np.array(["END"])
    pd.DataFrame({"text": ["a"]}).llm.complete(
        "${text}", extra=extra, stop=stop, **on(server)
    )
    (body,) = [request["body"] for request in server.requests()]
    sent = {name: body[name] for name in (*extra, "stop")}
    assert sent == {"top_k": 3, "bias": {"7": 0.5}, "ids": [0, 1], "stop": ["END"]}

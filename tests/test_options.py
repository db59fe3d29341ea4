"""Options: precedence, environment, checks, endpoints."""

from dataclasses import fields

import orjson
import pytest

import pandas_llm
from pandas_llm import ConfigurationError, options
from pandas_llm._engine import address
from pandas_llm.options import Options, Settings

CASES = {
    "model": "m",
    "base_url": "http://localhost:1/v1",
    "system": "s",
    "n": 2,
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 10,
    "seed": 4,
    "stop": "END",
    "reasoning_effort": "low",
    "concurrency": 3,
    "requests_per_minute": 60,
    "tokens_per_minute": 1000.5,
    "request_timeout": 5,
    "deadline": 7.5,
    "max_retries": 0,
    "output_retries": 0,
    "max_wait": 3,
    "refresh": True,
    "replay": True,
    "dedupe": False,
    "max_cost": 1.5,
    "truncate": "text",
    "images": ["photo"],
    "batch": True,
    "fallback": ["m2"],
    "na_action": "ignore",
    "progress": True,
    "details": True,
    "loop": "thread",
    "ca": "ca.pem",
    "cert": ["crt.pem", "key.pem"],
    "files_root": "photos",
}


def test_every_option_has_a_type_and_a_default():
    assert {f.name for f in fields(Settings)} == set(Options.__annotations__)
    assert set(CASES) | options._NO_ENVIRONMENT == set(Options.__annotations__)


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
        ({"values": [1]}, ValueError, "a mapping"),
        ({"modell": "m"}, TypeError, "did you mean 'model'"),
        ({"qqqq": 1}, TypeError, "is not an option$"),
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
    found = address.resolve_endpoint(options.resolve({"model": model, "api_key": "k"}))
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

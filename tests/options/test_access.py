"""Keys: where they come from, what happens when one runs out, where none is shown."""

from __future__ import annotations

import logging
import threading

import pandas as pd
import pytest
from loopback_server import Server, completion, failure

import pandas_llm
from pandas_llm import ConfigurationError, options, providers
from pandas_llm._client import address
from pandas_llm.errors import AuthenticationError
from pandas_llm.providers.vendors.compatible import Azure
from pandas_llm.types import Endpoint, Request, Spec

KEY, OTHER = "sk-first-key-123", "sk-other-key-456"
TEMPLATE = "Say ${text}"


def rows(n: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"word {i}" for i in range(n)]})


def bearer(server: Server) -> list[str | None]:
    return [headers.get("Authorization") for headers in server.headers]


class Tokens:
    """Gives a new token each time, and tells which are accepted."""

    def __init__(self, good_for: int) -> None:
        self.made: list[str] = []
        self._good_for = good_for
        self._lock = threading.Lock()
        self.used = 0

    def __call__(self) -> str:
        with self._lock:
            self.made.append(f"token-number-{len(self.made)}")
            self.used = 0
            return self.made[-1]

    def accepts(self, header: str) -> bool:
        with self._lock:
            self.used += 1
            return header == f"Bearer {self.made[-1]}" and self.used <= self._good_for


@pytest.fixture
def expiring():
    """Serve so many requests with a token, and then none."""

    def start(tokens: Tokens) -> Server:
        def answer(body):
            if not tokens.accepts(server.headers[-1]["Authorization"]):
                return failure(401, "the token has run out", "invalid_api_key")
            return completion("yes", prompt_tokens=1, completion_tokens=1)

        server = Server(answer)
        server.__enter__()
        running.append(server)
        return server

    running: list[Server] = []
    yield start
    for server in running:
        server.__exit__()


def test_a_token_that_runs_out_is_made_again_and_no_row_is_lost(expiring):
    tokens = Tokens(good_for=10)
    server = expiring(tokens)
    out = rows(60).llm.complete(
        TEMPLATE, model="m", base_url=server.base_url, api_key=tokens, concurrency=4
    )
    assert (out == "yes").all()
    assert 6 <= len(tokens.made) <= 12
    assert out.llm.usage.failed == 0
    # no token was used after its successor, but by those that were in flight
    assert bearer(server)[-1] == f"Bearer {tokens.made[-1]}"


def test_a_function_is_asked_once_more_and_then_believed(expiring, caplog):
    tokens = Tokens(good_for=0)
    server = expiring(tokens)
    with (
        caplog.at_level(logging.DEBUG, "pandas_llm"),
        pytest.raises(AuthenticationError) as caught,
    ):
        rows(9).llm.complete(
            TEMPLATE, model="m", base_url=server.base_url, api_key=tokens
        )
    assert len(tokens.made) == 2
    assert bearer(server) == [f"Bearer {token}" for token in tokens.made]
    assert caught.value.partial is not None
    assert not any(token in caplog.text for token in tokens.made)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_no_function_is_tried_once(status):
    with (
        Server(lambda _: failure(status, "no")) as server,
        pytest.raises(AuthenticationError),
    ):
        rows(9).llm.complete(TEMPLATE, model="m", base_url=server.base_url, api_key=KEY)
    assert len(server.bodies) == 1


def test_what_is_forbidden_is_no_reason_for_another_key():
    made = []

    def key():
        made.append(1)
        return KEY

    with (
        Server(lambda _: failure(403, "not your model")) as server,
        pytest.raises(AuthenticationError),
    ):
        rows(3).llm.complete(TEMPLATE, model="m", base_url=server.base_url, api_key=key)
    assert len(made) == 1


def test_a_new_key_is_checked_and_never_shown():
    keys = iter([KEY, "sk secret\n"])
    with (
        Server(lambda _: failure(401, "no")) as server,
        pytest.raises(ConfigurationError, match="blank, a line end") as caught,
    ):
        rows(3).llm.complete(
            TEMPLATE, model="m", base_url=server.base_url, api_key=lambda: next(keys)
        )
    assert "secret" not in str(caught.value)


def test_a_key_of_the_environment_that_cannot_be_sent_names_its_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY holds a bl") as e:
        rows(3).llm.complete(TEMPLATE, model="gpt-x")
    assert "secret" not in str(e.value)


def test_a_server_that_quotes_the_new_key_does_not_show_it():
    keys = iter([KEY, OTHER])

    def answer(_):
        return failure(401, f"wrong key: {server.headers[-1]['Authorization']}")

    with Server(answer) as server, pytest.raises(AuthenticationError) as caught:
        rows(3).llm.complete(
            TEMPLATE, model="m", base_url=server.base_url, api_key=lambda: next(keys)
        )
    assert "wrong key: Bearer ***" in str(caught.value)


def test_argument_beats_option_beats_environment(monkeypatch):
    with Server(lambda _: completion("yes")) as server:
        given = {"model": "m", "base_url": server.base_url, "dedupe": False}
        monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
        rows(1).llm.complete(TEMPLATE, **given)
        with pandas_llm.option_context(api_key=lambda: "sk-option"):
            rows(1).llm.complete(TEMPLATE, **given)
            rows(1).llm.complete(TEMPLATE, api_key="sk-argument", **given)
    assert bearer(server) == [
        *("Bearer sk-environment", "Bearer sk-option", "Bearer sk-argument")
    ]


@pytest.mark.parametrize("key", [KEY, lambda: KEY], ids=["text", "function"])
def test_a_key_is_not_in_the_cache_nor_in_the_result(key, tmp_path):
    kept = tmp_path / "replies.sqlite"
    with Server(lambda _: completion("yes")) as server:
        out = rows(3).llm.complete(
            TEMPLATE, model="m", base_url=server.base_url, api_key=key, cache=kept
        )
    files = list(tmp_path.iterdir())
    assert kept in files
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in repr(out.attrs)


def test_a_key_is_masked_wherever_it_is_written_out():
    found = options.resolve({"model": "m", "api_key": KEY, "headers": {"X-Key": KEY}})
    place = address.resolve_endpoint(found)
    built = providers.connect(place).build(
        Request(Spec("m"), "x"), providers.connect(place).capabilities, 1
    )
    plan = pandas_llm.Plan(TEMPLATE, verb="complete", model="m", api_key=KEY)
    with pandas_llm.option_context(api_key=KEY):
        shown = repr(pandas_llm.get_options())
        assert pandas_llm.get_options()["api_key"] == KEY
        assert "'api_key': '***'" in shown
    for thing in (found, place, [place], built, plan, vars(plan), shown):
        assert KEY not in repr(thing)
    assert KEY not in str(place) + str(built) + f"{built}"


def test_a_key_goes_to_no_other_provider(monkeypatch):
    """What was passed is for the model; a model to fall back to has its own."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-its-own")
    given = {
        "model": "m",
        "api_key": KEY,
        "headers": {"Authorization": f"Bearer {KEY}"},
        "fallback": ["openai/m2", "anthropic/m3"],
    }
    first, same, other = address.resolve_endpoints(options.resolve(given))
    assert (first.api_key, same.api_key) == (KEY, KEY)
    assert same.headers == first.headers
    assert other.api_key == "sk-ant-of-its-own"
    assert other.headers == ()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(ConfigurationError, match="set ANTHROPIC_API_KEY"):
        address.resolve_endpoints(options.resolve(given))


# -- the providers' own variables --------------------------------------------------

VARIABLES = [
    ("openai/m", "OPENAI_API_KEY", "Authorization", "Bearer {}"),
    ("openai-responses/m", "OPENAI_API_KEY", "Authorization", "Bearer {}"),
    ("anthropic/m", "ANTHROPIC_API_KEY", "x-api-key", "{}"),
    ("anthropic/m", "ANTHROPIC_AUTH_TOKEN", "Authorization", "Bearer {}"),
    ("google/m", "GEMINI_API_KEY", "x-goog-api-key", "{}"),
    ("google/m", "GOOGLE_API_KEY", "x-goog-api-key", "{}"),
    ("azure/m", "AZURE_OPENAI_API_KEY", "api-key", "{}"),
    ("azure/m", "AZURE_OPENAI_AD_TOKEN", "Authorization", "Bearer {}"),
    *(
        (f"{name}/m", f"{name.upper()}_API_KEY", "Authorization", "Bearer {}")
        for name in ("openrouter", "groq", "together", "deepseek", "mistral")
    ),
    ("fireworks/m", "FIREWORKS_API_KEY", "Authorization", "Bearer {}"),
    ("xai/m", "XAI_API_KEY", "Authorization", "Bearer {}"),
]


def sent_headers(place: Endpoint) -> dict[str, str]:
    provider = providers.connect(place)
    request = Request(Spec("m"), "x")
    return dict(provider.build(request, provider.capabilities, 1).headers)


@pytest.mark.parametrize(("model", "variable", "header", "form"), VARIABLES)
def test_each_provider_has_its_key_from_its_variable(
    model, variable, header, form, monkeypatch
):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.com")
    with pytest.raises(ConfigurationError, match="no key") as caught:
        address.resolve_endpoint(options.resolve({"model": model}))
    assert variable in str(caught.value) or "TOKEN" in variable or "GOOGLE" in variable
    monkeypatch.setenv(variable, KEY)
    place = address.resolve_endpoint(options.resolve({"model": model}))
    assert sent_headers(place)[header] == form.format(KEY)


@pytest.mark.parametrize("model", ["anthropic/m", "google/m", "azure/m", "groq/m"])
def test_a_functions_token_is_a_bearers(model):
    given = {"model": model, "api_key": lambda: KEY, "base_url": "http://h"}
    place = address.resolve_endpoint(options.resolve(given))
    assert sent_headers(place)["Authorization"] == f"Bearer {KEY}"


# -- Azure's addresses -------------------------------------------------------------

HOST = "https://res.openai.azure.com"


@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        (HOST, None, f"{HOST}/openai/v1/chat/completions"),
        (f"{HOST}/", None, f"{HOST}/openai/v1/chat/completions"),
        (f"{HOST}/openai/v1/", None, f"{HOST}/openai/v1/chat/completions"),
        (
            HOST,
            "2024-10-21",
            f"{HOST}/openai/deployments/my%20m/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{HOST}?api-version=2024-10-21",
            "2023-05-15",
            f"{HOST}/openai/deployments/my%20m/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{HOST}/openai/deployments/d?api-version=2024-10-21",
            None,
            f"{HOST}/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{HOST}/openai/v1?api-version=preview",
            None,
            f"{HOST}/openai/v1/chat/completions?api-version=preview",
        ),
    ],
)
def test_azure_has_two_forms_of_address(base_url, version, url, monkeypatch):
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", base_url)
    given = options.resolve({"model": "azure/my m", "api_key": KEY})
    place = address.resolve_endpoint(given)
    assert isinstance(providers.connect(place), Azure)
    built = providers.connect(place).build(
        Request(Spec("my m"), "x"), providers.connect(place).capabilities, 1
    )
    assert built.url == url


def test_azure_has_no_address_of_its_own():
    with pytest.raises(ConfigurationError, match="set AZURE_OPENAI_ENDPOINT"):
        address.resolve_endpoint(options.resolve({"model": "azure/m", "api_key": KEY}))


def test_azure_is_asked_over_http_with_a_token_that_runs_out(expiring):
    tokens = Tokens(good_for=3)
    server = expiring(tokens)
    out = rows(9).llm.complete(
        TEMPLATE,
        model="azure/deployed",
        base_url=server.base_url.removesuffix("/v1") + "?api-version=2024-10-21",
        api_key=tokens,
        concurrency=1,
    )
    assert (out == "yes").all()
    assert len(tokens.made) == 3

"""Servers on this machine: used without a key, and named when no model is."""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from loopback_server import Server, completion

import pandas_llm
from pandas_llm import ConfigurationError, LLMWarning, providers
from pandas_llm._client import address

ROWS = pd.DataFrame({"text": ["Snow fell.", "Rain came."]})
TEMPLATE = "Say ${text}"


def models(*names: str) -> dict:
    return {"object": "list", "data": [{"id": name} for name in names]}


@contextmanager
def slow(seconds: float):
    """Serve a list of models, but late."""
    done = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            done.wait(seconds)
            self.send_response(200)
            self.end_headers()
            with_body = json.dumps(models("late")).encode()
            self.wfile.write(with_body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            done.set()
            server.shutdown()
            thread.join()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def test_the_usual_ports_are_those_of_the_presets():
    usual = {p.base_url.rsplit(":", 1)[1] for p in providers.local().values()}
    assert usual == {"11434/v1", "8080/v1", "8000/v1", "1234/v1"}


def test_without_a_model_the_servers_that_answer_are_named(monkeypatch):
    many = [f"model-{i}" for i in range(9)]
    with (
        Server(lambda _: models("llama3.2", "qwen3")) as two,
        Server(lambda _: models(*many)) as nine,
        Server(lambda _: {"hello": "no model server"}) as other,
    ):
        monkeypatch.setattr(
            address,
            "local_addresses",
            {
                "ollama": two.base_url,
                "vllm": nine.base_url,
                "llamacpp": other.base_url,
                "lmstudio": closed_port(),
            },
        )
        with pytest.raises(ConfigurationError, match="no model") as caught:
            ROWS.llm.complete(TEMPLATE)
    said = str(caught.value)
    assert (
        f"model='ollama/llama3.2' (127.0.0.1:{two.port} lists llama3.2, qwen3)" in said
    )
    assert "model='vllm/model-0'" in said
    assert "model-4, …)" in said
    assert "llamacpp" not in said
    assert "lmstudio" not in said
    assert "model='sim'" in said
    assert len(two.bodies) == 1


def test_a_server_that_takes_its_time_is_not_waited_for(monkeypatch):
    with slow(20) as base_url:
        monkeypatch.setattr(address, "local_addresses", {"ollama": base_url})
        started = time.monotonic()
        assert address.servers_here() == []
        assert time.monotonic() - started < 10  # guards against waiting for it
    assert "http://localhost:11434/v1" in address.ways_out(
        "openai", providers.presets()["openai"], "m", None, "https://x"
    )


def test_they_are_asked_only_when_no_model_is_named(monkeypatch):
    with Server(lambda _: models("m")) as server:
        monkeypatch.setattr(address, "local_addresses", {"ollama": server.base_url})
        with pytest.raises(ConfigurationError, match="no key"):
            ROWS.llm.complete(TEMPLATE, model="m")
        ROWS.llm.complete(TEMPLATE, model="sim", progress=False)
        assert server.bodies == []
        with pytest.raises(ConfigurationError, match=r"ollama/m"):
            ROWS.llm.complete(TEMPLATE, api_key="sk-some-key")
        assert len(server.bodies) == 1


@pytest.mark.parametrize("name", sorted(providers.local()))
def test_a_local_server_needs_no_key(name, monkeypatch):
    with Server(lambda _: completion("yes")) as server:
        monkeypatch.setenv(f"{name.upper()}_BASE_URL", server.base_url)
        out = ROWS.llm.complete(TEMPLATE, model=f"{name}/llama3.2", max_tokens=9)
    assert (out == "yes").all()
    assert {body["model"] for body in server.bodies} == {"llama3.2"}
    assert not any("Authorization" in headers for headers in server.headers)
    field = "max_completion_tokens" if name == "vllm" else "max_tokens"
    assert all(body[field] == 9 for body in server.bodies)


def test_a_local_servers_only_model_is_used_with_it(monkeypatch):
    def answer(body):
        return completion("yes") if body else models("the-only-one")

    with Server(answer) as server:
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        out = ROWS.llm.complete(TEMPLATE, model="ollama/")
    assert (out == "yes").all()
    assert out.attrs["llm"]["model"] == "the-only-one"


# -- providers of other packages ---------------------------------------------------

MORE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """Install the package that CONTRIBUTING.md shows, as pip would leave it."""
    code = MORE.split("```python\n")[1].split("```")[0]
    points = MORE.split("```toml\n")[1].split("```")[0]
    info = tmp_path / "acme_llm-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-llm\nVersion: 1.0\n"
    )
    group = points.splitlines()[0].split('"')[1]
    lines = [line.replace('"', "") for line in points.splitlines()[1:]]
    broken = ["gone = no_such_module:PRESET", "odd = acme_llm:Acme"]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, *broken]))
    (tmp_path / "acme_llm.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    providers.preset.cache_clear()
    yield code
    providers.preset.cache_clear()
    sys.modules.pop("acme_llm", None)


def test_another_package_adds_a_provider_in_thirty_lines(acme, monkeypatch):
    assert len([line for line in acme.splitlines() if line.strip()]) <= 30

    def answer(body):
        said = body["said"][-1].upper()
        return {"answer": said, "cut": False, "read": 5, "written": 2}

    with Server(answer) as server:
        monkeypatch.setenv("ACME_BASE_URL", server.base_url)
        monkeypatch.setenv("ACME_API_KEY", "sk-acme-key")
        with pytest.warns(
            LLMWarning, match="large refuses seed: all rows were sent without"
        ):
            out = ROWS.llm.complete(
                TEMPLATE, model="acme/large", top_p=0.5, seed=3, max_tokens=7
            )
        made = ROWS.llm.extract(
            '{"word": "${text}"} ', ["word"], model="acme/large", na_action=None
        )
    assert out.tolist() == ["SAY SNOW FELL.", "SAY RAIN CAME."]
    assert made["word"].tolist() == ["SNOW FELL.", "RAIN CAME."]
    assert out.llm.usage.input_tokens == 10
    first, *_, last = server.bodies
    assert first.keys() == {"engine", "limit", "nucleus", "about", "said"}
    assert "JSON schema" in last["about"]
    assert server.headers[0]["X-Acme-Key"] == "sk-acme-key"


def test_another_packages_provider_names_its_own_way_out(acme):
    with pytest.raises(ConfigurationError, match="set ACME_API_KEY"):
        ROWS.llm.complete(TEMPLATE, model="acme/large")


@pytest.mark.parametrize(
    ("name", "words"), [("gone", "no_such_module"), ("odd", "is not a Preset")]
)
def test_a_provider_that_cannot_be_loaded_is_said_to_be(name, words, acme):
    with pytest.raises(ConfigurationError, match=words):
        ROWS.llm.complete(TEMPLATE, model=f"{name}/m")


def test_a_prefix_that_nobody_provides_belongs_to_the_name(acme):
    found = address.resolve_endpoint(
        pandas_llm.options.resolve(
            {"model": "meta-llama/Llama-4", "base_url": "http://x/v1"}
        )
    )
    assert (found.provider, found.model) == ("openai", "meta-llama/Llama-4")

"""What bodies say of beginnings that other rows have too, and which providers keep."""

from dataclasses import replace

import orjson
import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server

from pandas_llm._pacing import Prices
from pandas_llm.errors import BadRequestError
from pandas_llm.providers import connect, least_prefix, presets
from pandas_llm.types import Capabilities, Endpoint, Image, Request, Spec, Tokens

OPENAI = "https://api.openai.com/v1"
SPEC = Spec("m")


def provider_of(name, model="m", url="http://h/v1", **more):
    return connect(Endpoint(name, url, model, "k", **more))


def body(provider, request, capabilities=None):
    capabilities = capabilities or provider.capabilities
    return orjson.loads(provider.build(request, capabilities, 1).body)


def test_every_provider_that_keeps_beginnings_says_so():
    chats = {name for name in presets() if "decisions" not in name}
    kept = {name for name, preset in presets().items() if preset.keeps}
    assert kept == chats - {"systemone", "tiny"}


@pytest.mark.parametrize(
    ("endpoint", "least"),
    [
        (("anthropic", "http://h", "claude-opus-5"), 512),
        (("anthropic", "http://h", "claude-sonnet-5"), 1024),
        (("anthropic", "http://h", "claude-haiku-4-5-20251001"), 4096),
        (("bedrock", "http://h", "us.anthropic.claude-opus-4-5-20251101-v1:0"), 4096),
        (("bedrock", "http://h", "us.amazon.nova-lite-v1:0"), None),
        (("google", "http://h", "gemini-2.5-flash"), 2048),
        (("google", "http://h", "models/gemini-4-argon"), 4096),
        (("openai", "http://localhost:11434/v1", "llama"), 256),  # Ollama, by address
        (("openai", "http://somewhere/v1", "llama"), 1024),
        (("openai-decisions", OPENAI, "m"), None),
    ],
)
def test_how_short_a_beginning_is_kept(endpoint, least):
    assert least_prefix(Endpoint(*endpoint, None)) == least
    assert least_prefix(Endpoint(*endpoint, None, embeds=0)) is None


def test_anthropics_marks_stand_where_beginnings_end():
    provider = provider_of("anthropic")
    request = Request(SPEC, "doc section question", "Be brief.", shared=(0, 4, 12))
    sent = body(provider, request)
    mark = {"cache_control": {"type": "ephemeral"}}
    assert sent["system"] == [{"type": "text", "text": "Be brief.", **mark}]
    assert sent["messages"][0]["content"] == [
        {"type": "text", "text": "doc ", **mark},
        {"type": "text", "text": "section ", **mark},
        {"type": "text", "text": "question"},
    ]
    # the same beginning is the same bytes, whatever is asked, and asked again
    other = body(provider, request._replace(prompt="doc section other"))
    again = body(provider, request._replace(followup=(("user", "Again."),)))
    assert other["messages"][0]["content"][:2] == again["messages"][0]["content"][:2]
    assert again["system"] == sent["system"]


@pytest.mark.parametrize(
    "model",
    [
        "us.anthropic.claude-opus-5-5",
        "arn:aws:x:inference-profile/anthropic.claude-3-7-",
    ],
)
def test_a_mark_of_bedrock_is_a_part_of_its_own(model):
    provider = provider_of("bedrock", model)
    request = Request(SPEC, "doc question", "Be brief.", shared=(0, 4))
    sent, mark = body(provider, request), {"cachePoint": {"type": "default"}}
    assert sent["system"] == [{"text": "Be brief."}, mark]
    parts = [{"text": "doc "}, mark, {"text": "question"}]
    assert sent["messages"][0]["content"] == parts
    assert provider.output_counts == 5
    assert provider_of("bedrock", "us.amazon.nova-lite-v1:0").output_counts == 1
    alone = body(provider, request._replace(shared=(0,)))
    assert alone["system"] == sent["system"]
    assert alone["messages"][0]["content"] == [{"text": "doc question"}]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("bedrock", "us.amazon.nova-lite-v1:0"),
        ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("bedrock", "anthropic.claude-v2:1"),
        ("openrouter", "openai/gpt-6"),
        ("openrouter", "google/gemini-4"),
    ],
)
def test_models_that_take_no_mark_get_none(name, model):
    request = Request(SPEC, "doc question", "Be brief.", shared=(0, 4))
    sent = provider_of(name, model).build(request, Capabilities(), 1).body
    assert b"cache" not in sent


def test_claude_behind_openrouter_is_marked_as_anthropics():
    provider = provider_of("openrouter", "anthropic/claude-opus-5.5")
    request = Request(SPEC, "doc question", "Be brief.", shared=(0, 4))
    system, turn = body(provider, request)["messages"]
    mark = {"cache_control": {"type": "ephemeral"}}
    assert system["content"] == [{"type": "text", "text": "Be brief.", **mark}]
    assert turn["content"][0] == {"type": "text", "text": "doc ", **mark}
    assert "cache_control" not in turn["content"][1]


def test_a_mark_that_bedrock_does_not_take_is_left_out_from_then_on():
    def answer(sent):
        if "cachePoint" in str(sent):
            text = "You invoked an unsupported model or your request did not allow "
            problem = {"message": f"{text}prompt caching. See the documentation."}
            return web.json_response(
                problem,
                status=403,
                headers={"x-amzn-errortype": "AccessDeniedException"},
            )
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": "Yes"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 9, "outputTokens": 1},
        }

    frame = pd.DataFrame({"doc": "It is long. " * 800, "q": ["Why?", "When?", "Who?"]})
    with Server(answer) as server:
        out = frame.llm.complete(
            "${doc} ${q}",
            model="bedrock/anthropic.claude-opus-5-5",
            base_url=server.base_url.removesuffix("/v1"),
            api_key="k",
            cache=False,
            progress=False,
        )
    assert (out == "Yes").all()
    assert sum("cachePoint" in str(sent) for sent in server.bodies) == 1


def test_blanks_are_no_part_of_their_own():
    provider = provider_of("anthropic")
    request = Request(SPEC, "doc \n\t", None, shared=(4,))
    assert body(provider, request)["messages"][0]["content"] == "doc \n\t"
    request = Request(SPEC, "doc \n\tq", None, shared=(4, 6))
    texts = [part["text"] for part in body(provider, request)["messages"][0]["content"]]
    assert texts == ["doc ", "\n\tq"]


def test_what_no_other_row_has_is_not_marked():
    for name in ("anthropic", "openai"):
        plain = provider_of(name).build(
            Request(SPEC, "x", "s " * 9000), Capabilities(), 1
        )
        assert b"cache" not in plain.body


def test_images_stand_before_the_prompt_so_the_system_text_is_marked_alone():
    image = Image("x.png", "image/png", 3, b"d", "aGV5")
    request = Request(SPEC, "What?", "Be brief.", attachments=(image,), shared=(0,))
    sent = body(provider_of("anthropic"), request)
    assert "cache_control" in sent["system"][0]
    assert "cache_control" not in orjson.dumps(sent["messages"]).decode()


def test_openai_gets_one_key_for_all_that_begins_alike():
    provider = provider_of("openai", "gpt-4o", OPENAI)
    request = Request(SPEC, "doc one", "s", shared=(4,))
    key = body(provider, request)["prompt_cache_key"]
    assert body(provider, request._replace(prompt="doc two"))["prompt_cache_key"] == key
    again = request._replace(followup=(("user", "Again."),))
    assert body(provider, again)["prompt_cache_key"] == key
    for other in (request._replace(prompt="Doc one"), request._replace(system="t")):
        assert body(provider, other)["prompt_cache_key"] != key
    assert "prompt_cache_key" not in body(provider, request._replace(shared=()))
    own = request._replace(spec=replace(SPEC, extra={"prompt_cache_key": "mine"}))
    assert body(provider, own)["prompt_cache_key"] == "mine"


@pytest.mark.parametrize(
    ("name", "url", "keyed"),
    [
        ("openai", OPENAI, True),
        ("openai-responses", OPENAI, True),
        ("mistral", "https://api.mistral.ai/v1", True),
        ("openai", "http://somewhere/v1", False),
        ("llamacpp", "http://localhost:8080/v1", False),
        ("groq", "https://api.groq.com/openai/v1", False),
        ("google", "http://h/v1beta", False),
    ],
)
def test_the_key_goes_to_those_who_take_it_alone(name, url, keyed):
    request = Request(SPEC, "doc one", "s", shared=(4,))
    sent = body(provider_of(name, "m", url), request)
    assert ("prompt_cache_key" in sent) == keyed


@pytest.mark.parametrize("name", ["openai", "openai-responses"])
def test_newer_models_of_openai_keep_what_is_marked_alone(name):
    provider = provider_of(name, "gpt-5.6-sol", OPENAI)
    spec = replace(SPEC, examples=(("q", "a"),))
    request = Request(spec, "doc one", "Be brief.", shared=(0, 4))
    sent = body(provider, request)
    assert sent["prompt_cache_options"] == {"mode": "explicit"}
    turns = sent["messages" if name == "openai" else "input"]
    marked = [
        (turn["role"], part["text"])
        for turn in turns
        for part in (turn["content"] if isinstance(turn["content"], list) else ())
        if part.get("prompt_cache_breakpoint") == {"mode": "explicit"}
    ]
    assert marked == [("user", "q"), ("user", "doc ")]  # an assistant's is not heeded
    bare = body(provider, request._replace(spec=SPEC, shared=(0,)))
    first = bare["messages" if name == "openai" else "input"][0]
    assert first["role"] == "system"
    assert "prompt_cache_breakpoint" in first["content"][0]
    assert "instructions" not in bare
    older = body(provider_of(name, "gpt-5.5", OPENAI), request)
    assert "breakpoint" not in orjson.dumps(older).decode()
    assert "prompt_cache_options" not in older


@pytest.mark.parametrize(
    "field", ["prompt_cache_key", "prompt_cache_options", "prompt_cache_breakpoint"]
)
def test_a_field_of_the_cache_that_is_refused_is_left_out(field):
    provider = provider_of("openai", "gpt-6-luna", OPENAI)
    request = Request(SPEC, "doc one", "s", shared=(4,))
    error = BadRequestError(f"Unknown parameter: '{field}'.", status=400, param=field)
    capabilities = provider.downgrade(provider.capabilities, error, request)
    assert capabilities is not None
    sent = provider.build(request, capabilities, 1).body.decode()
    assert field not in sent


def test_what_a_cache_saves_and_costs():
    pytest.importorskip("genai_prices")
    endpoint = Endpoint(
        "anthropic", "https://api.anthropic.com/v1", "claude-sonnet-4-5", "k"
    )
    prices = Prices(endpoint)
    assert prices.saved(Tokens(1000, 10, 900)) == pytest.approx(900 * 2.7e-6)
    assert prices.saved(Tokens(1000, 10, 0, 0, 900)) == pytest.approx(-900 * 0.75e-6)
    half = prices.saved(Tokens(1000, 10, 900), batch=True)
    assert half == pytest.approx(900 * 2.7e-6 / 2)
    assert prices.saved(Tokens(1000, 10)) == 0

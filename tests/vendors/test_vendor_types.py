"""Request bodies, held against the request types of the vendors' own packages."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import anthropic.types.message_create_params
import openai.types.chat.completion_create_params
import openai.types.embedding_create_params
import openai.types.responses.response_create_params
import orjson
import pandas as pd
import pytest
import typing_extensions
from google.genai import types as google
from loopback_server import Server
from pydantic import TypeAdapter, ValidationError
from schema_keys import EVERY_KIND as KEYS

from pandas_llm import providers
from pandas_llm._client.attached import Attached
from pandas_llm._inputs.attachments import look_at
from pandas_llm._keys import parse_keys
from pandas_llm._replies.outputs import Records
from pandas_llm.types import Attachment, Capabilities, Endpoint, Image, Request, Spec

ASKED = Records(parse_keys(KEYS))
SCHEMA = ASKED.schema
SPECS = {
    "plain": Spec("m"),
    "schema": Spec("m", schema=SCHEMA),
    "constraints": Spec("m", schema=SCHEMA, constrained=ASKED.constrained),
    "sampling": Spec(
        "m", sampling={"temperature": 0.5, "top_p": 0.9, "stop": ["a"]}, max_tokens=9
    ),
    "effort": Spec("m", schema=SCHEMA, sampling={"reasoning_effort": "low", "seed": 7}),
    "examples": Spec("m", (("2 + 2?", "4"), ("3 + 3?", "6 " * 1500)), SCHEMA, n=3),
}
REQUESTS = {
    "prompt": ("Hello", None, ()),
    "system": ("Hello", "Be brief.", ()),
    "again": ("Hello", "Be brief. " * 300, (("assistant", "{"), ("user", "JSON!"))),
}
TURNS = {
    "none": (),
    "a conversation": (("user", "Hi"), ("assistant", "Hello"), ("user", "So?")),
    "one that the assistant opens": (("assistant", "Hello"), ("assistant", "You?")),
}
SETTLED: list[dict[str, Any]] = [
    {"schema": "json_schema"},
    {"schema": "json_schema", "refused": ("strict",)},
    {"schema": "json_schema", "constraints": False},
    {"schema": "json_object"},
    {"schema": "prompt"},
]


@pytest.fixture(scope="module")
def problems():
    """Return the function that holds a body against a TypedDict, unknown keys too."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("openai.types", "anthropic.types")):
            for found in list(vars(module).values()):
                if isinstance(found, type) and typing_extensions.is_typeddict(found):
                    found.__pydantic_config__ = {
                        "extra": "forbid",
                        "arbitrary_types_allowed": True,
                    }

    # kept: an iterator outlives the adapter it came from, and needs it
    adapter = cache(TypeAdapter)

    def find(kind: Any, body: Any) -> list[tuple[Any, ...]]:
        try:
            drained(adapter(kind).validate_python(body))
        except ValidationError as error:
            return [one["loc"] for one in error.errors()]
        return []

    return find


def drained(value: Any) -> Any:
    """Read iterables to their ends: pydantic looks at their items only then."""
    if isinstance(value, dict):
        return {name: drained(item) for name, item in value.items()}
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return value
    return [drained(item) for item in value]


def connect(name: str, **more: Any) -> providers.Provider:
    base_url = providers.presets()[name].base_url or "https://res.openai.azure.com"
    return providers.connect(Endpoint(name, base_url, "m", "sk-key", **more))


def bodies(name: str, spec: Spec, **more: Any) -> list[Any]:
    """Build a spec's requests in every way that may be settled on."""
    provider = connect(name, **more)
    found = []
    for terms in SETTLED:
        settled = replace(provider.capabilities, **terms)
        for (prompt, system, followup), before in product(REQUESTS.values(), TURNS):
            request = Request(spec, prompt, system, followup, before=TURNS[before])
            built = provider.build(request, settled, spec.n if settled.n else 1)
            found.append(orjson.loads(built.body))
    return found


def marked(name: str, model: str = "m") -> list[Any]:
    """Build requests of rows that share beginnings, with and without examples."""
    base_url = providers.presets()[name].base_url or ""
    provider = providers.connect(Endpoint(name, base_url, model, "sk-key"))
    found = []
    for spec in (SPECS["plain"], SPECS["schema"], SPECS["examples"]):
        for shared in ((0,), (5,), (0, 5, 9)):
            for prompt, system, followup in REQUESTS.values():
                text = f"{prompt} and more"
                request = Request(spec, text, system, followup, shared=shared)
                built = provider.build(request, provider.capabilities, 1)
                found.append(orjson.loads(built.body))
    return found


PICTURES = (
    Image(b"", "image/png", 9, b"", "aGVsbG8="),
    Image("https://example.org/a.jpg", "", 0, b""),
    Image("https://example.org/a", "", 0, b""),
)


FILES = {
    "application/pdf": b"%PDF-1.7 x",
    "text/plain": "Zürich".encode(),
    "audio/wav": b"RIFF\0\0\0\0WAVE",
    "audio/mp3": b"ID3\4",
    "": "https://example.org/a.pdf",
}


def files_of(name: str) -> tuple[Attachment, ...]:
    """Look at one file of each kind that a provider takes, and read it."""
    limits = connect(name).files
    if limits is None:
        return ()
    kinds = [*limits.types, *[""] * limits.fetches]
    cells = [FILES[kind] for kind in kinds]
    request = Request(Spec("m"), "", attachments=look_at(cells, option="files"))
    return asyncio.run(Attached(connect(name), name).load(request)).attachments


def pictured(name: str) -> list[Any]:
    """Build requests with images and files, with and without a text beside them."""
    provider = connect(name)
    attached = (*PICTURES, *files_of(name))
    requests = [
        Request(Spec("m"), "Look.", attachments=attached),
        Request(Spec("m"), "", attachments=attached),
        Request(Spec("m"), "Look.", "Be brief.", REQUESTS["again"][2], 1, attached),
    ]
    built = [provider.build(one, provider.capabilities, 1) for one in requests]
    return [orjson.loads(one.body) for one in built]


CHAT = [
    *("openai", "azure", "ollama", "vllm", "llamacpp", "lmstudio", "openrouter"),
    *("groq", "together", "deepseek", "fireworks", "xai"),
]


def test_every_provider_is_held_against_a_type():
    held = {*CHAT, "openai-responses", "anthropic", "google"}
    # Mistral's package is another one: its own field for the seed is all that differs
    apart = {"sim", "mistral", "tiny", "gguf"}  # run here, the last two as llama.cpp is
    own = {"openai-decisions", "systemone", "bedrock"}  # tests of their own hold them
    assert held == providers.presets().keys() - apart - own


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", CHAT)
def test_chat_completions_are_openais(name, spec, problems):
    kind = openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming
    for body in (*bodies(name, SPECS[spec]), *pictured(name)):
        assert problems(kind, body) == []


@pytest.mark.parametrize("spec", SPECS)
def test_responses_are_openais(spec, problems):
    kind = (
        openai.types.responses.response_create_params.ResponseCreateParamsNonStreaming
    )
    for body in (
        *bodies("openai-responses", SPECS[spec]),
        *pictured("openai-responses"),
    ):
        assert problems(kind, body) == []


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_messages_are_anthropics(spec, version, problems):
    kind = anthropic.types.message_create_params.MessageCreateParamsNonStreaming
    headers = (("anthropic-version", version),)
    for body in bodies("anthropic", SPECS[spec], headers=headers):
        if version == "2023-06-01":  # the package speaks the newer one alone
            body.pop("temperature", None)
            body.pop("top_p", None)
        assert problems(kind, body) == []
        # its type of a message lets any block pass that an answer may hold
        texts = [body.get("system"), *(m["content"] for m in body["messages"])]
        for block in (b for text in texts if isinstance(text, list) for b in text):
            assert problems(anthropic.types.TextBlockParam, block) == []


def test_marks_of_beginnings_are_anthropics(problems):
    kind = anthropic.types.message_create_params.MessageCreateParamsNonStreaming
    for body in marked("anthropic"):
        assert problems(kind, body) == []
        assert orjson.dumps(body).count(b"cache_control") <= 4
        texts = [body.get("system"), *(m["content"] for m in body["messages"])]
        for block in (b for text in texts if isinstance(text, list) for b in text):
            assert problems(anthropic.types.TextBlockParam, block) == []


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5.6", "gpt-6-luna"])
def test_marks_and_keys_of_beginnings_are_openais(model, problems):
    chat = openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming
    answer = (
        openai.types.responses.response_create_params.ResponseCreateParamsNonStreaming
    )
    for name, kind in (("openai", chat), ("openai-responses", answer)):
        for body in marked(name, model):
            assert problems(kind, body) == []
            assert ("prompt_cache_options" in body) == (model != "gpt-4o")


BLOCKS = {
    "text": anthropic.types.TextBlockParam,
    "image": anthropic.types.ImageBlockParam,
    "document": anthropic.types.DocumentBlockParam,
}


def test_anthropics_blocks_of_images_and_files(problems):
    kind = anthropic.types.message_create_params.MessageCreateParamsNonStreaming
    for body in pictured("anthropic"):
        assert problems(kind, body) == []
        blocks = body["messages"][0]["content"]
        for block in blocks:
            assert problems(BLOCKS[block["type"]], block) == []
        count = [block["type"] for block in blocks if block["type"] != "text"]
        assert count == ["image"] * 3 + ["document"] * 3
    wrong = {"type": "image", "source": {"type": "base64", "data": "aGVsbG8="}}
    assert problems(anthropic.types.ImageBlockParam, wrong)
    wrong["type"] = "document"
    assert problems(anthropic.types.DocumentBlockParam, wrong)


PARTS = {
    "openai": ["file", "input_audio", "input_audio"],
    "azure": ["file", "input_audio", "input_audio"],
    "openrouter": ["file", "input_audio", "input_audio", "file"],
    "vllm": ["input_audio", "input_audio"],
    "llamacpp": ["input_audio", "input_audio"],
    "openai-responses": ["input_file", "input_file", "input_file"],
    "anthropic": ["document", "document", "document"],
    "google": ["inlineData"] * 4 + ["fileData"],
    "bedrock": ["document", "document"],
}


@pytest.mark.parametrize("name", sorted(providers.presets()))
def test_files_are_parts_of_the_kinds_that_the_vendor_has(name):
    if name in ("tiny", "openai-decisions", "systemone"):
        return
    provider = connect(name)
    expected = PARTS.get(name, PARTS["openai"] if name == "sim" else [])
    assert len(files_of(name)) == len(expected)
    parts = [provider.file(one) for one in files_of(name)]
    assert [part.get("type") or next(iter(part)) for part in parts] == expected


def test_a_part_of_another_shape_is_a_problem(problems):
    chat = openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming
    kind = (
        openai.types.responses.response_create_params.ResponseCreateParamsNonStreaming
    )
    (seen, *_) = pictured("openai")
    file = next(p for p in seen["messages"][0]["content"] if p["type"] == "file")
    file["file"]["file_url"] = "https://example.org/a.pdf"
    assert problems(chat, seen)
    sound = {"type": "input_audio", "input_audio": {"data": "", "format": "ogg"}}
    message = {"role": "user", "content": [sound]}
    assert problems(chat, {"model": "m", "messages": [message]})
    (seen, *_) = pictured("openai-responses")
    seen["input"][0]["content"][-2]["file"] = {}
    assert problems(kind, seen)


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "anthropic"])
def test_conversations_arrive_as_the_packages_type_them(
    provider, here, simulator, problems
):
    server = simulator(api_key="k")
    chats = pd.DataFrame(
        {
            "text": ["Late!", "So?", "Hm."],
            "said": [
                [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Hello"},
                    {"role": "user", "content": "Where is it?"},
                ],
                '[{"role": "assistant", "content": "You?"}]',
                None,
            ],
            "shots": [[("Fine.", {"fact": "x"})], None, [["Bad.", {"fact": "y"}]]],
        }
    )
    given = {"messages": "said", "examples": "shots", **here(server)}
    chats.llm.extract("Read: ${text}", ["fact"], **given)
    chats[:2].llm.complete("Read: ${text}", **given)
    kind = {
        "openai": openai.types.chat.completion_create_params,
        "openai-responses": openai.types.responses.response_create_params,
        "anthropic": anthropic.types.message_create_params,
    }[provider]
    (params,) = (
        value for name, value in vars(kind).items() if name.endswith("NonStreaming")
    )
    assert len(server.requests()) == 5
    for seen in server.requests():
        assert problems(params, seen["body"]) == []


def test_an_unknown_key_is_a_problem_at_every_depth(problems):
    chat = openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming
    kind = anthropic.types.message_create_params.MessageCreateParamsNonStreaming
    good = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert problems(chat, good) == []
    assert problems(chat, {**good, "minimum": 1})
    assert problems(chat, {**good, "messages": [{**good["messages"][0], "zz": 1}]})
    good["max_tokens"] = 5
    assert problems(kind, good) == []
    assert problems(kind, {**good, "output_config": {"format": {"type": "json"}}})
    block = {"type": "text", "text": "x", "cache_control": {"type": "forever"}}
    assert problems(anthropic.types.TextBlockParam, block)
    assert problems(kind, {**good, "system": [block]})


@pytest.mark.parametrize("spec", SPECS)
def test_contents_have_the_fields_of_googles_types(spec):
    for body in (*bodies("google", SPECS[spec]), *pictured("google")):
        assert body.keys() <= {"contents", "systemInstruction", "generationConfig"}
        parts = [(google.Content, content) for content in body["contents"]]
        parts.append((google.Content, body.get("systemInstruction", {})))
        parts.append((google.GenerationConfig, body.get("generationConfig", {})))
        for kind, value in parts:
            model = kind.model_validate(value)  # unknown keys are forbidden there
            # back again, so that a name of Python's is not taken for one of JSON's
            assert (
                model.model_dump(by_alias=True, exclude_none=True, mode="json") == value
            )


def test_googles_own_client_sends_the_same():
    import google.genai

    reply = {"candidates": [{"content": {"parts": [{"text": "x"}]}}]}
    config = google.genai.types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop_sequences=["END"],
        candidate_count=2,
        max_output_tokens=100,
        response_mime_type="application/json",
        response_json_schema=SCHEMA,
    )
    with Server(lambda _: reply) as server:
        place = server.base_url.removesuffix("/v1")
        client = google.genai.Client(
            api_key="sk-key",
            http_options=google.genai.types.HttpOptions(base_url=place),
        )
        client.models.generate_content(model="m", contents="Hello", config=config)
        client.close()
        (theirs,), (headers,) = server.bodies, server.headers
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"]}
    spec = Spec("m", schema=SCHEMA, n=2, sampling=sampling, max_tokens=100)
    provider = connect("google")
    request = Request(spec, "Hello", "Be brief.")
    built = provider.build(request, Capabilities(), 2)
    ours = orjson.loads(built.body)
    theirs["systemInstruction"].pop("role", None)  # which it says, and need not
    assert ours == theirs
    assert {k.lower() for k in built.headers} <= {k.lower() for k in headers}


def embedding(name: str, *texts: str, **extra: Any) -> Any:
    """Write a request for vectors of eight numbers."""
    provider = connect(name, embeds=8)
    request = Request(Spec("m", extra=extra), "\n".join(texts), texts=texts)
    return orjson.loads(provider.build(request, provider.capabilities, 1).body)


@pytest.mark.parametrize("name", sorted({*CHAT, "openai-responses"} - {"ollama"}))
def test_requests_for_embeddings_are_openais(name, problems):
    kind = openai.types.embedding_create_params.EmbeddingCreateParams
    for texts in (["Hello"], ["Hello", "you"]):
        assert problems(kind, embedding(name, *texts, user="me")) == []
    assert problems(kind, {**embedding(name, "Hello"), "truncate": False})


def test_googles_own_client_asks_for_the_same_embeddings():
    import google.genai

    found = {"embeddings": [{"values": [1.0] * 8}] * 2}
    config = google.genai.types.EmbedContentConfig(
        output_dimensionality=8, task_type="CLUSTERING"
    )
    with Server(lambda _: found) as server:
        place = server.base_url.removesuffix("/v1")
        options = google.genai.types.HttpOptions(base_url=place)
        client = google.genai.Client(api_key="sk-key", http_options=options)
        client.models.embed_content(model="m", contents=["Hello", "you"], config=config)
        client.close()
        (theirs,) = server.bodies
    for request in theirs["requests"]:
        request["content"].pop("role", None)  # which it says, and need not
    assert embedding("google", "Hello", "you", taskType="CLUSTERING") == theirs

"""What the vendors' own clients send and read, beside what the package does."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import openai
import orjson
import pandas as pd
import pytest
from anthropic.lib._parse._transform import transform_schema
from schema_keys import CONSTRAINED, RECORDS

from pandas_llm._keys import parse_keys
from pandas_llm._replies.outputs import Records
from pandas_llm.providers import connect
from pandas_llm.simulator import Simulator, count_tokens
from pandas_llm.types import Capabilities, Endpoint, Request, Spec

PROMPT = "Summarise the text.\ntext: Cats purr. Dogs bark."


def test_the_official_client_understands_it() -> None:
    with (
        Simulator() as sim,
        openai.OpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        reply = client.chat.completions.create(
            model="sim",
            messages=[{"role": "user", "content": PROMPT}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "r", "schema": RECORDS, "strict": True},
            },
            n=3,
        )
        models = [model.id for model in client.models.list()]
    contents = [choice.message.content or "" for choice in reply.choices]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert all(json.loads(content)["records"] for content in contents)
    assert reply.usage is not None
    assert reply.usage.completion_tokens == sum(map(count_tokens, contents))
    assert models == ["sim"]


def test_the_official_client_sees_our_errors_as_its_own() -> None:
    with (
        Simulator(fault_plan={0: "429", 1: "401", 2: "404", 3: "500"}) as sim,
        openai.OpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        for kind in (
            openai.RateLimitError,
            openai.AuthenticationError,
            openai.NotFoundError,
            openai.InternalServerError,
        ):
            with pytest.raises(kind):
                client.chat.completions.create(
                    model="sim", messages=[{"role": "user", "content": "Hello"}]
                )


@pytest.mark.parametrize("form", ["base64", "float"])
def test_the_openai_client_gets_the_same_numbers(simulator, on, form):
    server = simulator(reject_params=() if form == "base64" else ("encoding_format",))
    df = pd.DataFrame({"text": [f"Cat {i} purrs." for i in range(50)]})
    out = df.llm.embed("text", **on(server))
    client = openai.OpenAI(base_url=simulator().base_url, api_key="k")
    theirs = client.embeddings.create(model="sim", input=df["text"].tolist())
    numbers = np.array([d.embedding for d in theirs.data], dtype=np.float32)
    assert np.array_equal(np.stack(list(out)), numbers)
    bodies = [seen["body"] for seen in server.requests()]
    assert [body.get("encoding_format") for body in bodies] == (
        ["base64", "base64"] if form == "base64" else ["base64", None, None]
    )
    assert out.attrs["llm"]["simulated"]


def keywords(schema):
    return {
        key: value
        for key, value in schema.items()
        if key not in ("type", "description", "items", "properties", "anyOf")
    }


def test_anthropic_gets_what_its_own_package_sends():
    output = Records(parse_keys(CONSTRAINED), single=True)
    spec = Spec("m", schema=output.schema, constrained=output.constrained)
    endpoint = Endpoint("anthropic", "https://api.anthropic.com/v1", "m", "k")
    request = connect(endpoint).build(Request(spec, "Hi"), Capabilities(), 1)
    found = orjson.loads(request.body)["output_config"]["format"]["schema"]
    theirs = transform_schema(dict(output.constrained or {}))
    for name, ours in found["properties"].items():
        other = theirs["properties"][name]
        assert keywords(ours) == keywords(other), name
    assert found["properties"]["tags"]["minItems"] == 1
    assert "maxItems" not in found["properties"]["tags"]


@pytest.fixture(scope="module")
def llamacpp():
    from llamacpp_server import LlamaServer

    with LlamaServer() as server:
        yield {"base_url": server.base_url, "model": "tiny-llama"}


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "gguf"))),
    reason="NOT TESTED AGAINST LLAMA.CPP: xllamacpp or gguf is not installed",
)
def test_texts_get_the_vectors_that_openais_client_gets(llamacpp):
    words = [f"Cat {i} purrs." for i in range(30)]
    there = {**llamacpp, "progress": False}
    out = pd.Series(words).llm.embed(**there)
    assert out.llm.usage.requests == 2  # one text first, then all the others
    client = openai.OpenAI(base_url=llamacpp["base_url"], api_key="none")
    theirs = [
        one.embedding
        # the same texts together: with others the server gives a few of them another
        # vector, whoever asks
        for asked in (words[:1], words[1:])
        for one in client.embeddings.create(model="tiny-llama", input=asked).data
    ]
    assert np.allclose(np.stack(list(out)), theirs, atol=1e-4)

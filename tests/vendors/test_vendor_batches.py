"""Batches, held against OpenAI's own client and types."""

from __future__ import annotations

import time
from base64 import b64decode

import numpy as np
import openai.types
import openai.types.batch_create_params
import openai.types.embedding_create_params
import orjson
import pytest
from batch_between import FRAME, Between, at, created
from pydantic import TypeAdapter


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept.sqlite"


def test_the_vendors_own_client_understands_the_simulator(simulator):
    server = simulator(fail_if={"two": "500"})
    client = openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "sim", "messages": [{"role": "user", "content": name}]},
        }
        for name in ("one", "two", "three")
    ]
    content = b"\n".join(map(orjson.dumps, lines))
    file = client.files.create(file=("batch.jsonl", content), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )
    while (now := client.batches.retrieve(made.id)).status == "in_progress":
        time.sleep(0.05)
    assert now.status == "completed"
    assert (now.request_counts.completed, now.request_counts.failed) == (2, 1)
    good = client.files.content(now.output_file_id).text.splitlines()
    assert {orjson.loads(line)["custom_id"] for line in good} == {"one", "three"}
    bad = orjson.loads(client.files.content(now.error_file_id).text)
    assert bad["response"]["status_code"] == 500
    client.close()


def test_what_is_sent_and_answered_is_as_openais_types_have_it(simulator, kept):
    server, bodies = simulator(), {}

    def before(what, request, _):
        async def read():
            bodies.setdefault(what, await request.read())

        return read()

    with Between(server, before) as between:
        FRAME.llm.embed("text", **at(between, kept, batch=True, dimensions=4))
    asked = orjson.loads(bodies["create"])
    kind = openai.types.batch_create_params.BatchCreateParams
    assert TypeAdapter(kind).validate_python(asked) == asked
    lines = [x for x in bodies["upload"].splitlines() if x.startswith(b'{"custom_id"')]
    assert len(lines) == 5
    kind = openai.types.embedding_create_params.EmbeddingCreateParams
    for line in map(orjson.loads, lines):
        assert line.keys() == {"custom_id", "method", "url", "body"}
        assert (line["method"], line["url"]) == ("POST", "/v1/embeddings")
        read = TypeAdapter(kind).validate_python(line["body"])
        assert {**read, "input": line["body"]["input"]} == line["body"]
        assert len(line["body"]["input"]) == 1
    for batch in created(server):
        openai.types.Batch.model_validate(batch, strict=True)


def test_the_official_client_reads_the_simulators_vectors(simulator, kept):
    server = simulator()
    job = FRAME.llm.submit("text", verb="embed", **at(server, kept))
    while not job.status().ended:
        pass
    client = openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    (batch,) = client.batches.list()
    results = client.files.content(batch.output_file_id).text.splitlines()
    bodies = [orjson.loads(line)["response"]["body"] for line in results]
    for body in bodies:
        (vector,) = body["data"]  # base64, which the client makes a list of
        vector["embedding"] = np.frombuffer(b64decode(vector["embedding"]), "<f4")
        vector["embedding"] = vector["embedding"].tolist()
        openai.types.CreateEmbeddingResponse.model_validate(body)
    assert len(bodies) == 5

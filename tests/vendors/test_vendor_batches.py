"""Batches, held against the vendors' own clients and types."""

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
from google import genai
from mistralai.client import Mistral, models
from pydantic import TypeAdapter

from pandas_llm.providers.vendors.google import GoogleBatches


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
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
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


# -- Azure's client ------------------------------------------------------------------


def test_azures_client_understands_the_simulator(simulator, kept):
    server = simulator()
    job = FRAME.llm.submit("${text}", **at(server, kept, "azure/sim"))
    while not job.status().ended:
        pass
    origin = server.base_url.removesuffix("/v1")
    client = openai.AzureOpenAI(
        base_url=f"{origin}/openai/v1", api_key="k", api_version="v1", max_retries=0
    )
    (batch,) = client.batches.list()
    assert client.batches.retrieve(batch.id) == batch
    assert batch.metadata["pandas_llm"].startswith(job.id)
    (result, *others) = client.files.content(batch.output_file_id).text.splitlines()
    answer = orjson.loads(result)["response"]["body"]
    openai.types.chat.ChatCompletion.model_validate(answer)
    assert len(others) == len(FRAME) - 1
    client.close()


# -- Mistral's client ----------------------------------------------------------------


def mistral(server):
    return Mistral(api_key="k", server_url=server.base_url.removesuffix("/v1"))


def test_mistrals_client_understands_the_simulator(simulator):
    server = simulator(fail_if={"two": "500"}, batch_latency=0.1)
    lines = [
        {"custom_id": name, "body": {"messages": [{"role": "user", "content": name}]}}
        for name in ("one", "two", "three")
    ]
    content = b"\n".join(map(orjson.dumps, lines))
    with mistral(server) as client:
        file = client.files.upload(
            file={"file_name": "batch.jsonl", "content": content}, purpose="batch"
        )
        made = client.batch.jobs.create(
            input_files=[file.id],
            model="sim",
            endpoint="/v1/chat/completions",
            metadata={"of": "ours"},
        )
        assert made.status in ("QUEUED", "RUNNING")
        while (now := client.batch.jobs.get(job_id=made.id)).status == "RUNNING":
            time.sleep(0.05)
        assert (now.status, now.metadata) == ("SUCCESS", {"of": "ours"})
        assert (now.succeeded_requests, now.failed_requests) == (2, 1)
        listed = client.batch.jobs.list(page=0, page_size=10)
        assert [job.id for job in listed.data] == [made.id]
        good = client.files.download(file_id=now.output_file).read().splitlines()
        for line in map(orjson.loads, good):
            models.ChatCompletionResponse.model_validate(line["response"]["body"])
        bad = orjson.loads(client.files.download(file_id=now.error_file).read())
        assert (bad["custom_id"], bad["response"]["status_code"]) == ("two", 500)
        later = client.batch.jobs.create(
            input_files=[file.id], model="sim", endpoint="/v1/chat/completions"
        )
        ended = client.batch.jobs.cancel(job_id=later.id)
        assert ended.status == "CANCELLATION_REQUESTED"


CALLS = [("complete", "${text}"), ("embed", "text")]


@pytest.mark.parametrize("call", CALLS)
def test_what_goes_to_mistral_is_as_its_types_have_it(simulator, kept, call):
    server, seen, (verb, text) = simulator(), Seen(), call
    with Between(server, seen) as between:
        options = at(between, kept, "mistral/sim", batch=True)
        getattr(FRAME.llm, verb)(text, **options)
    job = orjson.loads(seen.bodies["create"])
    read = models.CreateBatchJobRequest.model_validate(job)
    assert read.model_dump(exclude_unset=True, mode="json") == job
    kind = models.EmbeddingRequest if verb == "embed" else models.ChatCompletionRequest
    lines = seen.lines()
    assert len(lines) == len(FRAME) - 1
    for line in lines:
        read = models.BatchRequest.model_validate(line)
        assert read.model_dump(exclude_unset=True) == line
        kind.model_validate(line["body"])
    with mistral(server) as client:
        (job,) = client.batch.jobs.list().data
        assert job.metadata["pandas_llm"].startswith("batch-")


class Seen:
    """Keeps the bodies of what passes, the first of each kind."""

    def __init__(self):
        self.bodies = {}

    def __call__(self, what, request, _):
        async def read():
            self.bodies.setdefault(what, await request.read())

        return read()

    def lines(self):
        """Return the lines of the file that was sent."""
        file = self.bodies["upload"].splitlines()
        return [orjson.loads(x) for x in file if x.startswith((b'{"custom', b'{"key'))]


# -- Google's client -----------------------------------------------------------------


def google(server):
    origin = server.base_url.removesuffix("/v1")
    options = genai.types.HttpOptions(base_url=origin)
    return genai.Client(api_key="k", http_options=options)


def ended(client, batch):
    while not batch.done:
        time.sleep(0.05)
        batch = client.batches.get(name=batch.name)
    return batch


def test_googles_client_understands_the_simulators_inline_batches(simulator):
    server = simulator(fail_if={"two": "500"}, batch_latency=0.1)
    with google(server) as client:
        made = client.batches.create(
            model="sim",
            src=[
                {
                    "contents": [{"role": "user", "parts": [{"text": text}]}],
                    "metadata": {"key": text},
                }
                for text in ("one", "two", "three")
            ],
            config={"display_name": "ours"},
        )
        assert (made.display_name, made.state.name) == ("ours", "JOB_STATE_RUNNING")
        done = ended(client, made)
        assert done.state.name == "JOB_STATE_SUCCEEDED"
        found = {one.metadata["key"]: one for one in done.dest.inlined_responses}
        assert found.keys() == {"one", "two", "three"}
        assert found["one"].response.text
        assert found["two"].error.code == 13
        assert [one.name for one in client.batches.list()] == [made.name]
        assert client.batches.cancel(name=made.name) is None


def test_googles_client_understands_the_simulators_files(simulator, tmp_path):
    server, path = simulator(), tmp_path / "asked.jsonl"
    contents = [{"parts": [{"text": "Hello"}]}]
    line = {"key": "one", "request": {"contents": contents}}
    path.write_bytes(orjson.dumps(line))
    with google(server) as client:
        file = client.files.upload(file=path, config={"mime_type": "application/jsonl"})
        made = client.batches.create(
            model="sim", src=file.name, config={"display_name": "ours"}
        )
        done = ended(client, made)
        (result,) = client.files.download(file=done.dest.file_name).splitlines()
        assert orjson.loads(result)["key"] == "one"
        answer = orjson.loads(result)["response"]
        assert answer["candidates"][0]["content"]["parts"][0]["text"]


@pytest.mark.filterwarnings("ignore:.*experimental")
def test_googles_client_understands_the_simulators_vectors(simulator):
    with google(simulator()) as client:
        made = client.batches.create_embeddings(
            model="sim",
            src={"inlined_requests": {"contents": ["one", "two"]}},
            config={"display_name": "ours"},
        )
        found = ended(client, made).dest.inlined_embed_content_responses
        assert all(one.response.embedding.values for one in found)
        assert all(one.response.token_count for one in found)


@pytest.mark.parametrize("inline", [19_000_000, 0])
@pytest.mark.parametrize("call", CALLS)
def test_what_is_sent_to_google_is_as_its_types_have_it(simulator, kept, call, inline):
    server, seen, (verb, text) = simulator(), Seen(), call
    with Between(server, seen) as between, pytest.MonkeyPatch.context() as patch:
        patch.setattr(GoogleBatches, "inline", inline)
        options = at(between, kept, "google/sim", batch=True)
        getattr(FRAME.llm, verb)(text, **options)
    (batch,) = orjson.loads(seen.bodies["create"]).values()
    given = batch.pop("inputConfig")
    assert batch.keys() == {"displayName"}
    if not inline:
        assert given["fileName"].startswith("files/")
        each = [line["request"] for line in seen.lines()]
        assert all(line.keys() == {"key", "request"} for line in seen.lines())
    else:
        each = [one["request"] for one in given["requests"]["requests"]]
        for one in given["requests"]["requests"]:
            assert one.keys() == {"request", "metadata"}
            assert one["metadata"].keys() == {"key"}
    assert len(each) == len(FRAME) - 1
    for one in each:
        if verb == "embed":
            genai.types.Content.model_validate(one["content"], strict=True)
        else:
            for content in one["contents"]:
                genai.types.Content.model_validate(content, strict=True)
    with google(server) as client:
        (listed,) = client.batches.list()
        assert listed.display_name == batch["displayName"]

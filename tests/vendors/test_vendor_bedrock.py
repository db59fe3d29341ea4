"""Bedrock, held against botocore's model of the service and its signatures."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import cache
from typing import Any

import boto3
import botocore.auth
import botocore.session
import orjson
import pandas as pd
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from schema_keys import EVERY_KIND, RECORDS

from pandas_llm import errors, providers
from pandas_llm._keys import parse_keys
from pandas_llm._pacing import Prices
from pandas_llm._replies import ending
from pandas_llm._replies.outputs import Records
from pandas_llm.providers.vendors.bedrock import FIELDS
from pandas_llm.simulator import Simulator, count_tokens
from pandas_llm.simulator.conditions import signature_problem
from pandas_llm.types import Endpoint, HTTPResponse, Image, Request, Spec, Tokens

SECRET = "a-secret-of-forty-letters-as-aws-has-them"
ARN = (
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0"
)
MODELS = ("amazon.nova-lite-v1:0", "us.anthropic.claude-opus-5-5", ARN)
ASKED = Records(parse_keys(EVERY_KIND))
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
SPECS = {
    "plain": Spec("m"),
    "schema": Spec("m", schema=ASKED.schema),
    "constraints": Spec("m", schema=ASKED.schema, constrained=ASKED.constrained),
    "sampling": Spec(
        "m", sampling={"temperature": 0.5, "top_p": 0.9, "stop": ["a"]}, max_tokens=9
    ),
    "effort": Spec(
        "m", schema=ASKED.schema, sampling={"reasoning_effort": "low", "seed": 7}
    ),
    "examples": Spec("m", (("2 + 2?", "4"), ("3 + 3?", "6")), ASKED.schema, n=3),
    "tier": Spec("m", tier="flex"),
    "extra": Spec(
        "m",
        extra={
            "top_k": 5,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
            "requestMetadata": {"team": "blue"},
            "inferenceConfig": {"topP": 0.5},
        },
    ),
}
REQUESTS: dict[str, dict[str, Any]] = {
    "prompt": {},
    "system": {"system": "Be brief."},
    "marked": {"system": "Be brief.", "shared": (0, 3)},
    "again": {"followup": (("assistant", "{"), ("user", "JSON, please."))},
    "turns": {"before": (("user", "Hi"), ("assistant", "Hello"), ("user", "So?"))},
    "image": {"attachments": (Image(b"", "image/png", 9, b"", PNG),)},
    "file": {"attachments": (Image(b"", "application/pdf", 9, b"d", PNG, "files"),)},
}


@cache
def service() -> Any:
    return botocore.session.Session().get_service_model("bedrock-runtime")


@cache
def converse() -> Any:
    return service().operation_model("Converse")


def connect(model: str = "m", **more: Any) -> providers.Provider:
    base_url = "https://bedrock-runtime.us-east-1.amazonaws.com"
    return providers.connect(Endpoint("bedrock", base_url, model, None, **more))


def parameters(value: Any) -> Any:
    """Return a body as botocore takes it: with bytes in place of base64."""
    if isinstance(value, list):
        return [parameters(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(item) if name == "bytes" else parameters(item)
        for name, item in value.items()
    }


# -- what is sent --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["json_schema", "tool", "prompt"])
@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("spec", SPECS)
def test_bodies_are_what_botocore_would_send(spec, asked, mode):
    provider = connect(MODELS[1])  # it takes marks
    settled = replace(provider.capabilities, schema=mode)
    request = Request(SPECS[spec], "Hello", **REQUESTS[asked])
    built = provider.build(request, settled, 1)
    body = orjson.loads(built.body)
    known = {**parameters(body), "modelId": MODELS[1]}
    report = ParamValidator().validate(known, converse().input_shape)
    assert not report.has_errors(), report.generate_report()
    sent = create_serializer("rest-json").serialize_to_request(known, converse())
    assert orjson.loads(sent["body"]) == body  # no field is dropped, none renamed
    assert built.url.endswith(sent["url_path"])


def test_what_is_the_models_own_is_told_from_what_is_the_services():
    assert converse().input_shape.members.keys() - {"modelId"} == FIELDS
    provider = connect()
    built = provider.build(Request(SPECS["extra"], "x"), provider.capabilities, 1)
    body = orjson.loads(built.body)
    others = body["additionalModelRequestFields"]
    assert others.keys() == {"top_k", "thinking"}
    assert body["inferenceConfig"] == {"topP": 0.5}


@pytest.mark.parametrize("model", MODELS)
def test_a_models_address_is_botocores(model):
    sent = create_serializer("rest-json").serialize_to_request(
        {"modelId": model, "messages": []}, converse()
    )
    built = connect(model).build(Request(Spec("m"), "x"), connect().capabilities, 1)
    assert built.url.partition(".com")[2] == sent["url_path"]


def test_a_tools_schema_has_the_three_fields_that_nova_knows():
    provider = connect("amazon.nova-lite-v1:0")
    settled = replace(provider.capabilities, schema="tool")
    built = provider.build(Request(SPECS["schema"], "x"), settled, 1)
    (tool,) = orjson.loads(built.body)["toolConfig"]["tools"]
    schema = tool["toolSpec"]["inputSchema"]["json"]
    assert schema.keys() == {"type", "properties", "required"}


@pytest.mark.parametrize(
    ("model", "dollars"), [("us.amazon.nova-lite-v1:0", 0.06), (ARN, 0.06)]
)
def test_models_have_their_prices(model, dollars):
    place = "https://bedrock-runtime.us-east-1.amazonaws.com"
    prices = Prices(Endpoint("bedrock", place, model, None))
    assert prices.of(Tokens(1_000_000)) == pytest.approx(dollars)


# -- what comes back -----------------------------------------------------------------


def test_every_stop_reason_of_the_service_is_known():
    reasons = converse().output_shape.members["stopReason"].enum
    found = {reason: ending(reason) for reason in reasons}
    assert found == {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "tool_use": "tool_calls",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "guardrail_intervened": "content_filter",
        "content_filtered": "content_filter",
        "malformed_model_output": "error",
        "malformed_tool_use": "error",
    }


KINDS = {
    "AccessDeniedException": errors.AuthenticationError,
    "ThrottlingException": errors.RateLimitError,
    "ResourceNotFoundException": errors.ModelNotFoundError,
    "ModelTimeoutException": errors.ServerError,
    "InternalServerException": errors.ServerError,
    "ServiceUnavailableException": errors.OverloadedError,
    "ValidationException": errors.BadRequestError,
    "ModelNotReadyException": errors.OverloadedError,
    "ModelErrorException": errors.ServerError,
}


def test_every_error_of_the_service_is_named():
    found = {}
    for shape in converse().error_shapes:
        status = shape.metadata["error"]["httpStatusCode"]
        headers = {"x-amzn-errortype": f"{shape.name}:http://internal.amazon.com/"}
        error = connect().error(HTTPResponse(status, headers, b'{"message":"m"}'))
        assert error.code == shape.name
        found[shape.name] = type(error)
    assert found == KINDS


# -- the simulator is true: AWS' own client speaks to it -----------------------------


@pytest.fixture
def client():
    """Make AWS' own clients for simulators."""
    opened = []

    def make(server, secret=SECRET, token=None):
        made = boto3.session.Session(
            "AKIDEXAMPLE", secret, token, region_name="us-east-1"
        ).client(
            "bedrock-runtime",
            endpoint_url=server.origin,
            config=Config(retries={"max_attempts": 0}),
        )
        opened.append(made)
        return made

    yield make
    for made in opened:
        made.close()


TURN = [{"role": "user", "content": [{"text": "Summarise: Cats purr. Dogs bark."}]}]


@pytest.mark.parametrize("model", [*MODELS, "sim"])
@pytest.mark.parametrize("token", [None, "a-token-of-a-session"])
def test_awss_own_client_is_answered_by_the_simulator(client, model, token):
    with Simulator(api_key=SECRET, models=MODELS) as server:
        reply = client(server, token=token).converse(
            modelId=model,
            messages=TURN,
            system=[{"text": "Be brief."}],
            inferenceConfig={"maxTokens": 50},
        )
    report = ParamValidator().validate(
        {k: v for k, v in reply.items() if k != "ResponseMetadata"},
        converse().output_shape,
    )
    assert not report.has_errors(), report.generate_report()
    (block,) = reply["output"]["message"]["content"]
    assert reply["usage"]["outputTokens"] == count_tokens(block["text"])
    assert reply["stopReason"] == "end_turn"
    assert reply["ResponseMetadata"]["RequestId"].startswith("req_sim_")


def test_awss_own_client_gets_its_schema_and_its_tool_answered(client):
    schema = orjson.dumps(RECORDS).decode()
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}
    tool = {"toolSpec": {"name": "take", "inputSchema": {"json": RECORDS}}}
    with Simulator() as server:
        mine = client(server)
        text = mine.converse(
            modelId="sim", messages=TURN, outputConfig={"textFormat": form}
        )
        called = mine.converse(
            modelId="sim",
            messages=TURN,
            toolConfig={"tools": [tool], "toolChoice": {"tool": {"name": "take"}}},
        )
    (block,) = text["output"]["message"]["content"]
    assert orjson.loads(block["text"])["records"]
    (block,) = called["output"]["message"]["content"]
    assert called["stopReason"] == "tool_use"
    assert block["toolUse"]["name"] == "take"
    assert block["toolUse"]["input"]["records"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("400", "ValidationException"),
        ("401", "UnrecognizedClientException"),
        ("404", "ValidationException"),
        ("429", "ThrottlingException"),
        ("500", "InternalServerException"),
        ("503", "ServiceUnavailableException"),
    ],
)
def test_awss_own_client_sees_the_simulators_errors_as_its_own(client, fault, code):
    with Simulator(faults={fault: 1.0}) as server, pytest.raises(ClientError) as caught:
        client(server).converse(modelId="sim", messages=TURN)
    assert caught.value.response["Error"]["Code"] == code


def test_awss_own_client_with_another_secret_is_refused(client):
    with Simulator(api_key=SECRET) as server, pytest.raises(ClientError) as caught:
        client(server, secret="another").converse(modelId="sim", messages=TURN)
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_awss_own_client_gets_titans_vectors_as_embed_does(client, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    model = "amazon.titan-embed-text-v2:0"
    with Simulator(api_key=SECRET, models=(model,)) as server:
        reply = client(server).invoke_model(
            modelId=model, body=orjson.dumps({"inputText": "Cats.", "dimensions": 256})
        )
        theirs = orjson.loads(reply["body"].read())
        ours = pd.Series(["Cats."]).llm.embed(
            model=f"bedrock/{model}",
            dimensions=256,
            base_url=server.origin,
            api_key=SECRET,
            progress=False,
        )
        one, other = server.requests()
    assert (one["path"], one["body"]) == (other["path"], other["body"])
    assert ours[0].tolist() == pytest.approx(theirs["embedding"], rel=1e-6)
    assert ours.llm.usage.input_tokens == theirs["inputTextTokenCount"]


# -- signatures ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/model/sim/converse", "/model/a%3A0%2Fb/converse"])
def test_the_simulator_takes_awss_signatures_and_nothing_near_them(path):
    url, body = f"http://127.0.0.1:8000{path}", b'{"messages": []}'
    made = AWSRequest("POST", url, {"Content-Type": "application/json"}, body)
    held = Credentials("AKIDEXAMPLE", SECRET, "token")
    botocore.auth.SigV4Auth(held, "bedrock", "us-east-1").add_auth(made)
    headers = {"host": "127.0.0.1:8000"}
    headers |= {name.lower(): value for name, value in made.headers.items()}

    class Headers(dict):
        def get(self, name, default=None):
            return super().get(name.lower(), default)

    whole = Headers(headers)
    assert signature_problem(SECRET, path, whole, body) is None
    assert signature_problem(SECRET, path, whole, body + b" ")
    assert signature_problem(SECRET + "x", path, whole, body)
    assert signature_problem(SECRET, path.replace("%3A", ":") + "x", whole, body)
    for name in ("host", "x-amz-date", "x-amz-security-token", "content-type"):
        changed = Headers({**headers, name: headers[name] + "1"})
        assert signature_problem(SECRET, path, changed, body), name


@pytest.mark.parametrize("model", MODELS)
def test_a_signed_row_is_awss_clients_request(client, monkeypatch, model):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token-of-a-session")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    seen = []
    with Simulator(api_key=SECRET, models=MODELS) as server:
        theirs = client(server, token="a-token-of-a-session")
        theirs.meta.events.register(
            "before-send.bedrock-runtime.Converse",
            lambda request, **_: seen.append(request),
        )
        theirs.converse(
            modelId=model, messages=[{"role": "user", "content": [{"text": "Say a."}]}]
        )
        out = pd.DataFrame({"text": ["a"]}).llm.complete(
            "Say ${text}.",
            model=f"bedrock/{model}",
            base_url=server.origin,
            progress=False,
        )
        assert out.notna().all()
        one, other = server.requests()
    assert one["path"] == other["path"]
    assert one["body"] == other["body"]
    assert [one["status"], other["status"]] == [200, 200]  # both signatures hold
    built = connect(model).build(Request(Spec("m"), "x"), connect().capabilities, 1)
    assert seen[0].url.partition("/model/")[2] == built.url.partition("/model/")[2]

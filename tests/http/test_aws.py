"""Requests to AWS: region, credentials, signatures, and what is said when they lack."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server

import pandas_llm
from pandas_llm._client import open as opening
from pandas_llm._http.aws import account_of, region_of
from pandas_llm.errors import AuthenticationError, ConfigurationError
from pandas_llm.simulator import Simulator
from pandas_llm.simulator.conditions import signature_problem

pytest.importorskip("botocore")
ROWS = pd.DataFrame({"text": ["Cats purr.", "Dogs bark.", "Birds sing."]})
SECRET, TOKEN = "a-secret-of-aws-0123456789", "a-token-of-a-session-0123456789"
MODEL = "us.amazon.nova-lite-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{MODEL}"
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "So."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
}


def complete(base_url=None, model=MODEL, **more):
    return ROWS.llm.complete(
        "Say ${text}",
        model=f"bedrock/{model}",
        base_url=base_url,
        progress=False,
        **more,
    )


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")


# -- where -----------------------------------------------------------------------


def test_the_region_is_of_the_address_then_of_variables_then_of_the_profile(
    monkeypatch, tmp_path
):
    (tmp_path / "config").write_text(
        "[default]\nregion = us-west-1\n[profile far]\nregion = ap-south-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert region_of() == "us-west-1"
    monkeypatch.setenv("AWS_PROFILE", "far")
    assert region_of() == "ap-south-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert region_of() == "eu-north-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert region_of("https://gateway.example.org/bedrock") == "eu-west-1"
    for host, region in {
        "bedrock-runtime.us-east-2.amazonaws.com": "us-east-2",
        "bedrock-runtime-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
        "bedrock-runtime.cn-north-1.amazonaws.com.cn": "cn-north-1",
        "vpce-1a-2b.bedrock-runtime.eu-west-3.vpce.amazonaws.com": "eu-west-3",
    }.items():
        assert region_of(f"https://{host}") == region
    for arn, region in {
        "arn:aws:bedrock:us-west-2:123456789012:inference-profile/eu.x.y": "us-west-2",
        "arn:aws-cn:bedrock:cn-north-1::foundation-model/x.y-v1:0": "cn-north-1",
        "arn:aws:sagemaker:ap-south-1:123456789012:endpoint/x": "ap-south-1",
    }.items():
        assert region_of("https://gateway.example.org", f"bedrock/{arn}") == region
        told = {"model": f"bedrock/{arn}", "api_key": "k", "as_requests": True}
        seen = pd.DataFrame({"x": ["y"]}).llm.preview("${x}", **told)
        at = f"https://bedrock-runtime.{region}.amazonaws.com/model/{quote(arn, '')}/"
        assert seen["url"][0] == f"{at}converse"


def test_a_key_needs_neither_credentials_nor_botocore(monkeypatch):
    for name in ("botocore", "botocore.session"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "the-key-of-bedrock")
    shown = ROWS.llm.preview("Say ${text}", model=f"bedrock/{ARN}", as_requests=True)
    assert shown["url"].iloc[0] == (
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3A"
        "us-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0/"
        "converse"
    )
    assert '"Authorization":"Bearer ***"' in shown["headers"].iloc[0]


# -- what lacks is one error, before a row is paid ---------------------------------

SSO = """[profile corp]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = dev
[sso-session corp]
sso_region = us-east-1
sso_start_url = https://corp.example.org/start
"""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "no AWS region is set"),
        ({"AWS_REGION": "us-east-1a"}, "'us-east-1a' is not the name of an AWS region"),
        ({"AWS_REGION": "US East (Ohio)"}, "'US East (Ohio)' is not the name of"),
        ({"AWS_DEFAULT_REGION": "EU-WEST-1"}, "'EU-WEST-1' is not the name of an AWS"),
        ({"AWS_REGION": "us-east-1"}, "no AWS credentials are found"),
        (
            {"AWS_REGION": "us-east-1", "AWS_PROFILE": "nobody"},
            "The config profile (nobody) could not be found",
        ),
        (
            {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"},
            "Partial credentials found in env",
        ),
        (
            {"AWS_REGION": "us-east-1", "AWS_PROFILE": "corp"},
            "Error loading SSO Token: Token for corp does not exist",
        ),
    ],
)
def test_what_lacks_is_told_with_the_ways_out(monkeypatch, tmp_path, variables, words):
    (tmp_path / "config").write_text(SSO)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Simulator(models=(MODEL,)) as server:
        with pytest.raises(ConfigurationError) as caught:
            complete(server.origin)
        assert server.stats()["requests"] == 0
    message = str(caught.value)
    assert words in message
    for way in ("AWS_REGION", "AWS_BEARER_TOKEN_BEDROCK", "[bedrock]", "aws sso login"):
        assert way in message


def test_without_botocore_and_without_a_key_the_extra_is_named(monkeypatch):
    for name in ("botocore", "botocore.session"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(
        ConfigurationError, match="botocore, which signs requests, is not"
    ) as it:
        complete()
    assert "pip install 'pandas-llm-accessor[bedrock]'" in str(it.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ExpiredTokenException", "The security token included in the request is exp"),
        ("UnrecognizedClientException", "The security token is invalid"),
        ("AccessDeniedException", "You don't have access to the model"),
    ],
)
def test_credentials_that_aws_refuses_cost_one_call(credentials, kind, words):
    def answer(_):
        headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/"}
        return web.json_response({"message": words}, status=403, headers=headers)

    with Server(answer) as server:
        with pytest.raises(AuthenticationError, match="aws sso login") as caught:
            complete(f"http://127.0.0.1:{server.port}")
        assert len(server.bodies) == 1
    assert words in str(caught.value)


# -- signatures ------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("model", [MODEL, ARN])
def test_rows_are_signed_and_what_is_signed_is_sent(
    credentials, monkeypatch, model, token
):
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    with Simulator(api_key=SECRET, models=(model,)) as server:
        out = complete(server.origin, model, headers={"X-Team": "blue"})
        assert out.notna().all()
        seen = server.requests()
    assert {one["status"] for one in seen} == {200}
    assert all(one["headers"]["X-Team"] == "blue" for one in seen)


def test_a_body_of_any_letters_keeps_its_signature(credentials):
    texts = ["日本 😀 é", "%3A %2F", 'a "b" \\ \n', "x" * 2_000_000]
    with Simulator(api_key=SECRET) as server:
        out = pd.Series(texts).llm.complete(
            "Say ${value}", model="bedrock/sim", base_url=server.origin, progress=False
        )
    assert out.notna().all()


def test_the_token_of_a_session_is_not_shown(credentials, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)

    def answer(_):
        quoted = {"message": f"x-amz-security-token:{TOKEN} is odd"}
        return web.json_response(quoted, status=400)

    with Server(answer) as server, pytest.raises(pandas_llm.LLMError) as caught:
        complete(f"http://127.0.0.1:{server.port}")
    assert "is odd" in str(caught.value)
    assert TOKEN not in str(caught.value)


class Machine:
    """A server that gives credentials, as that of a container does, and answers."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self.given = 0
        self.wait = threading.Event()
        self.wait.set()
        self._server = Server(self._answer)

    def __enter__(self):
        self._server.__enter__()
        self.origin = f"http://127.0.0.1:{self._server.port}"
        return self

    def __exit__(self, *_):
        self.wait.set()
        self._server.__exit__()

    async def _answer(self, body):
        if body:
            return ANSWER
        await asyncio.to_thread(self.wait.wait, 20)
        self.given += 1
        ends = datetime.now(UTC) + timedelta(seconds=self._lifetime)
        return {
            "AccessKeyId": f"AKID{self.given}",
            "SecretAccessKey": f"secret-{self.given}",
            "Token": f"token-{self.given}",
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def asked(self):
        """Return path, headers and number of the token of each request for a row."""
        paths, headers = self._server.paths, self._server.headers
        rows = zip(paths, headers, self._server.bodies, strict=True)
        for path, header, body in rows:
            if body:
                yield path, header, header["X-Amz-Security-Token"].partition("-")[2]


@pytest.mark.parametrize(("lifetime", "renewed"), [(60, True), (7200, False)])
def test_credentials_that_expire_are_renewed_before_they_sign(
    monkeypatch, lifetime, renewed
):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with Machine(lifetime) as machine:
        url = f"{machine.origin}/credentials"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        out = complete(machine.origin, concurrency=1)
        assert out.tolist() == ["So."] * 3
        used = [number for _, _, number in machine.asked()]
    if renewed:  # botocore renews those with less than a quarter of an hour left
        assert used == ["3", "4", "5"]
    else:
        assert used == ["1", "1", "1"]


async def ask(machine):
    return await ROWS.llm.acomplete(
        "Say ${text}", model="bedrock/sim", base_url=machine.origin, progress=False
    )


def test_the_loop_goes_on_while_credentials_are_looked_for(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    async def main():
        machine.wait.clear()
        run = asyncio.create_task(ask(machine))
        # only this loop lets the credentials come, so it must not be held up
        while not machine._server.paths:
            await asyncio.sleep(0.005)
        machine.wait.set()
        return await run

    with Machine(60) as machine:
        url = f"{machine.origin}/credentials"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        out = asyncio.run(main())
    assert out.tolist() == ["So."] * 3


def test_credentials_that_cannot_be_renewed_end_the_run_with_the_ways_out(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    def answer(body):
        if body:
            return ANSWER
        if len(server.paths) > 2:
            return web.json_response({"message": "gone"}, status=404)
        ends = datetime.now(UTC) + timedelta(seconds=60)
        return {
            "AccessKeyId": "AKID",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    with Server(answer) as server:
        origin = f"http://127.0.0.1:{server.port}"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{origin}/c")
        with pytest.raises(AuthenticationError, match="AWS_BEARER_TOKEN_BEDROCK"):
            complete(origin)
    assert not any(server.bodies)


# -- what else is sent, and what is not --------------------------------------------


@pytest.mark.parametrize("how", ["key", "function", "header", "password"])
def test_who_asks_otherwise_is_not_signed(monkeypatch, how):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    more = {
        "key": {"api_key": "the-key-of-bedrock"},
        "function": {"api_key": lambda: "the-key-of-bedrock"},
        "header": {"headers": {"Authorization": "Bearer the-key-of-bedrock"}},
        "password": {},
    }[how]
    with Server(lambda _: ANSWER) as server:
        login = "me:the-key-of-bedrock@" if how == "password" else ""
        complete(f"http://{login}127.0.0.1:{server.port}", **more)
        sent = server.headers[0]
    assert "X-Amz-Date" not in sent
    scheme = "Basic " if how == "password" else "Bearer the-key-of-bedrock"
    assert sent["Authorization"].startswith(scheme)


ONE, SAME, OTHER = (
    "ASIAQNZGKIQY56JQ7WML",
    "AKIAQNZGKIQY56JQ7WML",
    "AKIAY34FZKBOKMUTVV7A",
)


@pytest.mark.parametrize(("second", "accounts"), [(SAME, 1), (OTHER, 2), ("x", 2)])
def test_limits_are_those_of_an_account_of_aws(
    credentials, monkeypatch, second, accounts
):
    """The machines of a role have keys of their own, and one account."""
    places, shared = set(), opening.shared_limiter

    def noted(place):
        places.add(place)
        return shared(place)

    monkeypatch.setattr(opening, "shared_limiter", noted)
    with Server(lambda _: ANSWER) as server:
        for key_id in (ONE, second):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
            complete(f"http://127.0.0.1:{server.port}")
    assert len(places) == accounts
    assert account_of(ONE) == account_of(SAME) == "029608264753"
    assert account_of("x") == "x"
    assert not any(word in str(places) for word in (ONE, second * 9, "029608264753"))


def test_an_empty_text_has_no_vector_and_is_not_sent(credentials):
    texts = pd.Series(["Cats.", "", "Dogs.", ""])
    model = "amazon.titan-embed-text-v2:0"
    with Simulator(api_key=SECRET, models=(model,)) as server:
        at = {"model": f"bedrock/{model}", "base_url": server.origin}
        with pytest.warns(pandas_llm.LLMWarning, match="2 of 4 rows .*2 empty_text"):
            out = texts.llm.embed(**at, progress=False)
        assert server.stats()["requests"] == 2
    assert out.notna().tolist() == [True, False, True, False]


@pytest.mark.parametrize("verb", ["complete", "embed"])
def test_batches_are_refused_before_anything_is_sent(credentials, verb, tmp_path):
    kept = tmp_path / "kept.sqlite"
    with Simulator(api_key=SECRET) as server:
        with pytest.raises(ConfigurationError, match="batches are not known to work"):
            getattr(ROWS.llm, verb)(
                "${text}",
                model="bedrock/sim",
                base_url=server.origin,
                batch=True,
                cache=kept,
            )
        assert server.stats()["requests"] == 0


def test_a_model_that_is_being_loaded_is_asked_again_and_sets_no_pace(
    credentials, short_waits
):
    def answer(_):
        if len(server.bodies) > 3:
            return ANSWER
        headers = {"x-amzn-errortype": "ModelNotReadyException"}
        words = {"message": "Model is not ready for inference."}
        return web.json_response(words, status=429, headers=headers)

    with Server(answer) as server:
        out = complete(f"http://127.0.0.1:{server.port}")
    assert out.tolist() == ["So."] * 3
    assert out.llm.usage.retries == 3


def test_a_key_of_a_function_that_has_expired_is_made_again(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    keys = iter(["the-first-key", "the-second-key"])

    def answer(_):
        if "first" not in server.headers[-1]["Authorization"] or len(asked) < 2:
            asked.append(1)
            return ANSWER
        words = {"Message": "Bearer Token has expired"}
        headers = {"x-amzn-errortype": "AccessDeniedException"}
        return web.json_response(words, status=403, headers=headers)

    asked = []
    with Server(answer) as server:
        out = complete(
            f"http://127.0.0.1:{server.port}", api_key=lambda: next(keys), concurrency=1
        )
    assert out.tolist() == ["So."] * 3
    assert server.headers[-1]["Authorization"] == "Bearer the-second-key"


def test_a_plan_for_other_processes_keeps_its_region(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    from pandas_llm._client.address import transferable
    from pandas_llm.options import resolve

    settings = resolve({"model": f"bedrock/{MODEL}"})
    options = transferable(settings)
    assert options["base_url"] == "https://bedrock-runtime.eu-west-1.amazonaws.com"


def test_signatures_of_this_module_are_checked_by_the_simulators_rule(credentials):
    with Server(lambda _: ANSWER) as server:
        complete(f"http://127.0.0.1:{server.port}", ARN)
        headers = {k.lower(): v for k, v in server.headers[0].items()}

    class Headers(dict):
        def get(self, name, default=None):
            return super().get(name.lower(), default)

    path = "/model/" + ARN.replace(":", "%3A").replace("/", "%2F") + "/converse"
    wrong = signature_problem(SECRET, path, Headers(headers), b"another body")
    assert "does not match" in (wrong or "")

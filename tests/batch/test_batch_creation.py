"""The request that creates a batch never leaves twice; uploads may."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server, completion

from pandas_llm import LLMWarning, last_usage
from pandas_llm.errors import LLMError, MaybeCreatedError, RateLimitError

FRAME = pd.DataFrame({"text": ["One.", "Two.", "Three."]})
PRICES = {"m": (2.0, 8.0)}
USAGE = {"prompt_tokens": 6, "completion_tokens": 20}


class Batches(Server):
    """A vendor whose answers to what creates a batch may go wrong.

    Parameters
    ----------
    creating : callable
        Takes the request and how often a batch was asked for; returns the answer, or
        None for a good one.
    uploading : callable
        The same of uploads.
    """

    def __init__(self, creating: Any, uploading: Any = lambda *_: None) -> None:
        super().__init__(lambda body: completion("x", **USAGE))
        self.created = self.uploads = 0
        self._creating, self._uploading = creating, uploading

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        post = request.method == "POST"
        body = await request.read()
        if request.path.endswith("/files") and post:
            self.uploads += 1
            self._file = body
            odd = self._uploading(request, self.uploads)
            return odd or web.json_response({"id": "file-1"})
        if request.path.endswith("/batches") and post:
            self.created += 1
            odd = self._creating(request, self.created)
            if asyncio.iscoroutine(odd):
                odd = await odd
            return odd or web.json_response(self._batch(request))
        if "/batches/" in request.path:
            return web.json_response(self._batch(request))
        if request.path.endswith("/content"):
            return web.Response(body=self.results())
        if request.path.endswith("/messages"):
            text = [{"type": "text", "text": "x"}]
            return web.json_response({"content": text, "stop_reason": "end_turn"})
        return web.json_response(self._answer(body))

    def _batch(self, request: web.Request) -> dict[str, Any]:
        if "messages" in request.path:
            names = ("processing", "succeeded", "errored", "canceled", "expired")
            counts = dict.fromkeys(names, 0)
            return {"id": "b", "processing_status": "x", "request_counts": counts}
        counts = {"total": 2, "completed": 2, "failed": 0}
        more = {"request_counts": counts, "output_file_id": "file-2"}
        return {"id": "b", "status": "completed", **more}

    def results(self) -> bytes:
        """Return results that say what they used, and no choices."""
        lines = [line for line in self._file.splitlines() if line.startswith(b"{")]
        answer = {"status_code": 200, "body": {"choices": [], "usage": USAGE}}
        names = [orjson.loads(line)["custom_id"] for line in lines]
        found = [{"custom_id": name, "response": answer} for name in names]
        return b"\n".join(map(orjson.dumps, found))


def cut(request: web.Request, _: int) -> web.Response:
    request.transport.abort()
    return web.Response()


async def late(*_: Any) -> web.Response:
    await asyncio.Event().wait()  # until the client has gone
    raise AssertionError


async def half(request: web.Request, _: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"id": "b')
    request.transport.abort()
    return response


def status(code: int, **headers: str) -> Any:
    error = {"error": {"message": "No."}}
    return lambda *_: web.json_response(error, status=code, headers=headers)


UNCLEAR = {
    "cut": cut,
    "late": lambda *_: late(),
    "half": half,
    **{str(code): status(code) for code in (303, 408, 409, 500, 502, 503, 504, 529)},
    "202": status(202),
    "html": lambda *_: web.Response(text="<html>Hello</html>"),
    "nothing": lambda *_: web.Response(),
    "no id": lambda *_: web.json_response({"object": "batch"}),
    "a list": lambda *_: web.json_response([1]),
    "an error": lambda *_: web.json_response({"error": {"message": "No."}}),
}


pytestmark = pytest.mark.usefixtures("short_waits")


def at(server: Server, kept: Any, vendor: str = "openai", **more: Any) -> dict:
    server_options = {"model": f"{vendor}/m", "base_url": server.base_url}
    return {**server_options, "api_key": "k", "cache": kept, "progress": False, **more}


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
@pytest.mark.parametrize("what", UNCLEAR)
def test_an_unclear_answer_is_an_error_that_says_where_to_look(what, vendor, tmp_path):
    patience = {"request_timeout": 1.0} if what == "late" else {}
    with Batches(UNCLEAR[what]) as server:
        options = at(server, tmp_path / "kept.sqlite", vendor, **patience)
        with pytest.raises(MaybeCreatedError) as caught:
            FRAME.llm.submit("${text}", **options)
        assert server.created == 1
        path = "/messages/batches" if vendor == "anthropic" else "/batches"
        words = ("A batch of 2 requests may exist", vendor, server.base_url + path)
        assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
def test_an_error_while_sending_has_the_rows_and_counts_what_was_paid(twin, tmp_path):
    more = {"batch": True, "prices": PRICES, "error_column": "why"}
    with Batches(status(500)) as server:
        options = at(server, tmp_path / "kept.sqlite", **more)
        with pytest.raises(MaybeCreatedError) as caught:
            if twin:
                asyncio.run(FRAME.llm.acomplete("${text}", **options))
            else:
                FRAME.llm.complete("${text}", **options)
    error = caught.value
    assert error.partial["completion"].isna().all()
    assert error.partial["why"].str.startswith("interrupted: ").all()
    assert error.failures["position"].tolist() == [0, 1, 2]
    used = last_usage()
    assert (used.rows, used.requests) == (3, 1)  # the probe
    assert used.cost == pytest.approx((6 * 2.0 + 20 * 8.0) / 1e6)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_told_as_it_is(code, tmp_path):
    with Batches(status(code)) as server:
        with pytest.raises(LLMError, match=str(code)) as caught:
            FRAME.llm.submit("${text}", **at(server, tmp_path / "kept.sqlite"))
        assert not isinstance(caught.value, MaybeCreatedError)
        assert server.created == 1


def test_a_limit_on_rate_is_waited_for(tmp_path):
    limited = status(429, **{"retry-after-ms": "1"})
    with Batches(lambda r, at: limited() if at < 3 else None) as server:
        FRAME.llm.submit("${text}", **at(server, tmp_path / "kept.sqlite"))
        assert server.created == 3
    with Batches(limited) as server:
        with pytest.raises(RateLimitError):
            FRAME.llm.submit(
                "${text}", **at(server, tmp_path / "other.sqlite", max_retries=1)
            )
        assert server.created == 2


@pytest.mark.parametrize("what", ["cut", "502"])
def test_an_upload_is_sent_again(what, tmp_path):
    def uploading(request: web.Request, at: int) -> web.Response | None:
        return UNCLEAR[what](request, at) if at == 1 else None

    with Batches(lambda *_: None, uploading) as server:
        FRAME.llm.submit("${text}", **at(server, tmp_path / "kept.sqlite"))
        assert (server.uploads, server.created) == (2, 1)


def test_an_upload_whose_answer_cannot_be_read_creates_nothing(tmp_path):
    with Batches(lambda *_: None, UNCLEAR["html"]) as server:
        with pytest.raises(LLMError, match="answer to the upload"):
            FRAME.llm.submit("${text}", **at(server, tmp_path / "kept.sqlite"))
        assert server.created == 0


def test_what_results_have_used_counts_though_they_are_no_replies(tmp_path):
    with Batches(lambda *_: None) as server:
        options = at(server, tmp_path / "kept.sqlite", prices=PRICES)
        with pytest.warns(LLMWarning, match="2 of 3 rows failed"):
            out = FRAME.llm.complete("${text}", batch=True, **options)
    each = (6 * 2.0 + 20 * 8.0) / 1e6
    assert out.llm.usage.cost == pytest.approx(each + 2 * each / 2)
    assert (out.llm.usage.input_tokens, out.llm.usage.output_tokens) == (18, 60)

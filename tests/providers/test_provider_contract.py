"""One contract that every provider keeps, over exchanges written down as they are sent.

``tests/examples/NAME.json`` holds a provider's; one that is `based_on` another has
its exchanges too, but for those of the same name (None: there is no such thing).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from pandas_llm import errors, providers
from pandas_llm.providers.batches import batches_of
from pandas_llm.types import Capabilities, Endpoint, HTTPResponse, Request, Spec

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
REPLIES = {"ok", "several", "refusal", "filtered", "cut_off", "empty", "tools"}
ERRORS = {
    *("context_length", "bad_request", "wrong_key", "forbidden", "no_model"),
    *("rate_limit", "rate_limit_with_delay", "no_credit"),
    *("failed", "unavailable", "overloaded"),
}
KEY = "sk-test-key"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
SAMPLING = {
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["END"],
    "reasoning_effort": "low",
}
PLAIN = Request(Spec("m"), "Hello")
FULL = Request(
    Spec(
        "m",
        (("2 + 2?", "4"),),
        SCHEMA,
        2,
        SAMPLING,
        100,
        {"metadata": {"team": "blue"}},
    ),
    "Hello",
    "Be brief.",
)


@cache
def examples(name: str) -> dict[str, Any]:
    """Read a provider's exchanges, with those of the one it is based on."""
    own = orjson.loads((FOLDER / f"{name}.json").read_bytes())
    if "based_on" not in own:
        return own
    base = examples(own["based_on"])
    both = {part: {**base[part], **own.get(part, {})} for part in ("replies", "errors")}
    for part in ("plain", "full"):
        body = {**base[part], **own.get("changes", {})}
        kept = {k: v for k, v in body.items() if v is not None}
        if part == "plain":
            kept = {k: v for k, v in kept.items() if k in base[part]}
            kept["messages"] = base[part]["messages"]
        both[part] = own.get(part, kept)
    return {**base, "endpoint": {}, **own, **both}


def endpoint(name: str, **more: Any) -> Endpoint:
    known = examples(name)
    provider = known.get("provider", name)
    base_url = providers.preset(provider).base_url
    given = {"base_url": base_url, "api_key": KEY, **known["endpoint"], **more}
    return Endpoint(provider, model="m", **given)


def connect(name: str) -> providers.Provider:
    return providers.connect(endpoint(name))


def response(given: dict[str, Any]) -> HTTPResponse:
    body = given["text"].encode() if "text" in given else orjson.dumps(given["body"])
    return HTTPResponse(given.get("status", 200), given.get("headers", {}), body)


def each(part: str) -> list[Any]:
    return [
        pytest.param(name, given, id=f"{name}-{label}")
        for name in NAMES
        for label, given in examples(name)[part].items()
        if given is not None
    ]


HERE = {"sim", "tiny", "gguf"}
"""Run by the package itself; their tests ask the models."""
DECIDE = {"openai-decisions", "systemone"}
"""Answer closed questions, with no text: test_decisions.py."""


def test_every_provider_has_its_examples():
    assert set(providers.presets()) - HERE - DECIDE == set(NAMES) - {
        "gemini-compatible"
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_hold_all_that_can_happen(name):
    known = examples(name)
    assert known["replies"].keys() >= REPLIES
    assert known["errors"].keys() >= ERRORS
    assert known["steps"]


# -- what is sent ----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("part", "request_"), [("plain", PLAIN), ("full", FULL)])
def test_a_request_is_put_in_the_vendors_words(name, part, request_):
    provider, known = connect(name), examples(name)
    n = request_.spec.n if provider.capabilities.n else 1
    built = provider.build(request_, provider.capabilities, n)
    assert built.url == known["url"]
    assert orjson.loads(built.body) == known[part]


@pytest.mark.parametrize("name", NAMES)
def test_the_key_is_in_its_header_and_nowhere_else(name):
    provider = connect(name)
    built = provider.build(PLAIN, provider.capabilities, 1)
    wanted = examples(name)["authorization"]
    assert {k: built.headers.get(k) for k in wanted} == wanted
    assert KEY not in built.url
    assert KEY.encode() not in built.body
    assert KEY not in repr(built) + repr(provider) + repr(endpoint(name))


@pytest.mark.parametrize("name", NAMES)
def test_without_a_key_there_is_no_header_for_it(name):
    provider = providers.connect(endpoint(name, api_key=None))
    sent = {
        header.lower()
        for header in provider.build(PLAIN, provider.capabilities, 1).headers
    }
    assert not sent & {"authorization", "api-key", "x-api-key", "x-goog-api-key"}


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_headers_win(name):
    given = (("Authorization", "Bearer mine"), ("X-Team", "blue"))
    provider = providers.connect(endpoint(name, headers=given))
    headers = provider.build(PLAIN, provider.capabilities, 1).headers
    assert headers["Authorization"] == "Bearer mine"
    assert headers["X-Team"] == "blue"


@pytest.mark.parametrize("name", NAMES)
def test_only_what_the_user_set_is_sent(name):
    provider = connect(name)
    body = orjson.loads(provider.build(PLAIN, provider.capabilities, 1).body)
    fixed = {"model", "messages", "store", "input", "contents", "max_tokens"}
    assert body.keys() <= fixed


@pytest.mark.parametrize("name", NAMES)
def test_another_sample_moves_the_seed_and_nothing_else(name):
    provider = connect(name)

    def built(request: Request) -> bytes:
        return provider.build(request, provider.capabilities, 1).body

    first, third = built(FULL), built(FULL._replace(sample=2))
    if "seed" in provider.dropped(FULL.spec, provider.capabilities):
        assert first == third
    else:
        assert first != third
        assert first.replace(b'seed":7', b'seed":9') == third
    assert built(FULL) == first


@pytest.mark.parametrize("name", NAMES)
def test_a_second_asking_follows_the_prompt(name):
    provider = connect(name)
    again = PLAIN._replace(followup=(("assistant", "{"), ("user", "JSON, please")))
    body = orjson.loads(provider.build(again, provider.capabilities, 1).body)
    turns = body.get("messages") or body.get("input") or body["contents"]
    assert [turn["role"].replace("model", "assistant") for turn in turns] == [
        *("user", "assistant", "user")
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("turns", [None, "messages", "input", "contents"])
def test_every_row_has_its_own_prompt_and_all_else_alike(name, turns):
    provider = connect(name)
    spec = FULL.spec if turns is None else Spec("m", extra={turns: ["mine"]})
    for system in ("Be brief.", None, "Be brief."):
        for prompt in ("", 'a "b"', "}]}", "\\ \n 日本 😀", "Hello"):
            request = Request(spec, prompt, system)
            body = orjson.loads(provider.build(request, provider.capabilities, 1).body)
            fresh = connect(name)
            other = request._replace(followup=(("assistant", "x"),))
            whole = orjson.loads(fresh.build(other, fresh.capabilities, 1).body)
            (field,) = (
                name
                for name in ("contents", "input", "messages")
                if body.get(name, ["mine"]) != ["mine"]
            )
            whole[field].pop()
            assert body == whole
            last = body[field][-1]
            said = last.get("parts", last.get("content"))
            assert (said if isinstance(said, str) else said[0]["text"]) == prompt


@pytest.mark.parametrize("name", NAMES)
def test_a_lone_surrogate_is_the_rows_error(name):
    provider = connect(name)
    with pytest.raises(errors.EncodingError):
        provider.build(PLAIN._replace(prompt="\ud800"), provider.capabilities, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_that_no_field_takes_stands_in_the_system_text(name):
    provider = connect(name)
    plain = replace(provider.capabilities, schema="prompt")
    body = provider.build(FULL, plain, 1).body.decode()
    assert "Its JSON schema is" in body
    assert body.count("additionalProperties") == 1
    assert "json_schema" not in body
    assert "responseJsonSchema" not in body


@pytest.mark.parametrize("name", NAMES)
def test_options_without_a_field_are_named(name):
    provider, known = connect(name), examples(name)
    dropped = provider.dropped(FULL.spec, provider.capabilities)
    assert list(dropped) == known.get("dropped", [])
    assert provider.dropped(PLAIN.spec, provider.capabilities) == ()


# -- what comes back -------------------------------------------------------------


@pytest.mark.parametrize(("name", "given"), each("replies"))
def test_a_reply_is_read(name, given):
    provider = connect(name)
    if "kind" in given:
        with pytest.raises(errors.ProviderError) as caught:
            provider.parse(response(given))
        assert caught.value.kind == given["kind"]
        return
    reply = provider.parse(response(given))
    assert [list(choice[:3]) for choice in reply.choices] == given["choices"]
    for field in ("model", "request_id", "cost"):
        if field in given:
            assert getattr(reply, field) == given[field]
    if "tokens" in given:
        assert (reply.tokens and list(reply.tokens[:4])) == given["tokens"]
        kept = given.get("put in a cache", 0)
        assert reply.tokens is None or reply.tokens[4:] == (kept, 0, 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body",
    [b"", b"  \n", b"<html>hello</html>", b"[]", b"{}", b"null", b'"text"', b"3"],
)
def test_what_is_no_reply_is_asked_again(name, body):
    with pytest.raises(errors.ProviderError) as caught:
        connect(name).parse(HTTPResponse(200, {}, body))
    assert caught.value.retryable
    assert "<" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_order_mark_and_blank_lines_do_no_harm(name):
    given = examples(name)["replies"]["ok"]
    for ahead in (b"\xef\xbb\xbf", b"\n\n  \r\n"):
        raw = ahead + orjson.dumps(given["body"])
        reply = connect(name).parse(HTTPResponse(200, {}, raw))
        assert [list(choice[:3]) for choice in reply.choices] == given["choices"]


@pytest.mark.parametrize(("name", "given"), each("errors"))
def test_an_error_is_named(name, given):
    error = connect(name).error(response(given))
    assert error.kind == given["kind"]
    assert error.status == given["status"]
    if "retry_after" in given:
        assert error.retry_after == pytest.approx(given["retry_after"])
    assert given.get("words", "") in str(error)
    if "code" in given:
        assert error.code == given["code"]
    assert error.fatal == (
        given["kind"]
        in ("authentication", "model_not_found", "no_credit", "wait_too_long")
    )
    assert error.retryable == (given["kind"] in ("rate_limit", "server", "overloaded"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
@pytest.mark.parametrize(
    "body", [b"", b"<html><b>no</b></html>", b"[]", b"[3]", b'{"error": null}', b'"no"']
)
def test_an_error_may_have_any_body(name, status, body):
    error = connect(name).error(HTTPResponse(status, {}, body))
    assert error.status == status
    assert str(status) in str(error)


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_read_from_headers(name):
    known = examples(name)["quotas"]
    provider = connect(name)
    found = provider.quotas(known["headers"])
    assert provider.quotas({"content-type": "application/json"}) is None
    if known["requests"] is None and known["tokens"] is None:
        assert found is None
        return
    for which in ("requests", "tokens"):
        quota = getattr(found, which)
        assert (quota and list(quota)) == known[which]


# -- what is refused -------------------------------------------------------------


def steps() -> list[Any]:
    return [
        pytest.param(name, step, id=f"{name}-{i}")
        for name in NAMES
        for i, step in enumerate(examples(name)["steps"])
    ]


@pytest.mark.parametrize(("name", "step"), steps())
def test_a_refused_field_is_stepped_down_from(name, step):
    provider = connect(name)
    before = replace(Capabilities(), **step.get("from", {}))
    error = provider.error(response(step))
    after = provider.downgrade(before, error, FULL)
    if step["to"] is None:
        assert after is None
        return
    to = {k: tuple(v) if isinstance(v, list) else v for k, v in step["to"].items()}
    assert after == replace(before, **to)
    # the refused field is not sent again, and the same error ends it
    refused = [
        n for n in ("temperature", "top_p", "stop") if n in to.get("refused", ())
    ]
    assert [n for n in provider.dropped(FULL.spec, after) if n in refused] == refused


@pytest.mark.parametrize("name", NAMES)
def test_stepping_down_comes_to_an_end(name):
    provider = connect(name)
    text = " ".join(
        f"'{word}'"
        for word in (
            *("max_completion_tokens", "store", "strict", "json_schema", "n"),
            *("temperature", "top_p", "topP", "seed", "random_seed", "stop"),
            *("stop_sequences", "stopSequences", "candidateCount"),
        )
    )
    error = errors.BadRequestError(f"not supported: {text}", status=400)
    capabilities, taken = provider.capabilities, 0
    while capabilities := provider.downgrade(capabilities, error, FULL):
        taken += 1
        last = capabilities
        assert taken < 12
    body = provider.build(FULL, last, 1).body.decode()
    for name_ in ("temperature", "top_p", "topP", '"seed', "json_schema", '"n"'):
        assert name_ not in body


# -- by the address --------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(providers.presets()))
def test_a_compatible_server_is_known_by_its_address(name):
    preset = providers.presets()[name]
    place = urlsplit(preset.base_url or "").hostname
    found = providers.connect(
        Endpoint("openai", preset.base_url or "http://h/v1", "m", None)
    )
    base = providers.presets()["openai"].dialect
    special = place and issubclass(preset.dialect, base) and name != "openai-responses"
    assert type(found) is (preset.dialect if special else base)


# -- the page of providers -----------------------------------------------------------

PAGE = FOLDER.parent.parent / "docs" / "reference" / "providers.md"


def table(columns, page=PAGE):
    """Return the rows of a page's table of so many columns."""
    rows = [line.strip("|").split("|") for line in page.read_text().splitlines()]
    return {
        cells[0].strip("` "): [cell.strip() for cell in cells[1:]]
        for cells in rows
        if len(cells) == columns and cells[0].startswith(" `")
    }


ACCESS, ABLE = table(5), table(8)


BATCHED = table(6, PAGE.parent.parent / "how-to" / "batches.md")


def batches(name, provider):
    """Return a provider's batches; None where there are none."""
    if name == "azure":  # the example's address has no path
        provider = providers.connect(endpoint(name, base_url="https://h/openai/v1"))
    request = provider.build(PLAIN, provider.capabilities, 1)
    try:
        return batches_of(provider, request)
    except errors.ConfigurationError:
        return None


def said_of_files(provider):
    limits = provider.files
    if limits is None:
        return "none"
    kinds = [kind.partition("/")[2].upper() for kind in limits.types]
    kinds = ["text" if kind == "PLAIN" else kind for kind in kinds]
    return f"{limits.each / 1e6:.2g} MB; " + ", ".join(
        [*kinds, *["URLs"] * limits.fetches]
    )


def test_the_pages_tables_name_every_provider():
    assert set(ACCESS) == set(ABLE) == providers.presets().keys() - HERE - DECIDE


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"gemini-compatible"}))
def test_the_pages_tables_are_true(name):
    access, limits, lacking, _ = ACCESS[name]
    schema, n, images, files, embeds, batch, kept = ABLE[name]
    provider, preset, known = connect(name), providers.presets()[name], examples(name)
    how = ", marked" * bool(provider.mark) + ", by key" * provider.keyed
    least = providers.least_prefix(endpoint(name))
    any_model = kept.partition(";")[0]
    assert any_model == (f"{least:,} tokens{how}" if least else "none")
    assert (n == "one by one") == (not provider.capabilities.n)
    most = provider.embeds  # whose numbers test_embed.py asks a server to hold
    assert embeds.startswith("none" if not most else f"{most.inputs:,} a request")
    assert (batch == "none") == (batches(name, provider) is None)
    assert (batch == "yes") == (name in BATCHED)
    assert (schema == "JSON mode") == (provider.capabilities.schema == "json_object")
    size, _, kinds = images.partition("; ")
    assert size == f"{provider.images.each / 1e6:.2g} MB"
    assert (kinds.lower().split(", ") if kinds else ["png", "jpeg", "gif", "webp"]) == [
        kind.removeprefix("image/") for kind in provider.images.types
    ]
    assert files == said_of_files(provider)
    assert access.startswith("none") == (not preset.needs_key)
    assert limits.startswith("none") == (
        known["quotas"]["requests"] is None and known["quotas"]["tokens"] is None
    )
    assert all(f"`{option}`" in lacking for option in known.get("dropped", []))
    keys = preset.key if isinstance(preset.key, tuple) else (preset.key,)
    if preset.needs_key and access != "the same":
        assert all(f"`{key}`" in access for key in keys)
    if preset.base_url is None or not preset.needs_key:
        assert f"`{preset.address}`" in access


@pytest.mark.parametrize("name", BATCHED)
def test_the_page_on_batches_is_true(name):
    holds, goes, known, ahead, vectors = BATCHED[name]
    provider = connect(name)
    one = batches(name, provider)
    size = f"{one.most_bytes >> 20} MB"
    assert holds == f"{one.most_requests:,} requests, {size}"
    some = f"in the call up to {one.inline / 1e6:.0f} MB, else in a file"
    ways = {0: "in a file", one.most_bytes: "in the call"}
    assert goes == ways.get(one.inline, some)
    line = one.line("k", orjson.dumps({"model": "m"}))
    assert (one.upload([line]) is None) == (goes == "in the call")
    named = b"batch-name" in one.create([line], "file", "batch-name").body
    assert known == ("our name of it" if named else "its moment, size and results")
    assert (ahead == "yes") == (not one.apart)
    assert (vectors == "yes") == (provider.embeds is not None)

"""The page on providers without a name: what each vendor gets is what it documents."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import outputs
import pytest
from loopback_server import Server
from vendor_replies import said

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "other-providers.md"
# the vendors' documents (2026-11): what is asked, and the model as it is named there
ASKED: dict[str, tuple[str, str]] = {
    "vertex": (
        "https://aiplatform.googleapis.com/v1/projects/PROJECT/locations/global"
        "/publishers/google/models/gemini-2.5-flash:generateContent",
        "",  # it stands in the address
    ),
    "garden": (
        "https://aiplatform.googleapis.com/v1/projects/PROJECT/locations/global"
        "/endpoints/openapi/chat/completions",
        "meta/llama-4-scout-17b-16e-instruct-maas",
    ),
    "databricks": (
        "https://WORKSPACE.cloud.databricks.com/serving-endpoints/chat/completions",
        "databricks-claude-sonnet-4-5",
    ),
    "hugging_face": (
        "https://router.huggingface.co/v1/chat/completions",
        "Qwen/Qwen3-235B-A22B-Instruct-2507:cheapest",
    ),
    "cohere": (
        "https://api.cohere.ai/compatibility/v1/chat/completions",
        "command-a-03-2025",
    ),
    "cloudflare": (
        "https://api.cloudflare.com/client/v4/accounts/ACCOUNT/ai/v1/chat/completions",
        "@cf/meta/llama-3.1-8b-instruct",
    ),
    "snowflake": (
        "https://ACCOUNT.snowflakecomputing.com/api/v2/cortex/v1/chat/completions",
        "llama4-maverick",
    ),
    "cortex_claude": (
        "https://ACCOUNT.snowflakecomputing.com/api/v2/cortex/v1/messages",
        "claude-sonnet-4-5",
    ),
    "github": (
        "https://models.github.ai/inference/chat/completions",
        "openai/gpt-4.1-mini",
    ),
}
SCHEMA = {
    "vertex": ("generationConfig", "responseJsonSchema"),
    "cortex_claude": ("output_config", "format", "schema"),
}
BEYOND = {"model", "messages", "response_format"}


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Run the page's code, and return its names."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for found in outputs.CODE.finditer(PAGE.read_text()):
            exec(compile(found["code"], PAGE.name, "exec"), names)
    return names


def test_every_vendor_of_the_page_is_held(page):
    given = {
        name
        for name, value in page.items()
        if isinstance(value, dict) and "base_url" in value
    }
    assert given == ASKED.keys()


@pytest.mark.parametrize("vendor", ASKED)
def test_what_a_preview_shows_is_what_the_vendor_documents(page, vendor):
    url, model = ASKED[vendor]
    sent = page["docs"].llm.preview(
        "Facts from: ${text}", ["fact"], as_requests=True, **page[vendor]
    )
    assert sent["url"].tolist() == [url] * 2
    headers, body = (orjson.loads(sent[part].iloc[0]) for part in ("headers", "body"))
    assert headers.pop("Authorization") == "Bearer ***"
    assert headers.pop("Content-Type") == "application/json"
    kept = {"anthropic-version"} if vendor == "cortex_claude" else set()
    assert headers.keys() == kept
    assert body.get("model", "") == model
    schema = body
    where = SCHEMA.get(vendor, ("response_format", "json_schema", "schema"))
    for name in where:
        schema = schema[name]
    assert "records" in schema["properties"]
    if vendor not in SCHEMA:
        assert body.keys() == BEYOND  # Gemini and others refuse what they do not know


@pytest.mark.parametrize("vendor", ASKED)
def test_what_is_sent_is_what_the_preview_showed(page, vendor):
    provider = page[vendor]["model"].partition("/")[0]
    form = {"google": "google", "anthropic": "anthropic"}.get(provider, "openai")
    with Server(lambda _: said(form, "So.")) as server:
        place = urlsplit(page[vendor]["base_url"])
        there = place._replace(scheme="http", netloc=f"127.0.0.1:{server.port}")
        options = {**page[vendor], "base_url": there.geturl()}
        out = page["docs"].llm.complete("Say ${text}", progress=False, **options)
        assert out.tolist() == ["So."] * 2
        assert set(server.paths) == {urlsplit(ASKED[vendor][0]).path}
        assert {h["Authorization"] for h in server.headers} == {"Bearer a-token"}

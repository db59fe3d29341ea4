"""llama.cpp's own Messages and Responses: dialects that nobody here wrote."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pandas as pd
import pytest

import pandas_llm

_MISSING = not all(map(importlib.util.find_spec, ("xllamacpp", "gguf")))
if _MISSING and os.environ.get("CI"):
    raise RuntimeError("xllamacpp or gguf is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        _MISSING,
        reason="NOT TESTED AGAINST LLAMA.CPP: xllamacpp or gguf is not installed",
    ),
    pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning"),
]


@pytest.fixture(scope="module")
def server():
    from llamacpp_server import LlamaServer

    with LlamaServer(slots=4, api_key="sk-right") as running:
        yield running


@pytest.fixture(params=["anthropic", "openai-responses"])
def here(request, server) -> dict[str, Any]:
    return {
        "base_url": server.base_url,
        "model": f"{request.param}/tiny-llama",
        "api_key": "sk-right",
        "concurrency": 4,
        "max_tokens": 300,
        "progress": False,
    }


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"document number {i} says so" for i in range(rows)]})


def test_two_hundred_rows_are_answered(here):
    out = frame(200).llm.complete(
        "Say ${text}", system="Be brief.", error_column="why", details=True, **here
    )
    answered = out["why"].isna()
    assert answered.sum() > 150
    assert set(out.loc[~answered, "why"].str.split(":").str[0]) <= {"truncated"}
    good = out[answered]
    assert (good["llm_finish_reason"] == "stop").all()
    assert (good["llm_input_tokens"] > 0).all()
    assert (good["llm_output_tokens"] > 0).all()
    assert out.attrs["llm"]["answered_by"] == f"tiny-llama: {answered.sum()}"


def test_few_tokens_are_said_to_be_too_few(here):
    if "responses" in here["model"]:
        pytest.skip("llama.cpp calls every response completed, cut off or not")
    out = frame(4).llm.complete(
        "Say ${text}", error_column="why", **{**here, "max_tokens": 1}
    )
    assert out["why"].str.startswith("truncated: ").all()


def test_a_wrong_key_is_said_at_once(here):
    with pytest.raises(pandas_llm.LLMError, match="401") as caught:
        frame(5).llm.complete("${text}", **{**here, "api_key": "sk-wrong"})
    assert caught.value.kind == "authentication"


def test_a_schema_that_is_ignored_is_said_in_words(here):
    # it takes Anthropic's `output_config` and OpenAI's `text.format` for nothing
    frame(1).llm.complete("Say ${text}", **here)  # tells nothing of schemas
    out = frame(4).llm.extract("Say ${text}", ["title"], error_column="why", **here)
    assert out["why"].str.startswith("output: ").all()
    assert out.attrs["llm"]["schema_in_prompt"]


def test_a_model_that_cannot_see_is_asked_once_a_row(here):
    dot = b"\x89PNG\r\n\x1a\n" + bytes(20)
    photos = pd.DataFrame({"photo": [dot]})
    out = photos.llm.complete(
        "Look.", images="photo", error_column="why", details=True, **here
    )
    assert out.loc[0, "why"].startswith("bad_request: HTTP 500")
    assert out.loc[0, "why"].endswith("This model takes no images.")
    assert out.loc[0, "llm_attempts"] == 1

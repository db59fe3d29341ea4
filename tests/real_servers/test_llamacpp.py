"""A real llama.cpp server with a tiny random model: nothing here was written for it."""

from __future__ import annotations

import datetime as dt
import importlib.util
from typing import Annotated, Any, Literal

import pandas as pd
import pytest
from pydantic import BaseModel, Field

import pandas_llm
from pandas_llm._keys import parse_keys
from pandas_llm._replies import Records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("xllamacpp", "gguf"))),
        reason="NOT TESTED AGAINST LLAMA.CPP: xllamacpp or gguf is not installed",
    ),
    pytest.mark.filterwarnings("ignore::pandas_llm.LLMWarning"),
]


class Place(BaseModel):
    """Where."""

    name: str = Field(max_length=200)
    floor: int | None = None


KEYS: dict[str, Any] = {
    "title": str,
    "count": int,
    "share": float,
    "good": bool,
    "mood": Literal["positive", "negative", "neutral"],
    "day": dt.date,
    "tags": list[str],
    "place": Place,
}
DTYPES = ["Int64", "Float64", "boolean", "category", "datetime64[us]", "object"]
FAILURES = {"output", "truncated"}


@pytest.fixture(scope="module")
def server():
    from llamacpp_server import LlamaServer

    with LlamaServer(slots=4) as running:
        yield running


@pytest.fixture
def here(server) -> dict[str, Any]:
    return {
        "base_url": server.base_url,
        "model": "tiny-llama",
        "concurrency": 4,
        "progress": False,
        "max_tokens": 600,
        "seed": 1,
    }


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"document number {i} says so" for i in range(rows)]})


def test_two_hundred_rows_end_typed_or_in_a_named_failure(here):
    out = frame(200).llm.extract(
        "What is in ${text}?", KEYS, error_column="why", details=True, **here
    )
    assert len(out) == 200
    assert out[list(KEYS)[1:7]].dtypes.astype(str).tolist() == DTYPES
    answered = out["why"].isna()
    assert answered.sum() > 100  # about 190
    assert out.loc[answered, list(KEYS)].notna().all().all()
    assert set(out.loc[~answered, "why"].str.split(":").str[0]) <= FAILURES
    good = out[answered]
    assert good["count"].map(lambda value: type(value) is int).all()
    assert good["mood"].isin(["positive", "negative", "neutral"]).all()
    assert good["tags"].map(lambda tags: all(isinstance(t, str) for t in tags)).all()
    assert good["place"].map(lambda place: place.keys() == {"name", "floor"}).all()
    assert good["share"].abs().lt(float("inf")).all()
    assert out.attrs["llm"]["schema"] == "json_schema"


def test_a_list_of_records_is_understood(here):
    out = frame(20).llm.generate("List: ${text}", {"q": str, "n": int}, **here)
    assert set(out.index) == set(range(20))
    assert str(out["n"].dtype) == "Int64"


def test_three_choices_are_counted_though_usage_counts_one(here):
    one = frame(8).llm.complete("Say ${text}", n=1, **here)
    three = frame(8).llm.complete("Say ${text}", n=3, details=True, **here)
    assert len(one) == 8
    assert 8 < len(three) <= 24  # equal texts are dropped
    assert three.llm.usage.requests == 8
    assert three.attrs["llm"]["several_choices"]


def test_more_choices_than_slots_are_asked_for_one_by_one(here):
    votes = frame(3).llm.classify(
        "How is ${text}?", ["good", "bad"], n=6, confidence=True, **here
    )
    assert votes["label"].notna().all()
    assert (votes["confidence"] * 6 % 1).lt(1e-6).all()
    assert votes.attrs["llm"]["several_choices"] is False


def test_what_the_grammar_does_not_enforce_is_validated_here(here):
    strict = {
        "share": Annotated[float, Field(ge=0, le=1)],
        "even": Annotated[int, Field(multiple_of=2)],
        "tags": Annotated[list[str], Field(min_length=1)],
    }
    out = frame(40).llm.extract("${text}", strict, error_column="why", **here)
    good, bad = out[out["why"].isna()], out[out["why"].notna()]
    assert len(bad) > 0
    assert good["share"].between(0, 1).all()
    assert (good["even"] % 2 == 0).all()
    assert set(bad["why"].str.split(":").str[0]) <= FAILURES


def test_constraints_become_grammar(here):
    strict = {
        "stars": Annotated[int, Field(ge=1, le=5)],
        "code": Annotated[str, Field(pattern="^[A-Z]{3}-[0-9]{2}$")],
        "word": Annotated[str, Field(min_length=4, max_length=8)],
        "tags": Annotated[list[str], Field(min_length=2, max_length=3)],
    }
    options = {"error_column": "why", "output_retries": 0, **here}
    out = frame(20).llm.extract("What is in ${text}?", strict, **options)
    good = out[out["why"].isna()]
    assert len(good) >= 15
    assert good["stars"].between(1, 5).all()
    assert good["code"].str.fullmatch("[A-Z]{3}-[0-9]{2}").all()
    assert good["word"].str.len().between(4, 8).all()
    assert good["tags"].map(len).between(2, 3).all()
    assert out.attrs["llm"]["constraints"]
    assert out.llm.usage.requests == 20
    # the same schema with the constraints in words alone
    schema = Records(parse_keys(strict), single=True).schema
    form = {"name": "records", "strict": True, "schema": schema}
    words = {"response_format": {"type": "json_schema", "json_schema": form}}
    loose = frame(20).llm.extract("What is in ${text}?", strict, extra=words, **options)
    assert loose["why"].notna().sum() > 15


def test_impossible_dates_and_endless_numbers_are_failures_of_their_rows(here):
    keys = {"day": dt.date, "at": dt.datetime, "share": float, "count": int}
    out = frame(60).llm.extract(
        "${text}", keys, error_column="why", output_retries=0, **here
    )
    good, bad = out[out["why"].isna()], out[out["why"].notna()]
    assert good["day"].notna().all()
    assert good["at"].notna().all()
    assert bad["day"].isna().all()
    assert bad["why"].str.startswith("output: ").all()


def test_connections_that_close_lose_no_row(here):
    # every 100th answer and every 400 closes the connection
    rows = frame(230)
    rows.loc[::50, "text"] = "hello " * 2000
    out = rows.llm.complete("${text}", error_column="why", **{**here, "max_tokens": 4})
    failed = out["why"].dropna()
    assert list(failed[failed.str.startswith("context_length: ")].index) == list(
        range(0, 230, 50)
    )
    others = failed[~failed.str.startswith("context_length: ")]
    assert others.str.startswith("truncated: ").all()


def test_a_reply_at_the_limit_is_marked(here):
    options = {**here, "max_tokens": 3, "errors": "raise"}
    with pytest.raises(Exception, match="truncated") as caught:
        frame(2).llm.extract("${text}", KEYS, **options)
    assert caught.value.failures["kind"].tolist() == ["truncated"] * 2
    assert caught.value.failures["attempts"].tolist() == [1, 1]


def test_a_key_that_lacks_is_said_at_once():
    from llamacpp_server import LlamaServer

    with LlamaServer(api_key="sk-right") as guarded:
        here = {"base_url": guarded.base_url, "model": "tiny-llama", "progress": False}
        with pytest.raises(Exception, match="401") as caught:
            frame(5).llm.complete("${text}", api_key="sk-wrong", **here)
        assert caught.value.kind == "authentication"
        out = frame(2).llm.complete("${text}", api_key="sk-right", max_tokens=5, **here)
    assert len(out) == 2


def test_the_only_model_is_used_without_being_named(here):
    out = frame(1).llm.complete("${text}", **{**here, "model": None})
    assert out.attrs["llm"]["model"] == "tiny-llama"


@pytest.mark.parametrize("name", ["anthropic", "openai-responses", "llamacpp"])
def test_its_other_endpoints_are_spoken_to_in_their_dialects(name, here):
    out = frame(12).llm.complete(
        "Say ${text}",
        system="Be brief.",
        examples=[("Say it", "It is said.")],
        n=2,
        details=True,
        **{**here, "model": f"{name}/tiny-llama", "max_tokens": 40},
    )
    assert out["completion"].str.len().gt(0).all()
    assert set(out["llm_finish_reason"]) <= {"stop", "length"}
    assert out["llm_output_tokens"].le(80).all()
    assert out.llm.usage.input_tokens > 12
    assert out.llm.usage.requests == (12 if name == "llamacpp" else 24)


@pytest.mark.parametrize("name", ["anthropic", "openai-responses"])
def test_an_error_of_its_other_endpoints_is_the_rows(name, here):
    rows = frame(4)
    rows.loc[2, "text"] = "a word " * 20_000
    out = rows.llm.complete(
        "Say ${text}",
        error_column="why",
        **{**here, "model": f"{name}/tiny-llama", "max_tokens": 20},
    )
    kinds = out["why"].str.split(":").str[0]
    assert kinds[2] == "context_length"
    assert set(kinds.drop(2).dropna()) <= FAILURES  # a random model may go on and on
    assert out["completion"].notna().tolist() == [True, True, False, True]


def test_what_rows_share_is_read_once():
    """At least 90 % of the best possible, which is one row after the other."""
    from llamacpp_server import LlamaServer

    texts = [f"{number} " + f"abcdefg{number} " * 130 for number in range(8)]
    rows = pd.DataFrame(
        [(text, f"{q}?") for q in range(6) for text in texts], columns=["text", "q"]
    )

    def share(**options: Any) -> float:
        with LlamaServer(memory=0) as server:
            told = {"model": "llamacpp/tiny", "base_url": server.base_url, **options}
            rows.llm.complete("Read: ${text}\n${q}", cache=False, max_tokens=4, **told)
        usage = pandas_llm.last_usage()
        return usage.cached_input_tokens / usage.input_tokens

    best = share(concurrency=1)
    assert best > 0.75
    assert share() >= 0.9 * best
    assert share(order="given") < 0.5 * best

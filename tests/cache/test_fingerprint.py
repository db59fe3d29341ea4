"""Keys of the cache: what makes two requests the same, in every release."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_llm.cache.fingerprint import Fingerprint
from pandas_llm.types import Endpoint, Request, Spec

OPENAI = Endpoint("openai", "https://api.openai.com/v1", "gpt-5-mini", None)
SIM = Endpoint("sim", "sim://local", "sim", None)
SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
PLAIN = Spec("gpt-5-mini")
FULL = Spec(
    "gpt-5-mini",
    (("2 + 2?", "4"), ("Grüße?", '{"a": 1}')),
    SCHEMA,
    3,
    {"temperature": 0.5, "stop": ["\n\n"], "seed": 7},
    400,
    {"service_tier": "flex", "metadata": {"b": 1, "a": [None, True]}},
)


def digest(request, endpoint=OPENAI):
    return Fingerprint(endpoint).of(request).hex()


GOLDEN = {
    "plain": "aefa6c3b0afa9fa4416e74d9d0c3261c",
    "empty prompt": "60272b07b6fa488cd27d71758f4470bc",
    "system": "9ea099adccc5db6762850bb2c3ac9d0d",
    "second sample": "f69d1a8a5e6390bf3c91e763f1efc749",
    "system and sample": "46ecbe96429a79c5a1dcf0efc09602e8",
    "any text": "e1aeb66eb4e7be3c8e1cfd4a633e4ecf",
    "everything": "3ae78cdc8183bc69e1695a47c1420aa5",
    "simulator": "ac0a06f0b1d6f8ad9f1380741d5d4263",
}


@pytest.mark.parametrize(("name", "expected"), GOLDEN.items())
def test_the_keys_of_earlier_releases_are_still_the_keys(name, expected):
    requests = {
        "plain": (OPENAI, Request(PLAIN, "Hello")),
        "empty prompt": (OPENAI, Request(PLAIN, "")),
        "system": (OPENAI, Request(PLAIN, "Hello", "Be brief.")),
        "second sample": (OPENAI, Request(PLAIN, "Hello", sample=1)),
        "system and sample": (OPENAI, Request(PLAIN, "Hello", "Be brief.", (), 12)),
        "any text": (OPENAI, Request(PLAIN, "a\0b 😀 Grüße\u2028", "日本")),
        "everything": (OPENAI, Request(FULL, "Hello", "Be brief.")),
        "simulator": (SIM, Request(replace(FULL, model="sim"), "Hello")),
    }
    endpoint, request = requests[name]
    assert digest(request, endpoint) == expected


def test_the_order_of_mappings_does_not_matter():
    def turned(value):
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return value

    other = replace(
        FULL,
        schema=turned(FULL.schema),
        sampling=turned(FULL.sampling),
        extra=MappingProxyType(turned(FULL.extra)),
    )
    assert digest(Request(other, "Hello")) == digest(Request(FULL, "Hello"))


def test_the_account_is_no_part_of_the_key():
    other = OPENAI._replace(api_key="sk-other", headers=(("X-Api-Key", "k"),))
    request = Request(FULL, "Hello", "Be brief.")
    assert digest(request, other) == digest(request)


def test_asking_again_keeps_the_key():
    request = Request(FULL, "Hello")
    again = request._replace(followup=(("assistant", "{"), ("user", "JSON, please")))
    assert digest(again) == digest(request)


def test_equal_specs_of_two_runs_have_equal_keys():
    assert digest(Request(replace(FULL), "Hello")) == digest(Request(FULL, "Hello"))


REQUEST = Request(FULL, "Hello", "Be brief.")
DIFFERENT = {
    "prompt": REQUEST._replace(prompt="Hello "),
    "no system": REQUEST._replace(system=None),
    "empty system": REQUEST._replace(system=""),
    "sample": REQUEST._replace(sample=1),
    "model": REQUEST._replace(spec=replace(FULL, model="gpt-5")),
    "n": REQUEST._replace(spec=replace(FULL, n=2)),
    "no schema": REQUEST._replace(spec=replace(FULL, schema=None)),
    "schema": REQUEST._replace(spec=replace(FULL, schema={**SCHEMA, "title": "x"})),
    "order of keys": REQUEST._replace(
        spec=replace(FULL, schema={**SCHEMA, "required": ["answer", "question"]})
    ),
    "sampling": REQUEST._replace(spec=replace(FULL, sampling={"temperature": 0.6})),
    "max_tokens": REQUEST._replace(spec=replace(FULL, max_tokens=None)),
    "examples": REQUEST._replace(spec=replace(FULL, examples=FULL.examples[::-1])),
    "extra": REQUEST._replace(spec=replace(FULL, extra={})),
    "sampling as extra": REQUEST._replace(
        spec=replace(FULL, sampling=FULL.extra, extra=FULL.sampling)
    ),
}
PLACES = {
    "base_url": OPENAI._replace(base_url="http://localhost:8000/v1"),
    "provider": OPENAI._replace(provider="openrouter"),
}


def test_whatever_changes_the_answer_changes_the_key():
    keys = [digest(REQUEST), *map(digest, DIFFERENT.values())]
    keys += [digest(REQUEST, place) for place in PLACES.values()]
    assert len(set(keys)) == 1 + len(DIFFERENT) + len(PLACES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("b", "a"), ("a", "b")),
        (("b", "a"), ("", "ab")),
        (("ab", None), ("b", "a")),
        (("|b", "a"), ("b", "a|")),
        (("x", ""), ("0:|x", None)),
        (("1|x", "#"), ("x", "#1|")),
    ],
)
def test_text_does_not_move_between_system_and_prompt_unseen(one, other):
    assert digest(Request(PLAIN, *one)) != digest(Request(PLAIN, *other))


parts = st.text("0123456789:#|a", max_size=6)
requests = st.builds(
    Request,
    st.just(PLAIN),
    parts,
    st.none() | parts,
    st.just(()),
    st.integers(0, 12),
    attachments=st.just(()),
    texts=st.just(()),  # of a bundle, which has no key itself
    cells=st.just(()),  # parts of the prompt
    shared=st.just(()),  # what others have too
)


@given(requests, requests)
def test_two_requests_have_one_key_only_when_they_are_equal(one, other):
    assert (digest(one) == digest(other)) == (one == other)


def test_a_lone_surrogate_cannot_be_sent_and_has_no_key():
    for request in (Request(PLAIN, "\ud800"), Request(PLAIN, "x", "\ud800")):
        with pytest.raises(UnicodeEncodeError):
            digest(request)


def test_a_spec_that_is_gone_does_not_lend_its_key_to_another():
    fingerprint = Fingerprint(OPENAI)
    keys = {fingerprint.of(Request(Spec(f"model-{n}"), "Hello")) for n in range(50)}
    assert len(keys) == 50

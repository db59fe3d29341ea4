"""Conversations and examples of each row: what is sent, kept, shown and refused."""

from __future__ import annotations

import json
import pickle
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from loopback_server import Server, completion

import pandas_llm
from pandas_llm import Plan, batch, providers
from pandas_llm.cache.fingerprint import Fingerprint
from pandas_llm.providers.dialect import Dialect
from pandas_llm.types import Capabilities, Endpoint, Request, Spec

PROVIDERS = [
    *("openai", "openai-responses", "azure", "anthropic", "google", "ollama"),
    "bedrock",
]
TURNS = [
    {"role": "user", "content": "My parcel is late."},
    {"role": "assistant", "content": "Since when?"},
    {"role": "user", "content": "Since Monday."},
]
SYSTEM = {"role": "system", "content": "You speak for a shop."}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
SAID = [(turn["role"], turn["content"]) for turn in TURNS]


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


def told(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return who says what in a body of any dialect, the system text first."""
    system = body.get("system") or body.get("instructions") or ""
    if isinstance(system, list):
        system = "".join(block["text"] for block in system)
    if "systemInstruction" in body:
        system = "".join(p["text"] for p in body["systemInstruction"]["parts"])
    turns = [("system", system)] if system else []
    for turn in body.get("messages") or body.get("input") or body["contents"]:
        content = turn["content"] if "content" in turn else turn["parts"]
        texts = [content] if isinstance(content, str) else [p["text"] for p in content]
        role = {"model": "assistant"}.get(turn["role"], turn["role"])
        turns += [(role, text) for text in texts]
    return turns


def sent(server) -> list[list[tuple[str, str]]]:
    return [told(seen["body"]) for seen in server.requests()]


def alternating(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return turns as a server has them that takes no two of one role in a row."""
    runs = groupby(turns, lambda turn: turn[0])
    return [(role, "\n\n".join(text for _, text in run)) for role, run in runs]


def taken(provider: str, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return alternating(turns) if provider in ("google", "bedrock") else turns


def frame(*cells: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"history": pd.Series(list(cells), dtype=object), **columns})


# -- what is sent ------------------------------------------------------------------


def test_the_order_is_system_examples_turns_template(simulator, here, provider):
    server = simulator(api_key="k")
    rows = frame([SYSTEM, *TURNS], shop=["Oslo"])
    out = rows.llm.complete(
        "Answer for ${shop}.",
        messages="history",
        examples=[("Q", "A")],
        system="Be brief.",
        **here(server),
    )
    assert out.notna().all()
    wanted = [
        ("system", "Be brief.\n\nYou speak for a shop."),
        *[("user", "Q"), ("assistant", "A")],
        *SAID,
        ("user", "Answer for Oslo."),
    ]
    assert sent(server) == [taken(provider, wanted)]


@pytest.mark.parametrize("template", [None, ""])
def test_without_a_template_the_last_turn_is_asked(simulator, here, template):
    server = simulator(api_key="k")
    rows = frame([SYSTEM, *TURNS])
    out = rows.llm.complete(template, messages="history", **here(server))
    assert out.tolist() == ["[simulated] Since Monday."]
    assert sent(server) == [[("system", "You speak for a shop."), *SAID]]


def test_an_answer_that_is_asked_again_follows_the_turns(simulator, here):
    server = simulator(api_key="k", fault_plan={0: "bad_output"})
    out = frame(TURNS).llm.extract(None, ["day"], messages="history", **here(server))
    assert out["day"].notna().all()
    first, again = ([t for t in s if t[0] != "system"] for s in sent(server))
    assert first == again[:3] == SAID
    assert [role for role, _ in again[3:]] == ["assistant", "user"]


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("generate", {"keys": ["fact"]}),
        ("extract", {"keys": {"day": str}}),
        ("classify", {"labels": ["angry", "calm"]}),
        ("classify", {"labels": ["angry", "calm"], "confidence": True}),
    ],
)
def test_verbs_with_keys_need_no_template_either(simulator, on, verb, more):
    server = simulator(logprobs=True) if "confidence" in more else simulator()
    out = getattr(frame(TURNS).llm, verb)(messages="history", **more, **on(server))
    assert out.notna().all(axis=None)
    assert all([t for t in turns if t[0] != "system"] == SAID for turns in sent(server))


def test_a_question_about_a_conversation_is_asked_behind_it(simulator, on):
    server = simulator()
    rows = frame(TURNS, json.dumps(TURNS[:1]))
    rows.llm.filter("Is the customer angry?", messages="history", **on(server))
    ends = ("user", "Is the customer angry?")
    assert sorted(sent(server)) == sorted([[*SAID, ends], [SAID[0], ends]])


CELLS: dict[str, Any] = {
    "a list": TURNS,
    "a tuple": tuple(TURNS),
    "an array": np.array(TURNS, dtype=object),
    "JSON": json.dumps(TURNS),
    "JSON of a file that begins with a mark": "\ufeff" + json.dumps(TURNS),
    "parts": [
        {**turn, "content": [{"type": "text", "text": turn["content"]}]}
        for turn in TURNS
    ],
    "parts of Bedrock": [
        {**turn, "content": [{"text": turn["content"]}]} for turn in TURNS
    ],
    "other fields": [{**turn, "id": 7, "tool_calls": None} for turn in TURNS],
    "letters of numpy": [
        {"role": np.str_(turn["role"]), "content": np.str_(turn["content"])}
        for turn in TURNS
    ],
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_conversation_is_read_from_a_cell_of_each_kind(kind, simulator, on):
    server = simulator()
    frame(CELLS[kind]).llm.complete("So?", messages="history", **on(server))
    assert sent(server) == [[*SAID, ("user", "So?")]]


def test_turns_come_back_from_parquet_and_arrow(simulator, on, tmp_path):
    pytest.importorskip("pyarrow")
    server = simulator()
    path = tmp_path / "chats.parquet"
    frame(TURNS, None, TURNS[:1]).to_parquet(path)
    for rows in (pd.read_parquet(path), pd.read_parquet(path, dtype_backend="pyarrow")):
        out = rows.llm.complete("So?", messages="history", **on(server))
        assert out.notna().all()
    polars = pytest.importorskip("polars").read_parquet(path)
    pandas_llm.complete(polars, "So?", messages="history", **on(server))
    each = [*SAID, ("user", "So?")], [("user", "So?")], [SAID[0], ("user", "So?")]
    assert sorted(sent(server)) == sorted([*each] * 3)


def test_lists_and_columns_have_turns_too(simulator, on):
    server = simulator()
    pandas_llm.complete([{"history": TURNS}], messages="history", **on(server))
    frame(TURNS)["history"].llm.complete(messages="history", **on(server))
    pd.Series([json.dumps(TURNS)]).llm.complete(messages="value", **on(server))
    assert sent(server) == [SAID] * 3


def test_a_row_without_turns_is_asked_its_template_alone(simulator, on):
    server = simulator()
    none = [None, np.nan, pd.NA, [], "", "[]", np.array([], dtype=object)]
    rows = frame(*none, n=range(len(none)))
    out = rows.llm.complete("Say ${n}.", messages="history", **on(server))
    assert out.notna().all()
    assert sorted(sent(server)) == [[("user", f"Say {n}.")] for n in range(len(rows))]


def test_a_row_without_turns_and_template_is_not_sent(simulator, on):
    server = simulator()
    rows = frame(None, [], TURNS)
    out = rows.llm.complete(messages="history", error_column="why", **on(server))
    assert out["completion"].isna().tolist() == [True, True, False]
    assert out["why"].isna().all()
    with pytest.warns(pandas_llm.LLMWarning, match="2 of 3 rows failed"):
        out = rows.llm.complete(
            messages="history", error_column="why", na_action=None, **on(server)
        )
    assert (
        out["why"].str.contains("last turn of column 'history' is missing").tolist()[:2]
        == [True] * 2
    )
    assert server.stats()["requests"] == 2


def test_texts_of_one_turn_stand_below_each_other(simulator, on):
    server = simulator()
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    rows = frame([{"role": "user", "content": parts}])
    rows.llm.complete(messages="history", **on(server))
    assert sent(server) == [[("user", "One.\nTwo.")]]


@pytest.mark.parametrize("turns", [[SYSTEM], [SYSTEM, *TURNS[:2]]])
def test_a_conversation_that_asks_nothing_is_its_rows_error(turns, simulator, on):
    server = simulator()
    who = turns[-1]["role"]
    with pytest.warns(
        pandas_llm.LLMWarning, match=f"the last turn of column 'history' is the {who}'s"
    ):
        frame(turns).llm.complete(messages="history", **on(server))
    assert not sent(server)


def test_a_text_is_not_shortened_to_nothing(simulator, on):
    server = simulator(context_length=60)
    long = [{"role": "user", "content": "word " * 200}]
    with pytest.warns(pandas_llm.LLMWarning, match="1 context_length"):
        frame(long, text=["a few letters"]).llm.complete(
            "Of ${text}", messages="history", truncate="text", **on(server)
        )
    assert ("user", "Of ") not in [turns[-1] for turns in sent(server)]


@pytest.mark.parametrize("option", ["messages", "examples", "images", "files"])
def test_only_what_the_template_uses_can_be_shortened(option, simulator, on):
    more = {option: "history", **on(simulator())}
    with pytest.raises(pandas_llm.TemplateError, match="the template does not use"):
        frame(TURNS).llm.complete("So?", truncate="history", **more)


def test_the_text_that_is_shortened_keeps_its_turns(simulator, on):
    server = simulator(context_length=200)
    rows = frame([SYSTEM, *TURNS], text=["word " * 400])
    with pytest.warns(pandas_llm.LLMWarning, match="shortened"):
        out = rows.llm.complete(
            "Of ${text}", messages="history", truncate="text", **on(server)
        )
    assert out.notna().all()
    assert all(
        turns[:-1] == [("system", "You speak for a shop."), *SAID]
        for turns in sent(server)
    )


# -- examples of each row ------------------------------------------------------------


def test_examples_of_a_row_are_written_as_those_of_all_rows(simulator, here, provider):
    server = simulator(api_key="k")
    examples = [("Two facts", [{"fact": "x"}, {"fact": "y"}]), ("One", {"fact": "z"})]
    rows = frame(
        None, None, None, TURNS, shots=[examples, json.dumps(examples), None, examples]
    )
    keys, more = ["fact"], here(server, dedupe=False)
    rows.llm.generate("Facts", keys, examples="shots", messages="history", **more)
    rows.iloc[:1].llm.generate("Facts", keys, examples=examples, **more)
    *first, shared = sent(server)
    pairs = shared[:-1]
    assert pairs == [
        ("user", "Two facts"),
        ("assistant", '{"records":[{"fact":"x"},{"fact":"y"}]}'),
        ("user", "One"),
        ("assistant", '{"records":[{"fact":"z"}]}'),
    ]
    asked = ("user", "Facts")
    wanted = [[*pairs, asked], [*pairs, asked], [asked], [*pairs, *SAID, asked]]
    assert sorted(first) == sorted(taken(provider, turns) for turns in wanted)


# -- what is refused -----------------------------------------------------------------

WRONG: dict[str, tuple[Any, str]] = {
    "a tool's turn": (
        [*TURNS, {"role": "tool", "content": "4"}],
        "turn 4 of column 'history' has the role 'tool': only texts are sent",
    ),
    "a function's turn": ([{"role": "function", "content": "4"}], "role 'function'"),
    "Gemini's word": (
        [{"role": "model", "content": "Hi"}],
        "turn 1 of column 'history' has the role 'model': write 'assistant'",
    ),
    "a role of none": (
        [{"role": "narrator", "content": "Hi"}],
        "'narrator': the roles are 'user' and 'assistant', and 'system' at the start",
    ),
    "a role that is no text": ([{"role": 3, "content": "Hi"}], "has the role 3: the"),
    "a system turn behind others": (
        [*TURNS, SYSTEM],
        "turn 4 of column 'history' is the system's: it can only be the first",
    ),
    "a developer's behind others": (
        [*TURNS, {"role": "developer", "content": "x"}],
        "turn 4 of column 'history' is the developer's: it can only be the first",
    ),
    "no role": ([{"content": "Hi"}], r"turn 1 .* must be \{'role': …, 'content': …\}"),
    "a text for a turn": (["Hi"], r"turn 1 .* not 'Hi' \(str\)"),
    "a pair for a turn": ([("user", "Hi")], r"turn 1 .* must be \{'role'"),
    "no content": (
        [{"role": "user"}],
        r"turn 1 .*\(user\) must have a text .* nothing",
    ),
    "no content at all": ([{"role": "user", "content": None}], "as its content, not n"),
    "a part of no text": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        r"turn 1 of column 'history' has a part 'image_url': only texts are sent",
    ),
    "a part that is no part": ([{"role": "user", "content": [5]}], "has a part 'int'"),
    "no parts": ([{"role": "user", "content": []}], r"turn 1 .*\(user\) is empty"),
    "a number": ([{"role": "user", "content": 5}], "as its content, not int"),
    "an empty content": (
        [*TURNS, {"role": "assistant", "content": " \n"}],
        r"turn 4 of column 'history' \(assistant\) is empty",
    ),
    "a call of a tool": (
        [{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}],
        "turn 1 of column 'history' calls tools",
    ),
    "text that is no JSON": (
        str(TURNS),
        r"column 'history' holds no turns in JSON .*: \"\[{'role': .*literal_eval",
    ),
    "JSON of something else": ('{"role": "user"}', "must hold a list of turns"),
    "one turn": (TURNS[0], r"must hold a list of turns, not .*\(dict\)"),
    "an array of another library": (
        type("Series", (), {"dtype": "list", "to_list": list})(),
        r"must hold a list of turns, not .*\(Series\)",
    ),
    "a number for a list": (5, r"must hold a list of turns, not 5 \(int\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_cell_is_its_rows_error_and_not_sent(kind, simulator, on):
    server = simulator()
    cell, words = WRONG[kind]
    rows = frame(TURNS, cell, TURNS[:1]).set_axis(["a", "b", "c"])
    with pytest.warns(
        pandas_llm.LLMWarning, match=r"1 of 3 rows .*1 turns.* row 1 \(label 'b'\)"
    ):
        out = rows.llm.complete(
            "So?", messages="history", error_column="why", **on(server)
        )
    assert out["completion"].isna().tolist() == [False, True, False]
    (why,) = out["why"].dropna()
    assert why.startswith("turns: ")
    with pytest.raises(pandas_llm.GenerationError, match=words) as caught:
        rows.llm.complete("So?", messages="history", errors="raise", **on(server))
    assert caught.value.failures["label"].tolist() == ["b"]
    assert caught.value.failures["kind"].tolist() == ["turns"]
    assert len(sent(server)) == 4


def test_a_last_turn_of_the_assistant_needs_a_template(simulator, on):
    server = simulator()
    rows = frame(TURNS[:2])
    with pytest.raises(
        pandas_llm.GenerationError, match="'history' is the assistant's"
    ):
        rows.llm.complete(messages="history", errors="raise", **on(server))
    assert sent(server) == []


EXAMPLES: dict[str, tuple[Any, str]] = {
    "no pair": ([["Q"]], r"example 1 of column 'shots' must be a \(prompt"),
    "a text": (["QA"], r"must be a \(prompt, reply\) pair, not 'QA'"),
    "a number as prompt": ([["Q", "A"], [1, "A"]], "example 2 .* must begin with a te"),
    "no JSON": ("Q: A", r"column 'shots' holds no \(prompt, reply\) pairs in JSON"),
    "no list": (3.5, r"column 'shots' must hold a list of \(prompt, reply\) pairs"),
    "a reply that JSON lacks": ([("Q", {"a": object()})], "a reply that JSON does not"),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_wrong_examples_are_their_rows_error_too(kind, simulator, on):
    server = simulator()
    cell, words = EXAMPLES[kind]
    rows = pd.DataFrame({"shots": pd.Series([[("Q", "A")], cell], dtype=object)})
    with pytest.raises(pandas_llm.GenerationError, match=words) as caught:
        rows.llm.complete("So?", examples="shots", errors="raise", **on(server))
    assert caught.value.failures["position"].tolist() == [1]
    assert len(sent(server)) == 1


def test_what_cannot_be_is_refused_before_anything_is_sent(simulator, on):
    server = simulator()
    rows, more = frame(TURNS), on(server)
    with pytest.raises(pandas_llm.TemplateError, match="messages names 'histori': not"):
        rows.llm.complete("So?", messages="histori", **more)
    with pytest.raises(
        pandas_llm.TemplateError, match="examples names 'few': not a co"
    ):
        rows.llm.complete("So?", examples="few", **more)
    with pytest.raises(
        TypeError, match="complete needs a template; it may be left out"
    ):
        rows.llm.complete(**more)
    with pytest.raises(TypeError, match="missing a required argument: 'template'"):
        rows.llm.extract(keys=["fact"], **more)
    with pytest.raises(ValueError, match="messages must be the name of a column of li"):
        rows.llm.complete("So?", messages=TURNS, **more)
    with pytest.raises(TypeError, match="embed has no option 'messages': put it into"):
        rows.llm.embed("history", messages="history", **more)
    with pytest.raises(TypeError, match="write messages="):
        rows.llm.complete("So?", chat_history="history", **more)
    two = frame(TURNS, TURNS[:1], text=["a", "b"])
    for option in ("messages", "examples"):
        turned = {option: "history", **more}
        for call in (
            lambda o: two.llm.agg("What is asked?", "text", **o),
            lambda o: two.llm.merge(two, on="text", **o),
            lambda o: two.llm.drop_duplicates(subset="text", **o),
            lambda o: two.llm.nlargest(1, "${left.text} or ${right.text}?", **o),
        ):
            with pytest.raises(TypeError, match=f"{option}= cannot name a column"):
                call(turned)
    doubled = pd.concat([rows, rows], axis=1)
    with pytest.raises(pandas_llm.TemplateError, match="2 columns have that name"):
        doubled.llm.complete("So?", messages="history", **more)
    assert sent(server) == []


def test_embed_leaves_turns_of_other_calls_alone(simulator, on):
    server = simulator()
    with pandas_llm.option_context(messages="history", examples="shots"):
        out = pd.DataFrame({"text": ["Oslo"]}).llm.embed("text", **on(server))
    assert out.notna().all()


# -- what is kept, and what is asked once ----------------------------------------------


def test_a_kept_answer_is_known_by_its_turns(simulator, on, tmp_path):
    server = simulator()
    more = on(server, cache=tmp_path / "kept.sqlite")
    plain = pd.DataFrame({"n": [1, 2]})
    plain.llm.complete("Say ${n}.", **more)
    rows = frame(None, TURNS, TURNS, TURNS[:1], n=[1, 1, 1, 1])
    rows["shots"] = [None, None, None, [("Q", "A")]]
    given = {"messages": "history", "examples": "shots", **more}
    rows.llm.complete("Say ${n}.", **given)
    assert server.stats()["requests"] == 2 + 2  # the first is kept, two are one
    rows.llm.complete("Say ${n}.", **given)
    alone = frame([*TURNS, {"role": "user", "content": "Say 1."}])
    alone.llm.complete(messages="history", **more)
    assert server.stats()["requests"] == 4


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
LISTS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), TEXTS.filter(str.strip)),
    max_size=5,
)


@given(LISTS, LISTS)
def test_other_turns_have_another_key(one, other):
    key = Fingerprint(Endpoint("openai", "http://x/v1", "m", None))
    keys = [key.of(Request(Spec("m"), "So?", before=(*t,))) for t in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
    if not one:
        assert keys[0] == key.of(Request(Spec("m"), "So?"))


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("name", PROVIDERS)
@given(LISTS, TEXTS)
def test_any_turns_come_out_in_order(name, system, repeats, turns, prompt):
    place = providers.presets()[name].base_url or "https://res.openai.azure.com"
    dialect = providers.connect(Endpoint(name, place, "m", "k"))
    assert isinstance(dialect, Dialect)
    request = Request(Spec("m"), prompt, "Be brief.", before=(*turns,))
    capabilities = Capabilities(system=system, repeats=repeats)
    body = orjson.loads(dialect.build(request, capabilities, 1).body)
    wanted = [*turns, ("user", prompt)]
    if not repeats:
        wanted = alternating(wanted)
    if system:
        wanted = [("system", "Be brief."), *wanted]
    elif wanted[0][0] == "user":
        wanted[0] = ("user", f"Be brief.\n\n{wanted[0][1]}")
    else:
        wanted = [("user", "Be brief."), *wanted]
    assert told(body) == wanted


def test_a_model_that_wants_roles_to_alternate_gets_them_so():
    def answer(body):
        roles = [turn["role"] for turn in body["messages"]]
        if any(one == after for one, after in pairwise(roles)):
            text = "Conversation roles must alternate user/assistant/user/assistant/..."
            return web.json_response({"error": {"message": text}}, status=400)
        return completion("Monday.")

    rows = frame(TURNS, TURNS[:1], None)
    with Server(answer) as server:
        given = {"model": "m", "base_url": server.base_url, "progress": False}
        out = rows.llm.complete("Since when?", messages="history", **given)
    assert out.tolist() == ["Monday."] * 3
    refused, *others = map(told, server.bodies)
    assert refused == [*SAID, ("user", "Since when?")]
    assert sorted(others) == sorted(
        [
            [*SAID[:2], ("user", "Since Monday.\n\nSince when?")],
            [("user", "My parcel is late.\n\nSince when?")],
            [("user", "Since when?")],
        ]
    )


def test_what_an_error_quotes_of_a_turn_says_nothing_of_the_run():
    quoted = "Your credit balance is too low, says the shop."

    def answer(body):
        if len(body["messages"]) == 1:
            return completion("Fine.")
        said = {"error": {"message": f"cannot handle {quoted}"}}
        return web.json_response(said, status=400)

    rows = frame(None, [{"role": "user", "content": quoted}], None, n=[1, 2, 3])
    given = {"model": "m", "messages": "history", "progress": False}
    with Server(answer) as server, pytest.warns(pandas_llm.LLMWarning, match="1 bad_r"):
        out = rows.llm.complete("So ${n}?", base_url=server.base_url, **given)
    assert out.notna().tolist() == [True, False, True]


def test_gemini_gets_one_turn_for_two_of_one_role(simulator):
    server = simulator(api_key="k")
    rows = frame(TURNS, photo=[PNG])
    place = {"base_url": f"{server.origin}/v1beta", "api_key": "k", "progress": False}
    rows.llm.complete(
        "Is it this?", messages="history", images="photo", model="google/sim", **place
    )
    (seen,) = server.requests()
    first, second, last = seen["body"]["contents"]
    assert [first["role"], second["role"], last["role"]] == ["user", "model", "user"]
    said, picture, asked = last["parts"]
    assert (said, asked) == ({"text": "Since Monday."}, {"text": "Is it this?"})
    assert picture["inlineData"]["mimeType"] == "image/png"


# -- elsewhere ---------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "anthropic"])
def test_a_batch_has_the_turns_and_can_be_loaded(
    simulator, here, provider, tmp_path, monkeypatch
):
    for vendor in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{vendor}_API_KEY", "k")
    server = simulator(api_key="k")
    more = here(server, cache=tmp_path / "kept.sqlite")
    rows = frame([SYSTEM, *TURNS], TURNS[:1], TURNS[:2])
    rows["shots"] = [[("Q", {"day": "A"})], None, "[]"]
    given = {"messages": "history", "examples": "shots", "verb": "extract"}
    job = rows.llm.submit(None, ["day"], **given, **more)
    loaded = batch.load(job.id, cache=more["cache"], base_url=server.base_url)
    with pytest.warns(pandas_llm.LLMWarning, match="1 of 3 rows failed"):
        out = loaded.result(rows)
    assert out["day"].notna().tolist() == [True, True, False]
    before = server.stats()["requests"]
    with pytest.warns(pandas_llm.LLMWarning, match="1 of 3 rows failed"):
        rows.llm.extract(keys=["day"], messages="history", examples="shots", **more)
    assert server.stats()["requests"] == before


def test_a_plan_with_turns_can_be_sent_to_workers(simulator, on):
    server = simulator()
    plan = Plan(verb="complete", messages="history", **on(server))
    again = pickle.loads(pickle.dumps(plan))
    assert again(frame(TURNS)).tolist() == plan(frame(TURNS)).tolist()
    assert plan.template is None
    assert again.meta(frame()).empty
    assert sent(server) == [SAID, SAID]


def test_dask_partitions_know_turns(simulator, on):
    dd = pytest.importorskip("dask.dataframe")
    pytest.importorskip("pandas_llm.dask")
    server = simulator()
    rows = frame(json.dumps(TURNS), json.dumps(TURNS[:1]), None, json.dumps(TURNS))
    more = {"model": "sim", "base_url": server.base_url}
    out = dd.from_pandas(rows, npartitions=2).llm.complete(
        "So?", messages="history", **more
    )
    assert out.compute(scheduler="threads").notna().all()
    ends = ("user", "So?")
    each = [[*SAID, ends], [SAID[0], ends], [ends], [*SAID, ends]]
    assert sorted(sent(server)) == sorted(each)


def test_decisions_are_made_about_the_whole_conversation(simulator):
    server = simulator(api_key="k")
    labels = ["angry", "calm"]
    for provider, field in (("openai-decisions", "input"), ("systemone", "state")):
        place = {"base_url": server.base_url, "api_key": "k", "progress": False}
        out = frame([SYSTEM, *TURNS], None, text=["Late!", "Fine."]).llm.classify(
            "${text}", labels, messages="history", model=f"{provider}/sim", **place
        )
        assert out.notna().all()
        bodies = [seen["body"] for seen in server.requests()[-2:]]
        told_, plain = sorted(bodies, key=lambda body: -len(orjson.dumps(body)))
        assert plain[field] == "Fine."
        turns = [("system", SYSTEM["content"]), *SAID, ("user", "Late!")]
        if field == "input":
            assert [(t["role"], t["content"]) for t in told_[field]] == turns
        else:
            assert told_[field] == "\n\n".join(f"{who}: {text}" for who, text in turns)


# -- what is shown -------------------------------------------------------------------


def test_a_preview_shows_the_turns():
    rows = frame([SYSTEM, *TURNS], None, "oops")
    shown = rows.llm.preview("So?", messages="history")
    assert shown.columns.tolist() == ["system", "turns", "prompt"]
    assert shown["turns"].tolist()[:1] == [
        "user: My parcel is late.\nassistant: Since when?\nuser: Since Monday."
    ]
    assert pd.isna(shown.loc[1, "turns"])
    assert shown.loc[2, "turns"].startswith("<column 'history' holds no turns in JSON")
    assert "Since when?" in repr(shown)
    bodies = rows.llm.preview(
        "So?", messages="history", as_requests=True, model="anthropic/m", api_key="k"
    )["body"]
    assert told(orjson.loads(bodies[0])) == [
        ("system", SYSTEM["content"]),
        *SAID,
        ("user", "So?"),
    ]
    assert bodies[2].startswith("<column 'history'")


def test_an_estimate_counts_the_turns(simulator, on):
    more = on(simulator(), cache=False)
    plain = frame(None).llm.estimate("So?", messages="history", **more)
    long = [{"role": "user", "content": "word " * 400}]
    talked = frame(long).llm.estimate("So?", messages="history", **more)
    assert talked.input_tokens - plain.input_tokens == pytest.approx(450, abs=50)


def test_a_view_shows_the_turns_and_the_answer(simulator, on, tmp_path):
    server = simulator()
    out = frame(TURNS, None, text=["a", "b"]).llm.extract(
        "On ${text}", ["day"], messages="history", **on(server, cache=tmp_path / "k")
    )
    shown = repr(out.llm.view())
    assert "assistant: Since when?" in shown
    assert shown.count("turns\n") == 1

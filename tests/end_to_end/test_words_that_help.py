"""What a newcomer gets wrong is told in words, before anything is sent."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest
from aiohttp import web
from loopback_server import Server, completion, failure

import pandas_llm
from pandas_llm import (
    ConfigurationError,
    LLMWarning,
    Plan,
    ProviderError,
    TemplateError,
)
from pandas_llm.errors import InvalidTypeError, MissingVerbError, ModelNotFoundError

DF = pd.DataFrame({"text": ["a", "b"], "price": [1.5, 2.0], "day": ["mon", "tue"]})


@pytest.fixture
def server():
    with Server(lambda body: completion('{"a": "x"}')) as running:
        yield running


TEMPLATES = [
    ("Title of {text}", "write ${text}"),
    ("Title of {{ text }}", "write ${text}"),
    ("{% if text %}Title{% endif %}", "templates have no statements here"),
    ("Title of ${text", "write ${text}, or $${text"),
    ("Title of {price:.2f}", "write ${price:.2f}"),
    ("Title of ${price:.2q}", "${price:.2q} cannot write 1.5 (float)"),
    ("Title of ${day:.2f}", "pd.to_numeric or pd.to_datetime converts the column"),
]


@pytest.mark.parametrize(("template", "words"), TEMPLATES)
@pytest.mark.parametrize("place", ["template", "system"])
def test_another_template_language_is_told(server, on, template, words, place):
    given = {"template": template}
    if place == "system":
        given = {"template": "${text}", "system": template}
    with pytest.raises(TemplateError) as caught:
        DF.llm.extract(**given, keys=["a"], **on(server))
    assert words in str(caught.value)
    assert server.bodies == []


EMPTY = {
    "complete": lambda text, on: DF.llm.complete(text, **on),
    "a series": lambda text, on: DF["text"].llm.complete(text, **on),
    "extract": lambda text, on: DF.llm.extract(text, keys=["a"], **on),
    "classify": lambda text, on: DF.llm.classify(text, ["x", "y"], **on),
    "filter": lambda text, on: DF.llm.filter(text, **on),
    "embed": lambda text, on: DF.llm.embed(text, **on),
    "agg": lambda text, on: DF.llm.agg(text, "text", **on),
    "agg by": lambda text, on: DF.llm.agg(text, "text", by="day", **on),
    "nlargest": lambda text, on: DF.llm.nlargest(1, text, **on),
    "merge": lambda text, on: DF.llm.merge(DF, text, on="text", **on),
    "ngroup": lambda text, on: DF.llm.ngroup("text", template=text, **on),
    "preview": lambda text, on: DF.llm.preview(text, **on),
}


@pytest.mark.parametrize("text", ["", " \n"])
@pytest.mark.parametrize("verb", EMPTY)
def test_a_template_that_asks_nothing_is_refused(server, on, verb, text):
    with pytest.raises(TemplateError, match=r"empty|names no|neither a column"):
        EMPTY[verb](text, on(server))
    assert server.bodies == []


def test_the_system_text_may_ask_in_place_of_the_template(server, on):
    out = DF.llm.complete("", system="Shorten: ${text}", **on(server))
    assert out.notna().all()


@pytest.mark.parametrize("verb", ["agg", "search"])
def test_a_column_that_is_not_there_names_the_nearest(server, on, verb):
    with pytest.raises(TemplateError, match="did you mean 'text'"):
        getattr(DF.llm, verb)("Which?", "txt", **on(server))
    with pytest.raises((TemplateError, TypeError), match=r"5 is neither|str.* not int"):
        getattr(DF.llm, verb)("Which?", 5, **on(server))
    assert server.bodies == []


def test_what_must_be_named_is_said_to_be(server, on):
    with pytest.raises(InvalidTypeError) as caught:
        DF.llm.classify("Mood of ${text}", ["a", "b"], "mood", **on(server))
    assert str(caught.value) == (
        "classify() got too many positional arguments: write those from name= on by "
        "name"
    )


def test_plain_http_behind_an_https_address_is_told(server, on, short_search):
    address = server.base_url.replace("http", "https")
    given = {**on(server), "base_url": address, "max_retries": 0}
    with pytest.raises(ProviderError) as caught:
        DF.llm.complete("Shorten: ${text}", **given)
    assert str(caught.value).endswith("Does it speak plain http://?")


PARAMETERS = [
    ({"max_workers": 8}, "no max_workers: write concurrency=8"),
    ({"n_jobs": 8}, "write concurrency=8"),
    ({"max_concurrency": 8}, "write concurrency=8"),
    ({"batch_size": 8}, "concurrency= says how many go at once"),
    ({"timeout": 30}, "no timeout: write request_timeout=30"),
    ({"retries": 3}, "write max_retries=3"),
    ({"num_retries": 3}, "write max_retries=3"),
    ({"rpm": 60}, "write requests_per_minute=60"),
    ({"tpm": 6000}, "write tokens_per_minute=6000"),
    ({"system_prompt": "Be kind."}, "write system="),
    ({"api_base": "http://x"}, "write base_url="),
    ({"progress_bar": True}, "write progress="),
    ({"max_output_tokens": 9}, "write max_tokens=9"),
    ({"top_k": 9}, "extra={'top_k': …}"),
    ({"stream": True}, "a row's answer is read whole"),
    ({"model_name": "x", "tqdm": True}, "write model=; no tqdm: write progress="),
    ({"api_key_": "sk-secret"}, "did you mean 'api_key'?"),
]


@pytest.mark.parametrize(("given", "words"), PARAMETERS)
def test_other_tools_names_of_options_name_ours(server, on, given, words):
    with pytest.raises(TypeError) as caught:
        DF.llm.extract("${text}", ["a"], **given, **on(server))
    assert words in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    assert server.bodies == []


CALLS = [
    (lambda o: DF.llm.generate(prompt="${text}", keys=["a"], **o), "write template="),
    (
        lambda o: pandas_llm.generate(
            input_data=DF, prompt_template="${text}", output_key_names=["a"], **o
        ),
        "no input_data: the data is the first argument of the function, or df in "
        "df.llm; no prompt_template: write template=; no output_key_names: write keys=",
    ),
    (lambda o: DF.llm.extract("${text}", response_format={}, **o), "write keys="),
    (lambda o: DF.llm.classify("${text}", choices=["a"], **o), "write labels="),
    (
        lambda o: DF.llm.complete("${text}", schema={}, **o),
        "complete() has no schema: that is keys= here; generate and extract have them",
    ),
    (
        lambda o: DF.llm.generate("${text}", ["a"], output_column="b", **o),
        "generate() has no output_column: that is name= here; it is for verbs that",
    ),
    (lambda o: DF.llm.nlargest(top_k=3, **o), "write k=3"),
    (lambda o: DF.llm.extract("${text}", ["a"], template="", **o), "() got multiple"),
    (lambda o: Plan("${text}", ["a"], max_workers=8, **o), "write concurrency=8"),
    (lambda _: pandas_llm.set_options(max_workers=8), "write concurrency=8"),
    (lambda o: DF.llm.extract("${text}", ["a"], error_colum="e", **o), "error_column"),
]


@pytest.mark.parametrize(("call", "words"), CALLS)
def test_other_tools_names_of_parameters_name_ours(server, on, call, words):
    with pytest.raises(InvalidTypeError) as caught:
        call(on(server))
    assert words in str(caught.value)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"a": "category"}, "write the labels: ['good', 'bad']"),
        ({"a": pd.CategoricalDtype()}, "write the labels"),
        ({"a": "the year of birth"}, "pydantic's Annotated[str, Field(description=…)]"),
        ({"a": "list[str]"}, "write it without quotes"),
        ({"a": np.complex64}, "write float"),
        ({"a": [True, False]}, "write bool"),
        ({"a": [0.5, 1.0]}, "labels must be one text or more, or whole"),
        ({"a": [int]}, "write list[int] for a list"),
        ({"a": [["b", "c"]]}, "several labels a row write list[Literal['b', 'c']]"),
        ({"a": {"b": int}}, "or a pydantic model, which has keys"),
        ({"type": "object", "properties": {"a": {}}}, "keys is a JSON schema: write"),
    ],
)
def test_keys_that_no_column_can_be_say_what_to_write(server, on, keys, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        DF.llm.extract("${text}", keys, **on(server))
    assert words in str(caught.value)
    assert server.bodies == []


def test_dtypes_and_lists_of_numbers_are_understood(simulator, on):
    keys = {"n": "Int64", "x": np.float64, "ok": "boolean", "stars": [1, 2, 3]}
    out = DF.llm.extract("${text}", keys, **on(simulator()))
    dtypes = out.dtypes.astype(str)
    assert dtypes["n"] == "Int64"
    assert dtypes["x"] == "Float64"
    assert dtypes["ok"] == "boolean"
    assert out["stars"].cat.categories.tolist() == [1, 2, 3]
    stars = DF.llm.classify("${text}", range(1, 6), **on(simulator()))
    assert stars.cat.categories.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(TypeError, match="use matches, or write"):
        DF.llm.classify("${text}", [True, False], **on(simulator()))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("sem_filter", "filter"),
        ("sem_map", "complete"),
        ("sem_join", "merge"),
        ("sem_agg", "agg"),
        ("sem_topk", "nlargest"),
        ("sem_search", "search"),
        ("sem_extract", "extract"),
        ("ask", "complete"),
        ("aask", "acomplete"),
        ("chat", "complete"),
        ("responses", "complete"),
        ("map", "complete"),
        ("apply", "complete"),
        ("parse", "extract"),
        ("prompt", "complete"),
        ("join", "merge"),
        ("topk", "nlargest"),
        ("rank", "nlargest"),
        ("dedupe", "drop_duplicates"),
        ("cluster", "ngroup"),
    ],
)
def test_verbs_of_other_tools_name_ours(theirs, ours):
    with pytest.raises(MissingVerbError) as caught:
        getattr(DF.llm, theirs)
    assert f"that is df.llm.{ours} here. " in str(caught.value)
    with pytest.raises(AttributeError, match=f"pandas_llm.{ours} here"):
        getattr(pandas_llm, theirs)
    assert not hasattr(DF.llm, theirs)


def test_the_names_of_other_tools_are_not_listed():
    assert "sem_filter" not in dir(DF.llm)
    assert {"filter", "aask", "usage"} & set(dir(DF.llm)) == {"filter", "usage"}


def test_a_verb_that_nobody_has_is_pythons_own_error():
    with pytest.raises(AttributeError, match="no attribute 'xyzzy'"):
        _ = DF.llm.xyzzy
    with pytest.raises(AttributeError, match=r"no attribute 'xyzzy'$"):
        _ = pandas_llm.xyzzy


@pytest.mark.parametrize("by", ["day", ["day", "price"]])
def test_groups_say_what_to_call(server, on, by):
    with pytest.raises(InvalidTypeError) as caught:
        DF.groupby(by).llm.agg("What about it?", "text", **on(server))
    assert f"df.llm.agg(question, column, by={by!r})" in str(caught.value)
    with pytest.raises(InvalidTypeError, match="on df before groupby"):
        DF.groupby(by)["text"].llm.complete("${value}", **on(server))
    assert server.bodies == []


def test_groups_of_a_frame_with_a_column_llm_are_pandas_own():
    df = pd.DataFrame({"g": [1, 1], "llm": [2, 3]})
    assert df.groupby("g").llm.sum().tolist() == [5]


# -- models and addresses ---------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("claude-sonnet-4-5", "write model='anthropic/claude-sonnet-4-5'"),
        ("gemini-2.5-flash", "write model='google/gemini-2.5-flash'"),
        ("gemini/gemini-2.5-flash", "write model='google/gemini-2.5-flash'"),
        ("mistral-small-latest", "write model='mistral/mistral-small-latest'"),
        ("grok-4", "write model='xai/grok-4'"),
        ("deepseek-chat", "write model='deepseek/deepseek-chat'"),
        ("llama3.2:3b", "write model='ollama/llama3.2:3b'"),
        ("mistral:7b", "write model='ollama/mistral:7b'"),
        ("anthropic:claude-4", "write model='anthropic/claude-4'"),
        ("google_genai:gemini-2", "write model='google/gemini-2'"),
        ("cohere:command-r", "write model='command-r' and base_url="),
        ("aws/anthropic.claude-v2", "bedrock/anthropic.claude-v2"),
        ("anthropic.claude-v2", "bedrock/anthropic.claude-v2"),
        ("global.anthropic.claude-v2:0", "bedrock/global.anthropic.claude-v2:0"),
        ("arn:aws:bedrock:us-east-1:1:x/y", "bedrock/arn:aws:bedrock:us-east-1:1:x/y"),
        ("cohere/command-r", "https://api.cohere.ai/compatibility/v1"),
        ("meta-llama/Llama-4", "pass base_url= of the server that has it"),
    ],
)
def test_a_model_without_its_provider_says_which_to_write(server, model, words):
    with pytest.raises(ConfigurationError) as caught:
        DF.llm.extract("${text}", ["a"], model=model, api_key="k", progress=False)
    assert "OpenAI has no such model" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "meta-llama/Llama-4"])
def test_a_gateway_may_have_any_model(server, on, model):
    out = DF.llm.extract("${text}", ["a"], **on(server) | {"model": model})
    assert out["a"].tolist() == ["x", "x"]


def _routed(listed, refusal=None):
    """Start a server that answers by path: models in a list, a refusal elsewhere."""

    def answer(_):
        if server.paths[-1].endswith("/models"):
            return listed if listed is not None else web.Response(status=404)
        return refusal or failure(404, "No such model.", "model_not_found")

    server = Server(answer)
    return server


def test_a_model_that_the_server_lacks_lists_the_nearest_it_has(on):
    names = ["gpt-5-mini", "gpt-5-nano", "o3", "whisper-1", "tts-1", "babbage"]
    with (
        _routed({"data": [{"id": name} for name in names]}) as server,
        pytest.raises(ModelNotFoundError) as caught,
    ):
        DF.llm.extract("${text}", ["a"], **on(server) | {"model": "gpt-5-mni"})
    assert str(caught.value).endswith("The server lists 'gpt-5-mini', 'gpt-5-nano'.")
    assert caught.value.status == 404
    assert server.paths == ["/v1/chat/completions", "/v1/models"]


@pytest.mark.parametrize("listed", [None, {"data": 5}, {"x": []}, {"data": []}])
def test_a_server_that_lists_nothing_is_asked_once_and_not_quoted(on, listed):
    with _routed(listed) as server, pytest.raises(ModelNotFoundError) as caught:
        DF.llm.extract("${text}", ["a"], **on(server))
    assert str(caught.value).endswith("No such model. Check model= and base_url=.")
    assert len(server.paths) == 2


def test_the_key_goes_to_the_same_address_alone(on):
    with _routed({"data": [{"id": "m"}]}) as server:
        with pytest.raises(ModelNotFoundError, match="The server lists 'm'"):
            DF.llm.extract("${text}", ["a"], api_key="sk-1", **on(server))
        hosts = {headers["Host"] for headers in server.headers}
        keys = {headers["Authorization"] for headers in server.headers}
    assert (hosts, keys) == ({f"127.0.0.1:{server.port}"}, {"Bearer sk-1"})


def test_a_slow_list_of_models_holds_up_no_error(on, monkeypatch):
    from pandas_llm._http import transport

    monkeypatch.setattr(transport, "_GLANCE", 0.05)

    async def never(_):
        if server.paths[-1].endswith("/models"):
            await asyncio.sleep(60)
        return failure(404, "No such model.", "model_not_found")

    with Server(never) as server, pytest.raises(ModelNotFoundError):
        DF.llm.extract("${text}", ["a"], **on(server))
    assert server.paths[-1] == "/v1/models"


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: web.Response(status=404, text="404 page not found"),
        lambda: web.json_response({"detail": "Not Found"}, status=404),
        lambda: web.json_response(
            {"error": "Unexpected endpoint or method. (POST /chat/completions)"}
        ),
        lambda: web.Response(
            status=404, text="<html>Nothing here</html>", content_type="text/html"
        ),
    ],
    ids=["ollama", "vllm", "lmstudio", "page"],
)
def test_an_address_without_its_version_proposes_it(on, refusal):
    def answer(_):
        return refusal()

    with Server(answer) as server:
        place = f"http://127.0.0.1:{server.port}"
        for path in ("", "/api/generate"):
            own = {"base_url": place + path}
            with pytest.raises(ModelNotFoundError) as caught:
                DF.llm.extract("${text}", ["a"], **on(server) | own)
            words = f"Did you mean base_url='{place}/v1'?"
            assert str(caught.value).endswith(words)
            assert server.paths[-2:] == [f"{path}/chat/completions", f"{path}/models"]


def test_an_address_that_says_too_much_is_refused_before_anything_is_sent(server, on):
    whole = f"{server.base_url}/chat/completions"
    with pytest.raises(ConfigurationError) as caught:
        DF.llm.extract("${text}", ["a"], **on(server) | {"base_url": whole})
    assert f"pass base_url={server.base_url!r}" in str(caught.value)
    assert server.bodies == []


@pytest.mark.parametrize("status", [200, 404])
def test_a_gateways_page_is_said_to_be_one(on, status):
    def page(_):
        text = "<html><title>Sign in</title></html>"
        return web.Response(status=status, text=text, content_type="text/html")

    rows = pd.DataFrame({"text": list("abc")})
    with Server(page) as running, pytest.raises(ProviderError) as caught:
        rows.llm.extract("${text}", ["a"], max_retries=0, **on(running))
    said = "an HTML page, such as a gateway's or a login's: 'Sign in'."
    assert said in str(caught.value)
    assert "Check " in str(caught.value)


# -- words about a run ------------------------------------------------------------


def test_a_column_without_any_value_is_told(server, on):
    df = pd.DataFrame({"text": [None, None], "more": ["a", "b"]})
    with pytest.warns(LLMWarning, match="column 'text' is NA in every row: nothing is"):
        out = df.llm.extract("${text} ${more}", ["a"], **on(server))
    assert out["a"].isna().all()
    assert server.bodies == []


@pytest.fixture
def many():
    return pd.DataFrame({"text": [f"Row {i}." for i in range(1000)]})


@pytest.mark.parametrize("how", ["waits", "awaits"])
def test_a_large_run_that_costs_much_gets_a_word(simulator, on, many, how, tmp_path):
    options = on(simulator(), cache=tmp_path / "c.sqlite")
    dear = {**options, "prices": {"sim": (100.0, 1000.0)}}

    def run():
        if how == "waits":
            return many.llm.extract("${text}", ["a"], **dear)
        return asyncio.run(many.llm.aextract("${text}", ["a"], **dear))

    with pytest.warns(LLMWarning) as caught:
        run()
    (one,) = caught
    assert "this run may cost about $" in str(one.message)
    assert "by a look at 50 of its 1,000 rows" in str(one.message)
    assert "max_cost= bounds it" in str(one.message)
    run()  # all is kept now, so it costs nothing


def test_runs_that_are_small_or_bound_or_of_unknown_price_get_none(simulator, on, many):
    options = on(simulator())
    dear = {"sim": (100.0, 1000.0)}
    many.llm.extract("${text}", ["a"], **options)
    many.llm.extract("${text}", ["a"], prices={"sim": (0.1, 0.1)}, **options)
    many.llm.extract("${text}", ["a"], prices=dear, max_cost=1e6, **options)
    many.head(100).llm.extract("${text}", ["a"], prices=dear, **options)


def test_a_level_of_the_index_in_a_template_is_told_as_such():
    for frame in (DF.set_index("text"), DF.assign(x=1).set_index(["x", "text"])):
        with pytest.raises(ValueError, match=r"level of the index: reset_index\(\)"):
            frame.llm.complete("Read ${text}", model="sim")


def test_a_tool_told_of_another_verbs_parameter_says_which_verb():
    for given, verb in (({"labels": ["a"]}, "'classify'"), ({"right": DF}, "'merge'")):
        with pytest.raises(TypeError, match=f"pass verb={verb} with it"):
            DF.llm.estimate("${text}", model="sim", **given)

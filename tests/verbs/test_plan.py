"""Plans: frozen, picklable without a key, called in a real other process."""

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import plan_process
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal
from plan_process import Person
from pydantic import Field

import pandas_llm
from pandas_llm import ConfigurationError, Plan
from pandas_llm._client import transferable
from pandas_llm.options import resolve

FRAME = pd.DataFrame(
    {"text": ["Adams.", "Jefferson."], "year": [1797, 1801]},
    index=pd.Index(["a", "b"], name="who"),
)
KINDS = [
    *(str, int, float, bool, date, datetime, list[str], list[int]),
    *(str | None, Literal["war", "peace"], Annotated[int, Field(ge=0)]),
    ["yes", "no"],
]


@pytest.fixture(scope="module")
def worker():
    """Start one other process; it shares nothing with this one."""
    environment = {"WORKERS_KEY": plan_process.KEY, "PANDAS_LLM_MAX_TOKENS": "7"}
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=plan_process.prepare,
        initargs=(environment,),
    ) as pool:
        assert pool.submit(plan_process.process).result() != os.getpid()
        yield lambda call, *args: pool.submit(call, *args).result()


def names():
    return st.text("abcdefgh", min_size=1, max_size=5)


KEYS = st.one_of(
    st.lists(names(), min_size=1, max_size=4, unique=True),
    st.dictionaries(names(), st.sampled_from(KINDS), min_size=1, max_size=4),
    st.just(Person),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(1, 5),
        "temperature": st.floats(0, 2),
        "stop": st.lists(st.text(min_size=1), max_size=3),
        "extra": st.dictionaries(st.text(), st.integers(), max_size=2),
        "examples": st.just([("a prompt", {"a": "reply"})]),
        "values": st.dictionaries(names(), st.text(), max_size=2),
        "max_cost": st.floats(0.01, 9),
        "prices": st.just({"sim": (1.0, 2.0)}),
        "errors": st.sampled_from(["coerce", "raise"]),
        "error_column": st.just("why not"),
        "details": st.booleans(),
        "how": st.sampled_from(["left", "inner"]),
    },
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS, OPTIONS)
def test_a_plan_is_the_same_on_arrival_in_another_process(worker, keys, options):
    plan = Plan("About ${text}", keys, model="sim", **options)
    there = worker(plan_process.described, pickle.dumps(plan), FRAME)
    assert there["template"] == plan.template
    # pydantic's FieldInfo does not equal its own copy
    assert repr((there["keys"], there["verb"])) == repr((plan.keys, plan.verb))
    # n and temperature are set there, max_tokens is in the environment there
    assert there["settings"] == plan._task.settings
    assert there["shape"] == plan._task.shape
    assert there["schema"] == plan._task.output.schema
    assert_frame_equal(there["meta"], plan.meta(FRAME))
    assert repr(pickle.loads(there["again"])) == repr(plan)


@pytest.mark.parametrize(
    ("verb", "keys", "options"),
    [
        ("generate", ["fact"], {}),
        ("generate", {"n": int, "l": ["x", "y"]}, {"how": "inner", "details": True}),
        ("generate", ["fact"], {"ignore_index": True}),
        ("extract", Person, {"error_column": "why"}),
        ("complete", None, {"name": "praise"}),
        ("complete", None, {"error_column": "why"}),
        ("classify", ["good", "bad"], {"name": "mood"}),
        ("classify", ["good", "bad"], {"confidence": True, "details": True}),
        ("classify", ["good", "bad"], {"confidence": True, "name": "mood"}),
    ],
    ids=str,
)
def test_meta_is_what_the_call_gives_without_the_rows(
    simulator, worker, verb, keys, options
):
    server = simulator()
    options = {**options, "model": "sim", "base_url": server.base_url}
    plan = Plan("About ${text}", keys, verb=verb, **options)
    meta = plan.meta(FRAME)
    assert server.stats()["requests"] == 0
    assert len(meta) == 0
    assert "llm" not in meta.attrs
    out = worker(plan_process.called, pickle.dumps(plan), FRAME)
    assert len(out) >= len(FRAME)
    compare = assert_series_equal if isinstance(out, pd.Series) else assert_frame_equal
    compare(out.iloc[:0], meta)
    assert_index_equal(out.index[:0], meta.index)


def test_meta_leaves_the_input_and_the_last_usage_alone(simulator, on):
    out = FRAME.llm.generate("About ${text}", ["fact"], **on(simulator()))
    before, used = dict(out.attrs["llm"]), pandas_llm.last_usage()
    Plan("${fact}", ["point"], model="sim").meta(out)
    assert out.attrs["llm"] == before
    assert pandas_llm.last_usage() == used


def test_a_plan_cannot_be_changed():
    plan = Plan("${text}", ["fact"], model="sim")
    with pytest.raises(AttributeError, match="frozen"):
        plan.template = "another"
    with pytest.raises(AttributeError, match="frozen"):
        del plan.keys


def test_what_the_caller_changes_later_does_not_change_the_plan():
    labels = ["x", "y"]
    keys = {"label": labels}
    stop = ["."]
    plan = Plan("${text}", keys, model="sim", stop=stop)
    labels.append("z")
    keys["more"] = str
    stop.append("!")
    assert plan.keys == {"label": ["x", "y"]}
    assert plan._task.settings.stop == ["."]
    with pandas_llm.option_context(n=4):
        assert pickle.loads(pickle.dumps(plan))._task.settings.n == 1


def test_names_are_those_of_the_methods():
    labels = Plan("${text}", ["x", "y"], verb="classify", model="sim").meta(FRAME)
    assert labels.name == "label"
    assert labels.name == FRAME.llm.classify("${text}", ["x", "y"], model="sim").name
    assert pandas_llm.classify(FRAME, "${text}", ["x"], model="sim").name == "label"
    assert Plan("${text}", verb="complete", model="sim").meta(FRAME).name == (
        FRAME.llm.complete("${text}", model="sim").name
    )


def test_labels_that_can_be_read_once_are_kept():
    plan = Plan("${text}", iter(["x", "y"]), verb="classify", model="sim")
    assert pickle.loads(pickle.dumps(plan)).keys == ["x", "y"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key": "sk-literal-key"}, "set OPENAI_API_KEY there"),
        ({"headers": {"X-Api-Key": "sk-literal-key"}}, r"headers\['X-Api-Key'\]"),
        ({"session": SimpleNamespace(post=None)}, "session="),
    ],
    ids=["key", "header", "session"],
)
def test_a_plan_with_a_key_or_a_session_is_not_pickled(options, says):
    plan = Plan("${text}", ["fact"], model="m", **options)
    with pytest.raises(ConfigurationError, match=says) as caught:
        pickle.dumps(plan)
    assert "sk-literal-key" not in str(caught.value)


def test_the_key_is_found_where_the_plan_runs(simulator, worker):
    server = simulator(api_key=plan_process.KEY)
    plan = Plan(
        "About ${text}",
        ["fact"],
        model="sim",
        base_url=server.base_url,
        api_key=plan_process.worker_key,
        cache=False,  # of a server that had the same port
    )
    pickled = pickle.dumps(plan)
    assert plan_process.KEY.encode() not in pickled
    out = worker(plan_process.called, pickled, FRAME)
    assert out["fact"].notna().all()
    assert server.stats()["by_status"] == {"200": 2}


def test_a_relative_cache_is_the_same_file_in_another_folder(
    tmp_path, monkeypatch, simulator, on
):
    monkeypatch.chdir(tmp_path)
    server = simulator()
    plan = Plan("${text}", ["fact"], **on(server), cache="kept.sqlite")
    plan(FRAME)
    there = pickle.loads(pickle.dumps(plan))
    monkeypatch.chdir("/")
    assert there(FRAME).llm.usage.cached == 2
    assert server.stats()["requests"] == 2


@pytest.mark.parametrize("option", ["cache", "ca", "files_root"])
def test_a_path_of_any_kind_is_whole_in_a_plan(option, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    (entry,) = os.scandir()
    options = transferable(resolve({"model": "sim", option: entry}))
    assert options[option] == str(tmp_path / "own")


def test_requests_go_where_they_go_here(monkeypatch, simulator):
    server = simulator()
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    pickled = pickle.dumps(Plan("${text}", ["fact"], model="sim-large"))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")
    assert pickle.loads(pickled)._task.settings.base_url == server.base_url


def test_numbers_of_numpy_are_pythons_own_in_a_plan():
    embed = Plan("${text}", verb="embed", dimensions=np.int64(256), model="sim")
    labels = {"verb": "classify", "abstain_below": np.float32(0.5), "model": "sim"}
    kept = embed._task.shape.dimensions, Plan("${text}", ["x"], **labels)._task.shape
    assert (kept[0], kept[1].abstain_below) == (256, 0.5)
    assert (type(kept[0]), type(kept[1].abstain_below)) == (int, float)

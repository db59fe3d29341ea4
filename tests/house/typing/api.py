"""What type checkers make of the public names; read by them, never run."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, assert_type

import pandas as pd
from pydantic import BaseModel, Field

import pandas_llm
from pandas_llm import Plan, Quoted, Usage
from pandas_llm._run.estimate import Estimate
from pandas_llm._verbs.chats import ChatFile
from pandas_llm.accessor import LLMAccessor
from pandas_llm.dask import DaskAccessor
from pandas_llm.options import Settings, resolve
from pandas_llm.spark import complete as complete_on_spark

if TYPE_CHECKING:
    from collections.abc import Callable


class Person(BaseModel):
    name: str


docs = pd.DataFrame({"text": ["a"]})
texts = docs["text"]
rows: list[dict[str, Any]] = [{"text": "a"}]

# -- functions ------------------------------------------------------------------

assert_type(pandas_llm.generate(docs, "${text}", ["fact"], n=2), pd.DataFrame)
assert_type(pandas_llm.generate(texts, "${value}", Person), pd.DataFrame)
assert_type(pandas_llm.generate(rows, "${text}", {"n": int}), list[dict[str, Any]])
assert_type(pandas_llm.extract(docs, "${text}", ["fact"]), pd.DataFrame)
assert_type(pandas_llm.extract(rows, "${text}", ["fact"]), list[dict[str, Any]])
quoted = {
    "born": Quoted[date],
    "age": Optional[Quoted[Annotated[int, Field(ge=0)]]],  # noqa: UP045
    "mood": Quoted[Literal["good", "bad"]] | None,
    "places": list[Quoted[str]],
}
assert_type(pandas_llm.extract(docs, "${text}", quoted), pd.DataFrame)
assert_type(pandas_llm.generate(rows, "x", {"d": Quoted[date]}), list[dict[str, Any]])
texts_too: list[dict[str, Any]] = pandas_llm.extract(["a"], "${value}", ["fact"])
assert_type(pandas_llm.complete(["a"], "${value}"), list[Any])
if TYPE_CHECKING:
    import polars as pl

    letters = pl.DataFrame({"text": ["a"]})
    pandas_llm.extract(letters, "${text}", ["fact"])
    pandas_llm.complete(letters["text"], "${value}")
complete: pd.Series = pandas_llm.complete(docs, "${text}", temperature=0.5)
assert_type(pandas_llm.complete(docs, "x", error_column="why"), pd.DataFrame)
assert_type(pandas_llm.complete(rows, "${text}"), list[Any])
vectors: pd.Series = pandas_llm.embed(docs, "text", dimensions=8)
assert_type(pandas_llm.embed(texts, expand=True), pd.DataFrame)
assert_type(pandas_llm.embed(rows, "text"), list[Any])
label: pd.Series = pandas_llm.classify(texts, "${value}", ["a", "b"])
assert_type(pandas_llm.classify(docs, "x", ["a"], confidence=True), pd.DataFrame)
assert_type(pandas_llm.classify(rows, "${text}", {"a": "A"}), list[Any])
assert_type(pandas_llm.preview(docs, "${text}"), pd.DataFrame)
assert_type(pandas_llm.estimate(docs, "${text}", pilot=3), Estimate)
assert_type(pandas_llm.last_usage(), Usage)
assert_type(
    pandas_llm.to_chat_jsonl(docs, Path("x"), user="${text}", assistant="${text}"),
    ChatFile,
)


async def twins() -> None:
    assert_type(await pandas_llm.agenerate(docs, "${text}", ["fact"]), pd.DataFrame)
    assert_type(await pandas_llm.aextract(rows, "x", ["f"]), list[dict[str, Any]])
    completed: pd.Series = await pandas_llm.acomplete(docs, "${text}")
    labelled: pd.Series = await pandas_llm.aclassify(docs, "${text}", ["a"])
    print(completed, labelled)
    assert_type(
        await pandas_llm.aclassify(docs, "x", ["a"], error_column="why"), pd.DataFrame
    )
    assert_type(await pandas_llm.aembed(rows, "text", expand=True), list[Any])
    assert_type(await llm.agenerate("${text}", ["fact"], how="inner"), pd.DataFrame)
    assert_type(await llm.acomplete("${text}", error_column="why"), pd.DataFrame)
    assert_type(await llm.aclassify("x", ["a"], confidence=True), pd.DataFrame)
    assert_type(await llm.aembed(expand=True), pd.DataFrame)
    vectors: pd.Series = await llm.aembed("text")
    print(vectors)


# -- the accessor, by its class -------------------------------------------------

llm = LLMAccessor(docs)
assert_type(llm.generate("${text}", ["fact"], how="inner"), pd.DataFrame)
assert_type(llm.chunk("text", max_tokens=100, overlap=10), pd.DataFrame)
assert_type(llm.complete("${text}", error_column="why"), pd.DataFrame)
series: pd.Series = llm.complete("${text}")
assert_type(llm.classify("${text}", ["a"], confidence=True), pd.DataFrame)
assert_type(llm.embed(expand=True), pd.DataFrame)
assert_type(llm.preview("${text}", rows=2), pd.DataFrame)
assert_type(llm.estimate("${text}", pilot=3), Estimate)
assert_type(llm.usage, Usage)
assert_type(llm.usage.cost, float)

count: Callable[[str], int] = len
llm.chunk(max_tokens=5, tokenizer=count)

# -- other engines ----------------------------------------------------------------

lazy = DaskAccessor(docs)
lazy.generate("${text}", ["fact"], how="inner")
lazy.complete("${text}", error_column="why")
lazy.classify("${text}", ["a"], confidence=True)
lazy.embed("text", dimensions=2, expand=True)


def on_spark(sdf: Any) -> None:  # a frame of pyspark, which may not be installed
    complete_on_spark(sdf, "${text}", name="praise", error_column="why", workers=4)
    complete_on_spark(sdf, "${text}", modell="m")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


# -- options --------------------------------------------------------------------

pandas_llm.set_options(model="m", concurrency="auto", deadline=None)
pandas_llm.set_options(cache=Path("x"), fallback=["a"], prices={"m": (1.0, 2.0)})
with pandas_llm.option_context(n=3, api_key=lambda: "key"):
    assert_type(pandas_llm.get_options(), dict[str, Any])
pandas_llm.set_options(deadline=pd.Timedelta("1h"), max_wait=timedelta(minutes=1))
pandas_llm.complete(docs, "${text}", request_timeout=timedelta(seconds=5))
assert_type(Settings(deadline=timedelta(1)).deadline, float | None)
assert_type(resolve({}).request_timeout, float)
plan = Plan("${text}", ["title"], verb="extract", model="m")

# -- what must not pass: an ignore that is not needed is an error here ------------

pandas_llm.generate(docs, "${text}", ["fact"], modell="m")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
pandas_llm.set_options(temprature=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pandas_llm.set_options(n="two")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pandas_llm.set_options(deadline="1h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Settings(temprature=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
llm.generate("${text}", ["fact"], how="outer")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
llm.chunk("text")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Plan("${text}", ["title"], verb="summarize")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
lazy.generate("${text}", ["fact"], modell="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

"""The forms of a verb, all made from one definition.

A definition is a function of the data and the verb's own parameters that returns a
`Plan`; overloads above it say what comes of which data. `verb` makes of it the
function that people call, `twin` that function's async twin, `method` and
`twin_method` both as methods of an accessor, and `form` whatever else is needed, such
as a method of a Dask accessor. `tool` is for a function that has a plan but does not
run it (`preview`), or has none (`chunk`). Type checkers see the overloads in each form.
"""

from __future__ import annotations

import inspect
import re
from functools import partial, wraps
from inspect import Parameter
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    get_overloads,
)

from pandas_llm import options
from pandas_llm._display import ends_here
from pandas_llm.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    import pandas as pd

    from pandas_llm._run import Verb
    from pandas_llm._verbs.programs import Program
    from pandas_llm.plan import Plan

    Table = pd.DataFrame | pd.Series
    Rows = Sequence[dict[str, Any]]

P = ParamSpec("P")
R = TypeVar("R")
Errors = Literal["coerce", "raise"]

_DATA = re.compile(r"^data : .*\n(?: +.*\n?)+", re.MULTILINE)
"""What a definition says of its first parameter, which a method has not."""
_SAMPLES = {
    "template": '"On: ${text}"',
    "keys": '["fact"]',
    "labels": '["good", "bad"]',
    "question": '"What about the weather?"',
    "query": '"rain"',
    "column": '"text"',
}
"""What to pass in the example of a twin, by parameter that has no default."""
_CALLS = {
    "embed": ['"text"'],
    "merge": ['df, on="text"'],
    "nlargest": ['1, "Is ${left.text} longer than ${right.text}?"'],
}
"""The same, for verbs that take something of their own."""
_TWIN = """\
Do as `{verb}` does, with the same parameters, in the running event loop.

Examples
--------
>>> import asyncio
>>> import pandas as pd
>>> import pandas_llm
>>> df = pd.DataFrame({{"text": ["It rained on 2 days."]}})
>>> asked = {call})
>>> len(asyncio.run(asked)) > 0  # in a notebook: await asked
True
"""


def make_plan(verb: Verb, given: Mapping[str, Any]) -> Plan:
    """Make a plan of what a definition was given, as its ``locals()`` tell it.

    Most of the package is imported here, not with it.
    """
    from pandas_llm.plan import plan_for

    own = {name: given[name] for name in given if name not in ("data", "options")}
    keys = own.pop("keys", own.pop("labels", None))
    return plan_for(own.pop("template"), keys, verb, {**own, **given["options"]})


def plan_of(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that makes a verb's plan for some data."""
    return partial(_called, inspect.unwrap(verb))


def _called(definition: Callable[..., Any], /, *args: Any, **given: Any) -> Any:
    """Call a definition, with words of ours for arguments that it does not take."""
    try:
        inspect.signature(definition).bind(*args, **given)
    except TypeError as error:
        raise InvalidTypeError(f"{definition.__name__}() {error}") from None
    return definition(*args, **given)


def verb(definition: Callable[P, Plan | Program]) -> Callable[P, Any]:
    """Make a verb of its definition: a function that runs the plan on the data."""
    plan = plan_of(definition)

    def run(data: Any, *args: Any, **given: Any) -> Any:
        return plan(data, *args, **given)(data)

    return form(run, definition, "data")


def twin(verb: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make the async twin of a verb, which runs in the caller's event loop."""
    plan = plan_of(verb)

    async def run(data: Any, *args: Any, **given: Any) -> Any:
        return await plan(data, *args, **given).acall(data)

    return form(run, verb, "data", doc=_twin_doc(verb, "pandas_llm.a{}", ["df"]))


def tool(definition: Callable[P, R]) -> Callable[P, R]:
    """Make a function that runs no plan a form of its own: it needs no twin."""

    def run(*args: Any, **given: Any) -> Any:
        return _called(definition, *args, **given)

    return form(run, definition, "data")


def method(
    verb: Callable[Concatenate[pd.DataFrame, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Make a method of a verb or tool, for an accessor with its data in ``_data``."""

    def run(self: Any, *args: Any, **given: Any) -> Any:
        return verb(self._data, *args, **given)

    doc = _DATA.sub("", inspect.cleandoc(verb.__doc__ or ""))
    return form(run, verb, "self", doc=doc)


def twin_method(
    verb: Callable[Concatenate[pd.DataFrame, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Make the async twin of a method."""
    plan = plan_of(verb)

    async def run(self: Any, *args: Any, **given: Any) -> Any:
        return await plan(self._data, *args, **given).acall(self._data)

    return form(run, verb, "self", doc=_twin_doc(verb, "df.llm.a{}", []))


def form(  # noqa: PLR0913 - all by name but the first three
    run: Callable[..., Any],
    verb: Callable[..., Any],
    first: str,
    *,
    more: Iterable[Parameter] = (),
    doc: str | None = None,
    result: str | None = None,
) -> Callable[..., Any]:
    """Make `run` a form of a verb: with its name, words and signature.

    Errors end at the caller's line. The signature begins with `first`, has the verb's
    own parameters, `more`, and each option of the run by its name. `doc` and `result`
    are the docstring and the type of the result, where they differ from the verb's.

    Examples
    --------
    >>> def ask(data, template, *, name="x", **options): ...
    >>> shown = form(lambda *args, **options: None, ask, "table")
    >>> list(inspect.signature(shown).parameters)[:4]
    ['table', 'template', 'name', 'model']
    """
    definition = inspect.unwrap(verb)
    made: Callable[..., Any] = ends_here(wraps(definition)(run))
    if inspect.iscoroutinefunction(run):
        made.__name__ = made.__qualname__ = f"a{definition.__name__}"
    said = inspect.cleandoc(verb.__doc__ or "") if doc is None else doc
    made.__doc__ = options.documented(said) if "\n**options\n" in said else said
    signature = _signature(definition, first, more)
    if result is not None:
        signature = signature.replace(return_annotation=result)
    made.__signature__ = signature  # type: ignore[attr-defined]
    return made


def brief(verb: Callable[..., Any]) -> str:
    """Return a verb's first line, and where the others are."""
    line = (verb.__doc__ or "").partition("\n")[0]
    return f"{line}\n\nSee ``df.llm.{verb.__name__}`` for parameters and examples.\n"


def _signature(
    definition: Callable[..., Any], first: str, more: Iterable[Parameter]
) -> inspect.Signature:
    """Return a definition's signature with another first parameter and all options."""
    signature = inspect.signature(definition)
    data, *own = signature.parameters.values()
    shown = [data if first == data.name else Parameter(first, data.kind), *own, *more]
    if own[-1].kind == Parameter.VAR_KEYWORD:
        shown.remove(own[-1])
        shown += [
            one for one in options.parameters() if one.name not in signature.parameters
        ]
    result = _result(definition, tables=first != "data") or signature.return_annotation
    return inspect.Signature(shown, return_annotation=result)


def _result(definition: Callable[..., Any], *, tables: bool) -> str:
    """Return what the overloads say of the result; only those of tables if asked."""
    found = [
        said["return"]
        for said in (one.__annotations__ for one in get_overloads(definition))
        if said["data"] == "Table" or not tables
    ]
    return " | ".join(dict.fromkeys(found))


def _twin_doc(verb: Callable[..., Any], twin: str, data: list[str]) -> str:
    """Return a twin's words, with an example that calls it."""
    own = inspect.signature(inspect.unwrap(verb)).parameters.values()
    needed = [one.name for one in own if one.default is Parameter.empty]
    passed = [_SAMPLES[name] for name in needed if name in _SAMPLES]
    passed = _CALLS.get(verb.__name__, passed)
    arguments = ", ".join([*data, *passed, 'model="sim"'])
    call = f"{twin.format(verb.__name__)}({arguments}"
    return _TWIN.format(verb=verb.__name__, call=call)

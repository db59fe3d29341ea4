"""The forms of a verb (function, async twin, method), all made from one definition.

A definition is a function of the data and the verb's own parameters that returns a
`Plan`; its overloads give the type of the result, in every form.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import partial, wraps
from inspect import Parameter
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    get_overloads,
)

import pandas as pd

from pandas_llm import options
from pandas_llm._display import trims_traceback
from pandas_llm.errors import InvalidTypeError, MissingVerbError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from pandas_llm._run import Verb
    from pandas_llm._verbs.programs import Program
    from pandas_llm.plan import Plan

    class _ForeignTable(Protocol):
        # a Series of pandas has every method, for type checkers, but another shape
        def to_pandas(self) -> Any: ...
        @property
        def shape(self) -> tuple[int, int]: ...

    class _ForeignColumn(Protocol):
        def to_pandas(self) -> Any: ...
        @property
        def name(self) -> str: ...  # pandas' may be anything

    Foreign = _ForeignTable | _ForeignColumn
    """A table or column of another package, such as Polars or Arrow."""

Table = pd.DataFrame | pd.Series
Rows = Sequence[dict[str, Any]] | Sequence[str | None]
P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")
Errors = Literal["coerce", "raise"]

_VERBS: dict[str, Callable[..., Any]] = {}
"""The function that was built from each definition, by its name."""
_CALLS = {
    "generate": '"On: ${text}", ["fact"]',
    "extract": '"On: ${text}", ["fact"]',
    "complete": '"On: ${text}"',
    "classify": '"On: ${text}", ["good", "bad"]',
    "embed": '"text"',
    "matches": '"On: ${text}"',
    "filter": '"On: ${text}"',
    "merge": 'df, on="text"',
    "nlargest": '1, "Is ${left.text} longer than ${right.text}?"',
    "agg": '"What about the weather?", "text"',
    "search": '"rain", "text"',
}
"""Arguments in the example of a verb's twin, if it needs any."""
_REFUSED = frozenset({"overwrite", "only_missing", "error_column"})
"""Options that a program refuses itself, with a way out."""
_SUCH_AS = {
    "argument: 'keys'": ", such as keys=['answer']",
    "argument: 'labels'": ", such as labels=['good', 'bad']",
}
"""Examples of an argument that is missing, by the end of Python's message."""
_EXAMPLES = "Examples\n--------\n"
_IMPORTS = ">>> import pandas as pd\n>>> import pandas_llm\n"
"""What the examples of all definitions begin with."""
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


def make_plan(verb: Verb, arguments: Mapping[str, Any]) -> Plan:
    """Build a plan from the ``locals()`` of a definition."""
    from pandas_llm.plan import plan_for  # with most of the package

    own = {k: v for k, v in arguments.items() if k not in ("data", "options")}
    keys = own.pop("keys", own.pop("labels", None))
    return plan_for(own.pop("template"), keys, verb, {**own, **arguments["options"]})


def planner(verb: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return the function that builds a verb's plan, from its data and arguments."""
    function = _VERBS[verb] if isinstance(verb, str) else verb
    return partial(_call, inspect.unwrap(function))


def _call(definition: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a definition; raise an error of ours for arguments that it does not take."""
    signature, name = inspect.signature(definition), definition.__name__
    own = signature.parameters
    may_be_none = "template" in own and own["template"].annotation == "str | None"
    if may_be_none and len(args) < 2 and kwargs.get("messages") is not None:  # noqa: PLR2004 - the data alone
        kwargs.setdefault("template", None)
    _check_names(name, signature, kwargs)
    try:
        passed = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        problem = re.sub("^(too many|multiple)", r"got \1", str(error))
        hint = "".join(way for end, way in _SUCH_AS.items() if problem.endswith(end))
        named = [one.name for one in own.values() if one.kind is one.KEYWORD_ONLY]
        if named and "too many" in problem:
            hint = f": write those from {named[0]}= on by name"
        raise InvalidTypeError(f"{name}() {problem}{hint}") from None
    for parameter, value in passed.items():
        _check(own[parameter], value)
    return definition(*args, **kwargs)


def _check(parameter: Parameter, value: Any) -> None:
    """Raise for a flag or a count that is none; others are checked where they go."""
    kind = str(parameter.annotation).removesuffix(" | None")
    if kind == "bool":
        options.check_value(parameter.name, value, options.one_of(True, False))  # noqa: FBT003 - what a flag may be
    elif kind == "int" and value is not parameter.default:
        least = 0 if parameter.default == 0 else 1
        options.check_value(parameter.name, value, options.whole(least))


def _check_names(
    name: str, signature: inspect.Signature, passed: Mapping[str, Any]
) -> None:
    """Raise for names that neither a verb nor the options have, ours in their place."""
    own = signature.parameters
    taken = {**own, **options.OPTIONS}
    # a tool, such as `estimate`, is told of a verb, or takes one of two
    named = _VERBS.keys() & {str(passed.get("verb"))} or {"generate", "complete"}
    for asked in named if "verb" in own else ():
        taken |= inspect.signature(_VERBS[asked]).parameters
    unknown = {option: passed[option] for option in passed if option not in taken}
    hints = []
    for option, value in unknown.items():
        hint = _of_verbs(option) if "verb" in own and len(named) > 1 else None
        hint = hint or options.instead_of(option, value, taken, own)
        if hint is not None:
            hints.append(f"no {option}: {hint}")
    if hints:
        raise InvalidTypeError(f"{name}() has {'; '.join(hints)}")
    unknown_here = unknown.keys() - _REFUSED
    if signature.return_annotation == "Program" and unknown_here:
        raise InvalidTypeError(f"{name}() has no parameter {min(unknown_here)!r}")


def _of_verbs(name: str) -> str | None:
    """Return how a tool, such as `estimate`, is told of which verb a parameter is."""
    verbs = [
        v for v, run in _VERBS.items() if name in inspect.signature(run).parameters
    ]
    return f"pass verb={' or '.join(map(repr, verbs))} with it" if verbs else None


def verb(definition: Callable[P, Plan | Program]) -> Callable[P, Any]:
    """Build a verb from its definition: a function that runs the plan on the data."""
    plan_for = planner(definition)

    def run(*args: Any, **kwargs: Any) -> Any:
        plan = plan_for(*args, **kwargs)
        return plan(args[0] if args else kwargs["data"])

    return _registered(run, definition)


def tool(definition: Callable[P, R]) -> Callable[P, R]:
    """Build a form without a twin, for a function that runs nothing."""
    return _registered(planner(definition), definition)


def _registered(
    run: Callable[..., Any], definition: Callable[..., Any]
) -> Callable[..., Any]:
    function = _VERBS[definition.__name__] = form(run, definition, "data")
    return function


def spell_out() -> None:
    """Write docstrings in full, once all verbs are there that they refer to."""
    docs = {name: function.__doc__ or "" for name, function in _VERBS.items()}
    for name, function in _VERBS.items():
        doc = docs[name].replace(_EXAMPLES, f"{_EXAMPLES}{_IMPORTS}")
        shown = inspect.signature(function).parameters
        defaults = {
            name: one.default
            for name, one in shown.items()
            if one.default not in (Parameter.empty, None)
        }
        docs[name] = options.documented(doc, shown, docs, defaults)
        function.__doc__ = docs[name]


def twin(verb: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Build the async twin of a verb, which runs in the caller's event loop."""
    plan_for = planner(verb)

    async def run(*args: Any, **kwargs: Any) -> Any:
        plan = plan_for(*args, **kwargs)
        return await plan.acall(args[0] if args else kwargs["data"])

    function = form(run, verb, "data", doc=_twin_doc(verb, "pandas_llm.a{}", ["df"]))
    function.__module__ = "pandas_llm"  # where twins are made, so that they pickle
    return function


def method(
    verb: Callable[Concatenate[pd.DataFrame, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Build a method from a verb, for an accessor with its data in ``_data``."""

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return verb(self._data, *args, **kwargs)

    _, *own = inspect.signature(verb).parameters
    doc = options.documented(verb.__doc__ or "", own, {})
    return form(run, verb, "self", doc=doc)


def twin_method(
    verb: Callable[Concatenate[pd.DataFrame, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Build the async twin of a method."""
    plan_for = planner(verb)

    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await plan_for(self._data, *args, **kwargs).acall(self._data)

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
    """Return `run` with a verb's name, docstring and signature, all options by name.

    `doc` and `result` replace the verb's docstring and type of the result.
    """
    definition = inspect.unwrap(verb)
    shown: Callable[..., Any] = trims_traceback(wraps(definition)(run))
    if inspect.iscoroutinefunction(run):
        shown.__name__ = shown.__qualname__ = f"a{definition.__name__}"
    shown.__doc__ = inspect.cleandoc((verb.__doc__ or "") if doc is None else doc)
    signature = _signature(definition, first, more)
    if result is not None:
        signature = signature.replace(return_annotation=result)
    shown.__signature__ = signature  # type: ignore[attr-defined]
    return shown


def named_after_class(accessor: type[C]) -> type[C]:
    """Name an accessor's methods, which were built elsewhere, after their class."""
    for name, member in vars(accessor).items():
        if inspect.isfunction(member):
            member.__module__ = accessor.__module__
            member.__qualname__ = f"{accessor.__qualname__}.{name}"
    return accessor


def missing_verb(place: Any, name: str, called: str) -> MissingVerbError:
    """Return the error for a verb that a place lacks; it names ours for another tool's.

    `called` is how people write the place, such as ``df.llm``.
    """
    verbs = [verb for verb in dir(place) if not verb.startswith("_")]
    ours = options.verb_instead_of(name, verbs)
    if ours is None:
        hint = f"there are {', '.join(verbs)}"
    else:
        line = (inspect.getdoc(getattr(place, ours)) or "").partition("\n")[0]
        hint = f"that is {called}.{ours} here. {line}"
    return MissingVerbError(f"{called} has no {name!r}: {hint}")


def brief(verb: Callable[..., Any]) -> str:
    """Return a verb's first line, and where to read the rest."""
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
        shown += [p for p in options.parameters() if p.name not in signature.parameters]
    result = _result(definition, tables=first != "data") or signature.return_annotation
    return inspect.Signature(shown, return_annotation=result)


def _result(definition: Callable[..., Any], *, tables: bool) -> str:
    """Return the types of the overloads' results; only those of tables if asked."""
    overloads = [overload.__annotations__ for overload in get_overloads(definition)]
    kinds = ("Table",) if tables else ("Table", "Rows")
    types = [o["return"] for o in overloads if o["data"] in kinds]
    return " | ".join(dict.fromkeys(types))


def _twin_doc(verb: Callable[..., Any], twin: str, data: list[str]) -> str:
    name = inspect.unwrap(verb).__name__
    own = [_CALLS[name]] if name in _CALLS else []
    arguments = ", ".join([*data, *own, 'model="sim"'])
    return _TWIN.format(verb=name, call=f"{twin.format(name)}({arguments}")

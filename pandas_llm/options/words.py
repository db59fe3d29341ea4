"""What people read of the options: signatures, ``help()``, the table in the docs."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_llm.options.table import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pandas_llm.options.option import Option

Function = TypeVar("Function", bound="Callable[..., Any]")

_HEADING = re.compile(r"^\w+\n-{3,}\n", re.MULTILINE)
_ENTRY = re.compile(r"^([a-z_*, ]+?)(?: : .*)?\n(?:\n|    .*\n)+", re.MULTILINE)
_SAME = re.compile(r".+\n    As for `(\w+)`\.")
_PARAMETERS = "Parameters\n----------\n"
_WIDTH = 76


def parameters() -> list[inspect.Parameter]:
    """Return the options as parameters, for a signature."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=option.default,
            # of a type that is not imported, its name
            annotation=getattr(option.type, "__forward_arg__", option.type),
        )
        for name, option in OPTIONS.items()
    ]


def documented(
    docstring: str,
    order: Iterable[str],
    docs: Mapping[str, str],
    defaults: Mapping[str, Any] | None = None,
) -> str:
    r"""Return a docstring with all parameters in order, in full, with their defaults.

    These are those told "As for" another function, whose docstring is in `docs`, and
    the options too.

    >>> ask = "Parameters\n----------\nkeys : list\n    What to ask for.\n"
    >>> own = "Parameters\n----------\nkeys, **options\n    As for `ask`.\n"
    >>> documented(own, ["keys"], {"ask": ask}) == ask
    True
    """
    before, own, after = _parts(inspect.cleandoc(docstring) + "\n")
    entries = {name: _entry(name, option) for name, option in OPTIONS.items()}
    for names, text in _entries(own):
        same = _SAME.fullmatch(text)
        known = _entries(_parts(docs[same[1]])[1]) if same else [(names, text)]
        entries.update({one[0]: said for one, said in known if set(one) <= set(names)})
    for name, default in (defaults or {}).items():
        if name in entries:
            entries[name] = _with_default(entries[name], default)
    listed = [f"{entries[name]}\n" for name in order if name in entries and own]
    return before + "".join(listed) + after


def _with_default(entry: str, default: Any) -> str:
    """Return an entry of one parameter with its default, if it does not say one."""
    head, line, rest = entry.partition("\n")
    if "," in head.partition(" : ")[0] or re.search(r"default|optional", head):
        return entry
    shown = f'"{default}"' if isinstance(default, str) else repr(default)
    return f"{head}, default {shown}{line}{rest}"


def _entry(name: str, option: Option) -> str:
    """Return what a docstring says of an option."""
    lines = textwrap.wrap(option.says, _WIDTH - 4)
    return "\n    ".join([f"{name} : {option.words}, default {option.shown}", *lines])


def _parts(docstring: str) -> tuple[str, str, str]:
    """Return what comes before the parameters of a docstring, these, and the rest."""
    before, heading, rest = docstring.partition(_PARAMETERS)
    following = _HEADING.search(rest)
    end = following.start() - 1 if following else len(rest)
    return before + heading, rest[:end], rest[end:]


def _entries(parameters: str) -> list[tuple[list[str], str]]:
    """Return the entries of parameters, each with its names."""
    matches = _ENTRY.finditer(parameters)
    return [(one[1].split(", "), one[0].rstrip("\n")) for one in matches]


def shows_options(function: Function) -> Function:
    """Show the options of a function that takes ``**options`` and nothing else.

    >>> @shows_options
    ... def ask(**options): ...
    >>> list(inspect.signature(ask).parameters)[:2]
    ['model', 'base_url']
    """
    own = inspect.signature(function)
    function.__signature__ = own.replace(parameters=parameters())  # type: ignore[attr-defined]
    if function.__doc__:  # which python -OO takes away
        function.__doc__ = documented(function.__doc__, OPTIONS, {})
    return function


def reference() -> str:
    """Return the options as a table of Markdown.

    >>> print(reference().splitlines()[4])
    | `api_key` | The API key, ... | a str, a callable or None | `None` |
    """
    rows = ["| option | meaning | may be | default |", "|---|---|---|---|"]
    for name, option in OPTIONS.items():
        cells = (f"`{name}`", option.says, option.words, f"`{option.shown}`")
        plain = (cell.replace("``", "`").replace("|", r"\|") for cell in cells)
        rows.append(f"| {' | '.join(plain)} |")
    return "\n".join(rows) + "\n"

"""What people read of the options: signatures, ``help()``, the table in the docs."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_llm.options.table import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Function = TypeVar("Function", bound="Callable[..., Any]")

_STARRED = re.compile(r"^([\w, ]*)\*\*options\n((?: +.*\n?)+)", re.MULTILINE)
_HEADING = re.compile(r"^\w+\n-{3,}\n", re.MULTILINE)
_ENTRY = re.compile(r"^([a-z_]+(?:, [a-z_]+)*)(?: : .*)?$", re.MULTILINE)
_SAME = re.compile(r"^([a-z_]+(?:, [a-z_]+)*)\n    As for `(\w+)`\.\n", re.MULTILINE)
_TEXT = r"(?:\n|    .*\n)+"
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


def documented(docstring: str) -> str:
    r"""Return a docstring with every option in the place of ``**options``.

    >>> lines = ["Ask.", "", "**options", "    Any of the options."]
    >>> print(*documented("\n".join(lines)).splitlines()[:4], sep="\n")
    Ask.
    <BLANKLINE>
    model : a str or None, default None
        The model, "provider/name" or a name; "sim" is the simulator.
    """
    docstring = inspect.cleandoc(docstring) + "\n"
    starred = _STARRED.search(docstring)
    if starred is None:
        return docstring
    # a verb's own parameters come first, those described beside the options too
    named = starred[1].rstrip(", ")
    rest = f"{named}\n{starred[2]}" if named else ""
    docstring = docstring[: starred.start()] + rest + docstring[starred.end() :]
    heading = _HEADING.search(docstring, starred.start())
    end = heading.start() if heading else len(docstring)
    before, after = docstring[:end].rstrip("\n"), docstring[end:]
    own = {name for line in _ENTRY.findall(before) for name in line.split(", ")}
    entries = [
        f"{name} : {option.words}, default {option.shown}\n"
        + textwrap.fill(
            option.says, _WIDTH, initial_indent="    ", subsequent_indent="    "
        )
        for name, option in OPTIONS.items()
        if name not in own
    ]
    gap = "\n" if "Parameters\n---" in before or rest else "\n\n"
    return before + gap + "\n".join(entries) + "\n" + ("\n" + after if after else "")


def spelled_out(docstring: str, docs: Mapping[str, str]) -> str:
    r"""Return a docstring with the parameters that are "As for" another function's.

    >>> ask = "Parameters\n---\nkeys : list\n    What to ask for.\n"
    >>> spelled_out("keys, more\n    As for `ask`.\n", {"ask": ask})
    'keys : list\n    What to ask for.\n'
    """

    def entries(match: re.Match[str]) -> str:
        names, of = match[1].split(", "), docs[match[2]]
        found = re.finditer(rf"^([a-z_, ]+?)(?: : .*)?\n{_TEXT}", of, re.MULTILINE)
        own = (one for one in found if set(one[1].split(", ")) <= set(names))
        return "".join(one[0].rstrip("\n") + "\n" for one in own)

    return _SAME.sub(entries, docstring)


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
        function.__doc__ = documented(function.__doc__)
    return function


def reference() -> str:
    """Return the options as a table of Markdown.

    >>> print(reference().splitlines()[4])
    | `api_key` | a str, a callable or None | `None` | The key, ... |
    """
    rows = ["| option | may be | default | meaning |", "|---|---|---|---|"]
    for name, option in OPTIONS.items():
        cells = (f"`{name}`", option.words, f"`{option.shown}`", option.says)
        plain = (cell.replace("``", "`").replace("|", r"\|") for cell in cells)
        rows.append(f"| {' | '.join(plain)} |")
    return "\n".join(rows) + "\n"

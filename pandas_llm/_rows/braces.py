"""Fields as other template languages write them: refused, and not sent as text.

What may stand in a prompt, such as ``{"a": 1}`` or braces of LaTeX, passes.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from pandas_llm.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Collection

_LATEX = re.compile(r"\\\w*(?:\{[^{}]*\})*$")
_STATEMENT = re.compile(
    r"\{%-?\s?(?:for|endfor|if|elif|else|endif|set|macro|include|raw)\b[^%]*%\}"
)
_DOUBLE = re.compile(r"\{\{-?([^{}|]+?)-?(?:\|[^{}]*)?\}\}")
_SINGLE = re.compile(r"(?<!\$)\{([^{}]+)\}")
_FORMAT = re.compile(
    r"(?:![rsa])?(?::(?:\S?[<>=^])?[-+]?[z#0]{0,3}\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?"
    r"|:[^:]*%[a-zA-Z].*)?"
)
"""What may follow a name in ``str.format``."""
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_ALIKE = 0.75


def check_braces(text: str, names: Collection[str], what: str, *, uses: bool) -> None:
    """Raise for a field of another template language in a template's plain text.

    `uses` says whether the template has a field of ours: without one, a name that is
    nearly a column's counts too.
    """
    if match := _STATEMENT.search(text):
        msg = (
            f"the {what} has {match[0]}, and templates have no statements here: make a "
            "column of what differs between rows and write ${column}"
        )
        raise TemplateError(msg + _meant(match[0]))
    for pattern in (_DOUBLE, _SINGLE):
        for match in pattern.finditer(text):
            field = _field(match[1], names, near=not uses)
            if field is None or _LATEX.search(
                text, max(0, match.start() - 200), match.start()
            ):
                continue
            msg = f"the {what} has {match[0]}, which would be sent as it is: write "
            raise TemplateError(msg + f"${{{field}}}" + _meant(match[0]))


def unclosed(rest: str, names: Collection[str], what: str) -> TemplateError:
    """Return the error of ``${`` without its closing brace; `rest` follows it."""
    known = [name for name in names if rest.startswith(name)]
    word = _IDENTIFIER.match(rest)
    name = max(known, key=len) if known else word[0] if word else ""
    shown = f"${{{name}}}" if name else "${column}"
    return TemplateError(
        f"the {what} has ${{{rest[:20]} without a closing brace: write {shown}, or "
        f"$${{{name} for a dollar and a brace as text"
    )


def _meant(text: str) -> str:
    """Describe how to send the text itself."""
    literal = f"values={{'braces': {text!r}}}"
    return f". For the text itself pass {literal} and write ${{braces}}"


def _field(inside: str, names: Collection[str], *, near: bool) -> str | None:
    """Return what to write for what stands in braces; None where it is text."""
    inside = inside.strip()
    if inside in names and not inside.isdecimal():  # a pattern such as \d{3}
        return inside
    name = re.match(r"[^!:]*", inside)[0].strip()  # type: ignore[index]
    if not _FORMAT.fullmatch(inside[len(name) :]):
        return None
    spec = inside[len(name) :].partition(":")[2]
    for prefix in ("row.", "df.", "item."):
        name = name.removeprefix(prefix)
    if quoted := re.fullmatch(r"(?:row|df|item)?\[[\"']?(\w+)[\"']?\]", name):
        name = quoted[1]
    if name not in names:
        folded = {known.casefold(): known for known in names}
        close = difflib.get_close_matches(name.casefold(), folded, 1, _ALIKE)
        if not (near and close and _IDENTIFIER.fullmatch(name)):
            return None
        name = folded[close[0]]
    elif name.isdecimal():
        return None
    return f"{name}:{spec}" if spec else name

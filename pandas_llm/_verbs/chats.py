"""Chats to fine-tune a model on, in OpenAI's JSON Lines."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pandas_llm._display import checked_path, trims_traceback
from pandas_llm.errors import InvalidValueError, TemplateError
from pandas_llm.options import check_value, one_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from pandas_llm._rows import Source, Template

_ENDINGS = (".jsonl", ".ndjson", ".json")


class ChatFile(NamedTuple):
    """What `to_chat_jsonl` has written.

    Attributes
    ----------
    path : Path
        The file.
    rows : int
        The chats in it.
    """

    path: Path
    rows: int


@trims_traceback
def to_chat_jsonl(  # noqa: PLR0913 - all by name but the first two
    data: Any,
    path: str | os.PathLike[str],
    *,
    user: str,
    assistant: str,
    system: str | None = None,
    values: Mapping[str, Any] | None = None,
    na_action: Literal["raise", "ignore"] = "raise",
) -> ChatFile:
    """Write rows as chats to fine-tune a model on, in OpenAI's JSON Lines.

    Parameters
    ----------
    data : DataFrame, Series or list of dicts
        One chat a row.
    path : str or path
        The file, ``.jsonl``; it is replaced when all is written, or stays as it was.
    user, assistant : str
        Templates of the question and of the wanted answer; ``${column}`` stands for
        the row's value.
    system : str, optional
        Template of the instructions.
    values : mapping, optional
        Constants for the templates.
    na_action : {"raise", "ignore"}
        What becomes of rows with NA in a used cell: an error, or they are left out.

    Returns
    -------
    ChatFile
        ``.path`` and ``.rows``.

    Raises
    ------
    TemplateError
        For a name that is not a column; for an `assistant` without columns.
    ValueError
        For missing values, a message without text, no rows, or a file of another
        ending; nothing is written.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import pandas_llm
    >>> pairs = pd.DataFrame({"q": ["1 + 1?"], "a": ["2"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = pandas_llm.to_chat_jsonl(
    ...         pairs, folder + "/chats.jsonl", user="${q}", assistant="${a}"
    ...     )
    ...     print(written.rows, written.path.read_text(), end="")
    1 {"messages": [{"role": "user", "content": "1 + 1?"}, \
{"role": "assistant", "content": "2"}]}
    """
    from pandas_llm._rows import Template, missing_rows, source_of

    check_value("na_action", na_action, one_of("raise", "ignore"))
    target = checked_path(path, _ENDINGS, "chats are JSON Lines")
    source = source_of(data)
    texts = {} if system is None else {"system": system}
    texts |= {"user": user, "assistant": assistant}
    templates = {
        role: Template(text, source.fields, values, f"{role} template")
        for role, text in texts.items()
    }
    if not templates["assistant"].columns:
        msg = "the assistant template names no column: all chats would end alike"
        raise TemplateError(msg)
    columns = list(dict.fromkeys(c for t in templates.values() for c in t.columns))
    missing = missing_rows(source, columns)
    if missing is not None and na_action == "raise":
        raise InvalidValueError(_describe_gaps(source, columns))
    lines = list(_chats(source, templates, columns, missing))
    if not lines:
        raise InvalidValueError("there are no rows to write")
    with replacing(target) as file:
        file.write(b"".join(lines))
    return ChatFile(target, len(lines))


def _chats(
    source: Source, templates: Mapping[str, Template], columns: list[str], missing: Any
) -> Iterator[bytes]:
    from pandas_llm._rows import iter_rows

    fill = {
        role: template.renderer(columns, source) for role, template in templates.items()
    }
    for at, row in enumerate(iter_rows(source, columns)):
        if missing is not None and missing[at]:
            continue
        messages = [{"role": r, "content": render(row)} for r, render in fill.items()]
        label = source.frame.index[at]
        for message in messages:
            if not message["content"].strip():
                msg = f"row {at} (label {label!r}): the {message['role']} is empty"
                raise InvalidValueError(msg)
        try:
            line = json.dumps({"messages": messages}, ensure_ascii=False)
            yield f"{line}\n".encode()
        except UnicodeEncodeError:
            msg = f"row {at} (label {label!r}): half a character (a lone surrogate)"
            raise InvalidValueError(msg) from None


def _describe_gaps(source: Source, columns: list[str]) -> str:
    """Name the first column with missing values, and its first such row."""
    from pandas_llm._rows import missing_rows

    masks = ((column, missing_rows(source, [column])) for column in columns)
    column, missing = next((name, mask) for name, mask in masks if mask is not None)
    first = int(missing.argmax())
    return (
        f"{missing.sum()} of {source.rows} rows have no {column!r} (the first: row "
        f"{first}, label {source.frame.index[first]!r}): drop them, or pass "
        "na_action='ignore' to leave them out"
    )


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the target's place when the block ends without error."""
    target = Path(os.path.realpath(target))  # a link stays a link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)

"""Long texts in chunks: one row per chunk, cut where a sentence or paragraph ends."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, Protocol

from pandas_llm._verbs.forms import tool
from pandas_llm.errors import (
    ConfigurationError,
    InvalidTypeError,
    InvalidValueError,
    MissingColumnError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sized

    import pandas as pd

    from pandas_llm._verbs.forms import Rows, Table


class Tokenizer(Protocol):
    """A tokenizer of tiktoken, tokenizers or transformers."""

    def encode(self, text: str, /) -> Sized:
        """Return the tokens of a text."""


@tool
def chunk(  # noqa: PLR0913 - all by name but the first two
    data: Table | Rows,
    column: Hashable | None = None,
    *,
    max_tokens: int,
    overlap: int = 0,
    tokenizer: Callable[[str], int] | Tokenizer | None = None,
    name: str = "chunk",
) -> pd.DataFrame:
    """Explode a column of long texts into chunks, one row each; nothing is sent.

    Texts are cut between paragraphs if they can be, else between sentences,
    words or characters; blanks around a chunk are dropped.

    Parameters
    ----------
    data : DataFrame, Series or list of dicts
        The rows.
    column : label, optional
        The column of texts; not needed on a Series.
    max_tokens : int
        The most tokens a chunk may have.
    overlap : int, default 0
        The most tokens that a chunk may repeat of the one before it, in whole
        units of the kind it is cut at: sentences within a paragraph; between
        paragraphs only a whole one that is so short.
    tokenizer : callable or tokenizer, optional
        Counts the tokens of a text: a function, or an object with ``encode``
        such as tiktoken's. Without it they are guessed, within 20 % for most
        languages, as for rate limits.
    name : str, default "chunk"
        The new column, which numbers the chunks of a row from 0.

    Returns
    -------
    DataFrame
        The columns of the input, the texts cut; labels repeat as with
        ``explode``. A row without a text keeps one row, with NA for both.

    Raises
    ------
    ConfigurationError
        Without ``pip install 'pandas-llm-accessor[chunk]'``.

    Examples
    --------
    >>> docs = pd.DataFrame({"text": ["It rained. Then the sun came out."]})
    >>> docs.llm.chunk("text", max_tokens=6)
                         text  chunk
    0              It rained.      0
    0  Then the sun came out.      1
    """
    from pandas_llm._rows import check_new, put_columns, source_of
    from pandas_llm._run import typed

    if overlap >= max_tokens:
        msg = f"overlap ({overlap}) must be less than max_tokens ({max_tokens})"
        raise InvalidValueError(msg)
    source = source_of(data)
    place = _place(source.frame, column)
    check_new(source, [name])
    split = _splitter(max_tokens, overlap, _counter(tokenizer))
    values = source.frame.iloc[:, place]
    missing = values.isna().tolist()
    pieces = [
        [None] if missing[at] else _pieces(split, value, f"row {at}, column {column!r}")
        for at, value in enumerate(values.tolist())
    ]
    out = source.frame.take([at for at, texts in enumerate(pieces) for _ in texts])
    out.isetitem(place, typed([text for texts in pieces for text in texts], "str"))
    numbers = [
        None if text is None else number
        for texts in pieces
        for number, text in enumerate(texts)
    ]
    out = put_columns(out, {name: typed(numbers, "int")})
    whole_frame: pd.DataFrame = source.passed.restore(out)
    return whole_frame


def _place(table: pd.DataFrame, column: Hashable | None) -> int:
    """Return the position of a column, whose name must be unique."""
    names: list[Any] = list(table.columns)
    if column is None and len(names) == 1:
        return 0
    count = names.count(column)
    if count == 1:
        return names.index(column)
    if count:
        msg = f"{count} columns are named {column!r}: rename one of them"
        raise InvalidValueError(msg)
    near = difflib.get_close_matches(str(column), map(str, names), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {names}"
    what = "name the column" if column is None else f"no column {column!r}"
    raise MissingColumnError(f"{what}; {hint}")


def _counter(
    tokenizer: Callable[[str], int] | Tokenizer | None,
) -> Callable[[str], int]:
    """Return the function that counts tokens, by default as the rate limiter does."""
    if tokenizer is None:
        from pandas_llm._pacing import estimate_tokens

        return lambda text: math.ceil(estimate_tokens(text))
    encode = getattr(tokenizer, "encode", None)  # transformers' is callable too
    if encode is not None:
        return lambda text: len(encode(text))
    if callable(tokenizer):
        return tokenizer
    msg = f"tokenizer must be a callable or have .encode, not {tokenizer!r}"
    raise InvalidTypeError(msg)


def _splitter(
    size: int, overlap: int, count: Callable[[str], int]
) -> Callable[[str], list[str]]:
    try:
        from semantic_text_splitter import TextSplitter
    except ImportError as error:
        msg = "chunk needs a library: pip install 'pandas-llm-accessor[chunk]'"
        raise ConfigurationError(msg) from error
    chunks: Callable[[str], list[str]]
    chunks = TextSplitter.from_callback(count, size, overlap=overlap).chunks
    return chunks


def _pieces(split: Callable[[str], list[str]], value: Any, where: str) -> list[Any]:
    """Split one text; an empty one stays one chunk."""
    if not isinstance(value, str):
        raise InvalidTypeError(f"{where}: a text is needed, not {value!r}")
    try:
        return split(value) or [""]
    except UnicodeEncodeError:
        msg = f"{where}: the text holds half a character (a lone surrogate)"
        raise InvalidValueError(msg) from None

"""Tables in files, read and written by the file's ending.

What is written appears whole or not at all: it goes to a file beside the target,
which then takes its name.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from pandas_llm._verbs import replacing
from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

STANDARD = "-"
"""Standard input or output, as JSON Lines."""


def read_table(path: str) -> pd.DataFrame:
    """Read a table by its file's ending; ``-`` is JSON Lines from standard input."""
    if path == STANDARD:
        return _read_lines(sys.stdin.buffer)
    read = _FORMS[ending(path)].read
    with Path(path).expanduser().open("rb") as file:
        return read(file)


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table by its file's ending; ``-`` is JSON Lines to standard output."""
    if path == STANDARD:
        _write_lines(table, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    form = _FORMS[ending(path)]
    with replacing(Path(path).expanduser()) as file:
        form.write(table, file)


def check_target(table: pd.DataFrame, path: str) -> None:
    """Raise for a file that could not be written, before anything is paid for."""
    if path == STANDARD:
        return
    kind, target = ending(path), Path(path).expanduser()
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is not a file that can be replaced")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        there = "cannot be written to" if target.parent.is_dir() else "is not there"
        raise ValueError(f"the folder {target.parent} {there}")
    if kind == ".parquet":
        _arrow(table)


def ending(path: str) -> str:
    """Return a path's ending in small letters; raise for one that is not known."""
    suffix = Path(path).suffix.lower()
    if suffix in _FORMS:
        return suffix
    raise ValueError(
        f"{path}: the ending must be .csv, .jsonl, .ndjson or .parquet, or - given"
    )


def _read_csv(file: BinaryIO) -> pd.DataFrame:
    with warnings.catch_warnings():
        # a line with more cells than the header
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                file,
                dtype="str",  # 007 must not become 7 in the result
                keep_default_na=False,
                na_values=[""],
                index_col=False,
                encoding="utf-8-sig",
            )
        except pd.errors.EmptyDataError:
            raise ValueError(
                f"{file.name} is empty: a CSV needs a line of column names"
            ) from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file.name} is not text in UTF-8: {error.reason}"
            ) from None
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise ValueError(
                f"{file.name} is not a CSV: {str(error).strip()}"
            ) from None


def _read_lines(file: BinaryIO) -> pd.DataFrame:
    """Read JSON Lines; every cell stays what it was, hence object columns."""
    rows = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{file.name}, line {number} is not JSON: {error}"
            ) from None
        if not isinstance(row, dict):
            msg = f"{file.name}, line {number} is not a JSON object: {line[:40]!r}"
            raise ValueError(msg)  # noqa: TRY004 - it is about a file's text
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def _read_parquet(file: BinaryIO) -> pd.DataFrame:
    _pyarrow()
    table = pd.read_parquet(file)
    if isinstance(table.index, pd.RangeIndex):
        return table
    return table.reset_index()  # an index that says something is a column elsewhere


def _write_csv(table: pd.DataFrame, file: BinaryIO) -> None:
    plain = table.copy(deep=False)
    for at in range(table.shape[1]):
        column = table.iloc[:, at]
        if pd.api.types.is_object_dtype(column.dtype):
            plain.isetitem(at, column.map(_cell).astype(object).array)
    # half a character must not cost the whole file
    plain.to_csv(file, index=False, encoding="utf-8", errors="backslashreplace")


def _write_lines(table: pd.DataFrame, file: BinaryIO) -> None:
    names = [str(name) for name in table.columns]
    plain = table.astype(object).where(table.notna(), None)
    for row in plain.itertuples(index=False, name=None):
        line = _line(dict(zip(names, row, strict=True)))
        try:
            file.write(line.encode())
        except UnicodeEncodeError:
            file.write(json.dumps(json.loads(line)).encode() + b"\n")


def _write_parquet(table: pd.DataFrame, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_arrow(table), file)


def _arrow(table: pd.DataFrame) -> Any:
    arrow = _pyarrow()
    try:
        return arrow.Table.from_pandas(table, preserve_index=False)
    except arrow.ArrowException as error:
        raise ValueError(
            f"Parquet cannot hold the table: {'; '.join(map(str, error.args))}"
        ) from None


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs pyarrow: pip install 'pandas-llm-accessor[parquet]'"
        ) from error
    return pa


class _Form(NamedTuple):
    read: Callable[[BinaryIO], pd.DataFrame]
    write: Callable[[pd.DataFrame, BinaryIO], None]


_FORMS: Mapping[str, _Form] = {
    ".csv": _Form(_read_csv, _write_csv),
    **dict.fromkeys((".jsonl", ".ndjson"), _Form(_read_lines, _write_lines)),
    ".parquet": _Form(_read_parquet, _write_parquet),
}


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_json) + "\n"


def _cell(value: Any) -> Any:
    """Return a cell as CSV has it: lists and mappings as JSON."""
    return _line(value).strip() if isinstance(value, (list, dict)) else value


def _json(value: Any) -> Any:
    """Convert what JSON does not know."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return value.tolist()
    return str(value)

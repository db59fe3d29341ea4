"""Tables in files, read and written by the file's ending.

What is written appears whole or not at all: it goes to a file beside the target,
which then takes its name.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import sys
import warnings
import zlib
from contextlib import closing
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pandas as pd

from pandas_llm._verbs import replacing
from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

STANDARD = "-"
"""Standard input or output, as JSON Lines."""


class Writing(NamedTuple):
    """How the text of input files is written, where it is not as usual."""

    sep: str | None = None
    encoding: str | None = None

    def check(self) -> None:
        """Raise for what no file can have."""
        if self.sep is not None and len(self.sep) != 1:
            raise ValueError(f"--sep must be one character, or tab, not {self.sep!r}")
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            raise ValueError(
                f"--encoding: there is no {self.encoding}; write cp1252 or utf-16"
            ) from None


USUAL = Writing()


def read_tables(paths: Sequence[str], how: Writing) -> pd.DataFrame:
    """Read files one below the other; all have the same columns, but those of JSON."""
    how.check()
    paths = named(paths)
    tables = [read_table(path, how) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        odd = sorted(map(str, {*table.columns} ^ {*tables[0].columns}))
        if odd and not (path == STANDARD or "json" in ending(path)):
            raise ValueError(f"only one of {paths[0]} and {path} has {', '.join(odd)}")
    if len(tables) == 1:
        return tables[0]
    return pd.concat(tables, ignore_index=True)


def named(paths: Sequence[str]) -> list[str]:
    """Return the files that patterns name, which not every shell looks up."""
    return [name for path in paths for name in _named(path)]


def _named(path: str) -> list[str]:
    if not set("*?[") & set(path) or Path(path).expanduser().exists():
        return [path]
    paths = glob(str(Path(path).expanduser()))  # noqa: PTH207 - any folder
    return sorted(paths) or [path]


def read_table(path: str, how: Writing = USUAL) -> pd.DataFrame:
    """Read a table by its file's ending; ``-`` is JSON Lines from standard input."""
    if path == STANDARD:
        return _read_lines(sys.stdin.buffer, how)
    form = _FORMS[ending(path)]
    with Path(path).expanduser().open("rb") as file:
        if not _is_packed(path):
            return form.read(file, how)
        try:
            return form.read(cast("BinaryIO", gzip.GzipFile(fileobj=file)), how)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is not a whole gzip file: {error}") from None


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table by its file's ending; ``-`` is JSON Lines to standard output."""
    if path == STANDARD:
        _write_lines(table, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    form = _FORMS[ending(path)]
    with replacing(Path(path).expanduser()) as file:
        if not _is_packed(path):
            form.write(table, file)
            return
        # without name and time, equal tables are equal files
        with closing(gzip.GzipFile("", "wb", fileobj=file, mtime=0)) as packed:
            form.write(table, cast("BinaryIO", packed))


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


def check_page(path: str) -> None:
    """Raise for a page that could not be written."""
    folder = Path(path).expanduser().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"--report: the folder {folder} cannot be written to")


def ending(path: str) -> str:
    """Return a path's ending in small letters without .gz; raise for another."""
    packed = _is_packed(path)
    suffix = Path(Path(path).stem if packed else path).suffix.lower()
    if suffix in _FORMS and not (packed and suffix == ".parquet"):
        return suffix
    raise ValueError(
        f"{path}: the ending must be .csv, .tsv, .jsonl, .ndjson or .json, with .gz "
        "or without, or .parquet; or - given"
    )


def _is_packed(path: str) -> bool:
    return Path(path).suffix.lower() == ".gz"


def _read_csv(file: BinaryIO, how: Writing) -> pd.DataFrame:
    with warnings.catch_warnings():
        # a line with more cells than the header
        warnings.simplefilter("error", pd.errors.ParserWarning)
        read: Any = partial(
            pd.read_csv,
            dtype="str",  # 007 must not become 7 in the result
            keep_default_na=False,
            na_values=[""],
            index_col=False,
            encoding=how.encoding or "utf-8-sig",
            sep=how.sep or ",",
        )
        try:
            table: pd.DataFrame = read(file)
            if (
                table.shape[1] == 1 and file.seekable()
            ):  # there a blank line is a row with an empty cell
                file.seek(0)
                whole = read(file, skip_blank_lines=False)
                table = whole if whole.columns.equals(table.columns) else table
        except pd.errors.EmptyDataError:
            raise ValueError(
                f"{file.name} is empty: a CSV needs a line of column names"
            ) from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file.name} is not text in {how.encoding or 'UTF-8'}: "
                f"{error.reason}; see --encoding"
            ) from None
        except UnicodeError as error:  # a mark that UTF-16 needs
            raise ValueError(
                f"{file.name} is not text in {how.encoding}: {error}"
            ) from None
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise ValueError(
                f"{file.name} is not a CSV: {str(error).strip()}"
            ) from None
    return table


def _read_tabs(file: BinaryIO, how: Writing) -> pd.DataFrame:
    return _read_csv(file, how._replace(sep=how.sep or "\t"))


_FURTHER = "Extra data"
"""How Python's error begins where JSON goes on after its end."""


def _read_json(file: BinaryIO, how: Writing) -> pd.DataFrame:
    """Read an array of objects, or several objects a line each."""
    try:
        rows = json.loads(file.read().decode(how.encoding or "utf-8-sig"))
    except ValueError as error:
        if str(error).startswith(_FURTHER) and file.seekable():
            file.seek(0)
            return _read_lines(file, how)
        raise ValueError(f"{file.name} is not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = f"{file.name} must be a JSON array of objects; JSON Lines end in .jsonl"
        raise ValueError(msg)
    return pd.DataFrame(rows, dtype=object)


def _read_lines(file: BinaryIO, how: Writing) -> pd.DataFrame:
    """Read JSON Lines; every cell stays what it was, hence object columns."""
    rows = []
    lines: Any = file
    if how.encoding:
        lines = io.StringIO(file.read().decode(how.encoding), newline="\n")
    for number, line in enumerate(lines, 1):
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


def same_file(one: str, other: str) -> bool:
    """Return whether two paths lead to one place, also where there is no file yet."""
    paths = (Path(path).expanduser().resolve() for path in (one, other))
    return one != STANDARD != other and len({*paths}) == 1


def _read_parquet(file: BinaryIO, _: Writing) -> pd.DataFrame:
    _pyarrow()
    table = pd.read_parquet(file)
    if isinstance(table.index, pd.RangeIndex):
        return table
    return table.reset_index()  # an index that says something is a column elsewhere


def _write_tabs(table: pd.DataFrame, file: BinaryIO) -> None:
    _write_csv(table, file, "\t")


def _write_csv(table: pd.DataFrame, file: BinaryIO, sep: str = ",") -> None:
    plain = table.copy(deep=False)
    for at in range(table.shape[1]):
        column = table.iloc[:, at]
        if pd.api.types.is_object_dtype(column.dtype):
            plain.isetitem(at, column.map(_cell).astype(object).array)
    # half a character must not cost the whole file
    plain.to_csv(
        file, sep=sep, index=False, encoding="utf-8", errors="backslashreplace"
    )


def _write_json(table: pd.DataFrame, file: BinaryIO) -> None:
    lines = io.BytesIO()
    _write_lines(table, lines)
    rows = lines.getvalue().rstrip(b"\n")
    file.write(b"[\n" + rows.replace(b"\n", b",\n") + b"\n]\n" if rows else b"[]\n")


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

    arrow = _arrow(table)
    attrs = json.dumps({"llm": table.attrs["llm"]} if "llm" in table.attrs else {})
    # where pandas looks for attrs, so that `report` finds the run
    known = {**(arrow.schema.metadata or {}), b"PANDAS_ATTRS": attrs.encode()}
    pq.write_table(arrow.replace_schema_metadata(known), file)


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
    read: Callable[[BinaryIO, Writing], pd.DataFrame]
    write: Callable[[pd.DataFrame, BinaryIO], None]


_FORMS: Mapping[str, _Form] = {
    ".csv": _Form(_read_csv, _write_csv),
    ".tsv": _Form(_read_tabs, _write_tabs),
    ".json": _Form(_read_json, _write_json),
    **dict.fromkeys((".jsonl", ".ndjson"), _Form(_read_lines, _write_lines)),
    ".parquet": _Form(_read_parquet, _write_parquet),
}


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_json) + "\n"


def _cell(value: Any) -> Any:
    """Return a cell as CSV has it: lists, vectors and mappings as JSON."""
    nested = isinstance(value, (list, dict)) or hasattr(value, "shape")
    return _line(value).strip() if nested else value


def _json(value: Any) -> Any:
    """Convert what JSON does not know."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return value.tolist()
    return str(value)

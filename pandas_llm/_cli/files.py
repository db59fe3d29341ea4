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
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pandas as pd

from pandas_llm._display import page_path
from pandas_llm._rows import as_objects
from pandas_llm._verbs import replacing
from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    _Read = Callable[[BinaryIO, "Writing"], pd.DataFrame]
    _Write = Callable[[pd.DataFrame, BinaryIO], None]

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


def read_tables(paths: Sequence[str], how: Writing) -> pd.DataFrame:
    """Read files one below the other; all have the same columns, but those of JSON."""
    how.check()
    paths = named(paths)
    tables = [read_table(path, how) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        odd = sorted(map(str, {*table.columns} ^ {*tables[0].columns}))
        if odd and not (path == STANDARD or "json" in ending(path)):
            raise ValueError(f"only one of {paths[0]} and {path} has {', '.join(odd)}")
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def named(paths: Sequence[str]) -> list[str]:
    """Return the files that patterns name, which not every shell looks up."""
    names: list[str] = []
    for path in paths:
        place = Path(path).expanduser()
        is_pattern = set("*?[") & set(path) and not place.exists()
        matches = sorted(glob(str(place))) if is_pattern else []  # noqa: PTH207 - any folder
        names += matches or [path]
    return names


def read_table(path: str, how: Writing) -> pd.DataFrame:
    """Read a table by its file's ending; ``-`` is JSON Lines from standard input."""
    if path == STANDARD:
        text = _read_text(sys.stdin.buffer, how)
        return _lines_of(text, "standard input (JSON Lines)")
    read, _ = _FORMS[ending(path)]
    opener = gzip.open if _is_packed(path) else open
    try:
        with opener(Path(path).expanduser(), "rb") as file:
            return read(cast("BinaryIO", file), how)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from None


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table by its file's ending; ``-`` is JSON Lines to standard output."""
    if path == STANDARD:
        _write_lines(table, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    _, write = _FORMS[ending(path)]
    with replacing(Path(path).expanduser()) as file:
        if not _is_packed(path):
            write(table, file)
            return
        # without name and time, equal tables are equal files
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            write(table, cast("BinaryIO", packed))


def check_target(table: pd.DataFrame, path: str) -> None:
    """Raise for a file that could not be written, before anything is paid for."""
    if path == STANDARD:
        return
    kind, target = ending(path), Path(path).expanduser()
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is not a file that can be replaced")
    _check_folder(target)
    if kind == ".parquet":
        _arrow(table)


def check_page(path: str) -> None:
    """Raise for a page that could not be written, before anything is paid for."""
    _check_folder(page_path(path))


def _check_folder(target: Path) -> None:
    """Raise for a file whose folder takes none."""
    folder = target.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        there = "cannot be written to" if folder.is_dir() else "is not there"
        raise ValueError(f"the folder {folder} {there}")


def same_file(one: str, other: str) -> bool:
    """Return whether two paths lead to one place, also where there is no file yet."""
    paths = (Path(path).expanduser().resolve() for path in (one, other))
    return one != STANDARD != other and len({*paths}) == 1


def beside(path: str) -> Path:
    """Return the file beside another, with the same ending, for a part of it."""
    place = Path(path).expanduser()
    whole = "".join(place.suffixes[-1 - _is_packed(path) :])
    return place.with_name(f"{place.name.removesuffix(whole)}.partial{whole}")


def ending(path: str) -> str:
    """Return a path's ending in small letters without .gz; raise for another."""
    packed = _is_packed(path)
    suffix = Path(Path(path).stem if packed else path).suffix.lower()
    if suffix in _FORMS and not (packed and suffix == ".parquet"):
        return suffix
    raise ValueError(
        f"{path}: the ending must be .csv, .tsv, .jsonl, .ndjson or .json, with .gz "
        "or without, or .parquet; - alone is standard input or output"
    )


def _is_packed(path: str) -> bool:
    return Path(path).suffix.lower() == ".gz"


# -- reading --------------------------------------------------------------------


def _read_csv(file: BinaryIO, how: Writing, sep: str = ",") -> pd.DataFrame:
    read: Any = partial(
        pd.read_csv,
        file,
        dtype="str",  # 007 must not become 7 in the result
        keep_default_na=False,
        na_values=[""],
        index_col=False,
        encoding=how.encoding or "utf-8-sig",
        sep=how.sep or sep,
    )
    try:
        with warnings.catch_warnings():
            # a line with more cells than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = read()
            if table.shape[1] == 1 and file.seekable():
                # there a blank line is a row with an empty cell
                file.seek(0)
                whole = read(skip_blank_lines=False)
                table = whole if whole.columns.equals(table.columns) else table
    except pd.errors.EmptyDataError:
        msg = f"{file.name} is empty: a CSV needs a line of column names"
        raise ValueError(msg) from None
    except UnicodeError as error:
        raise _not_text(file, how, error) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{file.name} is not a CSV: {str(error).strip()}") from None
    return table


def _not_text(file: BinaryIO, how: Writing, error: UnicodeError) -> ValueError:
    name, why = how.encoding or "UTF-8", getattr(error, "reason", error)
    return ValueError(f"{file.name} is not text in {name}: {why}; see --encoding")


def _read_text(file: BinaryIO, how: Writing) -> str:
    try:
        return file.read().decode(how.encoding or "utf-8-sig")
    except UnicodeError as error:
        raise _not_text(file, how, error) from None


def _read_json(file: BinaryIO, how: Writing) -> pd.DataFrame:
    """Read an array of objects, or several objects a line each."""
    text = _read_text(file, how)
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _lines_of(text, file.name)
        raise ValueError(f"{file.name} is not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = f"{file.name} must be a JSON array of objects; JSON Lines end in .jsonl"
        raise ValueError(msg)
    return pd.DataFrame(rows, dtype=object)


def _read_lines(file: BinaryIO, how: Writing) -> pd.DataFrame:
    return _lines_of(_read_text(file, how), file.name)


def _lines_of(text: str, name: str) -> pd.DataFrame:
    """Read JSON Lines; every cell stays what it was, hence object columns."""
    rows = []
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{name}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            msg = f"{name}, line {number} is not a JSON object: {line[:40]!r}"
            raise ValueError(msg)  # noqa: TRY004 - it is about a file's text
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def _read_parquet(file: BinaryIO, _: Writing) -> pd.DataFrame:
    _pyarrow()
    table = pd.read_parquet(file)
    # an index that says something is a column elsewhere
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


# -- writing --------------------------------------------------------------------


def _write_csv(table: pd.DataFrame, file: BinaryIO, sep: str = ",") -> None:
    plain = table.copy(deep=False)
    for at in range(table.shape[1]):
        column = table.iloc[:, at]
        if pd.api.types.is_object_dtype(column.dtype):
            cells: Any = [_cell(value) for value in column]
            cells = pd.Series(cells, table.index, dtype=object)
            plain.isetitem(at, cells)
    # half a character must not cost the whole file
    plain.to_csv(
        file, sep=sep, index=False, encoding="utf-8", errors="backslashreplace"
    )


def _cell(value: Any) -> Any:
    """Return a cell as CSV has it: lists, vectors and mappings as JSON."""
    nested = isinstance(value, (list, dict)) or hasattr(value, "shape")
    return _line(value).decode() if nested else value


def _write_json(table: pd.DataFrame, file: BinaryIO) -> None:
    rows = b",\n".join(_lines(table))
    file.write(b"[\n" + rows + b"\n]\n" if rows else b"[]\n")


def _write_lines(table: pd.DataFrame, file: BinaryIO) -> None:
    file.writelines(line + b"\n" for line in _lines(table))


def _lines(table: pd.DataFrame) -> Iterator[bytes]:
    names = [str(name) for name in table.columns]
    for row in as_objects(table).itertuples(index=False, name=None):
        yield _line(dict(zip(names, row, strict=True)))


def _line(value: Any) -> bytes:
    """Return a value as JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
        return text.encode()
    except ValueError:  # NaN and infinity, which are null, or half a character
        text = json.dumps(value, default=_plain)
        return json.dumps(json.loads(text, parse_constant=_no_number)).encode()


def _no_number(_: str) -> None:
    """Return what JSON has for a number that it cannot write."""


def _plain(value: Any) -> Any:
    """Convert what JSON does not know."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return value.tolist()
    return str(value)


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
    except (arrow.ArrowException, UnicodeError) as error:  # or half a character
        parts = [error] if isinstance(error, UnicodeError) else error.args
        why = "; ".join(map(str, parts))
        raise ValueError(f"Parquet cannot hold the table: {why}") from None


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs pyarrow: pip install 'pandas-llm-accessor[parquet]'"
        ) from error
    return pa


_FORMS: Mapping[str, tuple[_Read, _Write]] = {
    ".csv": (_read_csv, _write_csv),
    ".tsv": (partial(_read_csv, sep="\t"), partial(_write_csv, sep="\t")),
    ".json": (_read_json, _write_json),
    ".jsonl": (_read_lines, _write_lines),
    ".ndjson": (_read_lines, _write_lines),
    ".parquet": (_read_parquet, _write_parquet),
}

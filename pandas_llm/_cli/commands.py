"""The commands that run a verb over a file."""

from __future__ import annotations

import difflib
import json
import sys
import tempfile
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pandas_llm import options
from pandas_llm._cli import files
from pandas_llm._run import last_usage
from pandas_llm._verbs import filter as filter_rows
from pandas_llm._verbs import planner
from pandas_llm.cache import location
from pandas_llm.errors import ConfigurationError, GenerationError, LLMError
from pandas_llm.plan import Plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pandas as pd

DONE, FAILED_ROWS, USAGE, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = """\
exit codes:
  0    every row is answered
  1    some rows failed; OUTPUT is written, they are empty in it and listed on
       stderr
  2    the command, the input or the settings are wrong; nothing was sent
  3    an error that all rows share (a wrong key, no credit, --max-cost) stopped
       the run, or OUTPUT could not be written; OUTPUT is as it was
  130  Ctrl-C; OUTPUT is as it was
After 1, 3 and 130 the same command goes on where it stopped: replies are kept."""

_SHOWN = 20
_MARKS = {";": "';'", "\t": "tab", "|": "'|'"}
"""What may part cells in place of a comma, and how to write it."""
_TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (str, int, float, bool, date, datetime)},
    "list": list[str],
    **{str(kind): kind for kind in (list[str], list[int], list[float])},
}


class Stop(Exception):  # noqa: N818 - it ends the command, for any reason
    """End the command with a message and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def stopping(code: int, *errors: type[Exception]) -> Iterator[None]:
    """End the command with a code at one of some errors."""
    try:
        yield
    except BrokenPipeError:  # the reader has left, as with `| head`
        raise
    except errors as error:
        raise Stop(code, message_of(error)) from error


def parse_keys(text: str) -> dict[str, Any]:
    """Read keys as the command line has them.

    >>> parse_keys("name,score:int,year:int?,tone:good|bad")
    {'name': <class 'str'>, 'score': <class 'int'>, 'year': int | None, \
'tone': ['good', 'bad']}
    """
    keys: dict[str, Any] = {}
    for part in text.split(","):
        name, _, kind = part.partition(":")
        name = name.strip()
        if not name or name in keys or "=" in name:
            what = "a name twice" if name in keys else f"the name {name!r}"
            msg = f"--keys {text!r} has {what}; write question,answer or score:int"
            raise ValueError(msg)
        keys[name] = _type(name, kind.strip() or "str")
    return keys


def _type(name: str, kind: str) -> Any:
    optional = kind.endswith("?")
    kind = kind.removesuffix("?")
    if "|" in kind:
        labels = [label.strip() for label in kind.split("|")]
        return Literal[tuple(labels)] | None if optional else labels
    if kind not in _TYPES:
        near = difflib.get_close_matches(kind, _TYPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_TYPES)}"
        msg = f"--keys: {name} cannot be {kind!r}; {hint} (or labels: good|bad)"
        raise ValueError(msg)
    return _TYPES[kind] | None if optional else _TYPES[kind]


def parse_labels(text: str) -> Any:
    """Read labels: by commas, or JSON with a description each."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"--labels {text!r} is not JSON: {error}") from None
    labels = [label.strip() for label in text.split(",")]
    if "" in labels:
        raise ValueError(f"--labels {text!r} has an empty label; write good,bad")
    return labels


# -- the steps ------------------------------------------------------------------


def run(words: argparse.Namespace) -> int:
    """Run a verb over a file, or show what it would do; return the exit code."""
    chosen = {name: value for name, value in vars(words).items() if name in words.names}
    wrong = (ConfigurationError, ValueError, TypeError, OSError)
    # other errors are of a pilot's rows
    with stopping(STOPPED, LLMError), stopping(USAGE, *wrong):
        plan = _plan(words, chosen)
        table = read(words)
        if table.shape == (0, 0):  # an empty file of JSON Lines has no columns
            files.write_table(table, words.output)
            return DONE
        if words.preview:
            print(_previewed(plan, table, words.rows))
            return DONE
        if words.estimate:
            print(str(plan.estimate(table, words.pilot)).replace("pilot=", "--pilot "))
            return DONE
        _check(words, plan, table)
    out, failures = _answered(plan, table, words, chosen)
    result = _joined(table, out)
    try:
        with stopping(STOPPED, OSError, ValueError):
            files.write_table(result, words.output)
            if words.report is not None:
                result.llm.report(words.report)
    except Stop as stop:
        rest = _how_to_go_on(result, files.STANDARD, chosen)
        message = f"{words.output} could not be written: {stop}{rest}"
        raise Stop(STOPPED, message) from stop
    _report(table, out, failures, words)
    failed = failures is not None or (words.verb == "filter" and last_usage().failed)
    return FAILED_ROWS if failed else DONE


def read(words: argparse.Namespace) -> pd.DataFrame:
    """Read INPUT, which may be several files."""
    sep = "\t" if words.sep in ("tab", "\\t") else words.sep
    writing = files.Writing(sep, words.encoding)
    table = files.read_tables(words.input, writing)
    if table.shape[1] == 1 and sep is None:
        name = str(table.columns[0])
        for flag in (flag for mark, flag in _MARKS.items() if mark in name):
            say(f"warning: the only column is {name!r}: is it --sep {flag}?")
    return table


def _plan(words: argparse.Namespace, chosen: dict[str, Any]) -> Any:
    if words.template is None and "messages" not in chosen:
        words.parser.error("the following arguments are required: -t/--template")
    template = words.template and _text(words.template, "--template")
    if chosen.get("system"):
        chosen["system"] = _text(chosen["system"], "--system")
    keys: Any = None
    if words.verb == "classify":
        keys = parse_labels(words.labels)
    elif words.verb in ("generate", "extract"):
        keys = parse_keys(words.keys)
    elif words.verb == "filter":
        return planner(filter_rows)(None, template, **chosen)
    return Plan(template, keys, verb=words.verb, errors="raise", **chosen)


def _text(value: str, flag: str) -> str:
    """Return the file's text, or the value itself where there is no such file."""
    try:
        path = Path(value).expanduser()
        if path.is_file():
            return path.read_text(encoding="utf-8-sig")
    except UnicodeError:
        raise ValueError(f"{flag}: {value} is not text in UTF-8") from None
    except (OSError, RuntimeError):
        return value  # too long for a name, or ~ of an unknown user
    if path.suffix in (".txt", ".md", ".tmpl", ".j2") and len(value.split()) == 1:
        raise ValueError(f"{flag}: there is no file {value}")
    return value


def _check(words: argparse.Namespace, plan: Any, table: pd.DataFrame) -> None:
    """Find out what could go wrong after the run, before it."""
    if any(files.same_file(words.output, path) for path in files.named(words.input)):
        raise ValueError("OUTPUT is INPUT: choose another name for the result")
    files.check_target(table, words.output)
    if words.report is not None:
        files.check_page(words.report)
    new = plan(table.head(0))
    names = [new.name] if new.ndim == 1 else new.columns
    taken = [name for name in names if name in table.columns]
    if words.verb in ("complete", "classify", "embed") and taken and new.ndim == 1:
        raise ValueError(f"the input has a column {taken[0]!r} already: see --name")


def _answered(
    plan: Any, table: pd.DataFrame, words: argparse.Namespace, chosen: dict[str, Any]
) -> tuple[Any, pd.DataFrame | None]:
    try:
        return plan(table), None
    except GenerationError as error:
        return error.partial, error.failures
    except (LLMError, KeyboardInterrupt) as error:
        if isinstance(error, ConfigurationError):
            raise Stop(USAGE, message_of(error)) from error
        interrupted = isinstance(error, KeyboardInterrupt)
        lines = ["interrupted" if interrupted else message_of(error)]
        for note in getattr(error, "__notes__", ()):
            done, is_progress, _ = note.partition(" rows were done;")
            if not is_progress:
                lines.append(note)  # such as what a batch left at the provider
                continue
            part = _joined(table, getattr(error, "partial", None))
            rest = _how_to_go_on(part, words.output, chosen)
            lines.append(f"{done} rows were done.{rest}")
        code = INTERRUPTED if interrupted else STOPPED
        raise Stop(code, "\n".join(lines)) from error
    except (ValueError, TypeError) as error:
        if hasattr(error, "partial"):
            raise  # of the run: not the user's
        raise Stop(USAGE, message_of(error)) from error


def _how_to_go_on(part: pd.DataFrame, output: str, chosen: dict[str, Any]) -> str:
    """Describe where the answers are; without a cache put them into a file."""
    of_run = {k: v for k, v in chosen.items() if k in options.get_options()}
    settings = options.resolve(of_run)
    if location(settings.cache) is not None:
        paying = " without --refresh" if settings.refresh else ""
        return (
            f"\nThe replies are kept: the same command{paying} goes on from there; "
            "with --replay it writes what is done, and sends nothing."
        )
    place = files.beside(output)
    try:
        files.write_table(part, str(place))
    except (OSError, ValueError):  # or standard output
        place = Path(tempfile.mkdtemp()) / "partial.jsonl"
        files.write_table(part, str(place))
    return f"\nNothing is kept without a cache: the answers are in {place}"


def _joined(table: pd.DataFrame, out: Any) -> pd.DataFrame:
    """Put the input's columns to the left of a result that has none of them."""
    new: pd.DataFrame = out.to_frame() if out.ndim == 1 else out
    if out.ndim > 1 and set(table.columns) <= set(new.columns):
        return new
    joined = table.take(new.index.to_numpy())
    joined.attrs = dict(out.attrs)
    for name in new.columns:
        joined[name] = new[name]
    return joined


# -- what is printed ---------------------------------------------------------------


def _previewed(plan: Any, table: pd.DataFrame, rows: int) -> str:
    shown = plan.preview(table, rows)
    parts = []
    for at, row in zip(shown.index, shown.to_dict("records"), strict=True):
        prompt = row.pop("prompt")
        lines = [f"{name}: {text}\n" for name, text in row.items() if text]
        parts.append("\n".join([f"--- row {at}", *lines, prompt or ""]))
    return "\n".join(parts)


def _report(
    table: pd.DataFrame,
    out: Any,
    failures: pd.DataFrame | None,
    words: argparse.Namespace,
) -> None:
    if failures is not None:
        for row in failures.head(_SHOWN).itertuples():
            say(f"row {row.position} failed ({row.kind}): {row.message}")
        if len(failures) > _SHOWN:
            say(f"… and {len(failures) - _SHOWN} more")
        say(f"{len(failures)} of {len(table)} rows failed; they are empty in OUTPUT")
    if words.quiet:
        return
    used = last_usage()
    cost = "" if used.cost != used.cost else f", ${used.cost:.4g}"
    where = "" if words.output == files.STANDARD else f" in {words.output}"
    say(
        f"{_many(len(table), 'row')} became {len(out)}{where}; "
        f"{_many(used.requests, 'request')}, {_many(used.cached, 'row')} from the "
        f"cache, {used.input_tokens} tokens in, "
        f"{used.output_tokens} out{cost}"
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def message_of(error: BaseException) -> str:
    """Return what went wrong, in words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return str(error.args[0] if isinstance(error, KeyError) else error)


def say(text: str) -> None:
    """Print a line to standard error."""
    print(f"pandas-llm: {text}", file=sys.stderr)

"""The command line: ``pandas-llm``, or ``python -m pandas_llm``."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas_llm
from pandas_llm import cache, options
from pandas_llm._cli import flags, tables
from pandas_llm._cli.commands import (
    DONE,
    EXIT_CODES,
    INTERRUPTED,
    STOPPED,
    USAGE,
    Stop,
    run,
    say,
    stopping,
)
from pandas_llm.errors import LLMError, LLMWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_VERBS = {
    "generate": ("zero or more records for each row", options.ExplodeOptions),
    "extract": ("one record for each row", options.RecordOptions),
    "complete": ("a text for each row", options.SeriesOptions),
    "classify": ("one of your labels for each row", options.LabelOptions),
    "filter": ("the rows for which the answer is yes", options.FilterOptions),
    "embed": ("a vector for each row", options.VectorOptions),
}
_COLUMNS = 80
_KEYED = ("generate", "extract")
_FILES = """\
INPUT and OUTPUT are .csv, .tsv, .jsonl, .ndjson or .json, with .gz or without,
or .parquet; - is standard input or output, as JSON Lines. Several INPUTs are
read one below the other. A CSV's cells stay the texts they are. OUTPUT appears
when it is whole. The key comes from the environment, such as OPENAI_API_KEY.
"""
_EXAMPLES = {
    "generate": (
        "docs.csv -o faq.jsonl -t 'Questions on: ${text}' --keys question,answer",
        "'2026-*.csv.gz' -o facts.parquet -t prompt.txt --keys fact --max-cost 5",
    ),
    "extract": (
        "mail.tsv -o mail.parquet -t prompt.txt --keys 'name,year:int,born:date?'",
        "mail.csv --sep ';' --encoding cp1252 -t 'From: ${text}' --keys sum:float",
    ),
    "complete": (
        "docs.csv -o short.csv -t 'Shorten: ${text}' --name short",
        "docs.csv -t 'Shorten: ${text}' --preview",
    ),
    "classify": (
        "docs.csv -o moods.csv -t 'Mood of: ${text}' --labels good,bad",
        "docs.csv -t 'Mood of: ${text}' --labels good,bad --n 5 --confidence",
    ),
    "filter": (
        "docs.csv -o history.csv -t 'Is this about history? ${text}'",
        "a.jsonl b.jsonl -o kept.jsonl.gz -t 'Is it spam? ${text}' --keep-undecided",
    ),
    "embed": (
        "docs.csv -o vectors.parquet -t text --model openai/text-embedding-3-small",
        "docs.csv -o wide.csv -t '${title}: ${text}' --expand --dimensions 64",
    ),
    "chunk": (
        "books.jsonl -o parts.jsonl --column text --max-tokens 400",
        "books.csv -o parts.csv --column text --max-tokens 200 --overlap 20",
    ),
    "evaluate": (
        "moods.csv --predicted label --gold truth",
        "moods.parquet --predicted label --gold truth --by shop -o figures.csv",
    ),
    "report": ("moods.parquet -o run.html", "moods.parquet"),
    "demo": ("", "--model llama3.2 --base-url http://localhost:11434/v1"),
    "simulate": ("", "--port 9000 --latency 0.5 --requests-per-minute 600"),
    "cache": ("info", "clear --yes"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, one of `commands.EXIT_CODES`."""
    parser = _parser()
    words, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(words.parser, unknown)

    def tell(text: str) -> None:
        say(_with_flags(text, _flags_of(words.parser)))

    def show(message: Warning | str, *_: Any) -> None:
        tell(f"warning: {message}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show  # type: ignore[assignment]
            warnings.simplefilter("always", LLMWarning)
            return words.run(words) or DONE
    except Stop as stop:
        tell(str(stop))
        return stop.code
    except BrokenPipeError:  # the reader has left, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED
    except KeyboardInterrupt:
        return INTERRUPTED


def _flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return all flags of a parser."""
    return [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 - argparse has no other list


def _with_flags(text: str, known: Iterable[str]) -> str:
    """Write the options that a message of the package names as flags.

    >>> _with_flags("n=3, values={'a': 'b'}, dedupe=False", ["--n", "--values"])
    "--n 3, --values 'a=b', dedupe=False"
    >>> _with_flags("n must be 1: prices={'m': (1, 2)}", ["--n", "--prices"])
    "--n must be 1: --prices 'm=1, 2'"
    """
    names = "|".join(f[2:].replace("-", "_") for f in known if f[:2] == "--")

    def flag(match: re.Match[str]) -> str:
        no = "no-" * (match[2] == "False")
        return f"--{no}{match[1].replace('_', '-')}{' ' * (match[2] == '')}"

    text = re.sub(",? or pass api_key=", "", text)  # the environment alone has it
    text = re.sub(rf"\A({names})(?= (?:must|is) )", r"\1=", text)
    pair = rf"\b({names})={{'([^']*)': (?:'([^']*)'|\(([^)]*)\))}}"
    text = re.sub(pair, r"\1='\2=\3\4'", text)
    return re.sub(rf"(?<![\w.-])({names})=(True|False|(?=['{{\d]))?", flag, text)


class _Version(argparse.Action):
    """Read the version when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it, and end."""
        print(pandas_llm.__version__)
        parser.exit()


def _refuse(parser: argparse.ArgumentParser, unknown: list[str]) -> None:
    """End as argparse does, and suggest what was meant."""
    known = _flags_of(parser)
    word = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(word, known, n=1) if word[:1] == "-" else []
    hint = f"; did you mean {near[0]}?" if near else ""
    name = word.removeprefix("--").replace("-", "_")
    ours = [flag.removeprefix("--").replace("-", "_") for flag in known]
    instead = options.instead_of(name, None, ours) if word[:2] == "--" else None
    if instead is not None:
        flag = instead.removeprefix("write ").rstrip("=").replace("_", "-")
        hint = f"; write --{flag}" if instead.endswith("=") else f"; {instead}"
    parser.error(f"unrecognized argument: {unknown[0]}{hint}")


def _parser() -> argparse.ArgumentParser:
    script = Path(sys.argv[0]).stem == "pandas-llm"
    parser = argparse.ArgumentParser(
        prog="pandas-llm" if script else "python -m pandas_llm",
        description="Ask language models about the rows of tables.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action=_Version, nargs=0)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in _VERBS:
        _add_verb(commands, verb)
    _add_tables(commands)
    demo = _add(
        commands, "demo", _demo, "question and answer pairs about packages here"
    )
    flag = demo.add_argument
    flag("--model", help="a real model; without it the simulator answers")
    flag("--base-url", help="the address of a compatible server")
    simulate = _add(commands, "simulate", _simulate, "serve the simulator until Ctrl-C")
    flag = simulate.add_argument
    flag("--host", default="127.0.0.1")
    flag("--port", type=int, default=8765)
    flag("--latency", type=float, default=0.0, help="seconds")
    flag("--requests-per-minute", type=float)
    flag("--tokens-per-minute", type=float)
    cache = _add(
        commands, "cache", _cache, "show which replies are kept, or forget them"
    )
    flag = cache.add_argument
    flag("action", choices=["info", "clear"])
    flag("--file", help="a cache file; by default the usual one")
    flag("--yes", action="store_true", help="clear without asking")
    return parser


def _add(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[:1].upper()}{summary[1:]}.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lines = [_broken(f"  pandas-llm {name} {words}") for words in _EXAMPLES[name]]
    parser.epilog = "\n".join(["examples:", *lines])
    parser.set_defaults(run=run, parser=parser)
    return parser


def _broken(line: str) -> str:
    """Return a command in lines of 80 columns, broken before an option."""
    if len(line) <= _COLUMNS:
        return line.rstrip()
    at = line.rindex(" -", 0, _COLUMNS - 2)
    return f"{line[:at]} \\\n     {line[at:]}"


def _add_verb(commands: Any, verb: str) -> None:
    """Add a verb, with a flag for each of its options."""
    summary, own = _VERBS[verb]
    parser = _add(commands, verb, run, summary)
    parser.epilog = f"{parser.epilog}\n\n{_FILES}\n{EXIT_CODES}"
    needs = {"classify": " --labels LABELS"} | dict.fromkeys(_KEYED, " --keys KEYS")
    words = f"INPUT … -t TEMPLATE{needs.get(verb, '')}"
    parser.usage = f"%(prog)s {words}\n{' ' * 12}[-o OUTPUT] [options]"
    parser.set_defaults(verb=verb, names=options.listed(own).keys())
    flag = _add_files(parser)
    flag(
        "-t",
        "--template",
        help="the prompt with ${column} for values: a file, or the text itself; not "
        "needed with --messages",
    )
    if verb == "classify":
        words = 'good,bad or JSON: {"good": "what it means", …}'
        flag("--labels", required=True, help=words)
    elif verb in _KEYED:
        words = "new columns: question,answer or with types: score:int, day:date?, "
        words += "tags:list, tone:good|bad (? may be missing)"
        flag("--keys", required=True, help=words)
    flag("--preview", action="store_true", help="show the first prompts; send nothing")
    flag("--rows", type=int, default=3, help="how many --preview shows")
    flag("--estimate", action="store_true", help="show tokens and cost; send nothing")
    flag("--pilot", type=int, default=0, help="rows to answer first for --estimate")
    flag("--report", metavar="HTML", help="also write a page about the run")
    flag("-q", "--quiet", action="store_true", help="no summary")
    flags.add(parser, verb, own)


def _add_files(
    parser: argparse.ArgumentParser, output: str = "by default - (JSON Lines)"
) -> Any:
    """Add INPUT, how it is written, and OUTPUT; return what adds other flags."""
    flag = parser.add_argument
    forms = "a file: .csv, .tsv, .jsonl, .json, .parquet; - is standard input"
    flag("input", metavar="INPUT", nargs="+", help=forms)
    flag("-o", "--output", default="-", help=output)
    flag("--sep", help="what separates INPUT's cells: ';' or tab; by default a comma")
    flag("--encoding", help="INPUT's encoding, such as cp1252; by default UTF-8")
    return flag


def _add_tables(commands: Any) -> None:
    """Add what is done with tables without a model."""
    chunk = _add(
        commands, "chunk", tables.chunk, "cut long texts into chunks, a row each"
    )
    flag = _add_files(chunk)
    flag("--column", help="the column of texts; needed if there are several")
    flag("--max-tokens", type=int, required=True, help="the most tokens in a chunk")
    flag("--overlap", type=int, default=0, help="tokens shared with the chunk before")
    flag("--name", default="chunk", help="the new column that numbers the chunks")
    evaluate = _add(
        commands, "evaluate", tables.evaluate, "how often a column is right"
    )
    flag = _add_files(evaluate, "the figures as a table; by default they are printed")
    flag("--predicted", required=True, help="what a model said")
    flag("--gold", required=True, help="what is true, empty if unknown")
    flag("--by", action="append", help="a column of groups")
    flag("--tolerance", type=float, default=0.0, help="how far a number may be off")
    report = _add(commands, "report", tables.report, "the page about a table's run")
    _add_files(report, "the page, as .html; by default the totals are printed")


@stopping(1, LLMError)
def _demo(words: argparse.Namespace) -> None:
    from pandas_llm._cli import demo

    real = {"model": words.model, "base_url": words.base_url}
    demo.run(print, **{name: value for name, value in real.items() if value})


@stopping(USAGE, OSError, OverflowError)
def _simulate(words: argparse.Namespace) -> None:
    from pandas_llm import simulator

    settings = simulator.Settings(
        latency=words.latency,
        requests_per_minute=words.requests_per_minute,
        tokens_per_minute=words.tokens_per_minute,
    )
    simulator.run_forever(words.host, words.port, settings, print)


@stopping(1, LLMError)
def _cache(words: argparse.Namespace) -> None:
    path = words.file or cache.location(options.resolve({}).cache)
    contents = cache.info(path)
    if contents.path is None:
        print("no file: PANDAS_LLM_CACHE turns the cache off; name a file")
    elif words.action == "info":
        print(f"file     {contents.path}\nreplies  {contents.entries:,}")
        print(f"size     {contents.bytes / 1e6:,.1f} MB")
        if contents.oldest and contents.newest:
            print(f"used     {contents.oldest:%Y-%m-%d} to {contents.newest:%Y-%m-%d}")
    elif words.yes or _confirmed(contents):
        print(f"{cache.clear(path):,} replies forgotten")
    else:
        raise Stop(USAGE, "nothing was forgotten: --yes forgets without asking")


def _confirmed(contents: cache.CacheInfo) -> bool:
    question = (
        f"Forget {contents.entries:,} replies in {contents.path}? They were paid for. "
        "[y/N] "
    )
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")

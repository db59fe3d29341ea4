"""The command line: ``python -m pandas_llm demo`` and ``simulate``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the result is the exit code.

    0: done. 1: the run failed. 2: the command's words are wrong. 130: Ctrl-C.
    """
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pandas_llm", description="Language models over dataframes."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="question and answer pairs about the packages installed here"
    )
    demo.add_argument("--model", help="a real model; without it the simulator answers")
    demo.add_argument("--base-url", help="the address of a compatible server")
    demo.set_defaults(run=_demo)
    simulate = commands.add_parser("simulate", help="serve the simulator until Ctrl-C")
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=int, default=8765)
    simulate.add_argument("--latency", type=float, default=0.0, help="seconds")
    simulate.add_argument("--requests-per-minute", type=float)
    simulate.add_argument("--tokens-per-minute", type=float)
    simulate.set_defaults(run=_simulate)
    return parser


def _demo(given: argparse.Namespace) -> int:
    from pandas_llm import demo
    from pandas_llm.errors import LLMError

    options = {"model": given.model, "base_url": given.base_url}
    try:
        demo.run(print, **{k: v for k, v in options.items() if v})
    except LLMError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _simulate(given: argparse.Namespace) -> int:
    from pandas_llm import simulator

    settings = simulator.Settings(
        latency=given.latency,
        requests_per_minute=given.requests_per_minute,
        tokens_per_minute=given.tokens_per_minute,
    )
    simulator.run_forever(given.host, given.port, settings, print)
    return 0


if __name__ == "__main__":
    sys.exit(main())

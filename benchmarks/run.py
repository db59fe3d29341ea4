"""One command for all figures: ``python benchmarks/run.py [--quick] [parts …]``."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import clients
from parts import faults, growth, imports, latency, limits, pace, screen, zero

PARTS = {
    "zero": zero.main,
    "latency": latency.main,
    "pace": pace.main,
    "limits": limits.main,
    "faults": faults.main,
    "growth": growth.main,
    "imports": imports.main,
    "screen": screen.main,
}


class Bench:
    """What the parts share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.quick = options.quick
        self.repetitions = options.repetitions or (2 if options.quick else 3)
        self._only = options.clients
        self._clients = [c for c in clients.clients() if self._wanted(c)]
        for client in self._clients:
            clients.prepare(client)
            if client.broken:
                print(f"{client.name} is left out: {client.broken}.\n")
        self.python = next(
            (c.python for c in self.working() if c.environment == "pandas_llm"),
            Path(sys.executable),
        )
        self.server = clients.Server(self.python)

    def _wanted(self, client: clients.Client) -> bool:
        own = client.environment == "pandas_llm"
        return own or self._only is None or client.name in self._only

    def working(self) -> list[clients.Client]:
        return [client for client in self._clients if not client.broken]

    def pick(self, *names: str) -> list[clients.Client]:
        return [client for client in self.working() if client.name in names]

    def peers(self) -> list[clients.Client]:
        return [c for c in self.working() if c.environment != "pandas_llm"]

    def has_option(self, name: str) -> bool:
        probe = f"import pandas_llm; print({name!r} in pandas_llm.get_options())"
        done = subprocess.run(
            [str(self.python), "-c", probe], check=False, capture_output=True, text=True
        )
        return done.stdout.strip() == "True"


def machine() -> str:
    """Name the processor, not the computer."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.split(":")[1].strip() for x in lines if "model name" in x)
    except (OSError, StopIteration):
        pass
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} cores{load}; {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def versions(bench: Bench) -> str:
    found: dict[str, str] = {}
    for client in bench.working():
        for name, version in client.versions.items():
            if version != "none":
                found.setdefault(f"{name} {version}", "")
    return ", ".join(sorted(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    parser.add_argument("--repetitions", type=int, help="of the interleaved runs")
    parser.add_argument(
        "--clients", nargs="*", help="peers to compare with; none: pandas_llm alone"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(
            f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}"
        )
    bench = Bench(options)
    print(f"{dt.datetime.now(dt.UTC).date()}; {machine()}\n", flush=True)
    try:
        for name in options.parts or PARTS:
            begun = time.monotonic()
            PARTS[name](bench)
            clients.note(f"{name}: {time.monotonic() - begun:.0f} s")
    finally:
        bench.server.close()
    print(f"Versions: {versions(bench)}")


if __name__ == "__main__":
    main()

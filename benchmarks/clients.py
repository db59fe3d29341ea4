"""The clients compared: their environments, made here, and how one is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
FLOOR, OURS = "minimal aiohttp loop", "pandas_llm"


@dataclass
class Client:
    name: str
    script: str
    environment: str
    packages: tuple[str, ...]
    rows: int = 600
    """Rows of the first part: enough for a second or two of CPU."""
    uvloop: bool = False
    """Whether it brings uvloop along."""
    broken: str = ""
    python: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)


def clients() -> list[Client]:
    own = (f"{HERE.parent}[speed]",)
    return [
        Client(FLOOR, "floor.py", "pandas_llm", own, 6000, uvloop=True),
        Client(OURS, "ours.py", "pandas_llm", own, 6000, uvloop=True),
        Client(
            "parallel-parrot",
            "parallel_parrot_data.py",
            "parallel-parrot",
            ("parallel-parrot",),
            2000,
            uvloop=True,
        ),
        Client("openai", "openai_semaphore.py", "openai", ("openai",)),
        Client(
            "langchain-openai",
            "langchain_batch.py",
            "langchain-openai",
            ("langchain-openai",),
        ),
        Client("litellm", "litellm_semaphore.py", "litellm", ("litellm",)),
        Client("openaivec", "openaivec_batch.py", "openaivec", ("openaivec",), 300),
    ]


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(base) / "pandas_llm_benchmarks"


def prepare(client: Client) -> None:
    """Make the environment, or take the one that is there."""
    place = cache() / client.environment
    bin_ = "Scripts" if sys.platform == "win32" else "bin"
    client.python = place / bin_ / "python"
    stamp = place / "packages.txt"
    wanted = "\n".join((sys.version, *client.packages))
    if client.environment == "pandas_llm":
        wanted += (HERE.parent / "pyproject.toml").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    note(f"making an environment for {client.name}")
    install = ["install", "-q", "--disable-pip-version-check", "--upgrade"]
    if client.environment == "pandas_llm":
        install.append("-e")
    try:
        _quiet([sys.executable, "-m", "venv", "--clear", str(place)], 120)
        pip = [str(client.python), "-m", "pip", *install]
        _quiet([*pip, *client.packages], 600)
    except (subprocess.SubprocessError, OSError) as error:
        client.broken = f"cannot be installed ({last_line(error)})"
        return
    stamp.write_text(wanted)


def _quiet(command: list[str], seconds: float) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)


def last_line(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return (str(text).strip().splitlines() or ["?"])[-1][:120]


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Server:
    """One server process; each has its own knobs and counters."""

    def __init__(self, python: Path) -> None:
        command = [str(python), str(HERE / "server.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.base_url = f"{self._url}/v1"
        # loopback never goes through a proxy
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def configure(self, **settings: object) -> None:
        self._opener.open(f"{self._url}/configure", json.dumps(settings).encode())

    def stats(self) -> dict:
        with self._opener.open(f"{self._url}/stats") as answer:
            return json.load(answer)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def run(client: Client, job: dict, seconds: float = 120.0) -> dict:
    """Run a client once; an answer with `error` when there is no result."""
    command = [str(client.python), str(HERE / "peers" / client.script)]
    begun = time.monotonic()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("OPENAI_")
    }
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as place:
        environment["PANDAS_LLM_CACHE"] = str(Path(place) / "replies.sqlite")
        try:
            done = subprocess.run(
                [*command, json.dumps(job)],
                check=False,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=seconds,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {seconds:.0f} s"}
        log.seek(0)
        if done.returncode:
            lines = log.read().strip().splitlines() or ["?"]
            return {"error": lines[-1][:120]}
    note(f"  {client.name}, {job['rows']} rows: {time.monotonic() - begun:.1f} s")
    result = json.loads(done.stdout.splitlines()[-1])
    client.versions.update(result["versions"])
    return result

"""aimock, somebody else's mock server, in a process of its own.

It speaks as OpenAI, Anthropic and Google and breaks a share of its answers:
``npm install --prefix tests`` installs it.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

PROGRAM: Final = (
    Path(__file__).parents[1] / "node_modules/@copilotkit/aimock/dist/cli.js"
).resolve()
START_TIMEOUT: Final = 60.0  # seconds; about one is usual
_LISTENING: Final = re.compile(r"listening on (http://\S+)")


def missing() -> str:
    """Return what lacks to start it, nothing if it can be started."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not PROGRAM.exists():
        return "aimock is not installed (npm install --prefix tests)"
    return ""


class AimockServer:
    """Start aimock on a free loopback port, stop it at the end.

    Parameters
    ----------
    answers
        Part of a prompt to the text of the answer.
    **chaos
        Shares of answers to break: ``drop``, ``malformed``, ``disconnect``,
        ``ratelimit``.
    """

    def __init__(self, answers: dict[str, str], **chaos: float) -> None:
        self._answers = answers
        self._chaos = chaos
        self._cleanup = ExitStack()
        self.origin = ""

    def __enter__(self) -> Self:
        """Start the server and wait until it listens."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            process = stack.enter_context(self._start(folder))
            stack.callback(process.kill)
            guard = threading.Timer(START_TIMEOUT, process.kill)
            guard.start()
            stack.callback(guard.cancel)
            self.origin = _origin(process)
            guard.cancel()
            # else a full pipe would stop it
            threading.Thread(target=process.stdout.read, daemon=True).start()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the server."""
        self._cleanup.close()

    def journal(self, path: str = "/__aimock/journal?limit=5000") -> list[Any]:
        """Return the requests that came in, with what was done to them."""
        connection = http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=9)
        try:
            connection.request("GET", path)
            found = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found["entries"] if isinstance(found, dict) else found

    def _start(self, folder: Path) -> subprocess.Popen[str]:
        fixtures = [
            {"match": {"userMessage": part}, "response": {"content": text}}
            for part, text in self._answers.items()
        ]
        file = folder / "fixtures.json"
        file.write_text(json.dumps({"fixtures": fixtures}))
        command = ["node", str(PROGRAM), "--port", "0", "--fixtures", str(file)]
        command += ["--journal-max", "5000"]
        for name, share in self._chaos.items():
            command += [f"--chaos-{name}", str(share)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def _origin(process: subprocess.Popen[str]) -> str:
    said = []
    for line in process.stdout:
        said.append(line)
        if found := _LISTENING.search(line):
            return found[1]
    message = f"aimock did not start:\n{''.join(said)[-2000:]}"
    raise RuntimeError(message)

"""A GGUF file served by llama.cpp, in a process of its own, while a run needs it."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pandas_llm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SCRIPT: Final = str(Path(__file__).with_name("server.py"))
_running: dict[tuple[int, Path], Llama] = {}
"""By process: a fork must not stop the server of its parent."""
_lock: Final = threading.Lock()


class Llama:
    """One llama.cpp with one file; it ends with this process, however that ends."""

    def __init__(self, path: Path, slots: int) -> None:
        self.key = secrets.token_urlsafe(24)  # others on this machine may not ask
        self.slots, self.users = slots, 0
        self._path, self._address = path, ""
        self._loading = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self.process = subprocess.Popen(  # noqa: S603 - this interpreter, our file
            [sys.executable, _SCRIPT, str(path), str(slots), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # at Ctrl-C the run stops it, not the terminal
        )
        assert self.process.stdin is not None  # noqa: S101 - for types
        self.process.stdin.write(f"{self.key}\n".encode())
        self.process.stdin.flush()

    def address(self) -> str:
        """Return where OpenAI's paths begin, once the file is loaded."""
        assert self.process.stdout is not None  # noqa: S101 - for types
        with self._loading:
            if not self._address:
                self._address = self.process.stdout.readline().decode().strip()
        if not self._address:
            self.process.wait()
            self.check()
        return f"{self._address}/v1"

    def check(self) -> None:
        """Raise ConfigurationError if the process has ended, with its last words."""
        if self.process.poll() is None:
            return
        self._log.seek(0)
        log = self._log.read().decode(errors="replace").splitlines()
        why = [line.partition(" E ")[2] for line in log if " E " in line] or log[-1:]
        raise ConfigurationError(
            f"llama.cpp cannot serve {str(self._path)!r}: it ended with code "
            f"{self.process.returncode}: {''.join(why[:1]).strip()}"
        )

    def stop(self) -> None:
        """End the process; nothing of it is left."""
        self.process.kill()
        self.process.communicate()
        self._log.close()


@asynccontextmanager
async def served(path: Path, slots: int) -> AsyncIterator[tuple[str, Llama]]:
    """Serve a file while it is used; yield where OpenAI's paths begin, and the server.

    Runs of one process share a file's server, and the slots of the first.
    """
    name = os.getpid(), path
    with _lock:
        server = _running.get(name)
        if server is None or server.process.poll() is not None:
            server = _running[name] = Llama(path, slots)
        server.users += 1
    try:
        yield await asyncio.to_thread(server.address), server
    finally:
        with _lock:
            server.users -= 1
            if not server.users:
                if _running.get(name) is server:
                    del _running[name]
                server.stop()

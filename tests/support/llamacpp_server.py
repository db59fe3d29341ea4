"""A real llama.cpp server with the tiny model, in a process of its own.

In a test::

    with LlamaServer() as server:
        ...  # POST to f"{server.base_url}/chat/completions"

As a script it serves until it is killed::

    python tests/support/llamacpp_server.py --port 8080 --slots 4 --model tiny.gguf
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import xllamacpp

HOST: Final = "127.0.0.1"
START_TIMEOUT: Final = 60.0  # seconds; less than one is usual
POLL_INTERVAL: Final = 0.02
CONTEXT: Final = 4096
MODEL: Final = "tiny-llama"


class LlamaServer:
    """Write the tiny model, serve it on a free loopback port, stop it at the end.

    Parameters
    ----------
    slots
        How many answers are written at the same time, and the largest ``n``.
    context
        Tokens per slot, prompt and answer together; a token is about a byte.
    api_key
        If given, requests need it as bearer token.
    seed
        Seed of the model's weights.
    memory
        Megabytes for prompts that no slot holds; 8,192 unless told, as llama.cpp has.
    """

    def __init__(
        self,
        *,
        slots: int = 4,
        context: int = CONTEXT,
        api_key: str | None = None,
        seed: int = 0,
        memory: int | None = None,
    ) -> None:
        self.memory = memory
        self.slots = slots
        self.context = context
        self.api_key = api_key
        self.seed = seed
        self.port = 0
        self._cleanup = ExitStack()

    @property
    def base_url(self) -> str:
        """Where OpenAI's paths begin, ``/v1`` included."""
        return f"http://{HOST}:{self.port}/v1"

    def __enter__(self) -> Self:
        """Start the server and wait until it is ready."""
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            process = stack.enter_context(self._start(directory))
            stack.callback(process.kill)  # at exit first, or the wait would be long
            self.port = wait_until_ready(process, directory)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the server and remove the model."""
        self._cleanup.close()

    def _start(self, directory: Path) -> subprocess.Popen[bytes]:
        """Start this file as a script; llama.cpp's log goes to a file."""
        command = [sys.executable, __file__, "--until-stdin-closes"]
        command += ["--model", str(directory / "tiny.gguf"), "--seed", str(self.seed)]
        command += ["--slots", str(self.slots), "--context", str(self.context)]
        command += ["--port-file", str(directory / "port")]
        if self.memory is not None:
            command += ["--memory", str(self.memory)]
        if self.api_key is not None:
            command += ["--api-key", self.api_key]
        with (directory / "log").open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log
            )


def wait_until_ready(process: subprocess.Popen[bytes], directory: Path) -> int:
    """Return the port once GET /health is ok; raise RuntimeError if it never is."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        port = read_port(directory / "port")
        if port and is_healthy(port):
            return port
        time.sleep(POLL_INTERVAL)
    log = (directory / "log").read_text(errors="replace")
    code = process.poll()
    state = "not ready" if code is None else f"exit code {code}"
    message = f"llama.cpp did not start ({state}):\n{log[-2000:]}"
    raise RuntimeError(message)


def read_port(path: Path) -> int:
    """Return the port in the file, 0 while there is none."""
    # The newline comes last: without it the file may be half written.
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else 0


def is_healthy(port: int) -> bool:
    """Return whether the model is loaded; the answer is 503 until then."""
    # Not urllib: it would send loopback requests to a proxy of the environment.
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        response.read()
        return response.status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def serve(options: argparse.Namespace) -> None:
    """Serve until killed, or until standard input ends if so told."""
    # Not at the top: the tests import this file too and need neither. They may also
    # run without this folder on their path, the script does not.
    import xllamacpp
    from tiny_llama import write_model

    if not options.model.exists():
        write_model(options.model, options.seed)
    server = xllamacpp.Server(parameters(options))
    port = server.listening_address.rpartition(":")[2]
    if options.port_file is not None:
        options.port_file.write_text(f"{port}\n")
    if options.until_stdin_closes:
        # The pipe closes also when the tests crash: no server is left behind.
        sys.stdin.buffer.read()
    else:
        threading.Event().wait()


def parameters(options: argparse.Namespace) -> xllamacpp.CommonParams:
    """Return llama.cpp's settings."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {MODEL}  # else the name is the path, new in each run
    params.hostnames = [HOST]
    params.port = options.port
    params.n_parallel = options.slots
    # llama.cpp divides the context among the slots.
    params.n_ctx = options.slots * options.context
    # A model this small gains nothing from threads, and tests need the cores.
    params.cpuparams.n_threads = 1
    # /v1/embeddings beside the chat; it takes an input only as one batch.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_batch = params.n_ubatch = options.context
    if options.memory is not None:
        params.cache_ram_mib = options.memory
    params.ui = False
    params.offline = True
    if options.api_key is not None:
        params.api_keys = [options.api_key]
    return params


def parse_arguments() -> argparse.Namespace:
    """Return the script's options."""
    parser = argparse.ArgumentParser(description="Serve a GGUF model on loopback.")
    parser.add_argument("--model", type=Path, required=True, help="made if missing")
    parser.add_argument("--seed", type=int, default=0, help="of the model to make")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--context", type=int, default=CONTEXT, help="per slot")
    parser.add_argument("--memory", type=int, help="MB for prompts beside the slots")
    parser.add_argument("--api-key")
    parser.add_argument("--port-file", type=Path, help="write the port here")
    parser.add_argument("--until-stdin-closes", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    serve(parse_arguments())

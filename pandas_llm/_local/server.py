"""A script: serve a GGUF file by llama.cpp until the process that started it ends."""

import os
import sys
import threading
import time

CONTEXT = 4096
"""Tokens of a slot, prompt and answer together."""


def main(path: str, slots: int, parent: int) -> None:
    """Read a key, load the file, write the address, wait for the end of the input."""
    out = os.dup(1)
    os.dup2(2, 1)  # what llama.cpp prints belongs to the log
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys = [sys.stdin.readline().strip()]
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT  # divided among the slots
    params.ui, params.offline = False, True
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    server = xllamacpp.Server(params)
    try:
        os.write(out, f"{server.listening_address}\n".encode())
        sys.stdin.read()
    finally:
        os._exit(0)  # the server's own end would wait for itself


def _watch(parent: int) -> None:
    """End with the parent, even if a fork of it holds standard input open."""
    while sys.platform == "win32" or os.getppid() == parent:
        time.sleep(1)  # noqa: TID251 - a thread of its own
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

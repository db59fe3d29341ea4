"""What processes do to a cache file: run by the tests, killed by itself.

Usage: cache_process.py JOB FOLDER; prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

# the package without its public names: pandas takes a second to import
sys.modules["pandas_llm"] = ModuleType("pandas_llm")
sys.modules["pandas_llm"].__path__ = [str(Path(__file__).parents[2] / "pandas_llm")]

from pandas_llm.cache import Cache, open_cache, writer  # noqa: E402
from pandas_llm.types import Choice, Reply, Tokens  # noqa: E402

ROUNDS, FILES = 6, 4


def key(number):
    return number.to_bytes(16, "big")


def reply(number, length=300):
    return Reply((Choice(f"{number} " + "é" * length),), Tokens(3, 4), "m", "id")


def pause(seconds):
    threading.Event().wait(seconds)


def child(work):
    """Run in a fork that ends without cleaning up; 0 is success."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(20)  # a child that hangs is a failure
    try:
        work()
    except BaseException as error:  # noqa: BLE001
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def wait(pids):
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def put_until_killed(path, first):
    """Put numbers; the log beside the file tells when each was put."""
    log = os.open(f"{path}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    cache = Cache(path)
    for number in range(first, first + 100_000):
        cache.put(key(number), reply(number))
        os.write(log, f"{number} {time.monotonic()}\n".encode())
        pause(0.001)


def kill_in_rounds(path):
    """Kill the one who puts at a random moment; the next goes on in the same file."""
    killed = []
    for number in range(ROUNDS):
        pid = child(lambda first=number * 100_000: put_until_killed(path, first))
        pause(random.uniform(0.05, 0.8))
        killed.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    Path(f"{path}.killed").write_text(json.dumps(killed))


def kill(folder):
    paths = [folder / f"{number}.sqlite" for number in range(FILES)]
    return wait([child(lambda path=path: kill_in_rounds(path)) for path in paths])


def put_range(path, first, count):
    cache = open_cache(path)
    for number in range(first, first + count):
        cache.put(key(number), reply(number))
        if number % 50 == 0:
            cache.flush()
    cache.close()
    assert cache.broken is None, cache.broken


def two(folder):
    """Let processes make and fill one file at the same time."""
    path = folder / "replies.sqlite"
    starts = range(0, 4000, 1000)
    return wait([child(lambda n=n: put_range(path, n, 1000)) for n in starts])


def outlived(cache):
    """Fork, and close the parent's before the child has written all."""
    written, closed = os.pipe(), os.pipe()

    def outlive():
        own = open_cache(cache.path)
        own.put(key(21), reply(21))
        own.flush()
        os.write(written[1], b".")
        os.read(closed[0], 1)
        own.put(key(22), reply(22))
        own.close()

    last = child(outlive)
    os.read(written[0], 1)
    cache.close()
    os.write(closed[1], b".")
    return wait([last])


def fork(folder):
    """Fork while threads read and write; children read and write too."""
    path = folder / "replies.sqlite"
    cache = open_cache(path)
    cache.put(key(0), reply(0))
    cache.flush()
    done = threading.Event()

    def busy():
        number = 1000
        while not done.is_set():
            cache.put(key(number), reply(number))
            cache.get_many([key(0), key(number - 1)])
            number += 1
            pause(0.0005)

    def inherit(number):
        assert cache.get_many([key(0)]) == {key(0): reply(0)}
        cache.put(key(number), reply(number))
        cache.close()
        own = open_cache(path)
        assert own is not cache
        assert own.get_many([key(0), key(number)]).keys() == {key(0), key(number)}
        own.close()

    thread = threading.Thread(target=busy)
    thread.start()
    codes = [wait([child(lambda n=n: inherit(n))])[0] for n in range(1, 21)]
    done.set()
    thread.join()
    codes += outlived(cache)
    again = open_cache(path)
    found = len(again.get_many([key(number) for number in range(23)]))
    again.close()
    return {"codes": codes, "found": found, "broken": cache.broken}


def full(folder):
    """Write more than a file may hold."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    cache = Cache(folder / "replies.sqlite")
    for number in range(2000):
        cache.put(key(number), reply(number))
        if number % 100 == 99:
            cache.flush()
    found = cache.get_many([key(number) for number in range(2000)])
    right = all(found[key(n)] == reply(n) for n in range(2000) if key(n) in found)
    cache.close()
    return {"broken": cache.broken, "found": len(found), "right": right}


def read_only(folder):
    """Meet a file, its folder, and a folder without one, all to read alone."""
    path = folder / "replies.sqlite"
    put_range(path, 0, 10)
    if os.geteuid() == 0:  # whom no mode stops
        os.chown(folder, 65534, 65534)
        os.chown(path, 65534, 65534)
        os.setuid(65534)
    result = {}
    modes = {"file": (0o400, 0o700), "folder": (0o400, 0o500), "new": (0o600, 0o500)}
    for name, (mode, folder_mode) in modes.items():
        path.chmod(mode)
        folder.chmod(folder_mode)
        cache = Cache(folder / "new.sqlite" if name == "new" else path)
        cache.put(key(99), reply(99))
        cache.flush()
        found = len(cache.get_many([key(number) for number in range(100)]))
        cache.close()
        result[name] = {"broken": cache.broken, "found": found}
        folder.chmod(0o700)
    return result


if __name__ == "__main__":
    writer._WRITE_WAIT = 5.0
    job = globals()[sys.argv[1]]
    sys.stdout.write(json.dumps(job(Path(sys.argv[2]))))

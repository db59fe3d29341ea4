"""Many first imports of the package, each in a fork: ``python first_import.py CASES``.

CASES is a JSON list of [code, environment]; printed is what each code printed, as a
JSON list. What the package imports of others is loaded once, before the forks.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

import aiohttp  # noqa: F401 - the forks have it
import pandas as pd  # noqa: F401 - the forks have it
import pydantic  # noqa: F401 - the forks have it


def printed(code: str, environment: dict[str, str]) -> str:
    """Return what the code prints in a fork with more in its environment."""
    end, start = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(start, 1)
        os.environ.update(environment)
        try:
            exec(code, {})
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(0)  # nothing of this script goes on in the fork
    os.close(start)
    with open(end, encoding="utf-8") as said:  # noqa: PTH123 - a pipe has no path
        text = said.read()
    os.waitpid(pid, 0)
    return text


if __name__ == "__main__":
    assert not any(name.startswith("pandas_llm") for name in sys.modules)
    print(json.dumps([printed(*case) for case in json.loads(sys.argv[1])]))

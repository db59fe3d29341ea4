"""What `import pandas_llm` does, in a fresh interpreter."""

import subprocess
import sys

import pandas_llm

PROBE = """
import logging, os, sys, threading, warnings
import pandas
before = set(sys.modules)
state = lambda: (list(logging.getLogger().handlers), warnings.showwarning,
                 threading.active_count(), dict(os.environ))
was = state()
import pandas_llm
assert state() == was
heavy = {"aiohttp", "pydantic", "orjson", "tqdm", "asyncio", "nest_asyncio", "uvloop",
         "IPython", "jsonschema", "botocore"}
print(sorted(heavy & (set(sys.modules) - before)))
"""


def test_import_has_no_side_effect_and_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"


def test_all_is_sorted_and_complete():
    assert pandas_llm.__all__ == sorted(pandas_llm.__all__)
    for name in pandas_llm.__all__:
        assert getattr(pandas_llm, name) is not None
        assert name in dir(pandas_llm)


def test_the_version_is_the_distributions():
    assert pandas_llm.__version__.count(".") == 2

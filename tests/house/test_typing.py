"""What mypy and pyright make of the public names, in a file that both read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pandas_llm

ROOT = Path(pandas_llm.__file__).parents[1]
TYPING = Path(__file__).with_name("typing")


def check(*command, **more):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mypy_reads_the_public_names_as_meant(tmp_path):
    code, said = check(
        *("mypy", "--strict", "--warn-unused-ignores", "--config-file", os.devnull),
        *("--cache-dir", str(tmp_path), "--follow-imports", "silent"),
        str(TYPING / "api.py"),
        env={**os.environ, "MYPYPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pyright_reads_the_public_names_as_meant(tmp_path):
    shutil.copy(TYPING / "api.py", tmp_path)
    given = json.loads((TYPING / "pyrightconfig.json").read_text())
    given["extraPaths"] = [str(ROOT)]
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(given))
    command = ("pyright", "--outputjson", "--project", tmp_path)
    _, said = check(*command, "--pythonpath", sys.executable)
    found = json.loads(said[said.index("{") :])
    assert found["generalDiagnostics"] == []
    assert found["summary"]["filesAnalyzed"] == 1

"""What README, docstrings, demo and notebooks show is run as it stands there."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import pandas_llm
from pandas_llm.accessor import LLMAccessor

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXTRAS = dict.fromkeys(("pandas_llm.spark", "pandas_llm._cluster.spark"), "pyspark")
MODULES = [
    found.name
    for found in pkgutil.walk_packages(pandas_llm.__path__, "pandas_llm.")
    if not found.name.endswith("__main__")
]


def test_the_readmes_code_runs_from_top_to_bottom(capsys):
    space = {}
    for code in CODE.findall((ROOT / "README.md").read_text()):
        exec(compile(code, "README.md", "exec"), space)
    assert "dtype" in capsys.readouterr().out


class Finder(doctest.DocTestFinder):
    """Finds the examples of decorated functions too."""

    def _from_module(self, module, found):
        return super()._from_module(module, inspect.unwrap(found))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.stem
)
def test_the_code_of_a_page_runs_from_top_to_bottom(path, capsys):
    space = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for code in CODE.findall(path.read_text()):
            exec(compile(code, path.name, "exec"), space)
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", ["pandas_llm", *MODULES])
def test_examples_in_docstrings_run(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in Finder().find(module):
            runner.run(found)
    assert runner.summarize().failed == 0
    assert runner.tries or name != "pandas_llm.accessor"


@pytest.mark.parametrize("owner", [LLMAccessor, pandas_llm], ids=lambda o: o.__name__)
def test_examples_of_every_form_of_a_verb_run(owner):
    """Those that are made of one definition; the finder sees what is in modules."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for name, form in inspect.getmembers(owner, inspect.isfunction):
        if not name.startswith("_"):
            words = inspect.getdoc(form)
            test = doctest.DocTestParser().get_doctest(words, {}, name, None, None)
            assert f"{name}(" in words, name
            assert test.examples, name
            runner.run(test)
    assert runner.summarize().failed == 0


@pytest.mark.parametrize("columns", [80, 110])
def test_the_demo_runs_twice_alike_and_fits_the_terminal(columns):
    command = [sys.executable, "-m", "pandas_llm", "demo"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["env"] = {**os.environ, "COLUMNS": str(columns)}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    (out, bar), (again, _) = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], bar
    timeless = [re.sub(r"in [\d.]+ s", "", text) for text in (out, again)]
    assert timeless[0] == timeless[1]
    assert "(2 retries), 0 rows failed" in out
    assert out.count("[simulated]") == 1
    assert max(map(len, out.splitlines())) <= columns
    assert "100%" in bar


def test_the_demo_says_what_is_missing_for_a_real_model():
    done = subprocess.run(
        [sys.executable, "-m", "pandas_llm", "demo", "--model", "m"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "set OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    text = "".join(
        str(output)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "Traceback" not in text
    assert "Warning" not in text


def test_there_is_a_quickstart():
    assert "01-quickstart" in [path.stem for path in NOTEBOOKS]

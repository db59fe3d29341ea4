"""What README, docs, docstrings, demo and notebooks show is run as it stands there."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from unittest import mock

import nbformat
import outputs
import pytest
import renew

import pandas_llm
from pandas_llm.accessor import LLMAccessor

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SPARK = ("pandas_llm.spark", "pandas_llm._cluster.spark", "pandas_llm._cluster.session")
EXTRAS = dict.fromkeys(SPARK, "pyspark")
MODULES = [
    found.name
    for found in pkgutil.walk_packages(pandas_llm.__path__, "pandas_llm.")
    if not found.name.endswith("__main__")
]


@pytest.mark.parametrize(
    "page", outputs.pages(), ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_code_of_a_page_prints_what_stands_below_it(page, tmp_path, monkeypatch):
    """`python docs/outputs.py PAGE` writes what is printed now."""
    monkeypatch.setenv("PANDAS_LLM_CACHE", str(tmp_path / "kept.sqlite"))
    monkeypatch.chdir(tmp_path)  # files that a page writes
    text = page.read_text()
    with mock.patch.dict(os.environ):  # variables that a page sets
        assert outputs.rewritten(text, page.name) == text


def test_a_page_that_shows_what_was_not_printed_is_written_again():
    page = "```python\nprint(1)\n```\n\n```text output\n2\n```\n"
    right = page.replace("2", "1")
    assert outputs.rewritten(page, "") == right
    assert outputs.rewritten("```python\nprint(1)\n```\n", "") == right
    assert outputs.rewritten(right.replace("1", "...", 2), "") != right
    assert outputs.rewritten(right, "") == right


class Finder(doctest.DocTestFinder):
    """Finds the examples of decorated functions too."""

    def _from_module(self, module, found):
        return super()._from_module(module, inspect.unwrap(found))


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


@pytest.mark.parametrize("columns", [80, pytest.param(110, marks=pytest.mark.slow)])
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
def test_a_notebook_runs_from_top_to_bottom_and_shows_what_is_kept(path):
    done = renew.run(path)
    text = "".join(
        str(output)
        for cell in done.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "Traceback" not in text
    assert "Warning" not in text
    kept = nbformat.read(path, as_version=4)
    assert renew.shown(done) == renew.shown(kept), f"run python docs/renew.py {path}"


def test_there_is_a_quickstart():
    assert "01-quickstart" in [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_what_it_needs_and_fits_a_page(path):
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    first = notebook.cells[0].source
    named = re.search(r"pip install '?pandas-llm-accessor(?:\[(.*?)\])?'?", first)
    assert named, "the first cell names the extras"
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for name in (named[1] or "").split(",") if name]
    needs = [*known["dependencies"], "numpy"]
    needs += [need for name in extras for need in known["optional-dependencies"][name]]
    have = set(re.findall(r"[a-z]\w+", " ".join(needs))) | {"pandas_llm", "IPython"}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        assert all(len(line) <= 88 for line in cell.source.splitlines())
        for output in cell.outputs:
            assert output.output_type != "error"
    code = "\n".join(cell.source for cell in cells)
    imported = set(re.findall(r"^ *(?:import|from) (\w+)", code, re.MULTILINE))
    assert imported - sys.stdlib_module_names <= have
    assert ".llm.chunk(" not in code or "chunk" in extras
    assert '"tiny"' not in code or "tiny" in extras

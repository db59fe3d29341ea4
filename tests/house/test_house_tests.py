"""The house's rules for the tests themselves."""

import ast
import importlib
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGES = {"openai", "anthropic", "google"}
"""The vendors' own: slow to import, and only needed to be held against."""


def imported(path: Path) -> set[str]:
    """Return the packages that a file imports anywhere, functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_vendors_packages_are_imported_in_their_room_alone():
    files = {
        path.relative_to(TESTS): imported(path)
        for room in TESTS.iterdir()
        if room.is_dir() and room.name != "node_modules"
        for path in room.rglob("*.py")
    }
    users = {path.parts[0] for path, names in files.items() if names & PACKAGES}
    assert users == {"vendors"}


@pytest.mark.parametrize("script", ["run", "quick"])
def test_the_checks_name_tests_that_are_there(script):
    root = TESTS.parent
    text = (root / ".ci" / script).read_text("utf-8")
    patterns = re.findall(r"tests/(?!node)[\w./*{,}]+", text)
    assert patterns
    named = [
        re.sub(r"{.*}", choice, pattern)
        for pattern in patterns
        for choice in re.sub(r".*{(.*)}.*|.*", r"\1", pattern).split(",")
    ]
    assert [name for name in named if not list(root.glob(name))] == []


def test_benchmarks_import_what_the_package_has():
    names = {
        (node.module, alias.name)
        for path in (TESTS.parent / "benchmarks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and "pandas_llm" in str(node.module)
        for alias in node.names
    }
    assert names
    modules = {module: vars(importlib.import_module(module)) for module, _ in names}
    assert [pair for pair in names if pair[1] not in modules[pair[0]]] == []

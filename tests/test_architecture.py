"""The house's rules: who imports whom, and how large things may grow."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pandas_llm"
LAYERS = [
    ["types", "errors", "redaction", "tables", "usage", "tracebacks"],
    [
        *("providers", "limits", "concurrency", "retry", "keys", "schema", "output"),
        *(
            "template",
            "store",
            "remarks",
            "fingerprint",
            "prices",
            "run",
            "runlog",
            "plots",
            "summary",
            "fields",
            "columns",
            "parsing",
            "terms",
            "access",
            "vectors",
            "shape",
            "shares",
            "rules",
            "guess",
            "wave",
            "slots",
        ),
    ],
    [
        *("blocking", "transport", "progress", "simulator", "cache", "database"),
        *("writer", "discovery", "jobs", "images"),
    ],
    ["sender"],
    ["client"],
    ["frame", "options", "engine", "feed", "prompts"],
    ["bundles"],
    ["connection"],
    ["job"],
    ["survey", "drafts", "recipe"],
    ["courier"],
    ["batch"],
    ["files"],
    ["plan", "report", "chunk", "chat", "signatures"],
    ["engines", "leases"],
    ["dask", "spark"],
    ["embedding"],
    ["accessor", "functions", "demo", "flags", "commands", "__main__", "__init__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ONLY = {
    "aiohttp": {"transport", "simulator"},
    "pandas": {"frame", "accessor", "files", "__init__", "demo", "spark", "embedding"},
}
FILE_LINES, FUNCTION_LINES = 320, 40
"""Docstrings do not count: examples and parameters shall not be saved on."""
LONGER = {"limits.py": 350, "guess.py": 350}
"""Each is one state machine; buckets and waves have files of their own."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def noun(path):
    """Give a module's name in the table: the file, or the folder it is in."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree):
    """Give what is imported when the code runs, not for types alone."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def docstring_lines(tree):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return sum(
        node.body[0].end_lineno - node.body[0].lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node)
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_keeps_the_rules(path):
    source = path.read_text()
    tree = ast.parse(source)
    me = noun(path)
    for name in imports(tree):
        top, _, rest = name.partition(".")
        if top in ONLY:
            assert me in ONLY[top], f"{me} imports {top}"
        if top == "pandas_llm" and rest.partition(".")[0] in LEVEL:
            other = rest.partition(".")[0]
            lazy_public_name = me == "__init__"
            below = LEVEL[other] < LEVEL[me] or (LEVEL[other] == LEVEL[me])
            assert below or lazy_public_name, f"{me} imports {other}, which is above it"
    assert len(source.splitlines()) - docstring_lines(tree) <= LONGER.get(
        path.name, FILE_LINES
    )
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_no_two_modules_import_each_other():
    graph = {}
    for path in MODULES:
        found = {
            name.split(".")[1]
            for name in imports(ast.parse(path.read_text()))
            if name.startswith("pandas_llm.")
        }
        graph.setdefault(noun(path), set()).update(found & LEVEL.keys() - {noun(path)})
    graph.pop("__init__")

    def reaches(start, goal, seen):
        return any(
            other == goal
            or (other not in seen and reaches(other, goal, seen | {other}))
            for other in graph.get(start, ())
        )

    assert [name for name in graph if reaches(name, name, set())] == []


def test_only_options_reads_the_environment():
    for path in MODULES:
        if noun(path) != "options":
            assert "environ" not in path.read_text().replace("environment", ""), path


def test_only_providers_know_a_vendors_words():
    words = ("max_completion_tokens", "finishReason", "response_format")
    for path in MODULES:
        if noun(path) not in ("providers", "simulator", "types"):
            source = path.read_text()
            assert not [word for word in words if word in source], path

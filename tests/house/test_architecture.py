"""The house's rules: the rooms and their doors, and how large things may grow.

A room is a folder of the package, or a file at its top. It imports only rooms below
it, and of a folder only the names that its ``__init__`` lists in ``__all__``.
"""

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import pandas_llm

PACKAGE = Path(__file__).parents[2] / "pandas_llm"
FLOORS = [
    ["redaction"],
    ["errors", "environment"],
    ["types"],
    ["_algorithms", "_inputs", "_keys", "_pacing", "_local", "cache", "_display"],
    ["_json", "_rows"],
    ["_replies"],
    ["_report"],
    ["options"],
    ["providers", "_http"],
    ["_client"],
    ["_engine"],
    ["_run"],
    ["batch", "_view"],
    ["plan"],
    ["_verbs", "_evaluation"],
    ["_table_verbs"],
    ["_cli", "_cluster"],
    ["__init__", "__main__", "accessor", "dask", "spark"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SURFACE = len(FLOORS) - 1
APART = "simulator"
"""Imports nothing of the package; its own rooms have a test of their own."""
OPENS_SIMULATOR = {"_client/open.py", "_cli/main.py", "_cli/demo.py", "__init__.py"}
PUBLIC_MODULES = [
    *("batch", "cache", "dask", "errors", "providers", "providers.dialect"),
    *("providers.failures", "simulator", "spark", "types"),
]
ONLY = {
    "aiohttp": {"_http/transport.py"},
    "pandas": {
        "_run/arrays.py",
        "_rows/kinds.py",
        "_rows/rows.py",
        "_run/result.py",
        "_verbs",
        "_table_verbs",
        "_evaluation",
        "_cli",
        "_cluster",
        "_view",
        "__init__",
    },
}
FILE_LINES, FUNCTION_LINES, FILES = 350, 40, 14
"""Docstrings do not count: examples and parameters shall not be saved on."""
PLAIN = {
    *("ValueError", "TypeError", "KeyError", "IndexError", "AttributeError"),
    *("RuntimeError", "OSError", "Exception"),
}
CAUGHT_AGAIN = {
    *("_cli", "providers", APART),
    *("_replies", "_json", "_keys/columns.py", "_keys/fields.py", "_keys/booleans.py"),
    "batch/saved.py",
}
"""Where the package itself, or pydantic, catches a plain error and says more."""
ATTRIBUTES = {"__getattr__", "__setattr__", "__delattr__"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path):
    """Return a module's path below the package, with slashes."""
    return path.relative_to(PACKAGE).as_posix()


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree, *, types=True):
    """Yield (module, name) of every import; of those for types alone if asked."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(() if types else ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def ours(tree):
    """Yield (room, way below its door, name) of every import of the package."""
    for module, name in imports(tree):
        top, _, rest = module.partition(".")
        if top != "pandas_llm":
            continue
        if rest:
            other, _, below = rest.partition(".")
            yield other, below, name
        else:
            yield name, "", None


def listed(other):
    """Return the names that a room's door gives; None for a room of one file."""
    door = PACKAGE / other / "__init__.py"
    if not door.exists():
        return None
    for node in ast.parse(door.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def docstring_lines(tree):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return sum(
        node.body[0].end_lineno - node.body[0].lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node)
    )


def test_every_module_is_in_a_room():
    assert {room(path) for path in MODULES} == FLOOR.keys() | {APART}


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_a_room_imports_only_rooms_below_and_through_their_doors(path):
    me = room(path)
    if me == APART:
        return
    for other, below, name in ours(ast.parse(path.read_text())):
        if other == APART:
            assert place(path) in OPENS_SIMULATOR
        if other == me or other not in FLOOR:
            continue
        down = FLOOR[other] < FLOOR[me]
        assert down or FLOOR[me] == SURFACE, f"{me} imports {other}, not below it"
        public = f"{other}.{below}" in PUBLIC_MODULES
        assert not below or public, f"past the door of {other}: {below}"
        names = listed(other)
        if name is not None and names is not None and not public:
            assert name in names, f"{other} does not list {name}"


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_the_simulator_stands_alone_and_few_import_aiohttp_or_pandas(path):
    tree, me = ast.parse(path.read_text()), room(path)
    if me == APART:
        assert {other for other, _, _ in ours(tree)} <= {APART}
        return
    for module, _ in imports(tree, types=False):
        allowed = ONLY.get(module.partition(".")[0])
        if allowed:
            assert me in allowed or place(path) in allowed, f"{me} imports {module}"


def test_no_modules_import_each_other_in_a_circle():
    modules = {}
    for path in MODULES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = path
    graph = {}
    for name, path in modules.items():
        found = set()
        for module, what in imports(ast.parse(path.read_text())):
            whole = f"{module}.{what}"
            found.add(whole if whole in modules else module)
        graph[name] = found & (modules.keys() - {name, "pandas_llm"})

    def reaches(start, goal, seen):
        for other in graph.get(start, ()):
            if other == goal:
                return True
            if other not in seen:
                seen.add(other)
                if reaches(other, goal, seen):
                    return True
        return False

    assert [name for name in graph if reaches(name, name, set())] == []


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_files_and_functions_are_short(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) - docstring_lines(tree) <= FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_rooms_are_small():
    sizes = {
        folder.relative_to(PACKAGE).as_posix(): len(list(folder.glob("*.py")))
        for folder in {path.parent for path in MODULES}
    }
    large = {name: size for name, size in sizes.items() if size > FILES}
    assert large.keys() <= {"simulator/dialects"}  # a file a vendor


def test_no_two_rooms_list_a_name():
    """One word, one meaning; `submit` is a verb, and the batch that it makes."""
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {APART}
    names = [name for room in rooms for name in listed(room) or ()]
    assert {name for name in names if names.count(name) > 1} == {"submit"}


def test_no_module_is_named_like_a_public_function():
    functions = set(pandas_llm.__all__) - {"batch", "cache", "simulator"}
    public = [path for path in MODULES if not place(path).startswith("_")]
    assert not functions & {path.stem for path in public}
    assert not functions & {path.name for path in PACKAGE.iterdir()}


def test_the_public_names_and_modules_are_these():
    assert sorted(pandas_llm.__all__) == [
        *("ConfigurationError", "GenerationError", "LLMError", "LLMWarning"),
        *("OutputError", "Plan", "Progress", "ProviderError", "Quoted"),
        "TemplateError",
        *("Usage", "aagg", "aclassify", "acomplete", "adrop_duplicates"),
        *("aduplicated", "aembed", "aextract", "afilter", "agenerate", "agg"),
        *("amatches", "amerge", "angroup", "anlargest", "asearch", "batch", "cache"),
        "chunk",
        *("classify", "compare", "complete", "drop_duplicates", "duplicated", "embed"),
        *(
            "estimate",
            "evaluate",
            "extract",
            "generate",
            "get_options",
            "last_usage",
            "matches",
        ),
        *("merge", "ngroup", "nlargest", "option_context", "preview", "search"),
        *("set_options", "share", "simulator", "to_chat_jsonl"),
    ]
    for name in PUBLIC_MODULES:
        way = PACKAGE / name.replace(".", "/")
        assert way.with_suffix(".py").exists() or (way / "__init__.py").exists()
    ours_alone = {"accessor", "options", "plan", "environment", "redaction"}
    top = {m.name for m in pkgutil.iter_modules([str(PACKAGE)]) if m.name[0] != "_"}
    assert top - ours_alone == {name for name in PUBLIC_MODULES if "." not in name}


def test_what_is_raised_on_purpose_is_an_error_of_the_package():
    """Or the traceback would not end at the caller's line; see _display/tracebacks."""
    for path in MODULES:
        if room(path) in CAUGHT_AGAIN or place(path) in CAUGHT_AGAIN:
            continue
        tree = ast.parse(path.read_text())
        protocol = [
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name in ATTRIBUTES
            for inner in ast.walk(node)
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                plain = ast.unparse(node.exc.func) in PLAIN
                assert not plain or node in protocol, f"{path}:{node.lineno}"


def test_only_environment_reads_the_environment():
    for path in MODULES:
        if room(path) != "environment":
            source = path.read_text().replace("environment", "")
            assert not re.search(r"environ|getenv", source), path


def test_types_has_what_goes_between_rooms_alone():
    tree = ast.parse((PACKAGE / "types.py").read_text())
    assert {other for other, _, _ in ours(tree)} == {"errors", "redaction"}
    users = {}
    for path in MODULES:
        for other, _, name in ours(ast.parse(path.read_text())):
            if other == "types":
                users.setdefault(name, set()).add(room(path))
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.Assign)):
            name = node.name if isinstance(node, ast.ClassDef) else node.targets[0].id
            others = [other for other in tree.body if other is not node]
            part = any(re.search(rf"\b{name}\b", ast.unparse(o)) for o in others)
            assert part or len(users.get(name, ())) > 1, f"{name} is one room's"


def test_nobody_assigns_into_another_module():
    for path in MODULES:
        tree = ast.parse(path.read_text())
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("pandas_llm")
            for alias in node.names
        }
        for node in ast.walk(tree):
            stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if stored and isinstance(node.value, ast.Name):
                assert node.value.id not in names, ast.unparse(node)


def test_only_providers_know_a_vendors_words():
    words = ("max_completion_tokens", "finishReason", "response_format")
    for path in MODULES:
        bring = place(path) == "options/foreign.py"  # what people bring along
        if room(path) not in ("providers", "simulator", "types") and not bring:
            source = path.read_text()
            assert not [word for word in words if word in source], path
